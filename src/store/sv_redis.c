/*
 * Commands to Redis and the queue of expected replies.
 *
 * Of hiredis only the reply parser is used.  Its asynchronous context ends the
 * process by an assertion when a server sends a reply that nobody asked for,
 * and its order of callbacks at the end of a connection invites double frees;
 * the queue it would keep is needed here anyway.
 */

#include "sv_redis_conn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>


#define SV_REDIS_KEEP_ARGS  1024


static int sv_redis_conf_copy(sv_redis_t *redis, const sv_redis_conf_t *conf);
static int sv_redis_scripts_copy(sv_redis_t *redis,
    const sv_redis_conf_t *conf);
static char *sv_redis_strdup(const char *s, int *failed);
static void sv_redis_free(sv_redis_t *redis);


sv_redis_t *
sv_redis_create(sv_loop_t *loop, const sv_redis_conf_t *conf)
{
    sv_redis_t  *redis;

    redis = calloc(1, sizeof(sv_redis_t));
    if (redis == NULL) {
        return NULL;
    }

    redis->loop = loop;
    redis->fd = -1;
    STAILQ_INIT(&redis->queue);
    STAILQ_INIT(&redis->idle);
    sv_backoff_init(&redis->backoff, redis, loop->now(loop));

    if (sv_redis_conf_copy(redis, conf) != 0) {
        sv_redis_free(redis);
        return NULL;
    }

    sv_redis_conn_start(redis);

    if (redis->timer == NULL || redis->flush == NULL) {
        sv_redis_free(redis);
        return NULL;
    }

    return redis;
}


void
sv_redis_destroy(sv_redis_t *redis)
{
    sv_redis_conn_close(redis, NULL);
    sv_redis_free(redis);
}


int
sv_redis_ready(const sv_redis_t *redis)
{
    return redis->state == SV_REDIS_READY;
}


int
sv_redis_late(const sv_redis_t *redis, unsigned ms)
{
    const sv_redis_command_t  *oldest;

    oldest = STAILQ_FIRST(&redis->queue);

    return oldest != NULL
           && redis->loop->now(redis->loop) > oldest->sent + ms;
}


sv_redis_command_t *
sv_redis_command(sv_redis_t *redis, int argc, const char **argv,
    const size_t *argvlen, sv_redis_reply_pt handler, void *data)
{
    size_t               len;
    sv_redis_command_t  *command;

    if (redis->state != SV_REDIS_READY
        || redis->in_flight >= redis->conf.max_in_flight)
    {
        return NULL;
    }

    command = sv_redis_command_new(redis, handler, data);
    if (command == NULL) {
        return NULL;
    }

    len = redis->out.len - redis->out.pos;

    if (sv_redis_resp_header(&redis->out, argc) != 0
        || sv_redis_resp_args(&redis->out, argc, argv, argvlen) != 0)
    {
        redis->out.len = redis->out.pos + len;
        sv_redis_command_free(redis, command);
        return NULL;
    }

    redis->commands++;
    sv_redis_enqueue(redis, command);

    return command;
}


void
sv_redis_forget(sv_redis_command_t *command)
{
    command->handler = NULL;
    command->data = NULL;
}


void
sv_redis_stats(const sv_redis_t *redis, sv_redis_stats_t *stats)
{
    const sv_redis_command_t  *oldest;

    oldest = STAILQ_FIRST(&redis->queue);

    stats->ready = sv_redis_ready(redis);
    stats->oldest_ms = 0;
    stats->in_flight = redis->in_flight;
    stats->connects = redis->connects;
    stats->losses = redis->losses;
    stats->commands = redis->commands;
    stats->errors = redis->errors;

    if (oldest != NULL) {
        stats->oldest_ms = (unsigned) (redis->loop->now(redis->loop)
                                       - oldest->sent);
    }
}


sv_redis_command_t *
sv_redis_command_new(sv_redis_t *redis, sv_redis_reply_pt handler, void *data)
{
    sv_redis_command_t  *command;

    command = STAILQ_FIRST(&redis->idle);

    if (command != NULL) {
        STAILQ_REMOVE_HEAD(&redis->idle, link);

    } else {
        command = calloc(1, sizeof(sv_redis_command_t));
        if (command == NULL) {
            return NULL;
        }
    }

    command->handler = handler;
    command->data = data;
    command->script = NULL;

    return command;
}


void
sv_redis_command_free(sv_redis_t *redis, sv_redis_command_t *command)
{
#ifdef __SANITIZE_ADDRESS__

    /* a command used after its callback is to be seen */
    (void) redis;
    free(command->args.data);
    free(command);

#else

    command->handler = NULL;
    command->data = NULL;
    sv_redis_buf_reset(&command->args, SV_REDIS_KEEP_ARGS);
    STAILQ_INSERT_HEAD(&redis->idle, command, link);

#endif
}


void
sv_redis_enqueue(sv_redis_t *redis, sv_redis_command_t *command)
{
    command->sent = redis->loop->now(redis->loop);

    if (redis->in_flight++ == 0) {
        redis->heard = command->sent;
    }

    STAILQ_INSERT_TAIL(&redis->queue, command, link);
    sv_redis_conn_wake(redis);
}


int
sv_redis_answer(sv_redis_t *redis, const redisReply *reply)
{
    sv_redis_command_t  *command;

    command = STAILQ_FIRST(&redis->queue);
    if (command == NULL) {
        return -1;
    }

    STAILQ_REMOVE_HEAD(&redis->queue, link);
    redis->in_flight--;

    if (reply != NULL) {
        if (command->script != NULL
            && sv_redis_script_again(redis, command, reply))
        {
            return 0;
        }

        redis->errors += (reply->type == REDIS_REPLY_ERROR);
        redis->proved |= (redis->state == SV_REDIS_READY);
    }

    if (command->handler != NULL) {
        command->handler(command->data, reply);
    }

    sv_redis_command_free(redis, command);

    return 0;
}


static int
sv_redis_conf_copy(sv_redis_t *redis, const sv_redis_conf_t *conf)
{
    int  failed;

    failed = 0;

    redis->conf = *conf;
    redis->conf.scripts = NULL;
    redis->conf.n_scripts = 0;
    redis->conf.address = sv_redis_strdup(conf->address, &failed);
    redis->conf.path = sv_redis_strdup(conf->path, &failed);
    redis->conf.password = sv_redis_strdup(conf->password, &failed);

    if (conf->path != NULL) {
        snprintf(redis->name, sizeof(redis->name), "unix:%s", conf->path);

    } else {
        snprintf(redis->name, sizeof(redis->name), "%s port %d",
                 conf->address != NULL ? conf->address : "(no address)",
                 conf->port);
    }

    if (failed) {
        return -1;
    }

    return sv_redis_scripts_copy(redis, conf);
}


static int
sv_redis_scripts_copy(sv_redis_t *redis, const sv_redis_conf_t *conf)
{
    int       failed;
    unsigned  i;

    if (conf->n_scripts == 0) {
        return 0;
    }

    redis->scripts = calloc(conf->n_scripts, sizeof(sv_redis_script_t));
    if (redis->scripts == NULL) {
        return -1;
    }

    failed = 0;

    for (i = 0; i < conf->n_scripts; i++) {
        redis->scripts[i].redis = redis;
        redis->scripts[i].len = strlen(conf->scripts[i]);
        redis->scripts[i].text = sv_redis_strdup(conf->scripts[i], &failed);
        redis->conf.n_scripts = i + 1;
    }

    return failed ? -1 : 0;
}


static char *
sv_redis_strdup(const char *s, int *failed)
{
    char  *copy;

    if (s == NULL) {
        return NULL;
    }

    copy = strdup(s);
    *failed |= (copy == NULL);

    return copy;
}


static void
sv_redis_free(sv_redis_t *redis)
{
    unsigned             i;
    sv_redis_command_t  *command;

    if (redis->timer != NULL) {
        redis->loop->timer_free(redis->timer);
    }

    if (redis->flush != NULL) {
        redis->loop->timer_free(redis->flush);
    }

    while ((command = STAILQ_FIRST(&redis->idle)) != NULL) {
        STAILQ_REMOVE_HEAD(&redis->idle, link);
        free(command->args.data);
        free(command);
    }

    for (i = 0; i < redis->conf.n_scripts; i++) {
        free(redis->scripts[i].text);
    }

    free(redis->scripts);
    free(redis->out.data);
    free((char *) redis->conf.address);
    free((char *) redis->conf.path);
    free((char *) redis->conf.password);
    free(redis);
}
