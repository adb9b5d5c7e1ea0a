/*
 * Table of contents: the directives, the module's hooks, nothing else.
 * Where they are carried out: src/http/ngx_sv_conf.c, ngx_sv_route.c,
 * ngx_sv_identity.c, ngx_sv_process.c, ngx_sv_variables.c.
 */

#include "src/http/ngx_sv.h"


static ngx_command_t  ngx_serial_verify_commands[] = {

    { ngx_string("serial_verify_postgres"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_sv_conf_postgres,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("serial_verify_postgres_connections"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_1MORE,
      ngx_sv_conf_connections,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("serial_verify_redis"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_1MORE,
      ngx_sv_conf_redis,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("serial_verify_redis_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_sv_main_conf_t, redis_timeout),
      &ngx_sv_conf_redis_timeout_bounds },

    { ngx_string("serial_verify_cache_ttl"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_sv_main_conf_t, cache_ttl),
      &ngx_sv_conf_cache_ttl_bounds },

    { ngx_string("serial_verify_deadline"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_sv_main_conf_t, deadline),
      &ngx_sv_conf_deadline_bounds },

    { ngx_string("serial_verify_bulk_deadline"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_sv_main_conf_t, bulk_deadline),
      &ngx_sv_conf_bulk_deadline_bounds },

    { ngx_string("serial_verify_bulk_requests"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_sv_main_conf_t, bulk_requests),
      &ngx_sv_conf_bulk_requests_bounds },

    { ngx_string("serial_verify_zone"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_sv_main_conf_t, zone_size),
      &ngx_sv_conf_zone_bounds },

    { ngx_string("serial_verify_refresh"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_sv_main_conf_t, refresh),
      &ngx_sv_conf_refresh_bounds },

    { ngx_string("serial_verify_stale_limit"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_sv_main_conf_t, stale_limit),
      &ngx_sv_conf_stale_limit_bounds },

    { ngx_string("serial_verify_miss_budget"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE12,
      ngx_sv_conf_miss_budget,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("serial_verify_anonymous_floor"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_sv_main_conf_t, anonymous_floor),
      &ngx_sv_conf_anonymous_floor_bounds },

    { ngx_string("serial_verify_events"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE12,
      ngx_sv_conf_events,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("serial_verify_gateway"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_sv_conf_gateway,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("serial_verify_spool"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE12,
      ngx_sv_conf_spool,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("serial_verify_client_place"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1234,
      ngx_sv_conf_client_place,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("serial_verify_routing"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_SRV_CONF_OFFSET,
      offsetof(ngx_sv_srv_conf_t, routing),
      NULL },

    { ngx_string("serial_verify"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_sv_conf_endpoint,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("serial_verify_anonymous"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_sv_loc_conf_t, anonymous),
      NULL },

    { ngx_string("serial_verify_identity"),
      NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_sv_loc_conf_t, identity),
      &ngx_sv_conf_identity_post },

    { ngx_string("serial_verify_api_secret"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_sv_conf_api_secret,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("serial_verify_short_gtin"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_SRV_CONF_OFFSET,
      offsetof(ngx_sv_srv_conf_t, short_gtin),
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_serial_verify_module_ctx = {
    ngx_sv_add_variables,                  /* preconfiguration */
    ngx_sv_conf_finish,                    /* postconfiguration */

    ngx_sv_create_main_conf,               /* create main configuration */
    ngx_sv_init_main_conf,                 /* init main configuration */

    ngx_sv_create_srv_conf,                /* create server configuration */
    ngx_sv_merge_srv_conf,                 /* merge server configuration */

    ngx_sv_create_loc_conf,                /* create location configuration */
    ngx_sv_merge_loc_conf                  /* merge location configuration */
};


ngx_module_t  ngx_serial_verify_module = {
    NGX_MODULE_V1,
    &ngx_serial_verify_module_ctx,         /* module context */
    ngx_serial_verify_commands,            /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    ngx_sv_process_init,                   /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_sv_process_exit,                   /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};
