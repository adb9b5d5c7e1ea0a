/*
 * What sv_pg_pool.c (queries, waiting queue), sv_pg_conn.c, sv_pg_connect.c and
 * sv_pg_pipeline.c (one connection) and sv_pg_reply.c (answers) share.  Nobody
 * else includes it.
 *
 * A pool owns its connections and all its queries.  A query is either in the
 * waiting queue of the pool or in the FIFO of one connection; the FIFO is the
 * truth about what that pipeline still has to answer.
 */

#ifndef SV_PG_CONN_H
#define SV_PG_CONN_H

#include "sv_pg.h"
#include "sv_pg_conninfo.h"
#include "../io/sv_backoff.h"

#include <sys/queue.h>


typedef struct sv_pg_conn_s  sv_pg_conn_t;

typedef enum {
    SV_PG_DOWN,             /* no PGconn; the timer will connect */
    SV_PG_CONNECTING,       /* PQconnectPoll is under way; the timer gives up */
    SV_PG_PREPARING,        /* statements are being prepared; the timer gives up */
    SV_PG_READY,            /* takes queries; the timer watches for silence */
    SV_PG_DRAINING          /* takes none, answers what is in flight, then reconnects */
} sv_pg_state_t;

struct sv_pg_query_s {
    TAILQ_ENTRY(sv_pg_query_s)   link;
    sv_pg_pool_t                *pool;
    sv_pg_conn_t                *conn;          /* NULL: waiting */
    sv_pg_reply_pt               handler;       /* NULL: nobody is interested */
    void                        *data;
    unsigned                     statement;
    unsigned                     unconfirmed:1; /* commit did not wait for the standby */
    char                       **params;        /* a copy, while waiting; one block */
    PGresult                    *result;        /* held until the sync point: only then it is committed */
    PGresult                    *error;
};

typedef TAILQ_HEAD(sv_pg_queue_s, sv_pg_query_s)  sv_pg_queue_t;

struct sv_pg_conn_s {
    sv_pg_pool_t    *pool;
    unsigned         number;
    sv_pg_state_t    state;

    PGconn          *pg;
    int              fd;            /* our duplicate of libpq's socket */
    sv_watch_t      *watch;
    unsigned         interest;
    sv_timer_t      *timer;
    sv_timer_t      *flush;
    unsigned         flush_posted:1;
    unsigned         timer_armed:1; /* READY, DRAINING: the silence timer runs */
    unsigned         proved:1;      /* a query was answered well on this connection */
    unsigned         broken:1;      /* takes nothing more, closed before this turn ends */

    unsigned         prepared;      /* statements that have passed their sync point */
    sv_pg_queue_t    fifo;          /* sent, oldest first */
    unsigned         in_flight;
    uint64_t         heard;         /* ms: last bytes read, or FIFO became non-empty */
    uint64_t         ready_since;

    sv_backoff_t     backoff;
    char             fault[256];    /* set: close when libpq's results are read */
};

struct sv_pg_pool_s {
    sv_loop_t          *loop;
    sv_pg_pool_conf_t   conf;       /* name and statements are our copies */
    sv_pg_params_t      params;
    sv_pg_conn_t       *conns;
    unsigned            closing:1;
    unsigned            starting:1;     /* no connection is ready yet and none has failed: queries wait */

    sv_pg_queue_t       waiting;
    unsigned            n_waiting;
    sv_pg_queue_t       idle;       /* query structs to use again */
    char                last_fault[256];    /* what the log was last warned of, and when */
    uint64_t            last_warning;

    unsigned            ready;      /* connections in state READY */
    uint64_t            connects;
    uint64_t            losses;
    uint64_t            queries;
    uint64_t            errors;
    uint64_t            refused;
};


/* sv_pg_conn.c */

/* Starts connecting. -1: out of memory */
int sv_pg_conn_start(sv_pg_conn_t *conn, sv_pg_pool_t *pool, unsigned number);

/* The one way a connection ends: its queries are answered. why NULL: for good. Never from a callback. */
void sv_pg_conn_close(sv_pg_conn_t *conn, const char *why);
void sv_pg_conn_free(sv_pg_conn_t *conn);

/* The only place where a state changes. */
void sv_pg_state(sv_pg_conn_t *conn, sv_pg_state_t state);
void sv_pg_ready(sv_pg_conn_t *conn);
void sv_pg_io(void *data, unsigned ready);

/* What is put into the pipeline leaves at the end of this turn of the loop. */
void sv_pg_wake(sv_pg_conn_t *conn);

/* Notes why the connection has to go; it goes when what was read is delivered. */
void sv_pg_fault(sv_pg_conn_t *conn, const char *what, const char *text);


/* sv_pg_connect.c */

void sv_pg_connect(sv_pg_conn_t *conn);
void sv_pg_connect_poll(sv_pg_conn_t *conn);
void sv_pg_prepare_result(sv_pg_conn_t *conn, PGresult *result);
void sv_pg_unwatch(sv_pg_conn_t *conn);
void sv_pg_interest(sv_pg_conn_t *conn, unsigned events);


/* sv_pg_pipeline.c */

/* Puts the query into the pipeline. -1: not sent, and the connection will be closed. */
int sv_pg_conn_send(sv_pg_conn_t *conn, sv_pg_query_t *query,
    const char *const *params);
int sv_pg_sync(PGconn *pg);
void sv_pg_flush(sv_pg_conn_t *conn);

/* Delivers what has arrived, and closes the connection when that has to be. */
void sv_pg_drain(sv_pg_conn_t *conn);


/* sv_pg_reply.c: from results to one answer */

void sv_pg_result_add(sv_pg_query_t *query, PGresult *result);
/* What SV_PG_ERROR with this result means for the connection: 1, it has to be replaced. */
int sv_pg_result_stale(const PGresult *error);
/* The notice says that a commit did not wait for its standby. */
int sv_pg_notice_unconfirmed(const PGresult *notice);
/* Answers and frees the query. `synced': its sync point was passed; else the connection was lost, `why' */
void sv_pg_answer(sv_pg_query_t *query, int synced, const char *why);


/* sv_pg_pool.c */

void sv_pg_query_free(sv_pg_query_t *query);
/* The connection has room: it takes waiting queries. */
void sv_pg_pool_next(sv_pg_pool_t *pool, sv_pg_conn_t *conn);
/* A connection is no longer ready: without any, nothing waits. */
void sv_pg_pool_check(sv_pg_pool_t *pool);

#endif /* SV_PG_CONN_H */
