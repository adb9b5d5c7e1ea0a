/*
 * identifier_mismatch: a serial, lot or expiry that was never commissioned so.
 *
 * Of a lot (of a serial, where no lot was scanned) it says what nothing explains, one finding for unknown serials, one
 * for the lot, one for each expiry that is not the lot's; and what was uploaded
 * late. What a scanner's setting or a typist explains is said of the site.  When
 * it is a lot that many do not find, or a site with many, svw_rule_burst says it.
 */

#include "svw_miss.h"

#include <inttypes.h>
#include <stdio.h>


#define SVW_EXPIRIES  8                 /* of one lot; more are told with the last */


static void svw_mismatch_serials(const svw_view_t *view, svw_say_t *say, const svw_miss_who_t *who);
static int svw_mismatch_many(const svw_view_t *view, const svw_key_t *site);
static void svw_mismatch_client(const svw_view_t *view, svw_say_t *say, const svw_key_t *site);
static void svw_mismatch_say(const svw_view_t *view, svw_say_t *say, svw_miss_t kind, const svw_miss_who_t *who,
    const svw_few_t *but, const char *cause);
static int svw_mismatch_relabelled(const svw_view_t *view, const svw_few_t *but, int *later);
static int svw_mismatch_told(const svw_node_t *node, svw_miss_t kind, int64_t burst);
static void svw_mismatch_expiries(const svw_view_t *view, svw_say_t *say);
static void svw_mismatch_expiry(const svw_view_t *view, svw_say_t *say, uint32_t expiry, int others);
static uint32_t svw_mismatch_next(const svw_view_t *view, uint32_t after);
static int svw_mismatch_of(const svw_node_t *node, uint32_t expiry, int others);
static uint32_t svw_mismatch_number(const svw_node_t *node);
static int svw_mismatch_later(const svw_view_t *view, const svw_node_t *node);


void
svw_rule_mismatch(const svw_view_t *view, svw_say_t *say)
{
    int64_t            burst;
    svw_miss_t         miss;
    svw_cursor_t       cursor;
    svw_miss_who_t     who[SVW_MISS_EXPIRY + 1] = { { .n = 0 } };
    const svw_node_t  *node;

    burst = svw_said_until(view, SVW_RULE_LOT_BURST);

    for (node = svw_view_first(view, &cursor); node != NULL; node = svw_view_next(view, &cursor)) {
        miss = svw_miss(node);

        if (miss != SVW_MISS_NOT && !svw_mismatch_told(node, miss, burst)) {
            svw_miss_who(&who[miss], node);
        }
    }

    if (who[SVW_MISS_SERIAL].n > 0) {
        svw_mismatch_serials(view, say, &who[SVW_MISS_SERIAL]);
    }

    if (who[SVW_MISS_EXPIRY].n > 0) {
        svw_mismatch_expiries(view, say);
    }

    if (who[SVW_MISS_LOT].n + who[SVW_MISS_LATE].n == 0 || svw_miss_upload(view)) {
        return;
    }

    if (who[SVW_MISS_LOT].n > 0) {
        svw_mismatch_say(view, say, SVW_MISS_LOT, &who[SVW_MISS_LOT], NULL, "unknown_lot");
    }

    if (who[SVW_MISS_LATE].n > 0) {
        svw_mismatch_say(view, say, SVW_MISS_LATE, &who[SVW_MISS_LATE], NULL, "late_upload");
    }
}


/*
 * A scan that named no lot, of a serial that is of none.  A part of what is printed
 * was not read, so one may be a fault of the scanner; the same at two sites is not.
 */
void
svw_rule_mismatch_serial(const svw_view_t *view, svw_say_t *say)
{
    int                asks;
    char               word[48];
    svw_miss_t         miss;
    svw_cursor_t       cursor;
    svw_miss_who_t     who = { .n = 0 };
    const svw_node_t  *node;

    for (node = svw_view_first(view, &cursor); node != NULL; node = svw_view_next(view, &cursor)) {
        miss = svw_miss(node);

        /* of those that name a lot the lot's finding speaks */
        if (node->key[SVW_KEY_LOT] != NULL) {
            return;
        }

        if (miss == SVW_MISS_SERIAL || miss == SVW_MISS_LOT) {
            svw_miss_who(&who, node);
        }
    }

    if (who.n == 0) {
        return;
    }

    asks = who.sites.n > 1;
    snprintf(word, sizeof(word), "no_lot/%014" PRIu64, view->key->gtin);

    svw_say(say, asks ? SVW_WEIGHT_ASKS : SVW_WEIGHT_INFO, asks ? SVW_SEVERITY_MEDIUM : SVW_SEVERITY_INFO, "unknown_serial");
    svw_say_key(say, word, NULL, NULL);

    for (node = svw_view_first(view, &cursor); node != NULL; node = svw_view_next(view, &cursor)) {
        miss = svw_miss(node);

        if (miss == SVW_MISS_SERIAL || miss == SVW_MISS_LOT) {
            svw_say_scan(say, node);
        }
    }

    svw_say_end(say);
}


void
svw_rule_mismatch_site(const svw_view_t *view, svw_say_t *say)
{
    char               since[SVW_MISS_APART];
    unsigned           n, scanner, typing;
    svw_cursor_t       cursor;
    const svw_node_t  *node;

    n = scanner = typing = 0;

    for (node = svw_view_first(view, &cursor); node != NULL; node = svw_view_next(view, &cursor)) {
        if (svw_miss(node) == SVW_MISS_SETTING) {
            n++;
            scanner += node->why == SVW_WHY_SCANNER;
            typing += node->why == SVW_WHY_TYPING;
        }
    }

    if (n == 0 || n >= svw_param(view->params, SVW_P_SITE_BURST_SCANS)) {
        return;
    }

    svw_say(say, SVW_WEIGHT_EXPLAINED, SVW_SEVERITY_LOW,
            scanner > 0 ? "scanner_setting" : typing > 0 ? "typing_error" : "scanned_again");
    svw_miss_apart(view, say, "", since);

    for (node = svw_view_first(view, &cursor); node != NULL; node = svw_view_next(view, &cursor)) {
        if (svw_miss(node) == SVW_MISS_SETTING) {
            svw_say_scan(say, node);
        }
    }

    svw_say_end(say);
}


/*
 * A site with very many unknown serials of a lot guesses, or unpacks a delivery of
 * them.  That is its own matter, one case for all lots that it names; it does not
 * tie what else happens to these.
 */
static void
svw_mismatch_serials(const svw_view_t *view, svw_say_t *say, const svw_miss_who_t *who)
{
    unsigned           i;
    svw_few_t          many = { .n = 0 };
    svw_cursor_t       cursor;
    svw_miss_who_t     others = { .n = 0 };
    const svw_node_t  *node;

    for (i = 0; i < who->sites.n; i++) {
        if (svw_mismatch_many(view, who->sites.key[i])) {
            svw_few_add(&many, who->sites.key[i]);
            svw_mismatch_client(view, say, who->sites.key[i]);
        }
    }

    for (node = svw_view_first(view, &cursor); node != NULL; node = svw_view_next(view, &cursor)) {
        if (svw_miss(node) == SVW_MISS_SERIAL && !svw_few_has(&many, node->key[SVW_KEY_SITE])) {
            svw_miss_who(&others, node);
        }
    }

    if (others.n > 0) {
        svw_mismatch_say(view, say, SVW_MISS_SERIAL, &others, &many, "unknown_serial");
    }
}


static int
svw_mismatch_many(const svw_view_t *view, const svw_key_t *site)
{
    svw_few_t          serials = { .n = 0 };
    svw_cursor_t       cursor;
    const svw_node_t  *node;

    for (node = svw_view_first(view, &cursor); node != NULL; node = svw_view_next(view, &cursor)) {
        if (node->key[SVW_KEY_SITE] == site && svw_miss(node) == SVW_MISS_SERIAL) {
            svw_few_add(&serials, node->key[SVW_KEY_SERIAL]);

            if (serials.n >= svw_param(view->params, SVW_P_MISS_SITE)) {
                return 1;
            }
        }
    }

    return 0;
}


static void
svw_mismatch_client(const svw_view_t *view, svw_say_t *say, const svw_key_t *site)
{
    svw_cursor_t       cursor;
    const svw_node_t  *node;

    svw_say(say, SVW_WEIGHT_ASKS, SVW_SEVERITY_MEDIUM, "unknown_serials");
    svw_say_apart(say, svw_key_span(site));
    svw_say_key(say, "unknown_serials", site, NULL);
    svw_say_narrow(say);

    for (node = svw_view_first(view, &cursor); node != NULL; node = svw_view_next(view, &cursor)) {
        if (node->key[SVW_KEY_SITE] == site && svw_miss(node) == SVW_MISS_SERIAL) {
            svw_say_scan(say, node);
        }
    }

    svw_say_end(say);
}


/* `but': not of these sites; NULL: of all */
static void
svw_mismatch_say(const svw_view_t *view, svw_say_t *say, svw_miss_t kind, const svw_miss_who_t *who,
    const svw_few_t *but, const char *cause)
{
    int                relabelled, later;
    int64_t            burst;
    svw_weight_t       weight;
    svw_cursor_t       cursor;
    const svw_node_t  *node;

    burst = svw_said_until(view, SVW_RULE_LOT_BURST);
    weight = kind == SVW_MISS_LATE ? SVW_WEIGHT_EXPLAINED : svw_miss_weight(view, who, kind);

    if (weight == SVW_WEIGHT_ASKS) {
        relabelled = kind == SVW_MISS_SERIAL ? svw_mismatch_relabelled(view, but, &later) : 0;
        svw_say(say, weight, relabelled && later ? SVW_SEVERITY_HIGH : SVW_SEVERITY_MEDIUM, relabelled ? "relabelled_lot" : cause);

    } else {
        svw_say(say, weight, weight == SVW_WEIGHT_EXPLAINED ? SVW_SEVERITY_LOW : SVW_SEVERITY_INFO, cause);
    }

    svw_say_apart(say, (sv_span_t) { (const uint8_t *) cause, strlen(cause) });

    for (node = svw_view_first(view, &cursor); node != NULL; node = svw_view_next(view, &cursor)) {
        if (svw_miss(node) == kind && (but == NULL || !svw_few_has(but, node->key[SVW_KEY_SITE]))
            && !svw_mismatch_told(node, kind, burst))
        {
            svw_say_scan(say, node);

            if (kind == SVW_MISS_LATE) {
                svw_miss_say_record(view, say, node);
            }
        }
    }

    svw_say_end(say);
}


/* The serials are known, all of them: of other lots. And is an expiry later than theirs? */
static int
svw_mismatch_relabelled(const svw_view_t *view, const svw_few_t *but, int *later)
{
    svw_cursor_t       cursor;
    const svw_node_t  *node;

    *later = 0;

    for (node = svw_view_first(view, &cursor); node != NULL; node = svw_view_next(view, &cursor)) {
        if (svw_miss(node) != SVW_MISS_SERIAL || svw_few_has(but, node->key[SVW_KEY_SITE])) {
            continue;
        }

        if (node->reason != SV_REASON_LOT_MISMATCH) {
            return 0;
        }

        *later |= svw_mismatch_later(view, node);
    }

    return 1;
}


/* What is left of a burst of which a part has left the window was told with it. */
static int
svw_mismatch_told(const svw_node_t *node, svw_miss_t kind, int64_t burst)
{
    return (kind == SVW_MISS_LOT || kind == SVW_MISS_LATE) && node->time_ms <= burst;
}


static void
svw_mismatch_expiries(const svw_view_t *view, svw_say_t *say)
{
    uint32_t  expiry;
    unsigned  n;

    expiry = svw_mismatch_next(view, 0);

    for (n = 1; expiry != UINT32_MAX; n++) {
        svw_mismatch_expiry(view, say, expiry, n == SVW_EXPIRIES);

        if (n == SVW_EXPIRIES) {
            break;
        }

        expiry = svw_mismatch_next(view, expiry + 1);
    }
}


/* one expiry that is printed on packs of a lot, and (the last) all greater ones */
static void
svw_mismatch_expiry(const svw_view_t *view, svw_say_t *say, uint32_t expiry, int others)
{
    int                later;
    char               digits[16];
    svw_weight_t       weight;
    svw_cursor_t       cursor;
    svw_miss_who_t     who = { .n = 0 };
    const svw_node_t  *node;

    later = 0;

    for (node = svw_view_first(view, &cursor); node != NULL; node = svw_view_next(view, &cursor)) {
        if (svw_miss(node) == SVW_MISS_EXPIRY && svw_mismatch_of(node, expiry, others)) {
            svw_miss_who(&who, node);
            later |= svw_mismatch_later(view, node);
        }
    }

    weight = svw_miss_weight(view, &who, SVW_MISS_EXPIRY);
    snprintf(digits, sizeof(digits), "%06u", expiry);

    svw_say(say, weight, weight != SVW_WEIGHT_ASKS ? SVW_SEVERITY_INFO : later ? SVW_SEVERITY_HIGH : SVW_SEVERITY_MEDIUM, "relabelled_expiry");
    svw_say_apart(say, (sv_span_t) { (const uint8_t *) digits, strlen(digits) });

    for (node = svw_view_first(view, &cursor); node != NULL; node = svw_view_next(view, &cursor)) {
        if (svw_miss(node) == SVW_MISS_EXPIRY && svw_mismatch_of(node, expiry, others)) {
            svw_say_scan(say, node);
        }
    }

    svw_say_end(say);
}


/* the least that is not below `after' */
static uint32_t
svw_mismatch_next(const svw_view_t *view, uint32_t after)
{
    uint32_t           least;
    svw_cursor_t       cursor;
    const svw_node_t  *node;

    least = UINT32_MAX;

    for (node = svw_view_first(view, &cursor); node != NULL; node = svw_view_next(view, &cursor)) {
        if (svw_miss(node) == SVW_MISS_EXPIRY && svw_mismatch_number(node) >= after && svw_mismatch_number(node) < least) {
            least = svw_mismatch_number(node);
        }
    }

    return least;
}


static int
svw_mismatch_of(const svw_node_t *node, uint32_t expiry, int others)
{
    uint32_t  number;

    number = svw_mismatch_number(node);

    return number == expiry || (others && number > expiry);
}


/* what cannot be read as a date is one of its own */
static uint32_t
svw_mismatch_number(const svw_node_t *node)
{
    return node->expiry == UINT32_MAX ? 1000000 : node->expiry;
}


/* as YYMMDD: near enough to today that no century turns */
static int
svw_mismatch_later(const svw_view_t *view, const svw_node_t *node)
{
    const svw_made_t  *made;

    made = svw_miss_made(view->facts, node);

    return made != NULL && made->expiry != UINT32_MAX && node->expiry != UINT32_MAX && node->expiry > made->expiry;
}
