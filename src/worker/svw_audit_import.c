#include "svw_audit.h"

#include "svw_load.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>


#define SVW_AUDIT_FORMAT  "serial-verify-audit/1"
#define SVW_AUDIT_LONGEST (64 * 1024 * 1024)    /* a line of an export */


typedef struct {
    svw_audit_run_t  *run;
    FILE             *f;
    char             *line;
    size_t            cap;
    int64_t           number;           /* of the line */
    int64_t           size, done;       /* bytes */
    int64_t           last;             /* row, as the first line says */
    int               product;          /* rows of other products are left out */
    int               ended;
} svw_audit_import_t;


static int svw_audit_import_all(svw_audit_import_t *m);
static int svw_audit_import_line(svw_audit_import_t *m, size_t *len);
static int svw_audit_import_begin(svw_audit_import_t *m, const json_t *line);
static int svw_audit_import_row(svw_audit_import_t *m, const json_t *line);
static int svw_audit_import_head(svw_audit_import_t *m, const json_t *line);
static int svw_audit_import_end(svw_audit_import_t *m, const json_t *line);
static void svw_audit_import_values(const json_t *audit, svw_audit_row_t *row);
static int svw_audit_import_wrong(svw_audit_import_t *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));


/* An export is checked as the database is, without one; in memory there is one line. */
int
svw_audit_verify_export(svw_audit_run_t *run, const char *file)
{
    int                 wrong;
    struct stat         st;
    svw_audit_import_t  m;

    m = (svw_audit_import_t) { .run = run, .f = fopen(file, "re") };

    if (m.f == NULL || fstat(fileno(m.f), &st) != 0) {
        fprintf(stderr, "serial-verify-worker: \"%s\": %s\n", file, strerror(errno));

        if (m.f != NULL) {
            fclose(m.f);
        }

        return SVW_EXIT_USAGE;
    }

    m.size = st.st_size;
    run->check.part = 1;
    wrong = svw_audit_import_all(&m);
    run->check.unsigned_rows = run->check.n - run->check.last.last;

    free(m.line);
    fclose(m.f);

    if (run->bar) {
        svw_progress_end();
    }

    if (wrong) {
        printf("does not fit: %s\n", run->check.fault);
        return SVW_EXIT_FAILED;
    }

    return svw_audit_result(run, file);
}


static int
svw_audit_import_all(svw_audit_import_t *m)
{
    int            wrong;
    json_t        *line;
    size_t         len;
    json_error_t   error;

    for ( ;; ) {
        wrong = svw_audit_import_line(m, &len);

        if (wrong || len == 0) {
            break;
        }

        line = json_loadb(m->line, len, JSON_REJECT_DUPLICATES, &error);

        wrong = line == NULL ? svw_audit_import_wrong(m, "this is not JSON: %s", error.text)
                : m->ended ? svw_audit_import_wrong(m, "there is something behind the end")
                : m->number == 1 ? svw_audit_import_begin(m, line)
                : json_object_get(line, "head") != NULL ? svw_audit_import_head(m, line)
                : json_object_get(line, "end") != NULL ? svw_audit_import_end(m, line) : svw_audit_import_row(m, line);

        json_decref(line);

        if (wrong) {
            return 1;
        }

        if (m->number % SVW_AUDIT_PAGE == 0) {
            svw_audit_bar(m->run, "export", m->done, m->size);
        }
    }

    if (!wrong && m->number == 0) {
        return svw_audit_import_wrong(m, "the file is empty");
    }

    if (!wrong && !m->ended) {
        m->number++;
        return svw_audit_import_wrong(m, "cut: the file ends before its last line, behind chain row %" PRId64, m->run->check.n);
    }

    return wrong;
}


/* *len 0: the end of the file */
static int
svw_audit_import_line(svw_audit_import_t *m, size_t *len)
{
    int     c;
    char   *more;
    size_t  n;

    n = 0;
    *len = 0;

    while ((c = getc_unlocked(m->f)) != EOF && c != '\n') {
        if (n == m->cap) {
            more = n < SVW_AUDIT_LONGEST ? realloc(m->line, n == 0 ? 4096 : 2 * n) : NULL;

            if (more == NULL) {
                m->number++;
                return svw_audit_import_wrong(m, "the line is too long");
            }

            m->line = more;
            m->cap = n == 0 ? 4096 : 2 * n;
        }

        m->line[n++] = (char) c;
    }

    if (c == EOF && n == 0) {
        return 0;
    }

    m->number++;
    m->done += (int64_t) n + 1;

    if (c == EOF) {
        return svw_audit_import_wrong(m, "cut: the line does not end");
    }

    if (n == 0) {
        return svw_audit_import_wrong(m, "the line is empty");
    }

    *len = n;

    return 0;
}


static int
svw_audit_import_begin(svw_audit_import_t *m, const json_t *line)
{
    int64_t             first;
    svw_audit_check_t  *check;

    check = &m->run->check;

    if (strcmp(svw_text_of(line, "format"), SVW_AUDIT_FORMAT) != 0
        || svw_audit_unhex(svw_text_of(line, "before"), check->hash, SVW_AUDIT_HASH) != 0)
    {
        return svw_audit_import_wrong(m, "this is not an export of the audit chain (" SVW_AUDIT_FORMAT ")");
    }

    first = svw_int_of(line, "first");
    m->last = svw_int_of(line, "last");
    m->product = json_object_get(line, "gtin") != NULL;
    check->n = first - 1;
    check->from = first > 1 ? first - 1 : 0;

    if (first == 1 && strspn(svw_text_of(line, "before"), "0") != 64) {
        return svw_audit_import_wrong(m, "changed: the chain begins with 64 zeros");
    }

    return 0;
}


static int
svw_audit_import_row(svw_audit_import_t *m, const json_t *line)
{
    char              hex[65];
    json_t           *audit;
    svw_audit_rc_t    rc;
    svw_audit_row_t   row;

    row = (svw_audit_row_t) { .n = svw_int_of(line, "n") };
    audit = json_object_get(line, "audit");
    svw_audit_import_values(audit, &row);
    row.left_out = m->product && !row.known;

    if (svw_audit_unhex(svw_text_of(line, "digest"), row.digest, SVW_AUDIT_HASH) != 0
        || svw_audit_unhex(svw_text_of(line, "hash"), row.hash, SVW_AUDIT_HASH) != 0)
    {
        snprintf(hex, sizeof(hex), "%.20s", svw_text_of(line, "digest"));
        return svw_audit_import_wrong(m, "changed: this is neither a row nor a head (digest \"%s\")", hex);
    }

    rc = svw_audit_check_row(&m->run->check, &row);

    if (rc == SVW_AUDIT_FITS) {
        return 0;
    }

    if (rc == SVW_AUDIT_GAP) {
        return svw_audit_import_wrong(m, "chain row %" PRId64 ": removed or reordered: chain row %" PRId64 " (audit %s, %s) comes behind %"
                                      PRId64, m->run->check.n + 1, row.n, row.id, row.day, m->run->check.n);
    }

    return svw_audit_import_wrong(m, "chain row %" PRId64 ", audit %s, %s: %s", row.n, row.id, row.day, svw_audit_check_text(rc));
}


static void
svw_audit_import_values(const json_t *audit, svw_audit_row_t *row)
{
    int            i;
    time_t         t;
    struct tm      tm;
    const json_t  *value;

    snprintf(row->id, sizeof(row->id), "-");
    snprintf(row->day, sizeof(row->day), "-");

    if (!json_is_object(audit)) {
        return;
    }

    row->known = 1;

    for (i = 0; i < SVW_AUDIT_VALUES; i++) {
        value = json_object_get(audit, svw_audit_names[i]);

        if (json_is_string(value)) {
            row->value[i].data = (const uint8_t *) json_string_value(value);
            row->value[i].len = json_string_length(value);
        }
    }

    snprintf(row->id, sizeof(row->id), "%.36s", svw_text_of(audit, "audit_id"));
    t = (time_t) (strtoll(svw_text_of(audit, "at"), NULL, 10) / 1000000);

    if (gmtime_r(&t, &tm) != NULL) {
        strftime(row->day, sizeof(row->day), "%Y-%m-%d", &tm);
    }
}


static int
svw_audit_import_head(svw_audit_import_t *m, const json_t *line)
{
    char              fault[SVW_AUDIT_FAULT];
    svw_audit_head_t  head;

    if (svw_audit_head_parse(svw_text_of(line, "head"), &head) != 0) {
        return svw_audit_import_wrong(m, "changed: this is not a head");
    }

    if (svw_audit_check_head(&m->run->check, &head) == SVW_AUDIT_FITS) {
        return 0;
    }

    snprintf(fault, sizeof(fault), "%s", m->run->check.fault);

    return svw_audit_import_wrong(m, "%s", fault);
}


static int
svw_audit_import_end(svw_audit_import_t *m, const json_t *line)
{
    const json_t       *end;
    svw_audit_check_t  *check;

    check = &m->run->check;
    end = json_object_get(line, "end");
    m->ended = 1;

    if (check->n != m->last || check->rows != svw_int_of(end, "rows")) {
        return svw_audit_import_wrong(m, "chain row %" PRId64 ": removed: the file says that it goes to chain row %" PRId64,
                                      check->n + 1, m->last);
    }

    if (check->heads != svw_int_of(end, "heads")) {
        return svw_audit_import_wrong(m, "head %" PRId64 ": removed: the file says that it holds %" PRId64 " heads, it holds %" PRId64,
                                      check->last.head + 1, svw_int_of(end, "heads"), check->heads);
    }

    return 0;
}


static int
svw_audit_import_wrong(svw_audit_import_t *m, const char *fmt, ...)
{
    int      n;
    va_list  args;

    n = snprintf(m->run->check.fault, SVW_AUDIT_FAULT, "line %" PRId64 ": ", m->number);

    va_start(args, fmt);
    vsnprintf(m->run->check.fault + n, SVW_AUDIT_FAULT - (size_t) n, fmt, args);
    va_end(args);

    return 1;
}
