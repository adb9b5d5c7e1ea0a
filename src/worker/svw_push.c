#include "svw_push.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>


#define SVW_PUSH_EVENTS      1000       /* a document has so many events or bytes at most, but one event always */
#define SVW_PUSH_BYTES       (2 * 1024 * 1024)
#define SVW_PUSH_WAIT_MAX    (5 * 60 * 1000)
#define SVW_PUSH_REFUSED     60         /* push_intervals until it is tried again */
#define SVW_PUSH_TELL        5000

typedef enum { SVW_PUSH_NEXT, SVW_PUSH_IDLE, SVW_PUSH_FAILED } svw_push_rc_t;

typedef struct {
    svw_conf_t       *conf;
    svw_db_t          db;
    svw_out_t         out;
    svw_push_http_t   http;
    char              target[SVW_PUSH_TARGET];
    char              epoch[64];
    int64_t           told;
    int               held;             /* the lease, as far as the log was told */
} svw_push_t;


static svw_push_rc_t svw_push_round(svw_push_t *push);
static svw_push_rc_t svw_push_batch(svw_push_t *push);
static int svw_push_document(svw_push_t *push, char **text, size_t *len, int *events);
static svw_push_rc_t svw_push_write(svw_push_t *push, int64_t n, int part, const char *text, size_t len, int events);
static svw_push_rc_t svw_push_pass(svw_push_t *push);
static svw_push_rc_t svw_push_send(svw_push_t *push, const PGresult *batch);
static svw_push_rc_t svw_push_answer(svw_push_t *push, const char *key, int64_t attempts, const svw_http_answer_t *answer);
static svw_push_rc_t svw_push_db(svw_push_t *push, svw_db_rc_t rc);
static void svw_push_tell(svw_push_t *push, int now);


/*
 * The role.  What is sent is a prefix of the audit chain, whose order is that
 * of every pack.  A batch is in sv.push with all its bytes before the first
 * of them is sent, and the cursor moves when the receiver has taken it: a
 * process that dies in between sends the same bytes under the same key again,
 * and the events in them have the same eventIDs.
 */
int
svw_push_run(svw_conf_t *conf)
{
    svw_push_t      push;
    svw_push_rc_t   rc;

    push = (svw_push_t) { .conf = conf, .held = 1 };

    if (svw_push_http_open(&push.http, conf) != 0) {
        svw_log(SVW_LOG_ERROR, "push_url: %s", push.http.http.error);
        return SVW_EXIT_USAGE;
    }

    /* another receiver, or another selection, begins at the beginning */
    snprintf(push.target, sizeof(push.target), "%s%s%s", conf->push_url, conf->push_company != NULL ? " " : "",
             conf->push_company != NULL ? conf->push_company : "");

    svw_db_init(&push.db, conf->postgres, "serial-verify-worker push");
    push.out = (svw_out_t) { .db = &push.db, .company = conf->push_company };

    while (svw_db_ensure(&push.db) == 0) {
        rc = svw_push_round(&push);

        if (rc != SVW_PUSH_NEXT) {
            svw_push_tell(&push, rc == SVW_PUSH_FAILED);
            svw_pause(conf->push_interval);
        }
    }

    if (push.db.pg != NULL) {
        const char *const  params[] = { push.target };

        (void) svw_db_do(&push.db, "select sv.push_leave($1)", 1, params);
    }

    svw_out_reset(&push.out);
    svw_db_close(&push.db);
    svw_push_http_close(&push.http);

    return SVW_EXIT_OK;
}


/* Takes or renews the lease; sends the batch under way, or makes the next. */
static svw_push_rc_t
svw_push_round(svw_push_t *push)
{
    char            lease[16];
    int64_t         n;
    int             part;
    PGresult       *state;
    const char     *params[2];
    svw_push_rc_t   rc;

    snprintf(lease, sizeof(lease), "%d", SVW_PUSH_LEASE);
    params[0] = push->target;
    params[1] = lease;

    rc = svw_push_db(push, svw_db_query(&push->db, &state, "select * from sv.push_take($1, $2)", 2, params));

    if (rc != SVW_PUSH_NEXT) {
        return rc;
    }

    if (*svw_col(state, 0, "held") != 't') {
        if (push->held) {
            svw_log(SVW_LOG_INFO, "another process sends");
        }

        push->held = 0;
        svw_out_reset(&push->out);
        PQclear(state);
        return SVW_PUSH_IDLE;
    }

    push->held = 1;

    if (svw_col_int(state, 0, "wait_ms") > 0) {
        rc = SVW_PUSH_IDLE;

    } else if (svw_col(state, 0, "document") != NULL) {
        rc = svw_push_send(push, state);

    } else {
        n = svw_col_int(state, 0, "n");
        part = (int) svw_col_int(state, 0, "part");
        snprintf(push->epoch, sizeof(push->epoch), "%s", svw_col(state, 0, "epoch"));

        if (push->out.n != n || push->out.part != part) {
            svw_out_reset(&push->out);
            push->out.n = n;
            push->out.part = part;
        }

        rc = svw_push_batch(push);
    }

    PQclear(state);

    return rc;
}


/* The next document is written down; nothing is sent yet. */
static svw_push_rc_t
svw_push_batch(svw_push_t *push)
{
    int             part, events;
    char           *text;
    size_t          len;
    int64_t         n;
    svw_push_rc_t   rc;

    n = push->out.n;
    part = push->out.part;

    if (svw_push_document(push, &text, &len, &events) != 0) {
        free(text);
        svw_out_reset(&push->out);

        if (push->db.pg != NULL && PQstatus(push->db.pg) == CONNECTION_OK) {
            svw_log(SVW_LOG_ERROR, "row %" PRId64 " of the audit chain makes no event: %s", push->out.n,
                    push->db.error[0] != '\0' ? push->db.error : "what is stored cannot be written as EPCIS");
        }

        /* back to where the cursor is */
        push->out.n = -1;
        return SVW_PUSH_FAILED;
    }

    if (events > 0) {
        rc = svw_push_write(push, n, part, text, len, events);
    } else {
        rc = push->out.n > n ? svw_push_pass(push) : SVW_PUSH_IDLE;
    }

    free(text);

    return rc;
}


static int
svw_push_document(svw_push_t *push, char **text, size_t *len, int *events)
{
    int                 rc;
    FILE               *f;
    svw_epcis_event_t   event;

    *events = 0;
    *text = NULL;
    push->db.error[0] = '\0';

    f = open_memstream(text, len);
    if (f == NULL) {
        return -1;
    }

    rc = 0;

    while (*events < SVW_PUSH_EVENTS && ftell(f) < SVW_PUSH_BYTES) {
        rc = svw_out_next(&push->out, &event);

        if (rc != 1) {
            break;
        }

        /* a document is as old as its first event's record */
        if (*events == 0 && svw_epcis_begin(f, SVW_EPCIS_DOCUMENT, event.at_ms) != 0) {
            rc = -1;
            break;
        }

        rc = svw_epcis_put(f, &event, *events == 0);

        if (rc != 0) {
            break;
        }

        ++*events;
    }

    if (rc == 0 && *events > 0) {
        rc = svw_epcis_end(f, SVW_EPCIS_DOCUMENT);
    }

    return fclose(f) != 0 || rc != 0 ? -1 : 0;
}


static svw_push_rc_t
svw_push_write(svw_push_t *push, int64_t n, int part, const char *text, size_t len, int events)
{
    char            key[160], to_n[24], to_part[16], count[16];
    PGresult       *result;
    const char     *params[6];
    ExecStatusType  status;

    static const int  formats[6] = { 0, 0, 0, 0, 1, 0 };

    const int  lengths[6] = { 0, 0, 0, 0, (int) len, 0 };

    snprintf(key, sizeof(key), "%s/%" PRId64 ".%d-%" PRId64 ".%d", push->epoch, n, part, push->out.n, push->out.part);
    snprintf(to_n, sizeof(to_n), "%" PRId64, push->out.n);
    snprintf(to_part, sizeof(to_part), "%d", push->out.part);
    snprintf(count, sizeof(count), "%d", events);

    params[0] = push->target;
    params[1] = to_n;
    params[2] = to_part;
    params[3] = key;
    params[4] = text;
    params[5] = count;

    result = PQexecParams(push->db.pg, "select sv.push_batch($1, $2, $3, $4, $5, $6)", 6, NULL, params, lengths, formats, 0);
    status = PQresultStatus(result);

    if (status != PGRES_TUPLES_OK) {
        return svw_push_db(push, svw_db_failed(&push->db, result));
    }

    PQclear(result);

    return SVW_PUSH_NEXT;
}


static svw_push_rc_t
svw_push_pass(svw_push_t *push)
{
    char         n[24];
    const char  *params[2];

    snprintf(n, sizeof(n), "%" PRId64, push->out.n);
    params[0] = push->target;
    params[1] = n;

    return svw_push_db(push, svw_db_do(&push->db, "select sv.push_pass($1, $2)", 2, params));
}


static svw_push_rc_t
svw_push_send(svw_push_t *push, const PGresult *batch)
{
    size_t               len;
    const char          *key;
    unsigned char       *document;
    svw_push_rc_t        rc;
    svw_http_answer_t    answer;

    key = svw_col(batch, 0, "key");
    document = PQunescapeBytea((const unsigned char *) svw_col(batch, 0, "document"), &len);

    if (document == NULL) {
        svw_log(SVW_LOG_ERROR, "out of memory");
        return SVW_PUSH_FAILED;
    }

    svw_push_http_post(&push->http, key, (const char *) document, len, &answer);
    PQfreemem(document);

    rc = svw_push_answer(push, key, svw_col_int(batch, 0, "attempts"), &answer);

    return rc;
}


static svw_push_rc_t
svw_push_answer(svw_push_t *push, const char *key, int64_t attempts, const svw_http_answer_t *answer)
{
    char            wait[24];
    int64_t         ms;
    const char     *params[5];
    svw_push_rc_t   rc;

    params[0] = push->target;
    params[1] = key;

    if (answer->result == SVW_HTTP_TAKEN) {
        return svw_push_db(push, svw_db_do(&push->db, "select sv.push_done($1, $2)", 2, params));
    }

    ms = answer->result == SVW_HTTP_REFUSED ? (int64_t) push->conf->push_interval * SVW_PUSH_REFUSED
         : svw_http_pause(push->conf->push_interval, attempts, SVW_PUSH_WAIT_MAX, answer);
    snprintf(wait, sizeof(wait), "%" PRId64, ms);
    params[2] = answer->error;
    params[3] = answer->result == SVW_HTTP_REFUSED ? "t" : "f";
    params[4] = wait;

    rc = svw_push_db(push, svw_db_do(&push->db, "select sv.push_failed($1, $2, $3, $4, $5)", 5, params));

    svw_log(answer->result == SVW_HTTP_REFUSED ? SVW_LOG_ERROR : SVW_LOG_WARN, "batch %s %s: %s; next try in %" PRId64 " ms",
            key, answer->result == SVW_HTTP_REFUSED ? "is refused, nothing is sent until it is taken" : "failed",
            answer->error, ms);

    return rc == SVW_PUSH_NEXT ? SVW_PUSH_FAILED : rc;
}


static svw_push_rc_t
svw_push_db(svw_push_t *push, svw_db_rc_t rc)
{
    if (rc == SVW_DB_OK) {
        return SVW_PUSH_NEXT;
    }

    svw_log(SVW_LOG_WARN, "PostgreSQL: %s", push->db.error);
    svw_out_reset(&push->out);
    push->out.n = -1;

    return SVW_PUSH_FAILED;
}


static void
svw_push_tell(svw_push_t *push, int now)
{
    int64_t            ms;
    const char *const  params[] = { push->target };

    ms = svw_now_ms();

    if ((!now && push->told != 0 && ms - push->told < SVW_PUSH_TELL) || push->db.pg == NULL
        || PQstatus(push->db.pg) != CONNECTION_OK)
    {
        return;
    }

    push->told = ms;

    (void) svw_db_do(&push->db, "select sv.figure_set('push', f) from sv.push_figure($1) f where f is not null", 1, params);
}
