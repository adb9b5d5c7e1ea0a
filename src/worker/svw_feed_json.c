#include "svw_event.h"

#include <string.h>
#include <yajl/yajl_parse.h>


#define SVW_JSON_DEPTH  64
#define SVW_JSON_VALUE  (1024 * 1024)   /* longest single value: it is held in memory */


/* where in the document the reader is */
typedef enum {
    SVW_AT_OUTSIDE,
    SVW_AT_ROOT,                        /* a document, or one event by itself */
    SVW_AT_BODY,
    SVW_AT_RESULTS,
    SVW_AT_RESULTS_BODY,
    SVW_AT_LIST,
    SVW_AT_EVENT,
    SVW_AT_EPCS,
    SVW_AT_ILMD,
    SVW_AT_ILMD_VALUE,
    SVW_AT_ELSEWHERE
} svw_at_t;

/* what the last name stands for */
typedef enum {
    SVW_NAME_OTHER,
    SVW_NAME_BODY,
    SVW_NAME_RESULTS,
    SVW_NAME_RESULTS_BODY,
    SVW_NAME_LIST,
    SVW_NAME_EPCS,
    SVW_NAME_ILMD,
    SVW_NAME_ERROR,
    SVW_NAME_VALUE,
    SVW_NAME_CLAIM,
    SVW_NAME_TEXT                       /* and up: SVW_NAME_TEXT + svw_member_t */
} svw_name_t;

typedef struct {
    const char     *word;
    unsigned        at;                 /* bits of svw_at_t */
    int             name;
    svw_member_t    member;
} svw_json_name_t;

typedef struct {
    svw_load_t     *load;
    yajl_handle     yajl;
    svw_event_t    *event;
    svw_claim_t     claim;              /* what the last name, or the object below it, tells */
    unsigned        depth;
    uint8_t         at[SVW_JSON_DEPTH];
    int             name;
    int             list_seen;
    int64_t         line;               /* of `counted' */
    const unsigned char  *chunk;
    size_t          counted;            /* bytes of the chunk whose line feeds are counted */
    int64_t         fed;                /* bytes of the chunks before this one */
    int64_t         last;               /* where the last callback was */
} svw_json_t;


static int svw_json_parse(svw_json_t *json, const unsigned char *buf, size_t n);
static int svw_json_finish(svw_json_t *json);
static int svw_json_failed(svw_json_t *json, size_t n);
static int64_t svw_json_line(svw_json_t *json);
static int svw_json_enter(svw_json_t *json, svw_at_t at);
static svw_at_t svw_json_at(const svw_json_t *json);
static int svw_json_text(svw_json_t *json, sv_span_t text);
static int svw_json_in_event(svw_at_t at);
static int svw_json_on_string(void *data, const unsigned char *text, size_t len);
static int svw_json_on_number(void *data, const char *text, size_t len);
static int svw_json_on_boolean(void *data, int value);
static int svw_json_on_null(void *data);
static int svw_json_on_map(void *data);
static int svw_json_on_key(void *data, const unsigned char *text, size_t len);
static int svw_json_on_map_end(void *data);
static int svw_json_on_array(void *data);
static int svw_json_on_array_end(void *data);


#define SVW_IN(at)    (1u << SVW_AT_##at)
#define SVW_IN_EVENT  (SVW_IN(ROOT) | SVW_IN(EVENT))

static const svw_json_name_t  svw_json_names[] = {
    { "epcisBody",        SVW_IN(ROOT),         SVW_NAME_BODY,         SVW_MEMBER_OTHER },
    { "queryResults",     SVW_IN(BODY),         SVW_NAME_RESULTS,      SVW_MEMBER_OTHER },
    { "resultsBody",      SVW_IN(RESULTS),      SVW_NAME_RESULTS_BODY, SVW_MEMBER_OTHER },
    { "eventList",        SVW_IN(BODY) | SVW_IN(RESULTS_BODY), SVW_NAME_LIST, SVW_MEMBER_OTHER },
    { "epcList",          SVW_IN_EVENT,         SVW_NAME_EPCS,         SVW_MEMBER_EPCS },
    { "childEPCs",        SVW_IN_EVENT,         SVW_NAME_EPCS,         SVW_MEMBER_EPCS },
    { "parentID",         SVW_IN_EVENT,         SVW_NAME_TEXT + SVW_MEMBER_PARENT, SVW_MEMBER_PARENT },
    { "ilmd",             SVW_IN_EVENT,         SVW_NAME_ILMD,         SVW_MEMBER_OTHER },
    { "errorDeclaration", SVW_IN_EVENT,         SVW_NAME_ERROR,        SVW_MEMBER_ERROR },
    { "type",             SVW_IN_EVENT,         SVW_NAME_TEXT + SVW_MEMBER_TYPE,   SVW_MEMBER_TYPE },
    { "isA",              SVW_IN_EVENT,         SVW_NAME_TEXT + SVW_MEMBER_TYPE,   SVW_MEMBER_TYPE },
    { "action",           SVW_IN_EVENT,         SVW_NAME_TEXT + SVW_MEMBER_ACTION, SVW_MEMBER_ACTION },
    { "bizStep",          SVW_IN_EVENT,         SVW_NAME_TEXT + SVW_MEMBER_STEP,   SVW_MEMBER_STEP },
    { "eventID",          SVW_IN_EVENT,         SVW_NAME_TEXT + SVW_MEMBER_ID,     SVW_MEMBER_ID },
    { "eventTime",        SVW_IN_EVENT,         SVW_NAME_TEXT + SVW_MEMBER_TIME,   SVW_MEMBER_TIME },
    { "lotNumber",        SVW_IN(ILMD),         SVW_NAME_CLAIM,        SVW_MEMBER_OTHER },
    { "itemExpirationDate", SVW_IN(ILMD),       SVW_NAME_CLAIM,        SVW_MEMBER_OTHER },
    { "@value",           SVW_IN(ILMD_VALUE),   SVW_NAME_VALUE,        SVW_MEMBER_OTHER },
    { NULL, 0, 0, 0 }
};

static const yajl_callbacks  svw_json_callbacks = {
    svw_json_on_null,
    svw_json_on_boolean,
    NULL,
    NULL,
    svw_json_on_number,
    svw_json_on_string,
    svw_json_on_map,
    svw_json_on_key,
    svw_json_on_map_end,
    svw_json_on_array,
    svw_json_on_array_end
};


int
svw_feed_json(svw_load_t *load)
{
    int            rc;
    size_t         n, skip;
    svw_json_t     json;
    unsigned char  buf[SVW_READ];

    memset(&json, 0, sizeof(json));
    json.load = load;
    json.line = 1;

    json.event = svw_event_new(load);
    rc = json.event != NULL ? 0 : -1;
    json.yajl = yajl_alloc(&svw_json_callbacks, NULL, &json);

    if (json.yajl == NULL) {
        rc = svw_load_stop(load, SVW_LOAD_FAILED, "out of memory");
    }

    while (rc == 0 && (rc = svw_load_read(load, buf, &n)) == 1) {
        skip = load->bytes == (int64_t) n && n >= 3 && memcmp(buf, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
        rc = svw_json_parse(&json, buf + skip, n - skip);
    }

    if (rc == 0) {
        rc = svw_json_finish(&json);
    }

    if (json.yajl != NULL) {
        yajl_free(json.yajl);
    }

    svw_event_free(json.event);

    return rc;
}


static int
svw_json_parse(svw_json_t *json, const unsigned char *buf, size_t n)
{
    json->chunk = buf;
    json->counted = 0;

    if (yajl_parse(json->yajl, buf, n) != yajl_status_ok) {
        return svw_json_failed(json, n);
    }

    for (; json->counted < n; json->counted++) {
        json->line += buf[json->counted] == '\n';
    }

    json->fed += (int64_t) n;

    if (json->fed - json->last > SVW_JSON_VALUE) {
        return svw_load_refuse(json->load, "line %lld: a single value is longer than 1 MiB", (long long) json->line);
    }

    return 0;
}


static int
svw_json_finish(svw_json_t *json)
{
    json->chunk = (const unsigned char *) "";
    json->counted = 0;

    if (yajl_complete_parse(json->yajl) != yajl_status_ok) {
        return svw_json_failed(json, 0);
    }

    if (!json->list_seen) {
        return svw_load_refuse(json->load, "this is JSON, but neither an EPCIS document with an eventList nor an event");
    }

    return 0;
}


static int
svw_json_failed(svw_json_t *json, size_t n)
{
    char            text[128];
    size_t          len;
    unsigned char  *error;

    /* a callback that stopped has said why */
    if (json->load->rc != SVW_LOAD_OK) {
        return -1;
    }

    error = yajl_get_error(json->yajl, 0, json->chunk, n);
    snprintf(text, sizeof(text), "%s", error != NULL ? (const char *) error : "parse error");

    if (error != NULL) {
        yajl_free_error(json->yajl, error);
    }

    for (len = strlen(text); len > 0 && (text[len - 1] == '\n' || text[len - 1] == '.'); len--) {
        text[len - 1] = '\0';
    }

    return svw_load_refuse(json->load, "line %lld: not JSON: %s", (long long) svw_json_line(json), text);
}


/* The line of the token at hand. */
static int64_t
svw_json_line(svw_json_t *json)
{
    size_t  consumed;

    consumed = yajl_get_bytes_consumed(json->yajl);

    for (; json->counted < consumed; json->counted++) {
        json->line += json->chunk[json->counted] == '\n';
    }

    json->last = json->fed + (int64_t) consumed;

    return json->line;
}


static int
svw_json_enter(svw_json_t *json, svw_at_t at)
{
    if (json->depth == SVW_JSON_DEPTH) {
        svw_load_refuse(json->load, "line %lld: nested more than %d levels deep", (long long) svw_json_line(json), SVW_JSON_DEPTH);
        return 0;
    }

    json->at[json->depth++] = (uint8_t) at;

    return 1;
}


static svw_at_t
svw_json_at(const svw_json_t *json)
{
    return json->depth > 0 ? json->at[json->depth - 1] : SVW_AT_OUTSIDE;
}


/* A value that has no parts. */
static int
svw_json_text(svw_json_t *json, sv_span_t text)
{
    svw_at_t  at;
    int64_t   line;

    at = svw_json_at(json);
    line = svw_json_line(json);

    if (at == SVW_AT_EPCS) {
        return svw_event_epc(json->event, line, text) == 0;
    }

    if ((at == SVW_AT_ILMD_VALUE && json->name == SVW_NAME_VALUE) || (at == SVW_AT_ILMD && json->name == SVW_NAME_CLAIM)) {
        return svw_event_claim(json->event, json->claim, 1, "ilmd", text) == 0;
    }

    if (svw_json_in_event(at) && json->name >= SVW_NAME_TEXT) {
        return svw_event_text(json->event, (svw_member_t) (json->name - SVW_NAME_TEXT), text) == 0;
    }

    return 1;
}


static int
svw_json_in_event(svw_at_t at)
{
    return at == SVW_AT_EVENT || at == SVW_AT_ROOT;
}


static int
svw_json_on_string(void *data, const unsigned char *text, size_t len)
{
    return svw_json_text(data, (sv_span_t) { text, len });
}


/* A lot may be all digits; where a number is out of place it fails the check of what it stands for. */
static int
svw_json_on_number(void *data, const char *text, size_t len)
{
    return svw_json_text(data, (sv_span_t) { (const uint8_t *) text, len });
}


static int
svw_json_on_boolean(void *data, int value)
{
    return svw_json_text(data, value ? sv_span("true") : sv_span("false"));
}


static int
svw_json_on_null(void *data)
{
    (void) svw_json_line(data);

    return 1;
}


static int
svw_json_on_map(void *data)
{
    svw_at_t     at, next;
    int64_t      line;
    svw_json_t  *json;

    json = data;
    at = svw_json_at(json);
    line = svw_json_line(json);
    next = SVW_AT_ELSEWHERE;

    if (at == SVW_AT_OUTSIDE) {
        next = SVW_AT_ROOT;
        svw_event_begin(json->event, line);

    } else if (at == SVW_AT_LIST) {
        next = SVW_AT_EVENT;
        svw_event_begin(json->event, line);

    } else if (at == SVW_AT_EPCS) {
        /* what is not a text is not an EPC */
        if (svw_event_epc(json->event, line, sv_span("{")) != 0) {
            return 0;
        }

    } else if (json->name == SVW_NAME_BODY) {
        next = SVW_AT_BODY;

    } else if (json->name == SVW_NAME_RESULTS) {
        next = SVW_AT_RESULTS;

    } else if (json->name == SVW_NAME_RESULTS_BODY) {
        next = SVW_AT_RESULTS_BODY;

    } else if (json->name == SVW_NAME_ILMD) {
        next = SVW_AT_ILMD;

    } else if (at == SVW_AT_ILMD && json->name == SVW_NAME_CLAIM) {
        next = SVW_AT_ILMD_VALUE;
    }

    json->name = SVW_NAME_OTHER;

    return svw_json_enter(json, next);
}


/* Within ilmd the prefix of a name is anybody's choice. */
static int
svw_json_on_key(void *data, const unsigned char *text, size_t len)
{
    size_t                  i;
    svw_at_t                at;
    svw_json_t             *json;
    const svw_json_name_t  *n;

    json = data;
    at = svw_json_at(json);

    if (at == SVW_AT_ILMD) {
        for (i = len; i > 0 && text[i - 1] != ':' && text[i - 1] != '/' && text[i - 1] != '#'; i--) { /* void */ }

        text += i;
        len -= i;
    }

    json->name = SVW_NAME_OTHER;

    for (n = svw_json_names; n->word != NULL; n++) {
        if ((n->at & 1u << at) && strlen(n->word) == len && memcmp(n->word, text, len) == 0) {
            json->name = n->name;

            if (n->name == SVW_NAME_CLAIM) {
                json->claim = n->word[0] == 'l' ? SVW_CLAIM_LOT : SVW_CLAIM_EXPIRY;
            }

            svw_event_member(json->event, n->member);
            break;
        }
    }

    return 1;
}


static int
svw_json_on_map_end(void *data)
{
    int          rc;
    svw_at_t     at;
    svw_json_t  *json;

    json = data;
    at = svw_json_at(json);
    (void) svw_json_line(json);

    rc = 0;

    if (at == SVW_AT_EVENT) {
        rc = svw_event_end(json->event);

    } else if (at == SVW_AT_ROOT && !json->list_seen && svw_event_is_event(json->event)) {
        json->list_seen = 1;
        rc = svw_event_end(json->event);
    }

    json->depth--;
    json->name = SVW_NAME_OTHER;

    return rc == 0;
}


static int
svw_json_on_array(void *data)
{
    svw_at_t     at, next;
    int64_t      line;
    svw_json_t  *json;

    json = data;
    at = svw_json_at(json);
    line = svw_json_line(json);
    next = SVW_AT_ELSEWHERE;

    if (at == SVW_AT_EPCS) {
        if (svw_event_epc(json->event, line, sv_span("[")) != 0) {
            return 0;
        }

    } else if (json->name == SVW_NAME_LIST) {
        next = SVW_AT_LIST;

        if (!json->list_seen) {
            /* the document itself was taken for an event until now */
            svw_event_none(json->event);
            json->list_seen = 1;
        }

    } else if (json->name == SVW_NAME_EPCS) {
        next = SVW_AT_EPCS;
    }

    json->name = SVW_NAME_OTHER;

    return svw_json_enter(json, next);
}


static int
svw_json_on_array_end(void *data)
{
    svw_json_t  *json;

    json = data;
    json->depth--;
    json->name = SVW_NAME_OTHER;
    (void) svw_json_line(json);

    return 1;
}
