/*
 * supply_of_inactive: an operation on a pack that another site has made inactive.
 *
 * Who made it inactive is told by the scan (`before'), or was seen: the last
 * operation that was carried out before it.  States change in order of arrival,
 * so of an offline replay that lost the race the other one may be the later by
 * its own time.
 */

#include "svw_rule.h"

#include <math.h>


#define SVW_SUPPLY_SITES  4             /* so many that supply one pack have copies of it */


/* how far an operation on an inactive pack is to be thought of */
typedef enum {
    SVW_SUPPLY_NOTHING, SVW_SUPPLY_SEEN, SVW_SUPPLY_HERE, SVW_SUPPLY_UNDONE, SVW_SUPPLY_HUB, SVW_SUPPLY_LOCKED, SVW_SUPPLY_ELSEWHERE
} svw_supply_t;

static void svw_supply_say(const svw_view_t *view, svw_say_t *say, svw_supply_t worst);
static svw_supply_t svw_supply_judge(const svw_view_t *view, const svw_node_t *node);
static int svw_supply_locked(const svw_view_t *view, const svw_node_t *node);
static int svw_supply_took(const svw_node_t *node, svw_op_t operation);
static int svw_supply_undone(const svw_view_t *view, const svw_node_t *node);
static int svw_supply_here_before(const svw_view_t *view, const svw_node_t *node);
static int svw_supply_hub(const svw_view_t *view, const svw_node_t *node, const svw_key_t *maker);
static int svw_supply_verifiers(const svw_view_t *view);
static int svw_supply_copied(const svw_view_t *view);
static const svw_node_t *svw_supply_made(const svw_view_t *view, const svw_node_t *node);


static const struct {
    svw_weight_t    weight;
    svw_severity_t  severity;
    const char     *cause;
} svw_supply_says[] = {
    [SVW_SUPPLY_SEEN] =      { SVW_WEIGHT_INFO,      SVW_SEVERITY_INFO,   "returned_pack" },
    [SVW_SUPPLY_HERE] =      { SVW_WEIGHT_EXPLAINED, SVW_SEVERITY_LOW,    "split_pack" },
    [SVW_SUPPLY_UNDONE] =    { SVW_WEIGHT_EXPLAINED, SVW_SEVERITY_LOW,    "undone_late" },
    [SVW_SUPPLY_HUB] =       { SVW_WEIGHT_EXPLAINED, SVW_SEVERITY_LOW,    "hospital_hub" },
    [SVW_SUPPLY_LOCKED] =    { SVW_WEIGHT_ASKS,      SVW_SEVERITY_MEDIUM, "locked_pack" },
    [SVW_SUPPLY_ELSEWHERE] = { SVW_WEIGHT_ASKS,      SVW_SEVERITY_HIGH,   "reused_pack" }
};


void
svw_rule_supply(const svw_view_t *view, svw_say_t *say)
{
    const char        *cause;
    svw_supply_t       worst, one;
    svw_severity_t     severity;
    svw_cursor_t       cursor;
    const svw_node_t  *node;

    worst = SVW_SUPPLY_NOTHING;
    severity = SVW_SEVERITY_MEDIUM;
    cause = NULL;

    for (node = svw_view_first(view, &cursor); node != NULL; node = svw_view_next(view, &cursor)) {
        one = svw_supply_judge(view, node);
        worst = one > worst ? one : worst;

        if (one == SVW_SUPPLY_ELSEWHERE && node->reason != SV_REASON_FREE_SAMPLE && node->reason != SV_REASON_CHECKED_OUT) {
            severity = SVW_SEVERITY_HIGH;
            cause = svw_reason_dead(node->reason) ? svw_dead_cause(node->reason) : cause;
        }
    }

    if (worst == SVW_SUPPLY_NOTHING) {
        return;
    }

    if (worst == SVW_SUPPLY_SEEN && svw_supply_verifiers(view)) {
        worst = SVW_SUPPLY_ELSEWHERE;
    }

    if (worst != SVW_SUPPLY_ELSEWHERE) {
        severity = svw_supply_says[worst].severity;
        cause = svw_supply_says[worst].cause;

    } else if (cause == NULL) {
        cause = svw_supply_copied(view) ? "clone" : svw_supply_says[worst].cause;
    }

    svw_say(say, svw_supply_says[worst].weight, severity, cause);
    svw_supply_say(view, say, worst);
}


static void
svw_supply_say(const svw_view_t *view, svw_say_t *say, svw_supply_t worst)
{
    svw_supply_t       one;
    svw_cursor_t       cursor;
    const svw_node_t  *node;

    for (node = svw_view_first(view, &cursor); node != NULL; node = svw_view_next(view, &cursor)) {
        one = svw_supply_judge(view, node);

        if (one != SVW_SUPPLY_NOTHING || svw_node_done(node) || (worst == SVW_SUPPLY_UNDONE && svw_supply_took(node, SVW_OP_UNDO))
            || (worst == SVW_SUPPLY_LOCKED && svw_supply_took(node, SVW_OP_LOCK)))
        {
            svw_say_scan(say, node);
        }

        /* packs of a lot that are split at one site, or pass through one hub, are one case */

        if ((one == SVW_SUPPLY_HERE || one == SVW_SUPPLY_HUB) && worst == one && node->key[SVW_KEY_LOT] != NULL) {
            svw_say_key(say, svw_supply_says[one].cause, node->key[SVW_KEY_LOT], node->key[SVW_KEY_SITE]);
        }
    }

    svw_say_end(say);
}


static svw_supply_t
svw_supply_judge(const svw_view_t *view, const svw_node_t *node)
{
    const svw_key_t   *maker, *site;
    const svw_node_t  *made;

    site = node->key[SVW_KEY_SITE];

    if (site == NULL || (!svw_reason_inactive(node->reason) && node->reason != SV_REASON_LOCKED) || node->operation == SVW_OP_UNDO
        || node->kind == SVW_ACTOR_MANUFACTURER || node->kind == SVW_ACTOR_AUTHORITY || svw_node_consumer(node))
    {
        return SVW_SUPPLY_NOTHING;
    }

    if (node->reason == SV_REASON_LOCKED) {
        return node->operation == SVW_OP_SUPPLY && svw_supply_locked(view, node) ? SVW_SUPPLY_LOCKED : SVW_SUPPLY_NOTHING;
    }

    maker = node->before;

    if (maker == NULL) {
        made = svw_supply_made(view, node);
        maker = made == NULL ? view->key->maker : made->key[SVW_KEY_SITE];
    }

    if (node->operation == SVW_OP_VERIFY || node->operation == SVW_OP_DESTROY || node->operation == SVW_OP_LOCK
        || node->operation == SVW_OP_STEAL)
    {
        return node->reason == SV_REASON_ALREADY_SUPPLIED && maker != site ? SVW_SUPPLY_SEEN : SVW_SUPPLY_NOTHING;
    }

    if (maker == site || (maker == NULL && svw_supply_here_before(view, node))) {
        return SVW_SUPPLY_HERE;
    }

    if (svw_supply_undone(view, node)) {
        return SVW_SUPPLY_UNDONE;
    }

    return svw_supply_hub(view, node, maker) ? SVW_SUPPLY_HUB : SVW_SUPPLY_ELSEWHERE;
}


/* the last that was carried out before it, or else the first after it */
static const svw_node_t *
svw_supply_made(const svw_view_t *view, const svw_node_t *node)
{
    unsigned           n;
    svw_cursor_t       cursor;
    const svw_node_t  *other;

    other = svw_list_seek(view->list, node->time_ms + 1, &cursor);

    for (n = 0, other = svw_cursor_prev(&cursor); other != NULL && n < 256; other = svw_cursor_prev(&cursor), n++) {
        if (svw_node_done(other)) {
            return other;
        }
    }

    other = svw_list_seek(view->list, node->time_ms + 1, &cursor);

    for (n = 0; other != NULL && n < 256; other = svw_cursor_next(&cursor), n++) {
        if (svw_node_done(other)) {
            return other;
        }
    }

    return NULL;
}


/* Locked by another site, not by who made or withdraws it: that is a matter of the lot. */
static int
svw_supply_locked(const svw_view_t *view, const svw_node_t *node)
{
    unsigned           n;
    svw_cursor_t       cursor;
    const svw_node_t  *other;

    (void) svw_list_seek(view->list, node->time_ms + 1, &cursor);

    for (n = 0, other = svw_cursor_prev(&cursor); other != NULL && n < 256; other = svw_cursor_prev(&cursor), n++) {
        if (svw_supply_took(other, SVW_OP_UNDO)) {
            return 0;
        }

        if (svw_supply_took(other, SVW_OP_LOCK)) {
            return other->key[SVW_KEY_SITE] != node->key[SVW_KEY_SITE] && other->kind != SVW_ACTOR_MANUFACTURER
                   && other->kind != SVW_ACTOR_AUTHORITY;
        }
    }

    return 0;
}


/* It was carried out. */
static int
svw_supply_took(const svw_node_t *node, svw_op_t operation)
{
    return node->operation == operation && node->reason == SV_REASON_OK && node->key[SVW_KEY_SITE] != NULL;
}


/* What made it inactive had been taken back by then, which was told later. */
static int
svw_supply_undone(const svw_view_t *view, const svw_node_t *node)
{
    unsigned           n;
    svw_cursor_t       cursor;
    const svw_node_t  *other;

    (void) svw_list_seek(view->list, node->time_ms + 1, &cursor);

    for (n = 0, other = svw_cursor_prev(&cursor); other != NULL && n < 256; other = svw_cursor_prev(&cursor), n++) {
        if (svw_supply_took(other, SVW_OP_UNDO)) {
            return 1;
        }

        if (svw_node_done(other)) {
            return 0;
        }
    }

    return 0;
}


static int
svw_supply_here_before(const svw_view_t *view, const svw_node_t *node)
{
    unsigned           n;
    svw_cursor_t       cursor;
    const svw_node_t  *other;

    other = svw_list_begin(view->list, &cursor);

    for (n = 0; other != NULL && n < 256; other = svw_cursor_next(&cursor), n++) {
        if (other->reason == SV_REASON_ALREADY_SUPPLIED_HERE && other->key[SVW_KEY_SITE] == node->key[SVW_KEY_SITE]) {
            return 1;
        }
    }

    return 0;
}


/* Two hospitals near each other may share a pharmacy. */
static int
svw_supply_hub(const svw_view_t *view, const svw_node_t *node, const svw_key_t *maker)
{
    const svw_site_t  *here, *there;

    here = node->key[SVW_KEY_SITE]->site;
    there = maker == NULL ? NULL : maker->site;

    if (node->kind != SVW_ACTOR_HOSPITAL || here == NULL || there == NULL || there->kind != SVW_ACTOR_HOSPITAL
        || isnan(here->lat) || isnan(there->lat) || node->reason != SV_REASON_ALREADY_SUPPLIED)
    {
        return 0;
    }

    return svw_distance_km(here->lat, here->lon, there->lat, there->lon) <= svw_param(view->params, SVW_P_SUPPLY_HUB);
}


/* Patients bring packs back to one pharmacy, not to several. */
static int
svw_supply_verifiers(const svw_view_t *view)
{
    unsigned           n, needed, i;
    const svw_key_t   *site[16];
    svw_cursor_t       cursor;
    const svw_node_t  *node;

    needed = (unsigned) svw_param(view->params, SVW_P_SUPPLY_VERIFIERS);

    for (node = svw_view_first(view, &cursor), n = 0; node != NULL && n < 16; node = svw_view_next(view, &cursor)) {
        if (svw_supply_judge(view, node) != SVW_SUPPLY_SEEN) {
            continue;
        }

        for (i = 0; i < n && site[i] != node->key[SVW_KEY_SITE]; i++) { /* void */ }

        if (i == n) {
            site[n++] = node->key[SVW_KEY_SITE];
        }
    }

    return n >= needed;
}


/*
 * An empty pack is filled again near where it was emptied.  In two countries, faster
 * than it can travel, or at many sites there are several of it.
 */
static int
svw_supply_copied(const svw_view_t *view)
{
    unsigned           n, i;
    const char        *country, *here;
    svw_cursor_t       cursor;
    const svw_key_t   *site[SVW_SUPPLY_SITES];
    const svw_node_t  *node, *last;

    last = NULL;
    country = "";

    for (node = svw_view_first(view, &cursor), n = 0; node != NULL && n < SVW_SUPPLY_SITES; node = svw_view_next(view, &cursor)) {
        if (!svw_node_done(node) && svw_supply_judge(view, node) != SVW_SUPPLY_ELSEWHERE) {
            continue;
        }

        here = svw_facts_place(view->facts, node).country;

        if ((country[0] != '\0' && here[0] != '\0' && strcmp(country, here) != 0)
            || (last != NULL && last->key[SVW_KEY_SITE] != node->key[SVW_KEY_SITE] && svw_travel_hop(view->facts, last, node)))
        {
            return 1;
        }

        country = here[0] != '\0' ? here : country;
        last = node;

        for (i = 0; i < n && site[i] != node->key[SVW_KEY_SITE]; i++) { /* void */ }

        if (i == n) {
            site[n++] = node->key[SVW_KEY_SITE];
        }
    }

    return n == SVW_SUPPLY_SITES;
}
