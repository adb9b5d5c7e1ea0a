#include "svw_replay.h"

#include "svw_history.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>


/* what comes after what; lots and scans page by page */
typedef enum {
    SVW_STORED_SITES, SVW_STORED_RECALLS, SVW_STORED_LOTS, SVW_STORED_SCANS, SVW_STORED_LATE, SVW_STORED_FEEDS, SVW_STORED_END
} svw_stored_step_t;

typedef struct {
    svw_replay_source_t   source;
    svw_consume_t         consume;      /* its session, sites and lots: what the role uses */
    svw_history_t         history;
    svw_stored_step_t     step;
    int                   row, n;       /* of the step */
    PGresult             *rows;
    PGresult             *page;         /* what the scans point into */
    svw_consume_scan_t   *scans;
    int                   n_scans;
    sv_span_t            *spans;        /* of the last commission */
    svw_feed_finding_t    found;
    const svw_params_t   *params;
} svw_stored_t;


static int svw_stored_begin(svw_stored_t *stored, svw_params_t *params);
static svw_replay_next_t svw_stored_next(svw_replay_source_t *source, svw_replay_record_t *record, char error[SVW_TEXT]);
static int svw_stored_advance(svw_stored_t *stored);
static int svw_stored_ask(svw_stored_t *stored, svw_stored_step_t step, const char *sql, int n);
static int svw_stored_page(svw_stored_t *stored);
static int svw_stored_record(svw_stored_t *stored, svw_replay_record_t *record);
static int svw_stored_commission(svw_stored_t *stored, svw_replay_record_t *record, int first);
static double svw_stored_done(svw_replay_source_t *source);


/*
 * Stored history: all in one transaction that can change nothing, and sees the
 * same from its beginning to its end.
 */
svw_replay_source_t *
svw_replay_db_open(svw_conf_t *conf, int64_t from_ms, int64_t to_ms, svw_params_t *params)
{
    svw_stored_t  *stored;

    stored = calloc(1, sizeof(svw_stored_t));

    if (stored == NULL) {
        fprintf(stderr, "serial-verify-worker: out of memory\n");
        return NULL;
    }

    stored->source = (svw_replay_source_t) { .next = svw_stored_next, .done = svw_stored_done, .name = "stored history", .unit = "scan" };
    stored->consume.conf = conf;
    stored->history = (svw_history_t) { .since_ms = from_ms, .until_ms = to_ms };
    svw_db_init(&stored->consume.db, conf->postgres, "serial-verify-worker replay");

    if (svw_db_connect(&stored->consume.db) != 0 || svw_stored_begin(stored, params) != 0) {
        fprintf(stderr, "serial-verify-worker: PostgreSQL: %s\n", stored->consume.db.error);
        svw_replay_db_close(&stored->source);
        return NULL;
    }

    return &stored->source;
}


void
svw_replay_db_close(svw_replay_source_t *source)
{
    svw_stored_t  *stored;

    stored = (svw_stored_t *) source;

    PQclear(stored->rows);
    PQclear(stored->page);
    free(stored->scans);
    free(stored->spans);
    free(stored->consume.sites);
    svw_lots_remove_all(&stored->consume.lots);
    svw_db_close(&stored->consume.db);
    free(stored);
}


/* the parameters as they are in the live system */
static int
svw_stored_begin(svw_stored_t *stored, svw_params_t *params)
{
    int        row;
    char       error[SVW_PARAM_TEXT];
    svw_db_t  *db;
    PGresult  *rows;

    db = &stored->consume.db;

    if (svw_db_do(db, "begin isolation level repeatable read read only", 0, NULL) != SVW_DB_OK
        || svw_db_query(db, &rows, "select * from sv.judge_params()", 0, NULL) != SVW_DB_OK)
    {
        return -1;
    }

    for (row = 0; row < PQntuples(rows); row++) {
        if (svw_params_set(params, PQgetvalue(rows, row, 0), PQgetvalue(rows, row, 1), error) != 0) {
            fprintf(stderr, "serial-verify-worker: sv.rule_param: %s; the default holds\n", error);
        }
    }

    PQclear(rows);

    if (svw_consume_sites(&stored->consume) != 0) {
        return -1;
    }

    stored->params = params;
    stored->n = (int) stored->consume.n_sites;

    return 0;
}


static svw_replay_next_t
svw_stored_next(svw_replay_source_t *source, svw_replay_record_t *record, char error[SVW_TEXT])
{
    svw_stored_t  *stored;

    stored = (svw_stored_t *) source;
    source->ref = 0;

    do {
        while (stored->row == stored->n) {
            if (stored->step == SVW_STORED_END) {
                return SVW_REPLAY_END;
            }

            if (svw_stored_advance(stored) != 0) {
                snprintf(error, SVW_TEXT, "%s", stored->consume.db.error);
                return SVW_REPLAY_FAILED;
            }
        }

        memset(record, 0, sizeof(svw_replay_record_t));
        record->timed = 1;
        record->kind = SVW_REPLAY_NOTHING;

        if (svw_stored_record(stored, record) != 0) {
            snprintf(error, SVW_TEXT, "out of memory");
            return SVW_REPLAY_FAILED;
        }

        stored->row++;

    } while (record->kind == SVW_REPLAY_NOTHING);

    return SVW_REPLAY_RECORD;
}


static int
svw_stored_advance(svw_stored_t *stored)
{
    stored->row = 0;
    stored->n = 0;

    switch (stored->step) {

    case SVW_STORED_SITES:
        return svw_stored_ask(stored, SVW_STORED_RECALLS, "select * from sv.judge_recalls()", 0);

    case SVW_STORED_LOTS:
        stored->step = SVW_STORED_SCANS;
        stored->n = stored->n_scans;
        return 0;

    case SVW_STORED_RECALLS:
    case SVW_STORED_SCANS:
        if (svw_stored_page(stored) != 0) {
            return -1;
        }

        return stored->n_scans > 0 ? 0 : svw_stored_ask(stored, SVW_STORED_LATE,
                   "select * from sv.judge_late(null, null, to_timestamp($1::bigint / 1000.0))", 1);

    case SVW_STORED_LATE:
        return svw_stored_ask(stored, SVW_STORED_FEEDS,
                   "select * from sv.judge_feeds(to_timestamp($1::bigint / 1000.0), to_timestamp($2::bigint / 1000.0))", 2);

    case SVW_STORED_FEEDS:
    case SVW_STORED_END:
        stored->step = SVW_STORED_END;
        break;
    }

    return 0;
}


static int
svw_stored_ask(svw_stored_t *stored, svw_stored_step_t step, const char *sql, int n)
{
    char               since[24], until[24];
    const char *const  params[] = { since, until };

    snprintf(since, sizeof(since), "%" PRId64, stored->history.since_ms);
    snprintf(until, sizeof(until), "%" PRId64, stored->history.until_ms);

    PQclear(stored->rows);
    stored->rows = NULL;

    if (svw_db_query(&stored->consume.db, &stored->rows, sql, n, params) != SVW_DB_OK) {
        return -1;
    }

    stored->step = step;
    stored->n = PQntuples(stored->rows);

    return 0;
}


/* Scans, and the lots among them that were not told of before: these come first. */
static int
svw_stored_page(svw_stored_t *stored)
{
    int  row;

    PQclear(stored->page);
    PQclear(stored->rows);
    free(stored->scans);
    stored->page = NULL;
    stored->rows = NULL;
    stored->scans = NULL;
    stored->n_scans = 0;

    if (svw_history_page(&stored->consume.db, &stored->history, &stored->page) != SVW_DB_OK) {
        return -1;
    }

    stored->scans = calloc((size_t) PQntuples(stored->page) + 1, sizeof(svw_consume_scan_t));

    if (stored->scans == NULL) {
        snprintf(stored->consume.db.error, SVW_TEXT, "out of memory");
        return -1;
    }

    stored->n_scans = PQntuples(stored->page);

    for (row = 0; row < stored->n_scans; row++) {
        svw_history_scan(stored->page, row, &stored->scans[row]);
        stored->history.n = stored->scans[row].ref;
    }

    stored->step = SVW_STORED_LOTS;

    if (svw_consume_lots(&stored->consume, stored->scans, (size_t) stored->n_scans, &stored->rows) != 0) {
        return -1;
    }

    stored->n = stored->rows != NULL ? PQntuples(stored->rows) : 0;

    return 0;
}


static int
svw_stored_record(svw_stored_t *stored, svw_replay_record_t *record)
{
    switch (stored->step) {

    case SVW_STORED_SITES:
        record->kind = SVW_REPLAY_LOCATION;
        svw_consume_located(&stored->consume.sites[stored->row], &record->u.location);
        break;

    case SVW_STORED_RECALLS:
        record->kind = SVW_REPLAY_RECALL;
        record->u.recall.gtin = strtoull(PQgetvalue(stored->rows, stored->row, 0), NULL, 10);
        record->u.recall.lot = svw_consume_span(stored->rows, stored->row, 1);
        record->u.recall.time_ms = strtoll(PQgetvalue(stored->rows, stored->row, 2), NULL, 10);
        break;

    case SVW_STORED_LOTS:
        return svw_stored_commission(stored, record, 1);

    case SVW_STORED_LATE:
        return svw_stored_commission(stored, record, 0);

    case SVW_STORED_SCANS:
        record->kind = SVW_REPLAY_SCAN;
        stored->source.ref = stored->scans[stored->row].ref;
        svw_consume_judged(&stored->consume, &stored->scans[stored->row], &record->u.scan);
        break;

    case SVW_STORED_FEEDS:
        if (svw_feed_finding(stored->rows, stored->row, stored->params, &stored->found) == 0) {
            record->kind = SVW_REPLAY_FINDING;
            record->u.finding = &stored->found.finding;
        }
        break;

    case SVW_STORED_END:
        break;
    }

    return 0;
}


static int
svw_stored_commission(svw_stored_t *stored, svw_replay_record_t *record, int first)
{
    free(stored->spans);
    stored->spans = svw_consume_commission(stored->rows, stored->row, first, &record->u.commission);
    record->kind = SVW_REPLAY_COMMISSION;

    return stored->spans != NULL ? 0 : -1;
}


/* how many there are is not known before they are read */
static double
svw_stored_done(svw_replay_source_t *source)
{
    (void) source;

    return -1;
}
