/*
 * dead_pack: a scan of a pack that was destroyed, stolen, exported or sampled.
 *
 * One professional elsewhere is enough; one consumer is not: the pack may stand
 * in a bin, or its picture be on the web.  An exported pack is where it belongs
 * unless it is still, or again, where it was exported from.
 */

#include "svw_rule.h"


#define SVW_DEAD_COUNTED  16            /* sessions, packs: no parameter asks for more */

typedef enum { SVW_DEAD_NOTHING, SVW_DEAD_SEEN, SVW_DEAD_CONSUMER, SVW_DEAD_ELSEWHERE } svw_dead_t;

static int svw_dead_other(const svw_key_t *const *counted, unsigned n, const svw_key_t *key);
static svw_dead_t svw_dead_judge(const svw_view_t *view, const svw_node_t *node);
static const svw_key_t *svw_dead_maker(const svw_view_t *view, const svw_node_t *node);
static int svw_dead_home(const svw_view_t *view, const svw_node_t *node);
static int svw_dead_since(const svw_view_t *view, const svw_node_t *node);
static int svw_dead_done(const svw_node_t *node);
static svw_severity_t svw_dead_severity(unsigned reason);


void
svw_rule_dead(const svw_view_t *view, svw_say_t *say)
{
    unsigned           sessions, reason;
    svw_dead_t         worst, one;
    svw_cursor_t       cursor;
    const svw_key_t   *maker, *session[SVW_DEAD_COUNTED];
    const svw_node_t  *node;

    worst = SVW_DEAD_NOTHING;
    sessions = 0;
    reason = 0;
    maker = NULL;

    for (node = svw_view_first(view, &cursor); node != NULL; node = svw_view_next(view, &cursor)) {
        one = svw_dead_judge(view, node);

        if (one == SVW_DEAD_CONSUMER && !(node->class & SVW_SHARED) && svw_dead_other(session, sessions, node->key[SVW_KEY_CLIENT])) {
            session[sessions++] = node->key[SVW_KEY_CLIENT];
        }

        if (one > worst) {
            worst = one;
            reason = node->reason;
            maker = svw_dead_maker(view, node);
        }
    }

    if (worst == SVW_DEAD_NOTHING) {
        return;
    }

    if (worst == SVW_DEAD_ELSEWHERE || sessions >= svw_param(view->params, SVW_P_DEAD_SESSIONS)) {
        svw_say(say, SVW_WEIGHT_ASKS, svw_dead_severity(reason), svw_dead_cause(reason));
    } else {
        svw_say(say, SVW_WEIGHT_INFO, SVW_SEVERITY_INFO, svw_dead_cause(reason));
    }

    for (node = svw_view_first(view, &cursor); node != NULL; node = svw_view_next(view, &cursor)) {
        if (svw_dead_judge(view, node) != SVW_DEAD_NOTHING || svw_dead_done(node)) {
            svw_say_scan(say, node);

            if (maker != NULL && node->key[SVW_KEY_LOT] != NULL) {
                svw_say_key(say, "dead_pack", node->key[SVW_KEY_LOT], maker);
            }
        }
    }

    svw_say_end(say);
}


/* Packs of one lot, each seen by a consumer. */
void
svw_rule_dead_lot(const svw_view_t *view, svw_say_t *say)
{
    unsigned           serials, reason;
    svw_cursor_t       cursor;
    const svw_key_t   *serial[SVW_DEAD_COUNTED], *session[SVW_DEAD_COUNTED];
    const svw_node_t  *node;

    serials = 0;
    reason = 0;

    for (node = svw_view_first(view, &cursor); node != NULL; node = svw_view_next(view, &cursor)) {
        if (!(node->class & SVW_DEAD) || !svw_node_consumer(node) || node->class & SVW_SHARED || svw_dead_judge(view, node) == SVW_DEAD_NOTHING) {
            continue;
        }

        if (svw_dead_other(serial, serials, node->key[SVW_KEY_SERIAL]) && svw_dead_other(session, serials, node->key[SVW_KEY_CLIENT])) {
            serial[serials] = node->key[SVW_KEY_SERIAL];
            session[serials++] = node->key[SVW_KEY_CLIENT];
            reason = node->reason;
        }
    }

    if (serials < svw_param(view->params, SVW_P_DEAD_SERIALS)) {
        return;
    }

    svw_say(say, SVW_WEIGHT_ASKS, svw_dead_severity(reason), svw_dead_cause(reason));

    for (node = svw_view_first(view, &cursor); node != NULL; node = svw_view_next(view, &cursor)) {
        if (node->class & SVW_DEAD && svw_dead_judge(view, node) != SVW_DEAD_NOTHING) {
            svw_say_scan(say, node);
        }
    }

    svw_say_end(say);
}


/* Is it none of those that were counted, and is there room?  All that are unknown (NULL) may be one. */
static int
svw_dead_other(const svw_key_t *const *counted, unsigned n, const svw_key_t *key)
{
    unsigned  i;

    for (i = 0; i < n && counted[i] != key; i++) { /* void */ }

    return i == n && n < SVW_DEAD_COUNTED;
}


static svw_dead_t
svw_dead_judge(const svw_view_t *view, const svw_node_t *node)
{
    const svw_key_t  *site, *maker;

    site = node->key[SVW_KEY_SITE];

    if (!(node->class & SVW_DEAD)) {
        return SVW_DEAD_NOTHING;
    }

    if (node->reason == SV_REASON_EXPORTED && !svw_dead_home(view, node)) {
        return SVW_DEAD_NOTHING;
    }

    if (svw_node_consumer(node) || site == NULL) {
        return SVW_DEAD_CONSUMER;
    }

    if (view->key->kind != SVW_KEY_SERIAL) {
        return SVW_DEAD_SEEN;
    }

    maker = svw_dead_maker(view, node);

    if (maker == site || svw_dead_since(view, node) || node->operation == SVW_OP_DESTROY || node->operation == SVW_OP_STEAL
        || node->operation == SVW_OP_UNDO)
    {
        return SVW_DEAD_SEEN;
    }

    return SVW_DEAD_ELSEWHERE;
}


/* Where it was exported from, or what is free to go there. */
static int
svw_dead_home(const svw_view_t *view, const svw_node_t *node)
{
    unsigned           n;
    svw_place_t        here, from;
    svw_cursor_t       cursor;
    const svw_node_t  *other;

    here = svw_facts_place(view->facts, node);

    if (here.country[0] == '\0') {
        return 0;
    }

    if (node->before != NULL && node->before->site != NULL && node->before->site->country[0] != '\0') {
        return svw_facts_same_area(view->facts, node->before->site->country, here.country);
    }

    other = view->key->kind == SVW_KEY_SERIAL ? svw_list_begin(view->list, &cursor) : NULL;

    for (n = 0; other != NULL && n < 256; other = svw_cursor_next(&cursor), n++) {
        from = svw_facts_place(view->facts, other);

        if (other->operation == SVW_OP_EXPORT && other->reason == SV_REASON_OK && from.country[0] != '\0') {
            return svw_facts_same_area(view->facts, from.country, here.country);
        }
    }

    return svw_countries_has(&view->params->free_movement, here.country);
}


/* It was alive when it was scanned: it was declared dead later, but told before. */
static int
svw_dead_since(const svw_view_t *view, const svw_node_t *node)
{
    unsigned           n;
    svw_cursor_t       cursor;
    const svw_node_t  *other;

    other = svw_list_begin(view->list, &cursor);

    for (n = 0; other != NULL && n < 256; other = svw_cursor_next(&cursor), n++) {
        if (svw_dead_done(other)) {
            return other->time_ms > node->time_ms;
        }
    }

    return 0;
}


static int
svw_dead_done(const svw_node_t *node)
{
    return node->reason == SV_REASON_OK && node->key[SVW_KEY_SITE] != NULL
           && (node->operation == SVW_OP_DESTROY || node->operation == SVW_OP_STEAL || node->operation == SVW_OP_EXPORT
               || node->operation == SVW_OP_SAMPLE);
}


/* Who said that it is dead; NULL: unknown. */
static const svw_key_t *
svw_dead_maker(const svw_view_t *view, const svw_node_t *node)
{
    unsigned           n;
    svw_cursor_t       cursor;
    const svw_key_t   *maker;
    const svw_node_t  *other;

    if (node->before != NULL) {
        return node->before;
    }

    other = svw_list_begin(view->list, &cursor);

    for (n = 0, maker = NULL; other != NULL && n < 256; other = svw_cursor_next(&cursor), n++) {
        if (svw_dead_done(other) && (maker == NULL || other->time_ms <= node->time_ms)) {
            maker = other->key[SVW_KEY_SITE];
        }
    }

    return maker;
}


static svw_severity_t
svw_dead_severity(unsigned reason)
{
    return reason == SV_REASON_STOLEN || reason == SV_REASON_DESTROYED ? SVW_SEVERITY_HIGH : SVW_SEVERITY_MEDIUM;
}


const char *
svw_dead_cause(unsigned reason)
{
    switch (reason) {

    case SV_REASON_STOLEN:
        return "stolen_pack";

    case SV_REASON_EXPORTED:
        return "reimported_pack";

    case SV_REASON_SAMPLE:
        return "sample_sold";

    default:
        return "destroyed_pack";
    }
}
