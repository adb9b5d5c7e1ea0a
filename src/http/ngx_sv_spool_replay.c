/*
 * The spool's sending side.  Once a second a thread looks for a segment that is
 * complete, of this process or of any other that lives or lived; one process
 * of the gateway at a time does so, by the directory's lock.  Its blocks go to
 * Redis, a batch at a time, and when Redis has answered for all of them the
 * segment is removed.  What Redis does not take is tried again a second later;
 * what comes twice is known by its identity.
 *
 * The thread owns `reader' from post to completion.
 */

#include "ngx_sv_event.h"

#if (NGX_THREADS)


typedef enum {
    NGX_SV_REPLAY_IDLE = 0,
    NGX_SV_REPLAY_SCAN,
    NGX_SV_REPLAY_READ,
    NGX_SV_REPLAY_SEND,                     /* the loop waits for Redis, no thread runs */
    NGX_SV_REPLAY_REMOVE,
    NGX_SV_REPLAY_ASIDE,
    NGX_SV_REPLAY_RELEASE
} ngx_sv_replay_stage_e;

struct ngx_sv_replay_s {
    ngx_sv_events_t        *events;
    ngx_sv_replay_stage_e   stage;
    ngx_thread_task_t       task;
    ngx_uint_t              open;           /* SCAN: there is somebody to send to */
    ngx_atomic_uint_t       bytes;          /* of the spool, when the scan was posted */
    ngx_uint_t              waiting;        /* SEND: replies to come */
    ngx_uint_t              taken;          /* SEND: of the blocks, without a gap */
    unsigned                refused:1;      /* SEND: one of them was not taken */
    unsigned                failing:1;      /* and it was told */
    sv_spool_reader_t       reader;
};


static void ngx_sv_replay_post(ngx_sv_replay_t *replay, ngx_sv_replay_stage_e stage);
static void ngx_sv_replay_thread(void *data, ngx_log_t *log);
static void ngx_sv_replay_done(ngx_event_t *ev);
static void ngx_sv_replay_scanned(ngx_sv_replay_t *replay);
static void ngx_sv_replay_send(ngx_sv_replay_t *replay);
static void ngx_sv_replay_answered(void *data, const redisReply *reply);
static void ngx_sv_replay_sent(ngx_sv_replay_t *replay);
static void ngx_sv_replay_gone(ngx_sv_replay_t *replay);
static void ngx_sv_replay_tell(ngx_sv_replay_t *replay);
static void ngx_sv_replay_tell_bad(ngx_sv_replay_t *replay);


ngx_sv_replay_t *
ngx_sv_replay_create(ngx_sv_events_t *events)
{
    ngx_sv_replay_t  *replay;

    replay = ngx_calloc(sizeof(ngx_sv_replay_t), ngx_cycle->log);
    if (replay == NULL) {
        return NULL;
    }

    replay->events = events;
    replay->reader.directory = (const char *) events->conf->spool->name.data;
    replay->reader.lock = -1;
    replay->reader.fd = -1;

    replay->task.ctx = replay;
    replay->task.handler = ngx_sv_replay_thread;
    replay->task.event.handler = ngx_sv_replay_done;
    replay->task.event.data = replay;
    replay->task.event.log = ngx_cycle->log;

    return replay;
}


void
ngx_sv_replay_tick(ngx_sv_replay_t *replay)
{
    if (replay->stage != NGX_SV_REPLAY_IDLE || ngx_exiting) {
        return;
    }

    /* without Redis only to know how full the spool is */
    replay->open = ngx_sv_events_usable(replay->events);
    ngx_sv_replay_post(replay, NGX_SV_REPLAY_SCAN);
}


static void
ngx_sv_replay_post(ngx_sv_replay_t *replay, ngx_sv_replay_stage_e stage)
{
    replay->stage = stage;
    replay->bytes = ngx_sv_stats(replay->events->conf)->spool_bytes;

    if (ngx_thread_task_post(replay->events->conf->threads, &replay->task) != NGX_OK) {
        sv_spool_release(&replay->reader);
        replay->stage = NGX_SV_REPLAY_IDLE;
    }
}


static void
ngx_sv_replay_thread(void *data, ngx_log_t *log)
{
    ngx_sv_replay_t  *replay = data;

    switch (replay->stage) {

    case NGX_SV_REPLAY_SCAN:
        sv_spool_scan(&replay->reader, replay->open != 0);
        break;

    case NGX_SV_REPLAY_READ:
        sv_spool_read(&replay->reader);
        break;

    case NGX_SV_REPLAY_REMOVE:
        sv_spool_remove(&replay->reader);
        break;

    case NGX_SV_REPLAY_ASIDE:
        sv_spool_set_aside(&replay->reader);
        break;

    default:
        sv_spool_release(&replay->reader);
        break;
    }
}


static void
ngx_sv_replay_done(ngx_event_t *ev)
{
    ngx_sv_replay_t  *replay;

    replay = ev->data;

    if (replay->stage == NGX_SV_REPLAY_READ && replay->reader.bad) {
        ngx_sv_replay_tell_bad(replay);
        ngx_sv_replay_post(replay, NGX_SV_REPLAY_ASIDE);
        return;
    }

    ngx_sv_replay_tell(replay);

    switch (replay->stage) {

    case NGX_SV_REPLAY_SCAN:
        ngx_sv_replay_scanned(replay);
        break;

    case NGX_SV_REPLAY_READ:
        ngx_sv_replay_send(replay);
        break;

    case NGX_SV_REPLAY_REMOVE:
    case NGX_SV_REPLAY_ASIDE:
        ngx_sv_replay_gone(replay);
        break;

    default:
        replay->stage = NGX_SV_REPLAY_IDLE;
        break;
    }
}


/* The segment is no more, the next one comes. */
static void
ngx_sv_replay_gone(ngx_sv_replay_t *replay)
{
    if (replay->reader.error != 0) {
        ngx_sv_replay_post(replay, NGX_SV_REPLAY_RELEASE);
        return;
    }

    if (replay->stage == NGX_SV_REPLAY_ASIDE) {
        ngx_sv_count(NGX_SV_SPOOL_BAD);
    }

    (void) ngx_atomic_fetch_add(&ngx_sv_stats(replay->events->conf)->spool_bytes,
                                -(ngx_atomic_int_t) replay->reader.size);

    ngx_sv_replay_post(replay, ngx_exiting ? NGX_SV_REPLAY_RELEASE : NGX_SV_REPLAY_SCAN);
}


static void
ngx_sv_replay_scanned(ngx_sv_replay_t *replay)
{
    ngx_atomic_t  *bytes;

    /* what the processes have added up is put right, unless one of them adds just now */
    if (replay->reader.looked && replay->reader.error == 0) {
        bytes = &ngx_sv_stats(replay->events->conf)->spool_bytes;
        (void) ngx_atomic_cmp_set(bytes, replay->bytes, (ngx_atomic_uint_t) replay->reader.total);
    }

    if (replay->reader.fd == -1) {
        replay->stage = NGX_SV_REPLAY_IDLE;
        return;
    }

    ngx_sv_replay_post(replay, NGX_SV_REPLAY_READ);
}


static void
ngx_sv_replay_send(ngx_sv_replay_t *replay)
{
    ngx_uint_t          i;
    sv_spool_reader_t  *reader;

    reader = &replay->reader;

    replay->stage = NGX_SV_REPLAY_SEND;
    replay->refused = reader->error != 0 || ngx_exiting;
    replay->taken = 0;
    replay->waiting = 1;

    for (i = 0; i < reader->blocks && !replay->refused; i++) {

        if (!ngx_sv_events_usable(replay->events)
            || ngx_sv_events_xadd(replay->events, reader->block[i].head.gateway, reader->block[i].head.boot,
                                  reader->block[i].data, reader->block[i].head.len, ngx_sv_replay_answered,
                                  replay) != NGX_OK)
        {
            replay->refused = 1;
            break;
        }

        replay->waiting++;
    }

    if (--replay->waiting == 0) {
        ngx_sv_replay_sent(replay);
    }
}


/* Redis answers in order, so what was taken before the first refusal has no gap. */
static void
ngx_sv_replay_answered(void *data, const redisReply *reply)
{
    ngx_sv_replay_t  *replay = data;

    ngx_sv_events_answered(replay->events, reply);

    if (reply == NULL || reply->type == REDIS_REPLY_ERROR) {
        replay->refused = 1;

    } else if (!replay->refused) {
        ngx_sv_count_n(NGX_SV_EVENT_REPLAYED, replay->reader.block[replay->taken].head.n);
        replay->reader.next = replay->reader.block[replay->taken].end;
        replay->taken++;
    }

    if (--replay->waiting == 0 && !replay->events->ending) {
        ngx_sv_replay_sent(replay);
    }
}


static void
ngx_sv_replay_sent(ngx_sv_replay_t *replay)
{
    sv_spool_reader_t  *reader;

    reader = &replay->reader;

    if (replay->refused || replay->taken != reader->blocks) {
        ngx_sv_replay_post(replay, NGX_SV_REPLAY_RELEASE);
        return;
    }

    if (!reader->end) {
        ngx_sv_replay_post(replay, NGX_SV_REPLAY_READ);
        return;
    }

    if (reader->torn != 0) {
        ngx_sv_count(NGX_SV_SPOOL_TORN);
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0, "serial_verify: the last %O bytes of \"%s/%s\" are no whole"
                      " block: who wrote them died", reader->torn, reader->directory, reader->name);
    }

    ngx_sv_replay_post(replay, NGX_SV_REPLAY_REMOVE);
}


static void
ngx_sv_replay_tell(ngx_sv_replay_t *replay)
{
    if (replay->reader.error != 0 && !replay->failing) {
        replay->failing = 1;
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, replay->reader.error,
                      "serial_verify: %s failed in the spool \"%s\", it is not sent", replay->reader.what,
                      replay->reader.directory);

    } else if (replay->reader.error == 0) {
        replay->failing = 0;
    }
}


/* One that cannot be renamed either is tried again every second: that failure is told once. */
static void
ngx_sv_replay_tell_bad(ngx_sv_replay_t *replay)
{
    sv_spool_reader_t  *reader;

    reader = &replay->reader;

    if (replay->failing) {
        return;
    }

    ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, reader->error, "serial_verify: \"%s/%s\" %s and is set aside as \"%s"
                  SV_SPOOL_BAD "\", its scan events are not sent: look at the disk, then give it its name again to have it"
                  " tried once more, or remove it", reader->directory, reader->name,
                  reader->error != 0 ? "cannot be read" : "is no segment of this version", reader->name);
}


/* No thread runs; Redis has called back. */
void
ngx_sv_replay_destroy(ngx_sv_replay_t *replay)
{
    sv_spool_release(&replay->reader);
    ngx_free(replay);
}

#endif
