#include "svw_json.h"

#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_parse.h>


#define SVW_JSON_VALUE  (1024 * 1024)   /* longest single value: it is held in memory */


typedef struct {
    svw_json_t            json;         /* first: what the callbacks hand on */
    yajl_handle           yajl;
    const unsigned char  *chunk;
    size_t                counted;      /* bytes of the chunk whose line feeds are counted */
    int64_t               fed;          /* bytes of the chunks before this one */
    int64_t               last;         /* where the last callback was */
} svw_json_reader_t;


static int svw_json_parse(svw_json_reader_t *reader, const unsigned char *buf, size_t n);
static int svw_json_finish(svw_json_reader_t *reader);
static int svw_json_failed(svw_json_reader_t *reader, size_t n);
static void svw_json_line(svw_json_reader_t *reader);
static int svw_json_on_string(void *data, const unsigned char *text, size_t len);
static int svw_json_on_number(void *data, const char *text, size_t len);
static int svw_json_on_boolean(void *data, int value);
static int svw_json_on_null(void *data);
static int svw_json_on_map(void *data);
static int svw_json_on_key(void *data, const unsigned char *text, size_t len);
static int svw_json_on_map_end(void *data);
static int svw_json_on_array(void *data);
static int svw_json_on_array_end(void *data);


static const yajl_callbacks  svw_json_callbacks = {
    svw_json_on_null,
    svw_json_on_boolean,
    NULL,
    NULL,
    svw_json_on_number,
    svw_json_on_string,
    svw_json_on_map,
    svw_json_on_key,
    svw_json_on_map_end,
    svw_json_on_array,
    svw_json_on_array_end
};


int
svw_feed_json(svw_load_t *load)
{
    int                 rc;
    size_t              n, skip;
    unsigned char       buf[SVW_READ];
    svw_json_reader_t  *reader;

    reader = calloc(1, sizeof(svw_json_reader_t));
    if (reader == NULL) {
        return svw_load_stop(load, SVW_LOAD_FAILED, "out of memory");
    }

    reader->json.load = load;
    reader->json.line = 1;
    reader->json.event = svw_event_new(load);
    reader->yajl = yajl_alloc(&svw_json_callbacks, NULL, reader);
    rc = reader->json.event != NULL ? 0 : -1;

    if (reader->yajl == NULL) {
        rc = svw_load_stop(load, SVW_LOAD_FAILED, "out of memory");
    }

    while (rc == 0 && (rc = svw_load_read(load, buf, &n)) == 1) {
        skip = load->bytes == (int64_t) n && n >= 3 && memcmp(buf, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
        rc = svw_json_parse(reader, buf + skip, n - skip);
    }

    if (rc == 0) {
        rc = svw_json_finish(reader);
    }

    if (reader->yajl != NULL) {
        yajl_free(reader->yajl);
    }

    svw_event_free(reader->json.event);
    free(reader);

    return rc;
}


static int
svw_json_parse(svw_json_reader_t *reader, const unsigned char *buf, size_t n)
{
    reader->chunk = buf;
    reader->counted = 0;

    if (yajl_parse(reader->yajl, buf, n) != yajl_status_ok) {
        return svw_json_failed(reader, n);
    }

    for (; reader->counted < n; reader->counted++) {
        reader->json.line += buf[reader->counted] == '\n';
    }

    reader->fed += (int64_t) n;

    if (reader->fed - reader->last > SVW_JSON_VALUE) {
        return svw_load_refuse(reader->json.load, "line %lld: a single value is longer than 1 MiB", (long long) reader->json.line);
    }

    return 0;
}


static int
svw_json_finish(svw_json_reader_t *reader)
{
    reader->chunk = (const unsigned char *) "";
    reader->counted = 0;

    if (yajl_complete_parse(reader->yajl) != yajl_status_ok) {
        return svw_json_failed(reader, 0);
    }

    if (!reader->json.list_seen) {
        return svw_load_refuse(reader->json.load, "this is JSON, but neither an EPCIS document with an eventList nor an event");
    }

    return 0;
}


static int
svw_json_failed(svw_json_reader_t *reader, size_t n)
{
    char            text[128];
    size_t          len;
    unsigned char  *error;

    /* a callback that stopped has said why */
    if (reader->json.load->rc != SVW_LOAD_OK) {
        return -1;
    }

    svw_json_line(reader);
    error = yajl_get_error(reader->yajl, 0, reader->chunk, n);
    snprintf(text, sizeof(text), "%s", error != NULL ? (const char *) error : "parse error");

    if (error != NULL) {
        yajl_free_error(reader->yajl, error);
    }

    for (len = strlen(text); len > 0 && (text[len - 1] == '\n' || text[len - 1] == '.'); len--) {
        text[len - 1] = '\0';
    }

    return svw_load_refuse(reader->json.load, "line %lld: not JSON: %s", (long long) reader->json.line, text);
}


/* The line of the token at hand. */
static void
svw_json_line(svw_json_reader_t *reader)
{
    size_t  consumed;

    consumed = yajl_get_bytes_consumed(reader->yajl);

    for (; reader->counted < consumed; reader->counted++) {
        reader->json.line += reader->chunk[reader->counted] == '\n';
    }

    reader->last = reader->fed + (int64_t) consumed;
}


static int
svw_json_on_string(void *data, const unsigned char *text, size_t len)
{
    svw_json_line(data);

    return svw_json_value(data, (sv_span_t) { text, len }) == 0;
}


/* A lot may be all digits; where a number is out of place it fails the check of what it stands for. */
static int
svw_json_on_number(void *data, const char *text, size_t len)
{
    svw_json_line(data);

    return svw_json_value(data, (sv_span_t) { (const uint8_t *) text, len }) == 0;
}


static int
svw_json_on_boolean(void *data, int value)
{
    svw_json_line(data);

    return svw_json_value(data, value ? sv_span("true") : sv_span("false")) == 0;
}


static int
svw_json_on_null(void *data)
{
    svw_json_line(data);

    return svw_json_null(data) == 0;
}


static int
svw_json_on_map(void *data)
{
    svw_json_line(data);

    return svw_json_object(data) == 0;
}


static int
svw_json_on_key(void *data, const unsigned char *text, size_t len)
{
    svw_json_name(data, (sv_span_t) { text, len });

    return 1;
}


static int
svw_json_on_map_end(void *data)
{
    svw_json_line(data);

    return svw_json_object_end(data) == 0;
}


static int
svw_json_on_array(void *data)
{
    svw_json_line(data);

    return svw_json_array(data) == 0;
}


static int
svw_json_on_array_end(void *data)
{
    svw_json_line(data);
    svw_json_array_end(data);

    return 1;
}
