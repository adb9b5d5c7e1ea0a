/*
 * Waiting times between attempts to reconnect: doubling, with a random part so
 * that all processes do not come back to a restarted server at the same moment.
 */

#ifndef SV_BACKOFF_H
#define SV_BACKOFF_H

#include <stdint.h>
#include <unistd.h>


#define SV_BACKOFF_MIN_MS  100
#define SV_BACKOFF_MAX_MS  5000

/* While a server stays away, the log is told this often, and of a new reason sooner. */
#define SV_BACKOFF_LOG_SAME_MS   60000
#define SV_BACKOFF_LOG_OTHER_MS  10000


typedef struct {
    unsigned  attempt;          /* failures in a row */
    uint32_t  random;           /* xorshift state, never 0 */
} sv_backoff_t;


/* `owner' tells connections of one process apart; forked processes have equal addresses */
static inline void
sv_backoff_init(sv_backoff_t *b, const void *owner, uint64_t now)
{
    uint64_t  seed;

    seed = ((uint64_t) getpid() << 32) ^ (uintptr_t) owner ^ now;

    b->attempt = 0;
    b->random = (uint32_t) ((seed * 0x9e3779b97f4a7c15ULL) >> 32) | 1;
}


/* To be called once the peer has proved itself, not merely accepted a connection. */
static inline void
sv_backoff_reset(sv_backoff_t *b)
{
    b->attempt = 0;
}


/* milliseconds to wait, SV_BACKOFF_MIN_MS to SV_BACKOFF_MAX_MS */
static inline unsigned
sv_backoff_next(sv_backoff_t *b)
{
    unsigned  limit, half;

    limit = SV_BACKOFF_MAX_MS;

    if (b->attempt < 6) {
        limit = (2u * SV_BACKOFF_MIN_MS) << b->attempt;
        if (limit > SV_BACKOFF_MAX_MS) {
            limit = SV_BACKOFF_MAX_MS;
        }
    }

    b->attempt++;

    b->random ^= b->random << 13;
    b->random ^= b->random >> 17;
    b->random ^= b->random << 5;

    half = limit / 2;

    return half + b->random % (limit - half + 1);
}

#endif /* SV_BACKOFF_H */
