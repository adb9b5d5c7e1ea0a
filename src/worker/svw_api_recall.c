/*
 * Recalls: POST /recalls, GET /recalls, GET /recalls/{id}, POST /recalls/{id}/lift.
 *
 * What may be recalled or lifted by whom is decided by sv.api_recall() and
 * sv.api_lift().  The same recall by the same company again is the one that
 * there is: a request whose answer was lost may be repeated.
 */

#include "svw_api.h"

#include "svw_array.h"
#include "svw_load.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>


#define SVW_RECALL_PAGE   1000
#define SVW_RECALL_UUID   36
#define SVW_RECALL_ROLES  (SVW_ROLE_BIT(SV_ROLE_MANUFACTURER) | SVW_ROLE_BIT(SV_ROLE_AUTHORITY))

#define SVW_RECALL_COLUMNS                                                                                  \
    "select recall_id, lpad(gtin::text, 14, '0') as gtin, kind, lot, serial_from, serial_to, n, reason, reference,"     \
    " to_char(at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') as at, by_role, by_gln,"         \
    " to_char(lifted_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') as lifted_at, lifted_by, lift_reason"

/* members of a body */
typedef struct {
    const char  *name;
    size_t       offset;                /* in svw_recall_body_t */
} svw_recall_member_t;

typedef struct {
    const char  *gtin, *kind, *lot, *from, *to, *reason, *reference;
    json_t      *serials;
} svw_recall_body_t;

typedef struct {
    const char  *name;                  /* in JSON */
    const char  *column;
} svw_recall_column_t;


static int svw_recall_post(svw_api_request_t *rq);
static int svw_recall_list(svw_api_request_t *rq);
static int svw_recall_get(svw_api_request_t *rq);
static int svw_recall_lift(svw_api_request_t *rq);
static int svw_recall_make(svw_api_request_t *rq, const svw_recall_body_t *body);
static int svw_recall_answer(svw_api_request_t *rq, const char *id, unsigned status);
static int svw_recall_body(svw_api_request_t *rq, json_t *json, const svw_recall_member_t *members, svw_recall_body_t *body);
static const char *svw_recall_kind(svw_api_request_t *rq, const svw_recall_body_t *body);
static int svw_recall_serials(svw_api_request_t *rq, json_t *serials, svw_array_t *array);
static int svw_recall_uuid(svw_api_request_t *rq, const char *text);
static json_t *svw_recall_json(const PGresult *result, int row);


const svw_api_endpoint_t  svw_api_recall[] = {
    { "POST", "/recalls",        SVW_RECALL_ROLES, 0, svw_recall_post },
    { "GET",  "/recalls",        SVW_RECALL_ROLES, 0, svw_recall_list },
    { "GET",  "/recalls/*",      SVW_RECALL_ROLES, 0, svw_recall_get },
    { "POST", "/recalls/*/lift", SVW_RECALL_ROLES, 0, svw_recall_lift },
    { NULL, NULL, 0, 0, NULL }
};

/* "serials" is an array, the others are texts */
static const svw_recall_member_t  svw_recall_members[] = {
    { "gtin",      offsetof(svw_recall_body_t, gtin) },
    { "kind",      offsetof(svw_recall_body_t, kind) },
    { "lot",       offsetof(svw_recall_body_t, lot) },
    { "from",      offsetof(svw_recall_body_t, from) },
    { "to",        offsetof(svw_recall_body_t, to) },
    { "reason",    offsetof(svw_recall_body_t, reason) },
    { "reference", offsetof(svw_recall_body_t, reference) },
    { "serials",   offsetof(svw_recall_body_t, serials) },
    { NULL, 0 }
};

static const svw_recall_member_t  svw_recall_lift_members[] = {
    { "reason", offsetof(svw_recall_body_t, reason) },
    { NULL, 0 }
};

static const svw_recall_column_t  svw_recall_columns[] = {
    { "id", "recall_id" }, { "gtin", "gtin" }, { "kind", "kind" }, { "lot", "lot" }, { "from", "serial_from" },
    { "to", "serial_to" }, { "reason", "reason" }, { "reference", "reference" }, { "at", "at" }, { NULL, NULL }
};


static int
svw_recall_post(svw_api_request_t *rq)
{
    int                rc;
    json_t            *json;
    svw_recall_body_t  body;

    json = svw_api_body_json(rq);

    if (json == NULL) {
        return 0;
    }

    rc = svw_recall_body(rq, json, svw_recall_members, &body);

    if (rc == 0) {
        rc = svw_recall_make(rq, &body);
    }

    json_decref(json);

    return rc < 0 ? 0 : rc;
}


static int
svw_recall_make(svw_api_request_t *rq, const svw_recall_body_t *body)
{
    int           rc, made;
    char          location[16], number[16], id[SVW_RECALL_UUID + 1], path[64];
    PGresult     *result;
    const char   *kind, *params[10];
    svw_array_t   serials;
    svw_db_rc_t   db;

    kind = svw_recall_kind(rq, body);

    if (kind == NULL || svw_api_gtin(rq, body->gtin, number) != 0) {
        return -1;
    }

    svw_array_begin(&serials);

    if (body->serials != NULL && svw_recall_serials(rq, body->serials, &serials) != 0) {
        svw_array_free(&serials);
        return -1;
    }

    snprintf(location, sizeof(location), "%" PRId32, rq->who->location.id);

    params[0] = location;
    params[1] = number;
    params[2] = kind;
    params[3] = body->lot;
    params[4] = body->from;
    params[5] = body->to;
    params[6] = body->serials != NULL ? serials.text : NULL;
    params[7] = body->reason;
    params[8] = body->reference;
    params[9] = rq->who->request_id;

    db = svw_db_query(rq->db, &result, "select recall_id, made from sv.api_recall($1, $2, $3, $4, $5, $6, $7::text[], $8, $9, $10)",
                      10, params);
    svw_array_free(&serials);

    if (db != SVW_DB_OK) {
        return svw_api_db_problem(rq, db);
    }

    snprintf(id, sizeof(id), "%s", PQgetvalue(result, 0, 0));
    made = PQgetvalue(result, 0, 1)[0] == 't';
    PQclear(result);

    snprintf(path, sizeof(path), "/recalls/%s", id);
    svw_api_add_header(rq, "Location", path);

    rc = svw_recall_answer(rq, id, made ? 201 : 200);
    svw_log(SVW_LOG_NOTICE, "request %s: recall %s %s", rq->who->request_id, id, made ? "made" : "was there");

    return rc;
}


static int
svw_recall_list(svw_api_request_t *rq)
{
    int           i, n;
    char          location[16], number[16];
    json_t       *recalls, *answer;
    PGresult     *result;
    const char   *gtin, *open, *params[3];
    svw_db_rc_t   rc;

    gtin = svw_api_query(rq, "gtin");
    open = svw_api_query(rq, "open");

    if (gtin != NULL && svw_api_gtin(rq, gtin, number) != 0) {
        return 0;
    }

    if (open != NULL && strcmp(open, "true") != 0 && strcmp(open, "false") != 0) {
        return svw_api_problem(rq, 400, "invalid_value", "open", "open is true or false.");
    }

    snprintf(location, sizeof(location), "%" PRId32, rq->who->location.id);
    params[0] = location;
    params[1] = gtin != NULL ? number : NULL;
    params[2] = open;

    rc = svw_db_query(rq->db, &result, SVW_RECALL_COLUMNS " from sv.api_recalls($1, $2, null, $3::boolean, 1001)", 3, params);

    if (rc != SVW_DB_OK) {
        return svw_api_db_problem(rq, rc);
    }

    recalls = json_array();
    n = PQntuples(result);

    for (i = 0; i < n && i < SVW_RECALL_PAGE; i++) {
        json_array_append_new(recalls, svw_recall_json(result, i));
    }

    PQclear(result);

    /* more: than are told; ask for one product, or the open ones */
    answer = json_pack("{s:o, s:b}", "recalls", recalls, "more", n > SVW_RECALL_PAGE);

    return svw_api_json(rq, 200, NULL, answer);
}


static int
svw_recall_get(svw_api_request_t *rq)
{
    return svw_recall_uuid(rq, rq->part[0]) != 0 ? 0 : svw_recall_answer(rq, rq->part[0], 200);
}


static int
svw_recall_lift(svw_api_request_t *rq)
{
    char                location[16];
    json_t             *json;
    const char         *params[4];
    svw_db_rc_t         rc;
    svw_recall_body_t   body;

    if (svw_recall_uuid(rq, rq->part[0]) != 0 || (json = svw_api_body_json(rq)) == NULL) {
        return 0;
    }

    if (svw_recall_body(rq, json, svw_recall_lift_members, &body) != 0) {
        json_decref(json);
        return 0;
    }

    snprintf(location, sizeof(location), "%" PRId32, rq->who->location.id);
    params[0] = location;
    params[1] = rq->part[0];
    params[2] = body.reason;
    params[3] = rq->who->request_id;

    rc = svw_db_do(rq->db, "select sv.api_lift($1, $2::uuid, $3, $4)", 4, params);
    json_decref(json);

    return rc == SVW_DB_OK ? svw_recall_answer(rq, rq->part[0], 200) : svw_api_db_problem(rq, rc);
}


static int
svw_recall_answer(svw_api_request_t *rq, const char *id, unsigned status)
{
    char          location[16];
    json_t       *json;
    PGresult     *result;
    const char   *params[2];
    svw_db_rc_t   rc;

    snprintf(location, sizeof(location), "%" PRId32, rq->who->location.id);
    params[0] = location;
    params[1] = id;

    rc = svw_db_query(rq->db, &result, SVW_RECALL_COLUMNS " from sv.api_recalls($1, null, $2::uuid, null, 1)", 2, params);

    if (rc != SVW_DB_OK) {
        return svw_api_db_problem(rq, rc);
    }

    json = PQntuples(result) == 1 ? svw_recall_json(result, 0) : NULL;
    PQclear(result);

    return json != NULL ? svw_api_json(rq, status, NULL, json)
                        : svw_api_problem(rq, 404, "not_found", NULL, "There is no recall %s.", id);
}


/* The members of a body, each known and of its type; they live as long as `json'. -1: answered */
static int
svw_recall_body(svw_api_request_t *rq, json_t *json, const svw_recall_member_t *members, svw_recall_body_t *body)
{
    int                         list;
    json_t                     *value;
    const char                 *name;
    const svw_recall_member_t  *m;

    memset(body, 0, sizeof(svw_recall_body_t));

    if (!json_is_object(json)) {
        svw_api_problem(rq, 400, "body_malformed", NULL, "The body is not a JSON object.");
        return -1;
    }

    json_object_foreach(json, name, value) {
        for (m = members; m->name != NULL && strcmp(m->name, name) != 0; m++) { /* void */ }

        if (m->name == NULL) {
            svw_api_problem(rq, 400, "member_unknown", name, "\"%.40s\" is no member of this body.", name);
            return -1;
        }

        list = m->offset == offsetof(svw_recall_body_t, serials);

        if (list ? !json_is_array(value) : !json_is_string(value)) {
            svw_api_problem(rq, 400, "invalid_value", m->name, "%s has to be %s.", m->name, list ? "an array" : "a string");
            return -1;
        }

        if (list) {
            body->serials = value;

        } else {
            *(const char **) (void *) ((char *) body + m->offset) = json_string_value(value);
        }
    }

    return 0;
}


/*
 * A product is withdrawn only when it is said: a lot that was forgotten must
 * not take the whole product from the market.  NULL: answered
 */
static const char *
svw_recall_kind(svw_api_request_t *rq, const svw_recall_body_t *body)
{
    size_t       i, n;
    const char  *kind;

    const struct { const char *kind; int given; }  kinds[] = {
        { "lot", body->lot != NULL },
        { "range", body->from != NULL || body->to != NULL },
        { "serials", body->serials != NULL },
        { "product", body->kind != NULL && strcmp(body->kind, "product") == 0 }
    };

    kind = NULL;

    for (i = n = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (kinds[i].given) {
            kind = kinds[i].kind;
            n++;
        }
    }

    if (n != 1 || (body->kind != NULL && strcmp(body->kind, kind) != 0)) {
        svw_api_problem(rq, 400, "invalid_value", "kind",
                        "Say one of: lot; from and to; serials; \"kind\": \"product\" for the whole product.");
        return NULL;
    }

    return kind;
}


/* -1: answered */
static int
svw_recall_serials(svw_api_request_t *rq, json_t *serials, svw_array_t *array)
{
    size_t   i;
    json_t  *serial;

    json_array_foreach(serials, i, serial) {
        if (!json_is_string(serial)) {
            svw_api_problem(rq, 400, "invalid_value", "serials", "Number %zu of serials is not a string.", i + 1);
            return -1;
        }

        svw_array_add(array, json_string_value(serial));
    }

    if (svw_array_end(array) != 0) {
        svw_api_problem(rq, 503, "unavailable", NULL, "There is no memory for this list now. Try again later.");
        return -1;
    }

    return 0;
}


/* -1: answered */
static int
svw_recall_uuid(svw_api_request_t *rq, const char *text)
{
    size_t  i;

    for (i = 0; text[i] != '\0'; i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23 ? text[i] != '-' : strchr("0123456789abcdefABCDEF", text[i]) == NULL) {
            break;
        }
    }

    if (i == SVW_RECALL_UUID && text[i] == '\0') {
        return 0;
    }

    svw_api_problem(rq, 404, "not_found", NULL, "There is no such recall.");

    return -1;
}


static json_t *
svw_recall_json(const PGresult *result, int row)
{
    json_t                     *json, *by;
    const char                 *value;
    const svw_recall_column_t  *c;

    json = json_object();

    for (c = svw_recall_columns; c->name != NULL; c++) {
        value = svw_col(result, row, c->column);

        if (value != NULL) {
            json_object_set_new(json, c->name, json_string(value));
        }
    }

    if (svw_col(result, row, "n") != NULL) {
        json_object_set_new(json, "count", json_integer(svw_col_int(result, row, "n")));
    }

    by = json_pack("{s:s}", "role", svw_col(result, row, "by_role"));
    value = svw_col(result, row, "by_gln");

    if (value != NULL) {
        json_object_set_new(by, "gln", json_string(value));
    }

    json_object_set_new(json, "by", by);
    json_object_set_new(json, "open", json_boolean(svw_col(result, row, "lifted_at") == NULL));

    if (svw_col(result, row, "lifted_at") != NULL) {
        value = svw_col(result, row, "lifted_by");

        json_object_set_new(json, "lifted_at", json_string(svw_col(result, row, "lifted_at")));
        json_object_set_new(json, "lifted_by", json_string(value != NULL ? value : "operator"));
        json_object_set_new(json, "lift_reason", json_string(svw_col(result, row, "lift_reason")));
    }

    return json;
}
