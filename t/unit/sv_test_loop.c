/*
 * Strict about the contract of sv_loop.h: a descriptor closed while it is
 * watched, or a handler that keeps ignoring its event, ends the test.
 */

#include "sv_test_loop.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>


#define SV_TEST_WATCHES  128
#define SV_TEST_LIMIT    120000


struct sv_watch_s {
    sv_watch_t      *next;
    sv_test_loop_t  *loop;
    int              fd;
    unsigned         events;
    sv_io_pt         handler;
    void            *data;
};

struct sv_timer_s {
    sv_timer_t      *next;
    sv_test_loop_t  *loop;
    int              set;
    int              posted;
    uint64_t         due;
    sv_timer_pt      handler;
    void            *data;
};


static sv_watch_t *sv_test_watch(sv_loop_t *loop, int fd, sv_io_pt handler,
    void *data);
static void sv_test_interest(sv_watch_t *watch, unsigned events);
static void sv_test_unwatch(sv_watch_t *watch);
static sv_timer_t *sv_test_timer(sv_loop_t *loop, sv_timer_pt handler,
    void *data);
static void sv_test_timer_set(sv_timer_t *timer, unsigned ms);
static void sv_test_timer_post(sv_timer_t *timer);
static void sv_test_timer_clear(sv_timer_t *timer);
static void sv_test_timer_free(sv_timer_t *timer);
static uint64_t sv_test_now(sv_loop_t *loop);
static void sv_test_log(sv_loop_t *loop, int level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static uint64_t sv_test_real_now(void);
static void sv_test_expire(sv_test_loop_t *t);
static void sv_test_posted(sv_test_loop_t *t);
static int sv_test_poll_time(sv_test_loop_t *t, int ms);
static void sv_test_die(const char *what);


void
sv_test_loop_init(sv_test_loop_t *t)
{
    memset(t, 0, sizeof(sv_test_loop_t));

    t->loop.watch = sv_test_watch;
    t->loop.interest = sv_test_interest;
    t->loop.unwatch = sv_test_unwatch;
    t->loop.timer = sv_test_timer;
    t->loop.timer_set = sv_test_timer_set;
    t->loop.timer_post = sv_test_timer_post;
    t->loop.timer_clear = sv_test_timer_clear;
    t->loop.timer_free = sv_test_timer_free;
    t->loop.now = sv_test_now;
    t->loop.log = sv_test_log;

    t->verbose = getenv("SV_TEST_VERBOSE") != NULL;
}


void
sv_test_loop_done(sv_test_loop_t *t)
{
    if (t->n_watches != 0) {
        sv_test_die("a watch was left behind");
    }

    if (t->n_timers != 0) {
        sv_test_die("a timer was left behind");
    }
}


void
sv_test_loop_turn(sv_test_loop_t *t, int ms)
{
    int             i, n, rc;
    unsigned        ready;
    sv_watch_t     *w, *watches[SV_TEST_WATCHES];
    struct pollfd   fds[SV_TEST_WATCHES];

    n = 0;

    for (w = t->watches; w != NULL; w = w->next) {
        if (n == SV_TEST_WATCHES) {
            sv_test_die("too many watches");
        }

        watches[n] = w;
        fds[n].fd = w->fd;
        fds[n].revents = 0;
        fds[n].events = (short) (((w->events & SV_READ) ? POLLIN : 0)
                                 | ((w->events & SV_WRITE) ? POLLOUT : 0));
        n++;
    }

    rc = poll(fds, (nfds_t) n, sv_test_poll_time(t, ms));
    if (rc == -1 && errno != EINTR) {
        sv_test_die("poll");
    }

    t->n_turns++;
    t->dispatching = 1;

    for (i = 0; rc > 0 && i < n; i++) {
        if (fds[i].revents & POLLNVAL) {
            sv_test_die("a watched descriptor was closed");
        }

        /* gone, or another one at the same address: an event too old */

        for (w = t->watches; w != NULL && w != watches[i]; w = w->next) {
            /* void */
        }

        if (w == NULL || w->fd != fds[i].fd || fds[i].revents == 0) {
            continue;
        }

        ready = 0;

        if (fds[i].revents & (POLLIN | POLLERR | POLLHUP)) {
            ready |= SV_READ;
        }

        if (fds[i].revents & (POLLOUT | POLLERR | POLLHUP)) {
            ready |= SV_WRITE;
        }

        ready &= w->events;

        if (ready != 0) {
            t->n_events++;
            w->handler(w->data, ready);
        }
    }

    sv_test_expire(t);
    sv_test_posted(t);

    t->dispatching = 0;
}


int
sv_test_loop_until(sv_test_loop_t *t, sv_test_condition_pt condition,
    void *data)
{
    uint64_t  end;

    end = sv_test_real_now() + SV_TEST_LIMIT;

    while (!condition(data)) {
        if (sv_test_real_now() > end) {
            fprintf(stderr, "waited in vain; the log:\n%s", t->log);
            return 0;
        }

        sv_test_loop_turn(t, 100);
    }

    return 1;
}


void
sv_test_loop_advance(sv_test_loop_t *t, unsigned ms)
{
    /* what has arrived comes first, as in nginx */

    t->offset += ms;
    sv_test_loop_turn(t, 0);
}


int
sv_test_loop_logged(sv_test_loop_t *t, const char *text)
{
    return strstr(t->log, text) != NULL;
}


void
sv_test_loop_forget_log(sv_test_loop_t *t)
{
    t->log_len = 0;
    t->log[0] = '\0';
}


static sv_watch_t *
sv_test_watch(sv_loop_t *loop, int fd, sv_io_pt handler, void *data)
{
    sv_watch_t      *w;
    sv_test_loop_t  *t;

    t = (sv_test_loop_t *) loop;

    if (t->refuse_watches > 0) {
        t->refuse_watches--;
        return NULL;
    }

    w = calloc(1, sizeof(sv_watch_t));
    if (w == NULL) {
        return NULL;
    }

    w->loop = t;
    w->fd = fd;
    w->handler = handler;
    w->data = data;
    w->next = t->watches;
    t->watches = w;
    t->n_watches++;

    return w;
}


static void
sv_test_interest(sv_watch_t *watch, unsigned events)
{
    watch->events = events;
    watch->loop->n_interests++;
}


static void
sv_test_unwatch(sv_watch_t *watch)
{
    sv_watch_t     **p;
    struct pollfd    fd;

    fd.fd = watch->fd;
    fd.events = 0;
    fd.revents = 0;

    if (poll(&fd, 1, 0) > 0 && (fd.revents & POLLNVAL)) {
        sv_test_die("unwatch() after the descriptor was closed");
    }

    for (p = &watch->loop->watches; *p != watch; p = &(*p)->next) {
        if (*p == NULL) {
            sv_test_die("unwatch() of what is not watched");
        }
    }

    *p = watch->next;
    watch->loop->n_watches--;
    free(watch);
}


static sv_timer_t *
sv_test_timer(sv_loop_t *loop, sv_timer_pt handler, void *data)
{
    sv_timer_t      *timer;
    sv_test_loop_t  *t;

    t = (sv_test_loop_t *) loop;

    if (t->refuse_timers > 0) {
        t->refuse_timers--;
        return NULL;
    }

    timer = calloc(1, sizeof(sv_timer_t));
    if (timer == NULL) {
        return NULL;
    }

    timer->loop = t;
    timer->handler = handler;
    timer->data = data;
    timer->next = t->timers;
    t->timers = timer;
    t->n_timers++;

    return timer;
}


static void
sv_test_timer_set(sv_timer_t *timer, unsigned ms)
{
    timer->set = 1;
    timer->due = sv_test_now(&timer->loop->loop) + ms;
}


static void
sv_test_timer_post(sv_timer_t *timer)
{
    timer->posted = 1;
}


static void
sv_test_timer_clear(sv_timer_t *timer)
{
    timer->set = 0;
    timer->posted = 0;
}


static void
sv_test_timer_free(sv_timer_t *timer)
{
    sv_timer_t  **p;

    for (p = &timer->loop->timers; *p != timer; p = &(*p)->next) {
        if (*p == NULL) {
            sv_test_die("timer_free() of what is no timer");
        }
    }

    *p = timer->next;
    timer->loop->n_timers--;
    free(timer);
}


static uint64_t
sv_test_now(sv_loop_t *loop)
{
    return sv_test_real_now() + ((sv_test_loop_t *) loop)->offset;
}


static void
sv_test_log(sv_loop_t *loop, int level, const char *fmt, ...)
{
    int              n;
    char             line[1024];
    va_list          args;
    sv_test_loop_t  *t;

    t = (sv_test_loop_t *) loop;

    va_start(args, fmt);
    vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);

    if (t->verbose) {
        fprintf(stderr, "[%d] %s\n", level, line);
    }

    n = snprintf(t->log + t->log_len, sizeof(t->log) - t->log_len, "%d %s\n",
                 level, line);

    if (n > 0 && t->log_len + (unsigned) n < sizeof(t->log)) {
        t->log_len += (unsigned) n;
    }
}


static uint64_t
sv_test_real_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}


/* handlers may set, clear and free timers, so the list is searched anew */

static void
sv_test_expire(sv_test_loop_t *t)
{
    uint64_t     now;
    sv_timer_t  *timer, *first;

    now = sv_test_now(&t->loop);

    for ( ;; ) {
        first = NULL;

        for (timer = t->timers; timer != NULL; timer = timer->next) {
            if (timer->set && timer->due <= now
                && (first == NULL || timer->due < first->due))
            {
                first = timer;
            }
        }

        if (first == NULL) {
            return;
        }

        first->set = 0;
        first->handler(first->data);
    }
}


static void
sv_test_posted(sv_test_loop_t *t)
{
    sv_timer_t  *timer;

    for ( ;; ) {
        for (timer = t->timers; timer != NULL; timer = timer->next) {
            if (timer->posted) {
                break;
            }
        }

        if (timer == NULL) {
            return;
        }

        timer->posted = 0;
        timer->handler(timer->data);
    }
}


static int
sv_test_poll_time(sv_test_loop_t *t, int ms)
{
    uint64_t     now;
    sv_timer_t  *timer;

    now = sv_test_now(&t->loop);

    for (timer = t->timers; timer != NULL; timer = timer->next) {
        if (timer->posted) {
            return 0;
        }

        if (timer->set && timer->due <= now) {
            return 0;
        }

        if (timer->set && timer->due - now < (uint64_t) ms) {
            ms = (int) (timer->due - now);
        }
    }

    return ms;
}


static void
sv_test_die(const char *what)
{
    fprintf(stderr, "event loop: %s\n", what);
    abort();
}
