#include "fuzz.h"


/* a key does not know how long its company prefix is: every length must lead back to it */
int
LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    int             len;
    size_t          offset;
    unsigned        prefix;
    sv_span_t       urn;
    sv_gs1_data_t   data, copy;
    sv_gs1_error_t  error;

    static char     out[SV_FUZZ_OUT];
    static uint8_t  buf[SV_GS1_BUFFER], buf2[SV_GS1_BUFFER];

    urn = (sv_span_t) {input, size};
    error = sv_gs1_urn_parse(urn, 0, buf, &data, &offset);

    sv_fuzz_require(offset <= size);

    if (error) {
        return 0;
    }

    sv_fuzz_forms(&data, 1);

    for (prefix = 6; prefix <= 12; prefix++) {
        len = sv_gs1_urn_print(&data, prefix, out, sizeof(out));
        urn = (sv_span_t) {(const uint8_t *) out, len};

        sv_fuzz_require(len > 0
                        && sv_gs1_urn_parse(urn, 0, buf2, &copy, &offset)
                           == SV_GS1_OK);
        sv_fuzz_same(&data, &copy);
    }

    return 0;
}
