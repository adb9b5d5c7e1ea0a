#include "svw_audit.h"

#include <inttypes.h>
#include <string.h>


#define SVW_AUDIT_TRIES  5              /* against another worker that signs at the same time */


typedef struct {
    char      system[24], today[16], due[16], hash[68];
    int64_t   n, head, now_us;
} svw_audit_now_t;


static int svw_audit_sign_one(svw_db_t *db, EVP_PKEY *key, const svw_audit_now_t *now, int demand, const char *by,
    char error[SVW_TEXT]);
static int svw_audit_sign_state(svw_db_t *db, svw_audit_now_t *now, char error[SVW_TEXT]);
static int svw_audit_sign_last(svw_db_t *db, const svw_audit_now_t *now, svw_audit_head_t *last, char error[SVW_TEXT]);
static int svw_audit_sign_keep(svw_db_t *db, const svw_audit_head_t *head, const char *by, char error[SVW_TEXT]);


/*
 * The database has a head before the file has it: a head that is in the file
 * only was removed from the database, and nothing more is signed then.
 */
int
svw_audit_sign(svw_conf_t *conf, svw_db_t *db, int demand, const char *by, char error[SVW_TEXT])
{
    int               n, rc, tries;
    EVP_PKEY         *key;
    svw_audit_now_t   now;

    key = svw_audit_key_read(conf->audit_key, error);

    if (key == NULL) {
        return -1;
    }

    n = 0;
    tries = 0;

    do {
        rc = svw_audit_sign_state(db, &now, error);

        if (rc == 0) {
            rc = svw_audit_file_sync(conf, db, now.head, error);
        }

        if (rc == 0) {
            rc = svw_audit_sign_one(db, key, &now, demand && n == 0, by, error);
        }

        /* 1: signed, look again; 2: another worker was faster */
        n += rc == 1;
        tries += rc == 2;

    } while ((rc == 1 || rc == 2) && tries < SVW_AUDIT_TRIES);

    EVP_PKEY_free(key);

    return rc < 0 ? -1 : n;
}


/* 0: nothing is due, 1: a head was made, 2: another worker made one, -1 */
static int
svw_audit_sign_one(svw_db_t *db, EVP_PKEY *key, const svw_audit_now_t *now, int demand, const char *by, char error[SVW_TEXT])
{
    svw_audit_head_t  last, head;

    if (svw_audit_sign_last(db, now, &last, error) != 0) {
        return -1;
    }

    if (now->due[0] == '\0' && (!demand || now->n == last.last)) {
        return 0;
    }

    if (now->n < last.last) {
        snprintf(error, SVW_TEXT, "the audit chain ends at row %" PRId64 ", head %" PRId64 " was signed for the rows to %" PRId64
                 ": nothing is signed, run audit verify", now->n, last.head, last.last);
        return -1;
    }

    head = (svw_audit_head_t) { .head = last.head + 1, .first = last.last + 1, .last = now->n, .at_us = now->now_us };

    snprintf(head.system, sizeof(head.system), "%s", now->system);
    snprintf(head.kind, sizeof(head.kind), "%s", now->due[0] != '\0' ? "day" : "demand");
    snprintf(head.day, sizeof(head.day), "%s", now->due[0] != '\0' ? now->due : now->today);

    if (svw_audit_unhex(now->hash, head.hash, SVW_AUDIT_HASH) != 0
        || (last.head > 0 && svw_audit_head_digest(&last, head.previous) != 0)
        || svw_audit_head_sign(&head, key) != 0)
    {
        snprintf(error, SVW_TEXT, "head %" PRId64 " cannot be signed", head.head);
        return -1;
    }

    return svw_audit_sign_keep(db, &head, by, error);
}


static int
svw_audit_sign_state(svw_db_t *db, svw_audit_now_t *now, char error[SVW_TEXT])
{
    PGresult  *r;

    if (svw_db_query(db, &r, "select * from sv.audit_state()", 0, NULL) != SVW_DB_OK) {
        snprintf(error, SVW_TEXT, "%s", db->error);
        return -1;
    }

    snprintf(now->system, sizeof(now->system), "%s", PQgetvalue(r, 0, PQfnumber(r, "system")));
    snprintf(now->today, sizeof(now->today), "%s", PQgetvalue(r, 0, PQfnumber(r, "today")));
    snprintf(now->due, sizeof(now->due), "%s", PQgetvalue(r, 0, PQfnumber(r, "due")));
    snprintf(now->hash, sizeof(now->hash), "%s", PQgetvalue(r, 0, PQfnumber(r, "hash")));
    now->n = svw_col_int(r, 0, "n");
    now->head = svw_col_int(r, 0, "head");
    now->now_us = svw_col_int(r, 0, "now_us");
    PQclear(r);

    return 0;
}


static int
svw_audit_sign_last(svw_db_t *db, const svw_audit_now_t *now, svw_audit_head_t *last, char error[SVW_TEXT])
{
    char         after[24];
    PGresult    *r;
    const char  *params[1];

    *last = (svw_audit_head_t) { .head = 0 };

    if (now->head == 0) {
        return 0;
    }

    snprintf(after, sizeof(after), "%" PRId64, now->head - 1);
    params[0] = after;

    if (svw_db_query(db, &r, "select * from sv.audit_days($1, 1)", 1, params) != SVW_DB_OK) {
        snprintf(error, SVW_TEXT, "%s", db->error);
        return -1;
    }

    if (PQntuples(r) == 1) {
        svw_audit_head_of(r, 0, last);
    }

    PQclear(r);

    if (last->head != now->head || !svw_audit_head_signed(last)) {
        snprintf(error, SVW_TEXT, "head %" PRId64 " was changed: nothing is signed, run audit verify", now->head);
        return -1;
    }

    return 0;
}


static int
svw_audit_sign_keep(svw_db_t *db, const svw_audit_head_t *head, const char *by, char error[SVW_TEXT])
{
    int          kept;
    char         number[24], first[24], last[24], at[24], hash[65], previous[65], key[65], signature[129];
    PGresult    *r;
    const char  *params[12];

    snprintf(number, sizeof(number), "%" PRId64, head->head);
    snprintf(first, sizeof(first), "%" PRId64, head->first);
    snprintf(last, sizeof(last), "%" PRId64, head->last);
    snprintf(at, sizeof(at), "%" PRId64, head->at_us);
    svw_audit_hex(head->hash, SVW_AUDIT_HASH, hash);
    svw_audit_hex(head->previous, SVW_AUDIT_HASH, previous);
    svw_audit_hex(head->key, SVW_AUDIT_HASH, key);
    svw_audit_hex(head->signature, SVW_AUDIT_SIGNATURE, signature);

    params[0] = number;
    params[1] = head->kind;
    params[2] = head->day;
    params[3] = head->system;
    params[4] = first;
    params[5] = last;
    params[6] = hash;
    params[7] = previous;
    params[8] = key;
    params[9] = signature;
    params[10] = at;
    params[11] = by;

    if (svw_db_query(db, &r, "select sv.audit_sign($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)", 12, params) != SVW_DB_OK) {
        snprintf(error, SVW_TEXT, "%s", db->error);
        return -1;
    }

    kept = *PQgetvalue(r, 0, 0) == 't';
    PQclear(r);

    return kept ? 1 : 2;
}
