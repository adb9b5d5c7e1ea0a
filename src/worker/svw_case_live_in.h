/*
 * What svw_case_live (which case a finding is in), svw_case_one (a case that is
 * kept) and svw_case_key (what leads to one) share.
 */

#ifndef SVW_CASE_LIVE_IN_H
#define SVW_CASE_LIVE_IN_H

#include "svw_case_in.h"


/* svw_case_one */
svw_case_t *svw_live_now(svw_case_t *one);      /* where its findings are */
svw_case_t *svw_live_new(svw_cases_t *cases, uint64_t gtin);    /* NULL: no memory */
void svw_live_add(svw_case_t *one, svw_kept_t *kept);
svw_case_t *svw_live_merge(svw_cases_t *cases, svw_case_t *a, svw_case_t *b);   /* the one that stays */
void svw_live_sum(svw_case_t *one);             /* what it says, of all its findings */
void svw_live_sum_one(svw_case_t *one, svw_kept_t *kept);       /* .. when one is new or says more */
void svw_live_changed(svw_cases_t *cases, svw_case_t *one);

/* svw_case_key */
int svw_live_keys_init(svw_cases_t *cases);
void svw_live_keys_done(svw_cases_t *cases);
void svw_live_keys_forget(svw_cases_t *cases, int64_t before_ms);

/* The case that a key leads to, if it is not too far in time from the finding. */
svw_case_t *svw_live_found(const svw_cases_t *cases, const svw_kept_t *kept, uint64_t digest);

/* The finding's keys lead to its case. 0, or -1: no memory. */
int svw_live_keys(svw_cases_t *cases, const svw_kept_t *kept);

#endif /* SVW_CASE_LIVE_IN_H */
