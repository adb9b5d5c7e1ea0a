/*
 * The event loop of the unit tests: poll(2), and a clock that tests can turn.
 */

#ifndef SV_TEST_LOOP_H
#define SV_TEST_LOOP_H

#include "src/io/sv_loop.h"


typedef struct sv_test_loop_s  sv_test_loop_t;

typedef int (*sv_test_condition_pt)(void *data);


struct sv_test_loop_s {
    sv_loop_t     loop;             /* first */
    sv_watch_t   *watches;
    sv_timer_t   *timers;
    uint64_t      offset;           /* what the clock was turned forward by */
    int           dispatching;

    unsigned      refuse_watches;   /* the next so many watch() return NULL */
    unsigned      refuse_timers;
    unsigned      n_watches;        /* open now */
    unsigned      n_timers;         /* allocated now */
    uint64_t      n_interests;      /* calls of interest(): each is a system call in nginx */
    uint64_t      n_turns;
    uint64_t      n_events;         /* handlers called because of a descriptor */

    int           verbose;
    char          log[65536];       /* one line each: level, text */
    unsigned      log_len;
};


void sv_test_loop_init(sv_test_loop_t *t);

/* Fails the test when a watch or a timer was left behind. */
void sv_test_loop_done(sv_test_loop_t *t);

/* One turn; waits up to `ms' for something to happen. */
void sv_test_loop_turn(sv_test_loop_t *t, int ms);

/* Turns until the condition holds: 1. After half a minute of real time: 0, and says so. */
int sv_test_loop_until(sv_test_loop_t *t, sv_test_condition_pt condition,
    void *data);

/* Turns the clock forward and runs the timers that are due, earliest first. */
void sv_test_loop_advance(sv_test_loop_t *t, unsigned ms);

int sv_test_loop_logged(sv_test_loop_t *t, const char *text);
void sv_test_loop_forget_log(sv_test_loop_t *t);

#endif /* SV_TEST_LOOP_H */
