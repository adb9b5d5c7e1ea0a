/*
 * Scan events: every verdict of a verify is a line in a block; a block leaves
 * for Redis when it is full or NGX_SV_EVENT_DELAY old, and nobody waits for it.
 * What Redis does not take, or does not answer, goes to the spool.
 *
 * An operation is no event: its row of the audit trail tells more, and is
 * never lost.
 */

#include "ngx_sv_event.h"

#include <math.h>
#include <openssl/rand.h>


#define NGX_SV_EVENT_DELAY   20             /* ms */
#define NGX_SV_EVENT_LATE    100            /* ms: an answer that takes longer is not waited for by more blocks */
#define NGX_SV_EVENT_HOLD    500            /* ms */
#define NGX_SV_EVENT_LAST    200            /* ms, at the end of a process */
#define NGX_SV_EVENT_PAST    (14 * INT64_C(86400000))
#define NGX_SV_EVENT_AHEAD   (5 * 60000)

/* A stream that nobody reads does not grow without end, and nothing is cut off from one that is read late. */
#define NGX_SV_EVENT_SCRIPT                                                                         \
    "if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[1]) then\n"                                    \
    "  return redis.error_reply('FULL the stream holds as many blocks as it may')\n"                \
    "end\n"                                                                                         \
    "return redis.call('XADD', KEYS[1], '*', 'g', ARGV[2], 'b', ARGV[3], 'e', ARGV[4])\n"


static ngx_int_t ngx_sv_events_connect(ngx_sv_events_t *events);
static void ngx_sv_event_fill(sv_event_t *event, const ngx_sv_ctx_t *ctx, const ngx_sv_pack_t *pack,
    const ngx_sv_order_t *order, const ngx_sv_judgement_t *judgement);
static int64_t ngx_sv_event_occurred(const ngx_sv_order_t *order, int64_t at);
static sv_span_t ngx_sv_event_text(const char *text);
static ngx_uint_t ngx_sv_events_room(ngx_sv_events_t *events);
static void ngx_sv_events_leave(ngx_sv_events_t *events);
static void ngx_sv_block_answered(void *data, const redisReply *reply);
static void ngx_sv_block_unsent(ngx_sv_block_t *block);
static void ngx_sv_events_timer(ngx_event_t *ev);
static void ngx_sv_events_hold(ngx_event_t *ev);


static const char *const  ngx_sv_event_scripts[] = { NGX_SV_EVENT_SCRIPT };


ngx_sv_events_t *
ngx_sv_events_create(ngx_sv_worker_t *worker, ngx_log_t *log)
{
    uint64_t          noise;
    ngx_uint_t        i;
    ngx_time_t       *tp;
    ngx_sv_events_t  *events;

    /* not ngx_calloc(): pages of blocks that are never used are never touched */
    events = calloc(1, sizeof(ngx_sv_events_t));
    if (events == NULL) {
        return NULL;
    }

    events->worker = worker;
    events->conf = worker->conf;
    ngx_queue_init(&events->free);
    ngx_queue_init(&events->sent);

    for (i = 0; i < NGX_SV_BLOCKS; i++) {
        events->block[i].events = events;
        ngx_queue_insert_tail(&events->free, &events->block[i].link);
    }

    events->timer.handler = ngx_sv_events_timer;
    events->timer.data = events;
    events->timer.log = log;
    events->hold.handler = ngx_sv_events_hold;
    events->hold.data = events;
    events->hold.log = log;

    /* later processes have greater ones; two that start in one millisecond differ by chance */
    tp = ngx_timeofday();
    events->boot = ((uint64_t) tp->sec * 1000 + tp->msec) << 21;

    if (RAND_bytes((u_char *) &noise, sizeof(noise)) != 1 || ngx_sv_who_init(&events->who) != NGX_OK) {
        ngx_free(events);
        return NULL;
    }

    events->boot |= noise & ((1 << 21) - 1);

    if (ngx_sv_events_connect(events) != NGX_OK) {
        return NULL;
    }

    return events;
}


/* A connection of its own: a block of events delays no look-up. */
static ngx_int_t
ngx_sv_events_connect(ngx_sv_events_t *events)
{
    sv_redis_conf_t      redis;
    ngx_sv_main_conf_t  *conf;

    conf = events->conf;

    if (conf->redis == 1) {
        ngx_memzero(&redis, sizeof(sv_redis_conf_t));
        ngx_sv_process_redis(conf, &redis);
        redis.max_in_flight = NGX_SV_BLOCKS + SV_SPOOL_BATCH;
        redis.scripts = ngx_sv_event_scripts;
        redis.n_scripts = 1;

        events->redis = sv_redis_create(events->worker->loop, &redis);
        if (events->redis == NULL) {
            return NGX_ERROR;
        }
    }

    if (conf->spool != NULL) {
        events->spool = ngx_sv_spool_create(events);
        if (events->spool == NULL) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/*
 * The end of the process: Redis gets a moment to answer, and what it has not
 * answered then is written.
 */
void
ngx_sv_events_destroy(ngx_sv_events_t *events)
{
    events->ending = 1;
    ngx_sv_events_leave(events);

    /* what is not answered is called back by the end of the connection, and goes to the spool */
    if (events->redis != NULL) {
        sv_redis_drain(events->redis, NGX_SV_EVENT_LAST);
        sv_redis_destroy(events->redis);
        events->redis = NULL;
    }

    if (events->spool != NULL) {
        ngx_sv_spool_last(events->spool);
        ngx_sv_spool_destroy(events->spool);
    }

    if (events->hold.timer_set) {
        ngx_del_timer(&events->hold);
    }

    ngx_sv_who_done(&events->who);
    ngx_free(events);
}


void
ngx_sv_event_verified(ngx_http_request_t *r, const ngx_sv_ctx_t *ctx, const ngx_sv_pack_t *pack,
    const ngx_sv_order_t *order, const ngx_sv_judgement_t *judgement, ngx_uint_t hint)
{
    size_t            len;
    u_char            token[SV_EVENT_SESSION];
    sv_event_t        event;
    ngx_sv_block_t   *block;
    ngx_sv_events_t  *events;

    events = ngx_sv_worker()->events;

    if (events == NULL) {
        return;
    }

    /* dropped events keep their numbers: who reads them counts what is missing */
    event.sequence = ++events->sequence;

    if (events->redis == NULL && events->spool == NULL) {
        ngx_sv_count(NGX_SV_EVENT_NOWHERE);
        return;
    }

    if (!ngx_sv_events_room(events)) {
        ngx_sv_count(NGX_SV_EVENT_MEMORY);
        return;
    }

    ngx_sv_event_fill(&event, ctx, pack, order, judgement);
    event.hint = hint != 0;

    if (ctx->location.role == SV_ROLE_NONE) {
        event.session.data = token;
        event.session.len = ngx_sv_who_token(&events->who, events->worker->ref, r, token);
        ngx_sv_who_place(r, &event);
    }

    block = events->filling;
    len = sv_event_line((char *) block->data + block->len, SV_SPOOL_DATA - block->len, &event);

    if (len == 0) {
        ngx_sv_count(NGX_SV_EVENT_INVALID);
        return;
    }

    block->len += len;

    if (block->n++ == 0) {
        ngx_add_timer(&events->timer, NGX_SV_EVENT_DELAY);
    }
}


static void
ngx_sv_event_fill(sv_event_t *event, const ngx_sv_ctx_t *ctx, const ngx_sv_pack_t *pack,
    const ngx_sv_order_t *order, const ngx_sv_judgement_t *judgement)
{
    ngx_time_t  *tp;

    tp = ngx_timeofday();

    event->at_ms = (int64_t) tp->sec * 1000 + (int64_t) tp->msec;
    event->occurred_ms = ngx_sv_event_occurred(order, event->at_ms);
    event->gtin = pack->gtin;
    event->serial.data = pack->serial;
    event->serial.len = pack->serial_len;
    event->lot.data = pack->lot;
    event->lot.len = pack->lot_given ? pack->lot_len : 0;
    event->expiry.data = pack->expiry_text;
    event->expiry.len = pack->expiry_given ? sizeof(pack->expiry_text) : 0;
    event->location = ctx->location.id;
    event->session.len = 0;
    event->country[0] = '\0';
    event->lat = NAN;
    event->lon = NAN;
    event->accuracy_km = 0;

    if (order->entry_mode != NULL) {
        event->entry_mode = ngx_sv_event_text(order->entry_mode);

    } else {
        event->entry_mode.data = ctx->entry_mode.data;
        event->entry_mode.len = ctx->entry_mode_checked ? ctx->entry_mode.len : 0;
    }

    event->reason = judgement->truth;
    event->alert_id = ngx_sv_event_text(judgement->alert);
    event->request_id.data = ctx->request_id;
    event->request_id.len = NGX_SV_REQUEST_ID;
    event->silent = ctx->silent;
}


/* A time that an operation would be refused for is not believed of a verify. */
static int64_t
ngx_sv_event_occurred(const ngx_sv_order_t *order, int64_t at)
{
    if (order->occurred_at_len == 0 || order->occurred_ms < at - NGX_SV_EVENT_PAST
        || order->occurred_ms > at + NGX_SV_EVENT_AHEAD)
    {
        return 0;
    }

    return order->occurred_ms;
}


static sv_span_t
ngx_sv_event_text(const char *text)
{
    sv_span_t  span;

    span.data = (const uint8_t *) text;
    span.len = ngx_strlen(text);

    return span;
}


/* Is there a block that takes one more line? */
static ngx_uint_t
ngx_sv_events_room(ngx_sv_events_t *events)
{
    ngx_queue_t     *q;
    ngx_sv_block_t  *block;

    if (events->filling != NULL) {
        if (SV_SPOOL_DATA - events->filling->len >= SV_EVENT_LINE) {
            return 1;
        }

        ngx_sv_events_leave(events);
    }

    if (ngx_queue_empty(&events->free)) {
        if (!events->full) {
            events->full = 1;
            ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                          "serial_verify: scan events are dropped: neither Redis nor the disk takes"
                          " them fast enough");
        }

        return 0;
    }

    events->full = 0;

    q = ngx_queue_head(&events->free);
    ngx_queue_remove(q);

    block = ngx_queue_data(q, ngx_sv_block_t, link);
    block->len = 0;
    block->n = 0;
    events->filling = block;

    return 1;
}


static void
ngx_sv_events_leave(ngx_sv_events_t *events)
{
    ngx_sv_block_t  *block;

    if (events->timer.timer_set) {
        ngx_del_timer(&events->timer);
    }

    block = events->filling;

    if (block == NULL || block->n == 0) {
        return;
    }

    events->filling = NULL;
    events->in_flight++;

    if (!events->hold.timer_set) {
        ngx_add_timer(&events->hold, NGX_SV_EVENT_HOLD);
    }

    if (ngx_sv_events_usable(events)
        && ngx_sv_events_xadd(events, (const char *) events->conf->gateway, events->boot, block->data,
                              block->len, ngx_sv_block_answered, block) == NGX_OK)
    {
        ngx_queue_insert_tail(&events->sent, &block->link);
        return;
    }

    ngx_sv_block_unsent(block);
}


ngx_uint_t
ngx_sv_events_usable(ngx_sv_events_t *events)
{
    return events->redis != NULL && sv_redis_ready(events->redis)
           && !sv_redis_late(events->redis, NGX_SV_EVENT_LATE);
}


ngx_int_t
ngx_sv_events_xadd(ngx_sv_events_t *events, const char *gateway, uint64_t boot, u_char *data, size_t len,
    sv_redis_reply_pt handler, void *data_of_handler)
{
    u_char       limit[NGX_INT_T_LEN], number[NGX_INT64_LEN];
    size_t       lengths[5];
    const char  *argv[5];

    argv[0] = SV_EVENT_STREAM;
    lengths[0] = sizeof(SV_EVENT_STREAM) - 1;
    argv[1] = (char *) limit;
    lengths[1] = (size_t) (ngx_sprintf(limit, "%i", events->conf->events_limit) - limit);
    argv[2] = gateway;
    lengths[2] = ngx_strlen(gateway);
    argv[3] = (char *) number;
    lengths[3] = (size_t) (ngx_sprintf(number, "%uL", boot) - number);
    argv[4] = (char *) data;
    lengths[4] = len;

    return sv_redis_script(events->redis, 0, 1, 5, argv, lengths, handler, data_of_handler) != NULL
           ? NGX_OK : NGX_ERROR;
}


/* Without an answer Redis may have it all the same: it comes again from the spool, and is known by its identity. */
static void
ngx_sv_block_answered(void *data, const redisReply *reply)
{
    ngx_sv_block_t  *block = data;

    ngx_queue_remove(&block->link);
    ngx_sv_events_answered(block->events, reply);

    if (reply != NULL && reply->type != REDIS_REPLY_ERROR) {
        ngx_sv_count_n(NGX_SV_EVENT_SENT, block->n);
        ngx_sv_block_free(block);
        return;
    }

    ngx_sv_block_unsent(block);
}


void
ngx_sv_events_answered(ngx_sv_events_t *events, const redisReply *reply)
{
    ngx_str_t  text;

    /* connections that are lost are the client's to tell */
    if (reply == NULL) {
        return;
    }

    if (reply->type != REDIS_REPLY_ERROR) {
        if (events->refused) {
            events->refused = 0;
            ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0, "serial_verify: Redis takes scan events again");
        }

        return;
    }

    if (!events->refused) {
        events->refused = 1;
        text.data = (u_char *) reply->str;
        text.len = ngx_min((size_t) reply->len, 128);
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0, "serial_verify: Redis takes no scan events: %V%s", &text,
                      events->spool != NULL ? "; they go to the spool" : "; they are dropped");
    }
}


static void
ngx_sv_block_unsent(ngx_sv_block_t *block)
{
    ngx_sv_events_t  *events;

    events = block->events;

    if (events->spool != NULL) {
        ngx_sv_spool_add(events->spool, block);
        return;
    }

    ngx_sv_count_n(NGX_SV_EVENT_NO_SPOOL, block->n);
    ngx_sv_block_free(block);
}


void
ngx_sv_block_free(ngx_sv_block_t *block)
{
    ngx_sv_events_t  *events;

    events = block->events;

    ngx_queue_insert_head(&events->free, &block->link);

    /* a process that waited for this may end now */
    if (--events->in_flight == 0 && ngx_exiting && events->hold.timer_set) {
        ngx_del_timer(&events->hold);
    }
}


const char *
ngx_sv_events_way(ngx_sv_events_t *events)
{
    if (events == NULL) {
        return "off";
    }

    if (ngx_sv_events_usable(events) && !events->refused) {
        return "redis";
    }

    return events->spool != NULL ? "spool" : "nowhere";
}


ngx_uint_t
ngx_sv_events_in_flight(ngx_sv_events_t *events)
{
    return events != NULL ? events->in_flight : 0;
}


static void
ngx_sv_events_timer(ngx_event_t *ev)
{
    ngx_sv_events_leave(ev->data);
}


static void
ngx_sv_events_hold(ngx_event_t *ev)
{
    ngx_sv_events_t  *events;

    events = ev->data;

    if (events->in_flight != 0) {
        ngx_add_timer(&events->hold, NGX_SV_EVENT_HOLD);
    }
}
