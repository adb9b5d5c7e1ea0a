/*
 * EPCIS as XML, in two halves: svw_feed_xml.c has the parser and its limits,
 * svw_xml_event.c knows the names and where they may stand.
 */

#ifndef SVW_XML_H
#define SVW_XML_H

#include "svw_dialect.h"


#define SVW_XML_DEPTH  64

typedef struct svw_xml_name_s  svw_xml_name_t;

/* an element that is open; names are the parser's and live as long as it does */
typedef struct {
    const char            *local;
    const char            *ns;          /* NULL: none */
    const svw_xml_name_t  *name;        /* NULL: EPCIS does not know it */
    const svw_dialect_t   *dialect;
    uint8_t                at;          /* what it is: a place for others, or a value */
    uint8_t                opened;      /* in the detail */
    uint8_t                plain;       /* in the detail its attributes are members */
    uint8_t                parts;       /* it should be a value, but has elements in it */
} svw_xml_level_t;

/* five pointers an attribute: local, prefix, namespace, value, its end */
typedef struct {
    const unsigned char  **data;
    int                    n;
} svw_xml_attributes_t;

typedef struct {
    size_t                 len;
    uint8_t                data[SVW_EVENT_TEXT];
} svw_xml_value_t;

typedef struct {
    svw_load_t            *load;
    svw_event_t           *event;
    unsigned               depth;
    svw_xml_level_t        level[SVW_XML_DEPTH];
    const char            *home;        /* namespace of the document element */
    int                    version;     /* 1: 1.0 to 1.2, 2 */
    int                    list_seen;
    int                    in_event;
    int                    told;        /* the event is known to be irregular */
    const char            *reason;      /* the document is: each of its events is told so */
    const char            *element;
    int64_t                line;        /* of the element at hand */
    svw_xml_value_t        type;        /* of the source or transaction at hand */
    svw_xml_value_t        quantity[3]; /* class, quantity, unit */
} svw_xml_t;


/* 0, or -1 to stop: load->rc says why */
int svw_xml_open(svw_xml_t *xml, const char *local, const char *ns, svw_xml_attributes_t attributes);
int svw_xml_close(svw_xml_t *xml, sv_span_t text);
int svw_xml_has_text(const svw_xml_t *xml);     /* the text of the element at hand is wanted */
void svw_xml_stray(svw_xml_t *xml);
void svw_xml_irregular(svw_xml_t *xml, const char *reason, const char *element);

#endif /* SVW_XML_H */
