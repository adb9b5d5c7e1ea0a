/*
 * GET /containers: everything in a pallet or case by one scan, with what a
 * verify of each pack would say.  POST /containers: an operation on all packs
 * in it (.._work.c), its recall (svw_api_container_recall.c), or that it was shipped or received (.._move.c).
 */

#include "svw_api_container.h"

#include <stdlib.h>
#include <string.h>


#define SVW_CONTAINER_PAGE     1000     /* items an answer, unless asked otherwise */
#define SVW_CONTAINER_KEY      64


static int svw_container_get(svw_api_request_t *rq);
static int svw_container_post(svw_api_request_t *rq);
static const char *svw_container_start(svw_container_t *c, svw_api_request_t *rq, const char *text);
static const char *svw_container_after(svw_container_t *c, const char *text);
static svw_db_rc_t svw_container_known(svw_container_t *c, int *known);
static svw_db_rc_t svw_container_describe(svw_container_t *c, json_t *body);
static svw_db_rc_t svw_container_summary(svw_container_t *c, json_t *body);
static json_t *svw_container_item(const PGresult *rows, int i);
static int svw_container_unknown(svw_api_request_t *rq);
static int svw_container_word(const char *word);
static int svw_container_order(svw_api_request_t *rq, const json_t *body, svw_container_work_t *work);


const svw_api_endpoint_t  svw_api_container[] = {
    { "GET",  "/containers", SVW_ANY_ROLE, 0, svw_container_get },
    { "POST", "/containers", SVW_ANY_ROLE, 0, svw_container_post },
    { NULL, NULL, 0, 0, NULL }
};

/* the words of sv.operation that change a pack */
static const char *const  svw_container_operations[] = {
    "supply", "destroy", "export", "sample", "free_sample", "lock", "steal", "check_out", "undo", NULL
};

static const svw_container_special_t  svw_container_specials[] = {
    { "recall",  NULL,        NULL },
    { "ship",    "shipping",  "in_transit" },
    { "receive", "receiving", "in_progress" },
    { NULL, NULL, NULL }
};


static int
svw_container_get(svw_api_request_t *rq)
{
    int               i, n, known;
    char              next[SVW_LINK];
    char             *end;
    json_t           *body, *items;
    PGresult         *rows;
    const char       *text, *wrong;
    svw_db_rc_t       rc;
    unsigned long     limit;
    svw_container_t   c;

    wrong = svw_container_start(&c, rq, svw_api_query(rq, "epc"));
    if (wrong != NULL) {
        return svw_api_problem(rq, 400, "epc_invalid", "epc", "%s", wrong);
    }

    wrong = svw_container_after(&c, svw_api_query(rq, "nextPageToken"));
    if (wrong != NULL) {
        return svw_api_problem(rq, 400, "value_invalid", "nextPageToken", "%s", wrong);
    }

    limit = SVW_CONTAINER_PAGE;
    text = svw_api_query(rq, "perPage");

    if (text != NULL) {
        limit = strtoul(text, &end, 10);

        if (*text < '0' || *text > '9' || *end != '\0' || limit == 0 || limit > SVW_CONTAINER_PAGES) {
            return svw_api_problem(rq, 400, "value_invalid", "perPage", "perPage is 1 to %d.", SVW_CONTAINER_PAGES);
        }
    }

    rc = svw_container_known(&c, &known);

    if (rc == SVW_DB_OK && !known) {
        return svw_container_unknown(rq);
    }

    /* one more shows whether there is another page */
    rc = rc == SVW_DB_OK ? svw_container_page(&c, (unsigned) limit + 1, &rows) : rc;
    if (rc != SVW_DB_OK) {
        return svw_api_db_problem(rq, rc);
    }

    body = json_object();
    items = json_array();
    n = PQntuples(rows) > (int) limit ? (int) limit : PQntuples(rows);

    for (i = 0; i < n; i++) {
        json_array_append_new(items, svw_container_item(rows, i));
    }

    rc = svw_container_describe(&c, body);
    json_object_set_new(body, "items", items);

    if (PQntuples(rows) > n) {
        svw_scan_link(next, svw_col(rows, n - 1, "gtin"), svw_col(rows, n - 1, "serial"));
        json_object_set_new(body, "nextPageToken", json_string(next));
    }

    PQclear(rows);

    if (rc != SVW_DB_OK) {
        json_decref(body);
        return svw_api_db_problem(rq, rc);
    }

    return svw_api_json(rq, 200, "application/json", body);
}


static int
svw_container_post(svw_api_request_t *rq)
{
    int                    known, whole;
    json_t                *order, *body;
    const char            *wrong;
    svw_db_rc_t            rc;
    svw_container_t        c;
    svw_container_work_t   work;

    order = svw_api_body_json(rq);
    if (order == NULL) {
        return 0;
    }

    wrong = svw_container_start(&c, rq, json_string_value(json_object_get(order, "epc")));

    if (wrong != NULL) {
        json_decref(order);
        return svw_api_problem(rq, 400, "epc_invalid", "epc", "%s", wrong);
    }

    if (svw_container_order(rq, order, &work) != 0) {
        json_decref(order);
        return 0;
    }

    rc = svw_container_known(&c, &known);

    if (rc == SVW_DB_OK && !known) {
        json_decref(order);
        return svw_container_unknown(rq);
    }

    if (rc == SVW_DB_OK && work.special != NULL) {
        known = work.special->step == NULL ? svw_container_recall(&c, order)
                : svw_container_move(&c, order, work.special->step, work.special->disposition, work.key);
        json_decref(order);
        return known;
    }

    work.reasons = json_object();
    work.refused = json_array();
    whole = 0;

    if (rc == SVW_DB_OK) {
        rc = svw_container_work(&c, &work, &whole);
    }

    if (rc != SVW_DB_OK || !whole) {
        json_decref(work.reasons);
        json_decref(work.refused);
        json_decref(order);

        if (rc != SVW_DB_OK) {
            return svw_api_db_problem(rq, rc);
        }

        svw_api_add_header(rq, "Retry-After", "1");
        return svw_api_problem(rq, 503, "unavailable", NULL, "%lld packs are done, more are left."
                               " Repeat the request with the same Idempotency-Key.", (long long) work.packs);
    }

    body = json_pack("{s:s, s:s*, s:I, s:I, s:b, s:o, s:o}", "operation", work.operation, "of", work.of,
                     "packs", (json_int_t) work.packs, "changed", (json_int_t) work.changed,
                     "complete", json_array_size(work.refused) == 0, "reasons", work.reasons, "refused", work.refused);
    json_decref(order);

    return svw_api_json(rq, 200, "application/json", body);
}


static const char *
svw_container_start(svw_container_t *c, svw_api_request_t *rq, const char *text)
{
    const char     *wrong;
    svw_scanned_t   scanned;

    *c = (svw_container_t) { .rq = rq };

    if (text == NULL) {
        return "epc is missing: name the container by its SSCC, a Digital Link, a URN or what the scanner sent.";
    }

    wrong = svw_scan_item((sv_span_t) { (const uint8_t *) text, strlen(text) }, &scanned);

    snprintf(c->location, sizeof(c->location), "%d", (int) rq->who->location.id);
    snprintf(c->gtin, sizeof(c->gtin), "%llu", (unsigned long long) scanned.gtin);
    memcpy(c->serial, scanned.serial, sizeof(c->serial));

    return wrong;
}


/* The token is the Digital Link of the last item of the page before. */
static const char *
svw_container_after(svw_container_t *c, const char *text)
{
    const char     *wrong;
    svw_scanned_t   scanned;

    if (text == NULL) {
        return NULL;
    }

    wrong = svw_scan_item((sv_span_t) { (const uint8_t *) text, strlen(text) }, &scanned);

    c->after = 1;
    snprintf(c->after_gtin, sizeof(c->after_gtin), "%llu", (unsigned long long) scanned.gtin);
    memcpy(c->after_serial, scanned.serial, sizeof(c->after_serial));

    return wrong;
}


static svw_db_rc_t
svw_container_known(svw_container_t *c, int *known)
{
    PGresult     *result;
    const char   *params[3];
    svw_db_rc_t   rc;

    params[0] = c->location;
    params[1] = c->gtin;
    params[2] = c->serial;

    rc = svw_db_query(c->rq->db, &result, "select sv.api_container_known($1, $2, $3)", 3, params);

    if (rc == SVW_DB_OK) {
        *known = PQgetvalue(result, 0, 0)[0] == 't';
        PQclear(result);
    }

    return rc;
}


svw_db_rc_t
svw_container_page(svw_container_t *c, unsigned limit, PGresult **rows)
{
    char         number[16];
    const char  *params[6];

    snprintf(number, sizeof(number), "%u", limit);

    params[0] = c->location;
    params[1] = c->gtin;
    params[2] = c->serial;
    params[3] = c->after ? c->after_gtin : NULL;
    params[4] = c->after ? c->after_serial : NULL;
    params[5] = number;

    return svw_db_query(c->rq->db, rows, "select * from sv.api_contents($1, $2, $3, $4, $5, $6)", 6, params);
}


void
svw_container_next(svw_container_t *c, const PGresult *rows)
{
    int  last;

    last = PQntuples(rows) - 1;

    if (last >= 0) {
        c->after = 1;
        snprintf(c->after_gtin, sizeof(c->after_gtin), "%s", svw_col(rows, last, "gtin"));
        snprintf(c->after_serial, sizeof(c->after_serial), "%s", svw_col(rows, last, "serial"));
    }
}


/* The container itself, what it is in, and on the first page what is in it in figures. */
static svw_db_rc_t
svw_container_describe(svw_container_t *c, json_t *body)
{
    int           i;
    char          link[SVW_LINK];
    json_t       *parents;
    PGresult     *rows;
    const char   *params[2];
    svw_db_rc_t   rc;

    params[0] = c->gtin;
    params[1] = c->serial;

    rc = svw_db_query(c->rq->db, &rows, "select gtin, serial from sv.api_parents($1, $2)", 2, params);
    if (rc != SVW_DB_OK) {
        return rc;
    }

    parents = json_array();

    for (i = 0; i < PQntuples(rows); i++) {
        svw_scan_link(link, svw_col(rows, i, "gtin"), svw_col(rows, i, "serial"));
        json_array_append_new(parents, json_string(link));
    }

    PQclear(rows);

    svw_scan_link(link, c->gtin, c->serial);
    json_object_set_new(body, "epc", json_string(link));
    json_object_set_new(body, "parents", parents);

    return c->after ? SVW_DB_OK : svw_container_summary(c, body);
}


static svw_db_rc_t
svw_container_summary(svw_container_t *c, json_t *body)
{
    int           i;
    json_t       *reasons;
    int64_t       n, packs, containers;
    PGresult     *rows;
    const char   *params[3];
    svw_db_rc_t   rc;

    params[0] = c->location;
    params[1] = c->gtin;
    params[2] = c->serial;

    rc = svw_db_query(c->rq->db, &rows, "select reason, n from sv.api_contents_summary($1, $2, $3)", 3, params);
    if (rc != SVW_DB_OK) {
        return rc;
    }

    reasons = json_object();
    packs = 0;
    containers = 0;

    for (i = 0; i < PQntuples(rows); i++) {
        n = svw_col_int(rows, i, "n");

        if (svw_col(rows, i, "reason") == NULL) {
            containers += n;
        } else {
            packs += n;
            svw_container_count(reasons, svw_col(rows, i, "reason"), n);
        }
    }

    PQclear(rows);

    json_object_set_new(body, "packs", json_integer(packs));
    json_object_set_new(body, "containers", json_integer(containers));
    json_object_set_new(body, "verified",
                        json_boolean(packs > 0 && json_integer_value(json_object_get(reasons, "ok")) == packs));
    json_object_set_new(body, "reasons", reasons);

    return SVW_DB_OK;
}


static json_t *
svw_container_item(const PGresult *rows, int i)
{
    char         link[SVW_LINK], parent[SVW_LINK];
    const char  *reason;

    reason = svw_col(rows, i, "reason");
    svw_scan_link(link, svw_col(rows, i, "gtin"), svw_col(rows, i, "serial"));
    svw_scan_link(parent, svw_col(rows, i, "parent_gtin"), svw_col(rows, i, "parent_serial"));

    if (reason == NULL) {
        return json_pack("{s:s, s:s, s:s}", "epc", link, "kind", "container", "parent", parent);
    }

    return json_pack("{s:s, s:s, s:s, s:b, s:s, s:s*, s:s*, s:s*, s:s*}", "epc", link, "kind", "pack", "parent", parent,
                     "verified", strcmp(reason, "ok") == 0, "reason", reason, "state", svw_col(rows, i, "state"),
                     "lot", svw_col(rows, i, "lot"), "expiry", svw_col(rows, i, "expiry"),
                     "reference", svw_col(rows, i, "reference"));
}


static int
svw_container_unknown(svw_api_request_t *rq)
{
    return svw_api_problem(rq, 404, "container_unknown", "epc",
                           "No line has packed anything into this container. Scan the packs one by one.");
}


static int
svw_container_word(const char *word)
{
    const char *const  *known;

    for (known = svw_container_operations; word != NULL && *known != NULL; known++) {
        if (strcmp(*known, word) == 0) {
            return 1;
        }
    }

    return 0;
}


/* 0, or -1 with the problem answered */
static int
svw_container_order(svw_api_request_t *rq, const json_t *body, svw_container_work_t *work)
{
    int                             undo;
    size_t                          i;
    const char                     *wrong;
    const svw_container_special_t  *special;

    *work = (svw_container_work_t) {
        .operation = json_string_value(json_object_get(body, "operation")),
        .of = json_string_value(json_object_get(body, "of")),
        .key = svw_api_header(rq, "Idempotency-Key")
    };

    for (special = svw_container_specials; special->operation != NULL; special++) {
        if (work->operation != NULL && strcmp(special->operation, work->operation) == 0) {
            work->special = special;
        }
    }

    wrong = NULL;
    undo = work->operation != NULL && strcmp(work->operation, "undo") == 0;

    if (work->special == NULL && !svw_container_word(work->operation)) {
        wrong = "operation";
    } else if (undo ? !svw_container_word(work->of) || strcmp(work->of, "undo") == 0 : work->of != NULL) {
        wrong = "of";
    }

    if (wrong != NULL) {
        svw_api_problem(rq, 422, "operation_unknown", wrong, "\"operation\" is supply, destroy, export, sample, free_sample, lock,"
                        " steal, check_out, undo with \"of\" naming the one to take back, recall, ship or receive.");
        return -1;
    }

    for (i = 0; work->key != NULL && work->key[i] > ' ' && work->key[i] < 0x7f; i++) { /* void */ }

    if (i == 0 || i > SVW_CONTAINER_KEY || work->key[i] != '\0') {
        svw_api_problem(rq, 400, "idempotency_key_missing", "Idempotency-Key",
                        "Send an Idempotency-Key of 1 to %d printable characters, the same when you repeat the request.",
                        SVW_CONTAINER_KEY);
        return -1;
    }

    return 0;
}
