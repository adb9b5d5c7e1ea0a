#include "svw_pool.h"

#include "svw_array.h"

#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>


#define SVW_POOL_TRIES  5


static svw_db_rc_t svw_pool_try(svw_db_t *db, const svw_pool_ask_t *ask, svw_pool_issued_t *issued);
static int svw_pool_fill(svw_array_t *serials, const char *alphabet, size_t length, size_t n);


/* The rule may change, or numbers be taken, between reading and issuing: made anew then. */
svw_db_rc_t
svw_pool_issue(svw_db_t *db, const svw_pool_ask_t *ask, svw_pool_issued_t *issued)
{
    int          tries;
    svw_db_rc_t  rc;

    tries = 0;

    do {
        rc = svw_pool_try(db, ask, issued);
    } while (rc == SVW_DB_RETRY && ++tries < SVW_POOL_TRIES);

    return rc;
}


static svw_db_rc_t
svw_pool_try(svw_db_t *db, const svw_pool_ask_t *ask, svw_pool_issued_t *issued)
{
    long           n;
    PGresult      *rule, *result;
    const char    *params[8];
    svw_array_t    serials;
    svw_db_rc_t    rc;

    svw_array_begin(&serials);
    rc = svw_db_query(db, &rule, "select alphabet, length from sv.serial_rule_of($1)", 1, &ask->gtin);

    /* without a rule, and with a number out of range, sv.serial_issue() says what is wrong */
    if (rc == SVW_DB_OK) {
        n = strtol(ask->n, NULL, 10);

        if (n >= 1 && n <= SVW_POOL_MAX && !PQgetisnull(rule, 0, 0)
            && svw_pool_fill(&serials, PQgetvalue(rule, 0, 0), (size_t) svw_col_int(rule, 0, "length"), (size_t) n) != 0)
        {
            svw_log(SVW_LOG_ERROR, "no random numbers from OpenSSL");
            abort();
        }

        PQclear(rule);

    } else if (rc != SVW_DB_ERROR || strcmp(db->sqlstate, "P0002") != 0) {
        svw_array_free(&serials);
        return rc;
    }

    if (svw_array_end(&serials) != 0) {
        svw_array_free(&serials);
        snprintf(db->error, sizeof(db->error), "out of memory");
        snprintf(db->sqlstate, sizeof(db->sqlstate), "53200");
        return SVW_DB_ERROR;
    }

    params[0] = ask->location;
    params[1] = ask->gtin;
    params[2] = ask->line;
    params[3] = ask->lot;
    params[4] = ask->n;
    params[5] = ask->key;
    params[6] = ask->by;
    params[7] = serials.text;

    rc = svw_db_query(db, &result, "select request_id, made, same from sv.serial_issue($1, $2, $3, $4, $5, $6, $7, $8::text[])", 8, params);
    svw_array_free(&serials);

    if (rc == SVW_DB_OK) {
        snprintf(issued->id, sizeof(issued->id), "%s", PQgetvalue(result, 0, 0));
        issued->made = *PQgetvalue(result, 0, 1) == 't';
        issued->same = *PQgetvalue(result, 0, 2) == 't';
        PQclear(result);
    }

    return rc;
}


/* Of these some are in use, or come twice: less than one in 10,000. */
static int
svw_pool_fill(svw_array_t *serials, const char *alphabet, size_t length, size_t n)
{
    char    serial[32];
    size_t  i;

    if (length >= sizeof(serial)) {
        return -1;
    }

    for (i = 0; i < n + n / 100 + 16; i++) {
        if (svw_pool_make(alphabet, length, serial) != 0) {
            return -1;
        }

        svw_array_add(serials, serial);
    }

    return 0;
}


/* A byte that would make some characters more likely than others is thrown away. */
int
svw_pool_make(const char *alphabet, size_t length, char *out)
{
    size_t         i, n, k;
    unsigned       limit;
    unsigned char  random[64];

    k = strlen(alphabet);

    if (k == 0 || k > 256) {
        return -1;
    }

    limit = 256 - 256 % (unsigned) k;

    for (n = 0; n < length; ) {
        if (RAND_bytes(random, sizeof(random)) != 1) {
            return -1;
        }

        for (i = 0; i < sizeof(random) && n < length; i++) {
            if (random[i] < limit) {
                out[n++] = alphabet[random[i] % k];
            }
        }
    }

    out[n] = '\0';

    return 0;
}


svw_db_rc_t
svw_pool_numbers(svw_db_t *db, const char *location, const char *gtin, const char *id, json_t **serials)
{
    int           i, n;
    char          after[32], limit[16];
    PGresult     *result;
    const char   *params[5];
    svw_db_rc_t   rc;

    *serials = json_array();
    after[0] = '\0';
    snprintf(limit, sizeof(limit), "%d", SVW_POOL_PAGE);
    params[0] = location;
    params[1] = gtin;
    params[2] = id;
    params[3] = after;
    params[4] = limit;

    do {
        rc = svw_db_query(db, &result, "select serial, returned from sv.serial_numbers($1, $2, $3, $4, $5)", 5, params);

        if (rc != SVW_DB_OK) {
            json_decref(*serials);
            *serials = NULL;
            return rc;
        }

        n = PQntuples(result);

        for (i = 0; i < n; i++) {
            snprintf(after, sizeof(after), "%s", PQgetvalue(result, i, 0));

            if (*PQgetvalue(result, i, 1) == 'f') {
                (void) json_array_append_new(*serials, json_string(after));
            }
        }

        PQclear(result);
    } while (n == SVW_POOL_PAGE);

    return SVW_DB_OK;
}
