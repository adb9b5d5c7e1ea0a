#include "svw_xml.h"

#include <string.h>


static void svw_xml_put(svw_xml_t *xml, const char *prefix, const char *ns, const char *local, const sv_span_t *text);


/* What EPCIS does not know: of a dialect, or of the detail. */
int
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


int
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


/* Those that are there for a schema say nothing. */
void
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
void
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
