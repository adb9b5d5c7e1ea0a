#include "svw_consume.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>


#define SVW_CONSUME_IDLE    100         /* ms between two looks when nothing came */
#define SVW_CONSUME_WAIT    500         /* .. when another worker judges, and after a failure; after more of them longer */
#define SVW_CONSUME_LONGEST 8
#define SVW_CONSUME_FACTS   1000        /* ms between two looks for locations and markets that changed */
#define SVW_CONSUME_SETTLE  3000        /* ms until all is said that is to be said, however much comes */
#define SVW_CONSUME_PARAMS  5000
#define SVW_CONSUME_TELL    5000

typedef enum { SVW_CONSUME_BUSY, SVW_CONSUME_NOTHING, SVW_CONSUME_ELSEWHERE, SVW_CONSUME_FAILED } svw_consume_rc_t;


static svw_consume_rc_t svw_consume_round(svw_consume_t *consume);
static void svw_consume_session(svw_consume_t *consume);
static int svw_consume_facts(svw_consume_t *consume);
static int svw_consume_settle(svw_consume_t *consume);
static int svw_consume_due(const svw_consume_t *consume);
static int svw_consume_changed(svw_consume_t *consume);
static svw_consume_rc_t svw_consume_failed(svw_consume_t *consume);
static void svw_consume_tell(svw_consume_t *consume);
static void svw_consume_leave(svw_consume_t *consume);


int
svw_consume_run(svw_conf_t *conf)
{
    unsigned           i;
    svw_consume_t      consume;
    svw_consume_rc_t   rc;

    static const unsigned  pauses[] = {
        [SVW_CONSUME_BUSY] = 0, [SVW_CONSUME_NOTHING] = SVW_CONSUME_IDLE, [SVW_CONSUME_ELSEWHERE] = SVW_CONSUME_WAIT,
        [SVW_CONSUME_FAILED] = SVW_CONSUME_WAIT
    };

    consume = (svw_consume_t) { .conf = conf, .held = -1 };
    svw_uuid(consume.holder);
    svw_db_init(&consume.db, conf->postgres, "serial-verify-worker consume");

    /* one that hangs in a transaction is ended by PostgreSQL before another may want to judge */
    consume.db.setup = "select sv.judge_session(); set idle_in_transaction_session_timeout = '10s'; set lock_timeout = '5s'";

    for (i = 0; i < conf->n_redis; i++) {
        svw_redis_init(&consume.stream[i].redis, conf, conf->redis[i]);
    }

    while (svw_db_ensure(&consume.db) == 0) {
        rc = svw_consume_round(&consume);
        consume.failures = rc != SVW_CONSUME_FAILED ? 0 : consume.failures < SVW_CONSUME_LONGEST ? consume.failures + 1 : consume.failures;
        i = pauses[rc] * (consume.failures > 0 ? consume.failures : 1);
        svw_consume_tell(&consume);

        if (i > 0) {
            svw_pause(i);
        }
    }

    svw_consume_leave(&consume);

    return SVW_EXIT_OK;
}


static svw_consume_rc_t
svw_consume_round(svw_consume_t *consume)
{
    int                 rc, waits;
    svw_consume_part_t  part;

    svw_consume_session(consume);
    rc = svw_consume_take(consume, &waits);

    if (rc < 0) {
        return svw_consume_failed(consume);
    }

    if (rc == 0) {
        svw_consume_forget(consume);
        return SVW_CONSUME_ELSEWHERE;
    }

    if (consume->judge != NULL && svw_consume_changed(consume)) {
        svw_log(SVW_LOG_NOTICE, "the rules' parameters have changed: what is remembered is judged anew");
        svw_consume_forget(consume);
    }

    if (consume->judge == NULL && svw_consume_build(consume) != 0) {
        return svw_consume_failed(consume);
    }

    if (svw_consume_facts(consume) != 0) {
        return svw_consume_failed(consume);
    }

    if (svw_consume_read(consume) == 0 && !waits && !consume->again && !svw_consume_due(consume)
        && !svw_case_store_waits(&consume->store))
    {
        return SVW_CONSUME_NOTHING;
    }

    part = (svw_consume_part_t) { 0, consume->n_events, waits ? SVW_CONSUME_CHAIN : 0, waits != 0 };

    if (svw_consume_transaction(consume, &part) != 0 && (!consume->refused || svw_consume_narrow(consume, waits) != 0)) {
        return svw_consume_failed(consume);
    }

    svw_consume_acknowledge(consume);

    if (consume->again && svw_consume_again(consume) != 0) {
        return svw_consume_failed(consume);
    }

    return SVW_CONSUME_BUSY;
}


/*
 * Behind a new connection history may be another one: a standby that had not all
 * of it was promoted, or a backup was brought back.  Numbers are given anew then.
 */
static void
svw_consume_session(svw_consume_t *consume)
{
    int  pid;

    pid = PQbackendPID(consume->db.pg);

    if (pid != consume->session && consume->judge != NULL) {
        svw_consume_forget(consume);
    }

    consume->session = pid;
}


/* The lease: 1 held, 0 another has it. */
int
svw_consume_take(svw_consume_t *consume, int *waits)
{
    int                held, kept;
    char               lease[16];
    PGresult          *rows;
    const char *const  params[] = { consume->holder, lease };

    snprintf(lease, sizeof(lease), "%d", consume->building ? SVW_CONSUME_LONG : SVW_CONSUME_LEASE);

    if (svw_consume_db(consume, svw_db_query(&consume->db, &rows, "select held, kept, waits, again from sv.judge_take($1, $2)", 2, params)) != 0) {
        return -1;
    }

    held = PQgetvalue(rows, 0, 0)[0] == 't';
    kept = PQgetvalue(rows, 0, 1)[0] == 't';
    *waits = PQgetvalue(rows, 0, 2)[0] == 't';
    consume->again = PQgetvalue(rows, 0, 3)[0] == 't';
    PQclear(rows);

    /* another may have judged meanwhile: what is remembered here is not all */
    if (!kept && consume->judge != NULL) {
        svw_consume_forget(consume);
    }

    if (held != consume->held) {
        svw_log(SVW_LOG_INFO, held ? "judges" : "another worker judges");
        consume->held = held;
    }

    return held;
}


/* Locations and markets may change without a scan. */
static int
svw_consume_facts(svw_consume_t *consume)
{
    int64_t  now;

    now = svw_now_ms();

    if (now - consume->facts_looked < SVW_CONSUME_FACTS) {
        return 0;
    }

    consume->facts_looked = now;

    if (svw_consume_sites(consume) != 0 || svw_consume_markets(consume) != 0) {
        return -1;
    }

    consume->unsettled |= consume->fed;

    return 0;
}


/* First of all its row is locked: nobody takes the lease over before the end. */
int
svw_consume_begin(svw_consume_t *consume)
{
    char               lease[16];
    const char *const  params[] = { consume->holder, lease };

    snprintf(lease, sizeof(lease), "%d", SVW_CONSUME_LEASE);

    return svw_consume_db(consume, svw_db_do(&consume->db, "begin", 0, NULL)) == 0
           && svw_consume_db(consume, svw_db_do(&consume->db, "select sv.judge_begin($1, $2)", 2, params)) == 0
           ? 0 : -1;
}


/*
 * A part of what came, and all that follows from it; nothing of it is told to the
 * servers before all is committed.
 */
int
svw_consume_transaction(svw_consume_t *consume, const svw_consume_part_t *part)
{
    consume->refused = 0;

    if (svw_consume_begin(consume) != 0) {
        return -1;
    }

    svw_failpoint("consume-begun");

    if (svw_consume_unread(consume) != 0 || svw_consume_history(consume, part->first, part->n) != 0) {
        return -1;
    }

    svw_failpoint("consume-history");

    if ((part->chain > 0 && svw_consume_chain(consume, part->chain, NULL) != 0)
        || (part->findings && svw_consume_findings(consume) != 0))
    {
        return -1;
    }

    svw_failpoint("consume-chain");

    if (svw_consume_cases(consume) != 0) {
        return -1;
    }

    svw_failpoint("consume-cases");

    return svw_consume_commit(consume);
}


int
svw_consume_cases(svw_consume_t *consume)
{
    return svw_consume_settle(consume) == 0
           && svw_consume_db(consume, svw_case_store_apply(&consume->store, &consume->db, svw_consume_case_refused, consume)) == 0
           ? 0 : -1;
}


int
svw_consume_commit(svw_consume_t *consume)
{
    if (svw_consume_db(consume, svw_db_do(&consume->db, "commit", 0, NULL)) != 0) {
        return -1;
    }

    svw_failpoint("consume-committed");

    consume->fed = 0;
    svw_consume_unread_free(consume);
    svw_case_store_written(&consume->store, svw_consume_since(consume));

    return 0;
}


/*
 * Rules look at what has many scans less and less often; every now and then all
 * is said of it that is to be said.
 */
static int
svw_consume_settle(svw_consume_t *consume)
{
    consume->unsettled |= consume->fed;

    if (!svw_consume_due(consume)) {
        return 0;
    }

    consume->unsettled = 0;
    consume->settled = svw_now_ms();

    return svw_judge_settle(consume->judge) == 0 ? 0 : svw_consume_memory(consume);
}


static int
svw_consume_due(const svw_consume_t *consume)
{
    return consume->unsettled && svw_now_ms() - consume->settled >= SVW_CONSUME_SETTLE;
}


static int
svw_consume_changed(svw_consume_t *consume)
{
    int64_t    now;
    uint64_t   hash;
    PGresult  *rows;

    now = svw_now_ms();

    if (now - consume->params_looked < SVW_CONSUME_PARAMS || svw_consume_params(consume, &rows, &hash) != 0) {
        return 0;
    }

    consume->params_looked = now;
    PQclear(rows);

    return hash != consume->params_hash;
}


int
svw_consume_db(svw_consume_t *consume, svw_db_rc_t rc)
{
    if (rc == SVW_DB_OK) {
        return 0;
    }

    consume->refused = rc == SVW_DB_ERROR && svw_db_refused(&consume->db);

    if (!consume->refused || !consume->narrow) {
        svw_log(rc == SVW_DB_ERROR ? SVW_LOG_ERROR : SVW_LOG_WARN, "PostgreSQL: %s", consume->db.error);
    }

    return -1;
}


int
svw_consume_memory(const svw_consume_t *consume)
{
    (void) consume;
    svw_log(SVW_LOG_ERROR, "out of memory");

    return -1;
}


/*
 * What the judge was told and is not known to be committed it must not
 * remember: it forgets all.  Blocks come again, they were not acknowledged.
 */
void
svw_consume_undo(svw_consume_t *consume)
{
    if (consume->db.pg != NULL && PQstatus(consume->db.pg) == CONNECTION_OK
        && PQtransactionStatus(consume->db.pg) != PQTRANS_IDLE)
    {
        (void) svw_db_do(&consume->db, "rollback", 0, NULL);
    }

    if (consume->fed) {
        svw_consume_forget(consume);
    }
}


static svw_consume_rc_t
svw_consume_failed(svw_consume_t *consume)
{
    svw_consume_undo(consume);
    svw_consume_forget_blocks(consume);

    return SVW_CONSUME_FAILED;
}


void
svw_consume_forget(svw_consume_t *consume)
{
    svw_judge_destroy(consume->judge);
    svw_case_store_close(&consume->store);
    svw_lots_remove_all(&consume->lots);
    free(consume->sites);

    consume->judge = NULL;
    consume->fed = 0;
    consume->unsettled = 0;
    consume->sites = NULL;
    consume->n_sites = 0;
    consume->sites_room = 0;
    consume->sites_n = 0;
    consume->markets_n = 0;
}


static void
svw_consume_tell(svw_consume_t *consume)
{
    char               text[SVW_TEXT];
    int64_t            now;
    svw_judge_size_t   size;
    const char *const  params[] = { "consume", text };

    now = svw_now_ms();

    if (consume->held != 1 || consume->judge == NULL || (consume->told != 0 && now - consume->told < SVW_CONSUME_TELL)
        || consume->db.pg == NULL || PQstatus(consume->db.pg) != CONNECTION_OK)
    {
        return;
    }

    consume->told = now;
    size = svw_judge_size(consume->judge);

    snprintf(text, sizeof(text), "since its start: %" PRId64 " scans, %" PRId64 " twice, %" PRId64 " operations, %" PRId64
             " unreadable, %" PRId64 " put aside, %" PRId64 " ahead of time; remembers %zu scans of %zu serials",
             consume->scans, consume->doubles, consume->operations, consume->broken, consume->aside, consume->ahead, size.scans,
             size.serials);

    (void) svw_db_do(&consume->db, "select sv.figure_set($1, $2)", 2, params);
    svw_consume_lag(consume);
}


static void
svw_consume_leave(svw_consume_t *consume)
{
    unsigned           i;
    const char *const  params[] = { consume->holder };

    if (consume->held == 1 && consume->db.pg != NULL && PQstatus(consume->db.pg) == CONNECTION_OK) {
        (void) svw_db_do(&consume->db, "select sv.judge_leave($1)", 1, params);
    }

    svw_consume_forget_blocks(consume);
    svw_consume_forget(consume);

    for (i = 0; i < consume->conf->n_redis; i++) {
        svw_redis_close(&consume->stream[i].redis);
    }

    svw_db_close(&consume->db);
    free(consume->events);
}
