/*
 * The spool's writing side: blocks queue here, a thread of nginx's pool writes
 * all that wait and says which of them the disk has; then they are free again.
 * One call is under way at a time, so while the disk hangs blocks wait, and
 * when no block is free events are dropped.
 *
 * The thread owns `writer' from post to completion, and the blocks in
 * `writing' too.
 */

#include "ngx_sv_event.h"

#if (NGX_THREADS)

#include <unistd.h>


#define NGX_SV_SPOOL_TICK    1000
#define NGX_SV_SPOOL_PATIENT  10            /* ticks, while Redis answers and takes nothing */


struct ngx_sv_spool_s {
    ngx_sv_events_t      *events;
    ngx_sv_replay_t      *replay;           /* NULL: no Redis to send to */
    sv_timer_t           *tick;
    ngx_queue_t           queue;
    ngx_sv_block_t       *writing[SV_SPOOL_BATCH];
    ngx_uint_t            n_writing;
    ngx_thread_task_t     task;
    sv_spool_writer_t     writer;
    ngx_uint_t            ticks;            /* since a segment was handed over */
    unsigned              busy:1;           /* the thread has the writer */
    unsigned              failing:1;        /* and it was told */
    unsigned              full:1;           /* and it was told */
};


static void ngx_sv_spool_post(ngx_sv_spool_t *spool, ngx_uint_t seal);
static void ngx_sv_spool_prepare(ngx_sv_spool_t *spool);
static void ngx_sv_spool_thread(void *data, ngx_log_t *log);
static void ngx_sv_spool_written(ngx_event_t *ev);
static void ngx_sv_spool_settle(ngx_sv_spool_t *spool);
static void ngx_sv_spool_tell(ngx_sv_spool_t *spool);
static ngx_atomic_int_t ngx_sv_spool_bytes(const ngx_sv_block_t *block);
static void ngx_sv_spool_tick(void *data);


ngx_sv_spool_t *
ngx_sv_spool_create(ngx_sv_events_t *events)
{
    ngx_sv_spool_t  *spool;

    spool = ngx_calloc(sizeof(ngx_sv_spool_t), ngx_cycle->log);
    if (spool == NULL) {
        return NULL;
    }

    spool->events = events;
    ngx_queue_init(&spool->queue);

    spool->writer.directory = (const char *) events->conf->spool->name.data;
    spool->writer.gateway = (const char *) events->conf->gateway;
    spool->writer.boot = events->boot;
    spool->writer.fd = -1;

    spool->task.ctx = spool;
    spool->task.handler = ngx_sv_spool_thread;
    spool->task.event.handler = ngx_sv_spool_written;
    spool->task.event.data = spool;
    spool->task.event.log = ngx_cycle->log;

    spool->replay = ngx_sv_replay_create(events);
    spool->tick = events->worker->loop->timer(events->worker->loop, ngx_sv_spool_tick, spool);

    if (spool->replay == NULL || spool->tick == NULL) {
        return NULL;
    }

    events->worker->loop->timer_set(spool->tick, NGX_SV_SPOOL_TICK);

    return spool;
}


void
ngx_sv_spool_add(ngx_sv_spool_t *spool, ngx_sv_block_t *block)
{
    ngx_atomic_t      *used;
    ngx_atomic_int_t   bytes;

    used = &ngx_sv_stats(spool->events->conf)->spool_bytes;
    bytes = ngx_sv_spool_bytes(block);

    /* its room is taken now: other processes do the same */
    if ((ngx_atomic_int_t) ngx_atomic_fetch_add(used, bytes) + bytes > spool->events->conf->spool_limit) {
        (void) ngx_atomic_fetch_add(used, -bytes);
        ngx_sv_count_n(NGX_SV_EVENT_SPOOL_FULL, block->n);
        ngx_sv_block_free(block);

        if (!spool->full) {
            spool->full = 1;
            ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0, "serial_verify: the spool \"%s\" is full, scan events are"
                          " dropped", spool->writer.directory);
        }

        return;
    }

    spool->full = 0;
    ngx_queue_insert_tail(&spool->queue, &block->link);

    if (!spool->busy && !spool->events->ending) {
        ngx_sv_spool_post(spool, 0);
    }
}


static void
ngx_sv_spool_post(ngx_sv_spool_t *spool, ngx_uint_t seal)
{
    ngx_sv_spool_prepare(spool);
    spool->writer.seal = seal != 0;
    spool->busy = 1;

    if (ngx_thread_task_post(spool->events->conf->threads, &spool->task) != NGX_OK) {
        /* as if the disk had refused */
        spool->writer.written = 0;
        spool->writer.error = EAGAIN;
        spool->writer.what = "thread";
        ngx_sv_spool_settle(spool);
    }
}


/* What waits goes over to the writer. */
static void
ngx_sv_spool_prepare(ngx_sv_spool_t *spool)
{
    ngx_queue_t     *q;
    ngx_sv_block_t  *block;

    for (spool->n_writing = 0;
         spool->n_writing < SV_SPOOL_BATCH && !ngx_queue_empty(&spool->queue);
         spool->n_writing++)
    {
        q = ngx_queue_head(&spool->queue);
        ngx_queue_remove(q);
        block = ngx_queue_data(q, ngx_sv_block_t, link);

        spool->writing[spool->n_writing] = block;
        spool->writer.block[spool->n_writing].data = block->data;
        spool->writer.block[spool->n_writing].len = (uint32_t) block->len;
        spool->writer.block[spool->n_writing].n = (uint32_t) block->n;
    }

    spool->writer.blocks = (unsigned) spool->n_writing;
    spool->writer.done = 0;
}


static void
ngx_sv_spool_thread(void *data, ngx_log_t *log)
{
    ngx_sv_spool_t  *spool = data;

    sv_spool_write(&spool->writer);
}


static void
ngx_sv_spool_written(ngx_event_t *ev)
{
    ngx_sv_spool_t  *spool;

    spool = ev->data;

    ngx_sv_spool_settle(spool);

    if (!ngx_queue_empty(&spool->queue)) {
        ngx_sv_spool_post(spool, 0);
    }
}


/* The writer is ours again: what it has written is safe, the rest is lost. */
static void
ngx_sv_spool_settle(ngx_sv_spool_t *spool)
{
    ngx_uint_t       i;
    ngx_sv_block_t  *block;

    spool->busy = 0;

    for (i = 0; i < spool->n_writing; i++) {
        block = spool->writing[i];

        if (i < spool->writer.written) {
            ngx_sv_count_n(NGX_SV_EVENT_SPOOLED, block->n);

        } else {
            ngx_sv_count_n(NGX_SV_EVENT_SPOOL_FAILED, block->n);
            (void) ngx_atomic_fetch_add(&ngx_sv_stats(spool->events->conf)->spool_bytes,
                                        -ngx_sv_spool_bytes(block));
        }

        ngx_sv_block_free(block);
    }

    spool->n_writing = 0;
    ngx_sv_spool_tell(spool);
}


static void
ngx_sv_spool_tell(ngx_sv_spool_t *spool)
{
    if (spool->writer.error != 0 && !spool->failing) {
        spool->failing = 1;
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, spool->writer.error,
                      "serial_verify: %s failed in the spool \"%s\", scan events are dropped", spool->writer.what,
                      spool->writer.directory);

    } else if (spool->writer.error == 0 && spool->failing && spool->writer.written != 0) {
        spool->failing = 0;
        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0, "serial_verify: the spool \"%s\" is written again",
                      spool->writer.directory);
    }
}


static ngx_atomic_int_t
ngx_sv_spool_bytes(const ngx_sv_block_t *block)
{
    return (ngx_atomic_int_t) (SV_SPOOL_HEAD + block->len);
}


/* When Redis answers again, what was written is handed over to be sent: that is how a Redis that refused is tried, too. */
static void
ngx_sv_spool_tick(void *data)
{
    ngx_sv_spool_t  *spool = data;

    spool->ticks++;

    if (!spool->busy && spool->writer.fd != -1 && ngx_sv_events_usable(spool->events)
        && (!spool->events->refused || spool->ticks >= NGX_SV_SPOOL_PATIENT))
    {
        spool->ticks = 0;
        ngx_sv_spool_post(spool, 1);
    }

    ngx_sv_replay_tick(spool->replay);

    spool->events->worker->loop->timer_set(spool->tick, NGX_SV_SPOOL_TICK);
}


/* nginx has ended its threads, each after the call that it had begun. */
void
ngx_sv_spool_last(ngx_sv_spool_t *spool)
{
    if (spool->busy) {
        if (!__atomic_load_n(&spool->writer.done, __ATOMIC_ACQUIRE)) {
            sv_spool_write(&spool->writer);
        }

        ngx_sv_spool_settle(spool);
    }

    while (!ngx_queue_empty(&spool->queue)) {
        ngx_sv_spool_prepare(spool);
        sv_spool_write(&spool->writer);
        ngx_sv_spool_settle(spool);
    }
}


void
ngx_sv_spool_destroy(ngx_sv_spool_t *spool)
{
    if (spool->writer.fd != -1) {
        (void) close(spool->writer.fd);
    }

    ngx_sv_replay_destroy(spool->replay);
    spool->events->worker->loop->timer_free(spool->tick);
    ngx_free(spool);
}

#endif
