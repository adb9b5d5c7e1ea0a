#ifndef _GNU_SOURCE
#define _GNU_SOURCE         /* memrchr() */
#endif

#include "sv_gs1_core.h"


/* pairs of identifier and value right of, and with, the key; more are never valid */
#define SV_GS1_MAX_PAIRS  16
#define SV_GTIN_LEN       14
#define SV_GTIN           1

typedef struct {
    const sv_gs1_ai_t  *ai;
    sv_span_t           code;
    sv_span_t           value;          /* raw */
} sv_gs1_pair_t;


static sv_gs1_error_t sv_gs1_link_path(sv_gs1_reader_t *reader,
    sv_span_t path);
static int sv_gs1_path_scan(sv_span_t path, sv_gs1_pair_t *pairs,
    unsigned *n);
static sv_gs1_error_t sv_gs1_path_lost(sv_gs1_reader_t *reader,
    sv_span_t path);
static sv_gs1_error_t sv_gs1_path_elements(sv_gs1_reader_t *reader,
    const sv_gs1_pair_t *pairs, unsigned n);
static sv_gs1_error_t sv_gs1_path_refused(sv_gs1_reader_t *reader);
static sv_gs1_error_t sv_gs1_stem(sv_gs1_reader_t *reader, sv_span_t stem);
static sv_gs1_error_t sv_gs1_query(sv_gs1_reader_t *reader, sv_span_t query);
static sv_gs1_error_t sv_gs1_attribute(sv_gs1_reader_t *reader,
    sv_span_t code, sv_span_t raw);
static sv_gs1_error_t sv_gs1_element(sv_gs1_reader_t *reader,
    const sv_gs1_ai_t *ai, sv_span_t code, sv_span_t raw, uint8_t plain);
static sv_gs1_error_t sv_gs1_read(sv_gs1_reader_t *reader,
    const sv_gs1_ai_t *ai, sv_span_t raw, uint8_t plain, sv_span_t *value);
static sv_gs1_error_t sv_gs1_decode(sv_gs1_reader_t *reader,
    const sv_gs1_ai_t *ai, sv_span_t raw, uint8_t plain, sv_span_t *value);
static sv_gs1_error_t sv_gs1_legal(sv_gs1_reader_t *reader, sv_span_t raw);
static sv_span_t sv_gs1_pad_gtin(sv_gs1_reader_t *reader, sv_span_t value);
static const uint8_t *sv_gs1_raw_at(sv_span_t raw, size_t at);
static sv_span_t sv_gs1_segment(const uint8_t **p, const uint8_t *end);


static inline sv_span_t
sv_gs1_between(const uint8_t *start, const uint8_t *end)
{
    return (sv_span_t) {start, end - start};
}


sv_gs1_error_t
sv_gs1_uri_parse(sv_span_t uri, unsigned flags, uint8_t *buf,
    sv_gs1_data_t *data, size_t *offset)
{
    sv_gs1_error_t   error;
    sv_gs1_reader_t  reader;

    error = sv_gs1_begin(&reader, uri, flags, buf, data);

    if (error == SV_GS1_OK) {
        error = sv_gs1_uri(&reader, uri);
    }

    return sv_gs1_end(&reader, error, offset);
}


sv_gs1_error_t
sv_gs1_target_parse(sv_span_t target, unsigned flags, uint8_t *buf,
    sv_gs1_data_t *data, size_t *offset)
{
    sv_gs1_error_t   error;
    sv_gs1_reader_t  reader;

    error = sv_gs1_begin(&reader, target, flags, buf, data);

    if (error == SV_GS1_OK) {
        error = sv_gs1_link(&reader, target);
    }

    return sv_gs1_end(&reader, error, offset);
}


sv_gs1_error_t
sv_gs1_uri(sv_gs1_reader_t *reader, sv_span_t uri)
{
    size_t          i;
    const uint8_t  *p, *end, *host;

    static const sv_span_t  schemes[] = {
        {(const uint8_t *) "https://", 8}, {(const uint8_t *) "http://", 7},
        {(const uint8_t *) "HTTPS://", 8}, {(const uint8_t *) "HTTP://", 7}
    };

    end = uri.data + uri.len;
    host = NULL;

    for (i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        if (uri.len >= schemes[i].len
            && memcmp(uri.data, schemes[i].data, schemes[i].len) == 0)
        {
            host = uri.data + schemes[i].len;
            break;
        }
    }

    if (host == NULL) {
        return sv_gs1_fail(reader, SV_GS1_ERR_BAD_SCHEME, uri.data);
    }

    for (p = host; p < end && *p != '/' && *p != '?' && *p != '#'; p++) {

        if ((sv_gs1_class[*p] & (SV_GS1_N | SV_GS1_Z)) && *p != '_'
            && *p != '=')
        {
            continue;
        }

        if (*p != '.' && *p != ':' && *p != '[' && *p != ']') {
            return sv_gs1_fail(reader, SV_GS1_ERR_BAD_HOST, p);
        }
    }

    if (p == host || *host == ':') {
        return sv_gs1_fail(reader, SV_GS1_ERR_BAD_HOST, host);
    }

    return sv_gs1_link(reader, sv_gs1_between(p, end));
}


sv_gs1_error_t
sv_gs1_link(sv_gs1_reader_t *reader, sv_span_t target)
{
    sv_span_t       path, query, fragment;
    const uint8_t  *end, *mark;
    sv_gs1_error_t  error;

    end = target.data + target.len;

    if (target.len == 0 || target.data[0] != '/') {
        return sv_gs1_fail(reader, SV_GS1_ERR_NOT_A_LINK, target.data);
    }

    mark = memchr(target.data, '#', target.len);

    if (sv_unlikely(mark != NULL)) {
        fragment = sv_gs1_between(mark + 1, end);
        end = mark;

    } else {
        fragment = sv_gs1_between(end, end);
    }

    mark = memchr(target.data, '?', end - target.data);
    path = sv_gs1_between(target.data, mark ? mark : end);
    query = mark ? sv_gs1_between(mark + 1, end) : sv_gs1_between(end, end);

    error = sv_gs1_link_path(reader, path);

    if (error == SV_GS1_OK) {
        error = sv_gs1_query(reader, query);
    }

    if (error == SV_GS1_OK && fragment.len) {
        error = sv_gs1_legal(reader, fragment);
    }

    return error ? error : sv_gs1_company(reader);
}


static sv_gs1_error_t
sv_gs1_link_path(sv_gs1_reader_t *reader, sv_span_t path)
{
    unsigned        n;
    sv_gs1_pair_t   pairs[SV_GS1_MAX_PAIRS];
    sv_gs1_error_t  error;

    if (path.len > 1 && path.data[path.len - 1] == '/') {
        path.len--;
    }

    if (!sv_gs1_path_scan(path, pairs, &n)) {
        return sv_gs1_path_lost(reader, path);
    }

    if (n > SV_GS1_MAX_PAIRS) {
        return sv_gs1_fail(reader, SV_GS1_ERR_TOO_MANY,
                           pairs[SV_GS1_MAX_PAIRS - 1].code.data);
    }

    path.len = pairs[n - 1].code.data - 1 - path.data;

    error = sv_gs1_stem(reader, path);

    return error ? error : sv_gs1_path_elements(reader, pairs, n);
}


/*
 * From the right: pairs whose left half is an identifier, up to the first
 * primary key.  What is left of it is the stem.
 */
static int
sv_gs1_path_scan(sv_span_t path, sv_gs1_pair_t *pairs, unsigned *n)
{
    const uint8_t  *end, *slash;
    sv_gs1_pair_t   pair;

    *n = 0;
    end = path.data + path.len;

    for ( ;; ) {
        slash = memrchr(path.data, '/', end - path.data);

        if (slash == NULL) {
            return 0;
        }

        pair.value = sv_gs1_between(slash + 1, end);
        end = slash;
        slash = memrchr(path.data, '/', end - path.data);

        if (slash == NULL) {
            return 0;
        }

        pair.code = sv_gs1_between(slash + 1, end);
        pair.ai = sv_gs1_ai_code(pair.code.data, pair.code.len);
        end = slash;

        if (pair.ai == NULL) {
            return 0;
        }

        if (pair.ai->flags & SV_GS1_KEY) {
            pairs[*n < SV_GS1_MAX_PAIRS ? *n : SV_GS1_MAX_PAIRS - 1] = pair;
            (*n)++;
            return 1;
        }

        if (*n < SV_GS1_MAX_PAIRS) {
            pairs[*n] = pair;
        }

        (*n)++;
    }
}


/*
 * The path does not end in a key and its qualifiers.  It is somebody else's,
 * unless it ends in a binary EPC, or holds a key with a right value and went
 * wrong after it.  ("/verify/../lot/01/ser/..": a lot named 01 is no key.)
 */
static sv_gs1_error_t
sv_gs1_path_lost(sv_gs1_reader_t *reader, sv_span_t path)
{
    sv_span_t           segment, previous, value;
    const uint8_t      *p, *end, *slash, *after;
    sv_gs1_error_t      error;
    const sv_gs1_ai_t  *ai;

    end = path.data + path.len;
    slash = memrchr(path.data, '/', path.len);
    segment = sv_gs1_between(slash + 1, end);

    error = sv_gs1_epc_segment(reader, segment);

    if (error != SV_GS1_ERR_NOT_A_LINK) {
        return error ? error
                     : sv_gs1_stem(reader, sv_gs1_between(path.data, slash));
    }

    after = NULL;
    p = path.data + 1;
    previous = sv_gs1_segment(&p, end);

    while (p <= end) {
        segment = sv_gs1_segment(&p, end);
        ai = sv_gs1_ai_code(previous.data, previous.len);

        if (ai && (ai->flags & SV_GS1_KEY)
            && sv_gs1_read(reader, ai, segment, SV_GS1_RAW_PATH, &value)
               == SV_GS1_OK)
        {
            after = p;
        }

        reader->used = 0;
        previous = segment;
    }

    if (after == NULL) {
        return sv_gs1_fail(reader, SV_GS1_ERR_NOT_A_LINK, path.data);
    }

    /* pairs that are in order, up to the one that is not */

    p = after;

    while (p <= end) {
        after = p;
        segment = sv_gs1_segment(&p, end);

        if (sv_gs1_ai_code(segment.data, segment.len) == NULL || p > end) {
            break;
        }

        (void) sv_gs1_segment(&p, end);
    }

    return sv_gs1_fail(reader, SV_GS1_ERR_PATH_SEGMENT,
                       after <= end ? after : end);
}


/* the segment that begins at `p'; then p is behind the slash, or beyond the end */
static sv_span_t
sv_gs1_segment(const uint8_t **p, const uint8_t *end)
{
    sv_span_t       segment;
    const uint8_t  *slash;

    slash = memchr(*p, '/', end - *p);

    if (slash == NULL) {
        slash = end;
    }

    segment = sv_gs1_between(*p, slash);
    *p = slash + 1;

    return segment;
}


static sv_gs1_error_t
sv_gs1_path_elements(sv_gs1_reader_t *reader, const sv_gs1_pair_t *pairs,
    unsigned n)
{
    unsigned              i;
    sv_gs1_error_t        error;
    const sv_gs1_data_t  *data;
    const sv_gs1_pair_t  *pair;

    data = reader->data;

    for (i = n; i > 0; i--) {
        pair = &pairs[i - 1];
        error = sv_gs1_element(reader, pair->ai, pair->code, pair->value,
                               SV_GS1_RAW_PATH);
        if (error) {
            return error;
        }

        reader->data->n_path = data->n;
    }

    if (!sv_gs1_path_allowed(data->element[0].ai, &data->element[1], n - 1)) {
        return sv_gs1_path_refused(reader);
    }

    return SV_GS1_OK;
}


static sv_gs1_error_t
sv_gs1_path_refused(sv_gs1_reader_t *reader)
{
    unsigned              i;
    const sv_gs1_ai_t    *key;
    const sv_gs1_data_t  *data;

    data = reader->data;
    key = data->element[0].ai;

    for (i = 1; i < data->n_path; i++) {
        if (!sv_gs1_path_qualifies(key, data->element[i].ai)) {
            reader->offset = reader->at[i];
            return SV_GS1_ERR_PATH_QUALIFIER;
        }
    }

    for (i = 1; i < data->n_path; i++) {
        if (!sv_gs1_path_allowed(key, &data->element[1], i)) {
            break;
        }
    }

    reader->offset = reader->at[i];

    return SV_GS1_ERR_PATH_ORDER;
}


static sv_gs1_error_t
sv_gs1_stem(sv_gs1_reader_t *reader, sv_span_t stem)
{
    int             pending;
    sv_span_t       segment;
    const uint8_t  *p, *end;

    reader->data->stem = stem;

    if (stem.len == 0) {
        return SV_GS1_OK;
    }

    end = stem.data + stem.len;
    pending = 0;

    for (p = stem.data + 1; p <= end; /* void */ ) {
        segment = sv_gs1_segment(&p, end);

        if (pending && segment.len) {
            reader->data->stem_pairs++;
            pending = 0;

        } else {
            pending = (sv_gs1_ai_code(segment.data, segment.len) != NULL);
        }
    }

    return sv_gs1_legal(reader, stem);
}


static sv_gs1_error_t
sv_gs1_query(sv_gs1_reader_t *reader, sv_span_t query)
{
    sv_span_t       code;
    const uint8_t  *p, *end, *start;
    sv_gs1_error_t  error;

    end = query.data + query.len;

    for (p = query.data; p < end; p++) {

        if (*p == '=') {
            return sv_gs1_fail(reader, SV_GS1_ERR_QUERY_KEY, p);
        }

        for (start = p; p < end && (sv_gs1_class[*p] & SV_GS1_N); p++) {
            /* void */
        }

        code = sv_gs1_between(start, p);

        if (p < end && *p == '=') {
            start = ++p;
        } else {
            code.len = 0;
        }

        while (p < end && *p != '&' && *p != ';') {
            p++;
        }

        error = code.len ? sv_gs1_attribute(reader, code,
                                            sv_gs1_between(start, p))
                         : sv_gs1_legal(reader, sv_gs1_between(start, p));
        if (error) {
            return error;
        }
    }

    return SV_GS1_OK;
}


static sv_gs1_error_t
sv_gs1_attribute(sv_gs1_reader_t *reader, sv_span_t code, sv_span_t raw)
{
    unsigned            i;
    sv_gs1_data_t      *data;
    const sv_gs1_ai_t  *ai;

    data = reader->data;
    ai = sv_gs1_ai_code(code.data, code.len);

    if (ai == NULL) {
        return sv_gs1_fail(reader, SV_GS1_ERR_UNKNOWN_AI, code.data);
    }

    for (i = 0; i < data->n; i++) {
        if (data->element[i].ai == ai) {
            return sv_gs1_fail(reader, SV_GS1_ERR_DUPLICATE, code.data);
        }
    }

    if (sv_gs1_path_extends(data->element[0].ai, &data->element[1],
                            data->n_path - 1, ai))
    {
        return sv_gs1_fail(reader, SV_GS1_ERR_IN_PATH, code.data);
    }

    if (!(ai->flags & SV_GS1_ATTRIBUTE)) {
        return sv_gs1_fail(reader, SV_GS1_ERR_NO_ATTRIBUTE, code.data);
    }

    return sv_gs1_element(reader, ai, code, raw, SV_GS1_RAW_QUERY);
}


static sv_gs1_error_t
sv_gs1_element(sv_gs1_reader_t *reader, const sv_gs1_ai_t *ai, sv_span_t code,
    sv_span_t raw, uint8_t plain)
{
    sv_span_t       value;
    sv_gs1_error_t  error;

    error = sv_gs1_read(reader, ai, raw, plain, &value);

    return error ? error : sv_gs1_add(reader, ai, value, code.data, 0);
}


/* decodes and checks a value */
static sv_gs1_error_t
sv_gs1_read(sv_gs1_reader_t *reader, const sv_gs1_ai_t *ai, sv_span_t raw,
    uint8_t plain, sv_span_t *value)
{
    size_t          at, padding;
    sv_gs1_error_t  error;

    error = sv_gs1_decode(reader, ai, raw, plain, value);

    if (error) {
        return error;
    }

    padding = 0;

    if (sv_unlikely(reader->flags & SV_GS1_SHORT_GTIN) && ai->number == SV_GTIN
        && (value->len == 8 || value->len == 12 || value->len == 13))
    {
        padding = SV_GTIN_LEN - value->len;
        *value = sv_gs1_pad_gtin(reader, *value);
    }

    error = sv_gs1_value(ai, *value, &at);

    if (sv_unlikely(error)) {
        at = (at < padding) ? 0 : at - padding;
        return sv_gs1_fail(reader, error, sv_gs1_raw_at(raw, at));
    }

    return SV_GS1_OK;
}


static sv_gs1_error_t
sv_gs1_decode(sv_gs1_reader_t *reader, const sv_gs1_ai_t *ai, sv_span_t raw,
    uint8_t plain, sv_span_t *value)
{
    int             high, low;
    size_t          i, len;
    uint8_t         all, c, *out;

    all = plain;

    for (i = 0; i < raw.len; i++) {
        all &= sv_gs1_class[raw.data[i]];
    }

    if (all) {
        *value = raw;
        return SV_GS1_OK;
    }

    /* no value that is accepted is longer than the format says, so the buffer is never too small */

    out = reader->buf + reader->used;
    len = 0;

    for (i = 0; i < raw.len; i++) {
        c = raw.data[i];

        if (len == sv_gs1_formats[ai->format].max) {
            return sv_gs1_fail(reader, SV_GS1_ERR_VALUE_LONG, raw.data + i);
        }

        if (!(sv_gs1_class[c] & SV_GS1_RAW_URI)) {
            return sv_gs1_fail(reader, SV_GS1_ERR_BAD_CHARACTER, raw.data + i);
        }

        if (c == '%') {
            high = (raw.len - i > 2) ? sv_gs1_hex(raw.data[i + 1]) : -1;
            low = (raw.len - i > 2) ? sv_gs1_hex(raw.data[i + 2]) : -1;

            if (high < 0 || low < 0) {
                return sv_gs1_fail(reader, SV_GS1_ERR_BAD_ESCAPE,
                                   raw.data + i);
            }

            c = high << 4 | low;
            i += 2;

        } else if (c == '+' && plain == SV_GS1_RAW_QUERY) {
            c = ' ';
        }

        out[len++] = c;
    }

    reader->used += len;
    *value = (sv_span_t) {out, len};

    return SV_GS1_OK;
}


static sv_gs1_error_t
sv_gs1_legal(sv_gs1_reader_t *reader, sv_span_t raw)
{
    size_t  i;

    for (i = 0; i < raw.len; i++) {
        if (!(sv_gs1_class[raw.data[i]] & SV_GS1_RAW_URI)) {
            return sv_gs1_fail(reader, SV_GS1_ERR_BAD_CHARACTER, raw.data + i);
        }
    }

    return SV_GS1_OK;
}


static sv_span_t
sv_gs1_pad_gtin(sv_gs1_reader_t *reader, sv_span_t value)
{
    uint8_t  *out;

    out = reader->buf + reader->used;
    memset(out, '0', SV_GTIN_LEN - value.len);
    memmove(out + SV_GTIN_LEN - value.len, value.data, value.len);
    reader->used += SV_GTIN_LEN;

    return (sv_span_t) {out, SV_GTIN_LEN};
}


/* where the byte of a decoded value stands in the raw one */
static const uint8_t *
sv_gs1_raw_at(sv_span_t raw, size_t at)
{
    size_t  i;

    for (i = 0; at > 0 && i < raw.len; at--) {
        i += (raw.data[i] == '%') ? 3 : 1;
    }

    return raw.data + i;
}
