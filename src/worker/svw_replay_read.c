#include "svw_replay.h"

#include "svw_load.h"

#include <math.h>
#include <stdlib.h>
#include <yajl/yajl_parse.h>


#define SVW_REPLAY_DEPTH  64

typedef enum {
    SVW_M_TYPE, SVW_M_TIME, SVW_M_GTIN, SVW_M_SERIAL, SVW_M_LOT, SVW_M_EXPIRY, SVW_M_OPERATION, SVW_M_OF, SVW_M_ACTOR_KIND,
    SVW_M_ACTOR, SVW_M_SESSION, SVW_M_COUNTRY, SVW_M_LAT, SVW_M_LON, SVW_M_ACCURACY_KM, SVW_M_ENTRY_MODE, SVW_M_OUTCOME,
    SVW_M_MARKETS, SVW_M_LINE, SVW_M_SERIALS, SVW_M_GLN, SVW_M_KIND, SVW_M_KEY, SVW_M_IDEMPOTENCY_KEY, SVW_M_MAX
} svw_replay_member_t;

typedef struct {
    sv_span_t  *span;
    size_t      n, size;
} svw_replay_list_t;

struct svw_replay_reader_s {
    yajl_handle          yajl;
    uint8_t             *text;          /* values of the line: as much room as the line is long */
    size_t               size, len;
    unsigned             depth;
    unsigned             object;        /* the line has one */
    unsigned             more;          /* .. and something behind it */
    unsigned             list;          /* the value at hand is a list */
    unsigned             ended;         /* nothing in the line itself is wrong, but it may not be all */
    unsigned             no_memory;
    svw_replay_member_t  member;
    sv_span_t            value[SVW_M_MAX];      /* a scalar as text; data NULL: absent */
    svw_replay_list_t    serials, markets;
    char                 expiry[7];
    char               (*country)[3];   /* as many as markets.size */
};


static int svw_replay_parse(svw_replay_reader_t *reader, sv_span_t line, char error[SVW_TEXT]);
static int svw_replay_scan(svw_replay_reader_t *reader, svw_replay_record_t *record, char error[SVW_TEXT]);
static int svw_replay_commission(svw_replay_reader_t *reader, svw_replay_record_t *record, char error[SVW_TEXT]);
static int svw_replay_location(svw_replay_reader_t *reader, svw_replay_record_t *record, char error[SVW_TEXT]);
static int svw_replay_recall(svw_replay_reader_t *reader, svw_replay_record_t *record, char error[SVW_TEXT]);
static int svw_replay_markets(svw_replay_reader_t *reader);
static int svw_replay_when(svw_replay_reader_t *reader, svw_replay_record_t *record, int64_t *ms, char error[SVW_TEXT]);
static int svw_replay_which(svw_replay_reader_t *reader, uint64_t *gtin, char error[SVW_TEXT]);
static int svw_replay_bad(svw_replay_reader_t *reader, svw_replay_member_t member, const char *reason, char error[SVW_TEXT]);
static void svw_replay_place(svw_replay_reader_t *reader, double *lat, double *lon);
static double svw_replay_number(sv_span_t text);
static int svw_replay_failed(svw_replay_reader_t *reader, yajl_status status, sv_span_t line, char error[SVW_TEXT]);
static int svw_replay_add(svw_replay_reader_t *reader, svw_replay_list_t *list, sv_span_t span);
static int svw_replay_value(void *data, const void *text, size_t len);
static int svw_replay_on_null(void *data);
static int svw_replay_on_boolean(void *data, int value);
static int svw_replay_on_number(void *data, const char *text, size_t len);
static int svw_replay_on_string(void *data, const unsigned char *text, size_t len);
static int svw_replay_on_open(void *data);
static int svw_replay_on_key(void *data, const unsigned char *text, size_t len);
static int svw_replay_on_close(void *data);
static int svw_replay_on_array(void *data);


static const char *const  svw_replay_members[SVW_M_MAX] = {
    "type", "time", "gtin", "serial", "lot", "expiry", "operation", "of", "actor_kind",
    "actor", "session", "country", "lat", "lon", "accuracy_km", "entry_mode", "outcome",
    "markets", "line", "serials", "gln", "kind", "key", "idempotency_key"
};

static const struct {
    const char  *type;
    int        (*read)(svw_replay_reader_t *reader, svw_replay_record_t *record, char error[SVW_TEXT]);
} svw_replay_types[] = {
    { "scan", svw_replay_scan },
    { "commission", svw_replay_commission },
    { "location", svw_replay_location },
    { "recall", svw_replay_recall }
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


svw_replay_reader_t *
svw_replay_reader_create(void)
{
    return calloc(1, sizeof(svw_replay_reader_t));
}


void
svw_replay_reader_destroy(svw_replay_reader_t *reader)
{
    if (reader == NULL) {
        return;
    }

    if (reader->yajl != NULL) {
        yajl_free(reader->yajl);
    }

    free(reader->text);
    free(reader->serials.span);
    free(reader->markets.span);
    free(reader->country);
    free(reader);
}


int
svw_replay_read(svw_replay_reader_t *reader, sv_span_t line, svw_replay_record_t *record, char error[SVW_TEXT])
{
    int        rc;
    size_t     i;
    sv_span_t  type;

    for (i = 0; i < line.len && (line.data[i] == ' ' || line.data[i] == '\t' || line.data[i] == '\r'); i++) { /* void */ }

    *record = (svw_replay_record_t) { .kind = SVW_REPLAY_NOTHING };

    if (i == line.len) {
        return 0;
    }

    rc = svw_replay_parse(reader, line, error);

    if (rc != 0) {
        return rc;
    }

    type = reader->value[SVW_M_TYPE];

    if (type.len == 0) {
        return svw_replay_scan(reader, record, error);
    }

    for (i = 0; i < sizeof(svw_replay_types) / sizeof(svw_replay_types[0]); i++) {
        if (type.len == strlen(svw_replay_types[i].type) && memcmp(type.data, svw_replay_types[i].type, type.len) == 0) {
            return svw_replay_types[i].read(reader, record, error);
        }
    }

    return 0;
}


/* the members of a line into reader->value and the lists */
static int
svw_replay_parse(svw_replay_reader_t *reader, sv_span_t line, char error[SVW_TEXT])
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


/* records */

static int
svw_replay_scan(svw_replay_reader_t *reader, svw_replay_record_t *record, char error[SVW_TEXT])
{
    const sv_span_t   *v;
    svw_judge_scan_t  *scan;

    v = reader->value;
    scan = &record->u.scan;
    record->kind = SVW_REPLAY_SCAN;
    record->key = v[SVW_M_IDEMPOTENCY_KEY].len > 0 ? v[SVW_M_IDEMPOTENCY_KEY] : v[SVW_M_KEY];

    *scan = (svw_judge_scan_t) {
        .serial = v[SVW_M_SERIAL], .lot = v[SVW_M_LOT], .expiry = svw_replay_expiry(v[SVW_M_EXPIRY], reader->expiry),
        .operation = v[SVW_M_OPERATION].len > 0 ? svw_replay_operation(v[SVW_M_OPERATION]) : SVW_OP_VERIFY,
        .of = v[SVW_M_OF].len > 0 ? svw_replay_operation(v[SVW_M_OF]) : SVW_OP_OTHER,
        .kind = v[SVW_M_ACTOR_KIND].len > 0 ? svw_replay_actor_kind(v[SVW_M_ACTOR_KIND]) : SVW_ACTOR_UNKNOWN,
        .actor = v[SVW_M_ACTOR], .session = v[SVW_M_SESSION], .accuracy_km = svw_replay_number(v[SVW_M_ACCURACY_KM]),
        .entry = svw_replay_entry(v[SVW_M_ENTRY_MODE]), .reason = svw_replay_outcome(v[SVW_M_OUTCOME])
    };

    /* a site names itself, a consumer never does */
    if (scan->kind == SVW_ACTOR_UNKNOWN && scan->actor.len == 0) {
        scan->kind = SVW_ACTOR_CONSUMER;
    }

    if (!(scan->accuracy_km >= 0)) {
        scan->accuracy_km = NAN;
    }

    svw_replay_country(v[SVW_M_COUNTRY], scan->country);
    svw_replay_place(reader, &scan->lat, &scan->lon);

    if (svw_replay_which(reader, &scan->gtin, error) != 0) {
        return -1;
    }

    return svw_replay_when(reader, record, &scan->time_ms, error);
}


static int
svw_replay_commission(svw_replay_reader_t *reader, svw_replay_record_t *record, char error[SVW_TEXT])
{
    sv_span_t               *v;
    svw_judge_commission_t  *commission;

    v = reader->value;
    commission = &record->u.commission;
    record->kind = SVW_REPLAY_COMMISSION;

    /* one serial is a list of one; a number of them names none */
    if (v[SVW_M_SERIAL].len > 0 && svw_replay_add(reader, &reader->serials, v[SVW_M_SERIAL]) != 0) {
        return -2;
    }

    if (svw_replay_markets(reader) != 0) {
        return -2;
    }

    *commission = (svw_judge_commission_t) {
        .lot = v[SVW_M_LOT], .expiry = svw_replay_expiry(v[SVW_M_EXPIRY], reader->expiry), .line = v[SVW_M_LINE],
        .serials = reader->serials.span, .n_serials = reader->serials.n,
        .markets = reader->markets.span, .n_markets = reader->markets.n
    };

    if (svw_replay_which(reader, &commission->gtin, error) != 0) {
        return -1;
    }

    return svw_replay_when(reader, record, &commission->time_ms, error);
}


static int
svw_replay_location(svw_replay_reader_t *reader, svw_replay_record_t *record, char error[SVW_TEXT])
{
    const sv_span_t       *v;
    svw_judge_location_t  *location;

    v = reader->value;
    location = &record->u.location;
    record->kind = SVW_REPLAY_LOCATION;

    *location = (svw_judge_location_t) {
        .actor = v[SVW_M_ACTOR].len > 0 ? v[SVW_M_ACTOR] : v[SVW_M_GLN], .gln = v[SVW_M_GLN],
        .kind = v[SVW_M_KIND].len > 0 ? svw_replay_actor_kind(v[SVW_M_KIND]) : SVW_ACTOR_UNKNOWN
    };

    svw_replay_country(v[SVW_M_COUNTRY], location->country);
    svw_replay_place(reader, &location->lat, &location->lon);

    if (location->actor.len == 0) {
        return svw_replay_bad(reader, SVW_M_ACTOR, "is missing", error);
    }

    return 0;
}


static int
svw_replay_recall(svw_replay_reader_t *reader, svw_replay_record_t *record, char error[SVW_TEXT])
{
    record->kind = SVW_REPLAY_RECALL;
    record->u.recall.lot = reader->value[SVW_M_LOT];

    if (svw_replay_which(reader, &record->u.recall.gtin, error) != 0) {
        return -1;
    }

    return svw_replay_when(reader, record, &record->u.recall.time_ms, error);
}


/* values */

/* A list, or one text of countries; what is none is left out. */
static int
svw_replay_markets(svw_replay_reader_t *reader)
{
    char               (*country)[3];
    size_t               i, n, size;
    sv_span_t            text, one;
    svw_replay_list_t   *list;

    list = &reader->markets;
    text = reader->value[SVW_M_MARKETS];

    while (text.len > 0) {
        for (n = 0; n < text.len && text.data[n] != ',' && text.data[n] != ' ' && text.data[n] != ';'; n++) { /* void */ }

        one = (sv_span_t) { text.data, n };
        n += n < text.len;
        text = (sv_span_t) { text.data + n, text.len - n };

        if (one.len > 0 && svw_replay_add(reader, list, one) != 0) {
            return -1;
        }
    }

    size = list->n > 0 ? list->n : 1;
    country = realloc(reader->country, size * sizeof(*country));

    if (country == NULL) {
        return -1;
    }

    reader->country = country;

    for (i = 0, n = 0; i < list->n; i++) {
        svw_replay_country(list->span[i], country[n]);

        if (country[n][0] != '\0') {
            list->span[n] = (sv_span_t) { (const uint8_t *) country[n], 2 };
            n++;
        }
    }

    list->n = n;

    return 0;
}


/* An unknown time is the caller's to guess. */
static int
svw_replay_when(svw_replay_reader_t *reader, svw_replay_record_t *record, int64_t *ms, char error[SVW_TEXT])
{
    sv_span_t  text;

    text = reader->value[SVW_M_TIME];
    record->timed = text.len > 0;

    if (record->timed && svw_replay_time(text, ms) != 0) {
        return svw_replay_bad(reader, SVW_M_TIME, "is not a time as RFC 3339 has it, like 2026-11-21T09:30:00+01:00", error);
    }

    return 0;
}


/* 0: of a product that is not said */
static int
svw_replay_which(svw_replay_reader_t *reader, uint64_t *gtin, char error[SVW_TEXT])
{
    *gtin = 0;

    if (reader->value[SVW_M_GTIN].len > 0 && svw_replay_gtin(reader->value[SVW_M_GTIN], gtin) != 0) {
        return svw_replay_bad(reader, SVW_M_GTIN, "is not a GTIN: 8, 12, 13 or 14 digits are needed", error);
    }

    return 0;
}


static int
svw_replay_bad(svw_replay_reader_t *reader, svw_replay_member_t member, const char *reason, char error[SVW_TEXT])
{
    char  value[64];

    svw_printable(value, sizeof(value), reader->value[member]);

    if (*value != '\0') {
        snprintf(error, SVW_TEXT, "\"%s\" \"%s\" %s", svw_replay_members[member], value, reason);
    } else {
        snprintf(error, SVW_TEXT, "\"%s\" %s", svw_replay_members[member], reason);
    }

    return -1;
}


/* What is no place on earth, or where programs put what they do not know, is unknown. */
static void
svw_replay_place(svw_replay_reader_t *reader, double *lat, double *lon)
{
    *lat = svw_replay_number(reader->value[SVW_M_LAT]);
    *lon = svw_replay_number(reader->value[SVW_M_LON]);

    if (!(*lat >= -90 && *lat <= 90 && *lon >= -180 && *lon <= 180) || (*lat == 0 && *lon == 0)) {
        *lat = *lon = NAN;
    }
}


static double
svw_replay_number(sv_span_t text)
{
    char    buf[64], *end;
    double  number;

    if (text.len == 0 || text.len >= sizeof(buf)) {
        return NAN;
    }

    memcpy(buf, text.data, text.len);
    buf[text.len] = '\0';
    number = strtod(buf, &end);

    return end == buf || *end != '\0' || !isfinite(number) ? NAN : number;
}


/* callbacks of the parser: 1 to go on */

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
        return svw_replay_add(reader, reader->member == SVW_M_SERIALS ? &reader->serials : &reader->markets, value) == 0;
    }

    return 1;
}


static int
svw_replay_add(svw_replay_reader_t *reader, svw_replay_list_t *list, sv_span_t span)
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
