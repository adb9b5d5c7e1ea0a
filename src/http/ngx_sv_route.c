/*
 * Which endpoint a request belongs to.
 *
 * nginx decodes and normalises a path before it looks for a location; a serial
 * may hold %2F, `..' or `//', so that path may end anywhere.  If the raw target
 * is a Digital Link of a GTIN, the location is chosen by /01/{gtin} alone.
 */

#include "ngx_sv.h"

#include <openssl/rand.h>


static ngx_int_t ngx_sv_pack_endpoint(ngx_http_request_t *r, ngx_sv_ctx_t *ctx,
    ngx_uint_t anonymous);
static ngx_int_t ngx_sv_read_body(ngx_http_request_t *r, ngx_sv_ctx_t *ctx,
    ngx_http_client_body_handler_pt handler);
static void ngx_sv_pack_body(ngx_http_request_t *r);
static void ngx_sv_scan_body(ngx_http_request_t *r);
static void ngx_sv_packs_body(ngx_http_request_t *r);
static ngx_int_t ngx_sv_method_refused(ngx_http_request_t *r, const char *allow);
static ngx_int_t ngx_sv_header_key(ngx_sv_ctx_t *ctx, ngx_sv_problem_t *problem);
static ngx_int_t ngx_sv_entry_mode(ngx_sv_ctx_t *ctx, ngx_sv_problem_t *problem);
static void ngx_sv_alert_argument(ngx_http_request_t *r, ngx_sv_ctx_t *ctx);


ngx_int_t
ngx_sv_route_handler(ngx_http_request_t *r)
{
    u_char             *p, *last;
    uint64_t            gtin;
    ngx_int_t           i;
    ngx_sv_ctx_t       *ctx;
    ngx_sv_pack_t       pack;
    ngx_sv_problem_t    problem;
    ngx_sv_srv_conf_t  *sscf;

    sscf = ngx_http_get_module_srv_conf(r, ngx_serial_verify_module);

    if (!sscf->routing || r->internal || r != r->main) {
        return NGX_DECLINED;
    }

    /* most requests that are not ours are told by this */
    last = r->unparsed_uri.data + r->unparsed_uri.len;

    p = ngx_strlcasestrn(r->unparsed_uri.data, last, (u_char *) "/01/", 4 - 1);
    if (p == NULL) {
        p = r->unparsed_uri.len > 3
            ? ngx_strlcasestrn(r->unparsed_uri.data, last, (u_char *) "/e", 2 - 1) : NULL;
    }

    if (p == NULL || ngx_sv_pack_from_target(r, &pack, &problem) != NGX_OK) {
        return NGX_DECLINED;
    }

    ctx = ngx_sv_ctx(r);
    if (ctx == NULL) {
        return NGX_ERROR;
    }

    p = ngx_pnalloc(r->pool, sizeof("/01/") - 1 + 14);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ctx->pack = pack;
    ctx->parsed = 1;

    r->uri.data = p;
    r->uri.len = sizeof("/01/") - 1 + 14;
    p = ngx_cpymem(p, "/01/", sizeof("/01/") - 1);

    for (i = 13, gtin = pack.gtin; i >= 0; i--) {
        p[i] = (u_char) ('0' + gtin % 10);
        gtin /= 10;
    }

    ngx_str_null(&r->exten);

    /* a location that passes the request on passes what it was chosen by, not a path that another location guards */
    r->valid_unparsed_uri = 0;

    return NGX_DECLINED;
}


ngx_sv_ctx_t *
ngx_sv_ctx(ngx_http_request_t *r)
{
    ngx_sv_ctx_t     *ctx;
    ngx_sv_worker_t  *worker;

    ctx = ngx_http_get_module_ctx(r, ngx_serial_verify_module);

    if (ctx != NULL) {
        return ctx;
    }

    ctx = ngx_pcalloc(r->pool, sizeof(ngx_sv_ctx_t));
    if (ctx == NULL) {
        return NULL;
    }

    /* a number counted up would tell the public how much is asked here */
    worker = ngx_sv_worker();

    if (worker->random_left == 0) {
        if (RAND_bytes(worker->random, NGX_SV_RANDOM) != 1) {
            return NULL;
        }

        worker->random_left = NGX_SV_RANDOM;
    }

    worker->random_left -= NGX_SV_REQUEST_ID / 2;
    (void) ngx_hex_dump(ctx->request_id, worker->random + worker->random_left,
                        NGX_SV_REQUEST_ID / 2);

    ngx_http_set_ctx(r, ctx, ngx_serial_verify_module);

    return ctx;
}


ngx_int_t
ngx_sv_content_handler(ngx_http_request_t *r)
{
    ngx_int_t           rc;
    ngx_sv_ctx_t       *ctx;
    ngx_sv_problem_t    problem;
    ngx_sv_loc_conf_t  *slcf;

    slcf = ngx_http_get_module_loc_conf(r, ngx_serial_verify_module);

    ctx = ngx_sv_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    switch (slcf->endpoint) {

    case NGX_SV_ENDPOINT_PACK:
        return ngx_sv_pack_endpoint(r, ctx, slcf->anonymous);

    case NGX_SV_ENDPOINT_STATUS:
    case NGX_SV_ENDPOINT_METRICS:
        if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
            return ngx_sv_method_refused(r, "GET, HEAD");
        }

        rc = ngx_http_discard_request_body(r);
        if (rc != NGX_OK) {
            return rc;
        }

        return slcf->endpoint == NGX_SV_ENDPOINT_STATUS ? ngx_sv_status_request(r, ctx)
                                                        : ngx_sv_metrics_request(r, ctx);

    default: /* scan, packs */
        if (!(r->method & NGX_HTTP_POST)) {
            return ngx_sv_method_refused(r, "POST");
        }

        if (ngx_sv_authenticate(r, ctx, 0, &problem) != NGX_OK) {
            return ngx_sv_send_problem(r, &problem);
        }

        ngx_sv_read_headers(r, ctx);

        return ngx_sv_read_body(r, ctx, slcf->endpoint == NGX_SV_ENDPOINT_SCAN
                                        ? ngx_sv_scan_body : ngx_sv_packs_body);
    }
}


static ngx_int_t
ngx_sv_pack_endpoint(ngx_http_request_t *r, ngx_sv_ctx_t *ctx, ngx_uint_t anonymous)
{
    ngx_int_t          rc;
    ngx_sv_problem_t   problem;

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD|NGX_HTTP_POST))) {
        return ngx_sv_method_refused(r, "GET, HEAD, POST");
    }

    if (ngx_sv_authenticate(r, ctx, anonymous && !(r->method & NGX_HTTP_POST), &problem)
        != NGX_OK)
    {
        return ngx_sv_send_problem(r, &problem);
    }

    if (!ctx->parsed) {
        if (ngx_sv_pack_from_target(r, &ctx->pack, &problem) != NGX_OK) {
            ngx_sv_count(NGX_SV_MALFORMED);
            return ngx_sv_send_problem(r, &problem);
        }

        ctx->parsed = 1;
    }

    ngx_sv_read_headers(r, ctx);

    if (r->method & NGX_HTTP_POST) {
        return ngx_sv_read_body(r, ctx, ngx_sv_pack_body);
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_sv_entry_mode(ctx, &problem) != NGX_OK) {
        ngx_sv_count(NGX_SV_MALFORMED);
        return ngx_sv_send_problem(r, &problem);
    }

    ngx_sv_alert_argument(r, ctx);

    return ngx_sv_verify_request(r, ctx, 0);
}


static ngx_int_t
ngx_sv_read_body(ngx_http_request_t *r, ngx_sv_ctx_t *ctx, ngx_http_client_body_handler_pt handler)
{
    ngx_int_t          rc;
    ngx_sv_problem_t   problem;

    if (ngx_sv_same_site(ctx, &problem) != NGX_OK) {
        return ngx_sv_send_problem(r, &problem);
    }

    /* in one piece in memory when it fits client_body_buffer_size */
    r->request_body_in_single_buf = 1;

    rc = ngx_http_read_client_request_body(r, handler);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return rc;
    }

    return NGX_DONE;
}


static void
ngx_sv_pack_body(ngx_http_request_t *r)
{
    ngx_int_t             rc;
    ngx_sv_ctx_t         *ctx;
    ngx_sv_problem_t      problem;
    ngx_sv_json_value_t  *json;

    ctx = ngx_http_get_module_ctx(r, ngx_serial_verify_module);

    json = ngx_sv_body_json(r, &problem);
    rc = NGX_DECLINED;

    if (json != NULL) {
        rc = ngx_sv_order_from_json(json, NGX_SV_BODY_ORDER, &ctx->order, &ctx->pack, &problem);
        ngx_sv_json_free(json);
    }

    if (rc == NGX_OK) {
        rc = ngx_sv_header_key(ctx, &problem);
    }

    if (rc == NGX_OK) {
        rc = ngx_sv_pack_complete(ngx_sv_worker(), &ctx->pack, &problem);
    }

    if (rc != NGX_OK) {
        ngx_sv_count(NGX_SV_MALFORMED);
        ngx_http_finalize_request(r, ngx_sv_send_problem(r, &problem));
        return;
    }

    rc = ngx_sv_operate_request(r, ctx);

    if (rc != NGX_DONE) {
        ngx_http_finalize_request(r, rc);
    }
}


static void
ngx_sv_scan_body(ngx_http_request_t *r)
{
    ngx_int_t             rc;
    ngx_sv_ctx_t         *ctx;
    ngx_sv_problem_t      problem;
    ngx_sv_json_value_t  *json;

    ctx = ngx_http_get_module_ctx(r, ngx_serial_verify_module);

    json = ngx_sv_body_json(r, &problem);
    rc = NGX_DECLINED;

    if (json != NULL) {
        rc = ngx_sv_order_from_json(json, NGX_SV_BODY_SCAN, &ctx->order, &ctx->pack, &problem);
        ngx_sv_json_free(json);
    }

    if (rc == NGX_OK && !ctx->order.verify) {
        rc = ngx_sv_header_key(ctx, &problem);

        if (rc == NGX_OK) {
            rc = ngx_sv_pack_complete(ngx_sv_worker(), &ctx->pack, &problem);
        }
    }

    if (rc != NGX_OK) {
        ngx_sv_count(NGX_SV_MALFORMED);
        ngx_http_finalize_request(r, ngx_sv_send_problem(r, &problem));
        return;
    }

    ctx->parsed = 1;
    ngx_sv_alert_argument(r, ctx);

    rc = ctx->order.verify ? ngx_sv_verify_request(r, ctx, 1) : ngx_sv_operate_request(r, ctx);

    if (rc != NGX_DONE) {
        ngx_http_finalize_request(r, rc);
    }
}


static void
ngx_sv_packs_body(ngx_http_request_t *r)
{
    ngx_int_t             rc;
    ngx_sv_ctx_t         *ctx;
    ngx_sv_problem_t      problem;
    ngx_sv_json_value_t  *json;

    ctx = ngx_http_get_module_ctx(r, ngx_serial_verify_module);

    json = ngx_sv_body_json(r, &problem);

    if (json == NULL) {
        ngx_sv_count(NGX_SV_MALFORMED);
        ngx_http_finalize_request(r, ngx_sv_send_problem(r, &problem));
        return;
    }

    ngx_sv_alert_argument(r, ctx);

    rc = ngx_sv_bulk_request(r, ctx, json);
    ngx_sv_json_free(json);

    if (rc != NGX_DONE) {
        ngx_http_finalize_request(r, rc);
    }
}


static ngx_int_t
ngx_sv_method_refused(ngx_http_request_t *r, const char *allow)
{
    ngx_int_t          rc;
    ngx_sv_problem_t   problem;

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_sv_add_header(r, "Allow", allow, ngx_strlen(allow)) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_sv_problem(&problem, NGX_HTTP_NOT_ALLOWED, "method_not_allowed", NULL,
                   "Allowed here: %s.", allow);

    return ngx_sv_send_problem(r, &problem);
}


static ngx_int_t
ngx_sv_header_key(ngx_sv_ctx_t *ctx, ngx_sv_problem_t *problem)
{
    if (ctx->idempotency_keys > 1) {
        ngx_sv_problem(problem, NGX_SV_UNPROCESSABLE, "key_malformed", "Idempotency-Key",
                       "There is more than one header Idempotency-Key: which of them is meant"
                       " must be beyond doubt.");
        return NGX_DECLINED;
    }

    return ngx_sv_key_check(&ctx->idempotency_key, &ctx->order, problem);
}


/* Entry-Mode: manual or scanned; part of the evidence behind an alert */
static ngx_int_t
ngx_sv_entry_mode(ngx_sv_ctx_t *ctx, ngx_sv_problem_t *problem)
{
    if (ctx->entry_mode.len == 0
        || (ctx->entry_mode.len == 7 && ngx_strncmp(ctx->entry_mode.data, "scanned", 7) == 0)
        || (ctx->entry_mode.len == 6 && ngx_strncmp(ctx->entry_mode.data, "manual", 6) == 0))
    {
        ctx->entry_mode_checked = 1;
        return NGX_OK;
    }

    ngx_sv_problem(problem, NGX_SV_UNPROCESSABLE, "entry_mode_unknown", "Entry-Mode",
                   "The header Entry-Mode is scanned or manual.");

    return NGX_DECLINED;
}


/* ?alert=no reads a status silently */
static void
ngx_sv_alert_argument(ngx_http_request_t *r, ngx_sv_ctx_t *ctx)
{
    ngx_str_t  value;

    if (ngx_http_arg(r, (u_char *) "alert", 5, &value) == NGX_OK
        && value.len == 2 && ngx_strncmp(value.data, "no", 2) == 0)
    {
        ctx->silent = 1;
    }
}
