/*
 * EPCIS as XML:
 *
 *   svw_feed_xml    the parser and its limits
 *   svw_xml_event   an element -> what it is to an event
 *   svw_xml_name    the names of EPCIS, and where each may stand
 *   svw_xml_extra   what EPCIS does not know: dialects and the detail
 */

#ifndef SVW_XML_H
#define SVW_XML_H

#include "svw_dialect.h"


#define SVW_XML_DEPTH  64

typedef enum {
    SVW_XML_DOC,                        /* outside of everything */
    SVW_XML_WRAP,                       /* a SOAP envelope or a StandardBusinessDocument */
    SVW_XML_ROOT,
    SVW_XML_BODY,
    SVW_XML_RESULTS,
    SVW_XML_LIST,
    SVW_XML_LIST_MORE,                  /* its <extension> */
    SVW_XML_EVENT,
    SVW_XML_MORE,                       /* <extension> of an event */
    SVW_XML_BASE,                       /* <baseExtension> */
    SVW_XML_EPCS,
    SVW_XML_READ_POINT,
    SVW_XML_LOCATION,
    SVW_XML_ERROR,
    SVW_XML_CORRECTIVE,
    SVW_XML_QUANTITIES,
    SVW_XML_QUANTITY,
    SVW_XML_TRANSACTIONS,
    SVW_XML_SOURCES,
    SVW_XML_DESTINATIONS,
    SVW_XML_SENSORS,
    SVW_XML_DISPOSITIONS,
    SVW_XML_ILMD,
    SVW_XML_TREE,                       /* kept without being understood */
    SVW_XML_VALUE,
    SVW_XML_IGNORED
} svw_xml_at_t;

typedef enum {
    SVW_XML_PASS,
    SVW_XML_IS_EVENT,
    SVW_XML_IS_TEXT,                    /* of an event's member */
    SVW_XML_IS_EPC,
    SVW_XML_IS_CORRECTIVE,
    SVW_XML_IS_AMOUNT,                  /* part `which' of a quantityElement, which is the next */
    SVW_XML_IS_QUANTITY,
    SVW_XML_IS_LISTED,                  /* {"type": .., "source": ..} */
    SVW_XML_IS_SENSOR,
    SVW_XML_IS_KEPT                     /* a value of the detail */
} svw_xml_kind_t;

typedef struct {
    const char      *word;
    uint32_t         in;                /* bits of svw_xml_at_t: where it is read */
    uint32_t         right[2];          /* where EPCIS 1.2 and 2.0 have it */
    svw_xml_at_t     at;
    svw_xml_kind_t   kind;
    svw_member_t     member;
    unsigned         which;
    const char      *list;              /* its name in the detail, which is that of EPCIS in JSON */
} svw_xml_name_t;

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


static inline sv_span_t
svw_xml_span(const char *text)
{
    return (sv_span_t) { (const uint8_t *) text, strlen(text) };
}


#define SVW_BIT(at)  (1u << SVW_XML_##at)
#define SVW_ABOVE    (SVW_BIT(DOC) | SVW_BIT(WRAP) | SVW_BIT(ROOT) | SVW_BIT(BODY) | SVW_BIT(RESULTS))

/* svw_xml_event.c.  0, or -1 to stop: load->rc says why */
int svw_xml_open(svw_xml_t *xml, const char *local, const char *ns, svw_xml_attributes_t attributes);
int svw_xml_close(svw_xml_t *xml, sv_span_t text);
int svw_xml_has_text(const svw_xml_t *xml);     /* the text of the element at hand is wanted */
void svw_xml_stray(svw_xml_t *xml);
void svw_xml_irregular(svw_xml_t *xml, const char *reason, const char *element);

/* svw_xml_name.c */
const svw_xml_name_t *svw_xml_find(svw_xml_t *xml, svw_xml_at_t in, const char *local, const char *ns);
void svw_xml_check(svw_xml_t *xml, const svw_xml_level_t *level, svw_xml_at_t in);
sv_span_t svw_xml_attribute(svw_xml_attributes_t attributes, const char *local);
int svw_xml_is_epcis(const char *ns);
int svw_xml_is_home(const svw_xml_t *xml, const char *ns);

/* svw_xml_extra.c */
int svw_xml_extra(svw_xml_t *xml, svw_xml_level_t *level, svw_xml_at_t in, svw_xml_attributes_t attributes);
int svw_xml_extra_value(svw_xml_t *xml, svw_xml_level_t *level, sv_span_t text);
void svw_xml_attributes(svw_xml_t *xml, const svw_xml_level_t *level, svw_xml_attributes_t attributes);
void svw_xml_opened(svw_xml_t *xml, unsigned depth);

#endif /* SVW_XML_H */
