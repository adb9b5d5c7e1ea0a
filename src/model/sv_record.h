/*
 * The pack record: what a verdict needs to know of a pack, and its one
 * encoding in Redis, shared by the module and the worker's relay.
 */

#ifndef SV_RECORD_H
#define SV_RECORD_H

#include "../gs1/sv_gs1.h"


typedef enum {
    SV_STATE_ACTIVE = 0,
    SV_STATE_SUPPLIED,
    SV_STATE_DESTROYED,
    SV_STATE_EXPORTED,
    SV_STATE_SAMPLE,
    SV_STATE_FREE_SAMPLE,
    SV_STATE_LOCKED,
    SV_STATE_STOLEN,
    SV_STATE_CHECKED_OUT,
    SV_STATE_MAX
} sv_state_t;


#define SV_LOT_MAX     20
#define SV_SERIAL_MAX  20

typedef struct {
    uint32_t    version;            /* of the row, from 1; grows with every change of state */
    sv_state_t  state;
    sv_day_t    expiry;
    int32_t     location;           /* of the last change; 0: none yet */
    int64_t     since;              /* of the last change, ms since 1970; 0: none yet */
    uint8_t     lot_len;
    uint8_t     lot[SV_LOT_MAX];
} sv_record_t;


/* "active" and so on; SV_STATE_MAX: no such word */
const char *sv_state_word(sv_state_t state);
sv_state_t sv_state_parse(sv_span_t word);


/* sv:<prefix>:<gtin14>:<serial> */
#define SV_CACHE_PREFIX  17         /* 16 hexadecimal digits and NUL */
#define SV_CACHE_KEY     (3 + 16 + 1 + 14 + 1 + SV_SERIAL_MAX + 2 + 1)
#define SV_CACHE_VALUE   128

/*
 * The prefix changes when PostgreSQL is restored or promoted (`epoch' is what
 * sv.epoch() says), when Redis is restarted (`run_id'), and when an operator
 * bumps the counter: each starts an empty cache.
 */
void sv_cache_prefix(char prefix[SV_CACHE_PREFIX], const char *epoch, const char *run_id);

/* The length, without the NUL that ends it. The serial is at most SV_SERIAL_MAX bytes. */
size_t sv_cache_key(char key[SV_CACHE_KEY], const char *prefix, uint64_t gtin, sv_span_t serial);

/*
 * "<version> <state> <YYYYMMDD> <location> <since> <lot> <check>".  The check
 * sum covers the key too: a value that was mixed up or damaged on its way is a
 * miss, not another pack's verdict.
 */
size_t sv_record_encode(const sv_record_t *record, sv_span_t key, char value[SV_CACHE_VALUE]);
int sv_record_decode(sv_record_t *record, sv_span_t key, sv_span_t value);     /* 0: not a value of this key */

#endif /* SV_RECORD_H */
