#include "svw_consume.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>


#define SVW_STREAM_GROUP  "judge"       /* one group, one consumer: one worker judges at a time */
#define SVW_STREAM_LOOK   1000          /* ms between two looks for what another process left */
#define SVW_STREAM_LAST   INT64_C(253402300799999)      /* the year 9999 */
#define SVW_STREAM_UNREAD 65536         /* bytes of a block that are kept when they cannot be read */


static int svw_stream_ready(svw_stream_t *stream);
static int svw_stream_group(svw_stream_t *stream);
static redisReply *svw_stream_ask(svw_stream_t *stream, const char *from);
static void svw_stream_take(svw_consume_t *consume, svw_stream_t *stream);
static void svw_stream_block(svw_consume_t *consume, const redisReply *fields);
static int svw_stream_line(svw_consume_t *consume, const svw_consume_event_t *of, sv_span_t line);
static void svw_stream_keep(svw_unread_t *unread, sv_span_t line);
static int svw_stream_gateway(sv_span_t name);
static int svw_stream_storable(const sv_event_t *event);
static sv_span_t svw_stream_field(const redisReply *fields, char name);
static int svw_stream_append(svw_stream_t *stream, const char *command);


/*
 * What was delivered to this consumer before and never acknowledged comes
 * first: after a connect, and every now and then, because another process may
 * have read it while it lost the lease.  It may be in history; then nothing of
 * it is new.
 */
size_t
svw_consume_read(svw_consume_t *consume)
{
    size_t         blocks;
    int64_t        now;
    unsigned       i;
    svw_stream_t  *stream;

    blocks = 0;
    now = svw_now_ms();

    for (i = 0; i < consume->conf->n_redis && consume->n_events < SVW_CONSUME_BATCH; i++) {
        stream = &consume->stream[i];

        if (!svw_stream_ready(stream)) {
            continue;
        }

        if (stream->pending || now - stream->looked > SVW_STREAM_LOOK) {
            stream->looked = now;
            stream->reply = svw_stream_ask(stream, "0");
            svw_stream_take(consume, stream);
            stream->pending = stream->blocks > 0;
        }

        if (stream->reply == NULL && stream->redis.ctx != NULL) {
            stream->reply = svw_stream_ask(stream, ">");
            svw_stream_take(consume, stream);
        }

        blocks += stream->blocks;
    }

    return blocks;
}


static int
svw_stream_ready(svw_stream_t *stream)
{
    int  fresh;

    fresh = stream->redis.ctx == NULL;

    if (!svw_redis_ready(&stream->redis)) {
        return 0;
    }

    if (fresh) {
        stream->pending = 1;
        return svw_stream_group(stream) == 0;
    }

    return 1;
}


/*
 * From its beginning: what came before there was a group counts, too.  A server
 * that is full makes no group, but it may have one: it has to be read to get room.
 */
static int
svw_stream_group(svw_stream_t *stream)
{
    int          ok;
    redisReply  *reply;

    reply = redisCommand(stream->redis.ctx, "XGROUP CREATE " SV_EVENT_STREAM " " SVW_STREAM_GROUP " 0 MKSTREAM");

    ok = reply != NULL && (reply->type != REDIS_REPLY_ERROR || strncmp(reply->str, "BUSYGROUP", 9) == 0
                           || strncmp(reply->str, "OOM", 3) == 0);

    if (!ok) {
        svw_redis_down(&stream->redis, reply != NULL ? reply->str : stream->redis.ctx->errstr);
    }

    freeReplyObject(reply);

    return ok ? 0 : -1;
}


/* NULL: nothing there, or it is down now */
static redisReply *
svw_stream_ask(svw_stream_t *stream, const char *from)
{
    int          rc;
    redisReply  *reply;

    rc = redisAppendCommand(stream->redis.ctx, "XREADGROUP GROUP " SVW_STREAM_GROUP " " SVW_STREAM_GROUP " COUNT %d STREAMS "
                            SV_EVENT_STREAM " %s", SVW_CONSUME_BLOCKS, from);
    if (rc != REDIS_OK) {
        svw_redis_down(&stream->redis, stream->redis.ctx->errstr);
        return NULL;
    }

    reply = svw_redis_reply(&stream->redis, svw_now_ms() + stream->redis.conf->redis_timeout);
    if (reply == NULL) {
        return NULL;
    }

    /* [[stream, [[id, [name, value, ..]], ..]]] */
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 1 && reply->element[0]->type == REDIS_REPLY_ARRAY
        && reply->element[0]->elements == 2 && reply->element[0]->element[1]->type == REDIS_REPLY_ARRAY
        && reply->element[0]->element[1]->elements > 0)
    {
        return reply;
    }

    freeReplyObject(reply);

    return NULL;
}


static void
svw_stream_take(svw_consume_t *consume, svw_stream_t *stream)
{
    size_t             i;
    const redisReply  *blocks, *block;

    stream->blocks = 0;

    if (stream->reply == NULL) {
        return;
    }

    blocks = stream->reply->element[0]->element[1];
    stream->blocks = blocks->elements;

    for (i = 0; i < blocks->elements; i++) {
        block = blocks->element[i];

        /* one that the stream has dropped meanwhile has no fields: it is acknowledged only */
        if (block->type == REDIS_REPLY_ARRAY && block->elements == 2 && block->element[1]->type == REDIS_REPLY_ARRAY) {
            svw_stream_block(consume, block->element[1]);
        }
    }
}


/* What cannot be read is told and put aside; its numbers are missed in sv.scan_source. */
static void
svw_stream_block(svw_consume_t *consume, const redisReply *fields)
{
    char                 number[24];
    size_t               broken;
    sv_span_t            boot;
    svw_unread_t        *unread;
    svw_consume_event_t  of;

    of = (svw_consume_event_t) { .gateway = svw_stream_field(fields, 'g') };
    boot = svw_stream_field(fields, 'b');

    if (boot.len > 0 && boot.len < 20 && svw_stream_gateway(of.gateway)) {
        snprintf(number, sizeof(number), "%.*s", (int) boot.len, (const char *) boot.data);
        of.boot = strspn(number, "0123456789") == boot.len ? strtoull(number, NULL, 10) : 0;
    }

    if (of.boot == 0 || of.boot > INT64_MAX) {
        svw_log(SVW_LOG_ERROR, "a block of the stream " SV_EVENT_STREAM " has no gateway (g) or boot (b)");
        consume->broken++;
        return;
    }

    unread = realloc(consume->unread, (consume->n_unread + 1) * sizeof(svw_unread_t));

    if (unread == NULL) {
        svw_log(SVW_LOG_ERROR, "out of memory");
        exit(SVW_EXIT_FAILED);
    }

    consume->unread = unread;
    unread += consume->n_unread;
    *unread = (svw_unread_t) { .gateway = of.gateway, .boot = of.boot };

    broken = svw_consume_lines(consume, &of, svw_stream_field(fields, 'e'), unread);
    consume->n_unread += unread->lines > 0;

    if (broken > 0) {
        consume->broken += (int64_t) broken;
        svw_log(SVW_LOG_ERROR, "the gateway \"%.*s\" (boot %" PRIu64 ") sent %zu lines that are no events",
                (int) of.gateway.len, (const char *) of.gateway.data, of.boot, broken);
    }
}


size_t
svw_consume_lines(svw_consume_t *consume, const svw_consume_event_t *of, sv_span_t lines, svw_unread_t *unread)
{
    size_t          broken, next;
    sv_span_t       line;
    const uint8_t  *end;

    for (broken = 0; lines.len > 0; lines.data += next, lines.len -= next) {
        end = memchr(lines.data, '\n', lines.len);
        line = (sv_span_t) { lines.data, end != NULL ? (size_t) (end - lines.data) : lines.len };
        next = end != NULL ? line.len + 1 : line.len;

        if (svw_stream_line(consume, of, line) == 0) {
            continue;
        }

        broken++;

        if (unread != NULL) {
            svw_stream_keep(unread, line);
        }
    }

    return broken;
}


/* What is longer than any block of a gateway is told only. */
static void
svw_stream_keep(svw_unread_t *unread, sv_span_t line)
{
    char  *text;

    if (line.len >= SVW_STREAM_UNREAD - unread->len) {
        return;
    }

    text = realloc(unread->text, unread->len + line.len + 1);

    if (text == NULL) {
        svw_log(SVW_LOG_ERROR, "out of memory");
        exit(SVW_EXIT_FAILED);
    }

    memcpy(text + unread->len, line.data, line.len);
    text[unread->len + line.len] = '\n';
    unread->text = text;
    unread->len += line.len + 1;
    unread->lines++;
}


static int
svw_stream_line(svw_consume_t *consume, const svw_consume_event_t *of, sv_span_t line)
{
    size_t                room;
    svw_consume_event_t  *events, *event;

    if (consume->n_events == consume->events_room) {
        room = consume->events_room == 0 ? 1024 : 2 * consume->events_room;
        events = realloc(consume->events, room * sizeof(svw_consume_event_t));

        if (events == NULL) {
            svw_log(SVW_LOG_ERROR, "out of memory");
            exit(SVW_EXIT_FAILED);
        }

        consume->events = events;
        consume->events_room = room;
    }

    event = &consume->events[consume->n_events];
    *event = *of;
    event->line = line;

    if (sv_event_parse(line, &event->event) != 0 || !svw_stream_storable(&event->event)) {
        return -1;
    }

    consume->n_events++;

    return 0;
}


/* A value that PostgreSQL would not take must not hold up all that comes behind it. */
static int
svw_stream_gateway(sv_span_t name)
{
    size_t  i;

    for (i = 0; i < name.len && name.data[i] > 0x20 && name.data[i] < 0x7f; i++) { /* void */ }

    return name.len > 0 && name.len <= SV_EVENT_GATEWAY && i == name.len;
}


/* The same; of texts sv_event_parse() takes nothing that is not printable. */
static int
svw_stream_storable(const sv_event_t *event)
{
    return event->at_ms <= SVW_STREAM_LAST && event->occurred_ms <= SVW_STREAM_LAST && event->accuracy_km <= INT32_MAX;
}


static sv_span_t
svw_stream_field(const redisReply *fields, char name)
{
    size_t             i;
    const redisReply  *value;

    for (i = 0; i + 1 < fields->elements; i += 2) {
        value = fields->element[i + 1];

        if (fields->element[i]->type == REDIS_REPLY_STRING && fields->element[i]->len == 1 && fields->element[i]->str[0] == name
            && value->type == REDIS_REPLY_STRING)
        {
            return (sv_span_t) { (const uint8_t *) value->str, value->len };
        }
    }

    return (sv_span_t) { NULL, 0 };
}


/*
 * After the commit.  What a server does not take is delivered again, and found in
 * history.  Deleted first: what was acknowledged and is still there would stay for ever.
 */
void
svw_consume_acknowledge(svw_consume_t *consume)
{
    int64_t        deadline;
    unsigned       i, n;
    redisReply    *reply;
    svw_stream_t  *stream;

    for (i = 0; i < consume->conf->n_redis; i++) {
        stream = &consume->stream[i];

        if (stream->reply == NULL || stream->redis.ctx == NULL) {
            continue;
        }

        deadline = svw_now_ms() + stream->redis.conf->redis_timeout;

        if (svw_stream_append(stream, "XDEL") != 0 || svw_stream_append(stream, "XACK") != 0) {
            continue;
        }

        for (n = 0; n < 2; n++) {
            reply = svw_redis_reply(&stream->redis, deadline);

            if (reply == NULL) {
                break;
            }

            freeReplyObject(reply);
        }
    }

    svw_consume_forget_blocks(consume);
}


static int
svw_stream_append(svw_stream_t *stream, const char *command)
{
    int                argc;
    size_t             i, len[SVW_CONSUME_BLOCKS + 3];
    const char        *arg[SVW_CONSUME_BLOCKS + 3];
    const redisReply  *blocks;

    blocks = stream->reply->element[0]->element[1];
    argc = 0;
    arg[argc++] = command;
    arg[argc++] = SV_EVENT_STREAM;

    if (strcmp(command, "XACK") == 0) {
        arg[argc++] = SVW_STREAM_GROUP;
    }

    for (i = 0; i < blocks->elements && i < SVW_CONSUME_BLOCKS; i++) {
        if (blocks->element[i]->type == REDIS_REPLY_ARRAY && blocks->element[i]->elements > 0
            && blocks->element[i]->element[0]->type == REDIS_REPLY_STRING)
        {
            arg[argc++] = blocks->element[i]->element[0]->str;
        }
    }

    for (i = 0; i < (size_t) argc; i++) {
        len[i] = strlen(arg[i]);
    }

    return redisAppendCommandArgv(stream->redis.ctx, argc, arg, len) == REDIS_OK
           ? 0 : svw_redis_down(&stream->redis, stream->redis.ctx->errstr);
}


/* They stay with the servers, and are delivered again. */
void
svw_consume_forget_blocks(svw_consume_t *consume)
{
    unsigned       i;
    svw_stream_t  *stream;

    for (i = 0; i < consume->conf->n_redis; i++) {
        stream = &consume->stream[i];

        if (stream->reply != NULL) {
            freeReplyObject(stream->reply);
            stream->reply = NULL;
            stream->blocks = 0;
        }
    }

    consume->n_events = 0;
    svw_consume_unread_free(consume);
}


void
svw_consume_lag(svw_consume_t *consume)
{
    char           *text;
    json_t         *lag;
    unsigned        i;
    redisReply     *reply;
    const char     *params[2];
    svw_stream_t   *stream;

    lag = json_object();

    for (i = 0; i < consume->conf->n_redis; i++) {
        stream = &consume->stream[i];
        reply = NULL;

        if (stream->redis.ctx != NULL && redisAppendCommand(stream->redis.ctx, "XLEN " SV_EVENT_STREAM) == REDIS_OK) {
            reply = svw_redis_reply(&stream->redis, svw_now_ms() + stream->redis.conf->redis_timeout);
        }

        json_object_set_new(lag, stream->redis.node, reply != NULL && reply->type == REDIS_REPLY_INTEGER
                            ? json_integer(reply->integer) : json_null());
        freeReplyObject(reply);
    }

    text = json_dumps(lag, JSON_COMPACT);
    json_decref(lag);

    if (text != NULL) {
        params[0] = consume->holder;
        params[1] = text;
        (void) svw_db_do(&consume->db, "select sv.judge_tell($1, $2)", 2, params);
    }

    free(text);
}
