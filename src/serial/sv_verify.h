/*
 * Look a pack's record up: Redis, then PostgreSQL, then a fill of the cache.
 *
 * One look-up has one handler, called once, from the loop, unless forgotten.
 * Look-ups of the same pack share a flight while nothing of it has been sent:
 * a later one could be told what was true before it began.  A caller that can
 * live with an answer up to a second old (the anonymous public) joins later.
 *
 * Of a product of which serials are recalled only PostgreSQL knows which: its
 * look-ups are direct.  Neither Redis, nor what this process remembers, nor a
 * flight that has begun before may answer them, and they fill nothing.
 *
 * Every flight ends: each command to Redis is given up after the cache's
 * timeout, and each query is answered by the pool.  The caller's deadline is
 * its own: it forgets the look-up, the flight goes on and fills the cache.
 */

#ifndef SV_VERIFY_H
#define SV_VERIFY_H

#include "../model/sv_ref.h"
#include "sv_cache.h"
#include "sv_sql.h"


typedef struct sv_verify_s  sv_verify_t;        /* the service, one per worker process */
typedef struct sv_lookup_s  sv_lookup_t;        /* one look-up; gone after its handler or sv_verify_forget() */

typedef enum {
    SV_LOOKUP_FOUND,
    SV_LOOKUP_MISSING,          /* no such serial; see lot_known */
    SV_LOOKUP_UNAVAILABLE       /* neither Redis nor PostgreSQL could tell */
} sv_lookup_status_t;

typedef enum {
    SV_SOURCE_NONE,
    SV_SOURCE_CACHE,
    SV_SOURCE_DATABASE,
    SV_SOURCE_MEMORY            /* PostgreSQL, within the last second; relaxed callers only */
} sv_source_t;

typedef struct {
    sv_lookup_status_t   status;
    sv_source_t          source;
    unsigned             lot_known:1;
    unsigned             coalesced:1;
    const sv_record_t   *record;        /* SV_LOOKUP_FOUND; valid during the handler */
    int64_t              recalled_at;   /* by its serial, ms since 1970; 0: not, as far as the source knows */
    char                 recall[SV_REF_REASON + 1];     /* reason and reference of that */
} sv_lookup_result_t;

typedef void (*sv_lookup_pt)(void *data, const sv_lookup_result_t *result);

typedef struct {
    uint64_t      gtin;
    sv_span_t     serial;
    sv_span_t     lot;              /* data NULL: not presented */
    unsigned      relaxed:1;        /* up to a second old is good enough */
    unsigned      direct:1;         /* nobody but PostgreSQL, now */
    unsigned      fill_delay_ms;    /* failpoint of test builds: wait between the read and the fill */
} sv_lookup_conf_t;

typedef struct {
    uint64_t  cache_hits, cache_misses, cache_bypassed, coalesced, database;
} sv_verify_stats_t;


/* `cache' may be NULL. The pools stay the caller's. NULL: out of memory. */
sv_verify_t *sv_verify_create(sv_loop_t *loop, sv_cache_t *cache, sv_pg_pool_t *pool);

/* After the pool was closed and then the cache destroyed (they call back everything in flight); answers what is left. */
void sv_verify_destroy(sv_verify_t *verify);

/* Spans are copied. NULL: out of memory, no handler will be called. */
sv_lookup_t *sv_verify_start(sv_verify_t *verify, const sv_lookup_conf_t *conf,
    sv_lookup_pt handler, void *data);
void sv_verify_forget(sv_lookup_t *lookup);

void sv_verify_stats(const sv_verify_t *verify, sv_verify_stats_t *stats);

#endif /* SV_VERIFY_H */
