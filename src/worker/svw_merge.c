#include "svw_load.h"

#include <inttypes.h>
#include <string.h>


#define SVW_MERGE_RETRIES  10


static svw_load_rc_t svw_merge_unknown(svw_load_t *load);
static void svw_merge_product(svw_load_t *load, int64_t gtin, int64_t line, int64_t lines);
static svw_load_rc_t svw_merge_lot(svw_load_t *load, int64_t n);
static int svw_merge_db(svw_load_t *load, svw_db_rc_t rc);


/* Lots in the order in which the file names them: what it says first is recorded first. */
svw_load_rc_t
svw_merge(svw_load_t *load)
{
    int64_t  n;

    if (svw_merge_unknown(load) != SVW_LOAD_OK) {
        return load->rc;
    }

    if (load->source->whole && load->rejected > 0) {
        svw_load_refuse(load, "a line is bad, and it is all or nothing (on_error = none, rollback): nothing was loaded");
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

    if (load->lines_unknown != 0) {
        /* what was told of products is not what was loaded: once more, and only what is missing is merged */
        svw_load_stop(load, SVW_LOAD_RETRY, "a product was removed or made meanwhile");
    }

    return load->rc;
}


static svw_load_rc_t
svw_merge_unknown(svw_load_t *load)
{
    int           i, n;
    char          after[24];
    int64_t       gtin;
    PGresult     *result;
    const char   *params[2];

    gtin = 0;
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
            svw_merge_product(load, gtin, svw_col_int(result, i, "line"), svw_col_int(result, i, "lines"));
        }

        PQclear(result);

    } while (n == 500 && load->rc == SVW_LOAD_OK);

    return load->rc;
}


static void
svw_merge_product(svw_load_t *load, int64_t gtin, int64_t line, int64_t lines)
{
    char          number[24], name[48];
    svw_fault_t   fault;
    const char   *params[2];

    snprintf(number, sizeof(number), "%014" PRId64, gtin);

    if (load->conf->unknown_products == SVW_UNKNOWN_REJECT) {
        fault = (svw_fault_t) { .line = line, .lines = lines, .element = "gtin",
                                .value = { (const uint8_t *) number, strlen(number) }, .reason = "product_unknown" };
        svw_load_fault(load, &fault);
        load->lines_unknown += lines;
        return;
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
}


static svw_load_rc_t
svw_merge_lot(svw_load_t *load, int64_t n)
{
    int           tries;
    char          id[16], number[24], uuid[37];
    PGresult     *result;
    svw_db_rc_t   rc;
    const char   *outcome, *params[4];

    snprintf(id, sizeof(id), "%d", (int) load->id);
    snprintf(number, sizeof(number), "%" PRId64, n);
    svw_uuid(uuid);

    params[0] = id;
    params[1] = svw_stage_name(load);
    params[2] = number;
    params[3] = uuid;

    for (tries = 0; ; tries++) {
        rc = svw_db_query(load->db, &result, "select outcome, lines from sv.merge_lot($1, $2, $3, $4)", 4, params);

        if (rc != SVW_DB_RETRY || tries == SVW_MERGE_RETRIES) {
            break;
        }
    }

    if (svw_merge_db(load, rc) != 0) {
        return load->rc;
    }

    outcome = svw_col(result, 0, "outcome");

    if (strcmp(outcome, "product_unknown") == 0) {
        load->lots_unknown++;
        load->lines_unknown -= svw_col_int(result, 0, "lines");
    } else {
        load->lots_merged++;
    }

    PQclear(result);

    return SVW_LOAD_OK;
}


static int
svw_merge_db(svw_load_t *load, svw_db_rc_t rc)
{
    if (rc == SVW_DB_OK) {
        return 0;
    }

    return svw_load_stop(load, rc == SVW_DB_ERROR ? SVW_LOAD_FAILED : SVW_LOAD_RETRY, "PostgreSQL: %s", load->db->error);
}
