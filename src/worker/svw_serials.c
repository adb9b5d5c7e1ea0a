#include "svw_serials.h"

#include "svw_load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>


#define SVW_SERIALS_LINES  1000000      /* with those that come again */
#define SVW_SERIALS_TOLD   20

typedef struct {
    uint32_t  line;
    char      text[SV_SERIAL_MAX + 1];
} svw_serial_t;

typedef struct {
    svw_serial_t  *serial;
    size_t         n, size;
    unsigned       bad;
} svw_serials_t;


static int svw_serials_lines(svw_serials_t *list, const char *path, FILE *in);
static int svw_serials_add(svw_serials_t *list, const char *path, uint32_t line, sv_span_t span);
static int svw_serials_compare(const void *one, const void *two);
static size_t svw_serials_once(svw_serials_t *list, const char *path);


int
svw_serials_read(const char *path, svw_array_t *serials)
{
    int            rc;
    FILE          *in;
    size_t         i, n;
    svw_serials_t  list;

    in = strcmp(path, "-") == 0 ? stdin : fopen(path, "r");

    if (in == NULL) {
        fprintf(stderr, "serial-verify-worker: %s: %s\n", path, strerror(errno));
        return SVW_EXIT_USAGE;
    }

    list = (svw_serials_t) { 0 };
    rc = svw_serials_lines(&list, path, in);

    if (in != stdin) {
        fclose(in);
    }

    if (rc == SVW_EXIT_OK) {
        qsort(list.serial, list.n, sizeof(svw_serial_t), svw_serials_compare);
        n = svw_serials_once(&list, path);

        if (n > SVW_SERIALS_MAX) {
            fprintf(stderr, "serial-verify-worker: %s: %zu serials are too many for a list, at most %d are allowed: recall the lot,"
                    " or a range\n", path, n, SVW_SERIALS_MAX);
            rc = SVW_EXIT_USAGE;
        }

        for (i = 0; i < n; i++) {
            svw_array_add(serials, list.serial[i].text);
        }

        if (svw_array_end(serials) != 0) {
            fprintf(stderr, "serial-verify-worker: out of memory\n");
            rc = SVW_EXIT_FAILED;
        }
    }

    free(list.serial);

    return rc;
}


/* Of a long line the beginning is kept, which is too long for a serial. */
static int
svw_serials_lines(svw_serials_t *list, const char *path, FILE *in)
{
    int        c;
    uint8_t    text[64];
    uint32_t   line;
    sv_span_t  span;

    c = 0;

    for (line = 1; c != EOF; line++) {
        span = (sv_span_t) { text, 0 };

        while ((c = getc_unlocked(in)) != EOF && c != '\n') {
            if (span.len < sizeof(text)) {
                text[span.len++] = (uint8_t) c;
            }
        }

        if (span.len != 0 && span.data[span.len - 1] == '\r') {
            span.len--;
        }

        if (line == 1 && span.len >= 3 && memcmp(span.data, "\xef\xbb\xbf", 3) == 0) {
            span.data += 3;
            span.len -= 3;
        }

        if (span.len != 0 && svw_serials_add(list, path, line, span) != 0) {
            return SVW_EXIT_USAGE;
        }
    }

    if (ferror(in)) {
        fprintf(stderr, "serial-verify-worker: %s: %s\n", path, strerror(errno));
        return SVW_EXIT_FAILED;
    }

    if (list->bad > SVW_SERIALS_TOLD) {
        fprintf(stderr, "serial-verify-worker: %s: %u bad lines in all\n", path, list->bad);
    }

    if (list->bad == 0 && list->n == 0) {
        fprintf(stderr, "serial-verify-worker: %s: there is no serial in it\n", path);
    }

    return list->bad == 0 && list->n != 0 ? SVW_EXIT_OK : SVW_EXIT_USAGE;
}


static int
svw_serials_add(svw_serials_t *list, const char *path, uint32_t line, sv_span_t span)
{
    char           shown[64];
    size_t         size;
    const char    *reason;
    svw_serial_t  *more;

    reason = svw_check_serial(span);

    if (reason != NULL) {
        if (list->bad++ < SVW_SERIALS_TOLD) {
            svw_printable(shown, sizeof(shown), span);
            fprintf(stderr, "serial-verify-worker: %s: line %u: \"%s\": %s\n", path, (unsigned) line, shown, svw_reason_text(reason));
        }

        return 0;
    }

    if (list->n == SVW_SERIALS_LINES) {
        fprintf(stderr, "serial-verify-worker: %s: more than %d lines: at most %d serials are allowed, recall the lot, or a range\n",
                path, SVW_SERIALS_LINES, SVW_SERIALS_MAX);
        return -1;
    }

    if (list->n == list->size) {
        size = list->size == 0 ? 1024 : 2 * list->size;
        more = realloc(list->serial, size * sizeof(svw_serial_t));

        if (more == NULL) {
            fprintf(stderr, "serial-verify-worker: out of memory\n");
            return -1;
        }

        list->serial = more;
        list->size = size;
    }

    list->serial[list->n].line = line;
    memcpy(list->serial[list->n].text, span.data, span.len);
    list->serial[list->n].text[span.len] = '\0';
    list->n++;

    return 0;
}


static int
svw_serials_compare(const void *one, const void *two)
{
    int                  order;
    const svw_serial_t  *a = one, *b = two;

    order = strcmp(a->text, b->text);

    return order != 0 ? order : a->line < b->line ? -1 : 1;
}


/* The first of each stays; how many there are. */
static size_t
svw_serials_once(svw_serials_t *list, const char *path)
{
    size_t  i, n;

    for (i = 0, n = 0; i < list->n; i++) {
        if (n == 0 || strcmp(list->serial[n - 1].text, list->serial[i].text) != 0) {
            list->serial[n++] = list->serial[i];

        } else if (i - n < SVW_SERIALS_TOLD) {
            fprintf(stderr, "serial-verify-worker: %s: line %u: \"%s\" is in line %u already\n", path,
                    (unsigned) list->serial[i].line, list->serial[i].text, (unsigned) list->serial[n - 1].line);
        }
    }

    if (n < list->n) {
        fprintf(stderr, "serial-verify-worker: %s: %zu lines name a serial again\n", path, list->n - n);
    }

    return n;
}
