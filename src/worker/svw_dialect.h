/*
 * Where lots, expiries and markets of packs stand in real feeds, whatever the
 * syntax.  A reader asks for every member that EPCIS itself does not know.
 */

#ifndef SVW_DIALECT_H
#define SVW_DIALECT_H

#include "svw_event.h"


#define SVW_AT_EVENT      0x01          /* a member of the event itself, or of its <extension> */
#define SVW_AT_ILMD       0x02          /* of its ilmd */
#define SVW_AT_EXTENSION  0x04          /* somewhere in what somebody added */

#define SVW_NS_MDA        "urn:epcglobal:cbv:mda"
#define SVW_NS_HC         "http://epcis.gs1us.org/hc/ns"

/* a member; what there is not is empty */
typedef struct {
    unsigned       at;
    sv_span_t      ns;
    sv_span_t      local;
    sv_span_t      around;              /* local name of the object or element that it is in */
    sv_span_t      label;               /* value of its attribute `name' */
} svw_member_place_t;

typedef struct {
    const char    *word;                /* for reports, listed in docs/worker.md */
    unsigned       at;
    const char    *ns;                  /* NULL: any */
    const char    *around;              /* NULL: any */
    const char    *local;               /* NULL: any, the label counts */
    const char    *label;
    svw_claim_t    claim;
    int            standard;
} svw_dialect_t;

const svw_dialect_t *svw_dialect_find(const svw_member_place_t *place);     /* NULL: it tells nothing of that kind */
int svw_dialect_tell(svw_event_t *event, const svw_dialect_t *dialect, sv_span_t text);

/* any text may be the whole code of a pack: "(01)..(21)..(17)..(10).." */
int svw_dialect_is_barcode(sv_span_t text);

#endif /* SVW_DIALECT_H */
