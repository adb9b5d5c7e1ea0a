/*
 * GET /alerts/events: what is told of cases, from sv.case_event, as a stream.
 *
 * Events are numbered in the order in which they became visible; a stream tells
 * them by rising numbers, with the number as id.
 */

#include "svw_api_alerts.h"
#include "svw_api_stream.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>


static int svw_alert_events(svw_api_request_t *rq);
static int svw_alert_events_after(svw_api_request_t *rq, int64_t *after);
static void svw_alert_events_check(svw_streams_t *streams, int64_t now);
static int svw_alert_events_behind(svw_streams_t *streams, int64_t clock, int64_t *low, int64_t *high);
static int svw_alert_events_batch(svw_streams_t *streams, int64_t after, int64_t clock);
static void svw_alert_events_tell(svw_stream_t *stream, const PGresult *events, int64_t clock);
static int svw_alert_event_put(svw_stream_t *stream, const PGresult *events, int i);


const svw_api_endpoint_t  svw_api_alert_events[] = {
    { "GET", "/alerts/events", SVW_ALERT_ROLES, 0, svw_alert_events },
    { NULL, NULL, 0, 0, NULL }
};


static int
svw_alert_events(svw_api_request_t *rq)
{
    int           rc, reset;
    char          location[16];
    int64_t       after, clock;
    PGresult     *result;
    const char   *params[1];
    svw_db_rc_t   db;

    if (svw_alert_events_after(rq, &after) != 0) {
        return 0;
    }

    snprintf(location, sizeof(location), "%" PRId32, rq->who->location.id);
    params[0] = location;

    db = svw_db_query(rq->db, &result, "select company, n from sv.alert_stream($1)", 1, params);

    if (db != SVW_DB_OK) {
        return svw_api_db_problem(rq, db);
    }

    /* a number that was never given: the database is an older one now, all that the client knows is void */
    clock = svw_col_int(result, 0, "n");
    reset = after > clock;

    rc = svw_stream_open(rq, svw_col(result, 0, "company"), after < 0 || reset ? clock : after, reset);
    PQclear(result);

    return rc == 0 ? 0 : svw_api_problem(rq, 503, "busy", NULL, "There are too many streams. Try again later.");
}


/* The number of the last event that the client has: of the header or, at first, of a list; -1 from now on.  -1: answered */
static int
svw_alert_events_after(svw_api_request_t *rq, int64_t *after)
{
    size_t       len;
    const char  *name, *value;

    name = "Last-Event-ID";
    value = svw_api_header(rq, name);

    if (value == NULL) {
        name = "after";
        value = svw_api_query(rq, name);
    }

    *after = -1;

    if (value == NULL || value[0] == '\0') {
        return 0;
    }

    len = strspn(value, "0123456789");

    if (len > 18 || value[len] != '\0') {
        svw_api_problem(rq, 400, "invalid_value", name, "%s is the number of an event.", name);
        return -1;
    }

    *after = strtoll(value, NULL, 10);

    return 0;
}


/*
 * Streams that are level with each other share what is read; of the others the one
 * that is furthest behind is served besides.
 */
int
svw_alert_events_round(svw_streams_t *streams)
{
    int        more;
    int64_t    now, clock, low, high;
    svw_db_t  *db;
    PGresult  *result;

    db = &streams->db;

    if ((db->pg == NULL || PQstatus(db->pg) != CONNECTION_OK) && svw_db_connect(db) != 0) {
        svw_log(SVW_LOG_ERROR, "streams: PostgreSQL: %s", db->error);
        return 0;
    }

    now = svw_now_ms();
    svw_alert_events_check(streams, now);

    if (svw_db_query(db, &result, "select sv.alert_clock()", 0, NULL) != SVW_DB_OK) {
        svw_log(SVW_LOG_ERROR, "streams: PostgreSQL: %s", db->error);
        svw_db_close(db);
        return 0;
    }

    clock = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    PQclear(result);

    if (svw_alert_events_behind(streams, clock, &low, &high) == 0) {
        return 0;
    }

    more = svw_alert_events_batch(streams, high, clock);

    if (low < high) {
        more |= svw_alert_events_batch(streams, low, clock);
    }

    return more;
}


/* Those whose client is no longer a reviewer of the same company with a credential end. */
static void
svw_alert_events_check(svw_streams_t *streams, int64_t now)
{
    int            i;
    FILE          *out;
    char          *list;
    size_t         len;
    PGresult      *result;
    const char    *params[1];
    svw_stream_t  *stream;

    list = NULL;
    out = open_memstream(&list, &len);

    if (out == NULL) {
        return;
    }

    pthread_mutex_lock(&streams->lock);

    for (stream = streams->first; stream != NULL; stream = stream->next) {
        if (now - stream->checked >= SVW_STREAM_CHECK) {
            fprintf(out, "%s%" PRId32, ftell(out) > 0 ? "," : "{", stream->location);
        }
    }

    pthread_mutex_unlock(&streams->lock);
    fputs("}", out);

    if (fclose(out) != 0 || len == 1) {
        free(list);
        return;
    }

    params[0] = list;

    if (svw_db_query(&streams->db, &result, "select location_id, company from sv.alert_watchers($1)", 1, params) == SVW_DB_OK) {
        pthread_mutex_lock(&streams->lock);

        for (stream = streams->first; stream != NULL; stream = stream->next) {
            if (now - stream->checked < SVW_STREAM_CHECK) {
                continue;
            }

            for (i = 0; i < PQntuples(result); i++) {
                if (svw_col_int(result, i, "location_id") == stream->location
                    && strcmp(svw_col(result, i, "company"), stream->company) == 0)
                {
                    break;
                }
            }

            if (i == PQntuples(result)) {
                stream->ending = 1;
            }

            stream->checked = now;
        }

        pthread_mutex_unlock(&streams->lock);
        PQclear(result);
    }

    free(list);
}


/* The lowest and highest cursor of those that can take events; 0: there is nothing to tell. */
static int
svw_alert_events_behind(svw_streams_t *streams, int64_t clock, int64_t *low, int64_t *high)
{
    int            n;
    svw_stream_t  *stream;

    n = 0;
    pthread_mutex_lock(&streams->lock);

    for (stream = streams->first; stream != NULL; stream = stream->next) {
        if (stream->len > 0 || stream->cursor >= clock || stream->ending) {
            continue;
        }

        *low = n == 0 || stream->cursor < *low ? stream->cursor : *low;
        *high = n == 0 || stream->cursor > *high ? stream->cursor : *high;
        n++;
    }

    pthread_mutex_unlock(&streams->lock);

    return n;
}


/*
 * `clock' was read before the events: each up to it is visible, so a batch that is
 * not full holds all of them, and whoever was given it is level with the clock.
 */
static int
svw_alert_events_batch(svw_streams_t *streams, int64_t after, int64_t clock)
{
    int            n;
    char           from[24], limit[16];
    int64_t        until;
    PGresult      *events;
    const char    *params[2];
    svw_stream_t  *stream;

    snprintf(from, sizeof(from), "%" PRId64, after);
    snprintf(limit, sizeof(limit), "%d", SVW_STREAM_BATCH);
    params[0] = from;
    params[1] = limit;

    if (svw_db_query(&streams->db, &events, "select n, company, body from sv.alert_events($1, $2)", 2, params) != SVW_DB_OK) {
        svw_log(SVW_LOG_ERROR, "streams: PostgreSQL: %s", streams->db.error);
        svw_db_close(&streams->db);
        return 0;
    }

    n = PQntuples(events);
    until = n == SVW_STREAM_BATCH ? svw_col_int(events, n - 1, "n") : clock;

    pthread_mutex_lock(&streams->lock);

    for (stream = streams->first; stream != NULL; stream = stream->next) {
        if (stream->len == 0 && stream->cursor >= after && stream->cursor < until && !stream->ending) {
            svw_alert_events_tell(stream, events, until);
        }
    }

    pthread_mutex_unlock(&streams->lock);
    PQclear(events);

    return until < clock;
}


/* What of the batch it does not have yet and may see, as far as there is room. */
static void
svw_alert_events_tell(svw_stream_t *stream, const PGresult *events, int64_t until)
{
    int      i;
    int64_t  n;

    for (i = 0; i < PQntuples(events); i++) {
        n = svw_col_int(events, i, "n");

        if (n <= stream->cursor) {
            continue;
        }

        if ((stream->company[0] == '\0' || strcmp(svw_col(events, i, "company"), stream->company) == 0)
            && svw_alert_event_put(stream, events, i) != 0)
        {
            stream->full = 1;
            return;
        }

        stream->cursor = n;
    }

    if (stream->cursor < until) {
        stream->cursor = until;
    }
}


/* -1: there is no room */
static int
svw_alert_event_put(svw_stream_t *stream, const PGresult *events, int i)
{
    int    n, rc;
    char  *text;

    n = asprintf(&text, "id: %s\ndata: %s\n\n", svw_col(events, i, "n"), svw_col(events, i, "body"));

    if (n == -1) {
        return -1;
    }

    if (n > SVW_STREAM_BUFFER) {
        svw_log(SVW_LOG_ERROR, "streams: event %s is too large to be told", svw_col(events, i, "n"));
        rc = 0;

    } else {
        rc = svw_stream_put(stream, text, (size_t) n);
    }

    free(text);

    return rc;
}
