/*
 * Private to sv_verify.c and sv_flight.c: the service, its look-ups, and the
 * flights that carry them.
 */

#ifndef SV_FLIGHT_H
#define SV_FLIGHT_H

#include "sv_memo.h"


#define SV_VERIFY_BUCKETS     1024          /* a power of two */
#define SV_VERIFY_FREE_MAX    1024


typedef struct sv_flight_s  sv_flight_t;

typedef enum {
    SV_FLIGHT_CACHE,            /* GET under way */
    SV_FLIGHT_LEASE,            /* missed; lease under way */
    SV_FLIGHT_DATABASE,         /* query under way */
    SV_FLIGHT_SETTLED           /* answered at the end of the turn */
} sv_flight_stage_t;


struct sv_lookup_s {
    sv_flight_t         *flight;
    sv_lookup_t         *prev, *next;       /* of the same flight */
    sv_lookup_pt         handler;
    void                *data;
    unsigned             joined:1;
};


/*
 * Owned by the service, from sv_verify_start() until it has landed.  On the
 * list of its bucket all the time; on the timeout queue while a command to
 * Redis is under way.
 */
struct sv_flight_s {
    sv_verify_t         *verify;
    sv_flight_t         *bucket_next;
    sv_flight_t         *queue_prev, *queue_next;
    sv_flight_t         *open_next;
    sv_lookup_t         *lookups;

    sv_redis_command_t  *command;
    uint64_t             give_up_at;

    sv_flight_stage_t    stage;
    unsigned             open:1;            /* nothing was sent yet */
    unsigned             leased:1;
    unsigned             relaxed:1;         /* who began it is content with what memory holds */
    unsigned             direct:1;          /* neither memory nor cache is asked or filled */
    unsigned             remembered:1;      /* `memo' is the answer */
    unsigned             fill_delay_ms;

    uint32_t             hash;
    uint64_t             gtin;
    uint8_t              serial_len, lot_len, lot_given, key_len;
    char                 serial[SV_SERIAL_MAX + 1];
    char                 lot[SV_LOT_MAX + 1];
    char                 key[SV_CACHE_KEY];
    char                 token[SV_CACHE_TOKEN];
    sv_memo_t            memo;
};


struct sv_verify_s {
    sv_loop_t           *loop;
    sv_cache_t          *cache;
    sv_pg_pool_t        *pool;
    sv_timer_t          *timeout;           /* of the head of the queue */
    sv_timer_t          *turn;              /* closes what was opened in this turn */
    sv_flight_t         *queue_head, *queue_tail;
    sv_flight_t         *open;
    sv_flight_t         *settled;           /* refused by the pool or remembered: landed at the end of the turn */
    sv_flight_t         *free_flights;
    sv_lookup_t         *free_lookups;
    unsigned             n_free_flights, n_free_lookups;
    unsigned             timeout_set:1;
    unsigned             turn_set:1;
    sv_verify_stats_t    stats;
    sv_flight_t         *buckets[SV_VERIFY_BUCKETS];
    sv_memo_t            memos[SV_MEMO_SLOTS];
};


/* sv_flight.c: one flight, from Redis to PostgreSQL to the fill */
sv_flight_t *sv_flight_find(sv_verify_t *verify, const sv_lookup_conf_t *conf, uint32_t hash);
sv_flight_t *sv_flight_create(sv_verify_t *verify, const sv_lookup_conf_t *conf, uint32_t hash);
void sv_flight_take_off(sv_flight_t *flight);
void sv_flight_ask_database(sv_flight_t *flight);
void sv_flight_settle(sv_flight_t *flight);
void sv_flight_land(sv_flight_t *flight, sv_lookup_result_t *result);

/* sv_verify.c: waiting for Redis no longer than its timeout; the end of the loop's turn */
void sv_verify_wait(sv_flight_t *flight, sv_redis_command_t *command);
void sv_verify_unwait(sv_flight_t *flight);
void sv_verify_post_turn(sv_verify_t *verify);

#endif /* SV_FLIGHT_H */
