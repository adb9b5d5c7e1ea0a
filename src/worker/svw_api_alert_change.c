/*
 * What reviewers make of cases: PATCH /alerts/{id}, POST /alerts/close.
 *
 * A change names the version that its author has seen, so that nobody decides
 * on what he does not know.  sv.alert_change() and sv.alerts_close() carry it out,
 * tell it and audit it in one transaction, and know a request that is
 * repeated because its answer was lost.
 */

#include "svw_api_alerts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>


#define SVW_ALERT_VERSION  24           /* a version as text, with its quotes */


static int svw_alert_patch(svw_api_request_t *rq);
static int svw_alert_close(svw_api_request_t *rq);
static char *svw_alert_body(svw_api_request_t *rq);
static int svw_alert_match(svw_api_request_t *rq, char version[SVW_ALERT_VERSION]);
static int svw_alert_changed(svw_api_request_t *rq, const char *id, const PGresult *result);


const svw_api_endpoint_t  svw_api_alert_change[] = {
    { "PATCH", "/alerts/*",     SVW_ALERT_ROLES, 0, svw_alert_patch },
    { "POST",  "/alerts/close", SVW_ALERT_ROLES, 0, svw_alert_close },
    { NULL, NULL, 0, 0, NULL }
};


static int
svw_alert_patch(svw_api_request_t *rq)
{
    int           rc;
    char          location[16], version[SVW_ALERT_VERSION], *body;
    PGresult     *result;
    const char   *params[5];
    svw_db_rc_t   db;

    if (svw_alert_uuid(rq, rq->part[0]) != 0 || svw_alert_match(rq, version) != 0 || (body = svw_alert_body(rq)) == NULL) {
        return 0;
    }

    snprintf(location, sizeof(location), "%" PRId32, rq->who->location.id);
    params[0] = location;
    params[1] = rq->part[0];
    params[2] = version[0] != '*' ? version : NULL;
    params[3] = body;
    params[4] = rq->who->request_id;

    db = svw_db_query(rq->db, &result, "select outcome, version from sv.alert_change($1, $2, $3, $4, $5)", 5, params);
    free(body);

    if (db != SVW_DB_OK) {
        return svw_api_db_problem(rq, db);
    }

    rc = svw_alert_changed(rq, rq->part[0], result);
    PQclear(result);

    return rc;
}


static int
svw_alert_close(svw_api_request_t *rq)
{
    int          rc;
    char         location[16], *body;
    const char  *params[3];

    body = svw_alert_body(rq);

    if (body == NULL) {
        return 0;
    }

    snprintf(location, sizeof(location), "%" PRId32, rq->who->location.id);
    params[0] = location;
    params[1] = body;
    params[2] = rq->who->request_id;

    rc = svw_alert_answer(rq, "select sv.alerts_close($1, $2, $3)", 3, params);
    free(body);

    return rc;
}


/* The body as JSON that PostgreSQL takes; NULL: answered */
static char *
svw_alert_body(svw_api_request_t *rq)
{
    char    *text;
    json_t  *json;

    json = svw_api_body_json(rq);

    if (json == NULL) {
        return NULL;
    }

    text = json_dumps(json, JSON_COMPACT);
    json_decref(json);

    if (text == NULL) {
        svw_api_problem(rq, 503, "unavailable", NULL, "There is no memory for this now. Try again later.");
    }

    return text;
}


/*
 * If-Match: the tag of one version, or * for whichever it is now.  A proxy that
 * compresses answers makes tags weak: they are the same versions.  -1: answered
 */
static int
svw_alert_match(svw_api_request_t *rq, char version[SVW_ALERT_VERSION])
{
    size_t       len;
    const char  *tag;

    tag = svw_api_header(rq, "If-Match");

    if (tag == NULL) {
        svw_api_problem(rq, 428, "version_missing", "If-Match",
                        "Say which version of the case you have seen: If-Match with its ETag, or * for any.");
        return -1;
    }

    if (strcmp(tag, "*") == 0) {
        snprintf(version, SVW_ALERT_VERSION, "%s", tag);
        return 0;
    }

    tag += strncmp(tag, "W/", 2) == 0 ? 2 : 0;
    len = tag[0] == '"' ? strspn(tag + 1, "0123456789") : 0;

    if (len == 0 || len > 9 || strcmp(tag + 1 + len, "\"") != 0) {
        svw_api_problem(rq, 400, "invalid_value", "If-Match", "If-Match is the ETag of a case, such as \"5\", or *.");
        return -1;
    }

    snprintf(version, SVW_ALERT_VERSION, "%.*s", (int) len, tag + 1);

    return 0;
}


static int
svw_alert_changed(svw_api_request_t *rq, const char *id, const PGresult *result)
{
    char         tag[SVW_ALERT_VERSION];
    const char  *outcome;

    outcome = PQgetvalue(result, 0, 0);

    if (strcmp(outcome, "stale") == 0) {
        snprintf(tag, sizeof(tag), "\"%.12s\"", PQgetvalue(result, 0, 1));
        svw_api_add_header(rq, "ETag", tag);
        return svw_api_problem(rq, 412, "version_stale", "If-Match",
                               "The case has changed; its version is %s now. Look at it again.", PQgetvalue(result, 0, 1));
    }

    if (strcmp(outcome, "repeated") == 0) {
        svw_api_add_header(rq, "Idempotent-Replayed", "true");
    }

    return svw_alert_case(rq, id);
}
