/*
 * Recall of everything in a container: a list of serials of each product in
 * it.  To recall the same again makes nothing new, so an order that was
 * interrupted is repeated.
 */

#include "svw_api_container.h"
#include "svw_array.h"

#include <stdlib.h>
#include <string.h>


static svw_db_rc_t svw_container_recall_some(svw_container_t *c, const json_t *order, const PGresult *rows, int from, int to,
    json_t *recalls);


int
svw_container_recall(svw_container_t *c, const json_t *order)
{
    int           from, to, n;
    json_t       *recalls;
    json_int_t    packs;
    PGresult     *rows;
    svw_db_rc_t   rc;

    recalls = json_array();
    packs = 0;

    do {
        rc = svw_container_page(c, SVW_CONTAINER_PAGES, &rows);
        if (rc != SVW_DB_OK) {
            break;
        }

        n = PQntuples(rows);

        /* rows of one GTIN lie together */
        for (from = 0; from < n && rc == SVW_DB_OK; from = to) {
            for (to = from + 1; to < n && strcmp(svw_col(rows, to, "gtin"), svw_col(rows, from, "gtin")) == 0; to++) { /* void */ }

            if (svw_col(rows, from, "reason") != NULL) {
                rc = svw_container_recall_some(c, order, rows, from, to, recalls);
                packs += to - from;
            }
        }

        svw_container_next(c, rows);
        PQclear(rows);

    } while (rc == SVW_DB_OK && n == SVW_CONTAINER_PAGES);

    if (rc != SVW_DB_OK) {
        json_decref(recalls);
        return svw_api_db_problem(c->rq, rc);
    }

    return svw_api_json(c->rq, 200, "application/json",
                        json_pack("{s:s, s:I, s:o}", "operation", "recall", "packs", packs, "recalls", recalls));
}


static svw_db_rc_t
svw_container_recall_some(svw_container_t *c, const json_t *order, const PGresult *rows, int from, int to, json_t *recalls)
{
    int           i;
    PGresult     *result;
    const char   *params[6];
    svw_array_t   serials;
    svw_db_rc_t   rc;

    svw_array_begin(&serials);

    for (i = from; i < to; i++) {
        if (svw_col(rows, i, "reason") != NULL) {
            svw_array_add(&serials, svw_col(rows, i, "serial"));
        }
    }

    if (svw_array_end(&serials) != 0) {
        svw_array_free(&serials);
        return SVW_DB_RETRY;
    }

    params[0] = c->location;
    params[1] = svw_col(rows, from, "gtin");
    params[2] = serials.text;
    params[3] = json_string_value(json_object_get(order, "reason"));
    params[4] = json_string_value(json_object_get(order, "reference"));
    params[5] = c->rq->who->request_id;

    rc = svw_db_query(c->rq->db, &result,
                      "select recall_id, made from sv.api_recall($1, $2, 'serials', null, null, null, $3, $4, $5, $6)", 6, params);

    if (rc == SVW_DB_OK) {
        json_array_append_new(recalls, json_string(svw_col(result, 0, "recall_id")));
        PQclear(result);
    }

    svw_array_free(&serials);

    return rc;
}
