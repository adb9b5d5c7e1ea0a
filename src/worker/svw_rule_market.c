/*
 * off_market: packs of a lot outside its intended markets.
 *
 * One diversion is one finding, whatever the countries.  Of professionals few
 * packs are enough; of consumers it takes more in one country than tourists and
 * VPN make of a lot that is scanned as often.
 */

#include "svw_rule.h"

#include <math.h>
#include <stdlib.h>


/* a scan outside the markets */
typedef struct {
    const svw_node_t  *node;
    const void        *by;              /* what they are counted by */
    char               country[3];
} svw_market_t;

/* what was seen in one country */
typedef struct {
    unsigned  packs;                    /* at professionals */
    unsigned  supplied;                 /* .. and not only verified */
    unsigned  consumers;                /* with consumers: packs or sessions, the fewer */
    unsigned  active;                   /* .. that nobody has supplied */
} svw_market_sum_t;

/* whose scans are counted */
typedef enum { SVW_MARKET_SITES, SVW_MARKET_SUPPLIES, SVW_MARKET_CONSUMERS, SVW_MARKET_ACTIVE } svw_market_of_t;


static size_t svw_market_gather(const svw_view_t *view, svw_market_t *scan);
static svw_market_sum_t svw_market_sum(svw_market_t *scan, size_t n);
static unsigned svw_market_consumers(svw_market_t *scan, size_t n, svw_market_of_t of);
static unsigned svw_market_count(svw_market_t *scan, size_t n, svw_market_of_t of, svw_key_kind_t by);
static int svw_market_of(const svw_node_t *node, svw_market_of_t of);
static int svw_market_asks(const svw_view_t *view, const svw_market_sum_t *sum);
static int svw_market_stray(const svw_view_t *view, unsigned packs, uint32_t of);
static int svw_market_cmp_country(const void *a, const void *b);
static int svw_market_cmp_by(const void *a, const void *b);


void
svw_rule_market(const svw_view_t *view, svw_say_t *say)
{
    size_t             i, j, k, n;
    unsigned           packs;
    svw_market_t      *scan;
    svw_market_sum_t   sum;

    scan = malloc((view->list->n + 1) * sizeof(svw_market_t));

    if (scan == NULL) {
        return;
    }

    n = svw_market_gather(view, scan);
    qsort(scan, n, sizeof(svw_market_t), svw_market_cmp_country);

    /* those of countries that ask, to the front */

    for (i = 0, k = 0, packs = 0; i < n; i = j) {
        for (j = i + 1; j < n && memcmp(scan[i].country, scan[j].country, 2) == 0; j++) { /* void */ }

        sum = svw_market_sum(&scan[i], j - i);

        if (svw_market_asks(view, &sum)) {
            packs += sum.packs;
            memmove(&scan[k], &scan[i], (j - i) * sizeof(svw_market_t));
            k += j - i;
        }
    }

    if (k > 0) {
        svw_say(say, SVW_WEIGHT_ASKS, packs >= svw_param(view->params, SVW_P_MARKET_HIGH) ? SVW_SEVERITY_HIGH : SVW_SEVERITY_MEDIUM,
                "diversion");
        n = k;

    } else if (n > 0) {
        svw_say(say, SVW_WEIGHT_INFO, SVW_SEVERITY_INFO, "traveller");
    }

    for (i = 0; i < n; i++) {
        svw_say_scan(say, scan[i].node);
    }

    if (n > 0) {
        svw_say_end(say);
    }

    free(scan);
}


/* A site where nearly all is outside its markets is somewhere else. */
void
svw_rule_market_site(const svw_view_t *view, svw_say_t *say)
{
    svw_cursor_t       cursor;
    const svw_node_t  *node;

    if (view->key->site == NULL || !view->key->site->doubt) {
        return;
    }

    svw_say(say, SVW_WEIGHT_EXPLAINED, SVW_SEVERITY_LOW, "location_wrong");
    svw_say_fact(say, view->key->site->ref, INT64_MAX);

    for (node = svw_view_first(view, &cursor); node != NULL; node = svw_view_next(view, &cursor)) {
        if (node->country[0] == '\0' && svw_lot_off(node->key[SVW_KEY_LOT], view->key->site->country)) {
            svw_say_scan(say, node);
        }
    }

    svw_say_end(say);
}


static size_t
svw_market_gather(const svw_view_t *view, svw_market_t *scan)
{
    size_t             n;
    svw_cursor_t       cursor;
    const svw_node_t  *node;

    n = 0;

    for (node = svw_view_first(view, &cursor); node != NULL; node = svw_view_next(view, &cursor)) {
        if (!(node->class & SVW_OFF) || (svw_node_consumer(node) && node->class & SVW_SHARED)) {
            continue;
        }

        scan[n].node = node;
        memcpy(scan[n].country, svw_facts_place(view->facts, node).country, 3);
        n++;
    }

    return n;
}


static svw_market_sum_t
svw_market_sum(svw_market_t *scan, size_t n)
{
    svw_market_sum_t  sum;

    sum.packs = svw_market_count(scan, n, SVW_MARKET_SITES, SVW_KEY_SERIAL);
    sum.supplied = svw_market_count(scan, n, SVW_MARKET_SUPPLIES, SVW_KEY_SERIAL);
    sum.consumers = svw_market_consumers(scan, n, SVW_MARKET_CONSUMERS);
    sum.active = svw_market_consumers(scan, n, SVW_MARKET_ACTIVE);

    return sum;
}


static unsigned
svw_market_consumers(svw_market_t *scan, size_t n, svw_market_of_t of)
{
    unsigned  packs, sessions;

    packs = svw_market_count(scan, n, of, SVW_KEY_SERIAL);
    sessions = svw_market_count(scan, n, of, SVW_KEY_CLIENT);

    return sessions < packs ? sessions : packs;
}


/* How many serials, or sessions, of these scans. */
static unsigned
svw_market_count(svw_market_t *scan, size_t n, svw_market_of_t of, svw_key_kind_t by)
{
    size_t    i;
    unsigned  count;

    for (i = 0; i < n; i++) {
        scan[i].by = svw_market_of(scan[i].node, of) ? scan[i].node->key[by] : NULL;
    }

    qsort(scan, n, sizeof(svw_market_t), svw_market_cmp_by);

    for (i = 0, count = 0; i < n; i++) {
        count += scan[i].by != NULL && (i == 0 || scan[i].by != scan[i - 1].by);
    }

    return count;
}


static int
svw_market_of(const svw_node_t *node, svw_market_of_t of)
{
    switch (of) {

    case SVW_MARKET_SITES:
        return !svw_node_consumer(node);

    case SVW_MARKET_SUPPLIES:
        return !svw_node_consumer(node) && node->operation == SVW_OP_SUPPLY;

    case SVW_MARKET_CONSUMERS:
        return svw_node_consumer(node);

    default:
        return svw_node_active(node);
    }
}


static int
svw_market_asks(const svw_view_t *view, const svw_market_sum_t *sum)
{
    double            least;
    const svw_key_t  *lot;

    lot = view->key;
    least = svw_param(view->params, SVW_P_MARKET_CONSUMERS);

    if (sum->supplied > 0 || sum->packs >= svw_param(view->params, SVW_P_MARKET_PACKS)
        || (sum->packs > 0 && 2 * sum->packs + sum->consumers >= svw_param(view->params, SVW_P_MARKET_SCORE)))
    {
        return 1;
    }

    if (sum->consumers >= svw_param(view->params, SVW_P_MARKET_MANY) && lot->consumers <= svw_param(view->params, SVW_P_MARKET_MANY_OF)) {
        return 1;
    }

    /* who travels was supplied at home, where packs are supplied: those that nobody has supplied are compared with these at home */

    return (sum->consumers >= least && svw_market_stray(view, sum->consumers, lot->consumers))
           || (sum->active >= least && svw_market_stray(view, sum->active, lot->active));
}


/* More than stray ones: by chance so many of the scans would be in one country less often than once in 100,000 lots. */
static int
svw_market_stray(const svw_view_t *view, unsigned packs, uint32_t of)
{
    double    expected, term;
    unsigned  i;

    expected = of * svw_param(view->params, SVW_P_MARKET_STRAY) / 100;
    term = exp(-expected);

    for (i = 0; i < packs; i++) {
        term *= expected / (i + 1);
    }

    /* what is left from there on: a geometric series bounds it */

    return packs > expected && term * (packs + 1) / (packs + 1 - expected) < 1e-5;
}


static int
svw_market_cmp_country(const void *a, const void *b)
{
    return memcmp(((const svw_market_t *) a)->country, ((const svw_market_t *) b)->country, 2);
}


static int
svw_market_cmp_by(const void *a, const void *b)
{
    const svw_market_t  *x, *y;

    x = a;
    y = b;

    return (x->by > y->by) - (x->by < y->by);
}
