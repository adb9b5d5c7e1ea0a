#include "svw_copy.h"
#include "svw_event_in.h"

#include <stdlib.h>
#include <string.h>


#define SVW_FORM_DIGITS  40
#define SVW_FORM_SHIFT   30             /* places an exponent may move the point */

typedef enum {
    SVW_FORM_WORD,                      /* of a vocabulary */
    SVW_FORM_VOC,                       /* of GS1's web vocabulary */
    SVW_FORM_NUMBER,
    SVW_FORM_TIME,
    SVW_FORM_PLACE
} svw_form_kind_t;

typedef struct {
    const char        *in;
    const char        *name;
    svw_form_kind_t    kind;
    const char        *vocabulary;
} svw_form_t;

/* a decimal number: 0.digits * 10^point */
typedef struct {
    int                negative;
    int                point;
    unsigned           n;
    char               digit[SVW_FORM_DIGITS];
} svw_decimal_t;


static sv_span_t svw_form_voc(sv_span_t text);
static sv_span_t svw_form_number(sv_span_t text, char out[128]);
static int svw_decimal_read(svw_decimal_t *decimal, sv_span_t text);
static int svw_decimal_exponent(svw_decimal_t *decimal, const uint8_t *p, const uint8_t *end);


static const svw_form_t  svw_forms[] = {
    { "bizTransactionList",    "type",        SVW_FORM_WORD,   "btt" },
    { "sourceList",            "type",        SVW_FORM_WORD,   "sdt" },
    { "destinationList",       "type",        SVW_FORM_WORD,   "sdt" },
    { "sourceList",            "source",      SVW_FORM_PLACE,  NULL },
    { "destinationList",       "destination", SVW_FORM_PLACE,  NULL },
    { "persistentDisposition", "set",         SVW_FORM_WORD,   "disp" },
    { "persistentDisposition", "unset",       SVW_FORM_WORD,   "disp" },
    { "quantityList",          "epcClass",    SVW_FORM_PLACE,  NULL },
    { "childQuantityList",     "epcClass",    SVW_FORM_PLACE,  NULL },
    { "quantityList",          "quantity",    SVW_FORM_NUMBER, NULL },
    { "childQuantityList",     "quantity",    SVW_FORM_NUMBER, NULL },
    { "sensorMetadata",        "time",        SVW_FORM_TIME,   NULL },
    { "sensorMetadata",        "startTime",   SVW_FORM_TIME,   NULL },
    { "sensorMetadata",        "endTime",     SVW_FORM_TIME,   NULL },
    { "sensorReport",          "time",        SVW_FORM_TIME,   NULL },
    { "sensorReport",          "type",        SVW_FORM_VOC,    NULL },
    { "sensorReport",          "exception",   SVW_FORM_VOC,    NULL },
    { "sensorReport",          "component",   SVW_FORM_WORD,   "comp" },
    { "sensorReport",          "value",       SVW_FORM_NUMBER, NULL },
    { "sensorReport",          "minValue",    SVW_FORM_NUMBER, NULL },
    { "sensorReport",          "maxValue",    SVW_FORM_NUMBER, NULL },
    { "sensorReport",          "meanValue",   SVW_FORM_NUMBER, NULL },
    { "sensorReport",          "sDev",        SVW_FORM_NUMBER, NULL },
    { "sensorReport",          "percRank",    SVW_FORM_NUMBER, NULL },
    { "sensorReport",          "percValue",   SVW_FORM_NUMBER, NULL },
    { NULL, NULL, 0, NULL }
};

static const char  *const svw_voc_starts[] = {
    "gs1:", "https://gs1.org/voc/", "http://gs1.org/voc/", "https://www.gs1.org/voc/", NULL
};


json_t *
svw_form(const char *in, const char *name, sv_span_t text)
{
    char               out[SVW_PLACE];
    const svw_form_t  *f;

    for (f = svw_forms; f->in != NULL && (strcmp(f->in, in) != 0 || strcmp(f->name, name) != 0); f++) { /* void */ }

    if (f->in == NULL) {
        return svw_form_text(text);
    }

    switch (f->kind) {

    case SVW_FORM_WORD:
        return svw_form_text(svw_word(text, f->vocabulary));

    case SVW_FORM_VOC:
        return svw_form_text(svw_form_voc(text));

    case SVW_FORM_NUMBER:
        return svw_form_text(svw_form_number(text, out));

    case SVW_FORM_PLACE:
        return svw_form_text(svw_place(text, out));

    default:
        return svw_form_time(text);
    }
}


json_t *
svw_form_text(sv_span_t text)
{
    char    *clean;
    size_t   i, n;
    json_t  *value;

    for (i = 0; i < text.len && (n = svw_utf8((sv_span_t) { text.data + i, text.len - i })) != 0; i += n) { /* void */ }

    if (i == text.len) {
        return json_stringn_nocheck(text.len != 0 ? (const char *) text.data : "", text.len);
    }

    clean = malloc(text.len);
    if (clean == NULL) {
        return NULL;
    }

    memcpy(clean, text.data, text.len);

    for (i = 0; i < text.len; i += n) {
        n = svw_utf8((sv_span_t) { (uint8_t *) clean + i, text.len - i });

        if (n == 0) {
            clean[i] = '?';
            n = 1;
        }
    }

    value = json_stringn_nocheck(clean, text.len);
    free(clean);

    return value;
}


/* In UTC, to the ms; what is no time stays what it is. */
json_t *
svw_form_time(sv_span_t text)
{
    char     out[32], *p;
    int64_t  ms;

    if (svw_check_time(text, &ms) != NULL) {
        return svw_form_text(text);
    }

    p = svw_copy_time(out, ms);
    out[SV_DAY_TEXT - 1] = 'T';

    return json_stringn_nocheck(out, (size_t) (p - out));
}


static sv_span_t
svw_form_voc(sv_span_t text)
{
    size_t  i, len;

    for (i = 0; svw_voc_starts[i] != NULL; i++) {
        len = strlen(svw_voc_starts[i]);

        if (text.len > len && memcmp(text.data, svw_voc_starts[i], len) == 0) {
            return (sv_span_t) { text.data + len, text.len - len };
        }
    }

    return text;
}


/* 26.0, +26 and 2.6e1 are 26. */
static sv_span_t
svw_form_number(sv_span_t text, char out[128])
{
    int            i, n;
    svw_decimal_t  decimal;

    if (svw_decimal_read(&decimal, text) != 0) {
        return text;
    }

    n = 0;

    if (decimal.negative && decimal.n > 0) {
        out[n++] = '-';
    }

    if (decimal.point <= 0) {
        out[n++] = '0';
    }

    for (i = 0; i < decimal.point; i++) {
        out[n++] = i < (int) decimal.n ? decimal.digit[i] : '0';
    }

    if (decimal.point < (int) decimal.n) {
        out[n++] = '.';

        for (i = decimal.point; i < (int) decimal.n; i++) {
            out[n++] = i < 0 ? '0' : decimal.digit[i];
        }
    }

    return (sv_span_t) { (uint8_t *) out, (size_t) n };
}


/* -1: it is no number, or a very long one */
static int
svw_decimal_read(svw_decimal_t *decimal, sv_span_t text)
{
    int             fraction, digits;
    const uint8_t  *p, *end;

    p = text.data;
    end = p + text.len;
    fraction = digits = 0;
    *decimal = (svw_decimal_t) { .negative = p < end && *p == '-' };

    p += p < end && (*p == '-' || *p == '+');

    for (; p < end && ((*p >= '0' && *p <= '9') || (*p == '.' && !fraction)); p++) {
        if (*p == '.') {
            fraction = 1;
            continue;
        }

        digits++;

        if (*p == '0' && decimal->n == 0) {
            decimal->point -= fraction;
            continue;
        }

        if (decimal->n == SVW_FORM_DIGITS) {
            return -1;
        }

        decimal->digit[decimal->n++] = (char) *p;
        decimal->point += !fraction;
    }

    if (digits == 0 || svw_decimal_exponent(decimal, p, end) != 0) {
        return -1;
    }

    for (; decimal->n > 0 && decimal->digit[decimal->n - 1] == '0'; decimal->n--) { /* void */ }

    decimal->point = decimal->n > 0 ? decimal->point : 0;

    return 0;
}


static int
svw_decimal_exponent(svw_decimal_t *decimal, const uint8_t *p, const uint8_t *end)
{
    int  value, negative;

    if (p == end) {
        return decimal->point < -SVW_FORM_SHIFT ? -1 : 0;
    }

    if (*p != 'e' && *p != 'E') {
        return -1;
    }

    p++;
    negative = p < end && *p == '-';
    p += p < end && (*p == '-' || *p == '+');

    if (p == end) {
        return -1;
    }

    for (value = 0; p < end; p++) {
        if (*p < '0' || *p > '9' || value > SVW_FORM_SHIFT) {
            return -1;
        }

        value = value * 10 + (*p - '0');
    }

    decimal->point += negative ? -value : value;

    return value > SVW_FORM_SHIFT || decimal->point < -SVW_FORM_SHIFT ? -1 : 0;
}
