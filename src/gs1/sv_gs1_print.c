#include "sv_gs1_core.h"
#include "sv_gs1_text.h"


#define SV_GS  0x1d

static const char  sv_canonical_stem[] = "https://id.gs1.org";

static unsigned sv_print_key(const sv_gs1_data_t *data);
static void sv_print_brackets(sv_text_t *text,
    const sv_gs1_element_t *element);
static void sv_print_escaped(sv_text_t *text, sv_span_t value);
static void sv_print_query(sv_text_t *text, const sv_gs1_data_t *data,
    const unsigned *path, unsigned n_path);
static const sv_gs1_element_t *sv_print_next(const sv_gs1_data_t *data,
    const unsigned *path, unsigned n_path, const sv_gs1_element_t *last);


int
sv_gs1_brackets_print(const sv_gs1_data_t *data, char *out, size_t cap)
{
    unsigned   i, key;
    sv_text_t  text;

    sv_text_begin(&text, out, cap);

    key = sv_print_key(data);

    if (key < data->n) {
        sv_print_brackets(&text, &data->element[key]);
    }

    for (i = 0; i < data->n; i++) {
        if (i != key) {
            sv_print_brackets(&text, &data->element[i]);
        }
    }

    return sv_text_end(&text);
}


/* which element stands first: the key of the canonical URI, else the first key at all */
static unsigned
sv_print_key(const sv_gs1_data_t *data)
{
    unsigned  key, path[SV_GS1_MAX_PATH_ELEMENTS];

    if (sv_gs1_canonical_path(data, path)) {
        return path[0];
    }

    for (key = 0; key < data->n; key++) {
        if (data->element[key].ai->flags & SV_GS1_KEY) {
            break;
        }
    }

    return key;
}


/* an opening bracket in a value would read as the next identifier */
static void
sv_print_brackets(sv_text_t *text, const sv_gs1_element_t *element)
{
    size_t  i;

    sv_text_char(text, '(');
    sv_text_string(text, element->ai->code);
    sv_text_char(text, ')');

    for (i = 0; i < element->value.len; i++) {

        if (element->value.data[i] == '(') {
            sv_text_char(text, '\\');
        }

        sv_text_char(text, element->value.data[i]);
    }
}


int
sv_gs1_scan_print(const sv_gs1_data_t *data, char *out, size_t cap)
{
    unsigned                 i;
    sv_text_t                text;
    const sv_gs1_element_t  *element;

    sv_text_begin(&text, out, cap);
    sv_text_string(&text, "]d2");

    for (i = 0; i < data->n; i++) {
        element = &data->element[i];

        sv_text_string(&text, element->ai->code);
        sv_text_bytes(&text, element->value.data, element->value.len);

        if (!(element->ai->flags & SV_GS1_FIXED) && i + 1 < data->n) {
            sv_text_char(&text, SV_GS);
        }
    }

    return sv_text_end(&text);
}


int
sv_gs1_uri_print(const sv_gs1_data_t *data, char *out, size_t cap)
{
    unsigned                 i, n, path[SV_GS1_MAX_PATH_ELEMENTS];
    sv_text_t                text;
    const sv_gs1_element_t  *element;

    sv_text_begin(&text, out, cap);

    n = sv_gs1_canonical_path(data, path);

    if (n == 0) {
        (void) sv_text_end(&text);
        return -1;
    }

    sv_text_string(&text, sv_canonical_stem);

    for (i = 0; i < n; i++) {
        element = &data->element[path[i]];

        sv_text_char(&text, '/');
        sv_text_string(&text, element->ai->code);
        sv_text_char(&text, '/');
        sv_print_escaped(&text, element->value);
    }

    sv_print_query(&text, data, path, n);

    return sv_text_end(&text);
}


static void
sv_print_escaped(sv_text_t *text, sv_span_t value)
{
    size_t  i;

    for (i = 0; i < value.len; i++) {
        if (sv_gs1_class[value.data[i]] & SV_GS1_UNRESERVED) {
            sv_text_char(text, value.data[i]);
        } else {
            sv_text_escape(text, value.data[i]);
        }
    }
}


/* the table of identifiers is sorted by code, so rows compare as codes do */
static void
sv_print_query(sv_text_t *text, const sv_gs1_data_t *data,
    const unsigned *path, unsigned n_path)
{
    char                     mark;
    const sv_gs1_element_t  *element;

    mark = '?';
    element = NULL;

    while ((element = sv_print_next(data, path, n_path, element)) != NULL) {
        sv_text_char(text, mark);
        sv_text_string(text, element->ai->code);
        sv_text_char(text, '=');
        sv_print_escaped(text, element->value);
        mark = '&';
    }
}


static const sv_gs1_element_t *
sv_print_next(const sv_gs1_data_t *data, const unsigned *path,
    unsigned n_path, const sv_gs1_element_t *last)
{
    unsigned                 i, k;
    const sv_gs1_element_t  *next;

    next = NULL;

    for (i = 0; i < data->n; i++) {

        for (k = 0; k < n_path && path[k] != i; k++) { /* void */ }

        if (k == n_path && (last == NULL || data->element[i].ai > last->ai)
            && (next == NULL || data->element[i].ai < next->ai))
        {
            next = &data->element[i];
        }
    }

    return next;
}
