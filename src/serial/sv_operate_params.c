#include "sv_operate_params.h"
#include "sv_row.h"

#include <stdio.h>


static void sv_operate_fingerprint(const sv_operate_request_t *request,
    char hex[2 * SHA256_DIGEST_LENGTH + 1]);
static void sv_copy(char *out, size_t cap, sv_span_t span);


int
sv_operate_params(sv_operate_params_t *params, const sv_operate_request_t *request)
{
    if (!sv_alert_mint(params->alert, request->country)
        || !sv_uuid_mint(params->uuid, request->now_ms))
    {
        return 0;
    }

    snprintf(params->gtin, sizeof(params->gtin), "%llu", (unsigned long long) request->gtin);
    snprintf(params->location, sizeof(params->location), "%d", request->location);
    sv_copy(params->serial, sizeof(params->serial), request->serial);
    sv_copy(params->request_id, sizeof(params->request_id), request->request_id);
    sv_copy(params->lot, sizeof(params->lot), request->lot);
    sv_copy(params->key, sizeof(params->key), request->key);
    sv_copy(params->occurred_at, sizeof(params->occurred_at), request->occurred_at);
    sv_operate_fingerprint(request, params->fingerprint);

    if (request->expiry != SV_DAY_NONE) {
        sv_day_print(request->expiry, params->expiry);
    }

    params->value[0] = params->gtin;
    params->value[1] = params->serial;
    params->value[2] = request->lot.data != NULL ? params->lot : NULL;
    params->value[3] = request->expiry != SV_DAY_NONE ? params->expiry : NULL;
    params->value[4] = request->operation;
    params->value[5] = request->of;
    params->value[6] = params->location;
    params->value[7] = params->key;
    params->value[8] = params->fingerprint;
    params->value[9] = request->entry_mode;
    params->value[10] = request->occurred_at.data != NULL ? params->occurred_at : NULL;
    params->value[11] = params->alert;
    params->value[12] = params->uuid;
    params->value[13] = params->request_id;

    return 1;
}


/*
 * What makes two requests the same: all that the client said about the pack
 * and the operation. Fields are set apart by a byte that none of them holds.
 */
static void
sv_operate_fingerprint(const sv_operate_request_t *request,
    char hex[2 * SHA256_DIGEST_LENGTH + 1])
{
    size_t         i, n, len;
    uint8_t        digest[SHA256_DIGEST_LENGTH];
    char           text[SV_SERIAL_MAX + SV_LOT_MAX + 256];
    sv_span_t      fields[7];

    fields[0] = request->serial;
    fields[1] = request->lot;
    fields[2] = request->expiry_text;
    fields[3] = (sv_span_t) {(const uint8_t *) request->operation, strlen(request->operation)};
    fields[4] = request->of != NULL
                ? (sv_span_t) {(const uint8_t *) request->of, strlen(request->of)}
                : sv_span("");
    fields[5] = (sv_span_t) {(const uint8_t *) request->entry_mode, strlen(request->entry_mode)};
    fields[6] = request->occurred_at;

    len = 0;

    for (i = 0; i < 7; i++) {
        n = fields[i].len < 64 ? fields[i].len : 64;

        if (n != 0) {
            memcpy(text + len, fields[i].data, n);
        }

        len += n;
        text[len++] = '\n';
    }

    SHA256((unsigned char *) text, len, digest);

    for (i = 0; i < sizeof(digest); i++) {
        hex[2 * i] = "0123456789abcdef"[digest[i] >> 4];
        hex[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
    }

    hex[2 * i] = '\0';
}


int
sv_operate_outcome(sv_outcome_t *outcome, const PGresult *result)
{
    sv_span_t  before;

    if (!sv_row_is(result, SV_OUTCOME_COLUMNS)) {
        return 0;
    }

    outcome->status = SV_OPERATE_DECIDED;
    outcome->replayed = sv_row_bool(result, SV_OUTCOME_REPLAYED);
    outcome->changed = sv_row_bool(result, SV_OUTCOME_CHANGED);
    outcome->reason = sv_reason_parse(sv_row_span(result, SV_OUTCOME_REASON));

    if (outcome->reason == SV_REASON_MAX) {
        return 0;
    }

    before = sv_row_span(result, SV_OUTCOME_STATE_BEFORE);
    outcome->state_before = before.data != NULL ? sv_state_parse(before) : SV_STATE_MAX;

    if (sv_row_span(result, SV_OUTCOME_VERSION).data != NULL) {
        outcome->known = 1;

        if (!sv_row_record(result, SV_OUTCOME_STATE, SV_OUTCOME_VERSION, &outcome->record)) {
            return 0;
        }
    }

    outcome->at = sv_row_number(result, SV_OUTCOME_AT);
    outcome->occurred = sv_row_number(result, SV_OUTCOME_OCCURRED);
    outcome->repeat = (unsigned) sv_row_number(result, SV_OUTCOME_REPEAT);
    outcome->repeats_left = (unsigned) sv_row_number(result, SV_OUTCOME_REPEATS_LEFT);
    outcome->hint = sv_row_span(result, SV_OUTCOME_HINT).data != NULL;
    sv_copy(outcome->code, sizeof(outcome->code), sv_row_span(result, SV_OUTCOME_CODE));
    sv_copy(outcome->alert, sizeof(outcome->alert), sv_row_span(result, SV_OUTCOME_ALERT));
    sv_row_text(result, SV_OUTCOME_REFERENCE, outcome->reference, sizeof(outcome->reference));

    return 1;
}


static void
sv_copy(char *out, size_t cap, sv_span_t span)
{
    size_t  n;

    n = span.len < cap - 1 ? span.len : cap - 1;

    if (n != 0) {
        memcpy(out, span.data, n);
    }

    out[n] = '\0';
}
