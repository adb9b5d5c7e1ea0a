#include "svw_audit.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>


static int svw_audit_diagnose_gap(svw_audit_run_t *run, const svw_audit_row_t *row);
static int svw_audit_diagnose_missing(svw_audit_run_t *run, const svw_audit_row_t *row);
static int svw_audit_diagnose_order(svw_audit_run_t *run, const svw_audit_row_t *row);
static int svw_audit_same(const json_t *detail, const char *name, const char *told);
static int svw_audit_packs_of(svw_audit_run_t *run, const char *gtin);


int
svw_audit_diagnose(svw_audit_run_t *run, svw_audit_rc_t rc, const svw_audit_row_t *row)
{
    switch (rc) {

    case SVW_AUDIT_GAP:
        return svw_audit_diagnose_gap(run, row);

    case SVW_AUDIT_NO_ROW:
        return svw_audit_diagnose_missing(run, row);

    case SVW_AUDIT_ORDER:
        return svw_audit_diagnose_order(run, row);

    default:
        (void) svw_audit_fault(&run->check, rc, "chain row %" PRId64 ", audit %s, %s: %s", row->n, row->id, row->day,
                               svw_audit_check_text(rc));
        return 0;
    }
}


static int
svw_audit_diagnose_gap(svw_audit_run_t *run, const svw_audit_row_t *row)
{
    uint8_t             hash[SVW_AUDIT_HASH];
    svw_audit_check_t  *check;

    check = &run->check;

    if (svw_audit_link(check->hash, row->digest, hash) == 0 && memcmp(hash, row->hash, SVW_AUDIT_HASH) == 0) {
        (void) svw_audit_fault(check, SVW_AUDIT_GAP, "chain row %" PRId64 ", audit %s, %s: renumbered: it follows from chain row %"
                               PRId64, row->n, row->id, row->day, check->n);
        return 0;
    }

    if (row->n == check->n + 2) {
        (void) svw_audit_fault(check, SVW_AUDIT_GAP, "chain row %" PRId64 ": removed; the next is audit %s of %s", check->n + 1,
                               row->id, row->day);
    } else {
        (void) svw_audit_fault(check, SVW_AUDIT_GAP, "chain row %" PRId64 ": removed, with those to %" PRId64
                               "; the next is audit %s of %s", check->n + 1, row->n - 1, row->id, row->day);
    }

    return 0;
}


/* its key columns may have been changed, or those of the chain row that names it */
static int
svw_audit_diagnose_missing(svw_audit_run_t *run, const svw_audit_row_t *row)
{
    char              n[24];
    uint8_t           digest[SVW_AUDIT_HASH];
    PGresult         *result;
    const char       *params[1], *what;
    svw_audit_row_t   other;

    snprintf(n, sizeof(n), "%" PRId64, row->n);
    params[0] = n;

    if (svw_db_query(run->db, &result, "select * from sv.audit_lookalike($1)", 1, params) != SVW_DB_OK) {
        return -1;
    }

    if (PQntuples(result) == 0) {
        what = svw_audit_check_text(SVW_AUDIT_NO_ROW);

    } else {
        svw_audit_values_of(result, 0, &other);

        what = svw_audit_digest(&other, digest) == 0 && memcmp(digest, row->digest, SVW_AUDIT_HASH) == 0
               ? "chain row changed: it names another row than the one that was chained"
               : "row changed: its gtin, at or audit_id is not the one that was chained";
    }

    (void) svw_audit_fault(&run->check, SVW_AUDIT_NO_ROW, "chain row %" PRId64 ", audit %s, %s: %s", row->n, row->id, row->day, what);
    PQclear(result);

    return 0;
}


static int
svw_audit_diagnose_order(svw_audit_run_t *run, const svw_audit_row_t *row)
{
    char         digest[68], hash[68];
    PGresult    *result;
    const char  *params[2];

    memcpy(digest, "\\x", 2);
    memcpy(hash, "\\x", 2);
    svw_audit_hex(row->digest, SVW_AUDIT_HASH, digest + 2);
    svw_audit_hex(row->hash, SVW_AUDIT_HASH, hash + 2);
    params[0] = digest;
    params[1] = hash;

    if (svw_db_query(run->db, &result, "select sv.audit_predecessor($1::bytea, $2::bytea)", 2, params) != SVW_DB_OK) {
        return -1;
    }

    if (PQgetisnull(result, 0, 0)) {
        (void) svw_audit_fault(&run->check, SVW_AUDIT_ORDER, "chain row %" PRId64 ", audit %s, %s: %s", row->n, row->id, row->day,
                               svw_audit_check_text(SVW_AUDIT_ORDER));
    } else {
        (void) svw_audit_fault(&run->check, SVW_AUDIT_ORDER, "chain row %" PRId64 ", audit %s, %s: reordered: it follows from what is "
                               "chain row %s now", row->n, row->id, row->day, PQgetvalue(result, 0, 0));
    }

    PQclear(result);

    return 0;
}


/* What is in one place only. */
int
svw_audit_loose(svw_audit_run_t *run)
{
    int          rc;
    PGresult    *result;
    const char  *what;

    if (svw_db_query(run->db, &result, "select * from sv.audit_loose(1)", 0, NULL) != SVW_DB_OK) {
        return -1;
    }

    rc = PQntuples(result) > 0;

    if (rc) {
        what = svw_col(result, 0, "what");

        if (strcmp(what, "lot") == 0) {
            (void) svw_audit_fault(&run->check, SVW_AUDIT_CHANGED, "load %s, %s lot \"%s\", %s: row of sv.load_lot added: no audit row "
                                   "tells of it", svw_col(result, 0, "detail"), svw_col(result, 0, "gtin"),
                                   svw_col(result, 0, "lot"), svw_col(result, 0, "day"));

        } else if (strcmp(what, "waiting") == 0) {
            (void) svw_audit_fault(&run->check, SVW_AUDIT_NO_ROW, "audit %s, %s: row missing: it waits to be chained, and is not there",
                                   svw_col(result, 0, "audit_id"), svw_col(result, 0, "day"));

        } else {
            (void) svw_audit_fault(&run->check, SVW_AUDIT_CHANGED, "audit %s, %s: row added: it is neither in the chain nor waits for it "
                                   "(%s, gtin %s)", svw_col(result, 0, "audit_id"), svw_col(result, 0, "day"),
                                   svw_col(result, 0, "detail"), svw_col(result, 0, "gtin"));
        }
    }

    PQclear(result);

    return rc;
}


/* An audit row of a load against sv.load, and, of a lot that was loaded, sv.load_lot. */
int
svw_audit_load(svw_audit_run_t *run, const PGresult *result, int i, const svw_audit_row_t *row)
{
    int          lot;
    char         wrong[SVW_TEXT];
    json_t      *detail;
    unsigned     n;
    const char  *kind;

    static const struct { const char  *name, *column, *place; }  same[] = {
        { "file",           "load_file",          "sv.load.file" },
        { "file_sha256",    "load_sha256",        "sv.load.digest" },
        { "packs",          "lot_packs",          "sv.load_lot.new_packs" },
        { "repeated",       "lot_repeated",       "sv.load_lot.repeated" },
        { "contradictions", "lot_contradictions", "sv.load_lot.contradictions" },
        { "serials_sha256", "lot_serials",        "sv.load_lot.digest" },
    };

    kind = svw_col(result, i, "kind");

    if (kind == NULL || strcmp(kind, "load") != 0 || svw_col(result, i, "detail") == NULL) {
        return 0;
    }

    detail = json_loads(svw_col(result, i, "detail"), JSON_DECODE_ANY, NULL);

    /* what became of single packs tells no file */
    if (json_object_get(detail, "file_sha256") == NULL) {
        json_decref(detail);
        return 0;
    }

    lot = json_object_get(detail, "serials_sha256") != NULL;
    run->loads += lot;
    wrong[0] = '\0';

    if (svw_col(result, i, "load_file") == NULL || (lot && svw_col(result, i, "lot_serials") == NULL)) {
        snprintf(wrong, sizeof(wrong), "the row of %s is missing",
                 svw_col(result, i, "load_file") == NULL ? "sv.load" : "sv.load_lot");
    }

    for (n = 0; n < (lot ? sizeof(same) / sizeof(same[0]) : 2) && wrong[0] == '\0'; n++) {
        if (!svw_audit_same(detail, same[n].name, svw_col(result, i, same[n].column))) {
            snprintf(wrong, sizeof(wrong), "%s is not what the audit row says", same[n].place);
        }
    }

    if (wrong[0] != '\0') {
        (void) svw_audit_fault(&run->check, SVW_AUDIT_CHANGED, "chain row %" PRId64 ", audit %s, %s: load %" JSON_INTEGER_FORMAT
                               " changed: %s", row->n, row->id, row->day, json_integer_value(json_object_get(detail, "load_id")), wrong);
    }

    json_decref(detail);

    return wrong[0] != '\0';
}


/* what the audit row does not tell cannot disagree */
static int
svw_audit_same(const json_t *detail, const char *name, const char *told)
{
    char           number[24];
    const json_t  *value;

    value = json_object_get(detail, name);

    if (value == NULL) {
        return 1;
    }

    if (json_is_integer(value)) {
        snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return told != NULL && strcmp(number, told) == 0;
    }

    return told != NULL && json_is_string(value) && strcmp(json_string_value(value), told) == 0;
}


/* The serials digests, product by product. */
int
svw_audit_packs(svw_audit_run_t *run)
{
    int          rc, i;
    char         after[24];
    PGresult    *result;
    const char  *params[1];

    snprintf(after, sizeof(after), "0");
    params[0] = after;

    for ( ;; ) {
        if (svw_db_query(run->db, &result, "select * from sv.audit_load_gtins($1, 100)", 1, params) != SVW_DB_OK) {
            return -1;
        }

        rc = 0;

        for (i = 0; i < PQntuples(result) && rc == 0; i++) {
            snprintf(after, sizeof(after), "%s", PQgetvalue(result, i, 0));
            rc = svw_audit_packs_of(run, after);
        }

        i = PQntuples(result);
        PQclear(result);

        if (rc != 0 || i == 0) {
            return rc;
        }
    }
}


static int
svw_audit_packs_of(svw_audit_run_t *run, const char *gtin)
{
    int          i, rc;
    PGresult    *result;
    const char  *told;

    if (svw_db_query(run->db, &result, "select * from sv.audit_load_packs($1)", 1, &gtin) != SVW_DB_OK) {
        return -1;
    }

    rc = 0;

    for (i = 0; i < PQntuples(result); i++) {
        told = svw_col(result, i, "told");
        run->lots++;

        if (strcmp(told, svw_col(result, i, "counting")) == 0 || strcmp(told, svw_col(result, i, "first")) == 0) {
            continue;
        }

        /* a correction moved a pack between loads: what was new then can no longer be told */
        if (svw_col_int(result, i, "moved") > 0) {
            run->lots_moved++;
            continue;
        }

        (void) svw_audit_fault(&run->check, SVW_AUDIT_CHANGED, "load %s, %s lot \"%s\", %s: packs changed: the serials of the packs of this "
                               "load do not give the digest that was chained", svw_col(result, i, "load_id"), gtin,
                               svw_col(result, i, "lot"), svw_col(result, i, "day"));
        rc = 1;
        break;
    }

    PQclear(result);

    return rc;
}
