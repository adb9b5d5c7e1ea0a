/* Digital Link URIs and request targets */

#include "test_gs1.h"


#define ID  "https://id.gs1.org"
#define G   "/01/" GTIN


static void
test_accepted(void **state)
{
    static const sv_test_case_t  cases[] = {
        GOOD(URI, "a GTIN alone", "https://example.com" G, "(01)" GTIN, ID G),
        GOOD(URI, "a whole pack", "https://example.com" G "/10/ABC/21/S1?17=271231", "(01)" GTIN "(10)ABC(21)S1(17)271231",
             ID G "/10/ABC/21/S1?17=271231"),
        GOOD(URI, "all qualifiers", "http://example.com" G "/22/v/10/l/21/s", "(01)" GTIN "(22)v(10)l(21)s", ID G "/22/v/10/l/21/s"),
        GOOD(URI, "a port", "http://example.com:8080" G, "(01)" GTIN, ID G),
        GOOD(URI, "an IPv6 host", "http://[2001:db8::1]:80" G, "(01)" GTIN, ID G),
        GOOD(URI, "a host ending in a dot", "http://example.com." G, "(01)" GTIN, ID G),
        GOOD(URI, "upper-case scheme", "HTTPS://EXAMPLE.COM" G, "(01)" GTIN, ID G),
        GOOD(URI, "a stem", "https://example.com/some/where" G, "(01)" GTIN, ID G),
        GOOD(URI, "the rightmost key counts", "https://example.com/01/12345678901231" G, "(01)" GTIN, ID G),
        GOOD(URI, "qualifiers left of the key are stem", "https://example.com/10/L/21/S" G, "(01)" GTIN, ID G),
        GOOD(URI, "one trailing slash", "https://example.com" G "/21/S/", "(01)" GTIN "(21)S", ID G "/21/S"),
        GOOD(URI, "trailing slash before a query", "https://example.com" G "/?17=271231", "(01)" GTIN "(17)271231", ID G "?17=271231"),
        GOOD(URI, "a fragment is no data", "https://example.com" G "#17=271231", "(01)" GTIN, ID G),
        GOOD(URI, "semicolons separate attributes", "https://example.com" G "?17=271231;11=270101", "(01)" GTIN "(17)271231(11)270101",
             ID G "?11=270101&17=271231"),
        GOOD(URI, "foreign parameters are passed over", "https://example.com" G "?utm_x=1&17=271231&linkType=all&&flag&17a=x&%31%37=y",
             "(01)" GTIN "(17)271231", ID G "?17=271231"),
        GOOD(URI, "the canonical query is sorted as text", "https://a" G "?99=z&3100=000001&17=271231&240=q",
             NULL, ID G "?17=271231&240=q&3100=000001&99=z"),
        GOOD(URI, "escapes are decoded once", "https://a" G "/10/A%252Fb%2fc", "(01)" GTIN "(10)A%2Fb/c", ID G "/10/A%252Fb%2Fc"),
        GOOD(URI, "raw sub-delimiters in the path", "https://a" G "/21/!&'()*+,:;=", "(01)" GTIN "(21)!&'\\()*+,:;=",
             ID G "/21/%21%26%27%28%29%2A%2B%2C%3A%3B%3D"),
        GOOD(URI, "markup in a serial", "https://a" G "/21/%3Cx%3E%22", "(01)" GTIN "(21)<x>\"", ID G "/21/%3Cx%3E%22"),
        GOOD(URI, "dots as a serial", "https://a" G "/21/..", "(01)" GTIN "(21)..", ID G "/21/.."),
        GOOD(URI, "a path as a serial", "https://a" G "/21/..%2F..%2Fstatus", "(01)" GTIN "(21)../../status", ID G "/21/..%2F..%2Fstatus"),
        GOOD(URI, "a percent sign as a serial", "https://a" G "/21/%25", "(01)" GTIN "(21)%", ID G "/21/%25"),
        GOOD(URI, "a serial that reads as a key", "https://a" G "/21/01", "(01)" GTIN "(21)01", ID G "/21/01"),
        GOOD(URI, "the longest serial", "https://a" G "/21/%3C2345678901234567890", NULL, NULL),
        GOOD(URI, "a value with = in the query", "https://a" G "?99=a=b", "(01)" GTIN "(99)a=b", ID G "?99=a%3Db"),
        GOOD(URI, "UPUI, and a lot that cannot join it in the path", "https://a" G "/235/T?10=L", "(01)" GTIN "(235)T(10)L", ID G "/235/T?10=L"),
        GOOD(URI, "ITIP with a variant", "https://a/8006/" GTIN "0102/22/v/21/s", "(8006)" GTIN "0102(22)v(21)s", ID "/8006/" GTIN "0102/22/v/21/s"),
        GOOD(URI, "SSCC with its contents", "https://a/00/006141411234567890?02=" GTIN "&37=2&10=L", NULL,
             ID "/00/006141411234567890?02=" GTIN "&10=L&37=2"),
        GOOD(URI, "GLN with extension", "https://a/414/9506000134352/254/x", "(414)9506000134352(254)x", ID "/414/9506000134352/254/x"),
        GOOD(URI, "facility with importer index", "https://a/414/9506000134352/7040/1AB-", NULL, ID "/414/9506000134352/7040/1AB-"),
        GOOD(URI, "GLN to pay to", "https://a/415/9506000134352/8020/R1", "(415)9506000134352(8020)R1", ID "/415/9506000134352/8020/R1"),
        GOOD(URI, "party", "https://a/417/9506000134352", "(417)9506000134352", ID "/417/9506000134352"),
        GOOD(URI, "service relation", "https://a/8018/095060001343520000/8019/17", NULL, ID "/8018/095060001343520000/8019/17"),
        GOOD(URI, "GDTI", "https://a/253/9506000134352X1", "(253)9506000134352X1", ID "/253/9506000134352X1"),
        GOOD(URI, "GCN", "https://a/255/950600013435212", "(255)950600013435212", ID "/255/950600013435212"),
        GOOD(URI, "GINC", "https://a/401/9506x", "(401)9506x", ID "/401/9506x"),
        GOOD(URI, "GSIN", "https://a/402/95060001343520000", "(402)95060001343520000", ID "/402/95060001343520000"),
        GOOD(URI, "GRAI", "https://a/8003/09506000134352s", "(8003)09506000134352s", ID "/8003/09506000134352s"),
        GOOD(URI, "GIAI", "https://a/8004/9506a", "(8004)9506a", ID "/8004/9506a"),
        GOOD(URI, "CPID with serial", "https://a/8010/9506-%2FA/8011/12", "(8010)9506-/A(8011)12", ID "/8010/9506-%2FA/8011/12"),
        GOOD(URI, "GMN", "https://a/8013/1987654Ad4X4bL5ttr2310c2K", NULL, ID "/8013/1987654Ad4X4bL5ttr2310c2K"),
        GOOD(URI, "another key as attribute", "https://a/414/9506000134352?417=9506000134352", NULL, ID "/414/9506000134352?417=9506000134352"),
        SHORT(URI, "GTIN-13 by permission", "https://a/01/9506000134352", "(01)" GTIN, ID G),
        SHORT(URI, "GTIN-12 by permission", "https://a/01/614141000036", "(01)00614141000036", NULL),
        SHORT(URI, "GTIN-8 by permission", "https://a/01/12345670", "(01)00000012345670", NULL),
        SHORT(URI, "short GTIN in escapes", "https://a/01/%31%32345670", "(01)00000012345670", NULL),
        GOOD(URI, "EPC binary, hexadecimal", "https://a/x/eh3074257bf7194e4000001a85", "(01)80614141123458(21)6789", ID "/01/80614141123458/21/6789"),
        GOOD(URI, "EPC binary, base64", "https://a/exMHQle_cZTkAAABqF?17=271231", "(01)80614141123458(21)6789(17)271231", NULL),
        GOOD(TARGET, "a request target", G "/21/a%2Fb", "(01)" GTIN "(21)a/b", ID G "/21/a%2Fb")
    };

    (void) state;

    sv_test_cases(cases, COUNT(cases));
}


static void
test_refused(void **state)
{
    static const sv_test_case_t  cases[] = {
        BAD(URI, "nothing", "", BAD_SCHEME, 0),
        BAD(URI, "another scheme", "ftp://a" G, BAD_SCHEME, 0),
        BAD(URI, "mixed-case scheme", "Https://a" G, BAD_SCHEME, 0),
        BAD(URI, "no host", "https://" G, BAD_HOST, 8),
        BAD(URI, "only a port", "https://:80" G, BAD_HOST, 8),
        BAD(URI, "user information", "https://u@a" G, BAD_HOST, 9),
        BAD(URI, "an underscore in the host", "https://a_b" G, BAD_HOST, 9),
        BAD(URI, "a non-ASCII host", "https://\xc3\xa4" G, BAD_HOST, 8),
        BAD(URI, "a host alone", "https://a", NOT_A_LINK, 9),
        BAD(URI, "no key", "https://a/10/L/21/S", NOT_A_LINK, 9),
        BAD(URI, "a key without a value", "https://a/01", NOT_A_LINK, 9),
        BAD(URI, "a key and a slash", "https://a/01/", NOT_A_LINK, 9),
        BAD(URI, "an escaped key is none", "https://a/%30%31/" GTIN, NOT_A_LINK, 9),
        BAD(URI, "one digit is no key", "https://a/1/" GTIN, NOT_A_LINK, 9),
        BAD(URI, "an empty value", "https://a/01//21/S", EMPTY, 13),
        BAD(URI, "two trailing slashes", "https://a" G "//", PATH_SEGMENT, 28),
        BAD(URI, "an empty serial", "https://a" G "/21//", EMPTY, 31),
        BAD(URI, "a stray segment", "https://a" G "/foo", PATH_SEGMENT, 28),
        BAD(URI, "a stray pair", "https://a" G "/foo/bar", PATH_SEGMENT, 28),
        BAD(URI, "a stray pair at the end", "https://a" G "/10/L/foo/bar", PATH_SEGMENT, 33),
        BAD(URI, "a qualifier without value", "https://a" G "/10/L/21", PATH_SEGMENT, 33),
        BAD(URI, "wrong order", "https://a" G "/21/S/10/L", PATH_ORDER, 33),
        BAD(URI, "UPUI with a lot before it", "https://a" G "/10/L/235/T", PATH_ORDER, 33),
        BAD(URI, "an attribute in the path", "https://a" G "/17/271231", PATH_QUALIFIER, 28),
        BAD(URI, "a qualifier of another key", "https://a/00/006141411234567890/21/S", PATH_QUALIFIER, 32),
        BAD(URI, "a qualifier twice", "https://a" G "/10/L/10/L", DUPLICATE, 33),
        BAD(URI, "path and query", "https://a" G "/10/L?10=L", DUPLICATE, 33),
        BAD(URI, "an attribute twice", "https://a" G "?17=271231&17=271231", DUPLICATE, 38),
        BAD(URI, "the key again", "https://a" G "?01=" GTIN, DUPLICATE, 28),
        BAD(URI, "a lot in the query", "https://a" G "?10=L", IN_PATH, 28),
        BAD(URI, "a serial in the query", "https://a" G "?21=S", IN_PATH, 28),
        BAD(URI, "a serial beside a GLN", "https://a/414/9506000134352?21=S", NO_ATTRIBUTE, 28),
        BAD(URI, "no such identifier", "https://a" G "?05=1", UNKNOWN_AI, 28),
        BAD(URI, "many digits", "https://a" G "?12345=1", UNKNOWN_AI, 28),
        BAD(URI, "one digit", "https://a" G "?9=1", UNKNOWN_AI, 28),
        BAD(URI, "a parameter without name", "https://a" G "?=1", QUERY_KEY, 28),
        BAD(URI, "a later parameter without name", "https://a" G "?a=1&=1", QUERY_KEY, 32),
        BAD(URI, "an attribute without value", "https://a" G "?17=", EMPTY, 31),
        BAD(URI, "a value too long by one", "https://a" G "/21/123456789012345678901", VALUE_LONG, 51),
        BAD(URI, "too long counted decoded", "https://a" G "/21/%3C23456789012345678901", VALUE_LONG, 53),
        BAD(URI, "a GTIN of 13", "https://a/01/9506000134352", VALUE_SHORT, 26),
        BAD(URI, "a GTIN of 15", "https://a/01/095060001343522", VALUE_LONG, 27),
        BAD(URI, "a wrong check digit", "https://a/01/09506000134353", CHECK_DIGIT, 26),
        BAD(URI, "a letter in a GTIN", "https://a/01/0950600013435X", CHARSET, 26),
        BAD(URI, "a day that is none", "https://a" G "?17=270229", DATE, 35),
        BAD(URI, "a month that is none", "https://a" G "?17=271331", DATE, 33),
        BAD(URI, "a broken escape", "https://a" G "/10/A%ZZ", BAD_ESCAPE, 32),
        BAD(URI, "an escape cut short", "https://a" G "/10/A%2", BAD_ESCAPE, 32),
        BAD(URI, "a percent sign at the end", "https://a" G "/10/A%", BAD_ESCAPE, 32),
        BAD(URI, "an escaped NUL", "https://a" G "/10/A%00", CHARSET, 32),
        BAD(URI, "an escaped separator", "https://a" G "/10/A%1D", CHARSET, 32),
        BAD(URI, "an escaped umlaut", "https://a" G "/10/%C3%A4", CHARSET, 31),
        BAD(URI, "a character after an escape", "https://a" G "/10/%41%5E", CHARSET, 34),
        BAD(URI, "a raw < in a value", "https://a" G "/10/A<", BAD_CHARACTER, 32),
        BAD(URI, "a raw blank in a value", "https://a" G "/10/A B", BAD_CHARACTER, 32),
        BAD(URI, "a raw byte in a foreign parameter", "https://a" G "?x=\xc3", BAD_CHARACTER, 30),
        BAD(URI, "a raw ^ in the stem", "https://a/^" G, BAD_CHARACTER, 10),
        BAD(URI, "a raw | in the fragment", "https://a" G "#|", BAD_CHARACTER, 28),
        BAD(URI, "+ is a blank in the query", "https://a" G "?99=A+B", CHARSET, 32),
        BAD(URI, "a tilde", "https://a" G "/10/~", CHARSET, 31),
        BAD(URI, "an attribute its key does not allow", "https://a" G "?37=1", EXCLUDED, 10),
        BAD(URI, "an attribute that lacks another", "https://a" G "?250=X", REQUIRED, 28),
        BAD(URI, "a GLN to pay to without reference", "https://a/415/9506000134352", REQUIRED, 10),
        BAD(URI, "EPC binary of another kind", "https://a/eh3574257bf7194e4000001a85", EPC_SCHEME, 10),
        BAD(URI, "EPC binary with a wrong partition", "https://a/eh307c257bf7194e4000001a85", EPC, 10),
        BAD(TARGET, "a stray segment after a wrong value", "/01/foo/bar", NOT_A_LINK, 0),
        BAD(TARGET, "a wholesaler's request with a lot named 01", "/verify/gtin/" GTIN "/lot/01/ser/S", NOT_A_LINK, 0),
        BAD(TARGET, "a wholesaler's request with a lot named 8004", "/verify/gtin/" GTIN "/lot/8004/ser/S", NOT_A_LINK, 0),
        BAD(TARGET, "a stray segment after an escaped value", "/8004/9506%41/x", PATH_SEGMENT, 14),
        BAD(TARGET, "the root", "/", NOT_A_LINK, 0),
        BAD(TARGET, "an asterisk", "*", NOT_A_LINK, 0),
        BAD(TARGET, "somebody's page", "/exports", NOT_A_LINK, 0),
        BAD(TARGET, "somebody's script", "/ehlers.html", NOT_A_LINK, 0)
    };

    (void) state;

    sv_test_cases(cases, COUNT(cases));
}


/* what a router and the operations need to know of the path */
static void
test_path(void **state)
{
    size_t         offset, i;
    sv_gs1_data_t  data;

    static const struct {
        const char  *text;
        unsigned     n_path, stem_pairs;
        const char  *stem;
    } cases[] = {
        {G, 1, 0, ""},
        {G "/10/L/21/S?17=271231", 3, 0, ""},
        {"/shop/de" G "/21/S/", 2, 0, "/shop/de"},
        {"/10/L/21/S" G, 1, 2, "/10/L/21/S"},
        {"/01/09506000134352/x" G, 1, 1, "/01/09506000134352/x"},
        {"/21" G, 1, 0, "/21"},
        {"/" G, 1, 0, "/"},
        {"/21/" G, 1, 0, "/21/"},
        {"/a/eh3074257bf7194e4000001a85", 2, 0, "/a"}
    };

    (void) state;

    for (i = 0; i < COUNT(cases); i++) {
        assert_int_equal(sv_test_parse(0, TARGET, cases[i].text, strlen(cases[i].text), 0, &data, &offset), SV_GS1_OK);
        assert_int_equal(data.n_path, cases[i].n_path);
        assert_int_equal(data.stem_pairs, cases[i].stem_pairs);
        assert_int_equal(data.stem.len, strlen(cases[i].stem));
        assert_memory_equal(data.stem.data, cases[i].stem, data.stem.len);
    }
}


static void
test_limits(void **state)
{
    char           text[SV_TEXT];
    size_t         offset, len;
    sv_gs1_data_t  data;

    (void) state;

    len = snprintf(text, sizeof(text), "%s?x=", G);
    memset(text + len, 'a', sizeof(text) - len);

    assert_int_equal(sv_test_parse(0, TARGET, text, SV_GS1_MAX_INPUT, 0, &data, &offset), SV_GS1_OK);
    assert_int_equal(sv_test_parse(0, TARGET, text, SV_GS1_MAX_INPUT + 1, 0, &data, &offset), SV_GS1_ERR_TOO_LONG);
    assert_int_equal(offset, SV_GS1_MAX_INPUT);

    /* a value as long as the input, with an escape: no more is written than a value may have */

    len = snprintf(text, sizeof(text), "%s/21/%%41", G);
    memset(text + len, 'a', sizeof(text) - len);

    assert_int_equal(sv_test_parse(0, TARGET, text, SV_GS1_MAX_INPUT, 0, &data, &offset), SV_GS1_ERR_VALUE_LONG);

    /* as many short GTINs as fit, each of them padded */

    for (len = 0; len < SV_GS1_MAX_INPUT - 14; len += 12) {
        memcpy(text + len, "/01/12345670", 12);
    }

    memcpy(text + len, "/x", 2);

    assert_int_equal(sv_test_parse(0, TARGET, text, len + 2, SV_GS1_SHORT_GTIN, &data, &offset), SV_GS1_ERR_PATH_SEGMENT);
    assert_int_equal(offset, len + 1);

    /* as many parameters as fit */

    len = snprintf(text, sizeof(text), "%s?", G);

    while (len < SV_GS1_MAX_INPUT - 4) {
        memcpy(text + len, "a=1&", 4);
        len += 4;
    }

    assert_int_equal(sv_test_parse(0, TARGET, text, len, 0, &data, &offset), SV_GS1_OK);

    /* the error may be asked for without its place */

    assert_int_equal(sv_test_parse(0, TARGET, "/", 1, 0, &data, NULL), SV_GS1_ERR_NOT_A_LINK);
}


/* pairs behind the key are counted before they are looked at */
static void
test_many_pairs(void **state)
{
    char            text[SV_TEXT];
    size_t          offset, len;
    unsigned        n;
    sv_gs1_data_t   data;
    sv_gs1_error_t  error;

    (void) state;

    len = snprintf(text, sizeof(text), "/x%s", G);

    for (n = 1; n < 40; n++) {
        error = sv_test_parse(0, TARGET, text, len, 0, &data, &offset);

        if (n > 16) {
            assert_int_equal(error, SV_GS1_ERR_TOO_MANY);
            assert_int_equal(offset, 3);

        } else if (n > 2) {
            assert_int_equal(error, SV_GS1_ERR_DUPLICATE);
            assert_int_equal(offset, 26);

        } else {
            assert_int_equal(error, SV_GS1_OK);
        }

        len += snprintf(text + len, sizeof(text) - len, "/10/L");
    }
}


static void
test_nul_bytes(void **state)
{
    size_t         offset;
    sv_gs1_data_t  data;

    (void) state;

    assert_int_equal(sv_test_parse(0, TARGET, G "/21/a\0b", sizeof(G "/21/a\0b") - 1, 0, &data, &offset), SV_GS1_ERR_BAD_CHARACTER);
    assert_int_equal(sv_test_parse(0, TARGET, "/\0" G, sizeof("/\0" G) - 1, 0, &data, &offset), SV_GS1_ERR_BAD_CHARACTER);
    assert_int_equal(sv_test_parse(0, TARGET, "\0", 1, 0, &data, &offset), SV_GS1_ERR_NOT_A_LINK);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_path),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_many_pairs),
        cmocka_unit_test(test_nul_bytes)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
