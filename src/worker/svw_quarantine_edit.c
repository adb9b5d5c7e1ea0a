#include "svw_quarantine.h"

#include "svw_event.h"

#include <string.h>


static const char *const  svw_edit_lists[] = { "epcList", "childEPCs", NULL };


static int svw_edit_told(json_t *event, const char *name, const char *value, const char *option, json_t *changes);
static int svw_edit_ilmd(json_t *event, const char *name, const char *value, const char *option, json_t *changes);
static void svw_edit_note(json_t *changes, const char *option, json_t *before, const char *value);
static int svw_edit_replace(json_t *event, const char *pair, json_t *changes, char error[SVW_TEXT]);
static unsigned svw_edit_replace_all(json_t *event, const char *old, size_t len, const char *fresh);
static int svw_edit_drop(json_t *event, json_t *changes);
static int svw_edit_is_bad(const json_t *epc);


int
svw_quarantine_edit(json_t *event, const svw_quarantine_edit_t *edit, json_t *changes, char error[SVW_TEXT])
{
    unsigned  i;

    snprintf(error, SVW_TEXT, "out of memory");

    if (svw_edit_ilmd(event, "cbvmda:lotNumber", edit->lot, "lot", changes) != 0
        || svw_edit_ilmd(event, "cbvmda:itemExpirationDate", edit->expiry, "expiry", changes) != 0
        || svw_edit_told(event, "bizStep", edit->step, "step", changes) != 0)
    {
        return -1;
    }

    for (i = 0; i < edit->n_replace; i++) {
        if (svw_edit_replace(event, edit->replace[i], changes, error) != 0) {
            return -1;
        }
    }

    return edit->drop_bad_epcs ? svw_edit_drop(event, changes) : 0;
}


static int
svw_edit_told(json_t *object, const char *name, const char *value, const char *option, json_t *changes)
{
    if (value == NULL) {
        return 0;
    }

    svw_edit_note(changes, option, json_object_get(object, name), value);

    return json_object_set_new(object, name, json_string(value));
}


static int
svw_edit_ilmd(json_t *event, const char *name, const char *value, const char *option, json_t *changes)
{
    json_t  *ilmd;

    if (value == NULL) {
        return 0;
    }

    ilmd = json_object_get(event, "ilmd");

    if (!json_is_object(ilmd)) {
        ilmd = json_object();

        if (json_object_set_new(event, "ilmd", ilmd) != 0) {
            return -1;
        }
    }

    return svw_edit_told(ilmd, name, value, option, changes);
}


static void
svw_edit_note(json_t *changes, const char *option, json_t *before, const char *value)
{
    json_t  *change;

    change = json_pack("{s:s}", "to", value);

    if (before != NULL) {
        json_object_set(change, "from", before);
    }

    json_object_set_new(changes, option, change);
}


/* An EPC may hold a "=" itself: what stands before one of them is an EPC of the event. */
static int
svw_edit_replace(json_t *event, const char *pair, json_t *changes, char error[SVW_TEXT])
{
    json_t      *list;
    const char  *p;

    for (p = strchr(pair, '='); p != NULL; p = strchr(p + 1, '=')) {
        if (p[1] == '\0' || svw_edit_replace_all(event, pair, (size_t) (p - pair), p + 1) == 0) {
            continue;
        }

        list = json_object_get(changes, "replaced");

        if (list == NULL) {
            list = json_array();
            json_object_set_new(changes, "replaced", list);
        }

        return json_array_append_new(list, json_pack("{s:s%, s:s}", "from", pair, (size_t) (p - pair), "to", p + 1));
    }

    snprintf(error, SVW_TEXT, "--replace-epc \"%.150s\": expected OLD=NEW, OLD as the event has it", pair);

    return -1;
}


static unsigned
svw_edit_replace_all(json_t *event, const char *old, size_t len, const char *fresh)
{
    size_t              i;
    json_t             *list, *epc, *parent;
    unsigned            n;
    const char *const  *name;

    n = 0;

    for (name = svw_edit_lists; *name != NULL; name++) {
        list = json_object_get(event, *name);

        json_array_foreach(list, i, epc) {
            if (json_is_string(epc) && json_string_length(epc) == len && memcmp(json_string_value(epc), old, len) == 0) {
                n += json_array_set_new(list, i, json_string(fresh)) == 0;
            }
        }
    }

    parent = json_object_get(event, "parentID");

    if (json_is_string(parent) && json_string_length(parent) == len && memcmp(json_string_value(parent), old, len) == 0) {
        n += json_object_set_new(event, "parentID", json_string(fresh)) == 0;
    }

    return n;
}


static int
svw_edit_drop(json_t *event, json_t *changes)
{
    size_t              i;
    json_t             *list, *dropped;
    const char *const  *name;

    dropped = json_array();

    for (name = svw_edit_lists; *name != NULL; name++) {
        list = json_object_get(event, *name);

        for (i = json_array_size(list); i > 0; i--) {
            if (svw_edit_is_bad(json_array_get(list, i - 1))) {
                json_array_append(dropped, json_array_get(list, i - 1));
                json_array_remove(list, i - 1);
            }
        }
    }

    return json_object_set_new(changes, "dropped", dropped);
}


static int
svw_edit_is_bad(const json_t *epc)
{
    uint8_t      buf[SV_GS1_BUFFER];
    svw_epc_t    parsed;
    const char  *text;

    text = json_string_value(epc);

    return text == NULL || svw_epc_parse((sv_span_t) { (const uint8_t *) text, json_string_length(epc) }, buf, &parsed) != NULL;
}
