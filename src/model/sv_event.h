/*
 * A scan event: who presented what, where and when, and what was answered.
 * The gateway writes it (stream of Redis, or its spool), the worker reads it.
 *
 * Events travel in blocks: gateway, boot and lines.  A line is one event, its
 * fields parted by tabs, an unknown value empty; what GS1 permits in a serial
 * or lot holds no control character, so nothing is escaped.  (gateway, boot,
 * sequence) is an event's identity: one that comes twice is the same, one that is
 * missing in the sequence was lost.  The fields of a line, in this order:
 *
 *   version sequence at_ms occurred_ms gtin serial lot expiry location session
 *   country lat lon accuracy_km entry_mode reason alert_id request_id flags
 *
 * flags: h (hint), s (silent).
 *
 * Of a consumer there is a country, the centre of a coarse cell and a token
 * that changes every day, never an address.
 */

#ifndef SV_EVENT_H
#define SV_EVENT_H

#include "sv_verdict.h"


#define SV_EVENT_STREAM     "sv:scans"      /* fields g (gateway), b (boot, decimal), e (lines, each ended by \n) */
#define SV_EVENT_VERSION    '1'             /* the first field of a line */
#define SV_EVENT_LINE       512             /* longest line with its end */
#define SV_EVENT_GATEWAY    64
#define SV_EVENT_SESSION    16              /* characters of a token */

typedef struct {
    uint64_t      sequence;             /* from 1, without a gap, of one process of a gateway */
    int64_t       at_ms;                /* when it was answered, ms since 1970 */
    int64_t       occurred_ms;          /* when it happened, of an offline replay; 0: at_ms */
    uint64_t      gtin;
    sv_span_t     serial, lot;          /* as presented; lot empty: not presented */
    sv_span_t     expiry;               /* as presented, YYMMDD; empty: not presented */
    int32_t       location;             /* sv.location; 0: a consumer */
    sv_span_t     session;              /* of a consumer; empty: unknown */
    char          country[3];           /* of a consumer, ISO 3166-1 alpha-2; "": unknown */
    double        lat, lon;             /* of a consumer, degrees, centre of the cell; NAN: unknown */
    unsigned      accuracy_km;          /* 0: unknown */
    sv_span_t     entry_mode;
    sv_reason_t   reason;               /* the true one, whatever the public was told */
    sv_span_t     alert_id;
    sv_span_t     request_id;
    unsigned      hint:1;               /* the scanner's setting explains it */
    unsigned      silent:1;             /* a status read without alert: kept, not judged */
} sv_event_t;

/*
 * The line with its end; its length, which is less than SV_EVENT_LINE, or 0:
 * `size' is less than SV_EVENT_LINE, or this is no event that could be read again.
 * Degrees are written with two decimals.
 */
size_t sv_event_line(char *line, size_t size, const sv_event_t *event);

/* One line without its end; spans point into it. 0, or -1: not such a line. */
int sv_event_parse(sv_span_t line, sv_event_t *event);

#endif /* SV_EVENT_H */
