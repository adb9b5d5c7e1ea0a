#include "svw_consume.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>


/* columns of sv.judge_chain */
typedef enum {
    SVW_CHAIN_N, SVW_CHAIN_KIND, SVW_CHAIN_OPERATION, SVW_CHAIN_OF, SVW_CHAIN_GTIN, SVW_CHAIN_AT, SVW_CHAIN_OCCURRED,
    SVW_CHAIN_SERIAL, SVW_CHAIN_LOT, SVW_CHAIN_EXPIRY, SVW_CHAIN_LOCATION, SVW_CHAIN_ENTRY, SVW_CHAIN_REASON, SVW_CHAIN_HINT,
    SVW_CHAIN_PACK_LOT, SVW_CHAIN_PACK_EXPIRY, SVW_CHAIN_PACK_AT, SVW_CHAIN_BEFORE
} svw_chain_column_e;


static int svw_chain_rows(svw_consume_t *consume, const PGresult *rows);
static void svw_chain_scan(const PGresult *rows, int row, svw_consume_scan_t *scan);
static int64_t svw_chain_number(const PGresult *rows, int row, svw_chain_column_e column);
static int svw_chain_fact(svw_consume_t *consume, const PGresult *rows, int row);


/*
 * Operations come from the audit chain and not from the gateways: none is lost,
 * whatever becomes of Redis.  The place in the chain moves with the rows of history,
 * in one transaction.
 */
int
svw_consume_chain(svw_consume_t *consume, unsigned limit, const char *refused)
{
    int                rc;
    char               rows_most[16];
    PGresult          *rows;
    const char *const  params[] = { consume->holder, rows_most, refused };

    snprintf(rows_most, sizeof(rows_most), "%u", limit);

    if (svw_consume_db(consume, svw_db_query(&consume->db, &rows, "select * from sv.judge_chain($1, $2, $3)", 3, params)) != 0) {
        return -1;
    }

    rc = PQntuples(rows) > 0 ? svw_chain_rows(consume, rows) : 0;
    PQclear(rows);

    return rc;
}


static int
svw_chain_rows(svw_consume_t *consume, const PGresult *rows)
{
    int                  rc, row, n;
    svw_consume_scan_t  *scans;

    scans = calloc((size_t) PQntuples(rows), sizeof(svw_consume_scan_t));
    if (scans == NULL) {
        return svw_consume_memory(consume);
    }

    for (n = 0, row = 0; row < PQntuples(rows); row++) {
        if (!PQgetisnull(rows, row, SVW_CHAIN_N)) {
            svw_chain_scan(rows, row, &scans[n++]);
        }
    }

    rc = svw_consume_known(consume, scans, (size_t) n);
    consume->operations += n;

    for (n = 0, row = 0; row < PQntuples(rows) && rc == 0; row++) {
        rc = PQgetisnull(rows, row, SVW_CHAIN_N) ? svw_chain_fact(consume, rows, row) : svw_consume_feed(consume, &scans[n++]);
    }

    free(scans);

    return rc;
}


static void
svw_chain_scan(const PGresult *rows, int row, svw_consume_scan_t *scan)
{
    const char  *of;

    of = PQgetisnull(rows, row, SVW_CHAIN_OF) ? NULL : PQgetvalue(rows, row, SVW_CHAIN_OF);

    *scan = (svw_consume_scan_t) {
        .ref = (svw_ref_t) svw_chain_number(rows, row, SVW_CHAIN_N),
        .event = {
            .at_ms = svw_chain_number(rows, row, SVW_CHAIN_AT),
            .occurred_ms = svw_chain_number(rows, row, SVW_CHAIN_OCCURRED),
            .gtin = (uint64_t) svw_chain_number(rows, row, SVW_CHAIN_GTIN),
            .serial = svw_consume_span(rows, row, SVW_CHAIN_SERIAL),
            .lot = svw_consume_span(rows, row, SVW_CHAIN_LOT),
            .expiry = svw_consume_span(rows, row, SVW_CHAIN_EXPIRY),
            .location = (int32_t) svw_chain_number(rows, row, SVW_CHAIN_LOCATION),
            .lat = NAN, .lon = NAN,
            .entry_mode = svw_consume_span(rows, row, SVW_CHAIN_ENTRY),
            .reason = sv_reason_parse(svw_consume_span(rows, row, SVW_CHAIN_REASON)),
            .hint = !PQgetisnull(rows, row, SVW_CHAIN_HINT)
        },
        .operation = svw_consume_op(PQgetvalue(rows, row, SVW_CHAIN_OPERATION)),
        .before = (int32_t) svw_chain_number(rows, row, SVW_CHAIN_BEFORE),
        .pack_lot = svw_consume_span(rows, row, SVW_CHAIN_PACK_LOT),
        .pack_expiry = svw_consume_span(rows, row, SVW_CHAIN_PACK_EXPIRY),
        .pack_ms = svw_chain_number(rows, row, SVW_CHAIN_PACK_AT)
    };

    scan->of = of != NULL ? svw_consume_op(of) : scan->operation;

    if (scan->event.lot.len == 0) {
        scan->event.lot = scan->pack_lot;
    }
}


/* null: 0 */
static int64_t
svw_chain_number(const PGresult *rows, int row, svw_chain_column_e column)
{
    return strtoll(PQgetvalue(rows, row, (int) column), NULL, 10);
}


/* A lot was loaded: it and its markets are known now, and misses of its packs are explained.  Or it was recalled. */
static int
svw_chain_fact(svw_consume_t *consume, const PGresult *rows, int row)
{
    uint64_t   gtin;
    sv_span_t  lot;

    gtin = (uint64_t) svw_chain_number(rows, row, SVW_CHAIN_GTIN);
    lot = svw_consume_span(rows, row, SVW_CHAIN_LOT);

    if (lot.len == 0) {
        return 0;
    }

    if (strcmp(PQgetvalue(rows, row, SVW_CHAIN_KIND), "load") == 0) {
        return svw_consume_lot(consume, PQgetvalue(rows, row, SVW_CHAIN_GTIN), PQgetvalue(rows, row, SVW_CHAIN_LOT)) != 0
               || svw_consume_late(consume, PQgetvalue(rows, row, SVW_CHAIN_GTIN), PQgetvalue(rows, row, SVW_CHAIN_LOT)) != 0
               ? -1 : 0;
    }

    if (strcmp(PQgetvalue(rows, row, SVW_CHAIN_OPERATION), "recall_lot") != 0) {
        return 0;
    }

    consume->fed = 1;

    return svw_judge_recall(consume->judge, gtin, lot, svw_chain_number(rows, row, SVW_CHAIN_AT), 0) == 0
           ? 0 : svw_consume_memory(consume);
}
