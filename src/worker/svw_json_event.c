#include "svw_json.h"

#include <string.h>


/* where in the document the reader is */
typedef enum {
    SVW_AT_OUTSIDE,
    SVW_AT_ROOT,                        /* a document, or one event by itself */
    SVW_AT_CONTEXT,
    SVW_AT_TERM,                        /* {"@id": ..} of a prefix */
    SVW_AT_BODY,
    SVW_AT_RESULTS,
    SVW_AT_RESULTS_BODY,
    SVW_AT_LIST,
    SVW_AT_MEMBERS,                     /* an event */
    SVW_AT_EPCS,
    SVW_AT_PLACE,                       /* readPoint, bizLocation */
    SVW_AT_ERROR,
    SVW_AT_CORRECTIVE,
    SVW_AT_TREE,                        /* kept without being understood */
    SVW_AT_CLAIM,                       /* {"@value": ..} of what tells of the packs */
    SVW_AT_ELSEWHERE
} svw_at_t;

/* what a member's value has to be; another is not read */
typedef enum {
    SVW_JSON_TEXT,
    SVW_JSON_OBJECT,
    SVW_JSON_ARRAY,
    SVW_JSON_ANY                        /* a member of an event that is kept */
} svw_json_form_t;

struct svw_json_name_s {
    const char        *word;
    uint32_t           in;              /* bits of svw_at_t */
    svw_json_form_t    form;
    svw_at_t           at;              /* what its value is */
    svw_member_t       member;
};


static int svw_json_enter(svw_json_t *json, svw_at_t at, int array);
static int svw_json_none(svw_json_t *json);
static void svw_json_wrong(svw_json_t *json, const svw_json_name_t *name);
static int svw_json_text(svw_json_t *json, const svw_json_name_t *name, sv_span_t text);
static int svw_json_kept(svw_json_t *json, svw_json_level_t *level, sv_span_t text);
static const svw_json_name_t *svw_json_find(svw_at_t at, sv_span_t name);
static void svw_json_extra(svw_json_t *json, svw_json_level_t *level, sv_span_t name);
static void svw_json_rename(svw_json_level_t *level, sv_span_t space, sv_span_t local);
static void svw_json_term(svw_json_t *json, sv_span_t space);
static svw_at_t svw_json_below(const svw_json_level_t *level, int array);
static sv_span_t svw_json_level_text(const svw_json_level_t *level);
static sv_span_t svw_json_level_local(const svw_json_level_t *level);


#define SVW_IN(at)    (1u << SVW_AT_##at)
#define SVW_EVENT     (SVW_IN(ROOT) | SVW_IN(MEMBERS))

#define SVW_TEXT_OF(word, in, member)  { word, in, SVW_JSON_TEXT, SVW_AT_ELSEWHERE, SVW_MEMBER_##member }
#define SVW_OBJECT(word, in, at)       { word, in, SVW_JSON_OBJECT, SVW_AT_##at, SVW_MEMBER_OTHER }
#define SVW_LIST(word, in, at)         { word, in, SVW_JSON_ARRAY, SVW_AT_##at, SVW_MEMBER_OTHER }
#define SVW_KEPT(word)                 { word, SVW_EVENT, SVW_JSON_ANY, SVW_AT_TREE, SVW_MEMBER_OTHER }
#define SVW_IGNORED(word, in)          { word, in, SVW_JSON_ANY, SVW_AT_ELSEWHERE, SVW_MEMBER_OTHER }

/* what a file is full of comes first */
static const svw_json_name_t  svw_json_names[] = {
    SVW_TEXT_OF("type", SVW_EVENT, TYPE),
    SVW_TEXT_OF("isA", SVW_EVENT, TYPE),
    SVW_TEXT_OF("eventTime", SVW_EVENT, TIME),
    SVW_TEXT_OF("eventTimeZoneOffset", SVW_EVENT, OFFSET),
    SVW_TEXT_OF("eventID", SVW_EVENT, ID),
    SVW_TEXT_OF("action", SVW_EVENT, ACTION),
    SVW_TEXT_OF("bizStep", SVW_EVENT, STEP),
    SVW_TEXT_OF("disposition", SVW_EVENT, DISPOSITION),
    SVW_TEXT_OF("parentID", SVW_EVENT, PARENT),
    { "epcList", SVW_EVENT, SVW_JSON_ARRAY, SVW_AT_EPCS, SVW_MEMBER_EPCS },
    { "childEPCs", SVW_EVENT, SVW_JSON_ARRAY, SVW_AT_EPCS, SVW_MEMBER_EPCS },
    { "readPoint", SVW_EVENT, SVW_JSON_OBJECT, SVW_AT_PLACE, SVW_MEMBER_READ_POINT },
    { "bizLocation", SVW_EVENT, SVW_JSON_OBJECT, SVW_AT_PLACE, SVW_MEMBER_BIZ_LOCATION },
    SVW_TEXT_OF("id", SVW_IN(PLACE), OTHER),
    { "ilmd", SVW_EVENT, SVW_JSON_OBJECT, SVW_AT_TREE, SVW_MEMBER_OTHER },
    SVW_IGNORED("recordTime", SVW_EVENT),

    { "errorDeclaration", SVW_EVENT, SVW_JSON_OBJECT, SVW_AT_ERROR, SVW_MEMBER_ERROR },
    SVW_TEXT_OF("declarationTime", SVW_IN(ERROR), ERROR_TIME),
    SVW_TEXT_OF("reason", SVW_IN(ERROR), ERROR_REASON),
    SVW_LIST("correctiveEventIDs", SVW_IN(ERROR), CORRECTIVE),

    SVW_KEPT("bizTransactionList"), SVW_KEPT("sourceList"), SVW_KEPT("destinationList"), SVW_KEPT("quantityList"),
    SVW_KEPT("childQuantityList"), SVW_KEPT("sensorElementList"), SVW_KEPT("persistentDisposition"), SVW_KEPT("certificationInfo"),

    /* of a TransformationEvent */
    SVW_IGNORED("inputEPCList", SVW_EVENT), SVW_IGNORED("outputEPCList", SVW_EVENT),
    SVW_IGNORED("inputQuantityList", SVW_EVENT), SVW_IGNORED("outputQuantityList", SVW_EVENT),
    SVW_IGNORED("transformationID", SVW_EVENT),

    { "@context", SVW_EVENT, SVW_JSON_ANY, SVW_AT_CONTEXT, SVW_MEMBER_OTHER },
    SVW_TEXT_OF("@id", SVW_IN(TERM), OTHER),
    SVW_TEXT_OF("@value", SVW_IN(CLAIM), OTHER),

    SVW_OBJECT("epcisBody", SVW_IN(ROOT), BODY),
    SVW_OBJECT("queryResults", SVW_IN(BODY), RESULTS),
    SVW_OBJECT("resultsBody", SVW_IN(RESULTS), RESULTS_BODY),
    SVW_LIST("eventList", SVW_IN(BODY) | SVW_IN(RESULTS_BODY), LIST),
    SVW_IGNORED("epcisHeader", SVW_IN(ROOT)), SVW_IGNORED("schemaVersion", SVW_IN(ROOT)), SVW_IGNORED("creationDate", SVW_IN(ROOT)),
    SVW_IGNORED("id", SVW_IN(ROOT)), SVW_IGNORED("sender", SVW_IN(ROOT)), SVW_IGNORED("receiver", SVW_IN(ROOT)),
    SVW_IGNORED("instanceIdentifier", SVW_IN(ROOT)),
    { NULL, 0, 0, 0, 0 }
};


int
svw_json_object(svw_json_t *json)
{
    svw_at_t           at, next;
    svw_json_level_t  *level;

    level = &json->level[json->depth];
    at = level->at;
    next = svw_json_below(level, 0);

    if (at == SVW_AT_OUTSIDE || at == SVW_AT_LIST) {
        svw_json_context_open(&json->context, at == SVW_AT_OUTSIDE);
        svw_event_begin(json->event, json->line);
        next = at == SVW_AT_LIST ? SVW_AT_MEMBERS : SVW_AT_ROOT;

    } else if (at == SVW_AT_EPCS) {
        /* what is not a text is not an EPC */
        if (svw_event_epc(json->event, json->line, sv_span("{")) != 0) {
            return -1;
        }

    } else if (next == SVW_AT_ELSEWHERE) {
        svw_json_wrong(json, level->name);
    }

    return svw_json_enter(json, next, 0);
}


int
svw_json_object_end(svw_json_t *json)
{
    int                rc;
    svw_json_level_t  *level;

    level = &json->level[json->depth--];
    rc = 0;

    if (level->opened) {
        svw_event_detail_close(json->event);
    }

    if (level->at == SVW_AT_MEMBERS) {
        rc = svw_event_end(json->event);

    } else if (level->at == SVW_AT_ROOT && !json->list_seen && svw_event_is_event(json->event)) {
        json->list_seen = 1;
        rc = svw_event_end(json->event);

    } else if (level->at == SVW_AT_CONTEXT && json->level[json->depth].at == SVW_AT_ROOT) {
        json->context.document = json->context.n;
    }

    return rc;
}


int
svw_json_array(svw_json_t *json)
{
    svw_at_t           next;
    svw_json_level_t  *level;

    level = &json->level[json->depth];
    next = svw_json_below(level, 1);

    if (level->at == SVW_AT_EPCS) {
        if (svw_event_epc(json->event, json->line, sv_span("[")) != 0) {
            return -1;
        }

    } else if (level->at == SVW_AT_LIST) {
        if (svw_json_none(json) != 0) {
            return -1;
        }

    } else if (next == SVW_AT_ELSEWHERE) {
        svw_json_wrong(json, level->name);
    }

    if (next == SVW_AT_LIST && !json->list_seen) {
        /* the document itself was taken for an event until now */
        svw_event_none(json->event);
        json->list_seen = 1;
    }

    return svw_json_enter(json, next, 1);
}


void
svw_json_array_end(svw_json_t *json)
{
    svw_json_level_t  *level;

    level = &json->level[json->depth--];

    if (level->at == SVW_AT_CONTEXT && json->level[json->depth].at == SVW_AT_ROOT) {
        json->context.document = json->context.n;
    }
}


void
svw_json_name(svw_json_t *json, sv_span_t name)
{
    svw_json_level_t  *level;

    level = &json->level[json->depth];
    level->dialect = NULL;

    switch (level->at) {

    case SVW_AT_ELSEWHERE:
        return;

    case SVW_AT_TREE:
        level->name = NULL;
        svw_json_extra(json, level, name);
        return;

    case SVW_AT_CONTEXT:
        svw_json_rename(level, (sv_span_t) { NULL, 0 }, name);
        return;

    default:
        level->name = svw_json_find(level->at, name);
    }

    if (level->name == NULL) {
        if (SVW_EVENT & 1u << level->at) {
            svw_json_extra(json, level, name);
        }

        return;
    }

    svw_event_member(json->event, level->name->member);

    if (level->name->at == SVW_AT_TREE) {
        svw_json_rename(level, (sv_span_t) { NULL, 0 }, name);
    }
}


/* A value that has no parts. */
int
svw_json_value(svw_json_t *json, sv_span_t text)
{
    svw_json_level_t  *level;

    level = &json->level[json->depth];

    switch (level->at) {

    case SVW_AT_EPCS:
        return svw_event_epc(json->event, json->line, text);

    case SVW_AT_CORRECTIVE:
        return svw_event_corrective(json->event, text);

    case SVW_AT_LIST:
        return svw_json_none(json);

    case SVW_AT_CONTEXT:
        svw_json_term(json, text);
        return 0;

    case SVW_AT_TERM:
        if (level->name != NULL) {
            json->depth--;
            svw_json_term(json, text);
            json->depth++;
        }

        return 0;

    case SVW_AT_PLACE:
        return level->name != NULL ? svw_event_text(json->event, json->level[json->depth - 1].name->member, text) : 0;

    case SVW_AT_CLAIM:
        return level->name != NULL ? svw_dialect_tell(json->event, json->level[json->depth - 1].dialect, text) : 0;

    case SVW_AT_ROOT:
    case SVW_AT_MEMBERS:
    case SVW_AT_ERROR:
        return level->name != NULL ? svw_json_text(json, level->name, text) : svw_json_kept(json, level, text);

    case SVW_AT_TREE:
        return svw_json_kept(json, level, text);

    default:
        return 0;
    }
}


/* As if the member were not there; in a list of items it is none. */
int
svw_json_null(svw_json_t *json)
{
    return json->level[json->depth].at == SVW_AT_EPCS ? svw_event_epc(json->event, json->line, sv_span("null")) : 0;
}


static int
svw_json_enter(svw_json_t *json, svw_at_t at, int array)
{
    svw_json_level_t  *level, *around;

    if (json->depth == SVW_JSON_DEPTH) {
        return svw_load_refuse(json->load, "line %lld: nested more than %d levels deep", (long long) json->line, SVW_JSON_DEPTH);
    }

    around = &json->level[json->depth++];
    level = &json->level[json->depth];

    level->at = (uint8_t) at;
    level->opened = 0;
    level->name = NULL;
    level->dialect = NULL;
    level->len = level->local = 0;
    level->ilmd = at == SVW_AT_TREE && around->name != NULL && strcmp(around->name->word, "ilmd") == 0;
    level->extension = around->extension || around->ilmd
                       || (at == SVW_AT_TREE && (around->at == SVW_AT_TREE ? around->local != 0 : around->name == NULL));

    if (at != SVW_AT_TREE && at != SVW_AT_CONTEXT) {
        return 0;
    }

    if (array) {
        /* its parts are told under its name */
        level->name = around->name;
        level->dialect = around->dialect;
        level->local = around->local;
        level->len = around->len;
        memcpy(level->text, around->text, around->len);

    } else if (at == SVW_AT_TREE) {
        level->opened = 1;
        svw_event_detail_open(json->event, svw_json_level_text(around));
    }

    return 0;
}


/* What stands among events and is none: nobody is left to guess. */
static int
svw_json_none(svw_json_t *json)
{
    svw_event_begin(json->event, json->line);

    return svw_event_end(json->event);
}


/* A member of an event that has parts where it should have none, or none where it should have some. */
static void
svw_json_wrong(svw_json_t *json, const svw_json_name_t *name)
{
    if (name != NULL && name->form != SVW_JSON_ANY && (name->in & (SVW_EVENT | SVW_IN(ERROR) | SVW_IN(PLACE)))) {
        svw_event_wrong(json->event, "event_member_form", name->word);
    }
}


static int
svw_json_text(svw_json_t *json, const svw_json_name_t *name, sv_span_t text)
{
    if (name->form == SVW_JSON_TEXT) {
        return svw_event_text(json->event, name->member, text);
    }

    if (name->at == SVW_AT_PLACE) {
        svw_event_irregular(json->event, "event_member_form", name->word);
        return svw_event_text(json->event, name->member, text);
    }

    if (name->at == SVW_AT_TREE && name->form == SVW_JSON_ANY) {
        return svw_json_kept(json, &json->level[json->depth], text);
    }

    svw_json_wrong(json, name);

    return 0;
}


static int
svw_json_kept(svw_json_t *json, svw_json_level_t *level, sv_span_t text)
{
    if (level->dialect != NULL) {
        return svw_dialect_tell(json->event, level->dialect, text);
    }

    if (level->name == NULL && svw_dialect_is_barcode(text)) {
        return svw_event_barcode(json->event, text);
    }

    svw_event_detail_text(json->event, svw_json_level_text(level), text);

    return 0;
}


static const svw_json_name_t *
svw_json_find(svw_at_t at, sv_span_t name)
{
    const svw_json_name_t  *n;

    for (n = svw_json_names; n->word != NULL; n++) {
        if ((n->in & 1u << at) && strlen(n->word) == name.len && memcmp(n->word, name.data, name.len) == 0) {
            return n;
        }
    }

    return NULL;
}


/* A member that EPCIS does not know, or one below it: it may tell of the packs. */
static void
svw_json_extra(svw_json_t *json, svw_json_level_t *level, sv_span_t name)
{
    sv_span_t            space, local;
    svw_json_level_t    *around;
    svw_member_place_t   place;

    if (!svw_json_resolve(&json->context, name, &space, &local)) {
        svw_event_irregular(json->event, "json_prefix", "@context");
    }

    svw_json_rename(level, space, local);

    around = level->at == SVW_AT_TREE ? &json->level[json->depth - 1] : NULL;

    if (around != NULL && !level->ilmd && !level->extension) {
        return;
    }

    if (space.len == 0 && around == NULL) {
        svw_event_irregular(json->event, "json_name", "event");
    }

    /* a namespace in JSON often ends in a sign that it has not in XML */
    while (space.len != 0 && strchr(":/#", space.data[space.len - 1]) != NULL) {
        space.len--;
    }

    place = (svw_member_place_t) {
        .at = around == NULL ? SVW_AT_EVENT : level->ilmd ? SVW_AT_ILMD : SVW_AT_EXTENSION, .ns = space, .local = local
    };

    if (around != NULL) {
        place.around = svw_json_level_local(around);
    }

    level->dialect = svw_dialect_find(&place);
}


static void
svw_json_rename(svw_json_level_t *level, sv_span_t space, sv_span_t local)
{
    char    *p, *end;
    size_t   n;

    p = level->text;
    end = p + SVW_JSON_NAME - 2;

    if (space.len != 0) {
        n = space.len < SVW_JSON_SPACE ? space.len : SVW_JSON_SPACE;
        *p++ = '{';
        memcpy(p, space.data, n);
        p += n;
        *p++ = '}';
    }

    n = local.len < (size_t) (end - p) ? local.len : (size_t) (end - p);
    level->local = (uint16_t) (p - level->text);
    memcpy(p, local.data, n);
    level->len = (uint16_t) (level->local + n);
}


static void
svw_json_term(svw_json_t *json, sv_span_t space)
{
    svw_json_level_t  *level;

    level = &json->level[json->depth];

    /* the text of an array is a context elsewhere */
    if (level->len != 0 && level->name == NULL) {
        svw_json_context_add(&json->context, svw_json_level_text(level), space);
    }
}


/* What an object or array is as the value of the member, or the part of the array, at hand. */
static svw_at_t
svw_json_below(const svw_json_level_t *level, int array)
{
    const svw_json_name_t  *name;

    name = level->name;

    switch (level->at) {

    case SVW_AT_TREE:
        return level->dialect != NULL && !array ? SVW_AT_CLAIM : SVW_AT_TREE;

    case SVW_AT_CONTEXT:
        return name != NULL ? SVW_AT_CONTEXT : array ? SVW_AT_ELSEWHERE : SVW_AT_TERM;

    case SVW_AT_ROOT:
    case SVW_AT_MEMBERS:
        if (name == NULL) {
            return level->dialect != NULL && !array ? SVW_AT_CLAIM : SVW_AT_TREE;
        }

        break;

    case SVW_AT_OUTSIDE:
    case SVW_AT_LIST:
    case SVW_AT_EPCS:
    case SVW_AT_ELSEWHERE:
        return SVW_AT_ELSEWHERE;

    default:
        break;
    }

    if (name == NULL || (name->form != SVW_JSON_ANY && name->form != (array ? SVW_JSON_ARRAY : SVW_JSON_OBJECT))) {
        return SVW_AT_ELSEWHERE;
    }

    return name->at;
}


static sv_span_t
svw_json_level_text(const svw_json_level_t *level)
{
    return (sv_span_t) { (const uint8_t *) level->text, level->len };
}


static sv_span_t
svw_json_level_local(const svw_json_level_t *level)
{
    return (sv_span_t) { (const uint8_t *) level->text + level->local, (size_t) (level->len - level->local) };
}
