#include "svw_rule.h"


const svw_rule_row_t  svw_rule_rows[] = {
    { SVW_RULE_DUPLICATE_COMMISSIONING, SVW_KEY_LOT,    0, 0, 1, SVW_P_MAX, svw_rule_commissioning },
    { SVW_RULE_SUPPLY_OF_INACTIVE,      SVW_KEY_SERIAL, 0, 0, 0, SVW_P_MAX, svw_rule_supply },
    { SVW_RULE_SUPPLY_OF_INACTIVE,      SVW_KEY_SITE,   1, 0, 0, SVW_P_MAX, svw_rule_supply_site },
    { SVW_RULE_DEAD_PACK,               SVW_KEY_SERIAL, 0, 0, 0, SVW_P_MAX, svw_rule_dead },
    { SVW_RULE_DEAD_PACK,               SVW_KEY_LOT,    1, 0, 0, SVW_P_MAX, svw_rule_dead_lot },
    { SVW_RULE_IDENTIFIER_MISMATCH,     SVW_KEY_LOT,    1, 0, 0, SVW_P_MAX, svw_rule_mismatch },
    { SVW_RULE_IDENTIFIER_MISMATCH,     SVW_KEY_SERIAL, 0, 0, 0, SVW_P_MAX, svw_rule_mismatch_serial },
    { SVW_RULE_IDENTIFIER_MISMATCH,     SVW_KEY_SITE,   1, 0, 0, SVW_P_SITE_BURST_APART, svw_rule_mismatch_site },
    { SVW_RULE_LOT_BURST,               SVW_KEY_LOT,    1, 0, 0, SVW_P_MAX, svw_rule_lot_burst },
    { SVW_RULE_SITE_BURST,              SVW_KEY_SITE,   1, 0, 0, SVW_P_SITE_BURST_APART, svw_rule_site_burst },
    { SVW_RULE_HARVESTING,              SVW_KEY_CLIENT, 0, 0, 0, SVW_P_MAX, svw_rule_harvesting },
    { SVW_RULE_HARVESTING,              SVW_KEY_SITE,   1, 1, 0, SVW_P_SITE_BURST_APART, svw_rule_harvesting },
    { SVW_RULE_OFF_MARKET,              SVW_KEY_LOT,    1, 1, 0, SVW_P_MAX, svw_rule_market },
    { SVW_RULE_OFF_MARKET,              SVW_KEY_SITE,   0, 0, 0, SVW_P_MAX, svw_rule_market_site },
    { SVW_RULE_IMPOSSIBLE_TRAVEL,       SVW_KEY_SERIAL, 0, 0, 0, SVW_P_MAX, svw_rule_travel },
    { SVW_RULE_SCAN_VOLUME,             SVW_KEY_SERIAL, 0, 0, 0, SVW_P_MAX, svw_rule_volume },
};

const unsigned  svw_rule_rows_n = sizeof(svw_rule_rows) / sizeof(svw_rule_rows[0]);


svw_node_t *
svw_view_first(const svw_view_t *view, svw_cursor_t *cursor)
{
    svw_node_t  *node;

    node = svw_list_seek(view->list, view->from_ms, cursor);

    return node != NULL && node->time_ms <= view->to_ms ? node : NULL;
}


svw_node_t *
svw_view_next(const svw_view_t *view, svw_cursor_t *cursor)
{
    svw_node_t  *node;

    node = svw_cursor_next(cursor);

    return node != NULL && node->time_ms <= view->to_ms ? node : NULL;
}
