/*
 * Lines of scan events: what is read can be written, and is then the same.
 */

#include "../../src/model/sv_event.h"

#include <math.h>
#include <stdlib.h>


int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

static void sv_fuzz_require(int condition);
static int sv_fuzz_same_degrees(double a, double b);


int
LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    char        line[SV_EVENT_LINE];
    size_t      len;
    sv_event_t  event, back;

    if (sv_event_parse((sv_span_t) {input, size}, &event) != 0) {
        return 0;
    }

    len = sv_event_line(line, sizeof(line), &event);

    sv_fuzz_require(len > 0 && len < SV_EVENT_LINE && line[len - 1] == '\n');
    sv_fuzz_require(memchr(line, '\n', len) == line + len - 1);
    sv_fuzz_require(sv_event_parse((sv_span_t) {(uint8_t *) line, len - 1}, &back) == 0);

    sv_fuzz_require(event.sequence == back.sequence && event.at_ms == back.at_ms
                    && event.occurred_ms == back.occurred_ms && event.gtin == back.gtin
                    && event.location == back.location && event.accuracy_km == back.accuracy_km
                    && event.reason == back.reason && event.hint == back.hint
                    && event.silent == back.silent && strcmp(event.country, back.country) == 0);
    sv_fuzz_require(sv_span_eq(event.serial, back.serial) && sv_span_eq(event.lot, back.lot)
                    && sv_span_eq(event.expiry, back.expiry)
                    && sv_span_eq(event.session, back.session)
                    && sv_span_eq(event.entry_mode, back.entry_mode)
                    && sv_span_eq(event.alert_id, back.alert_id)
                    && sv_span_eq(event.request_id, back.request_id));
    sv_fuzz_require(sv_fuzz_same_degrees(event.lat, back.lat)
                    && sv_fuzz_same_degrees(event.lon, back.lon));

    return 0;
}


static int
sv_fuzz_same_degrees(double a, double b)
{
    return isnan(a) ? isnan(b) : a == b;
}


static void
sv_fuzz_require(int condition)
{
    if (!condition) {
        __builtin_trap();
    }
}
