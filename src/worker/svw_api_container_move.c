/*
 * A container is shipped or received: an event like those of a line, captured
 * as any other.  The job's number follows from who asks for what and the key, so
 * that a repeated request finds the job of the first.
 */

#include "svw_api_container.h"
#include "svw_api_server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>


#define SVW_MOVE_UUID  37


static void svw_move_id(const svw_container_t *c, const char *key, const char *step, const char *to, char id[SVW_MOVE_UUID]);
static char *svw_move_document(const svw_container_t *c, const char *id, const char *step, const char *disposition, const char *to);
static int svw_move_keep(int dir, const char *file, char *text, size_t *len);


int
svw_container_move(svw_container_t *c, const json_t *order, const char *step, const char *disposition, const char *key)
{
    int             dir, kept;
    char            id[SVW_MOVE_UUID], file[64], place[64], host[256], digest[65], bytes[24];
    char           *text;
    size_t          i, len;
    uint8_t         sha256[EVP_MAX_MD_SIZE];
    const char     *to, *params[9];
    svw_db_rc_t     rc;

    to = json_string_value(json_object_get(order, "to"));

    for (len = 0; to != NULL && to[len] >= '0' && to[len] <= '9'; len++) { /* void */ }

    if (json_object_get(order, "to") != NULL && (to == NULL || len != 13 || to[len] != '\0')) {
        return svw_api_problem(c->rq, 422, "value_invalid", "to", "\"to\" is the GLN of the other party, 13 digits.");
    }

    dir = svw_api_capture_dir(c->rq);
    if (dir == -1) {
        return svw_api_problem(c->rq, 503, "unavailable", NULL, "This gateway captures no events: the setting capture_dir is missing.");
    }

    svw_move_id(c, key, step, to, id);
    snprintf(file, sizeof(file), "%s.json", id);
    text = svw_move_document(c, id, step, disposition, to);

    if (text == NULL) {
        return svw_api_problem(c->rq, 503, "unavailable", NULL, "No memory is left. Try again later.");
    }

    len = strlen(text);
    kept = svw_move_keep(dir, file, text, &len);

    if (kept == -1) {
        svw_log(SVW_LOG_ERROR, "an event cannot be stored in \"%s\": %s", c->rq->conf->capture_dir, strerror(errno));
        free(text);
        return svw_api_problem(c->rq, 503, "unavailable", NULL, "The event cannot be stored now. Try again later.");
    }

    EVP_Digest(text, len, sha256, NULL, EVP_sha256(), NULL);
    free(text);

    for (i = 0; i < 32; i++) {
        snprintf(digest + 2 * i, 3, "%02x", sha256[i]);
    }

    gethostname(host, sizeof(host) - 1);
    host[sizeof(host) - 1] = '\0';
    snprintf(bytes, sizeof(bytes), "%zu", len);

    params[0] = c->location;
    params[1] = c->gtin;
    params[2] = c->serial;
    params[3] = id;
    params[4] = host;
    params[5] = file;
    params[6] = digest;
    params[7] = bytes;
    params[8] = c->rq->who->request_id;

    rc = svw_db_do(c->rq->db, "select sv.api_move($1, $2, $3, $4, $5, $6, $7, $8, $9)", 9, params);

    if (rc != SVW_DB_OK) {
        /* with the connection lost the job may be there, and one that was there needs its file */
        if (rc == SVW_DB_ERROR && kept == 1) {
            unlinkat(dir, file, 0);
        }

        return svw_api_db_problem(c->rq, rc);
    }

    snprintf(place, sizeof(place), "/epcis/capture/%s", id);
    svw_api_add_header(c->rq, "Location", place);

    return svw_api_json(c->rq, 202, "application/json", json_pack("{s:s, s:s}", "captureID", id, "operation", step));
}


/* a UUID of version 8 (RFC 9562 5.8) */
static void
svw_move_id(const svw_container_t *c, const char *key, const char *step, const char *to, char id[SVW_MOVE_UUID])
{
    int        n;
    char       text[256];
    uint8_t    b[EVP_MAX_MD_SIZE];

    n = snprintf(text, sizeof(text), "container\n%s\n%s\n%s\n%s\n%s\n%s", c->location, c->gtin, c->serial, step,
                 to != NULL ? to : "", key);
    EVP_Digest(text, (size_t) n, b, NULL, EVP_sha256(), NULL);

    snprintf(id, SVW_MOVE_UUID, "%02x%02x%02x%02x-%02x%02x-8%01x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
             b[0], b[1], b[2], b[3], b[4], b[5], b[6] & 0x0f, b[7], (b[8] & 0x3f) | 0x80, b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}


/* the caller frees it */
static char *
svw_move_document(const svw_container_t *c, const char *id, const char *step, const char *disposition, const char *to)
{
    char             link[SVW_LINK], here[64], there[64], event_id[64], when[40];
    char            *text;
    json_t          *document;
    struct tm        tm;
    struct timespec  now;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(when + strlen(when), sizeof(when) - strlen(when), ".%03ldZ", now.tv_nsec / 1000000);

    svw_scan_link(link, c->gtin, c->serial);
    snprintf(event_id, sizeof(event_id), "urn:uuid:%s", id);
    snprintf(here, sizeof(here), "https://id.gs1.org/414/%s", c->rq->who->location.gln);
    snprintf(there, sizeof(there), "https://id.gs1.org/414/%s", to != NULL ? to : "");

    document = json_pack("{s:s, s:s, s:s, s:{s:[{s:s, s:s, s:s, s:s, s:s, s:[s], s:s, s:s, s:{s:s}, s:o*}]}}",
                         "type", "EPCISDocument", "schemaVersion", "2.0", "creationDate", when, "epcisBody", "eventList",
                         "type", "ObjectEvent", "eventID", event_id, "eventTime", when, "eventTimeZoneOffset", "+00:00",
                         "action", "OBSERVE", "epcList", link, "bizStep", step, "disposition", disposition,
                         "readPoint", "id", here,
                         "destinationList", to == NULL ? NULL
                         : json_pack("[{s:s, s:s}]", "type", "location", "destination", there));

    text = document != NULL ? json_dumps(document, JSON_COMPACT) : NULL;
    json_decref(document);

    return text;
}


/*
 * On the disk, whole, under its name: 1.  0: one was there already, of the same
 * order; it stays, and is what `text' holds now.  -1: errno
 */
static int
svw_move_keep(int dir, const char *file, char *text, size_t *len)
{
    int      fd, failed, there;
    char     own[80], id[SVW_MOVE_UUID];
    ssize_t  n;

    /* the same order may come twice at once */
    svw_uuid(id);
    snprintf(own, sizeof(own), ".%s.part", id);

    fd = openat(dir, own, O_WRONLY|O_CREAT|O_EXCL|O_CLOEXEC|O_NOFOLLOW, 0600);
    if (fd == -1) {
        return -1;
    }

    failed = write(fd, text, *len) != (ssize_t) *len || fsync(fd) != 0;
    failed |= close(fd) != 0;
    there = !failed && linkat(dir, own, dir, file, 0) != 0;
    failed |= there && errno != EEXIST;

    unlinkat(dir, own, 0);

    if (there && !failed) {
        /* it differs in its time only; when it was carried out just now, ours is of no use */
        fd = openat(dir, file, O_RDONLY|O_CLOEXEC|O_NOFOLLOW);
        n = fd != -1 ? read(fd, text, *len) : -1;
        *len = n > 0 ? (size_t) n : *len;

        if (fd != -1) {
            close(fd);
        }
    }

    return failed || fsync(dir) != 0 ? -1 : !there;
}
