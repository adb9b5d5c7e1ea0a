/*
 * EPCIS capture: POST /epcis/capture and its jobs.
 *
 * When 202 is answered the body is on the disk, under its final name, and the
 * job's row is committed.  The row comes last: a row without a file cannot be,
 * and a file without a row is removed after an hour.
 */

#include "svw_api_server.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>


#define SVW_CAPTURE_PAGE    30
#define SVW_CAPTURE_PAGES   1000
#define SVW_CAPTURE_UUID    36
#define SVW_CAPTURE_FILE    (SVW_CAPTURE_UUID + 8)
#define SVW_CAPTURE_LEFT    3600        /* s: older than any upload that is still under way */

/* who may send, and list; who looks at one sees its own (a pharmacy's, of a container it received) */
#define SVW_CAPTURE_ROLES   (SVW_ROLE_BIT(SV_ROLE_MANUFACTURER) | SVW_ROLE_BIT(SV_ROLE_PARALLEL_DISTRIBUTOR) \
                             | SVW_ROLE_BIT(SV_ROLE_WHOLESALER) | SVW_ROLE_BIT(SV_ROLE_OPERATOR))
#define SVW_CAPTURE_LOOK    (SVW_CAPTURE_ROLES | SVW_ROLE_BIT(SV_ROLE_AUTHORITY))

typedef struct {
    const char  *type;                  /* of the Content-Type */
    const char  *ending;                /* of the file, by which it is read */
} svw_capture_type_t;

typedef struct {
    const char  *ending;
    int          whole;                 /* rollback */
} svw_capture_order_t;


static int svw_capture_post(svw_api_request_t *rq);
static int svw_capture_list(svw_api_request_t *rq);
static int svw_capture_get(svw_api_request_t *rq);
static int svw_capture_options(svw_api_request_t *rq);
static int svw_capture_order(svw_api_request_t *rq, svw_capture_order_t *order);
static int svw_capture_type(svw_api_request_t *rq, svw_capture_order_t *order);
static int svw_capture_version(svw_api_request_t *rq, const char *header);
static int svw_capture_keep(svw_api_request_t *rq, const char *file);
static int svw_capture_job(svw_api_request_t *rq, const char *id, unsigned status);
static int svw_capture_uuid(const char *text);
static void svw_capture_left(svw_api_server_t *server, svw_db_t *db, const char *name);


const svw_api_endpoint_t  svw_api_capture[] = {
    { "POST",    "/epcis/capture",   SVW_CAPTURE_ROLES, SVW_API_FILE,  svw_capture_post },
    { "GET",     "/epcis/capture",   SVW_CAPTURE_LOOK,  0,             svw_capture_list },
    { "OPTIONS", "/epcis/capture",   SVW_ANY_ROLE,      SVW_API_NO_DB, svw_capture_options },
    { "GET",     "/epcis/capture/*", SVW_ANY_ROLE,      0,             svw_capture_get },
    { NULL, NULL, 0, 0, NULL }
};

static const svw_capture_type_t  svw_capture_types[] = {
    { "application/json", "json" }, { "application/ld+json", "json" },
    { "application/xml", "xml" }, { "text/xml", "xml" },
    { "text/csv", "csv" },
    { NULL, NULL }
};


static int
svw_capture_post(svw_api_request_t *rq)
{
    char                  id[SVW_CAPTURE_UUID + 1], file[SVW_CAPTURE_FILE], host[256], location[16], digest[65], bytes[24];
    size_t                i;
    const char           *params[8];
    svw_db_rc_t           rc;
    svw_capture_order_t   order;

    if (svw_capture_order(rq, &order) != 0) {
        return 0;
    }

    svw_uuid(id);
    snprintf(file, sizeof(file), "%s.%s", id, order.ending);

    if (svw_capture_keep(rq, file) != 0) {
        svw_log(SVW_LOG_ERROR, "a capture cannot be stored in \"%s\": %s", rq->conf->capture_dir, strerror(errno));
        return svw_api_problem(rq, 503, "unavailable", NULL, "The body cannot be stored now. Try again later.");
    }

    for (i = 0; i < sizeof(rq->body_sha256); i++) {
        snprintf(digest + 2 * i, 3, "%02x", rq->body_sha256[i]);
    }

    snprintf(location, sizeof(location), "%" PRId32, rq->who->location.id);
    snprintf(bytes, sizeof(bytes), "%" PRId64, rq->body_size);
    gethostname(host, sizeof(host) - 1);
    host[sizeof(host) - 1] = '\0';

    params[0] = location;
    params[1] = id;
    params[2] = host;
    params[3] = file;
    params[4] = digest;
    params[5] = bytes;
    params[6] = order.whole ? "t" : "f";
    params[7] = rq->who->request_id;

    rc = svw_db_do(rq->db, "select sv.capture_create($1, $2, $3, $4, $5, $6, $7, $8)", 8, params);

    if (rc == SVW_DB_OK) {
        svw_log(SVW_LOG_INFO, "request %s: capture %s, %" PRId64 " bytes", rq->who->request_id, id, rq->body_size);
        return svw_capture_job(rq, id, 202);
    }

    /* with the connection lost the job may be there, and needs its file */
    if (rc != SVW_DB_LOST) {
        unlinkat(svw_api_capture_dir(rq), file, 0);
    }

    return svw_api_db_problem(rq, rc);
}


/* What the headers say. -1: and the problem is answered */
static int
svw_capture_order(svw_api_request_t *rq, svw_capture_order_t *order)
{
    const char  *behaviour;

    if (svw_capture_type(rq, order) != 0 || svw_capture_version(rq, "GS1-EPCIS-Version") != 0
        || svw_capture_version(rq, "GS1-CBV-Version") != 0)
    {
        return -1;
    }

    behaviour = svw_api_header(rq, "GS1-Capture-Error-Behaviour");
    order->whole = behaviour == NULL || strcmp(behaviour, "rollback") == 0;

    if (!order->whole && strcmp(behaviour, "proceed") != 0) {
        svw_api_problem(rq, 400, "header_unknown", "GS1-Capture-Error-Behaviour",
                        "GS1-Capture-Error-Behaviour is rollback (all or nothing) or proceed (what can be captured).");
        return -1;
    }

    if (rq->body_size == 0) {
        svw_api_problem(rq, 400, "body_malformed", NULL, "The request has no body.");
        return -1;
    }

    return 0;
}


static int
svw_capture_type(svw_api_request_t *rq, svw_capture_order_t *order)
{
    size_t                     len;
    const char                *type;
    const svw_capture_type_t  *row;

    type = svw_api_header(rq, "Content-Type");

    if (type == NULL) {
        type = "";
    }

    len = strcspn(type, "; \t");

    for (row = svw_capture_types; row->type != NULL; row++) {
        if (strlen(row->type) == len && strncasecmp(type, row->type, len) == 0) {
            order->ending = row->ending;
            return 0;
        }
    }

    svw_api_problem(rq, 415, "type_unsupported", "Content-Type", "Send application/json or application/ld+json, application/xml"
                    " or text/xml, or text/csv.");

    return -1;
}


/* "2.0", "2.0.0", "1.2" .. */
static int
svw_capture_version(svw_api_request_t *rq, const char *header)
{
    const char  *version;

    version = svw_api_header(rq, header);

    if (version == NULL
        || ((strncmp(version, "2.0", 3) == 0 || strncmp(version, "1.2", 3) == 0)
            && (version[3] == '\0' || (version[3] == '.' && version[4] != '\0' && version[4 + strspn(version + 4, "0123456789")] == '\0'))))
    {
        return 0;
    }

    svw_api_problem(rq, 400, "header_unknown", header, "Versions 1.2 and 2.0 are understood here.");

    return -1;
}


/* On the disk for good, under its name: the file first, then its name. */
static int
svw_capture_keep(svw_api_request_t *rq, const char *file)
{
    int  dir;

    dir = svw_api_capture_dir(rq);

    if (fsync(rq->body_fd) != 0 || renameat(dir, rq->body_name, dir, file) != 0) {
        return -1;
    }

    rq->body_name[0] = '\0';

    if (fsync(dir) != 0) {
        unlinkat(dir, file, 0);
        return -1;
    }

    return 0;
}


static int
svw_capture_get(svw_api_request_t *rq)
{
    if (!svw_capture_uuid(rq->part[0])) {
        return svw_api_problem(rq, 404, "not_found", NULL, "There is no such capture job.");
    }

    return svw_capture_job(rq, rq->part[0], 200);
}


/* The answer is the job. A 202 without it is one, too: the job is there. */
static int
svw_capture_job(svw_api_request_t *rq, const char *id, unsigned status)
{
    char          location[64];
    json_t       *job;
    PGresult     *result;
    const char   *params[2];
    svw_db_rc_t   rc;

    snprintf(location, sizeof(location), "%" PRId32, rq->who->location.id);
    params[0] = location;
    params[1] = id;

    rc = svw_db_query(rq->db, &result, "select sv.capture_get($1, $2)", 2, params);

    if (rc != SVW_DB_OK && status == 200) {
        return svw_api_db_problem(rq, rc);
    }

    job = result != NULL ? json_loads(PQgetvalue(result, 0, 0), 0, NULL) : NULL;
    PQclear(result);

    if (status == 202) {
        snprintf(location, sizeof(location), "/epcis/capture/%s", id);
        svw_api_add_header(rq, "Location", location);
    }

    return svw_api_json(rq, status, NULL, job != NULL ? job : json_pack("{s:s}", "captureID", id));
}


static int
svw_capture_list(svw_api_request_t *rq)
{
    int           i, n;
    char          location[16], limit[16], link[160], *end;
    long          page;
    json_t       *jobs;
    PGresult     *result;
    const char   *text, *params[3];
    svw_db_rc_t   rc;

    text = svw_api_query(rq, "perPage");
    page = text != NULL ? strtol(text, &end, 10) : SVW_CAPTURE_PAGE;

    if (text != NULL && (*text == '\0' || *end != '\0' || page < 1 || page > SVW_CAPTURE_PAGES)) {
        return svw_api_problem(rq, 400, "invalid_value", "perPage", "A number from 1 to %d.", SVW_CAPTURE_PAGES);
    }

    params[1] = svw_api_query(rq, "nextPageToken");

    if (params[1] != NULL && !svw_capture_uuid(params[1])) {
        return svw_api_problem(rq, 400, "invalid_value", "nextPageToken", "Send the token of the header Link as it was.");
    }

    snprintf(location, sizeof(location), "%" PRId32, rq->who->location.id);
    snprintf(limit, sizeof(limit), "%ld", page + 1);
    params[0] = location;
    params[2] = limit;

    rc = svw_db_query(rq->db, &result, "select sv.capture_list($1, $2, $3)", 3, params);

    if (rc != SVW_DB_OK) {
        return svw_api_db_problem(rq, rc);
    }

    jobs = json_array();
    n = PQntuples(result);

    for (i = 0; i < n && i < page; i++) {
        json_array_append_new(jobs, json_loads(PQgetvalue(result, i, 0), 0, NULL));
    }

    if (n > page) {
        text = json_string_value(json_object_get(json_array_get(jobs, (size_t) page - 1), "captureID"));
        snprintf(link, sizeof(link), "</epcis/capture?perPage=%ld&nextPageToken=%s>; rel=\"next\"", page, text);
        svw_api_add_header(rq, "Link", link);
    }

    PQclear(result);

    return svw_api_json(rq, 200, NULL, jobs);
}


/* what can be captured here */
static int
svw_capture_options(svw_api_request_t *rq)
{
    char  text[24];

    svw_api_add_header(rq, "Allow", "POST, GET, HEAD, OPTIONS");
    svw_api_add_header(rq, "GS1-EPCIS-Min", "1.2");
    svw_api_add_header(rq, "GS1-EPCIS-Max", "2.0");
    svw_api_add_header(rq, "GS1-CBV-Min", "1.2");
    svw_api_add_header(rq, "GS1-CBV-Max", "2.0");
    svw_api_add_header(rq, "GS1-EPC-Format", "No_Preference");
    svw_api_add_header(rq, "GS1-Capture-Error-Behaviour", "rollback, proceed");

    snprintf(text, sizeof(text), "%" PRIu64, rq->conf->capture_file_limit);
    svw_api_add_header(rq, "GS1-EPCIS-Capture-File-Size-Limit", text);

    if (rq->conf->capture_event_limit != 0) {
        snprintf(text, sizeof(text), "%u", rq->conf->capture_event_limit);
        svw_api_add_header(rq, "GS1-EPCIS-Capture-Limit", text);
    }

    return svw_api_text(rq, 204, NULL, "", 0);
}


static int
svw_capture_uuid(const char *text)
{
    size_t  i;

    for (i = 0; i < SVW_CAPTURE_UUID; i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23 ? text[i] != '-' : strchr("0123456789abcdef", text[i]) == NULL || text[i] == '\0') {
            return 0;
        }
    }

    return text[i] == '\0';
}


/*
 * Uploads that were never finished, and files whose job is done or was never
 * made.  Nothing is removed while PostgreSQL cannot say whether it is needed.
 */
void
svw_capture_sweep(svw_api_server_t *server, svw_db_t *db)
{
    int             fd;
    DIR            *dir;
    time_t          old;
    struct stat     st;
    struct dirent  *d;

    fd = openat(server->capture_dir, ".", O_RDONLY|O_DIRECTORY|O_CLOEXEC);
    dir = fd != -1 ? fdopendir(fd) : NULL;

    if (dir == NULL) {
        if (fd != -1) {
            close(fd);
        }

        return;
    }

    old = time(NULL) - SVW_CAPTURE_LEFT;

    while (!svw_stopping() && (d = readdir(dir)) != NULL) {
        if (fstatat(server->capture_dir, d->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode)
            && st.st_mtime < old)
        {
            svw_capture_left(server, db, d->d_name);
        }
    }

    closedir(dir);
    svw_db_close(db);
}


static void
svw_capture_left(svw_api_server_t *server, svw_db_t *db, const char *name)
{
    int          wanted;
    char         id[SVW_CAPTURE_UUID + 1];
    PGresult    *result;
    const char  *params[1];

    if (strlen(name) < SVW_CAPTURE_UUID + 4) {
        return;
    }

    memcpy(id, name[0] == '.' ? name + 1 : name, SVW_CAPTURE_UUID);
    id[SVW_CAPTURE_UUID] = '\0';

    if (!svw_capture_uuid(id)) {
        return;
    }

    if (name[0] != '.') {
        params[0] = id;

        if ((db->pg == NULL && svw_db_connect(db) != 0)
            || svw_db_query(db, &result, "select sv.capture_wanted($1)", 1, params) != SVW_DB_OK)
        {
            return;
        }

        wanted = PQgetvalue(result, 0, 0)[0] == 't';
        PQclear(result);

        if (wanted) {
            return;
        }
    }

    if (unlinkat(server->capture_dir, name, 0) == 0) {
        svw_log(SVW_LOG_INFO, "removed \"%s\", which belongs to no capture job", name);
    }
}
