/* EPC URNs both ways, and binary EPCs in links */

#include "test_gs1.h"


static void
test_urns(void **state)
{
    static const sv_test_case_t  cases[] = {
        GOOD(URN, "SGTIN", "urn:epc:id:sgtin:0614141.812345.6789", "(01)80614141123458(21)6789", "https://id.gs1.org/01/80614141123458/21/6789"),
        GOOD(URN, "SGTIN with a prefix of 12", "urn:epc:id:sgtin:061414112345.8.1", "(01)80614141123458(21)1", NULL),
        GOOD(URN, "SGTIN with a prefix of 6", "urn:epc:id:sgtin:061414.8112345.1", "(01)80614141123458(21)1", NULL),
        GOOD(URN, "escapes in the serial", "urn:epc:id:sgtin:0614141.812345.a%2Fb%25%22", "(01)80614141123458(21)a/b%\"", NULL),
        GOOD(URN, "dots in the serial", "urn:epc:id:sgtin:0614141.812345.1.2.3", "(01)80614141123458(21)1.2.3", NULL),
        GOOD(URN, "a class of trade items", "urn:epc:idpat:sgtin:0614141.812345.*", "(01)80614141123458", NULL),
        GOOD(URN, "LGTIN", "urn:epc:class:lgtin:0614141.812345.L-1", "(01)80614141123458(10)L-1", NULL),
        GOOD(URN, "SSCC", "urn:epc:id:sscc:0614141.1234567890", "(00)106141412345678908", NULL),
        GOOD(URN, "SGLN with extension", "urn:epc:id:sgln:0614141.12345.400", "(414)0614141123452(254)400", NULL),
        GOOD(URN, "SGLN without extension", "urn:epc:id:sgln:0614141.12345.0", "(414)0614141123452", NULL),
        GOOD(URN, "SGLN with an escaped 0", "urn:epc:id:sgln:0614141.12345.%30", "(414)0614141123452", NULL),
        GOOD(URN, "SGLN of a long prefix", "urn:epc:id:sgln:061414112345..0", "(414)0614141123452", NULL),
        GOOD(URN, "upper-case scheme", "URN:EPC:id:sgtin:0614141.812345.6789", "(01)80614141123458(21)6789", NULL),
        BAD(URN, "nothing", "", URN, 0),
        BAD(URN, "another URN", "urn:isbn:0451450523", URN, 4),
        BAD(URN, "a GRAI", "urn:epc:id:grai:0614141.12345.400", URN_SCHEME, 8),
        BAD(URN, "a tag", "urn:epc:tag:sgtin-96:1.0614141.812345.6789", URN_SCHEME, 8),
        BAD(URN, "a prefix of 5", "urn:epc:id:sgtin:06141.81234500.1", URN, 22),
        BAD(URN, "a prefix of 13", "urn:epc:id:sgtin:0614141123456.8.1", URN, 30),
        BAD(URN, "a letter in the prefix", "urn:epc:id:sgtin:06X4141.812345.1", URN, 19),
        BAD(URN, "a reference too short", "urn:epc:id:sgtin:0614141.81234.1", URN, 30),
        BAD(URN, "no serial", "urn:epc:id:sgtin:0614141.812345", URN, 31),
        BAD(URN, "an empty serial", "urn:epc:id:sgtin:0614141.812345.", EMPTY, 32),
        BAD(URN, "a serial too long", "urn:epc:id:sgtin:0614141.812345.123456789012345678901", VALUE_LONG, 32),
        BAD(URN, "a raw slash in the serial", "urn:epc:id:sgtin:0614141.812345.a/b", BAD_CHARACTER, 33),
        BAD(URN, "a broken escape", "urn:epc:id:sgtin:0614141.812345.a%2", BAD_ESCAPE, 33),
        BAD(URN, "an escaped NUL", "urn:epc:id:sgtin:0614141.812345.%00", CHARSET, 32),
        BAD(URN, "more after an SSCC", "urn:epc:id:sscc:0614141.1234567890.1", URN, 34),
        BAD(URN, "a class with a serial", "urn:epc:idpat:sgtin:0614141.812345.1", URN, 35)
    };

    (void) state;

    sv_test_cases(cases, COUNT(cases));
}


static void
test_long_urn(void **state)
{
    char           text[2000];
    size_t         offset;
    sv_gs1_data_t  data;

    (void) state;

    memset(text, 'a', sizeof(text));
    memcpy(text, "urn:epc:id:sgtin:0614141.812345.", 32);

    assert_int_equal(sv_test_parse(0, URN, text, sizeof(text), 0, &data, &offset), SV_GS1_ERR_VALUE_LONG);
}


static void
test_print(void **state)
{
    char           out[200];
    int            len;
    size_t         i, offset;
    sv_gs1_data_t  data;

    static const struct {
        const char  *brackets;
        unsigned     prefix;
        const char  *urn;           /* NULL: there is none */
    } cases[] = {
        {"(01)80614141123458(21)6789", 7, "urn:epc:id:sgtin:0614141.812345.6789"},
        {"(01)80614141123458(21)6789", 12, "urn:epc:id:sgtin:061414112345.8.6789"},
        {"(01)80614141123458(21)a/b(10)L", 7, "urn:epc:id:sgtin:0614141.812345.a%2Fb"},
        {"(01)80614141123458(10)<>", 7, "urn:epc:class:lgtin:0614141.812345.%3C%3E"},
        {"(01)80614141123458", 7, "urn:epc:idpat:sgtin:0614141.812345.*"},
        {"(00)106141412345678908", 7, "urn:epc:id:sscc:0614141.1234567890"},
        {"(414)0614141123452(254)400", 7, "urn:epc:id:sgln:0614141.12345.400"},
        {"(414)0614141123452", 12, "urn:epc:id:sgln:061414112345..0"},
        {"(414)0614141123452(254)0", 7, NULL},
        {"(01)80614141123458", 5, NULL},
        {"(01)80614141123458", 13, NULL},
        {"(8004)0614141x", 7, NULL}
    };

    (void) state;

    for (i = 0; i < COUNT(cases); i++) {
        assert_int_equal(sv_test_parse(0, BRACKETS, cases[i].brackets, strlen(cases[i].brackets), 0, &data, &offset), SV_GS1_OK);

        len = sv_gs1_urn_print(&data, cases[i].prefix, out, sizeof(out));

        if (cases[i].urn == NULL) {
            assert_int_equal(len, -1);
            continue;
        }

        assert_string_equal(out, cases[i].urn);
        assert_int_equal(len, strlen(out));
        assert_int_equal(sv_gs1_urn_print(&data, cases[i].prefix, out, len), -1);
        assert_int_equal(sv_gs1_urn_print(&data, cases[i].prefix, out, len + 1), len);
    }
}


static void
test_binary(void **state)
{
    static const sv_test_case_t  cases[] = {
        GOOD(TARGET, "SGTIN-96", "/eh3074257bf7194e4000001a85", "(01)80614141123458(21)6789", NULL),
        GOOD(TARGET, "with a stem", "/a/b/eh3074257bf7194e4000001a85", "(01)80614141123458(21)6789", NULL),
        GOOD(TARGET, "with a trailing slash", "/eh3074257bf7194e4000001a85/", "(01)80614141123458(21)6789", NULL),
        GOOD(TARGET, "another filter", "/eh30f4257bf7194e4000001a85", "(01)80614141123458(21)6789", NULL),
        GOOD(TARGET, "with attributes", "/eh3074257bf7194e4000001a85?17=271231", "(01)80614141123458(21)6789(17)271231", NULL),
        GOOD(TARGET, "serial 0", "/eh3074257bf7194e4000000000", "(01)80614141123458(21)0", NULL),
        GOOD(TARGET, "the greatest serial", "/eh3074257bf7194e7fffffffff", "(01)80614141123458(21)274877906943", NULL),
        GOOD(TARGET, "SSCC-96", "/eh3174257bf4499602d2000000", "(00)106141412345678908", "https://id.gs1.org/00/106141412345678908"),
        GOOD(TARGET, "base64", "/exMHQle_cZTkAAABqF", "(01)80614141123458(21)6789", NULL),
        BAD(TARGET, "upper-case digits", "/eh3074257BF7194E4000001A85", NOT_A_LINK, 0),
        BAD(TARGET, "partition 7", "/eh307c257bf7194e4000001a85", EPC, 1),
        BAD(TARGET, "a prefix that is too great", "/eh30603fffffffff4000001a85", EPC, 1),
        BAD(TARGET, "a reference that is too great", "/eh3074257bf7ffffc000001a85", EPC, 1),
        BAD(TARGET, "an SSCC with data behind it", "/eh3174257bf4499602d2000001", EPC, 1),
        BAD(TARGET, "a GRAI-96", "/eh3374257bf40c0e4000001a85", EPC_SCHEME, 1),
        BAD(TARGET, "another length", "/eh3074257bf7194e4000001a8500", EPC_SCHEME, 1),
        BAD(TARGET, "an odd number of digits", "/eh3074257bf7194e4000001a8", NOT_A_LINK, 0),
        BAD(TARGET, "base64 of something else", "/exAAAAAAAAAAAAAAAA", NOT_A_LINK, 0),
        BAD(TARGET, "no base64", "/exMHQle_cZTkAAABq.", NOT_A_LINK, 0),
        BAD(TARGET, "no EPC at all", "/ea3074257bf7194e4000001a85", NOT_A_LINK, 0)
    };

    (void) state;

    sv_test_cases(cases, COUNT(cases));
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_urns),
        cmocka_unit_test(test_long_urn),
        cmocka_unit_test(test_print),
        cmocka_unit_test(test_binary)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
