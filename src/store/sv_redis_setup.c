/*
 * What is said on a new connection before it takes commands: AUTH, SELECT,
 * INFO server (for the run id) and SCRIPT LOAD, in one write.  Each reply is
 * checked; the connection is ready when the last one was right.
 */

#include "sv_redis_conn.h"

#include <stdio.h>
#include <string.h>


static int sv_redis_setup_send(sv_redis_t *redis, int argc, const char **argv,
    sv_redis_reply_pt handler, void *data);
static void sv_redis_setup_auth(void *data, const redisReply *reply);
static void sv_redis_setup_select(void *data, const redisReply *reply);
static void sv_redis_setup_info(void *data, const redisReply *reply);
static void sv_redis_setup_script(void *data, const redisReply *reply);
static void sv_redis_setup_done(sv_redis_t *redis);
static int sv_redis_is_ok(const redisReply *reply);


int
sv_redis_setup(sv_redis_t *redis)
{
    char         number[16];
    unsigned     i;
    const char  *auth[2], *select[2], *info[2], *load[3];

    redis->setup_left = 0;
    redis->run_id[0] = '\0';

    auth[0] = "AUTH";
    auth[1] = redis->conf.password;

    if (auth[1] != NULL
        && sv_redis_setup_send(redis, 2, auth, sv_redis_setup_auth, redis) != 0)
    {
        return -1;
    }

    snprintf(number, sizeof(number), "%d", redis->conf.database);
    select[0] = "SELECT";
    select[1] = number;

    if (redis->conf.database != 0
        && sv_redis_setup_send(redis, 2, select, sv_redis_setup_select, redis)
           != 0)
    {
        return -1;
    }

    info[0] = "INFO";
    info[1] = "server";

    if (sv_redis_setup_send(redis, 2, info, sv_redis_setup_info, redis) != 0) {
        return -1;
    }

    load[0] = "SCRIPT";
    load[1] = "LOAD";

    for (i = 0; i < redis->conf.n_scripts; i++) {
        load[2] = redis->scripts[i].text;

        if (sv_redis_setup_send(redis, 3, load, sv_redis_setup_script,
                                &redis->scripts[i])
            != 0)
        {
            return -1;
        }
    }

    return 0;
}


static int
sv_redis_setup_send(sv_redis_t *redis, int argc, const char **argv,
    sv_redis_reply_pt handler, void *data)
{
    int                  i;
    size_t               argvlen[3];
    sv_redis_command_t  *command;

    for (i = 0; i < argc; i++) {
        argvlen[i] = strlen(argv[i]);
    }

    command = sv_redis_command_new(redis, handler, data);
    if (command == NULL) {
        return -1;
    }

    if (sv_redis_resp_header(&redis->out, argc) != 0
        || sv_redis_resp_args(&redis->out, argc, argv, argvlen) != 0)
    {
        sv_redis_command_free(redis, command);
        return -1;
    }

    redis->setup_left++;
    sv_redis_enqueue(redis, command);

    return 0;
}


static void
sv_redis_setup_auth(void *data, const redisReply *reply)
{
    sv_redis_t  *redis;

    redis = data;

    if (reply == NULL) {
        return;
    }

    if (!sv_redis_is_ok(reply)) {
        /* a server without this command would give the password back in its error */
        sv_redis_conn_fault(redis, "AUTH was refused", NULL);
        return;
    }

    sv_redis_setup_done(redis);
}


static void
sv_redis_setup_select(void *data, const redisReply *reply)
{
    sv_redis_t  *redis;

    redis = data;

    if (reply == NULL) {
        return;
    }

    if (!sv_redis_is_ok(reply)) {
        sv_redis_conn_fault(redis, "SELECT was refused", reply);
        return;
    }

    sv_redis_setup_done(redis);
}


static void
sv_redis_setup_info(void *data, const redisReply *reply)
{
    size_t       n;
    sv_redis_t  *redis;
    const char  *p;

    redis = data;

    if (reply == NULL) {
        return;
    }

    if (reply->type != REDIS_REPLY_STRING) {
        sv_redis_conn_fault(redis, "INFO was refused", reply);
        return;
    }

    p = strstr(reply->str, "\nrun_id:");
    n = 0;

    if (p != NULL) {
        p += sizeof("\nrun_id:") - 1;
        n = strspn(p, "0123456789abcdef");
    }

    if (n == 0 || n >= sizeof(redis->run_id)) {
        sv_redis_conn_fault(redis, "INFO without a run_id", NULL);
        return;
    }

    memcpy(redis->run_id, p, n);
    redis->run_id[n] = '\0';

    sv_redis_setup_done(redis);
}


static void
sv_redis_setup_script(void *data, const redisReply *reply)
{
    sv_redis_script_t  *script;

    script = data;

    if (reply == NULL) {
        return;
    }

    if (reply->type != REDIS_REPLY_STRING
        || strspn(reply->str, "0123456789abcdef") != SV_REDIS_SHA1_LEN
        || (size_t) reply->len != SV_REDIS_SHA1_LEN)
    {
        sv_redis_conn_fault(script->redis, "SCRIPT LOAD was refused", reply);
        return;
    }

    memcpy(script->sha1, reply->str, SV_REDIS_SHA1_LEN);

    sv_redis_setup_done(script->redis);
}


static void
sv_redis_setup_done(sv_redis_t *redis)
{
    if (--redis->setup_left == 0) {
        sv_redis_conn_ready(redis);
    }
}


static int
sv_redis_is_ok(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STATUS && strcmp(reply->str, "OK") == 0;
}
