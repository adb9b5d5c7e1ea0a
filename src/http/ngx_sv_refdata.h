/*
 * The reference data (src/model/sv_ref.h) in shared memory, and its poller.
 *
 * Every nginx worker process starts one; the one that holds the lease reads
 * sv.ref_feed() and applies it, the others watch the lease.  The mutex of the
 * zone guards the lease and every change; readers take no lock.
 */

#ifndef NGX_SV_REFDATA_H
#define NGX_SV_REFDATA_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "../io/sv_loop.h"
#include "../model/sv_ref.h"
#include "../store/sv_pg.h"


#define NGX_SV_REFDATA_FIGURES  8192    /* bytes */

typedef struct ngx_sv_refdata_s  ngx_sv_refdata_t;

/* of the table of statements */
typedef struct {
    ngx_uint_t  feed, epoch, figures;
} ngx_sv_refdata_statements_t;


/*
 * When configuration is read.  `tag' is the address of the module.  The copy
 * survives a reload unless the size changes.  NULL: what is wrong is logged.
 */
ngx_shm_zone_t *ngx_sv_refdata_zone(ngx_conf_t *cf, ngx_str_t *name, size_t size, void *tag);

/*
 * In every worker process, after fork.  A database that is down is no error.
 * NULL: out of memory.  Nothing here keeps a closing process alive.
 */
ngx_sv_refdata_t *ngx_sv_refdata_start(ngx_shm_zone_t *zone, sv_loop_t *loop, sv_pg_pool_t *pool,
    const ngx_sv_refdata_statements_t *statements, ngx_msec_t interval, ngx_log_t *log);

/* Gives the lease up and forgets the query in flight.  Before the pool and the loop are destroyed. */
void ngx_sv_refdata_stop(ngx_sv_refdata_t *rd);

sv_ref_t *ngx_sv_refdata_ref(ngx_shm_zone_t *zone);             /* NULL: the zone is not set up */
ngx_uint_t ngx_sv_refdata_complete(ngx_sv_refdata_t *rd);       /* there is a copy */
ngx_msec_t ngx_sv_refdata_age(ngx_sv_refdata_t *rd);            /* since it was last known to be up to date */
size_t ngx_sv_refdata_figures(ngx_sv_refdata_t *rd, u_char figures[NGX_SV_REFDATA_FIGURES]);   /* the worker's, JSON; 0: none */
ngx_uint_t ngx_sv_refdata_stale(ngx_sv_refdata_t *rd);          /* too old, zone full, or a row was unreadable */

#endif /* NGX_SV_REFDATA_H */
