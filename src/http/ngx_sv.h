/*
 * The map of the nginx side.
 *
 * The way of a request: ngx_sv_route.c finds the endpoint by the raw target,
 * ngx_sv_auth.c says who asks, ngx_sv_pack.c and ngx_sv_input.c read the pack and the order,
 * ngx_sv_verify.c, ngx_sv_operate.c and ngx_sv_bulk.c carry them out through
 * src/serial, ngx_sv_response.c renders, ngx_sv_op.c owns the waiting.  Every
 * verdict leaves as a scan event: ngx_sv_event.c.
 * What another server answers, ngx_sv_identity.c lets through.
 */

#ifndef NGX_SV_H
#define NGX_SV_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../model/sv_json.h"
#include "../model/sv_ref.h"
#include "../model/sv_verdict.h"
#include "../serial/sv_operate.h"
#include "../serial/sv_verify.h"
#include "ngx_sv_refdata.h"


extern ngx_module_t  ngx_serial_verify_module;


/* configuration */

typedef enum {
    NGX_SV_ENDPOINT_NONE = 0,
    NGX_SV_ENDPOINT_PACK,
    NGX_SV_ENDPOINT_SCAN,
    NGX_SV_ENDPOINT_PACKS,
    NGX_SV_ENDPOINT_STATUS,
    NGX_SV_ENDPOINT_METRICS
} ngx_sv_endpoint_e;

typedef enum {
    NGX_SV_POOL_READ = 0,
    NGX_SV_POOL_WRITE,
    NGX_SV_POOL_BULK,
    NGX_SV_POOLS
} ngx_sv_pool_e;

typedef enum {
    NGX_SV_PLACE_COUNTRY = 0,
    NGX_SV_PLACE_LAT,
    NGX_SV_PLACE_LON,
    NGX_SV_PLACE_ACCURACY,
    NGX_SV_PLACES
} ngx_sv_place_e;

typedef struct {
    u_char          *conninfo;              /* NUL-terminated; NULL: the module is not configured */
    ngx_uint_t       connections[NGX_SV_POOLS];

    ngx_flag_t       redis;                 /* NGX_CONF_UNSET until given, 0: off */
    u_char          *redis_address;         /* numeric, or */
    u_char          *redis_path;
    ngx_int_t        redis_port;
    ngx_int_t        redis_database;
    u_char          *redis_password;        /* NULL: none */

    ngx_msec_t       redis_timeout;
    ngx_msec_t       cache_ttl;
    ngx_msec_t       deadline;
    ngx_msec_t       bulk_deadline;
    ngx_int_t        bulk_requests;         /* in flight, in all worker processes */
    size_t           zone_size;
    ngx_msec_t       refresh;
    ngx_msec_t       stale_limit;
    ngx_msec_t       anonymous_floor;
    ngx_int_t        miss_budget;           /* 0: off */
    time_t           miss_period;

    ngx_shm_zone_t  *refdata_zone;
    ngx_shm_zone_t  *stats_zone;
    ngx_shm_zone_t  *miss_zone;
    ngx_str_t        api_secret;            /* data NULL: none */

    ngx_flag_t       events;                /* scan events are collected */
    ngx_int_t        events_limit;          /* blocks that the stream may hold */
    u_char          *gateway;               /* NUL-terminated */
    ngx_path_t      *spool;                 /* NULL: none */
    off_t            spool_limit;
#if (NGX_THREADS)
    ngx_thread_pool_t  *threads;            /* with a spool */
#endif

    ngx_uint_t       used;                  /* some location has an endpoint, or */
    ngx_uint_t       identity;              /* passes identities on */
} ngx_sv_main_conf_t;

typedef struct {
    ngx_flag_t       routing;
    ngx_flag_t       short_gtin;
} ngx_sv_srv_conf_t;

typedef struct {
    ngx_uint_t       endpoint;              /* ngx_sv_endpoint_e */
    ngx_flag_t       anonymous;
    ngx_flag_t       identity;
    ngx_uint_t       place_given;
    ngx_http_complex_value_t  *place[NGX_SV_PLACES];        /* of a consumer; NULL: not given */
} ngx_sv_loc_conf_t;

extern ngx_conf_num_bounds_t  ngx_sv_conf_bulk_requests_bounds;
typedef struct {
    ngx_conf_post_handler_pt  post_handler;     /* first: this is a ngx_conf_post_t */
    ngx_msec_t                low, high;
} ngx_sv_bounds_t;

extern ngx_sv_bounds_t  ngx_sv_conf_redis_timeout_bounds, ngx_sv_conf_cache_ttl_bounds,
    ngx_sv_conf_deadline_bounds, ngx_sv_conf_bulk_deadline_bounds, ngx_sv_conf_zone_bounds,
    ngx_sv_conf_refresh_bounds, ngx_sv_conf_stale_limit_bounds,
    ngx_sv_conf_anonymous_floor_bounds;

void *ngx_sv_create_main_conf(ngx_conf_t *cf);
char *ngx_sv_init_main_conf(ngx_conf_t *cf, void *conf);
void *ngx_sv_create_srv_conf(ngx_conf_t *cf);
char *ngx_sv_merge_srv_conf(ngx_conf_t *cf, void *parent, void *child);
void *ngx_sv_create_loc_conf(ngx_conf_t *cf);
char *ngx_sv_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child);
char *ngx_sv_conf_postgres(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_sv_conf_connections(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_sv_conf_redis(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_sv_conf_miss_budget(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_sv_conf_endpoint(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_sv_conf_api_secret(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_sv_conf_events(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_sv_conf_gateway(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_sv_conf_spool(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_sv_conf_client_place(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
ngx_int_t ngx_sv_conf_events_finish(ngx_conf_t *cf, ngx_sv_main_conf_t *smcf);
extern ngx_conf_post_t  ngx_sv_conf_identity_post;
ngx_int_t ngx_sv_conf_finish(ngx_conf_t *cf);


/* one worker process: what lives from init_process to exit_process */

typedef struct ngx_sv_events_s  ngx_sv_events_t;
typedef struct ngx_sv_block_s   ngx_sv_block_t;

#define NGX_SV_RANDOM  4096                 /* for request ids, drawn at once: a multiple of half an id's length */

typedef struct {
    ngx_sv_main_conf_t  *conf;
    sv_loop_t           *loop;
    sv_pg_pool_t        *pool[NGX_SV_POOLS];
    sv_cache_t          *cache;             /* NULL: no Redis configured */
    sv_verify_t         *verify;            /* single requests */
    sv_verify_t         *verify_bulk;       /* lines of a list, on connections of their own */
    sv_operate_t        *operate;
    ngx_sv_events_t     *events;            /* NULL: off */
    sv_ref_t            *ref;
    ngx_sv_refdata_t    *refdata;
    sv_timer_t          *tick;
    ngx_uint_t           bulk_requests;     /* in flight here */
    ngx_uint_t           bulk_limit;        /* this process's share */
    ngx_uint_t           random_left;       /* bytes of it that no request has had */
    u_char               random[NGX_SV_RANDOM];
    unsigned             stopping:1;        /* exit_process runs: nothing new is begun */
} ngx_sv_worker_t;

ngx_int_t ngx_sv_process_init(ngx_cycle_t *cycle);
void ngx_sv_process_exit(ngx_cycle_t *cycle);
void ngx_sv_process_redis(ngx_sv_main_conf_t *conf, sv_redis_conf_t *redis);       /* what every connection there has in common */
ngx_sv_worker_t *ngx_sv_worker(void);       /* NULL before init_process */
ngx_int_t ngx_sv_conf_processes(ngx_cycle_t *cycle);        /* worker_processes */

sv_loop_t *ngx_sv_loop_create(ngx_log_t *log);
void ngx_sv_loop_destroy(sv_loop_t *loop);


/* one request */

typedef struct {
    uint64_t         gtin;
    u_char           serial[SV_SERIAL_MAX];
    u_char           lot[SV_LOT_MAX];
    u_char           expiry_text[6];
    uint8_t          serial_len, lot_len;
    unsigned         serial_given:1;
    unsigned         lot_given:1;
    unsigned         expiry_given:1;
    unsigned         stem_elements:1;       /* the stem holds further AI pairs */
    unsigned         separator_lost:1;      /* it looks like a scan that lost its group separator */
    sv_day_t         expiry;
} ngx_sv_pack_t;

#define NGX_SV_UNPROCESSABLE  422

#define NGX_SV_OCCURRED_AT  40

/* what a professional wants done */
typedef struct {
    const char      *operation;             /* a word of the table in ngx_sv_input.c */
    const char      *of;
    const char      *entry_mode;
    u_char           occurred_at[NGX_SV_OCCURRED_AT];
    int64_t          occurred_ms;           /* the same, since 1970 */
    uint8_t          occurred_at_len;
    uint8_t          key_len;
    u_char           key[SV_KEY_MAX];
    unsigned         verify:1;              /* the operation is a verify */
} ngx_sv_order_t;

#define NGX_SV_REQUEST_ID  32

typedef struct {
    ngx_sv_pack_t        pack;
    ngx_sv_order_t       order;
    sv_ref_location_t    location;          /* role SV_ROLE_NONE: anonymous */
    sv_lang_t            lang;
    ngx_str_t            entry_mode;        /* the header */
    ngx_str_t            idempotency_key;
    ngx_uint_t           idempotency_keys;  /* how many such headers there are */
    ngx_uint_t           cross_site;        /* another site's page sends it, says the browser */
    u_char               request_id[NGX_SV_REQUEST_ID];
    ngx_str_t            identity;          /* empty: not made yet */
    unsigned             identified:1;      /* in a location that passes it on, and it may be known */
    unsigned             parsed:1;          /* pack is valid */
    unsigned             headers_read:1;
    unsigned             entry_mode_checked:1;
    unsigned             silent:1;          /* ?alert=no */
    unsigned             stale:1;           /* reference data or record may be out of date */

    /* for the variables */
    const char          *reason;
    const char          *source;
    u_char               alert[SV_ALERT_ID];
    unsigned             changed:1;
} ngx_sv_ctx_t;

ngx_sv_ctx_t *ngx_sv_ctx(ngx_http_request_t *r);            /* made when missing; NULL: out of memory */


/* an error that the client is told: a problem document (RFC 9457) */
typedef struct {
    ngx_uint_t   status;
    const char  *reason;                    /* stable word */
    const char  *title;
    const char  *element;                   /* what is wrong: a member, a header, an AI; or NULL */
    char         member[41];                /* a member's name that only the client knows, cut; `element' points here */
    const char  *hint;                      /* "scanner": its setting explains it; or NULL */
    ngx_int_t    offset;                    /* -1: none */
    ngx_uint_t   retry_after;               /* seconds, 0: none */
    u_char       detail[256];               /* NUL-terminated; what to do */
} ngx_sv_problem_t;

void ngx_sv_problem(ngx_sv_problem_t *problem, ngx_uint_t status, const char *reason,
    const char *element, const char *fmt, ...);


/* ngx_sv_route.c */
ngx_int_t ngx_sv_route_handler(ngx_http_request_t *r);      /* server rewrite phase */
ngx_int_t ngx_sv_content_handler(ngx_http_request_t *r);

/* ngx_sv_auth.c: NGX_OK and ctx->location set (role NONE: anonymous, where allowed), or NGX_DECLINED and the problem */
ngx_int_t ngx_sv_authenticate(ngx_http_request_t *r, ngx_sv_ctx_t *ctx, ngx_uint_t anonymous,
    ngx_sv_problem_t *problem);

/* ngx_sv_pack.c, ngx_sv_input.c: NGX_OK, or NGX_DECLINED and the problem */
ngx_int_t ngx_sv_pack_from_target(ngx_http_request_t *r, ngx_sv_pack_t *pack,
    ngx_sv_problem_t *problem);
ngx_int_t ngx_sv_pack_from_text(sv_span_t text, ngx_sv_pack_t *pack, ngx_sv_problem_t *problem);
ngx_int_t ngx_sv_pack_complete(ngx_sv_worker_t *worker, const ngx_sv_pack_t *pack,
    ngx_sv_problem_t *problem);             /* has it what an operation needs? */
void ngx_sv_pack_lacks(const ngx_sv_pack_t *pack, const char *element,
    ngx_sv_problem_t *problem);
void ngx_sv_read_headers(ngx_http_request_t *r, ngx_sv_ctx_t *ctx);
ngx_int_t ngx_sv_same_site(ngx_sv_ctx_t *ctx, ngx_sv_problem_t *problem);      /* after the headers */

#define NGX_SV_BODY_ORDER  0                /* POST to a pack */
#define NGX_SV_BODY_SCAN   1                /* POST /scan */
#define NGX_SV_BODY_LINE   2                /* a line of POST /packs */

typedef struct json_t  ngx_sv_json_value_t;
ngx_int_t ngx_sv_order_from_json(const ngx_sv_json_value_t *json, ngx_uint_t kind,
    ngx_sv_order_t *order, ngx_sv_pack_t *pack, ngx_sv_problem_t *problem);
ngx_sv_json_value_t *ngx_sv_body_json(ngx_http_request_t *r, ngx_sv_problem_t *problem);
void ngx_sv_json_free(ngx_sv_json_value_t *json);
ngx_int_t ngx_sv_key_check(ngx_str_t *key, ngx_sv_order_t *order, ngx_sv_problem_t *problem);


/*
 * ngx_sv_op.c: a request that waits.  The only place that touches
 * r->main->count.  The struct is embedded at the start of an endpoint's own,
 * which comes from malloc, never from r->pool.
 *
 * begin() -> exactly one of: finish() by the endpoint, abort() by the client's
 * leaving.  finish() only from an event: what is decided before the handler
 * has returned is returned by it.  Then `r' is NULL.  deadline() may come before either; the endpoint
 * then finishes.  release() is called once, when the request is gone.
 */
typedef struct ngx_sv_op_s  ngx_sv_op_t;

struct ngx_sv_op_s {
    ngx_http_request_t   *r;
    ngx_http_cleanup_t   *cleanup;
    ngx_event_t           timer;
    ngx_msec_t            started;
    void                (*expired)(ngx_sv_op_t *op);        /* the timer fired; op->r is set */
    void                (*release)(ngx_sv_op_t *op);        /* forget what is under way and free */
};

/* NGX_ERROR: nothing was begun, release was not called */
ngx_int_t ngx_sv_op_begin(ngx_sv_op_t *op, ngx_http_request_t *r, ngx_uint_t counted,
    ngx_msec_t deadline);
void ngx_sv_op_timer(ngx_sv_op_t *op, ngx_msec_t ms);       /* replaces the deadline */
void ngx_sv_op_finish(ngx_sv_op_t *op, ngx_int_t rc);


/* endpoints; called with ctx->location, ctx->pack set where they apply */
ngx_int_t ngx_sv_verify_request(ngx_http_request_t *r, ngx_sv_ctx_t *ctx, ngx_uint_t counted);
ngx_int_t ngx_sv_operate_request(ngx_http_request_t *r, ngx_sv_ctx_t *ctx);
ngx_int_t ngx_sv_bulk_request(ngx_http_request_t *r, ngx_sv_ctx_t *ctx, ngx_sv_json_value_t *lines);
ngx_int_t ngx_sv_status_request(ngx_http_request_t *r, ngx_sv_ctx_t *ctx);
ngx_int_t ngx_sv_metrics_request(ngx_http_request_t *r, ngx_sv_ctx_t *ctx);


/* ngx_sv_judge.c: what both the single verify and a line of a bulk do with a look-up's result */
typedef struct {
    sv_reason_t          reason;            /* that is told */
    sv_reason_t          truth;             /* the same but for the public */
    unsigned             hint_wanted:1;     /* one more query may tell the scanner's fault */
    unsigned             known:1;
    sv_record_t          record;
    sv_ref_product_t     product;           /* gtin 0: unknown */
    char                 reference[SV_REF_REASON + 1];      /* of the recall or withdrawal */
    char                 alert[SV_ALERT_ID];
} ngx_sv_judgement_t;

void ngx_sv_looked_up(ngx_sv_worker_t *worker, ngx_sv_ctx_t *ctx, const sv_lookup_result_t *result,
    ngx_sv_pool_e pool);

/* NULL: not asked, no handler will be called; the verdict stands without it */
sv_pg_query_t *ngx_sv_ask_hint(sv_pg_pool_t *pool, const ngx_sv_pack_t *pack,
    sv_pg_reply_pt handler, void *data);
ngx_uint_t ngx_sv_hinted(const sv_pg_reply_t *reply);

/* the last step of a verdict, when the hint is known */
void ngx_sv_judge_alert(const ngx_sv_ctx_t *ctx, ngx_sv_judgement_t *judgement, ngx_uint_t hint);

void ngx_sv_judge(ngx_sv_worker_t *worker, const ngx_sv_ctx_t *ctx, const ngx_sv_pack_t *pack,
    const sv_lookup_result_t *result, ngx_sv_judgement_t *judgement);


/* ngx_sv_response.c: all return what a handler returns, or what op_finish() takes */
ngx_int_t ngx_sv_send(ngx_http_request_t *r, ngx_uint_t status, const char *type, u_char *body,
    size_t len);
ngx_int_t ngx_sv_send_problem(ngx_http_request_t *r, const ngx_sv_problem_t *problem);
ngx_int_t ngx_sv_send_unavailable(ngx_http_request_t *r);
ngx_int_t ngx_sv_send_verdict(ngx_http_request_t *r, ngx_sv_ctx_t *ctx,
    const ngx_sv_judgement_t *judgement, ngx_uint_t hint);
ngx_int_t ngx_sv_send_outcome(ngx_http_request_t *r, ngx_sv_ctx_t *ctx,
    const sv_outcome_t *outcome);

/* the members of a verdict or outcome, into an open object */
void ngx_sv_render_verdict(sv_json_t *json, const ngx_sv_ctx_t *ctx, const ngx_sv_pack_t *pack,
    const ngx_sv_judgement_t *judgement, ngx_uint_t hint);
void ngx_sv_render_outcome(sv_json_t *json, const ngx_sv_ctx_t *ctx, const ngx_sv_pack_t *pack,
    const ngx_sv_order_t *order, const sv_outcome_t *outcome);
void ngx_sv_render_problem(sv_json_t *json, const ngx_sv_problem_t *problem);
ngx_uint_t ngx_sv_outcome_status(const sv_outcome_t *outcome);
ngx_int_t ngx_sv_add_header(ngx_http_request_t *r, const char *name, const char *value,
    size_t len);

/* what an operation with this order is called with */
void ngx_sv_operate_fill(sv_operate_request_t *request, const ngx_sv_ctx_t *ctx,
    const ngx_sv_pack_t *pack, const ngx_sv_order_t *order);


/* ngx_sv_miss.c: the budget of misses of an anonymous address prefix */
ngx_int_t ngx_sv_miss_zone(ngx_conf_t *cf, ngx_sv_main_conf_t *conf);
ngx_uint_t ngx_sv_miss_exceeded(ngx_sv_main_conf_t *conf, ngx_connection_t *c);    /* seconds to wait, 0: go on */
void ngx_sv_miss_count(ngx_sv_main_conf_t *conf, ngx_connection_t *c);
uint64_t ngx_sv_miss_prefix(struct sockaddr *sa);


/* ngx_sv_event.c: scan events of this process */
ngx_sv_events_t *ngx_sv_events_create(ngx_sv_worker_t *worker, ngx_log_t *log);    /* NULL: out of memory */
void ngx_sv_events_destroy(ngx_sv_events_t *events);        /* sends or spools what is left */
ngx_uint_t ngx_sv_events_in_flight(ngx_sv_events_t *events);       /* blocks */
const char *ngx_sv_events_way(ngx_sv_events_t *events);     /* where a block would go now: redis, spool, nowhere; off */

/* A verdict was given: with the last step of the judgement, before it is rendered. */
void ngx_sv_event_verified(ngx_http_request_t *r, const ngx_sv_ctx_t *ctx, const ngx_sv_pack_t *pack,
    const ngx_sv_order_t *order, const ngx_sv_judgement_t *judgement, ngx_uint_t hint);


/* ngx_sv_stats.c: counters of all worker processes, in shared memory */
typedef enum {
#define NGX_SV_COUNTER(symbol, metric, labels, help)  NGX_SV_##symbol,
#include "ngx_sv_counters.def"
#undef NGX_SV_COUNTER
    NGX_SV_COUNTERS
} ngx_sv_counter_e;

#define NGX_SV_BUCKETS  13

typedef enum { NGX_SV_TIME_VERIFY, NGX_SV_TIME_OPERATE, NGX_SV_TIME_BULK, NGX_SV_TIMES } ngx_sv_time_e;

/* what one worker process says of its connections, once a second */
typedef struct {
    ngx_atomic_t     pid;
    ngx_atomic_t     updated;               /* ngx_current_msec */
    ngx_atomic_t     pg_ready[NGX_SV_POOLS];
    ngx_atomic_t     pg_in_flight[NGX_SV_POOLS];
    ngx_atomic_t     redis_ready;
    ngx_atomic_t     operations;
    ngx_atomic_t     event_blocks;
} ngx_sv_gauge_t;

#define NGX_SV_GAUGES  64

typedef struct {
    ngx_atomic_t     counter[NGX_SV_COUNTERS];
    ngx_atomic_t     bucket[NGX_SV_TIMES][NGX_SV_BUCKETS];
    ngx_atomic_t     time_sum[NGX_SV_TIMES];        /* ms */
    ngx_atomic_t     spool_bytes;
    ngx_sv_gauge_t   gauge[NGX_SV_GAUGES];
} ngx_sv_stats_t;

extern const ngx_msec_t  ngx_sv_stats_bounds[NGX_SV_BUCKETS - 1];

ngx_int_t ngx_sv_stats_zone(ngx_conf_t *cf, ngx_sv_main_conf_t *conf);
ngx_sv_stats_t *ngx_sv_stats(ngx_sv_main_conf_t *conf);
void ngx_sv_count(ngx_sv_counter_e counter);
off_t ngx_sv_stats_spool(ngx_sv_main_conf_t *conf);         /* bytes */
void ngx_sv_count_n(ngx_sv_counter_e counter, ngx_uint_t n);
void ngx_sv_count_reason(sv_reason_t reason);
void ngx_sv_count_outcome(const sv_outcome_t *outcome);
void ngx_sv_time(ngx_sv_time_e what, ngx_msec_t started);
void ngx_sv_stats_publish(ngx_sv_worker_t *worker);

ngx_int_t ngx_sv_add_variables(ngx_conf_t *cf);


/* ngx_sv_identity.c */
ngx_int_t ngx_sv_identity_handler(ngx_http_request_t *r);   /* access phase */
ngx_int_t ngx_sv_identity(ngx_http_request_t *r, ngx_sv_ctx_t *ctx, ngx_str_t *value);     /* empty: none */

#endif /* NGX_SV_H */
