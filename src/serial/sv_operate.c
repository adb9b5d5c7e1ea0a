#include "sv_operate_params.h"

#include <stdlib.h>


/* SQLSTATE: what PostgreSQL gave up because of our own time limits, without effect */
#define SV_SQLSTATE_LOCK_TIMEOUT    "55P03"
#define SV_SQLSTATE_QUERY_CANCELED  "57014"


#define SV_OPERATE_BUCKETS  256             /* a power of two */


/*
 * Owned by the service from sv_operate_start() until it is finished.  The
 * handler is NULL once forgotten.  Either it waits behind another on the same
 * pack, or its query or its command is under way.
 */
struct sv_operation_s {
    sv_operate_t        *operate;
    sv_operation_t      *bucket_next;       /* packs with an operation under way */
    sv_operation_t      *behind;            /* the next that waits for the same pack */
    sv_operation_t      *last;              /* of the one under way: the end of that queue */
    sv_pg_pool_t        *pool;
    sv_operation_t      *prev, *next;       /* of those that wait for the cache, in order of time */
    sv_operate_pt        handler;
    void                *data;
    sv_redis_command_t  *command;
    uint64_t             give_up_at;
    uint64_t             gtin;
    uint8_t              serial_len;
    sv_outcome_t         outcome;
    sv_operate_params_t  params;
};


struct sv_operate_s {
    sv_loop_t           *loop;
    sv_cache_t          *cache;
    sv_timer_t          *timeout;
    sv_operation_t      *head, *tail;
    unsigned             in_flight;
    sv_operate_stats_t   stats;
    sv_operation_t      *buckets[SV_OPERATE_BUCKETS];
};


static sv_operation_t **sv_operation_slot(sv_operation_t *op);
static void sv_operation_queue(sv_operation_t *op, sv_operation_t *ahead);
static int sv_operation_send(sv_operation_t *op);
static void sv_operation_let_in(sv_operation_t *op);
static void sv_operation_decided(void *data, const sv_pg_reply_t *reply);
static int sv_operation_write_cache(sv_operation_t *op);
static void sv_operation_written(void *data, const redisReply *reply);
static void sv_operation_finish(sv_operation_t *op);
static void sv_operation_unlink(sv_operation_t *op);
static void sv_operate_timeout(void *data);


sv_operate_t *
sv_operate_create(sv_loop_t *loop, sv_cache_t *cache)
{
    sv_operate_t  *operate;

    operate = calloc(1, sizeof(sv_operate_t));
    if (operate == NULL) {
        return NULL;
    }

    operate->loop = loop;
    operate->cache = cache;
    operate->timeout = loop->timer(loop, sv_operate_timeout, operate);

    if (operate->timeout == NULL) {
        free(operate);
        return NULL;
    }

    return operate;
}


void
sv_operate_destroy(sv_operate_t *operate)
{
    operate->loop->timer_free(operate->timeout);
    free(operate);
}


sv_operation_t *
sv_operate_start(sv_operate_t *operate, sv_pg_pool_t *pool,
    const sv_operate_request_t *request, sv_operate_pt handler, void *data)
{
    sv_operation_t  *op, *ahead;

    if (request->serial.len > SV_SERIAL_MAX || request->lot.len > SV_LOT_MAX
        || request->key.len > SV_KEY_MAX)
    {
        return NULL;
    }

    op = calloc(1, sizeof(sv_operation_t));
    if (op == NULL) {
        return NULL;
    }

    op->operate = operate;
    op->handler = handler;
    op->data = data;
    op->gtin = request->gtin;
    op->serial_len = (uint8_t) request->serial.len;

    op->pool = pool;

    if (!sv_operate_params(&op->params, request)) {
        free(op);
        return NULL;
    }

    ahead = *sv_operation_slot(op);

    if (ahead != NULL) {
        sv_operation_queue(op, ahead);

    } else if (!sv_operation_send(op)) {
        free(op);
        operate->stats.not_done++;
        return NULL;
    }

    operate->in_flight++;

    return op;
}


void
sv_operate_forget(sv_operation_t *op)
{
    op->handler = NULL;
}


unsigned
sv_operate_in_flight(const sv_operate_t *operate)
{
    return operate->in_flight;
}


void
sv_operate_stats(const sv_operate_t *operate, sv_operate_stats_t *stats)
{
    *stats = operate->stats;
}


/* Where the operation under way on the same pack is, or NULL stands in its place. */
static sv_operation_t **
sv_operation_slot(sv_operation_t *op)
{
    size_t            i;
    uint64_t          hash;
    sv_operation_t  **slot;

    hash = op->gtin;

    for (i = 0; i < op->serial_len; i++) {
        hash = (hash ^ (uint8_t) op->params.serial[i]) * UINT64_C(1099511628211);
    }

    slot = &op->operate->buckets[(hash ^ (hash >> 32)) & (SV_OPERATE_BUCKETS - 1)];

    while (*slot != NULL
           && ((*slot)->gtin != op->gtin || (*slot)->serial_len != op->serial_len
               || memcmp((*slot)->params.serial, op->params.serial, op->serial_len) != 0))
    {
        slot = &(*slot)->bucket_next;
    }

    return slot;
}


static void
sv_operation_queue(sv_operation_t *op, sv_operation_t *ahead)
{
    if (ahead->behind == NULL) {
        ahead->behind = op;

    } else {
        ahead->last->behind = op;
    }

    ahead->last = op;
}


static int
sv_operation_send(sv_operation_t *op)
{
    if (sv_pg_query(op->pool, SV_SQL_OPERATE, op->params.value, sv_operation_decided, op)
        == NULL)
    {
        return 0;
    }

    op->bucket_next = NULL;
    *sv_operation_slot(op) = op;

    return 1;
}


/*
 * PostgreSQL has decided: the next on this pack goes.  Who is no longer waited
 * for has not been sent and never will be: it had no effect.
 *
 * Handlers run last, when the queue is sound again: they may start others.
 */
static void
sv_operation_let_in(sv_operation_t *op)
{
    sv_operation_t  *next, *waiting, *dropped, **end;

    *sv_operation_slot(op) = op->bucket_next;

    waiting = op->behind;
    op->behind = NULL;
    end = &dropped;

    while ((next = waiting) != NULL) {
        waiting = next->behind;

        if (next->handler != NULL && sv_operation_send(next)) {
            next->behind = waiting;
            next->last = op->last;
            break;
        }

        *end = next;
        end = &next->behind;
    }

    *end = NULL;

    while ((next = dropped) != NULL) {
        dropped = next->behind;

        next->outcome.status = SV_OPERATE_NOT_DONE;
        sv_operation_finish(next);
    }
}


static void
sv_operation_decided(void *data, const sv_pg_reply_t *reply)
{
    sv_operation_t  *op = data;

    sv_loop_t       *loop;
    sv_operate_t    *operate;

    operate = op->operate;
    loop = operate->loop;

    sv_operation_let_in(op);

    switch (reply->status) {

    case SV_PG_OK:
        if (!sv_operate_outcome(&op->outcome, reply->result)) {
            /* it was carried out, and what came of it cannot be read */
            loop->log(loop, SV_LOG_ERROR, "sv.operate: the outcome of request %s cannot be read",
                      op->params.request_id);
            op->outcome.status = SV_OPERATE_UNKNOWN;
        }

        break;

    case SV_PG_NOT_SENT:
        op->outcome.status = SV_OPERATE_NOT_DONE;
        break;

    case SV_PG_ERROR:
        op->outcome.status = SV_OPERATE_NOT_DONE;

        loop->log(loop, strcmp(reply->sqlstate, SV_SQLSTATE_LOCK_TIMEOUT) == 0
                        || strcmp(reply->sqlstate, SV_SQLSTATE_QUERY_CANCELED) == 0
                        ? SV_LOG_WARN : SV_LOG_ERROR,
                  "sv.operate: request %s had no effect: %s %s", op->params.request_id,
                  reply->sqlstate, reply->message);
        break;

    case SV_PG_UNKNOWN:
        op->outcome.status = SV_OPERATE_UNKNOWN;
        loop->log(loop, SV_LOG_ERROR, "sv.operate: the outcome of request %s is not known: %s",
                  op->params.request_id, reply->message);
        break;
    }

    if (op->outcome.status == SV_OPERATE_DECIDED && op->outcome.changed
        && !op->outcome.replayed && sv_operation_write_cache(op))
    {
        return;
    }

    sv_operation_finish(op);
}


/*
 * The answer waits for this write, for as long as the cache is waited for at
 * all: after an acknowledged supply a verify must not say active.  If Redis
 * does not take it, the relay does, within two seconds.
 *
 * A replayed outcome is never written: the pack may have moved on.
 */
static int
sv_operation_write_cache(sv_operation_t *op)
{
    size_t         len;
    char           key[SV_CACHE_KEY];
    sv_span_t      serial;
    sv_cache_t    *cache;
    sv_operate_t  *operate;

    operate = op->operate;
    cache = operate->cache;

    if (cache == NULL || !sv_cache_usable(cache)) {
        return 0;
    }

    serial.data = (uint8_t *) op->params.serial;
    serial.len = op->serial_len;
    len = sv_cache_pack_key(cache, key, op->gtin, serial);

    op->command = sv_cache_write(cache, (sv_span_t) {(uint8_t *) key, len}, &op->outcome.record,
                                 sv_operation_written, op);
    if (op->command == NULL) {
        return 0;
    }

    op->give_up_at = operate->loop->now(operate->loop) + sv_cache_timeout(cache);
    op->next = NULL;
    op->prev = operate->tail;

    if (operate->tail != NULL) {
        operate->tail->next = op;

    } else {
        operate->head = op;
        operate->loop->timer_set(operate->timeout, sv_cache_timeout(cache));
    }

    operate->tail = op;

    return 1;
}


static void
sv_operation_written(void *data, const redisReply *reply)
{
    sv_operation_t  *op = data;

    sv_loop_t       *loop;

    if (reply != NULL && reply->type == REDIS_REPLY_ERROR) {
        loop = op->operate->loop;
        loop->log(loop, SV_LOG_WARN, "the cache did not take the outcome of request %s: %s",
                  op->params.request_id, reply->str);
    }

    sv_operation_unlink(op);
    sv_operation_finish(op);
}


static void
sv_operation_finish(sv_operation_t *op)
{
    void                *data;
    sv_outcome_t         outcome;
    sv_operate_t        *operate;
    sv_operate_pt        handler;
    sv_operate_stats_t  *stats;

    operate = op->operate;
    stats = &operate->stats;
    handler = op->handler;
    data = op->data;
    outcome = op->outcome;

    operate->in_flight--;

    if (outcome.status == SV_OPERATE_NOT_DONE) {
        stats->not_done++;

    } else if (outcome.status == SV_OPERATE_UNKNOWN) {
        stats->unknown++;

    } else if (outcome.replayed) {
        stats->replayed++;

    } else if (outcome.changed) {
        stats->changed++;

    } else {
        stats->refused++;
    }

    if (handler == NULL) {
        stats->late++;
        operate->loop->log(operate->loop, SV_LOG_NOTICE,
                           "request %s was no longer waited for; outcome: %s%s", op->params.request_id,
                           outcome.status == SV_OPERATE_DECIDED
                           ? sv_reason_row(outcome.reason)->word
                           : outcome.status == SV_OPERATE_NOT_DONE ? "not done" : "not known",
                           outcome.changed ? ", changed" : "");
    }

    free(op);

    if (handler != NULL) {
        handler(data, &outcome);
    }
}


static void
sv_operation_unlink(sv_operation_t *op)
{
    sv_operate_t  *operate;

    operate = op->operate;

    if (op->prev != NULL) {
        op->prev->next = op->next;

    } else {
        operate->head = op->next;
    }

    if (op->next != NULL) {
        op->next->prev = op->prev;

    } else {
        operate->tail = op->prev;
    }
}


/* Redis is late. The write stays sent: when it is carried out, its version decides. */
static void
sv_operate_timeout(void *data)
{
    sv_operate_t    *operate = data;

    uint64_t         now;
    sv_operation_t  *op;

    now = operate->loop->now(operate->loop);

    while ((op = operate->head) != NULL && op->give_up_at <= now) {
        sv_redis_forget(op->command);
        sv_operation_unlink(op);
        sv_operation_finish(op);
    }

    if (operate->head != NULL) {
        operate->loop->timer_set(operate->timeout,
                                 (unsigned) (operate->head->give_up_at - now));
    }
}
