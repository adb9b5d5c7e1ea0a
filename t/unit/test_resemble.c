/* what a scanner or a typist makes of a serial or lot: tables of what is presented and what was meant */

#include "src/worker/svw_resemble.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>


typedef struct {
    const char         *presented, *known;
    svw_resemblance_t   how;
} row_t;

typedef struct {
    sv_span_t           wanted, presented;
    unsigned            n, found;
    svw_resemblance_t   how;
} search_t;


static sv_span_t
text(const char *s)
{
    return (sv_span_t) { (const uint8_t *) s, strlen(s) };
}


static int
look(void *data, sv_span_t value, svw_resemblance_t how)
{
    search_t  *search;

    search = data;
    search->n++;
    assert_false(sv_span_eq(value, search->presented));

    if (!search->found && sv_span_eq(value, search->wanted)) {
        search->found = 1;
        search->how = how;
    }

    return 0;
}


static const row_t  scanner[] = {
    { "ABC123", "abc123", SVW_RESEMBLE_CASE },
    { "aBc123X", "AbC123x", SVW_RESEMBLE_CASE },
    { "ABC123X", "AbC123x", SVW_RESEMBLE_CASE },                /* everything upper-case: see pair() */
    { "LZ7890", "LY7890", SVW_RESEMBLE_LAYOUT },
    { "lz7890", "LY7890", SVW_RESEMBLE_LAYOUT },
    { "ZYX", "YZX", SVW_RESEMBLE_LAYOUT },
    { "QW12", "AZ12", SVW_RESEMBLE_LAYOUT },
    { "L,1", "Lm1", SVW_RESEMBLE_LAYOUT },
    { "A-7Y", "A/7Z", SVW_RESEMBLE_LAYOUT },
    { "A?7", "A_7", SVW_RESEMBLE_LAYOUT },
    { "7N9KX217271231", "7N9KX2", SVW_RESEMBLE_GLUED },
    { "7N9KX21727123110LOT7", "7N9KX2", SVW_RESEMBLE_GLUED },
    { "7N9KX210LOT7", "7N9KX2", SVW_RESEMBLE_GLUED },
    { "LOT717271200", "LOT7", SVW_RESEMBLE_GLUED },
    { "LOT721A1B2C3", "LOT7", SVW_RESEMBLE_GLUED },
    { "LOT7240X1", "LOT7", SVW_RESEMBLE_GLUED },
    { "LOT7714123", "LOT7", SVW_RESEMBLE_GLUED },
    { "LOT791ABC", "LOT7", SVW_RESEMBLE_GLUED },
    { "lot717271231", "LOT7", SVW_RESEMBLE_GLUED },
    { "LOT7\x1d" "17271231", "LOT7", SVW_RESEMBLE_GLUED },
    { "LOT7^17271231", "LOT7", SVW_RESEMBLE_GLUED },
    { "K7QPM4TN2XWVBN172712", "K7QPM4TN2XWVBN", SVW_RESEMBLE_GLUED },         /* cut at 20 */
    { "K7QPM4TN2XWVBNAAAA10", "K7QPM4TN2XWVBNAAAA", SVW_RESEMBLE_GLUED },
    { "21ABC7", "ABC7", SVW_RESEMBLE_AHEAD },
    { "10LOT7", "LOT7", SVW_RESEMBLE_AHEAD },
    { "010950600013435221A1B2", "A1B2", SVW_RESEMBLE_AHEAD },
    { "010950600013435221A1B217271231", "A1B2", SVW_RESEMBLE_GLUED }
};

static const row_t  typist[] = {
    { "A0B1C2", "AOBIC2", SVW_RESEMBLE_ALIKE },
    { "Al", "A1", SVW_RESEMBLE_ALIKE },
    { "X3Y", "XEY", SVW_RESEMBLE_ALIKE },
    { "12346", "12345", SVW_RESEMBLE_TYPO },
    { "1234", "12345", SVW_RESEMBLE_NOT },                      /* too short to tell */
    { "12345", "123456", SVW_RESEMBLE_CUT },
    { "123456", "12345", SVW_RESEMBLE_TYPO },
    { "12354", "12345", SVW_RESEMBLE_TYPO },
    { "K7QPM4TN2", "K7QPM4NT2", SVW_RESEMBLE_TYPO },
    { "K7QPM4TNX2", "K7QM4TN2", SVW_RESEMBLE_NOT },             /* two slips, 8 signs */
    { "K7QPM4TNXW2", "K7QM4TNXW", SVW_RESEMBLE_TYPO },          /* two slips, 9 signs */
    { "7KQPM4TNXWV", "K7QPM4TNWXV", SVW_RESEMBLE_TYPO },
    { "7KQP4TNXWV", "K7QPM4TNWXV", SVW_RESEMBLE_NOT },          /* three */
    { "K7QPM4TNXW2", "P8QRM4TNXW2", SVW_RESEMBLE_NOT },
    { "ABC", "ABC", SVW_RESEMBLE_SAME },
    { "", "A", SVW_RESEMBLE_NOT },
    { "A", "", SVW_RESEMBLE_NOT },
    { "LOT71", "LOT7", SVW_RESEMBLE_NOT },                      /* no element */
    { "LOT717271331", "LOT7", SVW_RESEMBLE_NOT },               /* no month */
    { "LOT7172712", "LOT7", SVW_RESEMBLE_NOT },                 /* no date */
    { "6K2PW8", "N4XT9D", SVW_RESEMBLE_NOT }
};


static void
test_pairs(void **state)
{
    size_t  i;

    (void) state;

    for (i = 0; i < sizeof(scanner) / sizeof(scanner[0]); i++) {
        if (svw_resemble(text(scanner[i].presented), text(scanner[i].known)) == SVW_RESEMBLE_NOT) {
            fail_msg("%s of %s", scanner[i].presented, scanner[i].known);
        }
    }

    for (i = 0; i < sizeof(typist) / sizeof(typist[0]); i++) {
        if (svw_resemble(text(typist[i].presented), text(typist[i].known)) != typist[i].how) {
            fail_msg("%s of %s: %s", typist[i].presented, typist[i].known,
                     svw_resemble_word(svw_resemble(text(typist[i].presented), text(typist[i].known))));
        }
    }
}


static void
test_forms(void **state)
{
    size_t    i;
    search_t  search;

    (void) state;

    for (i = 0; i < sizeof(scanner) / sizeof(scanner[0]); i++) {
        search = (search_t) { .wanted = text(scanner[i].known), .presented = text(scanner[i].presented) };
        assert_int_equal(svw_resemble_forms(search.presented, look, &search), 0);

        /* mixed case that became all upper-case cannot be guessed, only compared */
        if (strcmp(scanner[i].presented, "ABC123X") == 0) {
            assert_false(search.found);
            continue;
        }

        if (!search.found || search.how != scanner[i].how) {
            fail_msg("%s of %s: %s", scanner[i].presented, scanner[i].known, svw_resemble_word(search.how));
        }

        assert_true(search.n <= 16 * 24 + 66);
    }
}


static void
test_typos(void **state)
{
    size_t    i;
    search_t  search;

    static const char *const  known[] = { "K7QPM4TN", "K7QPM4N", "K7QPM4", "K7QM4TN", "K7PQM4TN", "7QPM4TN", "xK7QPM4TN", "K7QPM4TX", "K7QPM4TNx" };

    (void) state;

    for (i = 1; i < sizeof(known) / sizeof(known[0]); i++) {
        search = (search_t) { .wanted = text(known[i]), .presented = text(known[0]) };
        assert_int_equal(svw_resemble_typos(search.presented, look, &search), 0);
        assert_true(search.n < 1500);

        if (search.found != (strcmp(known[i], "K7QPM4") != 0)) {
            fail_msg("%s of %s", known[0], known[i]);
        }
    }

    search = (search_t) { .presented = text("K7QP") };
    assert_int_equal(svw_resemble_typos(search.presented, look, &search), 0);
    assert_int_equal(search.n, 0);
}


/* hostile lengths and bytes: nothing is read or written past an end */
static void
test_hostile(void **state)
{
    char      buf[SVW_RESEMBLE_MAX + 2];
    size_t    n;
    search_t  search;

    (void) state;

    for (n = 0; n <= SVW_RESEMBLE_MAX + 1; n++) {
        memset(buf, '9', n);
        buf[n] = '\0';
        search = (search_t) { .presented = text(buf), .wanted = text("A") };
        assert_int_equal(svw_resemble_forms(search.presented, look, &search), 0);
        assert_int_equal(svw_resemble_typos(search.presented, look, &search), 0);
        assert_int_equal(svw_resemble(search.presented, text("A")), SVW_RESEMBLE_NOT);
        assert_int_equal(svw_resemble(text("A"), search.presented), SVW_RESEMBLE_NOT);
    }

    assert_int_equal(svw_resemble((sv_span_t) { (const uint8_t *) "a\0b", 3 }, (sv_span_t) { (const uint8_t *) "A\0B", 3 }),
                     SVW_RESEMBLE_CASE);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_pairs), cmocka_unit_test(test_forms), cmocka_unit_test(test_typos), cmocka_unit_test(test_hostile)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
