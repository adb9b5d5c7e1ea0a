/*
 * Change a pack's state: one call of sv.operate(), then a versioned write to
 * the cache, then the answer.  Nothing here reads the cache.
 *
 * Operations on one pack go to PostgreSQL one at a time (from this process):
 * a row that somebody holds locked blocks one connection, not all of them.
 *
 * An outcome that is not known is reported as not known.  When the caller
 * forgets an operation (deadline, client gone) that was sent, it goes on: the
 * outcome is stored in PostgreSQL, the cache is written, the result is logged.
 * One that still waits behind another is dropped, without effect.
 */

#ifndef SV_OPERATE_H
#define SV_OPERATE_H

#include "../model/sv_ref.h"
#include "../model/sv_verdict.h"
#include "sv_alert.h"
#include "sv_cache.h"
#include "sv_sql.h"


typedef struct sv_operate_s    sv_operate_t;        /* the service, one per worker process */
typedef struct sv_operation_s  sv_operation_t;      /* one operation; gone after its handler */

#define SV_KEY_MAX         64
#define SV_REQUEST_ID_MAX  64

typedef struct {
    uint64_t     gtin;
    sv_span_t    serial;
    sv_span_t    lot;               /* data NULL: not presented */
    sv_span_t    expiry_text;       /* as scanned */
    sv_day_t     expiry;            /* resolved; SV_DAY_NONE: not presented */
    const char  *operation;         /* a word of sv.operation, checked by the caller */
    const char  *of;                /* what an undo takes back, or NULL */
    const char  *entry_mode;        /* "scanned" or "manual" */
    sv_span_t    occurred_at;       /* RFC 3339, checked by the caller; data NULL: now */
    sv_span_t    key;               /* Idempotency-Key, 1 to SV_KEY_MAX bytes */
    sv_span_t    request_id;
    int32_t      location;
    const char  *country;           /* of the location, for the alert id */
    int64_t      now_ms;            /* since 1970 */
} sv_operate_request_t;

typedef enum {
    SV_OPERATE_DECIDED,             /* stored in PostgreSQL: the rest of the outcome is valid */
    SV_OPERATE_NOT_DONE,            /* it certainly had no effect */
    SV_OPERATE_UNKNOWN              /* it may have had its effect: ask again with the same key */
} sv_operate_status_t;

typedef struct {
    sv_operate_status_t  status;
    unsigned             replayed:1;
    unsigned             changed:1;
    unsigned             known:1;           /* there is such a pack: `record' is its state as of the outcome */
    unsigned             hint:1;
    sv_reason_t          reason;
    sv_state_t           state_before;      /* SV_STATE_MAX: none */
    sv_record_t          record;
    int64_t              at;                /* ms since 1970, when it was first decided */
    int64_t              occurred;
    unsigned             repeat, repeats_left;      /* of a supply by the same location; 0, 0: none */
    char                 code[8];
    char                 alert[SV_ALERT_ID];
    char                 reference[SV_REF_REASON + 1];      /* why it is recalled or withdrawn */
} sv_outcome_t;

typedef void (*sv_operate_pt)(void *data, const sv_outcome_t *outcome);

typedef struct {
    uint64_t  changed, refused, replayed, not_done, unknown, late;
} sv_operate_stats_t;


sv_operate_t *sv_operate_create(sv_loop_t *loop, sv_cache_t *cache);
void sv_operate_destroy(sv_operate_t *operate);     /* after the pools were closed and the cache destroyed */

/* `pool': writes, or bulk. NULL: not sent, certainly without effect, no handler will be called. */
sv_operation_t *sv_operate_start(sv_operate_t *operate, sv_pg_pool_t *pool,
    const sv_operate_request_t *request, sv_operate_pt handler, void *data);
void sv_operate_forget(sv_operation_t *operation);

unsigned sv_operate_in_flight(const sv_operate_t *operate);
void sv_operate_stats(const sv_operate_t *operate, sv_operate_stats_t *stats);

#endif /* SV_OPERATE_H */
