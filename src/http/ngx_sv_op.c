#include "ngx_sv.h"


static void ngx_sv_op_aborted(void *data);
static void ngx_sv_op_expired(ngx_event_t *ev);


ngx_int_t
ngx_sv_op_begin(ngx_sv_op_t *op, ngx_http_request_t *r, ngx_uint_t counted, ngx_msec_t deadline)
{
    ngx_http_cleanup_t  *cln;

    cln = ngx_http_cleanup_add(r, 0);
    if (cln == NULL) {
        return NGX_ERROR;
    }

    cln->handler = ngx_sv_op_aborted;
    cln->data = op;

    op->r = r;
    op->cleanup = cln;
    op->started = ngx_current_msec;

    ngx_memzero(&op->timer, sizeof(ngx_event_t));
    op->timer.handler = ngx_sv_op_expired;
    op->timer.data = op;
    op->timer.log = r->connection->log;

    /* not cancelable: a worker that is told to quit waits for this answer */
    ngx_add_timer(&op->timer, deadline);

    /* reading the body has counted already */
    if (!counted) {
        r->main->count++;
    }

    /* the connection is the main request's */
    if (r == r->main) {
        r->read_event_handler = ngx_http_test_reading;
    }

    r->write_event_handler = ngx_http_request_empty_handler;

    return NGX_OK;
}


void
ngx_sv_op_timer(ngx_sv_op_t *op, ngx_msec_t ms)
{
    if (op->timer.timer_set) {
        ngx_del_timer(&op->timer);
    }

    ngx_add_timer(&op->timer, ms);
}


void
ngx_sv_op_finish(ngx_sv_op_t *op, ngx_int_t rc)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = op->r;
    c = r->connection;

    op->r = NULL;
    op->cleanup->handler = NULL;

    if (op->timer.timer_set) {
        ngx_del_timer(&op->timer);
    }

    op->release(op);

    ngx_http_finalize_request(r, rc);
    ngx_http_run_posted_requests(c);
}


/* The client left, or nginx ends the request for a reason of its own. */
static void
ngx_sv_op_aborted(void *data)
{
    ngx_sv_op_t  *op = data;

    op->r = NULL;

    if (op->timer.timer_set) {
        ngx_del_timer(&op->timer);
    }

    ngx_sv_count(NGX_SV_ABORTED);

    op->release(op);
}


static void
ngx_sv_op_expired(ngx_event_t *ev)
{
    ngx_sv_op_t  *op;

    op = ev->data;

    op->expired(op);
}
