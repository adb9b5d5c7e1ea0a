/*
 * The pipeline of a connection: queries in, results out, in the same order.
 */

#include "sv_pg_conn.h"


static int sv_pg_drain_result(sv_pg_conn_t *conn, PGresult *result);
static void sv_pg_synced(sv_pg_conn_t *conn);


int
sv_pg_conn_send(sv_pg_conn_t *conn, sv_pg_query_t *query,
    const char *const *params)
{
    const sv_pg_statement_t  *st;

    st = &conn->pool->conf.statements[query->statement];

    if (conn->broken
        || !PQsendQueryPrepared(conn->pg, st->name, st->n_params, params, NULL,
                                NULL, 0))
    {
        conn->broken = 1;
        sv_pg_wake(conn);
        return -1;
    }

    /* from here on it may be executed */

    if (!sv_pg_sync(conn->pg)) {
        conn->broken = 1;
    }

    query->conn = conn;
    TAILQ_INSERT_TAIL(&conn->fifo, query, link);

    if (conn->in_flight++ == 0) {
        conn->heard = conn->pool->loop->now(conn->pool->loop);
    }

    sv_pg_wake(conn);

    return 0;
}


/*
 * PQgetResult blocks unless PQisBusy said no, and returns NULL for ever when
 * nothing is expected.  A NULL ends the results of a query and is followed by
 * its sync point, so two in a row mean that libpq has nothing more.
 */

void
sv_pg_drain(sv_pg_conn_t *conn)
{
    int        nulls;
    PGresult  *result;

    nulls = 0;

    while ((conn->state == SV_PG_PREPARING || conn->in_flight != 0)
           && nulls < 2 && !PQisBusy(conn->pg))
    {
        result = PQgetResult(conn->pg);

        if (result == NULL) {
            nulls++;
            continue;
        }

        nulls = 0;

        if (sv_pg_drain_result(conn, result) != 0) {
            break;
        }
    }

    if (conn->in_flight == 0) {
        /* what the server says to an idle session, as the reason of its end */
        (void) PQisBusy(conn->pg);
    }

    if (PQstatus(conn->pg) == CONNECTION_BAD) {
        sv_pg_conn_close(conn, PQerrorMessage(conn->pg));
        return;
    }

    if (conn->fault[0] != '\0') {
        sv_pg_conn_close(conn, conn->fault);
        return;
    }

    if (nulls == 2) {
        sv_pg_conn_close(conn, "results ended too early");
        return;
    }

    if (conn->state == SV_PG_DRAINING && conn->in_flight == 0) {
        sv_pg_conn_close(conn, "replaced after this error");
    }
}


/* -1: nothing of use will follow */

static int
sv_pg_drain_result(sv_pg_conn_t *conn, PGresult *result)
{
    int             rc;
    sv_pg_query_t  *query;

    if (PQresultStatus(result) == PGRES_PIPELINE_SYNC) {
        PQclear(result);
        sv_pg_synced(conn);
        return 0;
    }

    if (conn->state == SV_PG_PREPARING) {
        sv_pg_prepare_result(conn, result);
        return conn->fault[0] == '\0' ? 0 : -1;
    }

    rc = 0;

    if (PQstatus(conn->pg) == CONNECTION_BAD
        && PQresultErrorField(result, PG_DIAG_SQLSTATE) == NULL
        && PQresultStatus(result) == PGRES_FATAL_ERROR)
    {
        rc = -1;
    }

    query = TAILQ_FIRST(&conn->fifo);
    sv_pg_result_add(query, result);

    return rc;
}


static void
sv_pg_synced(sv_pg_conn_t *conn)
{
    int             stale;
    sv_pg_pool_t   *pool;
    sv_pg_query_t  *query;

    pool = conn->pool;

    if (conn->state == SV_PG_PREPARING) {
        if (++conn->prepared == pool->conf.n_statements) {
            sv_pg_ready(conn);
        }

        return;
    }

    query = TAILQ_FIRST(&conn->fifo);
    TAILQ_REMOVE(&conn->fifo, query, link);
    conn->in_flight--;

    stale = query->error != NULL && sv_pg_result_stale(query->error);
    conn->proved |= (query->error == NULL);

    if (stale && conn->state == SV_PG_READY) {
        pool->loop->log(pool->loop, SV_LOG_WARN,
                        "postgresql \"%s\" connection %u: %s",
                        pool->conf.name, conn->number,
                        PQresultErrorField(query->error,
                                           PG_DIAG_MESSAGE_PRIMARY));
        sv_pg_state(conn, SV_PG_DRAINING);
    }

    sv_pg_answer(query, 1, NULL);

    if (conn->state == SV_PG_READY) {
        sv_pg_pool_next(pool, conn);

    } else {
        sv_pg_pool_check(pool);
    }
}


void
sv_pg_flush(sv_pg_conn_t *conn)
{
    /* a failure shows in PQstatus or when reading, with the server's reason */

    switch (PQflush(conn->pg)) {

    case 0:
        sv_pg_interest(conn, SV_READ);
        break;

    case 1:
        sv_pg_interest(conn, SV_READ | SV_WRITE);
        break;

    default:
        sv_pg_fault(conn, "sending", PQerrorMessage(conn->pg));
    }
}


/* libpq older than 17 cannot add a sync point without sending at once */

int
sv_pg_sync(PGconn *pg)
{
#ifdef LIBPQ_HAS_SEND_PIPELINE_SYNC
    return PQsendPipelineSync(pg);
#else
    return PQpipelineSync(pg);
#endif
}
