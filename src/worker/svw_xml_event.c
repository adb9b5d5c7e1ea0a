#include "svw_xml.h"

#include <string.h>


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

struct svw_xml_name_s {
    const char      *word;
    uint32_t         in;                /* bits of svw_xml_at_t: where it is read */
    uint32_t         right[2];          /* where EPCIS 1.2 and 2.0 have it */
    svw_xml_at_t     at;
    svw_xml_kind_t   kind;
    svw_member_t     member;
    unsigned         which;
    const char      *list;              /* its name in the detail, which is that of EPCIS in JSON */
};


static const svw_xml_name_t *svw_xml_find(svw_xml_t *xml, svw_xml_at_t in, const char *local, const char *ns);
static int svw_xml_known(svw_xml_t *xml, svw_xml_level_t *level, svw_xml_at_t in, svw_xml_attributes_t attributes);
static int svw_xml_unknown(svw_xml_t *xml, svw_xml_level_t *level, svw_xml_at_t in, svw_xml_attributes_t attributes);
static int svw_xml_root(svw_xml_t *xml, const svw_xml_level_t *level, svw_xml_attributes_t attributes);
static int svw_xml_event(svw_xml_t *xml, svw_xml_level_t *level);
static int svw_xml_extra(svw_xml_t *xml, svw_xml_level_t *level, svw_xml_at_t in, svw_xml_attributes_t attributes);
static void svw_xml_check(svw_xml_t *xml, const svw_xml_level_t *level, svw_xml_at_t in);
static int svw_xml_value(svw_xml_t *xml, svw_xml_level_t *level, sv_span_t text);
static int svw_xml_amount(svw_xml_t *xml);
static int svw_xml_extra_value(svw_xml_t *xml, svw_xml_level_t *level, sv_span_t text);
static void svw_xml_listed(svw_xml_t *xml, const svw_xml_name_t *name, sv_span_t text);
static void svw_xml_attributes(svw_xml_t *xml, const svw_xml_level_t *level, svw_xml_attributes_t attributes);
static void svw_xml_opened(svw_xml_t *xml, unsigned depth);
static void svw_xml_put(svw_xml_t *xml, const char *prefix, const char *ns, const char *local, const sv_span_t *text);
static sv_span_t svw_xml_attribute(svw_xml_attributes_t attributes, const char *local);
static int svw_xml_is_epcis(const char *ns);
static int svw_xml_is_home(const svw_xml_t *xml, const char *ns);
static void svw_xml_keep(svw_xml_value_t *value, sv_span_t text);
static sv_span_t svw_xml_kept(const svw_xml_value_t *value);
static sv_span_t svw_xml_span(const char *text);


#define SVW_BIT(at)    (1u << SVW_XML_##at)
#define SVW_MEMBERS    (SVW_BIT(EVENT) | SVW_BIT(MORE) | SVW_BIT(BASE))
#define SVW_ABOVE      (SVW_BIT(DOC) | SVW_BIT(WRAP) | SVW_BIT(ROOT) | SVW_BIT(BODY) | SVW_BIT(RESULTS))
#define SVW_LISTS      (SVW_BIT(LIST) | SVW_BIT(LIST_MORE))

/* where it is read; where it is right in 1.2 and in 2.0 */
#define SVW_WHERE(in, first, second)  in, { first, second }
#define SVW_SAME       SVW_WHERE(SVW_MEMBERS, SVW_BIT(EVENT), SVW_BIT(EVENT))
#define SVW_MOVED      SVW_WHERE(SVW_MEMBERS, SVW_BIT(MORE), SVW_BIT(EVENT))
#define SVW_BASED      SVW_WHERE(SVW_MEMBERS, SVW_BIT(BASE), SVW_BIT(EVENT))
#define SVW_NEW        SVW_WHERE(SVW_MEMBERS, 0, SVW_BIT(EVENT))
#define SVW_ONLY(at)   SVW_WHERE(SVW_BIT(at), SVW_BIT(at), SVW_BIT(at))
#define SVW_START(in)  SVW_WHERE(in, SVW_ABOVE, SVW_ABOVE)

#define SVW_PLACE(word, where, at) \
    { word, where, SVW_XML_##at, SVW_XML_PASS, SVW_MEMBER_OTHER, 0, NULL }
#define SVW_EVENT(word, first, second) \
    { word, SVW_ABOVE | SVW_LISTS, { first, second }, SVW_XML_EVENT, SVW_XML_IS_EVENT, SVW_MEMBER_OTHER, 0, NULL }
#define SVW_TEXT_OF(word, where, member) \
    { word, where, SVW_XML_VALUE, SVW_XML_IS_TEXT, SVW_MEMBER_##member, 0, NULL }
#define SVW_VALUE(word, where, kind, which, list) \
    { word, where, SVW_XML_VALUE, SVW_XML_IS_##kind, SVW_MEMBER_OTHER, which, list }

/* what a file is full of comes first */
static const svw_xml_name_t  svw_xml_names[] = {
    SVW_VALUE("epc", SVW_ONLY(EPCS), EPC, 0, NULL),

    SVW_TEXT_OF("eventTime", SVW_SAME, TIME),
    SVW_TEXT_OF("eventTimeZoneOffset", SVW_SAME, OFFSET),
    { "epcList", SVW_SAME, SVW_XML_EPCS, SVW_XML_PASS, SVW_MEMBER_EPCS, 0, NULL },
    { "childEPCs", SVW_SAME, SVW_XML_EPCS, SVW_XML_PASS, SVW_MEMBER_EPCS, 0, NULL },
    SVW_TEXT_OF("parentID", SVW_SAME, PARENT),
    SVW_TEXT_OF("action", SVW_SAME, ACTION),
    SVW_TEXT_OF("bizStep", SVW_SAME, STEP),
    SVW_TEXT_OF("disposition", SVW_SAME, DISPOSITION),
    SVW_PLACE("readPoint", SVW_SAME, READ_POINT),
    SVW_TEXT_OF("id", SVW_ONLY(READ_POINT), READ_POINT),
    SVW_PLACE("bizLocation", SVW_SAME, LOCATION),
    SVW_TEXT_OF("id", SVW_ONLY(LOCATION), BIZ_LOCATION),
    SVW_PLACE("recordTime", SVW_SAME, IGNORED),

    SVW_PLACE("extension", SVW_WHERE(SVW_MEMBERS, SVW_MEMBERS, 0), MORE),
    SVW_PLACE("baseExtension", SVW_WHERE(SVW_BIT(EVENT), SVW_BIT(EVENT), 0), BASE),
    SVW_PLACE("ilmd", SVW_MOVED, ILMD),
    SVW_TEXT_OF("eventID", SVW_BASED, ID),

    { "errorDeclaration", SVW_BASED, SVW_XML_ERROR, SVW_XML_PASS, SVW_MEMBER_ERROR, 0, NULL },
    SVW_TEXT_OF("declarationTime", SVW_ONLY(ERROR), ERROR_TIME),
    SVW_TEXT_OF("reason", SVW_ONLY(ERROR), ERROR_REASON),
    SVW_PLACE("correctiveEventIDs", SVW_ONLY(ERROR), CORRECTIVE),
    SVW_VALUE("correctiveEventID", SVW_ONLY(CORRECTIVE), CORRECTIVE, 0, NULL),

    SVW_PLACE("quantityList", SVW_MOVED, QUANTITIES),
    SVW_PLACE("childQuantityList", SVW_MOVED, QUANTITIES),
    { "quantityElement", SVW_ONLY(QUANTITIES), SVW_XML_QUANTITY, SVW_XML_IS_QUANTITY, SVW_MEMBER_OTHER, 0, NULL },
    SVW_VALUE("epcClass", SVW_ONLY(QUANTITY), AMOUNT, 0, NULL),
    SVW_VALUE("quantity", SVW_ONLY(QUANTITY), AMOUNT, 1, NULL),
    SVW_VALUE("uom", SVW_ONLY(QUANTITY), AMOUNT, 2, NULL),

    SVW_PLACE("bizTransactionList", SVW_SAME, TRANSACTIONS),
    SVW_VALUE("bizTransaction", SVW_ONLY(TRANSACTIONS), LISTED, 0, "bizTransactionList"),
    SVW_PLACE("sourceList", SVW_MOVED, SOURCES),
    SVW_VALUE("source", SVW_ONLY(SOURCES), LISTED, 0, "sourceList"),
    SVW_PLACE("destinationList", SVW_MOVED, DESTINATIONS),
    SVW_VALUE("destination", SVW_ONLY(DESTINATIONS), LISTED, 0, "destinationList"),

    SVW_PLACE("sensorElementList", SVW_NEW, SENSORS),
    { "sensorElement", SVW_ONLY(SENSORS), SVW_XML_TREE, SVW_XML_IS_SENSOR, SVW_MEMBER_OTHER, 0, "sensorElementList" },
    { "persistentDisposition", SVW_NEW, SVW_XML_DISPOSITIONS, SVW_XML_PASS, SVW_MEMBER_OTHER, 0,
      "persistentDisposition" },
    SVW_VALUE("set", SVW_ONLY(DISPOSITIONS), KEPT, 0, "set"),
    SVW_VALUE("unset", SVW_ONLY(DISPOSITIONS), KEPT, 0, "unset"),
    SVW_VALUE("certificationInfo", SVW_NEW, KEPT, 0, "certificationInfo"),

    /* of a TransformationEvent */
    SVW_PLACE("inputEPCList", SVW_SAME, IGNORED),
    SVW_PLACE("outputEPCList", SVW_SAME, IGNORED),
    SVW_PLACE("inputQuantityList", SVW_SAME, IGNORED),
    SVW_PLACE("outputQuantityList", SVW_SAME, IGNORED),
    SVW_PLACE("transformationID", SVW_SAME, IGNORED),

    SVW_EVENT("ObjectEvent", SVW_BIT(LIST), SVW_BIT(LIST)),
    SVW_EVENT("AggregationEvent", SVW_BIT(LIST), SVW_BIT(LIST)),
    SVW_EVENT("TransactionEvent", SVW_BIT(LIST), SVW_BIT(LIST)),
    SVW_EVENT("TransformationEvent", SVW_BIT(LIST_MORE), SVW_BIT(LIST)),
    SVW_EVENT("AssociationEvent", 0, SVW_BIT(LIST)),
    SVW_EVENT("QuantityEvent", SVW_BIT(LIST), 0),
    SVW_PLACE("extension", SVW_WHERE(SVW_LISTS, SVW_LISTS, 0), LIST_MORE),

    SVW_PLACE("Envelope", SVW_ONLY(DOC), WRAP),
    SVW_PLACE("StandardBusinessDocument", SVW_START(SVW_BIT(DOC) | SVW_BIT(WRAP)), WRAP),
    SVW_PLACE("StandardBusinessDocumentHeader", SVW_ONLY(WRAP), IGNORED),
    SVW_PLACE("Header", SVW_ONLY(WRAP), IGNORED),
    SVW_PLACE("Body", SVW_ONLY(WRAP), WRAP),
    SVW_PLACE("EPCISDocument", SVW_START(SVW_BIT(DOC) | SVW_BIT(WRAP)), ROOT),
    SVW_PLACE("EPCISQueryDocument", SVW_START(SVW_BIT(DOC) | SVW_BIT(WRAP)), ROOT),
    SVW_PLACE("EPCISHeader", SVW_ONLY(ROOT), IGNORED),
    SVW_PLACE("EPCISBody", SVW_ONLY(ROOT), BODY),
    SVW_PLACE("QueryResults", SVW_START(SVW_BIT(DOC) | SVW_BIT(WRAP) | SVW_BIT(ROOT) | SVW_BIT(BODY)), RESULTS),
    SVW_PLACE("resultsBody", SVW_ONLY(RESULTS), RESULTS),
    SVW_PLACE("EventList", SVW_WHERE(SVW_ABOVE, SVW_BIT(BODY) | SVW_BIT(RESULTS), SVW_BIT(BODY) | SVW_BIT(RESULTS)), LIST),
    { NULL, 0, { 0, 0 }, 0, 0, 0, 0, NULL }
};


int
svw_xml_open(svw_xml_t *xml, const char *local, const char *ns, svw_xml_attributes_t attributes)
{
    svw_xml_at_t      in;
    svw_xml_level_t  *level;

    if (xml->depth == SVW_XML_DEPTH) {
        return svw_load_refuse(xml->load, "line %lld: nested more than %d levels deep", (long long) xml->line, SVW_XML_DEPTH);
    }

    in = xml->depth > 0 ? xml->level[xml->depth - 1].at : SVW_XML_DOC;

    level = &xml->level[xml->depth];
    *level = (svw_xml_level_t) { .local = local, .ns = ns, .at = SVW_XML_IGNORED };

    if (in == SVW_XML_IGNORED) {
        xml->depth++;
        return 0;
    }

    if (in == SVW_XML_VALUE) {
        xml->level[xml->depth - 1].parts = 1;
        xml->depth++;
        return 0;
    }

    if (in == SVW_XML_TREE) {
        return svw_xml_extra(xml, level, in, attributes);
    }

    level->name = svw_xml_find(xml, in, local, ns);

    /* <extension name="BATCH"> is a value */
    if (level->name == NULL || (level->name->at == SVW_XML_MORE && svw_xml_attribute(attributes, "name").len != 0)) {
        return svw_xml_unknown(xml, level, in, attributes);
    }

    return svw_xml_known(xml, level, in, attributes);
}


int
svw_xml_close(svw_xml_t *xml, sv_span_t text)
{
    int               rc;
    svw_xml_level_t  *level;

    level = &xml->level[xml->depth - 1];
    rc = 0;

    if (level->at == SVW_XML_TREE) {
        rc = svw_xml_extra_value(xml, level, text);

    } else if (level->at == SVW_XML_VALUE && level->parts && level->name->kind != SVW_XML_IS_EPC) {
        svw_event_wrong(xml->event, "event_member_form", level->name->word);

    } else if (level->at == SVW_XML_VALUE) {
        rc = svw_xml_value(xml, level, level->parts ? sv_span("<") : text);

    } else if (level->at == SVW_XML_QUANTITY) {
        rc = svw_xml_amount(xml);

    } else if (level->at == SVW_XML_EVENT) {
        xml->in_event = 0;
        rc = svw_event_end(xml->event);
    }

    if (level->opened) {
        svw_event_detail_close(xml->event);
    }

    xml->depth--;

    return rc;
}


int
svw_xml_has_text(const svw_xml_t *xml)
{
    svw_xml_at_t  at;

    at = xml->depth > 0 ? xml->level[xml->depth - 1].at : SVW_XML_DOC;

    return at == SVW_XML_VALUE || at == SVW_XML_TREE;
}


/* A text where only elements should be: it may say what they do not. */
void
svw_xml_stray(svw_xml_t *xml)
{
    const svw_xml_level_t  *level;

    if (xml->in_event) {
        level = &xml->level[xml->depth - 1];

        if (level->at != SVW_XML_IGNORED) {
            svw_event_wrong(xml->event, "event_member_form", level->local);
        }
    }
}


/* Told once an event; what the document has wrong, every event of it has. */
void
svw_xml_irregular(svw_xml_t *xml, const char *reason, const char *element)
{
    if (!xml->in_event) {
        if (xml->reason == NULL) {
            xml->reason = reason;
            xml->element = element;
        }

    } else if (!xml->told) {
        xml->told = 1;
        svw_event_irregular(xml->event, reason, element);
    }
}


/* Above the events anything may stand in another case or namespace, as long as it is plain. */
static const svw_xml_name_t *
svw_xml_find(svw_xml_t *xml, svw_xml_at_t in, const char *local, const char *ns)
{
    int                    above;
    const svw_xml_name_t  *n;

    above = (SVW_ABOVE & 1u << in) != 0;

    if (ns != NULL && !svw_xml_is_home(xml, ns) && in != SVW_XML_DOC && in != SVW_XML_WRAP) {
        return NULL;
    }

    for (n = svw_xml_names; n->word != NULL; n++) {
        if ((n->in & 1u << in) && (strcmp(n->word, local) == 0 || (above && strcasecmp(n->word, local) == 0))) {
            return n;
        }
    }

    return NULL;
}


static int
svw_xml_known(svw_xml_t *xml, svw_xml_level_t *level, svw_xml_at_t in, svw_xml_attributes_t attributes)
{
    const svw_xml_name_t  *name;

    name = level->name;
    level->at = name->at;
    xml->depth++;

    if (name->at == SVW_XML_ROOT || (name->at == SVW_XML_RESULTS && xml->version == 0)
        || (xml->version == 0 && (name->kind == SVW_XML_IS_EVENT || name->at == SVW_XML_LIST)))
    {
        if (svw_xml_root(xml, level, attributes) != 0) {
            return -1;
        }
    }

    if (name->kind == SVW_XML_IS_EVENT && svw_xml_event(xml, level) != 0) {
        return -1;
    }

    svw_xml_check(xml, level, in);
    xml->list_seen |= name->at == SVW_XML_LIST;

    if (name->kind == SVW_XML_IS_EPC) {
        return 0;
    }

    if (name->member != SVW_MEMBER_OTHER) {
        svw_event_member(xml->event, name->member);
    }

    if (name->kind == SVW_XML_IS_QUANTITY) {
        memset(xml->quantity, 0, sizeof(xml->quantity));

    } else if (name->kind == SVW_XML_IS_LISTED) {
        svw_xml_keep(&xml->type, svw_xml_attribute(attributes, "type"));

    } else if (name->kind == SVW_XML_IS_SENSOR) {
        level->plain = 1;
        svw_xml_attributes(xml, level, attributes);
    }

    return 0;
}


static int
svw_xml_unknown(svw_xml_t *xml, svw_xml_level_t *level, svw_xml_at_t in, svw_xml_attributes_t attributes)
{
    level->name = NULL;

    switch (in) {

    case SVW_XML_DOC:
        return svw_load_refuse(xml->load, "line %lld: this is XML, but neither an EPCIS document nor query results",
                               (long long) xml->line);

    case SVW_XML_WRAP:
        /* whatever a sender put around the document */
        level->at = SVW_XML_WRAP;
        xml->depth++;
        return 0;

    case SVW_XML_LIST:
    case SVW_XML_LIST_MORE:
        level->at = SVW_XML_EVENT;
        xml->depth++;
        return svw_xml_event(xml, level);

    case SVW_XML_EVENT:
    case SVW_XML_MORE:
    case SVW_XML_BASE:
    case SVW_XML_ILMD:
        return svw_xml_extra(xml, level, in, attributes);

    case SVW_XML_EPCS:
        xml->depth++;
        return svw_event_epc(xml->event, xml->line, sv_span("<"));

    case SVW_XML_ROOT:
    case SVW_XML_BODY:
    case SVW_XML_RESULTS:
        break;

    default:
        if (level->ns == NULL) {
            svw_xml_irregular(xml, "xml_name", level->local);
        }
    }

    xml->depth++;

    return 0;
}


/* The document element, or what stands for it. */
static int
svw_xml_root(svw_xml_t *xml, const svw_xml_level_t *level, svw_xml_attributes_t attributes)
{
    size_t      len;
    sv_span_t   version;

    if (xml->version != 0) {
        return svw_load_refuse(xml->load, "line %lld: a second document in the same file", (long long) xml->line);
    }

    if (level->ns != NULL && svw_xml_is_epcis(level->ns)) {
        len = strlen(level->ns);
        xml->version = level->ns[len - 1] == '2' ? 2 : 1;

    } else {
        version = svw_xml_attribute(attributes, "schemaVersion");
        xml->version = version.len > 0 && version.data[0] == '2' ? 2 : 1;

        if (level->name->kind == SVW_XML_PASS && level->name->at != SVW_XML_LIST) {
            svw_xml_irregular(xml, "xml_namespace", level->name->word);
        }
    }

    xml->home = level->ns;

    return 0;
}


static int
svw_xml_event(svw_xml_t *xml, svw_xml_level_t *level)
{
    xml->list_seen = 1;
    xml->in_event = 1;
    xml->told = 0;

    svw_event_begin(xml->event, xml->line);
    svw_event_member(xml->event, SVW_MEMBER_TYPE);

    if (svw_event_text(xml->event, SVW_MEMBER_TYPE, svw_xml_span(level->local)) != 0) {
        return -1;
    }

    if (xml->reason != NULL) {
        svw_xml_irregular(xml, xml->reason, xml->element);
    }

    return 0;
}


/* What EPCIS does not know: of a dialect, or of the detail. */
static int
svw_xml_extra(svw_xml_t *xml, svw_xml_level_t *level, svw_xml_at_t in, svw_xml_attributes_t attributes)
{
    svw_xml_level_t     *around;
    svw_member_place_t   place;

    around = &xml->level[xml->depth++ - 1];

    level->at = SVW_XML_TREE;
    level->plain = around->plain;

    if (in == SVW_XML_TREE) {
        around->dialect = NULL;
        around->parts = 1;

    } else if (level->ns == NULL && in != SVW_XML_ILMD) {
        svw_xml_irregular(xml, "xml_name", level->local);
    }

    place = (svw_member_place_t) {
        .at = in == SVW_XML_TREE ? SVW_AT_EXTENSION : in == SVW_XML_ILMD ? SVW_AT_ILMD : SVW_AT_EVENT,
        .ns = level->ns != NULL && !svw_xml_is_home(xml, level->ns) ? svw_xml_span(level->ns) : sv_span(""),
        .local = svw_xml_span(level->local),
        .around = svw_xml_span(around->local),
        .label = svw_xml_attribute(attributes, "name")
    };

    level->dialect = level->plain ? NULL : svw_dialect_find(&place);

    if (level->dialect != NULL && level->dialect->label != NULL) {
        return svw_dialect_tell(xml->event, level->dialect, svw_xml_attribute(attributes, "value"));
    }

    if (level->dialect == NULL) {
        svw_xml_attributes(xml, level, attributes);
    }

    return 0;
}


/* Is it where EPCIS has it, and in the right namespace? */
static void
svw_xml_check(svw_xml_t *xml, const svw_xml_level_t *level, svw_xml_at_t in)
{
    const svw_xml_name_t  *name;

    name = level->name;

    if (!(name->right[xml->version == 2] & 1u << in)) {
        svw_xml_irregular(xml, "xml_place", name->word);

    } else if (level->ns != NULL && (1u << in & ~(SVW_BIT(DOC) | SVW_BIT(WRAP))) && name->at != SVW_XML_RESULTS) {
        svw_xml_irregular(xml, "xml_namespace", name->word);

    } else if ((SVW_ABOVE & 1u << in) && strcmp(level->local, name->word) != 0) {
        svw_xml_irregular(xml, "xml_name", name->word);
    }
}


static int
svw_xml_value(svw_xml_t *xml, svw_xml_level_t *level, sv_span_t text)
{
    const svw_xml_name_t  *name;

    name = level->name;

    switch (name->kind) {

    case SVW_XML_IS_EPC:
        return svw_event_epc(xml->event, xml->line, text);

    case SVW_XML_IS_TEXT:
        return svw_event_text(xml->event, name->member, text);

    case SVW_XML_IS_CORRECTIVE:
        return svw_event_corrective(xml->event, text);

    case SVW_XML_IS_AMOUNT:
        svw_xml_keep(&xml->quantity[name->which], text);
        return 0;

    case SVW_XML_IS_LISTED:
        svw_xml_listed(xml, name, text);
        return 0;

    case SVW_XML_IS_KEPT:
        svw_xml_opened(xml, xml->depth - 1);
        svw_event_detail_text(xml->event, svw_xml_span(name->list), text);
        return 0;

    default:
        return 0;
    }
}


static int
svw_xml_amount(svw_xml_t *xml)
{
    return svw_event_quantity(xml->event, svw_xml_kept(&xml->quantity[0]), svw_xml_kept(&xml->quantity[1]),
                              svw_xml_kept(&xml->quantity[2]));
}


static int
svw_xml_extra_value(svw_xml_t *xml, svw_xml_level_t *level, sv_span_t text)
{
    if (level->parts) {
        return 0;
    }

    if (level->dialect != NULL) {
        return svw_dialect_tell(xml->event, level->dialect, text);
    }

    if (svw_dialect_is_barcode(text)) {
        return svw_event_barcode(xml->event, text);
    }

    if (level->opened && text.len == 0) {
        return 0;
    }

    svw_xml_opened(xml, xml->depth - 1);

    if (level->opened) {
        svw_event_detail_text(xml->event, sv_span("#text"), text);
    } else {
        svw_xml_put(xml, "", svw_xml_is_home(xml, level->ns) ? NULL : level->ns, level->local, &text);
    }

    return 0;
}


static void
svw_xml_listed(svw_xml_t *xml, const svw_xml_name_t *name, sv_span_t text)
{
    svw_event_detail_open(xml->event, svw_xml_span(name->list));

    if (xml->type.len != 0) {
        svw_event_detail_text(xml->event, sv_span("type"), svw_xml_kept(&xml->type));
    }

    svw_event_detail_text(xml->event, svw_xml_span(name->word), text);
    svw_event_detail_close(xml->event);
}


/* Those that are there for a schema say nothing. */
static void
svw_xml_attributes(svw_xml_t *xml, const svw_xml_level_t *level, svw_xml_attributes_t attributes)
{
    int                    i;
    const char            *ns;
    sv_span_t              text;
    const unsigned char  **a;

    for (i = 0; i < attributes.n; i++) {
        a = attributes.data + 5 * i;
        ns = (const char *) a[2];

        if (ns != NULL && strcmp(ns, "http://www.w3.org/2001/XMLSchema-instance") == 0) {
            continue;
        }

        text = (sv_span_t) { a[3], (size_t) (a[4] - a[3]) };
        svw_xml_opened(xml, xml->depth);
        svw_xml_put(xml, level->plain ? "" : "@", ns, (const char *) a[0], &text);
    }
}


/* In the detail, what is around comes first, as soon as there is something to tell. */
static void
svw_xml_opened(svw_xml_t *xml, unsigned depth)
{
    unsigned          i;
    const char       *ns;
    svw_xml_level_t  *level;

    for (i = 0; i < depth; i++) {
        level = &xml->level[i];

        if (level->opened || (level->at != SVW_XML_TREE && level->at != SVW_XML_ILMD && level->at != SVW_XML_DISPOSITIONS)) {
            continue;
        }

        level->opened = 1;

        if (level->name != NULL) {
            svw_event_detail_open(xml->event, svw_xml_span(level->name->list != NULL ? level->name->list : level->name->word));
        } else {
            ns = svw_xml_is_home(xml, level->ns) ? NULL : level->ns;
            svw_xml_put(xml, "", ns, level->local, NULL);
        }
    }
}


/* "{namespace}local"; without a text an object is opened */
static void
svw_xml_put(svw_xml_t *xml, const char *prefix, const char *ns, const char *local, const sv_span_t *text)
{
    int         n;
    char        buf[2 * SVW_EVENT_TEXT];
    sv_span_t   name;

    n = ns != NULL ? snprintf(buf, sizeof(buf), "%s{%s}%s", prefix, ns, local) : snprintf(buf, sizeof(buf), "%s%s", prefix, local);
    name = (sv_span_t) { (const uint8_t *) buf, (size_t) n < sizeof(buf) ? (size_t) n : sizeof(buf) - 1 };

    if (text != NULL) {
        svw_event_detail_text(xml->event, name, *text);
    } else {
        svw_event_detail_open(xml->event, name);
    }
}


static sv_span_t
svw_xml_attribute(svw_xml_attributes_t attributes, const char *local)
{
    int                    i;
    const unsigned char  **a;

    for (i = 0; i < attributes.n; i++) {
        a = attributes.data + 5 * i;

        if (a[2] == NULL && strcmp((const char *) a[0], local) == 0) {
            return (sv_span_t) { a[3], (size_t) (a[4] - a[3]) };
        }
    }

    return sv_span("");
}


static int
svw_xml_is_epcis(const char *ns)
{
    return strcmp(ns, "urn:epcglobal:epcis:xsd:1") == 0 || strcmp(ns, "urn:epcglobal:epcis:xsd:2") == 0
           || strcmp(ns, "urn:epcglobal:epcis-query:xsd:1") == 0 || strcmp(ns, "urn:epcglobal:epcis-query:xsd:2") == 0;
}


/* EPCIS' own names, or those of a sender that puts all of them into one namespace. */
static int
svw_xml_is_home(const svw_xml_t *xml, const char *ns)
{
    return ns == NULL || (xml->home != NULL && strcmp(ns, xml->home) == 0) || svw_xml_is_epcis(ns);
}


/* what is longer fails the check of what it stands for */
static void
svw_xml_keep(svw_xml_value_t *value, sv_span_t text)
{
    value->len = text.len < sizeof(value->data) ? text.len : sizeof(value->data);
    memcpy(value->data, text.data, value->len);
}


static sv_span_t
svw_xml_kept(const svw_xml_value_t *value)
{
    return (sv_span_t) { value->data, value->len };
}


static sv_span_t
svw_xml_span(const char *text)
{
    return (sv_span_t) { (const uint8_t *) text, strlen(text) };
}
