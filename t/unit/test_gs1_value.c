/* what may be in a value, identifier by identifier, and the table itself */

#include "test_gs1.h"

#include "src/gs1/sv_gs1_ai.h"
#include "src/gs1/sv_gs1_core.h"


#define G  "(01)" GTIN
#define S  "(00)006141411234567890"
#define P  "(8018)095060001343520000"


static void
test_good_values(void **state)
{
    size_t          i, offset;
    sv_gs1_data_t   data;
    sv_gs1_error_t  error;

    static const char *const  cases[] = {
        "(00)006141411234567890", "(402)95060001343520000", "(410)9506000134352", "(8003)09506000134352", "(8017)095060001343520000",
        "(01)00000000000000",
        G "(11)270100", G "(13)000229", G "(15)280229", G "(16)271231", G "(17)991231", G "(20)00", G "(30)1", G "(30)12345678",
        G "(242)123456", G "(3105)000001", G "(422)276", G "(423)276", G "(423)276040756380250", G "(425)276040", G "(426)004",
        G "(422)276(427)BY", G "(3922)1(3101)000001", G "(3922)123456789012345(30)1", G "(3932)9781(30)1", G "(3950)000001(30)1",
        G "(7001)1234567890123", G "(7003)2712312359", G "(7003)2701010000", G "(10)L(7004)1", G "(7006)271231", G "(7007)271231",
        G "(7007)271231280101", G "(7010)ab", G "(7011)271231", G "(7011)2712312359", G "(7030)276x", G "(7039)999abc", G "(7230)ab1",
        G "(7021)x(7022)y", G "(8001)12341234512319", G "(8001)00010000100100", G "(8005)123456", G "(8008)27123123",
        G "(8008)2712312359", G "(8008)271231235959", G "(8009)x", G "(8012)v", G "(8014)1987654Ad4X4bL5ttr2310c2K", G "(8200)https:x",
        G "(21)s(250)x", G "(251)x", G "(416)9506000134352(7020)r", G "(235)t",
        G "(21)s(8030)aB-_5=", G "(21)s(8030)a==", G "(21)s(8030)-_", G "(90)x", G "(99)x",
        "(02)" GTIN "(37)12(00)006141411234567890(10)L", "(03)" GTIN "(21)s", "(8006)" GTIN "0101", "(8006)" GTIN "9999(21)s",
        "(8006)" GTIN "0102(22)v", "(8026)" GTIN "0102(37)1(00)006141411234567890",
        "(253)9506000134352", "(253)9506000134352ABCDEFGHIJKLMNOPQ", "(255)9506000134352", "(255)9506000134352123456789012",
        "(253)9506000134352x(8030)a", "(401)9506", "(8004)0000", "(8010)9506#/-A", "(8010)9506(8011)1", "(8010)9506(8011)10",
        "(415)9506000134352(8020)r(3900)1", "(415)9506000134352(8020)r(3912)9781", "(255)9506000134352(3940)0010",
        "(255)9506000134352(8111)0010",
        "(415)9506000134352(8020)r(12)271231", "(415)9506000134352(8020)r(8007)DE91100000000123456789",
        "(415)9506000134352(8020)r(8007)GB98MIDL07009312345678", "(415)9506000134352(8020)r(8007)NO751234567",
        "(420)x", "(421)276x", "(400)x",
        S "(403)x", S "(4300)a%20b", S "(4302)a(4303)%C3%A4", S "(4307)DE", S "(4317)ZW", S "(4309)18000000003600000000",
        S "(4309)00000000000000000000",
        S "(4321)0", S "(4322)1", S "(4324)2712312359", S "(4325)2712000000", S "(4326)271231", S "(4330)001234",
        S "(4333)001234-", S "(7041)1A",
        S "(7041)8", S "(7041)X11", S "(7041)ZZ", S "(7041)APE", "(414)9506000134352(7040)1AB-", "(414)9506000134352(7040)1ABz",
        P "(7241)01", P "(7241)99", P "(7250)20000229", P "(7251)199912312359", P "(7252)9", P "(7253)%41", P "(7258)1/1(7259)b",
        P "(7258)1/9(7259)b",
        P "(8019)1", P "(7256)x", "(8013)1987654Ad4X4bL5ttr2310c2K", "(8013)12345678901234567890123NT", "(7023)1234x",
        "(8110)106141416543213150110120", "(8110)106141416543213150110120" "3271231" "4270101",
        "(8110)106141416543213150110120" "51123456" "7",
        "(8110)106141416543213150110120" "101234569", "(8110)106141416543213150110120" "101234560123456" "21234569",
        "(8110)106141416543213150110120" "21234566123456789012", "(8110)106141416543213150110120" "611234567" "90051",
        "(8112)001234561234560123456", "(8112)061234567890121234569123456789012345"
    };

    (void) state;

    for (i = 0; i < COUNT(cases); i++) {
        error = sv_test_parse(0, BRACKETS, cases[i], strlen(cases[i]), 0, &data, &offset);

        if (error) {
            fail_msg("\"%s\" gives %s at %zu", cases[i], sv_gs1_error_code(error), offset);
        }
    }
}


static void
test_bad_values(void **state)
{
    static const sv_test_case_t  cases[] = {
        BAD(BRACKETS, "SSCC check digit", "(00)006141411234567891", CHECK_DIGIT, 21),
        BAD(BRACKETS, "GRAI without its zero", "(8003)19506000134352", ZERO, 6),
        BAD(BRACKETS, "GRAI check digit", "(8003)09506000134353", CHECK_DIGIT, 19),
        BAD(BRACKETS, "GDTI with a bad serial", "(253)9506000134352 ", CHARSET, 18),
        BAD(BRACKETS, "GCN with a letter", "(255)9506000134352X", CHARSET, 18),
        BAD(BRACKETS, "GIAI without prefix", "(8004)950x", COMPANY_PREFIX, 9),
        BAD(BRACKETS, "GINC too short for a prefix", "(401)950", COMPANY_PREFIX, 8),
        BAD(BRACKETS, "CPID in small letters", "(8010)9506a", CHARSET, 10),
        BAD(BRACKETS, "CPID serial with a leading zero", "(8010)9506(8011)01", ZERO, 16),
        BAD(BRACKETS, "CPID serial 0", "(8010)9506(8011)0", ZERO, 16),
        BAD(BRACKETS, "GMN check pair", "(8013)1987654Ad4X4bL5ttr2310cXK", CHECK_PAIR, 29),
        BAD(BRACKETS, "GMN second check character", "(8013)1987654Ad4X4bL5ttr2310c2X", CHECK_PAIR, 29),
        BAD(BRACKETS, "GMN too short", "(8013)2K", VALUE_SHORT, 8),
        BAD(BRACKETS, "GMN without prefix", "(8013)!22", COMPANY_PREFIX, 6),
        BAD(BRACKETS, "MUDI check pair", G "(8014)0000022", CHECK_PAIR, 29),
        BAD(BRACKETS, "MUDI of digits only", G "(8014)95060000000262", CHARSET, 24),
        BAD(BRACKETS, "expiry: day 32", G "(17)271232", DATE, 26),
        BAD(BRACKETS, "expiry: month 0", G "(17)270001", DATE, 24),
        BAD(BRACKETS, "expiry: 29 February of a common year", G "(17)270229", DATE, 26),
        BAD(BRACKETS, "7003: day 0", G "(7003)2712000000", DATE, 28),
        BAD(BRACKETS, "7003: hour 24", G "(7003)2712312400", TIME, 30),
        BAD(BRACKETS, "7003: minute 60", G "(7003)2712312360", TIME, 32),
        BAD(BRACKETS, "7007: half a second date", G "(7007)2712312801", VALUE_SHORT, 34),
        BAD(BRACKETS, "7007: a bad second date", G "(7007)271231271301", DATE, 32),
        BAD(BRACKETS, "8008: hour 24", G "(8008)27123124", TIME, 30),
        BAD(BRACKETS, "8008: minute 60", G "(8008)2712312360", TIME, 32),
        BAD(BRACKETS, "8008: second 60", G "(8008)271231235960", TIME, 34),
        BAD(BRACKETS, "8008: half a minute", G "(8008)271231235", VALUE_SHORT, 33),
        BAD(BRACKETS, "birth: 29 February 1900", P "(7250)19000229", DATE, 36),
        BAD(BRACKETS, "country 000", G "(422)000", COUNTRY, 23),
        BAD(BRACKETS, "country 999 in 422", G "(422)999", COUNTRY, 23),
        BAD(BRACKETS, "second country", G "(423)276999", COUNTRY, 26),
        BAD(BRACKETS, "half a country", G "(423)27604", VALUE_SHORT, 28),
        BAD(BRACKETS, "processor without text", G "(7030)276", VALUE_SHORT, 27),
        BAD(BRACKETS, "country XX", S "(4307)XX", COUNTRY, 28),
        BAD(BRACKETS, "currency 000", G "(30)1(3932)0001", CURRENCY, 29),
        BAD(BRACKETS, "piece 3 of 2", "(8006)" GTIN "0302", PIECE, 20),
        BAD(BRACKETS, "piece 0", "(8006)" GTIN "0002", PIECE, 20),
        BAD(BRACKETS, "of 0", "(8006)" GTIN "0000", PIECE, 20),
        BAD(BRACKETS, "IBAN check digits", "(415)9506000134352(8020)r(8007)DE91100000000123456780", IBAN, 33),
        BAD(BRACKETS, "IBAN country", "(415)9506000134352(8020)r(8007)XX361234567890", IBAN, 31),
        BAD(BRACKETS, "IBAN in small letters", "(415)9506000134352(8020)r(8007)DE9110000000012345678x", IBAN, 52),
        BAD(BRACKETS, "IBAN too short", "(415)9506000134352(8020)r(8007)NO09123456", IBAN, 31),
        BAD(BRACKETS, "roll of width 0", G "(8001)00001234512310", ZERO, 24),
        BAD(BRACKETS, "winding 2", G "(8001)12341234512320", CODE_LIST, 36),
        BAD(BRACKETS, "yes, no, 2", S "(4321)2", CODE_LIST, 28),
        BAD(BRACKETS, "sex 3", P "(7252)3", CODE_LIST, 30),
        BAD(BRACKETS, "medium 11", P "(7241)11", CODE_LIST, 30),
        BAD(BRACKETS, "package 1Z", S "(7041)1Z", CODE_LIST, 28),
        BAD(BRACKETS, "package *", S "(7041)8*", CODE_LIST, 28),
        BAD(BRACKETS, "package with a blank list", S "(7041)0", CODE_LIST, 28),
        BAD(BRACKETS, "temperature with a plus", S "(4330)001234+", CHARSET, 34),
        BAD(BRACKETS, "importer index", "(414)9506000134352(7040)1AB+", CHARSET, 27),
        BAD(BRACKETS, "importer index =", "(414)9506000134352(7040)1AB=", CHARSET, 27),
        BAD(BRACKETS, "text escape", S "(4300)a%2", VALUE_ESCAPE, 29),
        BAD(BRACKETS, "text escape, no digits", S "(4300)%zz", VALUE_ESCAPE, 28),
        BAD(BRACKETS, "latitude", S "(4309)18000000010000000000", POSITION, 28),
        BAD(BRACKETS, "longitude", S "(4309)00000000003600000001", POSITION, 38),
        BAD(BRACKETS, "third of two", P "(7258)3/2(7259)b", SEQUENCE, 30),
        BAD(BRACKETS, "sequence without slash", P "(7258)112(7259)b", SEQUENCE, 30),
        BAD(BRACKETS, "coupon: a letter", "(8110)1061414165432131501101X0", COUPON, 28),
        BAD(BRACKETS, "coupon: cut short", "(8110)10614141654321315011012", COUPON, 27),
        BAD(BRACKETS, "coupon: a bad day", "(8110)1061414165432131501101203271331", COUPON, 31),
        BAD(BRACKETS, "coupon: ends before it starts", "(8110)10614141654321315011012032701014271231", COUPON, 44),
        BAD(BRACKETS, "coupon: excess", "(8110)1061414165432131501101208", COUPON, 30),
        BAD(BRACKETS, "coupon: length of a prefix", "(8110)10614141654321315011012021234567", COUPON, 37),
        BAD(BRACKETS, "coupon: a rule that is none", "(8110)1061414165432131501101201412345", COUPON, 31),
        BAD(BRACKETS, "coupon: a flag that is none", "(8110)10614141654321315011012090351", COUPON, 32),
        BAD(BRACKETS, "coupon: a retailer cut short", "(8110)106141416543213150110120611", COUPON, 32),
        BAD(BRACKETS, "coupon: a day cut short", "(8110)106141416543213150110120327", COUPON, 31),
        BAD(BRACKETS, "offer: format 2", "(8112)201234561234560123456", COUPON, 6),
        BAD(BRACKETS, "offer: excess", "(8112)0012345612345601234567", COUPON, 27),
        BAD(BRACKETS, "signature in other characters", G "(21)s(8030)a+b", CHARSET, 30),
        BAD(BRACKETS, "signature with padding in the middle", G "(21)s(8030)a=b", CHARSET, 30),
        BAD(BRACKETS, "signature with too much padding", G "(21)s(8030)aaa===", CHARSET, 32),
        BAD(BRACKETS, "signature with wrong padding", G "(21)s(8030)aaa=", CHARSET, 32),
        BAD(BRACKETS, "signature of padding", G "(21)s(8030)===", CHARSET, 29),
        BAD(BRACKETS, "signature of a document without serial", "(253)9506000134352(8030)a", SERIAL_MISSING, 19)
    };

    (void) state;

    sv_test_cases(cases, COUNT(cases));
}


static void
test_company(void **state)
{
    static const sv_test_case_t  cases[] = {
        BAD(BRACKETS, "a lot alone", "(10)L", REQUIRED, 1),
        BAD(BRACKETS, "an expiry alone", "(17)271231", REQUIRED, 1),
        BAD(BRACKETS, "a count beside a GTIN", G "(37)1", EXCLUDED, 1),
        BAD(BRACKETS, "contents without a count", "(02)" GTIN, REQUIRED, 1),
        BAD(BRACKETS, "contents and GTIN", "(02)" GTIN G "(37)1", EXCLUDED, 1),
        BAD(BRACKETS, "a count without an SSCC", "(02)" GTIN "(37)1", REQUIRED, 19),
        BAD(BRACKETS, "serial and UPUI", G "(21)S(235)T", EXCLUDED, 19),
        BAD(BRACKETS, "second serial without serial", G "(250)x", REQUIRED, 19),
        BAD(BRACKETS, "GLN extension without GLN", "(254)x", REQUIRED, 1),
        BAD(BRACKETS, "two prices", G "(30)1(3922)1(3932)9781", EXCLUDED, 24),
        BAD(BRACKETS, "a price without measure", G "(3922)1", REQUIRED, 19),
        BAD(BRACKETS, "two ISO prices", G "(30)1(3931)9781(3932)9781", EXCLUDED, 24),
        BAD(BRACKETS, "origin and full processing", G "(422)276(426)276", EXCLUDED, 19),
        BAD(BRACKETS, "subdivision without origin", G "(427)BY", REQUIRED, 19),
        BAD(BRACKETS, "two temperatures", S "(4330)000001(4331)000001", EXCLUDED, 23),
        BAD(BRACKETS, "potency without lot", G "(7004)1", REQUIRED, 19),
        BAD(BRACKETS, "provider and recipient", "(8017)095060001343520000" P, EXCLUDED, 1),
        BAD(BRACKETS, "signature without serial", G "(8030)a", REQUIRED, 19),
        BAD(BRACKETS, "signature of an item", G "(21)s(8030)a(8010)9506(8011)1(37)1", EXCLUDED, 1),
        BAD(BRACKETS, "birth sequence without baby", P "(7258)1/2", REQUIRED, 25),
        GOOD(BRACKETS, "two families of measures", G "(3100)000001(3110)000001", NULL, NULL)
    };

    (void) state;

    sv_test_cases(cases, COUNT(cases));
}


static void
test_table(void **state)
{
    char                    digits[5];
    unsigned                i, k, n, least, most;
    const sv_gs1_ai_t      *ai;
    const sv_gs1_format_t  *format;

    (void) state;

    ai = sv_gs1_ai_table(&n);
    assert_true(n > 500);

    for (i = 0; i < n; i++) {
        format = &sv_gs1_formats[ai[i].format];

        assert_int_equal(strlen(ai[i].code), ai[i].digits);
        assert_int_equal(strtoul(ai[i].code, NULL, 10), ai[i].number);
        assert_true(i == 0 || strcmp(ai[i - 1].code, ai[i].code) < 0);

        assert_ptr_equal(sv_gs1_ai_code((const uint8_t *) ai[i].code, ai[i].digits), &ai[i]);
        assert_ptr_equal(sv_gs1_ai_prefix((const uint8_t *) ai[i].code, ai[i].digits), &ai[i]);
        assert_ptr_equal(sv_gs1_ai_number(ai[i].number), &ai[i]);

        least = 0;
        most = 0;

        for (k = 0; k < SV_GS1_MAX_PARTS && format->part[k].max; k++) {
            least += format->part[k].optional ? 0 : format->part[k].min;
            most += format->part[k].max;
        }

        assert_int_equal(format->min, least);
        assert_int_equal(format->max, most);

        if (ai[i].flags & SV_GS1_FIXED) {
            assert_int_equal(least, most);
        }

        if (ai[i].flags & SV_GS1_KEY) {
            assert_true(ai[i].flags & SV_GS1_ATTRIBUTE);
        }
    }

    for (i = 0; i < 10000; i++) {
        for (k = 2; k <= 4; k++) {
            if (snprintf(digits, sizeof(digits), "%0*u", (int) k, i) != (int) k) {
                continue;
            }

            ai = sv_gs1_ai_code((const uint8_t *) digits, k);
            assert_true(ai == NULL || (ai->number == i && ai->digits == k));
        }
    }

    assert_null(sv_gs1_ai_code((const uint8_t *) "0", 1));
    assert_null(sv_gs1_ai_code((const uint8_t *) "01234", 5));
    assert_null(sv_gs1_ai_code((const uint8_t *) "0x", 2));
    assert_null(sv_gs1_ai_prefix((const uint8_t *) "3x", 2));
    assert_null(sv_gs1_ai_number(10000));
    assert_null(sv_gs1_ai_number(9));
}


/* the predefined lengths of the General Specifications: no others go without separator */
static void
test_fixed_lengths(void **state)
{
    size_t              k;
    unsigned            i, n;
    const sv_gs1_ai_t  *ai;

    static const struct {
        const char  *prefix;
        unsigned     length;    /* with the identifier */
    } fixed[] = {
        {"00", 20}, {"01", 16}, {"02", 16}, {"03", 16}, {"04", 18}, {"11", 8}, {"12", 8}, {"13", 8}, {"14", 8}, {"15", 8}, {"16", 8},
        {"17", 8}, {"18", 8}, {"19", 8}, {"20", 4}, {"31", 10}, {"32", 10}, {"33", 10}, {"34", 10}, {"35", 10}, {"36", 10}, {"41", 16}
    };

    (void) state;

    ai = sv_gs1_ai_table(&n);

    for (i = 0; i < n; i++) {

        for (k = 0; k < COUNT(fixed) && strncmp(ai[i].code, fixed[k].prefix, 2) != 0; k++) { /* void */ }

        assert_int_equal((ai[i].flags & SV_GS1_FIXED) != 0, k < COUNT(fixed));

        if (k < COUNT(fixed)) {
            assert_int_equal(ai[i].digits + sv_gs1_formats[ai[i].format].max, fixed[k].length);
        }
    }
}


static void
test_character_sets(void **state)
{
    int  c;

    static const char  x[] = "!\"%&'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";
    static const char  y[] = "#-/0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    static const char  unreserved[] = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    static const char  refused[] = " \"<>\\^`{|}";

    (void) state;

    assert_int_equal(strlen(x), 82);
    assert_int_equal(strlen(y), 39);

    for (c = 0; c < 256; c++) {
        assert_int_equal((sv_gs1_class[c] & SV_GS1_N) != 0, c >= '0' && c <= '9');
        assert_int_equal((sv_gs1_class[c] & SV_GS1_X) != 0, c && strchr(x, c) != NULL);
        assert_int_equal((sv_gs1_class[c] & SV_GS1_Y) != 0, c && strchr(y, c) != NULL);
        assert_int_equal((sv_gs1_class[c] & SV_GS1_UNRESERVED) != 0, c && strchr(unreserved, c) != NULL);
        assert_int_equal((sv_gs1_class[c] & SV_GS1_RAW_URI) != 0, c > ' ' && c < 0x7f && strchr(refused, c) == NULL);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_good_values),
        cmocka_unit_test(test_bad_values),
        cmocka_unit_test(test_company),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_fixed_lengths),
        cmocka_unit_test(test_character_sets)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
