/*
 * Cases of all findings: what each of them says.
 */

#include "svw_case_final_in.h"
#include "svw_sort.h"

#include <stdlib.h>


typedef struct {
    sv_span_t   *serials, *actors;
    svw_ref_t   *refs;
    size_t       n_serials, n_actors, n_refs;
    size_t       serials_size, actors_size, refs_size;
} svw_final_room_t;


static int svw_final_one(svw_final_room_t *room, svw_kept_t *const *kept, size_t n, svw_final_pt final, void *data);
static void svw_final_decided(svw_final_t *one);
static int svw_final_gather(svw_final_room_t *room, svw_kept_t *const *kept, size_t n);
static void svw_final_sum(svw_final_t *one, svw_kept_t *const *kept, size_t n);


int
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

    svw_final_decided(&one);

    final(data, &one);

    return 0;
}


/* Of its evidence: what decided may have been a fact, or is taken for something else since; then it is the next. */
static void
svw_final_decided(svw_final_t *one)
{
    size_t  i;

    if (one->n_refs == 0) {
        return;
    }

    if (one->weight != SVW_WEIGHT_ASKS) {
        one->decided_at = one->refs[0];
        return;
    }

    for (i = 0; i + 1 < one->n_refs && one->refs[i] < one->decided_at; i++) { /* void */ }

    one->decided_at = one->refs[i];
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

    room->n_serials = svw_spans_unique(room->serials, serials);
    room->n_actors = svw_spans_unique(room->actors, actors);
    room->n_refs = svw_refs_unique(room->refs, refs);

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
