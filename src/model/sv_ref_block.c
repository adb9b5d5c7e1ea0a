#include "sv_ref_block.h"


#define SV_REF_MIN  (64 * 1024)


static uint64_t *sv_ref_base(sv_ref_t *ref, unsigned half);
static uint32_t *sv_ref_bucket(sv_ref_t *ref, unsigned half, uint64_t hash);
static int sv_ref_load_head(sv_ref_t *ref, unsigned half, uint32_t at, sv_ref_entry_t *entry);
static void sv_ref_load_body(sv_ref_t *ref, unsigned half, uint32_t at, sv_ref_entry_t *entry);
static int sv_ref_same(sv_ref_t *ref, unsigned half, uint32_t at, sv_ref_entry_t *entry, const sv_ref_key_t *key);
static void sv_ref_unlink_older(sv_ref_t *ref, unsigned half, uint32_t at, const sv_ref_key_t *key);
static void sv_ref_count(sv_ref_half_t *h, sv_ref_kind_t kind, unsigned flags, int by);


sv_ref_t *
sv_ref_init(void *block, size_t size)
{
    size_t     words, head;
    uint64_t   buckets;
    sv_ref_t  *ref;

    ref = block;
    head = (sizeof(sv_ref_t) + 63) & ~(size_t) 63;

    if (((uintptr_t) block & 7) || size < SV_REF_MIN) {
        return NULL;
    }

    if (ref->magic == SV_REF_MAGIC && ref->size == size) {
        return ref;
    }

    words = ((size - head) / 2 & ~(size_t) 63) / 8;

    if (words > UINT32_MAX) {
        return NULL;
    }

    /* a bucket for each 64 bytes: about one entry a bucket when the half is full */

    for (buckets = 64; buckets * 16 <= words; buckets *= 2) { /* void */ }

    memset(ref, 0, sizeof(sv_ref_t));

    ref->size = size;
    ref->half_words = words;
    ref->buckets = buckets;

    sv_ref_clear(ref, 0);
    sv_ref_clear(ref, 1);

    sv_ref_set(&ref->magic, SV_REF_MAGIC);

    return ref;
}


void
sv_ref_words_load(const uint64_t *from, uint64_t *to, size_t n)
{
    while (n--) {
        *to++ = sv_ref_peek(from++);
    }
}


void
sv_ref_words_store(uint64_t *to, const uint64_t *from, size_t n)
{
    /* a reader that sees one of these words sees the generation that allowed them, too */

    __atomic_thread_fence(__ATOMIC_RELEASE);

    while (n--) {
        __atomic_store_n(to++, *from++, __ATOMIC_RELAXED);
    }
}


void
sv_ref_key_done(sv_ref_key_t *key, sv_ref_kind_t kind, size_t len)
{
    uint32_t  i;
    uint64_t  h;

    key->kind = kind;
    key->words = (uint32_t) ((len + 7) / 8);

    h = 0x9e3779b97f4a7c15ull * (len + 1) + kind;

    for (i = 0; i < key->words; i++) {
        h = (h ^ key->word[i]) * 0xd6e8feb86659fd93ull;
        h ^= h >> 32;
    }

    key->hash = h * 0xd6e8feb86659fd93ull ^ h >> 29;
}


void
sv_ref_key_credential(sv_ref_key_t *key, const uint8_t sha256[32])
{
    memcpy(key->word, sha256, 32);
    sv_ref_key_done(key, SV_REF_CREDENTIAL, 32);
}


void
sv_ref_key_location(sv_ref_key_t *key, int32_t id)
{
    key->word[0] = (uint32_t) id;
    sv_ref_key_done(key, SV_REF_LOCATION, 8);
}


void
sv_ref_key_product(sv_ref_key_t *key, uint64_t gtin)
{
    key->word[0] = gtin;
    sv_ref_key_done(key, SV_REF_PRODUCT, 8);
}


int
sv_ref_key_recall(sv_ref_key_t *key, uint64_t gtin, sv_span_t lot)
{
    if (lot.len == 0 || lot.len > SV_REF_LOT || memchr(lot.data, 0, lot.len) != NULL) {
        return 0;
    }

    memset(key->word, 0, sizeof(key->word));

    key->word[0] = gtin;
    memcpy(&key->word[1], lot.data, lot.len);

    sv_ref_key_done(key, SV_REF_RECALL, 8 + lot.len);

    return 1;
}


void
sv_ref_key_salt(sv_ref_key_t *key, sv_day_t day)
{
    key->word[0] = (uint64_t) (int64_t) day;
    sv_ref_key_done(key, SV_REF_DAY_SALT, 8);
}


uint32_t
sv_ref_find(sv_ref_t *ref, unsigned half, const sv_ref_key_t *key, sv_ref_entry_t *entry)
{
    uint32_t  at, next;

    at = sv_ref_get(sv_ref_bucket(ref, half, key->hash));

    while (at != 0) {

        if (!sv_ref_load_head(ref, half, at, entry)) {
            return 0;
        }

        if (sv_ref_same(ref, half, at, entry, key)) {
            return at;
        }

        next = sv_ref_entry_next(entry);

        if (next >= at) {
            return 0;
        }

        at = next;
    }

    return 0;
}


void
sv_ref_clear(sv_ref_t *ref, unsigned half)
{
    uint64_t        i, *base;
    sv_ref_half_t  *h;

    __atomic_thread_fence(__ATOMIC_RELEASE);

    base = sv_ref_base(ref, half);

    for (i = 0; i < ref->buckets / 2; i++) {
        __atomic_store_n(&base[i], 0, __ATOMIC_RELAXED);
    }

    h = &ref->half[half];

    h->n = 0;
    h->floor = UINT64_MAX;
    h->identity = ref->identity;
    h->used = ref->buckets / 2;
    h->mark = h->used;
    h->spent = 0;
    h->bad = 0;
    memset(h->live, 0, sizeof(h->live));
}


sv_ref_rc_t
sv_ref_append(sv_ref_t *ref, unsigned half, const sv_ref_key_t *key, unsigned flags, uint64_t n,
    const uint64_t *value, size_t words)
{
    uint32_t         at, old, total, *bucket;
    sv_ref_half_t   *h;
    sv_ref_entry_t   entry;

    h = &ref->half[half];
    old = sv_ref_find(ref, half, key, &entry);

    if (old != 0 ? entry.n >= n : (flags == SV_REF_DELETED && n <= h->floor)) {
        return SV_REF_OK;
    }

    total = SV_REF_HEAD + key->words + (uint32_t) words;

    if (h->used + total > ref->half_words) {
        return SV_REF_FULL;
    }

    if (old != 0) {
        sv_ref_count(h, key->kind, sv_ref_entry_flags(&entry), -1);
    }

    at = (uint32_t) h->used;
    bucket = sv_ref_bucket(ref, half, key->hash);

    entry.link = (uint64_t) total << 32 | sv_ref_peek(bucket);
    entry.meta = (key->hash & ~(uint64_t) UINT32_MAX) | (uint64_t) key->kind << 16 | flags << 8 | key->words;
    entry.n = n;
    memcpy(entry.body, key->word, key->words * 8);

    if (words != 0) {
        memcpy(entry.body + key->words, value, words * 8);
    }

    sv_ref_words_store(sv_ref_base(ref, half) + at, (uint64_t *) &entry, total);
    sv_ref_set(&h->used, (uint64_t) at + total);
    sv_ref_set(bucket, at);

    sv_ref_count(h, key->kind, flags, 1);
    sv_ref_unlink_older(ref, half, at, key);

    return SV_REF_OK;
}


void
sv_ref_copy_start(sv_ref_t *ref)
{
    sv_ref_set(&ref->mode, SV_REF_APPEND);

    sv_ref_clear(ref, sv_ref_other(ref));

    ref->copied = ref->buckets / 2;
    sv_ref_set(&ref->mode, SV_REF_COPY);
}


/*
 * The half in use is a log: replayed into the other half it gives the same
 * answers, without what was shadowed.  Rows applied meanwhile go to its end
 * and are met there.  What lies in the other half stems from this log and is
 * not longer, so it fits.
 */

void
sv_ref_copy_some(sv_ref_t *ref, unsigned entries)
{
    unsigned         from, to;
    uint32_t         at, words;
    sv_ref_key_t     key;
    sv_ref_entry_t   entry, newest;

    from = sv_ref_current(ref);
    to = sv_ref_other(ref);

    ref->half[to].floor = ref->half[from].n;

    for ( /* void */ ; entries > 0 && ref->copied < ref->half[from].used; entries--) {
        at = (uint32_t) ref->copied;

        if (!sv_ref_load_head(ref, from, at, &entry)) {
            break;
        }

        sv_ref_load_body(ref, from, at, &entry);

        memset(&key, 0, sizeof(key));
        key.kind = sv_ref_entry_kind(&entry);
        key.words = sv_ref_entry_keyed(&entry);
        memcpy(key.word, entry.body, key.words * 8);
        key.hash = entry.meta;
        words = sv_ref_entry_words(&entry) - SV_REF_HEAD - key.words;

        if (sv_ref_find(ref, from, &key, &newest) == at) {
            (void) sv_ref_append(ref, to, &key, sv_ref_entry_flags(&entry), entry.n, entry.body + key.words, words);
        }

        sv_ref_set(&ref->copied, (uint64_t) at + sv_ref_entry_words(&entry));
    }

    if (ref->copied < ref->half[from].used) {
        return;
    }

    ref->half[to].n = ref->half[from].n;
    ref->half[to].identity = ref->half[from].identity;
    ref->half[to].mark = ref->half[to].used;

    sv_ref_set(&ref->generation, ref->generation + 1);
    sv_ref_set(&ref->mode, SV_REF_APPEND);
}


int
sv_ref_crowded(sv_ref_t *ref)
{
    sv_ref_half_t  *h;

    h = &ref->half[sv_ref_current(ref)];

    return h->used - h->mark > (ref->half_words - h->mark) / 2;
}


static uint64_t *
sv_ref_base(sv_ref_t *ref, unsigned half)
{
    size_t  head;

    head = (sizeof(sv_ref_t) + 63) & ~(size_t) 63;

    return (uint64_t *) (void *) ((uint8_t *) ref + head) + half * ref->half_words;
}


static uint32_t *
sv_ref_bucket(sv_ref_t *ref, unsigned half, uint64_t hash)
{
    return (uint32_t *) (void *) sv_ref_base(ref, half) + (hash >> 32 & (ref->buckets - 1));
}


/* Bounds are checked for readers of a half that is being reused. */

static int
sv_ref_load_head(sv_ref_t *ref, unsigned half, uint32_t at, sv_ref_entry_t *entry)
{
    uint32_t  words;

    if (at < ref->buckets / 2 || at + (uint64_t) SV_REF_HEAD > ref->half_words) {
        return 0;
    }

    sv_ref_words_load(sv_ref_base(ref, half) + at, (uint64_t *) entry, SV_REF_HEAD);

    words = sv_ref_entry_words(entry);

    return words >= SV_REF_HEAD && words <= SV_REF_ENTRY && at + (uint64_t) words <= ref->half_words
           && sv_ref_entry_keyed(entry) <= SV_REF_KEY && SV_REF_HEAD + sv_ref_entry_keyed(entry) <= words;
}


static void
sv_ref_load_body(sv_ref_t *ref, unsigned half, uint32_t at, sv_ref_entry_t *entry)
{
    sv_ref_words_load(sv_ref_base(ref, half) + at + SV_REF_HEAD, entry->body, sv_ref_entry_words(entry) - SV_REF_HEAD);
}


/*
 * Loads the body if the key may be the same.  It is compared in constant time:
 * it may be the digest of a secret.
 */

static int
sv_ref_same(sv_ref_t *ref, unsigned half, uint32_t at, sv_ref_entry_t *entry, const sv_ref_key_t *key)
{
    uint32_t           i;
    volatile uint64_t  diff;

    if (entry->meta >> 32 != key->hash >> 32
        || sv_ref_entry_kind(entry) != key->kind || sv_ref_entry_keyed(entry) != key->words)
    {
        return 0;
    }

    sv_ref_load_body(ref, half, at, entry);

    diff = 0;

    for (i = 0; i < key->words; i++) {
        diff |= entry->body[i] ^ key->word[i];
    }

    return diff == 0;
}


static void
sv_ref_unlink_older(sv_ref_t *ref, unsigned half, uint32_t at, const sv_ref_key_t *key)
{
    uint32_t         next;
    uint64_t        *base, link;
    sv_ref_entry_t   entry;

    base = sv_ref_base(ref, half);
    link = base[at];

    for ( ;; ) {
        next = (uint32_t) link;

        if (next == 0 || !sv_ref_load_head(ref, half, next, &entry)) {
            return;
        }

        if (!sv_ref_same(ref, half, next, &entry, key)) {
            at = next;
            link = entry.link;
            continue;
        }

        link = (link & ~(uint64_t) UINT32_MAX) | sv_ref_entry_next(&entry);
        sv_ref_set(&base[at], link);
    }
}


static void
sv_ref_count(sv_ref_half_t *h, sv_ref_kind_t kind, unsigned flags, int by)
{
    if (flags & SV_REF_BAD) {
        __atomic_fetch_add(&h->bad, (uint32_t) by, __ATOMIC_RELAXED);
    }

    if (!(flags & SV_REF_DELETED)) {
        __atomic_fetch_add(&h->live[kind], (uint32_t) by, __ATOMIC_RELAXED);
    }
}
