#include "svw_epcis.h"

#include "../gs1/sv_gs1_ai.h"
#include "../model/sv_json.h"

#include <ctype.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>


#define SVW_EPCIS_PREFIXES  32          /* foreign namespaces of one event; more of them are left away */
#define SVW_EPCIS_DEPTH     16
#define SVW_EPCIS_NAME      512

typedef struct {
    const char  *word;                  /* as the database has it */
    const char  *name;                  /* as EPCIS has it */
} svw_epcis_word_t;

typedef struct {
    json_t      *detail;                /* `space' points into its names */
    const char  *space[SVW_EPCIS_PREFIXES];
    size_t       len[SVW_EPCIS_PREFIXES];
    unsigned     n;
} svw_epcis_spaces_t;

/* what the standard wants of a member by the name */
typedef enum { SVW_EPCIS_TEXT, SVW_EPCIS_LIST, SVW_EPCIS_NUMBER, SVW_EPCIS_BOOLEAN, SVW_EPCIS_VOCABULARY } svw_epcis_form_t;

typedef struct {
    const char        *name;
    svw_epcis_form_t   form;
} svw_epcis_name_t;


static int svw_epcis_identifiers(json_t *object, const svw_epcis_event_t *event);
static json_t *svw_epcis_items(const char *items);
static int svw_epcis_place(json_t *object, const char *name, const char *text);
static int svw_epcis_ilmd(json_t *object, const svw_epcis_event_t *event, json_t *more);
static int svw_epcis_detail(json_t *object, const svw_epcis_event_t *event, svw_epcis_spaces_t *spaces, json_t **ilmd);
static int svw_epcis_own(json_t *object, const char *text);
static int svw_epcis_context(json_t *object, const svw_epcis_spaces_t *spaces);
static json_t *svw_epcis_tree(json_t *value, const char *name, svw_epcis_spaces_t *spaces, unsigned depth);
static json_t *svw_epcis_leaf(json_t *value, const char *name);
static const char *svw_epcis_rename(const char *name, svw_epcis_spaces_t *spaces, int member, char out[SVW_EPCIS_NAME]);
static const svw_epcis_name_t *svw_epcis_known(const svw_epcis_name_t *names, const char *name);
static int svw_epcis_is_uri(const char *text);
static const char *svw_epcis_translate(const svw_epcis_word_t *words, const char *word);
static int svw_epcis_time(int64_t ms, char out[32]);
static int svw_epcis_text(json_t *object, const char *name, const char *text);


static const svw_epcis_word_t  svw_epcis_types[] = {
    { "object", "ObjectEvent" }, { "aggregation", "AggregationEvent" }, { "transaction", "TransactionEvent" }, { NULL, NULL }
};

static const svw_epcis_word_t  svw_epcis_actions[] = {
    { "add", "ADD" }, { "observe", "OBSERVE" }, { "delete", "DELETE" }, { NULL, NULL }
};

/* namespaces whose prefixes are in GS1's context */
static const svw_epcis_word_t  svw_epcis_prefixes[] = {
    { "urn:epcglobal:cbv:mda", "cbvmda" }, { "urn:epcglobal:cbv:mda:", "cbvmda" }, { "https://gs1.org/voc/", "gs1" },
    { "https://ref.gs1.org/cbv/", "cbv" }, { SVW_EPCIS_NAMESPACE, "sv" }, { NULL, NULL }
};

/* members of an event that may come from what was kept beside it */
static const svw_epcis_name_t  svw_epcis_members[] = {
    { "bizTransactionList", SVW_EPCIS_LIST }, { "sourceList", SVW_EPCIS_LIST }, { "destinationList", SVW_EPCIS_LIST },
    { "quantityList", SVW_EPCIS_LIST }, { "childQuantityList", SVW_EPCIS_LIST }, { "sensorElementList", SVW_EPCIS_LIST },
    { "persistentDisposition", SVW_EPCIS_TEXT }, { "certificationInfo", SVW_EPCIS_TEXT }, { NULL, SVW_EPCIS_TEXT }
};

/* members below them that are no plain text */
static const svw_epcis_name_t  svw_epcis_forms[] = {
    { "sensorReport", SVW_EPCIS_LIST }, { "set", SVW_EPCIS_LIST }, { "unset", SVW_EPCIS_LIST },
    { "type", SVW_EPCIS_VOCABULARY }, { "quantity", SVW_EPCIS_NUMBER }, { "value", SVW_EPCIS_NUMBER },
    { "minValue", SVW_EPCIS_NUMBER }, { "maxValue", SVW_EPCIS_NUMBER }, { "meanValue", SVW_EPCIS_NUMBER },
    { "sDev", SVW_EPCIS_NUMBER }, { "percRank", SVW_EPCIS_NUMBER }, { "percValue", SVW_EPCIS_NUMBER },
    { "booleanValue", SVW_EPCIS_BOOLEAN }, { NULL, SVW_EPCIS_TEXT }
};


void
svw_epcis_row(const PGresult *rows, int row, svw_epcis_event_t *event)
{
    *event = (svw_epcis_event_t) {
        .event_id = svw_col(rows, row, "event_id"),
        .kind = svw_col(rows, row, "kind"),
        .action = svw_col(rows, row, "action"),
        .step = svw_col(rows, row, "step"),
        .disposition = svw_col(rows, row, "disposition"),
        .event_ms = svw_col_int(rows, row, "event_ms"),
        .offset_min = (int) svw_col_int(rows, row, "offset_min"),
        .at_ms = svw_col_int(rows, row, "at_ms"),
        .parent_gtin = (uint64_t) svw_col_int(rows, row, "parent_gtin"),
        .parent_serial = svw_col(rows, row, "parent_serial"),
        .items = svw_col(rows, row, "items"),
        .lot = svw_col(rows, row, "lot"),
        .expiry = svw_col(rows, row, "expiry"),
        .market = svw_col(rows, row, "market"),
        .read_point = svw_col(rows, row, "read_point"),
        .biz_location = svw_col(rows, row, "biz_location"),
        .error = svw_col(rows, row, "error"),
        .detail = svw_col(rows, row, "detail"),
        .own = svw_col(rows, row, "own")
    };
}


json_t *
svw_epcis_event(const svw_epcis_event_t *event)
{
    int                  offset, failed;
    char                 time[32], zone[16];
    json_t              *object, *ilmd;
    svw_epcis_spaces_t   spaces;

    object = json_object();
    ilmd = NULL;
    spaces.detail = NULL;
    spaces.n = 0;
    failed = 0;

    failed |= svw_epcis_text(object, "type", svw_epcis_translate(svw_epcis_types, event->kind));
    failed |= svw_epcis_text(object, "eventID", event->event_id);

    failed |= svw_epcis_time(event->event_ms, time);
    failed |= svw_epcis_text(object, "eventTime", time);

    offset = abs(event->offset_min) <= 14 * 60 ? event->offset_min : 0;
    snprintf(zone, sizeof(zone), "%c%02d:%02d", offset < 0 ? '-' : '+', abs(offset) / 60, abs(offset) % 60);
    failed |= svw_epcis_text(object, "eventTimeZoneOffset", zone);

    failed |= svw_epcis_time(event->at_ms, time);
    failed |= svw_epcis_text(object, "recordTime", time);

    if (event->error != NULL) {
        failed |= json_object_set_new(object, "errorDeclaration", json_loads(event->error, 0, NULL));
    }

    failed |= svw_epcis_identifiers(object, event);
    failed |= svw_epcis_text(object, "action", svw_epcis_translate(svw_epcis_actions, event->action));
    failed |= svw_epcis_text(object, "bizStep", event->step);
    failed |= svw_epcis_text(object, "disposition", event->disposition);
    failed |= svw_epcis_place(object, "readPoint", event->read_point);
    failed |= svw_epcis_place(object, "bizLocation", event->biz_location);

    failed |= svw_epcis_detail(object, event, &spaces, &ilmd);
    failed |= svw_epcis_ilmd(object, event, ilmd);
    failed |= svw_epcis_own(object, event->own);
    failed |= svw_epcis_context(object, &spaces);

    json_decref(ilmd);
    json_decref(spaces.detail);

    if (failed) {
        json_decref(object);
        return NULL;
    }

    return object;
}


int
svw_epcis_link(uint64_t gtin, const char *serial, size_t len, char out[SVW_EPCIS_LINK])
{
    char            digits[16];
    sv_gs1_data_t   data;

    data.stem = (sv_span_t) { NULL, 0 };
    data.stem_pairs = 0;

    if (gtin == 0) {
        data.element[0] = (sv_gs1_element_t) { sv_gs1_ai_number(0), { (const uint8_t *) serial, len } };
        data.n = data.n_path = 1;

    } else {
        snprintf(digits, sizeof(digits), "%014" PRIu64, gtin % 100000000000000);
        data.element[0] = (sv_gs1_element_t) { sv_gs1_ai_number(1), { (const uint8_t *) digits, 14 } };
        data.element[1] = (sv_gs1_element_t) { sv_gs1_ai_number(21), { (const uint8_t *) serial, len } };
        data.n = data.n_path = 2;
    }

    return sv_gs1_uri_print(&data, out, SVW_EPCIS_LINK) > 0 ? 0 : -1;
}


/* urn:epcglobal:cbv:bizstep:packing, https://ref.gs1.org/cbv/BizStep-packing */
const char *
svw_epcis_bare(const char *text, size_t *len)
{
    size_t  i;

    static const char  urn[] = "urn:epcglobal:cbv:", web[] = "https://ref.gs1.org/cbv/";

    i = 0;

    if (*len > sizeof(urn) && memcmp(text, urn, sizeof(urn) - 1) == 0) {
        for (i = *len; text[i - 1] != ':'; i--) { /* void */ }

    } else if (*len > sizeof(web) && memcmp(text, web, sizeof(web) - 1) == 0) {
        for (i = sizeof(web) - 1; i < *len && text[i - 1] != '-'; i++) { /* void */ }
    }

    /* nothing behind the last of them: it is no such word */
    if (i == *len) {
        i = 0;
    }

    *len -= i;

    return text + i;
}


int
svw_epcis_begin(FILE *out, svw_epcis_doc_t doc, int64_t created_ms)
{
    char  time[32];

    if (svw_epcis_time(created_ms, time) != 0) {
        return -1;
    }

    fprintf(out, "{\"@context\":[\"%s\",{\"sv\":\"%s\"}],\"type\":\"%s\",\"schemaVersion\":\"2.0\",\"creationDate\":\"%s\","
            "\"epcisBody\":{%s\"eventList\":[", SVW_EPCIS_CONTEXT, SVW_EPCIS_NAMESPACE,
            doc == SVW_EPCIS_QUERY ? "EPCISQueryDocument" : "EPCISDocument", time,
            doc == SVW_EPCIS_QUERY ? "\"queryResults\":{\"queryName\":\"SimpleEventQuery\",\"resultsBody\":{" : "");

    return ferror(out) ? -1 : 0;
}


int
svw_epcis_put(FILE *out, const svw_epcis_event_t *event, int first)
{
    int      rc;
    json_t  *object;

    object = svw_epcis_event(event);
    if (object == NULL) {
        return -1;
    }

    fputs(first ? "\n" : ",\n", out);
    rc = json_dumpf(object, out, JSON_COMPACT);
    json_decref(object);

    return rc != 0 || ferror(out) ? -1 : 0;
}


int
svw_epcis_end(FILE *out, svw_epcis_doc_t doc)
{
    fputs(doc == SVW_EPCIS_QUERY ? "\n]}}}}\n" : "\n]}}\n", out);

    return ferror(out) ? -1 : 0;
}


static int
svw_epcis_identifiers(json_t *object, const svw_epcis_event_t *event)
{
    int      aggregation;
    char     link[SVW_EPCIS_LINK];
    json_t  *items;

    aggregation = strcmp(event->kind, "aggregation") == 0;

    if (event->parent_serial != NULL) {
        if (svw_epcis_link(event->parent_gtin, event->parent_serial, strlen(event->parent_serial), link) != 0
            || svw_epcis_text(object, "parentID", link) != 0)
        {
            return -1;
        }
    }

    items = svw_epcis_items(event->items != NULL ? event->items : "");

    return items == NULL ? -1 : json_object_set_new(object, aggregation ? "childEPCs" : "epcList", items);
}


static json_t *
svw_epcis_items(const char *items)
{
    char         digits[15], link[SVW_EPCIS_LINK];
    json_t      *list;
    size_t       len;
    const char  *p;

    list = json_array();

    for (p = items; *p != '\0'; p += len + (p[len] == '\n')) {
        len = strcspn(p, "\n");

        if (len <= 14) {
            json_decref(list);
            return NULL;
        }

        memcpy(digits, p, 14);
        digits[14] = '\0';

        if (svw_epcis_link(strtoull(digits, NULL, 10), p + 14, len - 14, link) != 0
            || json_array_append_new(list, json_string(link)) != 0)
        {
            json_decref(list);
            return NULL;
        }
    }

    return list;
}


/* What a line calls its place need not be a URI: then it is told, but not as the standard's member. */
static int
svw_epcis_place(json_t *object, const char *name, const char *text)
{
    char     own[32];

    if (text == NULL) {
        return 0;
    }

    if (svw_epcis_is_uri(text)) {
        return json_object_set_new(object, name, json_pack("{s:s}", "id", text));
    }

    snprintf(own, sizeof(own), "sv:%s", name);

    return svw_epcis_text(object, own, text);
}


/* The standard knows ilmd with ADD only. */
static int
svw_epcis_ilmd(json_t *object, const svw_epcis_event_t *event, json_t *more)
{
    int      failed;
    json_t  *ilmd;

    if (strcmp(event->action, "add") != 0) {
        return more == NULL || json_object_size(more) == 0 ? 0 : json_object_set(object, "sv:ilmd", more);
    }

    ilmd = json_object();
    failed = svw_epcis_text(ilmd, "cbvmda:lotNumber", event->lot);
    failed |= svw_epcis_text(ilmd, "cbvmda:itemExpirationDate", event->expiry);
    failed |= more != NULL && json_object_update_missing(ilmd, more) != 0;

    if (!failed && json_object_size(ilmd) > 0) {
        failed = json_object_set(object, "ilmd", ilmd);
    }

    json_decref(ilmd);

    return failed || svw_epcis_text(object, "sv:market", event->market) != 0 ? -1 : 0;
}


static int
svw_epcis_detail(json_t *object, const svw_epcis_event_t *event, svw_epcis_spaces_t *spaces, json_t **ilmd)
{
    int          failed;
    char         name[SVW_EPCIS_NAME];
    json_t      *detail, *value, *tree;
    const char  *key, *renamed;

    if (event->detail == NULL) {
        return 0;
    }

    detail = spaces->detail = json_loads(event->detail, 0, NULL);
    failed = !json_is_object(detail);

    json_object_foreach(detail, key, value) {
        tree = svw_epcis_tree(value, key, spaces, 0);
        renamed = svw_epcis_rename(key, spaces, 1, name);

        if (tree == NULL) {
            failed = 1;

        } else if (strcmp(key, "ilmd") == 0 && json_is_object(tree)) {
            *ilmd = tree;

        } else if (renamed == NULL || json_object_get(object, renamed) != NULL) {
            json_decref(tree);

        } else {
            failed |= json_object_set_new(object, renamed, tree);
        }
    }

    return failed ? -1 : 0;
}


static int
svw_epcis_own(json_t *object, const char *text)
{
    int          failed;
    char         name[64];
    json_t      *own, *value;
    const char  *key;

    if (text == NULL) {
        return 0;
    }

    own = json_loads(text, 0, NULL);
    failed = !json_is_object(own);

    json_object_foreach(own, key, value) {
        snprintf(name, sizeof(name), "sv:%s", key);
        failed |= json_object_set(object, name, value);
    }

    json_decref(own);

    return failed ? -1 : 0;
}


/* The prefixes of an event are its own: a document is begun before all its events are known. */
static int
svw_epcis_context(json_t *object, const svw_epcis_spaces_t *spaces)
{
    char       prefix[16];
    json_t    *map;
    unsigned   i;

    if (spaces->n == 0) {
        return 0;
    }

    map = json_object();

    for (i = 0; i < spaces->n; i++) {
        snprintf(prefix, sizeof(prefix), "ns%u", i + 1);

        if (json_object_set_new(map, prefix, json_stringn(spaces->space[i], spaces->len[i])) != 0) {
            json_decref(map);
            return -1;
        }
    }

    return json_object_set_new(object, "@context", map);
}


/* What was kept, with the names and forms that JSON-LD wants; NULL: no memory. */
static json_t *
svw_epcis_tree(json_t *value, const char *name, svw_epcis_spaces_t *spaces, unsigned depth)
{
    int                      failed;
    char                     buf[SVW_EPCIS_NAME];
    json_t                  *tree, *child, *member;
    size_t                   i;
    const char              *key, *renamed;
    const svw_epcis_name_t  *known;

    if (depth == SVW_EPCIS_DEPTH || (!json_is_object(value) && !json_is_array(value))) {
        return svw_epcis_leaf(value, name);
    }

    failed = 0;
    known = svw_epcis_known(depth == 0 ? svw_epcis_members : svw_epcis_forms, name);

    if (json_is_array(value)) {
        tree = json_array();

        /* what is in a list already does not become one by its name */
        json_array_foreach(value, i, child) {
            failed |= json_array_append_new(tree, svw_epcis_tree(child, known != NULL && known->form == SVW_EPCIS_LIST ? "" : name,
                                                                 spaces, depth + 1));
        }

    } else {
        tree = json_object();

        json_object_foreach(value, key, child) {
            renamed = svw_epcis_rename(key, spaces, 0, buf);

            if (renamed != NULL) {
                /* the name first: a deeper one uses its own buffer */
                member = svw_epcis_tree(child, key, spaces, depth + 1);
                failed |= json_object_set_new(tree, renamed, member);
            }
        }
    }

    if (!failed && known != NULL && known->form == SVW_EPCIS_LIST && json_is_object(tree)) {
        tree = json_pack("[o]", tree);
    }

    if (failed) {
        json_decref(tree);
        return NULL;
    }

    return tree;
}


static json_t *
svw_epcis_leaf(json_t *value, const char *name)
{
    char                    *end;
    double                   number;
    size_t                   len;
    const char              *text;
    const svw_epcis_name_t  *known;

    text = json_string_value(value);
    known = svw_epcis_known(svw_epcis_forms, name);

    if (text == NULL || known == NULL) {
        return json_incref(value);
    }

    switch (known->form) {

    case SVW_EPCIS_NUMBER:
        number = strtod(text, &end);

        if (end == text || *end != '\0' || strspn(text, "0123456789+-.eE") != strlen(text)) {
            break;
        }

        if (strspn(text, "-0123456789") == strlen(text) && strlen(text) <= 15) {
            return json_integer(strtoll(text, NULL, 10));
        }

        return json_real(number);

    case SVW_EPCIS_BOOLEAN:
        if (strcmp(text, "true") == 0 || strcmp(text, "1") == 0) {
            return json_true();
        }

        if (strcmp(text, "false") == 0 || strcmp(text, "0") == 0) {
            return json_false();
        }

        break;

    case SVW_EPCIS_VOCABULARY:
        len = strlen(text);
        text = svw_epcis_bare(text, &len);
        return json_stringn(text, len);

    case SVW_EPCIS_LIST:
        return json_pack("[O]", value);

    case SVW_EPCIS_TEXT:
        break;
    }

    return json_incref(value);
}


/*
 * "{namespace}local" with a prefix.  A member of the event itself is one that
 * the standard knows or gets our own namespace; below, names stay as they are.
 * NULL: it cannot be told.
 */
static const char *
svw_epcis_rename(const char *name, svw_epcis_spaces_t *spaces, int member, char out[SVW_EPCIS_NAME])
{
    size_t                   len;
    unsigned                 i;
    const char              *local;
    const svw_epcis_word_t  *known;

    if (name[0] != '{') {
        if (!member || strcmp(name, "ilmd") == 0 || svw_epcis_known(svw_epcis_members, name) != NULL) {
            return name;
        }

        snprintf(out, SVW_EPCIS_NAME, "sv:%s", name);
        return out;
    }

    local = strchr(name, '}');

    if (local == NULL || local[1] == '\0') {
        return NULL;
    }

    len = (size_t) (local - name) - 1;
    local++;

    for (known = svw_epcis_prefixes; known->word != NULL; known++) {
        if (strlen(known->word) == len && memcmp(known->word, name + 1, len) == 0) {
            snprintf(out, SVW_EPCIS_NAME, "%s:%s", known->name, local);
            return out;
        }
    }

    for (i = 0; i < spaces->n; i++) {
        if (spaces->len[i] == len && memcmp(spaces->space[i], name + 1, len) == 0) {
            break;
        }
    }

    if (i == SVW_EPCIS_PREFIXES) {
        return NULL;
    }

    if (i == spaces->n) {
        spaces->space[i] = name + 1;
        spaces->len[i] = len;
        spaces->n++;
    }

    snprintf(out, SVW_EPCIS_NAME, "ns%u:%s", i + 1, local);

    return out;
}


static const svw_epcis_name_t *
svw_epcis_known(const svw_epcis_name_t *names, const char *name)
{
    for ( ; names->name != NULL; names++) {
        if (strcmp(names->name, name) == 0) {
            return names;
        }
    }

    return NULL;
}


static int
svw_epcis_is_uri(const char *text)
{
    size_t  i;

    for (i = 0; isalnum((unsigned char) text[i]) || strchr("+-.", text[i] != '\0' ? text[i] : '/') != NULL; i++) { /* void */ }

    return i > 0 && isalpha((unsigned char) text[0]) && text[i] == ':' && text[i + 1] != '\0' && strpbrk(text, " \"<>") == NULL;
}


static const char *
svw_epcis_translate(const svw_epcis_word_t *words, const char *word)
{
    for ( ; words->word != NULL; words++) {
        if (word != NULL && strcmp(words->word, word) == 0) {
            return words->name;
        }
    }

    return NULL;
}


static int
svw_epcis_time(int64_t ms, char out[32])
{
    int        len;
    char       buf[64];
    sv_json_t  json;

    sv_json_init(&json, buf, sizeof(buf));
    sv_json_array(&json, NULL);
    sv_json_time(&json, NULL, ms);
    sv_json_array_end(&json);

    /* ["2026-11-21T13:57:52.123Z"], or [] for a year that RFC 3339 does not write */
    len = sv_json_done(&json) - 4;

    if (len < 2 || len >= 32) {
        return -1;
    }

    snprintf(out, 32, "%.*s", len, buf + 2);

    return 0;
}


/* no text, no member */
static int
svw_epcis_text(json_t *object, const char *name, const char *text)
{
    return text == NULL ? 0 : json_object_set_new(object, name, json_string(text));
}
