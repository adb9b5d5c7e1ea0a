#include "sv_json.h"
#include "../gs1/sv_gs1.h"


static void sv_json_bytes(sv_json_t *json, const char *bytes, size_t len);
static void sv_json_key(sv_json_t *json, const char *key);
static void sv_json_string(sv_json_t *json, sv_span_t value);
static size_t sv_json_utf8(sv_span_t rest);
static char *sv_json_two(char *p, unsigned value);


/* What needs no escape: not controls, nor what could end a script or a tag where somebody pastes this into a page. */
static const uint8_t  sv_json_plain[256] = {
    [' '] = 1, ['!'] = 1, ['#' ... '%'] = 1, ['\'' ... ';'] = 1, ['='] = 1, ['?' ... '['] = 1,
    [']' ... '~'] = 1,
};


void
sv_json_init(sv_json_t *json, char *buf, size_t cap)
{
    json->start = buf;
    json->pos = buf;
    json->end = buf + cap;
    json->overflow = 0;
    json->comma = 0;
}


void
sv_json_object(sv_json_t *json, const char *key)
{
    sv_json_key(json, key);
    sv_json_bytes(json, "{", 1);
    json->comma = 0;
}


void
sv_json_object_end(sv_json_t *json)
{
    sv_json_bytes(json, "}", 1);
    json->comma = 1;
}


void
sv_json_array(sv_json_t *json, const char *key)
{
    sv_json_key(json, key);
    sv_json_bytes(json, "[", 1);
    json->comma = 0;
}


void
sv_json_array_end(sv_json_t *json)
{
    sv_json_bytes(json, "]", 1);
    json->comma = 1;
}


void
sv_json_span(sv_json_t *json, const char *key, sv_span_t value)
{
    sv_json_key(json, key);
    sv_json_string(json, value);
}


void
sv_json_text(sv_json_t *json, const char *key, const char *value)
{
    if (value != NULL) {
        sv_json_span(json, key, (sv_span_t) {(const uint8_t *) value, strlen(value)});
    }
}


void
sv_json_raw(sv_json_t *json, const char *key, sv_span_t value)
{
    sv_json_key(json, key);
    sv_json_bytes(json, (const char *) value.data, value.len);
    json->comma = 1;
}


void
sv_json_number(sv_json_t *json, const char *key, int64_t value)
{
    char      digits[20], *p;
    uint64_t  n;

    sv_json_key(json, key);

    p = digits + sizeof(digits);
    n = value < 0 ? 0 - (uint64_t) value : (uint64_t) value;

    do {
        *--p = (char) ('0' + n % 10);
        n /= 10;
    } while (n != 0);

    if (value < 0) {
        *--p = '-';
    }

    sv_json_bytes(json, p, (size_t) (digits + sizeof(digits) - p));
}


void
sv_json_bool(sv_json_t *json, const char *key, int value)
{
    sv_json_key(json, key);

    if (value) {
        sv_json_bytes(json, "true", 4);

    } else {
        sv_json_bytes(json, "false", 5);
    }
}


void
sv_json_time(sv_json_t *json, const char *key, int64_t ms)
{
    char     text[24], *p;
    int64_t  day, rest;

    day = ms / 86400000;
    rest = ms % 86400000;

    if (rest < 0) {
        rest += 86400000;
        day--;
    }

    sv_day_print((sv_day_t) day, text);

    /* a client's offset can lead out of the years that RFC 3339 writes */
    if (text[0] == '\0') {
        return;
    }

    p = text + SV_DAY_TEXT - 1;
    *p++ = 'T';
    p = sv_json_two(p, (unsigned) (rest / 3600000));
    *p++ = ':';
    p = sv_json_two(p, (unsigned) (rest / 60000 % 60));
    *p++ = ':';
    p = sv_json_two(p, (unsigned) (rest / 1000 % 60));
    *p++ = '.';
    *p++ = (char) ('0' + rest / 100 % 10);
    p = sv_json_two(p, (unsigned) (rest % 100));
    *p++ = 'Z';

    sv_json_key(json, key);
    sv_json_string(json, (sv_span_t) {(uint8_t *) text, (size_t) (p - text)});
}


int
sv_json_done(sv_json_t *json)
{
    return json->overflow ? -1 : (int) (json->pos - json->start);
}


static void
sv_json_bytes(sv_json_t *json, const char *bytes, size_t len)
{
    if ((size_t) (json->end - json->pos) < len) {
        json->overflow = 1;
        return;
    }

    memcpy(json->pos, bytes, len);
    json->pos += len;
}


static void
sv_json_key(sv_json_t *json, const char *key)
{
    if (json->comma) {
        sv_json_bytes(json, ",", 1);
    }

    json->comma = 1;

    if (key != NULL) {
        sv_json_bytes(json, "\"", 1);
        sv_json_bytes(json, key, strlen(key));
        sv_json_bytes(json, "\":", 2);
    }
}


/* Bytes that are not UTF-8 become U+FFFD: the document stays valid, whatever a client sent. */
static void
sv_json_string(sv_json_t *json, sv_span_t value)
{
    char     escape[6];
    size_t   i, n;
    uint8_t  c;

    sv_json_bytes(json, "\"", 1);

    for (i = 0; i < value.len; i += n) {

        for (n = 0; i + n < value.len && sv_json_plain[value.data[i + n]]; n++) {
            /* void */
        }

        if (n != 0) {
            sv_json_bytes(json, (const char *) value.data + i, n);
            continue;
        }

        n = 1;
        c = value.data[i];

        if (c == '"' || c == '\\') {
            escape[0] = '\\';
            escape[1] = (char) c;
            sv_json_bytes(json, escape, 2);

        } else if (c < 0x80) {
            memcpy(escape, "\\u00", 4);
            escape[4] = "0123456789abcdef"[c >> 4];
            escape[5] = "0123456789abcdef"[c & 15];
            sv_json_bytes(json, escape, 6);

        } else {
            n = sv_json_utf8((sv_span_t) {value.data + i, value.len - i});

            if (n == 0) {
                n = 1;
                sv_json_bytes(json, "\xef\xbf\xbd", 3);

            } else {
                sv_json_bytes(json, (const char *) value.data + i, n);
            }
        }
    }

    sv_json_bytes(json, "\"", 1);
}


/* the length of the character at the start, 0: not UTF-8 (RFC 3629: shortest form, no surrogates) */
static size_t
sv_json_utf8(sv_span_t rest)
{
    size_t    n, i;
    uint32_t  code;

    if (rest.data[0] >= 0xc2 && rest.data[0] <= 0xdf) {
        n = 2;
        code = rest.data[0] & 0x1f;

    } else if ((rest.data[0] & 0xf0) == 0xe0) {
        n = 3;
        code = rest.data[0] & 0x0f;

    } else if (rest.data[0] >= 0xf0 && rest.data[0] <= 0xf4) {
        n = 4;
        code = rest.data[0] & 0x07;

    } else {
        return 0;
    }

    if (rest.len < n) {
        return 0;
    }

    for (i = 1; i < n; i++) {
        if ((rest.data[i] & 0xc0) != 0x80) {
            return 0;
        }

        code = (code << 6) | (rest.data[i] & 0x3f);
    }

    if ((n == 3 && code < 0x800) || (n == 4 && (code < 0x10000 || code > 0x10ffff))
        || (code >= 0xd800 && code <= 0xdfff))
    {
        return 0;
    }

    return n;
}


static char *
sv_json_two(char *p, unsigned value)
{
    *p++ = (char) ('0' + value / 10 % 10);
    *p++ = (char) ('0' + value % 10);

    return p;
}
