#include "svw_event_in.h"

#include "../model/sv_json.h"

#include <stdlib.h>
#include <string.h>


#define SVW_CONTENT_CONTEXT  "https://ref.gs1.org/standards/epcis/epcis-context.jsonld"
#define SVW_CONTENT_STRING   (6 * SVW_EPC_TEXT + 8)
#define SVW_CONTENT_SPACES   32

/* namespaces of the event, each with a prefix: ext0, ext1 .. */
typedef struct {
    unsigned     n;
    json_t      *context;
    char         space[SVW_CONTENT_SPACES][SVW_EVENT_TEXT];
} svw_content_t;


static json_t *svw_content_event(svw_event_t *event);
static void svw_content_text(json_t *object, const char *name, sv_span_t text);
static void svw_content_place(json_t *object, const char *name, sv_span_t text);
static void svw_content_error(svw_event_t *event, json_t *object);
static void svw_content_claims(svw_event_t *event, json_t *object);
static json_t *svw_content_tree(svw_content_t *content, json_t *value);
static const char *svw_content_name(svw_content_t *content, const char *name, char out[2 * SVW_EVENT_TEXT]);
static int svw_content_epcs(svw_event_t *event, FILE *out);


/* the prefix by which it is read again from ilmd */
static const char  *const svw_content_claim_names[SVW_CLAIMS] = {
    "cbvmda:lotNumber", "cbvmda:itemExpirationDate", "tl:countryMarket"
};


/*
 * The event by itself, as EPCIS 2.0 JSON: what was told of it, in the words in
 * which it was told.  Where two things were told of its packs both are there.
 */
char *
svw_event_content(svw_event_t *event)
{
    int      failed;
    char    *text, *rest;
    FILE    *out;
    size_t   len;
    json_t  *object;

    object = svw_content_event(event);
    rest = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    text = NULL;
    out = rest != NULL ? open_memstream(&text, &len) : NULL;

    if (out == NULL) {
        free(rest);
        return NULL;
    }

    /* without its last brace: the EPCs come behind, and are too many for a tree */
    fwrite(rest, 1, strlen(rest) - 1, out);
    failed = svw_content_epcs(event, out);
    fputc('}', out);
    failed |= ferror(out);
    failed |= fclose(out) != 0;
    free(rest);

    if (failed || len > SVW_EVENT_KEEP) {
        free(text);
        return NULL;
    }

    return text;
}


static json_t *
svw_content_event(svw_event_t *event)
{
    json_t                *object, *detail, *value, *tree;
    const char            *name;
    char                   renamed[2 * SVW_EVENT_TEXT];
    svw_content_t          content;
    svw_member_t           i;
    static const uint8_t   texts[] = { SVW_MEMBER_TYPE, SVW_MEMBER_ID, SVW_MEMBER_TIME, SVW_MEMBER_OFFSET, SVW_MEMBER_ACTION,
                                       SVW_MEMBER_STEP, SVW_MEMBER_DISPOSITION, SVW_MEMBER_PARENT };

    object = json_object();
    content.n = 0;
    content.context = json_object();
    json_object_set_new(content.context, "tl", json_string("http://tracelink.com/epcis"));
    json_object_set_new(object, "@context", json_pack("[sO]", SVW_CONTENT_CONTEXT, content.context));

    for (i = 0; i < sizeof(texts); i++) {
        svw_content_text(object, svw_member_name(texts[i]), svw_event_span(event, texts[i]));
    }

    svw_content_place(object, "readPoint", svw_event_span(event, SVW_MEMBER_READ_POINT));
    svw_content_place(object, "bizLocation", svw_event_span(event, SVW_MEMBER_BIZ_LOCATION));
    svw_content_error(event, object);

    detail = svw_detail_json(event->detail);

    json_object_foreach(detail, name, value) {
        tree = svw_content_tree(&content, value);

        if (tree != NULL) {
            json_object_set_new(object, svw_content_name(&content, name, renamed), tree);
        }
    }

    svw_content_claims(event, object);
    json_decref(content.context);

    return object;
}


static void
svw_content_text(json_t *object, const char *name, sv_span_t text)
{
    if (text.len != 0) {
        json_object_set_new(object, name, svw_form_text(text));
    }
}


static void
svw_content_place(json_t *object, const char *name, sv_span_t text)
{
    json_t  *place;

    if (text.len != 0) {
        place = json_object();
        svw_content_text(place, "id", text);
        json_object_set_new(object, name, place);
    }
}


static void
svw_content_error(svw_event_t *event, json_t *object)
{
    char    *p;
    json_t  *error, *ids;

    if (!(event->seen & 1u << SVW_MEMBER_ERROR)) {
        return;
    }

    error = json_object();
    ids = json_array();
    svw_content_text(error, "declarationTime", svw_event_span(event, SVW_MEMBER_ERROR_TIME));
    svw_content_text(error, "reason", svw_event_span(event, SVW_MEMBER_ERROR_REASON));

    for (p = event->ids; p < event->ids + event->ids_len; p += strlen(p) + 1) {
        json_array_append_new(ids, svw_form_text((sv_span_t) { (const uint8_t *) p, strlen(p) }));
    }

    json_object_set_new(error, "correctiveEventIDs", ids);
    json_object_set_new(object, "errorDeclaration", error);
}


static void
svw_content_claims(svw_event_t *event, json_t *object)
{
    unsigned           i;
    json_t            *ilmd, *value;
    const svw_told_t  *told;

    ilmd = json_object_get(object, "ilmd");
    ilmd = json_is_object(ilmd) ? json_incref(ilmd) : json_object();

    for (i = 0; i < SVW_CLAIMS; i++) {
        told = &event->told[i];

        if (told->text.len == 0) {
            continue;
        }

        value = svw_form_text(svw_text_span(&told->text));

        if (told->other_dialect != NULL) {
            value = json_pack("[oo]", value, svw_form_text(svw_text_span(&told->other)));
        }

        json_object_set_new(ilmd, svw_content_claim_names[i], value);
    }

    if (json_object_size(ilmd) > 0) {
        json_object_set(object, "ilmd", ilmd);
    }

    json_decref(ilmd);
}


static json_t *
svw_content_tree(svw_content_t *content, json_t *value)
{
    size_t       i;
    json_t      *tree, *part;
    const char  *name;
    char         renamed[2 * SVW_EVENT_TEXT];

    if (json_is_array(value)) {
        tree = json_array();

        json_array_foreach(value, i, part) {
            json_array_append_new(tree, svw_content_tree(content, part));
        }

        return tree;
    }

    if (!json_is_object(value)) {
        return json_incref(value);
    }

    tree = json_object();

    json_object_foreach(value, name, part) {
        json_object_set_new(tree, svw_content_name(content, name, renamed), svw_content_tree(content, part));
    }

    return tree;
}


/* "{namespace}local" -> "ext0:local" */
static const char *
svw_content_name(svw_content_t *content, const char *name, char out[2 * SVW_EVENT_TEXT])
{
    char         prefix[16];
    size_t       len;
    unsigned     i;
    const char  *end;

    end = name[0] == '{' ? strchr(name, '}') : NULL;

    if (end == NULL || (len = (size_t) (end - name - 1)) >= SVW_EVENT_TEXT) {
        return name;
    }

    for (i = 0; i < content->n && (strncmp(content->space[i], name + 1, len) != 0 || content->space[i][len] != '\0'); i++) {
        /* void */
    }

    snprintf(prefix, sizeof(prefix), "ext%u", i);

    if (i == content->n) {
        if (i == SVW_CONTENT_SPACES) {
            return name;
        }

        memcpy(content->space[i], name + 1, len);
        content->space[i][len] = '\0';
        content->n++;
        json_object_set_new(content->context, prefix, json_string(content->space[i]));
    }

    snprintf(out, 2 * SVW_EVENT_TEXT, "%s:%s", prefix, end + 1);

    return out;
}


/* -1: too long, or they cannot be read */
static int
svw_content_epcs(svw_event_t *event, FILE *out)
{
    int              got, len;
    int64_t          n;
    char             string[SVW_CONTENT_STRING];
    uint8_t          text[SVW_EPC_TEXT], serial[SV_SERIAL_MAX];
    sv_json_t        json;
    svw_epc_head_t   head;

    if (!(event->seen & 1u << SVW_MEMBER_EPCS)) {
        return 0;
    }

    if (svw_spool_rewind(event->spool) != 0) {
        return -1;
    }

    fprintf(out, ",\"%s\":[", svw_event_is(event, SVW_MEMBER_TYPE, "AggregationEvent") ? "childEPCs" : "epcList");

    for (n = 0; (got = svw_event_next(event, &head, text, serial)) == 1; n++) {
        sv_json_init(&json, string, sizeof(string));
        sv_json_span(&json, NULL, (sv_span_t) { text, head.text });

        len = sv_json_done(&json);

        if (len < 0 || ftell(out) > SVW_EVENT_KEEP) {
            return -1;
        }

        fputs(n > 0 ? "," : "", out);
        fwrite(string, 1, (size_t) len, out);
    }

    fputc(']', out);

    return got;
}
