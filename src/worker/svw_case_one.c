/*
 * A case that is kept as its findings come: made, read from tables, changed,
 * merged, written and forgotten.
 */

#include "svw_case_live_in.h"

#include <stdlib.h>
#include <sys/random.h>


static void svw_live_kept_forget(svw_cases_t *cases, int64_t before_ms);


int
svw_live_init(svw_cases_t *cases)
{
    return svw_live_keys_init(cases);
}


void
svw_live_done(svw_cases_t *cases)
{
    svw_case_t  *one;

    while (cases->live != NULL) {
        one = cases->live;
        cases->live = one->all_next;
        free(one);
    }

    svw_live_keys_done(cases);
}


svw_case_t *
svw_cases_changed(svw_cases_t *cases)
{
    return cases->changed;
}


svw_case_t *
svw_cases_changed_next(const svw_case_t *current)
{
    return current->changed_next;
}


void
svw_cases_written(svw_cases_t *cases)
{
    svw_case_t  *one;
    svw_kept_t  *kept;

    while (cases->changed != NULL) {
        one = cases->changed;
        cases->changed = one->changed_next;
        one->changed_next = NULL;
        one->changed = 0;
        one->fresh = 0;

        for (kept = one->findings; kept != NULL; kept = kept->next) {
            kept->changed = 0;
            kept->fresh = 0;
        }
    }
}


svw_case_t *
svw_cases_load(svw_cases_t *cases, const uint8_t id[16], uint64_t gtin)
{
    svw_case_t  *one;

    one = svw_live_new(cases, gtin);

    if (one == NULL) {
        cases->failed = 1;
        return NULL;
    }

    memcpy(one->id, id, 16);
    one->fresh = 0;

    return one;
}


svw_kept_t *
svw_cases_load_finding(svw_cases_t *cases, svw_case_t *in, const svw_finding_t *finding)
{
    int             changed;
    svw_kept_t     *kept;
    svw_finding_t   said;

    said = *finding;
    said.withdrawn = 0;
    kept = svw_kept_put(cases, &said, 0, &changed);

    if (kept == NULL) {
        return NULL;
    }

    kept->fresh = 0;
    kept->now.withdrawn = finding->withdrawn;

    if (kept->in == NULL) {
        svw_live_add(in, kept);
    }

    svw_live_sum_one(in, kept);

    if (!finding->withdrawn && svw_live_keys(cases, kept) != 0) {
        cases->failed = 1;
        return NULL;
    }

    return kept;
}


svw_case_t *
svw_cases_find(svw_cases_t *cases, const uint8_t id[16])
{
    svw_case_t  *one;

    for (one = cases->live; one != NULL && memcmp(one->id, id, 16) != 0; one = one->all_next) { /* void */ }

    return one;
}


/* old: first of what leads to them, then they themselves */
void
svw_cases_forget(svw_cases_t *cases, int64_t before_ms)
{
    svw_case_t  *one, **p, *gone;

    svw_live_keys_forget(cases, before_ms);
    svw_live_kept_forget(cases, before_ms);

    for (p = &cases->live, gone = NULL; *p != NULL; ) {
        one = *p;

        if (!one->changed && (one->merged_into != NULL || one->last_ms < before_ms)) {
            *p = one->all_next;
            one->all_next = gone;
            gone = one;

        } else {
            p = &one->all_next;
        }
    }

    while (gone != NULL) {
        one = gone;
        gone = one->all_next;
        free(one);
    }
}


svw_case_t *
svw_live_now(svw_case_t *one)
{
    while (one != NULL && one->merged_into != NULL) {
        one = one->merged_into;
    }

    return one;
}


svw_case_t *
svw_live_new(svw_cases_t *cases, uint64_t gtin)
{
    svw_case_t  *one;

    one = calloc(1, sizeof(svw_case_t));

    if (one == NULL || getrandom(one->id, sizeof(one->id), 0) != (ssize_t) sizeof(one->id)) {
        free(one);
        return NULL;
    }

    one->id[6] = (one->id[6] & 0x0f) | 0x40;
    one->id[8] = (one->id[8] & 0x3f) | 0x80;
    one->gtin = gtin;
    one->fresh = 1;
    one->cause = "";
    one->first_ms = INT64_MAX;
    one->last_ms = INT64_MIN;
    one->all_next = cases->live;
    cases->live = one;

    return one;
}


void
svw_live_add(svw_case_t *one, svw_kept_t *kept)
{
    kept->in = one;
    kept->next = one->findings;
    one->findings = kept;
    one->n++;
}


svw_case_t *
svw_live_merge(svw_cases_t *cases, svw_case_t *a, svw_case_t *b)
{
    int          other;
    svw_kept_t  *kept, *last;
    svw_case_t  *swap;

    /*
     * One that is written stays: it is known by its number.  Of two that are, the
     * one of a product: its company's reviewers do not see a case of many.
     */

    if (a->fresh != b->fresh) {
        other = a->fresh;

    } else if ((a->gtin == 0) != (b->gtin == 0)) {
        other = a->gtin == 0;

    } else {
        other = b->first_ms < a->first_ms;
    }

    if (other) {
        swap = a;
        a = b;
        b = swap;
    }

    for (kept = b->findings, last = NULL; kept != NULL; kept = kept->next) {
        kept->in = a;
        last = kept;
    }

    if (last != NULL) {
        last->next = a->findings;
        a->findings = b->findings;
        b->findings = NULL;
        a->n += b->n;
        b->n = 0;
    }

    b->merged_into = a;
    svw_live_changed(cases, b);
    svw_live_sum(a);

    return a;
}


void
svw_live_sum(svw_case_t *one)
{
    svw_kept_t  *kept;

    one->best = NULL;
    one->first_ms = INT64_MAX;
    one->last_ms = INT64_MIN;
    one->weight = SVW_WEIGHT_INFO;

    for (kept = one->findings; kept != NULL; kept = kept->next) {
        svw_live_sum_one(one, kept);
    }
}


/* A case whose findings are all withdrawn is explained: it keeps the words of the last. */
void
svw_live_sum_one(svw_case_t *one, svw_kept_t *kept)
{
    const svw_finding_t  *now;

    now = &kept->now;
    one->first_ms = now->first_ms < one->first_ms ? now->first_ms : one->first_ms;
    one->last_ms = now->last_ms > one->last_ms ? now->last_ms : one->last_ms;

    if (one->best == NULL) {
        one->lot_of = kept;
        one->lots = 0;

    } else if (!sv_span_eq(one->lot_of->now.lot, now->lot)) {
        one->lots = 1;
    }

    one->lot = one->lots ? (sv_span_t) {NULL, 0} : one->lot_of->now.lot;

    if (one->best == NULL || one->best == kept || svw_finding_above(now, &one->best->now)) {
        one->best = kept;
        one->rule = now->rule;
        one->severity = now->withdrawn ? SVW_SEVERITY_INFO : now->severity;
        one->weight = now->withdrawn ? SVW_WEIGHT_EXPLAINED : now->weight;
        one->cause = now->cause;
    }
}


void
svw_live_changed(svw_cases_t *cases, svw_case_t *one)
{
    if (!one->changed) {
        one->changed = 1;
        one->changed_next = cases->changed;
        cases->changed = one;
    }
}


static void
svw_live_kept_forget(svw_cases_t *cases, int64_t before_ms)
{
    svw_kept_t  *kept, **k, **slot;

    for (k = &cases->all; *k != NULL; ) {
        kept = *k;
        kept->in = svw_live_now(kept->in);

        if (kept->in == NULL || kept->in->last_ms >= before_ms || kept->in->changed) {
            k = &kept->all_next;
            continue;
        }

        for (slot = svw_kept_place(cases, kept); *slot != kept; slot = &(*slot)->slot_next) { /* void */ }

        *slot = kept->slot_next;
        *k = kept->all_next;
        cases->n--;
        free(kept->memory);
        free(kept);
    }
}
