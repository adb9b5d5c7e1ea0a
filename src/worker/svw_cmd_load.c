#include "svw_cmd.h"

#include "svw_load.h"

#include <csv.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>


#define SVW_TABLE_COLUMNS  8
#define SVW_TABLE_FIELD    (64 * 1024)
#define SVW_TABLE_SHOWN    1000         /* bad rows told one by one */


typedef enum { SVW_FIELD_TEXT, SVW_FIELD_GTIN, SVW_FIELD_GLN, SVW_FIELD_BOOLEAN, SVW_FIELD_NUMBER, SVW_FIELD_TIME,
               SVW_FIELD_SHA256 } svw_field_type_t;

typedef struct {
    const char        *name;
    svw_field_type_t   type;
    int                needed;          /* the column must be there, the field must not be empty */
} svw_column_t;

typedef struct {
    const char        *name;
    const char        *sql;             /* its parameters are the columns in this order, then the actor */
    svw_column_t       column[SVW_TABLE_COLUMNS];
} svw_table_t;

typedef struct {
    const svw_table_t  *table;
    svw_db_t           *db;
    const char         *file;
    const char         *actor;
    struct csv_parser   parser;
    int                 place[64];      /* column of the file -> column of the table, -1: none */
    size_t              columns;        /* of the header */
    size_t              n;              /* fields of this line */
    int64_t             line, start;
    int64_t             rows, changed, bad;
    int                 header_bad, aborted, rc;
    char               *field[SVW_TABLE_COLUMNS];
} svw_table_load_t;


static int svw_table_read(svw_table_load_t *t, FILE *in);
static unsigned char svw_table_delimiter(const char *buf, size_t n);
static void *svw_table_realloc(void *p, size_t size);
static void svw_table_on_field(void *field, size_t len, void *data);
static void svw_table_on_line(int c, void *data);
static void svw_table_header(svw_table_load_t *t, const char *name, size_t len);
static void svw_table_header_end(svw_table_load_t *t);
static void svw_table_row(svw_table_load_t *t);
static const char *svw_table_check(const svw_column_t *column, char *const *field);
static void svw_table_put(svw_table_load_t *t);
static void svw_table_bad(svw_table_load_t *t, const char *element, const char *value, const char *problem);
static const svw_column_t *svw_table_end(const svw_table_t *table);


static const svw_table_t  svw_tables[] = {
    { "products",
      "select sv.put_product($1, $2, $3, $4, coalesce($5::boolean, false), coalesce($6::boolean, false), $7)",
      { { "gtin", SVW_FIELD_GTIN, 1 }, { "name", SVW_FIELD_TEXT, 1 }, { "company", SVW_FIELD_TEXT, 1 },
        { "default_link", SVW_FIELD_TEXT, 0 }, { "lot_optional", SVW_FIELD_BOOLEAN, 0 },
        { "expiry_optional", SVW_FIELD_BOOLEAN, 0 } } },
    { "locations",
      "select sv.put_location($1, $2, $3, $4, $5, $6::double precision, $7::double precision, $8)",
      { { "gln", SVW_FIELD_GLN, 1 }, { "name", SVW_FIELD_TEXT, 1 }, { "role", SVW_FIELD_TEXT, 1 },
        { "company", SVW_FIELD_TEXT, 0 }, { "country", SVW_FIELD_TEXT, 1 }, { "lat", SVW_FIELD_NUMBER, 0 },
        { "lon", SVW_FIELD_NUMBER, 0 } } },
    { "keys",
      "select sv.put_credential($1, coalesce($2, 'api_key'), $3, $4::timestamptz, $5::timestamptz, $6)",
      { { "sha256", SVW_FIELD_SHA256, 1 }, { "kind", SVW_FIELD_TEXT, 0 }, { "gln", SVW_FIELD_GLN, 1 },
        { "not_before", SVW_FIELD_TIME, 0 }, { "not_after", SVW_FIELD_TIME, 0 } } },
    { "markets",
      "select sv.put_market($1, $2, $3, $4)",
      { { "gtin", SVW_FIELD_GTIN, 1 }, { "lot", SVW_FIELD_TEXT, 0 }, { "markets", SVW_FIELD_TEXT, 1 } } },
    { NULL, NULL, { { NULL, 0, 0 } } }
};


int
svw_cmd_load(svw_command_t *command)
{
    char                actor[64];
    FILE               *in;
    svw_db_t            db;
    const svw_table_t  *table;
    svw_table_load_t    t;

    for (table = svw_tables; table->name != NULL; table++) {
        if (command->argc == 3 && strcmp(table->name, command->argv[1]) == 0) {
            break;
        }
    }

    if (table->name == NULL) {
        fprintf(stderr, "serial-verify-worker: load products, locations, keys or markets, and one file, see load --help\n");
        return SVW_EXIT_USAGE;
    }

    in = fopen(command->argv[2], "re");
    if (in == NULL) {
        fprintf(stderr, "serial-verify-worker: %s: %s\n", command->argv[2], strerror(errno));
        return SVW_EXIT_USAGE;
    }

    if (svw_cmd_connect(command, &db) != 0) {
        fclose(in);
        return SVW_EXIT_BUSY;
    }

    svw_cmd_actor(actor);
    t = (svw_table_load_t) { .table = table, .db = &db, .file = command->argv[2], .actor = actor, .line = 1, .start = 1 };

    t.rc = svw_cmd_call(&db, "begin", 0, NULL, NULL);

    if (t.rc == SVW_EXIT_OK) {
        /* the clock only at the end: a recall needs it too */
        t.rc = svw_cmd_call(&db, "select sv.ref_together()", 0, NULL, NULL);
    }

    if (t.rc == SVW_EXIT_OK) {
        t.rc = svw_table_read(&t, in);
    }

    if (t.rc == SVW_EXIT_OK && t.bad == 0) {
        t.rc = svw_cmd_call(&db, "select sv.ref_number()", 0, NULL, NULL);
    }

    if (t.rc == SVW_EXIT_OK && t.bad == 0) {
        t.rc = svw_cmd_call(&db, "commit", 0, NULL, NULL);
    }

    if (t.rc == SVW_EXIT_OK && t.bad == 0) {
        printf("%s: %lld rows, %lld new or changed\n", table->name, (long long) t.rows, (long long) t.changed);

    } else if (t.rc == SVW_EXIT_OK) {
        fprintf(stderr, "%s: %lld of %lld rows are bad, nothing was loaded\n", t.file, (long long) t.bad, (long long) t.rows);
        t.rc = SVW_EXIT_FAILED;
    }

    svw_db_close(&db);
    fclose(in);

    return t.rc;
}


static int
svw_table_read(svw_table_load_t *t, FILE *in)
{
    int       i, failed;
    size_t    n, skip;
    char      buf[SVW_READ];

    if (csv_init(&t->parser, CSV_REPALL_NL|CSV_APPEND_NULL) != 0) {
        return SVW_EXIT_FAILED;
    }

    csv_set_realloc_func(&t->parser, svw_table_realloc);
    failed = 0;

    for (skip = 0; !failed && (n = fread(buf, 1, sizeof(buf), in)) > 0; ) {
        if (t->columns == 0 && t->n == 0 && t->start == 1 && ftell(in) == (long) n) {
            if (n >= 2 && (memcmp(buf, "\xff\xfe", 2) == 0 || memcmp(buf, "\xfe\xff", 2) == 0)) {
                fprintf(stderr, "%s: the file is in UTF-16; save it as UTF-8\n", t->file);
                t->header_bad = 1;
                break;
            }

            skip = n >= 3 && memcmp(buf, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
            csv_set_delim(&t->parser, svw_table_delimiter(buf, n));
        } else {
            skip = 0;
        }

        failed = csv_parse(&t->parser, buf + skip, n - skip, svw_table_on_field, svw_table_on_line, t) != n - skip;
    }

    if (!failed && ferror(in)) {
        fprintf(stderr, "%s: %s\n", t->file, strerror(errno));
        t->rc = SVW_EXIT_FAILED;
    }

    if (!failed) {
        csv_set_opts(&t->parser, CSV_REPALL_NL|CSV_APPEND_NULL|CSV_STRICT|CSV_STRICT_FINI);
        failed = csv_fini(&t->parser, svw_table_on_field, svw_table_on_line, t) != 0;
    }

    if (failed) {
        fprintf(stderr, csv_error(&t->parser) == CSV_ENOMEM && !t->parser.quoted
                        ? "%s:%lld: a value is too long\n" : "%s:%lld: a quoted field does not end\n",
                t->file, (long long) t->start);
        t->rc = SVW_EXIT_FAILED;

    } else if (t->columns == 0 && t->rc == SVW_EXIT_OK && !t->header_bad) {
        fprintf(stderr, "%s: the file is empty, a header line is needed\n", t->file);
        t->rc = SVW_EXIT_FAILED;

    } else if (t->header_bad) {
        t->rc = SVW_EXIT_FAILED;
    }

    for (i = 0; i < SVW_TABLE_COLUMNS; i++) {
        free(t->field[i]);
        t->field[i] = NULL;
    }

    csv_free(&t->parser);

    return t->rc;
}


static unsigned char
svw_table_delimiter(const char *buf, size_t n)
{
    size_t  i;

    for (i = 0; i < n && buf[i] != '\n' && buf[i] != ',' && buf[i] != ';'; i++) { /* void */ }

    return i < n && buf[i] == ';' ? ';' : ',';
}


static void *
svw_table_realloc(void *p, size_t size)
{
    return size <= SVW_TABLE_FIELD ? realloc(p, size) : NULL;
}


static void
svw_table_on_field(void *field, size_t len, void *data)
{
    size_t             i;
    const char        *text;
    svw_table_load_t  *t;

    t = data;
    text = field != NULL ? field : "";

    if (t->columns == 0) {
        svw_table_header(t, text, len);

    } else if (t->n < t->columns && t->place[t->n] != -1) {
        free(t->field[t->place[t->n]]);
        t->field[t->place[t->n]] = len > 0 ? strndup(text, len) : NULL;
    }

    t->n++;

    for (i = 0; i < len; i++) {
        t->line += text[i] == '\n';
    }
}


static void
svw_table_on_line(int c, void *data)
{
    int                i;
    svw_table_load_t  *t;

    t = data;

    if (t->n > 0 && !t->header_bad && !t->aborted) {
        if (t->columns == 0) {
            svw_table_header_end(t);
        } else {
            svw_table_row(t);
        }
    }

    for (i = 0; i < SVW_TABLE_COLUMNS; i++) {
        free(t->field[i]);
        t->field[i] = NULL;
    }

    t->line += c == '\n';
    t->start = t->line;
    t->n = 0;
}


static void
svw_table_header(svw_table_load_t *t, const char *name, size_t len)
{
    int     i;
    char    shown[64];
    size_t  k;

    svw_printable(shown, sizeof(shown), (sv_span_t) { (const uint8_t *) name, len });

    if (t->n >= sizeof(t->place) / sizeof(t->place[0])) {
        t->header_bad = 1;
        return;
    }

    for (i = 0; i < SVW_TABLE_COLUMNS && t->table->column[i].name != NULL; i++) {
        if (strlen(t->table->column[i].name) == len && strncasecmp(t->table->column[i].name, name, len) == 0) {
            break;
        }
    }

    if (i == SVW_TABLE_COLUMNS || t->table->column[i].name == NULL) {
        fprintf(stderr, "%s:1: there is no column \"%s\" in %s\n", t->file, shown, t->table->name);
        t->header_bad = 1;
        return;
    }

    for (k = 0; k < t->n; k++) {
        if (t->place[k] == i) {
            fprintf(stderr, "%s:1: the column \"%s\" stands there twice\n", t->file, shown);
            t->header_bad = 1;
        }
    }

    t->place[t->n] = i;
}


static void
svw_table_header_end(svw_table_load_t *t)
{
    size_t               k;
    const svw_column_t  *c;

    for (c = t->table->column; c < svw_table_end(t->table); c++) {
        for (k = 0; k < t->n && t->place[k] != c - t->table->column; k++) { /* void */ }

        if (c->needed && k == t->n) {
            fprintf(stderr, "%s:1: the column \"%s\" is missing\n", t->file, c->name);
            t->header_bad = 1;
        }
    }

    t->columns = t->n;
}


static void
svw_table_row(svw_table_load_t *t)
{
    int                  i;
    const char          *problem;
    const svw_column_t  *c;

    t->rows++;

    if (t->n != t->columns) {
        svw_table_bad(t, NULL, NULL, "the line has another number of fields than the header");
        return;
    }

    for (c = t->table->column, i = 0; c < svw_table_end(t->table); c++, i++) {
        problem = svw_table_check(c, &t->field[i]);

        if (problem != NULL) {
            svw_table_bad(t, c->name, t->field[i], problem);
            return;
        }
    }

    svw_table_put(t);
}


static const char *
svw_table_check(const svw_column_t *column, char *const *field)
{
    char        *end;
    int64_t      ms;
    uint64_t     gtin;
    sv_span_t    text;
    const char  *reason;

    if (*field == NULL) {
        return column->needed ? "is missing" : NULL;
    }

    text = (sv_span_t) { (const uint8_t *) *field, strlen(*field) };

    switch (column->type) {

    case SVW_FIELD_GTIN:
        reason = svw_check_gtin(text, &gtin);
        return reason != NULL ? svw_reason_text(reason) : NULL;

    case SVW_FIELD_GLN:
        return svw_check_gln(text);

    case SVW_FIELD_BOOLEAN:
        if (strcasecmp(*field, "true") == 0 || strcasecmp(*field, "false") == 0) {
            return NULL;
        }

        return "true or false is needed";

    case SVW_FIELD_NUMBER:
        if (strspn(*field, "+-.0123456789") != text.len) {
            return "a number such as 41.9028 is needed";
        }

        strtod(*field, &end);
        return *end == '\0' && end != *field ? NULL : "a number such as 41.9028 is needed";

    case SVW_FIELD_TIME:
        return svw_check_time(text, &ms) == NULL ? NULL : "a time such as 2026-11-21T08:00:00Z is needed";

    case SVW_FIELD_SHA256:
        return text.len == 64 && strspn(*field, "0123456789abcdefABCDEF") == 64 ? NULL
               : "64 hexadecimal digits are needed";

    default:
        return NULL;
    }
}


/* A row that PostgreSQL refuses is told like the others; the rows behind it are still looked at. */
static void
svw_table_put(svw_table_load_t *t)
{
    int           n;
    PGresult     *result;
    svw_db_rc_t   rc;
    const char   *params[SVW_TABLE_COLUMNS + 1];

    if (svw_db_do(t->db, "savepoint row", 0, NULL) != SVW_DB_OK) {
        goto lost;
    }

    for (n = 0; t->table->column + n < svw_table_end(t->table); n++) {
        params[n] = t->field[n];
    }

    params[n++] = t->actor;

    rc = svw_db_query(t->db, &result, t->table->sql, n, params);

    if (rc == SVW_DB_OK) {
        t->changed += !PQgetisnull(result, 0, 0);
        PQclear(result);

        if (svw_db_do(t->db, "release savepoint row", 0, NULL) == SVW_DB_OK) {
            return;
        }

        goto lost;
    }

    if (rc != SVW_DB_ERROR) {
        goto lost;
    }

    svw_table_bad(t, NULL, NULL, t->db->error);

    if (svw_db_do(t->db, "rollback to savepoint row", 0, NULL) == SVW_DB_OK) {
        return;
    }

lost:

    fprintf(stderr, "serial-verify-worker: PostgreSQL: %s; nothing was loaded, try again\n", t->db->error);
    t->aborted = 1;
    t->rc = SVW_EXIT_BUSY;
}


static void
svw_table_bad(svw_table_load_t *t, const char *element, const char *value, const char *problem)
{
    char  shown[128];

    t->bad++;

    if (t->bad > SVW_TABLE_SHOWN) {
        return;
    }

    if (value != NULL) {
        svw_printable(shown, sizeof(shown), (sv_span_t) { (const uint8_t *) value, strlen(value) });
        fprintf(stderr, "%s:%lld: %s \"%s\": %s\n", t->file, (long long) t->start, element, shown, problem);

    } else {
        fprintf(stderr, "%s:%lld: %s%s%s\n", t->file, (long long) t->start, element != NULL ? element : "",
                element != NULL ? ": " : "", problem);
    }
}


static const svw_column_t *
svw_table_end(const svw_table_t *table)
{
    int  i;

    for (i = 0; i < SVW_TABLE_COLUMNS && table->column[i].name != NULL; i++) { /* void */ }

    return table->column + i;
}
