/*
 * harvesting: a client that guesses serials, or collects valid ones.
 *
 * A guess hits once in 10,000 at best, so a number of different misses and few
 * hits in a short time is nobody's daily work.  Misses that a scanner's setting
 * or a late upload explains are none; those that resemble a right serial are:
 * who guesses goes on from one that is known.  A lot or a product that is not found counts
 * once.  A site scans whole pallets, and hits; a consumer holds a few packs.
 */

#include "svw_miss.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>


/* a serial (or lot) that a client presented, and when first */
typedef struct {
    const void  *what;
    int64_t      time_ms;
} svw_first_t;

typedef struct {
    svw_first_t  *v;
    size_t        n, size;
} svw_firsts_t;


static void svw_harvest_guesses(const svw_view_t *view, svw_say_t *say, svw_firsts_t *misses, svw_firsts_t *hits);
static void svw_harvest_hits(const svw_view_t *view, svw_say_t *say, svw_firsts_t *hits);
static void svw_harvest_say(const svw_view_t *view, svw_say_t *say);
static int svw_harvest_collect(const svw_view_t *view, svw_firsts_t *misses, svw_firsts_t *hits);
static void svw_harvest_place(const svw_view_t *view, svw_say_t *say);
static size_t svw_harvest_beside(const svw_view_t *view, int64_t from_ms, int64_t to_ms);
static const void *svw_harvest_guess(const svw_view_t *view, const svw_node_t *node);
static const void *svw_harvest_hit(const svw_node_t *node);
static size_t svw_harvest_most(const svw_firsts_t *firsts, int64_t within, size_t *at);
static int svw_firsts_add(svw_firsts_t *firsts, const void *what, int64_t time_ms);
static void svw_firsts_settle(svw_firsts_t *firsts);
static int svw_first_cmp(const void *a, const void *b);
static int svw_first_time_cmp(const void *a, const void *b);


void
svw_rule_harvesting(const svw_view_t *view, svw_say_t *say)
{
    svw_firsts_t  misses = { .n = 0 }, hits = { .n = 0 };

    if (svw_harvest_collect(view, &misses, &hits) == 0) {
        svw_harvest_guesses(view, say, &misses, &hits);
    }

    free(misses.v);
    free(hits.v);
}


static void
svw_harvest_guesses(const svw_view_t *view, svw_say_t *say, svw_firsts_t *misses, svw_firsts_t *hits)
{
    int      consumer;
    size_t   n, at, beside;
    double   needed;
    int64_t  within, from;

    consumer = view->key->kind == SVW_KEY_CLIENT;
    needed = svw_param(view->params, consumer ? SVW_P_HARVEST_MISSES : SVW_P_HARVEST_SITE_MISSES);
    within = svw_param_ms(view->params, SVW_P_HARVEST_WITHIN);
    n = svw_harvest_most(misses, consumer ? INT64_MAX : within, &at);

    if (n >= needed) {
        from = misses->v[at].time_ms;
        beside = consumer ? 0 : svw_harvest_beside(view, from, from + within);

        if (n >= beside) {
            svw_say(say, SVW_WEIGHT_ASKS, SVW_SEVERITY_HIGH, "guessed_serials");
            svw_harvest_say(view, say);
            return;
        }
    }

    if (consumer) {
        svw_harvest_hits(view, say, hits);
    }
}


static void
svw_harvest_hits(const svw_view_t *view, svw_say_t *say, svw_firsts_t *hits)
{
    size_t  at;

    if (hits->n < svw_param(view->params, SVW_P_HARVEST_DAY)
        && svw_harvest_most(hits, svw_param_ms(view->params, SVW_P_HARVEST_WITHIN), &at) < svw_param(view->params, SVW_P_HARVEST_HITS))
    {
        return;
    }

    svw_say(say, SVW_WEIGHT_ASKS, SVW_SEVERITY_MEDIUM, "collected_serials");
    svw_harvest_say(view, say);
}


/* All the client did: what it hit may be copied next. Of a site the misses only: the rest is its work. */
static void
svw_harvest_say(const svw_view_t *view, svw_say_t *say)
{
    int                consumer;
    char               since[SVW_MISS_APART];
    svw_cursor_t       cursor;
    const svw_node_t  *node;

    consumer = view->key->kind == SVW_KEY_CLIENT;
    svw_miss_apart(view, say, "", since);
    svw_say_narrow(say);
    svw_harvest_place(view, say);

    for (node = svw_view_first(view, &cursor); node != NULL; node = svw_view_next(view, &cursor)) {
        if (svw_harvest_guess(view, node) != NULL || (consumer && svw_harvest_hit(node) != NULL)) {
            svw_say_scan(say, node);
        }
    }

    svw_say_end(say);
}


/* A session lasts a day or less: those of one place are one client, as far as anybody can tell. */
static void
svw_harvest_place(const svw_view_t *view, svw_say_t *say)
{
    char               word[64];
    svw_place_t        place;
    svw_cursor_t       cursor;
    const svw_node_t  *node;

    node = svw_view_first(view, &cursor);

    if (view->key->kind != SVW_KEY_CLIENT || node == NULL) {
        return;
    }

    place = svw_facts_place(view->facts, node);

    if (!isnan(place.lat)) {
        snprintf(word, sizeof(word), "harvesting/%.2s/%.1f/%.1f", place.country, round(place.lat * 2) / 2, round(place.lon * 2) / 2);
        svw_say_key(say, word, NULL, NULL);
    }
}


/* -1: no memory */
static int
svw_harvest_collect(const svw_view_t *view, svw_firsts_t *misses, svw_firsts_t *hits)
{
    int                rc;
    const void        *what;
    svw_cursor_t       cursor;
    const svw_node_t  *node;

    rc = 0;

    for (node = svw_view_first(view, &cursor); rc == 0 && node != NULL; node = svw_view_next(view, &cursor)) {
        what = svw_harvest_guess(view, node);

        if (what != NULL) {
            rc = svw_firsts_add(misses, what, node->time_ms);
            continue;
        }

        what = svw_harvest_hit(node);

        if (what != NULL) {
            rc = svw_firsts_add(hits, what, node->time_ms);
        }
    }

    svw_firsts_settle(misses);
    svw_firsts_settle(hits);

    return rc;
}


/* what a site found in the same time: its view has the misses only */
static size_t
svw_harvest_beside(const svw_view_t *view, int64_t from_ms, int64_t to_ms)
{
    size_t             n;
    svw_cursor_t       cursor;
    const svw_node_t  *node;

    node = svw_list_seek(&view->key->all, from_ms, &cursor);

    for (n = 0; node != NULL && node->time_ms <= to_ms; node = svw_cursor_next(&cursor)) {
        n += svw_harvest_hit(node) != NULL;
    }

    return n;
}


/* what it guessed at, or NULL: it is no guess */
static const void *
svw_harvest_guess(const svw_view_t *view, const svw_node_t *node)
{
    const svw_key_t  *serial, *lot;

    serial = node->key[SVW_KEY_SERIAL];
    lot = node->key[SVW_KEY_LOT];

    if (!(node->class & SVW_MISS) || node->class & SVW_SHARED || node->why == SVW_WHY_SCANNER || node->why == SVW_WHY_UPLOAD) {
        return NULL;
    }

    switch (node->reason) {

    /* at a site it is a product of others, or one that is new */
    case SV_REASON_PRODUCT_UNKNOWN:
        return view->key->kind == SVW_KEY_CLIENT ? (const void *) (uintptr_t) node->gtin : NULL;

    case SV_REASON_SERIAL_UNKNOWN:
    case SV_REASON_LOT_MISMATCH:
        return serial;

    /* .. and a lot that is not known an upload that is missing */
    case SV_REASON_LOT_UNKNOWN:
        return lot == NULL ? serial : view->key->kind == SVW_KEY_CLIENT ? lot : NULL;

    default:
        return NULL;
    }
}


static const void *
svw_harvest_hit(const svw_node_t *node)
{
    if (node->class & (SVW_MISS | SVW_SHARED) || node->reason == SV_REASON_MAX) {
        return NULL;
    }

    return node->key[SVW_KEY_SERIAL];
}


/* The most within such a time, and where it begins. */
static size_t
svw_harvest_most(const svw_firsts_t *firsts, int64_t within, size_t *at)
{
    size_t  i, from, most;

    *at = 0;

    for (i = 0, from = 0, most = 0; i < firsts->n; i++) {
        while (firsts->v[i].time_ms - firsts->v[from].time_ms > within) {
            from++;
        }

        if (i - from + 1 > most) {
            most = i - from + 1;
            *at = from;
        }
    }

    return most;
}


static int
svw_firsts_add(svw_firsts_t *firsts, const void *what, int64_t time_ms)
{
    size_t        size;
    svw_first_t  *v;

    if (firsts->n == firsts->size) {
        size = firsts->size > 0 ? 2 * firsts->size : 32;
        v = realloc(firsts->v, size * sizeof(svw_first_t));

        if (v == NULL) {
            return -1;
        }

        firsts->v = v;
        firsts->size = size;
    }

    firsts->v[firsts->n++] = (svw_first_t) { .what = what, .time_ms = time_ms };

    return 0;
}


/* each once, when it came first; by time */
static void
svw_firsts_settle(svw_firsts_t *firsts)
{
    size_t  i, n;

    if (firsts->n == 0) {
        return;
    }

    qsort(firsts->v, firsts->n, sizeof(svw_first_t), svw_first_cmp);

    for (i = 1, n = 1; i < firsts->n; i++) {
        if (firsts->v[i].what != firsts->v[n - 1].what) {
            firsts->v[n++] = firsts->v[i];
        }
    }

    firsts->n = n;
    qsort(firsts->v, firsts->n, sizeof(svw_first_t), svw_first_time_cmp);
}


static int
svw_first_cmp(const void *a, const void *b)
{
    const svw_first_t  *x, *y;

    x = a;
    y = b;

    if (x->what != y->what) {
        return (uintptr_t) x->what < (uintptr_t) y->what ? -1 : 1;
    }

    return (x->time_ms > y->time_ms) - (x->time_ms < y->time_ms);
}


static int
svw_first_time_cmp(const void *a, const void *b)
{
    const svw_first_t  *x, *y;

    x = a;
    y = b;

    return (x->time_ms > y->time_ms) - (x->time_ms < y->time_ms);
}
