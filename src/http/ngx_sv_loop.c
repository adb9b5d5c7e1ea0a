/*
 * sv_loop for nginx: level-triggered events on foreign descriptors.
 *
 * nginx's own ngx_handle_read_event() is edge-triggered under epoll and must
 * not be used here: libpq and hiredis read once per event and may leave bytes
 * in the socket.  The descriptors belong to those libraries: a slot is given
 * back with ngx_free_connection(), never ngx_close_connection().
 */

#include "ngx_sv.h"


struct sv_watch_s {
    ngx_connection_t  *connection;
    sv_io_pt           handler;
    void              *data;
};


struct sv_timer_s {
    ngx_event_t        timer;
    ngx_event_t        posted;
    sv_timer_pt        handler;
    void              *data;
};


typedef struct {
    sv_loop_t          loop;                /* first: handed out as sv_loop_t */
    ngx_log_t         *log;
} ngx_sv_loop_t;


static sv_watch_t *ngx_sv_loop_watch(sv_loop_t *loop, int fd, sv_io_pt handler, void *data);
static void ngx_sv_loop_interest(sv_watch_t *watch, unsigned events);
static void ngx_sv_loop_set(ngx_event_t *ev, ngx_int_t event, ngx_uint_t wanted);
static void ngx_sv_loop_unwatch(sv_watch_t *watch);
static void ngx_sv_loop_io(ngx_event_t *ev);
static sv_timer_t *ngx_sv_loop_timer(sv_loop_t *loop, sv_timer_pt handler, void *data);
static void ngx_sv_loop_timer_set(sv_timer_t *timer, unsigned ms);
static void ngx_sv_loop_timer_post(sv_timer_t *timer);
static void ngx_sv_loop_timer_clear(sv_timer_t *timer);
static void ngx_sv_loop_timer_free(sv_timer_t *timer);
static void ngx_sv_loop_fire(ngx_event_t *ev);
static uint64_t ngx_sv_loop_now(sv_loop_t *loop);
static void ngx_sv_loop_log(sv_loop_t *loop, int level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));


sv_loop_t *
ngx_sv_loop_create(ngx_log_t *log)
{
    ngx_sv_loop_t  *ngx_loop;

    ngx_loop = ngx_calloc(sizeof(ngx_sv_loop_t), log);
    if (ngx_loop == NULL) {
        return NULL;
    }

    ngx_loop->log = log;

    ngx_loop->loop.watch = ngx_sv_loop_watch;
    ngx_loop->loop.interest = ngx_sv_loop_interest;
    ngx_loop->loop.unwatch = ngx_sv_loop_unwatch;
    ngx_loop->loop.timer = ngx_sv_loop_timer;
    ngx_loop->loop.timer_set = ngx_sv_loop_timer_set;
    ngx_loop->loop.timer_post = ngx_sv_loop_timer_post;
    ngx_loop->loop.timer_clear = ngx_sv_loop_timer_clear;
    ngx_loop->loop.timer_free = ngx_sv_loop_timer_free;
    ngx_loop->loop.now = ngx_sv_loop_now;
    ngx_loop->loop.log = ngx_sv_loop_log;

    return &ngx_loop->loop;
}


void
ngx_sv_loop_destroy(sv_loop_t *loop)
{
    ngx_free(loop);
}


static sv_watch_t *
ngx_sv_loop_watch(sv_loop_t *loop, int fd, sv_io_pt handler, void *data)
{
    sv_watch_t        *watch;
    ngx_sv_loop_t     *ngx_loop;
    ngx_connection_t  *c;

    ngx_loop = (ngx_sv_loop_t *) loop;

    watch = ngx_alloc(sizeof(sv_watch_t), ngx_loop->log);
    if (watch == NULL) {
        return NULL;
    }

    c = ngx_get_connection(fd, ngx_loop->log);
    if (c == NULL) {
        ngx_free(watch);
        return NULL;
    }

    watch->connection = c;
    watch->handler = handler;
    watch->data = data;

    c->data = watch;
    c->read->handler = ngx_sv_loop_io;
    c->write->handler = ngx_sv_loop_io;
    c->log = ngx_loop->log;
    c->read->log = ngx_loop->log;
    c->write->log = ngx_loop->log;
    c->number = ngx_atomic_fetch_add(ngx_connection_counter, 1);

    /* ngx_worker_process_exit() must not complain, and a drain must not close it: exit_process does */
    c->shared = 1;

    return watch;
}


static void
ngx_sv_loop_interest(sv_watch_t *watch, unsigned events)
{
    ngx_sv_loop_set(watch->connection->read, NGX_READ_EVENT, events & SV_READ);
    ngx_sv_loop_set(watch->connection->write, NGX_WRITE_EVENT, events & SV_WRITE);
}


static void
ngx_sv_loop_set(ngx_event_t *ev, ngx_int_t event, ngx_uint_t wanted)
{
    if (wanted && !ev->active) {
        (void) ngx_add_event(ev, event, NGX_LEVEL_EVENT);

    } else if (!wanted && ev->active) {
        (void) ngx_del_event(ev, event, 0);
    }
}


static void
ngx_sv_loop_unwatch(sv_watch_t *watch)
{
    ngx_connection_t  *c;

    c = watch->connection;

    ngx_sv_loop_set(c->read, NGX_READ_EVENT, 0);
    ngx_sv_loop_set(c->write, NGX_WRITE_EVENT, 0);

    if (c->read->posted) {
        ngx_delete_posted_event(c->read);
    }

    if (c->write->posted) {
        ngx_delete_posted_event(c->write);
    }

    /* an event of this turn that epoll has already handed out is skipped by fd == -1 */
    ngx_free_connection(c);
    c->fd = (ngx_socket_t) -1;

    ngx_free(watch);
}


static void
ngx_sv_loop_io(ngx_event_t *ev)
{
    sv_watch_t        *watch;
    ngx_connection_t  *c;

    c = ev->data;
    watch = c->data;

    /* set on all idle connections when a worker is told to quit or a shutdown times out; ours are closed by exit_process */
    c->close = 0;

    watch->handler(watch->data, ev->write ? SV_WRITE : SV_READ);
}


static sv_timer_t *
ngx_sv_loop_timer(sv_loop_t *loop, sv_timer_pt handler, void *data)
{
    sv_timer_t     *timer;
    ngx_sv_loop_t  *ngx_loop;

    ngx_loop = (ngx_sv_loop_t *) loop;

    timer = ngx_calloc(sizeof(sv_timer_t), ngx_loop->log);
    if (timer == NULL) {
        return NULL;
    }

    timer->handler = handler;
    timer->data = data;

    timer->timer.handler = ngx_sv_loop_fire;
    timer->timer.data = timer;
    timer->timer.log = ngx_loop->log;
    timer->timer.cancelable = 1;

    timer->posted.handler = ngx_sv_loop_fire;
    timer->posted.data = timer;
    timer->posted.log = ngx_loop->log;

    return timer;
}


static void
ngx_sv_loop_timer_set(sv_timer_t *timer, unsigned ms)
{
    /* ngx_add_timer() leaves a timer alone that is set to nearly the same time; ours may be short ones */
    if (timer->timer.timer_set) {
        ngx_del_timer(&timer->timer);
    }

    ngx_add_timer(&timer->timer, ms);
}


static void
ngx_sv_loop_timer_post(sv_timer_t *timer)
{
    ngx_post_event(&timer->posted, &ngx_posted_events);
}


static void
ngx_sv_loop_timer_clear(sv_timer_t *timer)
{
    if (timer->timer.timer_set) {
        ngx_del_timer(&timer->timer);
    }

    if (timer->posted.posted) {
        ngx_delete_posted_event(&timer->posted);
    }
}


static void
ngx_sv_loop_timer_free(sv_timer_t *timer)
{
    ngx_sv_loop_timer_clear(timer);
    ngx_free(timer);
}


static void
ngx_sv_loop_fire(ngx_event_t *ev)
{
    sv_timer_t  *timer;

    timer = ev->data;
    timer->handler(timer->data);
}


static uint64_t
ngx_sv_loop_now(sv_loop_t *loop)
{
    return ngx_current_msec;
}


static void
ngx_sv_loop_log(sv_loop_t *loop, int level, const char *fmt, ...)
{
    int             n;
    char            text[512], *p;
    va_list         args;
    ngx_sv_loop_t  *ngx_loop;

    ngx_loop = (ngx_sv_loop_t *) loop;

    if (ngx_loop->log->log_level < (ngx_uint_t) level) {
        return;
    }

    va_start(args, fmt);
    n = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);

    if (n < 0) {
        return;
    }

    /* servers end their messages with a line feed and put several lines in them: one line each in our log */
    for (p = text; *p != '\0'; p++) {
        if ((u_char) *p < 0x20) {
            *p = ' ';
        }
    }

    while (p > text && p[-1] == ' ') {
        p--;
    }

    *p = '\0';

    ngx_log_error((ngx_uint_t) level, ngx_loop->log, 0, "serial_verify: %s", text);
}
