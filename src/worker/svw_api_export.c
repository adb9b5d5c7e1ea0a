/*
 * GET /epcis/export: what was commissioned, changed and decommissioned in a
 * period, as the command `export' writes it.  It is written to a file without
 * a name first: a failure half-way is an answer, not a document that ends early.
 */

#include "svw_api_server.h"
#include "svw_load.h"
#include "svw_out.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>


#define SVW_EXPORT_TIME  45000          /* ms; nginx waits a minute */
#define SVW_EXPORT_TEXT  32


typedef struct {
    char       location[16];
    char       from[SVW_EXPORT_TEXT], until[SVW_EXPORT_TEXT];
    int64_t    until_ms;
    svw_out_t  out;
} svw_api_export_t;


static int svw_export_get(svw_api_request_t *rq);
static int svw_export_time(svw_api_request_t *rq, const char *name, char out[SVW_EXPORT_TEXT], int64_t *ms);
static int svw_export_who(svw_api_request_t *rq, svw_api_export_t *export);
static int svw_export_range(svw_api_request_t *rq, svw_api_export_t *export);
static int svw_export_write(svw_api_request_t *rq, svw_api_export_t *export, FILE *file);


const svw_api_endpoint_t  svw_api_export[] = {
    { "GET", "/epcis/export", SVW_ROLE_BIT(SV_ROLE_MANUFACTURER) | SVW_ROLE_BIT(SV_ROLE_AUTHORITY)
                              | SVW_ROLE_BIT(SV_ROLE_OPERATOR), 0, svw_export_get },
    { NULL, NULL, 0, 0, NULL }
};


static int
svw_export_get(svw_api_request_t *rq)
{
    int                fd, rc;
    FILE              *file;
    int64_t            size;
    svw_api_export_t   export;

    memset(&export, 0, sizeof(export));

    if (svw_export_time(rq, "from", export.from, NULL) != 0 || svw_export_time(rq, "to", export.until, &export.until_ms) != 0
        || svw_export_who(rq, &export) != 0 || svw_export_range(rq, &export) != 0)
    {
        return 0;
    }

    fd = svw_api_capture_dir(rq) == -1 ? -1 : openat(svw_api_capture_dir(rq), ".", O_TMPFILE|O_RDWR|O_CLOEXEC, 0600);
    file = fd == -1 ? NULL : fdopen(dup(fd), "w");

    if (file == NULL) {
        svw_log(SVW_LOG_ERROR, "request %s: no temporary file in capture_dir: %s", rq->who->request_id, strerror(errno));

        if (fd != -1) {
            close(fd);
        }

        return svw_api_problem(rq, 503, "unavailable", NULL, "The export cannot be written now. Try again later.");
    }

    rc = svw_export_write(rq, &export, file);
    svw_out_reset(&export.out);

    if (fclose(file) != 0 && rc == 0) {
        svw_api_problem(rq, 503, "unavailable", NULL, "The export cannot be written now. Try again later.");
        rc = 1;
    }

    size = lseek(fd, 0, SEEK_END);

    if (rc != 0) {
        close(fd);
        return 0;
    }

    return svw_api_file(rq, 200, "application/ld+json", fd, size);
}


/* RFC 3339, or a day: then its beginning, UTC */
static int
svw_export_time(svw_api_request_t *rq, const char *name, char out[SVW_EXPORT_TEXT], int64_t *ms)
{
    int64_t      at;
    sv_span_t    span;
    const char  *value;

    value = svw_api_query(rq, name);
    span = (sv_span_t) { (const uint8_t *) value, value != NULL ? strlen(value) : 0 };

    if (span.len == 10 && sv_day_parse(span) != SV_DAY_NONE) {
        snprintf(out, SVW_EXPORT_TEXT, "%sT00:00:00Z", value);
        span = (sv_span_t) { (const uint8_t *) out, strlen(out) };

    } else if (span.len < SVW_EXPORT_TEXT) {
        snprintf(out, SVW_EXPORT_TEXT, "%s", value != NULL ? value : "");
    }

    if (span.len == 0 || span.len >= SVW_EXPORT_TEXT || svw_check_time(span, &at) != NULL) {
        svw_api_problem(rq, 400, "invalid_value", name, "\"%s\" is a day or a time: 2026-11-20 or 2026-11-20T10:00:00Z.", name);
        return -1;
    }

    if (ms != NULL) {
        *ms = at;
    }

    return 0;
}


/* Asked before anything is written: an export of nobody's is 403. */
static int
svw_export_who(svw_api_request_t *rq, svw_api_export_t *export)
{
    const char   *params[1];
    svw_db_rc_t   rc;

    snprintf(export->location, sizeof(export->location), "%" PRId32, rq->who->location.id);
    export->out.db = rq->db;
    export->out.location = export->location;
    params[0] = export->location;

    rc = svw_db_do(rq->db, "select sv.api_export_company($1)", 1, params);
    if (rc != SVW_DB_OK) {
        svw_api_db_problem(rq, rc);
        return -1;
    }

    return 0;
}


static int
svw_export_range(svw_api_request_t *rq, svw_api_export_t *export)
{
    int           ready;
    PGresult     *result;
    const char   *params[2];
    svw_db_rc_t   rc;

    params[0] = export->from;
    params[1] = export->until;

    rc = svw_db_query(rq->db, &result, "select * from sv.out_range($1, $2)", 2, params);
    if (rc != SVW_DB_OK) {
        svw_api_db_problem(rq, rc);
        return -1;
    }

    ready = *svw_col(result, 0, "ready") == 't';
    export->out.n = svw_col_int(result, 0, "n_from");
    export->out.to = svw_col_int(result, 0, "n_to");
    export->out.from = export->from;
    export->out.until = export->until;

    if (!ready) {
        svw_api_problem(rq, 409, "conflict", "to", "The period cannot be exported yet: %s. Try again later, or give an earlier \"to\".",
                        svw_col(result, 0, "note"));
    }

    PQclear(result);

    return ready ? 0 : -1;
}


/* 0, or 1 when the problem is answered */
static int
svw_export_write(svw_api_request_t *rq, svw_api_export_t *export, FILE *file)
{
    int                 rc, first;
    int64_t             end;
    svw_epcis_event_t   event;

    end = svw_now_ms() + SVW_EXPORT_TIME;
    rq->db->error[0] = '\0';
    rc = svw_epcis_begin(file, SVW_EPCIS_DOCUMENT, export->until_ms);

    /* a period without rows has no last one either */
    for (first = 1; rc == 0 && export->out.to != 0 && (rc = svw_out_next(&export->out, &event)) == 1; first = 0) {
        if (svw_now_ms() > end || svw_stopping()) {
            svw_api_problem(rq, 413, "too_many", "from", "There is more in this period than can be written in a minute. Ask for a shorter one.");
            return 1;
        }

        rc = svw_epcis_put(file, &event, first);
    }

    if (rc == 0) {
        rc = svw_epcis_end(file, SVW_EPCIS_DOCUMENT);
    }

    if (rc == 0) {
        return 0;
    }

    if (rq->db->error[0] != '\0' && !ferror(file)) {
        svw_api_db_problem(rq, SVW_DB_LOST);
    } else {
        svw_log(SVW_LOG_ERROR, "request %s: the export cannot be written, at row %" PRId64 " of the audit chain",
                rq->who->request_id, export->out.n);
        svw_api_problem(rq, 500, "internal_error", NULL, "The export cannot be written; the log of the worker says why.");
    }

    return 1;
}
