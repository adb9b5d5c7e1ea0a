#include "svw_lots.h"

#include <stdlib.h>
#include <string.h>


#define SVW_LOTS_LEAST  1024


static svw_lots_entry_t *svw_lots_place(const svw_lots_t *lots, uint64_t gtin, sv_span_t lot);
static int svw_lots_grow(svw_lots_t *lots);


int
svw_lots_has(const svw_lots_t *lots, uint64_t gtin, sv_span_t lot)
{
    return lots->entry != NULL && svw_lots_place(lots, gtin, lot)->gtin != 0;
}


int
svw_lots_add(svw_lots_t *lots, uint64_t gtin, sv_span_t lot)
{
    svw_lots_entry_t  *entry;

    if ((lots->entry == NULL || lots->n * 2 > lots->mask) && svw_lots_grow(lots) != 0) {
        return -1;
    }

    entry = svw_lots_place(lots, gtin, lot);

    if (entry->gtin == 0) {
        entry->gtin = gtin;
        entry->len = (uint8_t) lot.len;
        memcpy(entry->lot, lot.data, lot.len);
        lots->n++;
    }

    return 0;
}


void
svw_lots_remove_all(svw_lots_t *lots)
{
    free(lots->entry);
    *lots = (svw_lots_t) { 0 };
}


static svw_lots_entry_t *
svw_lots_place(const svw_lots_t *lots, uint64_t gtin, sv_span_t lot)
{
    size_t             i;
    uint64_t           hash;
    svw_lots_entry_t  *entry;

    hash = gtin * UINT64_C(0x9e3779b97f4a7c15);

    for (i = 0; i < lot.len; i++) {
        hash = (hash ^ lot.data[i]) * UINT64_C(0x100000001b3);
    }

    for (hash ^= hash >> 29; /* void */; hash++) {
        entry = &lots->entry[hash & lots->mask];

        if (entry->gtin == 0 || (entry->gtin == gtin && entry->len == lot.len && memcmp(entry->lot, lot.data, lot.len) == 0)) {
            return entry;
        }
    }
}


static int
svw_lots_grow(svw_lots_t *lots)
{
    size_t      i, size;
    svw_lots_t  grown;

    size = lots->entry == NULL ? SVW_LOTS_LEAST : 2 * (lots->mask + 1);
    grown = (svw_lots_t) { .n = lots->n, .mask = size - 1, .entry = calloc(size, sizeof(svw_lots_entry_t)) };

    if (grown.entry == NULL) {
        return -1;
    }

    for (i = 0; lots->entry != NULL && i <= lots->mask; i++) {
        if (lots->entry[i].gtin != 0) {
            *svw_lots_place(&grown, lots->entry[i].gtin, (sv_span_t) { lots->entry[i].lot, lots->entry[i].len }) = lots->entry[i];
        }
    }

    free(lots->entry);
    *lots = grown;

    return 0;
}
