#include "svw_copy.h"

#include <string.h>


#define SVW_DAY_MS  86400000


static char *svw_copy_digits(char *p, unsigned n, unsigned digits);


char *
svw_copy_number(char *p, uint64_t n)
{
    char    digits[20];
    size_t  i;

    i = sizeof(digits);

    do {
        digits[--i] = (char) ('0' + n % 10);
        n /= 10;
    } while (n != 0);

    memcpy(p, digits + i, sizeof(digits) - i);

    return p + (sizeof(digits) - i);
}


char *
svw_copy_time(char *p, int64_t ms)
{
    int64_t   day, rest;

    if (ms == SVW_NO_TIME) {
        return svw_copy_null(p);
    }

    day = ms / SVW_DAY_MS;
    rest = ms % SVW_DAY_MS;

    if (rest < 0) {
        day--;
        rest += SVW_DAY_MS;
    }

    p = svw_copy_day(p, (sv_day_t) day);
    *p++ = ' ';
    p = svw_copy_digits(p, (unsigned) (rest / 3600000), 2);
    *p++ = ':';
    p = svw_copy_digits(p, (unsigned) (rest / 60000 % 60), 2);
    *p++ = ':';
    p = svw_copy_digits(p, (unsigned) (rest / 1000 % 60), 2);
    *p++ = '.';
    p = svw_copy_digits(p, (unsigned) (rest % 1000), 3);
    *p++ = 'Z';

    return p;
}


char *
svw_copy_day(char *p, sv_day_t day)
{
    sv_day_print(day, p);

    return p + strlen(p);
}


/* bytea: the backslash is doubled */
char *
svw_copy_digest(char *p, const uint8_t *digest)
{
    size_t  i;

    *p++ = '\\';
    *p++ = '\\';
    *p++ = 'x';

    for (i = 0; i < SVW_DIGEST; i++) {
        *p++ = "0123456789abcdef"[digest[i] >> 4];
        *p++ = "0123456789abcdef"[digest[i] & 15];
    }

    return p;
}


char *
svw_copy_null(char *p)
{
    *p++ = '\\';
    *p++ = 'N';

    return p;
}


char *
svw_copy_key(char *p, sv_span_t text)
{
    memcpy(p, text.data, text.len);

    return p + text.len;
}


char *
svw_copy_text(char *p, sv_span_t text)
{
    size_t   i, n;
    uint8_t  c;

    for (i = 0; i < text.len; i += n) {
        c = text.data[i];
        n = 1;

        if (c == '\\' || c == '\t' || c == '\n' || c == '\r') {
            *p++ = '\\';
            *p++ = c == '\t' ? 't' : c == '\n' ? 'n' : c == '\r' ? 'r' : '\\';

        } else if (c != 0 && c < 0x80) {
            *p++ = (char) c;

        } else {
            n = svw_utf8((sv_span_t) { text.data + i, text.len - i });

            if (n == 0) {
                *p++ = '?';
                n = 1;
                continue;
            }

            memcpy(p, text.data + i, n);
            p += n;
        }
    }

    return p;
}


char *
svw_copy_some(char *p, sv_span_t text)
{
    return text.len != 0 ? svw_copy_text(p, text) : svw_copy_null(p);
}


/* RFC 3629: shortest form, no surrogates */
size_t
svw_utf8(sv_span_t text)
{
    size_t          i, n;
    const uint8_t  *p;

    p = text.data;

    if (p[0] < 0x80) {
        return p[0] != 0;
    }

    n = p[0] >= 0xc2 && p[0] <= 0xdf ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4 : 0;

    if (n == 0 || n > text.len
        || (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f)
        || (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
    {
        return 0;
    }

    for (i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }

    return n;
}


static char *
svw_copy_digits(char *p, unsigned n, unsigned digits)
{
    unsigned  i;

    for (i = digits; i > 0; i--) {
        p[i - 1] = (char) ('0' + n % 10);
        n /= 10;
    }

    return p + digits;
}
