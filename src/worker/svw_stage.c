#include "svw_copy.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>


#define SVW_STAGE_BUFFER  (256 * 1024)
#define SVW_STAGE_ROW     256
#define SVW_STAGE_PIECE   (16 * 1024)   /* of a text that may be longer than a buffer */
#define SVW_STAGE_CHUNK   200000        /* rows a COPY: between two of them progress can be told */


typedef enum { SVW_STAGE_ITEM, SVW_STAGE_EVENT, SVW_STAGE_EPC, SVW_STAGE_QUARANTINE, SVW_STAGE_TABLES } svw_stage_table_t;

typedef struct {
    const char         *suffix;
    const char         *columns;
} svw_stage_columns_t;

typedef struct {
    size_t              len;
    char                buf[SVW_STAGE_BUFFER];
} svw_stage_rows_t;

/*
 * A connection has one COPY at a time, so the rows of each table are gathered,
 * and a COPY into another table is begun when its buffer is full.
 */
struct svw_stage_s {
    char                name[32];
    int                 copying;        /* a COPY is open, into: */
    svw_stage_table_t   table;
    int64_t             rows;           /* since the first COPY after progress was told */
    svw_stage_rows_t    of[SVW_STAGE_TABLES];
};


static char *svw_stage_room(svw_load_t *load, svw_stage_table_t table, size_t need);
static int svw_stage_row(svw_load_t *load, svw_stage_table_t table, char *p);
static int svw_stage_long(svw_load_t *load, svw_stage_table_t table, char *p, const char *text);
static int svw_stage_begin(svw_load_t *load, svw_stage_table_t table);
static int svw_stage_flush(svw_load_t *load, svw_stage_table_t table);
static int svw_stage_end(svw_load_t *load);
static char *svw_stage_place(char *p, const svw_event_row_t *row);
static svw_load_rc_t svw_stage_lots(svw_load_t *load);
static svw_load_rc_t svw_stage_reused(svw_load_t *load);
static int svw_stage_db(svw_load_t *load, svw_db_rc_t rc);
static sv_span_t svw_stage_span(const char *text);


static const svw_stage_columns_t  svw_stage_columns[SVW_STAGE_TABLES] = {
    { "",            "gtin, event_time, line, expiry, event, serial, lot, market" },
    { "_event",      "event, line, identity, facts, kind, action, event_time, packs, event_id, step, disposition, offset_min, "
                     "parent_gtin, parent_serial, lot, expiry, market, read_point, biz_location, error, detail" },
    { "_epc",        "event, line, gtin, serial" },
    { "_quarantine", "event, line, packs, reason, element, value, content" }
};


svw_load_rc_t
svw_stage_open(svw_load_t *load)
{
    char          id[16];
    unsigned      i;
    PGresult     *result;
    const char   *params[1];
    svw_stage_t  *stage;

    stage = malloc(sizeof(svw_stage_t));
    if (stage == NULL) {
        svw_load_stop(load, SVW_LOAD_FAILED, "out of memory");
        return load->rc;
    }

    load->stage = stage;
    stage->name[0] = '\0';
    stage->copying = 0;
    stage->rows = 0;

    for (i = 0; i < SVW_STAGE_TABLES; i++) {
        stage->of[i].len = 0;
    }

    snprintf(id, sizeof(id), "%d", (int) load->id);
    params[0] = id;

    if (svw_stage_db(load, svw_db_query(load->db, &result, "select sv.stage_open($1)", 1, params)) != 0) {
        return load->rc;
    }

    snprintf(stage->name, sizeof(stage->name), "%s", PQgetvalue(result, 0, 0));
    PQclear(result);

    return SVW_LOAD_OK;
}


int
svw_stage_item(svw_load_t *load, const svw_item_t *item)
{
    char  *p;

    p = svw_stage_room(load, SVW_STAGE_ITEM, SVW_STAGE_ROW);
    if (p == NULL) {
        return -1;
    }

    p = svw_copy_number(p, item->gtin);
    *p++ = '\t';
    p = svw_copy_time(p, item->event_ms);
    *p++ = '\t';
    p = svw_copy_number(p, (uint64_t) item->line);
    *p++ = '\t';
    p = svw_copy_day(p, item->expiry);
    *p++ = '\t';
    p = item->event != 0 ? svw_copy_number(p, (uint64_t) item->event) : svw_copy_null(p);
    *p++ = '\t';
    p = svw_copy_key(p, item->serial);
    *p++ = '\t';
    p = svw_copy_key(p, item->lot);
    *p++ = '\t';
    p = item->market.len != 0 ? svw_copy_key(p, item->market) : svw_copy_null(p);

    return svw_stage_row(load, SVW_STAGE_ITEM, p);
}


int
svw_stage_epc(svw_load_t *load, const svw_epc_row_t *row)
{
    char  *p;

    p = svw_stage_room(load, SVW_STAGE_EPC, SVW_STAGE_ROW);
    if (p == NULL) {
        return -1;
    }

    p = svw_copy_number(p, (uint64_t) row->event);
    *p++ = '\t';
    p = svw_copy_number(p, (uint64_t) row->line);
    *p++ = '\t';
    p = svw_copy_number(p, row->gtin);
    *p++ = '\t';
    p = svw_copy_key(p, row->serial);

    return svw_stage_row(load, SVW_STAGE_EPC, p);
}


int
svw_stage_event(svw_load_t *load, const svw_event_row_t *row)
{
    char       *p;
    size_t      need;
    sv_span_t   error, detail;

    error = svw_stage_span(row->error);
    detail = svw_stage_span(row->detail);

    need = 12 * SVW_COPY_FIXED + svw_copy_room(row->event_id.len) + svw_copy_room(row->step.len)
           + svw_copy_room(row->disposition.len) + svw_copy_room(row->read_point.len) + svw_copy_room(row->biz_location.len)
           + svw_copy_room(error.len) + svw_copy_room(detail.len);

    p = svw_stage_room(load, SVW_STAGE_EVENT, need);
    if (p == NULL) {
        return -1;
    }

    p = svw_copy_number(p, (uint64_t) row->event);
    *p++ = '\t';
    p = svw_copy_number(p, (uint64_t) row->line);
    *p++ = '\t';
    p = svw_copy_digest(p, row->identity);
    *p++ = '\t';
    p = svw_copy_digest(p, row->facts);
    *p++ = '\t';
    p = svw_copy_key(p, svw_stage_span(row->kind));
    *p++ = '\t';
    p = svw_copy_key(p, svw_stage_span(row->action));
    *p++ = '\t';
    p = svw_copy_time(p, row->event_ms);
    *p++ = '\t';
    p = svw_copy_number(p, (uint64_t) row->packs);
    *p++ = '\t';
    p = svw_copy_some(p, row->event_id);
    *p++ = '\t';
    p = svw_stage_place(p, row);
    *p++ = '\t';
    p = svw_copy_some(p, error);
    *p++ = '\t';
    p = svw_copy_some(p, detail);

    return svw_stage_row(load, SVW_STAGE_EVENT, p);
}


int
svw_stage_quarantine(svw_load_t *load, const svw_quarantine_row_t *row)
{
    char       *p;
    sv_span_t   element;

    element = svw_stage_span(row->element);

    p = svw_stage_room(load, SVW_STAGE_QUARANTINE, 4 * SVW_COPY_FIXED + svw_copy_room(element.len) + svw_copy_room(row->value.len));
    if (p == NULL) {
        return -1;
    }

    p = svw_copy_number(p, (uint64_t) row->event);
    *p++ = '\t';
    p = svw_copy_number(p, (uint64_t) row->line);
    *p++ = '\t';
    p = svw_copy_number(p, (uint64_t) row->packs);
    *p++ = '\t';
    p = svw_copy_key(p, svw_stage_span(row->reason));
    *p++ = '\t';
    p = svw_copy_some(p, element);
    *p++ = '\t';
    p = svw_copy_some(p, row->value);
    *p++ = '\t';

    return svw_stage_long(load, SVW_STAGE_QUARANTINE, p, row->content);
}


svw_load_rc_t
svw_stage_close(svw_load_t *load)
{
    unsigned  i;

    for (i = 0; i < SVW_STAGE_TABLES; i++) {
        if (load->stage->of[i].len != 0 && svw_stage_flush(load, i) != 0) {
            return load->rc;
        }
    }

    if (svw_stage_end(load) != 0) {
        return load->rc;
    }

    return svw_stage_lots(load);
}


void
svw_stage_free(svw_load_t *load)
{
    const char   *params[1];
    svw_stage_t  *stage;

    stage = load->stage;
    if (stage == NULL) {
        return;
    }

    if (load->db->pg != NULL && stage->copying) {
        /* a COPY that is given up: only this connection knows of it */
        svw_db_close(load->db);

    } else if (load->db->pg != NULL && stage->name[0] != '\0') {
        params[0] = stage->name;
        svw_db_do(load->db, "select sv.stage_drop($1)", 1, params);
    }

    free(stage);
    load->stage = NULL;
}


void
svw_stage_forget(svw_load_t *load)
{
    load->stage->name[0] = '\0';
}


const char *
svw_stage_name(const svw_load_t *load)
{
    return load->stage != NULL && load->stage->name[0] != '\0' ? load->stage->name : NULL;
}


int
svw_stage_idle(const svw_load_t *load)
{
    return load->stage != NULL && !load->stage->copying;
}


/* Where `need' bytes fit behind what the buffer holds; NULL: load->rc. */
static char *
svw_stage_room(svw_load_t *load, svw_stage_table_t table, size_t need)
{
    svw_stage_rows_t  *rows;

    rows = &load->stage->of[table];

    if (need > SVW_STAGE_BUFFER) {
        svw_load_stop(load, SVW_LOAD_FAILED, "a row of %zu bytes", need);
        return NULL;
    }

    if (need > SVW_STAGE_BUFFER - rows->len && svw_stage_flush(load, table) != 0) {
        return NULL;
    }

    return rows->buf + rows->len;
}


static int
svw_stage_row(svw_load_t *load, svw_stage_table_t table, char *p)
{
    svw_stage_t       *stage;
    svw_stage_rows_t  *rows;

    stage = load->stage;
    rows = &stage->of[table];

    *p++ = '\n';
    rows->len = (size_t) (p - rows->buf);

    if (++stage->rows < SVW_STAGE_CHUNK || !stage->copying) {
        return 0;
    }

    stage->rows = 0;

    return svw_stage_end(load);
}


/* The last field of a row, in pieces: nothing of another table comes in between. */
static int
svw_stage_long(svw_load_t *load, svw_stage_table_t table, char *p, const char *text)
{
    size_t             n;
    sv_span_t          rest;
    svw_stage_rows_t  *rows;

    if (text == NULL) {
        return svw_stage_row(load, table, svw_copy_null(p));
    }

    rows = &load->stage->of[table];
    rest = svw_stage_span(text);

    while (rest.len != 0) {
        rows->len = (size_t) (p - rows->buf);
        n = rest.len < SVW_STAGE_PIECE ? rest.len : SVW_STAGE_PIECE;

        /* a character stays whole */
        while (n < rest.len && n > SVW_STAGE_PIECE - 4 && (rest.data[n] & 0xc0) == 0x80) {
            n--;
        }

        p = svw_stage_room(load, table, svw_copy_room(n));
        if (p == NULL) {
            return -1;
        }

        p = svw_copy_text(p, (sv_span_t) { rest.data, n });
        rest.data += n;
        rest.len -= n;
    }

    return svw_stage_row(load, table, p);
}


/* what is told of step, place and packs */
static char *
svw_stage_place(char *p, const svw_event_row_t *row)
{
    p = svw_copy_some(p, row->step);
    *p++ = '\t';
    p = svw_copy_some(p, row->disposition);
    *p++ = '\t';

    if (row->offset_min == INT_MIN) {
        p = svw_copy_null(p);

    } else {
        if (row->offset_min < 0) {
            *p++ = '-';
        }

        p = svw_copy_number(p, (uint64_t) abs(row->offset_min));
    }

    *p++ = '\t';
    p = row->parent_serial.len != 0 ? svw_copy_number(p, row->parent_gtin) : svw_copy_null(p);
    *p++ = '\t';
    p = svw_copy_some(p, row->parent_serial);
    *p++ = '\t';
    p = svw_copy_some(p, row->lot);
    *p++ = '\t';
    p = row->expiry != 0 ? svw_copy_day(p, row->expiry) : svw_copy_null(p);
    *p++ = '\t';
    p = svw_copy_some(p, row->market);
    *p++ = '\t';
    p = svw_copy_some(p, row->read_point);
    *p++ = '\t';

    return svw_copy_some(p, row->biz_location);
}


static int
svw_stage_begin(svw_load_t *load, svw_stage_table_t table)
{
    char          sql[512];
    svw_stage_t  *stage;

    stage = load->stage;

    snprintf(sql, sizeof(sql), "copy sv.%s%s (%s) from stdin", stage->name, svw_stage_columns[table].suffix,
             svw_stage_columns[table].columns);

    if (svw_stage_db(load, svw_db_do(load->db, sql, 0, NULL)) != 0) {
        return -1;
    }

    stage->copying = 1;
    stage->table = table;

    return 0;
}


static int
svw_stage_flush(svw_load_t *load, svw_stage_table_t table)
{
    svw_stage_t  *stage;

    stage = load->stage;

    if (stage->copying && stage->table != table && svw_stage_end(load) != 0) {
        return -1;
    }

    if (!stage->copying && svw_stage_begin(load, table) != 0) {
        return -1;
    }

    if (PQputCopyData(load->db->pg, stage->of[table].buf, (int) stage->of[table].len) != 1) {
        svw_db_failed(load->db, NULL);
        return svw_load_stop(load, SVW_LOAD_RETRY, "%s", load->db->error);
    }

    stage->of[table].len = 0;

    return 0;
}


/* Ends the COPY at hand; what is gathered since stays. */
static int
svw_stage_end(svw_load_t *load)
{
    PGresult     *result;
    svw_db_rc_t   rc;
    svw_stage_t  *stage;

    stage = load->stage;

    if (!stage->copying) {
        return 0;
    }

    if (PQputCopyEnd(load->db->pg, NULL) != 1) {
        svw_db_failed(load->db, NULL);
        return svw_load_stop(load, SVW_LOAD_RETRY, "%s", load->db->error);
    }

    stage->copying = 0;
    rc = SVW_DB_OK;

    while ((result = PQgetResult(load->db->pg)) != NULL) {
        if (PQresultStatus(result) != PGRES_COMMAND_OK && rc == SVW_DB_OK) {
            rc = svw_db_failed(load->db, result);
        } else {
            PQclear(result);
        }
    }

    if (svw_stage_db(load, rc) != 0) {
        return -1;
    }

    svw_load_progress(load);

    return 0;
}


static svw_load_rc_t
svw_stage_lots(svw_load_t *load)
{
    char          id[16];
    int64_t       reused;
    PGresult     *result;
    const char   *params[2];

    snprintf(id, sizeof(id), "%d", (int) load->id);
    params[0] = id;
    params[1] = load->stage->name;

    if (svw_stage_db(load, svw_db_query(load->db, &result, "select lots, seen, reused from sv.stage_ready($1, $2)", 2, params)) != 0) {
        return load->rc;
    }

    load->lots = svw_col_int(result, 0, "lots");
    load->events_seen = svw_col_int(result, 0, "seen");
    reused = svw_col_int(result, 0, "reused");
    PQclear(result);

    return reused > 0 ? svw_stage_reused(load) : SVW_LOAD_OK;
}


static svw_load_rc_t
svw_stage_reused(svw_load_t *load)
{
    int           i, n;
    char          after[24];
    int64_t       event;
    PGresult     *result;
    svw_fault_t   fault;
    const char   *params[2];

    event = 0;
    params[0] = load->stage->name;
    params[1] = after;

    do {
        snprintf(after, sizeof(after), "%" PRId64, event);

        if (svw_stage_db(load, svw_db_query(load->db, &result, "select * from sv.stage_reused($1, $2, 500)", 2, params)) != 0) {
            return load->rc;
        }

        n = PQntuples(result);

        for (i = 0; i < n; i++) {
            event = svw_col_int(result, i, "event");
            fault = (svw_fault_t) { .line = svw_col_int(result, i, "line"), .lines = svw_col_int(result, i, "packs"),
                                    .element = "eventID", .reason = "event_id_reused" };

            if (strcmp(svw_col(result, i, "reason"), "event_id_reused") != 0) {
                fault.element = "epcList";
                fault.reason = "not_permitted";
            }

            svw_load_fault(load, &fault);
        }

        PQclear(result);

    } while (n == 500);

    return SVW_LOAD_OK;
}


static int
svw_stage_db(svw_load_t *load, svw_db_rc_t rc)
{
    switch (rc) {

    case SVW_DB_OK:
        return 0;

    case SVW_DB_ERROR:
        return svw_load_stop(load, SVW_LOAD_FAILED, "PostgreSQL: %s", load->db->error);

    default:
        return svw_load_stop(load, SVW_LOAD_RETRY, "PostgreSQL: %s", load->db->error);
    }
}


static sv_span_t
svw_stage_span(const char *text)
{
    return text != NULL ? (sv_span_t) { (const uint8_t *) text, strlen(text) } : (sv_span_t) { NULL, 0 };
}
