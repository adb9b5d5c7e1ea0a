#include "svw_capture.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>


#define SVW_CAPTURE_ERRORS  100         /* told of a job */
#define SVW_CAPTURE_TYPE    "epcisException:ValidationException"


static void svw_captures_look(svw_captures_t *captures);
static void svw_capture_run(svw_captures_t *captures, const svw_capture_job_t *job, int dir);
static int svw_capture_open(const svw_capture_job_t *job, int dir, int *error);
static int svw_capture_load(svw_captures_t *captures, const svw_capture_job_t *job, int fd);
static int svw_capture_lost(svw_captures_t *captures, const svw_capture_job_t *job, int error);
static int svw_capture_done(svw_captures_t *captures, const svw_capture_job_t *job, int32_t load_id, int success,
    const json_t *errors);
static int svw_capture_flag(svw_captures_t *captures, const char *sql, const svw_capture_job_t *job);
static json_t *svw_capture_errors(const json_t *report);
static json_t *svw_capture_error(const json_t *error);


void
svw_captures_init(svw_captures_t *captures, svw_conf_t *conf, svw_db_t *db)
{
    *captures = (svw_captures_t) { .conf = conf, .db = db };

    if (gethostname(captures->host, sizeof(captures->host) - 1) != 0) {
        captures->host[0] = '\0';
    }
}


int
svw_captures_due(svw_captures_t *captures, unsigned *wait)
{
    int64_t  left;

    if (captures->conf->capture_dir == NULL) {
        return 0;
    }

    if (captures->next == captures->n && captures->look_at <= svw_now_ms()) {
        svw_captures_look(captures);
    }

    if (captures->next < captures->n) {
        return 1;
    }

    left = captures->look_at - svw_now_ms();

    if (left < (int64_t) *wait) {
        *wait = left > 10 ? (unsigned) left : 10;
    }

    return 0;
}


void
svw_captures_one(svw_captures_t *captures)
{
    int                       dir;
    const svw_capture_job_t  *job;

    job = &captures->job[captures->next++];
    dir = open(captures->conf->capture_dir, O_RDONLY|O_DIRECTORY|O_CLOEXEC);

    if (dir == -1) {
        svw_log(SVW_LOG_ERROR, "capture_dir \"%s\": %s", captures->conf->capture_dir, strerror(errno));
        captures->next = captures->n;
        return;
    }

    svw_capture_run(captures, job, dir);
    close(dir);
}


static void
svw_captures_look(svw_captures_t *captures)
{
    int                 i;
    PGresult           *result;
    const char         *params[1];
    svw_capture_job_t  *job;

    captures->n = captures->next = 0;
    captures->look_at = svw_now_ms() + captures->conf->scan_interval;
    params[0] = captures->host;

    if (svw_db_query(captures->db, &result, "select capture_id, file, company, whole from sv.capture_take($1, 16)", 1, params)
        != SVW_DB_OK)
    {
        svw_log(SVW_LOG_WARN, "captures: PostgreSQL: %s", captures->db->error);
        return;
    }

    for (i = 0; i < PQntuples(result) && i < SVW_CAPTURE_JOBS; i++) {
        job = &captures->job[captures->n++];
        snprintf(job->id, sizeof(job->id), "%s", PQgetvalue(result, i, 0));
        snprintf(job->file, sizeof(job->file), "%s", PQgetvalue(result, i, 1));
        snprintf(job->company, sizeof(job->company), "%s", PQgetvalue(result, i, 2));
        job->whole = PQgetvalue(result, i, 3)[0] == 't';
    }

    PQclear(result);

    if (captures->n == SVW_CAPTURE_JOBS) {
        captures->look_at = 0;
    }
}


static void
svw_capture_run(svw_captures_t *captures, const svw_capture_job_t *job, int dir)
{
    int  fd, done, error;

    fd = svw_capture_open(job, dir, &error);

    if (fd == -1 && error == EWOULDBLOCK) {
        /* another process is at it */
        return;
    }

    /* it may have been done since it was listed; asked while the lock is held */
    if (svw_capture_flag(captures, "select sv.capture_begin($1)", job)) {
        done = fd != -1 ? svw_capture_load(captures, job, fd) : svw_capture_lost(captures, job, error);

        if (!done) {
            svw_capture_flag(captures, "select sv.capture_later($1) is null", job);
        }

    } else {
        done = 0;
    }

    svw_failpoint("capture-done");

    /* who dies before this leaves the file to svw_capture_sweep() */
    if (done && fd != -1 && unlinkat(dir, job->file, 0) != 0) {
        svw_log(SVW_LOG_WARN, "capture %s: its file cannot be removed: %s", job->id, strerror(errno));
    }

    if (fd != -1) {
        close(fd);
    }
}


/* -1: `error'; EWOULDBLOCK: somebody else has it, ENOENT: there is no such file */
static int
svw_capture_open(const svw_capture_job_t *job, int dir, int *error)
{
    int          fd;
    struct stat  held, named;

    *error = ENOENT;

    if (strchr(job->file, '/') != NULL) {
        return -1;
    }

    fd = openat(dir, job->file, O_RDONLY|O_NOFOLLOW|O_NONBLOCK|O_CLOEXEC);

    if (fd == -1) {
        *error = errno;
        return -1;
    }

    *error = EWOULDBLOCK;

    if (fstat(fd, &held) == 0 && S_ISREG(held.st_mode)
        && flock(fd, LOCK_EX|LOCK_NB) == 0
        && fstatat(dir, job->file, &named, AT_SYMLINK_NOFOLLOW) == 0
        && held.st_ino == named.st_ino && held.st_dev == named.st_dev)
    {
        return fd;
    }

    close(fd);

    return -1;
}


/* 1: its outcome is noted */
static int
svw_capture_load(svw_captures_t *captures, const svw_capture_job_t *job, int fd)
{
    int            done;
    json_t        *report, *errors;
    int32_t        load_id;
    svw_source_t   source;

    source = (svw_source_t) {
        .feed = "/epcis/capture", .company = job->company, .strict = (int) captures->conf->strict, .whole = job->whole,
        .events = captures->conf->capture_event_limit
    };

    (void) svw_load_file(captures->conf, captures->db, fd, job->file, &source, 0, &report, &load_id);

    if (report == NULL) {
        return 0;
    }

    errors = svw_capture_errors(report);
    done = errors != NULL
           && svw_capture_done(captures, job, load_id, strcmp(svw_text_of(report, "state"), "loaded") == 0, errors) == 0;

    json_decref(errors);
    json_decref(report);

    return done;
}


/* The row was there, its file is not: a disk was lost. */
static int
svw_capture_lost(svw_captures_t *captures, const svw_capture_job_t *job, int error)
{
    int      rc;
    json_t  *errors;

    svw_log(SVW_LOG_ERROR, "capture %s: its file \"%s\": %s", job->id, job->file, strerror(error));

    if (error != ENOENT) {
        return 0;
    }

    errors = json_pack("[{s:s, s:s, s:s}]", "type", "epcisException:ImplementationException", "title", "What was sent is lost.",
                       "detail", "The file of this capture is gone; nothing of it was captured. Send it again.");

    rc = errors != NULL ? svw_capture_done(captures, job, 0, 0, errors) : -1;
    json_decref(errors);

    return rc == 0;
}


static int
svw_capture_done(svw_captures_t *captures, const svw_capture_job_t *job, int32_t load_id, int success, const json_t *errors)
{
    char         id[16], *text;
    const char  *params[4];
    svw_db_rc_t  rc;

    text = json_dumps(errors, JSON_COMPACT|JSON_ENSURE_ASCII);
    snprintf(id, sizeof(id), "%d", (int) load_id);

    params[0] = job->id;
    params[1] = load_id != 0 ? id : NULL;
    params[2] = success ? "t" : "f";
    params[3] = text;

    rc = text != NULL ? svw_db_do(captures->db, "select sv.capture_done($1, $2, $3, $4)", 4, params) : SVW_DB_ERROR;
    free(text);

    if (rc != SVW_DB_OK) {
        svw_log(SVW_LOG_WARN, "capture %s: its outcome is not noted yet: PostgreSQL: %s", job->id, captures->db->error);
        return -1;
    }

    svw_log(SVW_LOG_NOTICE, "capture %s: %s, load %d", job->id, success ? "done" : "done, with errors", (int) load_id);

    return 0;
}


static int
svw_capture_flag(svw_captures_t *captures, const char *sql, const svw_capture_job_t *job)
{
    int          yes;
    PGresult    *result;
    const char  *params[1];

    params[0] = job->id;

    if (svw_db_query(captures->db, &result, sql, 1, params) != SVW_DB_OK) {
        return 0;
    }

    yes = PQgetvalue(result, 0, 0)[0] == 't';
    PQclear(result);

    return yes;
}


/* what is wrong, as EPCIS tells it; what was left to others is not */
static json_t *
svw_capture_errors(const json_t *report)
{
    size_t       i;
    json_t      *errors, *error;
    const char  *note;

    errors = json_array();
    note = svw_text_of(report, "note");

    json_array_foreach(json_object_get(report, "errors"), i, error) {
        if (json_array_size(errors) == SVW_CAPTURE_ERRORS) {
            break;
        }

        if (!json_is_true(json_object_get(error, "skipped"))) {
            json_array_append_new(errors, svw_capture_error(error));
        }
    }

    if (note[0] != '\0') {
        json_array_append_new(errors, json_pack("{s:s, s:s, s:s}", "type",
                                                strncmp(note, SVW_NOTE_EVENTS, sizeof(SVW_NOTE_EVENTS) - 1) == 0
                                                ? "epcisException:CaptureLimitExceededException" : SVW_CAPTURE_TYPE,
                                                "title", "Nothing was captured.", "detail", note));
    }

    return errors;
}


static json_t *
svw_capture_error(const json_t *error)
{
    char         detail[2 * SVW_TEXT];
    json_t      *out;
    const char  *element, *value, *reason;

    element = svw_text_of(error, "element");
    value = svw_text_of(error, "value");
    reason = svw_text_of(error, "reason");

    snprintf(detail, sizeof(detail), "line %" PRId64 "%s%s%s%s%s: %s", svw_int_of(error, "line"), *element != '\0' ? ", " : "", element,
             *value != '\0' ? " \"" : "", value, *value != '\0' ? "\"" : "", svw_reason_text(reason));

    out = json_pack("{s:s, s:s, s:s, s:s, s:I}", "type", SVW_CAPTURE_TYPE, "title",
                    json_is_true(json_object_get(error, "quarantined")) ? "An event is kept until somebody decides on it."
                                                                         : "Something was not captured.",
                    "detail", detail, "reason", reason, "line", (json_int_t) svw_int_of(error, "line"));

    if (*element != '\0') {
        json_object_set_new(out, "element", json_string(element));
    }

    if (svw_int_of(error, "lines") > 1) {
        json_object_set_new(out, "lines", json_integer(svw_int_of(error, "lines")));
    }

    return out;
}
