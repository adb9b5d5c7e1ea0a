/*
 * src/model/sv_event.c: what a gateway writes is what the worker reads, and
 * what the worker would refuse is not written.
 */

#include "src/model/sv_event.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>


#define COUNT(array)  (sizeof(array) / sizeof((array)[0]))
#define AT            INT64_C(1795269600000)


static sv_span_t
text(const char *s)
{
    return (sv_span_t) {(const uint8_t *) s, strlen(s)};
}


static sv_event_t
professional(void)
{
    return (sv_event_t) {
        .sequence = 7, .at_ms = AT, .occurred_ms = AT - 3600000, .gtin = 9506000134352,
        .serial = text("A/b+1"), .lot = text("LOT-1"), .expiry = text("301200"), .location = 12,
        .lat = NAN, .lon = NAN, .entry_mode = text("scanned"), .reason = SV_REASON_LOT_MISMATCH,
        .alert_id = text("DE-ABC-DEF-GHJ-KLM-NPQ"),
        .request_id = text("0123456789abcdef0123456789abcdef"), .hint = 1
    };
}


static sv_event_t
consumer(void)
{
    return (sv_event_t) {
        .sequence = 1, .at_ms = AT, .gtin = 9506000134352, .serial = text("A1"),
        .session = text("abcdefghijklmnop"), .country = "NZ", .lat = -36.75, .lon = 174.75,
        .accuracy_km = 20, .reason = SV_REASON_SERIAL_UNKNOWN,
        .request_id = text("0123456789abcdef0123456789abcdef")
    };
}


/* the longest that is valid */
static sv_event_t
longest(void)
{
    sv_event_t  event;

    event = professional();
    event.sequence = INT64_MAX;
    event.at_ms = event.occurred_ms = INT64_MAX;
    event.gtin = 99999999999999;
    event.serial = event.lot = text("12345678901234567890");
    event.location = INT32_MAX;
    event.session = text("0123456789abcdef");
    event.country[0] = event.country[1] = 'Z';
    event.lat = -89.75;
    event.lon = -179.75;
    event.accuracy_km = INT32_MAX;
    event.entry_mode = event.alert_id = event.request_id = text("0123456789abcdef0123456789abcdef");
    event.silent = 1;

    return event;
}


static void
same_degrees(double a, double b)
{
    assert_true(isnan(a) ? isnan(b) : a == b);
}


static void
same(const sv_event_t *a, const sv_event_t *b)
{
    assert_true(a->sequence == b->sequence && a->at_ms == b->at_ms);
    assert_true(a->occurred_ms == b->occurred_ms && a->gtin == b->gtin);
    assert_true(sv_span_eq(a->serial, b->serial) && sv_span_eq(a->lot, b->lot));
    assert_true(sv_span_eq(a->expiry, b->expiry) && sv_span_eq(a->session, b->session));
    assert_true(sv_span_eq(a->entry_mode, b->entry_mode) && sv_span_eq(a->alert_id, b->alert_id));
    assert_true(sv_span_eq(a->request_id, b->request_id));
    assert_int_equal(a->location, b->location);
    assert_string_equal(a->country, b->country);
    same_degrees(a->lat, b->lat);
    same_degrees(a->lon, b->lon);
    assert_int_equal(a->accuracy_km, b->accuracy_km);
    assert_int_equal(a->reason, b->reason);
    assert_int_equal(a->hint, b->hint);
    assert_int_equal(a->silent, b->silent);
}


static void
test_round_trip(void **state)
{
    char        line[SV_EVENT_LINE];
    size_t      i, len;
    sv_event_t  back;

    const sv_event_t  events[] = { professional(), consumer(), longest() };

    (void) state;

    for (i = 0; i < COUNT(events); i++) {
        len = sv_event_line(line, sizeof(line), &events[i]);

        assert_in_range(len, 1, SV_EVENT_LINE - 1);
        assert_int_equal(line[len - 1], '\n');
        assert_int_equal(sv_event_parse((sv_span_t) {(uint8_t *) line, len - 1}, &back), 0);
        same(&events[i], &back);
    }
}


static void
test_every_reason(void **state)
{
    int         reason;
    char        line[SV_EVENT_LINE];
    size_t      len;
    sv_event_t  event, back;

    (void) state;
    event = consumer();

    for (reason = 0; reason < SV_REASON_MAX; reason++) {
        event.reason = (sv_reason_t) reason;
        len = sv_event_line(line, sizeof(line), &event);
        assert_int_equal(sv_event_parse((sv_span_t) {(uint8_t *) line, len - 1}, &back), 0);
        assert_int_equal(back.reason, reason);
    }
}


/* the form itself is a contract between releases */
static void
test_form(void **state)
{
    char        line[SV_EVENT_LINE];
    size_t      len;
    sv_event_t  event;

    (void) state;

    event = consumer();
    len = sv_event_line(line, sizeof(line), &event);
    line[len] = '\0';

    assert_string_equal(line, "1\t1\t1795269600000\t\t9506000134352\tA1\t\t\t\tabcdefghijklmnop\tNZ\t-36.75"
                              "\t174.75\t20\t\tserial_unknown\t\t0123456789abcdef0123456789abcdef\t\n");
}


static void
unwritten(const sv_event_t *event)
{
    char  line[SV_EVENT_LINE];

    assert_int_equal(sv_event_line(line, sizeof(line), event), 0);
}


static void
test_not_written(void **state)
{
    char        line[SV_EVENT_LINE];
    size_t      i;
    sv_event_t  event;

    static const char *const  texts[] = { "", "A\tB", "A\nB", "123456789012345678901", "\xc3\xa4" };

    (void) state;

    for (i = 0; i < COUNT(texts); i++) {
        event = professional();
        event.serial = text(texts[i]);
        unwritten(&event);
    }

    event = professional();
    assert_int_equal(sv_event_line(line, sizeof(line) - 1, &event), 0);

    event.sequence = 0;
    unwritten(&event);

    event = professional();
    event.gtin = UINT64_C(100000000000000);
    unwritten(&event);

    event = professional();
    event.expiry = text("3012");
    unwritten(&event);

    event = professional();
    event.reason = SV_REASON_MAX;
    unwritten(&event);

    event = consumer();
    event.lat = NAN;
    unwritten(&event);

    event = consumer();
    event.lat = 90.5;
    unwritten(&event);

    event = consumer();
    event.country[0] = 'n';
    unwritten(&event);
}


static void
test_not_read(void **state)
{
    size_t      i;
    sv_event_t  event;

    static const char *const  lines[] = {
        "",
        "1",
        "2\t1\t1\t\t1\tA\t\t\t\t\t\t\t\t\t\tok\t\t\t",           /* another version */
        "1\t\t1\t\t1\tA\t\t\t\t\t\t\t\t\t\tok\t\t\t",            /* no sequence */
        "1\t0\t1\t\t1\tA\t\t\t\t\t\t\t\t\t\tok\t\t\t",
        "1\t01\t1\t\t1\tA\t\t\t\t\t\t\t\t\t\tok\t\t\t",
        "1\t9223372036854775808\t1\t\t1\tA\t\t\t\t\t\t\t\t\t\tok\t\t\t",
        "1\t1\t1\t\t1\tA\t\t\t\t\t\t\t\t\t\tok\t\t",             /* a field too few */
        "1\t1\t1\t\t1\tA\t\t\t\t\t\t\t\t\t\tok\t\t\t\t",         /* or too many */
        "1\t1\t-1\t\t1\tA\t\t\t\t\t\t\t\t\t\tok\t\t\t",
        "1\t1\t1\t\t\tA\t\t\t\t\t\t\t\t\t\tok\t\t\t",
        "1\t1\t1\t\t1\t\t\t\t\t\t\t\t\t\t\tok\t\t\t",
        "1\t1\t1\t\t1\tA\t\t\t\t\t\t\t\t\t\tokay\t\t\t",
        "1\t1\t1\t\t1\tA\t\t\t2147483648\t\t\t\t\t\t\tok\t\t\t",
        "1\t1\t1\t\t1\tA\t\t\t\t\tD\t\t\t\t\tok\t\t\t",
        "1\t1\t1\t\t1\tA\t\t\t\t\t\t1.25\t\t\t\tok\t\t\t",
        "1\t1\t1\t\t1\tA\t\t\t\t\t\t1.25\t180.25\t\t\tok\t\t\t",
        "1\t1\t1\t\t1\tA\t\t\t\t\t\t1.25\t.25\t\t\tok\t\t\t",
        "1\t1\t1\t\t1\tA\t\t\t\t\t\t1.25\t1.5\t\t\tok\t\t\t",
        "1\t1\t1\t\t1\tA\t\t\t\t\t\t\t\t\t\tok\t\t\tx",
        "1\t1\t1\t\t1\tA\t\t\t\t\t\t\t\t\t\tok\t\t\tsh",
        "1\t1\t1\t\t1\tA\t\t\t\t\t\t\t\t\t\tok\t\t\t\n",
    };

    (void) state;

    for (i = 0; i < COUNT(lines); i++) {
        if (sv_event_parse(text(lines[i]), &event) != -1) {
            fail_msg("read: line %zu \"%s\"", i, lines[i]);
        }
    }

    assert_int_equal(sv_event_parse(text("1\t1\t1\t\t1\tA\t\t\t\t\t\t\t\t\t\tok\t\t\ths"), &event), 0);
    assert_int_equal(event.hint && event.silent, 1);
}


/* whatever is cut off is not taken for an event, but for the flags at the very end */
static void
test_cut(void **state)
{
    char        line[SV_EVENT_LINE], *copy;
    size_t      i, len;
    sv_event_t  event;

    (void) state;

    event = longest();
    len = sv_event_line(line, sizeof(line), &event) - 1;

    for (i = 0; i < len - 2; i++) {
        copy = malloc(i + 1);
        assert_non_null(copy);
        memcpy(copy, line, i);
        assert_int_equal(sv_event_parse((sv_span_t) {(uint8_t *) copy, i}, &event), -1);
        free(copy);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_every_reason),
        cmocka_unit_test(test_form),
        cmocka_unit_test(test_not_written),
        cmocka_unit_test(test_not_read),
        cmocka_unit_test(test_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
