/* a bounded buffer that text is written to; it remembers that something did not fit */

#ifndef SV_GS1_TEXT_H
#define SV_GS1_TEXT_H

#include "sv_span.h"

#include <limits.h>


typedef struct {
    char    *out;
    size_t   len;
    size_t   cap;
    int      full;
} sv_text_t;


static inline void
sv_text_begin(sv_text_t *text, char *out, size_t cap)
{
    text->out = out;
    text->len = 0;
    text->cap = cap;
    text->full = 0;
}


static inline void
sv_text_bytes(sv_text_t *text, const void *bytes, size_t len)
{
    if (text->full || text->cap - text->len <= len) {
        text->full = 1;
        return;
    }

    memcpy(text->out + text->len, bytes, len);
    text->len += len;
}


static inline void
sv_text_char(sv_text_t *text, char c)
{
    sv_text_bytes(text, &c, 1);
}


static inline void
sv_text_string(sv_text_t *text, const char *string)
{
    sv_text_bytes(text, string, strlen(string));
}


static inline void
sv_text_escape(sv_text_t *text, uint8_t c)
{
    char  escape[3];

    static const char  hex[] = "0123456789ABCDEF";

    escape[0] = '%';
    escape[1] = hex[c >> 4];
    escape[2] = hex[c & 15];

    sv_text_bytes(text, escape, sizeof(escape));
}


/* the length, or -1 when it did not fit */
static inline int
sv_text_end(sv_text_t *text)
{
    if (text->cap == 0) {
        return -1;
    }

    text->out[text->full ? 0 : text->len] = '\0';

    return (text->full || text->len > INT_MAX) ? -1 : (int) text->len;
}

#endif /* SV_GS1_TEXT_H */
