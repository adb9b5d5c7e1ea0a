/*
 * $serial_verify_*: for log_format.  None of them holds a serial or a key.
 */

#include "ngx_sv.h"


typedef enum {
    NGX_SV_VAR_REASON,
    NGX_SV_VAR_SOURCE,
    NGX_SV_VAR_ALERT,
    NGX_SV_VAR_CHANGED,
    NGX_SV_VAR_OPERATION,
    NGX_SV_VAR_GTIN,
    NGX_SV_VAR_LOCATION,
    NGX_SV_VAR_ROLE,
    NGX_SV_VAR_ENTRY_MODE,
    NGX_SV_VAR_STALE,
    NGX_SV_VAR_REQUEST_ID
} ngx_sv_variable_e;


static ngx_int_t ngx_sv_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data);


static ngx_http_variable_t  ngx_sv_variables[] = {

    { ngx_string("serial_verify_reason"), NULL, ngx_sv_variable,
      NGX_SV_VAR_REASON, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("serial_verify_source"), NULL, ngx_sv_variable,
      NGX_SV_VAR_SOURCE, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("serial_verify_alert"), NULL, ngx_sv_variable,
      NGX_SV_VAR_ALERT, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("serial_verify_changed"), NULL, ngx_sv_variable,
      NGX_SV_VAR_CHANGED, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("serial_verify_operation"), NULL, ngx_sv_variable,
      NGX_SV_VAR_OPERATION, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("serial_verify_gtin"), NULL, ngx_sv_variable,
      NGX_SV_VAR_GTIN, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("serial_verify_location"), NULL, ngx_sv_variable,
      NGX_SV_VAR_LOCATION, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("serial_verify_role"), NULL, ngx_sv_variable,
      NGX_SV_VAR_ROLE, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("serial_verify_entry_mode"), NULL, ngx_sv_variable,
      NGX_SV_VAR_ENTRY_MODE, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("serial_verify_stale"), NULL, ngx_sv_variable,
      NGX_SV_VAR_STALE, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("serial_verify_request_id"), NULL, ngx_sv_variable,
      NGX_SV_VAR_REQUEST_ID, NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


ngx_int_t
ngx_sv_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var, *v;

    for (v = ngx_sv_variables; v->name.len; v++) {
        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_sv_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char        *gtin;
    ngx_str_t      value;
    const char    *text;
    ngx_sv_ctx_t  *ctx;

    v->not_found = 1;
    ctx = ngx_http_get_module_ctx(r, ngx_serial_verify_module);

    if (ctx == NULL) {
        return NGX_OK;
    }

    text = NULL;
    ngx_str_null(&value);

    switch ((ngx_sv_variable_e) data) {

    case NGX_SV_VAR_REASON:
        text = ctx->reason;
        break;

    case NGX_SV_VAR_SOURCE:
        text = ctx->source;
        break;

    case NGX_SV_VAR_ALERT:
        text = ctx->alert[0] != '\0' ? (char *) ctx->alert : NULL;
        break;

    case NGX_SV_VAR_CHANGED:
        text = ctx->changed ? "1" : "0";
        break;

    case NGX_SV_VAR_OPERATION:
        text = ctx->order.operation != NULL ? ctx->order.operation : "verify";
        break;

    case NGX_SV_VAR_LOCATION:
        text = ctx->location.role != SV_ROLE_NONE ? ctx->location.gln : NULL;
        break;

    case NGX_SV_VAR_ROLE:
        text = ctx->location.role != SV_ROLE_NONE ? sv_role_word(ctx->location.role) : NULL;
        break;

    case NGX_SV_VAR_STALE:
        text = ctx->stale ? "1" : "0";
        break;

    case NGX_SV_VAR_GTIN:
        if (ctx->parsed) {
            gtin = ngx_pnalloc(r->pool, NGX_INT64_LEN + 1);
            if (gtin == NULL) {
                return NGX_ERROR;
            }

            *ngx_sprintf(gtin, "%014uL", ctx->pack.gtin) = '\0';
            text = (char *) gtin;
        }

        break;

    case NGX_SV_VAR_ENTRY_MODE:
        /* of a header that was refused nothing gets into a log */
        if (ctx->order.entry_mode != NULL) {
            text = ctx->order.entry_mode;

        } else if (ctx->entry_mode_checked) {
            value = ctx->entry_mode;
        }

        break;

    case NGX_SV_VAR_REQUEST_ID:
        value.data = ctx->request_id;
        value.len = NGX_SV_REQUEST_ID;
        break;
    }

    if (text != NULL) {
        value.data = (u_char *) text;
        value.len = ngx_strlen(text);
    }

    if (value.len == 0) {
        return NGX_OK;
    }

    v->data = value.data;
    v->len = (unsigned) value.len;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}
