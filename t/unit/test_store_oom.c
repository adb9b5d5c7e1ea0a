/*
 * src/store when memory runs out: the same session again and again, with the
 * first, the second, the third .. allocation failing.  Whatever fails, what
 * was accepted is answered once, nothing leaks, and both clients come back.
 *
 * The linker sends the allocations of all objects of this program here
 * (Makefile: --wrap); those of the libraries are not touched.
 */

#include "src/store/sv_pg.h"
#include "src/store/sv_redis.h"
#include "sv_test_loop.h"
#include "sv_test_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>


#define LARGE  9000


typedef struct {
    sv_test_loop_t   t;
    sv_redis_t      *redis;
    sv_pg_pool_t    *pool;
    int              accepted;
    int              answered;
} session_t;


void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__wrap_strdup(const char *s);


static long  countdown = -1;        /* allocations until one fails; -1: none does */
static int   failed;


static int
fails(void)
{
    if (countdown < 0 || countdown-- > 0) {
        return 0;
    }

    failed = 1;

    return 1;
}


void *
__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}


void *
__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}


void *
__wrap_realloc(void *p, size_t size)
{
    return fails() ? NULL : __real_realloc(p, size);
}


char *
__wrap_strdup(const char *s)
{
    return fails() ? NULL : __real_strdup(s);
}


static void
on_redis(void *data, const redisReply *reply)
{
    session_t  *s;

    (void) reply;
    s = data;
    s->answered++;
}


static void
on_pg(void *data, const sv_pg_reply_t *reply)
{
    session_t  *s;

    (void) reply;
    s = data;
    s->answered++;
}


static int
redis_ready(void *data)
{
    return sv_redis_ready(((session_t *) data)->redis);
}


static int
pg_ready(void *data)
{
    sv_pg_stats_t  stats;

    sv_pg_stats(((session_t *) data)->pool, &stats);

    return stats.ready == 1;
}


static int
all_answered(void *data)
{
    session_t  *s;

    s = data;

    return s->answered >= s->accepted;
}


static void
use_redis(session_t *s)
{
    char              path[SV_TEST_PATH], large[LARGE];
    const char       *scripts[] = { "return ARGV[1] .. KEYS[1]" };
    const char       *flush[] = { "SCRIPT", "FLUSH" };
    const char       *args[] = { "k", large };
    size_t            flush_len[] = { 6, 5 }, len[] = { 1, LARGE };
    sv_redis_conf_t   conf;

    memset(large, 'x', sizeof(large));
    memset(&conf, 0, sizeof(conf));
    conf.path = sv_test_path(path, "redis");
    conf.password = "password";
    conf.silence_ms = 5000;
    conf.max_in_flight = 10;
    conf.scripts = scripts;
    conf.n_scripts = 1;

    s->redis = sv_redis_create(&s->t.loop, &conf);
    if (s->redis == NULL) {
        return;
    }

    assert_true(sv_test_loop_until(&s->t, redis_ready, s));

    s->accepted += sv_redis_command(s->redis, 2, flush, flush_len, on_redis, s)
                   != NULL;
    s->accepted += sv_redis_script(s->redis, 0, 1, 2, args, len, on_redis, s)
                   != NULL;
    s->accepted += sv_redis_command(s->redis, 2, args, len, on_redis, s)
                   != NULL;

    assert_true(sv_test_loop_until(&s->t, all_answered, s));
    assert_true(sv_test_loop_until(&s->t, redis_ready, s));

    sv_redis_destroy(s->redis);
}


static void
use_pg(session_t *s)
{
    int                       i;
    char                      conninfo[SV_TEST_CONNINFO];
    const char               *params[] = { "x" };
    sv_pg_pool_conf_t         conf;
    const sv_pg_statement_t   statements[] = { { "one", "select $1::text", 1 } };

    memset(&conf, 0, sizeof(conf));
    conf.name = "oom";
    conf.conninfo = sv_test_pg_conninfo(conninfo);
    conf.statements = statements;
    conf.n_statements = 1;
    conf.size = 1;
    conf.max_in_flight = 1;
    conf.max_queue = 5;
    conf.silence_ms = 5000;

    s->pool = sv_pg_pool_create(&s->t.loop, &conf);
    if (s->pool == NULL) {
        return;
    }

    assert_true(sv_test_loop_until(&s->t, pg_ready, s));

    for (i = 0; i < 3; i++) {
        s->accepted += sv_pg_query(s->pool, 0, params, on_pg, s) != NULL;
    }

    assert_true(sv_test_loop_until(&s->t, all_answered, s));

    sv_pg_pool_destroy(s->pool);
}


static void
test_every_allocation(void **state)
{
    long        n;
    session_t  *s;

    (void) state;

    s = __real_malloc(sizeof(session_t));
    n = 0;

    do {
        memset(s, 0, sizeof(session_t));
        sv_test_loop_init(&s->t);

        failed = 0;
        countdown = n++;

        use_redis(s);
        use_pg(s);

        countdown = -1;
        assert_int_equal(s->answered, s->accepted);
        sv_test_loop_done(&s->t);

    } while (failed);

    /* the last one was without a failure, and got everything */
    assert_int_equal(s->answered, 6);
    assert_in_range(n, 25, 200);

    free(s);
}


static int
group_setup(void **state)
{
    char  path[SV_TEST_PATH];

    (void) state;

    (void) sv_test_redis(sv_test_path(path, "redis"), "password");
    (void) sv_test_postgres(0);

    return 0;
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_every_allocation),
    };

    return cmocka_run_group_tests(tests, group_setup, NULL);
}
