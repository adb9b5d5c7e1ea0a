/*
 * Streams of events (text/event-stream).
 *
 * A stream is a connection that libmicrohttpd holds suspended while there is
 * nothing to send.  One thread, with one session of PostgreSQL, looks for events
 * and puts them into the buffers of all streams: a stream holds neither a thread
 * nor a session.
 *
 * A stream's cursor is the number of the last event that was put into its buffer
 * or is not for it; a buffer takes more when it is empty.  So a client that reads
 * slowly falls behind and catches up from the database, costs nobody
 * else anything, and one that does not read at all is dropped; with
 * Last-Event-ID it goes on behind what it has, without loss or double.
 *
 * `lock' is held over the list, all streams in it, and every
 * MHD_suspend_connection() and MHD_resume_connection() of theirs.
 */

#ifndef SVW_API_STREAM_H
#define SVW_API_STREAM_H

#include "svw_api_server.h"


#define SVW_STREAM_MAX       64         /* of this process */
#define SVW_STREAM_EACH      16         /* of one location */
#define SVW_STREAM_BUFFER    (64 * 1024)
#define SVW_STREAM_BATCH     500        /* events read at once */
#define SVW_STREAM_LOOK      200        /* ms between two looks for new events */
#define SVW_STREAM_BEAT      15000      /* ms: something is said at least so often */
#define SVW_STREAM_SILENT    20         /* s: a client that takes nothing is dropped */
#define SVW_STREAM_CHECK     5000       /* ms between two looks whether its client still may */
#define SVW_STREAM_UNCHECKED 60000      /* ms without such a look: it ends */
#define SVW_STREAM_LIFE      (5 * 60 * 1000)    /* ms; the client comes again, with its credential */

typedef struct svw_stream_s  svw_stream_t;

struct svw_stream_s {
    svw_stream_t           *next, *previous;
    svw_streams_t          *streams;
    struct MHD_Connection  *connection;
    int                     fd;         /* its socket; open as long as the stream is in the list */
    int32_t                 location;
    char                   *company;    /* "" sees all */
    int64_t                 cursor;
    size_t                  len, sent;  /* of the buffer */
    int64_t                 born, spoke, checked;       /* ms */
    unsigned                suspended:1;
    unsigned                timed:1;    /* its own timeout is set */
    unsigned                ending:1;
    unsigned                full:1;     /* there is more for it than there was room */
    char                    buffer[SVW_STREAM_BUFFER];
};

struct svw_streams_s {
    pthread_mutex_t         lock;
    pthread_cond_t          work;
    svw_stream_t           *first;
    unsigned                n;
    int                     ending;
    int                     started;
    pthread_t               id;
    svw_db_t                db;
};


/* svw_api_stream.c */
int svw_streams_start(svw_streams_t *streams, svw_conf_t *conf);
void svw_streams_end(svw_streams_t *streams);           /* all of them; their connections close */
int svw_streams_stop(svw_streams_t *streams, int64_t until);    /* after that; -1: its thread does not end */

/* A stream of who asks, behind the event `cursor'. -1: there are too many */
int svw_stream_open(svw_api_request_t *rq, const char *company, int64_t cursor, int reset);

/* Into the empty or begun buffer; -1: there is no room. The caller has the lock. */
int svw_stream_put(svw_stream_t *stream, const char *text, size_t len);

/* svw_api_alert_events.c: one round; 1: there is more to do at once */
int svw_alert_events_round(svw_streams_t *streams);

#endif /* SVW_API_STREAM_H */
