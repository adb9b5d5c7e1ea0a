#include "sv_gs1_core.h"


static sv_gs1_error_t sv_gs1_brackets(sv_gs1_reader_t *reader);
static size_t sv_gs1_bracketed(const uint8_t *p, const uint8_t *end);
static sv_gs1_error_t sv_gs1_unescape(sv_gs1_reader_t *reader,
    const sv_gs1_ai_t *ai, const uint8_t **p, const uint8_t *end,
    sv_span_t *value);
static const uint8_t *sv_gs1_escaped_at(const uint8_t *p, const uint8_t *end,
    size_t at);


sv_gs1_error_t
sv_gs1_brackets_parse(sv_span_t text, unsigned flags, uint8_t *buf,
    sv_gs1_data_t *data, size_t *offset)
{
    sv_gs1_error_t   error;
    sv_gs1_reader_t  reader;

    error = sv_gs1_begin(&reader, text, flags, buf, data);

    if (error == SV_GS1_OK) {
        error = sv_gs1_brackets(&reader);
    }

    return sv_gs1_end(&reader, error, offset);
}


static sv_gs1_error_t
sv_gs1_brackets(sv_gs1_reader_t *reader)
{
    size_t              len, at;
    sv_span_t           value;
    const uint8_t      *p, *end, *start, *raw;
    sv_gs1_error_t      error;
    const sv_gs1_ai_t  *ai;

    p = reader->input.data;
    end = p + reader->input.len;

    if (p == end) {
        return sv_gs1_fail(reader, SV_GS1_ERR_BRACKETS, p);
    }

    while (p < end) {
        len = sv_gs1_bracketed(p, end);

        if (len == 0) {
            return sv_gs1_fail(reader, SV_GS1_ERR_BRACKETS, p);
        }

        start = p + 1;
        ai = sv_gs1_ai_code(start, len);

        if (ai == NULL) {
            return sv_gs1_fail(reader, SV_GS1_ERR_UNKNOWN_AI, start);
        }

        p += len + 2;
        raw = p;

        error = sv_gs1_unescape(reader, ai, &p, end, &value);

        if (error) {
            return error;
        }

        error = sv_gs1_value(ai, value, &at);

        if (error) {
            return sv_gs1_fail(reader, error, sv_gs1_escaped_at(raw, p, at));
        }

        error = sv_gs1_add(reader, ai, value, start, 1);

        if (error) {
            return error;
        }
    }

    return sv_gs1_company(reader);
}


/* how many digits are in the brackets that begin here; 0: this is no identifier */
static size_t
sv_gs1_bracketed(const uint8_t *p, const uint8_t *end)
{
    size_t  len;

    if (p == end || *p++ != '(') {
        return 0;
    }

    for (len = 0; p < end && (sv_gs1_class[*p] & SV_GS1_N); p++) {
        len++;
    }

    return (p < end && *p == ')' && len >= 2 && len <= SV_GS1_AI_DIGITS) ? len
                                                                         : 0;
}


/*
 * The value up to the next identifier in brackets, in the input as it is or,
 * when it holds "\(", in the buffer.
 */
static sv_gs1_error_t
sv_gs1_unescape(sv_gs1_reader_t *reader, const sv_gs1_ai_t *ai,
    const uint8_t **p, const uint8_t *end, sv_span_t *value)
{
    int             escapes;
    size_t          len;
    uint8_t        *out;
    const uint8_t  *start, *stop;

    escapes = 0;
    start = *p;

    for (stop = start; stop < end; stop++) {

        if (*stop == '\\' && end - stop > 1 && stop[1] == '(') {
            escapes++;
            stop++;

        } else if (*stop == '(' && sv_gs1_bracketed(stop, end)) {
            break;
        }
    }

    *p = stop;
    *value = (sv_span_t) {start, stop - start};

    len = value->len - escapes;

    if (escapes == 0 || len > sv_gs1_formats[ai->format].max) {
        return (escapes == 0) ? SV_GS1_OK
               : sv_gs1_fail(reader, SV_GS1_ERR_VALUE_LONG,
                             sv_gs1_escaped_at(start, stop,
                                         sv_gs1_formats[ai->format].max));
    }

    out = reader->buf + reader->used;
    value->data = out;
    value->len = len;
    reader->used += len;

    while (start < stop) {
        start += (*start == '\\' && stop - start > 1 && start[1] == '(');
        *out++ = *start++;
    }

    return SV_GS1_OK;
}


/* where the byte of an unescaped value stands in the text */
static const uint8_t *
sv_gs1_escaped_at(const uint8_t *p, const uint8_t *end, size_t at)
{
    for ( /* void */ ; at > 0 && p < end; at--) {
        p += (*p == '\\' && end - p > 1 && p[1] == '(') ? 2 : 1;
    }

    return p;
}
