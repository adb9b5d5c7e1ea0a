/*
 * Private to sv_operate.c: a request as the parameters of sv.operate(), and
 * its answer as an outcome.
 */

#ifndef SV_OPERATE_PARAMS_H
#define SV_OPERATE_PARAMS_H

#include "sv_operate.h"

#include <openssl/sha.h>


#define SV_OPERATE_PARAMS  14

/* `value' points into the rest and into the request's words, which are literals */
typedef struct {
    char         gtin[24], serial[SV_SERIAL_MAX + 1], lot[SV_LOT_MAX + 1], expiry[SV_DAY_TEXT],
                 location[16], key[SV_KEY_MAX + 1], occurred_at[64], alert[SV_ALERT_ID],
                 uuid[SV_UUID], fingerprint[2 * SHA256_DIGEST_LENGTH + 1],
                 request_id[SV_REQUEST_ID_MAX + 1];
    const char  *value[SV_OPERATE_PARAMS];
} sv_operate_params_t;


/* 0: no randomness to be had */
int sv_operate_params(sv_operate_params_t *params, const sv_operate_request_t *request);

/* 0: it cannot be read, and what came of the operation is not known */
int sv_operate_outcome(sv_outcome_t *outcome, const PGresult *result);

#endif /* SV_OPERATE_PARAMS_H */
