/* the judge: order of arrival, what is forgotten, what it costs; parameters */

#include "sv_test_judge.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>


#define EVENTS  240

typedef enum { EVENT_SCAN, EVENT_MADE, EVENT_SITE } event_kind_t;

typedef struct {
    event_kind_t      kind;
    svw_judge_scan_t  scan;
    unsigned          n;                /* which lot, which site */
} event_t;

typedef struct {
    uint64_t  state;
} dice_t;


static const char *const  serials[] = { "A100001", "A100002", "a100002", "B200001", "B200002", "C300001", "Y400001", "Z400001" };
static const char *const  lots[] = { "L1", "L2", "L3" };
static const char *const  sites[] = { "P1", "P2", "P3", "H1", "W1" };
static const char *const  sessions[] = { "s1", "s2", "s3", "s4", "s5", "s6" };
static const char *const  countries[] = { "DE", "FR", "BR", "TR", "" };


static unsigned
roll(dice_t *dice, unsigned n)
{
    dice->state ^= dice->state << 13;
    dice->state ^= dice->state >> 7;
    dice->state ^= dice->state << 17;

    return (unsigned) (dice->state >> 11) % n;
}


static sv_span_t
span(const char *text)
{
    return (sv_span_t) {(const uint8_t *) text, strlen(text)};
}


/* anything at all, within an hour */
static void
history(dice_t *dice, event_t *event)
{
    unsigned           i;
    svw_judge_scan_t  *scan;

    static const sv_reason_t  reasons[] = {
        SV_REASON_OK, SV_REASON_OK, SV_REASON_OK, SV_REASON_ALREADY_SUPPLIED, SV_REASON_ALREADY_SUPPLIED_HERE, SV_REASON_SERIAL_UNKNOWN,
        SV_REASON_LOT_UNKNOWN, SV_REASON_LOT_MISMATCH, SV_REASON_EXPIRY_MISMATCH, SV_REASON_STOLEN, SV_REASON_DESTROYED, SV_REASON_EXPORTED
    };

    static const svw_op_t  operations[] = { SVW_OP_VERIFY, SVW_OP_VERIFY, SVW_OP_SUPPLY, SVW_OP_DESTROY, SVW_OP_EXPORT };

    for (i = 0; i < EVENTS; i++) {
        memset(&event[i], 0, sizeof(event_t));
        event[i].kind = i < 3 ? EVENT_MADE : i < 8 ? EVENT_SITE : EVENT_SCAN;
        event[i].n = i < 3 ? i : i - 3;

        scan = &event[i].scan;
        scan->ref = i + 1;
        scan->time_ms = TEST_START + roll(dice, 3600) * 1000;
        scan->gtin = TEST_GTIN;
        scan->serial = span(serials[roll(dice, 8)]);
        scan->lot = span(lots[roll(dice, 3)]);
        scan->expiry = span(roll(dice, 4) == 0 ? "290331" : "280331");
        scan->operation = operations[roll(dice, 5)];
        scan->reason = reasons[roll(dice, 12)];
        scan->entry = roll(dice, 5) == 0 ? SVW_ENTRY_MANUAL : SVW_ENTRY_SCANNED;
        scan->lat = roll(dice, 2) == 0 ? NAN : (double) roll(dice, 60);
        scan->lon = isnan(scan->lat) ? NAN : (double) roll(dice, 60);
        scan->accuracy_km = NAN;
        snprintf(scan->country, sizeof(scan->country), "%s", countries[roll(dice, 5)]);

        if (roll(dice, 3) == 0) {
            scan->kind = SVW_ACTOR_CONSUMER;
            scan->session = span(sessions[roll(dice, 6)]);
            scan->operation = SVW_OP_VERIFY;

        } else {
            scan->actor = span(sites[roll(dice, 5)]);
            scan->kind = scan->actor.data[0] == 'H' ? SVW_ACTOR_HOSPITAL
                         : scan->actor.data[0] == 'W' ? SVW_ACTOR_WHOLESALER : SVW_ACTOR_PHARMACY;
        }
    }
}


static void
commission(judged_t *j, const event_t *event)
{
    static const sv_span_t  own[3][3] = {
        { sv_span("A100001"), sv_span("A100002"), sv_span("B200001") }, { sv_span("B200001"), sv_span("C300001"), sv_span("Z400001") },
        { sv_span("A100001"), sv_span("D500001"), sv_span("D500002") }
    };

    static const sv_span_t  markets[3] = { sv_span("DE"), sv_span("TR"), sv_span("BR") };

    svw_judge_commission_t  made;

    memset(&made, 0, sizeof(made));
    made.ref = event->scan.ref;
    made.time_ms = event->scan.time_ms;
    made.gtin = TEST_GTIN;
    made.lot = span(lots[event->n]);
    made.expiry = sv_span("280331");
    made.serials = own[event->n];
    made.n_serials = 3;
    made.markets = &markets[event->n];
    made.n_markets = 1;

    assert_int_equal(svw_judge_commission(j->judge, &made), 0);
}


static void
feed(judged_t *j, const event_t *event)
{
    svw_judge_location_t  location;

    switch (event->kind) {

    case EVENT_SCAN:
        assert_int_equal(svw_judge_scan(j->judge, &event->scan), 0);
        break;

    case EVENT_MADE:
        commission(j, event);
        break;

    case EVENT_SITE:
        memset(&location, 0, sizeof(location));
        location.ref = event->scan.ref;
        location.actor = span(sites[event->n]);
        location.kind = sites[event->n][0] == 'H' ? SVW_ACTOR_HOSPITAL : SVW_ACTOR_PHARMACY;
        snprintf(location.country, sizeof(location.country), "%s", countries[event->n % 4]);
        location.lat = 48 + event->n;
        location.lon = 10;
        assert_int_equal(svw_judge_location(j->judge, &location), 0);
        break;
    }
}


/* cases with their evidence; the line that decided is the order's, so it is always 1 */
static char *
judged(const event_t *event, const unsigned *order)
{
    char      *text;
    unsigned   i;
    judged_t  *j;

    j = judged_new();
    j->ref = 1;

    for (i = 0; i < EVENTS; i++) {
        feed(j, &event[order[i]]);
    }

    text = strdup(judged_text(j));
    judged_free(j);

    return text;
}


static void
test_order(void **state)
{
    char      *first, *other;
    dice_t     dice = { 88172645463325252ull };
    event_t    event[EVENTS];
    unsigned   i, k, round, swap, order[EVENTS];

    (void) state;

    for (round = 0; round < 25; round++) {
        history(&dice, event);

        for (i = 0; i < EVENTS; i++) {
            order[i] = i;
        }

        first = judged(event, order);
        assert_true(strlen(first) > 200);

        for (k = 0; k < 4; k++) {
            for (i = EVENTS - 1; i > 0; i--) {
                unsigned  with = roll(&dice, i + 1);

                swap = order[i];
                order[i] = order[with];
                order[with] = swap;
            }

            other = judged(event, order);
            assert_string_equal(other, first);
            free(other);
        }

        free(first);
    }
}


static void
nothing(void *data, const svw_finding_t *finding)
{
    (void) finding;
    ++*(unsigned *) data;
}


static void
day(svw_judge_t *judge, int64_t n, unsigned scans, dice_t *dice)
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
        scan.reason = roll(dice, 20) == 0 ? SV_REASON_SERIAL_UNKNOWN : roll(dice, 20) == 0 ? SV_REASON_ALREADY_SUPPLIED : SV_REASON_OK;
        scan.operation = roll(dice, 2) == 0 ? SVW_OP_SUPPLY : SVW_OP_VERIFY;
        scan.serial = (sv_span_t) {(uint8_t *) serial, (size_t) snprintf(serial, sizeof(serial), "S%u%u", roll(dice, 90000), roll(dice, 9))};
        scan.lot = (sv_span_t) {(uint8_t *) lot, (size_t) snprintf(lot, sizeof(lot), "L%lld", (long long) n + roll(dice, 3))};

        if (roll(dice, 4) == 0) {
            scan.kind = SVW_ACTOR_CONSUMER;
            scan.session = (sv_span_t) {(uint8_t *) session, (size_t) snprintf(session, sizeof(session), "s%u", roll(dice, 900000))};
        } else {
            scan.kind = SVW_ACTOR_PHARMACY;
            scan.actor = (sv_span_t) {(uint8_t *) site, (size_t) snprintf(site, sizeof(site), "P%u", roll(dice, 50))};
        }

        assert_int_equal(svw_judge_scan(judge, &scan), 0);
    }
}


static void
test_memory(void **state)
{
    int64_t           n;
    dice_t            dice = { 362436069 };
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
    assert_in_range(late.scans, 1, 5000);
    assert_in_range(late.serials, 1, early.serials + early.serials / 10);
    assert_in_range(late.clients, 1, early.clients + early.clients / 10);
    assert_in_range(late.lots, 1, early.lots + 3);
    assert_in_range(late.sites, 1, 50);

    svw_judge_destroy(judge);
}


/* Lines that come in the other order keep their numbers. */
static const char *
judged_numbered(judged_t *j, char *text, size_t size)
{
    snprintf(text, size, "%s", judged_text(j));
    judged_free(j);

    return text;
}


/* A scan of unknown session is in its place by where it was, not by when it came. */
static void
test_order_place(void **state)
{
    char       text[2][512];
    unsigned   i, k;
    judged_t  *j;

    static const double  lat[2] = { 52.5, -23.5 };

    (void) state;

    for (k = 0; k < 2; k++) {
        j = judged_new();
        scan(j, .serial = "A1", .lot = "L1", .actor = "P1", .country = "DE", .lat = 52.5, .lon = 13.4, .minutes = 1);

        for (i = 0; i < 2; i++) {
            scan(j, .serial = "A1", .lot = "L1", .kind = SVW_ACTOR_CONSUMER, .country = "BR", .lat = lat[i ^ k], .lon = -46.6,
                 .minutes = 2);
        }

        judged_numbered(j, text[k], sizeof(text[k]));
        assert_non_null(strstr(text[k], "place_guessed"));
    }

    /* the hop is to the same of the two: it has the other number */
    assert_int_equal(strstr(text[0], "A1 1,2 ") != NULL, strstr(text[1], "A1 1,3 ") != NULL);
    assert_int_equal(strstr(text[0], "A1 1,3 ") != NULL, strstr(text[1], "A1 1,2 ") != NULL);
}


/* What resembles a serial is explained when that is commissioned, whatever lot it names; what is told later is not late. */
static void
test_order_facts(void **state)
{
    char       text[2][512];
    unsigned   k;
    judged_t  *j;

    (void) state;

    for (k = 0; k < 2; k++) {
        j = judged_new();
        j->ref = 0;

        if (k == 0) {
            made(j, .lot = "LYZ1", .markets = "DE", .serials = "ABYC12345 ABYC12346");
        }

        j->ref = 1;
        scan(j, .serial = "ABZC12345", .lot = "LZY1", .actor = "P1", .reason = "lot_unknown", .minutes = 5);

        if (k == 1) {
            j->ref = 0;
            made(j, .lot = "LYZ1", .markets = "DE", .serials = "ABYC12345 ABYC12346");
        }

        judged_numbered(j, text[k], sizeof(text[k]));
    }

    assert_string_equal(text[0], text[1]);
    assert_non_null(strstr(text[0], "explained scanner_setting"));

    for (k = 0; k < 2; k++) {
        j = judged_new();
        scan(j, .serial = "ABZC12345", .lot = "L1", .actor = "P1", .reason = "lot_unknown", .minutes = 5);
        j->ref = 1 + k;
        made(j, .lot = "L1", .serials = k == 0 ? NULL : "Q87654321");
        j->ref = 2 - k;
        made(j, .lot = "L1", .serials = k == 1 ? NULL : "Q87654321");
        judged_numbered(j, text[k], sizeof(text[k]));
    }

    assert_string_equal(text[0], text[1]);
    assert_non_null(strstr(text[0], "unknown_serial"));
}


/* What is taken for a preview as soon as the scan before it has come is not added to what is said of scans long past. */
static void
test_order_preview(void **state)
{
    char       text[2][512];
    unsigned   i, k, n;
    judged_t  *j;

    (void) state;

    for (k = 0; k < 2; k++) {
        j = judged_new();
        made(j, .lot = "L1", .markets = "DE", .serials = "A1 A2 A3");
        scan(j, .serial = "A1", .lot = "L1", .session = "s1", .country = "BR", .minutes = 1);
        scan(j, .serial = "A2", .lot = "L1", .session = "s2", .country = "BR", .minutes = 20 * 1440);
        scan(j, .serial = "A9", .lot = "L9", .actor = "P9", .minutes = 36 * 1440);
        scan(j, .serial = "A9", .lot = "L9", .actor = "P9", .minutes = 36 * 1440);

        for (i = 0; i < 2; i++) {
            n = i ^ k;
            j->ref = 5 + n;
            scan(j, .serial = "A3", .lot = "L1", .session = n == 0 ? "s3" : "s4", .country = n == 0 ? "DE" : "BR",
                 .minutes = 36 * 1440 + 5 + n);
        }

        j->ref = 7;
        scan(j, .serial = "A2", .lot = "L1", .session = "s5", .country = "BR", .minutes = 36 * 1440 + 50);
        judged_numbered(j, text[k], sizeof(text[k]));
    }

    assert_string_equal(text[0], text[1]);
    assert_non_null(strstr(text[0], "traveller"));
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
    dice_t            dice = { 521288629 };
    unsigned          i, found;
    svw_params_t      params;
    svw_judge_t      *judge;
    svw_judge_scan_t  scan;

    found = 0;
    svw_params_default(&params);
    judge = svw_judge_create(&params, nothing, &found);
    start = clock();

    for (i = 0; i < scans; i++) {
        memset(&scan, 0, sizeof(scan));
        scan.ref = i + 1;
        scan.time_ms = TEST_START + (int64_t) i * 2000;
        scan.gtin = TEST_GTIN;
        scan.lat = roll(&dice, 80);
        scan.lon = roll(&dice, 80);
        scan.accuracy_km = NAN;
        scan.operation = roll(&dice, 2) == 0 ? SVW_OP_SUPPLY : SVW_OP_VERIFY;
        scan.reason = roll(&dice, 2) == 0 ? SV_REASON_OK : what == HOT_SERIAL ? SV_REASON_ALREADY_SUPPLIED : SV_REASON_STOLEN;

        snprintf(serial, sizeof(serial), "S%u", what == HOT_SERIAL ? 0 : roll(&dice, scans / 4));
        snprintf(site, sizeof(site), "P%u", what == HOT_SITE ? 0 : roll(&dice, 200));
        snprintf(session, sizeof(session), "s%u", what == HOT_CLIENT ? 0 : roll(&dice, scans));
        scan.serial = span(serial);
        scan.lot = span(what == HOT_LOT ? "L1" : lots[i % 3]);

        if (what == HOT_CLIENT || (what != HOT_SITE && roll(&dice, 2) == 0)) {
            scan.kind = SVW_ACTOR_CONSUMER;
            scan.session = span(session);
        } else {
            scan.kind = SVW_ACTOR_PHARMACY;
            scan.actor = span(site);
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
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_order_place),
        cmocka_unit_test(test_order_facts),
        cmocka_unit_test(test_order_preview),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_forgotten),
        cmocka_unit_test(test_clock),
        cmocka_unit_test(test_cost),
        cmocka_unit_test(test_params),
        cmocka_unit_test(test_docs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
