/*
 * What the tests of the judge share: scans and facts in a line each, and the
 * cases that come of them as text.
 *
 *     judged_t  *j = judged_new();
 *
 *     scan(j, .serial = "A1", .op = SVW_OP_SUPPLY, .actor = "P1");
 *     scan(j, .serial = "A1", .op = SVW_OP_SUPPLY, .actor = "P2", .reason = "already_supplied");
 *     assert_cases(j, "supply_of_inactive high asks reused_pack A1 1,2 @2");
 */

#ifndef SV_TEST_JUDGE_H
#define SV_TEST_JUDGE_H

#include "src/worker/svw_case.h"
#include "src/worker/svw_param.h"

#include <stdio.h>


#define TEST_GTIN   9506000134352
#define TEST_START  1767225600000       /* 2026-01-01 */

typedef struct {
    svw_params_t   params;
    svw_judge_t   *judge;
    svw_cases_t   *cases;
    svw_ref_t      ref;                 /* the last line */
    char          *text;
    size_t         len;
    FILE          *out;
} judged_t;

typedef struct {
    double             minutes;         /* since the start; 0: a minute after each line */
    uint64_t           gtin;
    const char        *serial, *lot, *expiry, *actor, *session, *country, *reason, *before;
    svw_op_t           op;
    svw_actor_kind_t   kind;            /* 0: a pharmacy, or a consumer if there is no actor */
    svw_entry_t        entry;
    double             lat, lon, accuracy;
    int                hint, silent;
} test_scan_t;

typedef struct {
    double       minutes;
    uint64_t     gtin;
    const char  *lot, *expiry, *line, *serials, *markets;       /* lists parted by blanks */
} test_made_t;

typedef struct {
    const char        *actor, *country;
    double             lat, lon;
    svw_actor_kind_t   kind;
} test_site_t;

/* numbers that are the same each time; `state' not 0 */
typedef struct {
    uint64_t  state;
} test_dice_t;

unsigned test_roll(test_dice_t *dice, unsigned n);
sv_span_t test_span(const char *text);  /* NULL: empty */

judged_t *judged_new(void);
void judged_free(judged_t *j);
void judged_set(judged_t *j, const char *name, const char *value);

void test_scan(judged_t *j, test_scan_t scan);
void test_made(judged_t *j, test_made_t made);
void test_site(judged_t *j, test_site_t site);

/* all cases, a line each: rule severity weight cause serials scans @decided */
const char *judged_text(judged_t *j);

#define scan(j, ...)    test_scan(j, (test_scan_t) { __VA_ARGS__ })
#define made(j, ...)    test_made(j, (test_made_t) { __VA_ARGS__ })
#define site(j, ...)    test_site(j, (test_site_t) { __VA_ARGS__ })

#define assert_cases(j, expected)  do { assert_string_equal(judged_text(j), expected); judged_free(j); } while (0)

#endif /* SV_TEST_JUDGE_H */
