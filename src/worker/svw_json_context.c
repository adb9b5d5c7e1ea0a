#include "svw_json.h"

#include <string.h>


typedef struct {
    const char  *prefix;
    const char  *space;
} svw_json_known_t;


static int svw_json_is(sv_span_t text, const char *word);


/* of GS1's own context */
static const svw_json_known_t  svw_json_known[] = {
    { "cbvmda", SVW_NS_MDA },
    { "cbv",    "https://ref.gs1.org/cbv/" },
    { "gs1",    "https://gs1.org/voc/" },
    { "epcis",  "https://ref.gs1.org/epcis/" },
    { NULL, NULL }
};


/* What an event said of prefixes ends with it. */
void
svw_json_context_open(svw_json_context_t *context, int document)
{
    if (document) {
        context->document = 0;
    }

    context->n = context->document;
}


void
svw_json_context_add(svw_json_context_t *context, sv_span_t prefix, sv_span_t space)
{
    svw_json_prefix_t  *p;

    if (context->n == SVW_JSON_PREFIXES || prefix.len == 0 || prefix.len >= SVW_JSON_PREFIX || space.len == 0
        || space.len >= SVW_JSON_SPACE || prefix.data[0] == '@')
    {
        return;
    }

    p = &context->prefix[context->n++];
    memcpy(p->prefix, prefix.data, prefix.len);
    p->prefix[prefix.len] = '\0';
    memcpy(p->space, space.data, space.len);
    p->space[space.len] = '\0';
}


/* "ex:local", "https://ns.example.com/local", "urn:example:local", "local" */
int
svw_json_resolve(const svw_json_context_t *context, sv_span_t name, sv_span_t *space, sv_span_t *local)
{
    size_t          i, n;
    const uint8_t  *colon;

    *space = (sv_span_t) { NULL, 0 };
    *local = name;

    colon = name.len != 0 ? memchr(name.data, ':', name.len) : NULL;
    if (colon == NULL) {
        return 1;
    }

    n = (size_t) (colon - name.data);
    *local = (sv_span_t) { colon + 1, name.len - n - 1 };

    for (i = context->n; i > 0; i--) {
        if (svw_json_is((sv_span_t) { name.data, n }, context->prefix[i - 1].prefix)) {
            *space = (sv_span_t) { (const uint8_t *) context->prefix[i - 1].space, strlen(context->prefix[i - 1].space) };
            return 1;
        }
    }

    for (i = 0; svw_json_known[i].prefix != NULL; i++) {
        if (svw_json_is((sv_span_t) { name.data, n }, svw_json_known[i].prefix)) {
            *space = (sv_span_t) { (const uint8_t *) svw_json_known[i].space, strlen(svw_json_known[i].space) };
            return 1;
        }
    }

    for (i = name.len; name.data[i - 1] != ':' && name.data[i - 1] != '/' && name.data[i - 1] != '#'; i--) { /* void */ }

    /* a web address keeps its last sign, as a prefix that stands for it would have it */
    *space = (sv_span_t) { name.data, name.data[i - 1] == ':' ? i - 1 : i };
    *local = (sv_span_t) { name.data + i, name.len - i };

    return i > n + 1;
}


static int
svw_json_is(sv_span_t text, const char *word)
{
    return strlen(word) == text.len && memcmp(text.data, word, text.len) == 0;
}
