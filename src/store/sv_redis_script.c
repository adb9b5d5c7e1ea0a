/*
 * Lua scripts: EVALSHA, and once more as EVAL when the server does not have
 * the script (SCRIPT FLUSH, or a failover behind a proxy).  NOSCRIPT means that
 * nothing was executed, so the repetition is safe.  It goes to the end of the
 * queue: later commands may be executed before it.
 */

#include "sv_redis_conn.h"

#include <stdio.h>
#include <string.h>


static int sv_redis_script_send(sv_redis_t *redis, const char *name,
    const char *text, size_t len, const sv_redis_command_t *command);


sv_redis_command_t *
sv_redis_script(sv_redis_t *redis, unsigned script, int n_keys, int argc,
    const char **argv, const size_t *argvlen, sv_redis_reply_pt handler,
    void *data)
{
    int                  n;
    char                 number[16];
    size_t               len;
    const char          *keys;
    sv_redis_command_t  *command;

    if (redis->state != SV_REDIS_READY || script >= redis->conf.n_scripts
        || redis->in_flight >= redis->conf.max_in_flight)
    {
        return NULL;
    }

    command = sv_redis_command_new(redis, handler, data);
    if (command == NULL) {
        return NULL;
    }

    n = snprintf(number, sizeof(number), "%d", n_keys);
    len = (size_t) n;
    keys = number;

    command->script = &redis->scripts[script];
    command->argc = argc + 1;

    if (sv_redis_resp_args(&command->args, 1, &keys, &len) != 0
        || sv_redis_resp_args(&command->args, argc, argv, argvlen) != 0
        || sv_redis_script_send(redis, "EVALSHA", command->script->sha1,
                                SV_REDIS_SHA1_LEN, command)
           != 0)
    {
        sv_redis_command_free(redis, command);
        return NULL;
    }

    redis->commands++;
    sv_redis_enqueue(redis, command);

    return command;
}


int
sv_redis_script_again(sv_redis_t *redis, sv_redis_command_t *command,
    const redisReply *reply)
{
    sv_redis_script_t  *script;

    if (reply->type != REDIS_REPLY_ERROR
        || strncmp(reply->str, "NOSCRIPT", sizeof("NOSCRIPT") - 1) != 0)
    {
        return 0;
    }

    script = command->script;

    if (sv_redis_script_send(redis, "EVAL", script->text, script->len, command)
        != 0)
    {
        return 0;
    }

    command->script = NULL;
    sv_redis_enqueue(redis, command);

    return 1;
}


static int
sv_redis_script_send(sv_redis_t *redis, const char *name, const char *text,
    size_t len, const sv_redis_command_t *command)
{
    size_t           filled, argvlen[2];
    const char      *argv[2];
    sv_redis_buf_t  *out;

    out = &redis->out;
    filled = out->len - out->pos;

    argv[0] = name;
    argvlen[0] = strlen(name);
    argv[1] = text;
    argvlen[1] = len;

    if (sv_redis_resp_header(out, 2 + command->argc) == 0
        && sv_redis_resp_args(out, 2, argv, argvlen) == 0
        && sv_redis_buf_append(out, command->args.data, command->args.len) == 0)
    {
        return 0;
    }

    out->len = out->pos + filled;

    return -1;
}
