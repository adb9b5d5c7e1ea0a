/* the judge: what is forgotten, what it costs; parameters, and that docs/rules.md tells them */

#include "sv_test_judge.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>


static void
nothing(void *data, const svw_finding_t *finding)
{
    (void) finding;
    ++*(unsigned *) data;
}


static void
day(svw_judge_t *judge, int64_t n, unsigned scans, test_dice_t *dice)
{
    char              serial[32], site[32], session[32], lot[32];
    unsigned          i;
    svw_judge_scan_t  scan;

    for (i = 0; i < scans; i++) {
        memset(&scan, 0, sizeof(scan));
        scan.ref = (svw_ref_t) n * scans + i + 1;
        scan.time_ms = TEST_START + n * 86400000 + (int64_t) i * 86400000 / scans;
        scan.gtin = TEST_GTIN;
        scan.lat = scan.lon = scan.accuracy_km = NAN;
        scan.reason = test_roll(dice, 20) == 0 ? SV_REASON_SERIAL_UNKNOWN
                      : test_roll(dice, 20) == 0 ? SV_REASON_ALREADY_SUPPLIED : SV_REASON_OK;
        scan.operation = test_roll(dice, 2) == 0 ? SVW_OP_SUPPLY : SVW_OP_VERIFY;
        snprintf(serial, sizeof(serial), "S%u%u", test_roll(dice, 90000), test_roll(dice, 9));
        scan.serial = test_span(serial);
        scan.lot = (sv_span_t) {(uint8_t *) lot, (size_t) snprintf(lot, sizeof(lot), "L%lld", (long long) n + test_roll(dice, 3))};

        if (test_roll(dice, 4) == 0) {
            scan.kind = SVW_ACTOR_CONSUMER;
            scan.session = (sv_span_t) {(uint8_t *) session, (size_t) snprintf(session, sizeof(session), "s%u", test_roll(dice, 900000))};
        } else {
            scan.kind = SVW_ACTOR_PHARMACY;
            scan.actor = (sv_span_t) {(uint8_t *) site, (size_t) snprintf(site, sizeof(site), "P%u", test_roll(dice, 50))};
        }

        assert_int_equal(svw_judge_scan(judge, &scan), 0);
    }
}


static void
test_memory(void **state)
{
    int64_t           n;
    test_dice_t       dice = { 362436069 };
    unsigned          found;
    svw_params_t      params;
    svw_judge_t      *judge;
    svw_judge_size_t  early, late;
    char              error[SVW_PARAM_TEXT];

    (void) state;

    found = 0;
    svw_params_default(&params);
    assert_int_equal(svw_params_set(&params, "evidence.window", "2", error), 0);
    judge = svw_judge_create(&params, nothing, &found);

    for (n = 0; n < 10; n++) {
        day(judge, n, 2000, &dice);
    }

    early = svw_judge_size(judge);

    for ( /* void */ ; n < 60; n++) {
        day(judge, n, 2000, &dice);
    }

    late = svw_judge_size(judge);
    assert_true(found > 0);
    assert_in_range(late.scans, 1, 6500);      /* two days, an hour, and a day for keys that wait */
    assert_in_range(late.serials, 1, early.serials + early.serials / 10);
    assert_in_range(late.clients, 1, early.clients + early.clients / 10);
    assert_in_range(late.lots, 1, early.lots + 3);
    assert_in_range(late.sites, 1, 50);

    svw_judge_destroy(judge);
}


/* What was said stays, whatever is said of the key when its scans are forgotten. */
static void
test_forgotten(void **state)
{
    judged_t    *j;
    const char  *text;

    (void) state;

    j = judged_new();
    made(j, .lot = "L1", .markets = "DE", .serials = "A1 A2 A3 A4");
    scan(j, .serial = "A1", .lot = "L1", .actor = "P1", .country = "BR");
    scan(j, .serial = "A2", .lot = "L1", .actor = "P1", .country = "BR");
    scan(j, .serial = "A3", .lot = "L1", .session = "s1", .country = "VN", .minutes = 10 * 1440);
    scan(j, .serial = "B1", .lot = "L9", .actor = "P7", .minutes = 40 * 1440);
    scan(j, .serial = "B2", .lot = "L9", .actor = "P8", .minutes = 40 * 1440);
    scan(j, .serial = "A4", .lot = "L1", .session = "s2", .country = "VN", .minutes = 41 * 1440);

    text = judged_text(j);
    assert_non_null(strstr(text, "off_market medium asks diversion A1,A2 1,2,3 @2"));
    judged_free(j);
}


/* What was kept for information only is no evidence of what asks weeks later. */
static void
test_informed(void **state)
{
    judged_t  *j;

    (void) state;

    j = judged_new();
    made(j, .lot = "L1", .markets = "CH", .serials = "A1 A2 A3");
    scan(j, .serial = "A1", .lot = "L1", .session = "s1", .country = "TR", .minutes = 1);
    scan(j, .serial = "A2", .lot = "L1", .session = "s2", .country = "PL", .minutes = 34 * 1440);
    scan(j, .serial = "B1", .lot = "L9", .actor = "P8", .minutes = 48 * 1440);
    scan(j, .serial = "A3", .lot = "L1", .actor = "P1", .country = "IS", .op = SVW_OP_SUPPLY, .minutes = 49 * 1440);

    assert_cases(j, "off_market medium asks diversion A3 1,5 @5");
}


/* What waits for more of its key is said before the scans that it is of are forgotten. */
static void
test_waits(void **state)
{
    char       session[16];
    judged_t  *j;
    unsigned   i;

    (void) state;

    j = judged_new();

    for (i = 0; i < 200; i++) {
        snprintf(session, sizeof(session), "s%u", i / 50);
        scan(j, .serial = "A1", .lot = "L1", .session = session, .minutes = i + 1);
    }

    scan(j, .serial = "A1", .lot = "L1", .op = SVW_OP_SUPPLY, .actor = "P1", .minutes = 300);
    scan(j, .serial = "A1", .lot = "L1", .op = SVW_OP_SUPPLY, .actor = "P2", .reason = "already_supplied", .minutes = 400);
    scan(j, .serial = "B1", .lot = "L9", .actor = "P7", .minutes = 90 * 1440);
    scan(j, .serial = "B2", .lot = "L9", .actor = "P8", .minutes = 90 * 1440);

    assert_cases(j, "supply_of_inactive high asks reused_pack A1 201,202 @202");
}


/* One clock that is wrong ends nothing. */
static void
test_clock(void **state)
{
    judged_t  *j;

    (void) state;

    j = judged_new();
    scan(j, .serial = "A1", .op = SVW_OP_SUPPLY, .actor = "P1");
    scan(j, .serial = "Q1", .actor = "P5", .minutes = 40e6);
    scan(j, .serial = "Q2", .actor = "P5", .minutes = 40e6);
    scan(j, .serial = "A1", .op = SVW_OP_SUPPLY, .actor = "P2", .reason = "already_supplied");
    assert_cases(j, "supply_of_inactive high asks reused_pack A1 1,4 @4");
}


typedef enum { HOT_SERIAL, HOT_LOT, HOT_SITE, HOT_CLIENT, HOT_KINDS } hot_t;

static double
hot(hot_t what, unsigned scans)
{
    char              serial[32], site[32], session[32];
    double            took;
    clock_t           start;
    test_dice_t       dice = { 521288629 };
    unsigned          i, found;
    svw_params_t      params;
    svw_judge_t      *judge;
    svw_judge_scan_t  scan;

    static const char *const  lots[] = { "L1", "L2", "L3" };

    found = 0;
    svw_params_default(&params);
    judge = svw_judge_create(&params, nothing, &found);
    start = clock();

    for (i = 0; i < scans; i++) {
        memset(&scan, 0, sizeof(scan));
        scan.ref = i + 1;
        scan.time_ms = TEST_START + (int64_t) i * 2000;
        scan.gtin = TEST_GTIN;
        scan.lat = test_roll(&dice, 80);
        scan.lon = test_roll(&dice, 80);
        scan.accuracy_km = NAN;
        scan.operation = test_roll(&dice, 2) == 0 ? SVW_OP_SUPPLY : SVW_OP_VERIFY;
        scan.reason = test_roll(&dice, 2) == 0 ? SV_REASON_OK : what == HOT_SERIAL ? SV_REASON_ALREADY_SUPPLIED : SV_REASON_STOLEN;

        snprintf(serial, sizeof(serial), "S%u", what == HOT_SERIAL ? 0 : test_roll(&dice, scans / 4));
        snprintf(site, sizeof(site), "P%u", what == HOT_SITE ? 0 : test_roll(&dice, 200));
        snprintf(session, sizeof(session), "s%u", what == HOT_CLIENT ? 0 : test_roll(&dice, scans));
        scan.serial = test_span(serial);
        scan.lot = test_span(what == HOT_LOT ? "L1" : lots[i % 3]);

        if (what == HOT_CLIENT || (what != HOT_SITE && test_roll(&dice, 2) == 0)) {
            scan.kind = SVW_ACTOR_CONSUMER;
            scan.session = test_span(session);
        } else {
            scan.kind = SVW_ACTOR_PHARMACY;
            scan.actor = test_span(site);
        }

        assert_int_equal(svw_judge_scan(judge, &scan), 0);
    }

    assert_int_equal(svw_judge_settle(judge), 0);
    took = (double) (clock() - start) / CLOCKS_PER_SEC;
    svw_judge_destroy(judge);

    return took;
}


/* Four times as many scans of one serial, lot, site or client cost about four times as much, not sixteen. */
static void
test_cost(void **state)
{
    hot_t   what;
    double  few, many;

    (void) state;

    for (what = 0; what < HOT_KINDS; what++) {
        few = hot(what, 5000);
        many = hot(what, 20000);

        if (many > 9 * few) {
            fail_msg("kind %d: %.2f s, four times as many %.2f s", what, few, many);
        }
    }
}


static void
test_params(void **state)
{
    char          error[SVW_PARAM_TEXT], text[512];
    svw_params_t  params;

    (void) state;

    svw_params_default(&params);

    assert_int_equal(svw_params_set(&params, "off_market.packs", "5", error), 0);
    assert_true(svw_param(&params, SVW_P_MARKET_PACKS) == 5);
    assert_int_equal(svw_params_set(&params, "off_market.packs", "0", error), -1);
    assert_string_equal(error, "off_market.packs: 0 is out of range, 1 to 1000 n is permitted");
    assert_int_equal(svw_params_set(&params, "off_market.packs", "many", error), -1);
    assert_string_equal(error, "off_market.packs: \"many\" is no number, 1 to 1000 n is permitted");
    assert_int_equal(svw_params_set(&params, "off_market.pack", "1", error), -1);
    assert_non_null(strstr(error, "off_market.pack: there is no such parameter"));

    assert_int_equal(svw_params_set(&params, "dead_pack.enabled", "off", error), 0);
    assert_false(svw_rule_enabled(&params, SVW_RULE_DEAD_PACK));
    assert_int_equal(svw_params_set(&params, "dead_pack.enabled", "no", error), -1);

    assert_int_equal(svw_params_set(&params, "area.free_movement", "DE, FR", error), 0);
    svw_params_print(&params, "area.free_movement", text, sizeof(text));
    assert_string_equal(text, "DE FR");
    assert_int_equal(svw_params_set(&params, "area.free_movement", "DE France", error), -1);
    assert_non_null(strstr(error, "\"France\" is no country"));
}


static char *
page(const char *path)
{
    char   *text;
    FILE   *file;
    size_t  n;

    file = fopen(path, "r");

    if (file == NULL) {
        fail_msg("%s: run it in the root of the tree", path);
        return NULL;
    }

    text = calloc(1, 1 << 20);
    n = fread(text, 1, (1 << 20) - 1, file);
    text[n] = '\0';
    fclose(file);

    return text;
}


/* docs/rules.md has a section for each rule, with what it is blind to, and a row for each parameter. */
static void
test_docs(void **state)
{
    char      *text, row[512];
    unsigned   i;

    (void) state;

    text = page("docs/rules.md");

    for (i = 0; i < SVW_RULE_MAX; i++) {
        snprintf(row, sizeof(row), "\n## %s\n", svw_rules_about[i].name);

        if (strstr(text, row) == NULL) {
            fail_msg("docs/rules.md has no section %s", svw_rules_about[i].name);
        }
    }

    for (i = 0; i < SVW_P_MAX; i++) {
        snprintf(row, sizeof(row), "\n| `%s` | %.10g %s | %.10g to %.10g | %s |\n", svw_params_about[i].name, svw_params_about[i].value,
                 svw_params_about[i].unit, svw_params_about[i].least, svw_params_about[i].most, svw_params_about[i].text);

        if (strstr(text, row) == NULL) {
            fail_msg("docs/rules.md has no row%s", row);
        }
    }

    free(text);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_forgotten),
        cmocka_unit_test(test_informed),
        cmocka_unit_test(test_waits),
        cmocka_unit_test(test_clock),
        cmocka_unit_test(test_cost),
        cmocka_unit_test(test_params),
        cmocka_unit_test(test_docs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
