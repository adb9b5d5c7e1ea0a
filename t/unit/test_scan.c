#include "../../src/worker/svw_scan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>


typedef struct {
    const char  *text;
    uint64_t     gtin;
    const char  *serial;                /* NULL: refused */
    const char  *link;
} svw_case_t;


static const svw_case_t  cases[] = {
    { "https://example.com/01/09506000134352/10/L1/21/A%2FB?17=271231", 9506000134352, "A/B",
      "https://id.gs1.org/01/09506000134352/21/A%2FB" },
    { "/01/09506000134352/21/A1", 9506000134352, "A1", "https://id.gs1.org/01/09506000134352/21/A1" },
    { "(01)09506000134352(21)A1(10)L1", 9506000134352, "A1", "https://id.gs1.org/01/09506000134352/21/A1" },
    { "]d2010950600013435221A1", 9506000134352, "A1", "https://id.gs1.org/01/09506000134352/21/A1" },
    { "urn:epc:id:sgtin:950600.0013435.A%2F1", 9506000134352, "A/1", "https://id.gs1.org/01/09506000134352/21/A%2F1" },
    { "urn:epc:id:sscc:0614141.1234567890", 0, "106141412345678908", "https://id.gs1.org/00/106141412345678908" },
    { "106141412345678908", 0, "106141412345678908", "https://id.gs1.org/00/106141412345678908" },
    { "(00)106141412345678908", 0, "106141412345678908", "https://id.gs1.org/00/106141412345678908" },
    { "]C100106141412345678908", 0, "106141412345678908", "https://id.gs1.org/00/106141412345678908" },
    { "https://example.com/00/106141412345678908", 0, "106141412345678908", "https://id.gs1.org/00/106141412345678908" },
    { "106141412345678900", 0, NULL, NULL },
    { "https://example.com/01/09506000134352", 0, NULL, NULL },
    { "hello", 0, NULL, NULL },
    { "", 0, NULL, NULL },
};


static void
test_forms(void **state)
{
    char            link[SVW_LINK], gtin[24];
    size_t          i;
    const char     *wrong;
    svw_scanned_t   scanned;

    (void) state;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        wrong = svw_scan_item((sv_span_t) { (const uint8_t *) cases[i].text, strlen(cases[i].text) }, &scanned);

        if (cases[i].serial == NULL) {
            assert_non_null(wrong);
            continue;
        }

        if (wrong != NULL) {
            fail_msg("%s: %s", cases[i].text, wrong);
        }

        assert_int_equal(scanned.gtin, cases[i].gtin);
        assert_string_equal(scanned.serial, cases[i].serial);

        snprintf(gtin, sizeof(gtin), "%llu", (unsigned long long) scanned.gtin);
        svw_scan_link(link, gtin, scanned.serial);
        assert_string_equal(link, cases[i].link);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_forms),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
