/*
 * src/store: the Redis client, against a real server behind a misbehaving
 * proxy ("proxy") and against a fake that says what it is told ("fake").
 */

#include "src/store/sv_redis.h"
#include "sv_test_loop.h"
#include "sv_test_server.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>


#define PASSWORD    "s3cret-of-the-test"
#define SILENCE_MS  10000       /* a busy machine is silent, too, for a second or two */
#define MAX_REPLIES 256


typedef struct {
    int        calls;
    int        nulls;
    int        errors;
    int        strings;
    int        others;
    long long  number;
    char       text[64];
    int        order[MAX_REPLIES];
} replies_t;

typedef struct {
    sv_test_loop_t    t;
    sv_redis_t       *redis;
    sv_redis_conf_t   conf;
    char              path[SV_TEST_PATH];
    replies_t         replies;
    int               ready;
    int               lost;
    int               ready_inside;     /* sv_redis_ready() in on_ready */
    char              run_id[64];
    int               wanted;
} fixture_t;


static pid_t  real;

static const char *const  scripts[] = {
    "return redis.call('incr', KEYS[1])",
    "return {KEYS[1], ARGV[1]}"
};


static void
on_ready(void *data, const char *run_id)
{
    fixture_t  *f;

    f = data;
    f->ready++;
    f->ready_inside = sv_redis_ready(f->redis);
    snprintf(f->run_id, sizeof(f->run_id), "%s", run_id);
}


static void
on_lost(void *data)
{
    fixture_t  *f;

    f = data;
    f->lost++;
}


static void
on_reply(void *data, const redisReply *reply)
{
    fixture_t  *f;
    replies_t  *r;

    f = data;
    r = &f->replies;

    r->calls++;

    if (reply == NULL) {
        r->nulls++;
        return;
    }

    switch (reply->type) {

    case REDIS_REPLY_ERROR:
        r->errors++;
        snprintf(r->text, sizeof(r->text), "%s", reply->str);
        break;

    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
        r->strings++;
        snprintf(r->text, sizeof(r->text), "%s", reply->str);
        break;

    case REDIS_REPLY_INTEGER:
        r->others++;
        r->number = reply->integer;
        break;

    default:
        r->others++;
    }
}


static sv_redis_command_t *
command(fixture_t *f, const char *a, const char *b, const char *c)
{
    int          argc;
    const char  *argv[3] = { a, b, c };
    size_t       len[3];

    for (argc = 0; argc < 3 && argv[argc] != NULL; argc++) {
        len[argc] = strlen(argv[argc]);
    }

    return sv_redis_command(f->redis, argc, argv, len, on_reply, f);
}


static sv_redis_command_t *
script(fixture_t *f, unsigned n, const char *key, const char *arg)
{
    const char  *argv[2] = { key, arg };
    size_t       len[2] = { strlen(key), strlen(arg) };

    return sv_redis_script(f->redis, n, 1, 2, argv, len, on_reply, f);
}


static int
is_ready(void *data)
{
    return sv_redis_ready(((fixture_t *) data)->redis);
}


static int
is_down(void *data)
{
    return !sv_redis_ready(((fixture_t *) data)->redis);
}


static int
has_replies(void *data)
{
    fixture_t  *f;

    f = data;

    return f->replies.calls >= f->wanted;
}


static int
has_log(void *data)
{
    fixture_t  *f;

    f = data;

    return sv_test_loop_logged(&f->t, f->run_id);
}


static void
await_replies(fixture_t *f, int n)
{
    f->wanted = n;
    assert_true(sv_test_loop_until(&f->t, has_replies, f));
    assert_int_equal(f->replies.calls, n);
}


static void
await_log(fixture_t *f, const char *text)
{
    snprintf(f->run_id, sizeof(f->run_id), "%s", text);
    assert_true(sv_test_loop_until(&f->t, has_log, f));
}


static unsigned
in_flight(fixture_t *f)
{
    sv_redis_stats_t  stats;

    sv_redis_stats(f->redis, &stats);

    return stats.in_flight;
}


static void
start(fixture_t *f)
{
    f->redis = sv_redis_create(&f->t.loop, &f->conf);
    assert_non_null(f->redis);
}


static void
start_ready(fixture_t *f)
{
    start(f);
    assert_true(sv_test_loop_until(&f->t, is_ready, f));
}


static void
use(fixture_t *f, const char *name)
{
    f->conf.path = sv_test_path(f->path, name);
}


static int
connections_of(const char *count)
{
    const char  *p;

    p = strstr(count, "connections=");
    assert_non_null(p);

    return (int) strtol(p + sizeof("connections=") - 1, NULL, 10);
}


static int
setup(void **state)
{
    fixture_t  *f;

    f = calloc(1, sizeof(fixture_t));
    *state = f;

    sv_test_loop_init(&f->t);
    use(f, "proxy");

    f->conf.password = PASSWORD;
    f->conf.database = 3;
    f->conf.silence_ms = SILENCE_MS;
    f->conf.max_in_flight = 100000;
    f->conf.scripts = scripts;
    f->conf.n_scripts = 2;
    f->conf.on_ready = on_ready;
    f->conf.on_lost = on_lost;
    f->conf.data = f;

    return 0;
}


static int
teardown(void **state)
{
    fixture_t  *f;

    f = *state;

    if (f->redis != NULL) {
        sv_redis_destroy(f->redis);
    }

    sv_test_control("proxy", "drop", NULL, 0);
    sv_test_control("proxy", "pass", NULL, 0);
    sv_test_control("fake", "drop", NULL, 0);
    sv_test_control("fake", "pass", NULL, 0);
    sv_test_control("fake", "forget", NULL, 0);

    assert_false(sv_test_loop_logged(&f->t, PASSWORD));
    sv_test_loop_done(&f->t);
    free(f);

    return 0;
}


static int
group_setup(void **state)
{
    char         path[SV_TEST_PATH];
    const char  *options[] = { "--server", path, NULL };

    (void) state;

    real = sv_test_redis(sv_test_path(path, "real"), PASSWORD);
    (void) sv_test_fake("redis", "proxy", options);
    (void) sv_test_fake("redis", "fake", NULL);

    return 0;
}


static void
test_becomes_ready(void **state)
{
    fixture_t  *f;

    f = *state;

    start(f);
    assert_false(sv_redis_ready(f->redis));
    assert_null(command(f, "PING", NULL, NULL));

    assert_true(sv_test_loop_until(&f->t, is_ready, f));
    assert_int_equal(f->ready, 1);
    assert_int_equal(f->ready_inside, 0);
    assert_int_equal(strlen(f->run_id), 40);

    /* the database was selected, the scripts are there */

    command(f, "SET", "k", "v");
    script(f, 0, "counter", "");
    script(f, 1, "key", "argument");
    command(f, "CLIENT", "INFO", NULL);
    assert_int_equal(f->replies.calls, 0);
    await_replies(f, 4);

    assert_int_equal(f->replies.nulls + f->replies.errors, 0);
    assert_int_equal(f->replies.number, 1);
    assert_non_null(strstr(f->replies.text, "id="));
}


static void
test_tcp(void **state)
{
    char         server[SV_TEST_PATH], where[64];
    pid_t        pid;
    fixture_t   *f;
    char         control[SV_TEST_PATH];
    const char  *argv[] = { "perl", "t/fake/redis.pl", "--listen", where,
                            "--control", control, "--server", server, NULL };

    f = *state;

    f->conf.port = sv_test_free_port();
    f->conf.address = "127.0.0.1";
    f->conf.path = NULL;

    snprintf(where, sizeof(where), "127.0.0.1:%d", f->conf.port);
    sv_test_path(server, "real");
    sv_test_path(control, "tcp.control");

    /* refused at first */

    start(f);
    await_log(f, "Connection refused");

    pid = sv_test_spawn("tcp", argv, 0);

    assert_true(sv_test_loop_until(&f->t, is_ready, f));
    command(f, "ECHO", "over TCP", NULL);
    await_replies(f, 1);
    assert_string_equal(f->replies.text, "over TCP");

    sv_redis_destroy(f->redis);
    f->redis = NULL;
    sv_test_stop(pid, SIGTERM);
}


static void
test_bad_addresses(void **state)
{
    int          i;
    char         longer[256];
    fixture_t   *f;
    const char  *bad[] = { "localhost", "1.2.3", "", "::g", NULL };

    f = *state;
    f->conf.path = NULL;
    f->conf.port = 6379;

    for (i = 0; i < 5; i++) {
        f->conf.address = bad[i];
        sv_test_loop_forget_log(&f->t);
        start(f);
        assert_true(sv_test_loop_logged(&f->t, "neither numeric"));
        sv_redis_destroy(f->redis);
    }

    /* numeric, whether this machine has IPv6 or not */
    f->conf.address = "::1";
    f->conf.port = sv_test_free_port();
    sv_test_loop_forget_log(&f->t);
    start(f);
    assert_false(sv_test_loop_logged(&f->t, "neither numeric"));
    sv_redis_destroy(f->redis);

    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    f->conf.path = longer;
    sv_test_loop_forget_log(&f->t);
    start(f);
    assert_true(sv_test_loop_logged(&f->t, "neither numeric"));
}


/* what a server may say to the first commands, and what the log says then */

static void
test_setup_refused(void **state)
{
    unsigned    i;
    char        line[256];
    fixture_t  *f;

    static const struct {
        const char  *reply;
        const char  *usual;
        const char  *log;
    } cases[] = {
        { "AUTH -WRONGPASS invalid\\r\\n", "AUTH", "AUTH was refused" },
        { "AUTH -ERR unknown command 'AUTH', with args beginning with: '"
          PASSWORD "'\\r\\n", "AUTH", "AUTH was refused" },
        { "AUTH :1\\r\\n", "AUTH", "AUTH was refused" },
        { "SELECT -ERR DB index is out of range\\r\\n", "SELECT",
          "SELECT was refused: ERR DB index" },
        { "INFO -LOADING Redis is loading\\r\\n", "INFO",
          "INFO was refused: LOADING" },
        { "INFO +OK\\r\\n", "INFO", "INFO was refused" },
        { "INFO $-1\\r\\n", "INFO", "INFO was refused" },
        { "INFO $5\\r\\nredis\\r\\n", "INFO", "without a run_id" },
        { "INFO $17\\r\\n# x\\r\\nrun_id:../x\\r\\n", "INFO", "INFO" },
        { "SCRIPT -NOPERM no\\x1b[31m\\r\\n", "SCRIPT",
          "SCRIPT LOAD was refused: NOPERM no.[31m" },
        { "SCRIPT $3\\r\\nabc\\r\\n", "SCRIPT", "SCRIPT LOAD was refused" },
        { "SCRIPT *0\\r\\n", "SCRIPT", "SCRIPT LOAD was refused" },
        { "* -ERR max number of clients reached\\r\\n", "*",
          "refused" },
        { "* garbage", "*", "not the Redis protocol" },
        { "* close", "*", "closed by the server" },
        { "* +OK\\r\\n+OK\\r\\n", "*", "INFO was refused" },
    };

    f = *state;
    use(f, "fake");

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        snprintf(line, sizeof(line), "reply %s", cases[i].reply);
        sv_test_control("fake", line, NULL, 0);

        sv_test_loop_forget_log(&f->t);
        f->ready = 0;
        start(f);
        await_log(f, cases[i].log);
        assert_int_equal(f->ready, 0);
        assert_int_equal(f->lost, 0);
        assert_null(command(f, "PING", NULL, NULL));
        assert_false(sv_test_loop_logged(&f->t, PASSWORD));

        /* and it comes back by itself */

        snprintf(line, sizeof(line), "reply %s", cases[i].usual);
        sv_test_control("fake", line, NULL, 0);
        assert_true(sv_test_loop_until(&f->t, is_ready, f));

        sv_redis_destroy(f->redis);
        f->redis = NULL;
    }
}


static void
test_setup_stalls(void **state)
{
    fixture_t  *f;

    f = *state;

    sv_test_control("proxy", "stall", NULL, 0);
    start(f);
    sv_test_loop_turn(&f->t, 50);
    sv_test_loop_turn(&f->t, 50);

    sv_test_loop_advance(&f->t, 1000);
    assert_false(sv_test_loop_logged(&f->t, "in time"));
    sv_test_loop_advance(&f->t, 1100);
    assert_true(sv_test_loop_logged(&f->t, "in time"));

    sv_test_control("proxy", "pass", NULL, 0);
    assert_true(sv_test_loop_until(&f->t, is_ready, f));
}


/* the connection is cut after each number of bytes of the set-up's replies */

static void
test_setup_cut_everywhere(void **state)
{
    int         n;
    char        line[32];
    fixture_t  *f;

    f = *state;

    for (n = 0; n < 120; n += (n < 20 ? 1 : 7)) {
        snprintf(line, sizeof(line), "cut-new %d", n);
        sv_test_control("fake", line, NULL, 0);

        use(f, "fake");
        sv_test_loop_forget_log(&f->t);
        start(f);
        await_log(f, "connecting again");
        assert_int_equal(f->ready, 0);

        sv_redis_destroy(f->redis);
        f->redis = NULL;
    }
}


static void
test_errors_are_replies(void **state)
{
    unsigned     i;
    char         line[128], text[64];
    fixture_t   *f;
    const char  *errors[] = {
        "OOM command not allowed when used memory > 'maxmemory'.",
        "LOADING Redis is loading the dataset in memory",
        "READONLY You can't write against a read only replica.",
        "MOVED 3999 127.0.0.1:6381", "MASTERDOWN Link with MASTER is down",
        "NOAUTH Authentication required.", "CLUSTERDOWN Hash slot not served"
    };

    f = *state;
    use(f, "fake");
    start_ready(f);

    for (i = 0; i < 7; i++) {
        snprintf(line, sizeof(line), "reply GET -%s\\r\\n", errors[i]);
        sv_test_control("fake", line, NULL, 0);

        assert_non_null(command(f, "GET", "k", NULL));
        await_replies(f, (int) i + 1);
        assert_int_equal(f->replies.errors, (int) i + 1);

        snprintf(text, sizeof(text), "%.63s", errors[i]);
        assert_string_equal(f->replies.text, text);
        assert_true(sv_redis_ready(f->redis));
    }
}


static void
test_noscript_is_sent_once_more(void **state)
{
    char        answer[64];
    fixture_t  *f;

    f = *state;
    start_ready(f);

    command(f, "DEL", "once", NULL);
    command(f, "SCRIPT", "FLUSH", NULL);
    script(f, 0, "once", "");
    script(f, 0, "once", "");
    await_replies(f, 4);
    assert_int_equal(f->replies.errors, 0);
    assert_int_equal(f->replies.number, 2);

    sv_redis_destroy(f->redis);

    /* a server that never has it: one EVAL, one answer */

    memset(&f->replies, 0, sizeof(replies_t));
    use(f, "fake");
    sv_test_control("fake", "reply EVALSHA -NOSCRIPT No matching\\r\\n", NULL,
                    0);
    sv_test_control("fake", "reply EVAL -NOSCRIPT Still not\\r\\n", NULL, 0);
    start_ready(f);

    assert_non_null(script(f, 1, "k", "v"));
    assert_null(script(f, 2, "k", "v"));
    await_replies(f, 1);
    assert_string_equal(f->replies.text, "NOSCRIPT Still not");
    assert_int_equal(in_flight(f), 0);

    sv_test_control("fake", "seen EVAL", answer, sizeof(answer));
    assert_string_equal(answer, " 1");
}


/* a forgotten script is still executed: its effect was asked for */

static void
test_noscript_after_forget(void **state)
{
    fixture_t  *f;

    f = *state;
    start_ready(f);

    command(f, "DEL", "forgotten", NULL);
    command(f, "SCRIPT", "FLUSH", NULL);
    sv_redis_forget(script(f, 0, "forgotten", ""));
    await_replies(f, 2);

    while (in_flight(f) > 0) {
        sv_test_loop_turn(&f->t, 100);
    }

    command(f, "GET", "forgotten", NULL);
    await_replies(f, 3);
    assert_string_equal(f->replies.text, "1");
}


static void
test_dribble(void **state)
{
    fixture_t  *f;

    f = *state;
    use(f, "fake");

    sv_test_control("fake", "dribble 1 0", NULL, 0);
    start_ready(f);

    sv_test_control("fake", "reply GET $9\\r\\nbyte\\0byte\\r\\n", NULL, 0);
    command(f, "GET", "k", NULL);
    command(f, "PING", NULL, NULL);
    script(f, 0, "k", "");
    await_replies(f, 3);
    assert_int_equal(f->replies.strings, 2);
    assert_int_equal(f->replies.others, 1);
}


/* garbage, replies nobody asked for, replies without an end */

static void
test_nonsense(void **state)
{
    unsigned     i;
    fixture_t   *f;
    const char  *nonsense[] = {
        "inject garbage\\r\\n", "inject \\x00\\xff\\xfe",
        "inject HTTP/1.1 400 Bad Request\\r\\n\\r\\n",
        "replace $-7\\r\\n", "replace :12x\\r\\n", "replace $5\\r\\nabcdefg\\r\\n",
        "replace *99999999999999999999\\r\\n", "replace *2147483647\\r\\n",
        "replace *65537\\r\\n",
#if (HIREDIS_MAJOR == 0)
        /* deeper than its parser goes; later ones have no limit */
        ("replace *1\\r\\n*1\\r\\n*1\\r\\n*1\\r\\n*1\\r\\n*1\\r\\n*1\\r\\n*1\\r\\n"
         "*1\\r\\n*1\\r\\n*1\\r\\n:1\\r\\n")
#endif
    };

    f = *state;
    use(f, "fake");
    start_ready(f);

    for (i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
        memset(&f->replies, 0, sizeof(replies_t));
        sv_test_control("fake", nonsense[i], NULL, 0);

        command(f, "GET", "a", NULL);
        command(f, "GET", "b", NULL);
        assert_true(sv_test_loop_until(&f->t, is_down, f));

        assert_int_equal(f->replies.calls, 2);
        assert_true(f->replies.nulls >= 1);
        assert_false(sv_test_loop_logged(&f->t, "silent"));
        assert_int_equal(f->lost, (int) i + 1);

        assert_true(sv_test_loop_until(&f->t, is_ready, f));
    }
}


static void
test_reply_nobody_asked_for(void **state)
{
    fixture_t  *f;

    f = *state;
    use(f, "fake");
    start_ready(f);

    /* not an error reply: hiredis's asynchronous context would abort here */
    sv_test_control("fake", "inject +OK\\r\\n", NULL, 0);
    assert_true(sv_test_loop_until(&f->t, is_down, f));
    assert_true(sv_test_loop_logged(&f->t, "a reply to no command"));
    assert_int_equal(f->replies.calls, 0);

    assert_true(sv_test_loop_until(&f->t, is_ready, f));

    sv_test_control("fake", "inject -ERR timeout\\r\\n", NULL, 0);
    assert_true(sv_test_loop_until(&f->t, is_down, f));
    assert_true(sv_test_loop_until(&f->t, is_ready, f));
}


static void
test_reply_without_end(void **state)
{
    fixture_t  *f;

    f = *state;
    use(f, "fake");
    start_ready(f);

    sv_test_control("fake", "flood GET", NULL, 0);
    command(f, "GET", "k", NULL);
    await_replies(f, 1);
    assert_int_equal(f->replies.nulls, 1);
    assert_true(sv_test_loop_logged(&f->t, "a reply without an end"));
}


/* whatever point it is cut at: each command once, the answered ones first and right */

static void
on_numbered(void *data, const redisReply *reply)
{
    fixture_t  *f;
    replies_t  *r;

    f = data;
    r = &f->replies;

    if (reply == NULL) {
        r->nulls++;

    } else {
        assert_int_equal(r->nulls, 0);
        assert_int_equal(reply->type, REDIS_REPLY_STRING);
        assert_int_equal(strtol(reply->str, NULL, 10), r->strings);
        r->strings++;
    }

    r->calls++;
}


static void
test_cut_mid_reply(void **state)
{
    int          i, n;
    char         line[32], number[16];
    fixture_t   *f;
    const char  *argv[2] = { "ECHO", number };
    size_t       len[2] = { 4, 0 };

    f = *state;

    for (n = 0; n < 600; n += 23) {
        start_ready(f);
        memset(&f->replies, 0, sizeof(replies_t));

        snprintf(line, sizeof(line), "cut %d", n);
        sv_test_control("proxy", line, NULL, 0);

        for (i = 0; i < 100; i++) {
            len[1] = (size_t) snprintf(number, sizeof(number), "%d", i);
            assert_non_null(sv_redis_command(f->redis, 2, argv, len,
                                             on_numbered, f));
        }

        await_replies(f, 100);
        assert_int_equal(f->replies.strings + f->replies.nulls, 100);
        assert_in_range(f->replies.nulls, 1, 100);
        assert_false(sv_redis_ready(f->redis));
        assert_int_equal(in_flight(f), 0);

        sv_redis_destroy(f->redis);
        f->redis = NULL;
    }
}


static void
test_late_then_silent(void **state)
{
    fixture_t         *f;
    sv_redis_stats_t   stats;

    f = *state;
    start_ready(f);

    sv_test_control("proxy", "stall-down", NULL, 0);
    command(f, "PING", NULL, NULL);
    sv_test_loop_turn(&f->t, 10);
    sv_test_control("proxy", "wait-stalled 7", NULL, 0);

    assert_false(sv_redis_late(f->redis, 5000));
    sv_test_loop_advance(&f->t, 6000);
    assert_true(sv_redis_late(f->redis, 5000));
    assert_false(sv_redis_late(f->redis, 60000));
    assert_true(sv_redis_ready(f->redis));

    sv_redis_stats(f->redis, &stats);
    assert_in_range(stats.oldest_ms, 6000, SILENCE_MS);

    sv_test_loop_advance(&f->t, 5000);
    assert_false(sv_redis_ready(f->redis));
    assert_int_equal(f->replies.nulls, 1);
    assert_int_equal(f->lost, 1);
    assert_true(sv_test_loop_logged(&f->t, "silent"));
    assert_false(sv_redis_late(f->redis, 0));

    sv_test_control("proxy", "pass", NULL, 0);
    assert_true(sv_test_loop_until(&f->t, is_ready, f));
}


/* a slow server that keeps answering is not a silent one */

static void
test_slow_is_not_silent(void **state)
{
    int         i;
    fixture_t  *f;

    f = *state;
    start_ready(f);

    sv_test_control("proxy", "stall-down", NULL, 0);

    for (i = 0; i < 10; i++) {
        command(f, "PING", NULL, NULL);
    }

    sv_test_loop_turn(&f->t, 10);
    sv_test_control("proxy", "wait-stalled 70", NULL, 0);
    sv_test_control("proxy", "dribble 7 30", NULL, 0);

    for (i = 0; i < 10; i++) {
        await_replies(f, i + 1);
        sv_test_loop_advance(&f->t, SILENCE_MS * 6 / 10);
    }

    assert_int_equal(f->replies.strings, 10);
    assert_int_equal(f->lost, 0);
}


static void
test_idle_is_not_silent(void **state)
{
    int         i;
    fixture_t  *f;

    f = *state;
    start_ready(f);

    command(f, "PING", NULL, NULL);
    await_replies(f, 1);

    for (i = 0; i < 10; i++) {
        sv_test_loop_advance(&f->t, 3600 * 1000);
        assert_true(sv_redis_ready(f->redis));
    }

    command(f, "PING", NULL, NULL);
    sv_test_loop_turn(&f->t, 0);
    assert_true(sv_redis_ready(f->redis));
    await_replies(f, 2);
}


static void
on_forget_self(void *data, const redisReply *reply)
{
    sv_redis_command_t  **command_;

    (void) reply;
    command_ = data;
    sv_redis_forget(*command_);
    *command_ = NULL;
}


static void
test_forget(void **state)
{
    int                   i;
    fixture_t            *f;
    const char           *argv[] = { "PING" };
    size_t                len[] = { 4 };
    sv_redis_command_t   *c[3], *self;

    f = *state;
    start_ready(f);

    for (i = 0; i < 3; i++) {
        c[i] = command(f, "PING", NULL, NULL);
    }

    /* before it was sent; the reply is read and dropped, the order is kept */
    sv_redis_forget(c[1]);
    await_replies(f, 2);

    while (in_flight(f) > 0) {
        sv_test_loop_turn(&f->t, 100);
    }

    /* sent and not yet answered */
    sv_test_control("proxy", "stall-down", NULL, 0);
    c[0] = command(f, "PING", NULL, NULL);
    sv_test_loop_turn(&f->t, 10);
    sv_test_control("proxy", "wait-stalled 7", NULL, 0);
    sv_redis_forget(c[0]);
    sv_test_control("proxy", "pass", NULL, 0);
    command(f, "ECHO", "right", NULL);
    await_replies(f, 3);
    assert_string_equal(f->replies.text, "right");

    /* from its own callback */
    self = sv_redis_command(f->redis, 1, argv, len, on_forget_self, &self);
    command(f, "PING", NULL, NULL);
    await_replies(f, 4);
    assert_null(self);

    /* no handler at all; forgotten when the connection is lost; when destroyed */
    assert_non_null(sv_redis_command(f->redis, 1, argv, len, NULL, NULL));
    sv_redis_forget(command(f, "PING", NULL, NULL));
    sv_test_control("proxy", "drop", NULL, 0);
    assert_true(sv_test_loop_until(&f->t, is_down, f));
    assert_true(sv_test_loop_until(&f->t, is_ready, f));
    sv_redis_forget(command(f, "PING", NULL, NULL));
    assert_int_equal(f->replies.calls, 4);
}


static void
on_lost_retry(void *data, const redisReply *reply)
{
    fixture_t  *f;

    f = data;
    assert_null(reply);
    assert_null(command(f, "PING", NULL, NULL));
    assert_null(script(f, 0, "k", ""));
    f->replies.calls++;
}


static void
test_destroy_answers(void **state)
{
    int          i;
    fixture_t   *f;
    const char  *argv[] = { "PING" };
    size_t       len[] = { 4 };

    f = *state;
    start_ready(f);

    for (i = 0; i < 5; i++) {
        assert_non_null(sv_redis_command(f->redis, 1, argv, len, on_lost_retry,
                                         f));
    }

    sv_test_loop_turn(&f->t, 0);
    assert_non_null(sv_redis_command(f->redis, 1, argv, len, on_lost_retry, f));

    sv_redis_destroy(f->redis);
    f->redis = NULL;
    assert_int_equal(f->replies.calls, 6);
    assert_int_equal(f->lost, 0);

    /* at every other moment of its life */

    start(f);
    sv_redis_destroy(f->redis);
    start(f);
    sv_test_loop_turn(&f->t, 100);
    sv_redis_destroy(f->redis);
    sv_test_control("proxy", "refuse", NULL, 0);
    start(f);
    await_log(f, "connecting again");
    sv_redis_destroy(f->redis);
    f->redis = NULL;
}


static void
test_too_many_in_flight(void **state)
{
    int         i;
    fixture_t  *f;

    f = *state;
    f->conf.max_in_flight = 10;
    start_ready(f);

    for (i = 0; i < 9; i++) {
        assert_non_null(command(f, "PING", NULL, NULL));
    }

    assert_non_null(script(f, 0, "k", ""));
    assert_null(command(f, "PING", NULL, NULL));
    assert_null(script(f, 0, "k", ""));
    await_replies(f, 10);
    assert_non_null(command(f, "PING", NULL, NULL));
}


static void
on_chain(void *data, const redisReply *reply)
{
    fixture_t   *f;
    const char  *argv[] = { "PING" };
    size_t       len[] = { 4 };

    f = data;
    assert_non_null(reply);

    if (++f->replies.calls < 100) {
        assert_non_null(sv_redis_command(f->redis, 1, argv, len, on_chain, f));
    }
}


static void
test_commands_from_callbacks(void **state)
{
    fixture_t   *f;
    const char  *argv[] = { "PING" };
    size_t       len[] = { 4 };

    f = *state;
    start_ready(f);

    assert_non_null(sv_redis_command(f->redis, 1, argv, len, on_chain, f));
    await_replies(f, 100);
}


static void
test_binary_safe(void **state)
{
    int          i;
    char         all[256];
    fixture_t   *f;
    const char  *set[] = { "SET", all, all };
    const char  *get[] = { "STRLEN", all };
    const char  *empty[] = { "SET", "", "" };
    size_t       len[] = { 3, 256, 256 }, glen[] = { 6, 256 },
                 elen[] = { 3, 0, 0 };

    f = *state;
    start_ready(f);

    for (i = 0; i < 256; i++) {
        all[i] = (char) i;
    }

    sv_redis_command(f->redis, 3, set, len, on_reply, f);
    sv_redis_command(f->redis, 3, empty, elen, on_reply, f);
    sv_redis_command(f->redis, 2, get, glen, on_reply, f);
    await_replies(f, 3);
    assert_int_equal(f->replies.strings, 2);
    assert_int_equal(f->replies.number, 256);
}


/* one write for all commands of a turn, and no system call for interest */

static void
test_batches_writes(void **state)
{
    int         i, turn;
    uint64_t    before;
    fixture_t  *f;

    f = *state;
    use(f, "real");
    start_ready(f);

    before = f->t.n_interests;

    for (turn = 0; turn < 20; turn++) {
        for (i = 0; i < 50; i++) {
            command(f, "PING", NULL, NULL);
        }

        await_replies(f, (turn + 1) * 50);
    }

    assert_int_equal(f->t.n_interests, before);
}


/* a peer that does not read: we wait for it to become writable, and lose nothing */

static void
test_backpressure(void **state)
{
    int          i;
    char        *value;
    uint64_t     before;
    fixture_t   *f;
    const char  *argv[] = { "ECHO", NULL };
    size_t       len[] = { 4, 256 * 1024 };

    f = *state;
    start_ready(f);

    value = malloc(len[1]);
    memset(value, 'v', len[1]);
    argv[1] = value;

    before = f->t.n_interests;

    for (i = 0; i < 40; i++) {
        assert_non_null(sv_redis_command(f->redis, 2, argv, len, on_reply, f));
    }

    await_replies(f, 40);
    assert_int_equal(f->replies.strings, 40);
    assert_true(f->t.n_interests > before);

    /* and the write interest is gone again: an idle loop sleeps */
    before = f->t.n_events;
    sv_test_loop_turn(&f->t, 20);
    assert_int_equal(f->t.n_events, before);

    free(value);
}


/* commands are added while earlier ones are half sent: the buffer moves, the bytes do not mix */

static void
test_backpressure_while_adding(void **state)
{
    int          i;
    char        *value;
    fixture_t   *f;
    const char  *argv[] = { "SETRANGE", "large", "0", NULL };
    const char  *echo[] = { "ECHO", NULL };
    size_t       len[] = { 8, 5, 1, 0 }, echo_len[] = { 4, 0 };

    f = *state;
    start_ready(f);

    value = malloc(200 * 1024);

    for (i = 0; i < 150; i++) {
        memset(value, 'a' + i % 26, 200 * 1024);
        argv[3] = value;
        len[3] = (size_t) (1000 * (i % 200) + 1);
        echo[1] = value;
        echo_len[1] = (size_t) (i % 7 * 10000 + 1);

        assert_non_null(sv_redis_command(f->redis, 4, argv, len, on_reply, f));
        assert_non_null(sv_redis_command(f->redis, 2, echo, echo_len,
                                         on_reply, f));
        sv_test_loop_turn(&f->t, 0);
    }

    await_replies(f, 300);
    assert_int_equal(f->replies.others, 150);
    assert_int_equal(f->replies.strings, 150);
    assert_int_equal(f->lost, 0);
    assert_int_equal(f->replies.number, 149001);

    free(value);
}


static void
test_no_place_in_the_loop(void **state)
{
    fixture_t  *f;

    f = *state;

    f->t.refuse_watches = 2;
    start(f);
    assert_true(sv_test_loop_until(&f->t, is_ready, f));
    assert_true(sv_test_loop_logged(&f->t, "no place for its socket"));
    sv_redis_destroy(f->redis);

    f->t.refuse_timers = 1;
    assert_null(sv_redis_create(&f->t.loop, &f->conf));
    f->redis = NULL;
}


/* a server that stays away is asked less and less often, and the log stays small */

static void
test_backs_off(void **state)
{
    int          i, connections, warnings;
    char         answer[128];
    fixture_t   *f;
    const char  *p;

    f = *state;
    sv_test_control("proxy", "refuse", NULL, 0);
    sv_test_control("proxy", "count", answer, sizeof(answer));
    connections = connections_of(answer);

    start(f);

    /* a minute, in steps short enough to see each attempt */
    for (i = 0; i < 1200; i++) {
        sv_test_loop_turn(&f->t, 1);
        sv_test_loop_advance(&f->t, 50);
    }

    sv_test_control("proxy", "count", answer, sizeof(answer));
    connections = connections_of(answer) - connections;
    assert_in_range(connections, 10, 60);

    for (p = f->t.log, warnings = 0; (p = strstr(p, "5 redis")) != NULL; p++) {
        warnings++;
    }

    assert_in_range(warnings, 1, 8);

    sv_test_control("proxy", "pass", NULL, 0);
    sv_test_loop_advance(&f->t, 5000);
    assert_true(sv_test_loop_until(&f->t, is_ready, f));
}


static void
restart_real(void)
{
    char  path[SV_TEST_PATH];

    sv_test_path(path, "real");
    remove(path);
    real = sv_test_redis(path, PASSWORD);
}


static void
test_server_killed(void **state)
{
    int         i;
    char        before[64];
    fixture_t  *f;

    f = *state;
    use(f, "real");
    start_ready(f);
    snprintf(before, sizeof(before), "%s", f->run_id);

    sv_test_signal(real, SIGSTOP);

    for (i = 0; i < 1000; i++) {
        command(f, "PING", NULL, NULL);
    }

    sv_test_loop_turn(&f->t, 10);
    sv_test_stop(real, SIGKILL);

    await_replies(f, 1000);
    assert_int_equal(f->replies.nulls, 1000);
    assert_int_equal(f->lost, 1);

    restart_real();
    assert_true(sv_test_loop_until(&f->t, is_ready, f));

    /* another run: what is in this server is not what was in the other one */
    assert_string_not_equal(before, f->run_id);
    assert_int_equal(f->ready, 2);

    /* its scripts were loaded again */
    script(f, 0, "k", "");
    await_replies(f, 1001);
    assert_int_equal(f->replies.number, 1);
}


static void
test_server_frozen(void **state)
{
    fixture_t  *f;

    f = *state;
    use(f, "real");
    start_ready(f);

    sv_test_signal(real, SIGSTOP);
    command(f, "PING", NULL, NULL);
    sv_test_loop_turn(&f->t, 10);
    sv_test_loop_advance(&f->t, SILENCE_MS + 10);
    assert_int_equal(f->replies.nulls, 1);

    /* the kernel still accepts for it; the set-up is given up, again and again */
    sv_test_loop_advance(&f->t, 300);
    sv_test_loop_advance(&f->t, 2100);
    assert_true(sv_test_loop_logged(&f->t, "in time"));

    sv_test_signal(real, SIGCONT);
    assert_true(sv_test_loop_until(&f->t, is_ready, f));
    command(f, "PING", NULL, NULL);
    await_replies(f, 2);
    assert_int_equal(f->replies.strings, 1);
}


static void
test_many_pipelined(void **state)
{
    int         i, sent;
    fixture_t  *f;

    f = *state;
    use(f, "real");
    start_ready(f);

    for (sent = 0; sent < 100000; /* void */) {
        for (i = 0; i < 20000; i++, sent++) {
            assert_non_null(command(f, "ECHO", "0123456789", NULL));
        }

        await_replies(f, sent);
    }

    assert_int_equal(f->replies.strings, 100000);
}


#define case_of(name)  cmocka_unit_test_setup_teardown(name, setup, teardown)

/* build/unit/test_x [PATTERN]: only the tests whose names match */

int
main(int argc, char **argv)
{
    const struct CMUnitTest  tests[] = {
        case_of(test_becomes_ready),
        case_of(test_tcp),
        case_of(test_bad_addresses),
        case_of(test_setup_refused),
        case_of(test_setup_stalls),
        case_of(test_setup_cut_everywhere),
        case_of(test_errors_are_replies),
        case_of(test_noscript_is_sent_once_more),
        case_of(test_noscript_after_forget),
        case_of(test_dribble),
        case_of(test_nonsense),
        case_of(test_reply_nobody_asked_for),
        case_of(test_reply_without_end),
        case_of(test_cut_mid_reply),
        case_of(test_late_then_silent),
        case_of(test_slow_is_not_silent),
        case_of(test_idle_is_not_silent),
        case_of(test_forget),
        case_of(test_destroy_answers),
        case_of(test_too_many_in_flight),
        case_of(test_commands_from_callbacks),
        case_of(test_binary_safe),
        case_of(test_batches_writes),
        case_of(test_backpressure),
        case_of(test_backpressure_while_adding),
        case_of(test_no_place_in_the_loop),
        case_of(test_backs_off),
        case_of(test_server_killed),
        case_of(test_server_frozen),
        case_of(test_many_pipelined),
    };

    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }

    return cmocka_run_group_tests(tests, group_setup, NULL);
}
