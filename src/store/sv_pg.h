/*
 * PostgreSQL over libpq pipeline mode, for an event loop: a pool of a few
 * long-lived connections, each with a queue of queries in flight.
 *
 * One sync point per query: an error touches its own query only.
 * Every query that was accepted gets exactly one callback, unless forgotten.
 *
 * The pool owns its connections, sockets, timers and queries.  A query is
 * valid until its callback returns.  Callbacks, on_ready too, run from the
 * loop, or from sv_pg_pool_destroy(); never from inside sv_pg_query().  They
 * may call anything here but sv_pg_pool_destroy().
 *
 * SV_PG_OK is said when the transaction has been committed, not when the rows
 * are there.  What is not known to be committed or refused is SV_PG_UNKNOWN:
 * also a commit that did not wait for its synchronous standby to the end.
 *
 * A connection is replaced after an error that would meet every other query,
 * too (read-only server, lost prepared statement, stale plan); whoever waits
 * in vain for a connection finds the reason in the log, once a minute.
 */

#ifndef SV_PG_H
#define SV_PG_H

#include "../io/sv_loop.h"

#include <libpq-fe.h>
#include <stddef.h>


typedef struct sv_pg_pool_s   sv_pg_pool_t;
typedef struct sv_pg_query_s  sv_pg_query_t;

typedef struct {
    const char  *name;          /* prepared under this name on every connection */
    const char  *sql;
    int          n_params;
} sv_pg_statement_t;

typedef enum {
    SV_PG_OK,               /* `result' holds the rows */
    SV_PG_ERROR,            /* PostgreSQL refused this query: `sqlstate'; it had no effect */
    SV_PG_NOT_SENT,         /* it waited, and there is no connection any more: no effect */
    SV_PG_UNKNOWN           /* sent, and the outcome is not known: it may have had its effect */
} sv_pg_status_t;

typedef struct {
    sv_pg_status_t   status;
    const PGresult  *result;        /* SV_PG_OK only; valid during the callback */
    char             sqlstate[6];   /* SV_PG_ERROR only */
    const char      *message;       /* for the log, never for a client; valid during the callback */
} sv_pg_reply_t;

typedef void (*sv_pg_reply_pt)(void *data, const sv_pg_reply_t *reply);

typedef struct {
    const char               *name;           /* for the log: "read", "write", "bulk" */
    const char               *conninfo;       /* numeric hostaddr or socket directory only (checked by sv_pg_conninfo_check) */
    const sv_pg_statement_t  *statements;
    unsigned                  n_statements;
    unsigned                  size;           /* connections */
    unsigned                  max_in_flight;  /* queries a connection; beyond: queue */
    unsigned                  max_queue;      /* waiting queries in the pool; beyond: refused. Without a ready connection nothing waits */
    unsigned                  silence_ms;     /* a connection with queries in flight and silent this long is dropped */
    unsigned                  statement_timeout_ms;   /* 0: none; below silence_ms */
    unsigned                  lock_timeout_ms;
    void                    (*on_ready)(void *data);   /* a connection became ready, may be NULL */
    void                     *on_ready_data;
} sv_pg_pool_conf_t;

typedef struct {
    unsigned  ready;            /* connections that take queries */
    unsigned  in_flight;
    unsigned  queued;
    uint64_t  connects, losses, queries, errors, refused;
} sv_pg_stats_t;


/* Strings of `conf' are copied. Starts connecting at once; a server that is down is no error. NULL: out of memory. */
sv_pg_pool_t *sv_pg_pool_create(sv_loop_t *loop, const sv_pg_pool_conf_t *conf);

/* Every query is answered (NOT_SENT or UNKNOWN) before it returns. Not from a callback. */
void sv_pg_pool_destroy(sv_pg_pool_t *pool);

/* The first half of it, where several pools end together: everything is answered, from now on queries are refused. */
void sv_pg_pool_close(sv_pg_pool_t *pool);

/*
 * Text parameters, NULL for SQL null; all are copied. `statement' is an index
 * into conf->statements. NULL: refused (no connection, or queue full); no callback will come.
 * A pool that has just been created queues until its first connection is ready
 * or has failed: a reload answers nobody with an error for want of a moment.
 */
sv_pg_query_t *sv_pg_query(sv_pg_pool_t *pool, unsigned statement,
    const char *const *params, sv_pg_reply_pt handler, void *data);

/* The callback will not come. What waits is not sent; what was sent stays sent and its reply is read and dropped. */
void sv_pg_forget(sv_pg_query_t *query);

void sv_pg_stats(const sv_pg_pool_t *pool, sv_pg_stats_t *stats);

/* NULL when usable in an event loop, else what is wrong ("host=db1 would need name resolution, use hostaddr=").  Used when configuration is read. */
const char *sv_pg_conninfo_check(const char *conninfo);

#endif /* SV_PG_H */
