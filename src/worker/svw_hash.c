#include "svw_hash.h"

#include <sys/random.h>
#include <time.h>


#define SVW_ROTATE(x, b)  (((x) << (b)) | ((x) >> (64 - (b))))


static void svw_hash_word(svw_hash_t *hash, uint64_t word);
static void svw_hash_rounds(svw_hash_t *hash, unsigned n);


void
svw_hash_begin(svw_hash_t *hash, svw_hash_key_t key)
{
    hash->v0 = key.k0 ^ 0x736f6d6570736575ull;
    hash->v1 = key.k1 ^ 0x646f72616e646f6dull;
    hash->v2 = key.k0 ^ 0x6c7967656e657261ull;
    hash->v3 = key.k1 ^ 0x7465646279746573ull;
    hash->tail = 0;
    hash->len = 0;
}


void
svw_hash_add(svw_hash_t *hash, const void *data, size_t len)
{
    size_t          i;
    const uint8_t  *p;

    p = data;

    for (i = 0; i < len; i++) {
        hash->tail |= (uint64_t) p[i] << 8 * (hash->len % 8);

        if (++hash->len % 8 == 0) {
            svw_hash_word(hash, hash->tail);
            hash->tail = 0;
        }
    }
}


void
svw_hash_number(svw_hash_t *hash, uint64_t number)
{
    unsigned  i;
    uint8_t   bytes[8];

    if (hash->len % 8 == 0) {
        svw_hash_word(hash, number);
        hash->len += 8;
        return;
    }

    for (i = 0; i < 8; i++) {
        bytes[i] = (uint8_t) (number >> 8 * i);
    }

    svw_hash_add(hash, bytes, sizeof(bytes));
}


void
svw_hash_span(svw_hash_t *hash, sv_span_t span)
{
    svw_hash_number(hash, span.len);
    svw_hash_add(hash, span.data, span.len);
}


uint64_t
svw_hash_end(svw_hash_t *hash)
{
    svw_hash_word(hash, hash->tail | hash->len << 56);
    hash->v2 ^= 0xff;
    svw_hash_rounds(hash, 4);

    return hash->v0 ^ hash->v1 ^ hash->v2 ^ hash->v3;
}


svw_hash_key_t
svw_hash_key_random(void)
{
    svw_hash_key_t  key;

    if (getrandom(&key, sizeof(key), 0) != (ssize_t) sizeof(key)) {
        key.k0 = (uint64_t) time(NULL);
        key.k1 = (uintptr_t) &key;
    }

    return key;
}


void
svw_digest_begin(svw_digest_t *digest)
{
    svw_hash_begin(&digest->a, (svw_hash_key_t) {1, 2});
    svw_hash_begin(&digest->b, (svw_hash_key_t) {3, 4});
}


void
svw_digest_number(svw_digest_t *digest, uint64_t number)
{
    svw_hash_number(&digest->a, number);
    svw_hash_number(&digest->b, number);
}


void
svw_digest_span(svw_digest_t *digest, sv_span_t span)
{
    svw_hash_span(&digest->a, span);
    svw_hash_span(&digest->b, span);
}


void
svw_digest_end(svw_digest_t *digest, uint8_t id[16])
{
    unsigned  i;
    uint64_t  a, b;

    a = svw_hash_end(&digest->a);
    b = svw_hash_end(&digest->b);

    for (i = 0; i < 8; i++) {
        id[i] = (uint8_t) (a >> 8 * i);
        id[8 + i] = (uint8_t) (b >> 8 * i);
    }
}


static void
svw_hash_word(svw_hash_t *hash, uint64_t word)
{
    hash->v3 ^= word;
    svw_hash_rounds(hash, 2);
    hash->v0 ^= word;
}


static void
svw_hash_rounds(svw_hash_t *hash, unsigned n)
{
    uint64_t  v0, v1, v2, v3;

    v0 = hash->v0;
    v1 = hash->v1;
    v2 = hash->v2;
    v3 = hash->v3;

    while (n-- > 0) {
        v0 += v1;
        v1 = SVW_ROTATE(v1, 13) ^ v0;
        v0 = SVW_ROTATE(v0, 32);
        v2 += v3;
        v3 = SVW_ROTATE(v3, 16) ^ v2;
        v0 += v3;
        v3 = SVW_ROTATE(v3, 21) ^ v0;
        v2 += v1;
        v1 = SVW_ROTATE(v1, 17) ^ v2;
        v2 = SVW_ROTATE(v2, 32);
    }

    hash->v0 = v0;
    hash->v1 = v1;
    hash->v2 = v2;
    hash->v3 = v3;
}
