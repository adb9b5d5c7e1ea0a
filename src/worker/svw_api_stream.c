/*
 * Streams: their beginning and end, what libmicrohttpd reads from them, and the
 * thread that fills them.
 */

#include "svw_api_stream.h"

#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>


#define SVW_STREAM_SESSION  "set statement_timeout = '10s'"


static void *svw_streams_thread(void *data);
static int svw_streams_wait(svw_streams_t *streams, int more);
static void svw_streams_tend(svw_streams_t *streams);
static void svw_streams_gone(svw_streams_t *streams);
static void svw_stream_wake(svw_stream_t *stream);
static int svw_stream_add(svw_streams_t *streams, svw_stream_t *stream);
static ssize_t svw_stream_read(void *data, uint64_t position, char *out, size_t cap);
static void svw_stream_free(void *data);


int
svw_streams_start(svw_streams_t *streams, svw_conf_t *conf)
{
    int                 rc;
    pthread_condattr_t  attr;

    svw_db_init(&streams->db, conf->api_postgres, "serial-verify-worker api");
    streams->db.setup = SVW_STREAM_SESSION;

    pthread_mutex_init(&streams->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&streams->work, &attr);
    pthread_condattr_destroy(&attr);

    rc = pthread_create(&streams->id, NULL, svw_streams_thread, streams);

    if (rc != 0) {
        svw_log(SVW_LOG_ERROR, "a thread cannot be started: %s", strerror(rc));
        return -1;
    }

    streams->started = 1;

    return 0;
}


void
svw_streams_end(svw_streams_t *streams)
{
    svw_stream_t  *stream;

    pthread_mutex_lock(&streams->lock);
    streams->ending = 1;

    for (stream = streams->first; stream != NULL; stream = stream->next) {
        stream->ending = 1;
        svw_stream_wake(stream);
    }

    pthread_cond_signal(&streams->work);
    pthread_mutex_unlock(&streams->lock);
}


int
svw_streams_stop(svw_streams_t *streams, int64_t until)
{
    int64_t          left;
    struct timespec  end;

    if (!streams->started) {
        return 0;
    }

    svw_streams_end(streams);

    left = until - svw_now_ms();
    left = left > 0 ? left : 0;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += left / 1000 + 1;

    return pthread_timedjoin_np(streams->id, NULL, &end) == 0 ? 0 : -1;
}


int
svw_stream_open(svw_api_request_t *rq, const char *company, int64_t cursor, int reset)
{
    int                   n;
    char                  text[128];
    svw_stream_t         *stream;
    svw_api_call_t       *call;
    struct MHD_Response  *response;

    call = (svw_api_call_t *) (void *) rq;
    stream = calloc(1, sizeof(svw_stream_t));

    if (stream == NULL || (stream->company = strdup(company)) == NULL) {
        free(stream);
        return -1;
    }

    stream->streams = call->server->streams;
    stream->connection = call->connection;
    stream->fd = MHD_get_connection_info(call->connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    stream->location = rq->who->location.id;
    stream->cursor = cursor;
    stream->born = stream->spoke = stream->checked = svw_now_ms();

    n = snprintf(text, sizeof(text), "retry: 2000\n%sid: %" PRId64 "\n%s\n", reset ? "event: reset\n" : "", cursor,
                 reset ? "data: {}\n" : "");
    svw_stream_put(stream, text, (size_t) n);

    response = svw_stream_add(stream->streams, stream) == 0
        ? MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, SVW_STREAM_BUFFER / 4, svw_stream_read, stream, svw_stream_free) : NULL;

    if (response == NULL) {
        svw_stream_free(stream);
        return -1;
    }

    /* nginx passes it on as it comes */
    svw_api_add_header(rq, "X-Accel-Buffering", "no");

    return svw_api_respond(call, 200, "text/event-stream", response);
}


int
svw_stream_put(svw_stream_t *stream, const char *text, size_t len)
{
    if (len > SVW_STREAM_BUFFER - stream->len) {
        return -1;
    }

    memcpy(stream->buffer + stream->len, text, len);
    stream->len += len;
    stream->spoke = svw_now_ms();

    return 0;
}


static void *
svw_streams_thread(void *data)
{
    int             more;
    svw_streams_t  *streams;

    streams = data;

    for (more = 0; svw_streams_wait(streams, more) == 0; ) {
        more = svw_alert_events_round(streams);
        svw_streams_tend(streams);
    }

    svw_db_close(&streams->db);

    return NULL;
}


/* For the next round; without a stream there is none, and no session. -1: the end */
static int
svw_streams_wait(svw_streams_t *streams, int more)
{
    int              ending;
    struct timespec  next;

    pthread_mutex_lock(&streams->lock);

    if (streams->n > 0 && !more && !streams->ending) {
        clock_gettime(CLOCK_MONOTONIC, &next);
        next.tv_nsec += SVW_STREAM_LOOK * 1000 * 1000;
        next.tv_sec += next.tv_nsec / 1000000000;
        next.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&streams->work, &streams->lock, &next);
    }

    while (streams->n == 0 && !streams->ending) {
        pthread_mutex_unlock(&streams->lock);
        svw_db_close(&streams->db);
        pthread_mutex_lock(&streams->lock);

        if (streams->n == 0 && !streams->ending) {
            pthread_cond_wait(&streams->work, &streams->lock);
        }
    }

    ending = streams->ending;
    pthread_mutex_unlock(&streams->lock);

    return ending ? -1 : 0;
}


/* Signs of life, and the end of those that have lived long enough or were not looked at for too long. */
static void
svw_streams_tend(svw_streams_t *streams)
{
    int            n;
    char           text[64];
    int64_t        now;
    svw_stream_t  *stream;

    now = svw_now_ms();
    pthread_mutex_lock(&streams->lock);
    svw_streams_gone(streams);

    for (stream = streams->first; stream != NULL; stream = stream->next) {
        if (now - stream->born > SVW_STREAM_LIFE || now - stream->checked > SVW_STREAM_UNCHECKED) {
            stream->ending = 1;

        } else if (stream->len == 0 && now - stream->spoke > SVW_STREAM_BEAT) {
            /* with the number: what is not for it need not be looked at again */
            n = snprintf(text, sizeof(text), ":\nid: %" PRId64 "\n\n", stream->cursor);
            svw_stream_put(stream, text, (size_t) n);
        }

        if (stream->len > 0 || stream->ending) {
            svw_stream_wake(stream);
        }
    }

    pthread_mutex_unlock(&streams->lock);
}


/* A client that has left is not noticed while its connection is suspended.  The caller has the lock. */
static void
svw_streams_gone(svw_streams_t *streams)
{
    unsigned        i, n;
    svw_stream_t   *stream;
    struct pollfd   fd[SVW_STREAM_MAX];

    for (stream = streams->first, n = 0; stream != NULL; stream = stream->next) {
        fd[n++] = (struct pollfd) { .fd = stream->fd, .events = POLLRDHUP };
    }

    if (poll(fd, n, 0) <= 0) {
        return;
    }

    for (stream = streams->first, i = 0; stream != NULL; stream = stream->next, i++) {
        if (fd[i].revents != 0) {
            stream->ending = 1;
        }
    }
}


static void
svw_stream_wake(svw_stream_t *stream)
{
    if (stream->suspended) {
        stream->suspended = 0;
        MHD_resume_connection(stream->connection);
    }
}


/* -1: there are too many, of all or of this location */
static int
svw_stream_add(svw_streams_t *streams, svw_stream_t *stream)
{
    unsigned       same;
    svw_stream_t  *other;

    pthread_mutex_lock(&streams->lock);

    for (other = streams->first, same = 0; other != NULL; other = other->next) {
        same += other->location == stream->location;
    }

    if (streams->n == SVW_STREAM_MAX || same >= SVW_STREAM_EACH || streams->ending) {
        pthread_mutex_unlock(&streams->lock);
        return -1;
    }

    stream->next = streams->first;

    if (streams->first != NULL) {
        streams->first->previous = stream;
    }

    streams->first = stream;
    streams->n++;

    pthread_cond_signal(&streams->work);
    pthread_mutex_unlock(&streams->lock);

    return 0;
}


/* libmicrohttpd's thread: what is there, or the connection waits until something is */
static ssize_t
svw_stream_read(void *data, uint64_t position, char *out, size_t cap)
{
    size_t         n;
    svw_stream_t  *stream;

    (void) position;

    stream = data;
    pthread_mutex_lock(&stream->streams->lock);

    if (!stream->timed) {
        stream->timed = 1;
        MHD_set_connection_option(stream->connection, MHD_CONNECTION_OPTION_TIMEOUT, (unsigned) SVW_STREAM_SILENT);
    }

    n = stream->len - stream->sent;
    n = n < cap ? n : cap;

    if (stream->ending) {
        pthread_mutex_unlock(&stream->streams->lock);
        return MHD_CONTENT_READER_END_OF_STREAM;
    }

    if (n == 0) {
        stream->suspended = 1;
        MHD_suspend_connection(stream->connection);

    } else {
        memcpy(out, stream->buffer + stream->sent, n);
        stream->sent += n;

        if (stream->sent == stream->len) {
            stream->len = stream->sent = 0;

            if (stream->full) {
                stream->full = 0;
                pthread_cond_signal(&stream->streams->work);
            }
        }
    }

    pthread_mutex_unlock(&stream->streams->lock);

    return (ssize_t) n;
}


/* libmicrohttpd's thread, when the connection is gone; or one that was never a stream */
static void
svw_stream_free(void *data)
{
    svw_stream_t   *stream;
    svw_streams_t  *streams;

    stream = data;
    streams = stream->streams;

    pthread_mutex_lock(&streams->lock);

    if (stream->previous != NULL || streams->first == stream) {
        if (stream->next != NULL) {
            stream->next->previous = stream->previous;
        }

        if (stream->previous != NULL) {
            stream->previous->next = stream->next;
        } else {
            streams->first = stream->next;
        }

        streams->n--;
    }

    pthread_mutex_unlock(&streams->lock);

    free(stream->company);
    free(stream);
}
