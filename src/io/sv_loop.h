/*
 * The event loop as src/store and src/serial see it.  Two implementations:
 * src/http/ngx_sv_loop.c (nginx) and t/unit/sv_test_loop.c (poll, a clock that
 * tests can turn).
 *
 * Contract: handlers are called one at a time, never from inside watch(),
 * interest(), set() or post().  Readiness is level-triggered.  Once unwatch(),
 * clear() or free() has returned, the handler is not called again.  A handler
 * may unwatch or free itself.
 */

#ifndef SV_LOOP_H
#define SV_LOOP_H

#include <stdint.h>


#define SV_READ   0x01
#define SV_WRITE  0x02

/* log levels, those of nginx */
#define SV_LOG_ERROR   4
#define SV_LOG_WARN    5
#define SV_LOG_NOTICE  6
#define SV_LOG_INFO    7


typedef struct sv_loop_s   sv_loop_t;
typedef struct sv_watch_s  sv_watch_t;     /* owned by the loop, from watch() to unwatch() */
typedef struct sv_timer_s  sv_timer_t;     /* owned by the loop, from timer() to timer_free() */

typedef void (*sv_io_pt)(void *data, unsigned ready);
typedef void (*sv_timer_pt)(void *data);


struct sv_loop_s {
    /* NULL: no free slot (worker_connections); log it and try again later */
    sv_watch_t  *(*watch)(sv_loop_t *loop, int fd, sv_io_pt handler, void *data);
    void         (*interest)(sv_watch_t *watch, unsigned events);
    void         (*unwatch)(sv_watch_t *watch);          /* the fd stays open: call before closing it */

    /* Timers do not keep a closing process alive. NULL: out of memory */
    sv_timer_t  *(*timer)(sv_loop_t *loop, sv_timer_pt handler, void *data);
    void         (*timer_set)(sv_timer_t *timer, unsigned ms);    /* replaces an earlier setting */
    void         (*timer_post)(sv_timer_t *timer);       /* run once at the end of this turn, to batch writes */
    void         (*timer_clear)(sv_timer_t *timer);
    void         (*timer_free)(sv_timer_t *timer);

    uint64_t     (*now)(sv_loop_t *loop);                /* milliseconds, monotonic */
    void         (*log)(sv_loop_t *loop, int level, const char *fmt, ...)
                     __attribute__((format(printf, 3, 4)));
};

#endif /* SV_LOOP_H */
