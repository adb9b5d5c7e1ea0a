/*
 * Cases of all findings as they are in the end.
 */

#include "svw_case_in.h"

#include <stdlib.h>


/* a key of a finding */
typedef struct {
    uint64_t  key;                      /* digest */
    int64_t   first_ms, last_ms;
    uint32_t  finding;
    uint8_t   kind;                     /* s, m, p, o */
} svw_final_key_t;

typedef struct {
    svw_kept_t       **kept;
    uint32_t          *parent;
    uint8_t           *many;            /* what it is joined with by its serials is of more than one lot */
    uint32_t           n;
    svw_final_key_t   *key[3];          /* by weight; sorted */
    size_t             keys[3];
    int64_t            apart;
} svw_final_work_t;

typedef struct {
    sv_span_t   *serials, *actors;
    svw_ref_t   *refs;
    size_t       n_serials, n_actors, n_refs;
    size_t       serials_size, actors_size, refs_size;
} svw_final_room_t;


static int svw_final_collect(svw_cases_t *cases, svw_final_work_t *work);
static int svw_final_keys(svw_final_work_t *work);
static void svw_final_clients(svw_final_work_t *work);
static int svw_final_serials(svw_final_work_t *work);
static void svw_final_shared(const svw_final_work_t *work, const svw_finding_t *now, uint32_t *shared);
static size_t svw_final_find(const svw_final_work_t *work, unsigned weight, uint64_t digest);
static uint64_t svw_final_digest(sv_span_t key);
static void svw_final_lots(svw_final_work_t *work);
static void svw_final_join(svw_final_work_t *work, unsigned weight, const char *kinds);
static void svw_final_attach(svw_final_work_t *work, uint32_t finding, unsigned to, const char *kinds);
static int svw_final_match(const svw_final_work_t *work, const svw_final_key_t *key, unsigned to, uint32_t *best);
static uint32_t svw_final_root(svw_final_work_t *work, uint32_t i);
static void svw_final_union(svw_final_work_t *work, uint32_t a, uint32_t b);
static int svw_final_print(svw_final_work_t *work, svw_final_pt final, void *data);
static int svw_final_one(svw_final_room_t *room, svw_kept_t *const *kept, size_t n, svw_final_pt final, void *data);
static int svw_final_gather(svw_final_room_t *room, svw_kept_t *const *kept, size_t n);
static void svw_final_sum(svw_final_t *one, svw_kept_t *const *kept, size_t n);
static size_t svw_final_unique(sv_span_t *spans, size_t n);
static int svw_final_cmp_kept(const void *a, const void *b);
static int svw_final_cmp_key(const void *a, const void *b);
static int svw_final_cmp_span(const void *a, const void *b);
static int svw_final_cmp_ref(const void *a, const void *b);


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


int
svw_finding_above(const svw_finding_t *a, const svw_finding_t *b)
{
    if (a->withdrawn != b->withdrawn) {
        return b->withdrawn;
    }

    if (a->weight != b->weight) {
        return a->weight > b->weight;
    }

    if (a->severity != b->severity) {
        return a->severity > b->severity;
    }

    if (a->rule != b->rule) {
        return svw_rules_about[a->rule].rank < svw_rules_about[b->rule].rank;
    }

    if (a->first_ms != b->first_ms) {
        return a->first_ms < b->first_ms;
    }

    return memcmp(a->id, b->id, 16) < 0;
}


int
svw_finding_client(const svw_finding_t *finding)
{
    return finding->weight == SVW_WEIGHT_ASKS && (finding->rule == SVW_RULE_HARVESTING || finding->rule == SVW_RULE_SITE_BURST)
           && finding->lot.len == 0;
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
            key->key = svw_final_digest(now->keys[j]);
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

        digest = svw_final_digest(now->keys[i]);

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


static uint64_t
svw_final_digest(sv_span_t key)
{
    svw_hash_t  hash;

    svw_hash_begin(&hash, (svw_hash_key_t) {9, 10});
    svw_hash_add(&hash, key.data, key.len);

    return svw_hash_end(&hash);
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

            key.key = svw_final_digest(now->keys[i]);
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


static uint32_t
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
svw_final_print(svw_final_work_t *work, svw_final_pt final, void *data)
{
    int                rc;
    uint32_t           i, r, *start, *fill;
    svw_kept_t       **group;
    svw_final_room_t   room;

    memset(&room, 0, sizeof(room));
    start = calloc(work->n + 1, sizeof(uint32_t));
    fill = calloc(work->n + 1, sizeof(uint32_t));
    group = malloc((work->n + 1) * sizeof(svw_kept_t *));
    rc = start == NULL || fill == NULL || group == NULL ? -1 : 0;

    for (i = 0; rc == 0 && i < work->n; i++) {
        start[svw_final_root(work, i) + 1]++;
    }

    for (i = 0; rc == 0 && i < work->n; i++) {
        start[i + 1] += start[i];
    }

    for (i = 0; rc == 0 && i < work->n; i++) {
        r = svw_final_root(work, i);
        group[start[r] + fill[r]++] = work->kept[i];
    }

    for (i = 0; rc == 0 && i < work->n; i++) {
        if (start[i + 1] > start[i]) {
            rc = svw_final_one(&room, &group[start[i]], start[i + 1] - start[i], final, data);
        }
    }

    free(start);
    free(fill);
    free(group);
    free(room.serials);
    free(room.actors);
    free(room.refs);

    return rc;
}


static int
svw_final_one(svw_final_room_t *room, svw_kept_t *const *kept, size_t n, svw_final_pt final, void *data)
{
    svw_final_t  one;

    if (svw_final_gather(room, kept, n) != 0) {
        return -1;
    }

    memset(&one, 0, sizeof(one));
    svw_final_sum(&one, kept, n);

    one.serials = room->serials;
    one.n_serials = room->n_serials;
    one.actors = room->actors;
    one.n_actors = room->n_actors;
    one.refs = room->refs;
    one.n_refs = room->n_refs;
    one.findings = kept;
    one.n_findings = n;

    if (one.weight != SVW_WEIGHT_ASKS && room->n_refs > 0) {
        one.decided_at = room->refs[0];
    }

    final(data, &one);

    return 0;
}


static int
svw_final_gather(svw_final_room_t *room, svw_kept_t *const *kept, size_t n)
{
    size_t                i, serials, actors, refs;
    const svw_finding_t  *now;

    for (i = 0, serials = 0, actors = 0, refs = 0; i < n; i++) {
        serials += kept[i]->now.n_serials;
        actors += kept[i]->now.n_actors;
        refs += kept[i]->now.n_refs;
    }

    if (serials + actors + refs + 3 > room->refs_size) {
        free(room->serials);
        free(room->actors);
        free(room->refs);
        room->refs_size = 2 * (serials + actors + refs + 3);
        room->serials = malloc(room->refs_size * sizeof(sv_span_t));
        room->actors = malloc(room->refs_size * sizeof(sv_span_t));
        room->refs = malloc(room->refs_size * sizeof(svw_ref_t));

        if (room->serials == NULL || room->actors == NULL || room->refs == NULL) {
            return -1;
        }
    }

    for (i = 0, serials = 0, actors = 0, refs = 0; i < n; i++) {
        now = &kept[i]->now;
        memcpy(&room->serials[serials], now->serials, now->n_serials * sizeof(sv_span_t));
        serials += now->n_serials;
        memcpy(&room->actors[actors], now->actors, now->n_actors * sizeof(sv_span_t));
        actors += now->n_actors;
        memcpy(&room->refs[refs], now->refs, now->n_refs * sizeof(svw_ref_t));
        refs += now->n_refs;
    }

    room->n_serials = svw_final_unique(room->serials, serials);
    room->n_actors = svw_final_unique(room->actors, actors);
    qsort(room->refs, refs, sizeof(svw_ref_t), svw_final_cmp_ref);

    for (i = 0, room->n_refs = 0; i < refs; i++) {
        if (room->n_refs == 0 || room->refs[i] != room->refs[room->n_refs - 1]) {
            room->refs[room->n_refs++] = room->refs[i];
        }
    }

    return 0;
}


static void
svw_final_sum(svw_final_t *one, svw_kept_t *const *kept, size_t n)
{
    size_t                i;
    svw_digest_t          digest;
    const svw_finding_t  *now, *best;

    best = &kept[0]->now;
    one->gtin = best->gtin;
    one->lot = best->lot;
    one->first_ms = best->first_ms;
    one->last_ms = best->last_ms;

    for (i = 0; i < n; i++) {
        now = &kept[i]->now;
        best = svw_finding_above(now, best) ? now : best;
        one->gtin = now->gtin == one->gtin ? one->gtin : 0;
        one->lot = sv_span_eq(now->lot, one->lot) ? one->lot : (sv_span_t) {NULL, 0};
        one->first_ms = now->first_ms < one->first_ms ? now->first_ms : one->first_ms;
        one->last_ms = now->last_ms > one->last_ms ? now->last_ms : one->last_ms;

        if (now->weight == SVW_WEIGHT_ASKS && (one->decided_at == 0 || kept[i]->asked < one->decided_at)) {
            one->decided_at = kept[i]->asked;
        }
    }

    one->rule = best->rule;
    one->severity = best->severity;
    one->weight = best->weight;
    one->cause = best->cause;

    svw_digest_begin(&digest);
    svw_digest_span(&digest, (sv_span_t) {kept[0]->now.id, 16});
    svw_digest_number(&digest, kept[0]->now.first_ms);
    svw_digest_end(&digest, one->id);
}


static size_t
svw_final_unique(sv_span_t *spans, size_t n)
{
    size_t  i, m;

    qsort(spans, n, sizeof(sv_span_t), svw_final_cmp_span);

    for (i = 0, m = 0; i < n; i++) {
        if (m == 0 || !sv_span_eq(spans[i], spans[m - 1])) {
            spans[m++] = spans[i];
        }
    }

    return m;
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


static int
svw_final_cmp_span(const void *a, const void *b)
{
    return svw_span_order(*(const sv_span_t *) a, *(const sv_span_t *) b);
}


static int
svw_final_cmp_ref(const void *a, const void *b)
{
    svw_ref_t  x, y;

    x = *(const svw_ref_t *) a;
    y = *(const svw_ref_t *) b;

    return (x > y) - (x < y);
}
