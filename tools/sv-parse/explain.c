#include "sv-parse.h"

#include "../../src/gs1/sv_gs1_ai.h"

#include <string.h>
#include <time.h>


#define SV_CONTEXT  24      /* bytes shown on either side of a fault */
#define SV_EXPIRY   17

static void sv_explain_mode(const sv_parse_conf_t *conf, sv_span_t text,
    FILE *out);
static void sv_explain_data(const sv_gs1_data_t *data, FILE *out);
static void sv_explain_element(const sv_gs1_element_t *element, FILE *out);
static void sv_explain_lacking(const sv_gs1_data_t *data, FILE *out);
static void sv_explain_error(const sv_parse_item_t *item, FILE *out);
static void sv_explain_bytes(sv_span_t text, size_t from, size_t to,
    FILE *out);


void
sv_parse_explain(const sv_parse_conf_t *conf, const sv_parse_item_t *item,
    FILE *out)
{
    unsigned  ai;

    if (item->error) {
        sv_explain_error(item, out);
        sv_explain_mode(conf, item->text, out);

    } else {
        sv_explain_data(item->data, out);
    }

    if (conf->mode == SV_PARSE_SCAN && sv_gs1_separator_lost(item->data, &ai)) {
        fprintf(out, "  It looks as if a group separator was lost after the"
                " value of (%02u): set the\n  scanner to send it (GS, the byte"
                " 0x1D, sometimes named FNC1), and scan again.\n", ai);
    }
}


/* What begins like something else was perhaps given in the wrong mode. */
static void
sv_explain_mode(const sv_parse_conf_t *conf, sv_span_t text, FILE *out)
{
    size_t  i;

    static const struct {
        const char       *begin;
        sv_parse_mode_t   mode;
        const char       *name;
    } modes[] = {
        {"]", SV_PARSE_SCAN, "scan"}, {"(", SV_PARSE_BRACKETS, "brackets"},
        {"urn:", SV_PARSE_URN, "urn"}, {"http", SV_PARSE_URI, "uri"}
    };

    for (i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (text.len >= strlen(modes[i].begin) && modes[i].mode != conf->mode
            && memcmp(text.data, modes[i].begin, strlen(modes[i].begin)) == 0)
        {
            fprintf(out, "  It begins like what --mode %s reads.\n", modes[i].name);
        }
    }
}


static void
sv_explain_data(const sv_gs1_data_t *data, FILE *out)
{
    unsigned  i;

    for (i = 0; i < data->n; i++) {
        sv_explain_element(&data->element[i], out);
    }

    if (data->stem_pairs) {
        fprintf(out, "  The path holds %u more AI pair%s before the key: only"
                " what follows the last key\n  counts.\n", data->stem_pairs,
                data->stem_pairs == 1 ? "" : "s");
    }

    if (sv_gs1_get(data, 1)) {
        sv_explain_lacking(data, out);
    }
}


static void
sv_explain_element(const sv_gs1_element_t *element, FILE *out)
{
    char      text[SV_DAY_TEXT];
    sv_day_t  day;

    fprintf(out, "  (%s) %s: %.*s", element->ai->code, element->ai->title,
            (int) element->value.len, (const char *) element->value.data);

    if (element->ai->number >= 11 && element->ai->number <= SV_EXPIRY) {
        day = sv_gs1_date(element->value, time(NULL) / (24 * 60 * 60));

        if (day != SV_DAY_NONE) {
            sv_day_print(day, text);
            fprintf(out, ", that is %s", text);
        }
    }

    fputc('\n', out);
}


static void
sv_explain_lacking(const sv_gs1_data_t *data, FILE *out)
{
    size_t       i;
    const char  *before;

    static const struct {
        unsigned     ai;
        const char  *name;
    } wanted[] = {
        {21, "the serial (21)"}, {10, "the lot (10)"}, {17, "the expiry (17)"}
    };

    before = "  A medicine pack also carries ";

    for (i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        if (sv_gs1_get(data, wanted[i].ai) == NULL) {
            fprintf(out, "%s%s", before, wanted[i].name);
            before = ", ";
        }
    }

    if (before[0] == ',') {
        fputs(".\n", out);
    }
}


static void
sv_explain_error(const sv_parse_item_t *item, FILE *out)
{
    size_t  from, to;

    fprintf(out, "  %s\n", sv_gs1_error_text(item->error));

    if (item->text.len == 0) {
        return;
    }

    from = (item->offset > SV_CONTEXT) ? item->offset - SV_CONTEXT : 0;
    to = item->offset + SV_CONTEXT;

    if (to > item->text.len) {
        to = item->text.len;
    }

    fprintf(out, "  At byte %zu: %s", item->offset, from ? ".." : "");
    sv_explain_bytes(item->text, from, item->offset, out);
    fputs(" >> ", out);
    sv_explain_bytes(item->text, item->offset, to, out);
    fprintf(out, "%s\n", to < item->text.len ? ".." : "");
}


/* what a terminal would not show, or act upon, as \xHH */
static void
sv_explain_bytes(sv_span_t text, size_t from, size_t to, FILE *out)
{
    size_t  i;

    for (i = from; i < to; i++) {
        if (text.data[i] >= 0x20 && text.data[i] < 0x7f) {
            fputc(text.data[i], out);
        } else {
            fprintf(out, "\\x%02x", text.data[i]);
        }
    }
}
