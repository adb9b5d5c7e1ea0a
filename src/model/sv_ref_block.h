/*
 * The block behind sv_ref.h: two halves, each a hash table over a log of
 * entries.  Private to src/model/sv_ref*.c.
 *
 * Everything is counted in 64-bit words from the start of a half, so the
 * block may be mapped anywhere.  Every access to a word that a reader may see
 * is one atomic load or store: a reader may look at a half that is being
 * reused, and finds out afterwards by the generation.
 *
 * Invariants, true after every single instruction of the writer, so that it
 * may be killed anywhere:
 *
 *   1. Entries lie one after the other up to `used'; each is complete before
 *      `used' covers it, and `used' covers it before it is linked.  An entry
 *      that is covered and not linked is only lost space.
 *   2. A link leads to a lower place than its own, so chains end, also for a
 *      reader of a half that is being reused.
 *   3. The first entry of a key in its chain is the newest.  Older ones are
 *      unlinked after that, from the front to the back.
 *   4. An entry is appended only if its n is greater than that of the entry
 *      it shadows: to apply a row again changes nothing.
 *   5. The half of a published generation is only ever appended to; the other
 *      half is seen by nobody who would believe it.
 *   6. A half's `n' is stored when all rows up to n are linked.  Rows linked
 *      by a writer that died come again, and see 4.
 *
 * Only the live counts may be off after a writer died; then the half is copied
 * to the other one, which counts anew.
 */

#ifndef SV_REF_BLOCK_H
#define SV_REF_BLOCK_H

#include "sv_ref.h"


#define SV_REF_MAGIC      0x73765f7265660003ull     /* "sv_ref", layout 3 */

#define SV_REF_HEAD       3                         /* words before the key */
#define SV_REF_LOT        64
#define SV_REF_KEY        ((8 + SV_REF_LOT) / 8)    /* words */
#define SV_REF_VALUE      ((24 + SV_REF_NAME + SV_REF_COMPANY + SV_REF_REASON + SV_REF_LINK) / 8)
#define SV_REF_ENTRY      (SV_REF_HEAD + SV_REF_KEY + SV_REF_VALUE)

#define SV_REF_DELETED    0x01
#define SV_REF_BAD        0x02

typedef enum {
    SV_REF_CREDENTIAL = 0,
    SV_REF_LOCATION,
    SV_REF_PRODUCT,
    SV_REF_RECALL,
    SV_REF_DAY_SALT,
    SV_REF_KINDS
} sv_ref_kind_t;

typedef enum {
    SV_REF_APPEND = 0,      /* into the half in use */
    SV_REF_COPY,            /* the same, while its live entries are copied to the other half */
    SV_REF_WHOLE            /* into the other half, from the beginning */
} sv_ref_mode_t;

typedef struct {
    sv_ref_kind_t  kind;
    uint32_t       words;
    uint64_t       hash;
    uint64_t       word[SV_REF_KEY];                /* padded with zeros */
} sv_ref_key_t;

/* An entry outside of the block.  In the block it is as long as it has to be. */
typedef struct {
    uint64_t       link;                            /* next in the chain, << 32: length, in words */
    uint64_t       meta;                            /* tag << 32 | kind << 16 | flags << 8 | words of the key */
    uint64_t       n;
    uint64_t       body[SV_REF_KEY + SV_REF_VALUE]; /* key, value */
} sv_ref_entry_t;

#define sv_ref_entry_next(e)   ((uint32_t) (e)->link)
#define sv_ref_entry_words(e)  ((uint32_t) ((e)->link >> 32))
#define sv_ref_entry_flags(e)  ((unsigned) ((e)->meta >> 8) & 0xff)
#define sv_ref_entry_kind(e)   ((sv_ref_kind_t) ((e)->meta >> 16 & 0xff))
#define sv_ref_entry_keyed(e)  ((uint32_t) ((e)->meta & 0xff))
#define sv_ref_entry_value(e)  ((const void *) ((e)->body + sv_ref_entry_keyed(e)))

typedef struct {
    uint64_t       n;
    uint64_t       floor;                           /* a deletion up to here of what is not in the half is left out */
    uint64_t       identity;
    uint64_t       used;                            /* words, from the start of the half */
    uint64_t       mark;                            /* `used' when the half was new */
    uint32_t       spent;                           /* no room left, and copying made none */
    uint32_t       bad;
    uint32_t       live[SV_REF_KINDS];
} sv_ref_half_t;

struct sv_ref_s {
    uint64_t       magic;
    uint64_t       size;
    uint64_t       half_words;
    uint64_t       buckets;                         /* a power of two */
    uint64_t       generation;                      /* published; in half[generation & 1] */
    uint64_t       fresh_at;
    uint64_t       identity;                        /* goes up when the database became another one */
    uint64_t       pending;                         /* the greatest n applied since begin() */
    uint64_t       copied;                          /* SV_REF_COPY: up to here */
    uint32_t       mode;
    uint32_t       writing;                         /* between begin() and end() */
    uint32_t       full;
    uint32_t       epochs;                          /* published; in epoch[epochs & 1] */
    uint64_t       epoch[2][SV_REF_EPOCH / 8];
    sv_ref_half_t  half[2];
};


#define sv_ref_get(p)      __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define sv_ref_peek(p)     __atomic_load_n(p, __ATOMIC_RELAXED)
#define sv_ref_set(p, v)   __atomic_store_n(p, v, __ATOMIC_RELEASE)

#define sv_ref_current(ref)  ((unsigned) sv_ref_peek(&(ref)->generation) & 1)
#define sv_ref_other(ref)    (sv_ref_current(ref) ^ 1)


void sv_ref_words_load(const uint64_t *from, uint64_t *to, size_t n);
void sv_ref_words_store(uint64_t *to, const uint64_t *from, size_t n);

/* The key's words must be zero beyond `len' bytes. */
void sv_ref_key_done(sv_ref_key_t *key, sv_ref_kind_t kind, size_t len);
void sv_ref_key_credential(sv_ref_key_t *key, const uint8_t sha256[32]);
void sv_ref_key_location(sv_ref_key_t *key, int32_t id);
void sv_ref_key_product(sv_ref_key_t *key, uint64_t gtin);
int sv_ref_key_recall(sv_ref_key_t *key, uint64_t gtin, sv_span_t lot);    /* 0: no such lot can be */
void sv_ref_key_salt(sv_ref_key_t *key, sv_day_t day);

/* The newest entry of the key, deleted or not: its place and a copy of it, or 0. */
uint32_t sv_ref_find(sv_ref_t *ref, unsigned half, const sv_ref_key_t *key, sv_ref_entry_t *entry);

void sv_ref_clear(sv_ref_t *ref, unsigned half);
sv_ref_rc_t sv_ref_append(sv_ref_t *ref, unsigned half, const sv_ref_key_t *key, unsigned flags, uint64_t n,
    const uint64_t *value, size_t words);

/* Compaction, a piece at a time. */
void sv_ref_copy_start(sv_ref_t *ref);
void sv_ref_copy_some(sv_ref_t *ref, unsigned entries);
int sv_ref_crowded(sv_ref_t *ref);

#endif /* SV_REF_BLOCK_H */
