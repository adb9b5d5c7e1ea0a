/*
 * Directives: create, merge, check.  What is wrong is said when configuration
 * is read, with file and line, never at the first request.
 */

#include "ngx_sv.h"


static char *ngx_sv_conf_msec_bounds(ngx_conf_t *cf, void *post, void *data);
static char *ngx_sv_conf_size_bounds(ngx_conf_t *cf, void *post, void *data);
static char *ngx_sv_conf_redis_address(ngx_conf_t *cf, ngx_sv_main_conf_t *smcf,
    ngx_str_t *value);
static char *ngx_sv_conf_redis_option(ngx_conf_t *cf, ngx_sv_main_conf_t *smcf,
    ngx_str_t *value);
static u_char *ngx_sv_conf_secret(ngx_conf_t *cf, ngx_str_t *path);
static char *ngx_sv_conf_identity(ngx_conf_t *cf, void *post, void *data);


ngx_conf_num_bounds_t  ngx_sv_conf_bulk_requests_bounds = { ngx_conf_check_num_bounds, 1, 1000 };

ngx_sv_bounds_t  ngx_sv_conf_redis_timeout_bounds = { ngx_sv_conf_msec_bounds, 1, 10000 };
ngx_sv_bounds_t  ngx_sv_conf_cache_ttl_bounds = { ngx_sv_conf_msec_bounds, 1000, 86400000 };
ngx_sv_bounds_t  ngx_sv_conf_deadline_bounds = { ngx_sv_conf_msec_bounds, 20, 60000 };
ngx_sv_bounds_t  ngx_sv_conf_bulk_deadline_bounds = { ngx_sv_conf_msec_bounds, 100, 300000 };
ngx_sv_bounds_t  ngx_sv_conf_refresh_bounds = { ngx_sv_conf_msec_bounds, 10, 500 };
ngx_sv_bounds_t  ngx_sv_conf_stale_limit_bounds = { ngx_sv_conf_msec_bounds, 1000, 86400000 };
ngx_sv_bounds_t  ngx_sv_conf_anonymous_floor_bounds = { ngx_sv_conf_msec_bounds, 0, 10000 };
ngx_sv_bounds_t  ngx_sv_conf_zone_bounds = { ngx_sv_conf_size_bounds, 1 << 20, 1UL << 36 };

ngx_conf_post_t  ngx_sv_conf_identity_post = { ngx_sv_conf_identity };


void *
ngx_sv_create_main_conf(ngx_conf_t *cf)
{
    ngx_uint_t           i;
    ngx_sv_main_conf_t  *smcf;

    smcf = ngx_pcalloc(cf->pool, sizeof(ngx_sv_main_conf_t));
    if (smcf == NULL) {
        return NULL;
    }

    for (i = 0; i < NGX_SV_POOLS; i++) {
        smcf->connections[i] = NGX_CONF_UNSET_UINT;
    }

    smcf->redis = NGX_CONF_UNSET;
    smcf->redis_timeout = NGX_CONF_UNSET_MSEC;
    smcf->cache_ttl = NGX_CONF_UNSET_MSEC;
    smcf->deadline = NGX_CONF_UNSET_MSEC;
    smcf->bulk_deadline = NGX_CONF_UNSET_MSEC;
    smcf->bulk_requests = NGX_CONF_UNSET;
    smcf->zone_size = NGX_CONF_UNSET_SIZE;
    smcf->refresh = NGX_CONF_UNSET_MSEC;
    smcf->stale_limit = NGX_CONF_UNSET_MSEC;
    smcf->anonymous_floor = NGX_CONF_UNSET_MSEC;
    smcf->miss_budget = NGX_CONF_UNSET;
    smcf->miss_period = NGX_CONF_UNSET;
    smcf->events = NGX_CONF_UNSET;
    smcf->events_limit = 200000;
    smcf->spool_limit = 1024 * 1024 * 1024;

    return smcf;
}


char *
ngx_sv_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_sv_main_conf_t  *smcf = conf;

    ngx_conf_init_uint_value(smcf->connections[NGX_SV_POOL_READ], 2);
    ngx_conf_init_uint_value(smcf->connections[NGX_SV_POOL_WRITE], 4);
    ngx_conf_init_uint_value(smcf->connections[NGX_SV_POOL_BULK], 2);

    ngx_conf_init_value(smcf->redis, 0);
    ngx_conf_init_msec_value(smcf->redis_timeout, 25);
    ngx_conf_init_msec_value(smcf->cache_ttl, 3600000);
    ngx_conf_init_msec_value(smcf->deadline, 250);
    ngx_conf_init_msec_value(smcf->bulk_deadline, 5000);
    ngx_conf_init_value(smcf->bulk_requests, 32);
    ngx_conf_init_size_value(smcf->zone_size, 64 * 1024 * 1024);
    ngx_conf_init_msec_value(smcf->refresh, 200);
    ngx_conf_init_msec_value(smcf->stale_limit, 300000);
    ngx_conf_init_msec_value(smcf->anonymous_floor, 30);
    ngx_conf_init_value(smcf->miss_budget, 30);
    ngx_conf_init_value(smcf->miss_period, 60);
    ngx_conf_init_value(smcf->events, 1);

    if (smcf->redis_timeout >= smcf->deadline) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"serial_verify_redis_timeout\" of %M ms must be less than"
                           " \"serial_verify_deadline\" of %M ms", smcf->redis_timeout,
                           smcf->deadline);
        return NGX_CONF_ERROR;
    }

    if (smcf->anonymous_floor >= smcf->deadline) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"serial_verify_anonymous_floor\" of %M ms must be less than"
                           " \"serial_verify_deadline\" of %M ms", smcf->anonymous_floor,
                           smcf->deadline);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


void *
ngx_sv_create_srv_conf(ngx_conf_t *cf)
{
    ngx_sv_srv_conf_t  *sscf;

    sscf = ngx_pcalloc(cf->pool, sizeof(ngx_sv_srv_conf_t));
    if (sscf == NULL) {
        return NULL;
    }

    sscf->routing = NGX_CONF_UNSET;
    sscf->short_gtin = NGX_CONF_UNSET;

    return sscf;
}


char *
ngx_sv_merge_srv_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_sv_srv_conf_t  *prev = parent;
    ngx_sv_srv_conf_t  *conf = child;

    ngx_conf_merge_value(conf->routing, prev->routing, 0);
    ngx_conf_merge_value(conf->short_gtin, prev->short_gtin, 0);

    return NGX_CONF_OK;
}


void *
ngx_sv_create_loc_conf(ngx_conf_t *cf)
{
    ngx_sv_loc_conf_t  *slcf;

    slcf = ngx_pcalloc(cf->pool, sizeof(ngx_sv_loc_conf_t));
    if (slcf == NULL) {
        return NULL;
    }

    slcf->anonymous = NGX_CONF_UNSET;
    slcf->identity = NGX_CONF_UNSET;

    return slcf;
}


char *
ngx_sv_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_sv_loc_conf_t  *prev = parent;
    ngx_sv_loc_conf_t  *conf = child;

    ngx_conf_merge_value(conf->anonymous, prev->anonymous, 1);
    ngx_conf_merge_value(conf->identity, prev->identity, 0);

    if (!conf->place_given) {
        ngx_memcpy(conf->place, prev->place, sizeof(conf->place));
    }

    return NGX_CONF_OK;
}


char *
ngx_sv_conf_postgres(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_sv_main_conf_t  *smcf = conf;

    ngx_str_t           *value;
    const char          *error;

    if (smcf->conninfo != NULL) {
        return "is duplicate";
    }

    value = cf->args->elts;

    smcf->conninfo = value[1].data;         /* the parser ends arguments with a NUL */
    error = sv_pg_conninfo_check((char *) smcf->conninfo);

    if (error != NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "\"serial_verify_postgres\": %s", error);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* serial_verify_postgres_connections read=2 write=4 bulk=2; */
char *
ngx_sv_conf_connections(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_sv_main_conf_t  *smcf = conf;

    size_t               len;
    ngx_int_t            n;
    ngx_str_t           *value;
    ngx_uint_t           i, k;

    static const char *const  names[NGX_SV_POOLS] = { "read=", "write=", "bulk=" };

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        for (k = 0; k < NGX_SV_POOLS; k++) {
            len = ngx_strlen(names[k]);

            if (value[i].len > len && ngx_strncmp(value[i].data, names[k], len) == 0) {
                break;
            }
        }

        if (k == NGX_SV_POOLS) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\": read=, write= or bulk= is expected",
                               &value[i]);
            return NGX_CONF_ERROR;
        }

        if (smcf->connections[k] != NGX_CONF_UNSET_UINT) {
            return "is duplicate";
        }

        n = ngx_atoi(value[i].data + len, value[i].len - len);

        if (n < 1 || n > 64) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid number of connections in \"%V\": 1 to 64 a worker"
                               " process", &value[i]);
            return NGX_CONF_ERROR;
        }

        smcf->connections[k] = (ngx_uint_t) n;
    }

    return NGX_CONF_OK;
}


/* serial_verify_redis unix:/path | address:port | off [database=n] [password_file=path]; */
char *
ngx_sv_conf_redis(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_sv_main_conf_t  *smcf = conf;

    char                *rv;
    ngx_str_t           *value;
    ngx_uint_t           i;

    if (smcf->redis != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    value = cf->args->elts;
    smcf->redis = 1;

    if (value[1].len == 3 && ngx_strncmp(value[1].data, "off", 3) == 0) {
        smcf->redis = 0;

        if (cf->args->nelts > 2) {
            return "takes no parameters with \"off\"";
        }

    } else {
        rv = ngx_sv_conf_redis_address(cf, smcf, &value[1]);
        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    for (i = 2; i < cf->args->nelts; i++) {
        rv = ngx_sv_conf_redis_option(cf, smcf, &value[i]);
        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    return NGX_CONF_OK;
}


static char *
ngx_sv_conf_redis_address(ngx_conf_t *cf, ngx_sv_main_conf_t *smcf, ngx_str_t *value)
{
    u_char     *colon, *p;
    ngx_str_t   address;

    if (value->len > 5 && ngx_strncmp(value->data, "unix:", 5) == 0) {

        if (value->len - 5 >= 108) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "the path in \"%V\" is too long for a unix socket", value);
            return NGX_CONF_ERROR;
        }

        smcf->redis_path = value->data + 5;
        return NGX_CONF_OK;
    }

    colon = ngx_strlchr(value->data, value->data + value->len, ':');

    for (p = colon; p != NULL; p = ngx_strlchr(p + 1, value->data + value->len, ':')) {
        colon = p;
    }

    if (colon != NULL) {
        smcf->redis_port = ngx_atoi(colon + 1, (size_t) (value->data + value->len - colon - 1));
    }

    if (colon == NULL || smcf->redis_port < 1 || smcf->redis_port > 65535) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid address \"%V\": unix:/path, address:port or off is expected",
                           value);
        return NGX_CONF_ERROR;
    }

    address.data = value->data;
    address.len = (size_t) (colon - value->data);

    if (address.len > 2 && address.data[0] == '[' && address.data[address.len - 1] == ']') {
        address.data++;
        address.len -= 2;
    }

    smcf->redis_address = ngx_pnalloc(cf->pool, address.len + 1);
    if (smcf->redis_address == NULL) {
        return NGX_CONF_ERROR;
    }

    *ngx_cpymem(smcf->redis_address, address.data, address.len) = '\0';

    if (ngx_inet_addr(address.data, address.len) == INADDR_NONE
#if (NGX_HAVE_INET6)
        && ngx_inet6_addr(address.data, address.len, (u_char [16]) { 0 }) != NGX_OK
#endif
       )
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the address in \"%V\" must be numeric: a name would have to be"
                           " resolved while requests wait", value);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_sv_conf_redis_option(ngx_conf_t *cf, ngx_sv_main_conf_t *smcf, ngx_str_t *value)
{
    ngx_str_t  path;

    if (value->len > 9 && ngx_strncmp(value->data, "database=", 9) == 0) {
        if (smcf->redis_database != 0) {
            return "has a second database";
        }

        smcf->redis_database = ngx_atoi(value->data + 9, value->len - 9);

        if (smcf->redis_database != NGX_ERROR) {
            return NGX_CONF_OK;
        }

    } else if (value->len > 14 && ngx_strncmp(value->data, "password_file=", 14) == 0) {
        path.data = value->data + 14;
        path.len = value->len - 14;

        smcf->redis_password = ngx_sv_conf_secret(cf, &path);

        return smcf->redis_password != NULL ? NGX_CONF_OK : NGX_CONF_ERROR;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid parameter \"%V\": database=n or password_file=path is expected",
                       value);

    return NGX_CONF_ERROR;
}


/* The first line of a file: a secret does not belong into a configuration that many may read. */
static u_char *
ngx_sv_conf_secret(ngx_conf_t *cf, ngx_str_t *path)
{
    u_char    *secret;
    ssize_t    n, i;
    ngx_fd_t   fd;

    if (ngx_conf_full_name(cf->cycle, path, 1) != NGX_OK) {
        return NULL;
    }

    secret = ngx_pcalloc(cf->pool, 512);
    if (secret == NULL) {
        return NULL;
    }

    fd = ngx_open_file(path->data, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);
    if (fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno, ngx_open_file_n " \"%s\" failed",
                           path->data);
        return NULL;
    }

    n = ngx_read_fd(fd, secret, 511);
    (void) ngx_close_file(fd);

    for (i = 0; i < n && secret[i] != '\n' && secret[i] != '\r'; i++) { /* void */ }

    secret[i] = '\0';

    if (i == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "\"%s\" holds no password in its first line",
                           path->data);
        return NULL;
    }

    return secret;
}


/* serial_verify_miss_budget 30 60s; or off */
char *
ngx_sv_conf_miss_budget(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_sv_main_conf_t  *smcf = conf;

    ngx_str_t           *value;

    if (smcf->miss_budget != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 3 && ngx_strncmp(value[1].data, "off", 3) == 0) {
        smcf->miss_budget = 0;

    } else {
        smcf->miss_budget = ngx_atoi(value[1].data, value[1].len);

        if (smcf->miss_budget < 1 || smcf->miss_budget > 10000) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid budget \"%V\": 1 to 10000 misses, or off", &value[1]);
            return NGX_CONF_ERROR;
        }
    }

    if (cf->args->nelts == 3) {
        smcf->miss_period = ngx_parse_time(&value[2], 1);

        if (smcf->miss_period < 1 || smcf->miss_period > 86400) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid period \"%V\": 1s to 1d",
                               &value[2]);
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


char *
ngx_sv_conf_endpoint(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_sv_loc_conf_t  *slcf = conf;

    ngx_str_t                 *value;
    ngx_uint_t                 i;
    ngx_sv_main_conf_t        *smcf;
    ngx_http_core_loc_conf_t  *clcf;

    static const char *const  names[] = { "pack", "scan", "packs", "status", "metrics" };

    if (slcf->endpoint != NGX_SV_ENDPOINT_NONE) {
        return "is duplicate";
    }

    value = cf->args->elts;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (value[1].len == ngx_strlen(names[i])
            && ngx_strncmp(value[1].data, names[i], value[1].len) == 0)
        {
            slcf->endpoint = i + 1;
        }
    }

    if (slcf->endpoint == NGX_SV_ENDPOINT_NONE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid endpoint \"%V\": pack, scan, packs, status or metrics is"
                           " expected", &value[1]);
        return NGX_CONF_ERROR;
    }

    smcf = ngx_http_conf_get_module_main_conf(cf, ngx_serial_verify_module);
    smcf->used = 1;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_sv_content_handler;

    return NGX_CONF_OK;
}


ngx_int_t
ngx_sv_conf_finish(ngx_conf_t *cf)
{
    ngx_str_t                   name = ngx_string("serial_verify_reference");
    ngx_http_handler_pt        *h;
    ngx_sv_main_conf_t         *smcf;
    ngx_http_core_main_conf_t  *cmcf;

    smcf = ngx_http_conf_get_module_main_conf(cf, ngx_serial_verify_module);

    if (!smcf->used) {
        return NGX_OK;
    }

    if (smcf->conninfo == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"serial_verify%s\" is used in a location, and"
                           " \"serial_verify_postgres\" is missing in the http block",
                           smcf->identity ? "_identity" : "");
        return NGX_ERROR;
    }

    if (smcf->identity && smcf->api_secret.data == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"serial_verify_identity\" is used in a location, and"
                           " \"serial_verify_api_secret\" is missing in the http block");
        return NGX_ERROR;
    }

    smcf->refdata_zone = ngx_sv_refdata_zone(cf, &name, smcf->zone_size,
                                             &ngx_serial_verify_module);

    if (smcf->refdata_zone == NULL
        || ngx_sv_stats_zone(cf, smcf) != NGX_OK
        || ngx_sv_miss_zone(cf, smcf) != NGX_OK
        || ngx_sv_conf_events_finish(cf, smcf) != NGX_OK)
    {
        return NGX_ERROR;
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_SERVER_REWRITE_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_sv_route_handler;

    if (smcf->identity) {
        h = ngx_array_push(&cmcf->phases[NGX_HTTP_ACCESS_PHASE].handlers);
        if (h == NULL) {
            return NGX_ERROR;
        }

        *h = ngx_sv_identity_handler;
    }

    return NGX_OK;
}


/* serial_verify_identity on; */
static char *
ngx_sv_conf_identity(ngx_conf_t *cf, void *post, void *data)
{
    ngx_flag_t          *on = data;

    ngx_sv_main_conf_t  *smcf;

    if (*on) {
        smcf = ngx_http_conf_get_module_main_conf(cf, ngx_serial_verify_module);
        smcf->used = 1;
        smcf->identity = 1;
    }

    return NGX_CONF_OK;
}


ngx_int_t
ngx_sv_conf_processes(ngx_cycle_t *cycle)
{
    ngx_core_conf_t  *ccf;

    ccf = (ngx_core_conf_t *) ngx_get_conf(cycle->conf_ctx, ngx_core_module);

    return ccf->worker_processes > 0 ? ccf->worker_processes : 1;
}


static char *
ngx_sv_conf_msec_bounds(ngx_conf_t *cf, void *post, void *data)
{
    ngx_msec_t       *value = data;
    ngx_sv_bounds_t  *bounds = post;

    if (*value >= bounds->low && *value <= bounds->high) {
        return NGX_CONF_OK;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "the time must be between %M ms and %M ms",
                       bounds->low, bounds->high);

    return NGX_CONF_ERROR;
}


static char *
ngx_sv_conf_size_bounds(ngx_conf_t *cf, void *post, void *data)
{
    size_t           *value = data;
    ngx_sv_bounds_t  *bounds = post;

    if (*value >= bounds->low && *value <= bounds->high) {
        return NGX_CONF_OK;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "the size must be between %M and %M bytes",
                       bounds->low, bounds->high);

    return NGX_CONF_ERROR;
}
