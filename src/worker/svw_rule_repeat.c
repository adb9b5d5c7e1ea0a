/*
 * supply_of_inactive at one site: packs that it supplies again and again.
 *
 * Who splits a pack scans it a few times more than is answered without complaint,
 * and tries again when it is refused.  Who fills empty packs comes with the same
 * ones visit after visit, or with several of them.
 */

#include "svw_rule.h"

#include <stdlib.h>


#define SVW_REPEAT_TWICE  2             /* visits that make a pack one of several */


static size_t svw_repeat_gather(const svw_view_t *view, const svw_node_t **node);
static void svw_repeat_lot(const svw_view_t *view, svw_say_t *say, const svw_node_t **node, size_t n);
static size_t svw_repeat_pack(const svw_view_t *view, const svw_node_t **node, size_t n, unsigned *visits);
static int svw_repeat_cmp(const void *a, const void *b);


void
svw_rule_supply_site(const svw_view_t *view, svw_say_t *say)
{
    size_t              i, j, n;
    const svw_node_t  **node;

    node = malloc((view->list->n + 1) * sizeof(svw_node_t *));

    if (node == NULL) {
        return;
    }

    n = svw_repeat_gather(view, node);

    for (i = 0; i < n; i = j) {
        for (j = i + 1; j < n && node[j]->key[SVW_KEY_LOT] == node[i]->key[SVW_KEY_LOT]; j++) { /* void */ }

        svw_repeat_lot(view, say, &node[i], j - i);
    }

    free(node);
}


/* by lot, by serial, by time */
static size_t
svw_repeat_gather(const svw_view_t *view, const svw_node_t **node)
{
    size_t             n;
    svw_cursor_t       cursor;
    const svw_node_t  *one;

    n = 0;

    for (one = svw_view_first(view, &cursor); one != NULL; one = svw_view_next(view, &cursor)) {
        if (one->class & SVW_REFUSED && one->key[SVW_KEY_SERIAL] != NULL) {
            node[n++] = one;
        }
    }

    if (n > 1) {
        qsort(node, n, sizeof(svw_node_t *), svw_repeat_cmp);
    }

    return n;
}


static void
svw_repeat_lot(const svw_view_t *view, svw_say_t *say, const svw_node_t **node, size_t n)
{
    size_t            i, j;
    unsigned          packs, visits, most;
    const svw_key_t  *lot;

    for (i = 0, packs = 0, most = 0; i < n; ) {
        i += svw_repeat_pack(view, &node[i], n - i, &visits);
        packs += visits >= SVW_REPEAT_TWICE;
        most = visits > most ? visits : most;
    }

    if (most < svw_param(view->params, SVW_P_SUPPLY_VISITS) && packs < svw_param(view->params, SVW_P_SUPPLY_PACKS)) {
        return;
    }

    lot = node[0]->key[SVW_KEY_LOT];

    svw_say(say, SVW_WEIGHT_ASKS, SVW_SEVERITY_MEDIUM, "reused_pack");
    svw_say_apart(say, svw_key_span(lot));
    svw_say_key(say, "repeated", lot, view->key);

    for (i = 0; i < n; i = j) {
        j = i + svw_repeat_pack(view, &node[i], n - i, &visits);

        for ( /* void */ ; visits >= SVW_REPEAT_TWICE && i < j; i++) {
            svw_say_scan(say, node[i]);
        }
    }

    svw_say_end(say);
}


/* How many scans are of the first pack, and at how many visits. */
static size_t
svw_repeat_pack(const svw_view_t *view, const svw_node_t **node, size_t n, unsigned *visits)
{
    size_t   i;
    int64_t  apart, last_ms;

    apart = svw_param_ms(view->params, SVW_P_SUPPLY_APART);
    last_ms = node[0]->time_ms;
    *visits = 1;

    for (i = 1; i < n && node[i]->key[SVW_KEY_SERIAL] == node[0]->key[SVW_KEY_SERIAL]; i++) {
        if (node[i]->time_ms - last_ms >= apart) {
            ++*visits;
            last_ms = node[i]->time_ms;
        }
    }

    return i;
}


static int
svw_repeat_cmp(const void *a, const void *b)
{
    const svw_key_t   *p, *q;
    const svw_node_t  *x, *y;

    x = *(const svw_node_t *const *) a;
    y = *(const svw_node_t *const *) b;
    p = x->key[SVW_KEY_LOT];
    q = y->key[SVW_KEY_LOT];

    if (p == q) {
        p = x->key[SVW_KEY_SERIAL];
        q = y->key[SVW_KEY_SERIAL];
    }

    return p != q ? (p > q) - (p < q) : svw_node_cmp(x, y);
}
