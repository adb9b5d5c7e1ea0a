/* Declared lots: what feeds declare, and whether it agrees with what is recorded. */

#include "svw_pool.h"

#include "svw_array.h"
#include "svw_event.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>


#define SVW_RECONCILE_EVENTS  100       /* at once */
#define SVW_RECONCILE_LOTS    10


static int svw_reconcile_declared(svw_db_t *db);
static svw_db_rc_t svw_reconcile_event(svw_db_t *db, const PGresult *result, int row);
static int svw_reconcile_quantity(const json_t *quantity, const char *event_lot, svw_array_t column[3]);
static int svw_reconcile_pieces(const char *unit);
static int svw_reconcile_lots(svw_db_t *db);


int
svw_reconcile(svw_db_t *db)
{
    int  lots;

    if (db->pg == NULL || PQstatus(db->pg) != CONNECTION_OK) {
        return -1;
    }

    if (svw_reconcile_declared(db) != 0
        || svw_db_do(db, "select sv.serial_expire()", 0, NULL) != SVW_DB_OK
        || svw_db_do(db, "select sv.reconcile_look()", 0, NULL) != SVW_DB_OK
        || (lots = svw_reconcile_lots(db)) < 0)
    {
        svw_log(SVW_LOG_ERROR, "reconciliation: %s", db->error);
        return -1;
    }

    return lots;
}


/* each event is a transaction, which notes that it was looked at */
static int
svw_reconcile_declared(svw_db_t *db)
{
    int           i, n;
    char          limit[16];
    PGresult     *result;
    const char   *params[1];

    snprintf(limit, sizeof(limit), "%d", SVW_RECONCILE_EVENTS);
    params[0] = limit;

    do {
        if (svw_db_query(db, &result, "select * from sv.declaring_events($1)", 1, params) != SVW_DB_OK) {
            return -1;
        }

        n = PQntuples(result);

        for (i = 0; i < n; i++) {
            if (svw_reconcile_event(db, result, i) != SVW_DB_OK) {
                PQclear(result);
                return -1;
            }
        }

        PQclear(result);
    } while (n == SVW_RECONCILE_EVENTS && !svw_stopping());

    return 0;
}


static svw_db_rc_t
svw_reconcile_event(svw_db_t *db, const PGresult *result, int row)
{
    int           bad;
    size_t        i;
    json_t       *list, *quantity;
    const char   *params[5];
    svw_array_t   column[3];            /* gtin, lot, packs */
    svw_db_rc_t   rc;

    for (i = 0; i < 3; i++) {
        svw_array_begin(&column[i]);
    }

    list = json_loads(svw_col(result, row, "quantities"), JSON_DECODE_ANY, NULL);

    if (json_is_object(list)) {
        (void) svw_reconcile_quantity(list, svw_col(result, row, "lot"), column);
    }

    json_array_foreach(list, i, quantity) {
        (void) svw_reconcile_quantity(quantity, svw_col(result, row, "lot"), column);
    }

    json_decref(list);
    bad = 0;

    for (i = 0; i < 3; i++) {
        bad |= svw_array_end(&column[i]);
        params[2 + i] = column[i].text;
    }

    params[0] = svw_col(result, row, "load_id");
    params[1] = svw_col(result, row, "event");

    rc = bad ? SVW_DB_ERROR
         : svw_db_do(db, "select sv.declare_event($1, $2, $3::bigint[], $4::text[], $5::bigint[])", 5, params);

    for (i = 0; i < 3; i++) {
        svw_array_free(&column[i]);
    }

    return rc;
}


/*
 * {epcClass, quantity, uom}: a number of packs of a lot.  A class without a lot
 * is of the event's lot.  Amounts of a unit such as kilograms are no packs.
 */
static int
svw_reconcile_quantity(const json_t *quantity, const char *event_lot, svw_array_t column[3])
{
    char         *end, gtin_text[24], lot_text[32], packs[24];
    double        amount;
    uint8_t       buf[SV_GS1_BUFFER];
    uint64_t      gtin;
    sv_span_t     lot;
    const char   *text;

    text = json_string_value(json_object_get(quantity, "quantity"));

    if (text != NULL) {
        amount = strtod(text, &end);
        if (end == text || *end != '\0') {
            return -1;
        }

    } else {
        amount = json_is_number(json_object_get(quantity, "quantity"))
                 ? json_number_value(json_object_get(quantity, "quantity")) : -1;
    }

    if (!(amount >= 0 && amount <= 1e9) || amount != (double) (int64_t) amount
        || !svw_reconcile_pieces(json_string_value(json_object_get(quantity, "uom"))))
    {
        return -1;
    }

    text = json_string_value(json_object_get(quantity, "epcClass"));

    if (text == NULL || svw_epc_class((sv_span_t) { (const uint8_t *) text, strlen(text) }, buf, &gtin, &lot) != NULL) {
        return -1;
    }

    if (lot.len == 0 && event_lot != NULL) {
        lot = (sv_span_t) { (const uint8_t *) event_lot, strlen(event_lot) };
    }

    if (lot.len == 0 || lot.len >= sizeof(lot_text)) {
        return -1;
    }

    memcpy(lot_text, lot.data, lot.len);
    lot_text[lot.len] = '\0';
    snprintf(gtin_text, sizeof(gtin_text), "%" PRIu64, gtin);
    snprintf(packs, sizeof(packs), "%" PRId64, (int64_t) amount);

    svw_array_add(&column[0], gtin_text);
    svw_array_add(&column[1], lot_text);
    svw_array_add(&column[2], packs);

    return 0;
}


/* without a unit, or one of UN/ECE's words for a piece */
static int
svw_reconcile_pieces(const char *unit)
{
    return unit == NULL || strcmp(unit, "EA") == 0 || strcmp(unit, "H87") == 0 || strcmp(unit, "C62") == 0;
}


static int
svw_reconcile_lots(svw_db_t *db)
{
    int           i, n, all;
    char          limit[16];
    PGresult     *result;
    const char   *params[2];
    svw_db_rc_t   rc;

    all = 0;
    snprintf(limit, sizeof(limit), "%d", SVW_RECONCILE_LOTS);

    do {
        params[0] = limit;

        if (svw_db_query(db, &result, "select gtin, lot from sv.reconcile_due($1)", 1, params) != SVW_DB_OK) {
            return -1;
        }

        n = PQntuples(result);
        rc = SVW_DB_OK;

        for (i = 0; i < n && rc == SVW_DB_OK && !svw_stopping(); i++) {
            params[0] = PQgetvalue(result, i, 0);
            params[1] = PQgetvalue(result, i, 1);
            rc = svw_db_do(db, "select sv.reconcile_lot($1, $2)", 2, params);
            all += rc == SVW_DB_OK;
        }

        PQclear(result);

        if (rc != SVW_DB_OK) {
            return -1;
        }
    } while (n == SVW_RECONCILE_LOTS && !svw_stopping());

    return all;
}
