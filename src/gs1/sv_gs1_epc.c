/*
 * EPC to GS1 keys and back: URNs (EPC Tag Data Standard 6), and the 96 bit
 * binary forms of SGTIN and SSCC as the last segment of a Digital Link.
 */

#include "sv_gs1_core.h"
#include "sv_gs1_text.h"


#define SV_PREFIX_LEAST   6
#define SV_PREFIX_MOST    12
#define SV_PARTITIONS     7
#define SV_KEY_MOST       18

#define SV_EPC_BYTES      12
#define SV_EPC_HEX        (2 * SV_EPC_BYTES)
#define SV_EPC_BASE64     16
#define SV_HEADER_SGTIN   0x30
#define SV_HEADER_SSCC    0x31
#define SV_SERIAL_BITS    38
#define SV_SERIAL_DIGITS  12

typedef enum {
    URN_SGTIN,
    URN_SGTIN_CLASS,
    URN_LGTIN,
    URN_SSCC,
    URN_SGLN
} sv_urn_kind_t;

typedef struct {
    const char     *name;
    sv_urn_kind_t   kind;
    uint16_t        key;
    uint16_t        extra;          /* the AI of the third field, 0: none */
    uint8_t         digits;         /* of company prefix and reference together */
} sv_urn_t;

static const sv_urn_t  sv_urns[] = {
    {"id:sgtin:",    URN_SGTIN,       1,   21,  13},
    {"idpat:sgtin:", URN_SGTIN_CLASS, 1,   0,   13},
    {"class:lgtin:", URN_LGTIN,       1,   10,  13},
    {"id:sscc:",     URN_SSCC,        0,   0,   17},
    {"id:sgln:",     URN_SGLN,        414, 254, 12}
};

static const char  sv_urn_scheme[] = "urn:epc:";


static sv_gs1_error_t sv_gs1_urn(sv_gs1_reader_t *reader);
static const sv_urn_t *sv_urn_kind(const uint8_t *p, const uint8_t *end);
static const uint8_t *sv_urn_digits(const uint8_t *p, const uint8_t *end);
static sv_gs1_error_t sv_urn_extra(sv_gs1_reader_t *reader,
    const sv_urn_t *urn, const uint8_t *p, const uint8_t *end);
static sv_gs1_error_t sv_urn_decode(sv_gs1_reader_t *reader,
    const uint8_t *p, const uint8_t *end, sv_span_t *value);
static sv_gs1_error_t sv_epc_key(sv_gs1_reader_t *reader, unsigned number,
    sv_span_t prefix, sv_span_t reference, const uint8_t *at);
static const sv_urn_t *sv_urn_for(const sv_gs1_data_t *data,
    const sv_span_t **key, const sv_span_t **extra);
static int sv_urn_escaped(uint8_t c);
static int sv_epc_unhex(sv_span_t text, uint8_t *out);
static int sv_epc_unbase64(sv_span_t text, uint8_t *out);
static uint64_t sv_epc_bits(const uint8_t *bytes, unsigned from, unsigned n);
static sv_gs1_error_t sv_epc_binary(sv_gs1_reader_t *reader,
    const uint8_t *bytes, const uint8_t *at);
static int sv_epc_decimal(uint64_t value, uint8_t *out, unsigned digits);


sv_gs1_error_t
sv_gs1_urn_parse(sv_span_t urn, unsigned flags, uint8_t *buf,
    sv_gs1_data_t *data, size_t *offset)
{
    sv_gs1_error_t   error;
    sv_gs1_reader_t  reader;

    error = sv_gs1_begin(&reader, urn, flags, buf, data);

    if (error == SV_GS1_OK) {
        error = sv_gs1_urn(&reader);
    }

    return sv_gs1_end(&reader, error, offset);
}


static sv_gs1_error_t
sv_gs1_urn(sv_gs1_reader_t *reader)
{
    size_t           i;
    sv_span_t        prefix, reference;
    const uint8_t   *p, *end, *start;
    sv_gs1_error_t   error;
    const sv_urn_t  *urn;

    p = reader->input.data;
    end = p + reader->input.len;

    for (i = 0; sv_urn_scheme[i]; i++, p++) {
        if (p == end || (*p != sv_urn_scheme[i]
                         && *p != (sv_urn_scheme[i] & ~0x20)))
        {
            return sv_gs1_fail(reader, SV_GS1_ERR_URN, p);
        }
    }

    urn = sv_urn_kind(p, end);

    if (urn == NULL) {
        return sv_gs1_fail(reader, SV_GS1_ERR_URN_SCHEME, p);
    }

    start = p + strlen(urn->name);
    p = sv_urn_digits(start, end);
    prefix = (sv_span_t) {start, p - start};

    if (prefix.len < SV_PREFIX_LEAST || prefix.len > SV_PREFIX_MOST || p == end
        || *p != '.')
    {
        return sv_gs1_fail(reader, SV_GS1_ERR_URN, p);
    }

    start = p + 1;
    p = sv_urn_digits(start, end);
    reference = (sv_span_t) {start, p - start};

    if (prefix.len + reference.len != urn->digits) {
        return sv_gs1_fail(reader, SV_GS1_ERR_URN, p);
    }

    error = sv_epc_key(reader, urn->key, prefix, reference, prefix.data);

    if (error == SV_GS1_OK) {
        error = sv_urn_extra(reader, urn, p, end);
    }

    return error ? error : sv_gs1_company(reader);
}


static const sv_urn_t *
sv_urn_kind(const uint8_t *p, const uint8_t *end)
{
    size_t  i, len;

    for (i = 0; i < sizeof(sv_urns) / sizeof(sv_urns[0]); i++) {
        len = strlen(sv_urns[i].name);

        if ((size_t) (end - p) >= len && memcmp(p, sv_urns[i].name, len) == 0) {
            return &sv_urns[i];
        }
    }

    return NULL;
}


static const uint8_t *
sv_urn_digits(const uint8_t *p, const uint8_t *end)
{
    while (p < end && (sv_gs1_class[*p] & SV_GS1_N)) {
        p++;
    }

    return p;
}


/* what follows the second field: nothing, ".*", or the serial, lot or extension */
static sv_gs1_error_t
sv_urn_extra(sv_gs1_reader_t *reader, const sv_urn_t *urn, const uint8_t *p,
    const uint8_t *end)
{
    size_t              at;
    sv_span_t           value;
    sv_gs1_error_t      error;
    const sv_gs1_ai_t  *ai;

    if (urn->kind == URN_SSCC) {
        return (p == end) ? SV_GS1_OK
                          : sv_gs1_fail(reader, SV_GS1_ERR_URN, p);
    }

    if (p == end || *p != '.') {
        return sv_gs1_fail(reader, SV_GS1_ERR_URN, p);
    }

    p++;

    if (urn->kind == URN_SGTIN_CLASS) {
        return (end - p == 1 && *p == '*')
               ? SV_GS1_OK : sv_gs1_fail(reader, SV_GS1_ERR_URN, p);
    }

    error = sv_urn_decode(reader, p, end, &value);

    if (error) {
        return error;
    }

    /* a location without extension is written with extension 0 */

    if (urn->kind == URN_SGLN && sv_span_eq(value, sv_span("0"))) {
        return SV_GS1_OK;
    }

    ai = sv_gs1_ai_number(urn->extra);
    error = sv_gs1_value(ai, value, &at);

    return error ? sv_gs1_fail(reader, error, p)
                 : sv_gs1_add(reader, ai, value, p, 0);
}


static sv_gs1_error_t
sv_urn_decode(sv_gs1_reader_t *reader, const uint8_t *p, const uint8_t *end,
    sv_span_t *value)
{
    int       high, low;
    uint8_t  *out;

    out = reader->buf + reader->used;
    value->data = out;

    for ( /* void */ ; p < end; p++) {

        if (*p == '%') {
            high = (end - p > 2) ? sv_gs1_hex(p[1]) : -1;
            low = (end - p > 2) ? sv_gs1_hex(p[2]) : -1;

            if (high < 0 || low < 0) {
                return sv_gs1_fail(reader, SV_GS1_ERR_BAD_ESCAPE, p);
            }

            *out++ = high << 4 | low;
            p += 2;

        } else if (sv_urn_escaped(*p)) {
            return sv_gs1_fail(reader, SV_GS1_ERR_BAD_CHARACTER, p);

        } else {
            *out++ = *p;
        }

        if (out - value->data > UINT8_MAX) {
            return sv_gs1_fail(reader, SV_GS1_ERR_VALUE_LONG, p);
        }
    }

    value->len = out - value->data;
    reader->used += value->len;

    return SV_GS1_OK;
}


/*
 * The first digit of the reference goes in front of the company prefix (but
 * for locations), the rest behind it, and the check digit ends the key.
 */
static sv_gs1_error_t
sv_epc_key(sv_gs1_reader_t *reader, unsigned number, sv_span_t prefix,
    sv_span_t reference, const uint8_t *at)
{
    size_t     len;
    uint8_t   *out;
    sv_span_t  value;

    out = reader->buf + reader->used;
    len = 0;

    if (number != 414) {
        out[len++] = *reference.data++;
        reference.len--;
    }

    memcpy(out + len, prefix.data, prefix.len);
    len += prefix.len;

    if (reference.len) {
        memcpy(out + len, reference.data, reference.len);
        len += reference.len;
    }

    out[len] = sv_gs1_check_digit(out, len);
    len++;

    value = (sv_span_t) {out, len};
    reader->used += len;
    reader->data->n_path = 1;

    return sv_gs1_add(reader, sv_gs1_ai_number(number), value, at, 0);
}


int
sv_gs1_urn_print(const sv_gs1_data_t *data, unsigned prefix_len, char *out,
    size_t cap)
{
    size_t            i;
    sv_text_t         text;
    const uint8_t    *p;
    const sv_urn_t   *urn;
    const sv_span_t  *key, *extra;

    urn = sv_urn_for(data, &key, &extra);

    if (urn == NULL || prefix_len < SV_PREFIX_LEAST
        || prefix_len > SV_PREFIX_MOST
        || (urn->kind == URN_SGLN && extra && sv_span_eq(*extra, sv_span("0"))))
    {
        return -1;
    }

    sv_text_begin(&text, out, cap);
    sv_text_string(&text, sv_urn_scheme);
    sv_text_string(&text, urn->name);

    p = key->data + (urn->kind != URN_SGLN);
    sv_text_bytes(&text, p, prefix_len);
    sv_text_char(&text, '.');

    if (urn->kind != URN_SGLN) {
        sv_text_char(&text, key->data[0]);
    }

    p += prefix_len;
    sv_text_bytes(&text, p, key->data + key->len - 1 - p);

    if (urn->kind == URN_SSCC) {
        return sv_text_end(&text);
    }

    sv_text_char(&text, '.');

    if (extra == NULL) {
        sv_text_char(&text, urn->kind == URN_SGLN ? '0' : '*');
        return sv_text_end(&text);
    }

    for (i = 0; i < extra->len; i++) {
        if (sv_urn_escaped(extra->data[i])) {
            sv_text_escape(&text, extra->data[i]);
        } else {
            sv_text_char(&text, extra->data[i]);
        }
    }

    return sv_text_end(&text);
}


static const sv_urn_t *
sv_urn_for(const sv_gs1_data_t *data, const sv_span_t **key,
    const sv_span_t **extra)
{
    size_t           i;
    const sv_urn_t  *urn;

    static const sv_urn_kind_t  wanted[] = {
        URN_SGTIN, URN_LGTIN, URN_SGTIN_CLASS, URN_SSCC, URN_SGLN
    };

    for (i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {

        for (urn = sv_urns; urn->kind != wanted[i]; urn++) { /* void */ }

        *key = sv_gs1_get(data, urn->key);
        *extra = urn->extra ? sv_gs1_get(data, urn->extra) : NULL;

        if (*key && (*extra || urn->extra == 0 || urn->kind == URN_SGLN)) {
            return urn;
        }
    }

    return NULL;
}


/* the characters of set 82 that a URN may not hold as they are */
static int
sv_urn_escaped(uint8_t c)
{
    return c <= ' ' || c >= 0x7f || strchr("\"%&/<>?#", c) != NULL;
}


sv_gs1_error_t
sv_gs1_epc_segment(sv_gs1_reader_t *reader, sv_span_t segment)
{
    uint8_t    bytes[SV_EPC_BYTES];
    sv_span_t  text;

    if (segment.len < 2 || segment.data[0] != 'e') {
        return SV_GS1_ERR_NOT_A_LINK;
    }

    text = (sv_span_t) {segment.data + 2, segment.len - 2};

    switch (segment.data[1]) {

    case 'h':
        if (sv_epc_unhex(text, NULL) != 0) {
            return SV_GS1_ERR_NOT_A_LINK;
        }

        if (text.len != SV_EPC_HEX) {
            return sv_gs1_fail(reader, SV_GS1_ERR_EPC_SCHEME, segment.data);
        }

        (void) sv_epc_unhex(text, bytes);
        break;

    case 'x':

        /* "exports" may be anybody's page: only what begins as an EPC does is one */

        if (text.len != SV_EPC_BASE64 || sv_epc_unbase64(text, bytes) != 0
            || (bytes[0] != SV_HEADER_SGTIN && bytes[0] != SV_HEADER_SSCC))
        {
            return SV_GS1_ERR_NOT_A_LINK;
        }

        break;

    default:
        return SV_GS1_ERR_NOT_A_LINK;
    }

    return sv_epc_binary(reader, bytes, segment.data);
}


/* lower-case digits only, whole bytes; 0: it is so */
static int
sv_epc_unhex(sv_span_t text, uint8_t *out)
{
    size_t  i;

    if (text.len < SV_EPC_BASE64 || text.len % 2) {
        return -1;
    }

    for (i = 0; i < text.len; i++) {

        if (sv_gs1_hex(text.data[i]) < 0
            || (text.data[i] >= 'A' && text.data[i] <= 'F'))
        {
            return -1;
        }

        if (out && i % 2) {
            out[i / 2] = sv_gs1_hex(text.data[i - 1]) << 4
                         | sv_gs1_hex(text.data[i]);
        }
    }

    return 0;
}


static int
sv_epc_unbase64(sv_span_t text, uint8_t *out)
{
    size_t       i;
    uint32_t     bits;
    const char  *place;

    static const char  alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    bits = 0;

    for (i = 0; i < text.len; i++) {
        place = text.data[i] ? strchr(alphabet, text.data[i]) : NULL;

        if (place == NULL) {
            return -1;
        }

        bits = bits << 6 | (uint32_t) (place - alphabet);

        if (i % 4 == 3) {
            *out++ = bits >> 16;
            *out++ = bits >> 8;
            *out++ = bits;
        }
    }

    return 0;
}


static uint64_t
sv_epc_bits(const uint8_t *bytes, unsigned from, unsigned n)
{
    uint64_t  value;

    value = 0;

    for ( /* void */ ; n > 0; n--, from++) {
        value = value << 1 | (bytes[from / 8] >> (7 - from % 8) & 1);
    }

    return value;
}


static sv_gs1_error_t
sv_epc_binary(sv_gs1_reader_t *reader, const uint8_t *bytes,
    const uint8_t *at)
{
    int             sscc;
    uint8_t        *out, prefix[SV_KEY_MOST], reference[SV_KEY_MOST];
    uint64_t        number;
    unsigned        partition, bits, all_bits, digits, all_digits;
    sv_span_t       serial;
    sv_gs1_error_t  error;

    static const uint8_t  prefix_bits[SV_PARTITIONS] = {
        40, 37, 34, 30, 27, 24, 20
    };

    if (bytes[0] != SV_HEADER_SGTIN && bytes[0] != SV_HEADER_SSCC) {
        return sv_gs1_fail(reader, SV_GS1_ERR_EPC_SCHEME, at);
    }

    sscc = (bytes[0] == SV_HEADER_SSCC);
    all_bits = sscc ? 58 : 44;
    all_digits = sscc ? 17 : 13;

    partition = sv_epc_bits(bytes, 11, 3);

    if (partition >= SV_PARTITIONS) {
        return sv_gs1_fail(reader, SV_GS1_ERR_EPC, at);
    }

    bits = prefix_bits[partition];
    digits = SV_PREFIX_MOST - partition;

    if (sv_epc_decimal(sv_epc_bits(bytes, 14, bits), prefix, digits) != 0
        || sv_epc_decimal(sv_epc_bits(bytes, 14 + bits, all_bits - bits),
                          reference, all_digits - digits) != 0
        || (sscc && sv_epc_bits(bytes, 72, 24) != 0))
    {
        return sv_gs1_fail(reader, SV_GS1_ERR_EPC, at);
    }

    error = sv_epc_key(reader, sscc ? 0 : 1, (sv_span_t) {prefix, digits},
                       (sv_span_t) {reference, all_digits - digits}, at);

    if (error || sscc) {
        return error;
    }

    out = reader->buf + reader->used;
    number = sv_epc_bits(bytes, 58, SV_SERIAL_BITS);
    (void) sv_epc_decimal(number, out, SV_SERIAL_DIGITS);
    serial = (sv_span_t) {out, SV_SERIAL_DIGITS};

    while (serial.len > 1 && serial.data[0] == '0') {
        serial.data++;
        serial.len--;
    }

    reader->used += SV_SERIAL_DIGITS;
    reader->data->n_path = 2;

    return sv_gs1_add(reader, sv_gs1_ai_number(21), serial, at, 0);
}


/* -1: the number has more digits */
static int
sv_epc_decimal(uint64_t value, uint8_t *out, unsigned digits)
{
    while (digits > 0) {
        out[--digits] = '0' + value % 10;
        value /= 10;
    }

    return value ? -1 : 0;
}
