/* rules off_market, impossible_travel and scan_volume; a batch that is corrected; cases as findings come */

#include "sv_test_judge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>


#define DAY  1440


static void
test_market(void **state)
{
    judged_t  *j;

    (void) state;

    /* one that a professional verifies or supplies is enough; a consumer's is not */
    j = judged_new();
    made(j, .lot = "L1", .markets = "DE");
    scan(j, .serial = "A1", .lot = "L1", .session = "s1", .country = "TR");
    assert_cases(j, "off_market info info traveller A1 2 @2");

    j = judged_new();
    made(j, .lot = "L1", .markets = "DE");
    scan(j, .serial = "A1", .lot = "L1", .actor = "P1", .country = "TR");
    assert_cases(j, "off_market medium asks diversion A1 1,2 @2");

    j = judged_new();
    made(j, .lot = "L1", .markets = "DE");
    scan(j, .serial = "A1", .lot = "L1", .actor = "P1", .country = "TR");
    scan(j, .serial = "A2", .lot = "L1", .actor = "P1", .country = "TR");
    assert_cases(j, "off_market medium asks diversion A1,A2 1,2,3 @2");

    j = judged_new();
    made(j, .lot = "L1", .markets = "DE");
    scan(j, .serial = "A1", .lot = "L1", .actor = "P1", .country = "TR", .op = SVW_OP_SUPPLY);
    assert_cases(j, "off_market medium asks diversion A1 1,2 @2");

    /* free movement, no market known, exported, looked at from afar */
    j = judged_new();
    made(j, .lot = "L1", .markets = "DE");
    made(j, .lot = "L2");
    scan(j, .serial = "A1", .lot = "L1", .actor = "P1", .country = "NO", .op = SVW_OP_SUPPLY);
    scan(j, .serial = "B1", .lot = "L2", .actor = "P2", .country = "TR", .op = SVW_OP_SUPPLY);
    scan(j, .serial = "A2", .lot = "L1", .actor = "P2", .country = "TR", .op = SVW_OP_SUPPLY, .reason = "exported");
    scan(j, .serial = "A3", .lot = "L1", .actor = "M1", .country = "CH", .kind = SVW_ACTOR_MANUFACTURER);
    assert_null(strstr(judged_text(j), "off_market"));
    judged_free(j);

    /* markets that are told later explain what was said */
    j = judged_new();
    made(j, .lot = "L1", .markets = "DE");
    scan(j, .serial = "A1", .lot = "L1", .actor = "P1", .country = "TR", .op = SVW_OP_SUPPLY);
    made(j, .lot = "L1", .markets = "DE TR");
    assert_cases(j, "");
}


static void
test_market_consumers(void **state)
{
    judged_t  *j;

    (void) state;

    /* as many as strays never make; friends who were sent a link are none */
    j = judged_new();
    made(j, .lot = "L1", .markets = "DE");
    scan(j, .serial = "A1", .lot = "L1", .session = "s1", .country = "TR", .minutes = 1 * DAY);
    scan(j, .serial = "A2", .lot = "L1", .session = "s2", .country = "TR", .minutes = 2 * DAY);
    scan(j, .serial = "A3", .lot = "L1", .session = "s3", .country = "TR", .minutes = 3 * DAY);
    assert_cases(j, "off_market medium asks diversion A1,A2,A3 1,2,3,4 @4");

    j = judged_new();
    made(j, .lot = "L1", .markets = "DE");
    scan(j, .serial = "A1", .lot = "L1", .session = "s0", .country = "DE", .minutes = DAY);
    scan(j, .serial = "A1", .lot = "L1", .session = "s1", .country = "US", .minutes = DAY + 1);
    scan(j, .serial = "A1", .lot = "L1", .session = "s2", .country = "US", .minutes = DAY + 2);
    scan(j, .serial = "A1", .lot = "L1", .session = "s3", .country = "US", .minutes = DAY + 3);
    assert_cases(j, "");
}


/* What travellers carry was supplied at home: packs that nobody has supplied are compared with such packs. */
static void
test_market_active(void **state)
{
    char         serial[8], session[8];
    judged_t    *j;
    unsigned     i, k;
    const char  *text;

    static const char *const  reason[3][2] = {
        { "already_supplied", NULL }, { "already_supplied", "already_supplied" }, { NULL, NULL }
    };

    (void) state;

    for (k = 0; k < 3; k++) {
        j = judged_new();
        made(j, .lot = "L1", .markets = "DE");

        for (i = 0; i < 104; i++) {
            snprintf(serial, sizeof(serial), "A%u", i);
            snprintf(session, sizeof(session), "s%u", i);
            scan(j, .serial = serial, .lot = "L1", .session = session, .country = i < 100 ? "DE" : "EG", .reason = reason[k][i >= 100],
                 .minutes = i * 100 + 1);
        }

        text = judged_text(j);
        assert_string_equal(text, k == 0 ? "off_market medium asks diversion A100,A101,A102,A103 1,102,103,104,105 @104"
                                         : "off_market info info traveller A100,A101,A102,A103 102,103,104,105 @102");
        judged_free(j);
    }
}


/* What decided is of the evidence: where a place that is told late did, it is the scan. */
static void
test_market_decided(void **state)
{
    judged_t  *j;

    (void) state;

    j = judged_new();
    made(j, .lot = "L1", .markets = "DE");
    scan(j, .serial = "A1", .lot = "L1", .actor = "P1", .op = SVW_OP_SUPPLY);
    site(j, .actor = "P1", .country = "TR", .lat = 39, .lon = 33);
    assert_cases(j, "off_market medium asks diversion A1 1,2 @2");

    j = judged_new();
    made(j, .lot = "L1", .markets = "DE");
    scan(j, .serial = "A1", .lot = "L1", .actor = "P1", .op = SVW_OP_SUPPLY);
    site(j, .actor = "P1", .country = "TR", .lat = 39, .lon = 33);
    scan(j, .serial = "A2", .lot = "L1", .actor = "P1", .op = SVW_OP_SUPPLY);
    scan(j, .serial = "A3", .lot = "L1", .actor = "P1", .op = SVW_OP_SUPPLY);
    assert_cases(j, "off_market high asks diversion A1,A2,A3 1,2,4,5 @4");
}


static void
test_market_record(void **state)
{
    judged_t    *j;
    const char  *text;

    (void) state;

    /* a site where all is elsewhere: its record is wrong, whenever it comes */
    j = judged_new();
    made(j, .lot = "L1", .markets = "DE");
    made(j, .lot = "L2", .markets = "FR");
    made(j, .lot = "L3", .markets = "IT");
    scan(j, .serial = "A1", .lot = "L1", .actor = "P1", .op = SVW_OP_SUPPLY);
    scan(j, .serial = "B1", .lot = "L2", .actor = "P1", .op = SVW_OP_SUPPLY);
    scan(j, .serial = "C1", .lot = "L3", .actor = "P1", .op = SVW_OP_SUPPLY);
    site(j, .actor = "P1", .country = "TR", .lat = 39, .lon = 33);
    text = judged_text(j);
    assert_string_equal(text, "off_market low explained location_wrong A1,B1,C1 4,5,6,7 @4");
    judged_free(j);

    /* two lots of many are not the record's fault */
    j = judged_new();
    made(j, .lot = "L1", .markets = "DE");
    made(j, .lot = "L2", .markets = "TR");
    made(j, .lot = "L3", .markets = "TR");
    site(j, .actor = "P1", .country = "TR", .lat = 39, .lon = 33);
    scan(j, .serial = "A1", .lot = "L1", .actor = "P1", .op = SVW_OP_SUPPLY);
    scan(j, .serial = "B1", .lot = "L2", .actor = "P1", .op = SVW_OP_SUPPLY);
    scan(j, .serial = "C1", .lot = "L3", .actor = "P1", .op = SVW_OP_SUPPLY);
    assert_cases(j, "off_market medium asks diversion A1 1,5 @5");
}


static void
test_travel(void **state)
{
    judged_t  *j;

    (void) state;

    /* Berlin and Madrid within an hour; and within a day */
    j = judged_new();
    scan(j, .serial = "A1", .actor = "P1", .country = "DE", .lat = 52.5, .lon = 13.4, .minutes = 10);
    scan(j, .serial = "A1", .actor = "P2", .country = "ES", .lat = 40.4, .lon = -3.7, .minutes = 70);
    assert_cases(j, "impossible_travel high asks clone A1 1,2 @2");

    j = judged_new();
    scan(j, .serial = "A1", .actor = "P1", .country = "DE", .lat = 52.5, .lon = 13.4, .minutes = 10);
    scan(j, .serial = "A1", .actor = "P2", .country = "ES", .lat = 40.4, .lon = -3.7, .minutes = 700);
    assert_cases(j, "");

    /* by records alone */
    j = judged_new();
    site(j, .actor = "P1", .country = "DE", .lat = 52.5, .lon = 13.4);
    site(j, .actor = "P2", .country = "DE", .lat = 50.1, .lon = 8.7);
    scan(j, .serial = "A1", .actor = "P1", .minutes = 10);
    scan(j, .serial = "A1", .actor = "P2", .minutes = 20);
    assert_cases(j, "impossible_travel high asks clone A1 3,4 @4");

    /* one hop of consumers, or with one */
    j = judged_new();
    scan(j, .serial = "A1", .session = "s1", .country = "DE", .lat = 52.5, .lon = 13.4, .minutes = 10);
    scan(j, .serial = "A1", .session = "s2", .country = "BR", .lat = -23.5, .lon = -46.6, .minutes = 100);
    assert_cases(j, "impossible_travel info info place_guessed A1 1,2 @1");
}


static void
sessions(judged_t *j, unsigned n, double apart, const char *const *country, unsigned countries)
{
    char      session[16];
    unsigned  i;

    for (i = 0; i < n; i++) {
        snprintf(session, sizeof(session), "s%u", i);
        scan(j, .serial = "A1", .lot = "L1", .session = session, .country = country[i % countries], .minutes = 10 + apart * i);
    }
}


static void
test_volume(void **state)
{
    judged_t  *j;

    static const char *const  one[] = { "DE" };
    static const char *const  many[] = { "DE", "BR", "FR", "TR" };

    (void) state;

    j = judged_new();
    sessions(j, 12, 600, many, 4);
    assert_non_null(strstr(judged_text(j), "scan_volume medium asks clone A1 1,2,3,4,5,6,7,8,9,10,11,12"));
    judged_free(j);

    j = judged_new();
    sessions(j, 12, 600, one, 1);
    assert_cases(j, "scan_volume low explained display A1 1,2,3,4,5,6,7,8,9,10,11,12 @1");

    /* three countries, and nobody is that fast */
    j = judged_new();
    sessions(j, 3, 40, many, 3);
    assert_cases(j, "scan_volume medium asks clone A1 1,2,3 @3");

    /* supplied at home, and in three other countries since, however slowly */
    j = judged_new();
    scan(j, .serial = "A1", .lot = "L1", .actor = "P1", .country = "PL", .op = SVW_OP_SUPPLY, .minutes = -3000);
    sessions(j, 3, 4000, many, 3);
    assert_cases(j, "scan_volume medium asks clone A1 1,2,3,4 @4");

    j = judged_new();
    scan(j, .serial = "A1", .lot = "L1", .actor = "P1", .country = "PL", .op = SVW_OP_SUPPLY, .minutes = -3000);
    sessions(j, 3, 4000, many, 2);
    assert_cases(j, "");

    /* a link goes round the world in a day */
    j = judged_new();
    sessions(j, 60, 16, many, 4);
    assert_null(strstr(judged_text(j), "asks"));
    assert_non_null(strstr(judged_text(j), "scan_volume low explained shared_link"));
    judged_free(j);
}


static void
test_correction(void **state)
{
    judged_t  *j;

    (void) state;

    j = judged_new();
    made(j, .lot = "L1", .serials = "A1 A2 A3 A4", .expiry = "280331");
    made(j, .lot = "L1", .serials = "A1 A2 A3 A4", .expiry = "290331");
    assert_cases(j, "duplicate_commissioning low explained batch_correction A1,A2,A3,A4 1,2 @1");

    j = judged_new();
    made(j, .lot = "L1", .serials = "A1 A2 A3 A4", .expiry = "280331");
    made(j, .lot = "L1", .serials = "A1 A2", .expiry = "290331");
    assert_cases(j, "duplicate_commissioning high asks serial_reused A1,A2 1,2 @2");
}


/* findings are one case, two, and then one again */
static void
test_live(void **state)
{
    svw_case_t     *a, *b, *c;
    svw_cases_t    *cases;
    svw_params_t    params;
    svw_finding_t   finding;
    svw_ref_t       refs[] = { 1, 2 };
    sv_span_t       keys[2] = { sv_span("s:1/A"), sv_span("o:x") };

    (void) state;

    svw_params_default(&params);
    cases = svw_cases_create(&params);

    memset(&finding, 0, sizeof(finding));
    finding.id[0] = 1;
    finding.weight = SVW_WEIGHT_ASKS;
    finding.cause = "clone";
    finding.lot = sv_span("L1");
    finding.refs = refs;
    finding.n_refs = 1;
    finding.keys = keys;
    finding.n_keys = 1;
    a = svw_cases_take(cases, &finding, 1);
    assert_true(a != NULL && a->fresh && a->changed && svw_cases_changed(cases) == a);
    svw_cases_written(cases);
    assert_null(svw_cases_changed(cases));

    /* the same again changes nothing */
    assert_ptr_equal(svw_cases_take(cases, &finding, 2), a);
    assert_null(svw_cases_changed(cases));

    finding.id[0] = 2;
    finding.keys = &keys[1];
    b = svw_cases_take(cases, &finding, 3);
    assert_ptr_not_equal(a, b);

    /* one that shares a key with both: they merge into the one that is written */
    finding.id[0] = 3;
    finding.keys = keys;
    finding.n_keys = 2;
    c = svw_cases_take(cases, &finding, 4);
    assert_ptr_equal(c, a);
    assert_ptr_equal(b->merged_into, a);

    /* nothing is left to ask when all is withdrawn */
    finding.withdrawn = 1;
    finding.id[0] = 1;
    assert_ptr_equal(svw_cases_take(cases, &finding, 5), a);
    assert_int_equal(a->weight, SVW_WEIGHT_ASKS);
    finding.id[0] = 2;
    svw_cases_take(cases, &finding, 5);
    finding.id[0] = 3;
    svw_cases_take(cases, &finding, 5);
    assert_int_equal(a->weight, SVW_WEIGHT_EXPLAINED);

    svw_cases_written(cases);
    svw_cases_forget(cases, INT64_MAX);
    assert_null(svw_cases_find(cases, a->id));
    svw_cases_destroy(cases);
}


/* the case of a product stays where its company's reviewers look for it */
static void
test_live_of_many(void **state)
{
    svw_case_t     *many, *one;
    svw_cases_t    *cases;
    svw_params_t    params;
    svw_finding_t   finding;
    svw_ref_t       refs[] = { 1 };
    sv_span_t       keys[2] = { sv_span("o:client"), sv_span("s:1/A") };

    (void) state;

    svw_params_default(&params);
    cases = svw_cases_create(&params);

    memset(&finding, 0, sizeof(finding));
    finding.id[0] = 1;
    finding.weight = SVW_WEIGHT_ASKS;
    finding.cause = "harvest";
    finding.refs = refs;
    finding.n_refs = 1;
    finding.keys = keys;
    finding.n_keys = 1;
    many = svw_cases_take(cases, &finding, 1);

    finding.id[0] = 2;
    finding.gtin = 1;
    finding.lot = sv_span("L1");
    finding.first_ms = 1000;
    finding.last_ms = 1000;
    finding.keys = &keys[1];
    one = svw_cases_take(cases, &finding, 2);
    assert_ptr_not_equal(one, many);
    svw_cases_written(cases);

    /* the harvest turns out to have been of this pack, too; it is the older one */
    finding.id[0] = 1;
    finding.gtin = 0;
    finding.lot.len = 0;
    finding.first_ms = 0;
    finding.keys = keys;
    finding.n_keys = 2;
    assert_ptr_equal(svw_cases_take(cases, &finding, 3), one);
    assert_ptr_equal(many->merged_into, one);
    svw_cases_destroy(cases);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_market),
        cmocka_unit_test(test_market_consumers),
        cmocka_unit_test(test_market_active),
        cmocka_unit_test(test_market_decided),
        cmocka_unit_test(test_market_record),
        cmocka_unit_test(test_travel),
        cmocka_unit_test(test_volume),
        cmocka_unit_test(test_correction),
        cmocka_unit_test(test_live),
        cmocka_unit_test(test_live_of_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
