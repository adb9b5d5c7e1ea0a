#include "ngx_sv_refdata_poll.h"


#define NGX_SV_REFDATA_LEASE     400    /* ms; renewed with each poll */
#define NGX_SV_REFDATA_STALE     1000   /* ms */
#define NGX_SV_REFDATA_SOON      10     /* ms */


static ngx_int_t ngx_sv_refdata_init_zone(ngx_shm_zone_t *zone, void *data);
static void ngx_sv_refdata_tick(void *data);
static ngx_msec_t ngx_sv_refdata_next(ngx_sv_refdata_t *rd);
static ngx_int_t ngx_sv_refdata_take(ngx_sv_refdata_t *rd);
static ngx_int_t ngx_sv_refdata_renew(ngx_sv_refdata_t *rd);


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
    const ngx_sv_refdata_statements_t *statements, ngx_msec_t interval, ngx_log_t *log)
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
    rd->feed_statement = statements->feed;
    rd->epoch_statement = statements->epoch;
    rd->figures_statement = statements->figures;
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

void
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


ngx_int_t
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


void
ngx_sv_refdata_unlock(ngx_sv_refdata_t *rd)
{
    ngx_shmtx_unlock(&rd->ctx->shpool->mutex);
}
