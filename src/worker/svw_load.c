#include "svw_load.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>


#define SVW_TELL_EVERY  2000            /* ms */


static svw_load_rc_t svw_load_digest(svw_load_t *load);
static int svw_load_format(svw_load_t *load);
static svw_load_rc_t svw_load_begin(svw_load_t *load, char action[8]);
static svw_load_rc_t svw_load_run(svw_load_t *load);
static svw_load_rc_t svw_load_finish(svw_load_t *load);
static const char *svw_load_state(const svw_load_t *load, const char **note);
static json_t *svw_load_report(svw_load_t *load);
static int svw_load_too_many(svw_load_t *load, int32_t event);


static const svw_source_t  svw_source_inbox = { .feed = "", .company = "" };


svw_file_rc_t
svw_load_file(svw_conf_t *conf, svw_db_t *db, int fd, const char *name, const svw_source_t *source, int bar, json_t **report,
    int32_t *load_id)
{
    char            action[8];
    svw_load_t      load;
    svw_file_rc_t   rc;

    load = (svw_load_t) { .conf = conf, .source = source != NULL ? source : &svw_source_inbox, .db = db, .fd = fd, .name = name,
                          .bar = bar, .today = svw_today(), .now_ms = (int64_t) time(NULL) * 1000 };
    *report = NULL;
    *load_id = 0;
    action[0] = '\0';

    load.errors = json_array();
    load.told = svw_now_ms();

    if (load.errors == NULL) {
        svw_load_stop(&load, SVW_LOAD_FAILED, "out of memory");

    } else if (svw_load_digest(&load) == SVW_LOAD_OK
               && svw_load_format(&load) == 0
               && svw_load_begin(&load, action) == SVW_LOAD_OK
               && strcmp(action, "load") == 0)
    {
        svw_log(SVW_LOG_INFO, "%s: load %d begins, %" PRId64 " bytes of %s", name, (int) load.id, load.size, load.format);

        if (svw_load_run(&load) == SVW_LOAD_OK || load.rc == SVW_LOAD_REFUSED) {
            svw_load_finish(&load);
        }
    }

    if (load.bar) {
        svw_progress_end();
    }

    svw_stage_free(&load);

    if (load.rc == SVW_LOAD_OK || load.rc == SVW_LOAD_REFUSED) {
        *report = svw_load_report(&load);
    }

    if (*report != NULL) {
        *load_id = load.id;
        json_object_set_new(*report, "already_loaded", json_boolean(strcmp(action, "skip") == 0));
        rc = strcmp(json_string_value(json_object_get(*report, "state")), "rejected") == 0
             ? SVW_FILE_REJECTED : SVW_FILE_DONE;

    } else {
        svw_log(load.rc == SVW_LOAD_FAILED ? SVW_LOG_ERROR : SVW_LOG_WARN, "%s: not loaded yet: %s", name,
                load.note[0] != '\0' ? load.note : db->error);
        rc = load.rc == SVW_LOAD_FAILED ? SVW_FILE_LATER : SVW_FILE_AGAIN;
    }

    json_decref(load.errors);

    return rc;
}


int
svw_load_item(svw_load_t *load, const svw_item_t *item)
{
    return svw_stage_item(load, item);
}


int
svw_load_event(svw_load_t *load, const svw_event_row_t *row)
{
    if (svw_load_too_many(load, row->event)) {
        return -1;
    }

    load->events++;

    return svw_stage_event(load, row);
}


int
svw_load_epc(svw_load_t *load, const svw_epc_row_t *row)
{
    return svw_stage_epc(load, row);
}


int
svw_load_quarantine(svw_load_t *load, const svw_quarantine_row_t *row)
{
    char          place[160];
    svw_fault_t   fault;

    if (svw_load_too_many(load, row->event)) {
        return -1;
    }

    snprintf(place, sizeof(place), "event %d %s", (int) row->event, row->element);

    fault = (svw_fault_t) { .line = row->line, .lines = row->packs, .element = place, .value = row->value,
                            .reason = row->reason, .quarantined = 1 };
    svw_load_fault(load, &fault);

    load->events++;
    load->events_quarantined++;

    return svw_stage_quarantine(load, row);
}


static int
svw_load_too_many(svw_load_t *load, int32_t event)
{
    if (load->source->events == 0 || event <= (int64_t) load->source->events) {
        return 0;
    }

    svw_load_refuse(load, SVW_NOTE_EVENTS "the limit of %u; send them in parts", load->source->events);

    return 1;
}


int
svw_load_refuse(svw_load_t *load, const char *fmt, ...)
{
    va_list  args;

    if (load->rc == SVW_LOAD_OK) {
        va_start(args, fmt);
        vsnprintf(load->note, sizeof(load->note), fmt, args);
        va_end(args);
        load->rc = SVW_LOAD_REFUSED;
    }

    return -1;
}


int
svw_load_stop(svw_load_t *load, svw_load_rc_t rc, const char *fmt, ...)
{
    va_list  args;

    if (load->rc == SVW_LOAD_OK || load->rc == SVW_LOAD_REFUSED) {
        va_start(args, fmt);
        vsnprintf(load->note, sizeof(load->note), fmt, args);
        va_end(args);
        load->rc = rc;
    }

    return -1;
}


int
svw_load_read(svw_load_t *load, unsigned char *buf, size_t *n)
{
    ssize_t  got;

    if (svw_stopping()) {
        return svw_load_stop(load, SVW_LOAD_RETRY, "stopping");
    }

    do {
        got = read(load->fd, buf, SVW_READ);
    } while (got == -1 && errno == EINTR);

    if (got == -1) {
        return svw_load_stop(load, SVW_LOAD_FAILED, "read: %s", strerror(errno));
    }

    load->bytes += got;
    *n = (size_t) got;

    if (load->bytes > load->size) {
        return svw_load_stop(load, SVW_LOAD_FAILED, "the file grew while it was read");
    }

    /* also while nothing is staged: one event may be as long as the file */
    if (svw_stage_idle(load)) {
        svw_load_progress(load);
    }

    return got > 0;
}


/* Called between statements: the connection is free. */
void
svw_load_progress(svw_load_t *load)
{
    int          merging;
    char         id[16], bytes[24], lines[24], lots[24];
    int64_t      now;
    const char  *params[4];

    merging = load->lots > 0;

    if (load->bar) {
        svw_progress_bar(load, merging ? "merging lots" : "reading",
                         merging ? load->lots_merged + load->lots_unknown : load->bytes,
                         merging ? load->lots : load->size);
    }

    now = svw_now_ms();

    if (now - load->told < SVW_TELL_EVERY) {
        return;
    }

    load->told = now;

    snprintf(id, sizeof(id), "%d", (int) load->id);
    snprintf(bytes, sizeof(bytes), "%" PRId64, load->bytes);
    snprintf(lines, sizeof(lines), "%" PRId64, load->lines);
    snprintf(lots, sizeof(lots), "%" PRId64, load->lots_merged);

    params[0] = id;
    params[1] = bytes;
    params[2] = lines;
    params[3] = lots;

    /* a lost connection shows at the next statement that matters */
    (void) svw_db_do(load->db, "select sv.load_progress($1, $2, $3, $4)", 4, params);

    if (merging) {
        svw_log(SVW_LOG_NOTICE, "%s: load %d: %" PRId64 " of %" PRId64 " lots merged", load->name, (int) load->id,
                load->lots_merged, load->lots);
    } else {
        svw_log(SVW_LOG_NOTICE, "%s: load %d: %" PRId64 " lines, %d %% read", load->name, (int) load->id, load->lines,
                (int) (load->bytes * 100 / (load->size > 0 ? load->size : 1)));
    }
}


static svw_load_rc_t
svw_load_digest(svw_load_t *load)
{
    int            rc;
    size_t         n;
    EVP_MD_CTX    *ctx;
    struct stat    st;
    unsigned char  buf[SVW_READ];

    if (fstat(load->fd, &st) != 0) {
        svw_load_stop(load, SVW_LOAD_FAILED, "fstat: %s", strerror(errno));
        return load->rc;
    }

    load->size = st.st_size;
    load->mtime = st.st_mtim;

    ctx = EVP_MD_CTX_new();
    if (ctx == NULL || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(ctx);
        svw_load_stop(load, SVW_LOAD_FAILED, "no SHA-256 from OpenSSL");
        return load->rc;
    }

    while ((rc = svw_load_read(load, buf, &n)) == 1) {
        EVP_DigestUpdate(ctx, buf, n);
    }

    EVP_DigestFinal_ex(ctx, load->digest, NULL);
    EVP_MD_CTX_free(ctx);

    if (rc == 0 && (load->bytes != load->size || lseek(load->fd, 0, SEEK_SET) != 0)) {
        svw_load_stop(load, SVW_LOAD_FAILED, "the file changed while it was read");
    }

    load->bytes = 0;

    return load->rc;
}


static int
svw_load_format(svw_load_t *load)
{
    ssize_t        n;
    unsigned char  buf[512];

    n = pread(load->fd, buf, sizeof(buf), 0);
    if (n == -1) {
        return svw_load_stop(load, SVW_LOAD_FAILED, "read: %s", strerror(errno));
    }

    load->format = svw_format(buf, (size_t) n);

    return 0;
}


static svw_load_rc_t
svw_load_begin(svw_load_t *load, char action[8])
{
    char          digest[2 * SVW_DIGEST + 3], size[24], host[65];
    size_t        i;
    PGresult     *result;
    svw_db_rc_t   rc;
    const char   *params[8];

    memcpy(digest, "\\x", 2);

    for (i = 0; i < SVW_DIGEST; i++) {
        snprintf(digest + 2 + 2 * i, 3, "%02x", load->digest[i]);
    }

    snprintf(size, sizeof(size), "%" PRId64, load->size);

    if (gethostname(host, sizeof(host)) != 0) {
        host[0] = '\0';
    }

    host[sizeof(host) - 1] = '\0';

    params[0] = digest;
    params[1] = load->name;
    params[2] = load->format;
    params[3] = size;
    params[4] = host;
    params[5] = load->source->feed;
    params[6] = load->source->company;
    params[7] = load->source->whole ? "t" : "f";

    rc = svw_db_query(load->db, &result, "select load_id, action from sv.load_begin($1, $2, $3, $4, $5, $6, $7, $8)", 8, params);

    if (rc != SVW_DB_OK) {
        svw_load_stop(load, rc == SVW_DB_ERROR ? SVW_LOAD_FAILED : SVW_LOAD_RETRY, "PostgreSQL: %s", load->db->error);
        return load->rc;
    }

    load->id = (int32_t) svw_col_int(result, 0, "load_id");
    snprintf(action, 8, "%s", svw_col(result, 0, "action"));
    PQclear(result);

    return SVW_LOAD_OK;
}


static svw_load_rc_t
svw_load_run(svw_load_t *load)
{
    int          rc;
    struct stat  st;

    if (svw_stage_open(load) != SVW_LOAD_OK) {
        return load->rc;
    }

    rc = svw_format_read(load);

    if (fstat(load->fd, &st) != 0 || st.st_size != load->size || st.st_mtim.tv_sec != load->mtime.tv_sec
        || st.st_mtim.tv_nsec != load->mtime.tv_nsec)
    {
        /* what was staged is not what the digest stands for */
        svw_load_stop(load, SVW_LOAD_FAILED, "the file changed while it was read");
    }

    if (rc != 0 || load->rc != SVW_LOAD_OK) {
        return load->rc;
    }

    if (svw_stage_close(load) != SVW_LOAD_OK) {
        return load->rc;
    }

    return svw_merge(load);
}


static svw_load_rc_t
svw_load_finish(svw_load_t *load)
{
    char          id[16], lines[24], rejected[24], events[24], skipped[24], merged[24];
    char         *errors, *reasons;
    json_t       *counts;
    svw_db_rc_t   rc;
    const char   *params[11];

    /* a COPY that was given up with its connection */
    if (load->rc == SVW_LOAD_REFUSED) {
        svw_stage_free(load);

        if (svw_db_ensure(load->db) != 0) {
            svw_load_stop(load, SVW_LOAD_RETRY, "stopping");
            return load->rc;
        }
    }

    snprintf(id, sizeof(id), "%d", (int) load->id);
    snprintf(lines, sizeof(lines), "%" PRId64, load->lines);
    snprintf(rejected, sizeof(rejected), "%" PRId64, load->rejected);
    snprintf(events, sizeof(events), "%" PRId64, load->events);
    snprintf(skipped, sizeof(skipped), "%" PRId64, load->events_skipped);
    snprintf(merged, sizeof(merged), "%" PRId64, load->lots_merged);

    counts = svw_fault_reasons(load);
    reasons = json_dumps(counts, JSON_COMPACT);
    errors = json_dumps(load->errors, JSON_COMPACT|JSON_ENSURE_ASCII);

    params[0] = id;
    params[1] = svw_stage_name(load);
    params[2] = svw_load_state(load, &params[3]);
    params[4] = lines;
    params[5] = rejected;
    params[6] = events;
    params[7] = skipped;
    params[8] = merged;
    params[9] = reasons;
    params[10] = errors;

    rc = svw_db_do(load->db, "select sv.load_finish($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)", 11, params);

    free(reasons);
    free(errors);
    json_decref(counts);

    if (rc != SVW_DB_OK) {
        svw_load_stop(load, rc == SVW_DB_ERROR ? SVW_LOAD_FAILED : SVW_LOAD_RETRY, "PostgreSQL: %s", load->db->error);
        return load->rc;
    }

    if (load->stage != NULL) {
        svw_stage_forget(load);
    }

    svw_log(SVW_LOG_NOTICE, "%s: load %d: %s, %" PRId64 " lines, %" PRId64 " rejected, %" PRId64 " lots%s%s", load->name,
            (int) load->id, params[2], load->lines, load->rejected, load->lots_merged, params[3] != NULL ? ": " : "",
            params[3] != NULL ? params[3] : "");

    return load->rc;
}


static const char *
svw_load_state(const svw_load_t *load, const char **note)
{
    *note = NULL;

    if (load->rc == SVW_LOAD_REFUSED) {
        *note = load->note;
        return "rejected";
    }

    if (load->rejected == 0 && load->events_quarantined == 0) {
        return "loaded";
    }

    if (load->lots_merged > 0 || load->events_seen > 0 || load->events_merged > 0 || load->events_quarantined > 0) {
        return "partial";
    }

    *note = "nothing in it could be loaded";

    return "rejected";
}


static json_t *
svw_load_report(svw_load_t *load)
{
    char          id[16];
    json_t       *report;
    PGresult     *result;
    svw_db_rc_t   rc;
    const char   *params[1];

    snprintf(id, sizeof(id), "%d", (int) load->id);
    params[0] = id;

    rc = svw_db_query(load->db, &result, "select sv.load_report($1)", 1, params);

    if (rc != SVW_DB_OK) {
        return NULL;
    }

    report = PQgetisnull(result, 0, 0) ? NULL : json_loads(PQgetvalue(result, 0, 0), 0, NULL);
    PQclear(result);

    return report;
}
