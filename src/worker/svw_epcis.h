/*
 * Events as EPCIS 2.0 JSON-LD, for whoever asks, exports or pushes.
 *
 * The SQL functions sv.item_events() and sv.out_events() say what goes out,
 * one row an event; here it gets its form.  The same row makes the same bytes.
 */

#ifndef SVW_EPCIS_H
#define SVW_EPCIS_H

#include "svw.h"

#include <jansson.h>


#define SVW_EPCIS_CONTEXT    "https://ref.gs1.org/standards/epcis/epcis-context.jsonld"
#define SVW_EPCIS_NAMESPACE  "urn:serial-verify:epcis:"
#define SVW_EPCIS_LINK       256        /* an identifier as a Digital Link, its end included */

typedef enum { SVW_EPCIS_DOCUMENT, SVW_EPCIS_QUERY } svw_epcis_doc_t;

/* Texts are NULL when there is none. */
typedef struct {
    const char  *event_id;
    const char  *kind;                  /* object, aggregation, transaction */
    const char  *action;                /* add, observe, delete */
    const char  *step, *disposition;    /* the word of the vocabulary, or a URI */
    int64_t      event_ms;
    int          offset_min;
    int64_t      at_ms;                 /* recorded */
    uint64_t     parent_gtin;           /* 0: an SSCC */
    const char  *parent_serial;
    const char  *items;                 /* a line each: GTIN-14 and serial; 14 zeros and the SSCC */
    const char  *lot, *expiry, *market;
    const char  *read_point, *biz_location;
    const char  *error;                 /* JSON: errorDeclaration as it goes out */
    const char  *detail;                /* JSON: sv.event.detail */
    const char  *own;                   /* JSON: members in our own namespace */
} svw_epcis_event_t;


/* A row of the SQL functions; texts point into it. */
void svw_epcis_row(const PGresult *rows, int row, svw_epcis_event_t *event);

/* The event; NULL: no memory, or what is stored is no JSON. */
json_t *svw_epcis_event(const svw_epcis_event_t *event);

/* https://id.gs1.org/01/{gtin}/21/{serial}, or /00/{sscc} when the GTIN is 0; -1: not an identifier */
int svw_epcis_link(uint64_t gtin, const char *serial, size_t len, char out[SVW_EPCIS_LINK]);

/* The bare word of a word of the vocabulary in one of its long forms, else the text; `len' is its length and changed. */
const char *svw_epcis_bare(const char *text, size_t *len);

/*
 * A document around its events: begin, put each, end.  -1: it could not be
 * written, or, of put, the event could not be made.
 */
int svw_epcis_begin(FILE *out, svw_epcis_doc_t doc, int64_t created_ms);
int svw_epcis_put(FILE *out, const svw_epcis_event_t *event, int first);
int svw_epcis_end(FILE *out, svw_epcis_doc_t doc);

#endif /* SVW_EPCIS_H */
