/*
 * One Redis server, plain and blocking: the relay may wait, but never longer
 * than the timeout for a whole batch.
 */

#ifndef SVW_REDIS_H
#define SVW_REDIS_H

#include "svw.h"

#include <hiredis/hiredis.h>


typedef struct {
    const svw_conf_t  *conf;
    const char        *node;            /* as in the configuration */
    redisContext      *ctx;             /* NULL: not connected */
    char               run_id[64];
    int64_t            not_before;      /* of the next connect */
    unsigned           backoff;
} svw_redis_t;

typedef struct {
    uint64_t           gtin;
    sv_span_t          serial;
    sv_record_t        record;
    int                gone;            /* void: nobody may find it, the record means nothing */
} svw_pack_t;


void svw_redis_init(svw_redis_t *redis, const svw_conf_t *conf, const char *node);
void svw_redis_close(svw_redis_t *redis);

/* 1 connected, 0 not (and not before some time, when it is known to be down) */
int svw_redis_ready(svw_redis_t *redis);

/* Tells the server of packs. 0: it took all; -1: nothing is known of any, it is down now. */
int svw_redis_put(svw_redis_t *redis, const char *epoch, const svw_pack_t *packs, size_t n);

/* The next answer to what was appended; NULL: an error or none in time (svw_now_ms), it is down now. */
redisReply *svw_redis_reply(svw_redis_t *redis, int64_t deadline);

/* Closes the connection until the next try; -1. */
int svw_redis_down(svw_redis_t *redis, const char *why);

#endif /* SVW_REDIS_H */
