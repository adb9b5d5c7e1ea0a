/*
 * Redis as a cache of pack records. PostgreSQL is the truth: a record from
 * here answers a verify and never an operation.
 *
 * One per worker process.  It holds the key prefix, which needs PostgreSQL's
 * epoch and Redis's run id; without both there is no cache.
 */

#ifndef SV_CACHE_H
#define SV_CACHE_H

#include "../model/sv_record.h"
#include "../store/sv_redis.h"


typedef struct sv_cache_s  sv_cache_t;

#define SV_CACHE_TOKEN  33


/* `redis': address, password, database, silence; callbacks and scripts are set here. NULL: out of memory. */
sv_cache_t *sv_cache_create(sv_loop_t *loop, const sv_redis_conf_t *redis, unsigned ttl_ms,
    unsigned timeout_ms);
void sv_cache_destroy(sv_cache_t *cache);

/* What sv.epoch() said; a new one starts an empty cache. */
void sv_cache_set_epoch(sv_cache_t *cache, const char *epoch);

/* Is it worth asking: connected, prefix known, and not already late with an answer? */
int sv_cache_usable(const sv_cache_t *cache);

unsigned sv_cache_timeout(const sv_cache_t *cache);
const sv_redis_t *sv_cache_redis(const sv_cache_t *cache);

size_t sv_cache_pack_key(const sv_cache_t *cache, char key[SV_CACHE_KEY], uint64_t gtin, sv_span_t serial);

/* NULL: not sent, no callback will come. Forget with sv_redis_forget(). */
sv_redis_command_t *sv_cache_get(sv_cache_t *cache, sv_span_t key, sv_redis_reply_pt handler, void *data);

/* Take the lease before PostgreSQL is read; the handler checks sv_cache_leased(reply). */
sv_redis_command_t *sv_cache_lease(sv_cache_t *cache, sv_span_t key, char token[SV_CACHE_TOKEN],
    sv_redis_reply_pt handler, void *data);
int sv_cache_leased(const redisReply *reply);

/* Nobody waits for a fill. */
void sv_cache_fill(sv_cache_t *cache, sv_span_t key, const char *token, const sv_record_t *record);

/* After an operation, with the row's state as committed. */
sv_redis_command_t *sv_cache_write(sv_cache_t *cache, sv_span_t key, const sv_record_t *record,
    sv_redis_reply_pt handler, void *data);

#endif /* SV_CACHE_H */
