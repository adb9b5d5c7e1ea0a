/*
 * Cases as findings come.
 *
 * A key leads to one case, the last that had it.  Cases that ask and share a key
 * merge into the one that was written, that has a product, that is older; what does not ask joins one.
 */

#include "svw_case_in.h"

#include <stdlib.h>
#include <sys/random.h>


#define SVW_LIVE_LEAST  1024


struct svw_live_key_s {
    svw_live_key_t  *next;
    uint64_t         key;
    svw_case_t      *in;
};


static svw_case_t *svw_live_home(svw_cases_t *cases, svw_kept_t *kept);
static svw_case_t *svw_live_merge_all(svw_cases_t *cases, svw_kept_t *kept, svw_case_t *home);
static svw_case_t *svw_live_joins(svw_cases_t *cases, const svw_kept_t *kept, const char *kinds, svw_weight_t weight);
static svw_case_t *svw_live_found(const svw_cases_t *cases, const svw_kept_t *kept, uint64_t key);
static int svw_live_mostly(const svw_cases_t *cases, const svw_kept_t *kept, const svw_case_t *other);
static int svw_live_absorbs(const svw_case_t *home, const svw_case_t *one, uint8_t kind);
static svw_case_t *svw_live_merge(svw_cases_t *cases, svw_case_t *a, svw_case_t *b);
static svw_case_t *svw_live_new(svw_cases_t *cases, uint64_t gtin);
static void svw_live_add(svw_cases_t *cases, svw_case_t *one, svw_kept_t *kept);
static void svw_live_sum(svw_case_t *one);
static void svw_live_sum_one(svw_case_t *one, svw_kept_t *kept);
static int svw_live_keys(svw_cases_t *cases, const svw_kept_t *kept);
static int svw_live_grow(svw_cases_t *cases);
static void svw_live_changed(svw_cases_t *cases, svw_case_t *one);
static uint64_t svw_live_digest(sv_span_t key);
static svw_case_t *svw_live_now(svw_case_t *one);


int
svw_live_init(svw_cases_t *cases)
{
    cases->key_mask = SVW_LIVE_LEAST - 1;
    cases->key = calloc(SVW_LIVE_LEAST, sizeof(svw_live_key_t *));

    return cases->key == NULL ? -1 : 0;
}


void
svw_live_done(svw_cases_t *cases)
{
    size_t           i;
    svw_case_t      *one;
    svw_live_key_t  *key;

    while (cases->live != NULL) {
        one = cases->live;
        cases->live = one->all_next;
        free(one);
    }

    for (i = 0; cases->key != NULL && i <= cases->key_mask; i++) {
        while (cases->key[i] != NULL) {
            key = cases->key[i];
            cases->key[i] = key->next;
            free(key);
        }
    }

    free(cases->key);
}


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

        svw_live_add(cases, home, kept);
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
        svw_live_add(cases, in, kept);
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


void
svw_cases_forget(svw_cases_t *cases, int64_t before_ms)
{
    size_t            i;
    svw_case_t       *one, **p, *gone;
    svw_kept_t       *kept, **k, **slot;
    svw_live_key_t   *key, **l;

    /* old: first of what leads to them, then they themselves */

    for (i = 0; i <= cases->key_mask; i++) {
        for (l = &cases->key[i]; *l != NULL; ) {
            key = *l;
            key->in = svw_live_now(key->in);

            if (key->in->last_ms < before_ms && !key->in->changed) {
                *l = key->next;
                free(key);
                cases->keys--;

            } else {
                l = &key->next;
            }
        }
    }

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
        other = svw_live_found(cases, kept, svw_live_digest(kept->now.keys[i]));

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
            shared += svw_live_found(cases, kept, svw_live_digest(kept->now.keys[i])) == other;
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

            other = svw_live_found(cases, kept, svw_live_digest(kept->now.keys[i]));

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


static svw_case_t *
svw_live_found(const svw_cases_t *cases, const svw_kept_t *kept, uint64_t digest)
{
    int64_t          apart;
    svw_case_t      *one;
    svw_live_key_t  *key;

    apart = svw_param_ms(cases->params, SVW_P_CASE_APART);

    for (key = cases->key[digest & cases->key_mask]; key != NULL; key = key->next) {
        if (key->key != digest) {
            continue;
        }

        one = svw_live_now(key->in);

        return kept->now.first_ms - one->last_ms <= apart && one->first_ms - kept->now.last_ms <= apart ? one : NULL;
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


static svw_case_t *
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


static svw_case_t *
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


static void
svw_live_add(svw_cases_t *cases, svw_case_t *one, svw_kept_t *kept)
{
    (void) cases;

    kept->in = one;
    kept->next = one->findings;
    one->findings = kept;
    one->n++;
}


static void
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
static void
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


static int
svw_live_keys(svw_cases_t *cases, const svw_kept_t *kept)
{
    size_t            i;
    uint64_t          digest;
    svw_live_key_t   *key;

    for (i = 0; i < kept->now.n_keys; i++) {
        if (kept->now.weight != SVW_WEIGHT_ASKS && kept->now.keys[i].data[0] != 's' && kept->now.keys[i].data[0] != 'o') {
            continue;
        }

        digest = svw_live_digest(kept->now.keys[i]);

        for (key = cases->key[digest & cases->key_mask]; key != NULL && key->key != digest; key = key->next) { /* void */ }

        if (key != NULL) {
            key->in = svw_live_now(key->in);

            if (key->in->weight != SVW_WEIGHT_ASKS || kept->now.weight == SVW_WEIGHT_ASKS) {
                key->in = kept->in;
            }

            continue;
        }

        if (cases->keys > cases->key_mask && svw_live_grow(cases) != 0) {
            return -1;
        }

        key = malloc(sizeof(svw_live_key_t));

        if (key == NULL) {
            return -1;
        }

        key->key = digest;
        key->in = kept->in;
        key->next = cases->key[digest & cases->key_mask];
        cases->key[digest & cases->key_mask] = key;
        cases->keys++;
    }

    return 0;
}


static int
svw_live_grow(svw_cases_t *cases)
{
    size_t            i, mask;
    svw_live_key_t   *key, *next, **slot;

    mask = cases->key_mask * 2 + 1;
    slot = calloc(mask + 1, sizeof(svw_live_key_t *));

    if (slot == NULL) {
        return -1;
    }

    for (i = 0; i <= cases->key_mask; i++) {
        for (key = cases->key[i]; key != NULL; key = next) {
            next = key->next;
            key->next = slot[key->key & mask];
            slot[key->key & mask] = key;
        }
    }

    free(cases->key);
    cases->key = slot;
    cases->key_mask = mask;

    return 0;
}


static void
svw_live_changed(svw_cases_t *cases, svw_case_t *one)
{
    if (!one->changed) {
        one->changed = 1;
        one->changed_next = cases->changed;
        cases->changed = one;
    }
}


static uint64_t
svw_live_digest(sv_span_t key)
{
    svw_hash_t  hash;

    svw_hash_begin(&hash, (svw_hash_key_t) {9, 10});
    svw_hash_add(&hash, key.data, key.len);

    return svw_hash_end(&hash);
}


static svw_case_t *
svw_live_now(svw_case_t *one)
{
    while (one != NULL && one->merged_into != NULL) {
        one = one->merged_into;
    }

    return one;
}
