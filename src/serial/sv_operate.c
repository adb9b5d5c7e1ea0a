#include "sv_operate.h"
#include "sv_row.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>


/* SQLSTATE: what PostgreSQL gave up because of our own time limits, without effect */
#define SV_SQLSTATE_LOCK_TIMEOUT    "55P03"
#define SV_SQLSTATE_QUERY_CANCELED  "57014"


#define SV_OPERATE_BUCKETS  256             /* a power of two */

#define SV_OPERATE_PARAMS   14

/* what goes to sv.operate() */
typedef struct {
    char         gtin[24], lot[SV_LOT_MAX + 1], expiry[SV_DAY_TEXT], location[16],
                 key[SV_KEY_MAX + 1], occurred_at[64], alert[SV_ALERT_ID], uuid[SV_UUID],
                 fingerprint[2 * SHA256_DIGEST_LENGTH + 1];
    const char  *value[SV_OPERATE_PARAMS];
} sv_operation_params_t;


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
    char                 serial[SV_SERIAL_MAX + 1];
    char                 request_id[SV_REQUEST_ID_MAX + 1];
    sv_outcome_t         outcome;
    sv_operation_params_t  params;
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


static int sv_operation_params(sv_operation_t *op, const sv_operate_request_t *request);
static sv_operation_t **sv_operation_slot(sv_operation_t *op);
static void sv_operation_queue(sv_operation_t *op, sv_operation_t *ahead);
static int sv_operation_send(sv_operation_t *op);
static void sv_operation_let_in(sv_operation_t *op);
static void sv_operate_fingerprint(const sv_operate_request_t *request,
    char hex[2 * SHA256_DIGEST_LENGTH + 1]);
static void sv_operation_decided(void *data, const sv_pg_reply_t *reply);
static int sv_operation_outcome(sv_operation_t *op, const PGresult *result);
static int sv_operation_write_cache(sv_operation_t *op);
static void sv_operation_written(void *data, const redisReply *reply);
static void sv_operation_finish(sv_operation_t *op);
static void sv_operation_unlink(sv_operation_t *op);
static void sv_operate_timeout(void *data);
static void sv_copy(char *out, size_t cap, sv_span_t span);


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
    sv_copy(op->serial, sizeof(op->serial), request->serial);
    sv_copy(op->request_id, sizeof(op->request_id), request->request_id);

    op->pool = pool;

    if (!sv_operation_params(op, request)) {
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


/* 0: no randomness to be had */
static int
sv_operation_params(sv_operation_t *op, const sv_operate_request_t *request)
{
    sv_operation_params_t  *params;

    params = &op->params;

    if (!sv_alert_mint(params->alert, request->country)
        || !sv_uuid_mint(params->uuid, request->now_ms))
    {
        return 0;
    }

    snprintf(params->gtin, sizeof(params->gtin), "%llu", (unsigned long long) request->gtin);
    snprintf(params->location, sizeof(params->location), "%d", request->location);
    sv_copy(params->lot, sizeof(params->lot), request->lot);
    sv_copy(params->key, sizeof(params->key), request->key);
    sv_copy(params->occurred_at, sizeof(params->occurred_at), request->occurred_at);
    sv_operate_fingerprint(request, params->fingerprint);

    if (request->expiry != SV_DAY_NONE) {
        sv_day_print(request->expiry, params->expiry);
    }

    params->value[0] = params->gtin;
    params->value[1] = op->serial;
    params->value[2] = request->lot.data != NULL ? params->lot : NULL;
    params->value[3] = request->expiry != SV_DAY_NONE ? params->expiry : NULL;
    params->value[4] = request->operation;
    params->value[5] = request->of;
    params->value[6] = params->location;
    params->value[7] = params->key;
    params->value[8] = params->fingerprint;
    params->value[9] = request->entry_mode;
    params->value[10] = request->occurred_at.data != NULL ? params->occurred_at : NULL;
    params->value[11] = params->alert;
    params->value[12] = params->uuid;
    params->value[13] = op->request_id;

    return 1;
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
        hash = (hash ^ (uint8_t) op->serial[i]) * UINT64_C(1099511628211);
    }

    slot = &op->operate->buckets[(hash ^ (hash >> 32)) & (SV_OPERATE_BUCKETS - 1)];

    while (*slot != NULL
           && ((*slot)->gtin != op->gtin || (*slot)->serial_len != op->serial_len
               || memcmp((*slot)->serial, op->serial, op->serial_len) != 0))
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


/*
 * What makes two requests the same: all that the client said about the pack
 * and the operation. Fields are set apart by a byte that none of them holds.
 */
static void
sv_operate_fingerprint(const sv_operate_request_t *request,
    char hex[2 * SHA256_DIGEST_LENGTH + 1])
{
    size_t         i, n, len;
    uint8_t        digest[SHA256_DIGEST_LENGTH];
    char           text[SV_SERIAL_MAX + SV_LOT_MAX + 256];
    sv_span_t      fields[7];

    fields[0] = request->serial;
    fields[1] = request->lot;
    fields[2] = request->expiry_text;
    fields[3] = (sv_span_t) {(const uint8_t *) request->operation, strlen(request->operation)};
    fields[4] = request->of != NULL
                ? (sv_span_t) {(const uint8_t *) request->of, strlen(request->of)}
                : sv_span("");
    fields[5] = (sv_span_t) {(const uint8_t *) request->entry_mode, strlen(request->entry_mode)};
    fields[6] = request->occurred_at;

    len = 0;

    for (i = 0; i < 7; i++) {
        n = fields[i].len < 64 ? fields[i].len : 64;

        if (n != 0) {
            memcpy(text + len, fields[i].data, n);
        }

        len += n;
        text[len++] = '\n';
    }

    SHA256((unsigned char *) text, len, digest);

    for (i = 0; i < sizeof(digest); i++) {
        hex[2 * i] = "0123456789abcdef"[digest[i] >> 4];
        hex[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
    }

    hex[2 * i] = '\0';
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
        if (!sv_operation_outcome(op, reply->result)) {
            /* it was carried out, and what came of it cannot be read */
            loop->log(loop, SV_LOG_ERROR, "sv.operate: the outcome of request %s cannot be read",
                      op->request_id);
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
                  "sv.operate: request %s had no effect: %s %s", op->request_id,
                  reply->sqlstate, reply->message);
        break;

    case SV_PG_UNKNOWN:
        op->outcome.status = SV_OPERATE_UNKNOWN;
        loop->log(loop, SV_LOG_ERROR, "sv.operate: the outcome of request %s is not known: %s",
                  op->request_id, reply->message);
        break;
    }

    if (op->outcome.status == SV_OPERATE_DECIDED && op->outcome.changed
        && !op->outcome.replayed && sv_operation_write_cache(op))
    {
        return;
    }

    sv_operation_finish(op);
}


static int
sv_operation_outcome(sv_operation_t *op, const PGresult *result)
{
    sv_span_t      before;
    sv_outcome_t  *outcome;

    outcome = &op->outcome;

    if (!sv_row_is(result, SV_OUTCOME_COLUMNS)) {
        return 0;
    }

    outcome->status = SV_OPERATE_DECIDED;
    outcome->replayed = sv_row_bool(result, SV_OUTCOME_REPLAYED);
    outcome->changed = sv_row_bool(result, SV_OUTCOME_CHANGED);
    outcome->reason = sv_reason_parse(sv_row_span(result, SV_OUTCOME_REASON));

    if (outcome->reason == SV_REASON_MAX) {
        return 0;
    }

    before = sv_row_span(result, SV_OUTCOME_STATE_BEFORE);
    outcome->state_before = before.data != NULL ? sv_state_parse(before) : SV_STATE_MAX;

    if (sv_row_span(result, SV_OUTCOME_VERSION).data != NULL) {
        outcome->known = 1;

        if (!sv_row_record(result, SV_OUTCOME_STATE, SV_OUTCOME_VERSION, &outcome->record)) {
            return 0;
        }
    }

    outcome->at = sv_row_number(result, SV_OUTCOME_AT);
    outcome->occurred = sv_row_number(result, SV_OUTCOME_OCCURRED);
    outcome->repeat = (unsigned) sv_row_number(result, SV_OUTCOME_REPEAT);
    outcome->repeats_left = (unsigned) sv_row_number(result, SV_OUTCOME_REPEATS_LEFT);
    outcome->hint = sv_row_span(result, SV_OUTCOME_HINT).data != NULL;
    sv_copy(outcome->code, sizeof(outcome->code), sv_row_span(result, SV_OUTCOME_CODE));
    sv_copy(outcome->alert, sizeof(outcome->alert), sv_row_span(result, SV_OUTCOME_ALERT));

    return 1;
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

    serial.data = (uint8_t *) op->serial;
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
                  op->request_id, reply->str);
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
                           "request %s was no longer waited for; outcome: %s%s", op->request_id,
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


static void
sv_copy(char *out, size_t cap, sv_span_t span)
{
    size_t  n;

    n = span.len < cap - 1 ? span.len : cap - 1;

    if (n != 0) {
        memcpy(out, span.data, n);
    }

    out[n] = '\0';
}
