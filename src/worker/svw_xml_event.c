#include "svw_xml.h"

#include <string.h>


static int svw_xml_known(svw_xml_t *xml, svw_xml_level_t *level, svw_xml_at_t in, svw_xml_attributes_t attributes);
static int svw_xml_unknown(svw_xml_t *xml, svw_xml_level_t *level, svw_xml_at_t in, svw_xml_attributes_t attributes);
static int svw_xml_root(svw_xml_t *xml, const svw_xml_level_t *level, svw_xml_attributes_t attributes);
static int svw_xml_event(svw_xml_t *xml, svw_xml_level_t *level);
static int svw_xml_value(svw_xml_t *xml, svw_xml_level_t *level, sv_span_t text);
static int svw_xml_amount(svw_xml_t *xml);
static void svw_xml_listed(svw_xml_t *xml, const svw_xml_name_t *name, sv_span_t text);
static void svw_xml_keep(svw_xml_value_t *value, sv_span_t text);
static sv_span_t svw_xml_kept(const svw_xml_value_t *value);


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
