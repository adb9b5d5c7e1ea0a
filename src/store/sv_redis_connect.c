/*
 * The socket to Redis: numeric addresses only, nothing here waits.
 */

#include "sv_redis_conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>


#define SV_REDIS_CONNECT_MS  2000       /* connect and set-up together */


typedef union {
    struct sockaddr      any;
    struct sockaddr_in   in;
    struct sockaddr_in6  in6;
    struct sockaddr_un   un;
} sv_redis_addr_t;


static int sv_redis_address(sv_redis_t *redis, sv_redis_addr_t *addr, socklen_t *len);
static void sv_redis_socket_options(int fd, int family);


void
sv_redis_connect(sv_redis_t *redis)
{
    int              rc;
    socklen_t        len;
    sv_redis_addr_t  addr;

    if (sv_redis_address(redis, &addr, &len) != 0) {
        sv_redis_conn_close(redis, "the address is neither numeric "
                                   "nor the path of a socket");
        return;
    }

    redis->fd = socket(addr.any.sa_family,
                       SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (redis->fd == -1) {
        sv_redis_conn_close(redis, strerror(errno));
        return;
    }

    sv_redis_socket_options(redis->fd, addr.any.sa_family);

    rc = connect(redis->fd, &addr.any, len);

    if (rc == -1 && errno != EINPROGRESS) {
        sv_redis_conn_close(redis, strerror(errno));
        return;
    }

    redis->state = SV_REDIS_CONNECTING;

    redis->watch = redis->loop->watch(redis->loop, redis->fd, sv_redis_io,
                                      redis);
    if (redis->watch == NULL) {
        sv_redis_conn_close(redis, "no place for its socket in the event loop");
        return;
    }

    sv_redis_interest(redis, SV_WRITE);
    redis->loop->timer_set(redis->timer, SV_REDIS_CONNECT_MS);
}


static int
sv_redis_address(sv_redis_t *redis, sv_redis_addr_t *addr, socklen_t *len)
{
    const sv_redis_conf_t  *conf;

    conf = &redis->conf;
    memset(addr, 0, sizeof(sv_redis_addr_t));

    if (conf->path != NULL) {
        if (strlen(conf->path) >= sizeof(addr->un.sun_path)) {
            return -1;
        }

        addr->un.sun_family = AF_UNIX;
        memcpy(addr->un.sun_path, conf->path, strlen(conf->path) + 1);
        *len = sizeof(addr->un);
        return 0;
    }

    if (conf->address == NULL || conf->port < 1 || conf->port > 65535) {
        return -1;
    }

    if (inet_pton(AF_INET, conf->address, &addr->in.sin_addr) == 1) {
        addr->in.sin_family = AF_INET;
        addr->in.sin_port = htons((uint16_t) conf->port);
        *len = sizeof(addr->in);
        return 0;
    }

    if (inet_pton(AF_INET6, conf->address, &addr->in6.sin6_addr) == 1) {
        addr->in6.sin6_family = AF_INET6;
        addr->in6.sin6_port = htons((uint16_t) conf->port);
        *len = sizeof(addr->in6);
        return 0;
    }

    return -1;
}


/* Best effort: without them the connection works, only worse. */

static void
sv_redis_socket_options(int fd, int family)
{
    int  on, idle, interval, count;

    if (family == AF_UNIX) {
        return;
    }

    on = 1;
    idle = 15;
    interval = 5;
    count = 3;

    (void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void) setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    (void) setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    (void) setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval,
                      sizeof(interval));
    (void) setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}


void
sv_redis_connected(sv_redis_t *redis)
{
    int        err;
    socklen_t  len;

    err = 0;
    len = sizeof(err);

    if (getsockopt(redis->fd, SOL_SOCKET, SO_ERROR, &err, &len) == -1) {
        err = errno;
    }

    if (err != 0) {
        sv_redis_conn_close(redis, strerror(err));
        return;
    }

    redis->connects++;
    redis->state = SV_REDIS_SETUP;
    redis->unfinished = 0;
    redis->reader = sv_redis_reader_create(redis);

    if (redis->reader == NULL || sv_redis_setup(redis) != 0) {
        sv_redis_conn_close(redis, "out of memory");
        return;
    }

    sv_redis_interest(redis, SV_READ);
    sv_redis_write(redis);
}
