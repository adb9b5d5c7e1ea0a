/*
 * src/io/sv_backoff.h: doubling, bounded, and not in step with the neighbours.
 */

#include "src/io/sv_backoff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>


static void
test_grows_within_bounds(void **state)
{
    int           i;
    unsigned      ms, limit;
    sv_backoff_t  b;

    (void) state;

    sv_backoff_init(&b, &b, 1);
    limit = 2 * SV_BACKOFF_MIN_MS;

    for (i = 0; i < 1000; i++) {
        ms = sv_backoff_next(&b);

        assert_in_range(ms, limit / 2, limit);
        assert_in_range(ms, SV_BACKOFF_MIN_MS, SV_BACKOFF_MAX_MS);

        limit = limit * 2 > SV_BACKOFF_MAX_MS ? SV_BACKOFF_MAX_MS : limit * 2;
    }
}


static void
test_starts_again_after_reset(void **state)
{
    int           i;
    sv_backoff_t  b;

    (void) state;

    sv_backoff_init(&b, &b, 7);

    for (i = 0; i < 20; i++) {
        (void) sv_backoff_next(&b);
    }

    sv_backoff_reset(&b);

    assert_in_range(sv_backoff_next(&b), SV_BACKOFF_MIN_MS,
                    2 * SV_BACKOFF_MIN_MS);
}


/*
 * 64 worker processes, forked from one, that lost the same server in the same
 * millisecond: they must not come back in one instant.
 */

static void
test_neighbours_spread(void **state)
{
    int           i, fd[2], tenths[10], used;
    pid_t         pid;
    unsigned      ms;
    sv_backoff_t  b;

    (void) state;

    memset(tenths, 0, sizeof(tenths));
    assert_int_equal(pipe(fd), 0);

    for (i = 0; i < 64; i++) {
        pid = fork();
        assert_int_not_equal(pid, -1);

        if (pid == 0) {
            sv_backoff_init(&b, &b, 1000);
            b.attempt = 6;
            ms = sv_backoff_next(&b);
            _exit(write(fd[1], &ms, sizeof(ms)) != sizeof(ms));
        }

        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_int_equal(read(fd[0], &ms, sizeof(ms)), sizeof(ms));
        assert_in_range(ms, SV_BACKOFF_MAX_MS / 2, SV_BACKOFF_MAX_MS);

        tenths[(ms - SV_BACKOFF_MAX_MS / 2) * 10
               / (SV_BACKOFF_MAX_MS / 2 + 1)]++;
    }

    for (i = 0, used = 0; i < 10; i++) {
        used += tenths[i] > 0;
        assert_in_range(tenths[i], 0, 24);
    }

    assert_in_range(used, 7, 10);
}


static void
test_any_seed(void **state)
{
    int           i;
    sv_backoff_t  b;
    uint64_t      seeds[] = { 0, 1, UINT64_MAX, 1ULL << 63 };

    (void) state;

    for (i = 0; i < 4; i++) {
        sv_backoff_init(&b, NULL, seeds[i]);
        assert_int_not_equal(b.random, 0);
        assert_int_not_equal(sv_backoff_next(&b), sv_backoff_next(&b));
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_grows_within_bounds),
        cmocka_unit_test(test_starts_again_after_reset),
        cmocka_unit_test(test_neighbours_spread),
        cmocka_unit_test(test_any_seed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
