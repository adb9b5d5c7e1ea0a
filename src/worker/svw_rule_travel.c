/*
 * impossible_travel: a serial at two places that nobody can have joined in time.
 *
 * Between two sites one hop is enough: somebody held the pack in his hand.  A
 * consumer's place is a guess, and a link travels: there it takes hops on
 * several days, or at several places (scan_volume).
 */

#include "svw_rule.h"

#include <math.h>
#include <stdlib.h>


typedef struct {
    unsigned  sites;                    /* hops between two of them */
    unsigned  consumers;                /* .. between two sessions, each a day or more after the last that counts */
    unsigned  mixed;
    int64_t   counted_ms;
} svw_travel_t;

static void svw_travel_all(const svw_view_t *view, svw_say_t *say);
static int svw_travel_seen(const svw_node_t *node);
static void svw_travel_walk(const svw_view_t *view, svw_travel_t *travel, svw_say_t *say);
static double svw_travel_distance(const svw_facts_t *facts, const svw_place_t *a, const svw_place_t *b, int consumer_a, int consumer_b);


void
svw_rule_travel(const svw_view_t *view, svw_say_t *say)
{
    svw_travel_t  travel;

    if (view->list->n < 2) {
        return;
    }

    svw_travel_walk(view, &travel, NULL);

    if (travel.sites > 0) {
        svw_say(say, SVW_WEIGHT_ASKS, SVW_SEVERITY_HIGH, "clone");

    } else if (travel.consumers >= svw_param(view->params, SVW_P_TRAVEL_HOPS)) {
        svw_say(say, SVW_WEIGHT_ASKS, SVW_SEVERITY_MEDIUM, "clone");

    } else if (travel.sites + travel.consumers + travel.mixed > 0) {
        svw_say(say, SVW_WEIGHT_INFO, SVW_SEVERITY_INFO, "place_guessed");

    } else {
        return;
    }

    if (travel.sites > 0 || travel.consumers >= svw_param(view->params, SVW_P_TRAVEL_HOPS)) {
        svw_travel_all(view, say);
    } else {
        svw_travel_walk(view, &travel, say);
    }

    svw_say_end(say);
}


int
svw_travel_hop(const svw_facts_t *facts, const svw_node_t *a, const svw_node_t *b)
{
    double       distance, hours;
    int64_t      apart;
    svw_place_t  x, y;

    x = svw_facts_place(facts, a);
    y = svw_facts_place(facts, b);
    apart = a->time_ms < b->time_ms ? b->time_ms - a->time_ms : a->time_ms - b->time_ms;

    if (isnan(x.lat) || isnan(y.lat)) {
        return x.country[0] != '\0' && y.country[0] != '\0' && memcmp(x.country, y.country, 2) != 0
               && apart < svw_param_ms(facts->params, SVW_P_TRAVEL_COUNTRIES);
    }

    hours = apart / 3600000.0;

    /* what nobody could reach anyway is not worth a cosine */

    if (hours * svw_param(facts->params, SVW_P_TRAVEL_SPEED) > 20038) {
        return 0;
    }

    distance = svw_travel_distance(facts, &x, &y, svw_node_consumer(a), svw_node_consumer(b));

    return distance > svw_param(facts->params, SVW_P_TRAVEL_DISTANCE) && distance > hours * svw_param(facts->params, SVW_P_TRAVEL_SPEED);
}


int
svw_travel_apart(const svw_facts_t *facts, const svw_node_t *a, const svw_node_t *b, svw_param_id_t by)
{
    svw_place_t  x, y;

    x = svw_facts_place(facts, a);
    y = svw_facts_place(facts, b);

    if (isnan(x.lat) || isnan(y.lat)) {
        return x.country[0] != '\0' && y.country[0] != '\0' && memcmp(x.country, y.country, 2) != 0;
    }

    return svw_travel_distance(facts, &x, &y, svw_node_consumer(a), svw_node_consumer(b)) > svw_param(facts->params, by);
}


/* all that is known of the serial: who has the genuine one is among them */
static void
svw_travel_all(const svw_view_t *view, svw_say_t *say)
{
    svw_cursor_t       cursor;
    const svw_node_t  *node;

    for (node = svw_view_first(view, &cursor); node != NULL; node = svw_view_next(view, &cursor)) {
        svw_say_scan(say, node);
    }
}


/* A look from afar is none; a code that no product has is no serial; a preview is nobody. */
static int
svw_travel_seen(const svw_node_t *node)
{
    return node->kind != SVW_ACTOR_MANUFACTURER && node->kind != SVW_ACTOR_AUTHORITY && node->reason != SV_REASON_PRODUCT_UNKNOWN
           && !(node->class & SVW_SHARED);
}


/*
 * From each scan to the one before of somebody else; the scans of hops are said.
 * Sites are compared with the last site too: what consumers do in between does
 * not hide a hop.
 */
static void
svw_travel_walk(const svw_view_t *view, svw_travel_t *travel, svw_say_t *say)
{
    svw_cursor_t       cursor;
    const svw_node_t  *node, *before, *site;

    memset(travel, 0, sizeof(svw_travel_t));
    before = NULL;
    site = NULL;

    for (node = svw_view_first(view, &cursor); node != NULL; node = svw_view_next(view, &cursor)) {
        if (!svw_travel_seen(node)) {
            continue;
        }

        if (!svw_node_consumer(node)) {
            if (site != NULL && site->key[SVW_KEY_SITE] != node->key[SVW_KEY_SITE] && svw_travel_hop(view->facts, site, node)) {
                travel->sites++;

                if (say != NULL) {
                    svw_say_scan(say, site);
                    svw_say_scan(say, node);
                }
            }

            site = node;
        }

        if (before != NULL && (svw_node_consumer(node) || svw_node_consumer(before)) && svw_node_actor(before) != svw_node_actor(node)
            && svw_travel_hop(view->facts, before, node))
        {
            if (!svw_node_consumer(node) || !svw_node_consumer(before)) {
                travel->mixed++;

            } else if (travel->consumers == 0 || node->time_ms - travel->counted_ms >= 86400000) {
                travel->consumers++;
                travel->counted_ms = node->time_ms;
            }

            if (say != NULL) {
                svw_say_scan(say, before);
                svw_say_scan(say, node);
            }
        }

        before = node;
    }
}


static double
svw_travel_distance(const svw_facts_t *facts, const svw_place_t *a, const svw_place_t *b, int consumer_a, int consumer_b)
{
    double  accuracy;

    accuracy = !isnan(a->accuracy_km) ? a->accuracy_km : svw_param(facts->params, consumer_a ? SVW_P_TRAVEL_CONSUMER : SVW_P_TRAVEL_PRO);
    accuracy += !isnan(b->accuracy_km) ? b->accuracy_km : svw_param(facts->params, consumer_b ? SVW_P_TRAVEL_CONSUMER : SVW_P_TRAVEL_PRO);

    return svw_distance_km(a->lat, a->lon, b->lat, b->lon) - accuracy;
}
