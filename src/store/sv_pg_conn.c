/*
 * One connection to PostgreSQL in pipeline mode.
 */

#include "sv_pg_conn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>


#define SV_PG_CONNECT_MS  5000      /* connecting and preparing, each */


static void sv_pg_state(sv_pg_conn_t *conn, sv_pg_state_t state);
static void sv_pg_connect(sv_pg_conn_t *conn);
static void sv_pg_connect_poll(sv_pg_conn_t *conn);
static int sv_pg_watch(sv_pg_conn_t *conn, unsigned events);
static void sv_pg_unwatch(sv_pg_conn_t *conn);
static void sv_pg_interest(sv_pg_conn_t *conn, unsigned events);
static void sv_pg_prepare(sv_pg_conn_t *conn);
static void sv_pg_ready(sv_pg_conn_t *conn);
static void sv_pg_io(void *data, unsigned ready);
static void sv_pg_drain(sv_pg_conn_t *conn);
static int sv_pg_drain_result(sv_pg_conn_t *conn, PGresult *result);
static void sv_pg_prepare_result(sv_pg_conn_t *conn, PGresult *result);
static void sv_pg_synced(sv_pg_conn_t *conn);
static void sv_pg_flush(sv_pg_conn_t *conn);
static void sv_pg_flush_timer(void *data);
static int sv_pg_sync(PGconn *pg);
static void sv_pg_wake(sv_pg_conn_t *conn);
static void sv_pg_timer(void *data);
static void sv_pg_listen(sv_pg_conn_t *conn);
static void sv_pg_notice(void *data, const PGresult *notice);
static void sv_pg_fault(sv_pg_conn_t *conn, const char *what,
    const char *text);
static void sv_pg_log_close(sv_pg_conn_t *conn, const char *why, unsigned ms,
    int was_up);


int
sv_pg_conn_start(sv_pg_conn_t *conn, sv_pg_pool_t *pool, unsigned number)
{
    sv_loop_t  *loop;

    loop = pool->loop;

    conn->pool = pool;
    conn->number = number;
    conn->fd = -1;
    TAILQ_INIT(&conn->fifo);
    sv_backoff_init(&conn->backoff, conn, loop->now(loop));

    conn->timer = loop->timer(loop, sv_pg_timer, conn);
    conn->flush = loop->timer(loop, sv_pg_flush_timer, conn);

    if (conn->timer == NULL || conn->flush == NULL) {
        sv_pg_conn_free(conn);
        return -1;
    }

    sv_pg_connect(conn);

    return 0;
}


void
sv_pg_conn_free(sv_pg_conn_t *conn)
{
    if (conn->timer != NULL) {
        conn->pool->loop->timer_free(conn->timer);
    }

    if (conn->flush != NULL) {
        conn->pool->loop->timer_free(conn->flush);
    }
}


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


void
sv_pg_conn_close(sv_pg_conn_t *conn, const char *why)
{
    int             was_up;
    char            text[256];
    unsigned        ms;
    sv_loop_t      *loop;
    sv_pg_query_t  *query;

    loop = conn->pool->loop;
    was_up = (conn->state == SV_PG_READY || conn->state == SV_PG_DRAINING);

    /* `why' may be libpq's, and is the queries' message below */
    snprintf(text, sizeof(text), "%.*s",
             (int) (why != NULL ? strcspn(why, "\n") : 0),
             why != NULL ? why : "");

    sv_pg_unwatch(conn);
    PQfinish(conn->pg);
    conn->pg = NULL;

    loop->timer_clear(conn->timer);
    loop->timer_clear(conn->flush);
    conn->timer_armed = 0;
    conn->flush_posted = 0;
    conn->broken = 0;
    conn->fault[0] = '\0';

    sv_pg_state(conn, SV_PG_DOWN);

    if (why != NULL) {
        if (conn->proved
            || (was_up
                && loop->now(loop) > conn->ready_since + SV_BACKOFF_MAX_MS))
        {
            sv_backoff_reset(&conn->backoff);
        }

        ms = sv_backoff_next(&conn->backoff);
        loop->timer_set(conn->timer, ms);
        conn->pool->losses += was_up;
        sv_pg_log_close(conn, text, ms, was_up);
    }

    conn->proved = 0;
    conn->pool->starting = 0;

    /* the state is DOWN: callbacks cannot add to what is answered here */

    while ((query = TAILQ_FIRST(&conn->fifo)) != NULL) {
        TAILQ_REMOVE(&conn->fifo, query, link);
        conn->in_flight--;
        sv_pg_answer(query, 0, why != NULL ? text : "shutting down");
    }

    sv_pg_pool_check(conn->pool);
}


static void
sv_pg_log_close(sv_pg_conn_t *conn, const char *why, unsigned ms, int was_up)
{
    int            level, same;
    uint64_t       now;
    sv_pg_pool_t  *pool;

    pool = conn->pool;
    now = pool->loop->now(pool->loop);
    same = (strcmp(pool->last_fault, why) == 0);
    level = SV_LOG_INFO;

    if (was_up || pool->last_fault[0] == '\0'
        || now >= pool->last_warning + (same ? SV_BACKOFF_LOG_SAME_MS
                                             : SV_BACKOFF_LOG_OTHER_MS))
    {
        level = SV_LOG_WARN;
        pool->last_warning = now;
        snprintf(pool->last_fault, sizeof(pool->last_fault), "%s", why);
    }

    pool->loop->log(pool->loop, level,
                    "postgresql \"%s\" connection %u: %s%s, "
                    "%u queries unanswered, connecting again in %u ms",
                    pool->conf.name, conn->number, was_up ? "lost: " : "",
                    why, conn->in_flight, ms);
}


/* the only place where a state changes */

static void
sv_pg_state(sv_pg_conn_t *conn, sv_pg_state_t state)
{
    conn->pool->ready -= (conn->state == SV_PG_READY);
    conn->pool->ready += (state == SV_PG_READY);
    conn->state = state;
}


static void
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


static void
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


static void
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


static void
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


static void
sv_pg_ready(sv_pg_conn_t *conn)
{
    sv_pg_pool_t  *pool;

    pool = conn->pool;

    pool->loop->timer_clear(conn->timer);
    pool->last_fault[0] = '\0';
    pool->starting = 0;
    conn->ready_since = pool->loop->now(pool->loop);

    sv_pg_state(conn, SV_PG_READY);

    pool->loop->log(pool->loop, SV_LOG_NOTICE,
                    "postgresql \"%s\" connection %u: ready",
                    pool->conf.name, conn->number);

    sv_pg_pool_next(pool, conn);

    if (pool->conf.on_ready != NULL) {
        pool->conf.on_ready(pool->conf.on_ready_data);
    }
}


static void
sv_pg_io(void *data, unsigned ready)
{
    sv_pg_conn_t  *conn;

    conn = data;

    if (conn->state == SV_PG_CONNECTING) {
        sv_pg_connect_poll(conn);
        return;
    }

    if (ready & SV_READ) {
        conn->heard = conn->pool->loop->now(conn->pool->loop);

        /* a failure shows in PQstatus, after what came before it was read */

        if (!PQconsumeInput(conn->pg) && PQstatus(conn->pg) == CONNECTION_OK) {
            sv_pg_fault(conn, "reading", PQerrorMessage(conn->pg));
        }
    }

    sv_pg_flush(conn);
    sv_pg_drain(conn);
}


/*
 * PQgetResult blocks unless PQisBusy said no, and returns NULL for ever when
 * nothing is expected.  A NULL ends the results of a query and is followed by
 * its sync point, so two in a row mean that libpq has nothing more.
 */

static void
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


static void
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


static void
sv_pg_flush_timer(void *data)
{
    sv_pg_conn_t  *conn;

    conn = data;
    conn->flush_posted = 0;

    if (conn->broken) {
        sv_pg_fault(conn, "sending", PQerrorMessage(conn->pg));

    } else {
        sv_pg_flush(conn);
    }

    if (conn->fault[0] != '\0') {
        sv_pg_drain(conn);
    }
}


/* libpq older than 17 cannot add a sync point without sending at once */

static int
sv_pg_sync(PGconn *pg)
{
#ifdef LIBPQ_HAS_SEND_PIPELINE_SYNC
    return PQsendPipelineSync(pg);
#else
    return PQpipelineSync(pg);
#endif
}


/* What is put into the pipeline leaves at the end of this turn of the loop. */

static void
sv_pg_wake(sv_pg_conn_t *conn)
{
    sv_loop_t  *loop;

    loop = conn->pool->loop;

    if (!conn->flush_posted) {
        conn->flush_posted = 1;
        loop->timer_post(conn->flush);
    }

    if (!conn->timer_armed) {
        conn->timer_armed = 1;
        loop->timer_set(conn->timer, conn->pool->conf.silence_ms);
    }
}


static void
sv_pg_timer(void *data)
{
    sv_pg_conn_t  *conn;

    conn = data;

    switch (conn->state) {

    case SV_PG_DOWN:
        sv_pg_connect(conn);
        return;

    case SV_PG_CONNECTING:
        sv_pg_conn_close(conn, "no connection in time");
        return;

    case SV_PG_PREPARING:
        sv_pg_conn_close(conn, "statements not prepared in time");
        return;

    case SV_PG_READY:
    case SV_PG_DRAINING:
        sv_pg_listen(conn);
        return;
    }
}


/*
 * The silence timer is not moved with every result: it looks, when it runs,
 * whether it was too early.
 */

static void
sv_pg_listen(sv_pg_conn_t *conn)
{
    uint64_t    silent;
    sv_loop_t  *loop;

    loop = conn->pool->loop;
    conn->timer_armed = 0;

    if (conn->in_flight == 0) {
        return;
    }

    silent = loop->now(loop) - conn->heard;

    if (silent >= conn->pool->conf.silence_ms) {
        sv_pg_conn_close(conn, "silent, with queries in flight");
        return;
    }

    conn->timer_armed = 1;
    loop->timer_set(conn->timer,
                    conn->pool->conf.silence_ms - (unsigned) silent);
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


static void
sv_pg_fault(sv_pg_conn_t *conn, const char *what, const char *text)
{
    if (conn->fault[0] != '\0') {
        return;
    }

    conn->broken = 1;
    snprintf(conn->fault, sizeof(conn->fault), "%s: %.*s", what,
             (int) strcspn(text, "\n"), text);
}
