#include "sv_row.h"

#include <stdlib.h>


int
sv_row_is(const PGresult *result, int columns)
{
    return PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1
           && PQnfields(result) == columns;
}


sv_span_t
sv_row_span(const PGresult *result, int column)
{
    sv_span_t  span;

    if (PQgetisnull(result, 0, column)) {
        span.data = NULL;
        span.len = 0;

    } else {
        span.data = (const uint8_t *) PQgetvalue(result, 0, column);
        span.len = (size_t) PQgetlength(result, 0, column);
    }

    return span;
}


int
sv_row_bool(const PGresult *result, int column)
{
    return PQgetvalue(result, 0, column)[0] == 't';
}


void
sv_row_text(const PGresult *result, int column, char *out, size_t cap)
{
    size_t     n;
    sv_span_t  text;

    text = sv_row_span(result, column);
    n = text.len;

    if (n > cap - 1) {
        for (n = cap - 1; n > 0 && (text.data[n] & 0xc0) == 0x80; n--) { /* void */ }
    }

    if (n != 0) {
        memcpy(out, text.data, n);
    }

    out[n] = '\0';
}


int64_t
sv_row_number(const PGresult *result, int column)
{
    return strtoll(PQgetvalue(result, 0, column), NULL, 10);
}


int
sv_row_record(const PGresult *result, int state, int version, sv_record_t *record)
{
    int64_t    number;
    sv_span_t  lot;

    record->state = sv_state_parse(sv_row_span(result, state));

    number = sv_row_number(result, version);
    record->version = (uint32_t) number;

    lot = sv_row_span(result, version + 1);
    record->expiry = sv_day_parse(sv_row_span(result, version + 2));
    record->location = (int32_t) sv_row_number(result, version + 3);
    record->since = sv_row_number(result, version + 4);

    if (record->state == SV_STATE_MAX || number < 1 || number > UINT32_MAX
        || lot.len > SV_LOT_MAX || record->expiry == SV_DAY_NONE
        || record->location < 0 || record->since < 0)
    {
        return 0;
    }

    record->lot_len = (uint8_t) lot.len;
    memcpy(record->lot, lot.data ? lot.data : (const uint8_t *) "", lot.len);

    return 1;
}
