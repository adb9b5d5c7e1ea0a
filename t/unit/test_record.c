/*
 * src/model/sv_record.c: what is put into the cache comes back as it was, and
 * whatever else is there is a miss.
 */

#include "src/model/sv_record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>


#define COUNT(array)  (sizeof(array) / sizeof((array)[0]))
#define GTIN          UINT64_C(9506000134352)


static sv_span_t
text(const char *s)
{
    return (sv_span_t) {(const uint8_t *) s, strlen(s)};
}


static sv_record_t
record_of(uint32_t version, sv_state_t state, const char *expiry, int32_t location,
    int64_t since, const char *lot)
{
    sv_record_t  record;

    memset(&record, 0, sizeof(sv_record_t));

    record.version = version;
    record.state = state;
    record.expiry = sv_day_parse(text(expiry));
    record.location = location;
    record.since = since;
    record.lot_len = (uint8_t) strlen(lot);
    memcpy(record.lot, lot, record.lot_len);

    return record;
}


static sv_record_t
any_record(void)
{
    return record_of(2, SV_STATE_SUPPLIED, "2030-12-31", 17, 1795260925461, "LOT 1 x");
}


static void
same(const sv_record_t *a, const sv_record_t *b)
{
    assert_int_equal(a->version, b->version);
    assert_int_equal(a->state, b->state);
    assert_int_equal(a->expiry, b->expiry);
    assert_int_equal(a->location, b->location);
    assert_true(a->since == b->since);
    assert_int_equal(a->lot_len, b->lot_len);
    assert_memory_equal(a->lot, b->lot, a->lot_len);
}


static void
test_round_trip(void **state)
{
    int          s;
    char         value[SV_CACHE_VALUE];
    size_t       i, len;
    sv_span_t    key;
    sv_record_t  back;

    const sv_record_t  records[] = {
        record_of(1, SV_STATE_ACTIVE, "2000-02-29", 0, 0, ""),
        record_of(UINT32_MAX, SV_STATE_CHECKED_OUT, "9999-12-31", INT32_MAX, INT64_MAX,
                  "12345678901234567890"),
        record_of(7, SV_STATE_STOLEN, "1970-01-01", 1, 1, "     "),
        any_record(),
    };

    (void) state;

    key = text("sv:0123456789abcdef:09506000134352:A1");

    for (i = 0; i < COUNT(records); i++) {
        len = sv_record_encode(&records[i], key, value);

        assert_in_range(len, 20, SV_CACHE_VALUE);
        assert_true(sv_record_decode(&back, key, (sv_span_t) {(uint8_t *) value, len}));
        same(&records[i], &back);
    }

    for (s = 0; s < SV_STATE_MAX; s++) {
        back = any_record();
        back.state = (sv_state_t) s;
        len = sv_record_encode(&back, key, value);
        assert_true(sv_record_decode(&back, key, (sv_span_t) {(uint8_t *) value, len}));
        assert_int_equal(back.state, s);
        assert_int_equal(sv_state_parse(text(sv_state_word((sv_state_t) s))), s);
    }

    assert_int_equal(sv_state_parse(text("")), SV_STATE_MAX);
    assert_int_equal(sv_state_parse(text("activ")), SV_STATE_MAX);
    assert_int_equal(sv_state_parse(text("Active")), SV_STATE_MAX);
}


/* every change of a byte, every length but the right one */
static void
test_damage(void **state)
{
    char         value[SV_CACHE_VALUE];
    size_t       i, len;
    uint8_t     *copy;
    unsigned     bit;
    sv_span_t    key;
    sv_record_t  record, back;

    (void) state;

    key = text("sv:0123456789abcdef:09506000134352:A1");
    record = any_record();
    len = sv_record_encode(&record, key, value);

    for (i = 0; i < len; i++) {
        for (bit = 1; bit < 256; bit <<= 1) {
            value[i] ^= (char) bit;
            assert_false(sv_record_decode(&back, key, (sv_span_t) {(uint8_t *) value, len}));
            value[i] ^= (char) bit;
        }
    }

    for (i = 0; i < len; i++) {
        copy = malloc(i + 1);
        assert_non_null(copy);
        memcpy(copy + 1, value, i);
        assert_false(sv_record_decode(&back, key, (sv_span_t) {copy + 1, i}));
        free(copy);
    }

    assert_false(sv_record_decode(&back, key, (sv_span_t) {(uint8_t *) value + 1, len - 1}));
}


/* the value of one pack is not the value of another */
static void
test_another_key(void **state)
{
    char         key[SV_CACHE_KEY], other[SV_CACHE_KEY], value[SV_CACHE_VALUE];
    size_t       i, n, len, key_len;
    sv_record_t  record, back;

    static const struct {
        const char  *prefix;
        uint64_t     gtin;
        const char  *serial;
    } others[] = {
        {"0123456789abcdee", GTIN, "A1"},
        {"0123456789abcdef", GTIN + 1, "A1"},
        {"0123456789abcdef", GTIN, "a1"},
        {"0123456789abcdef", GTIN, "A1 "},
        {"0123456789abcdef", GTIN, "A"},
    };

    (void) state;

    record = any_record();
    key_len = sv_cache_key(key, "0123456789abcdef", GTIN, text("A1"));
    assert_string_equal(key, "sv:0123456789abcdef:09506000134352:A1");
    assert_int_equal(key_len, strlen(key));

    len = sv_record_encode(&record, text(key), value);

    for (i = 0; i < COUNT(others); i++) {
        n = sv_cache_key(other, others[i].prefix, others[i].gtin, text(others[i].serial));
        assert_false(sv_record_decode(&back, (sv_span_t) {(uint8_t *) other, n},
                                      (sv_span_t) {(uint8_t *) value, len}));
    }

    n = sv_cache_key(other, "0123456789abcdef", UINT64_C(99999999999999),
                     text("12345678901234567890"));
    assert_in_range(n, 1, SV_CACHE_KEY - 1 - 2);        /* room for ":L" */
}


static uint64_t
fnv(uint64_t hash, const char *s, size_t len)
{
    size_t  i;

    for (i = 0; i < len; i++) {
        hash = (hash ^ (uint8_t) s[i]) * UINT64_C(1099511628211);
    }

    return hash;
}


/* with a right check sum, for the checks behind it */
static int
decodes(const char *body, sv_record_t *record)
{
    int          rc;
    char         sum[17];
    size_t       len;
    uint8_t     *value;
    const char  *key;
    sv_span_t    span;

    key = "sv:0123456789abcdef:09506000134352:A1";
    len = strlen(body);
    value = malloc(len + 16);
    assert_non_null(value);

    (void) snprintf(sum, sizeof(sum), "%016llx",
                    (unsigned long long) fnv(fnv(UINT64_C(14695981039346656037), key,
                                                 strlen(key)), body, len));
    memcpy(value, body, len);
    memcpy(value + len, sum, 16);

    span = (sv_span_t) {value, len + 16};
    rc = sv_record_decode(record, text(key), span);
    free(value);

    return rc;
}


static void
test_malformed(void **state)
{
    size_t       i;
    sv_record_t  record;

    static const char *const  bad[] = {
        "", " ", "1", "1 ", "1 a", "1 a ", "1 a 20301231", "1 a 20301231 ", "1 a 20301231 0",
        "1 a 20301231 0 ", "1 a 20301231 0 0", "1 a 20301231 0 0 ",
        "4294967296 a 20301231 0 0 L ", "99999999999999999999999 a 20301231 0 0 L ",
        "-1 a 20301231 0 0 L ", " 1 a 20301231 0 0 L ", "1 A 20301231 0 0 L ",
        "1 z 20301231 0 0 L ", "1 aa 20301231 0 0 L ", "1 a 2030123x 0 0 L ",
        "1 a 99999999999 0 0 L ", "1 a 99991232 0 0 L ", "1 a 20301231 2147483648 0 L ",
        "1 a 20301231 -1 0 L ", "1 a 20301231 0 9223372036854775808 L ",
        "1 a 20301231 0 0 123456789012345678901 ", "x a 20301231 0 0 L ",
    };

    (void) state;

    assert_true(decodes("1 a 20301231 0 0 L ", &record));
    assert_int_equal(record.lot_len, 1);
    assert_true(decodes("1 a 20301231 0 0  ", &record));
    assert_int_equal(record.lot_len, 0);

    for (i = 0; i < COUNT(bad); i++) {
        if (decodes(bad[i], &record)) {
            fail_msg("\"%s\" was taken", bad[i]);
        }
    }
}


static void
test_prefix(void **state)
{
    char  a[SV_CACHE_PREFIX], b[SV_CACHE_PREFIX];

    (void) state;

    sv_cache_prefix(a, "7123456789/1/0", "0123456789abcdef0123456789abcdef01234567");
    assert_int_equal(strlen(a), SV_CACHE_PREFIX - 1);
    assert_int_equal(strspn(a, "0123456789abcdef"), SV_CACHE_PREFIX - 1);

    sv_cache_prefix(b, "7123456789/1/0", "0123456789abcdef0123456789abcdef01234567");
    assert_string_equal(a, b);

    sv_cache_prefix(b, "7123456789/1/1", "0123456789abcdef0123456789abcdef01234567");
    assert_string_not_equal(a, b);

    sv_cache_prefix(b, "7123456789/2/0", "0123456789abcdef0123456789abcdef01234567");
    assert_string_not_equal(a, b);

    sv_cache_prefix(b, "7123456789/1/0", "0123456789abcdef0123456789abcdef01234568");
    assert_string_not_equal(a, b);

    sv_cache_prefix(a, "ab", "c");
    sv_cache_prefix(b, "a", "bc");
    assert_string_not_equal(a, b);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_another_key),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_prefix),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
