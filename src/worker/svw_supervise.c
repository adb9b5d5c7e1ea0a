#include "svw.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>


#define SVW_CHILDREN      16            /* one a role, and more that ingest */
#define SVW_RESTART_MIN   200           /* ms */
#define SVW_RESTART_MAX   10000
#define SVW_STEADY        30000         /* a child that lived so long starts again at once */


typedef struct {
    unsigned   role;
    pid_t      pid;                     /* 0: not running */
    unsigned   backoff;
    int64_t    started;
    int64_t    start_at;
} svw_child_t;

typedef struct {
    svw_conf_t   *conf;
    svw_child_t   child[SVW_CHILDREN];
    unsigned      n;
} svw_supervisor_t;


static void svw_on_stop(int signo);
static void svw_on_reload(int signo);
static void svw_on_child(int signo);
static int svw_pid_file(const char *path);
static void svw_children(svw_supervisor_t *s, unsigned roles);
static void svw_start(svw_supervisor_t *s, svw_child_t *child);
static int svw_role_main(svw_supervisor_t *s, unsigned role);
static void svw_reap(svw_supervisor_t *s);
static void svw_wait(svw_supervisor_t *s);
static void svw_stop_all(svw_supervisor_t *s);
static void svw_reload(svw_supervisor_t *s);


/* what signal handlers may touch */
static volatile sig_atomic_t  svw_stop_flag;
static volatile sig_atomic_t  svw_reload_flag;
static volatile sig_atomic_t  svw_child_flag;
static volatile sig_atomic_t  svw_alarm_seconds;


int
svw_stopping(void)
{
    return svw_stop_flag;
}


/*
 * The first signal lets the process finish what it is at: a lot, a batch.
 * The alarm ends one that waits for a server that does not answer; what it
 * was at is undone by PostgreSQL and done again later.
 */
void
svw_stop_signals(unsigned drain_timeout)
{
    struct sigaction  sa;

    svw_alarm_seconds = (sig_atomic_t) ((drain_timeout + 999) / 1000);

    sa = (struct sigaction) { .sa_handler = svw_on_stop };
    sigemptyset(&sa.sa_mask);
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGINT, &sa, NULL);

    sa.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &sa, NULL);
}


void
svw_pause(unsigned ms)
{
    sigset_t         block, old;
    struct timespec  timeout;

    timeout.tv_sec = ms / 1000;
    timeout.tv_nsec = (long) (ms % 1000) * 1000000;

    sigemptyset(&block);
    sigaddset(&block, SIGTERM);
    sigaddset(&block, SIGINT);
    sigaddset(&block, SIGHUP);
    sigaddset(&block, SIGCHLD);

    /* between the test and the wait a signal must not get lost */
    sigprocmask(SIG_BLOCK, &block, &old);

    if (!svw_stop_flag && !svw_reload_flag && !svw_child_flag) {
        ppoll(NULL, 0, &timeout, &old);
    }

    sigprocmask(SIG_SETMASK, &old, NULL);
}


int64_t
svw_now_ms(void)
{
    struct timespec  now;

    clock_gettime(CLOCK_MONOTONIC, &now);

    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}


sv_day_t
svw_today(void)
{
    return (sv_day_t) (time(NULL) / 86400);
}


int
svw_role_run(svw_conf_t *conf, unsigned role)
{
    switch (role) {

    case SVW_ROLE_INGEST:
        return svw_ingest_run(conf);

    case SVW_ROLE_RELAY:
        return svw_relay_run(conf);

    case SVW_ROLE_HOUSEKEEPING:
        return svw_housekeeping_run(conf);

    case SVW_ROLE_API:
        return svw_api_run(conf);

    case SVW_ROLE_PUSH:
        return svw_push_run(conf);
    case SVW_ROLE_CONSUME:
        return svw_consume_run(conf);
    default:
        return svw_notify_run(conf);
    }
}


int
svw_supervise(svw_conf_t *conf, unsigned roles)
{
    unsigned           i;
    struct sigaction   sa;
    svw_supervisor_t   s;

    s = (svw_supervisor_t) { .conf = conf };
    svw_children(&s, roles);

    if (conf->pid_file != NULL && svw_pid_file(conf->pid_file) != 0) {
        svw_log(SVW_LOG_ERROR, "pid_file \"%s\": %s", conf->pid_file, strerror(errno));
        return SVW_EXIT_FAILED;
    }

    svw_stop_signals(0);

    sa = (struct sigaction) { .sa_handler = svw_on_reload };
    sigemptyset(&sa.sa_mask);
    sigaction(SIGHUP, &sa, NULL);
    sa.sa_handler = svw_on_child;
    sigaction(SIGCHLD, &sa, NULL);

    svw_log(SVW_LOG_NOTICE, "serial-verify-worker %s started", SVW_VERSION);

    while (!svw_stop_flag) {
        if (svw_reload_flag) {
            svw_reload_flag = 0;
            svw_reload(&s);
        }

        svw_child_flag = 0;
        svw_reap(&s);

        for (i = 0; i < s.n; i++) {
            if (s.child[i].pid == 0 && s.child[i].start_at <= svw_now_ms()) {
                svw_start(&s, &s.child[i]);
            }
        }

        svw_wait(&s);
    }

    svw_stop_all(&s);

    if (s.conf->pid_file != NULL) {
        unlink(s.conf->pid_file);
    }

    svw_log(SVW_LOG_NOTICE, "stopped");

    return SVW_EXIT_OK;
}


static void
svw_on_stop(int signo)
{
    (void) signo;

    svw_stop_flag = 1;

    if (svw_alarm_seconds != 0) {
        alarm((unsigned) svw_alarm_seconds);
    }
}


static void
svw_on_reload(int signo)
{
    (void) signo;

    svw_reload_flag = 1;
}


static void
svw_on_child(int signo)
{
    (void) signo;

    svw_child_flag = 1;
}


static int
svw_pid_file(const char *path)
{
    int   fd, n;
    char  text[16];

    fd = open(path, O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC|O_NOFOLLOW, 0644);
    if (fd == -1) {
        return -1;
    }

    n = snprintf(text, sizeof(text), "%d\n", (int) getpid());

    if (write(fd, text, (size_t) n) != n) {
        close(fd);
        return -1;
    }

    return close(fd);
}


static void
svw_children(svw_supervisor_t *s, unsigned roles)
{
    unsigned  role, n;

    s->n = 0;

    for (role = 1; role <= SVW_ROLE_ALL; role <<= 1) {
        n = roles & role ? 1 : 0;

        if (n == 1 && role == SVW_ROLE_INGEST) {
            n = s->conf->ingest_processes;
        }

        while (n-- > 0) {
            s->child[s->n++] = (svw_child_t) { .role = role };
        }
    }
}


static void
svw_start(svw_supervisor_t *s, svw_child_t *child)
{
    pid_t  parent;

    parent = getpid();
    child->started = svw_now_ms();
    child->pid = fork();

    if (child->pid == -1) {
        svw_log(SVW_LOG_ERROR, "fork: %s", strerror(errno));
        child->pid = 0;
        child->start_at = child->started + SVW_RESTART_MAX;
        return;
    }

    if (child->pid > 0) {
        svw_log(SVW_LOG_INFO, "%s is process %d", svw_role_word(child->role), (int) child->pid);
        return;
    }

    prctl(PR_SET_PDEATHSIG, SIGTERM);

    if (getppid() != parent) {
        /* it died before it could be told */
        _exit(SVW_EXIT_FAILED);
    }

    _exit(svw_role_main(s, child->role));
}


static int
svw_role_main(svw_supervisor_t *s, unsigned role)
{
    svw_log_name(svw_role_word(role));
    signal(SIGHUP, SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    svw_reload_flag = 0;
    svw_child_flag = 0;
    svw_stop_signals(s->conf->drain_timeout);

    return svw_role_run(s->conf, role);
}


static void
svw_reap(svw_supervisor_t *s)
{
    int            status;
    pid_t          pid;
    int64_t        now;
    unsigned       i;
    svw_child_t   *child;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (i = 0; i < s->n && s->child[i].pid != pid; i++) { /* void */ }

        if (i == s->n) {
            continue;
        }

        child = &s->child[i];
        child->pid = 0;
        now = svw_now_ms();

        if (now - child->started >= SVW_STEADY || child->backoff == 0) {
            child->backoff = SVW_RESTART_MIN;
        } else {
            child->backoff = child->backoff * 2 > SVW_RESTART_MAX ? SVW_RESTART_MAX : child->backoff * 2;
        }

        child->start_at = now + child->backoff;

        svw_log(svw_stop_flag || status == 0 ? SVW_LOG_INFO : SVW_LOG_ERROR, "%s (process %d) ended with %s %d%s",
                svw_role_word(child->role), (int) pid, WIFSIGNALED(status) ? "signal" : "code",
                WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
                svw_stop_flag ? "" : "; it is started again");
    }
}


/* until a child ends, a signal comes or a start is due */
static void
svw_wait(svw_supervisor_t *s)
{
    int64_t   now, pause;
    unsigned  i;

    now = svw_now_ms();
    pause = 60000;

    for (i = 0; i < s->n; i++) {
        if (s->child[i].pid == 0 && s->child[i].start_at - now < pause) {
            pause = s->child[i].start_at - now;
        }
    }

    svw_pause(pause > 0 ? (unsigned) pause : 0);
}


static void
svw_stop_all(svw_supervisor_t *s)
{
    int64_t   deadline;
    unsigned  i, left;

    svw_log(SVW_LOG_NOTICE, "stopping");

    for (i = 0; i < s->n; i++) {
        if (s->child[i].pid > 0) {
            kill(s->child[i].pid, SIGTERM);
        }
    }

    deadline = svw_now_ms() + s->conf->drain_timeout + 1000;

    for ( ;; ) {
        svw_reap(s);

        for (i = 0, left = 0; i < s->n; i++) {
            if (s->child[i].pid > 0) {
                left++;

                if (svw_now_ms() > deadline) {
                    kill(s->child[i].pid, SIGKILL);
                }
            }
        }

        if (left == 0) {
            return;
        }

        poll(NULL, 0, 20);
    }
}


/* A configuration with an error changes nothing. */
static void
svw_reload(svw_supervisor_t *s)
{
    char         error[SVW_TEXT];
    svw_conf_t   fresh;

    if (s->conf->file == NULL) {
        return;
    }

    if (svw_conf_read(&fresh, s->conf->file, error) != 0 || svw_conf_ready(&fresh, fresh.roles, error) != 0) {
        svw_log(SVW_LOG_ERROR, "the configuration stays as it was: %s", error);
        svw_conf_free(&fresh);
        return;
    }

    svw_log(SVW_LOG_NOTICE, "read %s again", fresh.file);
    svw_stop_all(s);

    svw_conf_free(s->conf);
    *s->conf = fresh;

    if (svw_log_open(s->conf->log, s->conf->log_level, "main") != 0) {
        svw_log(SVW_LOG_ERROR, "log \"%s\": %s", s->conf->log, strerror(errno));
    }

    svw_children(s, s->conf->roles);
}
