#include "svw_rule.h"


#define SVW_DOUBT_LOTS  32               /* so many lots tell enough of a site */


static int svw_class_off(const svw_facts_t *facts, const svw_node_t *node);
static int svw_class_shared(const svw_facts_t *facts, const svw_node_t *node);


unsigned
svw_class(const svw_facts_t *facts, const svw_node_t *node)
{
    unsigned  class;

    class = 0;

    if (node->kind == SVW_ACTOR_MANUFACTURER || node->kind == SVW_ACTOR_AUTHORITY) {
        return 0;
    }

    if (svw_reason_miss(node->reason)) {
        class |= SVW_MISS;

    } else if (svw_class_off(facts, node)) {
        class |= SVW_OFF;
    }

    if (svw_reason_dead(node->reason)) {
        class |= SVW_DEAD;
    }

    if (node->reason == SV_REASON_ALREADY_SUPPLIED && node->operation == SVW_OP_SUPPLY && node->key[SVW_KEY_SITE] != NULL) {
        class |= SVW_REFUSED;
    }

    if (svw_class_shared(facts, node)) {
        class |= SVW_SHARED;
    }

    return class;
}


int
svw_reason_dead(unsigned reason)
{
    return reason == SV_REASON_DESTROYED || reason == SV_REASON_STOLEN || reason == SV_REASON_EXPORTED || reason == SV_REASON_SAMPLE;
}


int
svw_reason_inactive(unsigned reason)
{
    return svw_reason_dead(reason) || reason == SV_REASON_ALREADY_SUPPLIED || reason == SV_REASON_FREE_SAMPLE
           || reason == SV_REASON_CHECKED_OUT;
}


int
svw_reason_miss(unsigned reason)
{
    return reason == SV_REASON_PRODUCT_UNKNOWN || reason == SV_REASON_LOT_UNKNOWN || reason == SV_REASON_SERIAL_UNKNOWN
           || reason == SV_REASON_LOT_MISMATCH || reason == SV_REASON_EXPIRY_MISMATCH;
}


int
svw_reason_contradicts(unsigned reason)
{
    return reason == SV_REASON_LOT_MISMATCH || reason == SV_REASON_EXPIRY_MISMATCH;
}


int
svw_lot_off(const svw_key_t *lot, const char *country)
{
    return lot != NULL && lot->lot != NULL && lot->lot->marketed && svw_country_number(country) >= 0
           && !svw_countries_has(&lot->lot->markets, country);
}


/* By its record, not by what its scans say of themselves: those need no record. */
int
svw_site_doubt(const svw_facts_t *facts, const svw_key_t *site)
{
    unsigned            i, lots, off;
    svw_cursor_t        cursor;
    const svw_key_t    *lot, *seen[SVW_DOUBT_LOTS];
    const svw_node_t   *node;

    if (site->site == NULL || !site->site->located || svw_country_number(site->site->country) < 0) {
        return 0;
    }

    lots = 0;
    off = 0;
    node = svw_list_begin(&site->all, &cursor);

    for ( /* void */ ; node != NULL && lots < SVW_DOUBT_LOTS; node = svw_cursor_next(&cursor)) {
        lot = node->key[SVW_KEY_LOT];

        if (lot == NULL || lot->lot == NULL || !lot->lot->marketed) {
            continue;
        }

        for (i = 0; i < lots && seen[i] != lot; i++) { /* void */ }

        if (i == lots) {
            seen[lots++] = lot;
            off += svw_lot_off(lot, site->site->country);
        }
    }

    return off >= svw_param(facts->params, SVW_P_PLACE_LOTS) && off * 100.0 >= lots * svw_param(facts->params, SVW_P_PLACE_SHARE);
}


/* An exported pack is where it was sent; nothing is outside of markets that nobody knows. */
static int
svw_class_off(const svw_facts_t *facts, const svw_node_t *node)
{
    if (node->reason == SV_REASON_EXPORTED) {
        return 0;
    }

    return svw_lot_off(node->key[SVW_KEY_LOT], svw_facts_place(facts, node).country);
}


/* Another session had the code just before: what follows is a preview of its link, or who it was sent to. */
static int
svw_class_shared(const svw_facts_t *facts, const svw_node_t *node)
{
    unsigned           n;
    svw_cursor_t       cursor;
    const svw_key_t   *serial;
    const svw_node_t  *other;

    serial = node->key[SVW_KEY_SERIAL];

    if (serial == NULL || serial->all.n < 2 || !svw_node_consumer(node)) {
        return 0;
    }

    other = svw_list_seek(&serial->all, node->time_ms - svw_param_ms(facts->params, SVW_P_SHARED_WITHIN), &cursor);

    for (n = 0; other != NULL && n < 64 && svw_node_cmp(other, node) < 0; other = svw_cursor_next(&cursor), n++) {
        if (svw_node_consumer(other) && other->key[SVW_KEY_CLIENT] != node->key[SVW_KEY_CLIENT]) {
            return 1;
        }
    }

    return 0;
}
