/* the judge: the order of arrival within an hour changes nothing */

#include "sv_test_judge.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>


#define EVENTS  240

typedef enum { EVENT_SCAN, EVENT_MADE, EVENT_SITE } event_kind_t;

typedef struct {
    event_kind_t      kind;
    svw_judge_scan_t  scan;
    unsigned          n;                /* which lot, which site */
} event_t;


static const char *const  serials[] = { "A100001", "A100002", "a100002", "B200001", "B200002", "C300001", "Y400001", "Z400001" };
static const char *const  lots[] = { "L1", "L2", "L3" };
static const char *const  sites[] = { "P1", "P2", "P3", "H1", "W1" };
static const char *const  sessions[] = { "s1", "s2", "s3", "s4", "s5", "s6" };
static const char *const  countries[] = { "DE", "FR", "BR", "TR", "" };


/* anything at all, within an hour */
static void
history(test_dice_t *dice, event_t *event)
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
        scan->time_ms = TEST_START + test_roll(dice, 3600) * 1000;
        scan->gtin = TEST_GTIN;
        scan->serial = test_span(serials[test_roll(dice, 8)]);
        scan->lot = test_span(lots[test_roll(dice, 3)]);
        scan->expiry = test_span(test_roll(dice, 4) == 0 ? "290331" : "280331");
        scan->operation = operations[test_roll(dice, 5)];
        scan->reason = reasons[test_roll(dice, 12)];
        scan->entry = test_roll(dice, 5) == 0 ? SVW_ENTRY_MANUAL : SVW_ENTRY_SCANNED;
        scan->lat = test_roll(dice, 2) == 0 ? NAN : (double) test_roll(dice, 60);
        scan->lon = isnan(scan->lat) ? NAN : (double) test_roll(dice, 60);
        scan->accuracy_km = NAN;
        snprintf(scan->country, sizeof(scan->country), "%s", countries[test_roll(dice, 5)]);

        if (test_roll(dice, 3) == 0) {
            scan->kind = SVW_ACTOR_CONSUMER;
            scan->session = test_span(sessions[test_roll(dice, 6)]);
            scan->operation = SVW_OP_VERIFY;

        } else {
            scan->actor = test_span(sites[test_roll(dice, 5)]);
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
    made.lot = test_span(lots[event->n]);
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
        location.actor = test_span(sites[event->n]);
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
    char         *first, *other;
    event_t       event[EVENTS];
    unsigned      i, k, round, swap, order[EVENTS];
    test_dice_t   dice = { 88172645463325252ull };

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
                unsigned  with = test_roll(&dice, i + 1);

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


/* Scans leave the window one by one: what is left of a burst at a site is not judged anew. */
static void
test_order_left(void **state)
{
    char       text[2][512], session[8];
    unsigned   i, k;
    judged_t  *j;

    static const unsigned  misses[] = { 1, 10, 40, 41, 42 };
    static const unsigned  later[] = { 20, 25, 30 };

    (void) state;

    for (k = 0; k < 2; k++) {
        j = judged_new();

        for (i = 0; i < 5; i++) {
            scan(j, .serial = "A7", .lot = "L1", .op = SVW_OP_SUPPLY, .actor = "P1", .reason = "serial_unknown", .hint = 1,
                 .minutes = misses[i]);
        }

        scan(j, .serial = "B2", .lot = "L1", .op = SVW_OP_SUPPLY, .actor = "P1", .minutes = 80);

        for (i = 0; i < 3; i++) {
            j->ref = 7 + (i + k) % 3;
            snprintf(session, sizeof(session), "s%u", i);
            scan(j, .serial = "C1", .lot = "L2", .session = session, .minutes = 35 * 1440 + 60 + later[(i + k) % 3]);
        }

        judged_numbered(j, text[k], sizeof(text[k]));
    }

    assert_string_equal(text[0], text[1]);
    assert_non_null(strstr(text[0], "site_burst"));
    assert_null(strstr(text[0], "identifier_mismatch"));
}


/* .. nor what is left of a lot's, by a rule that says less. */
static void
test_order_left_lot(void **state)
{
    char         site[8], serial[8];
    unsigned     i;
    judged_t    *j;
    const char  *text;

    (void) state;

    j = judged_new();

    for (i = 0; i < 6; i++) {
        snprintf(site, sizeof(site), "P%u", i);
        snprintf(serial, sizeof(serial), "A%u", i);
        scan(j, .serial = serial, .lot = "L1", .actor = site, .reason = "lot_unknown", .minutes = 1 + i);
    }

    made(j, .lot = "L1", .serials = "A0 A1 A2 A3 A4 A5 A6", .minutes = 60);
    scan(j, .serial = "C1", .lot = "L2", .session = "s1", .minutes = 35 * 1440 - 60);
    scan(j, .serial = "C1", .lot = "L2", .session = "s2", .minutes = 35 * 1440 - 60);
    scan(j, .serial = "A6", .lot = "L1", .actor = "P8", .reason = "lot_unknown", .minutes = 35 * 1440 + 5);
    text = judged_text(j);
    assert_non_null(strstr(text, "lot_burst low explained late_upload A0,A1,A2,A3,A4,A5 1,2,3,4,5,6,7"));
    assert_non_null(strstr(text, "identifier_mismatch low explained late_upload A6 7,10"));
    judged_free(j);
}


/* What is further apart than the window is not judged together, whatever is remembered when it comes. */
static void
test_order_apart(void **state)
{
    char       text[2][512];
    unsigned   i, k, n;
    judged_t  *j;

    (void) state;

    for (k = 0; k < 2; k++) {
        j = judged_new();
        made(j, .lot = "L1", .markets = "DE", .serials = "A1 A2 A3");
        scan(j, .serial = "A1", .lot = "L1", .session = "s1", .country = "BR", .minutes = 60);

        for (i = 0; i < 2; i++) {
            n = i ^ k;
            j->ref = 3 + n;
            scan(j, .serial = n == 0 ? "A2" : "A3", .lot = "L1", .session = n == 0 ? "s2" : "s3", .country = n == 0 ? "BR" : "DE",
                 .minutes = 36 * 1440 + (n == 0 ? 5 : 10));
        }

        judged_numbered(j, text[k], sizeof(text[k]));
    }

    assert_string_equal(text[0], text[1]);
    assert_non_null(strstr(text[0], "traveller A2"));
}


/* What was told of scans that have left the window is not lost for less that is said of others. */
static void
test_order_less(void **state)
{
    char         serial[8];
    unsigned     i;
    judged_t    *j;
    const char  *text;

    (void) state;

    j = judged_new();
    made(j, .lot = "L1", .serials = "A1");

    /* two pharmacies, then one that guesses: in the end that is its own matter */

    scan(j, .serial = "X1", .lot = "L1", .actor = "P1", .reason = "serial_unknown", .minutes = 1);
    scan(j, .serial = "X2", .lot = "L1", .actor = "P2", .reason = "serial_unknown", .minutes = 5 * 1440);

    for (i = 0; i < 16; i++) {
        snprintf(serial, sizeof(serial), "Y%u", i);
        scan(j, .serial = serial, .lot = "L1", .actor = "P9", .reason = "serial_unknown", .minutes = 36 * 1440 + i);
    }

    for (i = 0; i < 2; i++) {
        scan(j, .serial = "Z1", .lot = "L1", .actor = "P5", .entry = SVW_ENTRY_MANUAL, .reason = "serial_unknown",
             .minutes = 41 * 1440 + i);
    }

    text = judged_text(j);
    assert_non_null(strstr(text, "X1,X2"));
    judged_free(j);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_order_place),
        cmocka_unit_test(test_order_facts),
        cmocka_unit_test(test_order_preview),
        cmocka_unit_test(test_order_left),
        cmocka_unit_test(test_order_left_lot),
        cmocka_unit_test(test_order_apart),
        cmocka_unit_test(test_order_less),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
