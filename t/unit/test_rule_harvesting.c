/* harvesting: who guesses or collects serials, and who only works or looks */

#include "sv_test_rules.h"


#define CONSUMER  "\"actor_kind\":\"consumer\",\"session\":\"c1\""


static sv_rules_t  r;


static void
begin(void)
{
    int  i;

    sv_rules_begin(&r);

    for (i = 0; i < 100; i++) {
        sv_rules_line(&r, "{\"type\":\"commission\",\"lot\":\"L%d\",\"expiry\":\"281231\",\"markets\":[\"IT\"],"
                      "\"serials\":[\"Valid%dx\",\"Other%dx\"]}", i % 10, i, i);
    }
}


static const sv_rules_case_t *
end(void)
{
    sv_rules_end(&r);

    return sv_rules_case(&r, "harvesting");
}


/* n scans of who(), seconds apart, of serials that are not there (guess), valid, or the caps lock of valid ones */
static void
scans(int n, int seconds, const char *who, const char *serial, const char *lot, const char *outcome)
{
    int   i;
    char  name[64];

    for (i = 0; i < n; i++) {
        snprintf(name, sizeof(name), serial, i);
        r.time_ms += seconds * 1000 - 60000;
        sv_rules_line(&r, "{\"serial\":\"%s\",%s%s%s\"outcome\":\"%s\",%s}", name, *lot ? "\"lot\":\"" : "", lot, *lot ? "\"," : "", outcome, who);
    }
}


static void
test_guess(void **state)
{
    int                     i;
    const sv_rules_case_t  *c;

    (void) state;

    begin();
    scans(10, 20, CONSUMER, "GUESS%d", "", "serial_unknown");
    c = end();
    assert_non_null(c);
    assert_int_equal(c->weight, SVW_WEIGHT_ASKS);
    assert_int_equal(c->severity, SVW_SEVERITY_HIGH);
    assert_string_equal(c->cause, "guessed_serials");
    assert_int_equal(c->n_refs, 10);
    assert_int_equal(c->decided_at, 110);

    /* one less */
    begin();
    scans(9, 20, CONSUMER, "GUESS%d", "", "serial_unknown");
    assert_null(end());

    /* one serial again and again */
    begin();
    scans(40, 20, CONSUMER, "GUESS", "", "serial_unknown");
    assert_null(end());

    /* a product that nobody knows counts once; many of them are guesses */
    begin();
    scans(12, 20, CONSUMER, "GUESS%d", "", "product_unknown");
    assert_null(end());
    begin();

    for (i = 0; i < 10; i++) {
        sv_rules_line(&r, "{\"gtin\":\"0950600013%04d\",\"serial\":\"A\",\"outcome\":\"product_unknown\"," CONSUMER "}", i);
    }

    assert_non_null(end());

    /* hits do not excuse a consumer */
    begin();
    scans(20, 20, CONSUMER, "Valid%dx", "", "ok");
    scans(10, 20, CONSUMER, "GUESS%d", "", "serial_unknown");
    assert_string_equal(end()->cause, "guessed_serials");

    /* what it hit is evidence, too */
    begin();
    scans(12, 20, CONSUMER, "GUESS%d", "", "serial_unknown");
    scans(2, 20, CONSUMER, "Valid%dx", "", "ok");
    c = end();
    assert_int_equal(c->n_refs, 14 + 2);        /* and how it was commissioned */

    /* a lot that is not uploaded yet counts once */
    begin();
    scans(15, 20, CONSUMER, "GUESS%d", "LATE", "lot_unknown");
    assert_null(end());
}


/* what several clients do is theirs; but sessions of one place are one client */
static void
test_apart(void **state)
{
    (void) state;

    begin();
    scans(12, 20, "\"session\":\"c1\",\"country\":\"IT\",\"lat\":45.1,\"lon\":9.1", "GUESS%d", "L1", "serial_unknown");
    scans(12, 20, "\"session\":\"c2\",\"country\":\"IT\",\"lat\":41.1,\"lon\":12.1", "TRY%d", "L1", "serial_unknown");
    sv_rules_end(&r);
    assert_int_equal(r.n, 2);

    begin();
    scans(12, 20, "\"session\":\"c1\",\"country\":\"IT\",\"lat\":45.1,\"lon\":9.1", "GUESS%d", "", "serial_unknown");
    scans(12, 20, "\"session\":\"c2\",\"country\":\"IT\",\"lat\":45.1,\"lon\":9.1", "TRY%d", "", "serial_unknown");
    sv_rules_end(&r);
    assert_int_equal(r.n, 1);
    assert_int_equal(r.found[0].n_refs, 24);
}


static void
test_site(void **state)
{
    const sv_rules_case_t  *c;
    const char             *site = "\"actor_kind\":\"wholesaler\",\"actor\":\"W1\"";

    (void) state;

    /* its misses ask already, of their lots: it is one case with them */
    begin();
    scans(20, 20, site, "GUESS%d", "L1", "serial_unknown");
    c = end();
    assert_non_null(c);
    assert_int_equal(c->n_refs, 20);
    assert_int_equal(r.n, 1);

    begin();
    scans(19, 20, site, "GUESS%d", "L1", "serial_unknown");
    assert_null(end());

    /* slowly: never so many in an hour */
    begin();
    scans(40, 200, site, "GUESS%d", "L1", "serial_unknown");
    assert_null(end());

    /* a pallet of returns: hits; and with the caps lock on */
    begin();
    scans(90, 3, site, "Valid%dx", "", "ok");
    assert_null(end());
    begin();
    scans(90, 3, site, "vALID%dX", "", "serial_unknown");
    assert_null(end());

    /* a lot that is not uploaded is no guess, whatever else is */
    begin();
    scans(90, 3, site, "NEW%d", "N1", "lot_unknown");
    assert_null(end());
    begin();
    scans(90, 3, site, "NEW%d", "N1", "lot_unknown");
    scans(24, 3, site, "GUESS%d", "L1", "serial_unknown");
    assert_int_equal(end()->n_refs, 24);

    /* a new product that is not loaded yet */
    begin();
    scans(90, 3, site, "NEW%d", "N1", "product_unknown");
    assert_null(end());

    /* some misses among many hits */
    begin();
    scans(22, 3, site, "GUESS%d", "L1", "serial_unknown");
    scans(90, 3, site, "Valid%dx", "", "ok");
    assert_null(end());
}


static void
test_collect(void **state)
{
    int                     i;
    const sv_rules_case_t  *c;

    (void) state;

    begin();
    scans(30, 10, CONSUMER, "Valid%dx", "", "ok");
    c = end();
    assert_non_null(c);
    assert_int_equal(c->weight, SVW_WEIGHT_ASKS);
    assert_int_equal(c->severity, SVW_SEVERITY_MEDIUM);
    assert_string_equal(c->cause, "collected_serials");
    assert_int_equal(c->n_refs, 30 + 30);
    assert_int_equal(c->decided_at, 130);

    /* fewer; over a day; one pack */
    begin();
    scans(29, 10, CONSUMER, "Valid%dx", "", "ok");
    assert_null(end());
    begin();
    scans(40, 600, CONSUMER, "Valid%dx", "", "ok");
    assert_null(end());
    begin();
    scans(60, 600, CONSUMER, "Valid%dx", "", "ok");
    assert_non_null(end());
    begin();
    scans(60, 10, CONSUMER, "Valid1x", "", "ok");
    assert_null(end());

    /* a bot that fetches what others were sent */
    begin();

    for (i = 0; i < 60; i++) {
        sv_rules_line(&r, "{\"serial\":\"Valid%dx\",\"outcome\":\"ok\",\"actor_kind\":\"consumer\",\"session\":\"p%d\"}", i, i);
        r.time_ms += 2000 - 60000;
        sv_rules_line(&r, "{\"serial\":\"Valid%dx\",\"outcome\":\"ok\",\"actor_kind\":\"consumer\",\"session\":\"bot\"}", i);
        r.time_ms -= 60000;
    }

    assert_null(end());
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_guess), cmocka_unit_test(test_apart),
        cmocka_unit_test(test_site), cmocka_unit_test(test_collect)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
