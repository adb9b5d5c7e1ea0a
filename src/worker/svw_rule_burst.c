/*
 * lot_burst: many sites, or many scans, that do not find the packs of one lot.
 * Its upload is missing; once it has come, nothing is left to ask.
 *
 * site_burst: many misses at one site.  What is explained is the setting of a
 * scanner, one case for all of it; what nothing explains, of more than one lot,
 * is a delivery that somebody has to look at.
 */

#include "svw_miss.h"


static int svw_burst_unexplained(const svw_node_t *node, svw_miss_t miss);


void
svw_rule_lot_burst(const svw_view_t *view, svw_say_t *say)
{
    int                missing;
    svw_miss_t         miss;
    svw_cursor_t       cursor;
    const svw_node_t  *node;

    if (!svw_miss_upload(view)) {
        return;
    }

    missing = 0;

    for (node = svw_view_first(view, &cursor); node != NULL; node = svw_view_next(view, &cursor)) {
        missing |= svw_miss(node) == SVW_MISS_LOT;
    }

    svw_say(say, missing ? SVW_WEIGHT_ASKS : SVW_WEIGHT_EXPLAINED, missing ? SVW_SEVERITY_MEDIUM : SVW_SEVERITY_LOW,
            missing ? "missing_upload" : "late_upload");

    for (node = svw_view_first(view, &cursor); node != NULL; node = svw_view_next(view, &cursor)) {
        miss = svw_miss(node);

        if (miss == SVW_MISS_LOT || miss == SVW_MISS_LATE) {
            svw_say_scan(say, node);
        }

        if (miss == SVW_MISS_LATE) {
            svw_miss_say_record(view, say, node);
        }
    }

    svw_say_end(say);
}


void
svw_rule_site_burst(const svw_view_t *view, svw_say_t *say)
{
    char               since[SVW_MISS_APART];
    unsigned           explained, lotless;
    svw_few_t          lots = { .n = 0 }, serials = { .n = 0 };
    svw_miss_t         miss;
    svw_cursor_t       cursor;
    const svw_node_t  *node;

    explained = lotless = 0;

    for (node = svw_view_first(view, &cursor); node != NULL; node = svw_view_next(view, &cursor)) {
        miss = svw_miss(node);
        explained += miss == SVW_MISS_SETTING;

        if (svw_burst_unexplained(node, miss)) {
            lotless |= node->key[SVW_KEY_LOT] == NULL;
            svw_few_add(&lots, node->key[SVW_KEY_LOT]);
            svw_few_add(&serials, node->key[SVW_KEY_SERIAL]);
        }
    }

    if (explained >= svw_param(view->params, SVW_P_SITE_BURST_SCANS)) {
        svw_say(say, SVW_WEIGHT_EXPLAINED, SVW_SEVERITY_LOW, "scanner_setting");
        svw_miss_apart(view, say, "", since);

        for (node = svw_view_first(view, &cursor); node != NULL; node = svw_view_next(view, &cursor)) {
            if (svw_miss(node) == SVW_MISS_SETTING) {
                svw_say_scan(say, node);
            }
        }

        svw_say_end(say);
    }

    if (lots.n + 2 * lotless < 2 || serials.n < svw_param(view->params, SVW_P_SITE_BURST_SCANS)) {
        return;
    }

    svw_say(say, SVW_WEIGHT_ASKS, SVW_SEVERITY_MEDIUM, "unknown_serials");
    svw_say_narrow(say);
    svw_miss_apart(view, say, "unknown", since);

    for (node = svw_view_first(view, &cursor); node != NULL; node = svw_view_next(view, &cursor)) {
        miss = svw_miss(node);

        if (svw_burst_unexplained(node, miss)) {
            svw_say_scan(say, node);
        }
    }

    svw_say_end(say);
}


/* A lot that is not known is a matter of that lot: it does not tie what else a site did not find. */
static int
svw_burst_unexplained(const svw_node_t *node, svw_miss_t miss)
{
    return miss == SVW_MISS_SERIAL || (miss == SVW_MISS_LOT && node->key[SVW_KEY_LOT] == NULL);
}
