/* identifier_mismatch: what nothing explains asks; what a scanner, a typist, an echo or an upload explains does not */

#include "sv_test_rules.h"


#define MADE  "{\"type\":\"commission\",\"lot\":\"LOT7y\",\"expiry\":\"281231\",\"line\":\"A\"," \
              "\"serials\":[\"K7QPM4TN2\",\"aBcDeY9\",\"S3\",\"S4\",\"S5\"]}"
#define UNLISTED  "{\"type\":\"commission\",\"lot\":\"L464Z\",\"expiry\":\"281231\",\"line\":\"A\"}"
#define SITE  "\"actor_kind\":\"pharmacy\",\"actor\":\"P1\",\"entry_mode\":\"scanned\""
#define TYPED "\"actor_kind\":\"pharmacy\",\"actor\":\"P1\",\"entry_mode\":\"manual\""


static sv_rules_t  r;


/* one scan after the commissioning; its case */
static const sv_rules_case_t *
one(const char *members)
{
    sv_rules_begin(&r);
    sv_rules_line(&r, MADE);
    sv_rules_line(&r, "{%s}", members);
    sv_rules_end(&r);

    return sv_rules_case(&r, "identifier_mismatch");
}


static void
explained(const char *members, const char *cause)
{
    const sv_rules_case_t  *c;

    c = one(members);

    if (c == NULL || c->weight != SVW_WEIGHT_EXPLAINED || strcmp(c->cause, cause) != 0) {
        fail_msg("%s: %s", members, c == NULL ? "nothing" : c->cause);
    }

    sv_rules_refs(c, 1, 2);
}


/* What contradicts a record has it as evidence. */
static void
asks(const char *members, svw_severity_t severity)
{
    const sv_rules_case_t  *c;

    c = one(members);

    if (c == NULL || c->weight != SVW_WEIGHT_ASKS || c->severity != severity) {
        fail_msg("%s: %s", members, c == NULL ? "nothing" : c->cause);
    }

    if (strstr(members, "_mismatch") != NULL) {
        sv_rules_refs(c, 2, 1, 2);
    } else {
        sv_rules_refs(c, 1, 2);
    }

    assert_int_equal(c->decided_at, 2);
}


static void
info(const char *members)
{
    const sv_rules_case_t  *c;

    c = one(members);

    if (c == NULL || c->weight != SVW_WEIGHT_INFO || c->severity != SVW_SEVERITY_INFO) {
        fail_msg("%s: %s", members, c == NULL ? "nothing" : c->cause);
    }
}


/* nobody tells serials: what is known of the lot has to do, and what was presented */
static void
test_unlisted(void **state)
{
    size_t                  i;
    const sv_rules_case_t  *c;

    static const struct { const char *members; svw_weight_t weight; }  scans[] = {
        { "\"serial\":\"EHCNB3DE46\",\"lot\":\"L464Y\",\"outcome\":\"lot_mismatch\"", SVW_WEIGHT_EXPLAINED },
        { "\"serial\":\"EHCNB3DE46\",\"lot\":\"L465Z\",\"outcome\":\"lot_mismatch\"", SVW_WEIGHT_ASKS },
        { "\"serial\":\"69N2LG52RWPGVEF7\",\"lot\":\"Q464Z2169N2LG52RWPGV\",\"outcome\":\"lot_mismatch\"", SVW_WEIGHT_EXPLAINED },
        { "\"serial\":\"69N2LG52RWPGVEF7\",\"lot\":\"Q464Z2169N2\",\"outcome\":\"lot_mismatch\"", SVW_WEIGHT_EXPLAINED },
        { "\"serial\":\"79N2LG52RWPGVEF7\",\"lot\":\"Q464Z2169N2\",\"outcome\":\"lot_mismatch\"", SVW_WEIGHT_ASKS },
        { "\"serial\":\"EHCNB3DE46\",\"lot\":\"L464Z\",\"expiry\":\"281230\",\"outcome\":\"expiry_mismatch\"", SVW_WEIGHT_EXPLAINED },
        { "\"serial\":\"EHCNB3DE46\",\"lot\":\"L464Z\",\"expiry\":\"301231\",\"outcome\":\"expiry_mismatch\"", SVW_WEIGHT_ASKS },
    };

    (void) state;

    for (i = 0; i < sizeof(scans) / sizeof(scans[0]); i++) {
        sv_rules_begin(&r);
        sv_rules_line(&r, UNLISTED);
        sv_rules_line(&r, "{%s," SITE "}", scans[i].members);
        sv_rules_end(&r);
        c = sv_rules_case(&r, "identifier_mismatch");

        if (c == NULL || c->weight != scans[i].weight) {
            fail_msg("%s: %s", scans[i].members, c == NULL ? "nothing" : c->cause);
        }
    }

    /* a year later at the end of a month: not its parts in another order */
    sv_rules_begin(&r);
    sv_rules_line(&r, "{\"type\":\"commission\",\"lot\":\"L464Z\",\"expiry\":\"280200\",\"serials\":[\"EHCNB3DE46\"]}");
    sv_rules_line(&r, "{\"serial\":\"EHCNB3DE46\",\"lot\":\"L464Z\",\"expiry\":\"290200\",\"outcome\":\"expiry_mismatch\"," SITE "}");
    sv_rules_end(&r);
    assert_string_equal(sv_rules_case(&r, "identifier_mismatch")->cause, "relabelled_expiry");

    /* the expiry of a second record is no other form of the first one's */
    sv_rules_begin(&r);
    sv_rules_line(&r, UNLISTED);
    sv_rules_line(&r, "{\"type\":\"commission\",\"lot\":\"L464Z\",\"expiry\":\"281230\",\"line\":\"B\"}");
    sv_rules_line(&r, "{\"serial\":\"EHCNB3DE46\",\"lot\":\"L464Z\",\"expiry\":\"281230\",\"outcome\":\"expiry_mismatch\"," SITE "}");
    sv_rules_end(&r);
    c = sv_rules_case(&r, "identifier_mismatch");
    assert_true(c == NULL || c->weight == SVW_WEIGHT_ASKS);
}


static void
test_scanner(void **state)
{
    (void) state;

    explained("\"serial\":\"AbCdEy9\",\"lot\":\"lot7Y\",\"outcome\":\"lot_unknown\"," SITE, "scanner_setting");
    explained("\"serial\":\"ABCDEY9\",\"lot\":\"LOT7Y\",\"outcome\":\"lot_unknown\"," SITE, "scanner_setting");
    explained("\"serial\":\"S3\",\"lot\":\"LOT7Y\",\"outcome\":\"lot_mismatch\"," SITE, "scanner_setting");
    explained("\"serial\":\"K7QPM4TN\",\"lot\":\"LOT7y\",\"outcome\":\"serial_unknown\"," SITE, "scanner_setting");
    explained("\"serial\":\"s3^17281231\",\"outcome\":\"serial_unknown\"," SITE, "scanner_setting");
    explained("\"serial\":\"aBcDeZ9\",\"lot\":\"LOT7z\",\"outcome\":\"lot_unknown\"," SITE, "scanner_setting");
    explained("\"serial\":\"S3\",\"lot\":\"LOT7y17281231\",\"outcome\":\"lot_mismatch\"," SITE, "scanner_setting");
    explained("\"serial\":\"S310LOT7y17281231\",\"outcome\":\"serial_unknown\"," SITE, "scanner_setting");
    explained("\"lot\":\"LOT7y21S3\",\"outcome\":\"lot_unknown\"," SITE, "scanner_setting");
    explained("\"serial\":\"S3\",\"lot\":\"LOT7y\",\"expiry\":\"281201\",\"outcome\":\"expiry_mismatch\"," SITE, "scanner_setting");
    explained("\"serial\":\"S3\",\"lot\":\"LOT7y\",\"expiry\":\"311228\",\"outcome\":\"expiry_mismatch\"," SITE, "scanner_setting");
    explained("\"serial\":\"S3\",\"lot\":\"LOT7y\",\"expiry\":\"290101\",\"outcome\":\"expiry_mismatch\"," SITE, "scanner_setting");
    explained("\"serial\":\"WBR8RS9DMBUP25CNPSFH17\",\"lot\":\"LOT7y\",\"outcome\":\"serial_unknown\"," SITE, "scanner_setting");
}


static void
test_typist(void **state)
{
    (void) state;

    explained("\"serial\":\"K7QPM4NT2\",\"lot\":\"LOT7y\",\"outcome\":\"serial_unknown\"," TYPED, "typing_error");
    explained("\"serial\":\"S3\",\"lot\":\"L0T7y\",\"outcome\":\"lot_mismatch\"," TYPED, "typing_error");
    explained("\"serial\":\"S3\",\"lot\":\"LOT7y\",\"expiry\":\"231231\",\"outcome\":\"expiry_mismatch\"," TYPED, "typing_error");

    /* a machine does not mistype */
    asks("\"serial\":\"K7QPM4NT2\",\"lot\":\"LOT7y\",\"outcome\":\"serial_unknown\"," SITE, SVW_SEVERITY_MEDIUM);
    asks("\"serial\":\"S3\",\"lot\":\"LOT7y\",\"expiry\":\"381231\",\"outcome\":\"expiry_mismatch\"," SITE, SVW_SEVERITY_HIGH);

    /* typed, and like nothing: one alone does not ask */
    info("\"serial\":\"WWWWWWW\",\"lot\":\"LOT7y\",\"outcome\":\"serial_unknown\"," TYPED);
}


static void
test_asks(void **state)
{
    (void) state;

    asks("\"serial\":\"INVENTED\",\"lot\":\"LOT7y\",\"outcome\":\"serial_unknown\"," SITE, SVW_SEVERITY_MEDIUM);
    asks("\"serial\":\"S3\",\"lot\":\"ANOTHER\",\"outcome\":\"lot_mismatch\"," SITE, SVW_SEVERITY_MEDIUM);
    asks("\"serial\":\"S3\",\"lot\":\"LOT7y\",\"expiry\":\"300630\",\"outcome\":\"expiry_mismatch\"," SITE, SVW_SEVERITY_HIGH);
    asks("\"serial\":\"S3\",\"lot\":\"LOT7y\",\"expiry\":\"260630\",\"outcome\":\"expiry_mismatch\"," SITE, SVW_SEVERITY_MEDIUM);
    asks("\"serial\":\"Q1\",\"lot\":\"NOWHERE\",\"outcome\":\"lot_unknown\",\"actor_kind\":\"wholesaler\",\"actor\":\"W\"", SVW_SEVERITY_MEDIUM);

    /* no lot was scanned */
    info("\"serial\":\"INVENTED\",\"outcome\":\"serial_unknown\"," SITE);

    /* not of the rule: a product of somebody else, and what is found */
    assert_null(one("\"serial\":\"S3\",\"outcome\":\"product_unknown\"," SITE));
    assert_null(one("\"serial\":\"S3\",\"outcome\":\"ok\"," SITE));
    assert_null(one("\"serial\":\"S3\",\"outcome\":\"already_supplied\",\"operation\":\"verify\"," SITE));

    /* the authority may look at what it likes */
    assert_null(one("\"serial\":\"INVENTED\",\"lot\":\"LOT7y\",\"outcome\":\"serial_unknown\",\"actor_kind\":\"authority\",\"actor\":\"A\""));
}


/* no lot was scanned: a serial is asked about at the second site; those of a product are one case */
static void
test_no_lot(void **state)
{
    int                     i;
    const sv_rules_case_t  *c;

    (void) state;

    sv_rules_begin(&r);
    sv_rules_line(&r, MADE);

    for (i = 0; i < 6; i++) {
        sv_rules_line(&r, "{\"serial\":\"FAKE%d\",\"outcome\":\"serial_unknown\",\"actor_kind\":\"pharmacy\",\"actor\":\"P%d\"}", i / 2, i);
    }

    sv_rules_end(&r);
    c = sv_rules_case(&r, "identifier_mismatch");
    assert_int_equal(c->weight, SVW_WEIGHT_ASKS);
    assert_int_equal(c->decided_at, 3);
    sv_rules_refs(c, 6, 2, 3, 4, 5, 6, 7);
}


/* the right scan at the same site within half an hour, before or after, whichever is told first */
static void
test_echo(void **state)
{
    int                     i;
    const sv_rules_case_t  *c;

    static const struct {
        const char    *miss, *right;
        svw_weight_t   weight;
    } rows[] = {
        { "\"time\":\"2026-02-01T10:00:00Z\",\"serial\":\"UNLISTED9X\",\"outcome\":\"serial_unknown\"," SITE,
          "\"time\":\"2026-02-01T10:20:00Z\",\"serial\":\"unlisted9x\",\"outcome\":\"ok\"," SITE, SVW_WEIGHT_EXPLAINED },
        { "\"time\":\"2026-02-01T10:00:00Z\",\"serial\":\"UNLISTED9X\",\"outcome\":\"serial_unknown\"," SITE,
          "\"time\":\"2026-02-01T09:40:00Z\",\"serial\":\"unlisted9x\",\"outcome\":\"already_supplied_here\"," SITE, SVW_WEIGHT_EXPLAINED },
        { "\"time\":\"2026-02-01T10:00:00Z\",\"serial\":\"UNLISTED9X\",\"outcome\":\"serial_unknown\"," SITE,
          "\"time\":\"2026-02-01T10:20:00Z\",\"serial\":\"UNLISTED9Y\",\"outcome\":\"ok\"," TYPED, SVW_WEIGHT_EXPLAINED },
        { "\"time\":\"2026-02-01T10:00:00Z\",\"serial\":\"S3\",\"lot\":\"ZZZ\",\"outcome\":\"lot_mismatch\"," SITE,
          "\"time\":\"2026-02-01T10:01:00Z\",\"serial\":\"S3\",\"lot\":\"LOT7y\",\"outcome\":\"ok\"," SITE, SVW_WEIGHT_EXPLAINED },
        /* too late, elsewhere, wrong again, of another product, two that a machine read */
        { "\"time\":\"2026-02-01T10:00:00Z\",\"serial\":\"UNLISTED9X\",\"outcome\":\"serial_unknown\"," SITE,
          "\"time\":\"2026-02-01T10:40:00Z\",\"serial\":\"unlisted9x\",\"outcome\":\"ok\"," SITE, SVW_WEIGHT_ASKS },
        { "\"time\":\"2026-02-01T10:00:00Z\",\"serial\":\"UNLISTED9X\",\"outcome\":\"serial_unknown\"," SITE,
          "\"time\":\"2026-02-01T10:10:00Z\",\"serial\":\"unlisted9x\",\"outcome\":\"ok\",\"actor_kind\":\"pharmacy\",\"actor\":\"P2\"",
          SVW_WEIGHT_ASKS },
        { "\"time\":\"2026-02-01T10:00:00Z\",\"serial\":\"UNLISTED9X\",\"outcome\":\"serial_unknown\"," SITE,
          "\"time\":\"2026-02-01T10:10:00Z\",\"serial\":\"unlisted9x\",\"outcome\":\"ok\",\"gtin\":\"09506000134369\"," SITE, SVW_WEIGHT_ASKS },
        { "\"time\":\"2026-02-01T10:00:00Z\",\"serial\":\"UNLISTED9X\",\"outcome\":\"serial_unknown\"," SITE,
          "\"time\":\"2026-02-01T10:10:00Z\",\"serial\":\"UNLISTED9Y\",\"outcome\":\"ok\"," SITE, SVW_WEIGHT_ASKS }
    };

    (void) state;

    for (i = 0; i < 2 * (int) (sizeof(rows) / sizeof(rows[0])); i++) {
        sv_rules_begin(&r);
        sv_rules_line(&r, MADE);
        sv_rules_line(&r, "{\"lot\":\"LOT7y\",%s}", i % 2 == 0 ? rows[i / 2].miss : rows[i / 2].right);
        sv_rules_line(&r, "{\"lot\":\"LOT7y\",%s}", i % 2 == 0 ? rows[i / 2].right : rows[i / 2].miss);
        sv_rules_end(&r);
        c = sv_rules_case(&r, "identifier_mismatch");

        if (c == NULL || c->weight != rows[i / 2].weight) {
            fail_msg("%d: %s", i, c == NULL ? "nothing" : c->cause);
        }
    }
}


static void
test_late(void **state)
{
    const sv_rules_case_t  *c;

    (void) state;

    /* the lot, with its serials */
    sv_rules_begin(&r);
    sv_rules_line(&r, "{\"serial\":\"Q1\",\"lot\":\"LATE\",\"expiry\":\"281231\",\"outcome\":\"lot_unknown\"," SITE "}");
    sv_rules_line(&r, "{\"type\":\"commission\",\"lot\":\"LATE\",\"expiry\":\"281200\",\"serials\":[\"Q1\"]}");
    sv_rules_end(&r);
    c = sv_rules_case(&r, "identifier_mismatch");
    sv_rules_refs(c, 2, 1, 2);
    assert_int_equal(c->weight, SVW_WEIGHT_EXPLAINED);
    assert_string_equal(c->cause, "late_upload");

    /* its serials are not told */
    sv_rules_begin(&r);
    sv_rules_line(&r, "{\"serial\":\"Q1\",\"lot\":\"LATE\",\"outcome\":\"lot_unknown\"," SITE "}");
    sv_rules_line(&r, "{\"type\":\"commission\",\"lot\":\"LATE\",\"expiry\":\"281200\",\"serials\":100}");
    sv_rules_end(&r);
    assert_int_equal(sv_rules_case(&r, "identifier_mismatch")->weight, SVW_WEIGHT_EXPLAINED);

    /* a part of a lot */
    sv_rules_begin(&r);
    sv_rules_line(&r, MADE);
    sv_rules_line(&r, "{\"serial\":\"S6\",\"lot\":\"LOT7y\",\"outcome\":\"serial_unknown\"," SITE "}");
    sv_rules_line(&r, "{\"type\":\"commission\",\"lot\":\"LOT7y\",\"expiry\":\"281231\",\"line\":\"A\",\"serials\":[\"S6\"]}");
    sv_rules_end(&r);
    assert_int_equal(sv_rules_case(&r, "identifier_mismatch")->weight, SVW_WEIGHT_EXPLAINED);

    /* the lot came, this serial did not */
    sv_rules_begin(&r);
    sv_rules_line(&r, "{\"serial\":\"FAKE\",\"lot\":\"LATE\",\"outcome\":\"lot_unknown\"," SITE "}");
    sv_rules_line(&r, "{\"type\":\"commission\",\"lot\":\"LATE\",\"expiry\":\"281200\",\"serials\":[\"Q1\"]}");
    sv_rules_end(&r);
    assert_int_equal(sv_rules_case(&r, "identifier_mismatch")->weight, SVW_WEIGHT_ASKS);

    /* commissioned again under another lot, where the first record told no serials */
    sv_rules_begin(&r);
    sv_rules_line(&r, "{\"type\":\"commission\",\"lot\":\"FIRST\",\"expiry\":\"281231\",\"serials\":100}");
    sv_rules_line(&r, "{\"type\":\"commission\",\"lot\":\"AGAIN\",\"expiry\":\"311231\",\"serials\":[\"Q1\"]}");
    sv_rules_line(&r, "{\"serial\":\"Q1\",\"lot\":\"AGAIN\",\"expiry\":\"311231\",\"outcome\":\"lot_mismatch\"," SITE "}");
    sv_rules_end(&r);
    assert_int_equal(sv_rules_case(&r, "identifier_mismatch")->weight, SVW_WEIGHT_ASKS);

    /* .. or with another expiry */
    sv_rules_begin(&r);
    sv_rules_line(&r, "{\"serial\":\"Q1\",\"lot\":\"LATE\",\"expiry\":\"310630\",\"outcome\":\"lot_unknown\"," SITE "}");
    sv_rules_line(&r, "{\"type\":\"commission\",\"lot\":\"LATE\",\"expiry\":\"281200\",\"serials\":[\"Q1\"]}");
    sv_rules_end(&r);
    assert_int_equal(sv_rules_case(&r, "identifier_mismatch")->weight, SVW_WEIGHT_ASKS);
}


static void
test_consumers(void **state)
{
    int                     i, n;
    const sv_rules_case_t  *c;

    static const char *const  wrong[] = {
        "\"expiry\":\"300630\",\"outcome\":\"expiry_mismatch\"", "\"outcome\":\"serial_unknown\""
    };

    (void) state;

    /* one is kept, two with the same expiry ask, three with unknown serials do */
    for (i = 0; i < 8; i++) {
        sv_rules_begin(&r);
        sv_rules_line(&r, MADE);

        for (n = 0; n <= i % 4; n++) {
            sv_rules_line(&r, "{\"serial\":\"S%d\",\"lot\":\"LOT7y\",\"session\":\"c%d\",\"actor_kind\":\"consumer\",%s}",
                          n + 3 + (i < 4 ? 0 : 10), n, wrong[i / 4]);
        }

        sv_rules_end(&r);
        c = sv_rules_case(&r, "identifier_mismatch");
        assert_non_null(c);
        assert_int_equal(c->n_refs, n + (c->weight == SVW_WEIGHT_ASKS && i < 4));       /* the record, too */
        assert_int_equal(c->weight, n >= (i < 4 ? 2 : 3) ? SVW_WEIGHT_ASKS : SVW_WEIGHT_INFO);
    }

    /* the same session, or the same pack, again and again */
    for (i = 0; i < 2; i++) {
        sv_rules_begin(&r);
        sv_rules_line(&r, MADE);

        for (n = 0; n < 5; n++) {
            sv_rules_line(&r, "{\"time\":\"2026-02-0%dT10:00:00Z\",\"serial\":\"S%d\",\"lot\":\"LOT7y\",\"session\":\"c%d\","
                          "\"actor_kind\":\"consumer\",%s}", n + 1, i == 0 ? 3 : n % 3 + 3, i == 0 ? n : 0, wrong[0]);
        }

        sv_rules_end(&r);
        c = sv_rules_case(&r, "identifier_mismatch");
        assert_int_equal(c->weight, SVW_WEIGHT_INFO);
    }
}


/* findings of one lot are one case, of several expiries too; typed ones ask when there are three packs */
static void
test_together(void **state)
{
    int                     n;
    const sv_rules_case_t  *c;

    (void) state;

    sv_rules_begin(&r);
    sv_rules_line(&r, MADE);

    for (n = 0; n < 12; n++) {
        sv_rules_line(&r, "{\"serial\":\"S%d\",\"lot\":\"LOT7y\",\"expiry\":\"30%02d15\",\"outcome\":\"expiry_mismatch\","
                      "\"actor_kind\":\"pharmacy\",\"actor\":\"P%d\"}", n % 3 + 3, n + 1, n);
    }

    sv_rules_end(&r);
    c = sv_rules_case(&r, "identifier_mismatch");
    assert_int_equal(c->n_refs, 13);
    assert_int_equal(c->decided_at, 2);
    assert_string_equal(c->serials, "S3 S4 S5");

    for (n = 1; n <= 3; n++) {
        sv_rules_begin(&r);
        sv_rules_line(&r, MADE);
        sv_rules_line(&r, "{\"serial\":\"WWWWWWW\",\"lot\":\"LOT7y\",\"outcome\":\"serial_unknown\"," TYPED "}");

        if (n > 1) {
            sv_rules_line(&r, "{\"serial\":\"XXXXXXX\",\"lot\":\"LOT7y\",\"outcome\":\"serial_unknown\"," TYPED "}");
        }

        if (n > 2) {
            sv_rules_line(&r, "{\"serial\":\"YYYYYYY\",\"lot\":\"LOT7y\",\"outcome\":\"serial_unknown\"," TYPED "}");
        }

        sv_rules_end(&r);
        assert_int_equal(sv_rules_case(&r, "identifier_mismatch")->weight, n == 3 ? SVW_WEIGHT_ASKS : SVW_WEIGHT_INFO);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_unlisted),
        cmocka_unit_test(test_scanner), cmocka_unit_test(test_typist), cmocka_unit_test(test_asks), cmocka_unit_test(test_no_lot),
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_late), cmocka_unit_test(test_consumers), cmocka_unit_test(test_together)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
