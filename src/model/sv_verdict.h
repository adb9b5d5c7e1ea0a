/*
 * From a pack's record, what was presented and the reference data to a reason.
 * sv.judge() is the same rule in SQL; t/23_judge.t feeds both.
 */

#ifndef SV_VERDICT_H
#define SV_VERDICT_H

#include "sv_record.h"


typedef enum {
#define SV_REASON(symbol, word, verify, op, code, level, advice)  SV_REASON_##symbol,
#include "sv_reason.def"
#undef SV_REASON
    SV_REASON_MAX
} sv_reason_t;

typedef enum {
    SV_ADVICE_DISPENSE,
    SV_ADVICE_DO_NOT_DISPENSE,
    SV_ADVICE_RESCAN,
    SV_ADVICE_RETRY
} sv_advice_t;

typedef struct {
    const char   *word;
    unsigned      verify_status;
    unsigned      operate_status;
    const char   *code;             /* hub code of a verify, "" for none */
    unsigned      level;            /* 5: an alert id goes out */
    sv_advice_t   advice;
} sv_reason_row_t;

typedef enum { SV_LANG_EN, SV_LANG_DE, SV_LANG_FR, SV_LANG_MAX } sv_lang_t;


typedef struct {
    int                 product_known;
    int                 withdrawn;
    int                 recalled;       /* the lot of the record */
    const sv_record_t  *record;         /* NULL: no such serial */
    int                 lot_known;      /* looked at only without a record */
    int                 lot_given, expiry_given;
    sv_span_t           lot;            /* as presented */
    sv_day_t            expiry;         /* as presented, resolved */
    sv_day_t            today;          /* UTC */
    int32_t             location;       /* who asks; 0: a consumer */
} sv_presented_t;

/*
 * Order of checks: product, serial and lot, expiry, status of lot and product
 * (expired, recalled, withdrawn), state.
 */
sv_reason_t sv_verdict(const sv_presented_t *presented);

const sv_reason_row_t *sv_reason_row(sv_reason_t reason);
sv_reason_t sv_reason_parse(sv_span_t word);        /* SV_REASON_MAX: no such word */
const char *sv_advice_word(sv_advice_t advice);

/* What a scanner's keyboard setting explains is scanned again before anything else is thought of it. */
sv_advice_t sv_reason_advice(sv_reason_t reason, int hint);

/* The anonymous public must not learn which of the elements was wrong. */
sv_reason_t sv_reason_public(sv_reason_t reason);

/*
 * What is said of an operation that was carried out.  Only a supply says
 * "dispense": an undone pack is active again and has to be supplied first.
 */
sv_advice_t sv_done_advice(const char *operation);
const char *sv_done_text(const char *operation, sv_lang_t lang);

/* What is said beside the last repeat of a supply that is taken without an alert. */
const char *sv_last_repeat_text(sv_lang_t lang);

/* The sentence; the best language of an Accept-Language header, English otherwise. */
const char *sv_reason_text(sv_reason_t reason, sv_lang_t lang);
sv_lang_t sv_lang_parse(sv_span_t accept_language);
const char *sv_lang_word(sv_lang_t lang);

#endif /* SV_VERDICT_H */
