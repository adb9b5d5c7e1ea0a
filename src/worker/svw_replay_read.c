#include "svw_replay_in.h"

#include "svw_load.h"

#include <math.h>
#include <stdlib.h>


static int svw_replay_scan(svw_replay_reader_t *reader, svw_replay_record_t *record, char error[SVW_TEXT]);
static int svw_replay_commission(svw_replay_reader_t *reader, svw_replay_record_t *record, char error[SVW_TEXT]);
static int svw_replay_location(svw_replay_reader_t *reader, svw_replay_record_t *record, char error[SVW_TEXT]);
static int svw_replay_recall(svw_replay_reader_t *reader, svw_replay_record_t *record, char error[SVW_TEXT]);
static int svw_replay_markets(svw_replay_reader_t *reader);
static int svw_replay_about(svw_replay_reader_t *reader, svw_replay_record_t *record, uint64_t *gtin, int64_t *ms, char error[SVW_TEXT]);
static int svw_replay_bad(svw_replay_reader_t *reader, svw_replay_member_t member, const char *reason, char error[SVW_TEXT]);
static void svw_replay_place(svw_replay_reader_t *reader, double *lat, double *lon);
static double svw_replay_number(sv_span_t text);


static const struct {
    const char  *type;
    int        (*read)(svw_replay_reader_t *reader, svw_replay_record_t *record, char error[SVW_TEXT]);
} svw_replay_types[] = {
    { "scan", svw_replay_scan },
    { "commission", svw_replay_commission },
    { "location", svw_replay_location },
    { "recall", svw_replay_recall }
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

    rc = svw_replay_line(reader, line, error);

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

    record->strange = 1u << SVW_STRANGE_TYPE;

    return 0;
}


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

    record->strange = (unsigned) (scan->operation == SVW_OP_OTHER) << SVW_STRANGE_OPERATION
                      | (unsigned) (scan->kind == SVW_ACTOR_OTHER) << SVW_STRANGE_ACTOR_KIND
                      | (unsigned) (scan->reason == SV_REASON_MAX && v[SVW_M_OUTCOME].len > 0) << SVW_STRANGE_OUTCOME;

    /* a site names itself, a consumer never does */
    if (scan->kind == SVW_ACTOR_UNKNOWN && scan->actor.len == 0) {
        scan->kind = SVW_ACTOR_CONSUMER;
    }

    if (!(scan->accuracy_km >= 0)) {
        scan->accuracy_km = NAN;
    }

    svw_replay_country(v[SVW_M_COUNTRY], scan->country);
    svw_replay_place(reader, &scan->lat, &scan->lon);

    return svw_replay_about(reader, record, &scan->gtin, &scan->time_ms, error);
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
    if (v[SVW_M_SERIAL].len > 0 && svw_replay_list_add(reader, &reader->serials, v[SVW_M_SERIAL]) != 0) {
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

    return svw_replay_about(reader, record, &commission->gtin, &commission->time_ms, error);
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

    return svw_replay_about(reader, record, &record->u.recall.gtin, &record->u.recall.time_ms, error);
}


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

        if (one.len > 0 && svw_replay_list_add(reader, list, one) != 0) {
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


/* Of which product (0: that is not said), and when: an unknown time is the caller's to guess. */
static int
svw_replay_about(svw_replay_reader_t *reader, svw_replay_record_t *record, uint64_t *gtin, int64_t *ms, char error[SVW_TEXT])
{
    sv_span_t  text;

    *gtin = 0;
    text = reader->value[SVW_M_GTIN];

    if (text.len > 0 && svw_replay_gtin(text, gtin) != 0) {
        return svw_replay_bad(reader, SVW_M_GTIN, "is not a GTIN: 8, 12, 13 or 14 digits are needed", error);
    }

    text = reader->value[SVW_M_TIME];
    record->timed = text.len > 0;

    if (record->timed && svw_replay_time(text, ms) != 0) {
        return svw_replay_bad(reader, SVW_M_TIME, "is not a time as RFC 3339 has it, like 2026-11-21T09:30:00+01:00", error);
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
