/*
 * Oracles for the fuzzers: what is accepted is printed in every form, read
 * again, and must be the same elements.
 */

#ifndef SV_FUZZ_H
#define SV_FUZZ_H

#include "../../src/gs1/sv_gs1_ai.h"


#define SV_FUZZ_OUT  (4 * SV_GS1_BUFFER)

typedef sv_gs1_error_t (*sv_fuzz_parse_pt)(sv_span_t text, unsigned flags,
    uint8_t *buf, sv_gs1_data_t *data, size_t *offset);
typedef int (*sv_fuzz_print_pt)(const sv_gs1_data_t *data, char *out,
    size_t cap);

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);


static inline void
sv_fuzz_require(int condition)
{
    if (!condition) {
        __builtin_trap();
    }
}


/* the same elements in any order */
static inline void
sv_fuzz_same(const sv_gs1_data_t *a, const sv_gs1_data_t *b)
{
    unsigned          i;
    const sv_span_t  *value;

    sv_fuzz_require(a->n == b->n);

    for (i = 0; i < a->n; i++) {
        value = sv_gs1_get(b, a->element[i].ai->number);
        sv_fuzz_require(value && sv_span_eq(*value, a->element[i].value));
    }
}


/*
 * Print, read, compare, print again; what cannot be printed is passed over
 * when `may_fail'.  Brackets forget which key was the one in the path, so
 * their order is only stable for data without a path.
 */
static inline void
sv_fuzz_round(const sv_gs1_data_t *data, sv_fuzz_print_pt print,
    sv_fuzz_parse_pt parse, int may_fail)
{
    int            len, again;
    size_t         offset;
    sv_span_t      text;
    sv_gs1_data_t  copy;

    static char     out[SV_FUZZ_OUT], out2[SV_FUZZ_OUT];
    static uint8_t  buf[SV_GS1_BUFFER];

    len = print(data, out, sizeof(out));

    if (len < 0) {
        sv_fuzz_require(may_fail);
        return;
    }

    text = (sv_span_t) {(const uint8_t *) out, len};

    sv_fuzz_require(parse(text, 0, buf, &copy, &offset) == SV_GS1_OK
                    || len > SV_GS1_MAX_INPUT);

    if (len > SV_GS1_MAX_INPUT) {
        return;
    }

    sv_fuzz_same(data, &copy);

    if (print == sv_gs1_brackets_print && data->n_path) {
        return;
    }

    again = print(&copy, out2, sizeof(out2));
    sv_fuzz_require(again == len && memcmp(out, out2, len) == 0);
}


/* every form but the one that depends on the order of the elements */
static inline void
sv_fuzz_forms(const sv_gs1_data_t *data, int has_uri)
{
    unsigned  ai;

    sv_fuzz_round(data, sv_gs1_uri_print, sv_gs1_uri_parse, !has_uri);
    sv_fuzz_round(data, sv_gs1_scan_print, sv_gs1_scan_parse, 0);
    sv_fuzz_round(data, sv_gs1_brackets_print, sv_gs1_brackets_parse, 0);
    (void) sv_gs1_separator_lost(data, &ai);
}

#endif /* SV_FUZZ_H */
