#include "fuzz.h"


static void sv_fuzz_target(sv_span_t uri, unsigned flags,
    const sv_gs1_data_t *data, sv_gs1_error_t error, size_t offset);


/* a URI without its scheme and host is a request target: both must agree */
int
LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    size_t          offset;
    unsigned        flags;
    sv_span_t       uri;
    sv_gs1_data_t   data;
    sv_gs1_error_t  error;

    static uint8_t  buf[SV_GS1_BUFFER];

    uri = (sv_span_t) {input, size};

    for (flags = 0; flags <= SV_GS1_SHORT_GTIN; flags++) {
        error = sv_gs1_uri_parse(uri, flags, buf, &data, &offset);

        sv_fuzz_require(offset <= size);

        if (error == SV_GS1_OK) {
            sv_fuzz_forms(&data, 1);
        }

        if (error != SV_GS1_ERR_BAD_SCHEME && error != SV_GS1_ERR_BAD_HOST
            && error != SV_GS1_ERR_TOO_LONG)
        {
            sv_fuzz_target(uri, flags, &data, error, offset);
        }
    }

    return 0;
}


static void
sv_fuzz_target(sv_span_t uri, unsigned flags, const sv_gs1_data_t *data,
    sv_gs1_error_t error, size_t offset)
{
    size_t         start, at;
    sv_span_t      target;
    sv_gs1_data_t  copy;

    static uint8_t  buf[SV_GS1_BUFFER];

    start = 3 + (const uint8_t *) memchr(uri.data, ':', uri.len) - uri.data;

    while (start < uri.len && uri.data[start] != '/'
           && uri.data[start] != '?' && uri.data[start] != '#')
    {
        start++;
    }

    target = (sv_span_t) {uri.data + start, uri.len - start};

    sv_fuzz_require(sv_gs1_target_parse(target, flags, buf, &copy, &at)
                    == error);

    if (error) {
        sv_fuzz_require(at + start == offset);
        return;
    }

    sv_fuzz_require(copy.n_path == data->n_path
                    && copy.stem_pairs == data->stem_pairs
                    && sv_span_eq(copy.stem, data->stem));
    sv_fuzz_same(data, &copy);
}
