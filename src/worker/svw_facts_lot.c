/*
 * What is known of lots: how they were commissioned, for which markets, and what
 * of that cannot both be true.
 */

#include "svw_facts_in.h"

#include <stdlib.h>


static svw_made_t *svw_made_new(svw_facts_t *facts, svw_lot_t *lot, uint32_t *id);


int
svw_made_clash(const svw_facts_t *facts, uint32_t a, uint32_t b)
{
    int64_t            apart;
    const svw_made_t  *x, *y;

    x = svw_facts_made(facts, a);
    y = svw_facts_made(facts, b);

    if (x->lot != y->lot || (x->expiry != y->expiry && x->expiry != UINT32_MAX && y->expiry != UINT32_MAX)) {
        return 1;
    }

    apart = x->first.time_ms < y->first.time_ms ? y->first.time_ms - x->first.time_ms : x->first.time_ms - y->first.time_ms;

    return x->line[0] != '\0' && y->line[0] != '\0' && strcmp(x->line, y->line) != 0
           && apart > svw_param_ms(facts->params, SVW_P_DUPLICATE_LINE_APART);
}


svw_lot_t *
svw_lot_get(svw_key_t *key)
{
    if (key->lot == NULL) {
        key->lot = calloc(1, sizeof(svw_lot_t));
    }

    return key->lot;
}


int
svw_lot_markets(svw_facts_t *facts, svw_lot_t *lot, const svw_judge_commission_t *commission)
{
    int       changed;
    char      code[3];
    size_t    i, j;

    for (i = 0, changed = 0; i < commission->n_markets; i++) {
        if (commission->markets[i].len != 2) {
            continue;
        }

        memcpy(code, commission->markets[i].data, 2);
        code[2] = '\0';

        if (svw_country_number(code) < 0) {
            continue;
        }

        lot->marketed = 1;
        changed |= svw_countries_add(&lot->markets, code);

        if (svw_countries_has(&facts->params->free_movement, code)) {
            for (j = 0; j < sizeof(lot->markets.bits) / sizeof(lot->markets.bits[0]); j++) {
                lot->markets.bits[j] |= facts->params->free_movement.bits[j];
            }
        }
    }

    return changed ? SVW_FACTS_MARKETS : 0;
}


int
svw_made_get(svw_facts_t *facts, svw_key_t *key, const svw_judge_commission_t *commission, uint32_t *id)
{
    int          changed;
    size_t       n;
    unsigned     i;
    uint32_t     expiry;
    svw_made_t  *made;
    char         line[sizeof(made->line)] = { 0 };

    changed = 0;
    expiry = svw_expiry_number(commission->expiry);
    n = commission->line.len < sizeof(line) - 1 ? commission->line.len : sizeof(line) - 1;

    if (n > 0) {
        memcpy(line, commission->line.data, n);
    }

    for (i = 0; i < key->lot->n_made; i++) {
        made = &facts->made[key->lot->made[i]];

        if (made->expiry == expiry && strcmp(made->line, line) == 0) {
            if (svw_record_cmp(&facts->record[facts->records - 1], &made->first) < 0) {
                made->first = facts->record[facts->records - 1];
                changed = SVW_FACTS_WAY;
            }

            *id = key->lot->made[i];
            return changed;
        }
    }

    made = svw_made_new(facts, key->lot, id);

    if (made == NULL) {
        return -1;
    }

    made->lot = key;
    made->first = facts->record[facts->records - 1];
    made->expiry = expiry;
    made->listed = 0;
    made->serials = 0;
    memcpy(made->line, line, sizeof(line));

    return SVW_FACTS_MADE | SVW_FACTS_WAY;
}


static svw_made_t *
svw_made_new(svw_facts_t *facts, svw_lot_t *lot, uint32_t *id)
{
    uint32_t    *ids;
    svw_made_t  *made;

    if (facts->n_made == facts->made_size) {
        made = realloc(facts->made, (facts->made_size * 2 + 64) * sizeof(svw_made_t));

        if (made == NULL) {
            return NULL;
        }

        facts->made = made;
        facts->made_size = facts->made_size * 2 + 64;
    }

    ids = realloc(lot->made, (lot->n_made + 1) * sizeof(uint32_t));

    if (ids == NULL) {
        return NULL;
    }

    *id = facts->n_made++;
    lot->made = ids;
    lot->made[lot->n_made++] = *id;

    return &facts->made[*id];
}


int
svw_made_cmp(const svw_facts_t *facts, uint32_t a, uint32_t b)
{
    int                c;
    const svw_made_t  *x, *y;

    x = svw_facts_made(facts, a);
    y = svw_facts_made(facts, b);
    c = svw_key_cmp(x->lot, y->lot);

    if (c == 0 && x->expiry != y->expiry) {
        c = x->expiry < y->expiry ? -1 : 1;
    }

    return c != 0 ? c : strcmp(x->line, y->line);
}


int
svw_clash_add(svw_facts_t *facts, uint32_t a, uint32_t b, const char *serial)
{
    uint32_t       swap;
    char         **list;
    svw_clash_t   *clash;

    if (svw_made_cmp(facts, a, b) > 0) {
        swap = a;
        a = b;
        b = swap;
    }

    for (clash = facts->made[a].lot->lot->clash; clash != NULL; clash = clash->next) {
        if (clash->a == a && clash->b == b) {
            break;
        }
    }

    if (clash == NULL) {
        clash = calloc(1, sizeof(svw_clash_t));

        if (clash == NULL) {
            return -1;
        }

        clash->a = a;
        clash->b = b;
        clash->next = facts->made[a].lot->lot->clash;
        facts->made[a].lot->lot->clash = clash;
    }

    if ((clash->n & (clash->n - 1)) == 0) {
        list = realloc(clash->serial, (clash->n == 0 ? 1 : 2 * clash->n) * sizeof(char *));

        if (list == NULL) {
            return -1;
        }

        clash->serial = list;
    }

    if (svw_clash_changed(facts, facts->made[a].lot) != 0) {
        return -1;
    }

    clash->serial[clash->n] = strdup(serial);

    return clash->serial[clash->n++] == NULL ? -1 : 0;
}


int
svw_clash_changed(svw_facts_t *facts, svw_key_t *lot)
{
    svw_key_t  **keys;

    if (facts->n_clashed > 0 && facts->clashed[facts->n_clashed - 1] == lot) {
        return 0;
    }

    if (facts->n_clashed == facts->clashed_size) {
        keys = realloc(facts->clashed, (facts->clashed_size * 2 + 16) * sizeof(svw_key_t *));

        if (keys == NULL) {
            return -1;
        }

        facts->clashed = keys;
        facts->clashed_size = facts->clashed_size * 2 + 16;
    }

    facts->clashed[facts->n_clashed++] = lot;

    return 0;
}


void
svw_lot_free(svw_lot_t *lot)
{
    size_t        i;
    svw_clash_t  *clash;

    if (lot == NULL) {
        return;
    }

    while (lot->clash != NULL) {
        clash = lot->clash;
        lot->clash = clash->next;

        for (i = 0; i < clash->n; i++) {
            free(clash->serial[i]);
        }

        free(clash->serial);
        free(clash);
    }

    free(lot->made);
    free(lot);
}
