/*
 * Rules under test: lines of JSON as `replay' reads them into a judge, cases out.
 * A line without "time" is a minute after the one before it, one without "gtin"
 * of SV_RULES_GTIN.
 */

#ifndef SV_TEST_RULES_H
#define SV_TEST_RULES_H

#include "src/worker/svw_replay.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>


#define SV_RULES_GTIN   "09506000134352"
#define SV_RULES_CASES  64
#define SV_RULES_REFS   256

typedef struct {
    const char      *rule;
    char             cause[64];
    svw_severity_t   severity;
    svw_weight_t     weight;
    char             lot[64], serials[512], actors[512];        /* parted by blanks */
    svw_ref_t        refs[SV_RULES_REFS];
    size_t           n_refs, n_serials;
    svw_ref_t        decided_at;
} sv_rules_case_t;

typedef struct {
    svw_params_t          params;
    svw_replay_reader_t  *reader;
    svw_judge_t          *judge;
    svw_cases_t          *cases;
    svw_ref_t             line;
    int64_t               time_ms;
    sv_rules_case_t       found[SV_RULES_CASES];
    size_t                n;
} sv_rules_t;

void sv_rules_begin(sv_rules_t *rules);
void sv_rules_line(sv_rules_t *rules, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sv_rules_end(sv_rules_t *rules);           /* settles: found[] has the cases; frees the rest */

/* The case of a rule, which must be the only one; NULL: there is none. */
const sv_rules_case_t *sv_rules_case(const sv_rules_t *rules, const char *rule);
size_t sv_rules_asking(const sv_rules_t *rules);        /* how many ask */
void sv_rules_refs(const sv_rules_case_t *c, size_t n, ...);    /* its evidence are these lines (int) */

#endif /* SV_TEST_RULES_H */
