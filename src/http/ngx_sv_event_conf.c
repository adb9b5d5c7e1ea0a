/*
 * Directives of scan events: serial_verify_events, serial_verify_gateway,
 * serial_verify_spool, serial_verify_client_place.
 */

#include "ngx_sv_event.h"


static ngx_uint_t ngx_sv_conf_gateway_valid(const ngx_str_t *name);


/* serial_verify_events on|off [limit=blocks]; */
char *
ngx_sv_conf_events(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_sv_main_conf_t  *smcf = conf;

    ngx_int_t            limit;
    ngx_str_t           *value;

    if (smcf->events != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 2 && ngx_strncmp(value[1].data, "on", 2) == 0) {
        smcf->events = 1;

    } else if (value[1].len == 3 && ngx_strncmp(value[1].data, "off", 3) == 0) {
        smcf->events = 0;

    } else {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid value \"%V\": on or off is expected", &value[1]);
        return NGX_CONF_ERROR;
    }

    if (cf->args->nelts == 2) {
        return NGX_CONF_OK;
    }

    limit = NGX_ERROR;

    if (value[2].len > 6 && ngx_strncmp(value[2].data, "limit=", 6) == 0) {
        limit = ngx_atoi(value[2].data + 6, value[2].len - 6);
    }

    if (limit < 1 || limit > 100000000) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid parameter \"%V\": limit=n is expected, the blocks that the"
                           " stream may hold, 1 to 100000000", &value[2]);
        return NGX_CONF_ERROR;
    }

    smcf->events_limit = limit;

    return NGX_CONF_OK;
}


/* serial_verify_gateway name; */
char *
ngx_sv_conf_gateway(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_sv_main_conf_t  *smcf = conf;

    ngx_str_t           *value;

    if (smcf->gateway != NULL) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (!ngx_sv_conf_gateway_valid(&value[1])) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid name \"%V\": 1 to %d letters, digits, dots, hyphens and"
                           " underscores are expected", &value[1], SV_EVENT_GATEWAY);
        return NGX_CONF_ERROR;
    }

    smcf->gateway = value[1].data;          /* the parser ends arguments with a NUL */

    return NGX_CONF_OK;
}


static ngx_uint_t
ngx_sv_conf_gateway_valid(const ngx_str_t *name)
{
    size_t  i;
    u_char  c;

    for (i = 0; i < name->len; i++) {
        c = name->data[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-'
              || c == '_'))
        {
            return 0;
        }
    }

    return name->len >= 1 && name->len <= SV_EVENT_GATEWAY;
}


/* serial_verify_spool directory [size=1g]; */
char *
ngx_sv_conf_spool(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
#if (NGX_THREADS)
    ngx_sv_main_conf_t  *smcf = conf;

    ngx_str_t           *value, size;

    if (smcf->spool != NULL) {
        return "is duplicate";
    }

    value = cf->args->elts;

    smcf->spool = ngx_pcalloc(cf->pool, sizeof(ngx_path_t));
    if (smcf->spool == NULL) {
        return NGX_CONF_ERROR;
    }

    smcf->spool->name = value[1];
    smcf->spool->conf_file = cf->conf_file->file.name.data;
    smcf->spool->line = cf->conf_file->line;

    if (ngx_conf_full_name(cf->cycle, &smcf->spool->name, 0) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (smcf->spool->name.len > SV_SPOOL_PATH - 2 * SV_SPOOL_NAME) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "the path \"%V\" is too long", &value[1]);
        return NGX_CONF_ERROR;
    }

    if (cf->args->nelts == 3) {
        smcf->spool_limit = NGX_ERROR;

        if (value[2].len > 5 && ngx_strncmp(value[2].data, "size=", 5) == 0) {
            size.data = value[2].data + 5;
            size.len = value[2].len - 5;
            smcf->spool_limit = ngx_parse_offset(&size);
        }

        if (smcf->spool_limit < SV_SPOOL_DATA) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid parameter \"%V\": size=n is expected, at least %d bytes",
                               &value[2], SV_SPOOL_DATA);
            return NGX_CONF_ERROR;
        }
    }

    /* files are written by threads: no request waits for a disk */
    smcf->threads = ngx_thread_pool_add(cf, NULL);
    if (smcf->threads == NULL) {
        return NGX_CONF_ERROR;
    }

    return ngx_add_path(cf, &smcf->spool) == NGX_OK ? NGX_CONF_OK : NGX_CONF_ERROR;

#else

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "\"serial_verify_spool\" needs an nginx built with --with-threads: no"
                       " request may wait for a disk");
    return NGX_CONF_ERROR;

#endif
}


/* serial_verify_client_place country=$a lat=$b lon=$c accuracy=$d; */
char *
ngx_sv_conf_client_place(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_sv_loc_conf_t  *slcf = conf;

    size_t                             len;
    ngx_str_t                         *value, text;
    ngx_uint_t                         i, k;
    ngx_http_compile_complex_value_t   ccv;

    static const char *const  names[NGX_SV_PLACES] = { "country=", "lat=", "lon=", "accuracy=" };

    if (slcf->place_given) {
        return "is duplicate";
    }

    slcf->place_given = 1;
    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        for (k = 0; k < NGX_SV_PLACES; k++) {
            len = ngx_strlen(names[k]);

            if (value[i].len > len && ngx_strncmp(value[i].data, names[k], len) == 0) {
                break;
            }
        }

        if (k == NGX_SV_PLACES || slcf->place[k] != NULL) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid parameter \"%V\": country=, lat=, lon= and accuracy= are"
                               " expected, each once", &value[i]);
            return NGX_CONF_ERROR;
        }

        text.data = value[i].data + len;
        text.len = value[i].len - len;

        slcf->place[k] = ngx_pcalloc(cf->pool, sizeof(ngx_http_complex_value_t));
        if (slcf->place[k] == NULL) {
            return NGX_CONF_ERROR;
        }

        ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));
        ccv.cf = cf;
        ccv.value = &text;
        ccv.complex_value = slcf->place[k];

        if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
            return NGX_CONF_ERROR;
        }
    }

    if ((slcf->place[NGX_SV_PLACE_LAT] == NULL) != (slcf->place[NGX_SV_PLACE_LON] == NULL)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "\"lat=\" and \"lon=\" go together");
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* What was not given: after all is read. */
ngx_int_t
ngx_sv_conf_events_finish(ngx_conf_t *cf, ngx_sv_main_conf_t *smcf)
{
    ngx_str_t  name;

    if (smcf->gateway != NULL || !smcf->events) {
        return NGX_OK;
    }

    name = cf->cycle->hostname;

    if (!ngx_sv_conf_gateway_valid(&name)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "the host's name \"%V\" cannot be that of the gateway: set"
                           " \"serial_verify_gateway\"", &name);
        return NGX_ERROR;
    }

    smcf->gateway = ngx_pnalloc(cf->pool, name.len + 1);
    if (smcf->gateway == NULL) {
        return NGX_ERROR;
    }

    *ngx_cpymem(smcf->gateway, name.data, name.len) = '\0';

    return NGX_OK;
}
