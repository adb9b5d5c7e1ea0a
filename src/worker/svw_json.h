/*
 * EPCIS as JSON, in three parts: svw_feed_json.c has the parser and its limits,
 * svw_json_event.c knows names and places, svw_json_context.c what a prefix
 * stands for.
 */

#ifndef SVW_JSON_H
#define SVW_JSON_H

#include "svw_dialect.h"


#define SVW_JSON_DEPTH     64
#define SVW_JSON_NAME      512          /* longest name with its namespace; the rest is cut */
#define SVW_JSON_PREFIXES  64           /* more of them stand for nothing */
#define SVW_JSON_PREFIX    32
#define SVW_JSON_SPACE     256

typedef struct svw_json_name_s  svw_json_name_t;

typedef struct {
    char             prefix[SVW_JSON_PREFIX];
    char             space[SVW_JSON_SPACE];
} svw_json_prefix_t;

typedef struct {
    unsigned             n;
    unsigned             document;      /* of them: not of an event alone */
    svw_json_prefix_t    prefix[SVW_JSON_PREFIXES];
} svw_json_context_t;

/* an object or array that is open */
typedef struct {
    uint8_t                  at;
    uint8_t                  extension; /* it is, or is in, what somebody added */
    uint8_t                  opened;    /* it is an object of the detail */
    uint8_t                  ilmd;
    const svw_json_name_t   *name;      /* of the member at hand; of an array, that it is the value of */
    const svw_dialect_t     *dialect;   /* what that tells of the packs */
    uint16_t                 local;     /* where its local name begins in: */
    uint16_t                 len;
    char                     text[SVW_JSON_NAME];   /* its name as the detail has it */
} svw_json_level_t;

typedef struct {
    svw_load_t              *load;
    svw_event_t             *event;
    int64_t                  line;      /* of the value at hand */
    int                      list_seen; /* it is a document with a list, or one event */
    unsigned                 depth;
    svw_json_context_t       context;
    svw_json_level_t         level[SVW_JSON_DEPTH + 1];     /* [0]: outside of everything */
} svw_json_t;


/* svw_json_event.c: 0, or -1 to stop */
int svw_json_object(svw_json_t *json);
int svw_json_object_end(svw_json_t *json);
int svw_json_array(svw_json_t *json);
void svw_json_array_end(svw_json_t *json);
void svw_json_name(svw_json_t *json, sv_span_t name);
int svw_json_value(svw_json_t *json, sv_span_t text);
int svw_json_null(svw_json_t *json);

/* svw_json_context.c */
void svw_json_context_open(svw_json_context_t *context, int document);      /* it begins, of the document or of an event */
void svw_json_context_add(svw_json_context_t *context, sv_span_t prefix, sv_span_t space);

/* namespace and local name of a member; 0: its prefix stands for nothing that is known */
int svw_json_resolve(const svw_json_context_t *context, sv_span_t name, sv_span_t *space, sv_span_t *local);

#endif /* SVW_JSON_H */
