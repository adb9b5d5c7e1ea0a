/*
 * Keys that lead to a case: each to one, the last that had it.
 */

#include "svw_case_live_in.h"

#include <stdlib.h>


#define SVW_LIVE_LEAST  1024


struct svw_live_key_s {
    svw_live_key_t  *next;
    uint64_t         key;
    svw_case_t      *in;
};


static svw_live_key_t *svw_live_key(const svw_cases_t *cases, uint64_t digest);
static int svw_live_key_new(svw_cases_t *cases, uint64_t digest, svw_case_t *in);
static int svw_live_grow(svw_cases_t *cases);


int
svw_live_keys_init(svw_cases_t *cases)
{
    cases->key_mask = SVW_LIVE_LEAST - 1;
    cases->key = calloc(SVW_LIVE_LEAST, sizeof(svw_live_key_t *));

    return cases->key == NULL ? -1 : 0;
}


void
svw_live_keys_done(svw_cases_t *cases)
{
    size_t           i;
    svw_live_key_t  *key;

    for (i = 0; cases->key != NULL && i <= cases->key_mask; i++) {
        while (cases->key[i] != NULL) {
            key = cases->key[i];
            cases->key[i] = key->next;
            free(key);
        }
    }

    free(cases->key);
}


svw_case_t *
svw_live_found(const svw_cases_t *cases, const svw_kept_t *kept, uint64_t digest)
{
    int64_t          apart;
    svw_case_t      *one;
    svw_live_key_t  *key;

    key = svw_live_key(cases, digest);

    if (key == NULL) {
        return NULL;
    }

    apart = svw_param_ms(cases->params, SVW_P_CASE_APART);
    one = svw_live_now(key->in);

    return kept->now.first_ms - one->last_ms <= apart && one->first_ms - kept->now.last_ms <= apart ? one : NULL;
}


int
svw_live_keys(svw_cases_t *cases, const svw_kept_t *kept)
{
    size_t            i;
    uint64_t          digest;
    svw_live_key_t   *key;

    for (i = 0; i < kept->now.n_keys; i++) {
        if (kept->now.weight != SVW_WEIGHT_ASKS && kept->now.keys[i].data[0] != 's' && kept->now.keys[i].data[0] != 'o') {
            continue;
        }

        digest = svw_case_key_digest(kept->now.keys[i]);
        key = svw_live_key(cases, digest);

        if (key == NULL) {
            if (svw_live_key_new(cases, digest, kept->in) != 0) {
                return -1;
            }

            continue;
        }

        key->in = svw_live_now(key->in);

        if (key->in->weight != SVW_WEIGHT_ASKS || kept->now.weight == SVW_WEIGHT_ASKS) {
            key->in = kept->in;
        }
    }

    return 0;
}


void
svw_live_keys_forget(svw_cases_t *cases, int64_t before_ms)
{
    size_t            i;
    svw_live_key_t   *key, **p;

    for (i = 0; i <= cases->key_mask; i++) {
        for (p = &cases->key[i]; *p != NULL; ) {
            key = *p;
            key->in = svw_live_now(key->in);

            if (key->in->last_ms < before_ms && !key->in->changed) {
                *p = key->next;
                free(key);
                cases->keys--;

            } else {
                p = &key->next;
            }
        }
    }
}


uint64_t
svw_case_key_digest(sv_span_t key)
{
    svw_hash_t  hash;

    svw_hash_begin(&hash, (svw_hash_key_t) {9, 10});
    svw_hash_add(&hash, key.data, key.len);

    return svw_hash_end(&hash);
}


static svw_live_key_t *
svw_live_key(const svw_cases_t *cases, uint64_t digest)
{
    svw_live_key_t  *key;

    for (key = cases->key[digest & cases->key_mask]; key != NULL && key->key != digest; key = key->next) { /* void */ }

    return key;
}


static int
svw_live_key_new(svw_cases_t *cases, uint64_t digest, svw_case_t *in)
{
    svw_live_key_t  *key;

    if (cases->keys > cases->key_mask && svw_live_grow(cases) != 0) {
        return -1;
    }

    key = malloc(sizeof(svw_live_key_t));

    if (key == NULL) {
        return -1;
    }

    key->key = digest;
    key->in = in;
    key->next = cases->key[digest & cases->key_mask];
    cases->key[digest & cases->key_mask] = key;
    cases->keys++;

    return 0;
}


static int
svw_live_grow(svw_cases_t *cases)
{
    size_t            i, mask;
    svw_live_key_t   *key, *next, **slot;

    mask = cases->key_mask * 2 + 1;
    slot = calloc(mask + 1, sizeof(svw_live_key_t *));

    if (slot == NULL) {
        return -1;
    }

    for (i = 0; i <= cases->key_mask; i++) {
        for (key = cases->key[i]; key != NULL; key = next) {
            next = key->next;
            key->next = slot[key->key & mask];
            slot[key->key & mask] = key;
        }
    }

    free(cases->key);
    cases->key = slot;
    cases->key_mask = mask;

    return 0;
}
