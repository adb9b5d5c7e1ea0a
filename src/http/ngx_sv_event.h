/*
 * Scan events of one worker process, between ngx_sv_event.c (blocks, and what
 * becomes of them), ngx_sv_event_who.c (token and place of a consumer),
 * ngx_sv_event_conf.c (directives), ngx_sv_spool.c (writes what Redis does not
 * take) and ngx_sv_spool_replay.c (sends it later).  Nobody else includes it.
 *
 * A block is in one place at a time: free, being filled, sent and not
 * answered, or in the spool's hands.  There are NGX_SV_BLOCKS of them; when
 * none is free events are dropped, and their numbers are missed by who reads
 * them.  Events that were numbered are counted once: sent, spooled or dropped.
 */

#ifndef NGX_SV_EVENT_H
#define NGX_SV_EVENT_H

#include "ngx_sv.h"

#include "../model/sv_event.h"
#include "../store/sv_spool.h"

#include <openssl/evp.h>


#define NGX_SV_BLOCKS  64

typedef struct ngx_sv_spool_s   ngx_sv_spool_t;
typedef struct ngx_sv_replay_s  ngx_sv_replay_t;

struct ngx_sv_block_s {
    ngx_queue_t           link;             /* free, sent, or waiting for the spool */
    ngx_sv_events_t      *events;
    size_t                len;
    ngx_uint_t            n;                /* events in it */
    u_char                data[SV_SPOOL_DATA];
};

/* of whom a token is made: the salt of the day, in a keyed digest */
typedef struct {
    EVP_MAC              *mac;
    EVP_MAC_CTX          *keyed;
    time_t                looked;           /* the second in which the salt was looked up */
    uint8_t               salt[SV_REF_SALT];
    ngx_uint_t            known;            /* there is one for today */
} ngx_sv_who_t;

struct ngx_sv_events_s {
    ngx_sv_worker_t      *worker;
    ngx_sv_main_conf_t   *conf;
    sv_redis_t           *redis;            /* NULL: none */
    ngx_sv_spool_t       *spool;            /* NULL: none */
    uint64_t              boot;
    uint64_t              sequence;         /* of the last event */
    ngx_sv_block_t       *filling;          /* NULL: none */
    ngx_queue_t           free;
    ngx_queue_t           sent;
    ngx_uint_t            in_flight;        /* blocks on their way: neither free nor being filled */
    ngx_event_t           timer;            /* the block that is being filled leaves */
    ngx_event_t           hold;             /* keeps a process that is to end until no block is on its way */
    ngx_sv_who_t          who;
    unsigned              refused:1;        /* Redis takes no blocks, and it was told */
    unsigned              full:1;           /* no block was free, and it was told */
    unsigned              ending:1;         /* the process: threads run no more */
    ngx_sv_block_t        block[NGX_SV_BLOCKS];
};


/* ngx_sv_event.c */
void ngx_sv_block_free(ngx_sv_block_t *block);
ngx_uint_t ngx_sv_events_usable(ngx_sv_events_t *events);   /* does Redis answer? */

/* NGX_ERROR: not sent, the handler will not be called */
ngx_int_t ngx_sv_events_xadd(ngx_sv_events_t *events, const char *gateway, uint64_t boot, u_char *data,
    size_t len, sv_redis_reply_pt handler, void *data_of_handler);
void ngx_sv_events_answered(ngx_sv_events_t *events, const redisReply *reply);     /* tells when that changes */

/* ngx_sv_event_who.c */
ngx_int_t ngx_sv_who_init(ngx_sv_who_t *who);
void ngx_sv_who_done(ngx_sv_who_t *who);

/* the token's length; 0: there is none */
size_t ngx_sv_who_token(ngx_sv_who_t *who, sv_ref_t *ref, ngx_http_request_t *r, u_char token[SV_EVENT_SESSION]);
void ngx_sv_who_place(ngx_http_request_t *r, sv_event_t *event);

#if (NGX_THREADS)

/* ngx_sv_spool.c */
ngx_sv_spool_t *ngx_sv_spool_create(ngx_sv_events_t *events);       /* NULL: out of memory */
void ngx_sv_spool_add(ngx_sv_spool_t *spool, ngx_sv_block_t *block);        /* takes the block over */
void ngx_sv_spool_last(ngx_sv_spool_t *spool);              /* the process ends, no thread runs: write what is left */
void ngx_sv_spool_destroy(ngx_sv_spool_t *spool);

/* ngx_sv_spool_replay.c */
ngx_sv_replay_t *ngx_sv_replay_create(ngx_sv_events_t *events);     /* NULL: out of memory */
void ngx_sv_replay_tick(ngx_sv_replay_t *replay);           /* once a second */
void ngx_sv_replay_destroy(ngx_sv_replay_t *replay);

#else

/* the directive is refused: nobody comes here */
#define ngx_sv_spool_create(events)      NULL
#define ngx_sv_spool_add(spool, block)   (void) (spool)
#define ngx_sv_spool_last(spool)
#define ngx_sv_spool_destroy(spool)

#endif

#endif /* NGX_SV_EVENT_H */
