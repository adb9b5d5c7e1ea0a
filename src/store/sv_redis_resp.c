/*
 * hiredis formats a command into a block of its own and then copies that into
 * its output buffer; here it is written where it leaves from.
 */

#include "sv_redis_resp.h"

#include <stdlib.h>
#include <string.h>


#define SV_RESP_NUMBER  24          /* a type byte, 20 digits, CR LF */


static int sv_redis_buf_reserve(sv_redis_buf_t *buf, size_t n);
static char *sv_redis_resp_number(char *p, char type, size_t n);


int
sv_redis_buf_append(sv_redis_buf_t *buf, const char *data, size_t len)
{
    if (len == 0) {
        return 0;
    }

    if (sv_redis_buf_reserve(buf, len) != 0) {
        return -1;
    }

    memcpy(buf->data + buf->len, data, len);
    buf->len += len;

    return 0;
}


int
sv_redis_resp_header(sv_redis_buf_t *buf, int argc)
{
    char  *p;

    if (sv_redis_buf_reserve(buf, SV_RESP_NUMBER) != 0) {
        return -1;
    }

    p = sv_redis_resp_number(buf->data + buf->len, '*', (size_t) argc);
    buf->len = (size_t) (p - buf->data);

    return 0;
}


int
sv_redis_resp_args(sv_redis_buf_t *buf, int argc, const char *const *argv,
    const size_t *argvlen)
{
    int     i;
    char   *p;
    size_t  n;

    n = 0;

    for (i = 0; i < argc; i++) {
        n += SV_RESP_NUMBER + argvlen[i] + 2;
    }

    if (sv_redis_buf_reserve(buf, n) != 0) {
        return -1;
    }

    p = buf->data + buf->len;

    for (i = 0; i < argc; i++) {
        p = sv_redis_resp_number(p, '$', argvlen[i]);

        if (argvlen[i] != 0) {
            memcpy(p, argv[i], argvlen[i]);
            p += argvlen[i];
        }

        *p++ = '\r';
        *p++ = '\n';
    }

    buf->len = (size_t) (p - buf->data);

    return 0;
}


void
sv_redis_buf_reset(sv_redis_buf_t *buf, size_t keep)
{
    buf->pos = 0;
    buf->len = 0;

    if (buf->size > keep) {
        free(buf->data);
        buf->data = NULL;
        buf->size = 0;
    }
}


static int
sv_redis_buf_reserve(sv_redis_buf_t *buf, size_t n)
{
    char    *data;
    size_t   size;

    if (buf->data != NULL && n <= buf->size - buf->len) {
        return 0;
    }

    /* what was sent makes room first, when that is much */

    if (buf->pos > buf->size / 2) {
        memmove(buf->data, buf->data + buf->pos, buf->len - buf->pos);
        buf->len -= buf->pos;
        buf->pos = 0;

        if (n <= buf->size - buf->len) {
            return 0;
        }
    }

    size = buf->size == 0 ? 4096 : buf->size * 2;

    while (size - buf->len < n) {
        size *= 2;
    }

    data = realloc(buf->data, size);
    if (data == NULL) {
        return -1;
    }

    buf->data = data;
    buf->size = size;

    return 0;
}


static char *
sv_redis_resp_number(char *p, char type, size_t n)
{
    char   digits[20];
    int    i;

    i = 0;

    do {
        digits[i++] = (char) ('0' + n % 10);
        n /= 10;
    } while (n != 0);

    *p++ = type;

    while (i > 0) {
        *p++ = digits[--i];
    }

    *p++ = '\r';
    *p++ = '\n';

    return p;
}
