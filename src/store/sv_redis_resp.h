/*
 * Commands in Redis's protocol, written into a growing buffer.
 */

#ifndef SV_REDIS_RESP_H
#define SV_REDIS_RESP_H

#include <stddef.h>


typedef struct {
    char    *data;
    size_t   pos;               /* sent up to here */
    size_t   len;               /* filled up to here */
    size_t   size;
} sv_redis_buf_t;


/* All three: 0, or -1 when out of memory; the buffer is then as it was. */
int  sv_redis_buf_append(sv_redis_buf_t *buf, const char *data, size_t len);
int  sv_redis_resp_header(sv_redis_buf_t *buf, int argc);
int  sv_redis_resp_args(sv_redis_buf_t *buf, int argc, const char *const *argv,
         const size_t *argvlen);

/* Forgets the content; memory beyond `keep' bytes is given back. */
void sv_redis_buf_reset(sv_redis_buf_t *buf, size_t keep);

#endif /* SV_REDIS_RESP_H */
