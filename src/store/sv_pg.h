/*
 * PostgreSQL over libpq pipeline mode, for an event loop: a pool of a few
 * long-lived connections, each with a queue of queries in flight.
 *
 * One sync point per query: an error touches its own query only.
 * Every query that was accepted gets exactly one callback, unless forgotten.
 * Callbacks run from the loop, never from inside sv_pg_query().
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
    SV_PG_NOT_SENT,         /* never left this process: no effect */
    SV_PG_UNKNOWN           /* sent, and the connection was lost: it may have had its effect */
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
    unsigned                  max_queue;      /* waiting queries in the pool; beyond: refused */
    unsigned                  silence_ms;     /* a connection with queries in flight and silent this long is dropped */
    unsigned                  statement_timeout_ms;
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

/* Every query in flight is answered (NOT_SENT or UNKNOWN) before it returns. */
void sv_pg_pool_destroy(sv_pg_pool_t *pool);

/*
 * Text parameters, NULL for SQL null; all are copied. `statement' is an index
 * into conf->statements. NULL: refused (no connection, or queue full); no callback will come.
 */
sv_pg_query_t *sv_pg_query(sv_pg_pool_t *pool, unsigned statement,
    const char *const *params, sv_pg_reply_pt handler, void *data);

/* The callback will not come. What was sent stays sent and its reply is read and dropped. */
void sv_pg_forget(sv_pg_query_t *query);

void sv_pg_stats(const sv_pg_pool_t *pool, sv_pg_stats_t *stats);

/* NULL when usable in an event loop, else what is wrong ("host=db1 would need name resolution, use hostaddr=").  Used when configuration is read. */
const char *sv_pg_conninfo_check(const char *conninfo);

#endif /* SV_PG_H */
