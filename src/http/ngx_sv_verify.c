/*
 * One verify: look the pack up, judge it by reference data, answer.  For a
 * professional whose serial or lot did not fit, one more query looks whether a
 * scanner's keyboard setting explains it.
 */

#include "ngx_sv.h"


typedef enum {
    NGX_SV_VERIFY_LOOKUP,
    NGX_SV_VERIFY_HINT,
    NGX_SV_VERIFY_FLOOR                     /* decided; held back until the floor */
} ngx_sv_verify_stage_e;

typedef struct {
    ngx_sv_op_t             op;             /* first */
    ngx_sv_verify_stage_e   stage;
    sv_lookup_t            *lookup;
    sv_pg_query_t          *hint;
    ngx_sv_judgement_t      judgement;
    ngx_uint_t              unavailable;    /* what is held back is a 503 */
    ngx_uint_t              limited;        /* or a 429: seconds to wait */
} ngx_sv_verify_op_t;


static ngx_int_t ngx_sv_verify_limited(ngx_http_request_t *r, ngx_uint_t wait);
static void ngx_sv_verify_looked_up(void *data, const sv_lookup_result_t *result);
static void ngx_sv_verify_hinted(void *data, const sv_pg_reply_t *reply);
static void ngx_sv_verify_done(ngx_sv_verify_op_t *vop, ngx_uint_t hint);
static void ngx_sv_verify_answer(ngx_sv_verify_op_t *vop, ngx_uint_t hint);
static void ngx_sv_verify_expired(ngx_sv_op_t *op);
static void ngx_sv_verify_release(ngx_sv_op_t *op);
#ifdef SV_FAILPOINTS
static unsigned ngx_sv_fill_delay(ngx_http_request_t *r);
#endif


ngx_int_t
ngx_sv_verify_request(ngx_http_request_t *r, ngx_sv_ctx_t *ctx, ngx_uint_t counted)
{
    ngx_uint_t           wait;
    sv_lookup_conf_t     conf;
    ngx_sv_worker_t     *worker;
    ngx_sv_problem_t     problem;
    ngx_sv_verify_op_t  *vop;

    worker = ngx_sv_worker();

    if (!ctx->pack.serial_given) {
        ngx_sv_count(NGX_SV_MALFORMED);
        ngx_sv_pack_lacks(&ctx->pack, "21", &problem);
        return ngx_sv_send_problem(r, &problem);
    }

    if (ctx->location.role == SV_ROLE_NONE) {
        wait = ngx_sv_miss_exceeded(worker->conf, r->connection);

        if (wait != 0) {
            return ngx_sv_verify_limited(r, wait);
        }
    }

    vop = ngx_calloc(sizeof(ngx_sv_verify_op_t), r->connection->log);
    if (vop == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    vop->op.expired = ngx_sv_verify_expired;
    vop->op.release = ngx_sv_verify_release;

    ngx_memzero(&conf, sizeof(sv_lookup_conf_t));
    conf.gtin = ctx->pack.gtin;
    conf.serial.data = ctx->pack.serial;
    conf.serial.len = ctx->pack.serial_len;
    conf.lot.data = ctx->pack.lot_given ? ctx->pack.lot : NULL;
    conf.lot.len = ctx->pack.lot_len;
    conf.relaxed = ctx->location.role == SV_ROLE_NONE;
    conf.direct = sv_ref_partly_recalled(worker->ref, ctx->pack.gtin) != 0;
#ifdef SV_FAILPOINTS
    conf.fill_delay_ms = ngx_sv_fill_delay(r);
#endif

    vop->lookup = sv_verify_start(worker->verify, &conf, ngx_sv_verify_looked_up, vop);

    if (vop->lookup == NULL) {
        ngx_free(vop);
        return ngx_sv_send_unavailable(r);
    }

    if (ngx_sv_op_begin(&vop->op, r, counted, worker->conf->deadline) != NGX_OK) {
        sv_verify_forget(vop->lookup);
        ngx_free(vop);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return NGX_DONE;
}


static ngx_int_t
ngx_sv_verify_limited(ngx_http_request_t *r, ngx_uint_t wait)
{
    ngx_sv_problem_t  problem;

    ngx_sv_count(NGX_SV_LIMITED);
    ngx_sv_problem(&problem, NGX_HTTP_TOO_MANY_REQUESTS, "too_many_misses", NULL,
                   "Too many packs from here could not be confirmed. Wait as long as the"
                   " header Retry-After says, or send a credential.");
    problem.retry_after = wait;

    return ngx_sv_send_problem(r, &problem);
}


static void
ngx_sv_verify_looked_up(void *data, const sv_lookup_result_t *result)
{
    ngx_sv_verify_op_t  *vop = data;

    ngx_sv_ctx_t        *ctx;
    ngx_sv_worker_t     *worker;

    worker = ngx_sv_worker();
    vop->lookup = NULL;

    ctx = ngx_http_get_module_ctx(vop->op.r, ngx_serial_verify_module);

    ngx_sv_looked_up(worker, ctx, result, NGX_SV_POOL_READ);

    if (result->status == SV_LOOKUP_UNAVAILABLE) {
        ngx_sv_verify_done(vop, 0);
        return;
    }

    ngx_sv_judge(worker, ctx, &ctx->pack, result, &vop->judgement);

    if (vop->judgement.hint_wanted) {
        vop->stage = NGX_SV_VERIFY_HINT;
        vop->hint = ngx_sv_ask_hint(worker->pool[NGX_SV_POOL_READ], &ctx->pack,
                                    ngx_sv_verify_hinted, vop);

        if (vop->hint != NULL) {
            return;
        }
    }

    ngx_sv_verify_done(vop, 0);
}


static void
ngx_sv_verify_hinted(void *data, const sv_pg_reply_t *reply)
{
    ngx_sv_verify_op_t  *vop = data;

    vop->hint = NULL;

    ngx_sv_verify_done(vop, ngx_sv_hinted(reply));
}


/* The anonymous public is answered no earlier than the floor: the time must not tell what was looked up. */
static void
ngx_sv_verify_done(ngx_sv_verify_op_t *vop, ngx_uint_t hint)
{
    ngx_msec_t        spent, floor;
    ngx_sv_ctx_t     *ctx;
    ngx_sv_worker_t  *worker;

    worker = ngx_sv_worker();
    ctx = ngx_http_get_module_ctx(vop->op.r, ngx_serial_verify_module);

    vop->unavailable = ctx->source == NULL;

    if (ctx->location.role == SV_ROLE_NONE) {

        /* many asked at once: what the others missed meanwhile counts, whatever this one would be told */
        vop->limited = ngx_sv_miss_exceeded(worker->conf, vop->op.r->connection);

        if (vop->limited == 0 && !vop->unavailable
            && vop->judgement.reason == SV_REASON_NOT_CONFIRMED)
        {
            ngx_sv_miss_count(worker->conf, vop->op.r->connection);
        }

        floor = worker->conf->anonymous_floor;
        spent = ngx_current_msec - vop->op.started;

        /* the millisecond in which it began may have been nearly over */
        if (floor != 0 && spent <= floor) {
            vop->stage = NGX_SV_VERIFY_FLOOR;
            ngx_sv_op_timer(&vop->op, floor - spent + 1);
            return;
        }
    }

    ngx_sv_verify_answer(vop, hint);
}


static void
ngx_sv_verify_answer(ngx_sv_verify_op_t *vop, ngx_uint_t hint)
{
    ngx_int_t            rc;
    ngx_sv_ctx_t        *ctx;
    ngx_http_request_t  *r;

    r = vop->op.r;
    ctx = ngx_http_get_module_ctx(r, ngx_serial_verify_module);

    ngx_sv_time(NGX_SV_TIME_VERIFY, vop->op.started);

    if (vop->limited != 0) {
        rc = ngx_sv_verify_limited(r, vop->limited);

    } else if (vop->unavailable) {
        ngx_sv_count(NGX_SV_VERIFY_FAILED);
        rc = ngx_sv_send_unavailable(r);

    } else {
        ngx_sv_judge_alert(ctx, &vop->judgement, hint);
        ngx_sv_event_verified(r, ctx, &ctx->pack, &ctx->order, &vop->judgement, hint);
        ngx_sv_count_reason(vop->judgement.reason);
        rc = ngx_sv_send_verdict(r, ctx, &vop->judgement, hint);
    }

    ngx_sv_op_finish(&vop->op, rc);
}


static void
ngx_sv_verify_expired(ngx_sv_op_t *op)
{
    ngx_sv_verify_op_t  *vop;

    vop = (ngx_sv_verify_op_t *) op;

    switch (vop->stage) {

    case NGX_SV_VERIFY_FLOOR:
        break;

    case NGX_SV_VERIFY_HINT:
        /* the verdict stands without the hint */
        sv_pg_forget(vop->hint);
        vop->hint = NULL;
        break;

    case NGX_SV_VERIFY_LOOKUP:
        ngx_sv_count(NGX_SV_DEADLINE);
        vop->unavailable = 1;
        break;
    }

    ngx_sv_verify_answer(vop, 0);
}


static void
ngx_sv_verify_release(ngx_sv_op_t *op)
{
    ngx_sv_verify_op_t  *vop;

    vop = (ngx_sv_verify_op_t *) op;

    if (vop->lookup != NULL) {
        sv_verify_forget(vop->lookup);
    }

    if (vop->hint != NULL) {
        sv_pg_forget(vop->hint);
    }

    ngx_free(vop);
}


#ifdef SV_FAILPOINTS

/* test builds: "Test-Fill-Delay: 300" holds the fill of the cache back, as if this process had been stopped */
static unsigned
ngx_sv_fill_delay(ngx_http_request_t *r)
{
    ngx_uint_t        i;
    ngx_int_t         ms;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    for (part = &r->headers_in.headers.part; part != NULL; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (h[i].key.len == sizeof("Test-Fill-Delay") - 1
                && ngx_strncmp(h[i].lowcase_key, "test-fill-delay", 15) == 0)
            {
                ms = ngx_atoi(h[i].value.data, h[i].value.len);
                return ms > 0 ? (unsigned) ms : 0;
            }
        }
    }

    return 0;
}

#endif
