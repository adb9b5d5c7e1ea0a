/*
 * The poller, between ngx_sv_refdata.c (zone, timer, lease) and
 * ngx_sv_refdata_feed.c (queries, rows) and ngx_sv_refdata_figures.c.  Nobody
 * else includes it.
 */

#ifndef NGX_SV_REFDATA_POLL_H
#define NGX_SV_REFDATA_POLL_H

#include "ngx_sv_refdata.h"


/* in shared memory, guarded by the zone's mutex */
typedef struct {
    ngx_pid_t          owner;           /* 0: the lease is free */
    ngx_uint_t         turn;            /* goes up when the lease changes hands */
    ngx_atomic_t       expires;         /* looked at without the mutex, too */
    ngx_msec_t         retry_at;        /* the zone is full: not before */
    ngx_msec_t         interval;
    size_t             figures_len;
    u_char             figures[NGX_SV_REFDATA_FIGURES];
} ngx_sv_refdata_shctx_t;


typedef struct {
    ngx_sv_refdata_shctx_t  *sh;
    ngx_slab_pool_t         *shpool;
    sv_ref_t                *ref;
} ngx_sv_refdata_ctx_t;


struct ngx_sv_refdata_s {
    ngx_sv_refdata_ctx_t  *ctx;
    sv_loop_t             *loop;
    sv_pg_pool_t          *pool;
    sv_timer_t            *timer;
    sv_pg_query_t         *query;       /* in flight */
    ngx_log_t             *log;
    ngx_uint_t             feed_statement;
    ngx_uint_t             epoch_statement;
    ngx_uint_t             figures_statement;
    ngx_msec_t             interval;

    ngx_uint_t             turn;        /* of the lease, while it is ours */
    ngx_msec_t             epoch_at;    /* when the epoch was last read */
    ngx_msec_t             figures_at;
    uint64_t               connects;    /* of the pool, when the epoch was read */
    ngx_uint_t             ready;

    ngx_msec_t             asked_at;    /* for the page in flight */
    ngx_uint_t             tries;
    uint64_t               n;           /* the last row applied */
    u_char                 kind[32];
    u_char                 key[256];

    unsigned               holder:1;
    unsigned               failing:1;
    unsigned               full:1;
};


/*
 * NGX_OK: locked, and it is still our turn.  NGX_AGAIN: somebody else has the
 * mutex.  NGX_DECLINED: we were too slow, the lease is another process's, which
 * has begun anew: what we have in hand must not be applied.
 */
ngx_int_t ngx_sv_refdata_lock(ngx_sv_refdata_t *rd);
void ngx_sv_refdata_unlock(ngx_sv_refdata_t *rd);

/* Forgets the query in flight and gives the lease up. */
void ngx_sv_refdata_release(ngx_sv_refdata_t *rd);

/* With the lease and no query in flight: read what is new. */
void ngx_sv_refdata_poll(ngx_sv_refdata_t *rd, const sv_pg_stats_t *stats);

/* behind the epoch */
void ngx_sv_refdata_changes(ngx_sv_refdata_t *rd);

ngx_int_t ngx_sv_refdata_figures_poll(ngx_sv_refdata_t *rd);

#endif /* NGX_SV_REFDATA_POLL_H */
