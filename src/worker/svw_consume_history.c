/*
 * Events into history, as one copy, and what is new of them to the judge.
 */

#include "svw_consume.h"

#include "svw_copy.h"

#include <stdlib.h>
#include <string.h>


#define SVW_COPY_PIECE    65536
#define SVW_COPY_ROW      (SVW_COPY_FIXED * 16 + SVW_COPY_FIXED + 2 * SV_EVENT_LINE + 2 * SV_EVENT_GATEWAY)


static int svw_consume_copy(svw_consume_t *consume, size_t first, size_t n);
static char *svw_consume_row(char *p, size_t i, const svw_consume_event_t *in);
static char *svw_consume_tab_text(char *p, sv_span_t text);
static char *svw_consume_tab_number(char *p, uint64_t n, int known);
static char *svw_consume_tab_degrees(char *p, double degrees);
static int svw_consume_feed_rows(svw_consume_t *consume, const PGresult *rows);


int
svw_consume_history(svw_consume_t *consume, size_t first, size_t n)
{
    int                rc;
    PGresult          *rows;
    const char *const  params[] = { consume->holder };

    if (n == 0) {
        return 0;
    }

    if (svw_consume_copy(consume, first, n) != 0
        || svw_consume_db(consume, svw_db_query(&consume->db, &rows, "select * from sv.judge_scans($1)", 1, params)) != 0)
    {
        return -1;
    }

    consume->doubles += (int64_t) n - PQntuples(rows);
    consume->scans += PQntuples(rows);
    rc = svw_consume_feed_rows(consume, rows);
    PQclear(rows);

    return rc;
}


static int
svw_consume_copy(svw_consume_t *consume, size_t first, size_t n)
{
    int        ok;
    char      *buf, *p;
    size_t     i;
    PGresult  *result;

    if (svw_consume_db(consume, svw_db_do(&consume->db, "copy pg_temp.scan_in from stdin", 0, NULL)) != 0) {
        return -1;
    }

    buf = malloc(SVW_COPY_PIECE + SVW_COPY_ROW);
    ok = buf != NULL;

    for (p = buf, i = first; ok && i < first + n; i++) {
        p = svw_consume_row(p, i, &consume->events[i]);

        if (p - buf >= SVW_COPY_PIECE || i + 1 == first + n) {
            ok = PQputCopyData(consume->db.pg, buf, (int) (p - buf)) == 1;
            p = buf;
        }
    }

    free(buf);

    ok = PQputCopyEnd(consume->db.pg, ok ? NULL : "out of memory") == 1 && ok;
    result = PQgetResult(consume->db.pg);

    if (!ok || PQresultStatus(result) != PGRES_COMMAND_OK) {
        return svw_consume_db(consume, svw_db_failed(&consume->db, result));
    }

    PQclear(result);
    PQclear(PQgetResult(consume->db.pg));

    return 0;
}


/* In the order of the columns of scan_in. */
static char *
svw_consume_row(char *p, size_t i, const svw_consume_event_t *in)
{
    const char        *reason;
    const sv_event_t  *event;

    event = &in->event;
    reason = sv_reason_row(event->reason)->word;

    p = svw_copy_number(p, i);
    p = svw_consume_tab_number(p, event->gtin, 1);
    *p++ = '\t';
    p = svw_copy_time(p, event->at_ms);
    p = svw_consume_tab_text(p, in->gateway);
    p = svw_consume_tab_number(p, in->boot, 1);
    p = svw_consume_tab_number(p, event->sequence, 1);
    *p++ = '\t';
    p = svw_copy_time(p, event->occurred_ms != 0 ? event->occurred_ms : SVW_NO_TIME);
    p = svw_consume_tab_text(p, event->serial);
    p = svw_consume_tab_text(p, event->lot);
    p = svw_consume_tab_text(p, event->expiry);
    p = svw_consume_tab_number(p, (uint64_t) event->location, event->location != 0);
    p = svw_consume_tab_text(p, event->session);
    p = svw_consume_tab_text(p, (sv_span_t) { (const uint8_t *) event->country, strlen(event->country) });
    p = svw_consume_tab_degrees(p, event->lat);
    p = svw_consume_tab_degrees(p, event->lon);
    p = svw_consume_tab_number(p, event->accuracy_km, event->accuracy_km != 0);
    p = svw_consume_tab_text(p, event->entry_mode);
    p = svw_consume_tab_text(p, (sv_span_t) { (const uint8_t *) reason, strlen(reason) });
    p = svw_consume_tab_text(p, event->alert_id);
    p = svw_consume_tab_text(p, event->request_id);
    p = svw_consume_tab_text(p, event->hint ? sv_span("scanner") : sv_span(""));
    *p++ = '\t';
    *p++ = event->silent ? 't' : 'f';
    *p++ = '\n';

    return p;
}


static char *
svw_consume_tab_text(char *p, sv_span_t text)
{
    *p++ = '\t';

    return svw_copy_some(p, text);
}


static char *
svw_consume_tab_number(char *p, uint64_t n, int known)
{
    *p++ = '\t';

    return known ? svw_copy_number(p, n) : svw_copy_null(p);
}


static char *
svw_consume_tab_degrees(char *p, double degrees)
{
    *p++ = '\t';

    return degrees == degrees ? p + snprintf(p, SVW_COPY_FIXED, "%.4f", degrees) : svw_copy_null(p);
}


/* rows: i, n, pack_lot, pack_expiry, pack_ms, before_id, ahead of what is new */
static int
svw_consume_feed_rows(svw_consume_t *consume, const PGresult *rows)
{
    int                   rc, row, n, ahead;
    size_t                i;
    sv_event_t           *event;
    svw_consume_scan_t   *scans, *scan;

    scans = calloc((size_t) PQntuples(rows) + 1, sizeof(svw_consume_scan_t));
    if (scans == NULL) {
        return svw_consume_memory(consume);
    }

    for (n = 0, row = 0; row < PQntuples(rows); row++) {
        i = strtoul(PQgetvalue(rows, row, 0), NULL, 10);
        event = &consume->events[i].event;

        ahead = PQgetvalue(rows, row, 6)[0] == 't';
        consume->ahead += ahead;

        if (event->silent || ahead) {
            continue;
        }

        scan = &scans[n++];
        scan->ref = strtoull(PQgetvalue(rows, row, 1), NULL, 10);
        scan->event = *event;
        scan->operation = SVW_OP_VERIFY;
        scan->of = SVW_OP_VERIFY;
        scan->pack_lot = svw_consume_span(rows, row, 2);
        scan->pack_expiry = svw_consume_span(rows, row, 3);
        scan->pack_ms = strtoll(PQgetvalue(rows, row, 4), NULL, 10);
        scan->before = (int32_t) strtol(PQgetvalue(rows, row, 5), NULL, 10);

        if (event->lot.len == 0) {
            scan->event.lot = scan->pack_lot;
        }
    }

    rc = svw_consume_known(consume, scans, (size_t) n);

    for (row = 0; row < n && rc == 0; row++) {
        rc = svw_consume_feed(consume, &scans[row]);
    }

    free(scans);

    return rc;
}
