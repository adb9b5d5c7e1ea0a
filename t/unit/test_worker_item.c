/* what the worker checks of a line, and how it shows what is wrong */

#include "src/worker/svw_load.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>


#define TODAY  20778        /* 2026-11-21 */


static sv_span_t
text(const char *s)
{
    return (sv_span_t) {(const uint8_t *) s, strlen(s)};
}


static void
assert_reason(const char *got, const char *expected)
{
    if (expected == NULL) {
        assert_null(got);
    } else {
        assert_non_null(got);
        assert_string_equal(got, expected);
    }
}


static void
test_gtin(void **state)
{
    uint64_t  gtin;

    (void) state;

    assert_reason(svw_check_gtin(text("09506000134352"), &gtin), NULL);
    assert_true(gtin == 9506000134352);
    assert_reason(svw_check_gtin(text("99999999999997"), &gtin), NULL);
    assert_reason(svw_check_gtin(text(""), &gtin), "gtin_missing");
    assert_reason(svw_check_gtin(text("9506000134352"), &gtin), "gtin_length");
    assert_reason(svw_check_gtin(text("095060001343520"), &gtin), "gtin_length");
    assert_reason(svw_check_gtin(text("0950600013435O"), &gtin), "gtin_digits");
    assert_reason(svw_check_gtin(text("09506000134353"), &gtin), "gtin_check_digit");
    assert_reason(svw_check_gtin(text("00000000000000"), &gtin), "gtin_check_digit");
}


static void
test_text(void **state)
{
    int   c;
    char  one[2] = {0};

    static const char  set[] = "!\"%&'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";

    (void) state;

    assert_reason(svw_check_serial(text("ABCDEFGHIJ0123456789")), NULL);
    assert_reason(svw_check_serial(text("ABCDEFGHIJ01234567890")), "serial_length");
    assert_reason(svw_check_serial(text("")), "serial_missing");
    assert_reason(svw_check_lot(text("")), "lot_missing");
    assert_reason(svw_check_lot(text("ABCDEFGHIJ01234567890")), "lot_length");
    assert_int_equal(sizeof(set) - 1, 82);

    for (c = 1; c < 256; c++) {
        one[0] = (char) c;
        assert_reason(svw_check_serial(text(one)), strchr(set, c) != NULL ? NULL : "serial_charset");
        assert_reason(svw_check_lot(text(one)), strchr(set, c) != NULL ? NULL : "lot_charset");
    }

    assert_reason(svw_check_serial((sv_span_t) {(const uint8_t *) "a\0b", 3}), "serial_charset");
}


static void
assert_expiry(const char *value, const char *day, const char *reason)
{
    char      shown[SV_DAY_TEXT];
    sv_day_t  expiry;

    assert_reason(svw_check_expiry(text(value), TODAY, &expiry), reason);

    if (reason == NULL) {
        sv_day_print(expiry, shown);
        assert_string_equal(shown, day);
    }
}


static void
test_expiry(void **state)
{
    (void) state;

    assert_expiry("301231", "2030-12-31", NULL);
    assert_expiry("300200", "2030-02-28", NULL);
    assert_expiry("280200", "2028-02-29", NULL);
    assert_expiry("990101", "1999-01-01", NULL);
    assert_expiry("2030-12-31", "2030-12-31", NULL);
    assert_expiry("20301231", "2030-12-31", NULL);
    assert_expiry("2030-12-31T00:00:00Z", "2030-12-31", NULL);
    assert_expiry("2030-12-31+01:00", "2030-12-31", NULL);
    assert_expiry("2030-12-31Z", "2030-12-31", NULL);
    assert_expiry("20280200", "2028-02-29", NULL);
    assert_expiry("2030-04-00", "2030-04-30", NULL);
    assert_expiry("2030-13-00", NULL, "expiry_date");
    assert_expiry("2030-12-31x", NULL, "expiry_format");
    assert_expiry("", NULL, "expiry_missing");
    assert_expiry("30123", NULL, "expiry_format");
    assert_expiry("31.12.2030", NULL, "expiry_format");
    assert_expiry("2030/12/31", NULL, "expiry_format");
    assert_expiry("30-12-31", NULL, "expiry_format");
    assert_expiry("2030-1-31x", NULL, "expiry_format");
    assert_expiry("301331", NULL, "expiry_date");
    assert_expiry("2030-02-29", NULL, "expiry_date");
    assert_expiry("2919-96-39", NULL, "expiry_date");
    assert_expiry("00000000000000000000000000000000000000000000", NULL, "expiry_format");
}


static void
assert_time(const char *value, int64_t ms)
{
    int64_t  got;

    assert_reason(svw_check_time(text(value), &got), ms == SVW_NO_TIME ? "event_time_format" : NULL);

    if (ms != SVW_NO_TIME) {
        assert_true(got == ms);
    }
}


static void
test_time(void **state)
{
    (void) state;

    assert_time("1970-01-01T00:00:00Z", 0);
    assert_time("1970-01-01T01:00:00+01:00", 0);
    assert_time("1969-12-31T23:30:00-00:30", 0);
    assert_time("2026-11-21T10:00:00.5Z", INT64_C(1795255200500));
    assert_time("2026-11-21T10:00:00.123456789Z", INT64_C(1795255200123));
    assert_time("2026-11-21 10:00Z", INT64_C(1795255200000));
    assert_time("2026-11-21T10:00:00", SVW_NO_TIME);
    assert_time("2026-11-21", SVW_NO_TIME);
    assert_time("2026-02-30T10:00:00Z", SVW_NO_TIME);
    assert_time("2026-11-21T24:00:00Z", SVW_NO_TIME);
    assert_time("2026-11-21T10:60:00Z", SVW_NO_TIME);
    assert_time("2026-11-21T10:00:00+15:00", SVW_NO_TIME);
    assert_time("2026-11-21T10:00:00+0100", SVW_NO_TIME);
    assert_time("2026-11-21T10:00:00Zulu", SVW_NO_TIME);
    assert_time("2026-11-21T1x:00:00Z", SVW_NO_TIME);
    assert_time("2026-11-21T10:00:00.11111111111111111111111111111Z", SVW_NO_TIME);
}


static void
test_gln_and_market(void **state)
{
    (void) state;

    assert_null(svw_check_gln(text("9506000134352")));
    assert_non_null(svw_check_gln(text("9506000134353")));
    assert_non_null(svw_check_gln(text("950600013435")));
    assert_non_null(svw_check_gln(text("950600013435x")));
    assert_null(svw_check_market(text("IT")));
    assert_non_null(svw_check_market(text("it")));
    assert_non_null(svw_check_market(text("ITA")));
}


static void
test_printable(void **state)
{
    char  out[12];

    (void) state;

    svw_printable(out, sizeof(out), text("a\x1b\\\xff"));
    assert_string_equal(out, "a\\x1b\\x5c");
    svw_printable(out, sizeof(out), text("abcdefghijklmnop"));
    assert_string_equal(out, "abcdefgh");
    svw_printable(out, sizeof(out), text(""));
    assert_string_equal(out, "");
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_gtin),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_gln_and_market),
        cmocka_unit_test(test_printable),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
