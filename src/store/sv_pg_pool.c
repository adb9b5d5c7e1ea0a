/*
 * The pool: which connection takes a query, and what waits.
 */

#include "sv_pg_conn.h"

#include <stdlib.h>
#include <string.h>


static int sv_pg_pool_copy(sv_pg_pool_t *pool, const sv_pg_pool_conf_t *conf);
static void sv_pg_pool_free(sv_pg_pool_t *pool);
static sv_pg_conn_t *sv_pg_pool_pick(sv_pg_pool_t *pool);
static sv_pg_query_t *sv_pg_query_new(sv_pg_pool_t *pool, unsigned statement,
    sv_pg_reply_pt handler, void *data);
static char **sv_pg_params_copy(const char *const *params, int n);


sv_pg_pool_t *
sv_pg_pool_create(sv_loop_t *loop, const sv_pg_pool_conf_t *conf)
{
    unsigned       i;
    sv_pg_pool_t  *pool;

    pool = calloc(1, sizeof(sv_pg_pool_t));
    if (pool == NULL) {
        return NULL;
    }

    pool->loop = loop;
    pool->starting = 1;
    TAILQ_INIT(&pool->waiting);
    TAILQ_INIT(&pool->idle);

    if (sv_pg_pool_copy(pool, conf) != 0) {
        sv_pg_pool_free(pool);
        return NULL;
    }

    for (i = 0; i < conf->size; i++) {
        if (sv_pg_conn_start(&pool->conns[i], pool, i) != 0) {
            sv_pg_pool_destroy(pool);
            return NULL;
        }

        pool->conf.size = i + 1;
    }

    return pool;
}


void
sv_pg_pool_close(sv_pg_pool_t *pool)
{
    unsigned  i;

    pool->closing = 1;

    for (i = 0; i < pool->conf.size; i++) {
        sv_pg_conn_close(&pool->conns[i], NULL);
    }

    sv_pg_pool_check(pool);
}


void
sv_pg_pool_destroy(sv_pg_pool_t *pool)
{
    unsigned  i;

    sv_pg_pool_close(pool);

    for (i = 0; i < pool->conf.size; i++) {
        sv_pg_conn_free(&pool->conns[i]);
    }

    sv_pg_pool_free(pool);
}


sv_pg_query_t *
sv_pg_query(sv_pg_pool_t *pool, unsigned statement, const char *const *params,
    sv_pg_reply_pt handler, void *data)
{
    sv_pg_conn_t   *conn;
    sv_pg_query_t  *query;

    if (statement >= pool->conf.n_statements
        || (pool->ready == 0 && !pool->starting) || pool->closing)
    {
        pool->refused++;
        return NULL;
    }

    query = sv_pg_query_new(pool, statement, handler, data);
    if (query == NULL) {
        pool->refused++;
        return NULL;
    }

    /* nobody overtakes what waits */

    conn = (pool->n_waiting == 0) ? sv_pg_pool_pick(pool) : NULL;

    if (conn != NULL) {
        if (sv_pg_conn_send(conn, query, params) == 0) {
            pool->queries++;
            return query;
        }

    } else if (pool->n_waiting < pool->conf.max_queue) {
        query->params = sv_pg_params_copy(params,
                            pool->conf.statements[statement].n_params);

        if (query->params != NULL) {
            TAILQ_INSERT_TAIL(&pool->waiting, query, link);
            pool->n_waiting++;
            pool->queries++;
            return query;
        }
    }

    sv_pg_query_free(query);
    pool->refused++;

    return NULL;
}


void
sv_pg_forget(sv_pg_query_t *query)
{
    query->handler = NULL;
    query->data = NULL;

    if (query->conn == NULL && query->params != NULL) {
        TAILQ_REMOVE(&query->pool->waiting, query, link);
        query->pool->n_waiting--;
        sv_pg_query_free(query);
    }
}


void
sv_pg_stats(const sv_pg_pool_t *pool, sv_pg_stats_t *stats)
{
    unsigned  i;

    stats->ready = pool->ready;
    stats->in_flight = 0;
    stats->queued = pool->n_waiting;
    stats->connects = pool->connects;
    stats->losses = pool->losses;
    stats->queries = pool->queries;
    stats->errors = pool->errors;
    stats->refused = pool->refused;

    for (i = 0; i < pool->conf.size; i++) {
        stats->in_flight += pool->conns[i].in_flight;
    }
}


void
sv_pg_pool_next(sv_pg_pool_t *pool, sv_pg_conn_t *conn)
{
    char           **params;
    sv_pg_query_t   *query;

    while (conn->state == SV_PG_READY && !conn->broken
           && conn->in_flight < pool->conf.max_in_flight
           && (query = TAILQ_FIRST(&pool->waiting)) != NULL)
    {
        TAILQ_REMOVE(&pool->waiting, query, link);
        params = query->params;
        query->params = NULL;

        if (sv_pg_conn_send(conn, query, (const char *const *) params) != 0) {
            query->params = params;
            TAILQ_INSERT_HEAD(&pool->waiting, query, link);
            return;
        }

        pool->n_waiting--;
        free(params);
    }
}


void
sv_pg_pool_check(sv_pg_pool_t *pool)
{
    sv_pg_query_t  *query;
    sv_pg_reply_t   reply;

    /* a callback's new query is refused while no connection is ready */

    while (((pool->ready == 0 && !pool->starting) || pool->closing)
           && (query = TAILQ_FIRST(&pool->waiting)) != NULL)
    {
        TAILQ_REMOVE(&pool->waiting, query, link);
        pool->n_waiting--;

        free(query->params);
        query->params = NULL;

        memset(&reply, 0, sizeof(sv_pg_reply_t));
        reply.status = SV_PG_NOT_SENT;
        reply.message = "no connection";

        if (query->handler != NULL) {
            query->handler(query->data, &reply);
        }

        sv_pg_query_free(query);
    }
}


void
sv_pg_query_free(sv_pg_query_t *query)
{
    PQclear(query->result);
    PQclear(query->error);
    free(query->params);

#ifdef __SANITIZE_ADDRESS__

    /* a query used after its callback is to be seen */
    free(query);

#else

    memset(&query->conn, 0, sizeof(sv_pg_query_t)
                            - offsetof(sv_pg_query_t, conn));
    TAILQ_INSERT_HEAD(&query->pool->idle, query, link);

#endif
}


static sv_pg_query_t *
sv_pg_query_new(sv_pg_pool_t *pool, unsigned statement, sv_pg_reply_pt handler,
    void *data)
{
    sv_pg_query_t  *query;

    query = TAILQ_FIRST(&pool->idle);

    if (query != NULL) {
        TAILQ_REMOVE(&pool->idle, query, link);

    } else {
        query = calloc(1, sizeof(sv_pg_query_t));
        if (query == NULL) {
            return NULL;
        }
    }

    query->pool = pool;
    query->statement = statement;
    query->handler = handler;
    query->data = data;

    return query;
}


/* the ready connection with the fewest queries in flight, if it has room */

static sv_pg_conn_t *
sv_pg_pool_pick(sv_pg_pool_t *pool)
{
    unsigned       i;
    sv_pg_conn_t  *conn, *best;

    best = NULL;

    for (i = 0; i < pool->conf.size; i++) {
        conn = &pool->conns[i];

        if (conn->state == SV_PG_READY && !conn->broken
            && conn->in_flight < pool->conf.max_in_flight
            && (best == NULL || conn->in_flight < best->in_flight))
        {
            best = conn;
        }
    }

    return best;
}


/* pointers and texts in one block */

static char **
sv_pg_params_copy(const char *const *params, int n)
{
    int      i;
    char    *p, **copy;
    size_t   size, len;

    size = sizeof(char *);

    for (i = 0; i < n; i++) {
        size += sizeof(char *) + (params[i] != NULL ? strlen(params[i]) + 1 : 0);
    }

    copy = malloc(size);
    if (copy == NULL) {
        return NULL;
    }

    p = (char *) (copy + n);

    for (i = 0; i < n; i++) {
        copy[i] = NULL;

        if (params[i] != NULL) {
            len = strlen(params[i]) + 1;
            memcpy(p, params[i], len);
            copy[i] = p;
            p += len;
        }
    }

    return copy;
}


static int
sv_pg_pool_copy(sv_pg_pool_t *pool, const sv_pg_pool_conf_t *conf)
{
    unsigned            i;
    sv_pg_statement_t  *copy;

    pool->conf = *conf;
    pool->conf.conninfo = NULL;
    pool->conf.size = 0;
    pool->conf.n_statements = 0;

    copy = calloc(conf->n_statements + 1, sizeof(sv_pg_statement_t));
    pool->conf.statements = copy;
    pool->conf.name = strdup(conf->name);
    pool->conns = calloc(conf->size, sizeof(sv_pg_conn_t));

    if (copy == NULL || pool->conf.name == NULL || pool->conns == NULL) {
        return -1;
    }

    for (i = 0; i < conf->n_statements; i++) {
        copy[i].name = strdup(conf->statements[i].name);
        copy[i].sql = strdup(conf->statements[i].sql);
        copy[i].n_params = conf->statements[i].n_params;
        pool->conf.n_statements = i + 1;

        if (copy[i].name == NULL || copy[i].sql == NULL) {
            return -1;
        }
    }

    return sv_pg_params_init(&pool->params, conf);
}


static void
sv_pg_pool_free(sv_pg_pool_t *pool)
{
    unsigned        i;
    sv_pg_query_t  *query;

    while ((query = TAILQ_FIRST(&pool->idle)) != NULL) {
        TAILQ_REMOVE(&pool->idle, query, link);
        free(query);
    }

    for (i = 0; i < pool->conf.n_statements; i++) {
        free((char *) pool->conf.statements[i].name);
        free((char *) pool->conf.statements[i].sql);
    }

    sv_pg_params_free(&pool->params);
    free((sv_pg_statement_t *) pool->conf.statements);
    free((char *) pool->conf.name);
    free(pool->conns);
    free(pool);
}
