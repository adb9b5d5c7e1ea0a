#include "svw_load.h"

#include <csv.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>


#define SVW_CSV_FIELD    (64 * 1024)    /* longest field; more is an unclosed quote */
#define SVW_CSV_COLUMNS  64
#define SVW_CSV_VALUE    64             /* kept of a field: more than any valid value has */


typedef enum {
    SVW_CSV_GTIN,
    SVW_CSV_SERIAL,
    SVW_CSV_LOT,
    SVW_CSV_EXPIRY,
    SVW_CSV_EVENT_TIME,
    SVW_CSV_MARKET,
    SVW_CSV_FIELDS,
    SVW_CSV_OTHER = SVW_CSV_FIELDS
} svw_csv_field_t;

#define SVW_CSV_NEEDED  4               /* the first four columns must be there */

typedef struct {
    size_t                len;          /* of the field, which may be longer than what is kept */
    uint8_t               data[SVW_CSV_VALUE];
} svw_csv_value_t;

typedef struct {
    svw_load_t           *load;
    struct csv_parser     parser;
    svw_csv_field_t       column[SVW_CSV_COLUMNS];
    size_t                columns;      /* of the header; 0: it is still to come */
    size_t                n;            /* fields of this line so far */
    int64_t               line;         /* the physical line that is read now */
    int64_t               start;        /* where the record began */
    int                   stop;
    svw_csv_value_t       value[SVW_CSV_FIELDS];
} svw_csv_t;


static int svw_csv_open(svw_csv_t *csv, const unsigned char *buf, size_t n, size_t *skip);
static unsigned char svw_csv_delimiter(const unsigned char *buf, size_t n);
static void *svw_csv_realloc(void *p, size_t size);
static void svw_csv_on_field(void *field, size_t len, void *data);
static void svw_csv_on_line(int c, void *data);
static void svw_csv_header(svw_csv_t *csv, sv_span_t name);
static void svw_csv_header_end(svw_csv_t *csv);
static void svw_csv_item(svw_csv_t *csv);
static void svw_csv_fault(svw_csv_t *csv, svw_csv_field_t field, const char *reason);
static sv_span_t svw_csv_value(const svw_csv_t *csv, svw_csv_field_t field);


static const char *const  svw_csv_names[SVW_CSV_FIELDS] = {
    "gtin", "serial", "lot", "expiry", "event_time", "market"
};


int
svw_feed_csv(svw_load_t *load)
{
    int            rc, error;
    size_t         n, skip;
    svw_csv_t      csv;
    unsigned char  buf[SVW_READ];

    csv = (svw_csv_t) { .load = load, .line = 1, .start = 1 };

    if (csv_init(&csv.parser, CSV_REPALL_NL) != 0) {
        return svw_load_stop(load, SVW_LOAD_FAILED, "csv_init");
    }

    csv_set_realloc_func(&csv.parser, svw_csv_realloc);
    skip = 0;
    error = 0;

    for (n = 0; (rc = svw_load_read(load, buf, &n)) == 1; skip = 0) {
        if (load->bytes == (int64_t) n && svw_csv_open(&csv, buf, n, &skip) != 0) {
            rc = -1;
            break;
        }

        if (csv_parse(&csv.parser, buf + skip, n - skip, svw_csv_on_field, svw_csv_on_line, &csv) != n - skip) {
            error = 1;
            break;
        }

        if (csv.stop) {
            rc = -1;
            break;
        }
    }

    if (rc == 0) {
        /* a quote within a field is lawful here, one that is open at the end is not */
        csv_set_opts(&csv.parser, CSV_REPALL_NL|CSV_STRICT|CSV_STRICT_FINI);
        error = csv_fini(&csv.parser, svw_csv_on_field, svw_csv_on_line, &csv) != 0;
    }

    if (error) {
        rc = csv_error(&csv.parser) == CSV_ENOMEM && !csv.parser.quoted
             ? svw_load_refuse(load, "line %lld: a value is longer than %d bytes", (long long) csv.start, SVW_CSV_FIELD)
             : svw_load_refuse(load, "line %lld: a quoted field does not end", (long long) csv.start);
    } else if (rc == 0 && csv.stop) {
        rc = -1;
    } else if (rc == 0 && csv.columns == 0) {
        rc = svw_load_refuse(load, "the file is empty: expected a header line with gtin, serial, lot and expiry");
    }

    csv_free(&csv.parser);

    return rc;
}


static int
svw_csv_open(svw_csv_t *csv, const unsigned char *buf, size_t n, size_t *skip)
{
    if (n >= 2 && ((buf[0] == 0xff && buf[1] == 0xfe) || (buf[0] == 0xfe && buf[1] == 0xff))) {
        return svw_load_refuse(csv->load, "the file is in UTF-16; save it as UTF-8");
    }

    *skip = n >= 3 && memcmp(buf, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;

    csv_set_delim(&csv->parser, svw_csv_delimiter(buf + *skip, n - *skip));

    return 0;
}


/* of the header line: column names hold neither */
static unsigned char
svw_csv_delimiter(const unsigned char *buf, size_t n)
{
    size_t  i;

    for (i = 0; i < n && buf[i] != '\n' && buf[i] != '\r'; i++) {
        if (buf[i] == ';' || buf[i] == ',') {
            return buf[i];
        }
    }

    return ',';
}


/* A quote that is never closed would swallow the file: the parser gets no more than this for one field. */
static void *
svw_csv_realloc(void *p, size_t size)
{
    return size <= SVW_CSV_FIELD ? realloc(p, size) : NULL;
}


static void
svw_csv_on_field(void *field, size_t len, void *data)
{
    size_t            i;
    svw_csv_t        *csv;
    sv_span_t         text;
    svw_csv_value_t  *value;

    csv = data;
    text = (sv_span_t) { field, len };

    if (csv->columns == 0) {
        svw_csv_header(csv, text);

    } else if (csv->n < csv->columns && csv->column[csv->n] != SVW_CSV_OTHER) {
        value = &csv->value[csv->column[csv->n]];
        value->len = len;
        memcpy(value->data, field, len < SVW_CSV_VALUE ? len : SVW_CSV_VALUE);
    }

    csv->n++;

    /* line feeds within quotes */
    for (i = 0; i < len; i++) {
        csv->line += text.data[i] == '\n';
    }
}


static void
svw_csv_on_line(int c, void *data)
{
    svw_csv_t  *csv;

    csv = data;

    if (csv->n > 0 && !csv->stop) {
        if (csv->columns == 0) {
            svw_csv_header_end(csv);
        } else {
            svw_csv_item(csv);
        }
    }

    csv->line += c == '\n';
    csv->start = csv->line;
    csv->n = 0;
}


static void
svw_csv_header(svw_csv_t *csv, sv_span_t name)
{
    char             shown[64];
    size_t           i;
    svw_csv_field_t  field;

    if (csv->n >= SVW_CSV_COLUMNS || csv->stop) {
        csv->stop = 1;
        svw_load_refuse(csv->load, "line 1: more than %d columns", SVW_CSV_COLUMNS);
        return;
    }

    for (field = 0; field < SVW_CSV_FIELDS; field++) {
        if (strlen(svw_csv_names[field]) == name.len
            && strncasecmp(svw_csv_names[field], (const char *) name.data, name.len) == 0)
        {
            break;
        }
    }

    csv->column[csv->n] = field;

    for (i = 0; field != SVW_CSV_OTHER && i < csv->n; i++) {
        if (csv->column[i] == field) {
            svw_printable(shown, sizeof(shown), name);
            csv->stop = 1;
            svw_load_refuse(csv->load, "line 1: the column \"%s\" stands there twice", shown);
        }
    }
}


static void
svw_csv_header_end(svw_csv_t *csv)
{
    size_t    i;
    unsigned  seen;

    for (i = 0, seen = 0; i < csv->n; i++) {
        seen |= 1u << csv->column[i];
    }

    csv->columns = csv->n;

    for (i = 0; i < SVW_CSV_NEEDED; i++) {
        if (!(seen & 1u << i)) {
            csv->stop = 1;
            svw_load_refuse(csv->load, "line %lld: there is no column \"%s\": expected a header line with gtin, serial, lot"
                            " and expiry, with commas or semicolons between them", (long long) csv->start, svw_csv_names[i]);
            return;
        }
    }
}


static void
svw_csv_item(svw_csv_t *csv)
{
    sv_span_t     value;
    svw_item_t    item;
    const char   *reason;

    csv->load->lines++;

    if (csv->n != csv->columns) {
        svw_csv_fault(csv, SVW_CSV_OTHER, "field_count");
        return;
    }

    item = (svw_item_t) { .line = csv->start, .event_ms = SVW_NO_TIME };

    reason = svw_check_gtin(svw_csv_value(csv, SVW_CSV_GTIN), &item.gtin);
    if (reason != NULL) {
        svw_csv_fault(csv, SVW_CSV_GTIN, reason);
        return;
    }

    item.serial = svw_csv_value(csv, SVW_CSV_SERIAL);
    reason = svw_check_serial(item.serial);
    if (reason != NULL) {
        svw_csv_fault(csv, SVW_CSV_SERIAL, reason);
        return;
    }

    item.lot = svw_csv_value(csv, SVW_CSV_LOT);
    reason = svw_check_lot(item.lot);
    if (reason != NULL) {
        svw_csv_fault(csv, SVW_CSV_LOT, reason);
        return;
    }

    reason = svw_check_expiry(svw_csv_value(csv, SVW_CSV_EXPIRY), csv->load->today, &item.expiry);
    if (reason != NULL) {
        svw_csv_fault(csv, SVW_CSV_EXPIRY, reason);
        return;
    }

    value = svw_csv_value(csv, SVW_CSV_EVENT_TIME);
    reason = value.len != 0 ? svw_check_time(value, &item.event_ms) : NULL;
    if (reason != NULL) {
        svw_csv_fault(csv, SVW_CSV_EVENT_TIME, reason);
        return;
    }

    item.market = svw_csv_value(csv, SVW_CSV_MARKET);
    reason = item.market.len != 0 ? svw_check_market(item.market) : NULL;
    if (reason != NULL) {
        svw_csv_fault(csv, SVW_CSV_MARKET, reason);
        return;
    }

    if (svw_load_item(csv->load, &item) != 0) {
        csv->stop = 1;
    }
}


static void
svw_csv_fault(svw_csv_t *csv, svw_csv_field_t field, const char *reason)
{
    svw_fault_t  fault;

    fault = (svw_fault_t) { .line = csv->start, .lines = 1, .reason = reason };

    if (field < SVW_CSV_FIELDS) {
        fault.element = svw_csv_names[field];
        fault.value = svw_csv_value(csv, field);

        if (fault.value.len > SVW_CSV_VALUE) {
            fault.value.len = SVW_CSV_VALUE;
        }
    }

    svw_load_fault(csv->load, &fault);
}


/* Its length may be beyond what is kept: a check of the length comes before one looks at the bytes. */
static sv_span_t
svw_csv_value(const svw_csv_t *csv, svw_csv_field_t field)
{
    return (sv_span_t) { csv->value[field].data, csv->value[field].len };
}
