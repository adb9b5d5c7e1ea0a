/*
 * Serial numbers for the lines, and lots.
 *
 *   POST /serials/{gtin}                    {"line": "..", "n": 5000, "lot": ".."}, with an Idempotency-Key
 *   GET  /serials/{gtin}                    the requests
 *   GET  /serials/{gtin}/{request}          one, with its numbers
 *   POST /serials/{gtin}/{request}/return   {"serials": [..]} or {"unused": true}
 *   POST /lots/{gtin}/{lot}                 {"packs": .., "rejected": .., "aggregated": ..}
 *   GET  /lots/{gtin}/{lot}
 *
 * What a location may is decided by the functions that are called.
 */

#include "svw_api.h"

#include "svw_array.h"
#include "svw_load.h"
#include "svw_pool.h"

#include <inttypes.h>
#include <string.h>


#define SVW_SERIALS_LIST   1000         /* requests told at once */
#define SVW_SERIALS_KEY    64
#define SVW_SERIALS_ROLES  (SVW_ROLE_BIT(SV_ROLE_MANUFACTURER) | SVW_ROLE_BIT(SV_ROLE_OPERATOR))
#define SVW_LOTS_ROLES     (SVW_SERIALS_ROLES | SVW_ROLE_BIT(SV_ROLE_AUTHORITY))

/* a member of a body; of kind integer its text is put to `text' */
typedef struct {
    const char   *name;
    json_type     type;
    int           needed;
    json_t      **value;
    char         *text;
} svw_serials_member_t;


static int svw_serials_post(svw_api_request_t *rq);
static int svw_serials_get(svw_api_request_t *rq);
static int svw_serials_one(svw_api_request_t *rq);
static int svw_serials_return(svw_api_request_t *rq);
static int svw_serials_answer(svw_api_request_t *rq, const char *gtin, const char *id, unsigned status);
static int svw_serials_members(svw_api_request_t *rq, json_t *body, const svw_serials_member_t *members);
static int svw_serials_array(svw_api_request_t *rq, json_t *serials, svw_array_t *array);
static int svw_serials_id(svw_api_request_t *rq, const char *id);
static json_t *svw_serials_json(const PGresult *result, int row);
static int svw_lots_post(svw_api_request_t *rq);
static int svw_lots_get(svw_api_request_t *rq);
static int svw_lots_answer(svw_api_request_t *rq, const char *gtin, const char *lot, unsigned status);


const svw_api_endpoint_t  svw_api_serials[] = {
    { "POST", "/serials/*",          SVW_SERIALS_ROLES, 0, svw_serials_post },
    { "GET",  "/serials/*",          SVW_SERIALS_ROLES, 0, svw_serials_get },
    { "GET",  "/serials/*/*",        SVW_SERIALS_ROLES, 0, svw_serials_one },
    { "POST", "/serials/*/*/return", SVW_SERIALS_ROLES, 0, svw_serials_return },
    { "POST", "/lots/*/*",           SVW_SERIALS_ROLES, 0, svw_lots_post },
    { "GET",  "/lots/*/*",           SVW_LOTS_ROLES,    0, svw_lots_get },
    { NULL, NULL, 0, 0, NULL }
};


static int
svw_serials_post(svw_api_request_t *rq)
{
    char                        location[16], gtin[16], n[24], path[96];
    json_t                     *body, *line = NULL, *lot = NULL, *amount = NULL;
    const char                 *key;
    svw_db_rc_t                 rc;
    svw_pool_ask_t              ask;
    svw_pool_issued_t           issued;
    const svw_serials_member_t  members[] = {
        { "line", JSON_STRING, 1, &line, NULL }, { "n", JSON_INTEGER, 1, &amount, n }, { "lot", JSON_STRING, 0, &lot, NULL },
        { NULL, JSON_NULL, 0, NULL, NULL }
    };

    key = svw_api_header(rq, "Idempotency-Key");

    if (key == NULL || *key == '\0' || strlen(key) > SVW_SERIALS_KEY) {
        return svw_api_problem(rq, 400, key == NULL ? "idempotency_key_missing" : "idempotency_key_invalid", "Idempotency-Key",
                               "A header Idempotency-Key of 1 to %d characters is needed: a repeat with the same key gets the same numbers.",
                               SVW_SERIALS_KEY);
    }

    if (svw_api_gtin(rq, rq->part[0], gtin) != 0 || (body = svw_api_body_json(rq)) == NULL) {
        return 0;
    }

    if (svw_serials_members(rq, body, members) != 0) {
        json_decref(body);
        return 0;
    }

    snprintf(location, sizeof(location), "%" PRId32, rq->who->location.id);
    ask = (svw_pool_ask_t) { .location = location, .gtin = gtin, .line = json_string_value(line), .lot = json_string_value(lot),
                             .n = n, .key = key };

    rc = svw_pool_issue(rq->db, &ask, &issued);
    json_decref(body);

    if (rc != SVW_DB_OK) {
        return svw_api_db_problem(rq, rc);
    }

    if (!issued.same) {
        return svw_api_problem(rq, 422, "key_reused", "Idempotency-Key", "This key was sent with another request. Use a new one.");
    }

    if (!issued.made) {
        svw_api_add_header(rq, "Idempotent-Replayed", "true");
    }

    snprintf(path, sizeof(path), "/serials/%s/%s", gtin, issued.id);
    svw_api_add_header(rq, "Location", path);
    svw_log(SVW_LOG_NOTICE, "request %s: serial numbers of %s, request %s%s", rq->who->request_id, gtin, issued.id,
            issued.made ? "" : ", was there");

    return svw_serials_answer(rq, gtin, issued.id, issued.made ? 201 : 200);
}


static int
svw_serials_get(svw_api_request_t *rq)
{
    int           i, n;
    char          location[16], gtin[16];
    json_t       *list;
    PGresult     *result;
    const char   *params[2];
    svw_db_rc_t   rc;

    if (svw_api_gtin(rq, rq->part[0], gtin) != 0) {
        return 0;
    }

    snprintf(location, sizeof(location), "%" PRId32, rq->who->location.id);
    params[0] = location;
    params[1] = gtin;

    rc = svw_db_query(rq->db, &result, "select * from sv.serial_requests($1, $2, null, 1001)", 2, params);

    if (rc != SVW_DB_OK) {
        return svw_api_db_problem(rq, rc);
    }

    n = PQntuples(result);
    list = json_array();

    for (i = 0; i < n && i < SVW_SERIALS_LIST; i++) {
        (void) json_array_append_new(list, svw_serials_json(result, i));
    }

    PQclear(result);

    return svw_api_json(rq, 200, NULL, json_pack("{s:s, s:o, s:b}", "gtin", gtin, "requests", list, "more", n > SVW_SERIALS_LIST));
}


static int
svw_serials_one(svw_api_request_t *rq)
{
    char  gtin[16];

    if (svw_api_gtin(rq, rq->part[0], gtin) != 0 || svw_serials_id(rq, rq->part[1]) != 0) {
        return 0;
    }

    return svw_serials_answer(rq, gtin, rq->part[1], 200);
}


static int
svw_serials_return(svw_api_request_t *rq)
{
    int                         bad;
    char                        location[16], gtin[16];
    json_t                     *body, *serials = NULL, *unused = NULL;
    PGresult                   *result;
    const char                 *params[4];
    svw_array_t                 array;
    svw_db_rc_t                 rc;
    const svw_serials_member_t  members[] = {
        { "serials", JSON_ARRAY, 0, &serials, NULL }, { "unused", JSON_TRUE, 0, &unused, NULL }, { NULL, JSON_NULL, 0, NULL, NULL }
    };

    if (svw_api_gtin(rq, rq->part[0], gtin) != 0 || svw_serials_id(rq, rq->part[1]) != 0
        || (body = svw_api_body_json(rq)) == NULL)
    {
        return 0;
    }

    svw_array_begin(&array);
    bad = svw_serials_members(rq, body, members) != 0 || (serials != NULL && svw_serials_array(rq, serials, &array) != 0);

    if (!bad && (serials == NULL) == (unused == NULL)) {
        (void) svw_api_problem(rq, 400, "invalid_value", "serials", "Say one of: serials; \"unused\": true for all that were not used.");
        bad = 1;
    }

    if (bad) {
        svw_array_free(&array);
        json_decref(body);
        return 0;
    }

    snprintf(location, sizeof(location), "%" PRId32, rq->who->location.id);
    params[0] = location;
    params[1] = gtin;
    params[2] = rq->part[1];
    params[3] = serials != NULL ? array.text : NULL;

    rc = svw_db_query(rq->db, &result, "select returned, unused from sv.serial_return($1, $2, $3::uuid, $4::text[], null)", 4, params);
    svw_array_free(&array);
    json_decref(body);

    if (rc != SVW_DB_OK) {
        return svw_api_db_problem(rq, rc);
    }

    body = json_pack("{s:I, s:I}", "returned", (json_int_t) svw_col_int(result, 0, "returned"),
                     "unused", (json_int_t) svw_col_int(result, 0, "unused"));
    PQclear(result);

    return svw_api_json(rq, 200, NULL, body);
}


/* a request with what became of it, and its numbers but for the returned ones */
static int
svw_serials_answer(svw_api_request_t *rq, const char *gtin, const char *id, unsigned status)
{
    char          location[16];
    json_t       *json, *serials;
    PGresult     *result;
    const char   *params[3];
    svw_db_rc_t   rc;

    snprintf(location, sizeof(location), "%" PRId32, rq->who->location.id);
    params[0] = location;
    params[1] = gtin;
    params[2] = id;

    rc = svw_db_query(rq->db, &result, "select * from sv.serial_requests($1, $2, $3::uuid, 1)", 3, params);

    if (rc != SVW_DB_OK) {
        return svw_api_db_problem(rq, rc);
    }

    json = PQntuples(result) == 1 ? svw_serials_json(result, 0) : NULL;
    PQclear(result);

    if (json == NULL) {
        return svw_api_problem(rq, 404, "not_found", "request", "There is no request %s of this product.", id);
    }

    rc = svw_pool_numbers(rq->db, location, gtin, id, &serials);

    if (rc != SVW_DB_OK) {
        json_decref(json);
        return svw_api_db_problem(rq, rc);
    }

    (void) json_object_set_new(json, "gtin", json_string(gtin));
    (void) json_object_set_new(json, "serials", serials);

    return svw_api_json(rq, status, NULL, json);
}


/* Each member known and of its type. -1: answered */
static int
svw_serials_members(svw_api_request_t *rq, json_t *body, const svw_serials_member_t *members)
{
    json_t                      *value;
    const char                  *name;
    const svw_serials_member_t  *m;

    if (!json_is_object(body)) {
        (void) svw_api_problem(rq, 400, "body_malformed", NULL, "The body is not a JSON object.");
        return -1;
    }

    json_object_foreach(body, name, value) {
        for (m = members; m->name != NULL && strcmp(m->name, name) != 0; m++) { /* void */ }

        if (m->name == NULL) {
            (void) svw_api_problem(rq, 400, "member_unknown", name, "\"%.40s\" is no member of this body.", name);
            return -1;
        }

        if (json_typeof(value) != m->type) {
            (void) svw_api_problem(rq, 400, "invalid_value", m->name, "%s has to be %s.", m->name,
                                   m->type == JSON_STRING ? "a string" : m->type == JSON_INTEGER ? "a whole number"
                                   : m->type == JSON_TRUE ? "true" : "an array");
            return -1;
        }

        *m->value = value;

        if (m->text != NULL) {
            snprintf(m->text, 24, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        }

        /* no int of the database, but a number: told by the function that it is too large */
        if (m->text != NULL && strlen(m->text) > 9) {
            snprintf(m->text, 24, "%s", m->text[0] == '-' ? "-1" : "2000000000");
        }
    }

    for (m = members; m->name != NULL; m++) {
        if (m->needed && *m->value == NULL) {
            (void) svw_api_problem(rq, 400, "member_missing", m->name, "%s is missing.", m->name);
            return -1;
        }
    }

    return 0;
}


/* -1: answered */
static int
svw_serials_array(svw_api_request_t *rq, json_t *serials, svw_array_t *array)
{
    size_t   i;
    json_t  *serial;

    json_array_foreach(serials, i, serial) {
        if (!json_is_string(serial)) {
            (void) svw_api_problem(rq, 400, "invalid_value", "serials", "Number %zu of serials is not a string.", i + 1);
            return -1;
        }

        svw_array_add(array, json_string_value(serial));
    }

    if (svw_array_end(array) != 0) {
        (void) svw_api_problem(rq, 503, "unavailable", NULL, "There is no memory for this list now. Try again later.");
        return -1;
    }

    return 0;
}


/* -1: answered */
static int
svw_serials_id(svw_api_request_t *rq, const char *id)
{
    size_t  i;

    for (i = 0; id[i] != '\0'; i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23 ? id[i] != '-' : strchr("0123456789abcdef", id[i]) == NULL) {
            break;
        }
    }

    if (i == 36 && id[i] == '\0') {
        return 0;
    }

    (void) svw_api_problem(rq, 404, "not_found", "request", "There is no such request.");

    return -1;
}


static json_t *
svw_serials_json(const PGresult *result, int row)
{
    size_t       i;
    json_t      *json;
    const char  *value;

    static const struct { const char  *name, *column; int  number; }  columns[] = {
        { "request", "request_id", 0 }, { "line", "line", 0 }, { "lot", "lot", 0 }, { "n", "n", 1 }, { "state", "state", 0 },
        { "at", "at", 0 }, { "reserved_until", "reserved_until", 0 }, { "by", "by", 0 }, { "used", "used", 1 },
        { "ended", "ended", 1 }, { "returned", "returned", 1 }, { "unused", "unused", 1 }
    };

    json = json_object();

    for (i = 0; i < sizeof(columns) / sizeof(columns[0]); i++) {
        value = svw_col(result, row, columns[i].column);

        if (value != NULL) {
            (void) json_object_set_new(json, columns[i].name, columns[i].number
                                       ? json_integer(svw_col_int(result, row, columns[i].column)) : json_string(value));
        }
    }

    return json;
}


static int
svw_lots_post(svw_api_request_t *rq)
{
    int                         made;
    char                        location[16], gtin[16], packs[24], rejected[24], aggregated[24];
    json_t                     *body, *value[3] = { NULL, NULL, NULL };
    PGresult                   *result;
    const char                 *params[6];
    svw_db_rc_t                 rc;
    const svw_serials_member_t  members[] = {
        { "packs", JSON_INTEGER, 1, &value[0], packs }, { "rejected", JSON_INTEGER, 0, &value[1], rejected },
        { "aggregated", JSON_INTEGER, 0, &value[2], aggregated }, { NULL, JSON_NULL, 0, NULL, NULL }
    };

    if (svw_api_gtin(rq, rq->part[0], gtin) != 0 || (body = svw_api_body_json(rq)) == NULL) {
        return 0;
    }

    if (svw_serials_members(rq, body, members) != 0) {
        json_decref(body);
        return 0;
    }

    snprintf(location, sizeof(location), "%" PRId32, rq->who->location.id);
    params[0] = location;
    params[1] = gtin;
    params[2] = rq->part[1];
    params[3] = packs;
    params[4] = value[1] != NULL ? rejected : NULL;
    params[5] = value[2] != NULL ? aggregated : NULL;
    json_decref(body);

    rc = svw_db_query(rq->db, &result, "select sv.declare_lot($1, $2, $3, $4, $5, $6, null)", 6, params);

    if (rc != SVW_DB_OK) {
        return svw_api_db_problem(rq, rc);
    }

    made = *PQgetvalue(result, 0, 0) == 't';
    PQclear(result);

    return svw_lots_answer(rq, gtin, rq->part[1], made ? 201 : 200);
}


static int
svw_lots_get(svw_api_request_t *rq)
{
    char  gtin[16];

    return svw_api_gtin(rq, rq->part[0], gtin) != 0 ? 0 : svw_lots_answer(rq, gtin, rq->part[1], 200);
}


static int
svw_lots_answer(svw_api_request_t *rq, const char *gtin, const char *lot, unsigned status)
{
    char          location[16];
    PGresult     *result;
    const char   *params[3];
    svw_db_rc_t   rc;

    snprintf(location, sizeof(location), "%" PRId32, rq->who->location.id);
    params[0] = location;
    params[1] = gtin;
    params[2] = lot;

    rc = svw_db_query(rq->db, &result, "select sv.lot_show($1, $2, $3)", 3, params);

    if (rc != SVW_DB_OK) {
        return svw_api_db_problem(rq, rc);
    }

    status = (unsigned) svw_api_text(rq, status, "application/json", PQgetvalue(result, 0, 0), (size_t) PQgetlength(result, 0, 0));
    PQclear(result);

    return (int) status;
}
