/*
 * Requests that another server answers: who may not is refused here, and
 * $serial_verify_identity tells the server who asks, with a proof for this
 * method and target at this time that only we can make.
 */

#include "ngx_sv.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>


/* a company is 32 bytes, each escaped to six at most */
#define NGX_SV_IDENTITY_PAYLOAD  512

#define NGX_SV_SECRET_MIN  32
#define NGX_SV_SECRET_MAX  4096


static ngx_int_t ngx_sv_identity_payload(ngx_http_request_t *r, ngx_sv_ctx_t *ctx,
    ngx_str_t *payload);


ngx_int_t
ngx_sv_identity_handler(ngx_http_request_t *r)
{
    ngx_sv_ctx_t       *ctx;
    ngx_sv_problem_t    problem;
    ngx_sv_loc_conf_t  *slcf;

    slcf = ngx_http_get_module_loc_conf(r, ngx_serial_verify_module);

    if (!slcf->identity) {
        return NGX_DECLINED;
    }

    ctx = ngx_sv_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ngx_sv_authenticate(r, ctx, 0, &problem) == NGX_OK) {
        ngx_sv_read_headers(r, ctx);

        if ((r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD|NGX_HTTP_OPTIONS))
            || ngx_sv_same_site(ctx, &problem) == NGX_OK)
        {
            ctx->identified = 1;
            return NGX_OK;
        }
    }

    ngx_http_finalize_request(r, ngx_sv_send_problem(r, &problem));

    return NGX_DONE;
}


/* Made at the first use; a header is asked for twice, for its length and for its value. */
ngx_int_t
ngx_sv_identity(ngx_http_request_t *r, ngx_sv_ctx_t *ctx, ngx_str_t *value)
{
    u_char              *p, mac[SHA256_DIGEST_LENGTH];
    size_t               len;
    unsigned             mac_len;
    ngx_str_t            payload, token, text;
    ngx_sv_main_conf_t  *smcf;

    if (ctx->identity.len != 0 || !ctx->identified) {
        *value = ctx->identity;
        return NGX_OK;
    }

    if (ngx_sv_identity_payload(r, ctx, &payload) != NGX_OK) {
        return NGX_ERROR;
    }

    /* what is signed ends with the payload, and the payload begins the token */
    len = r->method_name.len + 1 + r->unparsed_uri.len + 1;
    text.len = len + ngx_base64_encoded_length(payload.len);
    text.data = ngx_pnalloc(r->pool, text.len + 1 + 2 * SHA256_DIGEST_LENGTH);

    if (text.data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_cpymem(text.data, r->method_name.data, r->method_name.len);
    *p++ = '\n';
    p = ngx_cpymem(p, r->unparsed_uri.data, r->unparsed_uri.len);
    *p++ = '\n';

    token.data = p;
    ngx_encode_base64url(&token, &payload);
    text.len = len + token.len;

    smcf = ngx_http_get_module_main_conf(r, ngx_serial_verify_module);

    if (HMAC(EVP_sha256(), smcf->api_secret.data, (int) smcf->api_secret.len, text.data, text.len,
             mac, &mac_len)
        == NULL)
    {
        return NGX_ERROR;
    }

    p = token.data + token.len;
    *p++ = '.';
    p = ngx_hex_dump(p, mac, SHA256_DIGEST_LENGTH);
    token.len = (size_t) (p - token.data);

    ctx->identity = token;
    *value = token;

    return NGX_OK;
}


static ngx_int_t
ngx_sv_identity_payload(ngx_http_request_t *r, ngx_sv_ctx_t *ctx, ngx_str_t *payload)
{
    int          len;
    sv_json_t    json;
    sv_span_t    id;
    ngx_time_t  *tp;

    payload->data = ngx_pnalloc(r->pool, NGX_SV_IDENTITY_PAYLOAD);
    if (payload->data == NULL) {
        return NGX_ERROR;
    }

    tp = ngx_timeofday();
    id.data = ctx->request_id;
    id.len = NGX_SV_REQUEST_ID;

    sv_json_init(&json, (char *) payload->data, NGX_SV_IDENTITY_PAYLOAD);
    sv_json_object(&json, NULL);
    sv_json_number(&json, "t", (int64_t) tp->sec * 1000 + tp->msec);
    sv_json_number(&json, "location", ctx->location.id);
    sv_json_text(&json, "gln", ctx->location.gln);
    sv_json_text(&json, "role", sv_role_word(ctx->location.role));
    sv_json_text(&json, "company", ctx->location.company);
    sv_json_text(&json, "country", ctx->location.country);
    sv_json_span(&json, "request", id);
    sv_json_text(&json, "lang", sv_lang_word(ctx->lang));
    sv_json_object_end(&json);

    len = sv_json_done(&json);
    if (len < 0) {
        return NGX_ERROR;
    }

    payload->len = (size_t) len;

    return NGX_OK;
}


/* serial_verify_api_secret file; all of it but the end of its last line, as the worker reads it */
char *
ngx_sv_conf_api_secret(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_sv_main_conf_t  *smcf = conf;

    ssize_t              n;
    ngx_fd_t             fd;
    ngx_str_t           *value;
    ngx_file_info_t      info;

    if (smcf->api_secret.data != NULL) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_conf_full_name(cf->cycle, &value[1], 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    smcf->api_secret.data = ngx_pcalloc(cf->pool, NGX_SV_SECRET_MAX + 1);
    if (smcf->api_secret.data == NULL) {
        return NGX_CONF_ERROR;
    }

    fd = ngx_open_file(value[1].data, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);
    if (fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno, ngx_open_file_n " \"%V\" failed",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    if (ngx_fd_info(fd, &info) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno, ngx_fd_info_n " \"%V\" failed",
                           &value[1]);
        (void) ngx_close_file(fd);
        return NGX_CONF_ERROR;
    }

    n = ngx_read_fd(fd, smcf->api_secret.data, NGX_SV_SECRET_MAX + 1);
    (void) ngx_close_file(fd);

    if (info.st_mode & S_IRWXO) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "others may read or change \"%V\": chmod o= it",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    if (n > NGX_SV_SECRET_MAX) {
        n = 0;
    }

    while (n > 0 && (smcf->api_secret.data[n - 1] == LF || smcf->api_secret.data[n - 1] == CR)) {
        n--;
    }

    if (n < NGX_SV_SECRET_MIN) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" holds no secret: %d to %d bytes, such as of"
                           " \"openssl rand -hex 32\"", &value[1], NGX_SV_SECRET_MIN,
                           NGX_SV_SECRET_MAX);
        return NGX_CONF_ERROR;
    }

    smcf->api_secret.len = (size_t) n;

    return NGX_CONF_OK;
}
