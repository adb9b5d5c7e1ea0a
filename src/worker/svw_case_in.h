/*
 * What svw_case (findings that are kept), svw_case_final (cases of all of them)
 * and svw_case_live (cases as findings come) share.
 */

#ifndef SVW_CASE_IN_H
#define SVW_CASE_IN_H

#include "svw_case.h"
#include "svw_hash.h"


typedef struct svw_live_key_s  svw_live_key_t;

struct svw_cases_s {
    const svw_params_t  *params;
    svw_kept_t          *all;
    svw_kept_t         **slot;          /* by id */
    size_t               n, mask;

    /* svw_case_live */
    svw_case_t          *live, *changed;
    svw_live_key_t     **key;
    size_t               keys, key_mask;
    unsigned             failed:1;
};

/* `changed': it says something else now. NULL: withdrawn without having been said, or no memory (failed). */
svw_kept_t *svw_kept_put(svw_cases_t *cases, const svw_finding_t *finding, svw_ref_t now, int *changed);

/* the head of its slot */
svw_kept_t **svw_kept_place(svw_cases_t *cases, const svw_kept_t *kept);

/* by severity of what is said: 1 if a names a case rather than b */
int svw_finding_above(const svw_finding_t *a, const svw_finding_t *b);

/* What a client or a site did with packs of several lots: only what is mostly its own is joined with it by serials. */
int svw_finding_client(const svw_finding_t *finding);

int svw_live_init(svw_cases_t *cases);
void svw_live_done(svw_cases_t *cases);

/* svw_case_key */
uint64_t svw_case_key_digest(sv_span_t key);

#endif /* SVW_CASE_IN_H */
