/* every error there is can be reached, and has a code word and a sentence */

#include "test_gs1.h"


#define G  "https://a/01/" GTIN
#define E(symbol, mode, text)  {SV_GS1_ERR_##symbol, mode, text}


static const struct {
    sv_gs1_error_t   error;
    sv_test_mode_t   mode;
    const char      *text;
} reached[] = {
    E(NOT_A_LINK, TARGET, "/status"),
    E(BAD_SCHEME, URI, "ftp://a/01/" GTIN),
    E(BAD_HOST, URI, "https://u@a/01/" GTIN),
    E(BAD_CHARACTER, URI, G "/21/<"),
    E(BAD_ESCAPE, URI, G "/21/%"),
    E(PATH_SEGMENT, URI, G "/foo"),
    E(PATH_QUALIFIER, URI, G "/17/271231"),
    E(PATH_ORDER, URI, G "/21/S/10/L"),
    E(IN_PATH, URI, G "?10=L"),
    E(NO_ATTRIBUTE, URI, "https://a/414/9506000134352?21=S"),
    E(QUERY_KEY, URI, G "?=x"),
    E(UNKNOWN_AI, SCAN, "]d205"),
    E(DUPLICATE, URI, G "?17=271231&17=271231"),
    E(REQUIRED, BRACKETS, "(21)S"),
    E(EXCLUDED, BRACKETS, "(01)" GTIN "(37)1"),
    E(EMPTY, BRACKETS, "(01)" GTIN "(21)"),
    E(VALUE_SHORT, URI, "https://a/01/9506000134352"),
    E(VALUE_LONG, URI, G "/21/123456789012345678901"),
    E(CHARSET, SCAN, "]d201" GTIN "21S^"),
    E(CHECK_DIGIT, URI, "https://a/01/09506000134353"),
    E(CHECK_PAIR, BRACKETS, "(8013)1987654Ad4X4bL5ttr2310cXK"),
    E(COMPANY_PREFIX, BRACKETS, "(8004)x"),
    E(DATE, BRACKETS, "(01)" GTIN "(17)270229"),
    E(TIME, BRACKETS, "(01)" GTIN "(7003)2712312400"),
    E(COUNTRY, BRACKETS, "(01)" GTIN "(422)000"),
    E(CURRENCY, BRACKETS, "(01)" GTIN "(30)1(3932)0001"),
    E(PIECE, BRACKETS, "(8006)" GTIN "0302"),
    E(IBAN, BRACKETS, "(415)9506000134352(8020)r(8007)DE91"),
    E(ZERO, BRACKETS, "(8003)19506000134352"),
    E(CODE_LIST, BRACKETS, "(00)006141411234567890(4321)2"),
    E(VALUE_ESCAPE, BRACKETS, "(00)006141411234567890(4300)%"),
    E(POSITION, BRACKETS, "(00)006141411234567890(4309)18000000010000000000"),
    E(SEQUENCE, BRACKETS, "(8018)095060001343520000(7258)2/1(7259)b"),
    E(COUPON, BRACKETS, "(8110)1"),
    E(SERIAL_MISSING, BRACKETS, "(253)9506000134352(8030)a"),
    E(SYMBOLOGY, SCAN, "01" GTIN),
    E(NOT_GS1, SCAN, "]C001" GTIN),
    E(SEPARATOR, SCAN, "]d201" GTIN "21S\x1d\x1d"),
    E(BRACKETS, BRACKETS, "01" GTIN),
    E(URN, URN, "urn:isbn:0451450523"),
    E(URN_SCHEME, URN, "urn:epc:id:grai:0614141.12345.400"),
    E(EPC, TARGET, "/eh307c257bf7194e4000001a85"),
    E(EPC_SCHEME, TARGET, "/eh3374257bf40c0e4000001a85")
};


static void
test_reached(void **state)
{
    char           text[SV_TEXT];
    size_t         i, offset, len;
    sv_gs1_data_t  data;
    unsigned char  seen[SV_GS1_ERR_MAX];

    (void) state;

    memset(seen, 0, sizeof(seen));
    seen[SV_GS1_OK] = 1;

    for (i = 0; i < COUNT(reached); i++) {
        assert_int_equal(sv_test_parse(0, reached[i].mode, reached[i].text, strlen(reached[i].text), 0, &data, &offset), reached[i].error);
        assert_true(offset <= strlen(reached[i].text));
        seen[reached[i].error] = 1;
    }

    memset(text, 'a', sizeof(text));
    seen[sv_test_parse(0, URI, text, SV_GS1_MAX_INPUT + 1, 0, &data, &offset)] = 1;

    len = snprintf(text, sizeof(text), "/01/%s", GTIN);

    for (i = 0; i < 16; i++) {
        len += snprintf(text + len, sizeof(text) - len, "/10/L");
    }

    seen[sv_test_parse(0, TARGET, text, len, 0, &data, &offset)] = 1;

    for (i = 0; i < SV_GS1_ERR_MAX; i++) {
        if (!seen[i]) {
            fail_msg("no case reaches %s", sv_gs1_error_code(i));
        }
    }
}


static void
test_words(void **state)
{
    size_t       i, k;
    const char  *code, *text;

    (void) state;

    for (i = 0; i < SV_GS1_ERR_MAX; i++) {
        code = sv_gs1_error_code(i);
        text = sv_gs1_error_text(i);

        assert_true(strlen(code) > 1);
        assert_int_equal(strspn(code, "abcdefghijklmnopqrstuvwxyz0123456789_"), strlen(code));
        assert_true(strlen(text) > 20);
        assert_true(text[0] >= 'A' && text[0] <= 'Z' && text[strlen(text) - 1] == '.');

        for (k = 0; k < i; k++) {
            assert_string_not_equal(code, sv_gs1_error_code(k));
        }
    }

    assert_non_null(sv_gs1_error_code(SV_GS1_ERR_MAX));
    assert_non_null(sv_gs1_error_text(SV_GS1_ERR_MAX));
}


/* clients rely on these */
static void
test_stable_words(void **state)
{
    (void) state;

    assert_string_equal(sv_gs1_error_code(SV_GS1_ERR_VALUE_SHORT), "ai_value_too_short");
    assert_string_equal(sv_gs1_error_code(SV_GS1_ERR_CHECK_DIGIT), "check_digit_wrong");
    assert_string_equal(sv_gs1_error_code(SV_GS1_ERR_NOT_A_LINK), "not_a_link");
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_reached),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_stable_words)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
