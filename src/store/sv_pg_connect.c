/*
 * From nothing to a session with all statements prepared, and the descriptor
 * the loop watches.
 */

#include "sv_pg_conn.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>


#define SV_PG_CONNECT_MS  5000      /* connecting and preparing, each */


static int sv_pg_watch(sv_pg_conn_t *conn, unsigned events);
static void sv_pg_prepare(sv_pg_conn_t *conn);
static void sv_pg_notice(void *data, const PGresult *notice);


void
sv_pg_connect(sv_pg_conn_t *conn)
{
    sv_pg_pool_t  *pool;

    pool = conn->pool;

    conn->pg = PQconnectStartParams(pool->params.keywords, pool->params.values,
                                    1);

    if (conn->pg == NULL) {
        sv_pg_conn_close(conn, "out of memory");
        return;
    }

    if (PQstatus(conn->pg) == CONNECTION_BAD) {
        sv_pg_conn_close(conn, PQerrorMessage(conn->pg));
        return;
    }

    PQsetNoticeReceiver(conn->pg, sv_pg_notice, conn);
    sv_pg_state(conn, SV_PG_CONNECTING);

    /* PQconnectPoll is to be called first when the socket is writable */

    if (sv_pg_watch(conn, SV_WRITE) != 0) {
        sv_pg_conn_close(conn, "no place for its socket in the event loop");
        return;
    }

    pool->loop->timer_set(conn->timer, SV_PG_CONNECT_MS);
}


void
sv_pg_connect_poll(sv_pg_conn_t *conn)
{
    int                        rc;
    PostgresPollingStatusType  poll;

    /* libpq may go on with another socket, even one of the same number */

    sv_pg_unwatch(conn);
    poll = PQconnectPoll(conn->pg);

    switch (poll) {

    case PGRES_POLLING_READING:
        rc = sv_pg_watch(conn, SV_READ);
        break;

    case PGRES_POLLING_WRITING:
        rc = sv_pg_watch(conn, SV_WRITE);
        break;

    case PGRES_POLLING_OK:
        rc = sv_pg_watch(conn, SV_READ);
        break;

    default:
        sv_pg_conn_close(conn, PQerrorMessage(conn->pg));
        return;
    }

    if (rc != 0) {
        sv_pg_conn_close(conn, "no place for its socket in the event loop");
        return;
    }

    if (poll == PGRES_POLLING_OK) {
        sv_pg_prepare(conn);
    }
}


/*
 * The loop watches a duplicate.  libpq closes its socket by itself when it
 * finds the connection lost; the number could belong to another socket before
 * we notice, and removing that from the loop would be fatal to its owner.
 */

static int
sv_pg_watch(sv_pg_conn_t *conn, unsigned events)
{
    sv_loop_t  *loop;

    loop = conn->pool->loop;

    conn->fd = fcntl(PQsocket(conn->pg), F_DUPFD_CLOEXEC, 0);
    if (conn->fd == -1) {
        return -1;
    }

    conn->watch = loop->watch(loop, conn->fd, sv_pg_io, conn);
    if (conn->watch == NULL) {
        return -1;
    }

    conn->interest = 0;
    sv_pg_interest(conn, events);

    return 0;
}


void
sv_pg_unwatch(sv_pg_conn_t *conn)
{
    if (conn->watch != NULL) {
        conn->pool->loop->unwatch(conn->watch);
        conn->watch = NULL;
    }

    if (conn->fd != -1) {
        close(conn->fd);
        conn->fd = -1;
    }
}


void
sv_pg_interest(sv_pg_conn_t *conn, unsigned events)
{
    if (conn->interest != events) {
        conn->interest = events;
        conn->pool->loop->interest(conn->watch, events);
    }
}


static void
sv_pg_prepare(sv_pg_conn_t *conn)
{
    unsigned                  i;
    sv_pg_pool_t             *pool;
    const sv_pg_statement_t  *st;

    pool = conn->pool;
    pool->connects++;
    conn->prepared = 0;

    sv_pg_state(conn, SV_PG_PREPARING);

    if (PQsetnonblocking(conn->pg, 1) != 0 || !PQenterPipelineMode(conn->pg)) {
        sv_pg_conn_close(conn, PQerrorMessage(conn->pg));
        return;
    }

    for (i = 0; i < pool->conf.n_statements; i++) {
        st = &pool->conf.statements[i];

        if (!PQsendPrepare(conn->pg, st->name, st->sql, 0, NULL)
            || !sv_pg_sync(conn->pg))
        {
            sv_pg_conn_close(conn, PQerrorMessage(conn->pg));
            return;
        }
    }

    if (pool->conf.n_statements == 0) {
        sv_pg_ready(conn);
        return;
    }

    pool->loop->timer_set(conn->timer, SV_PG_CONNECT_MS);
    sv_pg_flush(conn);
}


void
sv_pg_prepare_result(sv_pg_conn_t *conn, PGresult *result)
{
    char         what[128];
    const char  *text;

    if (PQresultStatus(result) != PGRES_COMMAND_OK) {
        text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

        snprintf(what, sizeof(what), "preparing \"%s\"",
                 conn->pool->conf.statements[conn->prepared].name);
        sv_pg_fault(conn, what,
                    text != NULL ? text : PQresultErrorMessage(result));
    }

    PQclear(result);
}


static void
sv_pg_notice(void *data, const PGresult *notice)
{
    const char     *text;
    sv_pg_conn_t   *conn;
    sv_pg_query_t  *query;

    conn = data;
    query = TAILQ_FIRST(&conn->fifo);

    /* it comes between the rows and the sync point of the oldest query */

    if (query != NULL && sv_pg_notice_unconfirmed(notice)) {
        query->unconfirmed = 1;
    }

    text = PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY);

    conn->pool->loop->log(conn->pool->loop, SV_LOG_INFO,
                          "postgresql \"%s\" connection %u says: %s",
                          conn->pool->conf.name, conn->number,
                          text != NULL ? text : "");
}
