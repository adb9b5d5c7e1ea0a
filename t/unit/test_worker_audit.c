/* the text that stands for an audit row, and the line that stands for a signed head */

#include "src/worker/svw_audit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>


static void
text_is(const svw_audit_row_t *row, const char *expected)
{
    uint8_t  text[4096], digest[SVW_AUDIT_HASH], other[SVW_AUDIT_HASH];
    size_t   len;

    len = svw_audit_text(row, text, sizeof(text));
    assert_int_equal(len, strlen(expected));
    assert_memory_equal(text, expected, len);

    assert_int_equal(svw_audit_digest(row, digest), 0);
    assert_int_equal(EVP_Digest(text, len, other, NULL, EVP_sha256(), NULL), 1);
    assert_memory_equal(digest, other, sizeof(digest));
}


static void
set(svw_audit_row_t *row, const char *name, const char *value)
{
    int  i;

    for (i = 0; strcmp(svw_audit_names[i], name) != 0; i++) {
        assert_true(i + 1 < SVW_AUDIT_VALUES);
    }

    row->value[i] = (sv_span_t) { (const uint8_t *) value, strlen(value) };
}


static void
test_text(void **state)
{
    svw_audit_row_t  row;

    (void) state;

    row = (svw_audit_row_t) { .n = 1 };
    text_is(&row, "-------------------------");

    set(&row, "gtin", "9506000134352");
    set(&row, "at", "1795000000123456");
    set(&row, "audit_id", "8bbf2de8-3f0e-4fd6-9ef4-4a1d4b1d2a10");
    text_is(&row, "13:950600013435216:179500000012345636:8bbf2de8-3f0e-4fd6-9ef4-4a1d4b1d2a10----------------------");

    set(&row, "location_id", "-7");
    set(&row, "expiry", "2030-12-31");
    set(&row, "changed", "false");
    set(&row, "kind", "operation");
    text_is(&row, "13:950600013435216:179500000012345636:8bbf2de8-3f0e-4fd6-9ef4-4a1d4b1d2a10-2:-7-10:2030-12-31-5:false9:operation"
            "---------------");

    /* empty is not null; bytes count, not characters */
    row = (svw_audit_row_t) { .n = 1 };
    set(&row, "hint", "");
    set(&row, "actor", "J\xc3\xb6rg");
    set(&row, "detail", "{\"a\": \"1:2-\"}");
    text_is(&row, "-------------------0:---5:J\xc3\xb6rg13:{\"a\": \"1:2-\"}");
}


/* the same characters in other columns are another text */
static void
test_places(void **state)
{
    int              i, j;
    uint8_t          digest[SVW_AUDIT_VALUES][SVW_AUDIT_HASH];
    svw_audit_row_t  row;

    (void) state;

    for (i = 0; i < SVW_AUDIT_VALUES; i++) {
        row = (svw_audit_row_t) { .n = 1 };
        set(&row, svw_audit_names[i], "-1:-");
        assert_int_equal(svw_audit_digest(&row, digest[i]), 0);

        for (j = 0; j < i; j++) {
            assert_memory_not_equal(digest[i], digest[j], SVW_AUDIT_HASH);
        }
    }
}


static void
test_hex(void **state)
{
    char     text[9];
    uint8_t  bytes[4];

    (void) state;

    assert_int_equal(svw_audit_unhex("00ff10ab", bytes, 4), 0);
    assert_memory_equal(bytes, "\x00\xff\x10\xab", 4);
    svw_audit_hex(bytes, 4, text);
    assert_string_equal(text, "00ff10ab");

    assert_int_equal(svw_audit_unhex(NULL, bytes, 4), -1);
    assert_int_equal(svw_audit_unhex("00ff10a", bytes, 4), -1);
    assert_int_equal(svw_audit_unhex("00ff10ab0", bytes, 4), -1);
    assert_int_equal(svw_audit_unhex("00FF10AB", bytes, 4), -1);
    assert_int_equal(svw_audit_unhex("00ff10ag", bytes, 4), -1);
}


static void
test_head(void **state)
{
    char              line[SVW_AUDIT_LINE], again[2 * SVW_AUDIT_LINE];
    size_t            i;
    EVP_PKEY         *key;
    svw_audit_head_t  head, other;

    (void) state;

    key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    assert_non_null(key);

    head = (svw_audit_head_t) { .system = "7312345678901234567", .kind = "day", .day = "2026-11-20", .head = 12, .first = 101, .last = 100,
                                .at_us = 1795000000123456 };
    memset(head.hash, 0xab, sizeof(head.hash));

    assert_int_equal(svw_audit_head_sign(&head, key), 0);
    assert_true(svw_audit_head_signed(&head));

    svw_audit_head_line(&head, 1, line);
    assert_int_equal(strncmp(line, "serial-verify-head/1 7312345678901234567 12 day 2026-11-20 101 100 abab", 70), 0);
    assert_int_equal(svw_audit_head_parse(line, &other), 0);
    svw_audit_head_line(&other, 1, again);
    assert_string_equal(line, again);
    assert_true(svw_audit_head_signed(&other));

    /* whatever character is another one: no head, or one that nobody signed */
    for (i = 0; i < strlen(line); i++) {
        memcpy(again, line, sizeof(line));
        again[i] = again[i] == '1' ? '2' : '1';
        assert_true(svw_audit_head_parse(again, &other) != 0 || !svw_audit_head_signed(&other));

        memcpy(again, line, sizeof(line));
        again[i] = '\0';
        assert_int_not_equal(svw_audit_head_parse(again, &other), 0);
    }

    snprintf(again, sizeof(again), "%s ", line);
    assert_int_not_equal(svw_audit_head_parse(again, &other), 0);
    snprintf(again, sizeof(again), " %s", line);
    assert_int_not_equal(svw_audit_head_parse(again, &other), 0);
    assert_int_not_equal(svw_audit_head_parse("", &other), 0);

    EVP_PKEY_free(key);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_hex),
        cmocka_unit_test(test_head),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
