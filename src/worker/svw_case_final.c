/*
 * Cases of all findings as they are in the end: which are one.
 */

#include "svw_case_final_in.h"

#include <stdlib.h>


static int svw_final_collect(svw_cases_t *cases, svw_final_work_t *work);
static int svw_final_keys(svw_final_work_t *work);
static void svw_final_clients(svw_final_work_t *work);
static int svw_final_serials(svw_final_work_t *work);
static void svw_final_shared(const svw_final_work_t *work, const svw_finding_t *now, uint32_t *shared);
static size_t svw_final_find(const svw_final_work_t *work, unsigned weight, uint64_t digest);
static void svw_final_lots(svw_final_work_t *work);
static void svw_final_join(svw_final_work_t *work, unsigned weight, const char *kinds);
static void svw_final_attach(svw_final_work_t *work, uint32_t finding, unsigned to, const char *kinds);
static int svw_final_match(const svw_final_work_t *work, const svw_final_key_t *key, unsigned to, uint32_t *best);
static void svw_final_union(svw_final_work_t *work, uint32_t a, uint32_t b);
static int svw_final_cmp_kept(const void *a, const void *b);
static int svw_final_cmp_key(const void *a, const void *b);


int
svw_cases_final(svw_cases_t *cases, svw_final_pt final, void *data)
{
    int               rc;
    uint32_t          i;
    svw_final_work_t  work;

    memset(&work, 0, sizeof(work));
    work.apart = svw_param_ms(cases->params, SVW_P_CASE_APART);
    rc = -1;

    if (svw_final_collect(cases, &work) == 0 && svw_final_keys(&work) == 0) {
        svw_final_clients(&work);
        svw_final_join(&work, SVW_WEIGHT_ASKS, "so");
        memset(work.many, 0, work.n);
        rc = svw_final_serials(&work);
        svw_final_lots(&work);
        svw_final_join(&work, SVW_WEIGHT_ASKS, "mp");
        memset(work.many, 0, work.n);
        svw_final_join(&work, SVW_WEIGHT_EXPLAINED, "o");
        svw_final_join(&work, SVW_WEIGHT_INFO, "so");

        for (i = 0; i < work.n; i++) {
            if (work.kept[i]->now.weight == SVW_WEIGHT_EXPLAINED) {
                svw_final_attach(&work, i, SVW_WEIGHT_ASKS, "s");

            } else if (work.kept[i]->now.weight == SVW_WEIGHT_INFO) {
                svw_final_attach(&work, i, SVW_WEIGHT_ASKS, "s");
            }
        }

        rc = rc == 0 ? svw_final_print(&work, final, data) : -1;
    }

    free(work.kept);
    free(work.parent);
    free(work.many);

    for (i = 0; i < 3; i++) {
        free(work.key[i]);
    }

    return rc;
}


static int
svw_final_collect(svw_cases_t *cases, svw_final_work_t *work)
{
    uint32_t      i;
    svw_kept_t   *kept;

    work->kept = malloc((cases->n + 1) * sizeof(svw_kept_t *));
    work->parent = malloc((cases->n + 1) * sizeof(uint32_t));

    work->many = calloc(cases->n + 1, 1);

    if (work->kept == NULL || work->parent == NULL || work->many == NULL) {
        return -1;
    }

    for (kept = cases->all; kept != NULL; kept = kept->all_next) {
        if (!kept->now.withdrawn) {
            work->kept[work->n++] = kept;
        }
    }

    qsort(work->kept, work->n, sizeof(svw_kept_t *), svw_final_cmp_kept);

    for (i = 0; i < work->n; i++) {
        work->parent[i] = i;
    }

    return 0;
}


static int
svw_final_keys(svw_final_work_t *work)
{
    size_t                j, n[3];
    uint32_t              i;
    unsigned              w;
    svw_final_key_t      *key;
    const svw_finding_t  *now;

    memset(n, 0, sizeof(n));

    for (i = 0; i < work->n; i++) {
        n[work->kept[i]->now.weight] += work->kept[i]->now.n_keys;
    }

    for (w = 0; w < 3; w++) {
        work->key[w] = malloc((n[w] + 1) * sizeof(svw_final_key_t));

        if (work->key[w] == NULL) {
            return -1;
        }
    }

    for (i = 0; i < work->n; i++) {
        now = &work->kept[i]->now;

        for (j = 0; j < now->n_keys; j++) {
            key = &work->key[now->weight][work->keys[now->weight]++];
            key->key = svw_case_key_digest(now->keys[j]);
            key->kind = now->keys[j].data[0];
            key->first_ms = now->first_ms;
            key->last_ms = now->last_ms;
            key->finding = i;
        }
    }

    for (w = 0; w < 3; w++) {
        qsort(work->key[w], work->keys[w], sizeof(svw_final_key_t), svw_final_cmp_key);
    }

    return 0;
}


static void
svw_final_clients(svw_final_work_t *work)
{
    uint32_t  i;

    for (i = 0; i < work->n; i++) {
        work->many[i] = svw_finding_client(&work->kept[i]->now);
    }
}


/*
 * A client that guesses at several lots does not make one case of all that is
 * guessed at these: a finding is joined with its if most of its serials are.
 */
static int
svw_final_serials(svw_final_work_t *work)
{
    uint32_t  i, client, *shared;

    shared = malloc((work->n + 1) * sizeof(uint32_t));

    if (shared == NULL) {
        return -1;
    }

    for (client = 0; client < work->n; client++) {
        if (!svw_finding_client(&work->kept[client]->now)) {
            continue;
        }

        svw_final_shared(work, &work->kept[client]->now, shared);

        for (i = 0; i < work->n; i++) {
            if (i != client && 2 * shared[i] > work->kept[i]->now.n_serials) {
                svw_final_union(work, client, i);
            }
        }
    }

    free(shared);

    return 0;
}


/* How many of its serials each finding has. */
static void
svw_final_shared(const svw_final_work_t *work, const svw_finding_t *now, uint32_t *shared)
{
    size_t                  i, lo, keys;
    uint64_t                digest;
    const svw_final_key_t  *key;

    key = work->key[SVW_WEIGHT_ASKS];
    keys = work->keys[SVW_WEIGHT_ASKS];
    memset(shared, 0, work->n * sizeof(uint32_t));

    for (i = 0; i < now->n_keys; i++) {
        if (now->keys[i].data[0] != 's') {
            continue;
        }

        digest = svw_case_key_digest(now->keys[i]);

        for (lo = svw_final_find(work, SVW_WEIGHT_ASKS, digest); lo < keys && key[lo].key == digest; lo++) {
            shared[key[lo].finding]++;
        }
    }
}


/* The first that has the key, or where it would be. */
static size_t
svw_final_find(const svw_final_work_t *work, unsigned weight, uint64_t digest)
{
    size_t  lo, hi, mid;

    for (lo = 0, hi = work->keys[weight]; lo < hi; ) {
        mid = (lo + hi) / 2;

        if (work->key[weight][mid].key < digest) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }

    return lo;
}


/*
 * What is joined by its serials and is of more than one lot (who collects serials,
 * what was commissioned twice) does not tie all that happens to these lots.
 */
static void
svw_final_lots(svw_final_work_t *work)
{
    uint32_t              i, r;
    const svw_finding_t  *a, *b;

    for (i = 0; i < work->n; i++) {
        r = svw_final_root(work, i);
        a = &work->kept[i]->now;
        b = &work->kept[r]->now;

        if (a->weight == SVW_WEIGHT_ASKS && (a->lot.len == 0 || a->gtin != b->gtin || !sv_span_eq(a->lot, b->lot))) {
            work->many[r] = 1;
        }
    }

    for (i = 0; i < work->n; i++) {
        work->many[i] = work->many[svw_final_root(work, i)];
    }
}


/* Findings of a weight that share a key of these kinds, in time. */
static void
svw_final_join(svw_final_work_t *work, unsigned weight, const char *kinds)
{
    size_t                  i;
    int64_t                 last;
    const svw_final_key_t  *key, *before;

    for (i = 0, last = 0, before = NULL; i < work->keys[weight]; i++) {
        key = &work->key[weight][i];

        if (strchr(kinds, key->kind) == NULL || (key->kind != 'o' && work->many[key->finding])) {
            continue;
        }

        if (before == NULL || before->key != key->key) {
            before = key;
            last = key->last_ms;
            continue;
        }

        if (key->first_ms - last <= work->apart) {
            svw_final_union(work, before->finding, key->finding);
        }

        before = key;
        last = key->last_ms > last ? key->last_ms : last;
    }
}


/* To the first of the findings of weight `to' that it shares a key with, and to no other. */
static void
svw_final_attach(svw_final_work_t *work, uint32_t finding, unsigned to, const char *kinds)
{
    size_t                i;
    uint32_t              best, one;
    svw_final_key_t       key;
    const char           *kind;
    const svw_finding_t  *now;

    now = &work->kept[finding]->now;

    for (kind = kinds; *kind != '\0'; kind++) {
        best = UINT32_MAX;
        one = UINT32_MAX;

        for (i = 0; i < now->n_keys; i++) {
            if (now->keys[i].data[0] != (uint8_t) *kind) {
                continue;
            }

            key.key = svw_case_key_digest(now->keys[i]);
            key.first_ms = now->first_ms;
            key.last_ms = now->last_ms;

            if (svw_final_match(work, &key, to, &one) && one < best) {
                best = one;
            }
        }

        if (best != UINT32_MAX) {
            work->parent[finding] = svw_final_root(work, best);
            return;
        }
    }
}


static int
svw_final_match(const svw_final_work_t *work, const svw_final_key_t *key, unsigned to, uint32_t *best)
{
    int                     found;
    size_t                  lo;
    const svw_final_key_t  *other;

    lo = svw_final_find(work, to, key->key);

    for (found = 0; lo < work->keys[to] && work->key[to][lo].key == key->key; lo++) {
        other = &work->key[to][lo];

        if (other->first_ms - key->last_ms <= work->apart && key->first_ms - other->last_ms <= work->apart
            && (!found || other->finding < *best))
        {
            *best = other->finding;
            found = 1;
        }
    }

    return found;
}


uint32_t
svw_final_root(svw_final_work_t *work, uint32_t i)
{
    while (work->parent[i] != i) {
        work->parent[i] = work->parent[work->parent[i]];
        i = work->parent[i];
    }

    return i;
}


/* The first finding is the root. */
static void
svw_final_union(svw_final_work_t *work, uint32_t a, uint32_t b)
{
    a = svw_final_root(work, a);
    b = svw_final_root(work, b);

    if (a < b) {
        work->parent[b] = a;
    } else {
        work->parent[a] = b;
    }
}


static int
svw_final_cmp_kept(const void *a, const void *b)
{
    const svw_finding_t  *x, *y;

    x = &(*(svw_kept_t *const *) a)->now;
    y = &(*(svw_kept_t *const *) b)->now;

    if (x->first_ms != y->first_ms) {
        return x->first_ms < y->first_ms ? -1 : 1;
    }

    return memcmp(x->id, y->id, 16);
}


static int
svw_final_cmp_key(const void *a, const void *b)
{
    const svw_final_key_t  *x, *y;

    x = a;
    y = b;

    if (x->key != y->key) {
        return x->key < y->key ? -1 : 1;
    }

    if (x->first_ms != y->first_ms) {
        return x->first_ms < y->first_ms ? -1 : 1;
    }

    return (x->finding > y->finding) - (x->finding < y->finding);
}
