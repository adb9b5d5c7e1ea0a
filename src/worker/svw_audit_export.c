#include "svw_audit.h"

#include "svw_load.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>


#define SVW_AUDIT_FORMAT  "serial-verify-audit/1"


typedef struct {
    svw_audit_run_t  *run;
    svw_atomic_t      out;
    const char       *gtin;             /* only rows of this product with their values; NULL: all */
    PGresult         *heads;            /* a page, from the first that is wanted */
    int               at;
    int64_t           head;             /* the last that was seen */
    int64_t           first, last;
    int64_t           rows, written;    /* rows, heads */
} svw_audit_export_t;


static int svw_audit_export_all(svw_audit_export_t *x, const char *from, const char *to);
static int svw_audit_export_begin(svw_audit_export_t *x, const char *from, const char *to, int64_t *heads);
static int svw_audit_export_page(svw_audit_export_t *x, int64_t *n);
static int svw_audit_export_row(svw_audit_export_t *x, const svw_audit_row_t *row);
static int svw_audit_export_heads(svw_audit_export_t *x, int64_t n);
static int svw_audit_export_keys(svw_audit_export_t *x, json_t *header);
static int svw_audit_export_line(svw_audit_export_t *x, json_t *line);


/* From the first row that is asked for to the last, each head behind its last row; docs/worker.md. */
int
svw_audit_export(svw_audit_run_t *run, const char *from, const char *to, const char *gtin, const char *file)
{
    int                 rc;
    svw_audit_export_t  x;

    x = (svw_audit_export_t) { .run = run, .gtin = gtin };

    if (svw_atomic_begin(&x.out, file, 0600) != 0) {
        fprintf(stderr, "serial-verify-worker: \"%s\": %s\n", file, strerror(errno));
        return SVW_EXIT_FAILED;
    }

    rc = svw_audit_export_all(&x, from, to);
    PQclear(x.heads);

    if (run->bar) {
        svw_progress_end();
    }

    if (rc != 0) {
        (void) svw_atomic_end(&x.out, 0);
        fprintf(stderr, "serial-verify-worker: %s\n", run->db->error[0] != '\0' ? run->db->error : "the export cannot be written");
        return PQstatus(run->db->pg) == CONNECTION_OK ? SVW_EXIT_FAILED : SVW_EXIT_BUSY;
    }

    if (svw_atomic_end(&x.out, 1) != 0) {
        fprintf(stderr, "serial-verify-worker: \"%s\": %s\n", file, strerror(errno));
        return SVW_EXIT_FAILED;
    }

    printf("%s: rows %" PRId64 " to %" PRId64 ", %" PRId64 " signed heads\n", file, x.first, x.last, x.written);

    return SVW_EXIT_OK;
}


static int
svw_audit_export_all(svw_audit_export_t *x, const char *from, const char *to)
{
    int64_t  n, heads;

    if (svw_audit_export_begin(x, from, to, &heads) != 0) {
        return -1;
    }

    for (n = x->first - 1; n < x->last; ) {
        if (svw_audit_export_page(x, &n) != 0) {
            return -1;
        }

        svw_audit_bar(x->run, "export", n - x->first + 1, x->last - x->first + 1);
    }

    if (svw_audit_export_heads(x, x->last) != 0) {
        return -1;
    }

    return svw_audit_export_line(x, json_pack("{s:{s:I, s:I}}", "end", "rows", (json_int_t) x->rows, "heads", (json_int_t) x->written));
}


static int
svw_audit_export_begin(svw_audit_export_t *x, const char *from, const char *to, int64_t *heads)
{
    json_t      *header;
    PGresult    *r;
    const char  *params[2];

    params[0] = from;
    params[1] = to;

    if (svw_db_query(x->run->db, &r, "select s.system, s.head, s.today, g.first_n, g.last_n, g.before"
                     " from sv.audit_state() s, sv.audit_range($1, $2) g", 2, params) != SVW_DB_OK)
    {
        return -1;
    }

    x->first = svw_col_int(r, 0, "first_n");
    x->last = svw_col_int(r, 0, "last_n");
    *heads = svw_col_int(r, 0, "head");

    header = json_pack("{s:s, s:s, s:s, s:I, s:I, s:s}", "format", SVW_AUDIT_FORMAT, "system", svw_col(r, 0, "system"),
                       "day", svw_col(r, 0, "today"), "first", (json_int_t) x->first, "last", (json_int_t) x->last,
                       "before", svw_col(r, 0, "before"));
    PQclear(r);

    if (header == NULL) {
        return -1;
    }

    if (x->gtin != NULL) {
        (void) json_object_set_new(header, "gtin", json_string(x->gtin));
    }

    if (svw_audit_export_keys(x, header) != 0) {
        json_decref(header);
        return -1;
    }

    return svw_audit_export_line(x, header);
}


/* the public keys that the heads name; whoever checks has them from elsewhere */
static int
svw_audit_export_keys(svw_audit_export_t *x, json_t *header)
{
    int           i;
    char          after[24];
    json_t       *keys;
    PGresult     *r;
    const char   *params[1], *key, *before;

    keys = json_array();
    (void) json_object_set_new(header, "public_keys", keys);
    snprintf(after, sizeof(after), "0");
    params[0] = after;

    for ( ;; ) {
        if (svw_db_query(x->run->db, &r, "select * from sv.audit_days($1, 500)", 1, params) != SVW_DB_OK) {
            return -1;
        }

        for (i = 0; i < PQntuples(r); i++) {
            key = svw_col(r, i, "key");
            before = json_string_value(json_array_get(keys, json_array_size(keys) - 1));

            if (before == NULL || strcmp(before, key) != 0) {
                (void) json_array_append_new(keys, json_string(key));
            }

            snprintf(after, sizeof(after), "%s", svw_col(r, i, "head"));
        }

        i = PQntuples(r);
        PQclear(r);

        if (i == 0) {
            return 0;
        }
    }
}


static int
svw_audit_export_page(svw_audit_export_t *x, int64_t *n)
{
    int               i, rc;
    char              after[24], limit[16];
    PGresult         *r;
    const char       *params[2];
    svw_audit_row_t   row;

    snprintf(after, sizeof(after), "%" PRId64, *n);
    snprintf(limit, sizeof(limit), "%d", SVW_AUDIT_PAGE);
    params[0] = after;
    params[1] = limit;

    if (svw_db_query(x->run->db, &r, "select * from sv.audit_rows($1, $2)", 2, params) != SVW_DB_OK) {
        return -1;
    }

    if (PQntuples(r) == 0) {
        snprintf(x->run->db->error, SVW_TEXT, "chain row %" PRId64 " is missing, run audit verify", *n + 1);
        PQclear(r);
        return -1;
    }

    rc = 0;

    for (i = 0; i < PQntuples(r) && rc == 0 && *n < x->last; i++) {
        svw_audit_row_of(r, i, &row);
        rc = svw_audit_export_heads(x, row.n - 1);

        if (rc == 0 && row.n <= x->last) {
            rc = svw_audit_export_row(x, &row);
        }

        *n = row.n;
    }

    PQclear(r);

    return rc;
}


static int
svw_audit_export_row(svw_audit_export_t *x, const svw_audit_row_t *row)
{
    int      i;
    char     digest[65], hash[65];
    json_t  *line, *values;

    svw_audit_hex(row->digest, SVW_AUDIT_HASH, digest);
    svw_audit_hex(row->hash, SVW_AUDIT_HASH, hash);
    line = json_pack("{s:I, s:s, s:s}", "n", (json_int_t) row->n, "digest", digest, "hash", hash);

    if (row->known && (x->gtin == NULL || strcmp((const char *) row->value[SVW_AUDIT_GTIN].data,
                                                 x->gtin + strspn(x->gtin, "0")) == 0))
    {
        values = json_object();

        for (i = 0; i < SVW_AUDIT_VALUES; i++) {
            if (row->value[i].data != NULL) {
                (void) json_object_set_new(values, svw_audit_names[i],
                                           json_stringn((const char *) row->value[i].data, row->value[i].len));
            }
        }

        (void) json_object_set_new(line, "audit", values);
        x->run->check.rows++;
    }

    x->rows++;

    return svw_audit_export_line(x, line);
}


/* the heads whose last row is n or before */
static int
svw_audit_export_heads(svw_audit_export_t *x, int64_t n)
{
    char              after[24], line[SVW_AUDIT_LINE];
    const char       *params[1];
    svw_audit_head_t  head;

    for ( ;; ) {
        if (x->heads == NULL || x->at == PQntuples(x->heads)) {
            if (x->heads != NULL && PQntuples(x->heads) == 0) {
                return 0;
            }

            PQclear(x->heads);
            x->at = 0;
            snprintf(after, sizeof(after), "%" PRId64, x->head);
            params[0] = after;

            if (svw_db_query(x->run->db, &x->heads, "select * from sv.audit_days($1, 100)", 1, params) != SVW_DB_OK) {
                return -1;
            }

            continue;
        }

        svw_audit_head_of(x->heads, x->at, &head);

        if (head.last > n) {
            return 0;
        }

        /* one that was signed for the row before the first says what the first follows from */
        if (head.last >= x->first - 1) {
            svw_audit_head_line(&head, 1, line);

            if (svw_audit_export_line(x, json_pack("{s:s}", "head", line)) != 0) {
                return -1;
            }

            x->written++;
        }

        x->head = head.head;
        x->at++;
    }
}


/* takes the line over */
static int
svw_audit_export_line(svw_audit_export_t *x, json_t *line)
{
    int  rc;

    rc = line != NULL && json_dumpf(line, x->out.f, JSON_COMPACT) == 0 && fputc('\n', x->out.f) != EOF ? 0 : -1;
    json_decref(line);

    return rc;
}
