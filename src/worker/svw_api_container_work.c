/*
 * An operation on every pack in a container.
 *
 * Each pack is operated on by sv.operate in the order of the key, a few in a
 * transaction, each under a key of its own that follows from the caller's.  So
 * whoever is interrupted repeats the request and gets what is missing.
 */

#include "svw_api_container.h"
#include "svw_array.h"

#include "../serial/sv_alert.h"

#include <string.h>


#define SVW_CONTAINER_BATCH    100      /* packs a transaction */
#define SVW_CONTAINER_REFUSED  1000     /* told one by one */
#define SVW_CONTAINER_TIME     45000    /* ms; nginx waits a minute */


static svw_db_rc_t svw_container_batch(svw_container_t *c, svw_container_work_t *work, const PGresult *rows, int from, int to);
static void svw_container_told(svw_container_work_t *work, const PGresult *result);


/* `whole' stays 0 when the time is over or the program ends: what is done is done, the rest is for a repeated request. */
svw_db_rc_t
svw_container_work(svw_container_t *c, svw_container_work_t *work, int *whole)
{
    int           from, to, n;
    int64_t       until;
    PGresult     *rows;
    svw_db_rc_t   rc;

    until = svw_now_ms() + SVW_CONTAINER_TIME;

    do {
        rc = svw_container_page(c, SVW_CONTAINER_PAGES, &rows);
        if (rc != SVW_DB_OK) {
            return rc;
        }

        n = PQntuples(rows);

        for (from = 0; from < n && rc == SVW_DB_OK; from = to) {
            to = from + SVW_CONTAINER_BATCH < n ? from + SVW_CONTAINER_BATCH : n;

            if (svw_now_ms() > until || svw_stopping()) {
                PQclear(rows);
                return SVW_DB_OK;
            }

            rc = svw_container_batch(c, work, rows, from, to);
        }

        svw_container_next(c, rows);
        PQclear(rows);

    } while (rc == SVW_DB_OK && n == SVW_CONTAINER_PAGES);

    *whole = rc == SVW_DB_OK;

    return rc;
}


static svw_db_rc_t
svw_container_batch(svw_container_t *c, svw_container_work_t *work, const PGresult *rows, int from, int to)
{
    int           i;
    char          alert[SV_ALERT_ID];
    PGresult     *result;
    const char   *params[8];
    svw_array_t   gtin, serial, alerts;
    svw_db_rc_t   rc;

    svw_array_begin(&gtin);
    svw_array_begin(&serial);
    svw_array_begin(&alerts);

    for (i = from; i < to; i++) {
        if (svw_col(rows, i, "reason") == NULL) {
            continue;
        }

        svw_array_add(&gtin, svw_col(rows, i, "gtin"));
        svw_array_add(&serial, svw_col(rows, i, "serial"));
        svw_array_add(&alerts, sv_alert_mint(alert, c->rq->who->location.country) ? alert : NULL);
    }

    params[0] = c->location;
    params[1] = work->operation;
    params[2] = work->of;
    params[3] = work->key;
    params[7] = c->rq->who->request_id;

    rc = SVW_DB_OK;
    result = NULL;

    if ((svw_array_end(&gtin) | svw_array_end(&serial) | svw_array_end(&alerts)) != 0) {
        rc = SVW_DB_RETRY;

    } else if (gtin.n > 0) {
        params[4] = gtin.text;
        params[5] = serial.text;
        params[6] = alerts.text;

        rc = svw_db_query(c->rq->db, &result, "select * from sv.api_operate($1, $2, $3, $4, $5, $6, $7, $8)", 8, params);
    }

    if (result != NULL) {
        svw_container_told(work, result);
        PQclear(result);
    }

    svw_array_free(&gtin);
    svw_array_free(&serial);
    svw_array_free(&alerts);

    return rc;
}


static void
svw_container_told(svw_container_work_t *work, const PGresult *result)
{
    int          i;
    char         link[SVW_LINK];
    const char  *reason;

    for (i = 0; i < PQntuples(result); i++) {
        reason = svw_col(result, i, "reason");
        work->packs++;
        svw_container_count(work->reasons, reason, 1);

        if (svw_col(result, i, "changed")[0] == 't') {
            work->changed++;

        } else if (json_array_size(work->refused) < SVW_CONTAINER_REFUSED) {
            svw_scan_link(link, svw_col(result, i, "gtin"), svw_col(result, i, "serial"));
            json_array_append_new(work->refused, json_pack("{s:s, s:s, s:s*, s:s*, s:s*}", "epc", link, "reason", reason,
                                  "state", svw_col(result, i, "state"), "code", svw_col(result, i, "code"),
                                  "alert", svw_col(result, i, "alert_id")));
        }
    }
}


void
svw_container_count(json_t *counts, const char *reason, int64_t n)
{
    json_object_set_new(counts, reason, json_integer(json_integer_value(json_object_get(counts, reason)) + n));
}
