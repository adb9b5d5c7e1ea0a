/*
 * hiredis's reply parser, with a bound on the arrays a server may announce:
 * they are allocated before the first element is there.
 */

#include "sv_redis_conn.h"


#define SV_REDIS_MAX_ELEMENTS  65536


#if (HIREDIS_MAJOR == 0)

static void *sv_redis_create_array(const redisReadTask *task, int elements);

#endif


redisReader *
sv_redis_reader_create(sv_redis_t *redis)
{
    redisReader  *reader;

    reader = redisReaderCreate();
    if (reader == NULL) {
        return NULL;
    }

#if (HIREDIS_MAJOR == 0)

    /* no setting for it yet: the function that allocates is replaced */

    redis->reader_fn = *reader->fn;
    redis->reader_fn.createArray = sv_redis_create_array;
    redis->reader_default = reader->fn;

    reader->fn = &redis->reader_fn;
    reader->privdata = redis;

#else

    (void) redis;
    reader->maxelements = SV_REDIS_MAX_ELEMENTS;

#endif

    return reader;
}


#if (HIREDIS_MAJOR == 0)

static void *
sv_redis_create_array(const redisReadTask *task, int elements)
{
    const sv_redis_t  *redis;

    redis = task->privdata;

    if (elements < 0 || elements > SV_REDIS_MAX_ELEMENTS) {
        return NULL;
    }

    return redis->reader_default->createArray(task, elements);
}

#endif
