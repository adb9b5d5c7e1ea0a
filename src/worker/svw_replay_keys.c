#include "svw_replay.h"

#include "svw_hash.h"

#include <stdlib.h>


#define SVW_KEYS_LEAST  1024
#define SVW_KEYS_MS     (INT64_C(8) * 24 * 3600 * 1000)         /* a key is kept for seven days where operations are judged */


typedef struct {
    uint64_t  *slot;                    /* 0: free */
    size_t     mask, n;
} svw_keys_part_t;

/* What is asked for is in one of the two; the older one goes when the newer one is full of days. */
struct svw_replay_keys_s {
    svw_keys_part_t  now, before;
    int64_t          since_ms;          /* of `now'; of events */
};


static uint64_t svw_keys_digest(const svw_replay_record_t *record);
static int svw_keys_turn(svw_replay_keys_t *keys, int64_t time_ms);
static int svw_keys_grow(svw_keys_part_t *part);
static size_t svw_keys_find(const svw_keys_part_t *part, uint64_t digest);


svw_replay_keys_t *
svw_replay_keys_create(void)
{
    svw_replay_keys_t  *keys;

    keys = calloc(1, sizeof(svw_replay_keys_t));

    if (keys != NULL) {
        keys->since_ms = INT64_MIN;
    }

    return keys;
}


void
svw_replay_keys_destroy(svw_replay_keys_t *keys)
{
    if (keys != NULL) {
        free(keys->now.slot);
        free(keys->before.slot);
        free(keys);
    }
}


int
svw_replay_keys_seen(svw_replay_keys_t *keys, const svw_replay_record_t *record)
{
    uint64_t  digest;

    if (record->key.len == 0) {
        return 0;
    }

    if (svw_keys_turn(keys, record->u.scan.time_ms) != 0) {
        return -1;
    }

    digest = svw_keys_digest(record);

    if (keys->now.slot[svw_keys_find(&keys->now, digest)] != 0
        || (keys->before.slot != NULL && keys->before.slot[svw_keys_find(&keys->before, digest)] != 0))
    {
        return 1;
    }

    keys->now.slot[svw_keys_find(&keys->now, digest)] = digest;
    keys->now.n++;

    return 0;
}


/* A key is its actor's and its product's, as where operations are judged. */
static uint64_t
svw_keys_digest(const svw_replay_record_t *record)
{
    uint64_t                 digest;
    svw_hash_t               hash;
    const svw_judge_scan_t  *scan;

    scan = &record->u.scan;
    svw_hash_begin(&hash, (svw_hash_key_t) { 0x6b6579, 1 });
    svw_hash_number(&hash, scan->gtin);
    svw_hash_span(&hash, scan->actor.len > 0 ? scan->actor : scan->session);
    svw_hash_span(&hash, record->key);
    digest = svw_hash_end(&hash);

    return digest != 0 ? digest : 1;
}


static int
svw_keys_turn(svw_replay_keys_t *keys, int64_t time_ms)
{
    if (keys->now.slot != NULL && time_ms - SVW_KEYS_MS >= keys->since_ms) {
        free(keys->before.slot);
        keys->before = keys->now;
        keys->now = (svw_keys_part_t) { 0 };
    }

    if (keys->now.slot == NULL) {
        keys->since_ms = time_ms;
    }

    return 2 * (keys->now.n + 1) > keys->now.mask + 1 || keys->now.slot == NULL ? svw_keys_grow(&keys->now) : 0;
}


static int
svw_keys_grow(svw_keys_part_t *part)
{
    size_t           i;
    svw_keys_part_t  grown;

    grown.mask = part->slot != NULL ? 2 * part->mask + 1 : SVW_KEYS_LEAST - 1;
    grown.n = part->n;
    grown.slot = calloc(grown.mask + 1, sizeof(uint64_t));

    if (grown.slot == NULL) {
        return -1;
    }

    for (i = 0; part->slot != NULL && i <= part->mask; i++) {
        if (part->slot[i] != 0) {
            grown.slot[svw_keys_find(&grown, part->slot[i])] = part->slot[i];
        }
    }

    free(part->slot);
    *part = grown;

    return 0;
}


/* where it is, or belongs */
static size_t
svw_keys_find(const svw_keys_part_t *part, uint64_t digest)
{
    size_t  i;

    for (i = digest & part->mask; part->slot[i] != 0 && part->slot[i] != digest; i = (i + 1) & part->mask) { /* void */ }

    return i;
}
