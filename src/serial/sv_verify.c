#include "sv_flight.h"

#include <stdlib.h>


static void sv_verify_timeout(void *data);
static void sv_verify_turn(void *data);
static uint32_t sv_verify_hash(const sv_lookup_conf_t *conf);


sv_verify_t *
sv_verify_create(sv_loop_t *loop, sv_cache_t *cache, sv_pg_pool_t *pool)
{
    sv_verify_t  *verify;

    verify = calloc(1, sizeof(sv_verify_t));
    if (verify == NULL) {
        return NULL;
    }

    verify->loop = loop;
    verify->cache = cache;
    verify->pool = pool;
    verify->timeout = loop->timer(loop, sv_verify_timeout, verify);
    verify->turn = loop->timer(loop, sv_verify_turn, verify);

    if (verify->timeout == NULL || verify->turn == NULL) {
        sv_verify_destroy(verify);
        return NULL;
    }

    return verify;
}


void
sv_verify_destroy(sv_verify_t *verify)
{
    sv_flight_t  *flight;
    sv_lookup_t  *lookup;

    while (verify->settled != NULL) {
        sv_verify_turn(verify);
    }

    if (verify->timeout != NULL) {
        verify->loop->timer_free(verify->timeout);
    }

    if (verify->turn != NULL) {
        verify->loop->timer_free(verify->turn);
    }

    while ((flight = verify->free_flights) != NULL) {
        verify->free_flights = flight->bucket_next;
        free(flight);
    }

    while ((lookup = verify->free_lookups) != NULL) {
        verify->free_lookups = lookup->next;
        free(lookup);
    }

    free(verify);
}


sv_lookup_t *
sv_verify_start(sv_verify_t *verify, const sv_lookup_conf_t *conf, sv_lookup_pt handler,
    void *data)
{
    uint32_t      hash;
    sv_flight_t  *flight;
    sv_lookup_t  *lookup;

    if (conf->serial.len > SV_SERIAL_MAX || conf->lot.len > SV_LOT_MAX) {
        return NULL;
    }

    lookup = verify->free_lookups;

    if (lookup != NULL) {
        verify->free_lookups = lookup->next;
        verify->n_free_lookups--;

    } else {
        lookup = malloc(sizeof(sv_lookup_t));
        if (lookup == NULL) {
            return NULL;
        }
    }

    hash = sv_verify_hash(conf);
    flight = sv_flight_find(verify, conf, hash);
    lookup->joined = flight != NULL;

    if (flight == NULL) {
        flight = sv_flight_create(verify, conf, hash);
        if (flight == NULL) {
            free(lookup);
            return NULL;
        }

    } else {
        verify->stats.coalesced++;
    }

    lookup->flight = flight;
    lookup->handler = handler;
    lookup->data = data;
    lookup->prev = NULL;
    lookup->next = flight->lookups;

    if (lookup->next != NULL) {
        lookup->next->prev = lookup;
    }

    flight->lookups = lookup;

    if (!lookup->joined) {
        sv_flight_take_off(flight);
    }

    return lookup;
}


void
sv_verify_forget(sv_lookup_t *lookup)
{
    sv_verify_t  *verify;

    verify = lookup->flight->verify;

    if (lookup->prev != NULL) {
        lookup->prev->next = lookup->next;

    } else {
        lookup->flight->lookups = lookup->next;
    }

    if (lookup->next != NULL) {
        lookup->next->prev = lookup->prev;
    }

    if (verify->n_free_lookups == SV_VERIFY_FREE_MAX) {
        free(lookup);
        return;
    }

    lookup->next = verify->free_lookups;
    verify->free_lookups = lookup;
    verify->n_free_lookups++;
}


void
sv_verify_stats(const sv_verify_t *verify, sv_verify_stats_t *stats)
{
    *stats = verify->stats;
}


/* All commands have the same timeout, so the queue is in order of time and one timer is enough. */
void
sv_verify_wait(sv_flight_t *flight, sv_redis_command_t *command)
{
    unsigned      timeout;
    sv_verify_t  *verify;

    verify = flight->verify;
    timeout = sv_cache_timeout(verify->cache);

    flight->command = command;
    flight->give_up_at = verify->loop->now(verify->loop) + timeout;
    flight->queue_next = NULL;
    flight->queue_prev = verify->queue_tail;

    if (verify->queue_tail != NULL) {
        verify->queue_tail->queue_next = flight;

    } else {
        verify->queue_head = flight;
    }

    verify->queue_tail = flight;

    /* left running when the queue empties: on a busy worker it fires some times a second, and costs nothing a request */
    if (!verify->timeout_set) {
        verify->timeout_set = 1;
        verify->loop->timer_set(verify->timeout, timeout);
    }
}


void
sv_verify_unwait(sv_flight_t *flight)
{
    sv_verify_t  *verify;

    verify = flight->verify;
    flight->command = NULL;

    if (flight->queue_prev != NULL) {
        flight->queue_prev->queue_next = flight->queue_next;

    } else {
        verify->queue_head = flight->queue_next;
    }

    if (flight->queue_next != NULL) {
        flight->queue_next->queue_prev = flight->queue_prev;

    } else {
        verify->queue_tail = flight->queue_prev;
    }
}


/* Redis is late: PostgreSQL is asked, and without a lease nothing is filled. */
static void
sv_verify_timeout(void *data)
{
    sv_verify_t  *verify = data;

    uint64_t      now;
    sv_flight_t  *flight;

    verify->timeout_set = 0;
    now = verify->loop->now(verify->loop);

    while ((flight = verify->queue_head) != NULL && flight->give_up_at <= now) {
        sv_redis_forget(flight->command);
        sv_verify_unwait(flight);
        sv_flight_ask_database(flight);
    }

    if (verify->queue_head != NULL) {
        verify->timeout_set = 1;
        verify->loop->timer_set(verify->timeout,
                                (unsigned) (verify->queue_head->give_up_at - now));
    }
}


void
sv_verify_post_turn(sv_verify_t *verify)
{
    if (!verify->turn_set) {
        verify->turn_set = 1;
        verify->loop->timer_post(verify->turn);
    }
}


/* The end of the loop's turn: what was queued leaves now. */
static void
sv_verify_turn(void *data)
{
    sv_verify_t  *verify = data;

    sv_flight_t  *flight, *settled;

    verify->turn_set = 0;

    while ((flight = verify->open) != NULL) {
        verify->open = flight->open_next;
        flight->open = 0;
    }

    settled = verify->settled;
    verify->settled = NULL;

    while ((flight = settled) != NULL) {
        settled = flight->queue_next;
        sv_flight_settle(flight);
    }
}


static uint32_t
sv_verify_hash(const sv_lookup_conf_t *conf)
{
    size_t    i;
    uint64_t  hash;

    hash = conf->gtin * UINT64_C(0x9e3779b97f4a7c15);

    for (i = 0; i < conf->serial.len; i++) {
        hash = (hash ^ conf->serial.data[i]) * UINT64_C(1099511628211);
    }

    return (uint32_t) (hash ^ (hash >> 32));
}
