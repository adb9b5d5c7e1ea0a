/*
 * Redis, for an event loop: one pipelined connection.
 *
 * Every command that was accepted gets exactly one callback, unless forgotten.
 * A NULL reply means: no answer, it may or may not have been executed.  An
 * error of Redis (OOM, READONLY, LOADING, MOVED ..) is a reply like others, of
 * type REDIS_REPLY_ERROR.
 *
 * sv_redis_t owns its socket, timers and commands.  A command is valid until
 * its callback returns.  Callbacks, on_ready and on_lost too, run from the
 * loop, or from sv_redis_drain() and sv_redis_destroy(); never from inside sv_redis_command().
 * They may call anything here but sv_redis_destroy(); commands are refused in
 * on_ready, in on_lost and where the reply is NULL.
 *
 * Commands of one loop turn leave in one system call.  What is not Redis's
 * protocol, a reply too many or one without an end costs the connection, never
 * more; it is built up again by itself, with growing pauses.
 */

#ifndef SV_REDIS_H
#define SV_REDIS_H

#include "../io/sv_loop.h"

#include <hiredis/hiredis.h>
#include <stddef.h>


typedef struct sv_redis_s          sv_redis_t;
typedef struct sv_redis_command_s  sv_redis_command_t;

typedef void (*sv_redis_reply_pt)(void *data, const redisReply *reply);   /* reply valid during the callback */

typedef struct {
    const char          *address;       /* numeric, or NULL with `path' */
    int                  port;
    const char          *path;          /* unix socket */
    const char          *password;      /* may be NULL */
    int                  database;
    unsigned             silence_ms;    /* no reply while one is due for this long: the connection is dropped */
    unsigned             max_in_flight;
    const char *const   *scripts;       /* Lua texts, loaded on every connect */
    unsigned             n_scripts;
    /* Connected, authenticated, scripts loaded: the server's run id (INFO). Ready only after it returns. May be NULL. */
    void               (*on_ready)(void *data, const char *run_id);
    void               (*on_lost)(void *data);     /* was ready and is no longer, before the callbacks with NULL; may be NULL */
    void                *data;
} sv_redis_conf_t;

typedef struct {
    int       ready;
    unsigned  in_flight;
    unsigned  oldest_ms;        /* how long the oldest command has waited for its reply; 0: none */
    uint64_t  connects, losses, commands, errors;
} sv_redis_stats_t;


sv_redis_t *sv_redis_create(sv_loop_t *loop, const sv_redis_conf_t *conf);   /* strings are copied; NULL: out of memory */
void sv_redis_destroy(sv_redis_t *redis);                                    /* calls back everything in flight with NULL, but not on_lost */

/* Is the oldest command in flight, forgotten or not, unanswered for more than `ms'? Then ask PostgreSQL at once instead of queueing behind it. */
int sv_redis_late(const sv_redis_t *redis, unsigned ms);

int sv_redis_ready(const sv_redis_t *redis);

/* NULL: not ready or too many in flight; no callback will come. Arguments are copied. handler may be NULL (reply is dropped). */
sv_redis_command_t *sv_redis_command(sv_redis_t *redis, int argc, const char **argv,
    const size_t *argvlen, sv_redis_reply_pt handler, void *data);

/*
 * EVALSHA of scripts[script]; on NOSCRIPT the text is sent once with EVAL, after what was sent meanwhile.
 * argv: keys, then arguments.
 */
sv_redis_command_t *sv_redis_script(sv_redis_t *redis, unsigned script, int n_keys,
    int argc, const char **argv, const size_t *argvlen, sv_redis_reply_pt handler, void *data);

/*
 * At the end of a process, outside of the loop: sends what was queued and calls
 * back what is answered within `ms'.
 */
void sv_redis_drain(sv_redis_t *redis, unsigned ms);

/* The callback will not come; the command is executed all the same. */
void sv_redis_forget(sv_redis_command_t *command);

void sv_redis_stats(const sv_redis_t *redis, sv_redis_stats_t *stats);

#endif /* SV_REDIS_H */
