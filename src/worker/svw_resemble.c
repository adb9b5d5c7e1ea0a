#include "svw_resemble.h"


#define SVW_FIELD     20                /* longest serial or lot: software may cut it off there */
#define SVW_TYPO_ONE  5                 /* two values this long that differ by one slip are the same one, typed */
#define SVW_TYPO_TWO  9                 /* .. by two slips */


typedef uint8_t (*svw_resemble_case_pt)(uint8_t c);

/* what stands on the screen, and what is printed on the pack in its place */
typedef struct {
    const char  *shown;
    const char  *meant;
} svw_layout_t;

/* a search for one value */
typedef struct {
    sv_span_t          wanted;
    svw_resemblance_t  how;
} svw_resemble_want_t;


static int svw_resemble_more(sv_span_t presented, svw_resemble_pt form, void *data);
static int svw_resemble_piece(sv_span_t presented, size_t from, size_t to, svw_resemble_pt form, void *data);
static unsigned svw_resemble_starts(sv_span_t v, size_t start[3]);
static int svw_resemble_rest(sv_span_t v, size_t at);
static int svw_resemble_cut(sv_span_t rest);
static int svw_resemble_element(sv_span_t rest);
static int svw_resemble_digits(sv_span_t v, size_t at, size_t n);
static int svw_resemble_date(const uint8_t *p);
static int svw_resemble_signs(uint8_t *buf, size_t n, size_t at, int not, svw_resemble_pt typo, void *data);
static int svw_resemble_is(void *data, sv_span_t value, svw_resemblance_t how);
static int svw_resemble_folded(sv_span_t a, sv_span_t b);
static int svw_resemble_alike(sv_span_t a, sv_span_t b);
static uint8_t svw_resemble_seen(uint8_t c);
static unsigned svw_resemble_distance(sv_span_t a, sv_span_t b);
static uint8_t svw_case_same(uint8_t c);
static uint8_t svw_case_swap(uint8_t c);
static uint8_t svw_case_upper(uint8_t c);
static uint8_t svw_case_lower(uint8_t c);


/* sv.scanner_variants() knows the first three; a change here belongs there, too */
static const svw_layout_t  svw_layouts[] = {
    { "", "" },
    { "yzYZ", "zyZY" },
    { "aqzwAQZW,;?:", "qawzQAWZmmMM" },                 /* AZERTY */
    { "yzYZ-?=)(/", "zyZY/_)(*&" }                      /* QWERTZ with its signs */
};

static const svw_resemble_case_pt  svw_cases[] = { svw_case_same, svw_case_swap, svw_case_upper, svw_case_lower };

static const char  svw_typo_signs[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-./_";


/* forms: what a scanner makes */

int
svw_resemble_forms(sv_span_t presented, svw_resemble_pt form, void *data)
{
    int       rc;
    size_t    start[3], end;
    unsigned  i, n;

    if (presented.len == 0 || presented.len > SVW_RESEMBLE_MAX) {
        return 0;
    }

    rc = svw_resemble_more(presented, form, data);

    if (rc != 0) {
        return rc;
    }

    n = svw_resemble_starts(presented, start);

    for (i = 0; i < n; i++) {
        for (end = presented.len; end > start[i]; end--) {
            if (end < presented.len && !svw_resemble_rest(presented, end)) {
                continue;
            }

            rc = svw_resemble_piece(presented, start[i], end, form, data);

            if (rc != 0) {
                return rc;
            }
        }
    }

    return 0;
}


/* the last sign was cut off */
static int
svw_resemble_more(sv_span_t presented, svw_resemble_pt form, void *data)
{
    int          rc;
    uint8_t      buf[SVW_RESEMBLE_MAX + 1];
    const char  *c;

    if (presented.len < SVW_TYPO_ONE) {
        return 0;
    }

    memcpy(buf, presented.data, presented.len);

    for (c = svw_typo_signs, rc = 0; rc == 0 && *c != '\0'; c++) {
        buf[presented.len] = (uint8_t) *c;
        rc = form(data, (sv_span_t) { buf, presented.len + 1 }, SVW_RESEMBLE_CUT);
    }

    return rc;
}


/* one piece of what was presented, as every keyboard would have it */
static int
svw_resemble_piece(sv_span_t presented, size_t from, size_t to, svw_resemble_pt form, void *data)
{
    int                rc;
    size_t             i, l, c;
    uint8_t            buf[SVW_RESEMBLE_MAX];
    sv_span_t          value;
    const char        *at;
    svw_resemblance_t  how;

    value = (sv_span_t) { buf, to - from };

    for (l = 0; l < sizeof(svw_layouts) / sizeof(svw_layouts[0]); l++) {
        for (c = 0; c < sizeof(svw_cases) / sizeof(svw_cases[0]); c++) {

            for (i = 0; i < value.len; i++) {
                buf[i] = presented.data[from + i];
                at = buf[i] != '\0' ? strchr(svw_layouts[l].shown, buf[i]) : NULL;

                if (at != NULL) {
                    buf[i] = (uint8_t) svw_layouts[l].meant[at - svw_layouts[l].shown];
                }

                buf[i] = svw_cases[c](buf[i]);
            }

            if (sv_span_eq(value, presented)) {
                continue;
            }

            how = to < presented.len ? SVW_RESEMBLE_GLUED
                : from > 0 ? SVW_RESEMBLE_AHEAD : l > 0 ? SVW_RESEMBLE_LAYOUT : SVW_RESEMBLE_CASE;
            rc = form(data, value, how);

            if (rc != 0) {
                return rc;
            }
        }
    }

    return 0;
}


/* where the value itself may begin: behind its own AI, or behind the GTIN */
static unsigned
svw_resemble_starts(sv_span_t v, size_t start[3])
{
    unsigned  n;

    n = 0;
    start[n++] = 0;

    if (v.len > 2 && (memcmp(v.data, "21", 2) == 0 || memcmp(v.data, "10", 2) == 0)) {
        start[n++] = 2;
    }

    if (v.len > 18 && memcmp(v.data, "01", 2) == 0 && svw_resemble_digits(v, 2, 14)
        && (memcmp(v.data + 16, "21", 2) == 0 || memcmp(v.data + 16, "10", 2) == 0))
    {
        start[n++] = 18;
    }

    return n;
}


/* Is what stands from `at' on another element: all of it, as much as fits in 20 characters, or behind a sign that stands for the separator? */
static int
svw_resemble_rest(sv_span_t v, size_t at)
{
    sv_span_t  rest;

    rest = (sv_span_t) { v.data + at, v.len - at };

    if (svw_resemble_element(rest) || (v.len == SVW_FIELD && rest.len < 8 && svw_resemble_cut(rest))) {
        return 1;
    }

    /* what is no sign of a serial or lot */
    return *rest.data <= ' ' || *rest.data >= 0x7f || strchr("#$@[\\]^`{|}~", *rest.data) != NULL;
}


/* the beginning of 10, 17 or 21 with what follows it */
static int
svw_resemble_cut(sv_span_t rest)
{
    if (rest.len == 1) {
        return rest.data[0] == '1' || rest.data[0] == '2';
    }

    return memcmp(rest.data, "10", 2) == 0 || memcmp(rest.data, "21", 2) == 0
           || (memcmp(rest.data, "17", 2) == 0 && svw_resemble_digits(rest, 2, rest.len - 2));
}


/* May the next element begin here? What stands on packs behind serials and lots. */
static int
svw_resemble_element(sv_span_t rest)
{
    const uint8_t  *p;

    p = rest.data;

    if (rest.len < 3 || !svw_resemble_digits(rest, 0, 2)) {
        return 0;
    }

    switch (p[0]) {

    case '1':
        if (p[1] == '0') {
            return 1;
        }

        return p[1] <= '7' && rest.len >= 8 && svw_resemble_digits(rest, 2, 6) && svw_resemble_date(p + 2);

    case '2':
        return p[1] <= '2' || (p[1] == '4' && rest.len > 3 && (p[2] == '0' || p[2] == '1'));

    case '7':
        return p[1] == '1' && rest.len > 3 && p[2] >= '0' && p[2] <= '6';

    case '9':
        return 1;

    default:
        return 0;
    }
}


static int
svw_resemble_digits(sv_span_t v, size_t at, size_t n)
{
    size_t  i;

    if (at + n > v.len) {
        return 0;
    }

    for (i = at; i < at + n && v.data[i] >= '0' && v.data[i] <= '9'; i++) { /* void */ }

    return i == at + n;
}


/* YYMMDD, DD may be 00 */
static int
svw_resemble_date(const uint8_t *p)
{
    int  month, day;

    month = (p[2] - '0') * 10 + p[3] - '0';
    day = (p[4] - '0') * 10 + p[5] - '0';

    return month >= 1 && month <= 12 && day <= 31;
}


/* typos: what a typist makes */

int
svw_resemble_typos(sv_span_t presented, svw_resemble_pt typo, void *data)
{
    int             rc;
    size_t          i, n;
    uint8_t         buf[SVW_RESEMBLE_MAX + 1];
    const uint8_t  *p;

    p = presented.data;
    n = presented.len;

    if (n < SVW_TYPO_ONE || n > SVW_RESEMBLE_MAX) {
        return 0;
    }

    for (rc = 0, i = 0; rc == 0 && i <= n; i++) {

        /* forgotten */
        memcpy(buf, p, i);
        memcpy(buf + i + 1, p + i, n - i);
        rc = svw_resemble_signs(buf, n + 1, i, -1, typo, data);

        if (rc != 0 || i == n) {
            break;
        }

        /* another */
        memcpy(buf, p, n);
        rc = svw_resemble_signs(buf, n, i, p[i], typo, data);

        /* swapped with the next */
        memcpy(buf, p, n);

        if (rc == 0 && i + 1 < n && p[i] != p[i + 1]) {
            buf[i] = p[i + 1];
            buf[i + 1] = p[i];
            rc = typo(data, (sv_span_t) { buf, n }, SVW_RESEMBLE_TYPO);
        }

        /* one too many */
        memcpy(buf, p, i);
        memcpy(buf + i, p + i + 1, n - i - 1);

        if (rc == 0) {
            rc = typo(data, (sv_span_t) { buf, n - 1 }, SVW_RESEMBLE_TYPO);
        }
    }

    return rc;
}


/* each sign but `not' (-1: each) at `at' */
static int
svw_resemble_signs(uint8_t *buf, size_t n, size_t at, int not, svw_resemble_pt typo, void *data)
{
    int          rc;
    const char  *c;

    for (rc = 0, c = svw_typo_signs; rc == 0 && *c != '\0'; c++) {
        if (*c != not) {
            buf[at] = (uint8_t) *c;
            rc = typo(data, (sv_span_t) { buf, n }, SVW_RESEMBLE_TYPO);
        }
    }

    return rc;
}


/* two values */

svw_resemblance_t
svw_resemble(sv_span_t presented, sv_span_t known)
{
    size_t               shorter;
    unsigned             distance;
    svw_resemble_want_t  want;

    if (sv_span_eq(presented, known)) {
        return SVW_RESEMBLE_SAME;
    }

    if (presented.len == 0 || known.len == 0 || presented.len > SVW_RESEMBLE_MAX || known.len > SVW_RESEMBLE_MAX) {
        return SVW_RESEMBLE_NOT;
    }

    want = (svw_resemble_want_t) { .wanted = known };

    if (svw_resemble_forms(presented, svw_resemble_is, &want)) {
        return want.how;
    }

    if (svw_resemble_folded(presented, known)) {
        return SVW_RESEMBLE_CASE;
    }

    if (svw_resemble_alike(presented, known)) {
        return SVW_RESEMBLE_ALIKE;
    }

    shorter = presented.len < known.len ? presented.len : known.len;
    distance = svw_resemble_distance(presented, known);

    if ((distance == 1 && shorter >= SVW_TYPO_ONE) || (distance == 2 && shorter >= SVW_TYPO_TWO)) {
        return SVW_RESEMBLE_TYPO;
    }

    return SVW_RESEMBLE_NOT;
}


const char *
svw_resemble_word(svw_resemblance_t how)
{
    static const char *const  words[] = {
        [SVW_RESEMBLE_NOT] = "", [SVW_RESEMBLE_SAME] = "same", [SVW_RESEMBLE_CASE] = "caps_lock",
        [SVW_RESEMBLE_LAYOUT] = "keyboard_layout", [SVW_RESEMBLE_GLUED] = "separator_lost",
        [SVW_RESEMBLE_AHEAD] = "element_ahead", [SVW_RESEMBLE_CUT] = "cut_off",
        [SVW_RESEMBLE_ALIKE] = "sign_alike", [SVW_RESEMBLE_TYPO] = "typing_error"
    };

    return words[how];
}


static int
svw_resemble_is(void *data, sv_span_t value, svw_resemblance_t how)
{
    svw_resemble_want_t  *want;

    want = data;
    want->how = how;

    return sv_span_eq(value, want->wanted);
}


static int
svw_resemble_folded(sv_span_t a, sv_span_t b)
{
    size_t  i;

    for (i = 0; a.len == b.len && i < a.len && svw_case_upper(a.data[i]) == svw_case_upper(b.data[i]); i++) { /* void */ }

    return a.len == b.len && i == a.len;
}


/* the same to somebody who reads small print, whatever the case */
static int
svw_resemble_alike(sv_span_t a, sv_span_t b)
{
    size_t  i;

    if (a.len != b.len) {
        return 0;
    }

    for (i = 0; i < a.len && svw_resemble_seen(a.data[i]) == svw_resemble_seen(b.data[i]); i++) { /* void */ }

    return i == a.len;
}


static uint8_t
svw_resemble_seen(uint8_t c)
{
    const char  *at;

    static const char  shapes[] = "OILESZBG";
    static const char  digits[] = "01135286";

    c = svw_case_upper(c);
    at = c != '\0' ? strchr(shapes, c) : NULL;

    return at != NULL ? (uint8_t) digits[at - shapes] : c;
}


/* slips between the two: a sign forgotten, too many, another one, two swapped; 3: more than two */
static unsigned
svw_resemble_distance(sv_span_t a, sv_span_t b)
{
    size_t    i, j, from, to;
    uint8_t   row[3][SVW_RESEMBLE_MAX + 1];
    uint8_t  *up2, *up, *now, *spare, best;

    if (a.len > b.len + 2 || b.len > a.len + 2) {
        return 3;
    }

    memset(row, 3, sizeof(row));
    up2 = row[0];
    up = row[1];
    now = row[2];

    for (j = 0; j <= b.len && j < 3; j++) {
        up[j] = (uint8_t) j;
    }

    /* only the diagonal and two on each side can be within two */
    for (i = 1; i <= a.len; i++) {
        memset(now, 3, sizeof(row[0]));
        now[0] = i < 3 ? (uint8_t) i : 3;
        from = i > 2 ? i - 2 : 1;
        to = i + 2 < b.len ? i + 2 : b.len;

        for (j = from; j <= to; j++) {
            best = (uint8_t) (up[j - 1] + (a.data[i - 1] != b.data[j - 1]));
            best = up[j] + 1 < best ? (uint8_t) (up[j] + 1) : best;
            best = now[j - 1] + 1 < best ? (uint8_t) (now[j - 1] + 1) : best;

            if (i > 1 && j > 1 && a.data[i - 1] == b.data[j - 2] && a.data[i - 2] == b.data[j - 1] && up2[j - 2] + 1 < best) {
                best = (uint8_t) (up2[j - 2] + 1);
            }

            now[j] = best < 3 ? best : 3;
        }

        spare = up2;
        up2 = up;
        up = now;
        now = spare;
    }

    return up[b.len];
}


static uint8_t
svw_case_same(uint8_t c)
{
    return c;
}


static uint8_t
svw_case_swap(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ? (uint8_t) (c ^ 0x20) : c;
}


static uint8_t
svw_case_upper(uint8_t c)
{
    return c >= 'a' && c <= 'z' ? (uint8_t) (c - 0x20) : c;
}


static uint8_t
svw_case_lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t) (c + 0x20) : c;
}
