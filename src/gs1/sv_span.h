/*
 * A piece of somebody else's bytes.  Never NUL-terminated, never owned:
 * it is valid as long as the buffer it points into.
 */

#ifndef SV_SPAN_H
#define SV_SPAN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>


typedef struct {
    const uint8_t  *data;
    size_t          len;
} sv_span_t;


#define sv_span(s)  ((sv_span_t) {(const uint8_t *) (s), sizeof(s) - 1})


static inline int
sv_span_eq(sv_span_t a, sv_span_t b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

#endif /* SV_SPAN_H */
