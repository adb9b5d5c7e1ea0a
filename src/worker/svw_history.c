#include "svw_history.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>


/* columns of sv.judge_history */
typedef enum {
    SVW_HISTORY_N, SVW_HISTORY_GTIN, SVW_HISTORY_AT, SVW_HISTORY_OCCURRED, SVW_HISTORY_SERIAL, SVW_HISTORY_LOT,
    SVW_HISTORY_EXPIRY, SVW_HISTORY_OPERATION, SVW_HISTORY_OF, SVW_HISTORY_LOCATION, SVW_HISTORY_SESSION,
    SVW_HISTORY_COUNTRY, SVW_HISTORY_LAT, SVW_HISTORY_LON, SVW_HISTORY_ACCURACY, SVW_HISTORY_ENTRY,
    SVW_HISTORY_REASON, SVW_HISTORY_HINT, SVW_HISTORY_BEFORE
} svw_history_column_e;

#define SVW_HISTORY_PAGE  "10000"


static int64_t svw_history_number(const PGresult *rows, int row, svw_history_column_e column);
static double svw_history_degrees(const PGresult *rows, int row, svw_history_column_e column);


/*
 * Pages by number, each a statement of its own: no transaction stays open for
 * long.  Whoever holds the lease is the only one who inserts, so nothing appears
 * behind a page.
 */
svw_db_rc_t
svw_history_page(svw_db_t *db, const svw_history_t *history, PGresult **rows)
{
    char               after[24], since[24], until[24];
    const char *const  params[] = { after, since, until, SVW_HISTORY_PAGE };

    snprintf(after, sizeof(after), "%" PRIu64, history->n);
    snprintf(since, sizeof(since), "%" PRId64, history->since_ms);
    snprintf(until, sizeof(until), "%" PRId64, history->until_ms);

    return svw_db_query(db, rows, "select * from sv.judge_history($1, to_timestamp($2::bigint / 1000.0),"
                        " case when $3::bigint = 0 then 'infinity' else to_timestamp($3::bigint / 1000.0) end, $4)", 4, params);
}


void
svw_history_scan(const PGresult *rows, int row, svw_consume_scan_t *scan)
{
    sv_span_t  country;

    country = svw_consume_span(rows, row, SVW_HISTORY_COUNTRY);

    *scan = (svw_consume_scan_t) {
        .ref = (svw_ref_t) svw_history_number(rows, row, SVW_HISTORY_N),
        .event = {
            .at_ms = svw_history_number(rows, row, SVW_HISTORY_AT),
            .occurred_ms = svw_history_number(rows, row, SVW_HISTORY_OCCURRED),
            .gtin = (uint64_t) svw_history_number(rows, row, SVW_HISTORY_GTIN),
            .serial = svw_consume_span(rows, row, SVW_HISTORY_SERIAL),
            .lot = svw_consume_span(rows, row, SVW_HISTORY_LOT),
            .expiry = svw_consume_span(rows, row, SVW_HISTORY_EXPIRY),
            .location = (int32_t) svw_history_number(rows, row, SVW_HISTORY_LOCATION),
            .session = svw_consume_span(rows, row, SVW_HISTORY_SESSION),
            .lat = svw_history_degrees(rows, row, SVW_HISTORY_LAT),
            .lon = svw_history_degrees(rows, row, SVW_HISTORY_LON),
            .accuracy_km = (unsigned) svw_history_number(rows, row, SVW_HISTORY_ACCURACY),
            .entry_mode = svw_consume_span(rows, row, SVW_HISTORY_ENTRY),
            .reason = sv_reason_parse(svw_consume_span(rows, row, SVW_HISTORY_REASON)),
            .hint = !PQgetisnull(rows, row, SVW_HISTORY_HINT)
        },
        .operation = svw_consume_op(PQgetvalue(rows, row, SVW_HISTORY_OPERATION)),
        .before = (int32_t) svw_history_number(rows, row, SVW_HISTORY_BEFORE)
    };

    scan->of = PQgetisnull(rows, row, SVW_HISTORY_OF) ? scan->operation : svw_consume_op(PQgetvalue(rows, row, SVW_HISTORY_OF));

    if (country.len == 2) {
        memcpy(scan->event.country, country.data, 2);
    }
}


/* null: 0 */
static int64_t
svw_history_number(const PGresult *rows, int row, svw_history_column_e column)
{
    return strtoll(PQgetvalue(rows, row, (int) column), NULL, 10);
}


static double
svw_history_degrees(const PGresult *rows, int row, svw_history_column_e column)
{
    return PQgetisnull(rows, row, (int) column) ? (double) NAN : strtod(PQgetvalue(rows, row, (int) column), NULL);
}
