#include "svw_rule.h"


svw_why_t
svw_explain(const svw_facts_t *facts, const svw_node_t *node)
{
    (void) facts;

    return node->hint ? SVW_WHY_SCANNER : SVW_WHY_NONE;
}


int
svw_explains(const svw_node_t *node)
{
    return !svw_reason_miss(node->reason);
}
