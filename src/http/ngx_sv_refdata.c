#include "ngx_sv_refdata.h"


#define NGX_SV_REFDATA_LEASE     400    /* ms; renewed with each poll */
#define NGX_SV_REFDATA_EPOCH     1000   /* ms between two looks at the epoch */
#define NGX_SV_REFDATA_FULL      5000   /* ms until another whole read is tried that did not fit */
#define NGX_SV_REFDATA_STALE     1000   /* ms */
#define NGX_SV_REFDATA_SOON      10     /* ms */
#define NGX_SV_REFDATA_TRIES     3      /* of a page that PostgreSQL refused */
#define NGX_SV_REFDATA_PAGE      2000   /* rows */
#define NGX_SV_REFDATA_COLUMNS   11


/* in shared memory, guarded by the zone's mutex */
typedef struct {
    ngx_pid_t          owner;           /* 0: the lease is free */
    ngx_uint_t         turn;            /* goes up when the lease changes hands */
    ngx_atomic_t       expires;         /* looked at without the mutex, too */
    ngx_msec_t         retry_at;        /* the zone is full: not before */
    ngx_msec_t         interval;
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
    ngx_msec_t             interval;

    ngx_uint_t             turn;        /* of the lease, while it is ours */
    ngx_msec_t             epoch_at;    /* when the epoch was last read */
    uint64_t               connects;    /* of the pool, then */
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


/* what a page brought, to be logged when the mutex is free */
typedef struct {
    ngx_uint_t             bad;
    uint64_t               bad_n;
    ngx_uint_t             published;
    sv_ref_stats_t         stats;
} ngx_sv_refdata_page_t;


static ngx_int_t ngx_sv_refdata_init_zone(ngx_shm_zone_t *zone, void *data);
static void ngx_sv_refdata_tick(void *data);
static ngx_msec_t ngx_sv_refdata_next(ngx_sv_refdata_t *rd);
static ngx_int_t ngx_sv_refdata_take(ngx_sv_refdata_t *rd);
static ngx_int_t ngx_sv_refdata_renew(ngx_sv_refdata_t *rd);
static void ngx_sv_refdata_release(ngx_sv_refdata_t *rd);
static ngx_int_t ngx_sv_refdata_lock(ngx_sv_refdata_t *rd);
static void ngx_sv_refdata_unlock(ngx_sv_refdata_t *rd);
static void ngx_sv_refdata_poll(ngx_sv_refdata_t *rd, const sv_pg_stats_t *stats);
static void ngx_sv_refdata_epoch_reply(void *data, const sv_pg_reply_t *reply);
static void ngx_sv_refdata_begin(ngx_sv_refdata_t *rd);
static void ngx_sv_refdata_page(ngx_sv_refdata_t *rd);
static void ngx_sv_refdata_page_reply(void *data, const sv_pg_reply_t *reply);
static ngx_int_t ngx_sv_refdata_apply(ngx_sv_refdata_t *rd, const PGresult *res, ngx_sv_refdata_page_t *page);
static ngx_int_t ngx_sv_refdata_row(const PGresult *res, int i, sv_ref_row_t *row);
static ngx_int_t ngx_sv_refdata_cursor(ngx_sv_refdata_t *rd, const sv_ref_row_t *row);
static void ngx_sv_refdata_report(ngx_sv_refdata_t *rd, const ngx_sv_refdata_page_t *page);
static void ngx_sv_refdata_failed(ngx_sv_refdata_t *rd, const char *what, const sv_pg_reply_t *reply);


ngx_shm_zone_t *
ngx_sv_refdata_zone(ngx_conf_t *cf, ngx_str_t *name, size_t size, void *tag)
{
    ngx_shm_zone_t        *zone;
    ngx_sv_refdata_ctx_t  *ctx;

    if (size < 64 * ngx_pagesize) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "zone \"%V\" for reference data is too small, "
                           "it needs at least %uz bytes", name, 64 * ngx_pagesize);
        return NULL;
    }

    zone = ngx_shared_memory_add(cf, name, size, tag);
    if (zone == NULL) {
        return NULL;
    }

    if (zone->data != NULL) {
        return zone;
    }

    ctx = ngx_pcalloc(cf->pool, sizeof(ngx_sv_refdata_ctx_t));
    if (ctx == NULL) {
        return NULL;
    }

    zone->init = ngx_sv_refdata_init_zone;
    zone->data = ctx;

    return zone;
}


ngx_sv_refdata_t *
ngx_sv_refdata_start(ngx_shm_zone_t *zone, sv_loop_t *loop, sv_pg_pool_t *pool,
    ngx_uint_t feed_statement, ngx_uint_t epoch_statement, ngx_msec_t interval, ngx_log_t *log)
{
    ngx_sv_refdata_t  *rd;

    rd = ngx_calloc(sizeof(ngx_sv_refdata_t), log);
    if (rd == NULL) {
        return NULL;
    }

    rd->ctx = zone->data;
    rd->loop = loop;
    rd->pool = pool;
    rd->log = log;
    rd->feed_statement = feed_statement;
    rd->epoch_statement = epoch_statement;
    rd->interval = ngx_max(interval, NGX_SV_REFDATA_SOON);

    rd->ctx->sh->interval = rd->interval;

    rd->timer = loop->timer(loop, ngx_sv_refdata_tick, rd);
    if (rd->timer == NULL) {
        ngx_free(rd);
        return NULL;
    }

    loop->timer_set(rd->timer, NGX_SV_REFDATA_SOON);

    return rd;
}


void
ngx_sv_refdata_stop(ngx_sv_refdata_t *rd)
{
    if (rd == NULL) {
        return;
    }

    ngx_sv_refdata_release(rd);

    rd->loop->timer_free(rd->timer);

    ngx_free(rd);
}


sv_ref_t *
ngx_sv_refdata_ref(ngx_shm_zone_t *zone)
{
    ngx_sv_refdata_ctx_t  *ctx;

    ctx = zone->data;

    return ctx->ref;
}


ngx_uint_t
ngx_sv_refdata_complete(ngx_sv_refdata_t *rd)
{
    sv_ref_stats_t  stats;

    sv_ref_stats(rd->ctx->ref, &stats);

    return stats.generation != 0;
}


ngx_msec_t
ngx_sv_refdata_age(ngx_sv_refdata_t *rd)
{
    sv_ref_stats_t  stats;

    sv_ref_stats(rd->ctx->ref, &stats);

    /* another process may have a newer idea of the time than ours */

    return stats.fresh_at < ngx_current_msec ? (ngx_msec_t) (ngx_current_msec - stats.fresh_at) : 0;
}


ngx_uint_t
ngx_sv_refdata_stale(ngx_sv_refdata_t *rd)
{
    sv_ref_stats_t  stats;

    sv_ref_stats(rd->ctx->ref, &stats);

    return stats.generation == 0 || stats.full || stats.bad != 0
           || stats.fresh_at + NGX_SV_REFDATA_STALE + 2 * rd->ctx->sh->interval < ngx_current_msec;
}


static ngx_int_t
ngx_sv_refdata_init_zone(ngx_shm_zone_t *zone, void *data)
{
    ngx_sv_refdata_ctx_t  *octx = data;

    void                  *block;
    size_t                 size, len;
    ngx_slab_pool_t       *shpool;
    ngx_sv_refdata_ctx_t  *ctx;

    ctx = zone->data;

    if (octx) {
        *ctx = *octx;
        return NGX_OK;
    }

    shpool = (ngx_slab_pool_t *) zone->shm.addr;
    ctx->shpool = shpool;

    if (zone->shm.exists) {
        ngx_log_error(NGX_LOG_EMERG, zone->shm.log, 0, "zone \"%V\" exists already", &zone->shm.name);
        return NGX_ERROR;
    }

    ctx->sh = ngx_slab_calloc(shpool, sizeof(ngx_sv_refdata_shctx_t));
    if (ctx->sh == NULL) {
        return NGX_ERROR;
    }

    len = sizeof(" in reference data zone \"\"") + zone->shm.name.len;

    shpool->log_ctx = ngx_slab_alloc(shpool, len);
    if (shpool->log_ctx == NULL) {
        return NGX_ERROR;
    }

    ngx_sprintf(shpool->log_ctx, " in reference data zone \"%V\"%Z", &zone->shm.name);

    /* what is left of a new zone is one run of pages: all of it is the block */

    size = shpool->pfree * ngx_pagesize;

    block = ngx_slab_alloc(shpool, size);
    if (block == NULL) {
        return NGX_ERROR;
    }

    ctx->ref = sv_ref_init(block, size);
    if (ctx->ref == NULL) {
        ngx_log_error(NGX_LOG_EMERG, zone->shm.log, 0, "zone \"%V\" of %uz bytes cannot hold reference data",
                      &zone->shm.name, zone->shm.size);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void
ngx_sv_refdata_tick(void *data)
{
    ngx_sv_refdata_t  *rd = data;

    sv_pg_stats_t      stats;

    /* a process that is about to leave answers what it has begun and leaves the rest to its successors */

    if (ngx_exiting || ngx_quit || ngx_terminate) {
        ngx_sv_refdata_release(rd);
        return;
    }

    sv_pg_stats(rd->pool, &stats);

    rd->loop->timer_set(rd->timer, (unsigned) ngx_sv_refdata_next(rd));

    /* without a connection the lease is of no use: a process that has one takes it */

    if (stats.ready == 0) {
        ngx_sv_refdata_release(rd);
        return;
    }

    if (rd->holder ? ngx_sv_refdata_renew(rd) != NGX_OK : ngx_sv_refdata_take(rd) != NGX_OK) {
        return;
    }

    if (rd->query == NULL) {
        ngx_sv_refdata_poll(rd, &stats);
    }
}


/* Those that watch wake up when the lease ends; before the first copy nobody sleeps for long. */

static ngx_msec_t
ngx_sv_refdata_next(ngx_sv_refdata_t *rd)
{
    ngx_msec_int_t  left;

    if (!ngx_sv_refdata_complete(rd)) {
        return ngx_min(rd->interval, 2 * NGX_SV_REFDATA_SOON);
    }

    left = (ngx_msec_int_t) (rd->ctx->sh->expires - ngx_current_msec) + 1;

    if (rd->holder || left > (ngx_msec_int_t) rd->interval || left <= 0) {
        return rd->interval;
    }

    return (ngx_msec_t) ngx_max(left, NGX_SV_REFDATA_SOON);
}


static ngx_int_t
ngx_sv_refdata_take(ngx_sv_refdata_t *rd)
{
    ngx_sv_refdata_shctx_t  *sh;

    sh = rd->ctx->sh;

    if ((ngx_msec_int_t) (sh->expires - ngx_current_msec) > 0
        || !ngx_shmtx_trylock(&rd->ctx->shpool->mutex))
    {
        return NGX_DECLINED;
    }

    if ((ngx_msec_int_t) (sh->expires - ngx_current_msec) > 0) {
        ngx_shmtx_unlock(&rd->ctx->shpool->mutex);
        return NGX_DECLINED;
    }

    sh->owner = ngx_pid;
    sh->turn++;
    sh->expires = ngx_current_msec + ngx_max(NGX_SV_REFDATA_LEASE, 2 * rd->interval);

    rd->turn = sh->turn;
    rd->holder = 1;
    rd->epoch_at = 0;

    ngx_shmtx_unlock(&rd->ctx->shpool->mutex);

    ngx_log_debug1(NGX_LOG_DEBUG_CORE, rd->log, 0, "reference data: turn %ui is ours", rd->turn);

    return NGX_OK;
}


/*
 * Also while a query is in flight: a slow database must not make the lease
 * wander from process to process without anybody ever getting to the end.
 */

static ngx_int_t
ngx_sv_refdata_renew(ngx_sv_refdata_t *rd)
{
    if (ngx_sv_refdata_lock(rd) != NGX_OK) {
        return NGX_DECLINED;
    }

    rd->ctx->sh->expires = ngx_current_msec + ngx_max(NGX_SV_REFDATA_LEASE, 2 * rd->interval);

    ngx_sv_refdata_unlock(rd);

    return NGX_OK;
}


/* What was begun is left to the next holder, see sv_ref_begin(). */

static void
ngx_sv_refdata_release(ngx_sv_refdata_t *rd)
{
    if (rd->query != NULL) {
        sv_pg_forget(rd->query);
        rd->query = NULL;
    }

    if (rd->holder && ngx_sv_refdata_lock(rd) == NGX_OK) {
        sv_ref_abort(rd->ctx->ref);

        rd->ctx->sh->owner = 0;
        rd->ctx->sh->expires = ngx_current_msec;

        ngx_sv_refdata_unlock(rd);
    }

    rd->holder = 0;
}


/*
 * NGX_OK: locked, and it is still our turn.  NGX_AGAIN: somebody else has the
 * mutex.  NGX_DECLINED: we were too slow, the lease is another process's, which
 * has begun anew: what we have in hand must not be applied.
 */

static ngx_int_t
ngx_sv_refdata_lock(ngx_sv_refdata_t *rd)
{
    ngx_sv_refdata_shctx_t  *sh;

    if (!ngx_shmtx_trylock(&rd->ctx->shpool->mutex)) {
        return NGX_AGAIN;
    }

    sh = rd->ctx->sh;

    if (sh->owner == ngx_pid && sh->turn == rd->turn) {
        return NGX_OK;
    }

    ngx_shmtx_unlock(&rd->ctx->shpool->mutex);

    rd->holder = 0;

    if (rd->query != NULL) {
        sv_pg_forget(rd->query);
        rd->query = NULL;
    }

    return NGX_DECLINED;
}


static void
ngx_sv_refdata_unlock(ngx_sv_refdata_t *rd)
{
    ngx_shmtx_unlock(&rd->ctx->shpool->mutex);
}


static void
ngx_sv_refdata_poll(ngx_sv_refdata_t *rd, const sv_pg_stats_t *stats)
{
    /* a new connection may lead to another database: that has to be known before its rows are applied */

    if (rd->epoch_at != 0 && rd->connects == stats->connects && rd->ready == stats->ready
        && ngx_current_msec - rd->epoch_at < NGX_SV_REFDATA_EPOCH)
    {
        ngx_sv_refdata_begin(rd);
        return;
    }

    rd->epoch_at = ngx_current_msec;
    rd->connects = stats->connects;
    rd->ready = stats->ready;

    rd->query = sv_pg_query(rd->pool, (unsigned) rd->epoch_statement, NULL, ngx_sv_refdata_epoch_reply, rd);

    if (rd->query == NULL) {
        ngx_sv_refdata_failed(rd, "the epoch", NULL);
    }
}


static void
ngx_sv_refdata_epoch_reply(void *data, const sv_pg_reply_t *reply)
{
    ngx_sv_refdata_t  *rd = data;

    ngx_int_t          rc;

    rd->query = NULL;

    if (reply->status != SV_PG_OK
        || PQntuples(reply->result) != 1 || PQnfields(reply->result) < 1 || PQgetisnull(reply->result, 0, 0))
    {
        ngx_sv_refdata_failed(rd, "the epoch", reply);
        return;
    }

    rc = ngx_sv_refdata_lock(rd);

    if (rc != NGX_OK) {
        rd->epoch_at = 0;
        return;
    }

    sv_ref_set_epoch(rd->ctx->ref, PQgetvalue(reply->result, 0, 0));

    ngx_sv_refdata_unlock(rd);

    ngx_sv_refdata_begin(rd);
}


static void
ngx_sv_refdata_begin(ngx_sv_refdata_t *rd)
{
    int       whole;
    uint64_t  n;

    if (ngx_sv_refdata_lock(rd) != NGX_OK) {
        return;
    }

    if ((ngx_msec_int_t) (rd->ctx->sh->retry_at - ngx_current_msec) > 0) {
        ngx_sv_refdata_unlock(rd);
        return;
    }

    sv_ref_begin(rd->ctx->ref, &whole, &n);

    ngx_sv_refdata_unlock(rd);

    if (whole) {
        rd->loop->log(rd->loop, SV_LOG_INFO, "reference data: reading it from the beginning");
    }

    /* what follows (n + 1, "", "") is all of n + 1: the rows of one number come together or not at all */

    rd->n = whole ? 0 : n + 1;
    rd->kind[0] = '\0';
    rd->key[0] = '\0';
    rd->tries = 0;

    ngx_sv_refdata_page(rd);
}


static void
ngx_sv_refdata_page(ngx_sv_refdata_t *rd)
{
    u_char       n[NGX_INT64_LEN + 1];
    const char  *params[4];

    *ngx_sprintf(n, "%uL", rd->n) = '\0';

    params[0] = (char *) n;
    params[1] = (char *) rd->kind;
    params[2] = (char *) rd->key;
    params[3] = ngx_value(NGX_SV_REFDATA_PAGE);

    rd->asked_at = ngx_current_msec;

    rd->query = sv_pg_query(rd->pool, (unsigned) rd->feed_statement, params, ngx_sv_refdata_page_reply, rd);

    if (rd->query == NULL) {
        ngx_sv_refdata_failed(rd, "changes", NULL);
    }
}


static void
ngx_sv_refdata_page_reply(void *data, const sv_pg_reply_t *reply)
{
    ngx_sv_refdata_t  *rd = data;

    ngx_int_t              rc;
    ngx_sv_refdata_page_t  page;

    rd->query = NULL;

    /* perhaps too slow under load: what came before it need not be read again */

    if (reply->status == SV_PG_ERROR && ++rd->tries < NGX_SV_REFDATA_TRIES) {
        ngx_sv_refdata_page(rd);
        return;
    }

    if (reply->status != SV_PG_OK || PQnfields(reply->result) < NGX_SV_REFDATA_COLUMNS) {
        ngx_sv_refdata_failed(rd, "changes", reply);
        return;
    }

    rc = ngx_sv_refdata_lock(rd);

    if (rc == NGX_DECLINED) {
        return;
    }

    if (rc == NGX_AGAIN) {
        /* nobody holds the mutex for long: the same page once more */
        ngx_sv_refdata_page(rd);
        return;
    }

    ngx_memzero(&page, sizeof(ngx_sv_refdata_page_t));

    rc = ngx_sv_refdata_apply(rd, reply->result, &page);

    ngx_sv_refdata_unlock(rd);

    ngx_sv_refdata_report(rd, &page);

    if (rc == NGX_AGAIN) {
        ngx_sv_refdata_page(rd);

    } else if (rc == NGX_ERROR) {
        ngx_sv_refdata_failed(rd, "changes", reply);
    }
}


/*
 * With the mutex.  NGX_OK: published, or given up because the zone is full;
 * NGX_AGAIN: there are more pages; NGX_ERROR: these are not the rows we know.
 */

static ngx_int_t
ngx_sv_refdata_apply(ngx_sv_refdata_t *rd, const PGresult *res, ngx_sv_refdata_page_t *page)
{
    int            i, rows;
    sv_ref_t      *ref;
    sv_ref_rc_t    rc;
    sv_ref_row_t   row;

    ref = rd->ctx->ref;
    rows = PQntuples(res);

    for (i = 0; i < rows; i++) {

        if (ngx_sv_refdata_row(res, i, &row) != NGX_OK) {
            return NGX_ERROR;
        }

        rc = sv_ref_apply(ref, &row);

        if (rc == SV_REF_FULL) {
            sv_ref_abort(ref);
            sv_ref_stats(ref, &page->stats);

            if (page->stats.full) {
                rd->ctx->sh->retry_at = ngx_current_msec + NGX_SV_REFDATA_FULL;
            }

            return NGX_OK;
        }

        if (rc == SV_REF_BAD_ROW && page->bad++ == 0) {
            page->bad_n = row.n;
        }
    }

    if (rows == NGX_SV_REFDATA_PAGE) {
        return ngx_sv_refdata_cursor(rd, &row);
    }

    sv_ref_end(ref, rd->asked_at);
    sv_ref_stats(ref, &page->stats);
    page->published = 1;

    return NGX_OK;
}


static ngx_int_t
ngx_sv_refdata_row(const PGresult *res, int i, sv_ref_row_t *row)
{
    int        f;
    off_t      n;
    ngx_str_t  text;

    for (f = 0; f < 4; f++) {
        if (PQgetisnull(res, i, f)) {
            return NGX_ERROR;
        }
    }

    text.data = (u_char *) PQgetvalue(res, i, 0);
    text.len = ngx_strlen(text.data);

    n = ngx_atoof(text.data, text.len);
    if (n == NGX_ERROR) {
        return NGX_ERROR;
    }

    row->n = (uint64_t) n;
    row->kind = PQgetvalue(res, i, 1);
    row->key = PQgetvalue(res, i, 2);
    row->deleted = PQgetvalue(res, i, 3)[0] == 't';

    for (f = 0; f < 7; f++) {
        row->field[f] = PQgetisnull(res, i, 4 + f) ? NULL : PQgetvalue(res, i, 4 + f);
    }

    return NGX_OK;
}


/* The next page begins behind this row. */

static ngx_int_t
ngx_sv_refdata_cursor(ngx_sv_refdata_t *rd, const sv_ref_row_t *row)
{
    size_t  kind, key;

    kind = ngx_strlen(row->kind) + 1;
    key = ngx_strlen(row->key) + 1;

    if (kind > sizeof(rd->kind) || key > sizeof(rd->key)) {
        return NGX_ERROR;
    }

    rd->n = row->n;
    rd->tries = 0;
    ngx_memcpy(rd->kind, row->kind, kind);
    ngx_memcpy(rd->key, row->key, key);

    return NGX_AGAIN;
}


/* Without the mutex, after a page. */

static void
ngx_sv_refdata_report(ngx_sv_refdata_t *rd, const ngx_sv_refdata_page_t *page)
{
    if (page->bad != 0) {
        rd->loop->log(rd->loop, SV_LOG_ERROR,
                      "reference data: %u rows cannot be read and are taken in their strictest sense, "
                      "the first is change %llu", (unsigned) page->bad, (unsigned long long) page->bad_n);
    }

    if (page->stats.full && !rd->full) {
        rd->full = 1;
        rd->loop->log(rd->loop, SV_LOG_ERROR,
                      "reference data does not fit into its zone, the copy as of change %llu stays "
                      "and is stale: make the zone larger", (unsigned long long) page->stats.n);
    }

    if (!page->published) {
        return;
    }

    if (rd->full) {
        rd->full = 0;
        rd->loop->log(rd->loop, SV_LOG_NOTICE, "reference data fits into its zone again");
    }

    if (rd->failing) {
        rd->failing = 0;
        rd->loop->log(rd->loop, SV_LOG_NOTICE, "reference data is read again");
    }
}


/* The lease is given up: another process may have better luck with its connections. */

static void
ngx_sv_refdata_failed(ngx_sv_refdata_t *rd, const char *what, const sv_pg_reply_t *reply)
{
    const char  *why;

    /* connections that are lost are the pool's to tell */

    if (!rd->failing && reply != NULL && reply->status != SV_PG_NOT_SENT) {
        rd->failing = 1;

        if (reply->status == SV_PG_OK) {
            why = "unexpected answer";

        } else {
            why = reply->message != NULL ? reply->message : "";
        }

        rd->loop->log(rd->loop, SV_LOG_WARN, "reference data: cannot read %s, the copy stays as it is: %s", what, why);
    }

    ngx_sv_refdata_release(rd);
}
