#include "sv_cache.h"
#include "../model/sv_cache_script.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>


#define SV_CACHE_EPOCH   128
#define SV_CACHE_RUN_ID  64


struct sv_cache_s {
    sv_redis_t  *redis;
    unsigned     timeout_ms;
    char         epoch[SV_CACHE_EPOCH];
    char         run_id[SV_CACHE_RUN_ID];
    char         prefix[SV_CACHE_PREFIX];       /* valid when epoch and run_id are set */
    char         ttl[16];
    uint64_t     token_base;
    uint64_t     token_count;
};


static void sv_cache_ready(void *data, const char *run_id);
static void sv_cache_make_prefix(sv_cache_t *cache);
static sv_redis_command_t *sv_cache_put(sv_cache_t *cache, sv_span_t key, const char *token,
    const sv_record_t *record, sv_redis_reply_pt handler, void *data);


static const char *const  sv_cache_scripts[] = { SV_CACHE_SCRIPT };


sv_cache_t *
sv_cache_create(sv_loop_t *loop, const sv_redis_conf_t *redis, unsigned ttl_ms,
    unsigned timeout_ms)
{
    sv_cache_t       *cache;
    sv_redis_conf_t   conf;

    cache = calloc(1, sizeof(sv_cache_t));
    if (cache == NULL) {
        return NULL;
    }

    cache->timeout_ms = timeout_ms;
    snprintf(cache->ttl, sizeof(cache->ttl), "%u", ttl_ms);

    /* tokens of different processes must differ, they need not be secret */
    if (RAND_bytes((unsigned char *) &cache->token_base, sizeof(cache->token_base)) != 1) {
        free(cache);
        return NULL;
    }

    conf = *redis;
    conf.scripts = sv_cache_scripts;
    conf.n_scripts = 1;
    conf.on_ready = sv_cache_ready;
    conf.on_lost = NULL;
    conf.data = cache;

    cache->redis = sv_redis_create(loop, &conf);
    if (cache->redis == NULL) {
        free(cache);
        return NULL;
    }

    return cache;
}


void
sv_cache_destroy(sv_cache_t *cache)
{
    sv_redis_destroy(cache->redis);
    free(cache);
}


void
sv_cache_set_epoch(sv_cache_t *cache, const char *epoch)
{
    if (strcmp(cache->epoch, epoch) == 0) {
        return;
    }

    snprintf(cache->epoch, sizeof(cache->epoch), "%s", epoch);
    sv_cache_make_prefix(cache);
}


int
sv_cache_usable(const sv_cache_t *cache)
{
    return cache->prefix[0] != '\0' && sv_redis_ready(cache->redis)
           && !sv_redis_late(cache->redis, cache->timeout_ms);
}


unsigned
sv_cache_timeout(const sv_cache_t *cache)
{
    return cache->timeout_ms;
}


const sv_redis_t *
sv_cache_redis(const sv_cache_t *cache)
{
    return cache->redis;
}


size_t
sv_cache_pack_key(const sv_cache_t *cache, char key[SV_CACHE_KEY], uint64_t gtin,
    sv_span_t serial)
{
    return sv_cache_key(key, cache->prefix, gtin, serial);
}


sv_redis_command_t *
sv_cache_get(sv_cache_t *cache, sv_span_t key, sv_redis_reply_pt handler, void *data)
{
    size_t       lengths[2];
    const char  *argv[2];

    argv[0] = "GET";
    lengths[0] = 3;
    argv[1] = (const char *) key.data;
    lengths[1] = key.len;

    return sv_redis_command(cache->redis, 2, argv, lengths, handler, data);
}


sv_redis_command_t *
sv_cache_lease(sv_cache_t *cache, sv_span_t key, char token[SV_CACHE_TOKEN],
    sv_redis_reply_pt handler, void *data)
{
    char         lease[SV_CACHE_KEY + 2];
    size_t       lengths[5];
    const char  *argv[5];

    memcpy(lease, key.data, key.len);
    memcpy(lease + key.len, SV_CACHE_LEASE, 2);

    argv[0] = "SET";
    lengths[0] = 3;
    argv[1] = lease;
    lengths[1] = key.len + 2;
    argv[2] = token;
    lengths[2] = (size_t) snprintf(token, SV_CACHE_TOKEN, "%016llx%llx",
                                   (unsigned long long) cache->token_base,
                                   (unsigned long long) cache->token_count++);
    argv[3] = "PX";
    lengths[3] = 2;
    argv[4] = SV_CACHE_LEASE_MS;
    lengths[4] = sizeof(SV_CACHE_LEASE_MS) - 1;

    return sv_redis_command(cache->redis, 5, argv, lengths, handler, data);
}


int
sv_cache_leased(const redisReply *reply)
{
    return reply != NULL && reply->type == REDIS_REPLY_STATUS;
}


void
sv_cache_fill(sv_cache_t *cache, sv_span_t key, const char *token, const sv_record_t *record)
{
    (void) sv_cache_put(cache, key, token, record, NULL, NULL);
}


sv_redis_command_t *
sv_cache_write(sv_cache_t *cache, sv_span_t key, const sv_record_t *record,
    sv_redis_reply_pt handler, void *data)
{
    return sv_cache_put(cache, key, "", record, handler, data);
}


static sv_redis_command_t *
sv_cache_put(sv_cache_t *cache, sv_span_t key, const char *token, const sv_record_t *record,
    sv_redis_reply_pt handler, void *data)
{
    char         lease[SV_CACHE_KEY + 2], value[SV_CACHE_VALUE], version[16];
    size_t       lengths[6];
    const char  *argv[6];

    memcpy(lease, key.data, key.len);
    memcpy(lease + key.len, SV_CACHE_LEASE, 2);

    argv[0] = (const char *) key.data;
    lengths[0] = key.len;
    argv[1] = lease;
    lengths[1] = key.len + 2;
    argv[2] = value;
    lengths[2] = sv_record_encode(record, key, value);
    argv[3] = version;
    lengths[3] = (size_t) snprintf(version, sizeof(version), "%u", record->version);
    argv[4] = cache->ttl;
    lengths[4] = strlen(cache->ttl);
    argv[5] = token;
    lengths[5] = strlen(token);

    return sv_redis_script(cache->redis, 0, 2, 6, argv, lengths, handler, data);
}


/* The connection takes no commands before this has returned: none can go out under an old prefix. */
static void
sv_cache_ready(void *data, const char *run_id)
{
    sv_cache_t  *cache = data;

    snprintf(cache->run_id, sizeof(cache->run_id), "%s", run_id);
    sv_cache_make_prefix(cache);
}


static void
sv_cache_make_prefix(sv_cache_t *cache)
{
    if (cache->epoch[0] != '\0' && cache->run_id[0] != '\0') {
        sv_cache_prefix(cache->prefix, cache->epoch, cache->run_id);
    }
}
