/*
 * Answers.  An error is a problem document (RFC 9457) of the same form as the
 * module's; below /epcis/ its type is an exception of the EPCIS standard.
 */

#include "svw_api_server.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>


typedef struct {
    unsigned     status;
    const char  *title;
    const char  *exception;             /* of EPCIS */
} svw_api_title_t;

typedef struct {
    const char  *sqlstate;
    unsigned     status;
    const char  *reason;
} svw_api_sqlstate_t;


static int svw_api_answer(svw_api_call_t *call, unsigned status, const char *type, char *text, size_t len);
static const svw_api_title_t *svw_api_title(unsigned status);
static size_t svw_api_element(const char *message);


static const svw_api_title_t  svw_api_titles[] = {
    { 400, "Bad Request", "epcisException:ValidationException" },
    { 401, "Unauthorized", "epcisException:SecurityException" },
    { 403, "Forbidden", "epcisException:SecurityException" },
    { 404, "Not Found", "epcisException:NoSuchResourceException" },
    { 405, "Method Not Allowed", "epcisException:ImplementationException" },
    { 406, "Not Acceptable", "epcisException:NotAcceptableException" },
    { 409, "Conflict", "epcisException:ResourceAlreadyExistsException" },
    { 412, "Precondition Failed", "epcisException:ValidationException" },
    { 413, "Content Too Large", "epcisException:CaptureLimitExceededException" },
    { 415, "Unsupported Media Type", "epcisException:UnsupportedMediaTypeException" },
    { 422, "Unprocessable Content", "epcisException:ValidationException" },
    { 428, "Precondition Required", "epcisException:ValidationException" },
    { 503, "Service Unavailable", "epcisException:ImplementationException" },
    { 500, "Internal Server Error", "epcisException:ImplementationException" }
};

/* what the functions of the schema raise; docs/architecture.md */
static const svw_api_sqlstate_t  svw_api_sqlstates[] = {
    { "22023", 400, "invalid_value" },
    { "42501", 403, "not_permitted" },
    { "P0002", 404, "not_found" },
    { "55000", 409, "conflict" },
    { "54000", 413, "too_many" },
    { "57014", 503, "unavailable" },
    { NULL, 500, "internal_error" }
};


const char *
svw_api_header(svw_api_request_t *rq, const char *name)
{
    return MHD_lookup_connection_value(((svw_api_call_t *) (void *) rq)->connection, MHD_HEADER_KIND, name);
}


int
svw_api_capture_dir(svw_api_request_t *rq)
{
    return ((svw_api_server_t *) rq->server)->capture_dir;
}


void
svw_api_add_header(svw_api_request_t *rq, const char *name, const char *value)
{
    svw_api_call_t  *call;
    svw_api_pair_t   pair;

    call = (svw_api_call_t *) (void *) rq;

    if (call->n_headers == SVW_API_HEADERS) {
        return;
    }

    pair = (svw_api_pair_t) { strdup(name), strdup(value) };

    if (pair.name == NULL || pair.value == NULL) {
        free(pair.name);
        free(pair.value);
        return;
    }

    call->header[call->n_headers++] = pair;
}


int
svw_api_json(svw_api_request_t *rq, unsigned status, const char *type, json_t *body)
{
    char  *text;

    text = json_dumps(body, JSON_COMPACT);
    json_decref(body);

    return svw_api_answer((svw_api_call_t *) (void *) rq, status, type != NULL ? type : "application/json", text,
                          text != NULL ? strlen(text) : 0);
}


int
svw_api_text(svw_api_request_t *rq, unsigned status, const char *type, const char *text, size_t len)
{
    char  *copy;

    copy = malloc(len + 1);

    if (copy != NULL) {
        memcpy(copy, text, len);
    }

    return svw_api_answer((svw_api_call_t *) (void *) rq, status, type, copy, len);
}


int
svw_api_file(svw_api_request_t *rq, unsigned status, const char *type, int fd, int64_t size)
{
    svw_api_call_t       *call;
    struct MHD_Response  *response;

    call = (svw_api_call_t *) (void *) rq;
    response = call->response == NULL ? MHD_create_response_from_fd64((uint64_t) size, fd) : NULL;

    if (response == NULL) {
        close(fd);
        return -1;
    }

    return svw_api_respond(call, status, type, response);
}


int
svw_api_problem(svw_api_request_t *rq, unsigned status, const char *reason, const char *element, const char *fmt, ...)
{
    char                    detail[1024], *p;
    json_t                 *body;
    va_list                 args;
    const char             *type;
    const svw_api_title_t  *title;

    va_start(args, fmt);
    vsnprintf(detail, sizeof(detail), fmt, args);
    va_end(args);

    title = svw_api_title(status);
    type = strncmp(rq->path, "/epcis/", 7) == 0 ? title->exception : "about:blank";

    body = json_pack("{s:s, s:s, s:i, s:s, s:s}", "type", type, "title", title->title, "status", (int) status,
                     "reason", reason, "detail", detail);

    if (body == NULL) {
        /* a message that was cut within a character */
        for (p = detail; *p != '\0'; p++) {
            *p = *p & 0x80 ? '?' : *p;
        }

        body = json_pack("{s:s, s:s, s:i, s:s, s:s}", "type", type, "title", title->title, "status", (int) status,
                         "reason", reason, "detail", detail);
    }

    if (element != NULL) {
        json_object_set_new(body, "element", json_string(element));
    }

    if (rq->who->request_id[0] != '\0') {
        json_object_set_new(body, "request_id", json_string(rq->who->request_id));
    }

    if (status == 401) {
        svw_api_add_header(rq, "WWW-Authenticate", "Bearer");

    } else if (status == 503) {
        svw_api_add_header(rq, "Retry-After", "1");
    }

    return svw_api_json(rq, status, "application/problem+json", body);
}


int
svw_api_db_problem(svw_api_request_t *rq, svw_db_rc_t rc)
{
    char                       element[64];
    size_t                     n;
    svw_db_t                  *db;
    const char                *message;
    const svw_api_sqlstate_t  *row;

    db = rq->db;

    if (db == NULL || rc == SVW_DB_LOST || rc == SVW_DB_RETRY) {
        return svw_api_problem(rq, 503, "unavailable", NULL,
                               "The registry did not answer in time; the outcome is not known. Try again.");
    }

    for (row = svw_api_sqlstates; row->sqlstate != NULL && strcmp(row->sqlstate, db->sqlstate) != 0; row++) { /* void */ }

    /* a grant that is missing is our fault, not the client's */
    if (row->status == 403 && strncmp(db->error, "permission denied for", 21) == 0) {
        row = &svw_api_sqlstates[sizeof(svw_api_sqlstates) / sizeof(svw_api_sqlstates[0]) - 1];
    }

    if (row->status == 503) {
        return svw_api_problem(rq, 503, row->reason, NULL, "This takes longer than is allowed now. Try again.");
    }

    if (row->status == 500) {
        svw_log(SVW_LOG_ERROR, "request %s: PostgreSQL refused (%s): %s", rq->who->request_id, db->sqlstate, db->error);
        return svw_api_problem(rq, 500, row->reason, NULL, "The request failed; the log of the worker says why.");
    }

    message = db->error;
    n = svw_api_element(message);

    if (n > 0 && n < sizeof(element)) {
        snprintf(element, sizeof(element), "%.*s", (int) n, message);
        return svw_api_problem(rq, row->status, row->reason, element, "%s", message + n + 2);
    }

    return svw_api_problem(rq, row->status, row->reason, NULL, "%s", message);
}


json_t *
svw_api_body_json(svw_api_request_t *rq)
{
    json_t        *json;
    json_error_t   error;

    json = rq->body_len > 0 ? json_loadb((const char *) rq->body, rq->body_len, JSON_REJECT_DUPLICATES, &error) : NULL;

    if (json == NULL && rq->body_len == 0) {
        svw_api_problem(rq, 400, "body_malformed", NULL, "The request has no body.");

    } else if (json == NULL) {
        svw_api_problem(rq, 400, "body_malformed", NULL, "The body is not JSON: line %d, column %d: %s.", error.line,
                        error.column, error.text);
    }

    return json;
}


enum MHD_Result
svw_api_send(svw_api_call_t *call)
{
    if (call->response == NULL) {
        svw_log(SVW_LOG_ERROR, "request %s: no answer", call->who.request_id);
        svw_api_problem(&call->rq, 500, "internal_error", NULL, "The request failed; the log of the worker says why.");
    }

    return call->response != NULL ? MHD_queue_response(call->connection, call->status, call->response) : MHD_NO;
}


/* takes `text' over */
static int
svw_api_answer(svw_api_call_t *call, unsigned status, const char *type, char *text, size_t len)
{
    struct MHD_Response  *response;

    if (text == NULL || call->response != NULL) {
        free(text);
        return -1;
    }

    response = MHD_create_response_from_buffer(len, text, MHD_RESPMEM_MUST_FREE);
    if (response == NULL) {
        free(text);
        return -1;
    }

    return svw_api_respond(call, status, type, response);
}


int
svw_api_respond(svw_api_call_t *call, unsigned status, const char *type, struct MHD_Response *response)
{
    unsigned  i;

    call->response = response;
    call->status = status;

    if (type != NULL) {
        MHD_add_response_header(response, "Content-Type", type);
    }

    MHD_add_response_header(response, "Cache-Control", "private, no-store");

    /* so that a connection is a request under way, which a stop waits for */
    MHD_add_response_header(response, "Connection", "close");

    if (call->who.request_id[0] != '\0') {
        MHD_add_response_header(response, "X-Request-Id", call->who.request_id);
    }

    for (i = 0; i < call->n_headers; i++) {
        MHD_add_response_header(response, call->header[i].name, call->header[i].value);
    }

    return 0;
}


static const svw_api_title_t *
svw_api_title(unsigned status)
{
    const svw_api_title_t  *title;

    for (title = svw_api_titles; title->status != status && title->status != 500; title++) { /* void */ }

    return title;
}


/* "element: what is wrong with it": the length of the element, 0 when there is none */
static size_t
svw_api_element(const char *message)
{
    size_t  n;

    n = strspn(message, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.[]");

    return message[n] == ':' && message[n + 1] == ' ' ? n : 0;
}
