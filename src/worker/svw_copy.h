/*
 * Rows as COPY reads them in its text format.  Each function writes at `p' and
 * returns what is behind; the caller has made room.
 */

#ifndef SVW_COPY_H
#define SVW_COPY_H

#include "svw_load.h"


#define SVW_COPY_FIXED  128             /* room of any field but a text, with its tab */

/* room of a text: every byte may be escaped */
#define svw_copy_room(len)  (2 * (len) + 4)

char *svw_copy_number(char *p, uint64_t n);
char *svw_copy_time(char *p, int64_t ms);                   /* SVW_NO_TIME: null */
char *svw_copy_day(char *p, sv_day_t day);
char *svw_copy_digest(char *p, const uint8_t *digest);
char *svw_copy_null(char *p);
char *svw_copy_key(char *p, sv_span_t text);                /* of GS1's set of 82: it needs no escape */
char *svw_copy_text(char *p, sv_span_t text);               /* any bytes; what is not UTF-8 becomes ? */
char *svw_copy_some(char *p, sv_span_t text);               /* likewise; empty: null */

/* the length of the character at the start, 0: not UTF-8, or NUL, which PostgreSQL takes nowhere */
size_t svw_utf8(sv_span_t text);

#endif /* SVW_COPY_H */
