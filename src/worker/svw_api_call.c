/*
 * One request from its first byte to its answer.
 *
 * libmicrohttpd calls svw_api_call() when the header is there, for each piece
 * of the body, at its end, and again when a thread has made the answer: all of
 * it in its one thread, which never waits for anything but the network (and a
 * disk's cache).  Who may not is found out before the body, and
 * told behind it: a connection that is closed while somebody still sends into
 * it loses the answer.
 */

#include "svw_api_server.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>


#define SVW_API_MEMORY        (64 * 1024 * 1024)        /* bodies held in memory, of all requests */
#define SVW_API_BODY_TIME     (15 * 60 * 1000)          /* ms: a body that takes longer is given up */
#define SVW_API_DISCARD       (INT64_C(1) << 30)        /* bytes of a refused body that are read */
#define SVW_API_TELL          60000                     /* ms between two notes of the same in the log */


static void svw_api_forget(svw_api_call_t *call);
static void svw_api_begin(svw_api_call_t *call, const char *method);
static int svw_api_identify(svw_api_call_t *call);
static void svw_api_no_endpoint(svw_api_call_t *call, const char *method);
static void svw_api_body_begin(svw_api_call_t *call);
static enum MHD_Result svw_api_body_piece(svw_api_call_t *call, const char *data, size_t size);
static int svw_api_body_memory(svw_api_call_t *call, const char *data, size_t size);
static int svw_api_body_file(svw_api_call_t *call, const char *data, size_t size);
static int svw_api_body_end(svw_api_call_t *call);
static void svw_api_too_large(svw_api_call_t *call);
static void svw_api_no_space(svw_api_call_t *call);


/* NULL: no memory; svw_api_call() then closes the connection */
void *
svw_api_call_new(void *cls, const char *uri, struct MHD_Connection *connection)
{
    svw_api_call_t  *call;

    call = calloc(1, sizeof(svw_api_call_t));
    if (call == NULL) {
        return NULL;
    }

    call->server = cls;
    call->connection = connection;
    call->started = svw_now_ms();
    call->rq.conf = call->server->conf;
    call->rq.who = &call->who;
    call->rq.body_fd = -1;
    call->rq.server = call->server;
    call->rq.path = "";
    call->target = strdup(uri);

    if (call->target == NULL) {
        free(call);
        return NULL;
    }

    return call;
}


enum MHD_Result
svw_api_call(void *cls, struct MHD_Connection *connection, const char *url, const char *method, const char *version,
    const char *data, size_t *size, void **state)
{
    size_t           n;
    svw_api_call_t  *call;

    (void) cls;
    (void) url;
    (void) version;

    call = *state;

    if (call == NULL) {
        return MHD_NO;
    }

    if (!call->begun) {
        call->begun = 1;
        svw_api_begin(call, method);
        return MHD_YES;
    }

    if (*size > 0) {
        n = *size;
        *size = 0;
        return svw_api_body_piece(call, data, n);
    }

    if (call->response == NULL && !call->queued && svw_api_body_end(call) == 0) {
        call->queued = 1;
        MHD_suspend_connection(connection);
        svw_api_enqueue(call);
        return MHD_YES;
    }

    svw_api_forget(call);

    return svw_api_send(call);
}


/* the file of a body that nobody has taken over, and its room */
static void
svw_api_forget(svw_api_call_t *call)
{
    if (call->rq.body_fd != -1) {
        close(call->rq.body_fd);
        call->rq.body_fd = -1;
    }

    if (call->rq.body_name[0] != '\0') {
        unlinkat(call->server->capture_dir, call->rq.body_name, 0);
        call->rq.body_name[0] = '\0';
    }
}


void
svw_api_call_done(void *cls, struct MHD_Connection *connection, void **state, enum MHD_RequestTerminationCode why)
{
    unsigned         i;
    svw_api_call_t  *call;

    (void) cls;
    (void) connection;
    (void) why;

    call = *state;

    if (call == NULL) {
        return;
    }

    *state = NULL;

    svw_api_forget(call);

    if (call->response != NULL) {
        MHD_destroy_response(call->response);
    }

    for (i = 0; i < call->n_headers; i++) {
        free(call->header[i].name);
        free(call->header[i].value);
    }

    call->server->body_memory -= call->body_cap;
    EVP_MD_CTX_free(call->sha);
    free(call->body);
    free(call->text);
    free(call->target);
    free(call);
}


static void
svw_api_begin(svw_api_call_t *call, const char *method)
{
    svw_api_request_t  *rq;

    rq = &call->rq;
    rq->method = method;

    if (svw_api_identify(call) != 0) {
        return;
    }

    if (svw_api_target(call) != 0) {
        svw_api_problem(rq, 400, "target_malformed", NULL, "The path or a parameter cannot be read: bad percent"
                        " escapes, no UTF-8, or more than %d parameters.", SVW_API_ARGS);
        return;
    }

    call->endpoint = svw_api_find(call, method);

    if (call->endpoint == NULL) {
        svw_api_no_endpoint(call, method);
        return;
    }

    if (!(call->endpoint->roles & SVW_ROLE_BIT(call->who.location.role))) {
        svw_api_problem(rq, 403, "not_permitted", NULL, "The role %s may not do this.",
                        sv_role_word(call->who.location.role));
        return;
    }

    svw_api_body_begin(call);
}


static int
svw_api_identify(svw_api_call_t *call)
{
    int64_t           now;
    const char       *token;
    struct timespec   ts;

    token = svw_api_header(&call->rq, "Serial-Verify-Identity");

    if (token == NULL) {
        svw_api_problem(&call->rq, 401, "credential_missing", "Authorization", "This is answered through the gateway only.");
        return -1;
    }

    clock_gettime(CLOCK_REALTIME, &ts);

    if (svw_identity_verify(call->server->secret, call->server->secret_len, token, call->rq.method, call->target,
                            (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000, &call->who)
        == 0)
    {
        return 0;
    }

    now = svw_now_ms();

    if (call->server->told == 0 || now - call->server->told > SVW_API_TELL) {
        call->server->told = now;
        svw_log(SVW_LOG_WARN, "a request came without a valid proof of who asks: hold api_secret and the gateway's"
                " serial_verify_api_secret the same, and are the clocks less than a minute apart?");
    }

    svw_api_problem(&call->rq, 401, "credential_unknown", "Serial-Verify-Identity",
                    "The proof of who asks is not valid for this request at this time.");

    return -1;
}


static void
svw_api_no_endpoint(svw_api_call_t *call, const char *method)
{
    char  allow[128];

    if (!svw_api_allow(call, allow, sizeof(allow))) {
        svw_api_problem(&call->rq, 404, "not_found", NULL, "There is nothing here; docs/api.md lists what there is.");
        return;
    }

    svw_api_add_header(&call->rq, "Allow", allow);

    if (strcmp(method, "OPTIONS") == 0) {
        svw_api_text(&call->rq, 204, NULL, "", 0);
        return;
    }

    svw_api_problem(&call->rq, 405, "method_not_allowed", NULL, "Allowed here: %s.", allow);
}


static void
svw_api_body_begin(svw_api_call_t *call)
{
    char         id[37];
    const char  *length;

    length = svw_api_header(&call->rq, "Content-Length");

    if (length != NULL) {
        call->rq.body_size = strtoll(length, NULL, 10);

        if ((uint64_t) call->rq.body_size
            > (call->endpoint->flags & SVW_API_FILE ? call->rq.conf->capture_file_limit : SVW_API_BODY))
        {
            svw_api_too_large(call);
            return;
        }

        call->rq.body_size = 0;
    }

    if (!(call->endpoint->flags & SVW_API_FILE)) {
        return;
    }

    if (call->server->capture_dir == -1) {
        svw_api_problem(&call->rq, 503, "unavailable", NULL, "No captures are taken here: \"capture_dir\" is not set.");
        return;
    }

    /* a name of its own, so that what a killed process leaves can be found */
    svw_uuid(id);
    snprintf(call->rq.body_name, sizeof(call->rq.body_name), ".%s.part", id);

    call->rq.body_fd = openat(call->server->capture_dir, call->rq.body_name, O_RDWR|O_CREAT|O_EXCL|O_CLOEXEC, 0640);
    call->sha = EVP_MD_CTX_new();

    if (call->rq.body_fd == -1 || call->sha == NULL || EVP_DigestInit_ex(call->sha, EVP_sha256(), NULL) != 1) {
        svw_api_no_space(call);
    }
}


static enum MHD_Result
svw_api_body_piece(svw_api_call_t *call, const char *data, size_t size)
{
    int  file;

    if (svw_now_ms() - call->started > SVW_API_BODY_TIME) {
        return MHD_NO;
    }

    if (call->response != NULL) {
        call->discarded += (int64_t) size;
        return call->discarded > SVW_API_DISCARD ? MHD_NO : MHD_YES;
    }

    file = call->endpoint->flags & SVW_API_FILE;

    if ((uint64_t) call->rq.body_size + size > (file ? call->rq.conf->capture_file_limit : SVW_API_BODY)) {
        svw_api_too_large(call);
        return MHD_YES;
    }

    if (file ? svw_api_body_file(call, data, size) != 0 : svw_api_body_memory(call, data, size) != 0) {
        return MHD_YES;
    }

    call->rq.body_size += (int64_t) size;

    return MHD_YES;
}


static int
svw_api_body_memory(svw_api_call_t *call, const char *data, size_t size)
{
    size_t          cap, more;
    unsigned char  *body;

    cap = call->body_cap != 0 ? call->body_cap : 4096;

    while (cap < call->rq.body_len + size) {
        cap *= 2;
    }

    if (cap != call->body_cap) {
        more = cap - call->body_cap;
        body = NULL;

        if (call->server->body_memory + more <= SVW_API_MEMORY) {
            body = realloc(call->body, cap);
        }

        if (body == NULL) {
            svw_api_problem(&call->rq, 503, "busy", NULL, "Too many large requests are under way. Try again.");
            return -1;
        }

        call->server->body_memory += more;
        call->body = body;
        call->body_cap = cap;
        call->rq.body = body;
    }

    memcpy(call->body + call->rq.body_len, data, size);
    call->rq.body_len += size;

    return 0;
}


static int
svw_api_body_file(svw_api_call_t *call, const char *data, size_t size)
{
    ssize_t  n;

    if (EVP_DigestUpdate(call->sha, data, size) != 1) {
        svw_api_no_space(call);
        return -1;
    }

    while (size > 0) {
        n = write(call->rq.body_fd, data, size);

        if (n == -1 && errno == EINTR) {
            continue;
        }

        if (n == -1) {
            svw_api_no_space(call);
            return -1;
        }

        data += n;
        size -= (size_t) n;
    }

    return 0;
}


static int
svw_api_body_end(svw_api_call_t *call)
{
    if (call->rq.body_fd == -1) {
        return 0;
    }

    if (lseek(call->rq.body_fd, 0, SEEK_SET) != 0
        || EVP_DigestFinal_ex(call->sha, call->rq.body_sha256, NULL) != 1)
    {
        svw_api_no_space(call);
        return -1;
    }

    return 0;
}


static void
svw_api_too_large(svw_api_call_t *call)
{
    uint64_t  limit;

    limit = call->endpoint->flags & SVW_API_FILE ? call->rq.conf->capture_file_limit : SVW_API_BODY;

    svw_api_problem(&call->rq, 413, "body_too_large", NULL, "The body is larger than %" PRIu64 " bytes. Send it in parts.",
                    limit);
    svw_api_forget(call);
}


static void
svw_api_no_space(svw_api_call_t *call)
{
    svw_log(SVW_LOG_ERROR, "a body cannot be stored in \"%s\": %s", call->rq.conf->capture_dir, strerror(errno));
    svw_api_problem(&call->rq, 503, "unavailable", NULL, "The body cannot be stored now. Try again later.");
    svw_api_forget(call);
}
