/*
 * Serials that were commissioned: a table of digests, sixteen bytes each, that tells
 * the way and the record.  Those that were commissioned in several ways are groups.
 */

#include "svw_facts_in.h"

#include <stdlib.h>


#define SVW_GROUP         0x80000000u
#define SVW_SERIALS_LEAST 4096
#define SVW_SERIAL_CASE   16            /* bits of a digest that tell case */
#define SVW_SERIAL_FOLDED 256


static unsigned svw_serial_ways(const svw_facts_t *facts, uint64_t gtin, sv_span_t serial, const uint32_t **made, const uint32_t **record);
static uint64_t svw_record_content(const svw_judge_commission_t *commission);
static int svw_record_again(const svw_facts_t *facts, uint32_t *record);
static uint64_t svw_serial_folded(const svw_facts_t *facts, uint64_t gtin, sv_span_t serial);
static uint64_t svw_serial_cased(const svw_facts_t *facts, uint64_t folded, sv_span_t serial);
static const svw_serial_t *svw_serial_like(const svw_facts_t *facts, uint64_t folded);
static svw_serial_t *svw_serial_slot(const svw_facts_t *facts, uint64_t digest);
static int svw_serial_again(svw_facts_t *facts, svw_serial_t *entry, sv_span_t serial, uint32_t made);
static int svw_group_new(svw_facts_t *facts, svw_serial_t *entry, sv_span_t serial);
static int svw_group_add(svw_group_t *group, uint32_t made, uint32_t record);
static int svw_group_changed(svw_facts_t *facts, const svw_group_t *group);
static int svw_serials_grow(svw_facts_t *facts);


int
svw_serials_init(svw_facts_t *facts)
{
    facts->serial_mask = SVW_SERIALS_LEAST - 1;
    facts->serial = calloc(SVW_SERIALS_LEAST, sizeof(svw_serial_t));

    return facts->serial == NULL ? -1 : 0;
}


void
svw_serials_done(svw_facts_t *facts)
{
    uint32_t  g;

    for (g = 0; g < facts->groups; g++) {
        free(facts->group[g].serial);
        free(facts->group[g].made);
        free(facts->group[g].record);
    }

    free(facts->group);
    free(facts->record);
    free(facts->serial);
}


const svw_made_t *
svw_facts_serial(const svw_facts_t *facts, uint64_t gtin, sv_span_t serial)
{
    unsigned         i, n;
    uint32_t         best;
    const uint32_t  *made, *record;

    n = svw_serial_ways(facts, gtin, serial, &made, &record);

    if (n == 0) {
        return NULL;
    }

    for (i = 1, best = made[0]; i < n; i++) {
        if (svw_made_cmp(facts, made[i], best) < 0) {
            best = made[i];
        }
    }

    return svw_facts_made(facts, best);
}


const svw_record_t *
svw_facts_record(const svw_facts_t *facts, uint64_t gtin, sv_span_t serial, const svw_made_t *way)
{
    unsigned         i, n;
    const uint32_t  *made, *record;

    n = svw_serial_ways(facts, gtin, serial, &made, &record);

    for (i = 0; i < n; i++) {
        if (svw_facts_made(facts, made[i]) == way) {
            return &facts->record[record[i]];
        }
    }

    return NULL;
}


const svw_made_t *
svw_facts_way(const svw_facts_t *facts, uint64_t gtin, sv_span_t serial, unsigned n)
{
    const uint32_t  *made, *record;

    return n < svw_serial_ways(facts, gtin, serial, &made, &record) ? svw_facts_made(facts, made[n]) : NULL;
}


const svw_made_t *
svw_facts_folded(const svw_facts_t *facts, uint64_t gtin, sv_span_t serial)
{
    const svw_serial_t  *entry;

    entry = svw_serial_like(facts, svw_serial_folded(facts, gtin, serial));

    if (entry == NULL) {
        return NULL;
    }

    return svw_facts_made(facts, entry->made & SVW_GROUP ? facts->group[entry->made & ~SVW_GROUP].made[0] : entry->made);
}


int
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

    facts->record[facts->records++] = (svw_record_t) {
        .ref = commission->ref, .time_ms = commission->time_ms, .content = svw_record_content(commission)
    };

    return 0;
}


int
svw_serial_add(svw_facts_t *facts, uint64_t gtin, sv_span_t serial, uint32_t made)
{
    uint64_t       digest;
    svw_serial_t  *entry;

    if (facts->serials * 4 > facts->serial_mask * 3 && svw_serials_grow(facts) != 0) {
        return -1;
    }

    digest = svw_serial_cased(facts, svw_serial_folded(facts, gtin, serial), serial);
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
        return svw_record_again(facts, &entry->record);
    }

    return svw_serial_again(facts, entry, serial, made);
}


/* All the ways in which a serial was commissioned, and the first record that told each; how many. */
static unsigned
svw_serial_ways(const svw_facts_t *facts, uint64_t gtin, sv_span_t serial, const uint32_t **made, const uint32_t **record)
{
    uint64_t             folded;
    const svw_group_t   *group;
    const svw_serial_t  *entry;

    folded = svw_serial_folded(facts, gtin, serial);

    /* most that are looked up are none: one digest is enough to see it */

    if (svw_serial_like(facts, folded) == NULL) {
        return 0;
    }

    entry = svw_serial_slot(facts, svw_serial_cased(facts, folded, serial));

    if (entry->digest == 0) {
        return 0;
    }

    if (!(entry->made & SVW_GROUP)) {
        *made = &entry->made;
        *record = &entry->record;
        return 1;
    }

    group = &facts->group[entry->made & ~SVW_GROUP];
    *made = group->made;
    *record = group->record;

    return group->n;
}


/* the same in each run */
static uint64_t
svw_record_content(const svw_judge_commission_t *commission)
{
    size_t      i;
    svw_hash_t  hash;

    svw_hash_begin(&hash, (svw_hash_key_t) {11, 12});
    svw_hash_number(&hash, commission->gtin);
    svw_hash_span(&hash, commission->lot);
    svw_hash_span(&hash, commission->expiry);
    svw_hash_span(&hash, commission->line);

    for (i = 0; i < commission->n_serials; i++) {
        svw_hash_span(&hash, commission->serials[i]);
    }

    for (i = 0; i < commission->n_markets; i++) {
        svw_hash_span(&hash, commission->markets[i]);
    }

    return svw_hash_end(&hash);
}


int
svw_record_cmp(const svw_record_t *a, const svw_record_t *b)
{
    if (a->time_ms != b->time_ms) {
        return a->time_ms < b->time_ms ? -1 : 1;
    }

    return (a->content > b->content) - (a->content < b->content);
}


/* The record at hand says so too: the first is the one by time, whichever arrived first. */
static int
svw_record_again(const svw_facts_t *facts, uint32_t *record)
{
    if (svw_record_cmp(&facts->record[*record], &facts->record[facts->records - 1]) <= 0) {
        return 0;
    }

    *record = facts->records - 1;

    return SVW_FACTS_RECORD;
}


/*
 * Of it without its case, and in the last bits with it: so what differs in case
 * only lies side by side.
 */
static uint64_t
svw_serial_folded(const svw_facts_t *facts, uint64_t gtin, sv_span_t serial)
{
    size_t      i;
    uint8_t     lower[SVW_SERIAL_FOLDED];
    svw_hash_t  hash;

    for (i = 0; i < serial.len && i < sizeof(lower); i++) {
        lower[i] = serial.data[i] >= 'A' && serial.data[i] <= 'Z' ? (uint8_t) (serial.data[i] | 0x20) : serial.data[i];
    }

    svw_hash_begin(&hash, facts->evidence->hash_key);
    svw_hash_number(&hash, gtin);
    svw_hash_span(&hash, (sv_span_t) { lower, i });

    return svw_hash_end(&hash) << SVW_SERIAL_CASE;
}


static uint64_t
svw_serial_cased(const svw_facts_t *facts, uint64_t folded, sv_span_t serial)
{
    uint64_t    digest;
    svw_hash_t  hash;

    svw_hash_begin(&hash, facts->evidence->hash_key);
    svw_hash_span(&hash, serial);
    digest = folded | svw_hash_end(&hash) >> (64 - SVW_SERIAL_CASE);

    return digest | (digest == 0);
}


/* the first that is the same but for its case; NULL: none */
static const svw_serial_t *
svw_serial_like(const svw_facts_t *facts, uint64_t folded)
{
    size_t  i;

    for (i = folded >> SVW_SERIAL_CASE & facts->serial_mask; facts->serial[i].digest != 0; i = (i + 1) & facts->serial_mask) {
        if (facts->serial[i].digest >> SVW_SERIAL_CASE == folded >> SVW_SERIAL_CASE) {
            return &facts->serial[i];
        }
    }

    return NULL;
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


/* All the ways in which a serial was commissioned are kept: which one came first does not matter. */
static int
svw_serial_again(svw_facts_t *facts, svw_serial_t *entry, sv_span_t serial, uint32_t made)
{
    unsigned      i;
    svw_group_t  *group;

    if (!(entry->made & SVW_GROUP) && svw_group_new(facts, entry, serial) != 0) {
        return -1;
    }

    group = &facts->group[entry->made & ~SVW_GROUP];

    for (i = 0; i < group->n; i++) {
        if (group->made[i] == made) {
            return svw_group_changed(facts, group) != 0 ? -1 : svw_record_again(facts, &group->record[i]);
        }
    }

    for (i = 0; i < group->n; i++) {
        if (svw_clash_add(facts, group->made[i], made, group->serial) != 0) {
            return -1;
        }
    }

    if (svw_group_add(group, made, facts->records - 1) != 0) {
        return -1;
    }

    facts->made[made].serials++;

    return SVW_FACTS_CLASH | SVW_FACTS_MADE;
}


/* of a serial that had one way until now */
static int
svw_group_new(svw_facts_t *facts, svw_serial_t *entry, sv_span_t serial)
{
    svw_group_t  *group;

    if (facts->groups == facts->group_size) {
        group = realloc(facts->group, (facts->group_size * 2 + 64) * sizeof(svw_group_t));

        if (group == NULL) {
            return -1;
        }

        facts->group = group;
        facts->group_size = facts->group_size * 2 + 64;
    }

    group = &facts->group[facts->groups];
    memset(group, 0, sizeof(svw_group_t));
    group->serial = strndup((const char *) serial.data, serial.len);

    if (group->serial == NULL || svw_group_add(group, entry->made, entry->record) != 0) {
        free(group->serial);
        free(group->made);
        free(group->record);
        return -1;
    }

    entry->made = SVW_GROUP | facts->groups++;

    return 0;
}


static int
svw_group_add(svw_group_t *group, uint32_t made, uint32_t record)
{
    uint32_t  *ids;

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
    group->made[group->n] = made;
    group->record[group->n++] = record;

    return 0;
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
