/*
 * The life of one connection to PostgreSQL: its states, its timers, its end.
 */

#include "sv_pg_conn.h"

#include <stdio.h>
#include <string.h>


static void sv_pg_log_close(sv_pg_conn_t *conn, const char *why, unsigned ms, int was_up);
static void sv_pg_flush_timer(void *data);
static void sv_pg_timer(void *data);
static void sv_pg_listen(sv_pg_conn_t *conn);


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

void
sv_pg_state(sv_pg_conn_t *conn, sv_pg_state_t state)
{
    conn->pool->ready -= (conn->state == SV_PG_READY);
    conn->pool->ready += (state == SV_PG_READY);
    conn->state = state;
}


void
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


void
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


/* What is put into the pipeline leaves at the end of this turn of the loop. */

void
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


void
sv_pg_fault(sv_pg_conn_t *conn, const char *what, const char *text)
{
    if (conn->fault[0] != '\0') {
        return;
    }

    conn->broken = 1;
    snprintf(conn->fault, sizeof(conn->fault), "%s: %.*s", what,
             (int) strcspn(text, "\n"), text);
}
