#include "svw_xml.h"

#include <string.h>


#define SVW_MEMBERS    (SVW_BIT(EVENT) | SVW_BIT(MORE) | SVW_BIT(BASE))
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


/* Above the events anything may stand in another case or namespace, as long as it is plain. */
const svw_xml_name_t *
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


/* Is it where EPCIS has it, and in the right namespace? */
void
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


sv_span_t
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


int
svw_xml_is_epcis(const char *ns)
{
    return strcmp(ns, "urn:epcglobal:epcis:xsd:1") == 0 || strcmp(ns, "urn:epcglobal:epcis:xsd:2") == 0
           || strcmp(ns, "urn:epcglobal:epcis-query:xsd:1") == 0 || strcmp(ns, "urn:epcglobal:epcis-query:xsd:2") == 0;
}


/* EPCIS' own names, or those of a sender that puts all of them into one namespace. */
int
svw_xml_is_home(const svw_xml_t *xml, const char *ns)
{
    return ns == NULL || (xml->home != NULL && strcmp(ns, xml->home) == 0) || svw_xml_is_epcis(ns);
}
