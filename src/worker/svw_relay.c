#include "svw_array.h"
#include "svw_redis.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>


#define SVW_RELAY_TELL   5000           /* ms between two notes of how it goes */
#define SVW_RELAY_AHEAD  1000           /* ms a turn for telling the caches of what waits */


typedef struct {
    svw_conf_t    *conf;
    svw_db_t       db;
    svw_redis_t    redis[SVW_MAX_REDIS];
    svw_pack_t    *packs;               /* conf->relay_batch */
    char           epoch[128];
    int64_t        chained, written, postponed;
    int64_t        told;
    char           ahead[40];           /* the caches are told of the queue up to here; "": of nothing */
} svw_relay_t;


static int svw_relay_outbox(svw_relay_t *relay);
static void svw_relay_ahead(svw_relay_t *relay);
static int svw_relay_epoch(svw_relay_t *relay);
static size_t svw_relay_packs(svw_relay_t *relay, const PGresult *rows);
static int svw_relay_postpone(svw_relay_t *relay, const char *node, const PGresult *rows);
static int svw_relay_chain(svw_relay_t *relay, const PGresult *rows);
static int svw_relay_retry(svw_relay_t *relay, svw_redis_t *redis);
static int svw_relay_end(svw_relay_t *relay, int ok);
static void svw_relay_tell(svw_relay_t *relay);


int
svw_relay_run(svw_conf_t *conf)
{
    int          n, more;
    unsigned     i;
    svw_relay_t  relay;

    relay = (svw_relay_t) { .conf = conf };

    relay.packs = calloc(conf->relay_batch, sizeof(svw_pack_t));
    if (relay.packs == NULL) {
        return SVW_EXIT_FAILED;
    }

    svw_db_init(&relay.db, conf->postgres, "serial-verify-worker relay");

    for (i = 0; i < conf->n_redis; i++) {
        svw_redis_init(&relay.redis[i], conf, conf->redis[i]);
    }

    while (svw_db_ensure(&relay.db) == 0) {
        n = svw_relay_outbox(&relay);
        more = n == (int) conf->relay_batch;

        if (more) {
            svw_relay_ahead(&relay);
        } else {
            relay.ahead[0] = '\0';
        }

        /* a batch of each in turn: neither a long queue nor a server that was long away holds the other up */
        for (i = 0; i < conf->n_redis && n >= 0; i++) {
            n = svw_relay_retry(&relay, &relay.redis[i]);
            more |= n == (int) conf->relay_batch;
        }

        svw_relay_tell(&relay);

        if (n >= 0 && more) {
            continue;
        }

        svw_pause(conf->relay_interval);
    }

    for (i = 0; i < conf->n_redis; i++) {
        svw_redis_close(&relay.redis[i]);
    }

    svw_db_close(&relay.db);
    free(relay.packs);

    return SVW_EXIT_OK;
}


/*
 * One batch; how many rows, or -1.  Redis comes before the commit, so that a
 * relay that is killed in between does it again; a server that does not
 * answer holds the chain up for one timeout, then its part is written down.
 */
static int
svw_relay_outbox(svw_relay_t *relay)
{
    int           n;
    char          limit[16];
    size_t        packs;
    unsigned      i;
    PGresult     *rows;
    const char   *params[1];
    svw_redis_t  *redis;

    snprintf(limit, sizeof(limit), "%u", relay->conf->relay_batch);
    params[0] = limit;

    if (svw_db_do(&relay->db, "begin", 0, NULL) != SVW_DB_OK) {
        return svw_relay_end(relay, 0);
    }

    if (svw_db_query(&relay->db, &rows, "select * from sv.relay_take($1)", 1, params) != SVW_DB_OK) {
        return svw_relay_end(relay, 0);
    }

    n = PQntuples(rows);

    if (n == 0) {
        PQclear(rows);
        return svw_relay_end(relay, 1);
    }

    packs = svw_relay_packs(relay, rows);

    if (packs > 0 && svw_relay_epoch(relay) != 0) {
        PQclear(rows);
        return svw_relay_end(relay, 0);
    }

    for (i = 0; i < relay->conf->n_redis && packs > 0; i++) {
        redis = &relay->redis[i];

        if (svw_redis_ready(redis) && svw_redis_put(redis, relay->epoch, relay->packs, packs) == 0) {
            relay->written += (int64_t) packs;

        } else if (svw_relay_postpone(relay, redis->node, rows) == 0) {
            relay->postponed += (int64_t) packs;

        } else {
            PQclear(rows);
            return svw_relay_end(relay, 0);
        }
    }

    if (svw_relay_chain(relay, rows) != 0) {
        PQclear(rows);
        return svw_relay_end(relay, 0);
    }

    PQclear(rows);

    if (svw_relay_end(relay, 1) != 0) {
        return -1;
    }

    relay->chained += n;

    return n;
}


static int
svw_relay_epoch(svw_relay_t *relay)
{
    PGresult  *result;

    if (svw_db_query(&relay->db, &result, "select sv.epoch()", 0, NULL) != SVW_DB_OK) {
        return -1;
    }

    snprintf(relay->epoch, sizeof(relay->epoch), "%s", PQgetvalue(result, 0, 0));
    PQclear(result);

    return 0;
}


/* The rows that concern the cache; spans point into the result. */
static size_t
svw_relay_packs(svw_relay_t *relay, const PGresult *rows)
{
    int           i;
    size_t        n, len;
    svw_pack_t   *pack;
    const char   *serial, *lot, *expiry, *state;

    for (i = 0, n = 0; i < PQntuples(rows); i++) {
        if (svw_col(rows, i, "version") == NULL) {
            continue;
        }

        serial = svw_col(rows, i, "serial");
        lot = svw_col(rows, i, "lot");
        expiry = svw_col(rows, i, "expiry");
        state = svw_col(rows, i, "state");
        len = strlen(lot);

        pack = &relay->packs[n];
        *pack = (svw_pack_t) {
            .gtin = (uint64_t) svw_col_int(rows, i, "gtin"),
            .serial = { (const uint8_t *) serial, strlen(serial) },
            .record = {
                .version = (uint32_t) svw_col_int(rows, i, "version"),
                .state = sv_state_parse((sv_span_t) { (const uint8_t *) state, strlen(state) }),
                .expiry = sv_day_parse((sv_span_t) { (const uint8_t *) expiry, strlen(expiry) }),
                .location = (int32_t) svw_col_int(rows, i, "location_id"),
                .since = svw_col_int(rows, i, "since_ms"),
                .lot_len = (uint8_t) len
            },
            .gone = strcmp(state, "void") == 0
        };

        if (pack->serial.len > SV_SERIAL_MAX || len > SV_LOT_MAX || pack->record.expiry == SV_DAY_NONE
            || (pack->record.state == SV_STATE_MAX && !pack->gone))
        {
            /* nobody can have cached it either */
            svw_log(SVW_LOG_ERROR, "a pack of GTIN %" PRIu64 " does not fit the cache", pack->gtin);
            continue;
        }

        memcpy(pack->record.lot, lot, len);
        n++;
    }

    return n;
}


static int
svw_relay_postpone(svw_relay_t *relay, const char *node, const PGresult *rows)
{
    int           failed;
    const char   *params[4];
    svw_array_t   gtin = { 0 }, serial = { 0 }, at = { 0 };

    failed = svw_array_column(&gtin, rows, "gtin", "version") != 0
             || svw_array_column(&serial, rows, "serial", "version") != 0
             || svw_array_column(&at, rows, "at", "version") != 0;

    if (!failed) {
        params[0] = node;
        params[1] = gtin.text;
        params[2] = serial.text;
        params[3] = at.text;

        failed = svw_db_do(&relay->db, "select sv.relay_postpone($1, $2, $3, $4)", 4, params) != SVW_DB_OK;
    }

    svw_array_free(&gtin);
    svw_array_free(&serial);
    svw_array_free(&at);

    return failed ? -1 : 0;
}


/*
 * The queue is longer than a batch: to chain it takes its time, and who scans
 * a pack far behind in it must not see its old state for so long.  A server that
 * does not take this is told when the rows are taken.
 */
static void
svw_relay_ahead(svw_relay_t *relay)
{
    int           n;
    char          limit[16];
    size_t        packs;
    int64_t       end;
    unsigned      i;
    PGresult     *rows;
    const char   *params[2];
    svw_redis_t  *redis;

    snprintf(limit, sizeof(limit), "%u", relay->conf->relay_batch);
    end = svw_now_ms() + SVW_RELAY_AHEAD;

    do {
        params[0] = relay->ahead[0] != '\0' ? relay->ahead : NULL;
        params[1] = limit;

        if (svw_db_query(&relay->db, &rows, "select * from sv.relay_ahead($1, $2)", 2, params) != SVW_DB_OK) {
            return;
        }

        n = PQntuples(rows);
        packs = svw_relay_packs(relay, rows);

        if (packs > 0 && svw_relay_epoch(relay) != 0) {
            PQclear(rows);
            return;
        }

        for (i = 0; i < relay->conf->n_redis && packs > 0; i++) {
            redis = &relay->redis[i];

            if (svw_redis_ready(redis)) {
                (void) svw_redis_put(redis, relay->epoch, relay->packs, packs);
            }
        }

        if (n > 0) {
            snprintf(relay->ahead, sizeof(relay->ahead), "%s", svw_col(rows, n - 1, "at"));
        }

        PQclear(rows);

    } while (n == (int) relay->conf->relay_batch && svw_now_ms() < end && !svw_stopping());
}


static int
svw_relay_chain(svw_relay_t *relay, const PGresult *rows)
{
    int           failed;
    const char   *params[3];
    svw_array_t   gtin = { 0 }, id = { 0 }, at = { 0 };

    failed = svw_array_column(&gtin, rows, "gtin", "gtin") != 0
             || svw_array_column(&id, rows, "audit_id", "gtin") != 0
             || svw_array_column(&at, rows, "at", "gtin") != 0;

    if (!failed) {
        params[0] = gtin.text;
        params[1] = id.text;
        params[2] = at.text;

        failed = svw_db_do(&relay->db, "select sv.relay_chain($1, $2, $3)", 3, params) != SVW_DB_OK;
    }

    svw_array_free(&gtin);
    svw_array_free(&id);
    svw_array_free(&at);

    return failed ? -1 : 0;
}


/* A batch of what a server missed while it was away: how many rows, or -1 for PostgreSQL's failure. */
static int
svw_relay_retry(svw_relay_t *relay, svw_redis_t *redis)
{
    int           n, failed;
    char          limit[16];
    size_t        packs;
    PGresult     *rows;
    const char   *params[3];
    svw_array_t   gtin = { 0 }, serial = { 0 };

    if (!svw_redis_ready(redis)) {
        return 0;
    }

    snprintf(limit, sizeof(limit), "%u", relay->conf->relay_batch);
    params[0] = redis->node;
    params[1] = limit;

    if (svw_db_do(&relay->db, "begin", 0, NULL) != SVW_DB_OK
        || svw_db_query(&relay->db, &rows, "select * from sv.relay_retry($1, $2)", 2, params) != SVW_DB_OK)
    {
        return svw_relay_end(relay, 0);
    }

    n = PQntuples(rows);
    packs = svw_relay_packs(relay, rows);

    if (n == 0) {
        PQclear(rows);
        return svw_relay_end(relay, 1);
    }

    failed = svw_relay_epoch(relay) != 0 || svw_redis_put(redis, relay->epoch, relay->packs, packs) != 0
             || svw_array_column(&gtin, rows, "gtin", "gtin") != 0
             || svw_array_column(&serial, rows, "serial", "gtin") != 0;

    if (!failed) {
        params[1] = gtin.text;
        params[2] = serial.text;

        failed = svw_db_do(&relay->db, "select sv.relay_told($1, $2, $3)", 3, params) != SVW_DB_OK;
    }

    svw_array_free(&gtin);
    svw_array_free(&serial);
    PQclear(rows);

    if (failed) {
        (void) svw_relay_end(relay, 0);
        return PQstatus(relay->db.pg) == CONNECTION_OK ? 0 : -1;
    }

    if (svw_relay_end(relay, 1) != 0) {
        return -1;
    }

    relay->written += (int64_t) packs;

    return n;
}


/* Ends the transaction: 0 committed, -1 not. */
static int
svw_relay_end(svw_relay_t *relay, int ok)
{
    if (ok && svw_db_do(&relay->db, "commit", 0, NULL) == SVW_DB_OK) {
        return 0;
    }

    svw_log(SVW_LOG_WARN, "PostgreSQL: %s", relay->db.error);

    if (relay->db.pg != NULL && PQstatus(relay->db.pg) == CONNECTION_OK) {
        (void) svw_db_do(&relay->db, "rollback", 0, NULL);
    }

    return -1;
}


static void
svw_relay_tell(svw_relay_t *relay)
{
    char         text[128];
    int64_t      now;
    const char  *params[2];

    now = svw_now_ms();

    if ((relay->told != 0 && now - relay->told < SVW_RELAY_TELL) || PQstatus(relay->db.pg) != CONNECTION_OK) {
        return;
    }

    relay->told = now;

    snprintf(text, sizeof(text), "since its start: %" PRId64 " chained, %" PRId64 " written to Redis, %" PRId64 " postponed",
             relay->chained, relay->written, relay->postponed);
    params[0] = "relay";
    params[1] = text;

    (void) svw_db_do(&relay->db, "select sv.figure_set($1, $2)", 2, params);
}
