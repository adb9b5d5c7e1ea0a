/*
 * What the tests of src/gs1 share: tables of cases, and parsing where one
 * byte too far is a fault: text and buffer each end at an unreadable page.
 */

#ifndef SV_TEST_GS1_H
#define SV_TEST_GS1_H

#include "src/gs1/sv_gs1.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>


#define GTIN      "09506000134352"
#define SV_TEXT   (4 * SV_GS1_BUFFER)

typedef enum { URI, TARGET, SCAN, BRACKETS, URN } sv_test_mode_t;

typedef struct {
    const char      *name;
    sv_test_mode_t   mode;
    unsigned         flags;
    const char      *text;
    sv_gs1_error_t   error;
    size_t           offset;        /* of the error */
    const char      *brackets;      /* what comes out, key first */
    const char      *uri;           /* canonical; "": there is none, NULL: not looked at */
} sv_test_case_t;

#define GOOD(mode, name, text, brackets, uri)  {name, mode, 0, text, SV_GS1_OK, 0, brackets, uri}
#define SHORT(mode, name, text, brackets, uri)                                \
    {name, mode, SV_GS1_SHORT_GTIN, text, SV_GS1_OK, 0, brackets, uri}
#define BAD(mode, name, text, error, offset)  {name, mode, 0, text, SV_GS1_ERR_##error, offset, NULL, NULL}

#define COUNT(array)  (sizeof(array) / sizeof((array)[0]))


/* a block of `size' bytes whose end is the end of what may be touched */
static inline uint8_t *
sv_test_guarded(size_t size)
{
    size_t    page, room;
    uint8_t  *p;

    page = sysconf(_SC_PAGESIZE);
    room = (size + page - 1) / page * page;

    p = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(p, MAP_FAILED);
    assert_int_equal(mprotect(p + room, page, PROT_NONE), 0);

    return p + room - size;
}


/* the values of `data' stay valid until the next call with the same `slot' (0 or 1) */
static inline sv_gs1_error_t
sv_test_parse(unsigned slot, sv_test_mode_t mode, const void *text, size_t len, unsigned flags, sv_gs1_data_t *data,
    size_t *offset)
{
    sv_span_t  span;

    static uint8_t  *end[2], *buf[2];

    if (end[slot] == NULL) {
        end[slot] = sv_test_guarded(SV_TEXT) + SV_TEXT;
        buf[slot] = sv_test_guarded(SV_GS1_BUFFER);
    }

    assert_true(len <= SV_TEXT);
    memcpy(end[slot] - len, text, len);
    span = (sv_span_t) {end[slot] - len, len};

    switch (mode) {
    case URI:
        return sv_gs1_uri_parse(span, flags, buf[slot], data, offset);
    case TARGET:
        return sv_gs1_target_parse(span, flags, buf[slot], data, offset);
    case SCAN:
        return sv_gs1_scan_parse(span, flags, buf[slot], data, offset);
    case BRACKETS:
        return sv_gs1_brackets_parse(span, flags, buf[slot], data, offset);
    default:
        return sv_gs1_urn_parse(span, flags, buf[slot], data, offset);
    }
}


/* 0: as expected */
static inline int
sv_test_case(const sv_test_case_t *c)
{
    char            out[SV_TEXT];
    size_t          offset;
    sv_gs1_data_t   data;
    sv_gs1_error_t  error;

    error = sv_test_parse(0, c->mode, c->text, strlen(c->text), c->flags, &data, &offset);

    if (error != c->error || offset != c->offset) {
        print_error("%s: \"%s\" gives %s at %zu instead of %s at %zu\n", c->name, c->text, sv_gs1_error_code(error), offset,
                    sv_gs1_error_code(c->error), c->offset);
        return 1;
    }

    if (error) {
        return 0;
    }

    if (sv_gs1_brackets_print(&data, out, sizeof(out)) < 0 || (c->brackets && strcmp(out, c->brackets) != 0)) {
        print_error("%s: \"%s\" is read as %s instead of %s\n", c->name, c->text, out, c->brackets);
        return 1;
    }

    if (sv_gs1_uri_print(&data, out, sizeof(out)) < 0) {
        out[0] = '\0';
    }

    if (c->uri && strcmp(out, c->uri) != 0) {
        print_error("%s: \"%s\" has the canonical form \"%s\" instead of \"%s\"\n", c->name, c->text, out, c->uri);
        return 1;
    }

    return 0;
}


static inline void
sv_test_cases(const sv_test_case_t *cases, size_t n)
{
    size_t  i, failures;

    failures = 0;

    for (i = 0; i < n; i++) {
        failures += sv_test_case(&cases[i]);
    }

    assert_int_equal(failures, 0);
}


/* the same elements, in any order */
static inline int
sv_test_same(const sv_gs1_data_t *a, const sv_gs1_data_t *b)
{
    unsigned  i, k;

    if (a->n != b->n) {
        return 0;
    }

    for (i = 0; i < a->n; i++) {

        for (k = 0; k < b->n && b->element[k].ai != a->element[i].ai; k++) { /* void */ }

        if (k == b->n || !sv_span_eq(a->element[i].value, b->element[k].value)) {
            return 0;
        }
    }

    return 1;
}

#endif /* SV_TEST_GS1_H */
