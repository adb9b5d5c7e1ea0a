#include "svw_replay.h"

#include "svw_copy.h"

#include <inttypes.h>


static void svw_write_spans(FILE *out, const char *name, const sv_span_t *spans, size_t n);
static void svw_write_span(FILE *out, sv_span_t span);


int
svw_replay_write(FILE *out, const svw_final_t *final)
{
    size_t       i;
    const char  *comma;


    fprintf(out, "{\"case\":\"");

    for (i = 0; i < sizeof(final->id); i++) {
        fprintf(out, "%02x", final->id[i]);
    }

    fprintf(out, "\",\"rule\":\"%s\",\"severity\":\"%s\",\"status\":\"%s\",\"gtin\":", svw_rules_about[final->rule].name,
            svw_severity_words[final->severity], final->weight == SVW_WEIGHT_ASKS ? "new" : "proposed_closure");

    if (final->gtin != 0) {
        fprintf(out, "\"%014" PRIu64 "\"", final->gtin);
    } else {
        fputs("null", out);
    }

    fputs(",\"lot\":", out);

    if (final->lot.len > 0) {
        svw_write_span(out, final->lot);
    } else {
        fputs("null", out);
    }

    svw_write_spans(out, "serials", final->serials, final->n_serials);
    svw_write_spans(out, "actors", final->actors, final->n_actors);
    fputs(",\"scans\":[", out);

    /* of stored history facts have no number: 0, the first of all */
    for (i = 0, comma = ""; i < final->n_refs; i++) {
        if (final->refs[i] != 0) {
            fprintf(out, "%s%" PRIu64, comma, final->refs[i]);
            comma = ",";
        }
    }

    fprintf(out, "],\"decided_at\":%" PRIu64 ",\"cause\":\"%s\"}\n", final->decided_at, final->cause);

    return ferror(out) ? -1 : 0;
}


static void
svw_write_spans(FILE *out, const char *name, const sv_span_t *spans, size_t n)
{
    size_t  i;

    fprintf(out, ",\"%s\":[", name);

    for (i = 0; i < n; i++) {
        if (i > 0) {
            fputc(',', out);
        }

        svw_write_span(out, spans[i]);
    }

    fputc(']', out);
}


/* Serials of feeds are of GS1's set of 82, what a stranger presents may be any bytes: none of them leaves as it is. */
static void
svw_write_span(FILE *out, sv_span_t span)
{
    size_t   i, n;
    uint8_t  c;

    fputc('"', out);

    for (i = 0; i < span.len; i += n) {
        c = span.data[i];
        n = svw_utf8((sv_span_t) { span.data + i, span.len - i });

        if (n == 0 && c != '\0') {
            n = 1;
            fputs("\\ufffd", out);

        } else if (c < ' ' || c == 0x7f) {
            n = 1;
            fprintf(out, "\\u%04x", c);

        } else if (c == '"' || c == '\\') {
            fprintf(out, "\\%c", c);

        } else {
            fwrite(span.data + i, 1, n, out);
        }
    }

    fputc('"', out);
}
