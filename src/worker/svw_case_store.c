#include "svw_case_store.h"

#include <stdlib.h>
#include <string.h>


#define SVW_CASE_COUNTRIES  256
#define SVW_CASE_FORGET     (3600 * 1000)       /* ms between two times that what is old is forgotten */


static svw_db_rc_t svw_case_send(svw_db_t *db, const json_t *cases);
static svw_db_rc_t svw_case_each(svw_db_t *db, const json_t *all, svw_case_refused_pt refused, void *data);
static json_t *svw_case_json(const svw_case_store_t *store, const svw_case_t *one);
static json_t *svw_case_countries(const svw_case_t *one);
static json_t *svw_case_findings(const svw_case_store_t *store, const svw_case_t *one);
static json_t *svw_case_finding(const svw_case_store_t *store, const svw_finding_t *finding);
static json_t *svw_case_spans(const sv_span_t *spans, size_t n);
static json_t *svw_case_refs(const svw_ref_t *refs, size_t n);


void
svw_case_store_close(svw_case_store_t *store)
{
    svw_cases_destroy(store->cases);
    svw_cases_destroy(store->again);
    json_decref(store->detail);
    free(store->read);
    *store = (svw_case_store_t) { 0 };
}


/* Called from within the judge, which cannot be told of a failure: it is kept until apply(). */
void
svw_case_store_take(svw_case_store_t *store, const svw_finding_t *finding, svw_ref_t ref, json_t *detail)
{
    char  id[37];

    if (store->again != NULL) {
        store->failed |= svw_cases_keep(store->again, finding, ref) != 0;
        json_decref(detail);
        return;
    }

    (void) svw_cases_take(store->cases, finding, ref);

    if (detail != NULL) {
        svw_case_uuid(finding->id, id);
        store->failed |= json_object_set_new(store->detail, id, detail) != 0;
    }
}


int
svw_case_store_waits(const svw_case_store_t *store)
{
    return store->failed || svw_cases_failed(store->cases) || svw_cases_changed(store->cases) != NULL;
}


/*
 * All in one call: it locks the cases before it tells of any, as everybody does
 * who changes one.
 */
svw_db_rc_t
svw_case_store_apply(svw_case_store_t *store, svw_db_t *db, svw_case_refused_pt refused, void *data)
{
    json_t       *all, *json;
    svw_case_t   *one;
    svw_db_rc_t   rc;

    if (!svw_case_store_waits(store)) {
        return SVW_DB_OK;
    }

    store->failed |= svw_cases_failed(store->cases) != 0;
    all = json_array();

    for (one = svw_cases_changed(store->cases); one != NULL && !store->failed; one = svw_cases_changed_next(one)) {
        /* one that was merged before it was ever written is nobody's business */
        if (one->fresh && one->merged_into != NULL) {
            continue;
        }

        json = svw_case_json(store, one);
        store->failed |= json == NULL || json_array_append_new(all, json) != 0;
    }

    rc = svw_case_send(db, store->failed ? NULL : all);

    if (rc == SVW_DB_ERROR && svw_db_refused(db)) {
        rc = svw_case_each(db, all, refused, data);
    }

    json_decref(all);

    return rc;
}


/* All of them or, refused, none; the transaction goes on. */
static svw_db_rc_t
svw_case_send(svw_db_t *db, const json_t *cases)
{
    char         *text;
    const char   *params[1];
    svw_db_rc_t   rc;

    text = cases != NULL ? json_dumps(cases, JSON_COMPACT) : NULL;

    if (text == NULL) {
        db->sqlstate[0] = '\0';
        snprintf(db->error, sizeof(db->error), "out of memory for what was found");
        return SVW_DB_ERROR;
    }

    params[0] = text;
    rc = svw_db_do(db, "savepoint cases", 0, NULL);

    if (rc == SVW_DB_OK) {
        rc = svw_db_do(db, "select sv.case_apply($1)", 1, params);
    }

    free(text);

    if (rc == SVW_DB_OK) {
        return svw_db_do(db, "release savepoint cases", 0, NULL);
    }

    if (rc == SVW_DB_ERROR && svw_db_refused(db) && svw_db_do(db, "rollback to savepoint cases", 0, NULL) != SVW_DB_OK) {
        return SVW_DB_LOST;
    }

    return rc;
}


/* One of them is refused, and it is not known which: each by itself, with those that became part of it. */
static svw_db_rc_t
svw_case_each(svw_db_t *db, const json_t *all, svw_case_refused_pt refused, void *data)
{
    size_t        i;
    json_t       *json, *into, *homes, *home;
    const char   *id;
    svw_db_rc_t   rc;

    rc = SVW_DB_OK;
    homes = json_object();

    json_array_foreach(all, i, json) {
        into = json_object_get(json, "merged");
        id = json_string_value(into != NULL ? into : json_object_get(json, "id"));
        home = json_object_get(homes, id);

        if (home == NULL) {
            home = json_array();
            (void) json_object_set_new(homes, id, home);
        }

        if (json_array_append(home, json) != 0) {
            json_decref(homes);
            return svw_case_send(db, NULL);
        }
    }

    json_object_foreach(homes, id, home) {
        rc = svw_case_send(db, home);

        if (rc == SVW_DB_ERROR && svw_db_refused(db)) {
            rc = refused(data, id);
        }

        if (rc != SVW_DB_OK) {
            break;
        }
    }

    json_decref(homes);

    return rc;
}


void
svw_case_store_written(svw_case_store_t *store, int64_t since_ms)
{
    svw_cases_written(store->cases);
    json_object_clear(store->detail);

    /* it walks over all of them */
    if (since_ms - store->since_ms > SVW_CASE_FORGET) {
        store->since_ms = since_ms;
        svw_cases_forget(store->cases, since_ms);
    }
}


static json_t *
svw_case_json(const svw_case_store_t *store, const svw_case_t *one)
{
    char               id[37], into[37];
    json_t            *json;
    const svw_case_t  *home;

    svw_case_uuid(one->id, id);

    home = svw_case_home(one);

    if (home != one) {
        svw_case_uuid(home->id, into);
        return json_pack("{s:s, s:I, s:s, s:I}", "id", id, "gtin", (json_int_t) one->gtin, "merged", into,
                         "merged_gtin", (json_int_t) home->gtin);
    }

    json = json_pack("{s:s, s:I, s:s, s:s, s:s, s:s, s:I, s:I, s:o, s:o}", "id", id, "gtin", (json_int_t) one->gtin,
                     "rule", svw_rules_about[one->rule].name, "severity", svw_severity_words[one->severity],
                     "weight", svw_weight_words[one->weight], "cause", one->cause,
                     "first", (json_int_t) one->first_ms, "last", (json_int_t) one->last_ms,
                     "countries", svw_case_countries(one), "findings", svw_case_findings(store, one));

    if (json != NULL && one->lot.len > 0
        && json_object_set_new(json, "lot", json_stringn((const char *) one->lot.data, one->lot.len)) != 0)
    {
        json_decref(json);
        return NULL;
    }

    return json;
}


static json_t *
svw_case_countries(const svw_case_t *one)
{
    char               code[SVW_CASE_COUNTRIES][3];
    size_t             i, n;
    json_t            *set;
    const svw_kept_t  *kept;

    set = json_object();

    for (kept = one->findings; kept != NULL; kept = kept->next) {
        n = kept->now.withdrawn ? 0 : svw_finding_countries(&kept->now, code, SVW_CASE_COUNTRIES);

        for (i = 0; i < n; i++) {
            (void) json_object_set_new(set, code[i], json_true());
        }
    }

    return set;
}


static json_t *
svw_case_findings(const svw_case_store_t *store, const svw_case_t *one)
{
    json_t            *array;
    const svw_kept_t  *kept;

    array = json_array();

    for (kept = one->findings; kept != NULL; kept = kept->next) {
        if (kept->changed && json_array_append_new(array, svw_case_finding(store, &kept->now)) != 0) {
            json_decref(array);
            return NULL;
        }
    }

    return array;
}


static json_t *
svw_case_finding(const svw_case_store_t *store, const svw_finding_t *finding)
{
    char     id[37];
    json_t  *json;

    svw_case_uuid(finding->id, id);

    json = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:b, s:o, s:o, s:o, s:o, s:O*}",
                     "id", id, "rule", svw_rules_about[finding->rule].name,
                     "severity", svw_severity_words[finding->severity], "weight", svw_weight_words[finding->weight],
                     "cause", finding->cause, "first", (json_int_t) finding->first_ms, "last", (json_int_t) finding->last_ms,
                     "withdrawn", (int) finding->withdrawn,
                     "serials", svw_case_spans(finding->serials, finding->n_serials),
                     "actors", svw_case_spans(finding->actors, finding->n_actors),
                     "keys", svw_case_spans(finding->keys, finding->n_keys),
                     "scans", svw_case_refs(finding->refs, finding->n_refs),
                     "detail", json_object_get(store->detail, id));

    if (json != NULL && finding->lot.len > 0
        && json_object_set_new(json, "lot", json_stringn((const char *) finding->lot.data, finding->lot.len)) != 0)
    {
        json_decref(json);
        return NULL;
    }

    return json;
}


static json_t *
svw_case_spans(const sv_span_t *spans, size_t n)
{
    size_t   i;
    json_t  *array;

    array = json_array();

    for (i = 0; i < n; i++) {
        if (json_array_append_new(array, json_stringn((const char *) spans[i].data, spans[i].len)) != 0) {
            json_decref(array);
            return NULL;
        }
    }

    return array;
}


/* facts have no number here */
static json_t *
svw_case_refs(const svw_ref_t *refs, size_t n)
{
    size_t   i;
    json_t  *array;

    array = json_array();

    for (i = 0; i < n; i++) {
        if (refs[i] != 0 && json_array_append_new(array, json_integer((json_int_t) refs[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    }

    return array;
}


const svw_case_t *
svw_case_home(const svw_case_t *one)
{
    while (one->merged_into != NULL) {
        one = one->merged_into;
    }

    return one;
}


void
svw_case_uuid(const uint8_t id[16], char text[37])
{
    size_t  i, n;

    for (i = 0, n = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            text[n++] = '-';
        }

        text[n++] = "0123456789abcdef"[id[i] >> 4];
        text[n++] = "0123456789abcdef"[id[i] & 15];
    }

    text[n] = '\0';
}
