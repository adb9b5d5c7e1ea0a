/*
 * What the readers of the different texts share: a cursor that collects
 * elements, and the checks of values and of their company.
 */

#ifndef SV_GS1_CORE_H
#define SV_GS1_CORE_H

#include "sv_gs1_ai.h"


#if defined(__GNUC__)
#define sv_unlikely(x)  __builtin_expect(!!(x), 0)
#else
#define sv_unlikely(x)  (x)
#endif


typedef struct {
    sv_span_t       input;
    sv_gs1_data_t  *data;
    uint8_t        *buf;                            /* the caller's, and what is used of it */
    size_t          used;
    unsigned        flags;
    size_t          offset;                         /* of the fault */
    uint64_t        atoms;                          /* identifiers present that rules speak of */
    uint16_t        at[SV_GS1_MAX_ELEMENTS];        /* where each identifier stands in the input */
} sv_gs1_reader_t;


/* The input is refused here when it is too long. */
sv_gs1_error_t sv_gs1_begin(sv_gs1_reader_t *reader, sv_span_t input,
    unsigned flags, uint8_t *buf, sv_gs1_data_t *data);
sv_gs1_error_t sv_gs1_end(sv_gs1_reader_t *reader, sv_gs1_error_t error,
    size_t *offset);

sv_gs1_error_t sv_gs1_fail(sv_gs1_reader_t *reader, sv_gs1_error_t error,
    const uint8_t *at);

/* The value is not checked here; a repeat is refused, and when `repeat' is set an equal one is passed over. */
sv_gs1_error_t sv_gs1_add(sv_gs1_reader_t *reader, const sv_gs1_ai_t *ai,
    sv_span_t value, const uint8_t *at, int repeat);

/* Which elements must or must not stand together. */
sv_gs1_error_t sv_gs1_company(sv_gs1_reader_t *reader);

/* Length, characters and meaning of a value; `at' is set to the place of the fault. */
sv_gs1_error_t sv_gs1_value(const sv_gs1_ai_t *ai, sv_span_t value,
    size_t *at);

/* Reads a Digital Link that begins at the path. */
sv_gs1_error_t sv_gs1_link(sv_gs1_reader_t *reader, sv_span_t target);

/* Reads an absolute URI. */
sv_gs1_error_t sv_gs1_uri(sv_gs1_reader_t *reader, sv_span_t uri);

/* -1 no hexadecimal digit */
int sv_gs1_hex(uint8_t c);

/* The mod 10 check digit for the digits before it, as a character. */
uint8_t sv_gs1_check_digit(const uint8_t *digits, size_t len);

/* The check of a meaning, SV_GS1_LINT_*: characters and length are right already. */
typedef sv_gs1_error_t (*sv_gs1_lint_pt)(const uint8_t *p, size_t len,
    size_t *at);

sv_gs1_error_t sv_gs1_lint_coupon(const uint8_t *p, size_t len, size_t *at);
sv_gs1_error_t sv_gs1_lint_offer(const uint8_t *p, size_t len, size_t *at);

extern const sv_gs1_lint_pt  sv_gs1_lints[SV_GS1_LINT_MAX];

/* EPC binary as the last segment of a path; NOT_A_LINK: the segment is something else. */
sv_gs1_error_t sv_gs1_epc_segment(sv_gs1_reader_t *reader, sv_span_t segment);

/* Path of the primary key that these elements allow: indexes into data->element, the key first; 0: none. */
#define SV_GS1_MAX_PATH_ELEMENTS  (1 + SV_GS1_MAX_QUALIFIERS)
unsigned sv_gs1_canonical_path(const sv_gs1_data_t *data,
    unsigned index[SV_GS1_MAX_PATH_ELEMENTS]);

/* Are the qualifiers in an order that the key allows? */
int sv_gs1_path_allowed(const sv_gs1_ai_t *key,
    const sv_gs1_element_t *qualifier, unsigned n);

/* Could this identifier stand in the path beside what is there? */
int sv_gs1_path_extends(const sv_gs1_ai_t *key,
    const sv_gs1_element_t *qualifier, unsigned n, const sv_gs1_ai_t *ai);

/* Can this identifier qualify the key at all? */
int sv_gs1_path_qualifies(const sv_gs1_ai_t *key, const sv_gs1_ai_t *ai);

int sv_gs1_leap_year(int year);
unsigned sv_gs1_month_days(int year, unsigned month);

#endif /* SV_GS1_CORE_H */
