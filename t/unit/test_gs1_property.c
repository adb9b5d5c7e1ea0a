/*
 * Random legal data, printed and read again in every form.  The seed is in
 * SV_TEST_SEED, or the same every time; SV_TEST_ALL asks for a longer run.
 */

#include "test_gs1.h"

#include "src/gs1/sv_gs1_ai.h"
#include "src/gs1/sv_gs1_core.h"


typedef struct {
    uint64_t       state;
    uint8_t        room[SV_GS1_BUFFER];     /* where the values are */
    size_t         used;
    sv_gs1_data_t  data;
} sv_random_t;


/* xorshift64* */
static unsigned
pick(sv_random_t *r, unsigned n)
{
    r->state ^= r->state >> 12;
    r->state ^= r->state << 25;
    r->state ^= r->state >> 27;

    return (r->state * UINT64_C(2685821657736338717) >> 33) % n;
}


static unsigned
rounds(unsigned n)
{
    return getenv("SV_TEST_ALL") ? n * 20 : n;
}


static void
begin(sv_random_t *r)
{
    const char  *seed;

    seed = getenv("SV_TEST_SEED");
    memset(r, 0, sizeof(sv_random_t));
    r->state = seed ? strtoull(seed, NULL, 10) * 2 + 1 : 88172645463325252;
    print_message("seed %llu\n", (unsigned long long) (r->state - 1) / 2);
}


/* a value of characters out of a set, then repaired until the identifier takes it, or not at all */
static int
add(sv_random_t *r, unsigned number)
{
    size_t                  len, i, k, at;
    uint8_t                *p, cset;
    unsigned                tries;
    sv_span_t               value;
    sv_gs1_element_t       *element;
    const sv_gs1_ai_t      *ai;
    const sv_gs1_format_t  *format;

    ai = sv_gs1_ai_number(number);
    assert_non_null(ai);
    format = &sv_gs1_formats[ai->format];

    for (tries = 0; tries < 2000; tries++) {
        p = r->room + r->used;
        value.data = p;
        len = 0;

        for (k = 0; k < SV_GS1_MAX_PARTS && format->part[k].max; k++) {

            if (format->part[k].optional && pick(r, 2)) {
                break;
            }

            cset = format->part[k].cset;
            i = format->part[k].min + pick(r, format->part[k].max - format->part[k].min + 1);

            while (i > 0) {
                p[len] = pick(r, 256);

                if (sv_gs1_class[p[len]] & cset) {
                    len++;
                    i--;
                }
            }

            if (format->part[k].lint == SV_GS1_LINT_CSUM) {
                p[len - 1] = sv_gs1_check_digit(p + len - format->part[k].max, format->part[k].max - 1);
            }

            if (format->part[k].lint == SV_GS1_LINT_ZERO) {
                p[len - 1] = '0';
            }

            if (format->part[k].lint == SV_GS1_LINT_KEY) {
                memcpy(p + len - format->part[k].min, "9506", format->part[k].min > 4 ? 4 : format->part[k].min);
            }
        }

        value.len = len;

        if (sv_gs1_value(ai, value, &at) == SV_GS1_OK) {
            r->used += len;
            element = &r->data.element[r->data.n++];
            element->ai = ai;
            element->value = value;
            return 1;
        }
    }

    return 0;
}


/* a pack and what may be printed on it */
static void
pack(sv_random_t *r)
{
    size_t  i;

    static const unsigned  more[] = {
        22, 10, 21, 11, 13, 15, 16, 17, 20, 30, 240, 241, 242, 243, 251, 3100, 3115, 3202, 3370, 400, 410, 416, 7001, 7002, 7004, 7005, 7010,
        710, 711, 712, 713, 714, 715, 716, 717, 7230, 7239, 7240, 8002, 8005, 8012, 90, 91, 92, 93, 94, 95, 96, 97, 98, 99
    };

    memset(&r->data, 0, sizeof(r->data));
    r->used = 0;

    assert_true(add(r, 1));

    for (i = 0; i < COUNT(more); i++) {
        if (pick(r, 4) == 0 && (more[i] != 7004 || sv_gs1_get(&r->data, 10))) {
            (void) add(r, more[i]);
        }
    }
}


static void
shuffle(sv_random_t *r)
{
    unsigned          i, k;
    sv_gs1_element_t  element;

    for (i = r->data.n; i > 1; i--) {
        k = pick(r, i);
        element = r->data.element[k];
        r->data.element[k] = r->data.element[i - 1];
        r->data.element[i - 1] = element;
    }
}


static void
round_trip(const sv_gs1_data_t *data, sv_test_mode_t mode, int (*print)(const sv_gs1_data_t *, char *, size_t))
{
    int             len;
    char            out[SV_TEXT], again[SV_TEXT];
    size_t          offset;
    sv_gs1_data_t   copy;
    sv_gs1_error_t  error;

    len = print(data, out, sizeof(out));
    assert_true(len > 0);

    error = sv_test_parse(0, mode, out, len, 0, &copy, &offset);

    if (error || !sv_test_same(data, &copy)) {
        fail_msg("\"%s\" gives %s at %zu, or other elements", out, sv_gs1_error_code(error), offset);
    }

    assert_int_equal(print(&copy, again, sizeof(again)), len);
    assert_string_equal(out, again);
}


static void
test_packs(void **state)
{
    unsigned            i;
    static sv_random_t  r;

    (void) state;

    begin(&r);

    for (i = 0; i < rounds(4000); i++) {
        pack(&r);
        shuffle(&r);
        round_trip(&r.data, URI, sv_gs1_uri_print);
        round_trip(&r.data, SCAN, sv_gs1_scan_print);
        round_trip(&r.data, BRACKETS, sv_gs1_brackets_print);
    }
}


/* every primary key, with every choice of its qualifiers */
static void
test_keys(void **state)
{
    unsigned              i, k, n, q, subset, round;
    const uint16_t       *path;
    const sv_gs1_ai_t    *ai;
    static sv_random_t    r;

    (void) state;

    begin(&r);
    ai = sv_gs1_ai_table(&n);

    for (i = 0; i < n; i++) {

        if (!(ai[i].flags & SV_GS1_KEY)) {
            continue;
        }

        for (round = 0; round < rounds(SV_GS1_MAX_PATHS * 8 * 10); round++) {
            k = round % SV_GS1_MAX_PATHS;
            subset = round / SV_GS1_MAX_PATHS % 8;
            path = sv_gs1_ai_path(&ai[i])->path[k];

            memset(&r.data, 0, sizeof(r.data));
            r.used = 0;

            if (ai[i].number == 415) {
                subset = 1;
            }

            if (!add(&r, ai[i].number)) {       /* check pairs are not hit by chance */
                break;
            }

            for (q = 0; path[q]; q++) {
                if (subset & 1 << q) {
                    (void) add(&r, path[q]);
                }
            }

            if (ai[i].number == 415 && r.data.n == 1) {
                continue;
            }

            shuffle(&r);
            round_trip(&r.data, URI, sv_gs1_uri_print);
            round_trip(&r.data, SCAN, sv_gs1_scan_print);
            round_trip(&r.data, BRACKETS, sv_gs1_brackets_print);
        }
    }
}


static void
test_urns(void **state)
{
    int                 len;
    char                out[1000];
    size_t              offset;
    unsigned            i, prefix;
    sv_gs1_data_t       copy;
    static sv_random_t  r;

    static const unsigned  keys[][2] = { {1, 21}, {1, 10}, {1, 0}, {0, 0}, {414, 254}, {414, 0} };

    (void) state;

    begin(&r);

    for (i = 0; i < rounds(6000); i++) {
        memset(&r.data, 0, sizeof(r.data));
        r.used = 0;

        assert_true(add(&r, keys[i % COUNT(keys)][0]));

        if (keys[i % COUNT(keys)][1]) {
            assert_true(add(&r, keys[i % COUNT(keys)][1]));
        }

        if (sv_gs1_get(&r.data, 254) && sv_span_eq(*sv_gs1_get(&r.data, 254), sv_span("0"))) {
            continue;                           /* a URN has this for no extension */
        }

        for (prefix = 6; prefix <= 12; prefix++) {
            len = sv_gs1_urn_print(&r.data, prefix, out, sizeof(out));
            assert_true(len > 0);
            assert_int_equal(sv_test_parse(0, URN, out, len, 0, &copy, &offset), SV_GS1_OK);

            if (!sv_test_same(&r.data, &copy)) {
                fail_msg("\"%s\" is read as something else", out);
            }
        }
    }
}


/* a byte changed anywhere: an answer, an offset inside the text, and no byte touched that is not ours */
static void
test_damage(void **state)
{
    int                 len;
    char                out[SV_TEXT];
    size_t              offset;
    unsigned            i, k, mode;
    sv_gs1_data_t       copy;
    sv_gs1_error_t      error;
    static sv_random_t  r;

    int  (*const prints[])(const sv_gs1_data_t *, char *, size_t) = {
        sv_gs1_uri_print, sv_gs1_scan_print, sv_gs1_brackets_print
    };

    static const sv_test_mode_t  modes[] = {URI, SCAN, BRACKETS};

    (void) state;

    begin(&r);

    for (i = 0; i < rounds(300); i++) {
        pack(&r);
        mode = i % COUNT(modes);
        len = prints[mode](&r.data, out, sizeof(out));
        assert_true(len > 0);

        for (k = 0; k < 100; k++) {
            out[pick(&r, len)] = pick(&r, 256);
            error = sv_test_parse(0, modes[mode], out, pick(&r, 3) ? (unsigned) len : pick(&r, len), 0, &copy, &offset);
            assert_true(error < SV_GS1_ERR_MAX);
            assert_true(offset <= (size_t) len);
        }
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_packs),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_urns),
        cmocka_unit_test(test_damage)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
