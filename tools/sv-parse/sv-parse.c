/*
 * sv-parse: reads GS1 identifiers, one a line, and says what is in them.
 */

#include "sv-parse.h"

#include <errno.h>
#include <getopt.h>


#define SV_LINE  (SV_GS1_MAX_INPUT + 1)
#define SV_OUT   (3 * SV_GS1_BUFFER)

typedef sv_gs1_error_t (*sv_parse_pt)(sv_span_t text, unsigned flags,
    uint8_t *buf, sv_gs1_data_t *data, size_t *offset);

typedef struct {
    uint8_t        line[SV_LINE + 1];
    uint8_t        text[SV_LINE + 1];       /* the line with its substitutes replaced */
    uint8_t        buf[SV_GS1_BUFFER];
    char           out[SV_OUT];
    sv_gs1_data_t  data;
} sv_parse_work_t;


static int sv_parse_options(sv_parse_conf_t *conf, int argc, char **argv);
static int sv_parse_mode(sv_parse_conf_t *conf, const char *word);
static void sv_parse_usage(FILE *out);
static int sv_parse_lines(const sv_parse_conf_t *conf, FILE *in, FILE *out);
static int sv_parse_read(FILE *in, uint8_t *line, size_t *len);
static void sv_parse_line(const sv_parse_conf_t *conf, sv_parse_work_t *work,
    size_t len, FILE *out);
static size_t sv_parse_substitute(const sv_parse_conf_t *conf,
    sv_parse_work_t *work, size_t len);
static size_t sv_parse_offset(const sv_parse_conf_t *conf, sv_span_t line,
    size_t offset);


static const struct {
    const char   *word;
    sv_parse_pt   parse;
} sv_parse_modes[SV_PARSE_MODES] = {
    [SV_PARSE_URI] = {"uri", sv_gs1_uri_parse},
    [SV_PARSE_SCAN] = {"scan", sv_gs1_scan_parse},
    [SV_PARSE_BRACKETS] = {"brackets", sv_gs1_brackets_parse},
    [SV_PARSE_URN] = {"urn", sv_gs1_urn_parse}
};


int
main(int argc, char **argv)
{
    int              rc;
    sv_parse_conf_t  conf;

    rc = sv_parse_options(&conf, argc, argv);

    if (rc >= 0) {
        return rc;
    }

    rc = conf.bench ? sv_parse_bench(stdout)
                    : sv_parse_lines(&conf, stdin, stdout);

    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "sv-parse: cannot write: %s\n", strerror(errno));
        return 1;
    }

    return rc;
}


/* -1: go on; else the exit status */
static int
sv_parse_options(sv_parse_conf_t *conf, int argc, char **argv)
{
    int  c;

    static const struct option  options[] = {
        {"mode", required_argument, NULL, 'm'},
        {"gs", required_argument, NULL, 'g'},
        {"explain", no_argument, NULL, 'e'},
        {"bench", no_argument, NULL, 'b'},
        {"short-gtin", no_argument, NULL, 's'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0}
    };

    memset(conf, 0, sizeof(sv_parse_conf_t));

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {

        case 'm':
            if (sv_parse_mode(conf, optarg) != 0) {
                return 2;
            }
            break;

        case 'g':
            conf->gs.data = (const uint8_t *) optarg;
            conf->gs.len = strlen(optarg);
            break;

        case 'e':
            conf->explain = 1;
            break;

        case 'b':
            conf->bench = 1;
            break;

        case 's':
            conf->flags |= SV_GS1_SHORT_GTIN;
            break;

        case 'h':
            sv_parse_usage(stdout);
            return 0;

        default:
            sv_parse_usage(stderr);
            return 2;
        }
    }

    if (optind < argc) {
        fprintf(stderr, "sv-parse: what is \"%s\"? Items are read from standard"
                " input.\n", argv[optind]);
        return 2;
    }

    if (conf->gs.data && (conf->mode != SV_PARSE_SCAN || conf->gs.len == 0)) {
        fprintf(stderr, "sv-parse: --gs needs --mode scan and a text that is"
                " not empty\n");
        return 2;
    }

    return -1;
}


static int
sv_parse_mode(sv_parse_conf_t *conf, const char *word)
{
    unsigned  i;

    for (i = 0; i < SV_PARSE_MODES; i++) {
        if (strcmp(word, sv_parse_modes[i].word) == 0) {
            conf->mode = i;
            return 0;
        }
    }

    fprintf(stderr, "sv-parse: unknown mode \"%s\": uri, scan, brackets or urn\n",
            word);

    return -1;
}


static void
sv_parse_usage(FILE *out)
{
    fputs("Usage: sv-parse [OPTION..] < ITEMS\n"
          "\n"
          "Reads GS1 identifiers, one a line, and prints for each a line\n"
          "\n"
          "  ok<TAB>(01)..(21)..<TAB>canonical URI     the key first, then as given;\n"
          "                                            no URI when there is no key for one\n"
          "  error<TAB>code<TAB>offset                 the byte at fault, counted from 0\n"
          "\n"
          "  --mode MODE   uri       https://host/01/..?17=..  (the default)\n"
          "                scan      what a scanner sends: ]d2.., the byte 0x1D separates\n"
          "                brackets  (01)..(21)..\n"
          "                urn       urn:epc:id:sgtin:..\n"
          "  --gs TEXT     in scans, TEXT stands for the group separator, such as '<GS>'\n"
          "  --short-gtin  in links, accept GTINs of 8, 12 and 13 digits\n"
          "  --explain     say it in words, too\n"
          "  --bench       measure the parser: ns for a typical URI\n"
          "  --help        this text\n"
          "\n"
          "The exit status is 0 unless reading or writing fails (1) or an option is\n"
          "wrong (2); bad items are answered in their lines.\n", out);
}


static int
sv_parse_lines(const sv_parse_conf_t *conf, FILE *in, FILE *out)
{
    size_t                  len;
    static sv_parse_work_t  work;

    while (sv_parse_read(in, work.line, &len)) {
        sv_parse_line(conf, &work, len, out);
    }

    if (ferror(in)) {
        fprintf(stderr, "sv-parse: cannot read: %s\n", strerror(errno));
        return 1;
    }

    return 0;
}


/* a line without its end; of one that is too long the first SV_LINE bytes, which are too many for any parser */
static int
sv_parse_read(FILE *in, uint8_t *line, size_t *len)
{
    int     c, last;
    size_t  n;

    n = 0;
    last = EOF;

    while ((c = getc_unlocked(in)) != EOF) {

        if (c == '\n') {
            break;
        }

        if (n < SV_LINE) {
            line[n++] = c;
        }

        last = c;
    }

    if (c == EOF && last == EOF) {
        return 0;
    }

    if (n > 0 && n < SV_LINE && line[n - 1] == '\r') {
        n--;
    }

    *len = n;

    return 1;
}


static void
sv_parse_line(const sv_parse_conf_t *conf, sv_parse_work_t *work, size_t len,
    FILE *out)
{
    sv_span_t        text;
    sv_parse_item_t  item;

    item.text = (sv_span_t) {work->line, len};
    item.data = &work->data;

    text = (sv_span_t) {work->text, sv_parse_substitute(conf, work, len)};

    item.error = sv_parse_modes[conf->mode].parse(text, conf->flags, work->buf,
                                                  &work->data, &item.offset);

    if (item.error) {
        item.offset = sv_parse_offset(conf, item.text, item.offset);
        fprintf(out, "error\t%s\t%zu\n", sv_gs1_error_code(item.error),
                item.offset);

    } else {
        (void) sv_gs1_brackets_print(&work->data, work->out, SV_OUT);
        fprintf(out, "ok\t%s\t", work->out);

        if (sv_gs1_uri_print(&work->data, work->out, SV_OUT) > 0) {
            fputs(work->out, out);
        }

        fputc('\n', out);
    }

    if (conf->explain) {
        sv_parse_explain(conf, &item, out);
    }
}


static size_t
sv_parse_substitute(const sv_parse_conf_t *conf, sv_parse_work_t *work,
    size_t len)
{
    size_t  i, n;

    /* a line that is too long must not become shorter */

    if (len > SV_GS1_MAX_INPUT) {
        memcpy(work->text, work->line, len);
        return len;
    }

    n = 0;

    for (i = 0; i < len; /* void */ ) {

        if (conf->gs.len && len - i >= conf->gs.len
            && memcmp(work->line + i, conf->gs.data, conf->gs.len) == 0)
        {
            work->text[n++] = 0x1d;
            i += conf->gs.len;

        } else {
            work->text[n++] = work->line[i++];
        }
    }

    return n;
}


/* where a byte of the text stands in the line */
static size_t
sv_parse_offset(const sv_parse_conf_t *conf, sv_span_t line, size_t offset)
{
    size_t  i;

    if (line.len > SV_GS1_MAX_INPUT) {
        return offset;
    }

    for (i = 0; offset > 0 && i < line.len; offset--) {

        if (conf->gs.len && line.len - i >= conf->gs.len
            && memcmp(line.data + i, conf->gs.data, conf->gs.len) == 0)
        {
            i += conf->gs.len;

        } else {
            i++;
        }
    }

    return i;
}
