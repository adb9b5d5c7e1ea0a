#include "svw_rule.h"


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


/* An exported pack is where it was sent; nothing is outside of markets that nobody knows. */
static int
svw_class_off(const svw_facts_t *facts, const svw_node_t *node)
{
    svw_place_t       place;
    const svw_key_t  *lot;

    lot = node->key[SVW_KEY_LOT];

    if (lot == NULL || lot->lot == NULL || !lot->lot->marketed || node->reason == SV_REASON_EXPORTED) {
        return 0;
    }

    place = svw_facts_place(facts, node);

    return svw_country_number(place.country) >= 0 && !svw_countries_has(&lot->lot->markets, place.country);
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
