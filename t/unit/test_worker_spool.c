/* the spool: a queue of bytes, small ones in memory, large ones in a file */

#include "src/worker/svw_load.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>


/* pieces of changing size, filled with what their number says */
static size_t
piece(unsigned i, uint8_t *data)
{
    size_t  len;

    len = i * 37 % 300;
    memset(data, (int) (i & 0xff), len);

    return len;
}


static void
fill_and_read(svw_spool_t *spool, unsigned n)
{
    size_t    len;
    uint8_t   put[300], got[300];
    unsigned  i;

    for (i = 0; i < n; i++) {
        len = piece(i, put);
        assert_int_equal(svw_spool_put(spool, &len, sizeof(len)), 0);
        assert_int_equal(svw_spool_put(spool, put, len), 0);
    }

    assert_int_equal(svw_spool_rewind(spool), 0);

    for (i = 0; i < n; i++) {
        assert_int_equal(svw_spool_get(spool, &len, sizeof(len)), 1);
        assert_int_equal(len, piece(i, put));
        assert_int_equal(svw_spool_get(spool, got, len), 1);
        assert_memory_equal(got, put, len);
    }

    assert_int_equal(svw_spool_get(spool, got, 1), 0);
}


static void
test_sizes(void **state)
{
    unsigned      i;
    svw_spool_t  *spool;

    static const unsigned  n[] = {0, 1, 100, 20000, 3, 50000, 1500, 1700, 1800, 0, 30000};

    (void) state;

    spool = svw_spool_new();
    assert_non_null(spool);

    /* the same spool, event after event: nothing of the one before is left */
    for (i = 0; i < sizeof(n) / sizeof(n[0]); i++) {
        fill_and_read(spool, n[i]);
        svw_spool_reset(spool);
    }

    svw_spool_free(spool);
    svw_spool_free(NULL);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_sizes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
