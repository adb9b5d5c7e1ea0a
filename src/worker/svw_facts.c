#include "svw_facts.h"

#include <math.h>
#include <stdlib.h>


#define SVW_GROUP         0x80000000u
#define SVW_SERIALS_LEAST 4096
#define SVW_SERIAL_CASE   16            /* bits of a digest that tell case */
#define SVW_SERIAL_FOLDED 256


static svw_lot_t *svw_lot_get(svw_key_t *key);
static int svw_lot_markets(svw_facts_t *facts, svw_lot_t *lot, const svw_judge_commission_t *commission);
static int svw_made_get(svw_facts_t *facts, svw_key_t *key, const svw_judge_commission_t *commission, uint32_t *id);
static int svw_made_cmp(const svw_facts_t *facts, uint32_t a, uint32_t b);
static uint64_t svw_serial_digest(const svw_facts_t *facts, uint64_t gtin, sv_span_t serial);
static svw_serial_t *svw_serial_slot(const svw_facts_t *facts, uint64_t digest);
static int svw_record_add(svw_facts_t *facts, const svw_judge_commission_t *commission);
static uint32_t svw_record_first(const svw_facts_t *facts, uint32_t a, uint32_t b);
static int svw_serial_add(svw_facts_t *facts, uint64_t gtin, sv_span_t serial, uint32_t made);
static int svw_serial_again(svw_facts_t *facts, svw_serial_t *entry, sv_span_t serial, uint32_t made);
static int svw_serials_grow(svw_facts_t *facts);
static int svw_clash_add(svw_facts_t *facts, uint32_t a, uint32_t b, const char *serial);
static int svw_group_changed(svw_facts_t *facts, const svw_group_t *group);
static int svw_clash_changed(svw_facts_t *facts, svw_key_t *lot);
static void svw_lot_free(svw_lot_t *lot);


int
svw_facts_init(svw_facts_t *facts, const svw_params_t *params, svw_evidence_t *evidence)
{
    memset(facts, 0, sizeof(svw_facts_t));
    facts->params = params;
    facts->evidence = evidence;
    facts->serial_mask = SVW_SERIALS_LEAST - 1;
    facts->serial = calloc(SVW_SERIALS_LEAST, sizeof(svw_serial_t));

    return facts->serial == NULL ? -1 : 0;
}


void
svw_facts_done(svw_facts_t *facts)
{
    size_t              i;
    uint32_t            g;
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

    for (g = 0; g < facts->groups; g++) {
        free(facts->group[g].serial);
        free(facts->group[g].made);
        free(facts->group[g].record);
    }

    free(facts->group);
    free(facts->clashed);
    free(facts->made);
    free(facts->record);
    free(facts->serial);
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
    rc = svw_made_get(facts, *key, commission, &made);

    if (rc < 0 || svw_record_add(facts, commission) != 0) {
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
svw_facts_location(svw_facts_t *facts, const svw_judge_location_t *location, svw_key_t **key)
{
    int          k;
    svw_site_t  *site, now;
    sv_span_t    name[2] = { location->actor, location->gln };

    *key = NULL;

    for (k = 0; k < 2 && *key == NULL; k++) {
        if (name[k].len > 0) {
            *key = svw_key_get(facts->evidence, SVW_KEY_SITE, 0, name[k]);

            if (*key == NULL) {
                return -1;
            }
        }
    }

    if (*key == NULL) {
        return 0;
    }

    site = (*key)->site;

    if (site == NULL) {
        site = calloc(1, sizeof(svw_site_t));

        if (site == NULL) {
            return -1;
        }

        (*key)->site = site;
    }

    now = *site;
    now.located = 1;
    memcpy(now.country, location->country, sizeof(now.country));
    now.kind = location->kind;
    now.ref = location->ref;
    now.lat = location->lat;
    now.lon = location->lon;

    if (!(fabs(location->lat) <= 90 && fabs(location->lon) <= 180) || (location->lat == 0 && location->lon == 0)) {
        now.lat = NAN;
        now.lon = NAN;
    }

    k = !site->located || memcmp(now.country, site->country, 3) != 0 || memcmp(&now.lat, &site->lat, sizeof(float)) != 0
        || memcmp(&now.lon, &site->lon, sizeof(float)) != 0 || now.kind != site->kind;
    *site = now;

    return k;
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


const svw_made_t *
svw_facts_serial(const svw_facts_t *facts, uint64_t gtin, sv_span_t serial)
{
    unsigned             i;
    uint32_t             best;
    const svw_group_t   *group;
    const svw_serial_t  *entry;

    entry = svw_serial_slot(facts, svw_serial_digest(facts, gtin, serial));

    if (entry->digest == 0) {
        return NULL;
    }

    if (!(entry->made & SVW_GROUP)) {
        return svw_facts_made(facts, entry->made);
    }

    group = &facts->group[entry->made & ~SVW_GROUP];

    for (i = 1, best = group->made[0]; i < group->n; i++) {
        if (svw_made_cmp(facts, group->made[i], best) < 0) {
            best = group->made[i];
        }
    }

    return svw_facts_made(facts, best);
}


const svw_record_t *
svw_facts_record(const svw_facts_t *facts, uint64_t gtin, sv_span_t serial, const svw_made_t *made)
{
    unsigned             i;
    const svw_group_t   *group;
    const svw_serial_t  *entry;

    entry = svw_serial_slot(facts, svw_serial_digest(facts, gtin, serial));

    if (entry->digest == 0) {
        return NULL;
    }

    if (!(entry->made & SVW_GROUP)) {
        return svw_facts_made(facts, entry->made) == made ? &facts->record[entry->record] : NULL;
    }

    group = &facts->group[entry->made & ~SVW_GROUP];

    for (i = 0; i < group->n; i++) {
        if (svw_facts_made(facts, group->made[i]) == made) {
            return &facts->record[group->record[i]];
        }
    }

    return NULL;
}


const svw_made_t *
svw_facts_way(const svw_facts_t *facts, uint64_t gtin, sv_span_t serial, unsigned n)
{
    const svw_group_t   *group;
    const svw_serial_t  *entry;

    entry = svw_serial_slot(facts, svw_serial_digest(facts, gtin, serial));

    if (entry->digest == 0) {
        return NULL;
    }

    if (!(entry->made & SVW_GROUP)) {
        return n == 0 ? svw_facts_made(facts, entry->made) : NULL;
    }

    group = &facts->group[entry->made & ~SVW_GROUP];

    return n < group->n ? svw_facts_made(facts, group->made[n]) : NULL;
}


const svw_made_t *
svw_facts_folded(const svw_facts_t *facts, uint64_t gtin, sv_span_t serial)
{
    size_t               i;
    uint64_t             digest;
    const svw_serial_t  *entry;

    digest = svw_serial_digest(facts, gtin, serial);

    for (i = digest >> SVW_SERIAL_CASE & facts->serial_mask; facts->serial[i].digest != 0; i = (i + 1) & facts->serial_mask) {
        entry = &facts->serial[i];

        if (entry->digest >> SVW_SERIAL_CASE == digest >> SVW_SERIAL_CASE) {
            return svw_facts_made(facts, entry->made & SVW_GROUP ? facts->group[entry->made & ~SVW_GROUP].made[0] : entry->made);
        }
    }

    return NULL;
}


int
svw_facts_lot(const svw_facts_t *facts, uint64_t gtin, sv_span_t lot)
{
    const svw_key_t  *key;

    key = svw_key_find(facts->evidence, SVW_KEY_LOT, gtin, lot);

    return key != NULL && key->lot != NULL && key->lot->n_made > 0;
}


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

    apart = x->time_ms < y->time_ms ? y->time_ms - x->time_ms : x->time_ms - y->time_ms;

    return x->line[0] != '\0' && y->line[0] != '\0' && strcmp(x->line, y->line) != 0
           && apart > svw_param_ms(facts->params, SVW_P_DUPLICATE_LINE_APART);
}


/*
 * A record that is far from where its site scans is of another place; one whose
 * packs are all in other markets than it says (doubt) tells nothing.
 */
svw_place_t
svw_facts_place(const svw_facts_t *facts, const svw_node_t *node)
{
    svw_place_t        place;
    const svw_site_t  *site;

    place.country = node->country;
    place.lat = node->lat;
    place.lon = node->lon;
    place.accuracy_km = node->accuracy_km;
    place.recorded = 0;

    site = node->key[SVW_KEY_SITE] == NULL ? NULL : node->key[SVW_KEY_SITE]->site;

    if (site == NULL || !site->located || site->doubt) {
        return place;
    }

    if (!isnan(place.lat) && !isnan(site->lat)
        && svw_distance_km(place.lat, place.lon, site->lat, site->lon) > svw_param(facts->params, SVW_P_PLACE_DISTRUST))
    {
        return place;
    }

    if (place.country[0] == '\0') {
        place.country = site->country;
        place.recorded = 1;
    }

    if (isnan(place.lat)) {
        place.lat = site->lat;
        place.lon = site->lon;
        place.recorded = 1;
    }

    return place;
}


int
svw_facts_same_area(const svw_facts_t *facts, const char *a, const char *b)
{
    return strcmp(a, b) == 0
           || (svw_countries_has(&facts->params->free_movement, a) && svw_countries_has(&facts->params->free_movement, b));
}


double
svw_distance_km(double lat1, double lon1, double lat2, double lon2)
{
    double  a, dlat, dlon, radian;

    radian = M_PI / 180;
    dlat = (lat2 - lat1) * radian / 2;
    dlon = (lon2 - lon1) * radian / 2;
    a = sin(dlat) * sin(dlat) + cos(lat1 * radian) * cos(lat2 * radian) * sin(dlon) * sin(dlon);

    return 2 * 6371 * asin(sqrt(a > 1 ? 1 : a));
}


static svw_lot_t *
svw_lot_get(svw_key_t *key)
{
    if (key->lot == NULL) {
        key->lot = calloc(1, sizeof(svw_lot_t));
    }

    return key->lot;
}


/* Markets only grow; one within the area of free movement stands for all of it. */
static int
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


static int
svw_made_get(svw_facts_t *facts, svw_key_t *key, const svw_judge_commission_t *commission, uint32_t *id)
{
    size_t       n;
    unsigned     i;
    uint32_t     expiry, *ids;
    svw_lot_t   *lot;
    svw_made_t  *made;
    char         line[sizeof(made->line)] = { 0 };

    lot = key->lot;
    expiry = svw_expiry_number(commission->expiry);
    n = commission->line.len < sizeof(line) - 1 ? commission->line.len : sizeof(line) - 1;

    if (n > 0) {
        memcpy(line, commission->line.data, n);
    }

    for (i = 0; i < lot->n_made; i++) {
        made = &facts->made[lot->made[i]];

        if (made->expiry == expiry && strcmp(made->line, line) == 0) {
            if (commission->time_ms < made->time_ms || (commission->time_ms == made->time_ms && commission->ref < made->ref)) {
                made->time_ms = commission->time_ms;
                made->ref = commission->ref;
            }

            *id = lot->made[i];
            return 0;
        }
    }

    if (facts->n_made == facts->made_size) {
        made = realloc(facts->made, (facts->made_size * 2 + 64) * sizeof(svw_made_t));

        if (made == NULL) {
            return -1;
        }

        facts->made = made;
        facts->made_size = facts->made_size * 2 + 64;
    }

    ids = realloc(lot->made, (lot->n_made + 1) * sizeof(uint32_t));

    if (ids == NULL) {
        return -1;
    }

    lot->made = ids;
    lot->made[lot->n_made++] = facts->n_made;
    *id = facts->n_made++;

    made = &facts->made[*id];
    made->lot = key;
    made->ref = commission->ref;
    made->time_ms = commission->time_ms;
    made->expiry = expiry;
    made->listed = 0;
    made->serials = 0;
    memcpy(made->line, line, sizeof(line));

    return SVW_FACTS_MADE;
}


static int
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


static int
svw_record_add(svw_facts_t *facts, const svw_judge_commission_t *commission)
{
    svw_record_t  *record;

    if (facts->records == facts->record_size) {
        record = realloc(facts->record, (facts->record_size * 2 + 64) * sizeof(svw_record_t));

        if (record == NULL) {
            return -1;
        }

        facts->record = record;
        facts->record_size = facts->record_size * 2 + 64;
    }

    facts->record[facts->records++] = (svw_record_t) { .ref = commission->ref, .time_ms = commission->time_ms };

    return 0;
}


/* by time, whichever arrived first */
static uint32_t
svw_record_first(const svw_facts_t *facts, uint32_t a, uint32_t b)
{
    const svw_record_t  *x, *y;

    x = &facts->record[a];
    y = &facts->record[b];

    if (x->time_ms != y->time_ms) {
        return x->time_ms < y->time_ms ? a : b;
    }

    return x->ref <= y->ref ? a : b;
}


/*
 * Of it without its case, and in the last bits with it: so what differs in case
 * only lies side by side.
 */
static uint64_t
svw_serial_digest(const svw_facts_t *facts, uint64_t gtin, sv_span_t serial)
{
    size_t      i;
    uint64_t    digest;
    uint8_t     lower[SVW_SERIAL_FOLDED];
    svw_hash_t  hash;

    for (i = 0; i < serial.len && i < sizeof(lower); i++) {
        lower[i] = serial.data[i] >= 'A' && serial.data[i] <= 'Z' ? (uint8_t) (serial.data[i] | 0x20) : serial.data[i];
    }

    svw_hash_begin(&hash, facts->evidence->hash_key);
    svw_hash_number(&hash, gtin);
    svw_hash_span(&hash, (sv_span_t) { lower, i });
    digest = svw_hash_end(&hash) << SVW_SERIAL_CASE;

    svw_hash_begin(&hash, facts->evidence->hash_key);
    svw_hash_span(&hash, serial);
    digest |= svw_hash_end(&hash) >> (64 - SVW_SERIAL_CASE);

    return digest | (digest == 0);
}


static svw_serial_t *
svw_serial_slot(const svw_facts_t *facts, uint64_t digest)
{
    size_t  i;

    for (i = digest >> SVW_SERIAL_CASE & facts->serial_mask; ; i = (i + 1) & facts->serial_mask) {
        if (facts->serial[i].digest == digest || facts->serial[i].digest == 0) {
            return &facts->serial[i];
        }
    }
}


static int
svw_serial_add(svw_facts_t *facts, uint64_t gtin, sv_span_t serial, uint32_t made)
{
    uint64_t       digest;
    svw_serial_t  *entry;

    if (facts->serials * 4 > facts->serial_mask * 3 && svw_serials_grow(facts) != 0) {
        return -1;
    }

    digest = svw_serial_digest(facts, gtin, serial);
    entry = svw_serial_slot(facts, digest);

    if (entry->digest == 0) {
        entry->digest = digest;
        entry->made = made;
        entry->record = facts->records - 1;
        facts->serials++;
        facts->made[made].serials++;
        return SVW_FACTS_MADE;
    }

    if (entry->made == made) {
        entry->record = svw_record_first(facts, entry->record, facts->records - 1);
        return 0;
    }

    return svw_serial_again(facts, entry, serial, made);
}


/* All the ways in which a serial was commissioned are kept: which one came first does not matter. */
static int
svw_serial_again(svw_facts_t *facts, svw_serial_t *entry, sv_span_t serial, uint32_t made)
{
    unsigned      i;
    uint32_t     *ids;
    svw_group_t  *group;

    if (!(entry->made & SVW_GROUP)) {
        if (facts->groups == facts->group_size) {
            group = realloc(facts->group, (facts->group_size * 2 + 64) * sizeof(svw_group_t));

            if (group == NULL) {
                return -1;
            }

            facts->group = group;
            facts->group_size = facts->group_size * 2 + 64;
        }

        group = &facts->group[facts->groups];
        group->serial = strndup((const char *) serial.data, serial.len);
        group->made = malloc(sizeof(uint32_t));
        group->record = malloc(sizeof(uint32_t));
        group->n = 1;

        if (group->serial == NULL || group->made == NULL || group->record == NULL) {
            free(group->serial);
            free(group->made);
            free(group->record);
            return -1;
        }

        group->made[0] = entry->made;
        group->record[0] = entry->record;
        entry->made = SVW_GROUP | facts->groups++;
    }

    group = &facts->group[entry->made & ~SVW_GROUP];

    for (i = 0; i < group->n; i++) {
        if (group->made[i] == made) {
            group->record[i] = svw_record_first(facts, group->record[i], facts->records - 1);
            return svw_group_changed(facts, group);
        }
    }

    ids = realloc(group->made, (group->n + 1) * sizeof(uint32_t));

    if (ids == NULL) {
        return -1;
    }

    group->made = ids;
    ids = realloc(group->record, (group->n + 1) * sizeof(uint32_t));

    if (ids == NULL) {
        return -1;
    }

    group->record = ids;

    for (i = 0; i < group->n; i++) {
        if (svw_clash_add(facts, group->made[i], made, group->serial) != 0) {
            return -1;
        }
    }

    group->made[group->n] = made;
    group->record[group->n++] = facts->records - 1;
    facts->made[made].serials++;

    return SVW_FACTS_CLASH | SVW_FACTS_MADE;
}


static int
svw_serials_grow(svw_facts_t *facts)
{
    size_t         i, mask;
    svw_serial_t  *old, *slot;

    mask = facts->serial_mask * 2 + 1;
    slot = calloc(mask + 1, sizeof(svw_serial_t));

    if (slot == NULL) {
        return -1;
    }

    old = facts->serial;
    i = facts->serial_mask + 1;
    facts->serial = slot;
    facts->serial_mask = mask;

    while (i-- > 0) {
        if (old[i].digest != 0) {
            *svw_serial_slot(facts, old[i].digest) = old[i];
        }
    }

    free(old);

    return 0;
}


static int
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


/* another record may be the first that tells one of its ways */
static int
svw_group_changed(svw_facts_t *facts, const svw_group_t *group)
{
    unsigned  i;

    for (i = 0; i < group->n; i++) {
        if (svw_clash_changed(facts, facts->made[group->made[i]].lot) != 0) {
            return -1;
        }
    }

    return 0;
}


static int
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


static void
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
