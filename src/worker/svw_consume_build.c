#include "svw_history.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>


static int svw_build_memory(svw_consume_t *consume);
static int svw_build_params(svw_consume_t *consume);
static int svw_build_judge(svw_consume_t *consume);
static int svw_build_markets_n(svw_consume_t *consume);
static int svw_build_scans(svw_consume_t *consume);
static int svw_build_rows(svw_consume_t *consume, const PGresult *rows, svw_history_t *history);
static int svw_build_cases(svw_consume_t *consume);
static void svw_build_found(void *data, const svw_finding_t *finding);


/*
 * The judge, and all that it would remember had it been here: facts, then the
 * scans of its window in the order in which they were judged.  What it says then
 * is in the cases already, but for what a changed rule or fact makes it say.
 */
int
svw_consume_build(svw_consume_t *consume)
{
    int      rc;
    int64_t  began;

    began = svw_now_ms();
    consume->fed = 1;

    consume->building = 1;
    rc = svw_build_memory(consume);
    consume->building = 0;

    if (rc != 0 || (svw_case_store_waits(&consume->store) && svw_build_cases(consume) != 0)) {
        return -1;
    }

    svw_log(SVW_LOG_NOTICE, "history was read in %" PRId64 " ms: %zu scans", svw_now_ms() - began,
            svw_judge_size(consume->judge).scans);

    consume->fed = 0;
    consume->settled = svw_now_ms();
    consume->facts_looked = consume->settled;

    return 0;
}


/* Some of its steps take longer than a lease: two workers would take it from each other for ever. */
static int
svw_build_memory(svw_consume_t *consume)
{
    int  waits;

    if (svw_consume_take(consume, &waits) != 1
        || svw_build_params(consume) != 0 || svw_build_judge(consume) != 0
        || svw_build_markets_n(consume) != 0 || svw_consume_sites(consume) != 0 || svw_consume_recalls(consume) != 0
        || svw_build_scans(consume) != 0 || svw_consume_late(consume, NULL, NULL) != 0)
    {
        return -1;
    }

    return svw_judge_settle(consume->judge) == 0 && svw_case_store_again(&consume->store) == 0 ? 0 : svw_consume_memory(consume);
}


static int
svw_build_judge(svw_consume_t *consume)
{
    consume->judge = svw_judge_create(&consume->params, svw_build_found, consume);

    if (consume->judge == NULL) {
        return svw_consume_memory(consume);
    }

    return svw_consume_db(consume, svw_case_store_open(&consume->store, &consume->db, &consume->params, svw_consume_since(consume)));
}


/* What was set and is no longer permitted is told, and has its default. */
static int
svw_build_params(svw_consume_t *consume)
{
    int        row;
    char       error[SVW_PARAM_TEXT];
    PGresult  *rows;

    if (svw_consume_params(consume, &rows, &consume->params_hash) != 0) {
        return -1;
    }

    svw_params_default(&consume->params);

    for (row = 0; row < PQntuples(rows); row++) {
        if (svw_params_set(&consume->params, PQgetvalue(rows, row, 0), PQgetvalue(rows, row, 1), error) != 0) {
            svw_log(SVW_LOG_ERROR, "sv.rule_param: %s; the default holds", error);
        }
    }

    PQclear(rows);

    return 0;
}


/* What differs from the defaults, and a number that tells whether it has changed. */
int
svw_consume_params(svw_consume_t *consume, PGresult **rows, uint64_t *hash)
{
    int          row, column;
    const char  *p;

    if (svw_consume_db(consume, svw_db_query(&consume->db, rows, "select * from sv.judge_params()", 0, NULL)) != 0) {
        return -1;
    }

    *hash = UINT64_C(0xcbf29ce484222325);

    for (row = 0; row < PQntuples(*rows); row++) {
        for (column = 0; column < 2; column++) {
            for (p = PQgetvalue(*rows, row, column); *p != '\0'; p++) {
                *hash = (*hash ^ (uint8_t) *p) * UINT64_C(0x100000001b3);
            }

            *hash = (*hash ^ '\n') * UINT64_C(0x100000001b3);
        }
    }

    return 0;
}


static int
svw_build_markets_n(svw_consume_t *consume)
{
    PGresult  *rows;

    if (svw_consume_db(consume, svw_db_query(&consume->db, &rows, "select sv.judge_markets_n()", 0, NULL)) != 0) {
        return -1;
    }

    consume->markets_n = strtoll(PQgetvalue(rows, 0, 0), NULL, 10);
    PQclear(rows);

    return 0;
}


static int
svw_build_scans(svw_consume_t *consume)
{
    int             n, rc, waits;
    PGresult       *rows;
    svw_history_t   history;

    history = (svw_history_t) { .since_ms = svw_consume_since(consume) };

    do {
        if (svw_stopping() || svw_consume_db(consume, svw_history_page(&consume->db, &history, &rows)) != 0) {
            return -1;
        }

        n = PQntuples(rows);
        rc = svw_build_rows(consume, rows, &history);
        PQclear(rows);

        /* it may take longer than a lease */
        if (rc != 0 || svw_consume_take(consume, &waits) != 1) {
            return -1;
        }

    } while (n > 0);

    return 0;
}


static int
svw_build_rows(svw_consume_t *consume, const PGresult *rows, svw_history_t *history)
{
    int                  n, row, rc;
    svw_consume_scan_t  *scans;

    n = PQntuples(rows);
    scans = calloc((size_t) n + 1, sizeof(svw_consume_scan_t));

    if (scans == NULL) {
        return svw_consume_memory(consume);
    }

    for (row = 0; row < n; row++) {
        svw_history_scan(rows, row, &scans[row]);
    }

    rc = svw_consume_known(consume, scans, (size_t) n);

    for (row = 0; row < n && rc == 0; row++) {
        rc = svw_consume_feed(consume, &scans[row]);
    }

    if (n > 0) {
        history->n = scans[n - 1].ref;
    }

    free(scans);

    return rc;
}


static int
svw_build_cases(svw_consume_t *consume)
{
    if (svw_consume_begin(consume) != 0
        || svw_consume_db(consume, svw_case_store_apply(&consume->store, &consume->db, svw_consume_case_refused, consume)) != 0
        || svw_consume_db(consume, svw_db_do(&consume->db, "commit", 0, NULL)) != 0)
    {
        return -1;
    }

    svw_case_store_written(&consume->store, svw_consume_since(consume));

    return 0;
}


static void
svw_build_found(void *data, const svw_finding_t *finding)
{
    svw_consume_t  *consume;

    consume = data;
    svw_case_store_take(&consume->store, finding, consume->ref, NULL);
}
