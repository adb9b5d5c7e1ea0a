/*
 * SipHash-2-4: tables that nobody outside can fill with collisions (a key of
 * their own), and digests that are the same everywhere (a key that is known).
 */

#ifndef SVW_HASH_H
#define SVW_HASH_H

#include "../gs1/sv_span.h"


typedef struct {
    uint64_t  k0, k1;
} svw_hash_key_t;

typedef struct {
    uint64_t  v0, v1, v2, v3;
    uint64_t  tail;
    uint64_t  len;
} svw_hash_t;

void svw_hash_begin(svw_hash_t *hash, svw_hash_key_t key);
void svw_hash_add(svw_hash_t *hash, const void *data, size_t len);
void svw_hash_number(svw_hash_t *hash, uint64_t number);
void svw_hash_span(svw_hash_t *hash, sv_span_t span);          /* with its length: "ab" "c" is not "a" "bc" */
uint64_t svw_hash_end(svw_hash_t *hash);

svw_hash_key_t svw_hash_key_random(void);

/* 16 bytes that are the same everywhere: of two hashes that were fed the same */
typedef struct {
    svw_hash_t  a, b;
} svw_digest_t;

void svw_digest_begin(svw_digest_t *digest);
void svw_digest_number(svw_digest_t *digest, uint64_t number);
void svw_digest_span(svw_digest_t *digest, sv_span_t span);
void svw_digest_end(svw_digest_t *digest, uint8_t id[16]);

#endif /* SVW_HASH_H */
