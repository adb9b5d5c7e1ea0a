/*
 * src/model/sv_verdict.c, sv_text.c: the verdict, its table and its sentences.
 *
 * With --lines, it reads what sv.judge() was given and prints what sv_verdict()
 * says, for t/23_judge.t.
 */

#include "src/model/sv_verdict.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>


#define FIELDS  12
#define HERE    7


/* field NULL: "-" */
static int
sv_test_split(char *line, char *field[FIELDS])
{
    int    n;
    char  *p;

    line[strcspn(line, "\n")] = '\0';

    for (n = 0, p = line; p != NULL && n < FIELDS; n++) {
        field[n] = p;
        p = strchr(p, '\t');

        if (p != NULL) {
            *p++ = '\0';
        }

        if (strcmp(field[n], "-") == 0) {
            field[n] = NULL;
        }
    }

    return n == FIELDS && p == NULL;
}


static sv_span_t
sv_test_span(const char *text)
{
    return (sv_span_t) {(const uint8_t *) text, strlen(text)};
}


static sv_reason_t
sv_test_judge(char *field[FIELDS])
{
    sv_record_t     record;
    sv_presented_t  presented;

    enum { PRODUCT, FOUND, LOT_KNOWN, PACK_LOT, PACK_EXPIRY, LOT, EXPIRY, WITHDRAWN, RECALLED,
           TODAY, STATE, IS_HERE };

    memset(&presented, 0, sizeof(sv_presented_t));

    presented.product_known = *field[PRODUCT] == 't';
    presented.lot_known = *field[LOT_KNOWN] == 't';
    presented.withdrawn = *field[WITHDRAWN] == 't';
    presented.recalled = *field[RECALLED] == 't';
    presented.today = sv_day_parse(sv_test_span(field[TODAY]));
    presented.location = HERE;

    if (field[LOT] != NULL) {
        presented.lot_given = 1;
        presented.lot = sv_test_span(field[LOT]);
    }

    if (field[EXPIRY] != NULL) {
        presented.expiry_given = 1;
        presented.expiry = sv_day_parse(sv_test_span(field[EXPIRY]));
    }

    if (*field[FOUND] == 't') {
        memset(&record, 0, sizeof(sv_record_t));
        record.state = sv_state_parse(sv_test_span(field[STATE]));
        record.expiry = sv_day_parse(sv_test_span(field[PACK_EXPIRY]));
        record.location = *field[IS_HERE] == 't' ? HERE : HERE + 1;
        record.lot_len = (uint8_t) strlen(field[PACK_LOT]);
        memcpy(record.lot, field[PACK_LOT], record.lot_len);
        presented.record = &record;
    }

    return sv_verdict(&presented);
}


static int
sv_test_lines(void)
{
    char  line[512], *field[FIELDS];

    while (fgets(line, sizeof(line), stdin) != NULL) {

        if (!sv_test_split(line, field)) {
            fprintf(stderr, "%d fields expected\n", FIELDS);
            return 1;
        }

        puts(sv_reason_row(sv_test_judge(field))->word);
    }

    return 0;
}


/* t, f: product, found, lot known; the pack's lot and expiry; the presented ones; ... */
static void
judges(const char *text, sv_reason_t reason)
{
    char  line[512], *field[FIELDS];

    assert_true(strlen(text) < sizeof(line));
    memcpy(line, text, strlen(text) + 1);
    assert_true(sv_test_split(line, field));
    assert_string_equal(sv_reason_row(sv_test_judge(field))->word, sv_reason_row(reason)->word);
}


/* from the first check to the last, everything after it wrong as well */
static void
test_order_of_checks(void **state)
{
    (void) state;

    judges("f\tt\tf\tL\t2030-12-31\tX\t2030-01-01\tt\tt\t2031-01-01\tstolen\tt",
           SV_REASON_PRODUCT_UNKNOWN);
    judges("t\tf\tf\t-\t-\tX\t2030-01-01\tt\tt\t2031-01-01\tactive\tt", SV_REASON_LOT_UNKNOWN);
    judges("t\tf\tt\t-\t-\tX\t2030-01-01\tt\tt\t2031-01-01\tactive\tt",
           SV_REASON_SERIAL_UNKNOWN);
    judges("t\tf\tf\t-\t-\t-\t-\tt\tt\t2031-01-01\tactive\tt", SV_REASON_SERIAL_UNKNOWN);
    judges("t\tt\tt\tL\t2030-12-31\tX\t2030-01-01\tt\tt\t2031-01-01\tstolen\tt",
           SV_REASON_LOT_MISMATCH);
    judges("t\tt\tt\tL\t2030-12-31\tL\t2030-01-01\tt\tt\t2031-01-01\tstolen\tt",
           SV_REASON_EXPIRY_MISMATCH);
    judges("t\tt\tt\tL\t2030-12-31\tL\t2030-12-31\tt\tt\t2031-01-01\tstolen\tt",
           SV_REASON_EXPIRED);
    judges("t\tt\tt\tL\t2030-12-31\tL\t2030-12-31\tt\tt\t2030-12-31\tstolen\tt",
           SV_REASON_RECALLED);
    judges("t\tt\tt\tL\t2030-12-31\tL\t2030-12-31\tt\tf\t2030-12-31\tstolen\tt",
           SV_REASON_WITHDRAWN);
    judges("t\tt\tt\tL\t2030-12-31\tL\t2030-12-31\tf\tf\t2030-12-31\tstolen\tt",
           SV_REASON_STOLEN);
    judges("t\tt\tt\tL\t2030-12-31\tL\t2030-12-31\tf\tf\t2030-12-31\tsupplied\tt",
           SV_REASON_ALREADY_SUPPLIED_HERE);
    judges("t\tt\tt\tL\t2030-12-31\tL\t2030-12-31\tf\tf\t2030-12-31\tsupplied\tf",
           SV_REASON_ALREADY_SUPPLIED);
    judges("t\tt\tt\tL\t2030-12-31\t-\t-\tf\tf\t2030-12-31\tactive\tf", SV_REASON_OK);
}


/* a pack that nobody has touched has no location; neither has a consumer: they are not the same place */
static void
test_nobody_is_not_here(void **state)
{
    sv_record_t     record;
    sv_presented_t  presented;

    (void) state;

    memset(&record, 0, sizeof(sv_record_t));
    memset(&presented, 0, sizeof(sv_presented_t));

    record.state = SV_STATE_SUPPLIED;
    record.expiry = 20000;
    presented.product_known = 1;
    presented.record = &record;
    presented.today = 20000;

    assert_int_equal(sv_verdict(&presented), SV_REASON_ALREADY_SUPPLIED);
}


static void
test_lots_are_bytes(void **state)
{
    sv_record_t     record;
    sv_presented_t  presented;

    (void) state;

    memset(&record, 0, sizeof(sv_record_t));
    memset(&presented, 0, sizeof(sv_presented_t));

    memset(record.lot, 'L', SV_LOT_MAX);
    record.lot_len = SV_LOT_MAX;
    record.expiry = 20000;
    presented.product_known = 1;
    presented.record = &record;
    presented.lot_given = 1;
    presented.lot = sv_test_span("LLLLLLLLLLLLLLLLLLLL");

    assert_int_equal(sv_verdict(&presented), SV_REASON_OK);

    presented.lot.len = SV_LOT_MAX - 1;
    assert_int_equal(sv_verdict(&presented), SV_REASON_LOT_MISMATCH);

    presented.lot = sv_test_span("LLLLLLLLLLLLLLLLLLLl");
    assert_int_equal(sv_verdict(&presented), SV_REASON_LOT_MISMATCH);
}


static void
test_table(void **state)
{
    int                     i, lang;
    const char             *text;
    const sv_reason_row_t  *row;

    (void) state;

    for (i = 0; i < SV_REASON_MAX; i++) {
        row = sv_reason_row((sv_reason_t) i);

        assert_non_null(row->word);
        assert_int_equal(sv_reason_parse(sv_test_span(row->word)), i);
        assert_non_null(sv_advice_word(row->advice));
        assert_in_range(row->verify_status, 200, 503);
        assert_in_range(row->operate_status, 200, 503);

        /* only what is in order may be dispensed; an alert has a code */
        assert_int_equal(row->advice == SV_ADVICE_DISPENSE, i == SV_REASON_OK);
        assert_true(row->level < 5 || row->code[0] == 'A');
        assert_int_equal(sv_reason_advice((sv_reason_t) i, 0), row->advice);
        assert_int_equal(sv_reason_advice((sv_reason_t) i, 1), SV_ADVICE_RESCAN);

        for (lang = 0; lang < SV_LANG_MAX; lang++) {
            text = sv_reason_text((sv_reason_t) i, (sv_lang_t) lang);

            assert_non_null(text);
            assert_int_equal(text[strlen(text) - 1], '.');
            assert_true(strlen(text) < 300);
        }
    }

    for (lang = 0; lang < SV_LANG_MAX; lang++) {
        assert_non_null(sv_last_repeat_text((sv_lang_t) lang));
    }

    assert_int_equal(sv_reason_parse(sv_test_span("")), SV_REASON_MAX);
    assert_int_equal(sv_reason_parse(sv_test_span("o")), SV_REASON_MAX);
    assert_int_equal(sv_reason_parse(sv_test_span("ok ")), SV_REASON_MAX);
    assert_int_equal(sv_reason_parse(sv_test_span("OK")), SV_REASON_MAX);
}


/* the public is told of a pack that fits, never which element did not */
static void
test_public(void **state)
{
    int  i;

    (void) state;

    for (i = 0; i < SV_REASON_MAX; i++) {
        switch (i) {

        case SV_REASON_PRODUCT_UNKNOWN:
        case SV_REASON_LOT_UNKNOWN:
        case SV_REASON_SERIAL_UNKNOWN:
        case SV_REASON_LOT_MISMATCH:
        case SV_REASON_EXPIRY_MISMATCH:
            assert_int_equal(sv_reason_public((sv_reason_t) i), SV_REASON_NOT_CONFIRMED);
            break;

        default:
            assert_int_equal(sv_reason_public((sv_reason_t) i), i);
        }
    }
}


static void
test_languages(void **state)
{
    size_t  i, len;
    char   *copy;

    static const struct {
        const char  *header;
        sv_lang_t    lang;
    } cases[] = {
        {"", SV_LANG_EN}, {"de", SV_LANG_DE}, {"DE", SV_LANG_DE}, {"de-AT", SV_LANG_DE},
        {"fr-CH,de;q=0.9", SV_LANG_FR}, {"fr;q=0.1,de;q=0.9", SV_LANG_DE},
        {"it,pl;q=0.9,fr;q=0.001", SV_LANG_FR}, {"fr;q=0", SV_LANG_EN},
        {"de;q=0.000", SV_LANG_EN}, {"fr ; q=0.5 , de ; q=0.6", SV_LANG_DE},
        {"de;q=1,fr", SV_LANG_DE}, {"*", SV_LANG_EN}, {"deu", SV_LANG_EN}, {"d", SV_LANG_EN},
        {",,,fr", SV_LANG_FR}, {"de;q=", SV_LANG_DE}, {"de;q=x", SV_LANG_DE},
        {"fr;q=0.9999999999999999,de", SV_LANG_DE}, {";", SV_LANG_EN}, {"   ", SV_LANG_EN},
        {"en;q=0.5,fr;q=0.5", SV_LANG_EN}, {"fr;level=1;q=0.2,de;q=0.3", SV_LANG_DE},
    };

    (void) state;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        /* of its exact size: one byte too far is found */
        len = strlen(cases[i].header);
        copy = malloc(len + 1);
        assert_non_null(copy);
        memcpy(copy + 1, cases[i].header, len);

        if (sv_lang_parse((sv_span_t) {(uint8_t *) copy + 1, len}) != cases[i].lang) {
            fail_msg("\"%s\" is %s", cases[i].header, sv_lang_word(cases[i].lang));
        }

        free(copy);
    }
}


int
main(int argc, char **argv)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_order_of_checks),
        cmocka_unit_test(test_nobody_is_not_here),
        cmocka_unit_test(test_lots_are_bytes),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_public),
        cmocka_unit_test(test_languages),
    };

    if (argc == 2 && strcmp(argv[1], "--lines") == 0) {
        return sv_test_lines();
    }

    return cmocka_run_group_tests(tests, NULL, NULL);
}
