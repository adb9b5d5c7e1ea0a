/*
 * A line of JSON into its members, as text.
 */

#include "svw_replay_in.h"

#include "svw_load.h"

#include <stdlib.h>


#define SVW_REPLAY_DEPTH  64


static int svw_replay_failed(svw_replay_reader_t *reader, yajl_status status, sv_span_t line, char error[SVW_TEXT]);
static int svw_replay_value(void *data, const void *text, size_t len);
static int svw_replay_on_null(void *data);
static int svw_replay_on_boolean(void *data, int value);
static int svw_replay_on_number(void *data, const char *text, size_t len);
static int svw_replay_on_string(void *data, const unsigned char *text, size_t len);
static int svw_replay_on_open(void *data);
static int svw_replay_on_key(void *data, const unsigned char *text, size_t len);
static int svw_replay_on_close(void *data);
static int svw_replay_on_array(void *data);


const char *const  svw_replay_members[SVW_M_MAX] = {
    "type", "time", "gtin", "serial", "lot", "expiry", "operation", "of", "actor_kind",
    "actor", "session", "country", "lat", "lon", "accuracy_km", "entry_mode", "outcome",
    "markets", "line", "serials", "gln", "kind", "key", "idempotency_key"
};

static const yajl_callbacks  svw_replay_callbacks = {
    svw_replay_on_null,
    svw_replay_on_boolean,
    NULL,
    NULL,
    svw_replay_on_number,
    svw_replay_on_string,
    svw_replay_on_open,
    svw_replay_on_key,
    svw_replay_on_close,
    svw_replay_on_array,
    svw_replay_on_close
};


int
svw_replay_line(svw_replay_reader_t *reader, sv_span_t line, char error[SVW_TEXT])
{
    uint8_t      *text;
    yajl_status   status;

    if (line.len > reader->size) {
        text = realloc(reader->text, line.len);
        if (text == NULL) {
            return -2;
        }

        reader->text = text;
        reader->size = line.len;
    }

    if (reader->yajl == NULL) {
        reader->yajl = yajl_alloc(&svw_replay_callbacks, NULL, reader);
        if (reader->yajl == NULL) {
            return -2;
        }

        (void) yajl_config(reader->yajl, yajl_allow_multiple_values, 1);
        (void) yajl_config(reader->yajl, yajl_dont_validate_strings, 1);
    }

    memset(reader->value, 0, sizeof(reader->value));
    reader->len = 0;
    reader->depth = reader->object = reader->more = reader->list = reader->ended = reader->no_memory = 0;
    reader->serials.n = reader->markets.n = 0;
    reader->member = SVW_M_MAX;

    status = yajl_parse(reader->yajl, line.data, line.len);

    /* the line feed ends a number that stands alone */
    if (status == yajl_status_ok) {
        status = yajl_parse(reader->yajl, (const unsigned char *) "\n", 1);
        reader->ended = 1;
    }

    if (status != yajl_status_ok || reader->depth != 0 || !reader->object || reader->more) {
        return svw_replay_failed(reader, status, line, error);
    }

    return 0;
}


/* the parser cannot go on from where it is: the next line gets another one */
static int
svw_replay_failed(svw_replay_reader_t *reader, yajl_status status, sv_span_t line, char error[SVW_TEXT])
{
    char            text[SVW_TEXT / 2];
    unsigned char  *reason;

    reason = yajl_get_error(reader->yajl, 0, line.data, line.len);

    if (reader->no_memory) {
        snprintf(text, sizeof(text), "out of memory");

    } else if (reader->depth > SVW_REPLAY_DEPTH) {
        snprintf(text, sizeof(text), "nested too deep");

    } else if (reader->more || (status == yajl_status_ok && reader->depth == 0)) {
        snprintf(text, sizeof(text), "one JSON object is needed");

    } else if (reader->ended) {
        snprintf(text, sizeof(text), "not JSON: it ends within the object");

    } else {
        memcpy(text, "not JSON: ", 10);
        svw_printable(text + 10, sizeof(text) - 10,
                      (sv_span_t) { reason, reason != NULL ? strcspn((const char *) reason, "\n") : 0 });
    }

    snprintf(error, SVW_TEXT, "%s", text);

    if (reason != NULL) {
        yajl_free_error(reader->yajl, reason);
    }

    yajl_free(reader->yajl);
    reader->yajl = NULL;

    return reader->no_memory ? -2 : -1;
}


static int
svw_replay_value(void *data, const void *text, size_t len)
{
    sv_span_t             value;
    svw_replay_reader_t  *reader;

    reader = data;

    if (reader->depth == 0) {
        reader->more = 1;
        return 0;
    }

    if (reader->member == SVW_M_MAX || reader->depth != 1 + reader->list) {
        return 1;
    }

    value = (sv_span_t) { reader->text + reader->len, len };
    memcpy(reader->text + reader->len, text, len);
    reader->len += len;

    if (!reader->list) {
        reader->value[reader->member] = value;
        return 1;
    }

    if (reader->member == SVW_M_SERIALS || reader->member == SVW_M_MARKETS) {
        return svw_replay_list_add(reader, reader->member == SVW_M_SERIALS ? &reader->serials : &reader->markets, value) == 0;
    }

    return 1;
}


int
svw_replay_list_add(svw_replay_reader_t *reader, svw_replay_list_t *list, sv_span_t span)
{
    size_t      size;
    sv_span_t  *grown;

    if (list->n == list->size) {
        size = list->size > 0 ? 2 * list->size : 64;
        grown = realloc(list->span, size * sizeof(sv_span_t));

        if (grown == NULL) {
            reader->no_memory = 1;
            return -1;
        }

        list->span = grown;
        list->size = size;
    }

    list->span[list->n++] = span;

    return 0;
}


static int
svw_replay_on_null(void *data)
{
    svw_replay_reader_t  *reader;

    reader = data;

    if (reader->depth == 1 && reader->member != SVW_M_MAX) {
        reader->value[reader->member] = (sv_span_t) { NULL, 0 };
    }

    reader->more |= reader->depth == 0;

    return 1;
}


/* nothing that is known is true or false */
static int
svw_replay_on_boolean(void *data, int value)
{
    (void) value;

    return svw_replay_on_null(data);
}


static int
svw_replay_on_number(void *data, const char *text, size_t len)
{
    return svw_replay_value(data, text, len);
}


static int
svw_replay_on_string(void *data, const unsigned char *text, size_t len)
{
    return svw_replay_value(data, text, len);
}


static int
svw_replay_on_open(void *data)
{
    svw_replay_reader_t  *reader;

    reader = data;

    if (reader->depth == 0) {
        reader->more |= reader->object;
        reader->object = 1;
    }

    return ++reader->depth <= SVW_REPLAY_DEPTH;
}


static int
svw_replay_on_key(void *data, const unsigned char *text, size_t len)
{
    svw_replay_reader_t  *reader;
    svw_replay_member_t   m;

    reader = data;

    if (reader->depth != 1) {
        return 1;
    }

    for (m = 0; m < SVW_M_MAX; m++) {
        if (svw_replay_members[m][0] == text[0] && strlen(svw_replay_members[m]) == len && memcmp(svw_replay_members[m], text, len) == 0) {
            break;
        }
    }

    reader->member = m;

    return 1;
}


static int
svw_replay_on_close(void *data)
{
    svw_replay_reader_t  *reader;

    reader = data;
    reader->depth--;

    if (reader->depth <= 1) {
        reader->list = 0;
    }

    return 1;
}


static int
svw_replay_on_array(void *data)
{
    svw_replay_reader_t  *reader;

    reader = data;

    if (reader->depth == 0) {
        reader->more = 1;
        return 0;
    }

    if (reader->depth == 1) {
        reader->list = 1;

        /* of members that come twice the last counts */
        if (reader->member == SVW_M_SERIALS) {
            reader->serials.n = 0;
        } else if (reader->member == SVW_M_MARKETS) {
            reader->markets.n = 0;
        }
    }

    return ++reader->depth <= SVW_REPLAY_DEPTH;
}
