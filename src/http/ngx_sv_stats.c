/*
 * Counters of all worker processes, in a zone of their own.  Every update is
 * one atomic addition: nothing to lock, nothing to tear.
 */

#include "ngx_sv.h"


static ngx_int_t ngx_sv_stats_init_zone(ngx_shm_zone_t *zone, void *data);


/* milliseconds; the last bucket is +Inf. 300 is the EMVS service level. */
const ngx_msec_t  ngx_sv_stats_bounds[NGX_SV_BUCKETS - 1] = {
    1, 2, 5, 10, 25, 50, 100, 250, 300, 500, 1000, 5000
};


ngx_int_t
ngx_sv_stats_zone(ngx_conf_t *cf, ngx_sv_main_conf_t *conf)
{
    size_t     size;
    ngx_str_t  name = ngx_string("serial_verify_stats");

    size = ngx_align(sizeof(ngx_sv_stats_t), ngx_pagesize) + 8 * ngx_pagesize;

    conf->stats_zone = ngx_shared_memory_add(cf, &name, size, &ngx_serial_verify_module);
    if (conf->stats_zone == NULL) {
        return NGX_ERROR;
    }

    conf->stats_zone->init = ngx_sv_stats_init_zone;
    conf->stats_zone->data = conf;

    return NGX_OK;
}


static ngx_int_t
ngx_sv_stats_init_zone(ngx_shm_zone_t *zone, void *data)
{
    ngx_slab_pool_t  *shpool;

    shpool = (ngx_slab_pool_t *) zone->shm.addr;

    if (data != NULL || zone->shm.exists) {
        return NGX_OK;
    }

    shpool->data = ngx_slab_calloc(shpool, sizeof(ngx_sv_stats_t));

    return shpool->data != NULL ? NGX_OK : NGX_ERROR;
}


ngx_sv_stats_t *
ngx_sv_stats(ngx_sv_main_conf_t *conf)
{
    return ((ngx_slab_pool_t *) conf->stats_zone->shm.addr)->data;
}


void
ngx_sv_count(ngx_sv_counter_e counter)
{
    (void) ngx_atomic_fetch_add(&ngx_sv_stats(ngx_sv_worker()->conf)->counter[counter], 1);
}


void
ngx_sv_count_n(ngx_sv_counter_e counter, ngx_uint_t n)
{
    (void) ngx_atomic_fetch_add(&ngx_sv_stats(ngx_sv_worker()->conf)->counter[counter], (ngx_atomic_int_t) n);
}


/* Scans put right what processes add up: between the two it may be below nothing. */
off_t
ngx_sv_stats_spool(ngx_sv_main_conf_t *conf)
{
    ngx_atomic_int_t  bytes;

    bytes = (ngx_atomic_int_t) ngx_sv_stats(conf)->spool_bytes;

    return bytes > 0 ? (off_t) bytes : 0;
}


void
ngx_sv_count_reason(sv_reason_t reason)
{
    switch (sv_reason_row(reason)->verify_status) {

    case NGX_HTTP_OK:
        ngx_sv_count(reason == SV_REASON_OK ? NGX_SV_VERIFY : NGX_SV_VERIFY_NOT);
        break;

    default:
        ngx_sv_count(NGX_SV_VERIFY_UNKNOWN);
        break;
    }
}


/* What was decided now; a replay gives out nothing new. */
void
ngx_sv_count_outcome(const sv_outcome_t *outcome)
{
    if (outcome->replayed) {
        ngx_sv_count(NGX_SV_OP_REPLAYED);
        return;
    }

    ngx_sv_count(outcome->changed ? NGX_SV_OP_CHANGED : NGX_SV_OP_REFUSED);

    if (outcome->alert[0] != '\0') {
        ngx_sv_count(NGX_SV_ALERTS);
    }

    if (outcome->hint) {
        ngx_sv_count(NGX_SV_HINTS);
    }
}


void
ngx_sv_time(ngx_sv_time_e what, ngx_msec_t started)
{
    ngx_uint_t       i;
    ngx_msec_t       ms;
    ngx_sv_stats_t  *stats;

    stats = ngx_sv_stats(ngx_sv_worker()->conf);
    ms = ngx_current_msec - started;

    for (i = 0; i < NGX_SV_BUCKETS - 1 && ms > ngx_sv_stats_bounds[i]; i++) { /* void */ }

    (void) ngx_atomic_fetch_add(&stats->bucket[what][i], 1);

    if (ms != 0) {
        (void) ngx_atomic_fetch_add(&stats->time_sum[what], (ngx_atomic_int_t) ms);
    }
}


void
ngx_sv_stats_publish(ngx_sv_worker_t *worker)
{
    ngx_uint_t       i;
    sv_pg_stats_t    pg;
    ngx_sv_gauge_t  *gauge;

    if (ngx_worker >= NGX_SV_GAUGES) {
        return;
    }

    gauge = &ngx_sv_stats(worker->conf)->gauge[ngx_worker];

    for (i = 0; i < NGX_SV_POOLS; i++) {
        sv_pg_stats(worker->pool[i], &pg);
        gauge->pg_ready[i] = pg.ready;
        gauge->pg_in_flight[i] = pg.in_flight + pg.queued;
    }

    gauge->redis_ready = worker->cache != NULL && sv_cache_usable(worker->cache);
    gauge->operations = sv_operate_in_flight(worker->operate);
    gauge->event_blocks = ngx_sv_events_in_flight(worker->events);
    gauge->pid = (ngx_atomic_uint_t) ngx_pid;
    gauge->updated = ngx_current_msec;
}
