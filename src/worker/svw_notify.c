#include "svw_notify.h"

#include "svw_conf.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>


#define SVW_NOTIFY_LEASE     90         /* s: longer than a request takes */
#define SVW_NOTIFY_RENEW     10000      /* ms */
#define SVW_NOTIFY_WAIT_MAX  (5 * 60 * 1000)
#define SVW_NOTIFY_REFUSED   60         /* notify_intervals, then longer and longer */
#define SVW_NOTIFY_SLOWLY    (60 * 60 * 1000)
#define SVW_NOTIFY_LOOK      200        /* ms: while answers are awaited */
#define SVW_NOTIFY_LEAVE     3000       /* ms: for answers that are awaited */


static void svw_notify_targets(svw_notify_t *notify);
static int svw_notify_ready(svw_notify_t *notify);
static void svw_notify_round(svw_notify_t *notify, svw_notify_target_t *target);
static int svw_notify_take(svw_notify_t *notify, svw_notify_target_t *target);
static int svw_notify_plan(svw_notify_t *notify, svw_notify_target_t *target);
static int svw_notify_start(svw_notify_t *notify, svw_notify_target_t *target);
static void svw_notify_record(svw_notify_t *notify);
static int svw_notify_failed(svw_notify_t *notify, svw_notify_slot_t *slot);
static void svw_notify_leave(svw_notify_t *notify);


int
svw_notify_run(svw_conf_t *conf)
{
    unsigned       i;
    svw_notify_t  *notify;

    notify = calloc(1, sizeof(svw_notify_t));

    if (notify == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || (notify->multi = curl_multi_init()) == NULL) {
        svw_log(SVW_LOG_ERROR, "out of memory, or libcurl cannot be used");
        free(notify);
        return SVW_EXIT_FAILED;
    }

    notify->conf = conf;
    svw_db_init(&notify->db, conf->postgres, "serial-verify-worker notify");

    svw_notify_targets(notify);

    while (!svw_stopping()) {
        if (svw_notify_ready(notify) == 0) {
            svw_notify_record(notify);

            for (i = 0; i < notify->n && !svw_stopping(); i++) {
                svw_notify_round(notify, &notify->target[i]);
            }
        }

        if (notify->sent > 0) {
            svw_notify_answers(notify, conf->notify_interval < SVW_NOTIFY_LOOK ? conf->notify_interval : SVW_NOTIFY_LOOK);
        } else {
            svw_pause(conf->notify_interval);
        }
    }

    svw_notify_leave(notify);
    svw_db_close(&notify->db);
    curl_multi_cleanup(notify->multi);
    curl_global_cleanup();
    free(notify);

    return SVW_EXIT_OK;
}


/* A log is told by its host, too: another host has another file of the same name. */
static void
svw_notify_targets(svw_notify_t *notify)
{
    char                  host[128];
    unsigned              i, k;
    const svw_conf_t     *conf;
    svw_notify_target_t  *target;

    conf = notify->conf;

    for (i = 0; i < conf->n_notify; i++) {
        target = &notify->target[notify->n++];
        target->url = conf->notify_url[i];
        snprintf(target->name, sizeof(target->name), "%s", target->url);
    }

    if (conf->notify_log != NULL) {
        if (gethostname(host, sizeof(host)) != 0) {
            snprintf(host, sizeof(host), "localhost");
        }

        host[sizeof(host) - 1] = '\0';
        target = &notify->target[notify->n++];
        target->path = conf->notify_log;
        snprintf(target->name, sizeof(target->name), "log %s:%s", host, target->path);
    }

    for (i = 0; i < notify->n; i++) {
        notify->target[i].held = -1;
        notify->target[i].log.fd = -1;

        for (k = 0; k < SVW_NOTIFY_SLOTS; k++) {
            notify->target[i].slot[k].target = &notify->target[i];
        }
    }
}


/* A new session is another holder. Answers are taken in meanwhile: what was taken is not told again. */
static int
svw_notify_ready(svw_notify_t *notify)
{
    unsigned   i;
    svw_db_t  *db;

    db = &notify->db;

    if (db->pg != NULL && PQstatus(db->pg) == CONNECTION_OK) {
        return 0;
    }

    for (i = 0; i < notify->n; i++) {
        notify->target[i].renewed = 0;
        svw_notify_log_close(&notify->target[i].log);
    }

    if (svw_db_connect(db) == 0) {
        svw_log(SVW_LOG_INFO, "connected to PostgreSQL");
        return 0;
    }

    svw_log(SVW_LOG_ERROR, "PostgreSQL: %s", db->error);

    return -1;
}


static void
svw_notify_round(svw_notify_t *notify, svw_notify_target_t *target)
{
    if (svw_notify_take(notify, target) != 0) {
        svw_notify_log_close(&target->log);
        return;
    }

    if (svw_notify_plan(notify, target) != 0) {
        return;
    }

    if (target->url != NULL) {
        (void) svw_notify_start(notify, target);
    } else {
        (void) svw_notify_lines(notify, target);
    }
}


/* 0: this process has the lease */
static int
svw_notify_take(svw_notify_t *notify, svw_notify_target_t *target)
{
    int          held;
    char         lease[16];
    int64_t      now;
    PGresult    *result;
    const char  *params[2];

    now = svw_now_ms();

    if (target->held == 1 && target->renewed != 0 && now - target->renewed < SVW_NOTIFY_RENEW) {
        return 0;
    }

    snprintf(lease, sizeof(lease), "%d", SVW_NOTIFY_LEASE);
    params[0] = target->name;
    params[1] = lease;

    if (svw_notify_db(notify, svw_db_query(&notify->db, &result, "select * from sv.notify_take($1, $2)", 2, params)) != 0) {
        return -1;
    }

    held = *svw_col(result, 0, "held") == 't';

    if (!held && target->held != 0) {
        svw_log(SVW_LOG_INFO, "another process tells %s", target->name);
    }

    if (held && target->log.fd == -1) {
        target->log.ino = svw_col_int(result, 0, "log_ino");
        target->log.pos = svw_col_int(result, 0, "log_pos");
    }

    PQclear(result);
    target->held = held;
    target->renewed = now;

    return held ? 0 : -1;
}


/* What the timeline says is written down, piece by piece. */
static int
svw_notify_plan(svw_notify_t *notify, svw_notify_target_t *target)
{
    char                    hold[16], limit[16];
    int64_t                 seen;
    PGresult               *result;
    const char             *params[4];
    const svw_conf_word_t  *word;

    for (word = svw_conf_severities; word->value != notify->conf->notify_severity; word++) { /* void */ }

    snprintf(hold, sizeof(hold), "%u", (notify->conf->notify_hold + 999) / 1000);
    snprintf(limit, sizeof(limit), "%d", SVW_NOTIFY_LINES);
    params[0] = target->name;
    params[1] = word->word;
    params[2] = hold;
    params[3] = limit;

    do {
        if (svw_notify_db(notify, svw_db_query(&notify->db, &result, "select sv.notify_plan($1, $2, $3, $4)", 4, params)) != 0) {
            return -1;
        }

        seen = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
        PQclear(result);

    } while (seen == SVW_NOTIFY_LINES && !svw_stopping());

    return 0;
}


/* Of each case one request at a time, in its order; cases go side by side. */
static int
svw_notify_start(svw_notify_t *notify, svw_notify_target_t *target)
{
    int                 row;
    char                busy[SVW_NOTIFY_SLOTS * 24 + 3], limit[16];
    size_t              at;
    unsigned            k, n;
    PGresult           *result;
    const char         *params[3];
    svw_notify_slot_t  *slot;

    at = (size_t) snprintf(busy, sizeof(busy), "{");

    for (k = 0, n = 0; k < SVW_NOTIFY_SLOTS; k++) {
        if (target->slot[k].state == SVW_NOTIFY_FREE) {
            n++;
        } else {
            at += (size_t) snprintf(busy + at, sizeof(busy) - at, "%s%" PRId64, at > 1 ? "," : "", target->slot[k].seq);
        }
    }

    if (n == 0) {
        return 0;
    }

    snprintf(busy + at, sizeof(busy) - at, "}");
    snprintf(limit, sizeof(limit), "%u", n);
    params[0] = target->name;
    params[1] = busy;
    params[2] = limit;

    if (svw_notify_db(notify, svw_db_query(&notify->db, &result, "select * from sv.notify_next($1, $2, $3)", 3, params)) != 0) {
        return -1;
    }

    for (row = 0, slot = target->slot; row < PQntuples(result); row++, slot++) {
        while (slot->state != SVW_NOTIFY_FREE) {
            slot++;
        }

        slot->seq = svw_col_int(result, row, "seq");
        slot->attempts = svw_col_int(result, row, "attempts");
        slot->body = strdup(svw_col(result, row, "body"));

        if (slot->body == NULL) {
            svw_log(SVW_LOG_ERROR, "out of memory");
            break;
        }

        if (svw_notify_send(notify, slot, svw_col(result, row, "id")) != 0) {
            slot->state = SVW_NOTIFY_ANSWERED;
        }
    }

    PQclear(result);

    return 0;
}


/* An answer stays until it is written down, whatever becomes of the connection. */
static void
svw_notify_record(svw_notify_t *notify)
{
    int                  rc;
    char                 seq[24];
    unsigned             i, k;
    const char          *params[2];
    svw_notify_slot_t   *slot;

    for (i = 0; i < notify->n; i++) {
        for (k = 0; k < SVW_NOTIFY_SLOTS; k++) {
            slot = &notify->target[i].slot[k];

            if (slot->state != SVW_NOTIFY_ANSWERED) {
                continue;
            }

            if (slot->answer.result == SVW_HTTP_TAKEN) {
                snprintf(seq, sizeof(seq), "%" PRId64, slot->seq);
                params[0] = slot->target->name;
                params[1] = seq;
                rc = svw_notify_db(notify, svw_db_do(&notify->db, "select sv.notify_done($1, $2)", 2, params));

            } else {
                rc = svw_notify_failed(notify, slot);
            }

            if (rc != 0) {
                return;
            }

            free(slot->body);
            slot->body = NULL;
            slot->state = SVW_NOTIFY_FREE;
        }
    }
}


/* What is refused is kept and tried more and more slowly: the receiver may be mended. */
static int
svw_notify_failed(svw_notify_t *notify, svw_notify_slot_t *slot)
{
    int          refused;
    char         seq[24], wait[24];
    int64_t      ms;
    const char  *params[5];

    refused = slot->answer.result == SVW_HTTP_REFUSED;
    ms = svw_http_pause((int64_t) notify->conf->notify_interval * (refused ? SVW_NOTIFY_REFUSED : 1), slot->attempts,
                        refused ? SVW_NOTIFY_SLOWLY : SVW_NOTIFY_WAIT_MAX, &slot->answer);

    svw_log(SVW_LOG_WARN, "%s %s notification %" PRId64 ": %s; next try in %" PRId64 " ms", slot->target->name,
            refused ? "refuses" : "was not told of", slot->seq, slot->answer.error, ms);

    snprintf(seq, sizeof(seq), "%" PRId64, slot->seq);
    snprintf(wait, sizeof(wait), "%" PRId64, ms);
    params[0] = slot->target->name;
    params[1] = seq;
    params[2] = slot->answer.error;
    params[3] = refused ? "t" : "f";
    params[4] = wait;

    return svw_notify_db(notify, svw_db_do(&notify->db, "select sv.notify_failed($1, $2, $3, $4, $5)", 5, params));
}


int
svw_notify_db(svw_notify_t *notify, svw_db_rc_t rc)
{
    if (rc != SVW_DB_OK) {
        svw_log(SVW_LOG_WARN, "PostgreSQL: %s", notify->db.error);
    }

    return rc == SVW_DB_OK ? 0 : -1;
}


/* Answers that are awaited may still come: or else they are told twice. */
static void
svw_notify_leave(svw_notify_t *notify)
{
    int64_t      end;
    unsigned     i;
    const char  *params[1];

    end = svw_now_ms() + SVW_NOTIFY_LEAVE;

    while (notify->sent > 0 && svw_now_ms() < end) {
        svw_notify_answers(notify, 50);
    }

    if (notify->db.pg != NULL && PQstatus(notify->db.pg) == CONNECTION_OK) {
        svw_notify_record(notify);

        for (i = 0; i < notify->n; i++) {
            params[0] = notify->target[i].name;
            (void) svw_db_do(&notify->db, "select sv.notify_leave($1)", 1, params);
        }
    }

    svw_notify_give_up(notify);

    for (i = 0; i < notify->n; i++) {
        svw_notify_log_close(&notify->target[i].log);
    }
}
