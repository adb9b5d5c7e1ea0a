#include "fuzz.h"


int
LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    size_t          offset;
    unsigned        ai;
    sv_span_t       text;
    sv_gs1_data_t   data;
    sv_gs1_error_t  error;

    static uint8_t  buf[SV_GS1_BUFFER];

    text = (sv_span_t) {input, size};
    error = sv_gs1_brackets_parse(text, 0, buf, &data, &offset);

    sv_fuzz_require(offset <= size);

    if (error == SV_GS1_OK) {
        sv_fuzz_forms(&data, 0);

    } else {
        (void) sv_gs1_separator_lost(&data, &ai);
    }

    return 0;
}
