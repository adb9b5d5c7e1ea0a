#include "sv_flight.h"
#include "sv_row.h"

#include <stdlib.h>


static int sv_flight_remember(sv_flight_t *flight);
static void sv_flight_post(sv_flight_t *flight);
static sv_span_t sv_flight_serial(const sv_flight_t *flight);
static sv_span_t sv_flight_lot(const sv_flight_t *flight);
static void sv_flight_cached(void *data, const redisReply *reply);
static void sv_flight_got_lease(void *data, const redisReply *reply);
static void sv_flight_read(void *data, const sv_pg_reply_t *reply);
static void sv_flight_fill(sv_flight_t *flight, const sv_record_t *record);
static void sv_flight_free(sv_flight_t *flight);


/*
 * Invariant: whoever joins gets a record that was read after it joined, but
 * for relaxed callers.  While nothing was sent, or while the flight is still
 * before its read of PostgreSQL, that is so.  A direct one joins only its like:
 * the others may be answered by the cache.
 */
sv_flight_t *
sv_flight_find(sv_verify_t *verify, const sv_lookup_conf_t *conf, uint32_t hash)
{
    sv_flight_t  *f;

    for (f = verify->buckets[hash & (SV_VERIFY_BUCKETS - 1)]; f != NULL; f = f->bucket_next) {

        if (f->hash != hash || f->gtin != conf->gtin || f->serial_len != conf->serial.len
            || memcmp(f->serial, conf->serial.data, conf->serial.len) != 0
            || f->lot_given != (conf->lot.data != NULL) || f->lot_len != conf->lot.len
            || memcmp(f->lot, conf->lot.data ? conf->lot.data : (const uint8_t *) "",
                      conf->lot.len) != 0)
        {
            continue;
        }

        if (conf->direct && !f->direct) {
            continue;
        }

        if ((conf->relaxed && !conf->direct)
            || (f->open && f->stage != SV_FLIGHT_SETTLED) || f->stage == SV_FLIGHT_LEASE)
        {
            return f;
        }
    }

    return NULL;
}


sv_flight_t *
sv_flight_create(sv_verify_t *verify, const sv_lookup_conf_t *conf, uint32_t hash)
{
    sv_flight_t  *flight, **bucket;

    flight = verify->free_flights;

    if (flight != NULL) {
        verify->free_flights = flight->bucket_next;
        verify->n_free_flights--;

    } else {
        flight = malloc(sizeof(sv_flight_t));
        if (flight == NULL) {
            return NULL;
        }
    }

    flight->verify = verify;
    flight->lookups = NULL;
    flight->command = NULL;
    flight->leased = 0;
    flight->direct = conf->direct;
    flight->relaxed = conf->relaxed && !conf->direct;
    flight->remembered = 0;
    flight->fill_delay_ms = conf->fill_delay_ms;
    flight->hash = hash;
    flight->gtin = conf->gtin;

    flight->serial_len = (uint8_t) conf->serial.len;
    memcpy(flight->serial, conf->serial.data, conf->serial.len);
    flight->serial[conf->serial.len] = '\0';

    flight->lot_given = conf->lot.data != NULL;
    flight->lot_len = (uint8_t) conf->lot.len;
    memcpy(flight->lot, flight->lot_given ? conf->lot.data : (const uint8_t *) "",
           conf->lot.len);
    flight->lot[conf->lot.len] = '\0';

    bucket = &verify->buckets[hash & (SV_VERIFY_BUCKETS - 1)];
    flight->bucket_next = *bucket;
    *bucket = flight;

    flight->open = 1;
    flight->open_next = verify->open;
    verify->open = flight;

    sv_verify_post_turn(verify);

    return flight;
}


void
sv_flight_take_off(sv_flight_t *flight)
{
    sv_cache_t          *cache;
    sv_verify_t         *verify;
    sv_redis_command_t  *command;

    verify = flight->verify;
    cache = verify->cache;

    if (flight->relaxed && sv_flight_remember(flight)) {
        return;
    }

    if (flight->direct || cache == NULL || !sv_cache_usable(cache)) {
        verify->stats.cache_bypassed++;
        sv_flight_ask_database(flight);
        return;
    }

    flight->stage = SV_FLIGHT_CACHE;
    flight->key_len = (uint8_t) sv_cache_pack_key(cache, flight->key, flight->gtin,
                                                  sv_flight_serial(flight));

    command = sv_cache_get(cache, (sv_span_t) {(uint8_t *) flight->key, flight->key_len},
                           sv_flight_cached, flight);

    if (command == NULL) {
        verify->stats.cache_bypassed++;
        sv_flight_ask_database(flight);
        return;
    }

    sv_verify_wait(flight, command);
}


static void
sv_flight_cached(void *data, const redisReply *reply)
{
    sv_flight_t         *flight = data;

    sv_span_t            key, value;
    sv_record_t          record;
    sv_verify_t         *verify;
    sv_lookup_result_t   result;
    sv_redis_command_t  *command;

    verify = flight->verify;
    sv_verify_unwait(flight);

    key.data = (uint8_t *) flight->key;
    key.len = flight->key_len;

    if (reply != NULL && reply->type == REDIS_REPLY_STRING) {

        value.data = (uint8_t *) reply->str;
        value.len = reply->len;

        if (sv_record_decode(&record, key, value)) {
            verify->stats.cache_hits++;

            memset(&result, 0, sizeof(result));
            result.status = SV_LOOKUP_FOUND;
            result.source = SV_SOURCE_CACHE;
            result.record = &record;
            sv_flight_land(flight, &result);
            return;
        }

        verify->loop->log(verify->loop, SV_LOG_WARN,
                          "a value in the cache is not one of ours, PostgreSQL is asked");
    }

    verify->stats.cache_misses++;

    if (reply == NULL || reply->type == REDIS_REPLY_ERROR) {
        sv_flight_ask_database(flight);
        return;
    }

    flight->stage = SV_FLIGHT_LEASE;

    command = sv_cache_lease(verify->cache, key, flight->token, sv_flight_got_lease, flight);
    if (command == NULL) {
        sv_flight_ask_database(flight);
        return;
    }

    sv_verify_wait(flight, command);
}


static void
sv_flight_got_lease(void *data, const redisReply *reply)
{
    sv_flight_t  *flight = data;

    sv_verify_unwait(flight);

    flight->leased = sv_cache_leased(reply);

    sv_flight_ask_database(flight);
}


void
sv_flight_ask_database(sv_flight_t *flight)
{
    char          gtin[21], *p;
    uint64_t      n;
    sv_verify_t  *verify;
    const char   *params[3];

    verify = flight->verify;
    flight->stage = SV_FLIGHT_DATABASE;
    verify->stats.database++;

    p = gtin + sizeof(gtin) - 1;
    *p = '\0';
    n = flight->gtin;

    do {
        *--p = (char) ('0' + n % 10);
        n /= 10;
    } while (n != 0);

    params[0] = p;
    params[1] = flight->serial;
    params[2] = flight->lot_given ? flight->lot : NULL;

    if (sv_pg_query(verify->pool, SV_SQL_VERIFY, params, sv_flight_read, flight) != NULL) {
        return;
    }

    sv_flight_post(flight);
}


static int
sv_flight_remember(sv_flight_t *flight)
{
    sv_verify_t      *verify;
    const sv_memo_t  *memo;

    verify = flight->verify;

    memo = sv_memo_find(verify->memos, flight->hash, flight->gtin, sv_flight_serial(flight),
                        sv_flight_lot(flight), verify->loop->now(verify->loop));
    if (memo == NULL) {
        return 0;
    }

    flight->memo = *memo;
    flight->remembered = 1;
    sv_flight_post(flight);

    return 1;
}


/* The answer is there already, but handlers must not run inside sv_verify_start(). */
static void
sv_flight_post(sv_flight_t *flight)
{
    flight->stage = SV_FLIGHT_SETTLED;
    flight->queue_next = flight->verify->settled;
    flight->verify->settled = flight;
    sv_verify_post_turn(flight->verify);
}


void
sv_flight_settle(sv_flight_t *flight)
{
    sv_memo_t           memo;
    sv_lookup_result_t  result;

    memset(&result, 0, sizeof(result));
    result.status = SV_LOOKUP_UNAVAILABLE;

    if (flight->remembered) {
        memo = flight->memo;
        result.status = memo.status;
        result.source = SV_SOURCE_MEMORY;
        result.lot_known = memo.lot_known;
        result.record = memo.status == SV_LOOKUP_FOUND ? &memo.record : NULL;
    }

    sv_flight_land(flight, &result);
}


static sv_span_t
sv_flight_serial(const sv_flight_t *flight)
{
    return (sv_span_t) {(const uint8_t *) flight->serial, flight->serial_len};
}


static sv_span_t
sv_flight_lot(const sv_flight_t *flight)
{
    return (sv_span_t) {flight->lot_given ? (const uint8_t *) flight->lot : NULL, flight->lot_len};
}


static void
sv_flight_read(void *data, const sv_pg_reply_t *reply)
{
    sv_flight_t         *flight = data;

    sv_record_t          record;
    sv_verify_t         *verify;
    sv_lookup_result_t   result;

    verify = flight->verify;

    memset(&result, 0, sizeof(result));
    result.status = SV_LOOKUP_UNAVAILABLE;

    if (reply->status != SV_PG_OK) {
        if (reply->status == SV_PG_ERROR) {
            verify->loop->log(verify->loop, SV_LOG_ERROR, "sv.verify_read: %s %s",
                              reply->sqlstate, reply->message);
        }

    } else if (!sv_row_is(reply->result, SV_VERIFY_COLUMNS)) {
        verify->loop->log(verify->loop, SV_LOG_ERROR, "sv.verify_read: not one row of %d columns",
                          SV_VERIFY_COLUMNS);

    } else if (!sv_row_bool(reply->result, SV_VERIFY_FOUND)) {
        result.status = SV_LOOKUP_MISSING;
        result.source = SV_SOURCE_DATABASE;
        result.lot_known = sv_row_bool(reply->result, SV_VERIFY_LOT_KNOWN);

    } else if (!sv_row_record(reply->result, SV_VERIFY_STATE, SV_VERIFY_VERSION, &record)) {
        verify->loop->log(verify->loop, SV_LOG_ERROR, "sv.verify_read: the record cannot be read");

    } else {
        result.status = SV_LOOKUP_FOUND;
        result.source = SV_SOURCE_DATABASE;
        result.record = &record;

        if (sv_row_span(reply->result, SV_VERIFY_RECALLED).data != NULL) {
            result.recalled_at = sv_row_number(reply->result, SV_VERIFY_RECALLED);
            sv_row_text(reply->result, SV_VERIFY_RECALL_TEXT, result.recall, sizeof(result.recall));
        }

        /* what is recalled by its serial is not kept: the copy of the product's mark may be on its way */
        if (flight->leased && result.recalled_at == 0) {
            sv_flight_fill(flight, &record);
        }
    }

    if (flight->relaxed && result.status != SV_LOOKUP_UNAVAILABLE && result.recalled_at == 0) {
        sv_memo_keep(verify->memos, flight->hash, flight->gtin, sv_flight_serial(flight),
                     sv_flight_lot(flight), verify->loop->now(verify->loop), &result);
    }

    sv_flight_land(flight, &result);
}


#ifdef SV_FAILPOINTS

typedef struct {
    sv_verify_t  *verify;
    sv_timer_t   *timer;
    size_t        key_len;
    char          key[SV_CACHE_KEY];
    char          token[SV_CACHE_TOKEN];
    sv_record_t   record;
} sv_late_fill_t;


static void
sv_late_fill(void *data)
{
    sv_late_fill_t  *late = data;

    sv_cache_fill(late->verify->cache, (sv_span_t) {(uint8_t *) late->key, late->key_len},
                  late->token, &late->record);
    late->verify->loop->timer_free(late->timer);
    free(late);
}


/* as if this process had been stopped between its read and its fill */
static int
sv_flight_delay_fill(sv_flight_t *flight, const sv_record_t *record)
{
    sv_late_fill_t  *late;

    late = flight->fill_delay_ms != 0 ? malloc(sizeof(sv_late_fill_t)) : NULL;
    if (late == NULL) {
        return 0;
    }

    late->verify = flight->verify;
    late->key_len = flight->key_len;
    memcpy(late->key, flight->key, sizeof(late->key));
    memcpy(late->token, flight->token, sizeof(late->token));
    late->record = *record;
    late->timer = flight->verify->loop->timer(flight->verify->loop, sv_late_fill, late);

    if (late->timer == NULL) {
        free(late);
        return 0;
    }

    flight->verify->loop->timer_set(late->timer, flight->fill_delay_ms);

    return 1;
}

#endif


static void
sv_flight_fill(sv_flight_t *flight, const sv_record_t *record)
{
#ifdef SV_FAILPOINTS
    if (sv_flight_delay_fill(flight, record)) {
        return;
    }
#endif

    sv_cache_fill(flight->verify->cache,
                  (sv_span_t) {(uint8_t *) flight->key, flight->key_len}, flight->token, record);
}


/* Everybody is answered; the flight is gone before the first handler runs, which may start another. */
void
sv_flight_land(sv_flight_t *flight, sv_lookup_result_t *result)
{
    void         *data;
    sv_flight_t   landing;
    sv_lookup_t  *lookup, *lookups;
    sv_verify_t  *verify;
    sv_lookup_pt  handler;

    verify = flight->verify;
    lookups = flight->lookups;
    flight->lookups = NULL;

    sv_flight_free(flight);

    /* a handler may forget another look-up of this flight: for that they hang on one of their own */
    landing.verify = verify;
    landing.lookups = lookups;

    for (lookup = lookups; lookup != NULL; lookup = lookup->next) {
        lookup->flight = &landing;
    }

    while ((lookup = landing.lookups) != NULL) {
        handler = lookup->handler;
        data = lookup->data;
        result->coalesced = lookup->joined;

        sv_verify_forget(lookup);
        handler(data, result);
    }
}


static void
sv_flight_free(sv_flight_t *flight)
{
    sv_flight_t  **link;
    sv_verify_t   *verify;

    verify = flight->verify;

    for (link = &verify->buckets[flight->hash & (SV_VERIFY_BUCKETS - 1)]; *link != flight;
         link = &(*link)->bucket_next)
    {
        /* void */
    }

    *link = flight->bucket_next;

    if (flight->open) {
        for (link = &verify->open; *link != flight; link = &(*link)->open_next) {
            /* void */
        }

        *link = flight->open_next;
    }

    if (verify->n_free_flights == SV_VERIFY_FREE_MAX) {
        free(flight);
        return;
    }

    flight->bucket_next = verify->free_flights;
    verify->free_flights = flight;
    verify->n_free_flights++;
}
