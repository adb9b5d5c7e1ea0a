#include "sv_verdict.h"


static const sv_reason_row_t  sv_reasons[SV_REASON_MAX] = {
#define SV_REASON(symbol, word, verify, op, code, level, advice)                        \
    [SV_REASON_##symbol] = {word, verify, op, code, level, SV_ADVICE_##advice},
#include "sv_reason.def"
#undef SV_REASON
};

/* what a verify says of a pack in this state */
static const sv_reason_t  sv_state_reasons[SV_STATE_MAX] = {
    [SV_STATE_ACTIVE]      = SV_REASON_OK,
    [SV_STATE_SUPPLIED]    = SV_REASON_ALREADY_SUPPLIED,
    [SV_STATE_DESTROYED]   = SV_REASON_DESTROYED,
    [SV_STATE_EXPORTED]    = SV_REASON_EXPORTED,
    [SV_STATE_SAMPLE]      = SV_REASON_SAMPLE,
    [SV_STATE_FREE_SAMPLE] = SV_REASON_FREE_SAMPLE,
    [SV_STATE_LOCKED]      = SV_REASON_LOCKED,
    [SV_STATE_STOLEN]      = SV_REASON_STOLEN,
    [SV_STATE_CHECKED_OUT] = SV_REASON_CHECKED_OUT,
};

static const char *const  sv_advice_words[] = {
    [SV_ADVICE_DISPENSE]        = "dispense",
    [SV_ADVICE_DO_NOT_DISPENSE] = "do_not_dispense",
    [SV_ADVICE_RESCAN]          = "rescan",
    [SV_ADVICE_RETRY]           = "retry",
};


sv_reason_t
sv_verdict(const sv_presented_t *p)
{
    sv_span_t           lot;
    const sv_record_t  *record;

    if (!p->product_known) {
        return SV_REASON_PRODUCT_UNKNOWN;
    }

    record = p->record;

    if (record == NULL) {
        return p->lot_given && !p->lot_known ? SV_REASON_LOT_UNKNOWN
                                             : SV_REASON_SERIAL_UNKNOWN;
    }

    lot.data = record->lot;
    lot.len = record->lot_len;

    if (p->lot_given && !sv_span_eq(p->lot, lot)) {
        return SV_REASON_LOT_MISMATCH;
    }

    if (p->expiry_given && p->expiry != record->expiry) {
        return SV_REASON_EXPIRY_MISMATCH;
    }

    if (p->today > record->expiry) {
        return SV_REASON_EXPIRED;
    }

    if (p->recalled) {
        return SV_REASON_RECALLED;
    }

    if (p->withdrawn) {
        return SV_REASON_WITHDRAWN;
    }

    if (record->state == SV_STATE_SUPPLIED && p->location != 0
        && p->location == record->location)
    {
        return SV_REASON_ALREADY_SUPPLIED_HERE;
    }

    return sv_state_reasons[record->state];
}


const sv_reason_row_t *
sv_reason_row(sv_reason_t reason)
{
    return &sv_reasons[reason];
}


sv_reason_t
sv_reason_parse(sv_span_t word)
{
    int  i;

    for (i = 0; i < SV_REASON_MAX; i++) {
        if (strlen(sv_reasons[i].word) == word.len
            && memcmp(sv_reasons[i].word, word.data, word.len) == 0)
        {
            return (sv_reason_t) i;
        }
    }

    return SV_REASON_MAX;
}


const char *
sv_advice_word(sv_advice_t advice)
{
    return sv_advice_words[advice];
}


sv_advice_t
sv_reason_advice(sv_reason_t reason, int hint)
{
    return hint ? SV_ADVICE_RESCAN : sv_reasons[reason].advice;
}


sv_reason_t
sv_reason_public(sv_reason_t reason)
{
    switch (reason) {

    case SV_REASON_PRODUCT_UNKNOWN:
    case SV_REASON_LOT_UNKNOWN:
    case SV_REASON_SERIAL_UNKNOWN:
    case SV_REASON_LOT_MISMATCH:
    case SV_REASON_EXPIRY_MISMATCH:
        return SV_REASON_NOT_CONFIRMED;

    default:
        return reason;
    }
}
