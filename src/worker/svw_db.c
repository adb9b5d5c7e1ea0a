#include "svw.h"

#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>


#define SVW_DB_BACKOFF_MIN  200
#define SVW_DB_BACKOFF_MAX  5000


static void svw_db_message(svw_db_t *db, const char *message);


void
svw_db_init(svw_db_t *db, const char *conninfo, const char *name)
{
    *db = (svw_db_t) { .conninfo = conninfo, .name = name, .backoff = SVW_DB_BACKOFF_MIN };
}


void
svw_db_close(svw_db_t *db)
{
    PQfinish(db->pg);
    db->pg = NULL;
}


int
svw_db_connect(svw_db_t *db)
{
    /* what comes before "dbname" is a default that the connection string may change; what comes behind is ours */
    static const char *const  names[] = {
        "connect_timeout", "keepalives_idle", "keepalives_interval", "tcp_user_timeout",
        "dbname", "fallback_application_name", "client_encoding", NULL
    };

    const char *const  values[] = {
        "5", "10", "5", "15000", db->conninfo, db->name, "UTF8", NULL
    };

    svw_db_close(db);

    db->pg = PQconnectdbParams(names, values, 1);

    if (PQstatus(db->pg) == CONNECTION_OK
        && svw_db_do(db, "set search_path = pg_catalog; set timezone = 'UTC'; set datestyle = 'ISO, YMD';"
                         " set client_min_messages = warning; set jit = off", 0, NULL) == SVW_DB_OK
        && (db->setup == NULL || svw_db_do(db, db->setup, 0, NULL) == SVW_DB_OK))
    {
        db->backoff = SVW_DB_BACKOFF_MIN;
        return 0;
    }

    svw_db_message(db, PQerrorMessage(db->pg));
    svw_db_close(db);

    return -1;
}


int
svw_db_ensure(svw_db_t *db)
{
    while (!svw_stopping()) {
        if (db->pg != NULL && PQstatus(db->pg) == CONNECTION_OK) {
            return 0;
        }

        if (svw_db_connect(db) == 0) {
            svw_log(SVW_LOG_INFO, "connected to PostgreSQL");
            return 0;
        }

        svw_log(SVW_LOG_ERROR, "PostgreSQL: %s; next try in %u ms", db->error, db->backoff);
        svw_pause(db->backoff);

        db->backoff = db->backoff * 2 > SVW_DB_BACKOFF_MAX ? SVW_DB_BACKOFF_MAX : db->backoff * 2;
    }

    return -1;
}


svw_db_rc_t
svw_db_query(svw_db_t *db, PGresult **result, const char *sql, int n, const char *const *params)
{
    PGresult        *r;
    ExecStatusType   status;

    *result = NULL;

    /* several statements in one text are possible without parameters only */
    r = n == 0 ? PQexec(db->pg, sql) : PQexecParams(db->pg, sql, n, NULL, params, NULL, NULL, 0);
    status = PQresultStatus(r);

    if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_COPY_IN) {
        *result = r;
        return SVW_DB_OK;
    }

    return svw_db_failed(db, r);
}


svw_db_rc_t
svw_db_do(svw_db_t *db, const char *sql, int n, const char *const *params)
{
    PGresult     *result;
    svw_db_rc_t   rc;

    rc = svw_db_query(db, &result, sql, n, params);
    PQclear(result);

    return rc;
}


/* takes the result over */
svw_db_rc_t
svw_db_failed(svw_db_t *db, PGresult *result)
{
    const char   *sqlstate;
    svw_db_rc_t   rc;

    sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);

    snprintf(db->sqlstate, sizeof(db->sqlstate), "%s", sqlstate != NULL ? sqlstate : "");
    svw_db_message(db, sqlstate != NULL ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY)
                                        : PQerrorMessage(db->pg));

    if (PQstatus(db->pg) != CONNECTION_OK || sqlstate == NULL) {
        rc = SVW_DB_LOST;

    } else if (strcmp(sqlstate, "40001") == 0 || strcmp(sqlstate, "40P01") == 0
               || strcmp(sqlstate, "55P03") == 0)
    {
        rc = SVW_DB_RETRY;

    } else if (strncmp(sqlstate, "57P", 3) == 0 || strncmp(sqlstate, "08", 2) == 0) {
        rc = SVW_DB_LOST;

    } else {
        rc = SVW_DB_ERROR;
    }

    PQclear(result);

    return rc;
}


/* Values, constraints, limits of size, what a function raises of its own: the same would be refused again. */
int
svw_db_refused(const svw_db_t *db)
{
    size_t  i;

    static const char *const  classes[] = { "21", "22", "23", "44", "54", "P0" };

    for (i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
        if (strncmp(db->sqlstate, classes[i], 2) == 0) {
            return 1;
        }
    }

    return 0;
}


void
svw_uuid(char out[37])
{
    size_t         i, n;
    unsigned char  b[16];

    if (RAND_bytes(b, sizeof(b)) != 1) {
        svw_log(SVW_LOG_ERROR, "no random numbers from OpenSSL");
        abort();
    }

    b[6] = (unsigned char) ((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char) ((b[8] & 0x3f) | 0x80);

    for (i = 0, n = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            out[n++] = '-';
        }

        out[n++] = "0123456789abcdef"[b[i] >> 4];
        out[n++] = "0123456789abcdef"[b[i] & 15];
    }

    out[n] = '\0';
}


const char *
svw_col(const PGresult *result, int row, const char *name)
{
    int  i;

    i = PQfnumber(result, name);

    return i < 0 || PQgetisnull(result, row, i) ? NULL : PQgetvalue(result, row, i);
}


int64_t
svw_col_int(const PGresult *result, int row, const char *name)
{
    const char  *text;

    text = svw_col(result, row, name);

    return text != NULL ? strtoll(text, NULL, 10) : 0;
}


static void
svw_db_message(svw_db_t *db, const char *message)
{
    size_t  i;

    snprintf(db->error, sizeof(db->error), "%s", message != NULL && *message != '\0' ? message : "connection lost");

    for (i = strlen(db->error); i > 0 && db->error[i - 1] == '\n'; i--) {
        db->error[i - 1] = '\0';
    }
}
