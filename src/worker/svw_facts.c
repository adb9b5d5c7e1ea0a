#include "svw_facts_in.h"

#include <stdlib.h>


int
svw_facts_init(svw_facts_t *facts, const svw_params_t *params, svw_evidence_t *evidence)
{
    memset(facts, 0, sizeof(svw_facts_t));
    facts->params = params;
    facts->evidence = evidence;

    return svw_serials_init(facts);
}


void
svw_facts_done(svw_facts_t *facts)
{
    size_t              i;
    unsigned            k;
    svw_key_t          *key;
    const svw_table_t  *table;

    static const svw_key_kind_t  kinds[] = { SVW_KEY_LOT, SVW_KEY_SITE };

    for (k = 0; k < 2; k++) {
        table = &facts->evidence->table[kinds[k]];

        for (i = 0; table->slot != NULL && i <= table->mask; i++) {
            for (key = table->slot[i]; key != NULL; key = key->next) {
                if (key->kind == SVW_KEY_LOT) {
                    svw_lot_free(key->lot);
                } else {
                    free(key->site);
                }

                key->lot = NULL;
            }
        }
    }

    svw_serials_done(facts);
    free(facts->clashed);
    free(facts->made);
}


int
svw_facts_commission(svw_facts_t *facts, const svw_judge_commission_t *commission, svw_key_t **key)
{
    int         rc, changed;
    size_t      i;
    uint32_t    made;
    svw_lot_t  *lot;

    *key = svw_key_get(facts->evidence, SVW_KEY_LOT, commission->gtin, commission->lot);
    lot = *key == NULL ? NULL : svw_lot_get(*key);

    if (lot == NULL) {
        return -1;
    }

    changed = svw_lot_markets(facts, lot, commission);
    rc = svw_record_add(facts, commission) == 0 ? svw_made_get(facts, *key, commission, &made) : -1;

    if (rc < 0) {
        return -1;
    }

    changed |= rc;

    if ((commission->n_serials > 0 || commission->told) && !facts->made[made].listed) {
        facts->made[made].listed = 1;
        changed |= SVW_FACTS_MADE;
    }

    for (i = 0; i < commission->n_serials; i++) {
        rc = svw_serial_add(facts, commission->gtin, commission->serials[i], made);

        if (rc < 0) {
            return -1;
        }

        changed |= rc;
    }

    return changed;
}


int
svw_facts_recall(svw_facts_t *facts, uint64_t gtin, sv_span_t name, int64_t time_ms, svw_ref_t ref, svw_key_t **key)
{
    svw_lot_t  *lot;

    *key = svw_key_get(facts->evidence, SVW_KEY_LOT, gtin, name);
    lot = *key == NULL ? NULL : svw_lot_get(*key);

    if (lot == NULL) {
        return -1;
    }

    if (lot->recalled && lot->recalled_ms <= time_ms) {
        return 0;
    }

    lot->recalled = 1;
    lot->recalled_ms = time_ms;
    lot->recall_ref = ref;

    return 1;
}
