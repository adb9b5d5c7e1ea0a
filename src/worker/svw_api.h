/*
 * Role `api': the slower interfaces behind nginx's proxy_pass.
 *
 *   svw_api          the server: listens, stops        svw_api_call    one request from its first byte to its answer
 *   svw_api_thread   threads that carry them out
 *   svw_api_route    raw target -> endpoint            svw_api_answer  answers, problem documents
 *   svw_api_identity who asks: what the module vouches for, and its proof
 *   svw_api_capture  POST /epcis/capture and its jobs  svw_api_events  GET /epcis/events
 *   svw_api_recall   recalls and withdrawals              svw_api_container  containers
 *   svw_api_serials  serial numbers, lots                svw_api_export   a period as one document
 *   svw_api_alerts   cases                            svw_api_alert_change   what reviewers make of them
 *   svw_api_alert_events   what is told of cases       svw_api_stream   streams of events
 *
 * One thread reads and sends; a few others, each with a connection to PostgreSQL
 * as sv_api, call handlers.  While its body comes a request occupies none of
 * them; a handler may wait.  Bodies of endpoints with SVW_API_FILE go to
 * disk as they come, others are held in memory.
 *
 * A new endpoint: a row in a table of its file, the table in svw_api_tables[]
 * (svw_api_route.c), and the path in the location of conf/nginx.conf.
 */

#ifndef SVW_API_H
#define SVW_API_H

#include "svw.h"

#include "../model/sv_ref.h"

#include <jansson.h>


#define SVW_API_BODY    (4 * 1024 * 1024)       /* largest body held in memory */
#define SVW_API_PARTS   4
#define SVW_API_NAME    48                      /* of a body's file */

typedef struct {
    sv_ref_location_t  location;        /* id, role, GLN, country, company */
    char               request_id[33];
    char               lang[3];         /* en, de, fr */
} svw_identity_t;

typedef struct svw_api_request_s  svw_api_request_t;

struct svw_api_request_s {
    svw_conf_t            *conf;
    svw_db_t              *db;          /* connected when the handler is called */
    const svw_identity_t  *who;
    const char            *method;
    const char            *path;        /* decoded */
    char                  *part[SVW_API_PARTS];     /* what stood for each * of the pattern, decoded */
    const unsigned char   *body;        /* not NUL-terminated */
    size_t                 body_len;
    int                    body_fd;     /* SVW_API_FILE: the body, whole, at its start; else -1 */
    int64_t                body_size;
    char                   body_name[SVW_API_NAME]; /* in the capture directory; removed after the answer unless emptied */
    uint8_t                body_sha256[32];
    void                  *server;      /* svw_api.c's own */
};

/* NULL when it was not sent; valid during the request */
const char *svw_api_query(svw_api_request_t *rq, const char *name);
const char *svw_api_header(svw_api_request_t *rq, const char *name);
int svw_api_arg(svw_api_request_t *rq, unsigned i, const char **name, const char **value);     /* of the query, from 0; -1: there are no more */

/*
 * The answer, once a request; the last call of a handler, which returns its
 * result.  svw_api_json() takes over `body'.
 */
int svw_api_json(svw_api_request_t *rq, unsigned status, const char *type, json_t *body);      /* type NULL: application/json */
int svw_api_text(svw_api_request_t *rq, unsigned status, const char *type, const char *text, size_t len);
int svw_api_file(svw_api_request_t *rq, unsigned status, const char *type, int fd, int64_t size);    /* takes fd over */
int svw_api_problem(svw_api_request_t *rq, unsigned status, const char *reason, const char *element,
    const char *fmt, ...) __attribute__((format(printf, 5, 6)));    /* 503: with Retry-After */
int svw_api_db_problem(svw_api_request_t *rq, svw_db_rc_t rc);      /* SQLSTATE -> 400, 403, 404, 409, 413, 503; docs/architecture.md */
void svw_api_add_header(svw_api_request_t *rq, const char *name, const char *value);    /* before the answer */

/* a body as JSON; NULL: the problem is already answered */
json_t *svw_api_body_json(svw_api_request_t *rq);

/* svw_api_gtin.c: a GTIN of 8, 12, 13 or 14 digits as 14; -1: the problem is already answered */
int svw_api_gtin(svw_api_request_t *rq, const char *text, char number[16]);

int svw_api_capture_dir(svw_api_request_t *rq);         /* a descriptor of the capture directory, the server's */

#define SVW_API_FILE  0x01              /* the body goes to a file */
#define SVW_API_NO_DB 0x02              /* the handler needs no connection */

#define SVW_ROLE_BIT(role)  (1u << (role))
#define SVW_ANY_ROLE        0xfeu       /* any professional */

typedef struct {
    const char  *method;
    const char  *pattern;               /* "/epcis/capture/" "*": a * is one segment of the raw path, decoded */
    unsigned     roles;                 /* SVW_ROLE_BIT()s that may */
    unsigned     flags;
    int        (*handler)(svw_api_request_t *rq);
} svw_api_endpoint_t;

/* tables of endpoints, each ended by a NULL method; svw_api_route.c lists the tables */
extern const svw_api_endpoint_t  svw_api_capture[], svw_api_events[], svw_api_recall[], svw_api_container[],
    svw_api_serials[], svw_api_export[], svw_api_alerts[], svw_api_alert_change[], svw_api_alert_events[];

int svw_api_run(svw_conf_t *conf);

#define SVW_API_SECRET_MIN  32
#define SVW_API_SECRET_MAX  4096

/* svw_api_identity.c: the secret of a file; -1 and why */
int svw_api_secret(const char *path, unsigned char secret[SVW_API_SECRET_MAX], size_t *len, char error[SVW_TEXT]);

/* 0, or -1 when `token' does not prove that the module sent this request now */
int svw_identity_verify(const unsigned char *secret, size_t secret_len, const char *token, const char *method,
    const char *target, int64_t now_ms, svw_identity_t *who);

#endif /* SVW_API_H */
