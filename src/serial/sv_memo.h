/*
 * What PostgreSQL said within the last second, for callers that can live with
 * it: the anonymous public.  A copied code that goes viral is asked for once a
 * second and process, not once a phone.  Recall, withdrawal and expiry are
 * judged anew for every answer.
 */

#ifndef SV_MEMO_H
#define SV_MEMO_H

#include "sv_verify.h"


#define SV_MEMO_MS     1000
#define SV_MEMO_SLOTS  512          /* a power of two; a slot is overwritten by who comes */

typedef struct {
    uint64_t            gtin;
    uint64_t            at;         /* of the loop's clock; 0: empty */
    sv_lookup_status_t  status;
    uint8_t             serial_len, lot_len, lot_given, lot_known;
    char                serial[SV_SERIAL_MAX];
    char                lot[SV_LOT_MAX];
    sv_record_t         record;
} sv_memo_t;


/* NULL: nothing, or too old */
const sv_memo_t *sv_memo_find(const sv_memo_t slots[SV_MEMO_SLOTS], uint32_t hash, uint64_t gtin,
    sv_span_t serial, sv_span_t lot, uint64_t now);

/* `lot' has no data where none was presented */
void sv_memo_keep(sv_memo_t slots[SV_MEMO_SLOTS], uint32_t hash, uint64_t gtin, sv_span_t serial,
    sv_span_t lot, uint64_t now, const sv_lookup_result_t *result);

#endif /* SV_MEMO_H */
