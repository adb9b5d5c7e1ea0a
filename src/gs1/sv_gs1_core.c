#include "sv_gs1_core.h"


static sv_gs1_error_t sv_gs1_value_parts(const sv_gs1_format_t *format,
    sv_span_t value, size_t *at);
static sv_gs1_error_t sv_gs1_rule(const sv_gs1_reader_t *reader, unsigned i);
static int sv_gs1_family_twice(const sv_gs1_data_t *data, unsigned i);
static int sv_gs1_serial_lacking(const sv_gs1_data_t *data);


static const char *const  sv_gs1_codes[SV_GS1_ERR_MAX] = {
    [SV_GS1_OK] = "ok",
#define SV_GS1_ERROR(symbol, code, text)  [SV_GS1_ERR_##symbol] = code,
#include "sv_gs1_error.def"
#undef SV_GS1_ERROR
};

static const char *const  sv_gs1_texts[SV_GS1_ERR_MAX] = {
    [SV_GS1_OK] = "There is nothing wrong.",
#define SV_GS1_ERROR(symbol, code, text)  [SV_GS1_ERR_##symbol] = text,
#include "sv_gs1_error.def"
#undef SV_GS1_ERROR
};


const char *
sv_gs1_error_code(sv_gs1_error_t error)
{
    return ((unsigned) error < SV_GS1_ERR_MAX) ? sv_gs1_codes[error]
                                               : "unknown_error";
}


const char *
sv_gs1_error_text(sv_gs1_error_t error)
{
    return ((unsigned) error < SV_GS1_ERR_MAX) ? sv_gs1_texts[error]
                                               : "This error is not known.";
}


sv_gs1_error_t
sv_gs1_begin(sv_gs1_reader_t *reader, sv_span_t input, unsigned flags,
    uint8_t *buf, sv_gs1_data_t *data)
{
    reader->input = input;
    reader->data = data;
    reader->buf = buf;
    reader->used = 0;
    reader->flags = flags;
    reader->offset = 0;
    reader->atoms = 0;

    data->n = 0;
    data->n_path = 0;
    data->stem_pairs = 0;
    data->stem.data = input.data;
    data->stem.len = 0;

    if (input.len > SV_GS1_MAX_INPUT) {
        reader->offset = SV_GS1_MAX_INPUT;
        return SV_GS1_ERR_TOO_LONG;
    }

    return SV_GS1_OK;
}


sv_gs1_error_t
sv_gs1_end(sv_gs1_reader_t *reader, sv_gs1_error_t error, size_t *offset)
{
    if (offset) {
        *offset = (error == SV_GS1_OK) ? 0 : reader->offset;
    }

    return error;
}


sv_gs1_error_t
sv_gs1_fail(sv_gs1_reader_t *reader, sv_gs1_error_t error, const uint8_t *at)
{
    reader->offset = at - reader->input.data;

    return error;
}


sv_gs1_error_t
sv_gs1_add(sv_gs1_reader_t *reader, const sv_gs1_ai_t *ai, sv_span_t value,
    const uint8_t *at, int repeat)
{
    unsigned           i;
    sv_gs1_data_t     *data;
    sv_gs1_element_t  *element;

    data = reader->data;

    for (i = 0; i < data->n; i++) {
        if (data->element[i].ai == ai) {

            if (repeat && sv_span_eq(data->element[i].value, value)) {
                return SV_GS1_OK;
            }

            return sv_gs1_fail(reader, SV_GS1_ERR_DUPLICATE, at);
        }
    }

    if (data->n == SV_GS1_MAX_ELEMENTS) {
        return sv_gs1_fail(reader, SV_GS1_ERR_TOO_MANY, at);
    }

    reader->at[data->n] = at - reader->input.data;

    if (ai->atom) {
        reader->atoms |= UINT64_C(1) << (ai->atom - 1);
    }

    element = &data->element[data->n++];
    element->ai = ai;
    element->value = value;

    return SV_GS1_OK;
}


sv_gs1_error_t
sv_gs1_company(sv_gs1_reader_t *reader)
{
    unsigned              i;
    sv_gs1_error_t        error;
    const sv_gs1_data_t  *data;

    data = reader->data;

    for (i = 0; i < data->n; i++) {
        error = data->element[i].ai->rule ? sv_gs1_rule(reader, i)
                                          : SV_GS1_OK;

        if (error == SV_GS1_OK && (data->element[i].ai->flags & SV_GS1_FAMILY)
            && sv_gs1_family_twice(data, i))
        {
            error = SV_GS1_ERR_EXCLUDED;
        }

        if (error == SV_GS1_OK && data->element[i].ai->number == 8030
            && sv_gs1_serial_lacking(data))
        {
            error = SV_GS1_ERR_SERIAL_MISSING;
        }

        if (sv_unlikely(error)) {
            reader->offset = reader->at[i];
            return error;
        }
    }

    return SV_GS1_OK;
}


sv_gs1_error_t
sv_gs1_value(const sv_gs1_ai_t *ai, sv_span_t value, size_t *at)
{
    size_t                  i;
    uint8_t                 all;
    sv_gs1_error_t          error;
    const sv_gs1_part_t    *part;
    const sv_gs1_format_t  *format;

    format = &sv_gs1_formats[ai->format];
    *at = 0;

    if (sv_unlikely(value.len < format->min)) {
        *at = value.len;
        return value.len ? SV_GS1_ERR_VALUE_SHORT : SV_GS1_ERR_EMPTY;
    }

    if (sv_unlikely(value.len > format->max)) {
        *at = format->max;
        return SV_GS1_ERR_VALUE_LONG;
    }

    part = format->part;

    if (part[1].max) {
        return sv_gs1_value_parts(format, value, at);
    }

    all = part->cset;

    for (i = 0; i < value.len; i++) {
        all &= sv_gs1_class[value.data[i]];
    }

    if (sv_unlikely(all == 0)) {
        return sv_gs1_value_parts(format, value, at);
    }

    if (part->lint == SV_GS1_LINT_NONE) {
        return SV_GS1_OK;
    }

    error = sv_gs1_lints[part->lint](value.data, value.len, at);

    return error;
}


static sv_gs1_error_t
sv_gs1_value_parts(const sv_gs1_format_t *format, sv_span_t value, size_t *at)
{
    size_t                left, len, i, fault;
    unsigned              n;
    sv_gs1_error_t        error;
    const uint8_t        *p;
    const sv_gs1_part_t  *part;

    p = value.data;
    left = value.len;

    for (n = 0; n < SV_GS1_MAX_PARTS && format->part[n].max; n++) {
        part = &format->part[n];

        if (left == 0 && part->optional) {
            break;
        }

        len = (left < part->max) ? left : part->max;

        if (len < part->min) {
            *at = value.len;
            return SV_GS1_ERR_VALUE_SHORT;
        }

        for (i = 0; i < len; i++) {
            if (!(sv_gs1_class[p[i]] & part->cset)) {
                *at = p + i - value.data;
                return SV_GS1_ERR_CHARSET;
            }
        }

        if (part->lint) {
            fault = 0;
            error = sv_gs1_lints[part->lint](p, len, &fault);

            if (error) {
                *at = p + fault - value.data;
                return error;
            }
        }

        p += len;
        left -= len;
    }

    return SV_GS1_OK;
}


static sv_gs1_error_t
sv_gs1_rule(const sv_gs1_reader_t *reader, unsigned i)
{
    uint64_t              have;
    unsigned              k;
    const sv_gs1_rule_t  *rule;

    rule = &sv_gs1_rules[reader->data->element[i].ai->rule];
    have = reader->atoms;

    if (have & rule->none) {
        return SV_GS1_ERR_EXCLUDED;
    }

    if (rule->any[1] && !(have & rule->any[1])) {
        return SV_GS1_ERR_REQUIRED;
    }

    if (rule->any[0] == 0 || (have & rule->any[0])) {
        return SV_GS1_OK;
    }

    for (k = 0; k < sizeof(rule->both) / sizeof(rule->both[0]); k++) {
        if (rule->both[k] && (have & rule->both[k]) == rule->both[k]) {
            return SV_GS1_OK;
        }
    }

    return SV_GS1_ERR_REQUIRED;
}


static int
sv_gs1_family_twice(const sv_gs1_data_t *data, unsigned i)
{
    unsigned            k;
    const sv_gs1_ai_t  *ai;

    ai = data->element[i].ai;

    for (k = 0; k < data->n; k++) {
        if (k != i && (data->element[k].ai->flags & SV_GS1_FAMILY)
            && data->element[k].ai->number / 10 == ai->number / 10)
        {
            return 1;
        }
    }

    return 0;
}


/* a signature is for one instance: keys with an optional serial must have it */
static int
sv_gs1_serial_lacking(const sv_gs1_data_t *data)
{
    size_t            i;
    const sv_span_t  *value;

    static const struct {
        uint16_t  ai;
        uint8_t   len;
    } keys[] = { {253, 13}, {255, 13}, {8003, 14} };

    for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        value = sv_gs1_get(data, keys[i].ai);

        if (value && value->len == keys[i].len) {
            return 1;
        }
    }

    return 0;
}


const sv_span_t *
sv_gs1_get(const sv_gs1_data_t *data, unsigned ai)
{
    unsigned  i;

    for (i = 0; i < data->n; i++) {
        if (data->element[i].ai->number == ai) {
            return &data->element[i].value;
        }
    }

    return NULL;
}


uint64_t
sv_gs1_gtin(sv_span_t value)
{
    size_t    i;
    uint64_t  gtin;

    if (value.len != 14) {
        return 0;
    }

    gtin = 0;

    for (i = 0; i < 14; i++) {

        if (!(sv_gs1_class[value.data[i]] & SV_GS1_N)) {
            return 0;
        }

        gtin = gtin * 10 + (value.data[i] - '0');
    }

    return gtin;
}


int
sv_gs1_hex(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }

    c |= 0x20;

    return (c >= 'a' && c <= 'f') ? c - 'a' + 10 : -1;
}
