/*
 * One EPCIS event while it is read, whatever the syntax.
 *
 *   svw_feed_json, svw_feed_xml   a syntax -> the calls below; they know names and places, no meaning
 *   svw_event    collects one event and judges it: load, quarantine, or leave alone
 *   svw_dialect  where lots, expiries and markets stand in real feeds
 *   svw_epc      an identifier of any form -> (GTIN, serial)
 *   svw_detail   what is kept of an event without being understood
 *   svw_stage    -> staging tables
 *
 * Members come in any order, so the EPCs wait in a spool until the event is
 * whole.  Nothing of an event is loaded unless all of it can be read: what
 * cannot goes to quarantine as a whole, with its content.
 */

#ifndef SVW_EVENT_H
#define SVW_EVENT_H

#include "svw_load.h"

#include <openssl/evp.h>


#define SVW_EVENT_TEXT    256           /* longest value of a member that counts */
#define SVW_EVENT_DETAIL  (16 * 1024)   /* of what is kept without being understood, as JSON */
#define SVW_EVENT_KEEP    (4 * 1024 * 1024)     /* content kept in quarantine; above, only its place */

/* members that hold one value */
typedef enum {
    SVW_MEMBER_TYPE,
    SVW_MEMBER_ACTION,
    SVW_MEMBER_STEP,
    SVW_MEMBER_DISPOSITION,
    SVW_MEMBER_ID,
    SVW_MEMBER_TIME,
    SVW_MEMBER_OFFSET,
    SVW_MEMBER_PARENT,
    SVW_MEMBER_READ_POINT,
    SVW_MEMBER_BIZ_LOCATION,
    SVW_MEMBER_ERROR_TIME,              /* errorDeclaration: declarationTime */
    SVW_MEMBER_ERROR_REASON,
    SVW_MEMBER_TEXTS,
    SVW_MEMBER_EPCS = SVW_MEMBER_TEXTS, /* epcList or childEPCs came, maybe empty */
    SVW_MEMBER_ERROR,                   /* errorDeclaration came */
    SVW_MEMBER_OTHER
} svw_member_t;

/* what several dialects may tell of the packs of one event: all that is told must agree */
typedef enum { SVW_CLAIM_LOT, SVW_CLAIM_EXPIRY, SVW_CLAIM_MARKET, SVW_CLAIMS } svw_claim_t;

typedef struct svw_event_s  svw_event_t;

svw_event_t *svw_event_new(svw_load_t *load);                       /* NULL: load->rc */
void svw_event_free(svw_event_t *event);

/* all that return int: 0, or -1 to stop (load->rc says why) */
void svw_event_begin(svw_event_t *event, int64_t line);
void svw_event_none(svw_event_t *event);                            /* what had begun was no event: counting begins anew */
void svw_event_member(svw_event_t *event, svw_member_t member);     /* its name came */
int svw_event_text(svw_event_t *event, svw_member_t member, sv_span_t text);
int svw_event_epc(svw_event_t *event, int64_t line, sv_span_t epc); /* of epcList or childEPCs */
int svw_event_quantity(svw_event_t *event, sv_span_t epc_class, sv_span_t quantity, sv_span_t uom);
int svw_event_corrective(svw_event_t *event, sv_span_t event_id);

/*
 * `dialect' is a word of svw_dialect.c's table, for reports; `standard' says
 * that it is the place where EPCIS wants it.  A strict feed takes no other.
 */
int svw_event_claim(svw_event_t *event, svw_claim_t claim, int standard, const char *dialect, sv_span_t text);

/* a whole element string ("(01)..(21)..(17)..(10).."): claims of a lot and an expiry */
int svw_event_barcode(svw_event_t *event, sv_span_t text);

/* a member cannot be what it should: the event goes into quarantine; the first counts */
void svw_event_wrong(svw_event_t *event, const char *reason, const char *element);

/* something in the event is not as the standard wants it, but plain: strict feeds put it into quarantine */
void svw_event_irregular(svw_event_t *event, const char *reason, const char *element);

/*
 * What is kept in sv.event.detail: a tree of texts.  A name is "local" for a
 * member of EPCIS itself and "{namespace}local" for any other, in every
 * syntax.  A name that comes again within an object makes a list, except
 * that names of svw_detail's table of lists are always one.
 */
void svw_event_detail_open(svw_event_t *event, sv_span_t name);
void svw_event_detail_text(svw_event_t *event, sv_span_t name, sv_span_t text);
void svw_event_detail_close(svw_event_t *event);

int svw_event_end(svw_event_t *event);
int svw_event_is_event(const svw_event_t *event);                   /* its type says so */


/* svw_epc.c: an identifier -> item; NULL, or the reason.  Spans point into `buf'. */
typedef struct {
    uint64_t   gtin;                    /* 0: an SSCC */
    sv_span_t  serial;
} svw_epc_t;

const char *svw_epc_parse(sv_span_t text, uint8_t buf[SV_GS1_BUFFER], svw_epc_t *epc);
const char *svw_epc_class(sv_span_t text, uint8_t buf[SV_GS1_BUFFER], uint64_t *gtin, sv_span_t *lot);      /* lot empty: GTIN only */

/* svw_step.c: the bare word of a bizStep, disposition or error reason in any of its forms; else the text as it is */
sv_span_t svw_word(sv_span_t text, const char *vocabulary);         /* "bizstep", "disp", "er", "btt", "sdt", "comp" */
int svw_step_known(sv_span_t word, sv_span_t action);               /* of an ObjectEvent, besides OBSERVE */

#endif /* SVW_EVENT_H */
