/*
 * scan_volume: a serial that is scanned more, and at more places, than one pack can be.
 *
 * A pack on display is looked at by many at one place; a link that goes round, by
 * many everywhere, at once, and then no more; a traveller's, by one who comes
 * home.  What is left are copies: seen here and there, again and again.
 *
 * Sessions near each other in time are one look.
 */

#include "svw_rule.h"

#include <math.h>
#include <stdlib.h>


#define SVW_PLACES  16
#define SVW_TOUR    64              /* observers looked at from each on: where there are more it is a crowd */


typedef struct {
    const svw_node_t  *node;
    const void        *session;
} svw_volume_t;


/* looks, and the places they were from */
typedef struct {
    size_t    sessions, looks;
    unsigned  switches;                 /* from look to look */
    unsigned  hops;                     /* .. that nobody can have travelled */
    unsigned  places;                   /* apart from each other; so many at least */
    unsigned  countries;
    int64_t   hopped_ms;                /* from the first hop to the last */
    int64_t   span_ms;
} svw_volume_sum_t;


static void svw_volume_consumers(const svw_view_t *view, svw_say_t *say, svw_volume_t *first);
static size_t svw_volume_sessions(const svw_view_t *view, svw_volume_t *first, int sites);
static void svw_volume_sum(const svw_view_t *view, const svw_volume_t *first, size_t n, svw_param_id_t by, svw_volume_sum_t *sum);
static int svw_volume_round(const svw_view_t *view, const svw_volume_t *first, size_t n);
static int svw_volume_abroad(const svw_view_t *view, const svw_volume_t *first, size_t n);
static int svw_volume_tour(const svw_view_t *view, const svw_volume_t *first, size_t n);
static void svw_volume_place(const svw_view_t *view, const svw_node_t **place, unsigned *places, const svw_node_t *node, svw_param_id_t by);
static unsigned svw_volume_towns(const svw_view_t *view, const svw_volume_t *first, size_t n);
static int svw_volume_asks(const svw_view_t *view, const svw_volume_sum_t *sum, const svw_volume_sum_t *observed, const svw_volume_t *first,
    size_t n);
static unsigned svw_volume_sites(const svw_view_t *view);
static void svw_volume_say(const svw_view_t *view, svw_say_t *say);
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
        svw_volume_say(view, say);
        return;
    }

    if (view->key->consumers < 2 || view->list->n < svw_param(view->params, SVW_P_VOLUME_PLACES)) {
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
    int               asks, round;
    size_t            n, m;
    svw_volume_sum_t  sum, observed;

    n = svw_volume_sessions(view, first, 0);
    svw_volume_sum(view, first, n, SVW_P_VOLUME_APART, &sum);
    round = svw_volume_round(view, first, n);
    asks = svw_volume_abroad(view, first, n);

    m = svw_volume_sessions(view, first, 1);
    svw_volume_sum(view, first, m, SVW_P_VOLUME_BETWEEN, &observed);
    asks |= svw_volume_asks(view, &sum, &observed, first, m) || svw_volume_tour(view, first, m);

    if (asks && !round) {
        svw_say(say, SVW_WEIGHT_ASKS, SVW_SEVERITY_MEDIUM, "clone");

    } else if (n < svw_param(view->params, SVW_P_VOLUME_SESSIONS)) {
        return;

    } else {
        svw_say(say, SVW_WEIGHT_EXPLAINED, SVW_SEVERITY_LOW,
                sum.places < 2 ? "display" : sum.looks * svw_param(view->params, SVW_P_VOLUME_CROWD) < n ? "shared_link" : "traveller");
    }

    svw_volume_say(view, say);
}


static int
svw_volume_asks(const svw_view_t *view, const svw_volume_sum_t *sum, const svw_volume_sum_t *observed, const svw_volume_t *first, size_t n)
{
    int                  hops;
    double               switches;
    const svw_params_t  *params;

    params = view->params;
    hops = observed->hops >= svw_param(params, SVW_P_VOLUME_HOPS);

    /* in one country, or two with previews of a link: all at once it was sent on */

    if (hops && observed->places >= svw_param(params, SVW_P_VOLUME_PLACES)
        && (observed->countries >= svw_param(params, SVW_P_VOLUME_PLACES)
            || observed->hopped_ms >= svw_param_ms(params, SVW_P_VOLUME_TOUR_LEAST)))
    {
        return 1;
    }

    if (sum->sessions > sum->looks * svw_param(params, SVW_P_VOLUME_CROWD)) {
        return 0;
    }

    if (observed->hops > 0 && observed->countries >= svw_param(params, SVW_P_VOLUME_COUNTRIES)
        && sum->span_ms >= svw_param_ms(params, SVW_P_VOLUME_SPAN))
    {
        return 1;
    }

    /* in one country, too: who travels is not at so many places, a display at one */

    if (sum->sessions >= svw_param(params, SVW_P_VOLUME_SESSIONS) && sum->looks >= svw_param(params, SVW_P_VOLUME_LOOKS)
        && sum->span_ms >= svw_param_ms(params, SVW_P_VOLUME_BURST)
        && svw_volume_towns(view, first, n) >= svw_param(params, SVW_P_VOLUME_TOWNS))
    {
        return 1;
    }

    switches = svw_param(params, SVW_P_VOLUME_SWITCHES);

    if (observed->hops > 0 && observed->places >= svw_param(params, SVW_P_VOLUME_PLACES) && sum->switches >= switches) {
        return 1;
    }

    if (hops) {
        switches -= 1;                  /* within a look the place changed, too */

    } else if (sum->places < svw_param(params, SVW_P_VOLUME_PLACES) && observed->switches < switches + switches / 2) {
        switches += switches / 2;       /* from one independent observer to the next they count as well */
    }

    return sum->places >= 2 && sum->switches >= switches && sum->looks >= svw_param(params, SVW_P_VOLUME_LOOKS)
           && sum->span_ms >= svw_param_ms(params, SVW_P_VOLUME_SPAN);
}


/* The first scan of each session (and site), by time; previews and reloads are left out. */
static size_t
svw_volume_sessions(const svw_view_t *view, svw_volume_t *first, int sites)
{
    size_t             i, n, m;
    svw_cursor_t       cursor;
    const svw_node_t  *node;

    n = 0;

    for (node = svw_view_first(view, &cursor); node != NULL; node = svw_view_next(view, &cursor)) {
        if ((svw_node_consumer(node) || (sites && node->kind != SVW_ACTOR_MANUFACTURER && node->kind != SVW_ACTOR_AUTHORITY))
            && svw_node_actor(node) != NULL && node->reason != SV_REASON_PRODUCT_UNKNOWN && !(node->class & SVW_SHARED))
        {
            first[n].node = node;
            first[n].session = svw_node_actor(node);
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


static void
svw_volume_sum(const svw_view_t *view, const svw_volume_t *first, size_t n, svw_param_id_t by, svw_volume_sum_t *sum)
{
    size_t             i;
    int64_t            apart, hop_ms;
    svw_countries_t    seen;
    const svw_node_t  *look, *place[SVW_PLACES];

    hop_ms = 0;
    memset(&seen, 0, sizeof(seen));
    memset(sum, 0, sizeof(svw_volume_sum_t));
    apart = svw_param_ms(view->params, by);
    sum->sessions = n;
    look = NULL;

    for (i = 0; i < n; i++) {
        if (look != NULL && first[i].node->time_ms - look->time_ms < apart) {
            continue;
        }

        if (look != NULL && svw_travel_apart(view->facts, look, first[i].node, SVW_P_TRAVEL_DISTANCE)) {
            sum->switches++;

            if (svw_travel_hop(view->facts, look, first[i].node)) {
                hop_ms = sum->hops++ == 0 ? first[i].node->time_ms : hop_ms;
                sum->hopped_ms = first[i].node->time_ms - hop_ms;
            }
        }

        sum->countries += svw_countries_add(&seen, svw_facts_place(view->facts, first[i].node).country) != 0;

        svw_volume_place(view, place, &sum->places, first[i].node, SVW_P_TRAVEL_DISTANCE);
        sum->looks++;
        look = first[i].node;
        sum->span_ms = look->time_ms - first[0].node->time_ms;
    }
}


static void
svw_volume_place(const svw_view_t *view, const svw_node_t **place, unsigned *places, const svw_node_t *node, svw_param_id_t by)
{
    unsigned  i;

    for (i = 0; i < *places; i++) {
        if (!svw_travel_apart(view->facts, place[i], node, by)) {
            return;
        }
    }

    if (*places < SVW_PLACES) {
        place[(*places)++] = node;
    }
}


/* Places nearer to each other, of consumers whose place is known well enough to tell them. */
static unsigned
svw_volume_towns(const svw_view_t *view, const svw_volume_t *first, size_t n)
{
    size_t             i;
    unsigned           towns;
    svw_place_t        place;
    const svw_node_t  *town[SVW_PLACES];

    for (i = 0, towns = 0; i < n; i++) {
        place = svw_facts_place(view->facts, first[i].node);

        if (svw_node_consumer(first[i].node) && !isnan(place.lat)
            && !(place.accuracy_km > svw_param(view->params, SVW_P_VOLUME_NEAR) + svw_param(view->params, SVW_P_TRAVEL_CONSUMER)))
        {
            svw_volume_place(view, town, &towns, first[i].node, SVW_P_VOLUME_NEAR);
        }
    }

    return towns;
}


/* A crowd within a day or two, and then nearly nobody. */
static int
svw_volume_round(const svw_view_t *view, const svw_volume_t *first, size_t n)
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

    return most >= svw_param(view->params, SVW_P_VOLUME_ROUND) && most * 10 >= n * 7;
}


/* Supplied in one country, and seen in others since, in each by another session. */
static int
svw_volume_abroad(const svw_view_t *view, const svw_volume_t *first, size_t n)
{
    size_t             i;
    int64_t            last_ms;
    unsigned           abroad;
    svw_place_t        place;
    svw_cursor_t       cursor;
    svw_countries_t    seen;
    const svw_node_t  *supply;

    supply = svw_view_first(view, &cursor);

    while (supply != NULL && (supply->operation != SVW_OP_SUPPLY || !svw_node_done(supply))) {
        supply = svw_view_next(view, &cursor);
    }

    place = supply == NULL ? (svw_place_t) { .country = "" } : svw_facts_place(view->facts, supply);

    if (place.country[0] == '\0') {
        return 0;
    }

    memset(&seen, 0, sizeof(seen));
    svw_countries_add(&seen, place.country);
    last_ms = supply->time_ms;

    for (i = 0, abroad = 0; i < n; i++) {
        if (first[i].node->time_ms - last_ms < svw_param_ms(view->params, SVW_P_VOLUME_BETWEEN)) {
            continue;
        }

        if (svw_countries_add(&seen, svw_facts_place(view->facts, first[i].node).country)) {
            last_ms = first[i].node->time_ms;
            abroad++;
        }
    }

    return abroad >= svw_param(view->params, SVW_P_VOLUME_ABROAD);
}


/* Seen in more countries within a few days than anybody takes it to; what is all over within hours is a link. */
static int
svw_volume_tour(const svw_view_t *view, const svw_volume_t *first, size_t n)
{
    size_t           i, j;
    int64_t          last_ms, apart;
    unsigned         countries;
    svw_countries_t  seen;

    for (i = 0; i < n; i++) {
        memset(&seen, 0, sizeof(seen));
        last_ms = INT64_MIN / 2;

        for (j = i, countries = 0; j < n; j++) {
            apart = first[j].node->time_ms - first[i].node->time_ms;

            if (apart > svw_param_ms(view->params, SVW_P_VOLUME_TOUR) || j - i > SVW_TOUR) {
                break;
            }

            if (first[j].node->time_ms - last_ms < svw_param_ms(view->params, SVW_P_VOLUME_BETWEEN)
                || !svw_countries_add(&seen, svw_facts_place(view->facts, first[j].node).country))
            {
                continue;
            }

            last_ms = first[j].node->time_ms;
            countries++;

            if (countries >= svw_param(view->params, SVW_P_VOLUME_COUNTRIES) && apart >= svw_param_ms(view->params, SVW_P_VOLUME_TOUR_LEAST)) {
                return 1;
            }
        }
    }

    return 0;
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


/* all that is known of the serial: who has the genuine one is among them */
static void
svw_volume_say(const svw_view_t *view, svw_say_t *say)
{
    svw_cursor_t       cursor;
    const svw_node_t  *node;

    for (node = svw_view_first(view, &cursor); node != NULL; node = svw_view_next(view, &cursor)) {
        svw_say_scan(say, node);
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
