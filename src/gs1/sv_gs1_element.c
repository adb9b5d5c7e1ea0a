#include "sv_gs1_core.h"


#define SV_GS   0x1d        /* the group separator that stands for FNC1 */

#define SV_LOST_MOST  64    /* a value that long has swallowed more than a serial, a lot and an expiry */

#define SV_EAN13  13
#define SV_EAN8   8

typedef enum {
    SYMBOL_ELEMENTS,
    SYMBOL_LINK,
    SYMBOL_EAN13,
    SYMBOL_EAN8,
    SYMBOL_OTHER
} sv_symbol_t;


static sv_symbol_t sv_gs1_symbol(const uint8_t id[2]);
static sv_gs1_error_t sv_gs1_scan(sv_gs1_reader_t *reader);
static sv_gs1_error_t sv_gs1_elements(sv_gs1_reader_t *reader,
    sv_span_t text);
static sv_gs1_error_t sv_gs1_ean(sv_gs1_reader_t *reader, sv_span_t digits,
    size_t len);
static int sv_gs1_reads_as_missing(const uint8_t *p, size_t len,
    unsigned missing);


sv_gs1_error_t
sv_gs1_scan_parse(sv_span_t scan, unsigned flags, uint8_t *buf,
    sv_gs1_data_t *data, size_t *offset)
{
    sv_gs1_error_t   error;
    sv_gs1_reader_t  reader;

    error = sv_gs1_begin(&reader, scan, flags, buf, data);

    if (error == SV_GS1_OK) {
        error = sv_gs1_scan(&reader);
    }

    return sv_gs1_end(&reader, error, offset);
}


static sv_gs1_error_t
sv_gs1_scan(sv_gs1_reader_t *reader)
{
    sv_span_t  text;

    text = reader->input;

    if (text.len < 3 || text.data[0] != ']') {
        return sv_gs1_fail(reader, SV_GS1_ERR_SYMBOLOGY, text.data);
    }

    text.data += 3;
    text.len -= 3;

    switch (sv_gs1_symbol(reader->input.data + 1)) {

    case SYMBOL_ELEMENTS:
        return sv_gs1_elements(reader, text);

    case SYMBOL_LINK:
        if (text.len >= 4 && (memcmp(text.data, "http", 4) == 0
                              || memcmp(text.data, "HTTP", 4) == 0))
        {
            return sv_gs1_uri(reader, text);
        }

        return sv_gs1_fail(reader, SV_GS1_ERR_NOT_GS1, text.data);

    case SYMBOL_EAN13:
        return sv_gs1_ean(reader, text, SV_EAN13);

    case SYMBOL_EAN8:
        return sv_gs1_ean(reader, text, SV_EAN8);

    default:
        return sv_gs1_fail(reader, SV_GS1_ERR_NOT_GS1, reader->input.data);
    }
}


/* ISO/IEC 15424: the letter and the modifier after "]" */
static sv_symbol_t
sv_gs1_symbol(const uint8_t id[2])
{
    size_t  i;

    static const struct {
        char         id[3];
        sv_symbol_t  symbol;
    } symbols[] = {
        {"d2", SYMBOL_ELEMENTS},        /* GS1 DataMatrix */
        {"Q3", SYMBOL_ELEMENTS},        /* GS1 QR Code */
        {"C1", SYMBOL_ELEMENTS},        /* GS1-128 */
        {"e0", SYMBOL_ELEMENTS},        /* GS1 DataBar, composite */
        {"J1", SYMBOL_ELEMENTS},        /* GS1 DotCode */
        {"d1", SYMBOL_LINK},            /* Data Matrix */
        {"Q1", SYMBOL_LINK},            /* QR Code */
        {"J0", SYMBOL_LINK},            /* DotCode */
        {"E0", SYMBOL_EAN13},           /* EAN-13, UPC-A, UPC-E */
        {"E4", SYMBOL_EAN8}
    };

    for (i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
        if (memcmp(symbols[i].id, id, 2) == 0) {
            return symbols[i].symbol;
        }
    }

    return SYMBOL_OTHER;
}


static sv_gs1_error_t
sv_gs1_elements(sv_gs1_reader_t *reader, sv_span_t text)
{
    size_t              len, at;
    sv_span_t           value;
    const uint8_t      *p, *end, *start, *separator;
    sv_gs1_error_t      error;
    const sv_gs1_ai_t  *ai;

    p = text.data;
    end = p + text.len;

    /* real scanners pass the FNC1 on that only marks the symbol as GS1 */

    if (p < end && *p == SV_GS) {
        p++;
    }

    if (p == end) {
        return sv_gs1_fail(reader, SV_GS1_ERR_NOT_A_LINK, p);
    }

    while (p < end) {
        start = p;
        ai = sv_gs1_ai_prefix(p, end - p);

        if (ai == NULL) {
            return sv_gs1_fail(reader, *p == SV_GS ? SV_GS1_ERR_SEPARATOR
                                                   : SV_GS1_ERR_UNKNOWN_AI, p);
        }

        p += ai->digits;
        len = end - p;

        if (ai->flags & SV_GS1_FIXED && len > sv_gs1_formats[ai->format].max) {
            len = sv_gs1_formats[ai->format].max;
        }

        separator = memchr(p, SV_GS, len);
        value = (sv_span_t) {p, separator ? (size_t) (separator - p) : len};
        p += value.len;

        if (p < end && *p == SV_GS) {
            p++;
        }

        /* before its check, so that sv_gs1_separator_lost() can look at it */

        error = sv_gs1_add(reader, ai, value, start, 1);

        if (error) {
            return error;
        }

        error = sv_gs1_value(ai, value, &at);

        if (sv_unlikely(error)) {
            return sv_gs1_fail(reader, error, value.data + at);
        }
    }

    return sv_gs1_company(reader);
}


static sv_gs1_error_t
sv_gs1_ean(sv_gs1_reader_t *reader, sv_span_t digits, size_t len)
{
    size_t              at, padding;
    sv_span_t           value;
    sv_gs1_error_t      error;
    const sv_gs1_ai_t  *ai;

    if (digits.len != len) {
        return digits.len < len
               ? sv_gs1_fail(reader, SV_GS1_ERR_VALUE_SHORT,
                             digits.data + digits.len)
               : sv_gs1_fail(reader, SV_GS1_ERR_VALUE_LONG,
                             digits.data + len);
    }

    ai = sv_gs1_ai_number(1);
    padding = sv_gs1_formats[ai->format].max - len;

    memset(reader->buf, '0', padding);
    memcpy(reader->buf + padding, digits.data, len);
    value = (sv_span_t) {reader->buf, padding + len};
    reader->used = value.len;

    error = sv_gs1_value(ai, value, &at);

    return error ? sv_gs1_fail(reader, error, digits.data + at - padding)
                 : sv_gs1_add(reader, ai, value, digits.data, 0);
}


int
sv_gs1_separator_lost(const sv_gs1_data_t *data, unsigned *ai)
{
    size_t                   at;
    unsigned                 i, missing;
    const sv_gs1_element_t  *element;

    missing = (sv_gs1_get(data, 10) ? 0 : 1) | (sv_gs1_get(data, 17) ? 0 : 2)
              | (sv_gs1_get(data, 21) ? 0 : 4);

    if (missing == 0) {
        return 0;
    }

    for (i = 0; i < data->n; i++) {
        element = &data->element[i];

        if (element->ai->flags & SV_GS1_FIXED
            || element->value.len > SV_LOST_MOST)
        {
            continue;
        }

        for (at = 1; at < element->value.len; at++) {
            if (sv_gs1_reads_as_missing(element->value.data + at,
                                        element->value.len - at, missing))
            {
                if (ai) {
                    *ai = element->ai->number;
                }

                return 1;
            }
        }
    }

    return 0;
}


/* all the missing ones of 10 (1), 17 (2) and 21 (4), one after the other, to the end */
static int
sv_gs1_reads_as_missing(const uint8_t *p, size_t len, unsigned missing)
{
    size_t              at, fault;
    unsigned            bit, rest;
    const sv_gs1_ai_t  *ai;

    ai = sv_gs1_ai_prefix(p, len);

    if (ai == NULL) {
        return 0;
    }

    bit = (ai->number == 10) ? 1 : (ai->number == 17) ? 2
          : (ai->number == 21) ? 4 : 0;
    rest = missing & ~bit;

    if (rest == missing) {
        return 0;
    }

    p += ai->digits;
    len -= ai->digits;

    if (bit == 2) {
        return len >= 6
               && sv_gs1_value(ai, (sv_span_t) {p, 6}, &fault) == SV_GS1_OK
               && (rest ? sv_gs1_reads_as_missing(p + 6, len - 6, rest)
                        : len == 6);
    }

    if (rest == 0) {
        return len > 0 && len <= sv_gs1_formats[ai->format].max;
    }

    for (at = 1; at < len; at++) {
        if (sv_gs1_reads_as_missing(p + at, len - at, rest)) {
            return 1;
        }
    }

    return 0;
}
