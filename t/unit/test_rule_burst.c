/* lot_burst and site_burst: many misses are one incident; what is explained does not ask */

#include "sv_test_rules.h"


#define MADE  "{\"type\":\"commission\",\"lot\":\"L1\",\"expiry\":\"281231\",\"serials\":" \
              "[\"Aa1\",\"Aa2\",\"Aa3\",\"Aa4\",\"Aa5\",\"Aa6\",\"Aa7\",\"Aa8\"]}"
#define MADE2 "{\"type\":\"commission\",\"lot\":\"L2\",\"expiry\":\"281231\",\"serials\":[\"Bb1\"]}"


static sv_rules_t  r;


/* `n' scans that do not find a lot, of `sites' sites, so many minutes apart; then it comes, or not */
static void
missing(int n, int sites, int apart, int comes)
{
    int  i;

    sv_rules_begin(&r);

    for (i = 0; i < n; i++) {
        r.time_ms += (apart - 1) * INT64_C(60000);
        sv_rules_line(&r, "{\"serial\":\"Q%d\",\"lot\":\"LATE\",\"outcome\":\"lot_unknown\","
                      "\"actor_kind\":\"pharmacy\",\"actor\":\"P%d\"}", i, i % sites);
    }

    if (comes) {
        sv_rules_line(&r, "{\"type\":\"commission\",\"lot\":\"LATE\",\"expiry\":\"281231\",\"serials\":%d}", n);
    }

    sv_rules_end(&r);
    assert_int_equal(r.n, 1);
    assert_int_equal(r.found[0].n_refs, n + comes);
}


static void
test_lot(void **state)
{
    (void) state;

    /* three sites, or eight scans, in a day */
    missing(3, 3, 10, 0);
    assert_string_equal(r.found[0].rule, "lot_burst");
    assert_string_equal(r.found[0].cause, "missing_upload");
    assert_int_equal(r.found[0].weight, SVW_WEIGHT_ASKS);
    assert_int_equal(r.found[0].decided_at, 3);
    missing(8, 1, 10, 0);
    assert_string_equal(r.found[0].rule, "lot_burst");

    /* fewer, or slowly, are a mismatch each of the lot */
    missing(7, 2, 10, 0);
    assert_string_equal(r.found[0].rule, "identifier_mismatch");
    missing(3, 3, 800, 0);
    assert_string_equal(r.found[0].rule, "identifier_mismatch");
    missing(10, 1, 300, 0);
    assert_string_equal(r.found[0].rule, "identifier_mismatch");

    /* it came */
    missing(8, 4, 10, 1);
    assert_string_equal(r.found[0].rule, "lot_burst");
    assert_string_equal(r.found[0].cause, "late_upload");
    assert_int_equal(r.found[0].weight, SVW_WEIGHT_EXPLAINED);
}


/* what was uploaded late is explained, what is of no upload asks */
static void
test_lot_and_fake(void **state)
{
    int                     i;
    const sv_rules_case_t  *c;

    (void) state;

    sv_rules_begin(&r);

    for (i = 0; i < 4; i++) {
        sv_rules_line(&r, "{\"serial\":\"Aa%d\",\"lot\":\"L1\",\"outcome\":\"lot_unknown\",\"actor_kind\":\"pharmacy\",\"actor\":\"P%d\"}", i + 1, i);
    }

    sv_rules_line(&r, "{\"serial\":\"FAKE\",\"lot\":\"L1\",\"outcome\":\"lot_unknown\",\"actor_kind\":\"pharmacy\",\"actor\":\"P7\"}");
    sv_rules_line(&r, MADE);
    sv_rules_end(&r);

    c = sv_rules_case(&r, "lot_burst");
    assert_int_equal(c->weight, SVW_WEIGHT_EXPLAINED);
    sv_rules_refs(c, 5, 1, 2, 3, 4, 6);
    c = sv_rules_case(&r, "identifier_mismatch");
    assert_int_equal(c->weight, SVW_WEIGHT_ASKS);
    sv_rules_refs(c, 1, 5);
}


static void
site(int n, int apart)
{
    int  i;

    sv_rules_begin(&r);
    sv_rules_line(&r, MADE);

    for (i = 0; i < n; i++) {
        r.time_ms += (apart - 1) * INT64_C(60000);
        sv_rules_line(&r, "{\"serial\":\"aA%d\",\"lot\":\"l1\",\"outcome\":\"lot_unknown\",\"actor_kind\":\"pharmacy\",\"actor\":\"P1\"}", i % 8 + 1);
    }

    sv_rules_end(&r);
    assert_int_equal(r.n, 1);
    assert_int_equal(r.found[0].weight, SVW_WEIGHT_EXPLAINED);
    assert_string_equal(r.found[0].cause, "scanner_setting");
    assert_int_equal(r.found[0].n_refs, n);
}


static void
test_site(void **state)
{
    (void) state;

    site(5, 10);
    assert_string_equal(r.found[0].rule, "site_burst");
    site(30, 60);
    assert_string_equal(r.found[0].rule, "site_burst");
    site(4, 10);
    assert_string_equal(r.found[0].rule, "identifier_mismatch");

    /* further apart: findings of their own, and still one case of the site */
    site(12, 600);
    assert_string_equal(r.found[0].rule, "identifier_mismatch");
}


/* a delivery of invented serials, of two lots: one case */
static void
test_delivery(void **state)
{
    int  i;

    (void) state;

    sv_rules_begin(&r);
    sv_rules_line(&r, MADE);
    sv_rules_line(&r, MADE2);

    for (i = 0; i < 6; i++) {
        sv_rules_line(&r, "{\"serial\":\"FAKE%d\",\"lot\":\"L%d\",\"outcome\":\"serial_unknown\","
                      "\"actor_kind\":\"pharmacy\",\"actor\":\"P1\"}", i, i % 2 + 1);
    }

    sv_rules_end(&r);
    assert_int_equal(r.n, 1);
    assert_int_equal(r.found[0].weight, SVW_WEIGHT_ASKS);
    sv_rules_refs(&r.found[0], 6, 3, 4, 5, 6, 7, 8);

    /* of no lot */
    sv_rules_begin(&r);

    for (i = 0; i < 6; i++) {
        sv_rules_line(&r, "{\"serial\":\"FAKE%d\",\"outcome\":\"serial_unknown\",\"actor_kind\":\"pharmacy\",\"actor\":\"P1\"}", i);
    }

    sv_rules_end(&r);
    assert_int_equal(r.n, 1);
    assert_int_equal(r.found[0].n_refs, 6);
}


/* a site that names many serials of several lots does not tie what others find of these */
static void
test_client(void **state)
{
    int  i;

    (void) state;

    sv_rules_begin(&r);
    sv_rules_line(&r, MADE);
    sv_rules_line(&r, MADE2);

    for (i = 0; i < 24; i++) {
        r.time_ms += INT64_C(10) * 3600 * 1000;
        sv_rules_line(&r, "{\"serial\":\"FAKE%d\",\"lot\":\"L%d\",\"outcome\":\"serial_unknown\","
                      "\"actor_kind\":\"pharmacy\",\"actor\":\"P1\"}", i, i % 2 + 1);
    }

    for (i = 0; i < 4; i++) {
        sv_rules_line(&r, "{\"serial\":\"OTHER%d\",\"lot\":\"L%d\",\"outcome\":\"serial_unknown\","
                      "\"actor_kind\":\"pharmacy\",\"actor\":\"P%d\"}", i, i % 2 + 1, i + 2);
    }

    sv_rules_end(&r);
    assert_int_equal(r.n, 3);
    assert_int_equal(r.found[0].n_refs, 24);
    assert_int_equal(r.found[1].n_refs, 2);
    assert_int_equal(r.found[2].n_refs, 2);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_lot), cmocka_unit_test(test_lot_and_fake), cmocka_unit_test(test_site),
        cmocka_unit_test(test_delivery), cmocka_unit_test(test_client)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
