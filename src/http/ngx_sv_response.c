/*
 * Answers: verdict and outcome as JSON, errors as problem documents (RFC 9457).
 * Everything about packs is private and not stored by anyone on the way.
 */

#include "ngx_sv.h"


#define NGX_SV_BODY  2048


static ngx_int_t ngx_sv_add_common_headers(ngx_http_request_t *r);
static ngx_uint_t ngx_sv_identified(sv_reason_t reason);
static void ngx_sv_render_pack(sv_json_t *json, const ngx_sv_pack_t *pack,
    const sv_record_t *record);
static void ngx_sv_render_gtin(sv_json_t *json, uint64_t gtin);
static void ngx_sv_render_reason(sv_json_t *json, const ngx_sv_ctx_t *ctx, sv_reason_t reason,
    ngx_uint_t hint);
static void ngx_sv_remember(ngx_sv_ctx_t *ctx, sv_reason_t reason, const char *alert,
    ngx_uint_t changed);
static const char *ngx_sv_title(ngx_uint_t status);


ngx_int_t
ngx_sv_send(ngx_http_request_t *r, ngx_uint_t status, const char *type, u_char *body, size_t len)
{
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_chain_t   out;

    r->headers_out.status = status;
    r->headers_out.content_length_n = (off_t) len;
    r->headers_out.content_type.data = (u_char *) type;
    r->headers_out.content_type.len = ngx_strlen(type);
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;

    /* a precondition is not looked at before an operation: it must not replace the outcome with a 304 or 412 */
    r->disable_not_modified = 1;

    if (ngx_sv_add_common_headers(r) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->pos = body;
    b->last = body + len;
    b->memory = 1;
    b->last_buf = (r == r->main) ? 1 : 0;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


ngx_int_t
ngx_sv_send_problem(ngx_http_request_t *r, const ngx_sv_problem_t *problem)
{
    int            len;
    u_char        *buf, retry[NGX_INT_T_LEN];
    sv_json_t      json;
    sv_span_t      id;
    ngx_sv_ctx_t  *ctx;

    /* a body that has not been read must not become the next request */
    if (r->request_body == NULL && ngx_http_discard_request_body(r) != NGX_OK) {
        r->keepalive = 0;
    }

    ctx = ngx_sv_ctx(r);
    buf = ngx_pnalloc(r->pool, NGX_SV_BODY);

    if (ctx == NULL || buf == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->reason = problem->reason;

    sv_json_init(&json, (char *) buf, NGX_SV_BODY);
    sv_json_object(&json, NULL);
    sv_json_text(&json, "type", "about:blank");
    sv_json_text(&json, "title", ngx_sv_title(problem->status));
    sv_json_number(&json, "status", (int64_t) problem->status);
    ngx_sv_render_problem(&json, problem);

    id.data = ctx->request_id;
    id.len = NGX_SV_REQUEST_ID;
    sv_json_span(&json, "request_id", id);
    sv_json_object_end(&json);

    len = sv_json_done(&json);
    if (len < 0) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (problem->status == NGX_HTTP_UNAUTHORIZED
        && ngx_sv_add_header(r, "WWW-Authenticate", "Bearer", 6) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (problem->retry_after != 0
        && ngx_sv_add_header(r, "Retry-After", (char *) retry,
                             (size_t) (ngx_sprintf(retry, "%ui", problem->retry_after) - retry))
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_sv_send(r, problem->status, "application/problem+json", buf, (size_t) len);
}


ngx_int_t
ngx_sv_send_unavailable(ngx_http_request_t *r)
{
    ngx_sv_problem_t  problem;

    ngx_sv_problem(&problem, NGX_HTTP_SERVICE_UNAVAILABLE, "unavailable", NULL,
                   "The registry did not answer in time; the outcome is not known."
                   " Try again, with the same Idempotency-Key.");
    problem.retry_after = 1;

    return ngx_sv_send_problem(r, &problem);
}


ngx_int_t
ngx_sv_send_verdict(ngx_http_request_t *r, ngx_sv_ctx_t *ctx,
    const ngx_sv_judgement_t *judgement, ngx_uint_t hint)
{
    int        len;
    u_char    *buf;
    sv_json_t  json;

    buf = ngx_pnalloc(r->pool, NGX_SV_BODY);
    if (buf == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    sv_json_init(&json, (char *) buf, NGX_SV_BODY);
    sv_json_object(&json, NULL);
    ngx_sv_render_verdict(&json, ctx, &ctx->pack, judgement, hint);
    sv_json_object_end(&json);

    len = sv_json_done(&json);
    if (len < 0) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_sv_remember(ctx, judgement->reason, judgement->alert, 0);

    return ngx_sv_send(r, sv_reason_row(judgement->reason)->verify_status, "application/json",
                       buf, (size_t) len);
}


ngx_int_t
ngx_sv_send_outcome(ngx_http_request_t *r, ngx_sv_ctx_t *ctx, const sv_outcome_t *outcome)
{
    int        len;
    u_char    *buf;
    sv_json_t  json;

    buf = ngx_pnalloc(r->pool, NGX_SV_BODY);
    if (buf == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    sv_json_init(&json, (char *) buf, NGX_SV_BODY);
    sv_json_object(&json, NULL);
    ngx_sv_render_outcome(&json, ctx, &ctx->pack, &ctx->order, outcome);
    sv_json_object_end(&json);

    len = sv_json_done(&json);
    if (len < 0) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (outcome->replayed
        && ngx_sv_add_header(r, "Idempotent-Replayed", "true", 4) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_sv_remember(ctx, outcome->reason, outcome->alert, outcome->changed);

    return ngx_sv_send(r, ngx_sv_outcome_status(outcome), "application/json", buf, (size_t) len);
}


ngx_uint_t
ngx_sv_outcome_status(const sv_outcome_t *outcome)
{
    return sv_reason_row(outcome->reason)->operate_status;
}


void
ngx_sv_render_verdict(sv_json_t *json, const ngx_sv_ctx_t *ctx, const ngx_sv_pack_t *pack,
    const ngx_sv_judgement_t *judgement, ngx_uint_t hint)
{
    sv_reason_t               reason;
    ngx_uint_t                professional, matches;
    const sv_reason_row_t    *row;

    reason = judgement->reason;
    row = sv_reason_row(reason);
    professional = ctx->location.role != SV_ROLE_NONE;

    matches = judgement->known && ngx_sv_identified(reason);

    sv_json_bool(json, "verified", reason == SV_REASON_OK);
    ngx_sv_render_reason(json, ctx, reason, hint);

    if (matches) {
        sv_json_text(json, "state", sv_state_word(judgement->record.state));

        if (professional && judgement->record.since != 0) {
            sv_json_time(json, "since", judgement->record.since);
            sv_json_bool(json, "here", judgement->record.location == ctx->location.id);
        }
    }

    if (judgement->reference[0] != '\0' && reason != SV_REASON_NOT_CONFIRMED) {
        sv_json_text(json, "reference", judgement->reference);
    }

    if (professional) {
        if (row->code[0] != '\0') {
            sv_json_text(json, "code", row->code);
        }

        if (judgement->alert[0] != '\0') {
            sv_json_text(json, "alert", judgement->alert);
        }
    }

    sv_json_object(json, "product");
    ngx_sv_render_gtin(json, pack->gtin);

    if (judgement->product.gtin != 0 && reason != SV_REASON_NOT_CONFIRMED) {
        sv_json_text(json, "name", judgement->product.name);
    }

    sv_json_object_end(json);

    ngx_sv_render_pack(json, pack, matches ? &judgement->record : NULL);

    if (ctx->stale) {
        sv_json_bool(json, "stale", 1);
    }
}


/* Rendered from what was stored, the request and nothing else: a replay gives the same body. */
void
ngx_sv_render_outcome(sv_json_t *json, const ngx_sv_ctx_t *ctx, const ngx_sv_pack_t *pack,
    const ngx_sv_order_t *order, const sv_outcome_t *outcome)
{
    ngx_uint_t   matches;
    sv_reason_t  reason;

    reason = outcome->reason;
    matches = outcome->known && ngx_sv_identified(reason);

    sv_json_text(json, "operation", order->operation);
    sv_json_text(json, "of", order->of);
    sv_json_bool(json, "changed", outcome->changed);

    if (outcome->changed) {
        sv_json_text(json, "reason", sv_reason_row(reason)->word);
        sv_json_text(json, "advice", sv_advice_word(sv_done_advice(order->operation)));
        sv_json_text(json, "text", sv_done_text(order->operation, ctx->lang));

    } else {
        ngx_sv_render_reason(json, ctx, reason, outcome->hint);
    }

    if (matches) {
        sv_json_text(json, "state", sv_state_word(outcome->record.state));

        if (outcome->record.since != 0) {
            sv_json_time(json, "since", outcome->record.since);
            sv_json_bool(json, "here", outcome->record.location == ctx->location.id);
        }
    }

    if (outcome->reference[0] != '\0') {
        sv_json_text(json, "reference", outcome->reference);
    }

    if (reason == SV_REASON_ALREADY_SUPPLIED_HERE) {
        sv_json_number(json, "repeat", outcome->repeat);

        if (outcome->repeats_left == 0) {
            sv_json_text(json, "warning", sv_last_repeat_text(ctx->lang));
        }
    }

    if (outcome->code[0] != '\0') {
        sv_json_text(json, "code", outcome->code);
    }

    if (outcome->alert[0] != '\0') {
        sv_json_text(json, "alert", outcome->alert);
    }

    if (outcome->at != 0) {
        sv_json_time(json, "at", outcome->at);
    }

    if (outcome->occurred != 0 && outcome->occurred != outcome->at) {
        sv_json_time(json, "occurred_at", outcome->occurred);
    }

    sv_json_object(json, "product");
    ngx_sv_render_gtin(json, pack->gtin);
    sv_json_object_end(json);

    ngx_sv_render_pack(json, pack, matches ? &outcome->record : NULL);
}


void
ngx_sv_render_problem(sv_json_t *json, const ngx_sv_problem_t *problem)
{
    sv_json_text(json, "reason", problem->reason);
    sv_json_text(json, "detail", (const char *) problem->detail);
    sv_json_text(json, "element", problem->element);
    sv_json_text(json, "hint", problem->hint);

    if (problem->offset >= 0) {
        sv_json_number(json, "offset", problem->offset);
    }
}


/*
 * Was what was presented compared with the record, and did it fit?  If not,
 * nothing of the record is told: it would be the right value for somebody who
 * presented a wrong one.
 */
static ngx_uint_t
ngx_sv_identified(sv_reason_t reason)
{
    switch (reason) {

    case SV_REASON_PRODUCT_UNKNOWN:
    case SV_REASON_LOT_UNKNOWN:
    case SV_REASON_SERIAL_UNKNOWN:
    case SV_REASON_LOT_MISMATCH:
    case SV_REASON_EXPIRY_MISMATCH:
    case SV_REASON_NOT_PERMITTED:
    case SV_REASON_ELEMENTS_MISSING:
    case SV_REASON_OCCURRED_AT_INVALID:
    case SV_REASON_KEY_REUSED:
    case SV_REASON_NOT_CONFIRMED:
    case SV_REASON_UNAVAILABLE:
        return 0;

    default:
        return 1;
    }
}


static void
ngx_sv_render_reason(sv_json_t *json, const ngx_sv_ctx_t *ctx, sv_reason_t reason,
    ngx_uint_t hint)
{
    sv_json_text(json, "reason", sv_reason_row(reason)->word);
    sv_json_text(json, "advice", sv_advice_word(sv_reason_advice(reason, hint != 0)));
    sv_json_text(json, "text", sv_reason_text(reason, ctx->lang));

    if (hint) {
        sv_json_text(json, "hint", "scanner");
    }
}


/* The lot and expiry of the record, or as presented where they did not fit. */
static void
ngx_sv_render_pack(sv_json_t *json, const ngx_sv_pack_t *pack, const sv_record_t *record)
{
    char       day[SV_DAY_TEXT];
    sv_span_t  span;

    span.data = pack->serial;
    span.len = pack->serial_len;
    sv_json_span(json, "serial", span);

    if (record != NULL) {
        span.data = record->lot;
        span.len = record->lot_len;
        sv_json_span(json, "lot", span);

    } else if (pack->lot_given) {
        span.data = pack->lot;
        span.len = pack->lot_len;
        sv_json_span(json, "lot", span);
    }

    if (record != NULL || (pack->expiry_given && pack->expiry != SV_DAY_NONE)) {
        sv_day_print(record != NULL ? record->expiry : pack->expiry, day);
        sv_json_text(json, "expiry", day);
    }
}


static void
ngx_sv_render_gtin(sv_json_t *json, uint64_t gtin)
{
    int   i;
    char  digits[15];

    digits[14] = '\0';

    for (i = 13; i >= 0; i--) {
        digits[i] = (char) ('0' + gtin % 10);
        gtin /= 10;
    }

    sv_json_text(json, "gtin", digits);
}


static void
ngx_sv_remember(ngx_sv_ctx_t *ctx, sv_reason_t reason, const char *alert, ngx_uint_t changed)
{
    ctx->reason = sv_reason_row(reason)->word;
    ctx->changed = changed ? 1 : 0;
    ngx_memcpy(ctx->alert, alert, SV_ALERT_ID);
}


void
ngx_sv_problem(ngx_sv_problem_t *problem, ngx_uint_t status, const char *reason,
    const char *element, const char *fmt, ...)
{
    u_char   *p;
    va_list   args;

    ngx_memzero(problem, sizeof(ngx_sv_problem_t));

    problem->status = status;
    problem->reason = reason;
    problem->element = element;
    problem->offset = -1;

    va_start(args, fmt);
    p = ngx_vslprintf(problem->detail, problem->detail + sizeof(problem->detail) - 1, fmt, args);
    va_end(args);

    *p = '\0';
}


ngx_int_t
ngx_sv_add_header(ngx_http_request_t *r, const char *name, const char *value, size_t len)
{
    u_char           *p;
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->hash = 0;

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(p, value, len);

    h->hash = 1;
    h->key.data = (u_char *) name;
    h->key.len = ngx_strlen(name);
    h->value.data = p;
    h->value.len = len;
#if (nginx_version >= 1023000)
    h->next = NULL;
#endif

    return NGX_OK;
}


static ngx_int_t
ngx_sv_add_common_headers(ngx_http_request_t *r)
{
    ngx_sv_ctx_t     *ctx;
    ngx_table_elt_t  *h;

    ctx = ngx_sv_ctx(r);
    if (ctx == NULL) {
        return NGX_ERROR;
    }

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->hash = 1;
    ngx_str_set(&h->key, "Cache-Control");
    ngx_str_set(&h->value, "private, no-store");
#if (nginx_version >= 1023000)
    h->next = NULL;
#endif

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->hash = 1;
    ngx_str_set(&h->key, "X-Request-Id");
    h->value.data = ctx->request_id;
    h->value.len = NGX_SV_REQUEST_ID;
#if (nginx_version >= 1023000)
    h->next = NULL;
#endif

    return NGX_OK;
}


static const char *
ngx_sv_title(ngx_uint_t status)
{
    switch (status) {

    case NGX_HTTP_BAD_REQUEST:
        return "Bad Request";

    case NGX_HTTP_UNAUTHORIZED:
        return "Unauthorized";

    case NGX_HTTP_FORBIDDEN:
        return "Forbidden";

    case NGX_HTTP_NOT_FOUND:
        return "Not Found";

    case NGX_HTTP_NOT_ALLOWED:
        return "Method Not Allowed";

    case NGX_SV_UNPROCESSABLE:
        return "Unprocessable Content";

    case NGX_HTTP_TOO_MANY_REQUESTS:
        return "Too Many Requests";

    case NGX_HTTP_SERVICE_UNAVAILABLE:
        return "Service Unavailable";

    default:
        return "Internal Server Error";
    }
}
