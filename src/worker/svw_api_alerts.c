/*
 * Cases for a reviewer: GET /alerts, GET /alerts/{id}, and the rest of what
 * belongs to one, page by page: GET /alerts/{id}/evidence and ../timeline.
 *
 * Who sees which cases, and what a filter may say, is decided by sv.alerts()
 * and sv.alert(), which answer the JSON that is sent.
 */

#include "svw_api_alerts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>


#define SVW_ALERTS_PAGE   50
#define SVW_ALERTS_PAGES  500

typedef struct {
    const char  *sort, *cursor, *limit, *counts;
    json_t      *filter;
} svw_alerts_args_t;

typedef struct {
    const char  *name;
    size_t       offset;                /* in svw_alerts_args_t */
} svw_alerts_arg_t;


static int svw_alerts_list(svw_api_request_t *rq);
static int svw_alerts_get(svw_api_request_t *rq);
static int svw_alerts_evidence(svw_api_request_t *rq);
static int svw_alerts_timeline(svw_api_request_t *rq);
static int svw_alerts_more(svw_api_request_t *rq, const char *what);
static int svw_alerts_args(svw_api_request_t *rq, svw_alerts_args_t *args, int filter);
static int svw_alerts_limit(svw_api_request_t *rq, const char *text, char limit[16]);


const svw_api_endpoint_t  svw_api_alerts[] = {
    { "GET",   "/alerts",            SVW_ALERT_ROLES, 0, svw_alerts_list },
    { "GET",   "/alerts/*",          SVW_ALERT_ROLES, 0, svw_alerts_get },
    { "GET",   "/alerts/*/evidence", SVW_ALERT_ROLES, 0, svw_alerts_evidence },
    { "GET",   "/alerts/*/timeline", SVW_ALERT_ROLES, 0, svw_alerts_timeline },
    { NULL, NULL, 0, 0, NULL }
};

/* what is no filter */
static const svw_alerts_arg_t  svw_alerts_names[] = {
    { "sort",   offsetof(svw_alerts_args_t, sort) },
    { "cursor", offsetof(svw_alerts_args_t, cursor) },
    { "limit",  offsetof(svw_alerts_args_t, limit) },
    { "counts", offsetof(svw_alerts_args_t, counts) },
    { NULL, 0 }
};


static int
svw_alerts_list(svw_api_request_t *rq)
{
    char                location[16], limit[16], *filter;
    const char         *params[6];
    svw_alerts_args_t   args;

    if (svw_alerts_args(rq, &args, 1) != 0) {
        return 0;
    }

    filter = json_dumps(args.filter, JSON_COMPACT);
    json_decref(args.filter);

    if (filter == NULL) {
        return svw_api_problem(rq, 503, "unavailable", NULL, "There is no memory for this now. Try again later.");
    }

    if (svw_alerts_limit(rq, args.limit, limit) == 0) {
        snprintf(location, sizeof(location), "%" PRId32, rq->who->location.id);
        params[0] = location;
        params[1] = filter;
        params[2] = args.sort != NULL ? args.sort : "severity";
        params[3] = args.cursor;
        params[4] = limit;
        params[5] = args.counts != NULL && strcmp(args.counts, "yes") == 0 ? "true" : "false";

        svw_alert_answer(rq, "select sv.alerts($1, $2, $3, $4, $5, $6)", 6, params);
    }

    free(filter);

    return 0;
}


static int
svw_alerts_get(svw_api_request_t *rq)
{
    return svw_alert_uuid(rq, rq->part[0]) != 0 ? 0 : svw_alert_case(rq, rq->part[0]);
}


static int
svw_alerts_evidence(svw_api_request_t *rq)
{
    return svw_alerts_more(rq, "evidence");
}


static int
svw_alerts_timeline(svw_api_request_t *rq)
{
    return svw_alerts_more(rq, "timeline");
}


static int
svw_alerts_more(svw_api_request_t *rq, const char *what)
{
    char                location[16], limit[16];
    const char         *params[5];
    svw_alerts_args_t   args;

    if (svw_alert_uuid(rq, rq->part[0]) != 0 || svw_alerts_args(rq, &args, 0) != 0 || svw_alerts_limit(rq, args.limit, limit) != 0) {
        return 0;
    }

    snprintf(location, sizeof(location), "%" PRId32, rq->who->location.id);
    params[0] = location;
    params[1] = rq->part[0];
    params[2] = what;
    params[3] = args.cursor;
    params[4] = limit;

    return svw_alert_answer(rq, "select sv.alert_more($1, $2, $3, $4, $5)", 5, params);
}


/* The arguments, none twice; what is none of ours is a filter, where there is one.  -1: answered */
static int
svw_alerts_args(svw_api_request_t *rq, svw_alerts_args_t *args, int filter)
{
    unsigned                 i;
    const char              *name, *value, **place;
    const svw_alerts_arg_t  *a;

    memset(args, 0, sizeof(svw_alerts_args_t));
    args->filter = filter ? json_object() : NULL;

    for (i = 0; svw_api_arg(rq, i, &name, &value) == 0; i++) {
        for (a = svw_alerts_names; a->name != NULL && strcmp(a->name, name) != 0; a++) { /* void */ }

        place = a->name != NULL ? (const char **) (void *) ((char *) args + a->offset) : NULL;

        if (place == NULL && !filter) {
            svw_api_problem(rq, 400, "invalid_value", name, "\"%.40s\" is not asked for here.", name);
            return -1;
        }

        if (place != NULL ? *place != NULL : json_object_get(args->filter, name) != NULL) {
            svw_api_problem(rq, 400, "invalid_value", name, "%.40s is there twice.", name);
            json_decref(args->filter);
            return -1;
        }

        if (place != NULL) {
            *place = value;
        } else {
            json_object_set_new(args->filter, name, json_string(value));
        }
    }

    if (args->counts != NULL && strcmp(args->counts, "yes") != 0 && strcmp(args->counts, "no") != 0) {
        svw_api_problem(rq, 400, "invalid_value", "counts", "counts is yes or no.");
        json_decref(args->filter);
        return -1;
    }

    return 0;
}


/* -1: answered */
static int
svw_alerts_limit(svw_api_request_t *rq, const char *text, char limit[16])
{
    size_t         len;
    unsigned long  n;

    n = SVW_ALERTS_PAGE;

    if (text != NULL) {
        len = strlen(text);
        n = len > 0 && len < 6 && strspn(text, "0123456789") == len ? strtoul(text, NULL, 10) : 0;
    }

    if (n == 0 || n > SVW_ALERTS_PAGES) {
        svw_api_problem(rq, 400, "invalid_value", "limit", "limit is a number from 1 to %d.", SVW_ALERTS_PAGES);
        return -1;
    }

    snprintf(limit, 16, "%lu", n);

    return 0;
}


int
svw_alert_case(svw_api_request_t *rq, const char *id)
{
    int           rc;
    char          location[16], tag[24];
    PGresult     *result;
    const char   *params[2];
    svw_db_rc_t   db;

    snprintf(location, sizeof(location), "%" PRId32, rq->who->location.id);
    params[0] = location;
    params[1] = id;

    db = svw_db_query(rq->db, &result, "select version, body from sv.alert($1, $2)", 2, params);

    if (db != SVW_DB_OK) {
        return svw_api_db_problem(rq, db);
    }

    snprintf(tag, sizeof(tag), "\"%s\"", PQgetvalue(result, 0, 0));
    svw_api_add_header(rq, "ETag", tag);
    rc = svw_api_text(rq, 200, "application/json", PQgetvalue(result, 0, 1), (size_t) PQgetlength(result, 0, 1));
    PQclear(result);

    return rc;
}


int
svw_alert_answer(svw_api_request_t *rq, const char *sql, int n, const char *const *params)
{
    int           rc;
    PGresult     *result;
    svw_db_rc_t   db;

    db = svw_db_query(rq->db, &result, sql, n, params);

    if (db != SVW_DB_OK) {
        return svw_api_db_problem(rq, db);
    }

    rc = svw_api_text(rq, 200, "application/json", PQgetvalue(result, 0, 0), (size_t) PQgetlength(result, 0, 0));
    PQclear(result);

    return rc;
}


int
svw_alert_uuid(svw_api_request_t *rq, const char *text)
{
    size_t  i;

    for (i = 0; text[i] != '\0'; i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23 ? text[i] != '-' : strchr("0123456789abcdefABCDEF", text[i]) == NULL) {
            break;
        }
    }

    if (i == 36 && text[i] == '\0') {
        return 0;
    }

    svw_api_problem(rq, 404, "not_found", NULL, "There is no such case.");

    return -1;
}
