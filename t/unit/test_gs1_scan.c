/* what scanners send, and bracketed strings */

#include "test_gs1.h"


#define ID     "https://id.gs1.org"
#define G      "01" GTIN
#define GS     "\x1d"
#define SSCC   "006141411234567890"
#define PACK   "(01)" GTIN "(21)S1(10)LOT(17)271231"


static void
test_scans(void **state)
{
    static const sv_test_case_t  cases[] = {
        GOOD(SCAN, "a medicine pack", "]d2" G "21S1" GS "10LOT" GS "17271231", PACK, ID "/01/" GTIN "/10/LOT/21/S1?17=271231"),
        GOOD(SCAN, "no separator after fixed lengths", "]d2" G "1727123110LOT" GS "21S1", "(01)" GTIN "(17)271231(10)LOT(21)S1", NULL),
        GOOD(SCAN, "a separator after a fixed length", "]d2" G GS "17271231" GS "21S", "(01)" GTIN "(17)271231(21)S", NULL),
        GOOD(SCAN, "a separator at the end", "]d2" G "21S" GS, "(01)" GTIN "(21)S", NULL),
        GOOD(SCAN, "a separator at the start", "]d2" GS G "21S", "(01)" GTIN "(21)S", NULL),
        GOOD(SCAN, "any order, the key is printed first", "]d221S" GS "10L" GS G, "(01)" GTIN "(21)S(10)L", NULL),
        GOOD(SCAN, "an equal repeat", "]d2" G "21S" GS G "21S", "(01)" GTIN "(21)S", NULL),
        GOOD(SCAN, "GS1 QR", "]Q3" G, "(01)" GTIN, NULL),
        GOOD(SCAN, "GS1-128", "]C100" SSCC, "(00)" SSCC, ID "/00/" SSCC),
        GOOD(SCAN, "DataBar", "]e0" G, "(01)" GTIN, NULL),
        GOOD(SCAN, "DotCode", "]J1" G, "(01)" GTIN, NULL),
        GOOD(SCAN, "EAN-13", "]E09506000134352", "(01)" GTIN, ID "/01/" GTIN),
        GOOD(SCAN, "EAN-8", "]E412345670", "(01)00000012345670", NULL),
        GOOD(SCAN, "a link in a plain QR", "]Q1https://a/01/" GTIN "/21/S", "(01)" GTIN "(21)S", NULL),
        GOOD(SCAN, "a link in a plain DataMatrix", "]d1HTTP://A/01/" GTIN, "(01)" GTIN, NULL),
        GOOD(SCAN, "a national number", "]d2" G "710PZN1" GS "21S", "(01)" GTIN "(710)PZN1(21)S", ID "/01/" GTIN "/21/S?710=PZN1"),
        GOOD(SCAN, "the Costa Rican number", "]d2" G "717SRN", "(01)" GTIN "(717)SRN", NULL),
        GOOD(SCAN, "brackets in a serial", "]d2" G "21A(10)B", "(01)" GTIN "(21)A\\(10)B", ID "/01/" GTIN "/21/A%2810%29B"),
        GOOD(SCAN, "a swallowed lot cannot be told", "]d2" G "21S10L", "(01)" GTIN "(21)S10L", NULL),
        GOOD(SCAN, "data without a key", "]d290ABC", "(90)ABC", ""),
        GOOD(SCAN, "a GTIN and an SSCC: the item is the key", "]d200" SSCC G, "(01)" GTIN "(00)" SSCC, ID "/01/" GTIN "?00=" SSCC),
        GOOD(SCAN, "extension without its location in the path", "]d2" G "4149506000134352" "254x", "(414)9506000134352(01)" GTIN "(254)x",
             ID "/414/9506000134352/254/x?01=" GTIN)
    };

    (void) state;

    sv_test_cases(cases, COUNT(cases));
}


static void
test_scans_refused(void **state)
{
    static const sv_test_case_t  cases[] = {
        BAD(SCAN, "nothing", "", SYMBOLOGY, 0),
        BAD(SCAN, "no symbology identifier", G "21S", SYMBOLOGY, 0),
        BAD(SCAN, "a symbology identifier cut short", "]d", SYMBOLOGY, 0),
        BAD(SCAN, "a link without symbology identifier", "https://a/01/" GTIN, SYMBOLOGY, 0),
        BAD(SCAN, "an empty symbol", "]d2", NOT_A_LINK, 3),
        BAD(SCAN, "only a separator", "]d2" GS, NOT_A_LINK, 4),
        BAD(SCAN, "Code 128", "]C0" G, NOT_GS1, 0),
        BAD(SCAN, "a German PPN", "]d19N110375286414", NOT_GS1, 3),
        BAD(SCAN, "a text in a QR code", "]Q1hello", NOT_GS1, 3),
        BAD(SCAN, "a wrong link in a QR code", "]Q1http//a", BAD_SCHEME, 3),
        BAD(SCAN, "two separators", "]d2" G "21S" GS GS "10L", SEPARATOR, 23),
        BAD(SCAN, "two separators at the start", "]d2" GS GS G, SEPARATOR, 4),
        BAD(SCAN, "two separators at the end", "]d2" G GS GS, SEPARATOR, 20),
        BAD(SCAN, "an unknown identifier", "]d2" G "05X", UNKNOWN_AI, 19),
        BAD(SCAN, "an identifier cut short", "]d2" G "31", UNKNOWN_AI, 19),
        BAD(SCAN, "letters", "]d2ABC", UNKNOWN_AI, 3),
        BAD(SCAN, "an identifier without value", "]d2" G "21", EMPTY, 21),
        BAD(SCAN, "an empty value before a separator", "]d2" G "21" GS "10L", EMPTY, 21),
        BAD(SCAN, "a separator inside a fixed length", "]d20109506" GS "000134352", VALUE_SHORT, 10),
        BAD(SCAN, "a GTIN cut short", "]d20109506000", VALUE_SHORT, 13),
        BAD(SCAN, "a serial and a lot in one", "]d2" G "2112345678901234567810LOT", VALUE_LONG, 41),
        BAD(SCAN, "7003 needs its separator", "]d2" G "700327123123590", VALUE_LONG, 33),
        BAD(SCAN, "422 needs its separator", "]d2" G "42227610L", VALUE_LONG, 25),
        BAD(SCAN, "a caret for the separator", "]d2" G "21S^10L", CHARSET, 22),
        BAD(SCAN, "a blank", "]d2" G "21S 1", CHARSET, 22),
        BAD(SCAN, "different repeats", "]d2" G "21S" GS "21T", DUPLICATE, 23),
        BAD(SCAN, "a serial without GTIN", "]d221S", REQUIRED, 3),
        BAD(SCAN, "UPUI and a serial", "]d2" G "21S" GS "235T", EXCLUDED, 19),
        BAD(SCAN, "weights with two decimal points", "]d2" G "3102000001" "3103000001", EXCLUDED, 19),
        BAD(SCAN, "EAN-13 of 12", "]E0950600013435", VALUE_SHORT, 15),
        BAD(SCAN, "EAN-13 of 14", "]E0" GTIN, VALUE_LONG, 16),
        BAD(SCAN, "EAN-13 with a wrong check digit", "]E09506000134353", CHECK_DIGIT, 15),
        BAD(SCAN, "EAN-8 with a letter", "]E4A2345670", CHARSET, 3),
        BAD(SCAN, "a caps-lock date", "]d2" G "17AABBCC", CHARSET, 21)
    };

    (void) state;

    sv_test_cases(cases, COUNT(cases));
}


static void
test_brackets(void **state)
{
    static const sv_test_case_t  cases[] = {
        GOOD(BRACKETS, "a medicine pack", PACK, PACK, ID "/01/" GTIN "/10/LOT/21/S1?17=271231"),
        GOOD(BRACKETS, "the key is printed first", "(21)S(01)" GTIN, "(01)" GTIN "(21)S", NULL),
        GOOD(BRACKETS, "an escaped bracket", "(01)" GTIN "(21)A\\(10)B", "(01)" GTIN "(21)A\\(10)B", ID "/01/" GTIN "/21/A%2810%29B"),
        GOOD(BRACKETS, "a bracket that begins no identifier", "(01)" GTIN "(21)A(1)(B)(", "(01)" GTIN "(21)A\\(1)\\(B)\\(", NULL),
        GOOD(BRACKETS, "an equal repeat", "(01)" GTIN "(21)S(21)S", "(01)" GTIN "(21)S", NULL),
        GOOD(BRACKETS, "a key whose company fits no link", "(8200)u(01)" GTIN, "(01)" GTIN "(8200)u", ""),
        GOOD(BRACKETS, "no key", "(99)x", "(99)x", "")
    };

    (void) state;

    sv_test_cases(cases, COUNT(cases));
}


static void
test_brackets_refused(void **state)
{
    static const sv_test_case_t  cases[] = {
        BAD(BRACKETS, "nothing", "", BRACKETS, 0),
        BAD(BRACKETS, "no brackets", "01" GTIN, BRACKETS, 0),
        BAD(BRACKETS, "empty brackets", "()x", BRACKETS, 0),
        BAD(BRACKETS, "one digit", "(1)x", BRACKETS, 0),
        BAD(BRACKETS, "five digits", "(12345)x", BRACKETS, 0),
        BAD(BRACKETS, "an open bracket", "(01", BRACKETS, 0),
        BAD(BRACKETS, "an unknown identifier", "(05)x", UNKNOWN_AI, 1),
        BAD(BRACKETS, "no value", "(01)" GTIN "(21)", EMPTY, 22),
        BAD(BRACKETS, "no value, then another", "(01)(21)x", EMPTY, 4),
        BAD(BRACKETS, "a lone backslash", "(01)" GTIN "(21)A\\", CHARSET, 23),
        BAD(BRACKETS, "a backslash after an escape", "(01)" GTIN "(21)\\(\\", CHARSET, 24),
        BAD(BRACKETS, "too long", "(01)" GTIN "(21)123456789012345678901", VALUE_LONG, 42),
        BAD(BRACKETS, "too long with an escape", "(01)" GTIN "(21)\\(23456789012345678901", VALUE_LONG, 43),
        BAD(BRACKETS, "different repeats", "(01)" GTIN "(21)S(21)T", DUPLICATE, 24),
        BAD(BRACKETS, "a serial alone", "(21)S", REQUIRED, 1)
    };

    (void) state;

    sv_test_cases(cases, COUNT(cases));
}


static void
test_separator_lost(void **state)
{
    size_t         offset, i;
    unsigned       ai;
    sv_gs1_data_t  data;

    static const struct {
        const char  *name, *text;
        unsigned     ai;            /* 0: nothing was lost */
    } cases[] = {
        {"a whole pack", "]d2" G "21S" GS "10L" GS "17271231", 0},
        {"the lot in the serial", "]d2" G "1727123121SER10LOT", 21},
        {"the serial in the lot", "]d2" G "1727123110LOT21SER", 10},
        {"the expiry in the lot", "]d2" G "21S" GS "10L17271231", 10},
        {"an expiry without day in the lot", "]d2" G "21S" GS "10L17271200", 10},
        {"all in the serial", "]d2" G "21S10L17271231", 21},
        {"all in the serial, expiry in the middle", "]d2" G "21S1727123110L", 21},
        {"a variant that swallowed", "]d2" G "1727123122V10L21S", 22},
        {"a serial too long by the lot", "]d2" G "172712312112345678901234567810LOT", 21},
        {"a serial that only holds the digits", "]d2" G "21A10", 0},
        {"a serial that begins so", "]d2" G "17271231" "2110A", 0},
        {"no lot, and none to see", "]d2" G "1727123121ABCDEF", 0},
        {"no expiry, the digits are no date", "]d2" G "10L" GS "21S17279931", 0},
        {"a GTIN alone", "]d2" G, 0},
        {"an SSCC", "]C100" SSCC, 0}
    };

    (void) state;

    for (i = 0; i < COUNT(cases); i++) {
        (void) sv_test_parse(0, SCAN, cases[i].text, strlen(cases[i].text), 0, &data, &offset);

        ai = 0;

        if (!sv_gs1_separator_lost(&data, &ai)) {
            ai = 0;
        }

        if (ai != cases[i].ai) {
            fail_msg("%s: %u instead of %u", cases[i].name, ai, cases[i].ai);
        }

        assert_int_equal(sv_gs1_separator_lost(&data, NULL), cases[i].ai != 0);
    }
}


static void
test_too_many(void **state)
{
    char           text[SV_TEXT];
    size_t         offset, len;
    unsigned       i, k;
    sv_gs1_data_t  data;

    /* measures take any number of others: 10 and 31n0 to 36n0, one of each family */

    static const char *const  families[] = {"31", "32", "33", "34", "35", "36"};

    (void) state;

    len = snprintf(text, sizeof(text), "]d2%s", G);

    for (i = 0; i < COUNT(families); i++) {
        for (k = 0; k < 10; k++) {
            if ((i == 0 && k > 6) || (i == 2 && k > 7) || (i == 4 && k > 7)) {
                continue;
            }

            len += snprintf(text + len, sizeof(text) - len, "%s%u0000001", families[i], k);
        }
    }

    assert_int_equal(sv_test_parse(0, SCAN, text, len, 0, &data, &offset), SV_GS1_OK);
    assert_int_equal(data.n, 54);

    for (i = 0; i < 9; i++) {
        len += snprintf(text + len, sizeof(text) - len, "9%ux" GS, i + 1);
    }

    len += snprintf(text + len, sizeof(text) - len, "10L");

    assert_int_equal(sv_test_parse(0, SCAN, text, len, 0, &data, &offset), SV_GS1_OK);
    assert_int_equal(data.n, SV_GS1_MAX_ELEMENTS);

    len += snprintf(text + len, sizeof(text) - len, GS "21S");

    assert_int_equal(sv_test_parse(0, SCAN, text, len, 0, &data, &offset), SV_GS1_ERR_TOO_MANY);
    assert_int_equal(offset, len - 3);
}


static void
test_access(void **state)
{
    size_t            offset;
    sv_gs1_data_t     data;
    const sv_span_t  *value;

    (void) state;

    assert_int_equal(sv_test_parse(0, BRACKETS, PACK, sizeof(PACK) - 1, 0, &data, &offset), SV_GS1_OK);

    value = sv_gs1_get(&data, 1);
    assert_non_null(value);
    assert_true(sv_gs1_gtin(*value) == UINT64_C(9506000134352));

    value = sv_gs1_get(&data, 21);
    assert_non_null(value);
    assert_true(sv_span_eq(*value, sv_span("S1")));
    assert_true(sv_gs1_gtin(*value) == 0);
    assert_true(sv_gs1_gtin(sv_span("0950600013435X")) == 0);
    assert_null(sv_gs1_get(&data, 22));
}


/* a separator after each value of variable length but the last */
static void
test_print_scan(void **state)
{
    char           out[100];
    size_t         i, offset;
    sv_gs1_data_t  data;

    static const char *const  scans[] = {
        "]d2" G "21S1" GS "10LOT" GS "17271231", "]d2" G "1727123110LOT" GS "21S1", "]d2" G, "]d290x"
    };

    (void) state;

    for (i = 0; i < COUNT(scans); i++) {
        assert_int_equal(sv_test_parse(0, SCAN, scans[i], strlen(scans[i]), 0, &data, &offset), SV_GS1_OK);
        assert_int_equal(sv_gs1_scan_print(&data, out, sizeof(out)), strlen(scans[i]));
        assert_string_equal(out, scans[i]);
    }
}


/* what does not fit is refused and leaves an empty string */
static void
test_print_bounds(void **state)
{
    int            len;
    char          *out;
    size_t         offset, cap;
    unsigned       i;
    sv_gs1_data_t  data;

    int  (*const prints[])(const sv_gs1_data_t *, char *, size_t) = {
        sv_gs1_brackets_print, sv_gs1_uri_print, sv_gs1_scan_print
    };

    static const char  text[] = "(01)" GTIN "(21)\\(/(17)271231";

    (void) state;

    assert_int_equal(sv_test_parse(0, BRACKETS, text, sizeof(text) - 1, 0, &data, &offset), SV_GS1_OK);

    out = (char *) sv_test_guarded(256);

    for (i = 0; i < COUNT(prints); i++) {
        len = prints[i](&data, out, 256);
        assert_true(len > 0);

        for (cap = 0; cap <= (size_t) len + 1; cap++) {
            memset(out, 'x', 256);
            assert_int_equal(prints[i](&data, out + 256 - cap, cap), cap > (size_t) len ? len : -1);

            if (cap) {
                assert_int_equal(strlen(out + 256 - cap), cap > (size_t) len ? (size_t) len : 0);
            }
        }
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_scans),
        cmocka_unit_test(test_scans_refused),
        cmocka_unit_test(test_brackets),
        cmocka_unit_test(test_brackets_refused),
        cmocka_unit_test(test_separator_lost),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_access),
        cmocka_unit_test(test_print_scan),
        cmocka_unit_test(test_print_bounds)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
