/*
 * Cases as findings come.
 *
 * A key leads to one case, the last that had it.  Cases that ask and share a key
 * merge into the one that was written, that has a product, that is older; what does not ask joins one.
 */

#include "svw_case_live_in.h"


static svw_case_t *svw_live_home(svw_cases_t *cases, svw_kept_t *kept);
static svw_case_t *svw_live_merge_all(svw_cases_t *cases, svw_kept_t *kept, svw_case_t *home);
static int svw_live_mostly(const svw_cases_t *cases, const svw_kept_t *kept, const svw_case_t *other);
static svw_case_t *svw_live_joins(svw_cases_t *cases, const svw_kept_t *kept, const char *kinds, svw_weight_t weight);
static int svw_live_absorbs(const svw_case_t *home, const svw_case_t *one, uint8_t kind);


svw_case_t *
svw_cases_take(svw_cases_t *cases, const svw_finding_t *finding, svw_ref_t now)
{
    int           changed;
    svw_kept_t   *kept;
    svw_case_t   *home;

    kept = svw_kept_put(cases, finding, now, &changed);

    if (kept == NULL) {
        return NULL;
    }

    if (!changed) {
        return svw_live_now(kept->in);
    }

    kept->changed = 1;
    home = svw_live_now(kept->in);

    if (home == NULL) {
        home = svw_live_home(cases, kept);

        if (home == NULL) {
            cases->failed = 1;
            return NULL;
        }

        svw_live_add(home, kept);
    }

    if (kept->now.weight == SVW_WEIGHT_ASKS && !kept->now.withdrawn) {
        home = svw_live_merge_all(cases, kept, home);
    }

    if (home->best == kept || kept->now.withdrawn) {
        svw_live_sum(home);
    } else {
        svw_live_sum_one(home, kept);
    }

    if (!kept->now.withdrawn && svw_live_keys(cases, kept) != 0) {
        cases->failed = 1;
        return NULL;
    }

    svw_live_changed(cases, home);

    return home;
}


/* Where a finding that is in no case belongs. */
static svw_case_t *
svw_live_home(svw_cases_t *cases, svw_kept_t *kept)
{
    svw_case_t  *home;

    home = NULL;

    switch (kept->now.weight) {

    case SVW_WEIGHT_ASKS:
        home = svw_live_joins(cases, kept, "smpo", SVW_WEIGHT_ASKS);
        break;

    case SVW_WEIGHT_EXPLAINED:
        home = svw_live_joins(cases, kept, "s", SVW_WEIGHT_ASKS);
        home = home != NULL ? home : svw_live_joins(cases, kept, "o", SVW_WEIGHT_EXPLAINED);
        break;

    case SVW_WEIGHT_INFO:
        home = svw_live_joins(cases, kept, "s", SVW_WEIGHT_ASKS);
        home = home != NULL ? home : svw_live_joins(cases, kept, "so", SVW_WEIGHT_INFO);
        break;
    }

    return home != NULL ? home : svw_live_new(cases, kept->now.gtin);
}


/* It asks: all that ask and share a key with it are one case. */
static svw_case_t *
svw_live_merge_all(svw_cases_t *cases, svw_kept_t *kept, svw_case_t *home)
{
    size_t       i;
    uint8_t      kind;
    svw_case_t  *other, *refused;

    home->weight = SVW_WEIGHT_ASKS;

    for (i = 0, refused = NULL; i < kept->now.n_keys; i++) {
        kind = kept->now.keys[i].data[0];
        other = svw_live_found(cases, kept, svw_case_key_digest(kept->now.keys[i]));

        if (other == NULL || other == home || (kind == 's' && other == refused) || !svw_live_absorbs(home, other, kind)) {
            continue;
        }

        if (kind == 's' && !svw_live_mostly(cases, kept, other)) {
            refused = other;
            continue;
        }

        home = svw_live_merge(cases, home, other);
    }

    return home;
}


/* A client's case takes what is mostly its own; its finding takes nothing by serials. */
static int
svw_live_mostly(const svw_cases_t *cases, const svw_kept_t *kept, const svw_case_t *other)
{
    size_t  i, shared, serials;

    if (svw_finding_client(&kept->now)) {
        return 0;
    }

    if (other->best == NULL || !svw_finding_client(&other->best->now)) {
        return 1;
    }

    for (i = 0, shared = 0, serials = 0; i < kept->now.n_keys; i++) {
        if (kept->now.keys[i].data[0] == 's') {
            serials++;
            shared += svw_live_found(cases, kept, svw_case_key_digest(kept->now.keys[i])) == other;
        }
    }

    return 2 * shared > serials;
}


static svw_case_t *
svw_live_joins(svw_cases_t *cases, const svw_kept_t *kept, const char *kinds, svw_weight_t weight)
{
    size_t        i;
    svw_case_t   *best, *other, *refused;
    const char   *kind;

    for (kind = kinds; *kind != '\0'; kind++) {
        for (i = 0, best = NULL, refused = NULL; i < kept->now.n_keys; i++) {
            if (kept->now.keys[i].data[0] != (uint8_t) *kind) {
                continue;
            }

            other = svw_live_found(cases, kept, svw_case_key_digest(kept->now.keys[i]));

            if (other == NULL || other == best || other == refused || other->weight != weight
                || (other->lot.len == 0 && (*kind == 'm' || *kind == 'p')) || (best != NULL && other->first_ms >= best->first_ms))
            {
                continue;
            }

            if (*kind == 's' && kept->now.weight == SVW_WEIGHT_ASKS && !svw_live_mostly(cases, kept, other)) {
                refused = other;
                continue;
            }

            best = other;
        }

        if (best != NULL) {
            return best;
        }
    }

    return NULL;
}


/*
 * What asks, by any key, but by a lot's market or site only if both are of one lot;
 * what does not, if it is about that serial alone.
 */
static int
svw_live_absorbs(const svw_case_t *home, const svw_case_t *one, uint8_t kind)
{
    if ((kind == 'm' || kind == 'p') && (one->lot.len == 0 || (home->best != NULL && home->lot.len == 0))) {
        return 0;
    }

    return one->weight == SVW_WEIGHT_ASKS || ((kind == 's' || kind == 'o') && (one->weight == SVW_WEIGHT_INFO || one->n == 1));
}
