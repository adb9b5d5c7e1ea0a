/*
 * From the results libpq hands out to one answer per query.
 *
 * The rows of a statement arrive before its transaction commits: that happens
 * at the sync point.  An error, or a warning, may still come in between, so
 * nothing is answered before the sync point has been passed.
 */

#include "sv_pg_conn.h"

#include <string.h>


static int sv_pg_field_is(const PGresult *result, int field,
    const char *value);
static void sv_pg_answer_error(sv_pg_query_t *query, sv_pg_reply_t *reply);
static int sv_pg_is_fatal(const PGresult *error);


void
sv_pg_result_add(sv_pg_query_t *query, PGresult *result)
{
    PGresult  **place;

    switch (PQresultStatus(result)) {

    case PGRES_TUPLES_OK:
    case PGRES_COMMAND_OK:
        place = &query->result;
        break;

    default:
        place = &query->error;
    }

    /* of errors the first tells the cause */

    if (*place != NULL) {
        PQclear(result);
        return;
    }

    *place = result;
}


int
sv_pg_result_stale(const PGresult *error)
{
    unsigned            i;
    static const char  *states[] = {
        "57P01",                /* shut down by an administrator */
        "57P02",                /* crash of another backend */
        "57P03",                /* starting up */
        "57P05",                /* idle too long */
        "25006",                /* read only: no longer the primary */
        "26000"                 /* our prepared statement is gone */
    };

    for (i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        if (sv_pg_field_is(error, PG_DIAG_SQLSTATE, states[i])) {
            return 1;
        }
    }

    /* "cached plan must not change result type", in whatever language */

    return sv_pg_field_is(error, PG_DIAG_SQLSTATE, "0A000")
           && sv_pg_field_is(error, PG_DIAG_SOURCE_FUNCTION,
                             "RevalidateCachedQuery");
}


int
sv_pg_notice_unconfirmed(const PGresult *notice)
{
    const char  *text;

    /* the text is translated by the server, the function's name is not */

    if (sv_pg_field_is(notice, PG_DIAG_SOURCE_FUNCTION, "SyncRepWaitForLSN")) {
        return 1;
    }

    text = PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY);

    return text != NULL
           && strstr(text, "wait for synchronous replication") != NULL;
}


void
sv_pg_answer(sv_pg_query_t *query, int synced, const char *why)
{
    sv_pg_reply_t  reply;

    memset(&reply, 0, sizeof(sv_pg_reply_t));

    if (query->unconfirmed) {
        reply.status = SV_PG_UNKNOWN;
        reply.message = "committed here, but not confirmed by the standby";

    } else if (query->error != NULL) {
        sv_pg_answer_error(query, &reply);

    } else if (synced && query->result != NULL) {
        reply.status = SV_PG_OK;
        reply.result = query->result;

    } else {
        reply.status = SV_PG_UNKNOWN;
        reply.message = why != NULL ? why : "no result";
    }

    if (reply.status == SV_PG_ERROR) {
        query->pool->errors++;
    }

    if (query->handler != NULL) {
        query->handler(query->data, &reply);
    }

    sv_pg_query_free(query);
}


static void
sv_pg_answer_error(sv_pg_query_t *query, sv_pg_reply_t *reply)
{
    const char  *state;

    state = PQresultErrorField(query->error, PG_DIAG_SQLSTATE);
    reply->message = PQresultErrorField(query->error, PG_DIAG_MESSAGE_PRIMARY);

    if (reply->message == NULL) {
        reply->message = PQresultErrorMessage(query->error);
    }

    /*
     * Without a state it is libpq's own error.  A session that ends after the
     * rows were there may have ended after the commit, too.
     */

    if (state == NULL || strlen(state) >= sizeof(reply->sqlstate)
        || (query->result != NULL && sv_pg_is_fatal(query->error)))
    {
        reply->status = SV_PG_UNKNOWN;
        return;
    }

    reply->status = SV_PG_ERROR;
    memcpy(reply->sqlstate, state, strlen(state) + 1);
}


static int
sv_pg_is_fatal(const PGresult *error)
{
    return !sv_pg_field_is(error, PG_DIAG_SEVERITY_NONLOCALIZED, "ERROR");
}


static int
sv_pg_field_is(const PGresult *result, int field, const char *value)
{
    const char  *text;

    text = PQresultErrorField(result, field);

    return text != NULL && strcmp(text, value) == 0;
}
