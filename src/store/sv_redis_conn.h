/*
 * What the files of the Redis client share: sv_redis.c (commands and their
 * queue), sv_redis_conn.c (states, bytes), sv_redis_connect.c (the socket),
 * sv_redis_setup.c (what is said on a new connection), sv_redis_reader.c (the
 * reply parser) and sv_redis_script.c (Lua).  Nobody else includes it.
 *
 * One sv_redis_t owns its socket, its reader, its timers and every command.
 * A command is in the queue of expected replies until its reply has come or
 * the connection is lost; it is freed when its callback has returned.
 */

#ifndef SV_REDIS_CONN_H
#define SV_REDIS_CONN_H

#include "sv_redis.h"
#include "sv_redis_resp.h"
#include "../io/sv_backoff.h"

#include <sys/queue.h>


#define SV_REDIS_SHA1_LEN  40


typedef enum {
    SV_REDIS_DOWN,              /* no socket; the timer will connect */
    SV_REDIS_CONNECTING,        /* connect() is under way; the timer gives up */
    SV_REDIS_SETUP,             /* AUTH .. SCRIPT LOAD are in flight; the timer gives up */
    SV_REDIS_READY              /* takes commands; the timer watches for silence */
} sv_redis_state_t;

typedef struct {
    sv_redis_t  *redis;
    char        *text;
    size_t       len;
    char         sha1[SV_REDIS_SHA1_LEN];
} sv_redis_script_t;

struct sv_redis_command_s {
    STAILQ_ENTRY(sv_redis_command_s)   link;
    sv_redis_reply_pt                  handler;     /* NULL: nobody is interested */
    void                              *data;
    uint64_t                           sent;        /* ms */
    sv_redis_script_t                 *script;      /* EVALSHA that may be repeated as EVAL */
    int                                argc;        /* of `args' */
    sv_redis_buf_t                     args;        /* number of keys, keys, arguments; for that EVAL */
};

typedef STAILQ_HEAD(sv_redis_queue_s, sv_redis_command_s)  sv_redis_queue_t;

struct sv_redis_s {
    sv_loop_t           *loop;
    sv_redis_conf_t      conf;              /* address, path, password are our copies */
    char                 name[128];         /* for the log */

    sv_redis_state_t     state;
    int                  fd;
    sv_watch_t          *watch;
    unsigned             interest;
    sv_timer_t          *timer;
    sv_timer_t          *flush;
    unsigned             flush_posted:1;
    unsigned             timer_armed:1;     /* READY: the silence timer runs */
    unsigned             proved:1;          /* a command was answered on this connection */

    redisReader         *reader;
#if (HIREDIS_MAJOR == 0)
    redisReplyObjectFunctions   reader_fn;
    redisReplyObjectFunctions  *reader_default;
#endif
    size_t               unfinished;        /* bytes read since the last complete reply */
    sv_redis_buf_t       out;
    sv_redis_queue_t     queue;             /* expected replies, oldest first */
    sv_redis_queue_t     idle;              /* command structs to use again */
    unsigned             n_idle;
    unsigned             in_flight;
    uint64_t             heard;             /* ms: last byte read, or queue became non-empty */
    uint64_t             ready_since;

    sv_backoff_t         backoff;
    char                 fault[192];        /* set: the connection is given up after this reply */
    char                 last_fault[192];   /* what the log was last warned of, and when */
    uint64_t             last_warning;
    char                 run_id[64];
    unsigned             setup_left;        /* replies of the set-up still to come */
    sv_redis_script_t   *scripts;

    uint64_t             connects;
    uint64_t             losses;
    uint64_t             commands;
    uint64_t             errors;
};


/* sv_redis.c: commands and the queue */

/* handler may be NULL. NULL: out of memory */
sv_redis_command_t *sv_redis_command_new(sv_redis_t *redis,
    sv_redis_reply_pt handler, void *data);
void sv_redis_command_free(sv_redis_t *redis, sv_redis_command_t *command);

/* The command's bytes are at the end of redis->out: its reply is expected now. */
void sv_redis_enqueue(sv_redis_t *redis, sv_redis_command_t *command);

/* Takes the reply of the oldest command. -1: no reply was expected. */
int sv_redis_answer(sv_redis_t *redis, const redisReply *reply);


/* sv_redis_conn.c */

void sv_redis_conn_start(sv_redis_t *redis);

/* Sends at the end of this turn, and watches for silence. */
void sv_redis_conn_wake(sv_redis_t *redis);

/*
 * The one way a connection ends: the queue is called back with NULL. Not from
 * a callback: that one notes the fault, and the connection goes when it has returned.
 */
void sv_redis_conn_close(sv_redis_t *redis, const char *why);
void sv_redis_conn_fault(sv_redis_t *redis, const char *what, const redisReply *reply);
void sv_redis_conn_ready(sv_redis_t *redis);

void sv_redis_io(void *data, unsigned ready);
void sv_redis_write(sv_redis_t *redis);
void sv_redis_interest(sv_redis_t *redis, unsigned events);


/* sv_redis_connect.c */

void sv_redis_connect(sv_redis_t *redis);
void sv_redis_connected(sv_redis_t *redis);


/* sv_redis_setup.c: queues what a new connection has to say first. 0, or -1 when out of memory. */
int sv_redis_setup(sv_redis_t *redis);


/* sv_redis_reader.c: NULL when out of memory */
redisReader *sv_redis_reader_create(sv_redis_t *redis);


/* sv_redis_script.c: 1 when the reply was NOSCRIPT and the command is in the queue again */
int sv_redis_script_again(sv_redis_t *redis, sv_redis_command_t *command,
    const redisReply *reply);

#endif /* SV_REDIS_CONN_H */
