#include "svw_load.h"

#include <string.h>


typedef struct {
    const char  *word;
    const char  *start;                 /* first bytes; NULL: told in another way */
    size_t       len;
    int        (*read)(svw_load_t *load);
    const char  *what;                  /* of one that is not read: why */
} svw_format_t;


static int svw_format_is(const svw_format_t *format, const unsigned char *buf, size_t n);


#define SVW_STARTS(bytes)  bytes, sizeof(bytes) - 1

/* the first three, in this order, are told by what follows the blanks */
static const svw_format_t  svw_formats[] = {
    { "csv",        NULL, 0, svw_feed_csv, NULL },
    { "epcis_json", NULL, 0, svw_feed_json, NULL },
    { "epcis_xml",  NULL, 0, svw_feed_xml, NULL },
    { "epcis_xml",  SVW_STARTS("\xff\xfe<\0"), svw_feed_xml, NULL },
    { "epcis_xml",  SVW_STARTS("\xfe\xff\0<"), svw_feed_xml, NULL },
    { "epcis_xml",  SVW_STARTS("<\0?\0"), svw_feed_xml, NULL },
    { "epcis_xml",  SVW_STARTS("\0<\0?"), svw_feed_xml, NULL },
    { "zip",        SVW_STARTS("PK\x03\x04"), NULL, "a ZIP archive or a spreadsheet; deliver what is in it, a spreadsheet saved as CSV" },
    { "gzip",       SVW_STARTS("\x1f\x8b"), NULL, "a gzip archive; deliver what is in it" },
    { "xls",        SVW_STARTS("\xd0\xcf\x11\xe0"), NULL, "a spreadsheet; save it as CSV" },
    { "pdf",        SVW_STARTS("%PDF"), NULL, "a PDF" },
    { "bzip2",      SVW_STARTS("BZh"), NULL, "a bzip2 archive; deliver what is in it" },
    { "xz",         SVW_STARTS("\xfd" "7zXZ"), NULL, "an xz archive; deliver what is in it" },
    { "zstd",       SVW_STARTS("\x28\xb5\x2f\xfd"), NULL, "a zstd archive; deliver what is in it" },
    { "7z",         SVW_STARTS("7z\xbc\xaf"), NULL, "a 7-Zip archive; deliver what is in it" },
    { "rar",        SVW_STARTS("Rar!"), NULL, "a RAR archive; deliver what is in it" },
    { NULL, NULL, 0, NULL, NULL }
};


/* By what it holds; the name decides nothing. */
const char *
svw_format(const unsigned char *buf, size_t n)
{
    size_t               i;
    const svw_format_t  *f;

    for (f = svw_formats; f->word != NULL; f++) {
        if (svw_format_is(f, buf, n)) {
            return f->word;
        }
    }

    i = n >= 3 && memcmp(buf, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;

    while (i < n && (buf[i] == ' ' || buf[i] == '\t' || buf[i] == '\r' || buf[i] == '\n')) {
        i++;
    }

    if (i < n && buf[i] == '<') {
        return svw_formats[2].word;
    }

    return svw_formats[i < n && (buf[i] == '{' || buf[i] == '[')].word;
}


int
svw_format_read(svw_load_t *load)
{
    const svw_format_t  *f;

    for (f = svw_formats; f->word != NULL && strcmp(f->word, load->format) != 0; f++) { /* void */ }

    if (f->read != NULL) {
        return f->read(load);
    }

    return svw_load_refuse(load, "this is not a feed but %s", f->word != NULL ? f->what : "something else");
}


static int
svw_format_is(const svw_format_t *format, const unsigned char *buf, size_t n)
{
    return format->start != NULL && n >= format->len && memcmp(buf, format->start, format->len) == 0;
}
