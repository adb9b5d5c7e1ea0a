/*
 * /status (JSON, or a small page where a browser asks) and /metrics
 * (Prometheus text), from the same numbers.
 */

#include "ngx_sv.h"


#define NGX_SV_STATUS_SIZE   (8192 + NGX_SV_REFDATA_FIGURES)
#define NGX_SV_METRICS_SIZE  32768


typedef struct {
    const char  *symbol, *metric, *labels, *help;
} ngx_sv_counter_row_t;

typedef struct {
    ngx_uint_t   processes;
    ngx_uint_t   pg_ready[NGX_SV_POOLS];
    ngx_uint_t   pg_in_flight[NGX_SV_POOLS];
    ngx_uint_t   redis_ready;
    ngx_uint_t   operations;
    ngx_uint_t   event_blocks;
} ngx_sv_sum_t;


static void ngx_sv_sum(ngx_sv_worker_t *worker, ngx_sv_sum_t *sum);
static const char *ngx_sv_health(ngx_sv_worker_t *worker, const ngx_sv_sum_t *sum);
static void ngx_sv_status_json(sv_json_t *json, ngx_sv_worker_t *worker);
static void ngx_sv_status_events(sv_json_t *json, ngx_sv_worker_t *worker, const ngx_sv_sum_t *sum);
static ngx_int_t ngx_sv_status_page(ngx_http_request_t *r, u_char *json, size_t len);
static ngx_uint_t ngx_sv_wants_page(ngx_http_request_t *r);
static u_char *ngx_sv_metrics_counters(u_char *p, u_char *last, ngx_sv_stats_t *stats);
static u_char *ngx_sv_metrics_times(u_char *p, u_char *last, ngx_sv_stats_t *stats);
static u_char *ngx_sv_metrics_gauges(u_char *p, u_char *last, ngx_sv_worker_t *worker);


static const ngx_sv_counter_row_t  ngx_sv_counter_rows[NGX_SV_COUNTERS] = {
#define NGX_SV_COUNTER(symbol, metric, labels, help)  { #symbol, metric, labels, help },
#include "ngx_sv_counters.def"
#undef NGX_SV_COUNTER
};

static const char *const  ngx_sv_pool_names[NGX_SV_POOLS] = { "read", "write", "bulk" };
static const char *const  ngx_sv_time_names[NGX_SV_TIMES] = { "verify", "operate", "bulk" };


ngx_int_t
ngx_sv_status_request(ngx_http_request_t *r, ngx_sv_ctx_t *ctx)
{
    int               len;
    u_char           *buf;
    sv_json_t         json;
    ngx_sv_worker_t  *worker;

    worker = ngx_sv_worker();
    ngx_sv_stats_publish(worker);

    buf = ngx_pnalloc(r->pool, NGX_SV_STATUS_SIZE);
    if (buf == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    sv_json_init(&json, (char *) buf, NGX_SV_STATUS_SIZE);
    ngx_sv_status_json(&json, worker);

    len = sv_json_done(&json);
    if (len < 0) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ngx_sv_wants_page(r)) {
        return ngx_sv_status_page(r, buf, (size_t) len);
    }

    return ngx_sv_send(r, NGX_HTTP_OK, "application/json", buf, (size_t) len);
}


static void
ngx_sv_status_json(sv_json_t *json, ngx_sv_worker_t *worker)
{
    u_char           name[32], figures[NGX_SV_REFDATA_FIGURES];
    size_t           len;
    ngx_uint_t       i;
    ngx_sv_sum_t     sum;
    sv_ref_stats_t   ref;
    ngx_sv_stats_t  *stats;

    ngx_sv_sum(worker, &sum);
    sv_ref_stats(worker->ref, &ref);
    stats = ngx_sv_stats(worker->conf);

    sv_json_object(json, NULL);
    sv_json_text(json, "status", ngx_sv_health(worker, &sum));
    sv_json_number(json, "worker_processes", (int64_t) sum.processes);

    sv_json_object(json, "postgres");

    for (i = 0; i < NGX_SV_POOLS; i++) {
        sv_json_object(json, ngx_sv_pool_names[i]);
        sv_json_number(json, "ready", (int64_t) sum.pg_ready[i]);
        sv_json_number(json, "in_flight", (int64_t) sum.pg_in_flight[i]);
        sv_json_object_end(json);
    }

    sv_json_object_end(json);

    sv_json_object(json, "redis");
    sv_json_bool(json, "configured", worker->cache != NULL);
    sv_json_number(json, "ready", (int64_t) sum.redis_ready);
    sv_json_object_end(json);

    sv_json_object(json, "reference_data");
    sv_json_bool(json, "complete", ngx_sv_refdata_complete(worker->refdata) != 0);
    sv_json_bool(json, "stale", ngx_sv_refdata_stale(worker->refdata) != 0);
    sv_json_number(json, "age_ms", (int64_t) ngx_sv_refdata_age(worker->refdata));
    sv_json_number(json, "change", (int64_t) ref.n);
    sv_json_bool(json, "full", ref.full);
    sv_json_number(json, "unreadable", ref.bad);
    sv_json_number(json, "used_bytes", (int64_t) ref.used);
    sv_json_number(json, "size_bytes", (int64_t) ref.size);
    sv_json_number(json, "credentials", ref.credentials);
    sv_json_number(json, "locations", ref.locations);
    sv_json_number(json, "products", ref.products);
    sv_json_number(json, "recalled_lots", ref.lots);
    sv_json_object_end(json);

    sv_json_number(json, "operations_in_flight", (int64_t) sum.operations);

    ngx_sv_status_events(json, worker, &sum);

    len = ngx_sv_refdata_figures(worker->refdata, figures);

    if (len > 0) {
        sv_json_raw(json, "worker", (sv_span_t) { figures, len });
    }

    sv_json_object(json, "counters");

    for (i = 0; i < NGX_SV_COUNTERS; i++) {
        ngx_strlow(name, (u_char *) ngx_sv_counter_rows[i].symbol,
                   ngx_strlen(ngx_sv_counter_rows[i].symbol) + 1);
        sv_json_number(json, (char *) name, (int64_t) stats->counter[i]);
    }

    sv_json_object_end(json);
    sv_json_object_end(json);
}


static void
ngx_sv_status_events(sv_json_t *json, ngx_sv_worker_t *worker, const ngx_sv_sum_t *sum)
{
    sv_json_object(json, "events");
    sv_json_text(json, "way", ngx_sv_events_way(worker->events));
    sv_json_text(json, "gateway", (const char *) worker->conf->gateway);
    sv_json_number(json, "blocks_in_flight", (int64_t) sum->event_blocks);

    sv_json_object(json, "spool");
    sv_json_bool(json, "configured", worker->conf->spool != NULL);
    sv_json_number(json, "bytes", (int64_t) ngx_sv_stats_spool(worker->conf));

    if (worker->conf->spool != NULL) {
        sv_json_number(json, "limit_bytes", (int64_t) worker->conf->spool_limit);
    }

    sv_json_object_end(json);
    sv_json_object_end(json);
}


/* ok: everything; degraded: answers come, something is missing; down: operations cannot be done */
static const char *
ngx_sv_health(ngx_sv_worker_t *worker, const ngx_sv_sum_t *sum)
{
    if (sum->pg_ready[NGX_SV_POOL_WRITE] == 0 || !ngx_sv_refdata_complete(worker->refdata)) {
        return "down";
    }

    if (ngx_sv_refdata_stale(worker->refdata) || sum->pg_ready[NGX_SV_POOL_READ] == 0
        || (worker->cache != NULL && sum->redis_ready == 0))
    {
        return "degraded";
    }

    return "ok";
}


static void
ngx_sv_sum(ngx_sv_worker_t *worker, ngx_sv_sum_t *sum)
{
    ngx_uint_t       i, k;
    ngx_sv_gauge_t  *gauge;

    ngx_memzero(sum, sizeof(ngx_sv_sum_t));

    for (i = 0; i < NGX_SV_GAUGES; i++) {
        gauge = &ngx_sv_stats(worker->conf)->gauge[i];

        /* a process that is gone or stopped no longer counts */
        if (gauge->pid == 0 || ngx_current_msec - gauge->updated > 3000) {
            continue;
        }

        sum->processes++;
        sum->redis_ready += gauge->redis_ready;
        sum->operations += gauge->operations;
        sum->event_blocks += gauge->event_blocks;

        for (k = 0; k < NGX_SV_POOLS; k++) {
            sum->pg_ready[k] += gauge->pg_ready[k];
            sum->pg_in_flight[k] += gauge->pg_in_flight[k];
        }
    }
}


static ngx_uint_t
ngx_sv_wants_page(ngx_http_request_t *r)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    for (part = &r->headers_in.headers.part; part != NULL; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (h[i].key.len == 6 && ngx_strncmp(h[i].lowcase_key, "accept", 6) == 0) {
                return ngx_strstrn(h[i].value.data, "text/html", 9 - 1) != NULL;
            }
        }
    }

    return 0;
}


/* The same document, readable. Everything in it is ours, and escaped by the JSON writer for markup too. */
static ngx_int_t
ngx_sv_status_page(ngx_http_request_t *r, u_char *json, size_t len)
{
    u_char  *page, *p;
    size_t   i, depth, size;

    static const char  head[] =
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">"
        "<title>serial-verify status</title><meta http-equiv=\"refresh\" content=\"5\">"
        "</head><body><h1>serial-verify</h1><pre>";
    static const char  tail[] = "</pre></body></html>\n";

    size = sizeof(head) + sizeof(tail) + 16 * len;

    page = ngx_pnalloc(r->pool, size);
    if (page == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    p = ngx_cpymem(page, head, sizeof(head) - 1);
    depth = 0;

    for (i = 0; i < len; i++) {

        if (json[i] == '}') {
            depth--;
            continue;
        }

        if (json[i] == '{' || json[i] == ',') {
            depth += json[i] == '{';
            *p++ = '\n';
            p = ngx_cpymem(p, "            ", 2 * depth < 12 ? 2 * depth : 12);

        } else if (json[i] == ':') {
            *p++ = ':';
            *p++ = ' ';

        } else if (json[i] != '"') {
            *p++ = json[i];
        }
    }

    p = ngx_cpymem(p, tail, sizeof(tail) - 1);

    return ngx_sv_send(r, NGX_HTTP_OK, "text/html; charset=utf-8", page, (size_t) (p - page));
}


ngx_int_t
ngx_sv_metrics_request(ngx_http_request_t *r, ngx_sv_ctx_t *ctx)
{
    u_char           *buf, *p, *last;
    ngx_sv_stats_t   *stats;
    ngx_sv_worker_t  *worker;

    worker = ngx_sv_worker();
    stats = ngx_sv_stats(worker->conf);
    ngx_sv_stats_publish(worker);

    buf = ngx_pnalloc(r->pool, NGX_SV_METRICS_SIZE);
    if (buf == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    last = buf + NGX_SV_METRICS_SIZE;

    p = ngx_sv_metrics_counters(buf, last, stats);
    p = ngx_sv_metrics_times(p, last, stats);
    p = ngx_sv_metrics_gauges(p, last, worker);

    return ngx_sv_send(r, NGX_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", buf,
                       (size_t) (p - buf));
}


static u_char *
ngx_sv_metrics_counters(u_char *p, u_char *last, ngx_sv_stats_t *stats)
{
    ngx_uint_t                   i;
    const ngx_sv_counter_row_t  *row;

    for (i = 0; i < NGX_SV_COUNTERS; i++) {
        row = &ngx_sv_counter_rows[i];

        if (row->help != NULL) {
            p = ngx_slprintf(p, last, "# HELP %s %s\n# TYPE %s counter\n", row->metric, row->help,
                             row->metric);
        }

        if (row->labels[0] != '\0') {
            p = ngx_slprintf(p, last, "%s{%s} %uA\n", row->metric, row->labels,
                             stats->counter[i]);

        } else {
            p = ngx_slprintf(p, last, "%s %uA\n", row->metric, stats->counter[i]);
        }
    }

    return p;
}


static u_char *
ngx_sv_metrics_times(u_char *p, u_char *last, ngx_sv_stats_t *stats)
{
    ngx_uint_t         i, k;
    ngx_atomic_uint_t  n;

    p = ngx_slprintf(p, last, "# HELP serial_verify_duration_seconds Time from the parsed request"
                              " to the answer\n# TYPE serial_verify_duration_seconds histogram\n");

    for (k = 0; k < NGX_SV_TIMES; k++) {
        n = 0;

        for (i = 0; i < NGX_SV_BUCKETS - 1; i++) {
            n += stats->bucket[k][i];
            p = ngx_slprintf(p, last, "serial_verify_duration_seconds_bucket{what=\"%s\","
                             "le=\"%.3f\"} %uA\n", ngx_sv_time_names[k],
                             (double) ngx_sv_stats_bounds[i] / 1000, n);
        }

        n += stats->bucket[k][i];
        p = ngx_slprintf(p, last, "serial_verify_duration_seconds_bucket{what=\"%s\","
                         "le=\"+Inf\"} %uA\nserial_verify_duration_seconds_sum{what=\"%s\"} %.3f\n"
                         "serial_verify_duration_seconds_count{what=\"%s\"} %uA\n",
                         ngx_sv_time_names[k], n, ngx_sv_time_names[k],
                         (double) stats->time_sum[k] / 1000, ngx_sv_time_names[k], n);
    }

    return p;
}


static u_char *
ngx_sv_metrics_gauges(u_char *p, u_char *last, ngx_sv_worker_t *worker)
{
    ngx_uint_t      i;
    ngx_sv_sum_t    sum;
    sv_ref_stats_t  ref;

    ngx_sv_sum(worker, &sum);
    sv_ref_stats(worker->ref, &ref);

    p = ngx_slprintf(p, last, "# HELP serial_verify_postgres_connections_ready Connections that"
                     " take queries\n# TYPE serial_verify_postgres_connections_ready gauge\n");

    for (i = 0; i < NGX_SV_POOLS; i++) {
        p = ngx_slprintf(p, last, "serial_verify_postgres_connections_ready{pool=\"%s\"} %ui\n",
                         ngx_sv_pool_names[i], sum.pg_ready[i]);
    }

    p = ngx_slprintf(p, last, "# HELP serial_verify_postgres_queries_in_flight Queries sent or"
                     " queued\n# TYPE serial_verify_postgres_queries_in_flight gauge\n");

    for (i = 0; i < NGX_SV_POOLS; i++) {
        p = ngx_slprintf(p, last, "serial_verify_postgres_queries_in_flight{pool=\"%s\"} %ui\n",
                         ngx_sv_pool_names[i], sum.pg_in_flight[i]);
    }

#define ngx_sv_gauge(name, help, format, value)                                             \
    p = ngx_slprintf(p, last, "# HELP " name " " help "\n# TYPE " name " gauge\n"           \
                     name " " format "\n", value)

    ngx_sv_gauge("serial_verify_redis_ready", "Worker processes with a usable cache", "%ui",
                 sum.redis_ready);
    ngx_sv_gauge("serial_verify_worker_processes", "Worker processes that report", "%ui",
                 sum.processes);
    ngx_sv_gauge("serial_verify_operations_in_flight", "Operations sent and not decided", "%ui",
                 sum.operations);
    ngx_sv_gauge("serial_verify_event_blocks_in_flight", "Blocks of scan events neither answered for nor written",
                 "%ui", sum.event_blocks);
    ngx_sv_gauge("serial_verify_spool_bytes", "Scan events that wait in the spool", "%O",
                 ngx_sv_stats_spool(worker->conf));
    ngx_sv_gauge("serial_verify_reference_age_seconds", "Age of the reference data", "%.3f",
                 (double) ngx_sv_refdata_age(worker->refdata) / 1000);
    ngx_sv_gauge("serial_verify_reference_stale", "1: too old, unreadable or too large", "%ui",
                 (ngx_uint_t) (ngx_sv_refdata_stale(worker->refdata) != 0));
    ngx_sv_gauge("serial_verify_reference_full", "1: the zone is too small", "%d", ref.full);
    ngx_sv_gauge("serial_verify_reference_unreadable", "Rows that could not be read", "%uD",
                 (uint32_t) ref.bad);
    ngx_sv_gauge("serial_verify_reference_used_bytes", "Used of the half in use", "%uz",
                 ref.used);
    ngx_sv_gauge("serial_verify_reference_size_bytes", "Size of the half in use", "%uz",
                 ref.size);
    ngx_sv_gauge("serial_verify_reference_change", "Number of the newest change", "%uL", ref.n);

#undef ngx_sv_gauge

    return p;
}
