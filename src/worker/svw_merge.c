#include "svw_load.h"

#include <inttypes.h>
#include <string.h>


#define SVW_MERGE_RETRIES  10
#define SVW_MERGE_PIECE    "5000"       /* items a transaction */


static svw_load_rc_t svw_merge_unknown(svw_load_t *load, int64_t *told);
static int svw_merge_product(svw_load_t *load, const PGresult *result, int row);
static svw_load_rc_t svw_merge_claim(svw_load_t *load, int64_t told, int64_t *work);
static svw_load_rc_t svw_merge_lot(svw_load_t *load, int64_t n);
static svw_load_rc_t svw_merge_events(svw_load_t *load);
static svw_db_rc_t svw_merge_query(svw_load_t *load, PGresult **result, const char *sql, int n, const char *const *params);
static int svw_merge_db(svw_load_t *load, svw_db_rc_t rc);


/*
 * Lots in the order in which the file names them: what it says first is recorded
 * first; then what its events say of items.  From the claim on nothing refuses
 * the file: another load may already count on its events.
 */
svw_load_rc_t
svw_merge(svw_load_t *load)
{
    int64_t  n, work, told;

    if (svw_merge_unknown(load, &told) != SVW_LOAD_OK) {
        return load->rc;
    }

    if (load->source->whole && (load->rejected > 0 || load->events_quarantined > 0)) {
        svw_load_refuse(load, "a line is bad, and it is all or nothing (on_error = none, rollback): nothing was loaded");
        return load->rc;
    }

    if (svw_merge_claim(load, told, &work) != SVW_LOAD_OK) {
        return load->rc;
    }

    for (n = 1; n <= load->lots; n++) {
        if (svw_stopping()) {
            svw_load_stop(load, SVW_LOAD_RETRY, "stopping");
            return load->rc;
        }

        if (svw_merge_lot(load, n) != SVW_LOAD_OK) {
            return load->rc;
        }

        svw_load_progress(load);
    }

    if (work > 0 && svw_merge_events(load) != SVW_LOAD_OK) {
        return load->rc;
    }

    if (load->lines_unknown != 0) {
        /* what was told of products is not what was loaded: once more, and only what is missing is merged */
        svw_load_stop(load, SVW_LOAD_RETRY, "a product was removed or made meanwhile");
    }

    return load->rc;
}


/* GTINs that the file may not name; `told' is how many there are. */
static svw_load_rc_t
svw_merge_unknown(svw_load_t *load, int64_t *told)
{
    int           i, n;
    char          after[24];
    int64_t       gtin;
    PGresult     *result;
    const char   *params[2];

    gtin = 0;
    *told = 0;
    params[0] = svw_stage_name(load);
    params[1] = after;

    do {
        snprintf(after, sizeof(after), "%" PRId64, gtin);

        if (svw_merge_db(load, svw_db_query(load->db, &result, "select * from sv.stage_unknown($1, $2, 500)", 2, params)) != 0) {
            return load->rc;
        }

        n = PQntuples(result);

        for (i = 0; i < n && load->rc == SVW_LOAD_OK; i++) {
            gtin = svw_col_int(result, i, "gtin");
            *told += svw_merge_product(load, result, i);
        }

        PQclear(result);

    } while (n == 500 && load->rc == SVW_LOAD_OK);

    return load->rc;
}


/* 1: it is told as a fault; 0: a product was made */
static int
svw_merge_product(svw_load_t *load, const PGresult *result, int row)
{
    int           unknown;
    char          number[24], name[48];
    svw_fault_t   fault;
    const char   *params[2];

    snprintf(number, sizeof(number), "%014" PRId64, svw_col_int(result, row, "gtin"));
    unknown = strcmp(svw_col(result, row, "reason"), "product_unknown") == 0;

    if (!unknown || load->conf->unknown_products == SVW_UNKNOWN_REJECT) {
        fault = (svw_fault_t) { .line = svw_col_int(result, row, "line"), .lines = svw_col_int(result, row, "lines"), .element = "gtin",
                                .value = { (const uint8_t *) number, strlen(number) },
                                .reason = unknown ? "product_unknown" : "not_permitted" };
        svw_load_fault(load, &fault);
        load->lines_unknown += svw_col_int(result, row, "packs");
        return 1;
    }

    snprintf(name, sizeof(name), "Product %s", number);
    params[0] = number;
    params[1] = name;

    if (svw_merge_db(load, svw_db_do(load->db,
                                     "select sv.put_product($1::bigint, $2, 'unnamed', p_by => 'worker: unknown_products = create')",
                                     2, params)) == 0)
    {
        svw_log(SVW_LOG_NOTICE, "load %d: made an unnamed product for GTIN %s", (int) load->id, number);
    }

    return 0;
}


/* Events that name a product that is not known, or not ours, are left away whole: what else they name is told, too. */
static svw_load_rc_t
svw_merge_claim(svw_load_t *load, int64_t told, int64_t *work)
{
    char          id[16];
    PGresult     *result;
    svw_fault_t   fault;
    const char   *params[2];

    *work = 0;
    snprintf(id, sizeof(id), "%d", (int) load->id);
    params[0] = id;
    params[1] = svw_stage_name(load);

    if (svw_merge_db(load, svw_merge_query(load, &result, "select * from sv.stage_claim($1, $2)", 2, params)) != 0) {
        return load->rc;
    }

    if (svw_col_int(result, 0, "gtins") != told) {
        svw_load_stop(load, SVW_LOAD_RETRY, "a product was removed or made meanwhile");
    }

    *work = svw_col_int(result, 0, "work");
    load->events_seen += svw_col_int(result, 0, "seen");

    if (svw_col_int(result, 0, "lines") > 0) {
        fault = (svw_fault_t) { .line = svw_col_int(result, 0, "line"), .lines = svw_col_int(result, 0, "lines"),
                                .reason = "event_product" };
        svw_load_fault(load, &fault);
    }

    PQclear(result);

    return load->rc;
}


static svw_load_rc_t
svw_merge_lot(svw_load_t *load, int64_t n)
{
    char          id[16], number[24], uuid[37];
    PGresult     *result;
    const char   *outcome, *params[4];

    snprintf(id, sizeof(id), "%d", (int) load->id);
    snprintf(number, sizeof(number), "%" PRId64, n);
    svw_uuid(uuid);

    params[0] = id;
    params[1] = svw_stage_name(load);
    params[2] = number;
    params[3] = uuid;

    if (svw_merge_db(load, svw_merge_query(load, &result, "select outcome, lines from sv.merge_lot_markets($1, $2, $3, $4)", 4, params)) != 0) {
        return load->rc;
    }

    outcome = svw_col(result, 0, "outcome");

    if (strcmp(outcome, "product_unknown") == 0) {
        load->lots_unknown++;
        load->lines_unknown -= svw_col_int(result, 0, "lines");
    } else if (strcmp(outcome, "empty") == 0) {
        load->lots_unknown++;
    } else {
        load->lots_merged++;
    }

    PQclear(result);

    return SVW_LOAD_OK;
}


static svw_load_rc_t
svw_merge_events(svw_load_t *load)
{
    int           more;
    char          id[16], after[24], uuid[37];
    PGresult     *result;
    const char   *last, *params[5];

    snprintf(id, sizeof(id), "%d", (int) load->id);
    snprintf(after, sizeof(after), "0");

    params[0] = id;
    params[1] = svw_stage_name(load);
    params[2] = after;
    params[3] = SVW_MERGE_PIECE;
    params[4] = uuid;

    do {
        if (svw_stopping()) {
            svw_load_stop(load, SVW_LOAD_RETRY, "stopping");
            return load->rc;
        }

        svw_uuid(uuid);

        if (svw_merge_db(load, svw_merge_query(load, &result, "select last, events from sv.merge_events($1, $2, $3, $4, $5)", 5, params)) != 0) {
            return load->rc;
        }

        last = svw_col(result, 0, "last");
        load->events_merged += svw_col_int(result, 0, "events");
        more = last != NULL;

        if (more) {
            snprintf(after, sizeof(after), "%s", last);
        }

        PQclear(result);
        svw_load_progress(load);

    } while (more);

    return load->rc;
}


/* Two that want the same rows: one of them is told to try again. */
static svw_db_rc_t
svw_merge_query(svw_load_t *load, PGresult **result, const char *sql, int n, const char *const *params)
{
    int          tries;
    svw_db_rc_t  rc;

    for (tries = 0; ; tries++) {
        rc = svw_db_query(load->db, result, sql, n, params);

        if (rc != SVW_DB_RETRY || tries == SVW_MERGE_RETRIES) {
            return rc;
        }
    }
}


static int
svw_merge_db(svw_load_t *load, svw_db_rc_t rc)
{
    if (rc == SVW_DB_OK) {
        return 0;
    }

    return svw_load_stop(load, rc == SVW_DB_ERROR ? SVW_LOAD_FAILED : SVW_LOAD_RETRY, "PostgreSQL: %s", load->db->error);
}
