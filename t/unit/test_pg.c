/*
 * src/store: the PostgreSQL client, against a real server, mostly behind a
 * misbehaving proxy.
 */

#include "src/store/sv_pg.h"
#include "sv_test_loop.h"
#include "sv_test_server.h"

#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>


#define PROXY       "pgproxy/.s.PGSQL.5432"
#define SILENCE_MS  20000       /* a busy machine is silent, too, for a second or two */
#define N_STATUS    4


enum {
    ECHO,
    DIVIDE,
    SLEEP,
    INSERT,
    DEFERRED,
    LENGTH,
    SETTINGS,
    STAR,
    DEALLOCATE,
    NOTICE,
    N_STATEMENTS
};

static const sv_pg_statement_t  statements[N_STATEMENTS] = {
    { "echo", "select $1::text", 1 },
    { "divide", "select 100 / $1::int", 1 },
    { "sleep", "select pg_sleep($1::float)::text, 'slept'", 1 },
    { "insert", "insert into t.one values ($1::int) returning n", 1 },
    { "deferred", "insert into t.deferred values ($1::int) returning n", 1 },
    { "length", "select length($1::text) + length($2::text)", 2 },
    { "settings", "select current_setting('statement_timeout') || ' '"
                  " || current_setting('lock_timeout') || ' '"
                  " || current_setting('client_encoding') || ' '"
                  " || current_setting('application_name') || ' '"
                  " || current_setting('work_mem')", 0 },
    { "star", "select * from t.star", 0 },
    { "deallocate", "deallocate all", 0 },
    { "notice", "select t.say($1::text)", 1 },
};


typedef struct {
    sv_test_loop_t      t;
    sv_pg_pool_t       *pool;
    sv_pg_pool_conf_t   conf;
    char                conninfo[SV_TEST_CONNINFO];
    int                 calls;
    int                 count[N_STATUS];
    char                value[256];     /* of the last SV_PG_OK */
    char                sqlstate[6];
    char                message[256];
    int                 ready;          /* on_ready was called */
    int                 wanted;
    const char         *text;
    int                 refuse;         /* callbacks expect their queries to be refused */
} fixture_t;


static pid_t  real;


static void
on_ready(void *data)
{
    fixture_t  *f;

    f = data;
    f->ready++;
}


static void
on_reply(void *data, const sv_pg_reply_t *reply)
{
    fixture_t   *f;
    const char  *none[] = { "1" };

    f = data;
    f->calls++;
    f->count[reply->status]++;

    if (reply->status == SV_PG_OK) {
        assert_non_null(reply->result);
        assert_null(reply->message);
        snprintf(f->value, sizeof(f->value), "%s",
                 PQntuples(reply->result) > 0 ? PQgetvalue(reply->result, 0, 0)
                                              : "");

    } else {
        assert_null(reply->result);
        assert_non_null(reply->message);
        snprintf(f->message, sizeof(f->message), "%s", reply->message);
    }

    if (reply->status == SV_PG_ERROR) {
        assert_int_equal(strlen(reply->sqlstate), 5);
        snprintf(f->sqlstate, sizeof(f->sqlstate), "%s", reply->sqlstate);
    }

    if (f->refuse) {
        assert_null(sv_pg_query(f->pool, ECHO, none, on_reply, f));
    }
}


static sv_pg_query_t *
query(fixture_t *f, unsigned statement, const char *param)
{
    const char  *params[2] = { param, NULL };

    return sv_pg_query(f->pool, statement, params, on_reply, f);
}


static sv_pg_stats_t
stats(fixture_t *f)
{
    sv_pg_stats_t  s;

    sv_pg_stats(f->pool, &s);

    return s;
}


static int
all_ready(void *data)
{
    fixture_t  *f;

    f = data;

    return stats(f).ready == f->conf.size;
}


static int
none_ready(void *data)
{
    return stats(data).ready == 0;
}


static int
has_calls(void *data)
{
    fixture_t  *f;

    f = data;

    return f->calls >= f->wanted;
}


static int
has_log(void *data)
{
    fixture_t  *f;

    f = data;

    return sv_test_loop_logged(&f->t, f->text);
}


static void
await(fixture_t *f, int calls)
{
    f->wanted = calls;
    assert_true(sv_test_loop_until(&f->t, has_calls, f));
    assert_int_equal(f->calls, calls);
}


static void
await_ready(fixture_t *f)
{
    assert_true(sv_test_loop_until(&f->t, all_ready, f));
}


static void
await_log(fixture_t *f, const char *text)
{
    f->text = text;
    assert_true(sv_test_loop_until(&f->t, has_log, f));
}


static void
forget_calls(fixture_t *f)
{
    f->calls = 0;
    memset(f->count, 0, sizeof(f->count));
}


static void
start(fixture_t *f)
{
    f->pool = sv_pg_pool_create(&f->t.loop, &f->conf);
    assert_non_null(f->pool);
}


static void
start_ready(fixture_t *f)
{
    start(f);
    await_ready(f);
}


static void
stop(fixture_t *f)
{
    sv_pg_pool_destroy(f->pool);
    f->pool = NULL;
}


static void
use_proxy(fixture_t *f)
{
    snprintf(f->conninfo, sizeof(f->conninfo),
             "host=%s/pgproxy dbname=postgres user=postgres", sv_test_dir());
}


static long
number(const char *sql)
{
    char  out[32];

    sv_test_psql(sql, out, sizeof(out));

    return strtol(out, NULL, 10);
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
    sv_test_pg_conninfo(f->conninfo);

    f->conf.name = "test";
    f->conf.conninfo = f->conninfo;
    f->conf.statements = statements;
    f->conf.n_statements = N_STATEMENTS;
    f->conf.size = 1;
    f->conf.max_in_flight = 10000;
    f->conf.max_queue = 10;
    f->conf.silence_ms = SILENCE_MS;
    f->conf.statement_timeout_ms = 2000;
    f->conf.lock_timeout_ms = 1000;
    f->conf.on_ready = on_ready;
    f->conf.on_ready_data = f;

    sv_test_psql("truncate t.one, t.deferred", NULL, 0);

    return 0;
}


static int
teardown(void **state)
{
    fixture_t  *f;

    f = *state;

    if (f->pool != NULL) {
        sv_pg_pool_destroy(f->pool);
    }

    sv_test_control(PROXY, "drop", NULL, 0);
    sv_test_control(PROXY, "pass", NULL, 0);

    sv_test_loop_done(&f->t);
    free(f);

    return 0;
}


static int
group_setup(void **state)
{
    char         path[SV_TEST_PATH], server[SV_TEST_PATH];
    const char  *options[] = { "--server", server, NULL };

    (void) state;

    sv_test_dir();
    real = sv_test_postgres(sv_test_free_port());
    sv_test_pg_socket(server);

    mkdir(sv_test_path(path, "pgproxy"), 0777);
    (void) sv_test_fake("postgres", PROXY, options);

    sv_test_psql(
        "create schema t;"
        "create table t.one (n int);"
        "create table t.deferred (n int unique deferrable initially deferred);"
        "create table t.star (n int);"
        "create function t.say(text) returns text language plpgsql as"
        " $$ begin raise warning 'said %', $1; return $1; end $$;", NULL, 0);

    return 0;
}


static void
test_answers(void **state)
{
    fixture_t  *f;

    f = *state;
    f->conf.size = 3;
    start_ready(f);
    assert_int_equal(f->ready, 3);

    assert_non_null(query(f, ECHO, "grüezi"));
    assert_int_equal(f->calls, 0);
    await(f, 1);
    assert_string_equal(f->value, "grüezi");

    assert_non_null(query(f, ECHO, NULL));
    assert_non_null(query(f, LENGTH, "abc"));
    assert_null(query(f, N_STATEMENTS, NULL));
    await(f, 3);
    assert_int_equal(f->count[SV_PG_OK], 3);
    assert_string_equal(f->value, "");

    assert_int_equal(stats(f).queries, 3);
    assert_int_equal(stats(f).refused, 1);
    assert_int_equal(stats(f).connects, 3);
    assert_int_equal(stats(f).losses, 0);
}


/* a pool just made lets queries wait for its first connection, once */

static void
test_waits_for_the_first_connection(void **state)
{
    int         i;
    fixture_t  *f;

    f = *state;
    f->conf.size = 2;
    start(f);

    for (i = 0; i < 10; i++) {
        assert_non_null(query(f, ECHO, "early"));
    }

    assert_null(query(f, ECHO, "too many"));
    await(f, 10);
    assert_int_equal(f->count[SV_PG_OK], 10);
    stop(f);

    /* it fails: they had no effect, and nobody waits any more */

    forget_calls(f);
    use_proxy(f);
    sv_test_control(PROXY, "refuse", NULL, 0);
    start(f);
    assert_non_null(query(f, ECHO, "x"));
    f->refuse = 1;
    await(f, 1);
    f->refuse = 0;
    assert_int_equal(f->count[SV_PG_NOT_SENT], 1);
    assert_null(query(f, ECHO, "x"));

    sv_test_control(PROXY, "pass", NULL, 0);
    await_ready(f);
    stop(f);

    /* there is no socket at all */

    forget_calls(f);
    snprintf(f->conninfo, sizeof(f->conninfo),
             "host=%s/nowhere dbname=postgres user=postgres", sv_test_dir());
    start(f);
    assert_null(query(f, ECHO, "x"));
}


static void
test_session_settings(void **state)
{
    fixture_t  *f;

    f = *state;
    strncat(f->conninfo, " options='-c work_mem=7MB -c statement_timeout=9'"
                         " client_encoding=LATIN1", 100);
    start_ready(f);

    query(f, SETTINGS, NULL);
    await(f, 1);
    assert_string_equal(f->value, "2s 1s UTF8 serial-verify 7MB");
}


static void
test_conninfo_check(void **state)
{
    unsigned     i;
    const char  *said;

    static const struct {
        const char  *conninfo;
        const char  *says;          /* NULL: accepted */
    } cases[] = {
        { "host=/run/postgresql dbname=sv user=gw", NULL },
        { "hostaddr=10.0.0.1 sslmode=verify-full host=db1 dbname=sv user=gw",
          NULL },
        { "hostaddr=fe80::1%eth0 sslmode=require dbname=sv user=gw", NULL },
        { "hostaddr=10.0.0.1%eth0 sslmode=require dbname=sv user=gw",
          "not a numeric" },
        { "hostaddr=::1 sslmode=disable dbname=sv user=gw password='a b'",
          NULL },
        { "postgresql://gw@/sv?host=/run/postgresql", NULL },
        { "", "\"dbname\" is missing" },
        { "host=/x dbname=sv", "\"user\" is missing" },
        { "dbname=sv user=gw", "needs \"hostaddr\"" },
        { "host=db1 dbname=sv user=gw", "name resolution" },
        { "postgresql://gw@db1/sv", "name resolution" },
        { "host=/a,/b dbname=sv user=gw", "more than one" },
        { "hostaddr=10.0.0.1,10.0.0.2 sslmode=disable dbname=sv user=gw",
          "more than one" },
        { "hostaddr=10.0.0.1 port=1,2 sslmode=disable dbname=sv user=gw",
          "more than one" },
        { "hostaddr=db1 sslmode=disable dbname=sv user=gw", "not a numeric" },
        { "hostaddr=1.2.3 sslmode=disable dbname=sv user=gw",
          "not a numeric" },
        { "hostaddr=10.0.0.1 dbname=sv user=gw", "\"sslmode\" has to be" },
        { "hostaddr=10.0.0.1 sslmode=prefer dbname=sv user=gw",
          "\"sslmode\" has to be" },
        { "hostaddr=10.0.0.1 sslmode=allow dbname=sv user=gw",
          "\"sslmode\" has to be" },
        { "service=x dbname=sv user=gw host=/x", "\"service\"" },
        { "passfile=/x dbname=sv user=gw host=/x", "\"passfile\"" },
        { "host=/x dbname=sv user=gw nonsense=1", "not a connection string" },
        { "host=/x dbname=sv user=gw password='", "not a connection string" },
        { "postgresql://gw:secret@[::1/sv", "not a connection string" },
    };

    (void) state;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        said = sv_pg_conninfo_check(cases[i].conninfo);

        if (cases[i].says == NULL) {
            assert_null(said);
            continue;
        }

        assert_non_null(said);

        if (strstr(said, cases[i].says) == NULL) {
            fail_msg("%s: %s", cases[i].conninfo, said);
        }

        assert_null(strstr(said, "secret"));
    }

    setenv("PGSERVICE", "x", 1);
    assert_non_null(sv_pg_conninfo_check(cases[0].conninfo));
    unsetenv("PGSERVICE");
}


/* an error touches its own query only */

static void
test_errors_are_isolated(void **state)
{
    int         i;
    fixture_t  *f;

    f = *state;
    start_ready(f);

    for (i = 0; i < 100; i++) {
        query(f, INSERT, "1");
        query(f, DIVIDE, "0");
        query(f, ECHO, "\xff");
        query(f, ECHO, "x");
    }

    await(f, 400);
    assert_int_equal(f->count[SV_PG_OK], 200);
    assert_int_equal(f->count[SV_PG_ERROR], 200);
    assert_int_equal(number("select count(*) from t.one"), 100);
    assert_int_equal(stats(f).errors, 200);
    assert_int_equal(stats(f).losses, 0);

    forget_calls(f);
    query(f, DIVIDE, "0");
    await(f, 1);
    assert_string_equal(f->sqlstate, "22012");
    assert_string_equal(f->message, "division by zero");
}


/* the rows are there before the commit, which may still fail */

static void
test_answers_after_commit(void **state)
{
    fixture_t  *f;

    f = *state;
    start_ready(f);

    query(f, DEFERRED, "1");
    query(f, DEFERRED, "1");
    query(f, DEFERRED, "2");
    await(f, 3);

    assert_int_equal(f->count[SV_PG_OK], 2);
    assert_int_equal(f->count[SV_PG_ERROR], 1);
    assert_string_equal(f->sqlstate, "23505");
}


static long
waiting_for_standby(void)
{
    return number("select coalesce(max(pid), 0) from pg_stat_activity"
                  " where wait_event = 'SyncRep'");
}


static int
waits_or_answered(void *data)
{
    return has_calls(data) || waiting_for_standby() != 0;
}


/* committed here, but the standby did not get it: after a failover it is gone */

static void
test_unconfirmed_commit_is_unknown(void **state)
{
    int         i, before;
    char        sql[64];
    fixture_t  *f;

    f = *state;
    f->conf.silence_ms = 60000;
    start_ready(f);

    sv_test_psql("alter system set synchronous_standby_names = 'nobody'", NULL,
                 0);
    sv_test_psql("select pg_reload_conf()", NULL, 0);

    for (i = 0; i < 2; i++) {
        await_ready(f);

        /* until the change has reached all processes, commits do not wait */

        do {
            forget_calls(f);
            before = (int) number("select count(*) from t.one");
            f->wanted = 1;
            query(f, INSERT, "1");
            assert_true(sv_test_loop_until(&f->t, waits_or_answered, f));
        } while (f->calls != 0);

        query(f, ECHO, "behind");
        sv_test_loop_turn(&f->t, 0);

        snprintf(sql, sizeof(sql), "select pg_%s_backend(%ld)",
                 i == 0 ? "cancel" : "terminate", waiting_for_standby());
        sv_test_psql(sql, NULL, 0);

        await(f, 2);
        assert_int_equal(f->count[SV_PG_UNKNOWN], i == 0 ? 1 : 2);
        assert_int_equal(f->count[SV_PG_OK], i == 0 ? 1 : 0);
        assert_int_equal(number("select count(*) from t.one"), before + 1);
    }

    sv_test_psql("alter system reset synchronous_standby_names", NULL, 0);
    sv_test_psql("select pg_reload_conf()", NULL, 0);

    await_ready(f);
}


static void
test_terminated_by_admin(void **state)
{
    fixture_t  *f;

    f = *state;
    start_ready(f);

    query(f, SLEEP, "1.5");
    query(f, INSERT, "1");
    query(f, INSERT, "2");
    sv_test_loop_turn(&f->t, 0);

    while (number("select count(pg_terminate_backend(pid))"
                  " from pg_stat_activity where wait_event = 'PgSleep'") == 0)
    {
        sv_test_loop_turn(&f->t, 1);
    }

    await(f, 3);
    assert_int_equal(f->count[SV_PG_ERROR], 1);
    assert_string_equal(f->sqlstate, "57P01");
    assert_int_equal(f->count[SV_PG_UNKNOWN], 2);
    assert_int_equal(stats(f).losses, 1);

    await_ready(f);
    query(f, ECHO, "again");
    await(f, 4);
    assert_string_equal(f->value, "again");
}


static void
test_killed_mid_pipeline(void **state)
{
    int         i;
    fixture_t  *f;

    f = *state;
    f->conf.size = 2;
    f->conf.max_in_flight = 100;
    start_ready(f);

    for (i = 0; i < 205; i++) {
        assert_non_null(query(f, i == 100 ? SLEEP : ECHO, "1"));
    }

    sv_test_loop_turn(&f->t, 0);
    sv_test_stop(real, SIGQUIT);

    await(f, 205);
    assert_true(f->count[SV_PG_UNKNOWN] > 0);
    assert_int_equal(f->count[SV_PG_UNKNOWN] + f->count[SV_PG_OK]
                     + f->count[SV_PG_NOT_SENT], 205);
    assert_true(sv_test_loop_until(&f->t, none_ready, f));

    /* the circuit is open: refused at once */
    assert_null(query(f, ECHO, "x"));

    real = sv_test_postgres_again();
    await_ready(f);
    query(f, ECHO, "back");
    await(f, 206);
    assert_string_equal(f->value, "back");
}


static void
test_frozen(void **state)
{
    int         i;
    long        pid;
    fixture_t  *f;

    f = *state;
    f->conf.max_in_flight = 3;
    start_ready(f);

    pid = number("select max(pid) from pg_stat_activity"
                 " where application_name = 'serial-verify'");
    sv_test_signal((pid_t) pid, SIGSTOP);

    for (i = 0; i < 5; i++) {
        assert_non_null(query(f, INSERT, "1"));
    }

    sv_test_loop_turn(&f->t, 10);
    sv_test_loop_advance(&f->t, SILENCE_MS / 2);
    assert_int_equal(f->calls, 0);
    assert_int_equal(stats(f).ready, 1);
    sv_test_loop_advance(&f->t, SILENCE_MS / 2 + 100);
    assert_int_equal(f->calls, 5);
    assert_int_equal(f->count[SV_PG_UNKNOWN], 3);
    assert_int_equal(f->count[SV_PG_NOT_SENT], 2);
    assert_int_equal(stats(f).ready, 0);
    assert_true(sv_test_loop_logged(&f->t, "silent"));

    sv_test_signal((pid_t) pid, SIGCONT);
    await_ready(f);

    /* unknown, indeed */
    assert_in_range(number("select count(*) from t.one"), 0, 3);
}


static void
test_idle_is_not_silent(void **state)
{
    int         i;
    fixture_t  *f;

    f = *state;
    start_ready(f);
    query(f, ECHO, "x");
    await(f, 1);

    for (i = 0; i < 10; i++) {
        sv_test_loop_advance(&f->t, 3600 * 1000);
    }

    query(f, ECHO, "x");
    sv_test_loop_turn(&f->t, 0);
    await(f, 2);
    assert_int_equal(stats(f).losses, 0);
}


/* a slow server that keeps answering is not a silent one */

static void
test_slow_is_not_silent(void **state)
{
    int         i;
    fixture_t  *f;

    f = *state;
    start_ready(f);

    for (i = 0; i < 6; i++) {
        query(f, SLEEP, "0.2");
    }

    for (i = 0; i < 6; i++) {
        await(f, i + 1);
        sv_test_loop_advance(&f->t, SILENCE_MS * 6 / 10);
    }

    assert_int_equal(f->count[SV_PG_OK], 6);
    assert_int_equal(stats(f).losses, 0);
}


/* many in one pipeline, one of them too slow: it alone fails, nothing blocks */

static void
test_thousands_and_a_slow_one(void **state)
{
    int         i;
    fixture_t  *f;

    f = *state;
    f->conf.statement_timeout_ms = 300;
    start_ready(f);

    for (i = 0; i < 5000; i++) {
        assert_non_null(query(f, i == 2500 ? SLEEP : ECHO, "2"));
    }

    await(f, 5000);
    assert_int_equal(f->count[SV_PG_OK], 4999);
    assert_int_equal(f->count[SV_PG_ERROR], 1);
    assert_string_equal(f->sqlstate, "57014");
}


static long
bytes_down(void)
{
    char  answer[128], *p;

    sv_test_control(PROXY, "count", answer, sizeof(answer));
    p = strstr(answer, "down=");
    assert_non_null(p);

    return strtol(p + sizeof("down=") - 1, NULL, 10);
}


/*
 * All of an answer has come but its sync point (ReadyForQuery, 6 bytes), and
 * then the connection ends, with or without a reason: who knows whether the
 * commit was done.
 */

static void
test_lost_before_sync(void **state)
{
    int         i;
    char        line[64];
    long        size;
    fixture_t  *f;

    f = *state;
    use_proxy(f);

    for (i = 0; i < 3; i++) {
        start_ready(f);
        forget_calls(f);

        size = bytes_down();
        query(f, INSERT, "1");
        await(f, 1);
        size = bytes_down() - size;

        sv_test_control(PROXY, "stall-down", NULL, 0);
        query(f, INSERT, "2");
        sv_test_loop_turn(&f->t, 10);
        snprintf(line, sizeof(line), "wait-stalled %ld", size);
        sv_test_control(PROXY, line, NULL, 0);
        sv_test_control(PROXY, "truncate 6", NULL, 0);

        if (i == 1) {
            sv_test_control(PROXY, "inject E\\0\\0\\0\\x23SFATAL\\0VFATAL\\0"
                                   "C57P01\\0Mgoodbye\\0\\0", NULL, 0);
        }

        if (i < 2) {
            sv_test_control(PROXY, "finish", NULL, 0);
            await(f, 2);

        } else {
            /* we end it */
            sv_test_control(PROXY, "pass", NULL, 0);
            sv_test_loop_turn(&f->t, 1000);
            assert_int_equal(f->calls, 1);
            stop(f);
        }

        assert_int_equal(f->count[SV_PG_OK], 1);
        assert_int_equal(f->count[SV_PG_UNKNOWN], 1);
        assert_int_equal(number("select count(*) from t.one where n = 2"),
                         i + 1);
        sv_test_control(PROXY, "pass", NULL, 0);

        if (f->pool != NULL) {
            stop(f);
        }
    }
}


/* what is behind a slow query is waited for by the loop, not by PQgetResult() */

static void
test_slow_query_blocks_nothing(void **state)
{
    fixture_t  *f;

    f = *state;
    start_ready(f);

    query(f, ECHO, "x");
    query(f, SLEEP, "1.5");
    await(f, 1);
    await(f, 2);
    assert_int_equal(f->count[SV_PG_OK], 2);
}


static void
test_lock_timeout(void **state)
{
    PGconn     *pg;
    char        info[SV_TEST_CONNINFO];
    fixture_t  *f;

    f = *state;
    f->conf.lock_timeout_ms = 100;
    start_ready(f);

    pg = PQconnectdb(sv_test_pg_conninfo(info));
    PQclear(PQexec(pg, "begin"));
    PQclear(PQexec(pg, "lock table t.one"));

    query(f, INSERT, "1");
    query(f, ECHO, "behind");
    await(f, 2);
    assert_int_equal(f->count[SV_PG_ERROR], 1);
    assert_string_equal(f->sqlstate, "55P03");
    assert_string_equal(f->value, "behind");

    PQfinish(pg);
}


/* more than the socket takes: PQflush has to be called again when it is writable */

static void
test_large_parameters(void **state)
{
    int          i;
    char        *large;
    size_t       size;
    fixture_t   *f;
    const char  *params[2];

    f = *state;
    size = 8 * 1024 * 1024;
    f->conf.statement_timeout_ms = 0;
    f->conf.silence_ms = 60000;
    use_proxy(f);
    start_ready(f);

    large = malloc(size + 1);
    memset(large, 'x', size);
    large[size] = '\0';
    params[0] = large;
    params[1] = large;

    for (i = 0; i < 3; i++) {
        assert_non_null(sv_pg_query(f->pool, LENGTH, params, on_reply, f));
        assert_non_null(query(f, ECHO, "small"));
    }

    free(large);
    await(f, 6);
    assert_int_equal(f->count[SV_PG_OK], 6);
    assert_int_equal(stats(f).losses, 0);

    forget_calls(f);
    params[0] = "12";
    params[1] = "345";
    assert_non_null(sv_pg_query(f->pool, LENGTH, params, on_reply, f));
    await(f, 1);
    assert_string_equal(f->value, "5");
}


static void
test_missing_function(void **state)
{
    fixture_t                       *f;
    static const sv_pg_statement_t   st[] = {
        { "there", "select 1", 0 },
        { "not_there", "select t.later()", 0 },
        { "never_reached", "select 1", 0 }
    };

    f = *state;
    f->conf.statements = st;
    f->conf.n_statements = 3;
    f->conf.size = 2;
    start(f);

    await_log(f, "preparing \"not_there\": function t.later() does not exist");
    assert_int_equal(stats(f).ready, 0);
    assert_null(query(f, 0, NULL));
    assert_int_equal(stats(f).losses, 0);

    sv_test_psql("create function t.later() returns text language sql"
                 " return 'now'", NULL, 0);
    await_ready(f);
    query(f, 1, NULL);
    await(f, 1);
    assert_string_equal(f->value, "now");

    sv_test_psql("drop function t.later()", NULL, 0);
}


/* prepared statements or cached plans that are gone: the error, then a new connection */

static void
test_stale_sessions(void **state)
{
    fixture_t  *f;

    f = *state;
    start_ready(f);

    query(f, DEALLOCATE, NULL);
    query(f, ECHO, "x");
    query(f, ECHO, "y");
    await(f, 3);
    assert_int_equal(f->count[SV_PG_ERROR], 2);
    assert_string_equal(f->sqlstate, "26000");

    await_ready(f);
    query(f, STAR, NULL);
    await(f, 4);
    assert_int_equal(f->count[SV_PG_OK], 2);

    sv_test_psql("alter table t.star add m int", NULL, 0);
    query(f, STAR, NULL);
    await(f, 5);
    assert_string_equal(f->sqlstate, "0A000");
    await_ready(f);
    query(f, STAR, NULL);
    await(f, 6);
    assert_int_equal(f->count[SV_PG_OK], 3);
    assert_int_equal(stats(f).losses, 2);

    sv_test_psql("alter table t.star drop m", NULL, 0);
}


/* a demoted primary: reconnecting to it again and again is done ever slower */

static void
test_read_only(void **state)
{
    int         i, errors;
    fixture_t  *f;

    f = *state;
    strncat(f->conninfo, " options='-c default_transaction_read_only=on'", 100);
    start_ready(f);

    errors = 0;

    for (i = 0; i < 600; i++) {
        if (query(f, INSERT, "1") != NULL) {
            await(f, ++errors);
            assert_string_equal(f->sqlstate, "25006");
        }

        sv_test_loop_turn(&f->t, 1);
        sv_test_loop_advance(&f->t, 50);
    }

    assert_in_range(errors, 3, 40);
    assert_int_equal(f->count[SV_PG_ERROR], errors);
}


static void
test_waiting_queue(void **state)
{
    int             i;
    fixture_t      *f;
    sv_pg_query_t  *q[5];

    f = *state;
    f->conf.max_in_flight = 2;
    f->conf.max_queue = 3;
    start_ready(f);

    for (i = 0; i < 5; i++) {
        q[i] = query(f, INSERT, i == 3 ? NULL : "1");
        assert_non_null(q[i]);
    }

    assert_null(query(f, INSERT, "9"));
    assert_int_equal(stats(f).in_flight, 2);
    assert_int_equal(stats(f).queued, 3);
    assert_int_equal(stats(f).refused, 1);

    /* what waits is forgotten wholly, and makes room */
    sv_pg_forget(q[2]);
    assert_int_equal(stats(f).queued, 2);
    assert_non_null(query(f, INSERT, "5"));
    assert_null(query(f, INSERT, "9"));

    await(f, 5);
    assert_int_equal(f->count[SV_PG_OK], 5);
    assert_string_equal(f->value, "5");
    assert_int_equal(number("select count(*) from t.one"), 5);
    assert_int_equal(number("select count(*) from t.one where n is null"), 1);
}


/* not sent is not unknown: what waited had no effect */

static void
test_waiting_when_lost(void **state)
{
    int         i;
    fixture_t  *f;

    f = *state;
    f->conf.max_in_flight = 2;
    f->conf.max_queue = 5;
    use_proxy(f);
    start_ready(f);

    sv_test_control(PROXY, "stall", NULL, 0);

    for (i = 0; i < 7; i++) {
        assert_non_null(query(f, INSERT, "1"));
    }

    f->refuse = 1;
    sv_test_loop_turn(&f->t, 10);
    sv_test_control(PROXY, "drop", NULL, 0);
    await(f, 7);
    assert_int_equal(f->count[SV_PG_UNKNOWN], 2);
    assert_int_equal(f->count[SV_PG_NOT_SENT], 5);
    assert_int_equal(number("select count(*) from t.one"), 0);
}


static void
test_forget(void **state)
{
    fixture_t      *f;
    sv_pg_query_t  *q;

    f = *state;
    use_proxy(f);
    start_ready(f);

    /* before it was sent: it is sent, and its reply dropped */
    sv_pg_forget(query(f, INSERT, "1"));
    query(f, ECHO, "right");
    await(f, 1);
    assert_string_equal(f->value, "right");
    assert_int_equal(number("select count(*) from t.one"), 1);

    /* after it was sent; while its reply is on its way */
    sv_test_control(PROXY, "stall-down", NULL, 0);
    q = query(f, INSERT, "2");
    sv_test_loop_turn(&f->t, 10);
    sv_test_control(PROXY, "wait-stalled 40", NULL, 0);
    sv_pg_forget(q);
    query(f, ECHO, "late");
    sv_test_control(PROXY, "pass", NULL, 0);
    await(f, 2);
    assert_string_equal(f->value, "late");
    assert_int_equal(number("select count(*) from t.one"), 2);

    /* when the connection goes */
    sv_pg_forget(query(f, ECHO, "x"));
    sv_test_loop_turn(&f->t, 0);
    sv_test_control(PROXY, "drop", NULL, 0);
    assert_true(sv_test_loop_until(&f->t, none_ready, f));
    await_ready(f);

    /* and nobody who could be told */
    assert_non_null(sv_pg_query(f->pool, NOTICE,
                                (const char *[]) { "x" }, NULL, NULL));
    await_log(f, "said x");
    assert_int_equal(f->calls, 2);
}


static void
test_destroy_answers(void **state)
{
    int         i;
    fixture_t  *f;

    f = *state;
    f->conf.max_in_flight = 3;
    f->conf.max_queue = 3;
    start_ready(f);

    for (i = 0; i < 6; i++) {
        assert_non_null(query(f, SLEEP, "1"));
    }

    sv_test_loop_turn(&f->t, 0);
    f->refuse = 1;
    stop(f);
    f->refuse = 0;
    assert_int_equal(f->count[SV_PG_UNKNOWN], 3);
    assert_int_equal(f->count[SV_PG_NOT_SENT], 3);

    /* at every other moment of its life */

    start(f);
    stop(f);

    for (i = 1; i < 12; i++) {
        int  turn;

        start(f);

        for (turn = 0; turn < i; turn++) {
            sv_test_loop_turn(&f->t, 20);
        }

        stop(f);
    }
}


static void
test_fewest_in_flight(void **state)
{
    int         i;
    fixture_t  *f;

    f = *state;
    f->conf.size = 2;
    start_ready(f);

    /* the one that is blocked fills up no further than the other */
    query(f, SLEEP, "1.0");
    sv_test_loop_turn(&f->t, 0);

    for (i = 0; i < 200; i++) {
        query(f, ECHO, "fast");
        await(f, i + 1);
        assert_string_equal(f->value, i < 50 ? "fast" : f->value);
    }

    await(f, 201);
}


/* the connection is cut after each number of bytes of start-up and preparation */

static void
test_start_cut_everywhere(void **state)
{
    int         n;
    char        line[32];
    fixture_t  *f;

    f = *state;
    use_proxy(f);

    for (n = 0; n < 700; n += (n < 30 ? 1 : 13)) {
        snprintf(line, sizeof(line), "cut-new %d", n);
        sv_test_control(PROXY, line, NULL, 0);

        sv_test_loop_forget_log(&f->t);
        start(f);

        f->text = "connecting again";

        while (!has_log(f) && stats(f).ready == 0) {
            sv_test_loop_turn(&f->t, 100);
        }

        stop(f);
    }

    sv_test_control(PROXY, "pass", NULL, 0);
    start_ready(f);
}


/* every query once; what was answered is there, what was not may be */

static void
test_cut_mid_reply(void **state)
{
    int         n, ok, sent, accepted;
    char        line[32];
    fixture_t  *f;

    f = *state;
    use_proxy(f);

    for (n = 0; n < 2500; n += 61) {
        start_ready(f);
        forget_calls(f);
        sv_test_psql("truncate t.one", NULL, 0);

        snprintf(line, sizeof(line), n % 2 ? "cut %d" : "cut-up %d", n);
        sv_test_control(PROXY, line, NULL, 0);

        /* libpq sends each at once: one may find the connection gone, and what follows waits */

        for (accepted = 0; accepted < 50; accepted++) {
            if (query(f, INSERT, "1") == NULL) {
                break;
            }
        }

        assert_true(accepted > 0);
        await(f, accepted);
        ok = f->count[SV_PG_OK];
        sent = ok + f->count[SV_PG_UNKNOWN];
        assert_int_equal(sent + f->count[SV_PG_NOT_SENT], accepted);
        assert_int_equal(stats(f).in_flight, 0);
        stop(f);

        /* its backend may still be at work */
        while (number("select count(*) from pg_stat_activity"
                      " where application_name = 'serial-verify'") != 0)
        {
            /* void */
        }

        assert_in_range(number("select count(*) from t.one"), ok, sent);
    }
}


static void
test_dribble(void **state)
{
    int         i;
    fixture_t  *f;

    f = *state;
    use_proxy(f);
    f->conf.n_statements = 2;

    sv_test_control(PROXY, "dribble 1 0", NULL, 0);
    start_ready(f);

    for (i = 0; i < 10; i++) {
        query(f, i % 3 ? ECHO : DIVIDE, "0");
    }

    await(f, 10);
    assert_int_equal(f->count[SV_PG_OK], 6);
    assert_int_equal(f->count[SV_PG_ERROR], 4);
}


static void
test_connect_timeouts(void **state)
{
    fixture_t  *f;

    f = *state;
    use_proxy(f);

    sv_test_control(PROXY, "stall", NULL, 0);
    start(f);
    sv_test_loop_turn(&f->t, 50);
    sv_test_loop_turn(&f->t, 50);
    sv_test_loop_advance(&f->t, 2500);
    assert_false(sv_test_loop_logged(&f->t, "in time"));
    sv_test_loop_advance(&f->t, 2600);
    assert_true(sv_test_loop_logged(&f->t, "no connection in time"));
    stop(f);

    /* connected, and stalled while the statements are prepared */
    sv_test_control(PROXY, "drop", NULL, 0);
    sv_test_control(PROXY, "pass", NULL, 0);
    start(f);

    while (stats(f).connects == 0) {
        sv_test_loop_turn(&f->t, 100);
    }

    sv_test_control(PROXY, "stall-down", NULL, 0);

    if (stats(f).ready == 0) {
        sv_test_loop_turn(&f->t, 0);
        sv_test_loop_advance(&f->t, 5100);
    }

    if (stats(f).ready == 0) {
        assert_true(sv_test_loop_logged(&f->t, "not prepared in time"));
    }

    sv_test_control(PROXY, "pass", NULL, 0);
    await_ready(f);
}


static void
test_refused_and_back(void **state)
{
    int         i, connections;
    char        answer[128];
    fixture_t  *f;

    f = *state;
    use_proxy(f);

    sv_test_control(PROXY, "refuse", NULL, 0);
    sv_test_control(PROXY, "count", answer, sizeof(answer));
    connections = connections_of(answer);
    start(f);

    /* a minute */
    for (i = 0; i < 1200; i++) {
        sv_test_loop_turn(&f->t, 1);
        sv_test_loop_advance(&f->t, 50);
    }

    sv_test_control(PROXY, "count", answer, sizeof(answer));
    connections = connections_of(answer) - connections;
    assert_in_range(connections, 10, 60);

    sv_test_control(PROXY, "away", NULL, 0);
    await_log(f, "No such file");

    sv_test_control(PROXY, "pass", NULL, 0);
    sv_test_loop_advance(&f->t, 5000);
    await_ready(f);
}


static void
test_no_place_in_the_loop(void **state)
{
    fixture_t  *f;

    f = *state;
    f->conf.size = 2;

    f->t.refuse_watches = 3;
    start(f);
    await_ready(f);
    assert_true(sv_test_loop_logged(&f->t, "no place for its socket"));
    stop(f);

    f->t.refuse_timers = 1;
    assert_null(sv_pg_pool_create(&f->t.loop, &f->conf));
}


/* one write for all queries of a turn, and no system call for interest */

static void
test_batches_writes(void **state)
{
    int         i, turn;
    uint64_t    before;
    fixture_t  *f;

    f = *state;
    start_ready(f);
    before = f->t.n_interests;

    for (turn = 0; turn < 10; turn++) {
        for (i = 0; i < 50; i++) {
            query(f, ECHO, "x");
        }

        await(f, (turn + 1) * 50);
    }

    assert_int_equal(f->t.n_interests, before);
}


static void
test_wrong_password(void **state)
{
    char         hba[SV_TEST_PATH];
    FILE        *file;
    fixture_t   *f;

    f = *state;

    file = fopen(sv_test_path(hba, "data/pg_hba.conf"), "r+");
    assert_non_null(file);
    fprintf(file, "local all locked scram-sha-256\n"
                  "host all locked all scram-sha-256\n"
                  "local all all trust\nhost all all all trust\n#");
    fclose(file);

    sv_test_psql("create role locked login password 'right'", NULL, 0);
    sv_test_psql("select pg_reload_conf()", NULL, 0);

    snprintf(f->conninfo, sizeof(f->conninfo),
             "hostaddr=127.0.0.1 port=%d dbname=postgres user=locked"
             " sslmode=disable password=wr0ngpass", sv_test_pg_port());
    f->conf.n_statements = 1;

    start(f);
    await_log(f, "password authentication failed");
    assert_false(sv_test_loop_logged(&f->t, "wr0ngpass"));
    stop(f);

    snprintf(f->conninfo, sizeof(f->conninfo),
             "hostaddr=127.0.0.1 port=%d dbname=postgres user=locked"
             " sslmode=disable password=right", sv_test_pg_port());
    start_ready(f);
}


/* TLS: decrypted bytes may wait where poll cannot see them */

static void
test_tls(void **state)
{
    int          i;
    char         key[SV_TEST_PATH], cert[SV_TEST_PATH];
    pid_t        pid;
    fixture_t   *f;
    const char  *argv[] = { "openssl", "req", "-x509", "-newkey", "rsa:2048",
                            "-nodes", "-days", "2", "-subj", "/CN=test",
                            "-keyout", key, "-out", cert, NULL };

    f = *state;

    sv_test_path(key, "data/server.key");
    sv_test_path(cert, "data/server.crt");

    pid = sv_test_spawn("openssl", argv, 1);
    sv_test_stop(pid, 0);
    chmod(key, 0600);

    sv_test_psql("alter system set ssl = on", NULL, 0);
    sv_test_psql("select pg_reload_conf()", NULL, 0);

    snprintf(f->conninfo, sizeof(f->conninfo),
             "hostaddr=127.0.0.1 port=%d dbname=postgres user=postgres"
             " sslmode=require", sv_test_pg_port());

    start_ready(f);

    assert_true(number("select count(*) from pg_stat_ssl where ssl") > 0);

    for (i = 0; i < 2000; i++) {
        query(f, ECHO, "0123456789012345678901234567890123456789");
    }

    await(f, 2000);
    assert_int_equal(f->count[SV_PG_OK], 2000);
}


static void
test_fast_restart(void **state)
{
    fixture_t  *f;

    f = *state;
    f->conf.size = 2;
    start_ready(f);

    /* idle when it goes */
    sv_test_stop(real, SIGINT);
    assert_true(sv_test_loop_until(&f->t, none_ready, f));
    real = sv_test_postgres_again();
    await_ready(f);
    assert_int_equal(f->ready, 4);
    assert_int_equal(stats(f).losses, 2);
}


static int
open_files(void)
{
    int             n;
    DIR            *d;
    struct dirent  *e;

    d = opendir("/proc/self/fd");
    n = 0;

    while ((e = readdir(d)) != NULL) {
        n++;
    }

    closedir(d);

    return n;
}


static void
test_leaves_no_descriptor(void **state)
{
    int         i, before;
    fixture_t  *f;

    f = *state;
    f->conf.size = 4;
    use_proxy(f);
    start_ready(f);
    stop(f);

    before = open_files();

    for (i = 0; i < 5; i++) {
        start_ready(f);
        query(f, SLEEP, "0.1");
        sv_test_loop_turn(&f->t, 0);
        sv_test_control(PROXY, "reset", NULL, 0);
        assert_true(sv_test_loop_until(&f->t, none_ready, f));
        stop(f);
    }

    assert_int_equal(open_files(), before);
}


#define case_of(name)  cmocka_unit_test_setup_teardown(name, setup, teardown)

/* build/unit/test_x [PATTERN]: only the tests whose names match */

int
main(int argc, char **argv)
{
    const struct CMUnitTest  tests[] = {
        case_of(test_answers),
        case_of(test_waits_for_the_first_connection),
        case_of(test_session_settings),
        case_of(test_conninfo_check),
        case_of(test_errors_are_isolated),
        case_of(test_answers_after_commit),
        case_of(test_unconfirmed_commit_is_unknown),
        case_of(test_terminated_by_admin),
        case_of(test_killed_mid_pipeline),
        case_of(test_frozen),
        case_of(test_idle_is_not_silent),
        case_of(test_slow_is_not_silent),
        case_of(test_thousands_and_a_slow_one),
        case_of(test_slow_query_blocks_nothing),
        case_of(test_lost_before_sync),
        case_of(test_lock_timeout),
        case_of(test_large_parameters),
        case_of(test_missing_function),
        case_of(test_stale_sessions),
        case_of(test_read_only),
        case_of(test_waiting_queue),
        case_of(test_waiting_when_lost),
        case_of(test_forget),
        case_of(test_destroy_answers),
        case_of(test_fewest_in_flight),
        case_of(test_start_cut_everywhere),
        case_of(test_cut_mid_reply),
        case_of(test_dribble),
        case_of(test_connect_timeouts),
        case_of(test_refused_and_back),
        case_of(test_no_place_in_the_loop),
        case_of(test_batches_writes),
        case_of(test_wrong_password),
        case_of(test_tls),
        case_of(test_fast_restart),
        case_of(test_leaves_no_descriptor),
    };

    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }

    return cmocka_run_group_tests(tests, group_setup, NULL);
}
