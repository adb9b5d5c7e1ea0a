/*
 * One operation: sv.operate() through the pool of writes, then the answer.
 *
 * When the deadline passes, or the client leaves, the operation itself goes
 * on; what came of it is stored under its key and found by the retry.
 */

#include "ngx_sv.h"


typedef struct {
    ngx_sv_op_t      op;                    /* first */
    sv_operation_t  *operation;
} ngx_sv_operate_op_t;


static void ngx_sv_operate_decided(void *data, const sv_outcome_t *outcome);
static void ngx_sv_operate_expired(ngx_sv_op_t *op);
static void ngx_sv_operate_release(ngx_sv_op_t *op);


/* The body was read: the request is counted. */
ngx_int_t
ngx_sv_operate_request(ngx_http_request_t *r, ngx_sv_ctx_t *ctx)
{
    ngx_sv_worker_t       *worker;
    ngx_sv_operate_op_t   *oop;
    sv_operate_request_t   request;

    worker = ngx_sv_worker();

    oop = ngx_calloc(sizeof(ngx_sv_operate_op_t), r->connection->log);
    if (oop == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    oop->op.expired = ngx_sv_operate_expired;
    oop->op.release = ngx_sv_operate_release;

    ngx_sv_operate_fill(&request, ctx, &ctx->pack, &ctx->order);

    oop->operation = sv_operate_start(worker->operate, worker->pool[NGX_SV_POOL_WRITE], &request,
                                      ngx_sv_operate_decided, oop);

    if (oop->operation == NULL) {
        ngx_free(oop);
        ngx_sv_count(NGX_SV_OP_NOT_DONE);
        return ngx_sv_send_unavailable(r);
    }

    if (ngx_sv_op_begin(&oop->op, r, 1, worker->conf->deadline) != NGX_OK) {
        sv_operate_forget(oop->operation);
        ngx_free(oop);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return NGX_DONE;
}


void
ngx_sv_operate_fill(sv_operate_request_t *request, const ngx_sv_ctx_t *ctx,
    const ngx_sv_pack_t *pack, const ngx_sv_order_t *order)
{
    ngx_time_t  *tp;

    tp = ngx_timeofday();

    ngx_memzero(request, sizeof(sv_operate_request_t));

    request->gtin = pack->gtin;
    request->serial.data = pack->serial;
    request->serial.len = pack->serial_len;
    request->lot.data = pack->lot_given ? pack->lot : NULL;
    request->lot.len = pack->lot_len;
    request->expiry_text.data = pack->expiry_text;
    request->expiry_text.len = pack->expiry_given ? sizeof(pack->expiry_text) : 0;
    request->expiry = pack->expiry_given ? pack->expiry : SV_DAY_NONE;
    request->operation = order->operation;
    request->of = order->of;
    request->entry_mode = order->entry_mode;
    request->occurred_at.data = order->occurred_at_len ? order->occurred_at : NULL;
    request->occurred_at.len = order->occurred_at_len;
    request->key.data = order->key;
    request->key.len = order->key_len;
    request->request_id.data = ctx->request_id;
    request->request_id.len = NGX_SV_REQUEST_ID;
    request->location = ctx->location.id;
    request->country = ctx->location.country;
    request->now_ms = (int64_t) tp->sec * 1000 + tp->msec;
}


static void
ngx_sv_operate_decided(void *data, const sv_outcome_t *outcome)
{
    ngx_sv_operate_op_t  *oop = data;

    ngx_int_t             rc;
    ngx_sv_ctx_t         *ctx;
    ngx_http_request_t   *r;

    r = oop->op.r;
    ctx = ngx_http_get_module_ctx(r, ngx_serial_verify_module);
    oop->operation = NULL;

    ngx_sv_time(NGX_SV_TIME_OPERATE, oop->op.started);

    if (outcome->status == SV_OPERATE_DECIDED) {
        ngx_sv_count_outcome(outcome);
        rc = ngx_sv_send_outcome(r, ctx, outcome);

    } else {
        ngx_sv_count(outcome->status == SV_OPERATE_UNKNOWN ? NGX_SV_OP_UNKNOWN
                                                           : NGX_SV_OP_NOT_DONE);
        rc = ngx_sv_send_unavailable(r);
    }

    ngx_sv_op_finish(&oop->op, rc);
}


static void
ngx_sv_operate_expired(ngx_sv_op_t *op)
{
    ngx_sv_count(NGX_SV_DEADLINE);
    ngx_sv_count(NGX_SV_OP_UNKNOWN);

    ngx_sv_op_finish(op, ngx_sv_send_unavailable(op->r));
}


static void
ngx_sv_operate_release(ngx_sv_op_t *op)
{
    ngx_sv_operate_op_t  *oop;

    oop = (ngx_sv_operate_op_t *) op;

    if (oop->operation != NULL) {
        sv_operate_forget(oop->operation);
    }

    ngx_free(oop);
}
