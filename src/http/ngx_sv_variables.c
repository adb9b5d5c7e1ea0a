/*
 * $serial_verify_*: for log_format, and none of them holds a serial or a key;
 * but $serial_verify_identity, which is for a server behind this one.
 */

#include "ngx_sv.h"


/* Empty: the variable is not found. `buf' has room for a GTIN. */
typedef ngx_str_t (*ngx_sv_variable_pt)(ngx_sv_ctx_t *ctx, u_char buf[14]);

typedef struct {
    ngx_str_t           name;
    ngx_sv_variable_pt  get;
} ngx_sv_variable_t;


static ngx_int_t ngx_sv_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data);
static ngx_int_t ngx_sv_variable_identity(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data);
static ngx_str_t ngx_sv_variable_text(const char *text);
static ngx_str_t ngx_sv_variable_reason(ngx_sv_ctx_t *ctx, u_char buf[14]);
static ngx_str_t ngx_sv_variable_source(ngx_sv_ctx_t *ctx, u_char buf[14]);
static ngx_str_t ngx_sv_variable_alert(ngx_sv_ctx_t *ctx, u_char buf[14]);
static ngx_str_t ngx_sv_variable_changed(ngx_sv_ctx_t *ctx, u_char buf[14]);
static ngx_str_t ngx_sv_variable_operation(ngx_sv_ctx_t *ctx, u_char buf[14]);
static ngx_str_t ngx_sv_variable_gtin(ngx_sv_ctx_t *ctx, u_char buf[14]);
static ngx_str_t ngx_sv_variable_location(ngx_sv_ctx_t *ctx, u_char buf[14]);
static ngx_str_t ngx_sv_variable_role(ngx_sv_ctx_t *ctx, u_char buf[14]);
static ngx_str_t ngx_sv_variable_entry_mode(ngx_sv_ctx_t *ctx, u_char buf[14]);
static ngx_str_t ngx_sv_variable_stale(ngx_sv_ctx_t *ctx, u_char buf[14]);
static ngx_str_t ngx_sv_variable_request_id(ngx_sv_ctx_t *ctx, u_char buf[14]);


static const ngx_sv_variable_t  ngx_sv_variables[] = {
    { ngx_string("serial_verify_reason"), ngx_sv_variable_reason },
    { ngx_string("serial_verify_source"), ngx_sv_variable_source },
    { ngx_string("serial_verify_alert"), ngx_sv_variable_alert },
    { ngx_string("serial_verify_changed"), ngx_sv_variable_changed },
    { ngx_string("serial_verify_operation"), ngx_sv_variable_operation },
    { ngx_string("serial_verify_gtin"), ngx_sv_variable_gtin },
    { ngx_string("serial_verify_location"), ngx_sv_variable_location },
    { ngx_string("serial_verify_role"), ngx_sv_variable_role },
    { ngx_string("serial_verify_entry_mode"), ngx_sv_variable_entry_mode },
    { ngx_string("serial_verify_stale"), ngx_sv_variable_stale },
    { ngx_string("serial_verify_request_id"), ngx_sv_variable_request_id },
};


ngx_int_t
ngx_sv_add_variables(ngx_conf_t *cf)
{
    ngx_str_t             name;
    ngx_uint_t            i;
    ngx_http_variable_t  *var;

    static ngx_str_t  identity = ngx_string("serial_verify_identity");

    var = ngx_http_add_variable(cf, &identity, NGX_HTTP_VAR_NOCACHEABLE);
    if (var == NULL) {
        return NGX_ERROR;
    }

    var->get_handler = ngx_sv_variable_identity;

    for (i = 0; i < sizeof(ngx_sv_variables) / sizeof(ngx_sv_variables[0]); i++) {
        name = ngx_sv_variables[i].name;

        var = ngx_http_add_variable(cf, &name, NGX_HTTP_VAR_NOCACHEABLE);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = ngx_sv_variable;
        var->data = i;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_sv_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char         buf[14];
    ngx_str_t      value;
    ngx_sv_ctx_t  *ctx;

    v->not_found = 1;
    ctx = ngx_http_get_module_ctx(r, ngx_serial_verify_module);

    if (ctx == NULL) {
        return NGX_OK;
    }

    value = ngx_sv_variables[data].get(ctx, buf);

    if (value.len == 0) {
        return NGX_OK;
    }

    if (value.data == buf) {
        value.data = ngx_pstrdup(r->pool, &value);
        if (value.data == NULL) {
            return NGX_ERROR;
        }
    }

    v->data = value.data;
    v->len = (unsigned) value.len;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


static ngx_int_t
ngx_sv_variable_identity(ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t      value;
    ngx_sv_ctx_t  *ctx;

    v->not_found = 1;
    ctx = ngx_http_get_module_ctx(r, ngx_serial_verify_module);

    if (ctx == NULL) {
        return NGX_OK;
    }

    if (ngx_sv_identity(r, ctx, &value) != NGX_OK) {
        return NGX_ERROR;
    }

    if (value.len != 0) {
        v->data = value.data;
        v->len = (unsigned) value.len;
        v->valid = 1;
        v->not_found = 0;
    }

    return NGX_OK;
}


static ngx_str_t
ngx_sv_variable_text(const char *text)
{
    ngx_str_t  value;

    value.data = (u_char *) text;
    value.len = text != NULL ? ngx_strlen(text) : 0;

    return value;
}


static ngx_str_t
ngx_sv_variable_reason(ngx_sv_ctx_t *ctx, u_char buf[14])
{
    return ngx_sv_variable_text(ctx->reason);
}


static ngx_str_t
ngx_sv_variable_source(ngx_sv_ctx_t *ctx, u_char buf[14])
{
    return ngx_sv_variable_text(ctx->source);
}


static ngx_str_t
ngx_sv_variable_alert(ngx_sv_ctx_t *ctx, u_char buf[14])
{
    return ngx_sv_variable_text((char *) ctx->alert);
}


static ngx_str_t
ngx_sv_variable_changed(ngx_sv_ctx_t *ctx, u_char buf[14])
{
    return ngx_sv_variable_text(ctx->changed ? "1" : "0");
}


static ngx_str_t
ngx_sv_variable_operation(ngx_sv_ctx_t *ctx, u_char buf[14])
{
    return ngx_sv_variable_text(ctx->order.operation != NULL ? ctx->order.operation : "verify");
}


static ngx_str_t
ngx_sv_variable_gtin(ngx_sv_ctx_t *ctx, u_char buf[14])
{
    ngx_str_t  value;

    if (!ctx->parsed) {
        return ngx_sv_variable_text(NULL);
    }

    value.data = buf;
    value.len = 14;
    (void) ngx_snprintf(buf, 14, "%014uL", ctx->pack.gtin);

    return value;
}


static ngx_str_t
ngx_sv_variable_location(ngx_sv_ctx_t *ctx, u_char buf[14])
{
    return ngx_sv_variable_text(ctx->location.role != SV_ROLE_NONE ? ctx->location.gln : NULL);
}


static ngx_str_t
ngx_sv_variable_role(ngx_sv_ctx_t *ctx, u_char buf[14])
{
    return ngx_sv_variable_text(ctx->location.role != SV_ROLE_NONE
                                ? sv_role_word(ctx->location.role) : NULL);
}


/* Of a header that was refused nothing gets into a log. */
static ngx_str_t
ngx_sv_variable_entry_mode(ngx_sv_ctx_t *ctx, u_char buf[14])
{
    if (ctx->order.entry_mode == NULL && ctx->entry_mode_checked) {
        return ctx->entry_mode;
    }

    return ngx_sv_variable_text(ctx->order.entry_mode);
}


static ngx_str_t
ngx_sv_variable_stale(ngx_sv_ctx_t *ctx, u_char buf[14])
{
    return ngx_sv_variable_text(ctx->stale ? "1" : "0");
}


static ngx_str_t
ngx_sv_variable_request_id(ngx_sv_ctx_t *ctx, u_char buf[14])
{
    ngx_str_t  value;

    value.data = ctx->request_id;
    value.len = NGX_SV_REQUEST_ID;

    return value;
}
