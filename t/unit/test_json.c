/*
 * src/model/sv_json.c: what it writes is JSON, says what it was given, and
 * never leaves its buffer.
 */

#include "src/model/sv_json.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>


#define COUNT(array)  (sizeof(array) / sizeof((array)[0]))


static sv_span_t
bytes(const void *text, size_t len)
{
    return (sv_span_t) {text, len};
}


/* a document with everything in it */
static int
write_all(char *buf, size_t cap)
{
    sv_json_t  json;

    sv_json_init(&json, buf, cap);
    sv_json_object(&json, NULL);
    sv_json_text(&json, "text", "a\"b\\c\n\x7f<>&");
    sv_json_text(&json, "left_out", NULL);
    sv_json_number(&json, "most", INT64_MAX);
    sv_json_number(&json, "least", INT64_MIN);
    sv_json_number(&json, "zero", 0);
    sv_json_bool(&json, "yes", 7);
    sv_json_bool(&json, "no", 0);
    sv_json_time(&json, "time", 1795260925461);
    sv_json_array(&json, "array");
    sv_json_number(&json, NULL, 1);
    sv_json_object(&json, NULL);
    sv_json_object_end(&json);
    sv_json_array(&json, NULL);
    sv_json_array_end(&json);
    sv_json_span(&json, NULL, bytes("", 0));
    sv_json_array_end(&json);
    sv_json_object(&json, "object");
    sv_json_text(&json, "a", "b");
    sv_json_object_end(&json);
    sv_json_text(&json, "last", "");
    sv_json_object_end(&json);

    return sv_json_done(&json);
}


static const char  everything[] =
    "{\"text\":\"a\\\"b\\\\c\\u000a\\u007f\\u003c\\u003e\\u0026\",\"most\":9223372036854775807,"
    "\"least\":-9223372036854775808,\"zero\":0,\"yes\":true,\"no\":false,"
    "\"time\":\"2026-11-21T11:35:25.461Z\",\"array\":[1,{},[],\"\"],\"object\":{\"a\":\"b\"},"
    "\"last\":\"\"}";


static void
test_everything(void **state)
{
    int   len;
    char  buf[1024];

    (void) state;

    len = write_all(buf, sizeof(buf));

    assert_int_equal(len, sizeof(everything) - 1);
    assert_memory_equal(buf, everything, len);
}


static void
test_too_small(void **state)
{
    int     len;
    char   *buf;
    size_t  cap;

    (void) state;

    for (cap = 0; cap < sizeof(everything) + 1; cap++) {
        /* of its exact size: one byte too far is found */
        buf = malloc(cap + 1);
        assert_non_null(buf);
        buf[cap] = '#';

        len = write_all(buf, cap);

        assert_int_equal(len, cap < sizeof(everything) - 1 ? -1 : (int) sizeof(everything) - 1);
        assert_int_equal(buf[cap], '#');

        free(buf);
    }
}


/* what comes back of a string */
static json_t *
read_back(sv_span_t text)
{
    int        len;
    char       buf[512];
    json_t    *value;
    sv_json_t  json;

    sv_json_init(&json, buf, sizeof(buf));
    sv_json_span(&json, NULL, text);
    len = sv_json_done(&json);
    assert_in_range(len, 2, sizeof(buf));

    value = json_loadb(buf, (size_t) len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    assert_non_null(value);

    return value;
}


static void
test_utf8(void **state)
{
    size_t   i;
    json_t  *value;

    static const struct {
        const char  *given, *expected;
    } cases[] = {
        {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x92\x8a", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x92\x8a"},
        {"a\xff" "b", "a\xef\xbf\xbd" "b"},
        {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},                               /* not the shortest form */
        {"\xe0\x80\xaf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},               /* a surrogate */
        {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},  /* above U+10FFFF */
        {"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"},
        {"\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd"},                               /* cut short */
        {"\xe2\x82x", "\xef\xbf\xbd\xef\xbf\xbdx"},
        {"\x80", "\xef\xbf\xbd"},
        {"\xf8\x88\x80\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
    };

    (void) state;

    for (i = 0; i < COUNT(cases); i++) {
        value = read_back(bytes(cases[i].given, strlen(cases[i].given)));
        assert_string_equal(json_string_value(value), cases[i].expected);
        json_decref(value);
    }
}


/* every two bytes, one after the other: always JSON, and ASCII comes back as it was */
static void
test_every_pair(void **state)
{
    unsigned  a, b;
    uint8_t  *pair;
    json_t   *value;

    (void) state;

    pair = malloc(2);
    assert_non_null(pair);

    for (a = 0; a < 256; a++) {
        for (b = 0; b < 256; b++) {
            pair[0] = (uint8_t) a;
            pair[1] = (uint8_t) b;
            value = read_back(bytes(pair, 2));

            if (a < 0x80 && b < 0x80) {
                assert_int_equal(json_string_length(value), 2);
                assert_memory_equal(json_string_value(value), pair, 2);
            }

            json_decref(value);
        }
    }

    free(pair);
}


static void
test_times(void **state)
{
    int        len;
    char       buf[64];
    size_t     i;
    sv_json_t  json;

    static const struct {
        int64_t      ms;
        const char  *text;
    } cases[] = {
        {0, "\"1970-01-01T00:00:00.000Z\""},
        {-1, "\"1969-12-31T23:59:59.999Z\""},
        {951782400000, "\"2000-02-29T00:00:00.000Z\""},
        {4107542399999, "\"2100-02-28T23:59:59.999Z\""},
        {4107542400000, "\"2100-03-01T00:00:00.000Z\""},
        {253402300799999, "\"9999-12-31T23:59:59.999Z\""},
        {1009, "\"1970-01-01T00:00:01.009Z\""},
    };

    (void) state;

    for (i = 0; i < COUNT(cases); i++) {
        sv_json_init(&json, buf, sizeof(buf));
        sv_json_time(&json, NULL, cases[i].ms);
        len = sv_json_done(&json);
        assert_int_equal(len, strlen(cases[i].text));
        assert_memory_equal(buf, cases[i].text, len);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_everything),
        cmocka_unit_test(test_too_small),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_every_pair),
        cmocka_unit_test(test_times),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
