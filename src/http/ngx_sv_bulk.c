/*
 * POST /packs: up to 500 lines, each a verify or an operation of its own, on
 * the bulk connections, so that a long list never delays the counter.  A line
 * that is wrong is answered in its place; only a list that is no list is
 * refused whole.  What is not decided by the deadline is answered as not known.
 */

#include "ngx_sv.h"

#include <jansson.h>


#define NGX_SV_BULK_MAX     500
#define NGX_SV_BULK_WINDOW  16              /* lines of one request under way at a time */
#define NGX_SV_BULK_LINE    2560            /* bytes of a rendered line, at most: each of its texts escaped to six times its length */


typedef enum {
    NGX_SV_LINE_WAITING = 0,
    NGX_SV_LINE_LOOKUP,
    NGX_SV_LINE_HINT,                       /* judged; a scanner's setting may explain it */
    NGX_SV_LINE_OPERATION,
    NGX_SV_LINE_DONE
} ngx_sv_line_stage_e;

typedef struct ngx_sv_bulk_op_s  ngx_sv_bulk_op_t;

typedef struct {
    ngx_sv_bulk_op_t      *bulk;
    ngx_sv_line_stage_e    stage;
    ngx_uint_t             status;          /* 0: not decided */
    ngx_sv_pack_t          pack;
    ngx_sv_order_t         order;
    union {
        sv_lookup_t       *lookup;
        sv_pg_query_t     *hint;
        sv_operation_t    *operation;
    } u;
    ngx_uint_t             kind;            /* which member of `result' */
    ngx_uint_t             hint;            /* of a verdict */
    union {
        ngx_sv_problem_t   problem;
        ngx_sv_judgement_t judgement;
        sv_outcome_t       outcome;
    } result;
} ngx_sv_line_t;

#define NGX_SV_LINE_PROBLEM  0
#define NGX_SV_LINE_VERDICT  1
#define NGX_SV_LINE_OUTCOME  2

struct ngx_sv_bulk_op_s {
    ngx_sv_op_t            op;              /* first */
    ngx_uint_t             n, next, under_way, done;
    ngx_uint_t             filling;         /* inside ngx_sv_bulk_fill() */
    ngx_sv_line_t          line[];
};


static void ngx_sv_bulk_fill(ngx_sv_bulk_op_t *bulk);
static void ngx_sv_line_start(ngx_sv_line_t *line);
static void ngx_sv_line_unavailable(ngx_sv_line_t *line);
static void ngx_sv_line_looked_up(void *data, const sv_lookup_result_t *result);
static void ngx_sv_line_hinted(void *data, const sv_pg_reply_t *reply);
static void ngx_sv_line_forget(ngx_sv_line_t *line);
static void ngx_sv_line_decided(void *data, const sv_outcome_t *outcome);
static void ngx_sv_line_done(ngx_sv_line_t *line);
static ngx_int_t ngx_sv_bulk_answer(ngx_sv_bulk_op_t *bulk, ngx_http_request_t *r);
static void ngx_sv_line_render(sv_json_t *json, ngx_http_request_t *r, const ngx_sv_ctx_t *ctx,
    ngx_sv_line_t *line);
static void ngx_sv_bulk_expired(ngx_sv_op_t *op);
static void ngx_sv_bulk_release(ngx_sv_op_t *op);


/* The body was read: the request is counted. */
ngx_int_t
ngx_sv_bulk_request(ngx_http_request_t *r, ngx_sv_ctx_t *ctx, ngx_sv_json_value_t *lines)
{
    size_t             i, n;
    ngx_int_t          rc;
    ngx_sv_line_t     *line;
    ngx_sv_worker_t   *worker;
    ngx_sv_problem_t   problem;
    ngx_sv_bulk_op_t  *bulk;

    worker = ngx_sv_worker();
    n = json_array_size(lines);

    if (n == 0 || n > NGX_SV_BULK_MAX) {
        ngx_sv_count(NGX_SV_MALFORMED);
        ngx_sv_problem(&problem, NGX_SV_UNPROCESSABLE, "list_malformed", NULL,
                       "Send an array of 1 to %d packs.", NGX_SV_BULK_MAX);
        return ngx_sv_send_problem(r, &problem);
    }

    if (worker->bulk_requests == worker->bulk_limit) {
        ngx_sv_problem(&problem, NGX_HTTP_SERVICE_UNAVAILABLE, "busy", NULL,
                       "Too many lists are under way. Try again with the same keys.");
        problem.retry_after = 1;
        return ngx_sv_send_problem(r, &problem);
    }

    bulk = ngx_calloc(sizeof(ngx_sv_bulk_op_t) + n * sizeof(ngx_sv_line_t), r->connection->log);
    if (bulk == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    bulk->n = n;
    bulk->op.expired = ngx_sv_bulk_expired;
    bulk->op.release = ngx_sv_bulk_release;

    for (i = 0; i < n; i++) {
        line = &bulk->line[i];
        line->bulk = bulk;

        if (ngx_sv_order_from_json(json_array_get(lines, i), NGX_SV_BODY_LINE, &line->order,
                                   &line->pack, &line->result.problem) != NGX_OK
            || (!line->order.verify
                && ngx_sv_pack_complete(worker, &line->pack, &line->result.problem) != NGX_OK))
        {
            line->status = line->result.problem.status;
            line->stage = NGX_SV_LINE_DONE;
            bulk->done++;

        } else if (!line->pack.serial_given) {
            ngx_sv_pack_lacks(&line->pack, "21", &line->result.problem);
            line->status = NGX_SV_UNPROCESSABLE;
            line->stage = NGX_SV_LINE_DONE;
            bulk->done++;
        }
    }

    worker->bulk_requests++;
    ngx_sv_count(NGX_SV_BULK);

    bulk->op.r = r;
    bulk->op.started = ngx_current_msec;
    ngx_sv_bulk_fill(bulk);

    /* nothing to wait for: all is wrong, or no backend is there */
    if (bulk->done == bulk->n) {
        rc = ngx_sv_bulk_answer(bulk, r);
        ngx_sv_bulk_release(&bulk->op);
        return rc;
    }

    if (ngx_sv_op_begin(&bulk->op, r, 1, worker->conf->bulk_deadline) != NGX_OK) {
        ngx_sv_bulk_release(&bulk->op);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return NGX_DONE;
}


/* Keep the window full; lines may be done at once when a backend is down. */
static void
ngx_sv_bulk_fill(ngx_sv_bulk_op_t *bulk)
{
    ngx_sv_line_t  *line;

    bulk->filling = 1;

    while (bulk->next < bulk->n && bulk->under_way < NGX_SV_BULK_WINDOW) {
        line = &bulk->line[bulk->next++];

        if (line->stage == NGX_SV_LINE_WAITING) {
            ngx_sv_count(NGX_SV_BULK_LINE_COUNT);
            ngx_sv_line_start(line);
        }
    }

    bulk->filling = 0;
}


static void
ngx_sv_line_start(ngx_sv_line_t *line)
{
    ngx_sv_ctx_t          *ctx;
    sv_lookup_conf_t       conf;
    ngx_sv_worker_t       *worker;
    sv_operate_request_t   request;

    worker = ngx_sv_worker();
    line->bulk->under_way++;

    if (worker->stopping) {
        ngx_sv_line_unavailable(line);
        return;
    }

    if (line->order.verify) {
        ngx_memzero(&conf, sizeof(sv_lookup_conf_t));
        conf.gtin = line->pack.gtin;
        conf.serial.data = line->pack.serial;
        conf.serial.len = line->pack.serial_len;
        conf.lot.data = line->pack.lot_given ? line->pack.lot : NULL;
        conf.lot.len = line->pack.lot_len;
        conf.direct = sv_ref_partly_recalled(worker->ref, line->pack.gtin) != 0;

        line->stage = NGX_SV_LINE_LOOKUP;
        line->u.lookup = sv_verify_start(worker->verify_bulk, &conf, ngx_sv_line_looked_up, line);

        if (line->u.lookup == NULL) {
            ngx_sv_line_unavailable(line);
        }

        return;
    }

    ctx = ngx_http_get_module_ctx(line->bulk->op.r, ngx_serial_verify_module);
    ngx_sv_operate_fill(&request, ctx, &line->pack, &line->order);

    line->stage = NGX_SV_LINE_OPERATION;
    line->u.operation = sv_operate_start(worker->operate, worker->pool[NGX_SV_POOL_BULK],
                                         &request, ngx_sv_line_decided, line);

    if (line->u.operation == NULL) {
        ngx_sv_count(NGX_SV_OP_NOT_DONE);
        ngx_sv_line_unavailable(line);
    }
}


static void
ngx_sv_line_unavailable(ngx_sv_line_t *line)
{
    line->kind = NGX_SV_LINE_PROBLEM;
    line->status = NGX_HTTP_SERVICE_UNAVAILABLE;
    ngx_sv_problem(&line->result.problem, NGX_HTTP_SERVICE_UNAVAILABLE, "unavailable", NULL,
                   "The outcome is not known. Send the line again with the same key.");
    ngx_sv_line_done(line);
}


static void
ngx_sv_line_looked_up(void *data, const sv_lookup_result_t *result)
{
    ngx_sv_line_t    *line = data;

    ngx_sv_ctx_t     *ctx;
    ngx_sv_worker_t  *worker;

    worker = ngx_sv_worker();
    ctx = ngx_http_get_module_ctx(line->bulk->op.r, ngx_serial_verify_module);

    ngx_sv_looked_up(worker, ctx, result, NGX_SV_POOL_BULK);

    if (result->status == SV_LOOKUP_UNAVAILABLE) {
        ngx_sv_count(NGX_SV_VERIFY_FAILED);
        ngx_sv_line_unavailable(line);
        return;
    }

    line->kind = NGX_SV_LINE_VERDICT;
    ngx_sv_judge(worker, ctx, &line->pack, result, &line->result.judgement);
    line->status = sv_reason_row(line->result.judgement.reason)->verify_status;
    ngx_sv_count_reason(line->result.judgement.reason);

    if (line->result.judgement.hint_wanted) {
        line->stage = NGX_SV_LINE_HINT;
        line->u.hint = ngx_sv_ask_hint(worker->pool[NGX_SV_POOL_BULK], &line->pack,
                                       ngx_sv_line_hinted, line);

        if (line->u.hint != NULL) {
            return;
        }
    }

    ngx_sv_line_done(line);
}


static void
ngx_sv_line_hinted(void *data, const sv_pg_reply_t *reply)
{
    ngx_sv_line_t  *line = data;

    line->hint = ngx_sv_hinted(reply);
    ngx_sv_line_done(line);
}


static void
ngx_sv_line_forget(ngx_sv_line_t *line)
{
    switch (line->stage) {

    case NGX_SV_LINE_LOOKUP:
        sv_verify_forget(line->u.lookup);
        break;

    case NGX_SV_LINE_HINT:
        sv_pg_forget(line->u.hint);
        break;

    case NGX_SV_LINE_OPERATION:
        sv_operate_forget(line->u.operation);
        break;

    default: /* waiting, done */
        break;
    }
}


static void
ngx_sv_line_decided(void *data, const sv_outcome_t *outcome)
{
    ngx_sv_line_t  *line = data;

    if (outcome->status != SV_OPERATE_DECIDED) {
        ngx_sv_count(outcome->status == SV_OPERATE_UNKNOWN ? NGX_SV_OP_UNKNOWN
                                                           : NGX_SV_OP_NOT_DONE);
        ngx_sv_line_unavailable(line);
        return;
    }

    ngx_sv_count_outcome(outcome);

    line->kind = NGX_SV_LINE_OUTCOME;
    line->result.outcome = *outcome;
    line->status = ngx_sv_outcome_status(outcome);

    ngx_sv_line_done(line);
}


static void
ngx_sv_line_done(ngx_sv_line_t *line)
{
    ngx_sv_bulk_op_t  *bulk;

    bulk = line->bulk;

    line->stage = NGX_SV_LINE_DONE;
    bulk->under_way--;
    bulk->done++;

    if (bulk->filling) {
        return;
    }

    ngx_sv_bulk_fill(bulk);

    if (bulk->done == bulk->n) {
        ngx_sv_op_finish(&bulk->op, ngx_sv_bulk_answer(bulk, bulk->op.r));
    }
}


static ngx_int_t
ngx_sv_bulk_answer(ngx_sv_bulk_op_t *bulk, ngx_http_request_t *r)
{
    int            len;
    u_char        *buf;
    size_t         size;
    sv_json_t      json;
    ngx_uint_t     i;
    ngx_sv_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_serial_verify_module);

    size = 64 + bulk->n * NGX_SV_BULK_LINE;
    buf = ngx_pnalloc(r->pool, size);

    if (buf == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    sv_json_init(&json, (char *) buf, size);
    sv_json_object(&json, NULL);
    sv_json_array(&json, "results");

    for (i = 0; i < bulk->n; i++) {
        ngx_sv_line_render(&json, r, ctx, &bulk->line[i]);
    }

    sv_json_array_end(&json);
    sv_json_object_end(&json);

    len = sv_json_done(&json);
    ngx_sv_time(NGX_SV_TIME_BULK, bulk->op.started);

    return len < 0 ? NGX_HTTP_INTERNAL_SERVER_ERROR
                   : ngx_sv_send(r, NGX_HTTP_OK, "application/json", buf, (size_t) len);
}


static void
ngx_sv_line_render(sv_json_t *json, ngx_http_request_t *r, const ngx_sv_ctx_t *ctx, ngx_sv_line_t *line)
{
    sv_span_t  key;

    sv_json_object(json, NULL);
    sv_json_number(json, "status", (int64_t) line->status);

    if (line->order.key_len != 0) {
        key.data = line->order.key;
        key.len = line->order.key_len;
        sv_json_span(json, "key", key);
    }

    switch (line->kind) {

    case NGX_SV_LINE_VERDICT:
        ngx_sv_judge_alert(ctx, &line->result.judgement, line->hint);
        ngx_sv_event_verified(r, ctx, &line->pack, &line->order, &line->result.judgement, line->hint);
        ngx_sv_render_verdict(json, ctx, &line->pack, &line->result.judgement, line->hint);
        break;

    case NGX_SV_LINE_OUTCOME:
        if (line->result.outcome.replayed) {
            sv_json_bool(json, "replayed", 1);
        }

        ngx_sv_render_outcome(json, ctx, &line->pack, &line->order, &line->result.outcome);
        break;

    default:
        ngx_sv_render_problem(json, &line->result.problem);
        break;
    }

    sv_json_object_end(json);
}


/* Lines under way go on; lines not begun never begin. Both are told as not known: the key finds out. */
static void
ngx_sv_bulk_expired(ngx_sv_op_t *op)
{
    ngx_uint_t         i;
    ngx_sv_line_t     *line;
    ngx_sv_bulk_op_t  *bulk;

    bulk = (ngx_sv_bulk_op_t *) op;
    ngx_sv_count(NGX_SV_DEADLINE);

    bulk->filling = 1;
    bulk->next = bulk->n;

    for (i = 0; i < bulk->n; i++) {
        line = &bulk->line[i];

        if (line->stage == NGX_SV_LINE_DONE) {
            continue;
        }

        ngx_sv_line_forget(line);

        if (line->stage == NGX_SV_LINE_HINT) {
            /* the verdict stands without it */
            ngx_sv_line_done(line);
            continue;
        }

        if (line->stage == NGX_SV_LINE_WAITING) {
            bulk->under_way++;
        }

        ngx_sv_line_unavailable(line);
    }

    ngx_sv_op_finish(op, ngx_sv_bulk_answer(bulk, op->r));
}


static void
ngx_sv_bulk_release(ngx_sv_op_t *op)
{
    ngx_uint_t         i;
    ngx_sv_bulk_op_t  *bulk;

    bulk = (ngx_sv_bulk_op_t *) op;

    for (i = 0; i < bulk->n; i++) {
        ngx_sv_line_forget(&bulk->line[i]);
    }

    ngx_sv_worker()->bulk_requests--;

    ngx_free(bulk);
}
