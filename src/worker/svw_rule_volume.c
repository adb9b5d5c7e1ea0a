/*
 * scan_volume: a serial that is scanned more, and at more places, than one pack can be.
 *
 * A pack on display is looked at by many at one place; a link that goes round, by
 * many everywhere, within a day or two; a traveller, by one who comes home.  What
 * is left are copies: seen here and there, again and again.
 */

#include "svw_rule.h"

#include <stdlib.h>


typedef struct {
    const svw_node_t  *node;
    const void        *session;
} svw_volume_t;


static void svw_volume_consumers(const svw_view_t *view, svw_say_t *say, svw_volume_t *first);
static size_t svw_volume_sessions(const svw_view_t *view, svw_volume_t *first);
static unsigned svw_volume_switches(const svw_view_t *view, const svw_volume_t *first, size_t n);
static size_t svw_volume_busiest(const svw_view_t *view, const svw_volume_t *first, size_t n);
static unsigned svw_volume_sites(const svw_view_t *view);
static void svw_volume_say(const svw_view_t *view, svw_say_t *say, int consumers);
static int svw_volume_cmp_session(const void *a, const void *b);
static int svw_volume_cmp_time(const void *a, const void *b);


void
svw_rule_volume(const svw_view_t *view, svw_say_t *say)
{
    svw_volume_t  *first;

    if (view->key->all.n - view->key->consumers >= svw_param(view->params, SVW_P_VOLUME_SITES)
        && svw_volume_sites(view) >= svw_param(view->params, SVW_P_VOLUME_SITES))
    {
        svw_say(say, SVW_WEIGHT_ASKS, SVW_SEVERITY_MEDIUM, "clone");
        svw_volume_say(view, say, 0);
        return;
    }

    if (view->key->consumers < svw_param(view->params, SVW_P_VOLUME_SESSIONS)) {
        return;
    }

    first = malloc(view->list->n * sizeof(svw_volume_t));

    if (first != NULL) {
        svw_volume_consumers(view, say, first);
        free(first);
    }
}


static void
svw_volume_consumers(const svw_view_t *view, svw_say_t *say, svw_volume_t *first)
{
    size_t    n, outside;
    unsigned  switches;

    n = svw_volume_sessions(view, first);

    if (n < svw_param(view->params, SVW_P_VOLUME_SESSIONS)) {
        return;
    }

    switches = svw_volume_switches(view, first, n);
    outside = n - svw_volume_busiest(view, first, n);

    if (switches < 2) {
        svw_say(say, SVW_WEIGHT_EXPLAINED, SVW_SEVERITY_LOW, "display");

    } else if (switches < svw_param(view->params, SVW_P_VOLUME_SWITCHES)) {
        svw_say(say, SVW_WEIGHT_EXPLAINED, SVW_SEVERITY_LOW, "traveller");

    } else if (outside * 100.0 < n * svw_param(view->params, SVW_P_VOLUME_OUTSIDE)
               || first[n - 1].node->time_ms - first[0].node->time_ms < svw_param_ms(view->params, SVW_P_VOLUME_DAYS))
    {
        svw_say(say, SVW_WEIGHT_EXPLAINED, SVW_SEVERITY_LOW, "shared_link");

    } else {
        svw_say(say, SVW_WEIGHT_ASKS, SVW_SEVERITY_MEDIUM, "clone");
    }

    svw_volume_say(view, say, 1);
}


/* The first scan of each session, by time; previews and reloads are left out. */
static size_t
svw_volume_sessions(const svw_view_t *view, svw_volume_t *first)
{
    size_t             i, n, m;
    svw_cursor_t       cursor;
    const svw_node_t  *node;

    n = 0;

    for (node = svw_view_first(view, &cursor); node != NULL; node = svw_view_next(view, &cursor)) {
        if (svw_node_consumer(node) && node->key[SVW_KEY_CLIENT] != NULL && node->reason != SV_REASON_PRODUCT_UNKNOWN
            && !(node->class & SVW_SHARED))
        {
            first[n].node = node;
            first[n].session = node->key[SVW_KEY_CLIENT];
            n++;
        }
    }

    qsort(first, n, sizeof(svw_volume_t), svw_volume_cmp_session);

    for (i = 0, m = 0; i < n; i++) {
        if (m == 0 || first[i].session != first[m - 1].session) {
            first[m++] = first[i];
        }
    }

    qsort(first, m, sizeof(svw_volume_t), svw_volume_cmp_time);

    return m;
}


static unsigned
svw_volume_switches(const svw_view_t *view, const svw_volume_t *first, size_t n)
{
    size_t    i;
    unsigned  switches;

    for (i = 1, switches = 0; i < n; i++) {
        switches += svw_travel_apart(view->facts, first[i - 1].node, first[i].node);
    }

    return switches;
}


static size_t
svw_volume_busiest(const svw_view_t *view, const svw_volume_t *first, size_t n)
{
    size_t   i, j, most;
    int64_t  burst;

    burst = svw_param_ms(view->params, SVW_P_VOLUME_BURST);

    for (i = 0, j = 0, most = 0; j < n; j++) {
        while (first[j].node->time_ms - first[i].node->time_ms > burst) {
            i++;
        }

        most = j - i + 1 > most ? j - i + 1 : most;
    }

    return most;
}


/* A pack comes to one of them, or goes back and to another. */
static unsigned
svw_volume_sites(const svw_view_t *view)
{
    unsigned           n, i;
    svw_cursor_t       cursor;
    const svw_key_t   *site[16];
    const svw_node_t  *node;

    for (node = svw_view_first(view, &cursor), n = 0; node != NULL && n < 16; node = svw_view_next(view, &cursor)) {
        if ((node->kind != SVW_ACTOR_PHARMACY && node->kind != SVW_ACTOR_HOSPITAL) || node->key[SVW_KEY_SITE] == NULL
            || node->reason == SV_REASON_PRODUCT_UNKNOWN)
        {
            continue;
        }

        for (i = 0; i < n && site[i] != node->key[SVW_KEY_SITE]; i++) { /* void */ }

        if (i == n) {
            site[n++] = node->key[SVW_KEY_SITE];
        }
    }

    return n;
}


static void
svw_volume_say(const svw_view_t *view, svw_say_t *say, int consumers)
{
    svw_cursor_t       cursor;
    const svw_node_t  *node;

    for (node = svw_view_first(view, &cursor); node != NULL; node = svw_view_next(view, &cursor)) {
        if (svw_node_consumer(node) == consumers) {
            svw_say_scan(say, node);
        }
    }

    svw_say_end(say);
}


static int
svw_volume_cmp_session(const void *a, const void *b)
{
    const svw_volume_t  *x, *y;

    x = a;
    y = b;

    if (x->session != y->session) {
        return x->session < y->session ? -1 : 1;
    }

    return svw_node_cmp(x->node, y->node);
}


static int
svw_volume_cmp_time(const void *a, const void *b)
{
    return svw_node_cmp(((const svw_volume_t *) a)->node, ((const svw_volume_t *) b)->node);
}
