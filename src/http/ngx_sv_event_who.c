/*
 * What is said of a consumer: a token that is another one every day and the
 * same at every gateway, and the place that nginx's variables give, made
 * coarse.  The address itself leaves no trace.
 */

#include "ngx_sv_event.h"

#include <math.h>
#include <openssl/core_names.h>


#define NGX_SV_AGENT_MAX   512
#define NGX_SV_CELL        0.5              /* degrees */
#define NGX_SV_CELL_KM     40               /* from its centre to a corner, at most */
#define NGX_SV_PLACE_KM    20038            /* half way round */


static ngx_uint_t ngx_sv_who_salted(ngx_sv_who_t *who, sv_ref_t *ref);
static ngx_int_t ngx_sv_who_value(ngx_http_request_t *r, ngx_http_complex_value_t *value, ngx_str_t *text);
static double ngx_sv_who_degrees(const ngx_str_t *text, double limit);


ngx_int_t
ngx_sv_who_init(ngx_sv_who_t *who)
{
    who->mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    who->keyed = who->mac != NULL ? EVP_MAC_CTX_new(who->mac) : NULL;
    who->looked = -1;

    return who->keyed != NULL ? NGX_OK : NGX_ERROR;
}


void
ngx_sv_who_done(ngx_sv_who_t *who)
{
    OPENSSL_cleanse(who->salt, sizeof(who->salt));
    EVP_MAC_CTX_free(who->keyed);
    EVP_MAC_free(who->mac);
}


/* Everybody behind one unix socket would be one device: no token there, nor before the day's salt has come. */
size_t
ngx_sv_who_token(ngx_sv_who_t *who, sv_ref_t *ref, ngx_http_request_t *r, u_char token[SV_EVENT_SESSION])
{
    int               i;
    size_t            len;
    u_char            prefix[8], digest[EVP_MAX_MD_SIZE];
    uint64_t          n;
    ngx_str_t         from, to;
    ngx_table_elt_t  *agent;

    if (r->connection->sockaddr->sa_family == AF_UNIX || !ngx_sv_who_salted(who, ref)
        || EVP_MAC_init(who->keyed, NULL, 0, NULL) != 1)
    {
        return 0;
    }

    n = ngx_sv_miss_prefix(r->connection->sockaddr);

    for (i = 7; i >= 0; i--) {
        prefix[i] = (u_char) n;
        n >>= 8;
    }

    agent = r->headers_in.user_agent;

    if (EVP_MAC_update(who->keyed, prefix, sizeof(prefix)) != 1
        || (agent != NULL
            && EVP_MAC_update(who->keyed, agent->value.data, ngx_min(agent->value.len, NGX_SV_AGENT_MAX)) != 1)
        || EVP_MAC_final(who->keyed, digest, &len, sizeof(digest)) != 1)
    {
        return 0;
    }

    from.data = digest;
    from.len = SV_EVENT_SESSION / 4 * 3;
    to.data = token;
    ngx_encode_base64url(&to, &from);

    return SV_EVENT_SESSION;
}


/* Looked up once a second: a database that was restored may have another salt. */
static ngx_uint_t
ngx_sv_who_salted(ngx_sv_who_t *who, sv_ref_t *ref)
{
    uint8_t     salt[SV_REF_SALT];
    OSSL_PARAM  params[2];

    if (who->looked == ngx_time()) {
        return who->known;
    }

    who->looked = ngx_time();

    if (!sv_ref_salt(ref, (sv_day_t) (ngx_time() / 86400), salt)) {
        who->known = 0;
        return 0;
    }

    if (!who->known || ngx_memcmp(salt, who->salt, sizeof(salt)) != 0) {
        params[0] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *) "SHA256", 0);
        params[1] = OSSL_PARAM_construct_end();

        ngx_memcpy(who->salt, salt, sizeof(salt));
        who->known = EVP_MAC_init(who->keyed, salt, sizeof(salt), params) == 1;
    }

    return who->known;
}


/* What is no country or no coordinate is unknown. */
void
ngx_sv_who_place(ngx_http_request_t *r, sv_event_t *event)
{
    double              lat, lon;
    ngx_int_t           km;
    ngx_str_t           text;
    ngx_sv_loc_conf_t  *slcf;

    slcf = ngx_http_get_module_loc_conf(r, ngx_serial_verify_module);

    if (ngx_sv_who_value(r, slcf->place[NGX_SV_PLACE_COUNTRY], &text) == NGX_OK && text.len == 2
        && (text.data[0] | 0x20) >= 'a' && (text.data[0] | 0x20) <= 'z'
        && (text.data[1] | 0x20) >= 'a' && (text.data[1] | 0x20) <= 'z')
    {
        event->country[0] = (char) (text.data[0] & ~0x20);
        event->country[1] = (char) (text.data[1] & ~0x20);
        event->country[2] = '\0';
    }

    lat = ngx_sv_who_value(r, slcf->place[NGX_SV_PLACE_LAT], &text) == NGX_OK ? ngx_sv_who_degrees(&text, 90) : NAN;

    if (isnan(lat)) {
        return;
    }

    lon = ngx_sv_who_value(r, slcf->place[NGX_SV_PLACE_LON], &text) == NGX_OK ? ngx_sv_who_degrees(&text, 180) : NAN;

    if (isnan(lon)) {
        return;
    }

    event->lat = lat;
    event->lon = lon;

    if (ngx_sv_who_value(r, slcf->place[NGX_SV_PLACE_ACCURACY], &text) != NGX_OK) {
        return;
    }

    km = ngx_atoi(text.data, text.len);

    if (km != NGX_ERROR && km <= NGX_SV_PLACE_KM) {
        event->accuracy_km = (unsigned) km + NGX_SV_CELL_KM;
    }
}


static ngx_int_t
ngx_sv_who_value(ngx_http_request_t *r, ngx_http_complex_value_t *value, ngx_str_t *text)
{
    if (value == NULL || ngx_http_complex_value(r, value, text) != NGX_OK || text->len == 0) {
        return NGX_DECLINED;
    }

    return NGX_OK;
}


/* -12.345 to the centre of its cell; NAN: no such thing */
static double
ngx_sv_who_degrees(const ngx_str_t *text, double limit)
{
    size_t      i;
    double      degrees, scale, cell;
    ngx_uint_t  digits, negative;

    negative = text->data[0] == '-';
    degrees = 0;
    scale = 0;
    digits = 0;

    for (i = negative; i < text->len; i++) {

        if (text->data[i] == '.' && scale == 0) {
            scale = 1;
            continue;
        }

        if (text->data[i] < '0' || text->data[i] > '9' || ++digits > 15) {
            return NAN;
        }

        if (scale == 0) {
            degrees = degrees * 10 + (text->data[i] - '0');

        } else {
            scale /= 10;
            degrees += (text->data[i] - '0') * scale;
        }
    }

    if (digits == 0 || degrees > limit) {
        return NAN;
    }

    degrees = negative ? -degrees : degrees;

    /* the last cell holds its upper edge, too */
    cell = (double) (ngx_int_t) ((degrees + limit) / NGX_SV_CELL);
    cell = ngx_min(cell, 2 * limit / NGX_SV_CELL - 1);

    return cell * NGX_SV_CELL - limit + NGX_SV_CELL / 2;
}
