/*
 * A set of lots.
 */

#ifndef SVW_LOTS_H
#define SVW_LOTS_H

#include "svw.h"


typedef struct {
    uint64_t   gtin;                    /* 0: free */
    uint8_t    len;
    uint8_t    lot[SV_LOT_MAX];
} svw_lots_entry_t;

typedef struct {
    svw_lots_entry_t  *entry;
    size_t             n, mask;
} svw_lots_t;

int svw_lots_has(const svw_lots_t *lots, uint64_t gtin, sv_span_t lot);
int svw_lots_add(svw_lots_t *lots, uint64_t gtin, sv_span_t lot);        /* 0, or -1: no memory */
void svw_lots_remove_all(svw_lots_t *lots);

#endif /* SVW_LOTS_H */
