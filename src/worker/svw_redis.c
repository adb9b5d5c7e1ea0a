#include "svw_redis.h"

#include "../model/sv_cache_script.h"

#include <stdlib.h>
#include <string.h>
#include <sys/time.h>


#define SVW_REDIS_BACKOFF_MIN  250      /* ms */
#define SVW_REDIS_BACKOFF_MAX  2000
#define SVW_REDIS_SECRET       512


static int svw_redis_connect(svw_redis_t *redis);
static int svw_redis_auth(svw_redis_t *redis);
static int svw_redis_run_id(svw_redis_t *redis);
static int svw_redis_append_put(svw_redis_t *redis, const char *prefix, const char *ttl, const char *sha,
    const svw_pack_t *pack);
static int svw_redis_append_delete(svw_redis_t *redis, const char *prefix, const svw_pack_t *pack);


void
svw_redis_init(svw_redis_t *redis, const svw_conf_t *conf, const char *node)
{
    *redis = (svw_redis_t) { .conf = conf, .node = node, .backoff = SVW_REDIS_BACKOFF_MIN };
}


void
svw_redis_close(svw_redis_t *redis)
{
    if (redis->ctx != NULL) {
        redisFree(redis->ctx);
        redis->ctx = NULL;
    }
}


int
svw_redis_ready(svw_redis_t *redis)
{
    if (redis->ctx != NULL) {
        return 1;
    }

    if (svw_now_ms() < redis->not_before) {
        return 0;
    }

    if (svw_redis_connect(redis) != 0 || svw_redis_auth(redis) != 0 || svw_redis_run_id(redis) != 0) {
        return 0;
    }

    redis->backoff = SVW_REDIS_BACKOFF_MIN;
    svw_log(SVW_LOG_INFO, "connected to Redis %s", redis->node);

    return 1;
}


/*
 * The script is loaded anew with every batch: its text is small beside the
 * batch, and no reply can be NOSCRIPT.
 */
int
svw_redis_put(svw_redis_t *redis, const char *epoch, const svw_pack_t *packs, size_t n)
{
    char         prefix[SV_CACHE_PREFIX], ttl[16], sha[41];
    size_t       i;
    int64_t      deadline;
    redisReply  *reply;

    deadline = svw_now_ms() + redis->conf->redis_timeout;
    sv_cache_prefix(prefix, epoch, redis->run_id);
    snprintf(ttl, sizeof(ttl), "%u", redis->conf->cache_ttl);

    if (redisAppendCommand(redis->ctx, "SCRIPT LOAD %s", SV_CACHE_SCRIPT) != REDIS_OK) {
        return svw_redis_down(redis, redis->ctx->errstr);
    }

    reply = svw_redis_reply(redis, deadline);
    if (reply == NULL) {
        return -1;
    }

    snprintf(sha, sizeof(sha), "%s", reply->type == REDIS_REPLY_STRING ? reply->str : "");
    freeReplyObject(reply);

    for (i = 0; i < n; i++) {
        if ((packs[i].gone ? svw_redis_append_delete(redis, prefix, &packs[i])
                           : svw_redis_append_put(redis, prefix, ttl, sha, &packs[i])) != 0)
        {
            return -1;
        }
    }

    for (i = 0; i < n; i++) {
        reply = svw_redis_reply(redis, deadline);
        if (reply == NULL) {
            return -1;
        }

        freeReplyObject(reply);
    }

    return 0;
}


static int
svw_redis_connect(svw_redis_t *redis)
{
    char             host[256];
    const char      *colon;
    struct timeval   timeout;

    timeout.tv_sec = redis->conf->redis_timeout / 1000;
    timeout.tv_usec = (suseconds_t) (redis->conf->redis_timeout % 1000) * 1000;

    if (strncmp(redis->node, "unix:", 5) == 0) {
        redis->ctx = redisConnectUnixWithTimeout(redis->node + 5, timeout);

    } else {
        colon = strrchr(redis->node, ':');
        snprintf(host, sizeof(host), "%.*s", (int) (colon - redis->node), redis->node);
        redis->ctx = redisConnectWithTimeout(host, (int) strtol(colon + 1, NULL, 10), timeout);
    }

    if (redis->ctx == NULL) {
        return svw_redis_down(redis, "out of memory");
    }

    if (redis->ctx->err || redisSetTimeout(redis->ctx, timeout) != REDIS_OK) {
        return svw_redis_down(redis, redis->ctx->errstr);
    }

    return 0;
}


static int
svw_redis_auth(svw_redis_t *redis)
{
    int          ok;
    char         secret[SVW_REDIS_SECRET];
    FILE        *f;
    redisReply  *reply;

    if (redis->conf->redis_password_file == NULL) {
        return 0;
    }

    f = fopen(redis->conf->redis_password_file, "re");

    if (f == NULL || fgets(secret, sizeof(secret), f) == NULL) {
        if (f != NULL) {
            fclose(f);
        }

        return svw_redis_down(redis, "redis_password_file cannot be read");
    }

    fclose(f);
    secret[strcspn(secret, "\r\n")] = '\0';

    reply = redis->conf->redis_user != NULL
            ? redisCommand(redis->ctx, "AUTH %s %s", redis->conf->redis_user, secret)
            : redisCommand(redis->ctx, "AUTH %s", secret);

    explicit_bzero(secret, sizeof(secret));

    ok = reply != NULL && reply->type == REDIS_REPLY_STATUS;
    freeReplyObject(reply);

    return ok ? 0 : svw_redis_down(redis, "AUTH was refused");
}


static int
svw_redis_run_id(svw_redis_t *redis)
{
    size_t       n;
    const char  *p;
    redisReply  *reply;

    reply = redisCommand(redis->ctx, "INFO server");
    p = reply != NULL && reply->type == REDIS_REPLY_STRING ? strstr(reply->str, "\nrun_id:") : NULL;

    if (p == NULL) {
        freeReplyObject(reply);
        return svw_redis_down(redis, redis->ctx->err ? redis->ctx->errstr : "INFO has no run_id");
    }

    p += sizeof("\nrun_id:") - 1;
    n = strcspn(p, "\r\n");
    snprintf(redis->run_id, sizeof(redis->run_id), "%.*s", (int) n, p);
    freeReplyObject(reply);

    return 0;
}


static int
svw_redis_append_put(svw_redis_t *redis, const char *prefix, const char *ttl, const char *sha, const svw_pack_t *pack)
{
    char         key[SV_CACHE_KEY], lease[SV_CACHE_KEY + 2], value[SV_CACHE_VALUE], version[16];
    size_t       len[9];
    const char  *arg[9];

    arg[0] = "EVALSHA";
    len[0] = 7;
    arg[1] = sha;
    len[1] = strlen(sha);
    arg[2] = "2";
    len[2] = 1;
    arg[3] = key;
    len[3] = sv_cache_key(key, prefix, pack->gtin, pack->serial);
    arg[4] = lease;
    len[4] = (size_t) snprintf(lease, sizeof(lease), "%s" SV_CACHE_LEASE, key);
    arg[5] = value;
    len[5] = sv_record_encode(&pack->record, (sv_span_t) { (const uint8_t *) key, len[3] }, value);
    arg[6] = version;
    len[6] = (size_t) snprintf(version, sizeof(version), "%u", (unsigned) pack->record.version);
    arg[7] = ttl;
    len[7] = strlen(ttl);
    arg[8] = "";
    len[8] = 0;

    if (redisAppendCommandArgv(redis->ctx, 9, arg, len) != REDIS_OK) {
        return svw_redis_down(redis, redis->ctx->errstr);
    }

    return 0;
}


/*
 * The entry and its lease in one command: a fill that was read before loses,
 * as it does against the script, because its token is gone.
 */
static int
svw_redis_append_delete(svw_redis_t *redis, const char *prefix, const svw_pack_t *pack)
{
    char         key[SV_CACHE_KEY], lease[SV_CACHE_KEY + 2];
    size_t       len[3];
    const char  *arg[3];

    arg[0] = "DEL";
    len[0] = 3;
    arg[1] = key;
    len[1] = sv_cache_key(key, prefix, pack->gtin, pack->serial);
    arg[2] = lease;
    len[2] = (size_t) snprintf(lease, sizeof(lease), "%s" SV_CACHE_LEASE, key);

    if (redisAppendCommandArgv(redis->ctx, 3, arg, len) != REDIS_OK) {
        return svw_redis_down(redis, redis->ctx->errstr);
    }

    return 0;
}


/* An error is as good as no answer: the server is asked again later. */
redisReply *
svw_redis_reply(svw_redis_t *redis, int64_t deadline)
{
    void        *p;
    redisReply  *reply;

    if (redisGetReply(redis->ctx, &p) != REDIS_OK) {
        svw_redis_down(redis, redis->ctx->errstr);
        return NULL;
    }

    reply = p;

    if (reply->type == REDIS_REPLY_ERROR) {
        svw_redis_down(redis, reply->str);
        freeReplyObject(reply);
        return NULL;
    }

    if (svw_now_ms() > deadline) {
        svw_redis_down(redis, "it is too slow");
        freeReplyObject(reply);
        return NULL;
    }

    return reply;
}


int
svw_redis_down(svw_redis_t *redis, const char *why)
{
    char  text[SVW_TEXT];

    snprintf(text, sizeof(text), "%s", why);
    svw_redis_close(redis);

    svw_log(SVW_LOG_WARN, "Redis %s: %s; next try in %u ms", redis->node, text, redis->backoff);

    redis->not_before = svw_now_ms() + redis->backoff;
    redis->backoff = redis->backoff * 2 > SVW_REDIS_BACKOFF_MAX ? SVW_REDIS_BACKOFF_MAX : redis->backoff * 2;

    return -1;
}
