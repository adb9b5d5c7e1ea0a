/* calendar days and the two-digit years of GS1 */

#include "test_gs1.h"

#include <time.h>


static void
test_civil(void **state)
{
    int         year;
    char        text[SV_DAY_TEXT];
    time_t      at;
    sv_day_t    day;
    unsigned    month, mday;
    struct tm   tm;

    static const unsigned  last[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    (void) state;

    assert_int_equal(sv_day_from_civil(1970, 1, 1), 0);
    assert_int_equal(sv_day_from_civil(2000, 2, 29), 11016);
    assert_int_equal(sv_day_from_civil(2027, 12, 31), 21183);
    assert_int_equal(sv_day_from_civil(1969, 12, 31), -1);
    assert_int_equal(sv_day_from_civil(2027, 2, 29), SV_DAY_NONE);
    assert_int_equal(sv_day_from_civil(2027, 0, 1), SV_DAY_NONE);
    assert_int_equal(sv_day_from_civil(2027, 13, 1), SV_DAY_NONE);
    assert_int_equal(sv_day_from_civil(2027, 1, 0), SV_DAY_NONE);
    assert_int_equal(sv_day_from_civil(0, 1, 1), SV_DAY_NONE);
    assert_int_equal(sv_day_from_civil(10000, 1, 1), SV_DAY_NONE);

    for (month = 1; month <= 12; month++) {
        assert_int_not_equal(sv_day_from_civil(2027, month, last[month - 1]), SV_DAY_NONE);
        assert_int_equal(sv_day_from_civil(2027, month, last[month - 1] + 1), SV_DAY_NONE);
    }

    for (day = -700000; day < 2900000; day += 97) {
        sv_day_to_civil(day, &year, &month, &mday);
        assert_int_equal(sv_day_from_civil(year, month, mday), day);

        at = (time_t) day * 24 * 60 * 60;
        assert_non_null(gmtime_r(&at, &tm));
        assert_int_equal(year, tm.tm_year + 1900);
        assert_int_equal(month, tm.tm_mon + 1);
        assert_int_equal(mday, tm.tm_mday);

        sv_day_print(day, text);
        assert_int_equal(sv_day_parse((sv_span_t) {(const uint8_t *) text, 10}), day);
    }
}


static void
test_two_digit_years(void **state)
{
    char      text[SV_DAY_TEXT];
    size_t    i;
    sv_day_t  day;

    static const struct {
        int          today;         /* year */
        const char  *yymmdd;
        const char  *day;           /* NULL: none */
    } cases[] = {
        {2026, "271231", "2027-12-31"},
        {2026, "761231", "2076-12-31"},     /* 50 ahead */
        {2026, "770101", "1977-01-01"},     /* 51 ahead */
        {2026, "991231", "1999-12-31"},
        {2026, "000101", "2000-01-01"},
        {2060, "090101", "2109-01-01"},     /* 51 back */
        {2060, "100101", "2110-01-01"},     /* 50 back */
        {2060, "110101", "2011-01-01"},     /* 49 back */
        {2099, "000101", "2100-01-01"},
        {2026, "271200", "2027-12-31"},
        {2026, "270200", "2027-02-28"},
        {2026, "280200", "2028-02-29"},
        {2026, "000200", "2000-02-29"},
        {2099, "000200", "2100-02-28"},
        {2026, "280229", "2028-02-29"},
        {2026, "270229", NULL},
        {2099, "000229", NULL},
        {2026, "270431", NULL},
        {2026, "270001", NULL},
        {2026, "271301", NULL},
        {2026, "271232", NULL},
        {2026, "27123", NULL},
        {2026, "2712311", NULL},
        {2026, "27123A", NULL},
        {2026, "A71231", NULL},
        {2026, "", NULL}
    };

    (void) state;

    for (i = 0; i < COUNT(cases); i++) {
        day = sv_gs1_date((sv_span_t) {(const uint8_t *) cases[i].yymmdd, strlen(cases[i].yymmdd)}, sv_day_from_civil(cases[i].today, 6, 15));

        if (cases[i].day == NULL) {
            assert_int_equal(day, SV_DAY_NONE);
            continue;
        }

        assert_int_not_equal(day, SV_DAY_NONE);
        sv_day_print(day, text);
        assert_string_equal(text, cases[i].day);
    }

    assert_int_equal(sv_gs1_date(sv_span("271231"), SV_DAY_NONE), SV_DAY_NONE);
}


static void
test_text(void **state)
{
    char    text[SV_DAY_TEXT];
    size_t  i;

    static const char *const  bad[] = {
        "", "2027", "2027-1-1", "2027-12-32", "2027/12/31", "202712311", "2027123", "20271301", "2027-02-29", "0000-01-01", "2027-12-3x",
        "20x71231", "-0271231"
    };

    (void) state;

    assert_int_equal(sv_day_parse(sv_span("2027-12-31")), 21183);
    assert_int_equal(sv_day_parse(sv_span("20271231")), 21183);
    assert_int_equal(sv_day_parse(sv_span("0001-01-01")), sv_day_from_civil(1, 1, 1));

    for (i = 0; i < COUNT(bad); i++) {
        assert_int_equal(sv_day_parse((sv_span_t) {(const uint8_t *) bad[i], strlen(bad[i])}), SV_DAY_NONE);
    }

    sv_day_print(SV_DAY_NONE, text);
    assert_string_equal(text, "");
    sv_day_print(INT32_MAX, text);
    assert_string_equal(text, "");
    sv_day_print(sv_day_from_civil(9999, 12, 31), text);
    assert_string_equal(text, "9999-12-31");
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_civil),
        cmocka_unit_test(test_two_digit_years),
        cmocka_unit_test(test_text)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
