/*
 * The life of the connection to Redis: its states, bytes in and out, its end.
 */

#include "sv_redis_conn.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>


#define SV_REDIS_READ_SIZE    32768
#define SV_REDIS_KEEP_OUT     262144
#define SV_REDIS_MAX_REPLY    (16 * 1024 * 1024)    /* an unfinished reply beyond this is a lie */


static void sv_redis_log_close(sv_redis_t *redis, const char *why, unsigned ms,
    int was_ready);
static void sv_redis_read(sv_redis_t *redis);
static void sv_redis_process(sv_redis_t *redis);
static void sv_redis_flush(void *data);
static void sv_redis_timer(void *data);
static void sv_redis_listen(sv_redis_t *redis);
static int64_t sv_redis_clock(void);


void
sv_redis_conn_start(sv_redis_t *redis)
{
    redis->timer = redis->loop->timer(redis->loop, sv_redis_timer, redis);
    redis->flush = redis->loop->timer(redis->loop, sv_redis_flush, redis);

    if (redis->timer != NULL && redis->flush != NULL) {
        sv_redis_connect(redis);
    }
}


void
sv_redis_conn_wake(sv_redis_t *redis)
{
    if (!redis->flush_posted && !(redis->interest & SV_WRITE)) {
        redis->flush_posted = 1;
        redis->loop->timer_post(redis->flush);
    }

    if (redis->state == SV_REDIS_READY && !redis->timer_armed) {
        redis->timer_armed = 1;
        redis->loop->timer_set(redis->timer, redis->conf.silence_ms);
    }
}


void
sv_redis_conn_fault(sv_redis_t *redis, const char *what,
    const redisReply *reply)
{
    size_t       i, n;
    const char  *p;

    if (redis->fault[0] != '\0') {
        return;
    }

    snprintf(redis->fault, sizeof(redis->fault), "%s", what);

    if (reply == NULL || reply->type != REDIS_REPLY_ERROR) {
        return;
    }

    n = strlen(redis->fault);
    redis->fault[n++] = ':';
    redis->fault[n++] = ' ';
    p = reply->str;

    for (i = 0; i < (size_t) reply->len && n < sizeof(redis->fault) - 1; i++) {
        redis->fault[n++] = (p[i] >= ' ' && p[i] <= '~') ? p[i] : '.';
    }

    redis->fault[n] = '\0';
}


void
sv_redis_conn_ready(sv_redis_t *redis)
{
    redis->loop->timer_clear(redis->timer);

    redis->loop->log(redis->loop, SV_LOG_NOTICE, "redis %s: ready",
                     redis->name);

    if (redis->conf.on_ready != NULL) {
        redis->conf.on_ready(redis->conf.data, redis->run_id);
    }

    redis->state = SV_REDIS_READY;
    redis->ready_since = redis->loop->now(redis->loop);
    redis->last_fault[0] = '\0';
}


void
sv_redis_conn_close(sv_redis_t *redis, const char *why)
{
    int       was_ready;
    unsigned  ms;

    was_ready = (redis->state == SV_REDIS_READY);
    redis->state = SV_REDIS_DOWN;

    if (redis->watch != NULL) {
        redis->loop->unwatch(redis->watch);
        redis->watch = NULL;
    }

    if (redis->fd != -1) {
        close(redis->fd);
        redis->fd = -1;
    }

    if (redis->reader != NULL) {
        redisReaderFree(redis->reader);
        redis->reader = NULL;
    }

    sv_redis_buf_reset(&redis->out, 0);
    redis->loop->timer_clear(redis->timer);
    redis->loop->timer_clear(redis->flush);
    redis->interest = 0;
    redis->timer_armed = 0;
    redis->flush_posted = 0;

    if (why != NULL) {
        if (redis->proved
            || (was_ready && redis->loop->now(redis->loop)
                             > redis->ready_since + SV_BACKOFF_MAX_MS))
        {
            sv_backoff_reset(&redis->backoff);
        }

        ms = sv_backoff_next(&redis->backoff);
        redis->loop->timer_set(redis->timer, ms);
        redis->losses += was_ready;
        sv_redis_log_close(redis, why, ms, was_ready);

        if (was_ready && redis->conf.on_lost != NULL) {
            redis->conf.on_lost(redis->conf.data);
        }
    }

    redis->proved = 0;
    redis->fault[0] = '\0';

    /* the state is DOWN: callbacks cannot add to what is called back here */

    while (sv_redis_answer(redis, NULL) == 0) {
        /* void */
    }
}


static void
sv_redis_log_close(sv_redis_t *redis, const char *why, unsigned ms,
    int was_ready)
{
    int       level, same;
    uint64_t  now;

    now = redis->loop->now(redis->loop);
    same = (strcmp(redis->last_fault, why) == 0);
    level = SV_LOG_INFO;

    if (was_ready || redis->last_fault[0] == '\0'
        || now >= redis->last_warning + (same ? SV_BACKOFF_LOG_SAME_MS
                                              : SV_BACKOFF_LOG_OTHER_MS))
    {
        level = SV_LOG_WARN;
        redis->last_warning = now;
        snprintf(redis->last_fault, sizeof(redis->last_fault), "%s", why);
    }

    redis->loop->log(redis->loop, level,
                     "redis %s: %s%s, %u commands unanswered, "
                     "connecting again in %u ms",
                     redis->name, was_ready ? "lost: " : "", why,
                     redis->in_flight, ms);
}


void
sv_redis_io(void *data, unsigned ready)
{
    sv_redis_t  *redis;

    redis = data;

    if (redis->state == SV_REDIS_CONNECTING) {
        sv_redis_connected(redis);
        return;
    }

    if (ready & SV_WRITE) {
        sv_redis_write(redis);
    }

    if ((ready & SV_READ) && redis->state != SV_REDIS_DOWN) {
        sv_redis_read(redis);
    }
}


static void
sv_redis_read(sv_redis_t *redis)
{
    char     buf[SV_REDIS_READ_SIZE];
    ssize_t  n;

    n = recv(redis->fd, buf, sizeof(buf), 0);

    if (n == -1) {
        if (errno != EAGAIN && errno != EINTR) {
            sv_redis_conn_close(redis, strerror(errno));
        }

        return;
    }

    if (n == 0) {
        sv_redis_conn_close(redis, "closed by the server");
        return;
    }

    redis->heard = redis->loop->now(redis->loop);
    redis->unfinished += (size_t) n;

    if (redisReaderFeed(redis->reader, buf, (size_t) n) != REDIS_OK) {
        sv_redis_conn_close(redis, "out of memory");
        return;
    }

    sv_redis_process(redis);
}


static void
sv_redis_process(sv_redis_t *redis)
{
    int    rc;
    void  *reply;

    for ( ;; ) {
        reply = NULL;

        if (redisReaderGetReply(redis->reader, &reply) != REDIS_OK) {
            sv_redis_conn_close(redis, "not the Redis protocol");
            return;
        }

        if (reply == NULL) {
            break;
        }

        redis->unfinished = 0;
        rc = sv_redis_answer(redis, reply);

        freeReplyObject(reply);

        if (rc != 0) {
            sv_redis_conn_close(redis, "a reply to no command");
            return;
        }

        if (redis->fault[0] != '\0') {
            sv_redis_conn_close(redis, redis->fault);
            return;
        }
    }

    if (redis->unfinished > SV_REDIS_MAX_REPLY) {
        sv_redis_conn_close(redis, "a reply without an end");
    }
}


void
sv_redis_write(sv_redis_t *redis)
{
    ssize_t          n;
    sv_redis_buf_t  *out;

    out = &redis->out;

    while (out->pos < out->len) {
        n = send(redis->fd, out->data + out->pos, out->len - out->pos,
                 MSG_NOSIGNAL);

        if (n == -1) {
            if (errno == EINTR) {
                continue;
            }

            if (errno == EAGAIN) {
                sv_redis_interest(redis, SV_READ | SV_WRITE);
                return;
            }

            sv_redis_conn_close(redis, strerror(errno));
            return;
        }

        out->pos += (size_t) n;
    }

    sv_redis_buf_reset(out, SV_REDIS_KEEP_OUT);
    sv_redis_interest(redis, SV_READ);
}


static void
sv_redis_flush(void *data)
{
    sv_redis_t  *redis;

    redis = data;
    redis->flush_posted = 0;

    if (redis->state >= SV_REDIS_SETUP) {
        sv_redis_write(redis);
    }
}


void
sv_redis_interest(sv_redis_t *redis, unsigned events)
{
    if (redis->interest != events) {
        redis->interest = events;
        redis->loop->interest(redis->watch, events);
    }
}


static void
sv_redis_timer(void *data)
{
    sv_redis_t  *redis;

    redis = data;

    switch (redis->state) {

    case SV_REDIS_DOWN:
        sv_redis_connect(redis);
        return;

    case SV_REDIS_CONNECTING:
        sv_redis_conn_close(redis, "no connection in time");
        return;

    case SV_REDIS_SETUP:
        sv_redis_conn_close(redis, "no answer to the first commands in time");
        return;

    case SV_REDIS_READY:
        sv_redis_listen(redis);
        return;
    }
}


/*
 * The silence timer is not moved with every reply: it looks, when it runs,
 * whether it was too early.
 */

static void
sv_redis_listen(sv_redis_t *redis)
{
    uint64_t  silent;

    redis->timer_armed = 0;

    if (redis->in_flight == 0) {
        return;
    }

    silent = redis->loop->now(redis->loop) - redis->heard;

    if (silent >= redis->conf.silence_ms) {
        sv_redis_conn_close(redis, "silent, with commands in flight");
        return;
    }

    redis->timer_armed = 1;
    redis->loop->timer_set(redis->timer,
                           redis->conf.silence_ms - (unsigned) silent);
}


/* The loop's clock stands still while nobody returns to it. */
void
sv_redis_drain(sv_redis_t *redis, unsigned ms)
{
    int            left;
    int64_t        end;
    struct pollfd  pfd;

    end = sv_redis_clock() + ms;

    while (redis->state == SV_REDIS_READY && redis->in_flight != 0) {
        sv_redis_write(redis);

        left = (int) (end - sv_redis_clock());

        if (redis->state != SV_REDIS_READY || left <= 0) {
            return;
        }

        pfd.fd = redis->fd;
        pfd.events = redis->out.pos < redis->out.len ? POLLIN | POLLOUT : POLLIN;

        if (poll(&pfd, 1, left) > 0 && (pfd.revents & ~POLLOUT)) {
            sv_redis_read(redis);
        }
    }
}


static int64_t
sv_redis_clock(void)
{
    struct timespec  now;

    clock_gettime(CLOCK_MONOTONIC, &now);

    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
