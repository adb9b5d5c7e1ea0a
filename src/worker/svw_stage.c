#include "svw_load.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>


#define SVW_STAGE_BUFFER  (64 * 1024)
#define SVW_STAGE_ROW     256
#define SVW_STAGE_CHUNK   200000        /* rows a COPY: between two of them progress can be told */

#define SVW_STAGE_COLUMNS        "gtin, event_time, line, expiry, event, serial, lot, market"
#define SVW_STAGE_EVENT_COLUMNS  "event, line, identity, facts"


struct svw_stage_s {
    char          name[32];
    int           copying;
    int64_t       rows;                 /* in this COPY */
    int64_t       events;
    svw_spool_t  *spool;                /* rows of events, for a COPY of their own */
    size_t        len;
    char          buf[SVW_STAGE_BUFFER];
};

typedef struct {
    int32_t       event;
    int64_t       line;
    uint8_t       identity[SVW_DIGEST];
    uint8_t       facts[SVW_DIGEST];
} svw_event_spool_t;


static int svw_stage_begin(svw_load_t *load, const char *suffix, const char *columns);
static int svw_stage_flush(svw_load_t *load);
static int svw_stage_end(svw_load_t *load);
static int svw_stage_events(svw_load_t *load);
static svw_load_rc_t svw_stage_lots(svw_load_t *load);
static svw_load_rc_t svw_stage_reused(svw_load_t *load);
static int svw_stage_db(svw_load_t *load, svw_db_rc_t rc);
static char *svw_put_text(char *p, sv_span_t text);
static char *svw_put_number(char *p, uint64_t n);
static char *svw_put_time(char *p, int64_t ms);
static char *svw_put_hex(char *p, const uint8_t *bytes);


svw_load_rc_t
svw_stage_open(svw_load_t *load)
{
    char          id[16];
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
    stage->events = 0;
    stage->spool = NULL;
    stage->len = 0;

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
    char         *p;
    svw_stage_t  *stage;

    stage = load->stage;

    if (!stage->copying && svw_stage_begin(load, "", SVW_STAGE_COLUMNS) != 0) {
        return -1;
    }

    p = stage->buf + stage->len;

    p = svw_put_number(p, item->gtin);
    *p++ = '\t';
    p = svw_put_time(p, item->event_ms);
    *p++ = '\t';
    p = svw_put_number(p, (uint64_t) item->line);
    *p++ = '\t';
    sv_day_print(item->expiry, p);
    p += strlen(p);
    *p++ = '\t';

    if (item->event != 0) {
        p = svw_put_number(p, (uint64_t) item->event);
    } else {
        p = svw_put_text(p, sv_span("\\N"));
    }

    *p++ = '\t';
    p = svw_put_text(p, item->serial);          /* neither charset holds a tab or a backslash */
    *p++ = '\t';
    p = svw_put_text(p, item->lot);
    *p++ = '\t';
    p = svw_put_text(p, item->market.len != 0 ? item->market : sv_span("\\N"));
    *p++ = '\n';

    stage->len = (size_t) (p - stage->buf);
    stage->rows++;

    if (stage->rows == SVW_STAGE_CHUNK) {
        return svw_stage_end(load);
    }

    return stage->len > SVW_STAGE_BUFFER - SVW_STAGE_ROW ? svw_stage_flush(load) : 0;
}


int
svw_stage_event(svw_load_t *load, int32_t event, int64_t line, const uint8_t *identity, const uint8_t *facts)
{
    svw_stage_t        *stage;
    svw_event_spool_t   row;

    stage = load->stage;

    if (stage->spool == NULL) {
        stage->spool = svw_spool_new();
    }

    memset(&row, 0, sizeof(row));
    row.event = event;
    row.line = line;
    memcpy(row.identity, identity, SVW_DIGEST);
    memcpy(row.facts, facts, SVW_DIGEST);

    if (stage->spool == NULL || svw_spool_put(stage->spool, &row, sizeof(row)) != 0) {
        return svw_load_stop(load, SVW_LOAD_FAILED, "temporary file: %s", strerror(errno));
    }

    stage->events++;

    return 0;
}


svw_load_rc_t
svw_stage_close(svw_load_t *load)
{
    if (svw_stage_end(load) != 0 || svw_stage_events(load) != 0) {
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

    svw_spool_free(stage->spool);
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


static int
svw_stage_begin(svw_load_t *load, const char *suffix, const char *columns)
{
    char          sql[256];
    svw_stage_t  *stage;

    stage = load->stage;

    snprintf(sql, sizeof(sql), "copy sv.%s%s (%s) from stdin", stage->name, suffix, columns);

    if (svw_stage_db(load, svw_db_do(load->db, sql, 0, NULL)) != 0) {
        return -1;
    }

    stage->copying = 1;
    stage->rows = 0;
    stage->len = 0;

    return 0;
}


static int
svw_stage_flush(svw_load_t *load)
{
    svw_stage_t  *stage;

    stage = load->stage;

    if (PQputCopyData(load->db->pg, stage->buf, (int) stage->len) != 1) {
        svw_db_failed(load->db, NULL);
        return svw_load_stop(load, SVW_LOAD_RETRY, "%s", load->db->error);
    }

    stage->len = 0;

    return 0;
}


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

    if (svw_stage_flush(load) != 0) {
        return -1;
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


static int
svw_stage_events(svw_load_t *load)
{
    int                 got;
    char               *p;
    svw_stage_t        *stage;
    svw_event_spool_t   row;

    stage = load->stage;

    if (stage->events == 0) {
        return 0;
    }

    if (svw_spool_rewind(stage->spool) != 0) {
        return svw_load_stop(load, SVW_LOAD_FAILED, "temporary file: %s", strerror(errno));
    }

    if (svw_stage_begin(load, "_event", SVW_STAGE_EVENT_COLUMNS) != 0) {
        return -1;
    }

    while ((got = svw_spool_get(stage->spool, &row, sizeof(row))) == 1) {
        p = stage->buf + stage->len;
        p = svw_put_number(p, (uint64_t) row.event);
        *p++ = '\t';
        p = svw_put_number(p, (uint64_t) row.line);
        *p++ = '\t';
        p = svw_put_hex(p, row.identity);
        *p++ = '\t';
        p = svw_put_hex(p, row.facts);
        *p++ = '\n';
        stage->len = (size_t) (p - stage->buf);

        if (stage->len > SVW_STAGE_BUFFER - SVW_STAGE_ROW && svw_stage_flush(load) != 0) {
            return -1;
        }
    }

    if (got == -1) {
        return svw_load_stop(load, SVW_LOAD_FAILED, "temporary file: %s", strerror(errno));
    }

    return svw_stage_end(load);
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


static char *
svw_put_text(char *p, sv_span_t text)
{
    memcpy(p, text.data, text.len);

    return p + text.len;
}


static char *
svw_put_number(char *p, uint64_t n)
{
    char    digits[20];
    size_t  i;

    i = sizeof(digits);

    do {
        digits[--i] = (char) ('0' + n % 10);
        n /= 10;
    } while (n != 0);

    memcpy(p, digits + i, sizeof(digits) - i);

    return p + (sizeof(digits) - i);
}


static char *
svw_put_time(char *p, int64_t ms)
{
    int64_t   day, rest;

    if (ms == SVW_NO_TIME) {
        return svw_put_text(p, sv_span("\\N"));
    }

    day = ms / 86400000;
    rest = ms % 86400000;

    if (rest < 0) {
        day--;
        rest += 86400000;
    }

    sv_day_print((sv_day_t) day, p);
    p += strlen(p);

    return p + snprintf(p, 20, " %02u:%02u:%02u.%03uZ", (unsigned) (rest / 3600000), (unsigned) (rest / 60000 % 60),
                        (unsigned) (rest / 1000 % 60), (unsigned) (rest % 1000));
}


static char *
svw_put_hex(char *p, const uint8_t *bytes)
{
    size_t  i;

    /* bytea, as COPY reads it: the backslash is doubled */
    *p++ = '\\';
    *p++ = '\\';
    *p++ = 'x';

    for (i = 0; i < SVW_DIGEST; i++) {
        *p++ = "0123456789abcdef"[bytes[i] >> 4];
        *p++ = "0123456789abcdef"[bytes[i] & 15];
    }

    return p;
}
