/*
 * Who asks: an API key or a TLS client certificate, looked up by its SHA-256
 * in shared memory.  No round trip, and no allocation.
 */

#include "ngx_sv.h"

#include <openssl/sha.h>
#include <openssl/x509.h>


#define NGX_SV_KEY_MIN  20
#define NGX_SV_KEY_MAX  128


static ngx_int_t ngx_sv_auth_bearer(ngx_http_request_t *r, u_char digest[SHA256_DIGEST_LENGTH]);
static ngx_int_t ngx_sv_auth_certificate(ngx_http_request_t *r,
    u_char digest[SHA256_DIGEST_LENGTH]);


ngx_int_t
ngx_sv_authenticate(ngx_http_request_t *r, ngx_sv_ctx_t *ctx, ngx_uint_t anonymous,
    ngx_sv_problem_t *problem)
{
    u_char            digest[SHA256_DIGEST_LENGTH];
    ngx_int_t         rc;
    ngx_msec_t        age;
    ngx_time_t       *tp;
    ngx_sv_worker_t  *worker;

    worker = ngx_sv_worker();

    /* before the first complete copy nobody can be told that a credential is wrong */
    if (!ngx_sv_refdata_complete(worker->refdata)) {
        ngx_sv_count(NGX_SV_NOT_READY);
        ngx_sv_problem(problem, NGX_HTTP_SERVICE_UNAVAILABLE, "unavailable", NULL,
                       "The gateway has no reference data yet. Try again.");
        problem->retry_after = 1;
        return NGX_DECLINED;
    }

    age = ngx_sv_refdata_age(worker->refdata);

    if (age > worker->conf->stale_limit) {
        ngx_sv_count(NGX_SV_NOT_READY);
        ngx_sv_problem(problem, NGX_HTTP_SERVICE_UNAVAILABLE, "unavailable", NULL,
                       "The gateway's reference data is %M s old, so recalls could be missed."
                       " Try again.", age / 1000);
        problem->retry_after = 1;
        return NGX_DECLINED;
    }

    ctx->stale = ngx_sv_refdata_stale(worker->refdata) ? 1 : 0;
    ctx->location.role = SV_ROLE_NONE;
    ctx->location.id = 0;

    rc = ngx_sv_auth_bearer(r, digest);

    if (rc == NGX_DECLINED) {
        rc = ngx_sv_auth_certificate(r, digest);
    }

    if (rc == NGX_DECLINED) {
        if (anonymous) {
            return NGX_OK;
        }

        ngx_sv_problem(problem, NGX_HTTP_UNAUTHORIZED, "credential_missing", "Authorization",
                       "Send an API key as \"Authorization: Bearer <key>\""
                       " or use a client certificate.");
        return NGX_DECLINED;
    }

    tp = ngx_timeofday();

    if (rc == NGX_OK
        && sv_ref_credential(worker->ref, digest, (int64_t) tp->sec * 1000 + tp->msec,
                             &ctx->location))
    {
        return NGX_OK;
    }

    /* a wrong key is never an anonymous request: who sent it expects a professional's answer */
    ngx_sv_count(NGX_SV_UNAUTHORIZED);
    ctx->location.role = SV_ROLE_NONE;
    ctx->location.id = 0;
    ngx_sv_problem(problem, NGX_HTTP_UNAUTHORIZED, "credential_unknown", "Authorization",
                   "The credential is not known, not valid yet, expired or revoked.");

    return NGX_DECLINED;
}


/* NGX_OK: digest set; NGX_DECLINED: no such header; NGX_ERROR: a header that cannot be a key */
static ngx_int_t
ngx_sv_auth_bearer(ngx_http_request_t *r, u_char digest[SHA256_DIGEST_LENGTH])
{
    ngx_str_t  value;

    if (r->headers_in.authorization == NULL) {
        return NGX_DECLINED;
    }

    value = r->headers_in.authorization->value;

    if (value.len < sizeof("Bearer ") - 1
        || ngx_strncasecmp(value.data, (u_char *) "Bearer ", sizeof("Bearer ") - 1) != 0)
    {
        return NGX_ERROR;
    }

    value.data += sizeof("Bearer ") - 1;
    value.len -= sizeof("Bearer ") - 1;

    while (value.len > 0 && value.data[0] == ' ') {
        value.data++;
        value.len--;
    }

    if (value.len < NGX_SV_KEY_MIN || value.len > NGX_SV_KEY_MAX) {
        return NGX_ERROR;
    }

    SHA256(value.data, value.len, digest);

    return NGX_OK;
}


static ngx_int_t
ngx_sv_auth_certificate(ngx_http_request_t *r, u_char digest[SHA256_DIGEST_LENGTH])
{
#if (NGX_HTTP_SSL)

    X509      *cert;
    unsigned   len;
    ngx_int_t  rc;

    if (r->connection->ssl == NULL) {
        return NGX_DECLINED;
    }

    cert = SSL_get_peer_certificate(r->connection->ssl->connection);
    if (cert == NULL) {
        return NGX_DECLINED;
    }

    /* the handshake has proven the private key, nginx's ssl_client_certificate the issuer */
    rc = NGX_ERROR;

    if (SSL_get_verify_result(r->connection->ssl->connection) == X509_V_OK
        && X509_digest(cert, EVP_sha256(), digest, &len) == 1
        && len == SHA256_DIGEST_LENGTH)
    {
        rc = NGX_OK;
    }

    X509_free(cert);

    return rc;

#else

    return NGX_DECLINED;

#endif
}
