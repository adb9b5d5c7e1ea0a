#include "sv_record.h"



static const char *const  sv_state_words[SV_STATE_MAX] = {
    [SV_STATE_ACTIVE]      = "active",
    [SV_STATE_SUPPLIED]    = "supplied",
    [SV_STATE_DESTROYED]   = "destroyed",
    [SV_STATE_EXPORTED]    = "exported",
    [SV_STATE_SAMPLE]      = "sample",
    [SV_STATE_FREE_SAMPLE] = "free_sample",
    [SV_STATE_LOCKED]      = "locked",
    [SV_STATE_STOLEN]      = "stolen",
    [SV_STATE_CHECKED_OUT] = "checked_out",
};

/* one letter a state keeps the value short; the order is that of sv_state_t */
static const char  sv_state_letters[SV_STATE_MAX + 1] = "asdemflto";

#define SV_FNV_BASIS  UINT64_C(14695981039346656037)
#define SV_FNV_PRIME  UINT64_C(1099511628211)


static uint64_t sv_fnv(uint64_t hash, sv_span_t text);
static char *sv_put_number(char *p, uint64_t value);
static char *sv_put_hex(char *p, uint64_t value);
static int sv_take_number(sv_span_t *rest, uint64_t max, uint64_t *value);


const char *
sv_state_word(sv_state_t state)
{
    return sv_state_words[state];
}


sv_state_t
sv_state_parse(sv_span_t word)
{
    int  i;

    for (i = 0; i < SV_STATE_MAX; i++) {
        if (strlen(sv_state_words[i]) == word.len
            && memcmp(sv_state_words[i], word.data, word.len) == 0)
        {
            return (sv_state_t) i;
        }
    }

    return SV_STATE_MAX;
}


void
sv_cache_prefix(char prefix[SV_CACHE_PREFIX], const char *epoch, const char *run_id)
{
    uint64_t  hash;

    hash = sv_fnv(SV_FNV_BASIS, (sv_span_t) {(const uint8_t *) epoch, strlen(epoch)});
    hash = sv_fnv(hash, sv_span("/"));
    hash = sv_fnv(hash, (sv_span_t) {(const uint8_t *) run_id, strlen(run_id)});

    *sv_put_hex(prefix, hash) = '\0';
}


size_t
sv_cache_key(char key[SV_CACHE_KEY], const char *prefix, uint64_t gtin, sv_span_t serial)
{
    char  *p;
    int    i;

    p = key;

    memcpy(p, "sv:", 3);
    p += 3;
    memcpy(p, prefix, SV_CACHE_PREFIX - 1);
    p += SV_CACHE_PREFIX - 1;
    *p++ = ':';

    for (i = 13; i >= 0; i--) {
        p[i] = (char) ('0' + gtin % 10);
        gtin /= 10;
    }

    p += 14;
    *p++ = ':';
    memcpy(p, serial.data, serial.len);
    p += serial.len;
    *p = '\0';

    return (size_t) (p - key);
}


size_t
sv_record_encode(const sv_record_t *record, sv_span_t key, char value[SV_CACHE_VALUE])
{
    int        year;
    char      *p;
    unsigned   month, day;
    uint64_t   check;

    sv_day_to_civil(record->expiry, &year, &month, &day);

    p = sv_put_number(value, record->version);
    *p++ = ' ';
    *p++ = sv_state_letters[record->state];
    *p++ = ' ';
    p = sv_put_number(p, (uint64_t) year * 10000 + month * 100 + day);
    *p++ = ' ';
    p = sv_put_number(p, (uint64_t) record->location);
    *p++ = ' ';
    p = sv_put_number(p, (uint64_t) record->since);
    *p++ = ' ';
    memcpy(p, record->lot, record->lot_len);
    p += record->lot_len;
    *p++ = ' ';

    check = sv_fnv(SV_FNV_BASIS, key);
    check = sv_fnv(check, (sv_span_t) {(uint8_t *) value, (size_t) (p - value)});
    p = sv_put_hex(p, check);

    return (size_t) (p - value);
}


int
sv_record_decode(sv_record_t *record, sv_span_t key, sv_span_t value)
{
    char         hex[17];
    uint64_t     check, version, date, location, since;
    sv_span_t    rest;
    const char  *letter;

    if (value.len < 16 || value.len > SV_CACHE_VALUE) {
        return 0;
    }

    rest = value;
    rest.len -= 16;

    check = sv_fnv(SV_FNV_BASIS, key);
    sv_put_hex(hex, sv_fnv(check, rest));

    if (memcmp(hex, value.data + rest.len, 16) != 0) {
        return 0;
    }

    if (!sv_take_number(&rest, UINT32_MAX, &version) || rest.len < 2) {
        return 0;
    }

    letter = rest.data[0] != '\0' ? strchr(sv_state_letters, rest.data[0]) : NULL;

    if (letter == NULL || rest.data[1] != ' ') {
        return 0;
    }

    rest.data += 2;
    rest.len -= 2;

    if (!sv_take_number(&rest, 99991231, &date)
        || !sv_take_number(&rest, INT32_MAX, &location)
        || !sv_take_number(&rest, INT64_MAX, &since)
        || rest.len < 1 || rest.len - 1 > SV_LOT_MAX)
    {
        return 0;
    }

    record->version = (uint32_t) version;
    record->state = (sv_state_t) (letter - sv_state_letters);
    record->expiry = sv_day_from_civil((int) (date / 10000), (unsigned) (date / 100 % 100),
                                       (unsigned) (date % 100));
    record->location = (int32_t) location;
    record->since = (int64_t) since;
    record->lot_len = (uint8_t) (rest.len - 1);
    memcpy(record->lot, rest.data, record->lot_len);

    return 1;
}


/* FNV-1a: against mix-ups, not against malice; whoever can write to Redis can answer for it */
static uint64_t
sv_fnv(uint64_t hash, sv_span_t text)
{
    size_t  i;

    for (i = 0; i < text.len; i++) {
        hash = (hash ^ text.data[i]) * SV_FNV_PRIME;
    }

    return hash;
}


static char *
sv_put_number(char *p, uint64_t value)
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


static char *
sv_put_hex(char *p, uint64_t value)
{
    int  i;

    for (i = 15; i >= 0; i--) {
        p[i] = "0123456789abcdef"[value & 15];
        value >>= 4;
    }

    return p + 16;
}


/* a number and the blank behind it */
static int
sv_take_number(sv_span_t *rest, uint64_t max, uint64_t *value)
{
    size_t    i;
    uint64_t  n;

    n = 0;

    for (i = 0; i < rest->len && rest->data[i] >= '0' && rest->data[i] <= '9'; i++) {
        if (n > (max - (rest->data[i] - '0')) / 10) {
            return 0;
        }

        n = n * 10 + (rest->data[i] - '0');
    }

    if (i == 0 || i == rest->len || rest->data[i] != ' ') {
        return 0;
    }

    rest->data += i + 1;
    rest->len -= i + 1;
    *value = n;

    return 1;
}
