#include "svw_copy.h"
#include "svw_event_in.h"

#include <stdlib.h>
#include <string.h>


#define SVW_DETAIL_DEPTH   32
#define SVW_DETAIL_NAME    512
#define SVW_DETAIL_GONE    8            /* members that are left away one by one */
#define SVW_DETAIL_MOST    (4 * SVW_EVENT_DETAIL)   /* gathered; what is more is all left away */

typedef struct {
    json_t            *object;
    char               name[SVW_DETAIL_NAME];
} svw_detail_level_t;

/* Whatever the order of members, the same of them are kept. */
struct svw_detail_s {
    size_t               size;          /* of names and texts gathered */
    int                  full;
    unsigned             depth;         /* may be more than there are levels */
    svw_detail_level_t   level[SVW_DETAIL_DEPTH];
};


static int svw_detail_name(svw_detail_t *detail, sv_span_t name, char out[SVW_DETAIL_NAME]);
static void svw_detail_put(svw_detail_t *detail, const char *name, json_t *value);
static void svw_detail_cut(json_t *root);
static size_t svw_detail_size(const json_t *value);


/* always lists, be there one or many */
static const char  *const svw_lists[] = {
    "bizTransactionList", "sourceList", "destinationList", "quantityList", "childQuantityList", "sensorElementList", "sensorReport",
    "set", "unset", NULL
};


svw_detail_t *
svw_detail_new(void)
{
    return calloc(1, sizeof(svw_detail_t));
}


void
svw_detail_clear(svw_detail_t *detail)
{
    unsigned  i;

    for (i = 0; i == 0 || (i <= detail->depth && i < SVW_DETAIL_DEPTH); i++) {
        json_decref(detail->level[i].object);
        detail->level[i].object = NULL;
    }

    detail->size = 0;
    detail->full = 0;
    detail->depth = 0;
}


void
svw_detail_open(svw_detail_t *detail, sv_span_t name)
{
    svw_detail_level_t  *level;

    detail->depth++;

    if (detail->depth >= SVW_DETAIL_DEPTH) {
        detail->full = 1;
        return;
    }

    level = &detail->level[detail->depth];
    level->object = NULL;

    if (svw_detail_name(detail, name, level->name) != 0) {
        detail->full = 1;
    }
}


void
svw_detail_text(svw_detail_t *detail, sv_span_t name, sv_span_t text)
{
    char  key[SVW_DETAIL_NAME];

    detail->size += text.len;

    if (svw_detail_name(detail, name, key) != 0 || detail->size > SVW_DETAIL_MOST) {
        detail->full = 1;
    }

    if (!detail->full) {
        svw_detail_put(detail, key, svw_form(detail->level[detail->depth].name, key, text));
    }
}


/* An object without members is none. */
void
svw_detail_close(svw_detail_t *detail)
{
    json_t              *object;
    svw_detail_level_t  *level;

    if (detail->depth == 0) {
        return;
    }

    if (detail->depth >= SVW_DETAIL_DEPTH) {
        detail->depth--;
        return;
    }

    level = &detail->level[detail->depth--];
    object = level->object;
    level->object = NULL;

    if (object != NULL) {
        svw_detail_put(detail, level->name, object);
    }
}


json_t *
svw_detail_json(svw_detail_t *detail)
{
    while (detail->depth > 0) {
        svw_detail_close(detail);
    }

    if (detail->full) {
        json_decref(detail->level[0].object);
        detail->level[0].object = json_pack("{s:[s]}", "truncated", "*");

    } else if (detail->level[0].object != NULL && svw_detail_size(detail->level[0].object) > SVW_EVENT_DETAIL) {
        svw_detail_cut(detail->level[0].object);
    }

    return detail->level[0].object;
}


char *
svw_detail_print(svw_detail_t *detail)
{
    json_t  *root;

    root = svw_detail_json(detail);

    return root != NULL ? json_dumps(root, JSON_COMPACT|JSON_SORT_KEYS) : NULL;
}


void
svw_detail_free(svw_detail_t *detail)
{
    if (detail != NULL) {
        svw_detail_clear(detail);
        free(detail);
    }
}


/* XML writes a namespace as "urn:x", JSON as "urn:x:": one name. */
static int
svw_detail_name(svw_detail_t *detail, sv_span_t name, char out[SVW_DETAIL_NAME])
{
    size_t          i, n;
    const uint8_t  *end;

    out[0] = '\0';
    detail->size += name.len;

    if (name.len == 0 || name.len >= SVW_DETAIL_NAME) {
        return -1;
    }

    end = name.data[0] == '{' ? memchr(name.data, '}', name.len) : NULL;

    for (i = 0, n = 0; i < name.len; i++) {
        if (end != NULL && name.data + i + 1 == end && name.data[i] == ':') {
            continue;
        }

        out[n++] = (char) name.data[i];
    }

    out[n] = '\0';

    for (i = 0; i < n; i += name.len) {
        name.len = svw_utf8((sv_span_t) { (uint8_t *) out + i, n - i });

        if (name.len == 0) {
            return -1;
        }
    }

    return 0;
}


/* Takes over `value'. */
static void
svw_detail_put(svw_detail_t *detail, const char *name, json_t *value)
{
    int                  list;
    size_t               i;
    json_t              *old;
    svw_detail_level_t  *level;

    level = &detail->level[detail->depth];

    if (level->object == NULL) {
        level->object = json_object();
    }

    old = json_object_get(level->object, name);

    if (json_is_array(old)) {
        json_array_append_new(old, value);
        return;
    }

    for (i = 0; svw_lists[i] != NULL && strcmp(svw_lists[i], name) != 0; i++) { /* void */ }

    list = svw_lists[i] != NULL;

    if (old == NULL && !list) {
        json_object_set_new(level->object, name, value);
        return;
    }

    if (old != NULL) {
        json_object_set_new(level->object, name, json_pack("[Oo]", old, value));
    } else {
        json_object_set_new(level->object, name, json_pack("[o]", value));
    }
}


/* The largest members go first, of equal ones the first by name, until the rest fits. */
static void
svw_detail_cut(json_t *root)
{
    size_t       size, most;
    json_t      *value, *gone;
    const char  *name, *largest;

    gone = json_array();

    while (svw_detail_size(root) > SVW_EVENT_DETAIL - SVW_DETAIL_GONE * SVW_DETAIL_NAME && json_array_size(gone) < SVW_DETAIL_GONE) {
        largest = NULL;
        most = 0;

        json_object_foreach(root, name, value) {
            size = svw_detail_size(value) + strlen(name);

            if (largest == NULL || size > most || (size == most && strcmp(name, largest) < 0)) {
                largest = name;
                most = size;
            }
        }

        json_array_append_new(gone, json_string(largest));
        json_object_del(root, largest);
    }

    if (json_array_size(gone) == SVW_DETAIL_GONE) {
        json_object_clear(root);
        json_array_clear(gone);
        json_array_append_new(gone, json_string("*"));
    }

    json_object_set_new(root, "truncated", gone);
}


static size_t
svw_detail_size(const json_t *value)
{
    return value != NULL ? json_dumpb(value, NULL, 0, JSON_COMPACT|JSON_ENCODE_ANY) : 0;
}
