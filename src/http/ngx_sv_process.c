/*
 * What one worker process holds, from init_process to exit_process.  A backend
 * that is down is no error here: the stores keep trying, the requests are told.
 */

#include "ngx_sv.h"


#define NGX_SV_TICK  1000                   /* epoch and gauges */


static ngx_int_t ngx_sv_process_pools(ngx_sv_worker_t *worker, ngx_log_t *log);
static ngx_int_t ngx_sv_process_cache(ngx_sv_worker_t *worker);
static void ngx_sv_process_read_epoch(void *data);
static void ngx_sv_process_epoch(void *data, const sv_pg_reply_t *reply);
static void ngx_sv_process_tick(void *data);


/* nginx gives a module no place of its own in a worker process */
static ngx_sv_worker_t  *ngx_sv_this_worker;


ngx_sv_worker_t *
ngx_sv_worker(void)
{
    return ngx_sv_this_worker;
}


ngx_int_t
ngx_sv_process_init(ngx_cycle_t *cycle)
{
    ngx_sv_worker_t     *worker;
    ngx_sv_main_conf_t  *smcf;

    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE) {
        return NGX_OK;
    }

    smcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_serial_verify_module);

    if (smcf == NULL || !smcf->used) {
        return NGX_OK;
    }

    worker = ngx_calloc(sizeof(ngx_sv_worker_t), cycle->log);
    if (worker == NULL) {
        return NGX_ERROR;
    }

    ngx_sv_this_worker = worker;
    worker->conf = smcf;

    /* the share of this process, at least one list */
    worker->bulk_limit = ngx_max((ngx_uint_t) smcf->bulk_requests
                                 / (ngx_uint_t) ngx_sv_conf_processes(cycle), 1);

    worker->loop = ngx_sv_loop_create(cycle->log);
    if (worker->loop == NULL
        || ngx_sv_process_cache(worker) != NGX_OK
        || ngx_sv_process_pools(worker, cycle->log) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (smcf->events) {
        worker->events = ngx_sv_events_create(worker, cycle->log);
        if (worker->events == NULL) {
            return NGX_ERROR;
        }
    }

    worker->tick = worker->loop->timer(worker->loop, ngx_sv_process_tick, worker);
    if (worker->tick == NULL) {
        return NGX_ERROR;
    }

    ngx_sv_process_tick(worker);

    return NGX_OK;
}


static ngx_int_t
ngx_sv_process_cache(ngx_sv_worker_t *worker)
{
    char                 epoch[SV_REF_EPOCH];
    sv_redis_conf_t      redis;
    ngx_sv_main_conf_t  *conf;

    conf = worker->conf;
    worker->ref = ngx_sv_refdata_ref(conf->refdata_zone);

    if (conf->redis != 1) {
        return NGX_OK;
    }

    ngx_memzero(&redis, sizeof(sv_redis_conf_t));
    ngx_sv_process_redis(conf, &redis);
    redis.max_in_flight = 10000;

    worker->cache = sv_cache_create(worker->loop, &redis, (unsigned) conf->cache_ttl,
                                    (unsigned) conf->redis_timeout);
    if (worker->cache == NULL) {
        return NGX_ERROR;
    }

    /* what an earlier process knew: after a reload the cache is of use although PostgreSQL is down */
    sv_ref_epoch(worker->ref, epoch);

    if (epoch[0] != '\0') {
        sv_cache_set_epoch(worker->cache, epoch);
    }

    return NGX_OK;
}


void
ngx_sv_process_redis(ngx_sv_main_conf_t *conf, sv_redis_conf_t *redis)
{
    redis->address = (char *) conf->redis_address;
    redis->port = (int) conf->redis_port;
    redis->path = (char *) conf->redis_path;
    redis->password = (char *) conf->redis_password;
    redis->database = (int) conf->redis_database;
    redis->silence_ms = (unsigned) (2 * conf->deadline);
}


static ngx_int_t
ngx_sv_process_pools(ngx_sv_worker_t *worker, ngx_log_t *log)
{
    ngx_uint_t           i;
    ngx_msec_t           deadline;
    sv_pg_pool_conf_t    pool;
    ngx_sv_main_conf_t  *conf;

    static const char *const  names[NGX_SV_POOLS] = { "read", "write", "bulk" };

    static const ngx_sv_refdata_statements_t  statements = { SV_SQL_REF_FEED, SV_SQL_EPOCH, SV_SQL_FIGURES };

    conf = worker->conf;

    for (i = 0; i < NGX_SV_POOLS; i++) {
        deadline = i == NGX_SV_POOL_BULK ? conf->bulk_deadline : conf->deadline;

        ngx_memzero(&pool, sizeof(sv_pg_pool_conf_t));
        pool.name = names[i];
        pool.conninfo = (char *) conf->conninfo;
        pool.statements = sv_sql_statements;
        pool.n_statements = SV_SQL_MAX;
        pool.size = (unsigned) conf->connections[i];

        /* a write may wait for a row lock: nothing queues behind it on its connection */
        pool.max_in_flight = i == NGX_SV_POOL_READ ? 256 : 1;
        pool.max_queue = 4096;

        /* PostgreSQL gives up before we do, so that what is told as not known is rare */
        pool.silence_ms = (unsigned) (2 * deadline);
        pool.statement_timeout_ms = (unsigned) (deadline - deadline / 5);
        pool.lock_timeout_ms = (unsigned) (deadline - deadline / 4);

        if (i == NGX_SV_POOL_READ) {
            pool.on_ready = ngx_sv_process_read_epoch;
            pool.on_ready_data = worker;
        }

        worker->pool[i] = sv_pg_pool_create(worker->loop, &pool);
        if (worker->pool[i] == NULL) {
            return NGX_ERROR;
        }
    }

    worker->verify = sv_verify_create(worker->loop, worker->cache,
                                      worker->pool[NGX_SV_POOL_READ]);
    worker->verify_bulk = sv_verify_create(worker->loop, worker->cache,
                                           worker->pool[NGX_SV_POOL_BULK]);
    worker->operate = sv_operate_create(worker->loop, worker->cache);

    if (worker->verify == NULL || worker->verify_bulk == NULL || worker->operate == NULL) {
        return NGX_ERROR;
    }

    worker->refdata = ngx_sv_refdata_start(conf->refdata_zone, worker->loop,
                                           worker->pool[NGX_SV_POOL_READ], &statements,
                                           conf->refresh, log);

    return worker->refdata != NULL ? NGX_OK : NGX_ERROR;
}


void
ngx_sv_process_exit(ngx_cycle_t *cycle)
{
    ngx_uint_t        i;
    ngx_sv_worker_t  *worker;

    worker = ngx_sv_this_worker;

    if (worker == NULL) {
        return;
    }

    worker->stopping = 1;

    if (worker->events != NULL) {
        ngx_sv_events_destroy(worker->events);
        worker->events = NULL;
    }

    if (worker->refdata != NULL) {
        ngx_sv_refdata_stop(worker->refdata);
    }

    /*
     * All pools are closed before any of them, or the cache, is freed: an
     * operation that ends lets the next one in, on another pool; a look-up
     * that waits for the cache turns to a pool.
     */
    for (i = 0; i < NGX_SV_POOLS; i++) {
        if (worker->pool[i] != NULL) {
            sv_pg_pool_close(worker->pool[i]);
        }
    }

    if (worker->cache != NULL) {
        sv_cache_destroy(worker->cache);
    }

    if (worker->verify != NULL) {
        sv_verify_destroy(worker->verify);
    }

    if (worker->verify_bulk != NULL) {
        sv_verify_destroy(worker->verify_bulk);
    }

    if (worker->operate != NULL) {
        sv_operate_destroy(worker->operate);
    }

    for (i = 0; i < NGX_SV_POOLS; i++) {
        if (worker->pool[i] != NULL) {
            sv_pg_pool_destroy(worker->pool[i]);
        }
    }

    if (worker->tick != NULL) {
        worker->loop->timer_free(worker->tick);
    }

    ngx_sv_loop_destroy(worker->loop);
    ngx_free(worker);
    ngx_sv_this_worker = NULL;
}


/* A connection to PostgreSQL is new: it may be another server, or the same one restored. */
static void
ngx_sv_process_read_epoch(void *data)
{
    ngx_sv_worker_t  *worker = data;

    /* on_ready may come before create() has returned the pool */
    if (worker->cache != NULL && worker->pool[NGX_SV_POOL_READ] != NULL) {
        (void) sv_pg_query(worker->pool[NGX_SV_POOL_READ], SV_SQL_EPOCH, NULL,
                           ngx_sv_process_epoch, worker);
    }
}


static void
ngx_sv_process_epoch(void *data, const sv_pg_reply_t *reply)
{
    ngx_sv_worker_t  *worker = data;

    if (reply->status == SV_PG_OK && PQntuples(reply->result) == 1
        && !PQgetisnull(reply->result, 0, 0))
    {
        sv_cache_set_epoch(worker->cache, PQgetvalue(reply->result, 0, 0));
    }
}


static void
ngx_sv_process_tick(void *data)
{
    ngx_sv_worker_t  *worker = data;

    /* the counter that an operator bumps is part of the epoch */
    ngx_sv_process_read_epoch(worker);
    ngx_sv_stats_publish(worker);

    worker->loop->timer_set(worker->tick, NGX_SV_TICK);
}
