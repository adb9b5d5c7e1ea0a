/*
 * A JSON writer into a fixed buffer: escapes everything, never writes past the
 * end, and says afterwards whether all of it fitted.  Commas are its own care.
 */

#ifndef SV_JSON_H
#define SV_JSON_H

#include "../gs1/sv_span.h"


typedef struct {
    char  *start, *pos, *end;
    int    overflow;
    int    comma;           /* the next member needs one */
} sv_json_t;


void sv_json_init(sv_json_t *json, char *buf, size_t cap);

/* `key' is NULL inside an array and for the outermost value. Keys are literals of ours and not escaped. */
void sv_json_object(sv_json_t *json, const char *key);
void sv_json_object_end(sv_json_t *json);
void sv_json_array(sv_json_t *json, const char *key);
void sv_json_array_end(sv_json_t *json);
void sv_json_span(sv_json_t *json, const char *key, sv_span_t value);
void sv_json_text(sv_json_t *json, const char *key, const char *value);     /* NULL: the member is left out */
void sv_json_number(sv_json_t *json, const char *key, int64_t value);
void sv_json_bool(sv_json_t *json, const char *key, int value);
void sv_json_raw(sv_json_t *json, const char *key, sv_span_t value);         /* JSON that is in order, without < > & */
void sv_json_time(sv_json_t *json, const char *key, int64_t ms);            /* ms since 1970 as RFC 3339, UTC; left away when it has no such form */

/* The length of what was written, or -1 if it did not fit. */
int sv_json_done(sv_json_t *json);

#endif /* SV_JSON_H */
