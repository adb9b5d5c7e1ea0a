/*
 * The server: its socket, its beginning and its end.  A stop lets every request
 * finish that has begun, within drain_timeout.
 */

#include "svw_api_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>


#define SVW_API_CONNECTIONS  256            /* each may have a file, too */
#define SVW_API_CONNECTION   (64 * 1024)    /* bytes of header and buffer */
#define SVW_API_SILENT       60             /* s: a connection that says nothing is closed */
#define SVW_API_BACKLOG      512
#define SVW_API_SWEEP        (600 * 1000)   /* ms */


static int svw_api_open(svw_api_server_t *server, svw_conf_t *conf);
static void svw_api_close(svw_api_server_t *server);
static int svw_api_listen(const char *address, char error[SVW_TEXT]);
static int svw_api_listen_unix(const char *path, char error[SVW_TEXT]);
static int svw_api_listen_tcp(const char *address, char error[SVW_TEXT]);
static int svw_api_start(svw_api_server_t *server, int fd);
static void svw_api_stop(svw_api_server_t *server);
static size_t svw_api_raw(void *cls, struct MHD_Connection *connection, char *text);
static void svw_api_connection(void *cls, struct MHD_Connection *connection, void **context,
    enum MHD_ConnectionNotificationCode what);
static void svw_api_mhd_log(void *cls, const char *fmt, va_list args) __attribute__((format(printf, 2, 0)));


int
svw_api_run(svw_conf_t *conf)
{
    int                fd, rc;
    char               error[SVW_TEXT];
    int64_t            sweep;
    svw_db_t           db;
    svw_api_server_t  *server;

    svw_db_init(&db, conf->api_postgres, "serial-verify-worker api");
    server = calloc(1, sizeof(svw_api_server_t));
    if (server == NULL) {
        return SVW_EXIT_FAILED;
    }

    rc = SVW_EXIT_FAILED;

    if (svw_api_open(server, conf) == 0) {
        fd = svw_api_listen(conf->api_listen, error);

        if (fd == -1) {
            svw_log(SVW_LOG_ERROR, "%s", error);

        } else if (svw_api_start(server, fd) == 0) {
            svw_log(SVW_LOG_NOTICE, "listening on %s", conf->api_listen);

            for (sweep = 0; !svw_stopping(); svw_pause(1000)) {
                if (server->capture_dir != -1 && svw_now_ms() >= sweep) {
                    svw_capture_sweep(server, &db);
                    sweep = svw_now_ms() + SVW_API_SWEEP;
                }
            }

            svw_api_stop(server);
            rc = SVW_EXIT_OK;
        }
    }

    svw_api_close(server);
    free(server);

    return rc;
}


static int
svw_api_open(svw_api_server_t *server, svw_conf_t *conf)
{
    char      error[SVW_TEXT];
    unsigned  i;

    server->conf = conf;
    server->capture_dir = -1;
    pthread_mutex_init(&server->lock, NULL);
    pthread_cond_init(&server->work, NULL);

    if (svw_api_secret(conf->api_secret, server->secret, &server->secret_len, error) != 0) {
        svw_log(SVW_LOG_ERROR, "%s", error);
        return -1;
    }

    if (conf->capture_dir != NULL) {
        server->capture_dir = open(conf->capture_dir, O_RDONLY|O_DIRECTORY|O_CLOEXEC);

        if (server->capture_dir == -1) {
            svw_log(SVW_LOG_ERROR, "capture_dir \"%s\": %s", conf->capture_dir, strerror(errno));
            return -1;
        }
    }

    server->thread = calloc(conf->api_threads, sizeof(svw_api_thread_t));
    server->streams = calloc(1, sizeof(svw_streams_t));
    if (server->thread == NULL || server->streams == NULL) {
        svw_log(SVW_LOG_ERROR, "out of memory");
        return -1;
    }

    for (i = 0; i < conf->api_threads; i++) {
        server->thread[i].server = server;
        svw_db_init(&server->thread[i].db, conf->api_postgres, "serial-verify-worker api");
    }

    return 0;
}


static void
svw_api_close(svw_api_server_t *server)
{
    if (server->capture_dir != -1) {
        close(server->capture_dir);
    }

    OPENSSL_cleanse(server->secret, sizeof(server->secret));
    pthread_cond_destroy(&server->work);
    pthread_mutex_destroy(&server->lock);
    free(server->streams);
    free(server->thread);
}


static int
svw_api_listen(const char *address, char error[SVW_TEXT])
{
    int  fd;

    fd = strncmp(address, "unix:", 5) == 0 ? svw_api_listen_unix(address + 5, error) : svw_api_listen_tcp(address, error);

    if (fd != -1 && listen(fd, SVW_API_BACKLOG) != 0) {
        snprintf(error, SVW_TEXT, "api_listen \"%s\": %s", address, strerror(errno));
        close(fd);
        fd = -1;
    }

    return fd;
}


/* A socket that a killed process left is replaced, one that somebody answers on is not. */
static int
svw_api_listen_unix(const char *path, char error[SVW_TEXT])
{
    int                  fd;
    struct sockaddr_un   address;

    address = (struct sockaddr_un) { .sun_family = AF_UNIX };

    if ((size_t) snprintf(address.sun_path, sizeof(address.sun_path), "%s", path) >= sizeof(address.sun_path)) {
        snprintf(error, SVW_TEXT, "api_listen \"unix:%s\": the path is too long for a socket", path);
        return -1;
    }

    fd = socket(AF_UNIX, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);

    if (fd != -1 && connect(fd, (struct sockaddr *) &address, sizeof(address)) == 0) {
        snprintf(error, SVW_TEXT, "api_listen \"unix:%s\": another process answers there", path);
        close(fd);
        return -1;
    }

    unlink(path);

    if (fd == -1 || bind(fd, (struct sockaddr *) &address, sizeof(address)) != 0
        /* who reaches it has still to prove that nginx sent him */
        || chmod(path, 0666) != 0)
    {
        snprintf(error, SVW_TEXT, "api_listen \"unix:%s\": %s", path, strerror(errno));

        if (fd != -1) {
            close(fd);
        }

        return -1;
    }

    return fd;
}


static int
svw_api_listen_tcp(const char *text, char error[SVW_TEXT])
{
    int               fd, on;
    char              host[128], *colon, *name;
    struct addrinfo   hints, *info;

    snprintf(host, sizeof(host), "%s", text);
    colon = strrchr(host, ':');
    name = host;
    fd = -1;
    on = 1;
    info = NULL;
    hints = (struct addrinfo) { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST|AI_NUMERICSERV };

    if (colon != NULL) {
        *colon = '\0';

        if (host[0] == '[' && colon[-1] == ']') {
            colon[-1] = '\0';
            name++;
        }
    }

    if (colon == NULL || getaddrinfo(name, colon + 1, &hints, &info) != 0) {
        snprintf(error, SVW_TEXT, "api_listen \"%s\": not a numeric address with a port", text);
        return -1;
    }

    fd = socket(info->ai_family, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);

    if (fd == -1 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0
        || bind(fd, info->ai_addr, info->ai_addrlen) != 0)
    {
        snprintf(error, SVW_TEXT, "api_listen \"%s\": %s", text, strerror(errno));

        if (fd != -1) {
            close(fd);
            fd = -1;
        }
    }

    freeaddrinfo(info);

    return fd;
}


/* takes the socket over */
static int
svw_api_start(svw_api_server_t *server, int fd)
{
    sigset_t  block, old;

    /* signals belong to the thread that waits for them */
    sigfillset(&block);
    pthread_sigmask(SIG_BLOCK, &block, &old);

    if (svw_api_threads_start(server) != 0 || svw_streams_start(server->streams, server->conf) != 0) {
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        svw_api_threads_stop(server);
        close(fd);
        return -1;
    }

    /* the logger first: what the other options complain about goes there */
    server->daemon = MHD_start_daemon(
        MHD_USE_AUTO_INTERNAL_THREAD|MHD_ALLOW_SUSPEND_RESUME|MHD_USE_ERROR_LOG, 0, NULL, NULL, svw_api_call, server,
        MHD_OPTION_EXTERNAL_LOGGER, svw_api_mhd_log, NULL,
        MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned) SVW_API_CONNECTIONS,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t) SVW_API_CONNECTION,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned) SVW_API_SILENT,
        MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_URI_LOG_CALLBACK, svw_api_call_new, server,
        MHD_OPTION_UNESCAPE_CALLBACK, svw_api_raw, NULL,
        MHD_OPTION_NOTIFY_COMPLETED, svw_api_call_done, NULL,
        MHD_OPTION_NOTIFY_CONNECTION, svw_api_connection, server,
        MHD_OPTION_END);

    pthread_sigmask(SIG_SETMASK, &old, NULL);

    if (server->daemon == NULL) {
        svw_log(SVW_LOG_ERROR, "the server does not start");
        svw_streams_stop(server->streams, 0);
        svw_api_threads_stop(server);
        close(fd);
        return -1;
    }

    return 0;
}


/* New connections find nobody and are tried again by their clients; the others are served. */
static void
svw_api_stop(svw_api_server_t *server)
{
    int      fd;
    int64_t  end;

    if (strncmp(server->conf->api_listen, "unix:", 5) == 0) {
        unlink(server->conf->api_listen + 5);
    }

    fd = MHD_quiesce_daemon(server->daemon);
    if (fd != MHD_INVALID_SOCKET) {
        close(fd);
    }

    end = svw_now_ms() + server->conf->drain_timeout - 100;
    svw_streams_end(server->streams);

    while (atomic_load(&server->connections) > 0 && svw_now_ms() < end) {
        usleep(10 * 1000);
    }

    if (atomic_load(&server->connections) > 0) {
        svw_log(SVW_LOG_WARN, "%u requests are not finished; their clients are told nothing", atomic_load(&server->connections));
        /* a thread may wait for PostgreSQL for long: what it does there is done whole or undone */
        _exit(SVW_EXIT_OK);
    }

    if (svw_streams_stop(server->streams, end) != 0) {
        _exit(SVW_EXIT_OK);
    }

    svw_api_threads_stop(server);
    MHD_stop_daemon(server->daemon);
}


/* targets are decoded by svw_api_route.c, segment by segment */
static size_t
svw_api_raw(void *cls, struct MHD_Connection *connection, char *text)
{
    (void) cls;
    (void) connection;

    return strlen(text);
}


static void
svw_api_connection(void *cls, struct MHD_Connection *connection, void **context, enum MHD_ConnectionNotificationCode what)
{
    svw_api_server_t  *server;

    (void) connection;
    (void) context;

    server = cls;

    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        atomic_fetch_add(&server->connections, 1);
    } else {
        atomic_fetch_sub(&server->connections, 1);
    }
}


static void
svw_api_mhd_log(void *cls, const char *fmt, va_list args)
{
    char  text[SVW_TEXT];

    (void) cls;

    vsnprintf(text, sizeof(text), fmt, args);
    svw_log(SVW_LOG_INFO, "http: %s", text);
}
