#include "svw_case_store.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>


static int svw_case_load(svw_case_store_t *store, const PGresult *rows);
static int svw_case_load_one(svw_case_store_t *store, const json_t *json, size_t *room);
static int svw_case_load_finding(svw_case_store_t *store, svw_case_t *one, const json_t *json);
static int svw_case_load_lists(svw_case_store_t *store, svw_case_t *one, const json_t *json, svw_finding_t *finding);
static int svw_case_load_spans(const json_t *array, sv_span_t **spans, size_t *n);
static unsigned svw_case_load_word(const json_t *json, const char *name, const char *const *words, unsigned n);
static int svw_case_load_id(const json_t *json, uint8_t id[16]);
static void svw_case_again_one(void *data, const svw_final_t *final);
static svw_case_read_t *svw_case_read_find(const svw_case_store_t *store, const uint8_t id[16]);
static int svw_case_read_cmp(const void *a, const void *b);


svw_db_rc_t
svw_case_store_open(svw_case_store_t *store, svw_db_t *db, const svw_params_t *params, int64_t since_ms)
{
    char               since[24];
    PGresult          *rows;
    svw_db_rc_t        rc;
    const char *const  args[] = { since };

    svw_case_store_close(store);
    store->since_ms = since_ms;
    store->cases = svw_cases_create(params);
    store->again = svw_cases_create(params);
    store->detail = json_object();

    snprintf(since, sizeof(since), "%" PRId64, since_ms);
    rc = svw_db_query(db, &rows, "select * from sv.judge_cases(to_timestamp($1::bigint / 1000.0))", 1, args);

    if (rc != SVW_DB_OK) {
        return rc;
    }

    if (store->cases == NULL || store->again == NULL || store->detail == NULL || svw_case_load(store, rows) != 0) {
        snprintf(db->error, sizeof(db->error), "the cases cannot be read: out of memory, or a finding of an unknown rule");
        rc = SVW_DB_ERROR;
    }

    PQclear(rows);

    return rc;
}


static int
svw_case_load(svw_case_store_t *store, const PGresult *rows)
{
    int      rc, row;
    size_t   room;
    json_t  *json;

    for (rc = 0, room = 0, row = 0; row < PQntuples(rows) && rc == 0; row++) {
        json = json_loads(PQgetvalue(rows, row, 0), 0, NULL);
        rc = json == NULL ? -1 : svw_case_load_one(store, json, &room);
        json_decref(json);
    }

    if (store->n_read > 0) {
        qsort(store->read, store->n_read, sizeof(svw_case_read_t), svw_case_read_cmp);
    }

    return rc;
}


static int
svw_case_load_one(svw_case_store_t *store, const json_t *json, size_t *room)
{
    size_t            i, n;
    uint8_t           id[16];
    svw_case_t       *one;
    const json_t     *findings;
    svw_case_read_t  *read;

    findings = json_object_get(json, "findings");
    n = json_array_size(findings);

    if (svw_case_load_id(json, id) != 0) {
        return -1;
    }

    if (store->n_read + n > *room) {
        *room = 2 * (store->n_read + n);
        read = realloc(store->read, *room * sizeof(svw_case_read_t));

        if (read == NULL) {
            return -1;
        }

        store->read = read;
    }

    one = svw_cases_load(store->cases, id, (uint64_t) json_integer_value(json_object_get(json, "gtin")));

    for (i = 0; one != NULL && i < n; i++) {
        if (svw_case_load_finding(store, one, json_array_get(findings, i)) != 0) {
            return -1;
        }
    }

    return one != NULL ? 0 : -1;
}


static int
svw_case_load_finding(svw_case_store_t *store, svw_case_t *one, const json_t *json)
{
    int            rule, rc;
    const char    *lot;
    svw_finding_t  finding;

    rule = svw_rule_parse(json_string_value(json_object_get(json, "rule")));
    lot = json_string_value(json_object_get(json, "lot"));

    /* of a rule that there is no more: it stays as it is in the tables */
    if (rule < 0) {
        return 0;
    }

    finding = (svw_finding_t) {
        .rule = (svw_rule_t) rule, .gtin = one->gtin,
        .severity = svw_case_load_word(json, "severity", svw_severity_words, SVW_SEVERITY_CRITICAL + 1),
        .weight = svw_case_load_word(json, "weight", svw_weight_words, SVW_WEIGHT_ASKS + 1),
        .cause = json_string_value(json_object_get(json, "cause")),
        .lot = { (const uint8_t *) lot, lot != NULL ? strlen(lot) : 0 },
        .first_ms = json_integer_value(json_object_get(json, "first")),
        .last_ms = json_integer_value(json_object_get(json, "last")),
        .withdrawn = json_is_true(json_object_get(json, "withdrawn"))
    };

    rc = svw_case_load_id(json, finding.id) != 0 ? -1 : svw_case_load_lists(store, one, json, &finding);

    /* what is not said by the judge, but was found by a load, is not said again either */
    if (rc == 0 && !finding.withdrawn && !json_is_true(json_object_get(json, "feed"))) {
        store->read[store->n_read] = (svw_case_read_t) {
            .rule = finding.rule, .gtin = finding.gtin, .first_ms = finding.first_ms, .last_ms = finding.last_ms
        };
        memcpy(store->read[store->n_read++].id, finding.id, sizeof(finding.id));
    }

    return rc;
}


/* its lists, and with them it goes into the case */
static int
svw_case_load_lists(svw_case_store_t *store, svw_case_t *one, const json_t *json, svw_finding_t *finding)
{
    int            rc;
    size_t         i;
    svw_ref_t     *refs;
    sv_span_t     *spans[3] = { NULL, NULL, NULL };
    svw_kept_t    *kept;
    const json_t  *scans;

    scans = json_object_get(json, "scans");
    finding->n_refs = json_array_size(scans);
    refs = calloc(finding->n_refs + 1, sizeof(svw_ref_t));

    rc = refs != NULL && svw_case_load_spans(json_object_get(json, "serials"), &spans[0], &finding->n_serials) == 0
         && svw_case_load_spans(json_object_get(json, "actors"), &spans[1], &finding->n_actors) == 0
         && svw_case_load_spans(json_object_get(json, "keys"), &spans[2], &finding->n_keys) == 0 ? 0 : -1;

    for (i = 0; rc == 0 && i < finding->n_refs; i++) {
        refs[i] = (svw_ref_t) json_integer_value(json_array_get(scans, i));
    }

    if (rc == 0) {
        finding->refs = refs;
        finding->serials = spans[0];
        finding->actors = spans[1];
        finding->keys = spans[2];
        kept = svw_cases_load_finding(store->cases, one, finding);
        rc = kept != NULL ? 0 : -1;

        if (kept != NULL) {
            kept->old = finding->first_ms < store->since_ms;
        }
    }

    free(refs);
    free(spans[0]);
    free(spans[1]);
    free(spans[2]);

    return rc;
}


/* they point into the array's strings */
static int
svw_case_load_spans(const json_t *array, sv_span_t **spans, size_t *n)
{
    size_t         i;
    const json_t  *text;

    *n = json_array_size(array);
    *spans = calloc(*n + 1, sizeof(sv_span_t));

    for (i = 0; *spans != NULL && i < *n; i++) {
        text = json_array_get(array, i);
        (*spans)[i] = (sv_span_t) { (const uint8_t *) json_string_value(text), json_string_length(text) };
    }

    return *spans != NULL ? 0 : -1;
}


static unsigned
svw_case_load_word(const json_t *json, const char *name, const char *const *words, unsigned n)
{
    unsigned     i;
    const char  *word;

    word = json_string_value(json_object_get(json, name));

    for (i = 0; word != NULL && i < n; i++) {
        if (strcmp(words[i], word) == 0) {
            return i;
        }
    }

    return 0;
}


static int
svw_case_load_id(const json_t *json, uint8_t id[16])
{
    size_t       n;
    unsigned     byte;
    const char  *p;

    p = json_string_value(json_object_get(json, "id"));

    for (n = 0; p != NULL && *p != '\0' && n < 16; p += 2, n++) {
        p += *p == '-';

        if (sscanf(p, "%2x", &byte) != 1) {
            return -1;
        }

        id[n] = (uint8_t) byte;
    }

    return n == 16 ? 0 : -1;
}


/*
 * History was told: of each finding what was said last goes into the cases.  To
 * what rests on scans that are older than what was read it is added (`old').
 */
int
svw_case_store_again(svw_case_store_t *store)
{
    int            rc;
    size_t         i;
    svw_finding_t  gone;

    rc = store->failed ? -1 : svw_cases_final(store->again, svw_case_again_one, store);

    for (i = 0; i < store->n_read && rc == 0; i++) {
        if (store->read[i].again) {
            continue;
        }

        gone = (svw_finding_t) {
            .rule = store->read[i].rule, .gtin = store->read[i].gtin, .cause = "", .withdrawn = 1,
            .first_ms = store->read[i].first_ms, .last_ms = store->read[i].last_ms
        };
        memcpy(gone.id, store->read[i].id, sizeof(gone.id));
        (void) svw_cases_take(store->cases, &gone, 0);
    }

    svw_cases_destroy(store->again);
    free(store->read);
    store->again = NULL;
    store->read = NULL;
    store->n_read = 0;

    return rc == 0 && !svw_cases_failed(store->cases) ? 0 : -1;
}


static void
svw_case_again_one(void *data, const svw_final_t *final)
{
    size_t             i;
    svw_finding_t      said;
    svw_case_read_t   *read;
    svw_case_store_t  *store;

    store = data;

    for (i = 0; i < final->n_findings; i++) {
        said = final->findings[i]->now;
        read = svw_case_read_find(store, said.id);

        if (read != NULL) {
            read->again = 1;
        }

        (void) svw_cases_take(store->cases, &said, final->findings[i]->found);
    }
}


static svw_case_read_t *
svw_case_read_find(const svw_case_store_t *store, const uint8_t id[16])
{
    svw_case_read_t  key;

    if (store->n_read == 0) {
        return NULL;
    }

    memcpy(key.id, id, sizeof(key.id));

    return bsearch(&key, store->read, store->n_read, sizeof(svw_case_read_t), svw_case_read_cmp);
}


static int
svw_case_read_cmp(const void *a, const void *b)
{
    return memcmp(((const svw_case_read_t *) a)->id, ((const svw_case_read_t *) b)->id, 16);
}
