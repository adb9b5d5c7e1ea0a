#include "sv_event.h"

#include <math.h>


#define SV_EVENT_FIELDS   19
#define SV_EVENT_WORD     32            /* of an entry mode, an alert's id, a request's id */
#define SV_EVENT_GTIN     UINT64_C(99999999999999)

/* the order of a line */
typedef enum {
    SV_EVENT_F_VERSION, SV_EVENT_F_SEQUENCE, SV_EVENT_F_AT, SV_EVENT_F_OCCURRED, SV_EVENT_F_GTIN,
    SV_EVENT_F_SERIAL, SV_EVENT_F_LOT, SV_EVENT_F_EXPIRY, SV_EVENT_F_LOCATION, SV_EVENT_F_SESSION,
    SV_EVENT_F_COUNTRY, SV_EVENT_F_LAT, SV_EVENT_F_LON, SV_EVENT_F_ACCURACY, SV_EVENT_F_ENTRY_MODE,
    SV_EVENT_F_REASON, SV_EVENT_F_ALERT, SV_EVENT_F_REQUEST, SV_EVENT_F_FLAGS
} sv_event_field_e;


static int sv_event_valid(const sv_event_t *event);
static int sv_event_text_valid(sv_span_t text, size_t max);
static int sv_event_digits(sv_span_t text);
static int sv_event_country_valid(const char *country, size_t len);
static char *sv_event_put(char *p, sv_span_t text);
static char *sv_event_put_number(char *p, uint64_t value);
static char *sv_event_put_known(char *p, uint64_t value);
static char *sv_event_put_degrees(char *p, double degrees);
static int sv_event_split(sv_span_t line, sv_span_t *field);
static int sv_event_number(sv_span_t text, uint64_t min, uint64_t max, uint64_t *value);
static int sv_event_degrees(sv_span_t text, double limit, double *degrees);
static int sv_event_flags(sv_span_t text, sv_event_t *event);
static int sv_event_numbers(const sv_span_t *field, sv_event_t *event);


/* All that is written is bounded by the checks: it is shorter than SV_EVENT_LINE. */
size_t
sv_event_line(char *line, size_t size, const sv_event_t *event)
{
    char        *p;
    const char  *word;

    if (size < SV_EVENT_LINE || !sv_event_valid(event)) {
        return 0;
    }

    p = line;
    *p++ = SV_EVENT_VERSION;
    *p++ = '\t';
    p = sv_event_put_known(p, event->sequence);
    p = sv_event_put_known(p, (uint64_t) event->at_ms);
    p = sv_event_put_known(p, (uint64_t) event->occurred_ms);
    p = sv_event_put_known(p, event->gtin);
    p = sv_event_put(p, event->serial);
    p = sv_event_put(p, event->lot);
    p = sv_event_put(p, event->expiry);
    p = sv_event_put_known(p, (uint64_t) event->location);
    p = sv_event_put(p, event->session);
    p = sv_event_put(p, (sv_span_t) {(const uint8_t *) event->country, strlen(event->country)});
    p = sv_event_put_degrees(p, event->lat);
    p = sv_event_put_degrees(p, event->lon);
    p = sv_event_put_known(p, event->accuracy_km);
    p = sv_event_put(p, event->entry_mode);

    word = sv_reason_row(event->reason)->word;
    p = sv_event_put(p, (sv_span_t) {(const uint8_t *) word, strlen(word)});
    p = sv_event_put(p, event->alert_id);
    p = sv_event_put(p, event->request_id);

    if (event->hint) {
        *p++ = 'h';
    }

    if (event->silent) {
        *p++ = 's';
    }

    *p++ = '\n';

    return (size_t) (p - line);
}


int
sv_event_parse(sv_span_t line, sv_event_t *event)
{
    sv_span_t  field[SV_EVENT_FIELDS];

    if (line.len >= SV_EVENT_LINE || sv_event_split(line, field) != 0
        || field[SV_EVENT_F_VERSION].len != 1
        || field[SV_EVENT_F_VERSION].data[0] != SV_EVENT_VERSION)
    {
        return -1;
    }

    memset(event, 0, sizeof(sv_event_t));

    event->serial = field[SV_EVENT_F_SERIAL];
    event->lot = field[SV_EVENT_F_LOT];
    event->expiry = field[SV_EVENT_F_EXPIRY];
    event->session = field[SV_EVENT_F_SESSION];
    event->entry_mode = field[SV_EVENT_F_ENTRY_MODE];
    event->alert_id = field[SV_EVENT_F_ALERT];
    event->request_id = field[SV_EVENT_F_REQUEST];
    event->reason = sv_reason_parse(field[SV_EVENT_F_REASON]);

    if (!sv_event_country_valid((const char *) field[SV_EVENT_F_COUNTRY].data,
                                field[SV_EVENT_F_COUNTRY].len)
        || sv_event_numbers(field, event) != 0
        || sv_event_flags(field[SV_EVENT_F_FLAGS], event) != 0)
    {
        return -1;
    }

    memcpy(event->country, field[SV_EVENT_F_COUNTRY].data, field[SV_EVENT_F_COUNTRY].len);

    return sv_event_valid(event) ? 0 : -1;
}


/* The same for who writes and who reads: no line is written that would be refused. */
static int
sv_event_valid(const sv_event_t *event)
{
    if (event->sequence == 0 || event->sequence > INT64_MAX || event->at_ms <= 0
        || event->occurred_ms < 0 || event->gtin == 0 || event->gtin > SV_EVENT_GTIN
        || event->location < 0 || (unsigned) event->reason >= SV_REASON_MAX)
    {
        return 0;
    }

    if (event->serial.len == 0 || !sv_event_text_valid(event->serial, SV_SERIAL_MAX)
        || !sv_event_text_valid(event->lot, SV_LOT_MAX)
        || (event->expiry.len != 0 && event->expiry.len != 6) || !sv_event_digits(event->expiry))
    {
        return 0;
    }

    if (!sv_event_text_valid(event->session, SV_EVENT_SESSION)
        || !sv_event_text_valid(event->entry_mode, SV_EVENT_WORD)
        || !sv_event_text_valid(event->alert_id, SV_EVENT_WORD)
        || !sv_event_text_valid(event->request_id, SV_EVENT_WORD))
    {
        return 0;
    }

    if (!isnan(event->lat) && !(event->lat >= -90 && event->lat <= 90)) {
        return 0;
    }

    if (!isnan(event->lon) && !(event->lon >= -180 && event->lon <= 180)) {
        return 0;
    }

    return isnan(event->lat) == isnan(event->lon)
           && sv_event_country_valid(event->country, strnlen(event->country, 3));
}


static int
sv_event_text_valid(sv_span_t text, size_t max)
{
    size_t  i;

    if (text.len > max) {
        return 0;
    }

    for (i = 0; i < text.len; i++) {
        if (text.data[i] < 0x20 || text.data[i] > 0x7e) {
            return 0;
        }
    }

    return 1;
}


static int
sv_event_digits(sv_span_t text)
{
    size_t  i;

    for (i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return 0;
        }
    }

    return 1;
}


static int
sv_event_country_valid(const char *country, size_t len)
{
    return len == 0
           || (len == 2 && country[0] >= 'A' && country[0] <= 'Z'
               && country[1] >= 'A' && country[1] <= 'Z');
}


static char *
sv_event_put(char *p, sv_span_t text)
{
    if (text.len != 0) {
        memcpy(p, text.data, text.len);
        p += text.len;
    }

    *p++ = '\t';

    return p;
}


static char *
sv_event_put_number(char *p, uint64_t value)
{
    char    digits[20];
    size_t  n;

    n = sizeof(digits);

    do {
        digits[--n] = (char) ('0' + value % 10);
        value /= 10;
    } while (value != 0);

    memcpy(p, digits + n, sizeof(digits) - n);

    return p + (sizeof(digits) - n);
}


/* 0: unknown */
static char *
sv_event_put_known(char *p, uint64_t value)
{
    if (value != 0) {
        p = sv_event_put_number(p, value);
    }

    *p++ = '\t';

    return p;
}


/* two decimals: a cell is no finer */
static char *
sv_event_put_degrees(char *p, double degrees)
{
    uint64_t  hundredths;

    if (!isnan(degrees)) {
        if (degrees < 0) {
            *p++ = '-';
            degrees = -degrees;
        }

        hundredths = (uint64_t) (degrees * 100 + 0.5);
        p = sv_event_put_number(p, hundredths / 100);
        *p++ = '.';
        *p++ = (char) ('0' + hundredths / 10 % 10);
        *p++ = (char) ('0' + hundredths % 10);
    }

    *p++ = '\t';

    return p;
}


static int
sv_event_split(sv_span_t line, sv_span_t *field)
{
    size_t          n;
    const uint8_t  *p, *end, *tab;

    p = line.data;
    end = line.data + line.len;

    for (n = 0; n < SV_EVENT_FIELDS; n++) {
        tab = p < end ? memchr(p, '\t', (size_t) (end - p)) : NULL;

        if ((tab == NULL) != (n == SV_EVENT_FIELDS - 1)) {
            return -1;
        }

        field[n].data = p;
        field[n].len = (size_t) ((tab != NULL ? tab : end) - p);

        p = tab != NULL ? tab + 1 : end;
    }

    return 0;
}


static int
sv_event_numbers(const sv_span_t *field, sv_event_t *event)
{
    uint64_t  at, occurred, location, accuracy;

    if (sv_event_number(field[SV_EVENT_F_SEQUENCE], 1, INT64_MAX, &event->sequence) != 0
        || sv_event_number(field[SV_EVENT_F_AT], 1, INT64_MAX, &at) != 0
        || sv_event_number(field[SV_EVENT_F_OCCURRED], 0, INT64_MAX, &occurred) != 0
        || sv_event_number(field[SV_EVENT_F_GTIN], 1, SV_EVENT_GTIN, &event->gtin) != 0
        || sv_event_number(field[SV_EVENT_F_LOCATION], 0, INT32_MAX, &location) != 0
        || sv_event_number(field[SV_EVENT_F_ACCURACY], 0, INT32_MAX, &accuracy) != 0
        || sv_event_degrees(field[SV_EVENT_F_LAT], 90, &event->lat) != 0
        || sv_event_degrees(field[SV_EVENT_F_LON], 180, &event->lon) != 0)
    {
        return -1;
    }

    event->at_ms = (int64_t) at;
    event->occurred_ms = (int64_t) occurred;
    event->location = (int32_t) location;
    event->accuracy_km = (unsigned) accuracy;

    return 0;
}


/* digits without a leading zero; empty is 0: unknown */
static int
sv_event_number(sv_span_t text, uint64_t min, uint64_t max, uint64_t *value)
{
    size_t    i;
    unsigned  digit;

    *value = 0;

    if (!sv_event_digits(text) || (text.len != 0 && text.data[0] == '0')) {
        return -1;
    }

    for (i = 0; i < text.len; i++) {
        digit = text.data[i] - '0';

        if (*value > (max - digit) / 10) {
            return -1;
        }

        *value = *value * 10 + digit;
    }

    return *value >= min ? 0 : -1;
}


/* -12.25 */
static int
sv_event_degrees(sv_span_t text, double limit, double *degrees)
{
    int       negative;
    size_t    i;
    unsigned  hundredths;

    *degrees = NAN;

    if (text.len == 0) {
        return 0;
    }

    negative = text.data[0] == '-';
    text.data += negative;
    text.len -= (size_t) negative;

    if (text.len < 4 || text.len > 6 || text.data[text.len - 3] != '.') {
        return -1;
    }

    hundredths = 0;

    for (i = 0; i < text.len; i++) {
        if (i == text.len - 3) {
            continue;
        }

        if (text.data[i] < '0' || text.data[i] > '9') {
            return -1;
        }

        hundredths = hundredths * 10 + (text.data[i] - '0');
    }

    *degrees = negative ? -(hundredths / 100.0) : hundredths / 100.0;

    return hundredths <= limit * 100 ? 0 : -1;
}


static int
sv_event_flags(sv_span_t text, sv_event_t *event)
{
    event->hint = text.len != 0 && text.data[0] == 'h';

    if (event->hint) {
        text.data++;
        text.len--;
    }

    event->silent = text.len == 1 && text.data[0] == 's';

    return text.len == event->silent ? 0 : -1;
}
