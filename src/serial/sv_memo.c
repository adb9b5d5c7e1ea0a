#include "sv_memo.h"


const sv_memo_t *
sv_memo_find(const sv_memo_t slots[SV_MEMO_SLOTS], uint32_t hash, uint64_t gtin,
    sv_span_t serial, sv_span_t lot, uint64_t now)
{
    sv_span_t         kept_serial, kept_lot;
    const sv_memo_t  *memo;

    memo = &slots[hash & (SV_MEMO_SLOTS - 1)];

    kept_serial.data = (const uint8_t *) memo->serial;
    kept_serial.len = memo->serial_len;
    kept_lot.data = (const uint8_t *) memo->lot;
    kept_lot.len = memo->lot_len;

    if (memo->at == 0 || now - memo->at >= SV_MEMO_MS || memo->gtin != gtin
        || memo->lot_given != (lot.data != NULL) || !sv_span_eq(kept_serial, serial)
        || !sv_span_eq(kept_lot, lot))
    {
        return NULL;
    }

    return memo;
}


void
sv_memo_keep(sv_memo_t slots[SV_MEMO_SLOTS], uint32_t hash, uint64_t gtin, sv_span_t serial,
    sv_span_t lot, uint64_t now, const sv_lookup_result_t *result)
{
    sv_memo_t  *memo;

    memo = &slots[hash & (SV_MEMO_SLOTS - 1)];

    memo->gtin = gtin;
    memo->at = now;
    memo->status = result->status;
    memo->lot_known = result->lot_known;
    memo->lot_given = lot.data != NULL;
    memo->serial_len = (uint8_t) serial.len;
    memo->lot_len = (uint8_t) lot.len;
    memcpy(memo->serial, serial.data, serial.len);

    if (lot.data != NULL) {
        memcpy(memo->lot, lot.data, lot.len);
    }

    if (result->record != NULL) {
        memo->record = *result->record;
    }
}
