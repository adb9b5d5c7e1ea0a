#include "svw_out.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>


#define SVW_OUT_ROWS   1000             /* of the chain in a window */
#define SVW_OUT_PACKS  200000
#define SVW_OUT_FETCH  20               /* events, of up to 5,000 EPCs each */


static int svw_out_window(svw_out_t *out);
static int svw_out_declare(svw_out_t *out);
static int svw_out_fetch(svw_out_t *out);
static int svw_out_literal(svw_out_t *out, FILE *sql, const char *text);


int
svw_out_next(svw_out_t *out, svw_epcis_event_t *event)
{
    int  rc;

    for ( ;; ) {
        if (out->rows != NULL && out->row < PQntuples(out->rows)) {
            svw_epcis_row(out->rows, out->row, event);
            out->n = svw_col_int(out->rows, out->row, "n");
            out->part = (int) svw_col_int(out->rows, out->row, "part");
            out->row++;

            return 1;
        }

        rc = out->window == 0 ? svw_out_window(out) : svw_out_fetch(out);

        if (rc != 1) {
            return rc;
        }
    }
}


void
svw_out_reset(svw_out_t *out)
{
    PQclear(out->rows);
    out->rows = NULL;

    if (out->window != 0 && out->db->pg != NULL && PQstatus(out->db->pg) == CONNECTION_OK) {
        (void) svw_db_do(out->db, "close svw_out", 0, NULL);
    }

    out->window = 0;
}


/*
 * Opens a cursor on the next rows.  It holds its result, so that it outlives
 * the transactions of the push; a lot is read once, however many documents it
 * goes into.
 */
static int
svw_out_window(svw_out_t *out)
{
    char          after[24], rows[16], packs[16];
    PGresult     *result;
    const char   *params[3];

    snprintf(after, sizeof(after), "%" PRId64, out->part == 0 ? out->n : out->n - 1);
    snprintf(rows, sizeof(rows), "%d", SVW_OUT_ROWS);
    snprintf(packs, sizeof(packs), "%d", SVW_OUT_PACKS);
    params[0] = after;
    params[1] = rows;
    params[2] = packs;

    if (out->to != 0 && out->n >= out->to && out->part == 0) {
        return 0;
    }

    if (svw_db_query(out->db, &result, "select sv.out_window($1, $2, $3)", 3, params) != SVW_DB_OK) {
        return -1;
    }

    out->window = PQgetisnull(result, 0, 0) ? 0 : strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    PQclear(result);

    if (out->window == 0) {
        return 0;
    }

    if (out->to != 0 && out->window > out->to) {
        out->window = out->to;
    }

    return svw_out_declare(out);
}


/* a cursor cannot be declared with parameters */
static int
svw_out_declare(svw_out_t *out)
{
    int      rc;
    FILE    *f;
    char    *sql;
    size_t   len;

    f = open_memstream(&sql, &len);
    if (f == NULL) {
        out->window = 0;
        return -1;
    }

    fprintf(f, "declare svw_out no scroll cursor with hold for select * from sv.%s%s%s%" PRId64 ", %d, %" PRId64,
            out->location != NULL ? "api_out_events(" : "out_events(", out->location != NULL ? out->location : "",
            out->location != NULL ? ", " : "", out->n, out->part, out->window);

    rc = out->location == NULL ? svw_out_literal(out, f, out->company) : 0;
    rc |= svw_out_literal(out, f, out->gtin);
    rc |= svw_out_literal(out, f, out->from);
    rc |= svw_out_literal(out, f, out->until);
    fputc(')', f);

    if (fclose(f) != 0 || rc != 0 || svw_db_do(out->db, sql, 0, NULL) != SVW_DB_OK) {
        out->window = 0;
    }

    free(sql);

    return out->window != 0 ? 1 : -1;
}


static int
svw_out_fetch(svw_out_t *out)
{
    char  sql[64];

    PQclear(out->rows);
    out->rows = NULL;
    out->row = 0;

    snprintf(sql, sizeof(sql), "fetch %d from svw_out", SVW_OUT_FETCH);

    if (svw_db_query(out->db, &out->rows, sql, 0, NULL) != SVW_DB_OK) {
        return -1;
    }

    if (PQntuples(out->rows) > 0) {
        return 1;
    }

    out->n = out->window;
    out->part = 0;
    svw_out_reset(out);

    return PQstatus(out->db->pg) == CONNECTION_OK ? 1 : -1;
}


static int
svw_out_literal(svw_out_t *out, FILE *sql, const char *text)
{
    char  *literal;

    if (text == NULL) {
        fputs(", null", sql);
        return 0;
    }

    literal = PQescapeLiteral(out->db->pg, text, strlen(text));
    if (literal == NULL) {
        return -1;
    }

    fprintf(sql, ", %s", literal);
    PQfreemem(literal);

    return 0;
}
