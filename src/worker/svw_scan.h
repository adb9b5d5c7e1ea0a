/*
 * An item as a person, a scanner or a partner's system names it.
 */

#ifndef SVW_SCAN_H
#define SVW_SCAN_H

#include "svw.h"


typedef struct {
    uint64_t   gtin;                    /* 0: a container by its SSCC */
    char       serial[21];              /* of an SSCC its 18 digits */
    char       lot[21];                 /* "" when it was not named */
} svw_scanned_t;

/*
 * A Digital Link, the target of one ("/01/.."), a URN, "(01)..(21)..", what a
 * scanner sends (with or without "]d2", "]C1"), or the 18 digits of an SSCC.
 * NULL, or what is wrong with it, for a person.
 */
const char *svw_scan_item(sv_span_t text, svw_scanned_t *scanned);

/* "https://id.gs1.org/01/../21/.." or "/00/.."; what `scanned' comes from is valid, so it fits */
#define SVW_LINK  128
void svw_scan_link(char link[SVW_LINK], const char *gtin, const char *serial);

#endif /* SVW_SCAN_H */
