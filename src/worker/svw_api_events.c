/*
 * GET /epcis/events: the history of one pack or container, as an EPCIS 2.0
 * query document, page by page.
 */

#include "svw_api.h"
#include "svw_epcis.h"
#include "svw_load.h"
#include "svw_scan.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>


#define SVW_EVENTS_PAGE   30
#define SVW_EVENTS_PAGES  1000
#define SVW_EVENTS_TOKEN  4096
#define SVW_EVENTS_STEPS  16
#define SVW_EVENTS_BYTES  (8 * 1024 * 1024)     /* of items a page, then it ends; sv.item_events() does likewise */

typedef struct {
    svw_scanned_t   item;
    const char     *name;               /* of the argument that names it */
    const char     *match;              /* as it was sent */
    const char     *step;
    char            steps[1024];        /* array literal */
    char            from[32], until[32];
    const char     *token;
    unsigned        page;
} svw_events_t;


static int svw_events_get(svw_api_request_t *rq);
static int svw_events_args(svw_api_request_t *rq, svw_events_t *events);
static int svw_events_item(svw_api_request_t *rq, svw_events_t *events);
static int svw_events_steps(svw_api_request_t *rq, svw_events_t *events);
static int svw_events_time(svw_api_request_t *rq, const char *name, char out[32]);
static int svw_events_page(svw_api_request_t *rq, svw_events_t *events);
static int svw_events_answer(svw_api_request_t *rq, svw_events_t *events, const PGresult *rows);
static int svw_events_fit(const svw_events_t *events, const PGresult *rows);
static int svw_events_document(FILE *out, const PGresult *rows, int n);
static void svw_events_next(svw_api_request_t *rq, const svw_events_t *events, const char *token);
static void svw_events_put(FILE *out, const char *name, const char *value);


const svw_api_endpoint_t  svw_api_events[] = {
    { "GET", "/epcis/events", SVW_ANY_ROLE, 0, svw_events_get },
    { NULL, NULL, 0, 0, NULL }
};

static const char *const  svw_events_names[] = { "MATCH_anyEPC", "MATCH_epc", "MATCH_parentID", NULL };


static int
svw_events_get(svw_api_request_t *rq)
{
    int            answered;
    char           location[16], gtin[24], limit[16];
    PGresult      *rows;
    const char    *params[8];
    svw_db_rc_t    rc;
    svw_events_t   events;

    memset(&events, 0, sizeof(events));

    if (svw_events_args(rq, &events) != 0) {
        return 0;
    }

    snprintf(location, sizeof(location), "%" PRId32, rq->who->location.id);
    snprintf(gtin, sizeof(gtin), "%" PRIu64, events.item.gtin);
    snprintf(limit, sizeof(limit), "%u", events.page + 1);

    params[0] = location;
    params[1] = gtin;
    params[2] = events.item.serial;
    params[3] = events.step != NULL ? events.steps : NULL;
    params[4] = events.from[0] != '\0' ? events.from : NULL;
    params[5] = events.until[0] != '\0' ? events.until : NULL;
    params[6] = events.token;
    params[7] = limit;

    /* one more than the page has: is there another? */
    rc = svw_db_query(rq->db, &rows, "select * from sv.item_events($1, $2, $3, $4, $5, $6, $7, $8)", 8, params);

    if (rc != SVW_DB_OK) {
        return svw_api_db_problem(rq, rc);
    }

    answered = svw_events_answer(rq, &events, rows);
    PQclear(rows);

    return answered;
}


/* -1: the problem is answered */
static int
svw_events_args(svw_api_request_t *rq, svw_events_t *events)
{
    if (svw_events_item(rq, events) != 0 || svw_events_steps(rq, events) != 0
        || svw_events_time(rq, "GE_eventTime", events->from) != 0
        || svw_events_time(rq, "LT_eventTime", events->until) != 0)
    {
        return -1;
    }

    return svw_events_page(rq, events);
}


static int
svw_events_item(svw_api_request_t *rq, svw_events_t *events)
{
    unsigned     i, given;
    const char  *value, *wrong;

    for (i = 0, given = 0; svw_events_names[i] != NULL; i++) {
        value = svw_api_query(rq, svw_events_names[i]);

        if (value != NULL) {
            events->name = svw_events_names[i];
            events->match = value;
            given++;
        }
    }

    if (given != 1) {
        svw_api_problem(rq, 400, "invalid_value", "MATCH_anyEPC", "Name one item with MATCH_anyEPC: a Digital Link, a URN,"
                        " (01)..(21).., what a scanner sends, or the 18 digits of an SSCC.");
        return -1;
    }

    wrong = svw_scan_item((sv_span_t) { (const uint8_t *) events->match, strlen(events->match) }, &events->item);

    if (wrong != NULL) {
        svw_api_problem(rq, 400, "invalid_value", events->name, "%s", wrong);
        return -1;
    }

    return 0;
}


/* words or URIs, separated by commas or bars */
static int
svw_events_steps(svw_api_request_t *rq, svw_events_t *events)
{
    char        *out, *end;
    size_t       len;
    unsigned     n;
    const char  *p, *word;

    events->step = svw_api_query(rq, "EQ_bizStep");

    if (events->step == NULL) {
        return 0;
    }

    out = events->steps;
    end = events->steps + sizeof(events->steps);
    *out++ = '{';

    for (p = events->step, n = 0; ; p += len + 1) {
        len = strcspn(p, ",|");
        word = svw_epcis_bare(p, &len);

        if (len == 0 || n++ == SVW_EVENTS_STEPS || (size_t) (end - out) < len + 5 || memchr(word, '"', len) != NULL
            || memchr(word, '\\', len) != NULL)
        {
            svw_api_problem(rq, 400, "invalid_value", "EQ_bizStep", "EQ_bizStep has up to %d business steps, separated by commas.",
                            SVW_EVENTS_STEPS);
            return -1;
        }

        if (n > 1) {
            *out++ = ',';
        }

        *out++ = '"';
        out = (char *) memcpy(out, word, len) + len;
        *out++ = '"';

        len = strcspn(p, ",|");

        if (p[len] == '\0') {
            break;
        }
    }

    *out++ = '}';
    *out = '\0';

    return 0;
}


static int
svw_events_time(svw_api_request_t *rq, const char *name, char out[32])
{
    int64_t      ms;
    const char  *value;

    value = svw_api_query(rq, name);

    if (value == NULL) {
        return 0;
    }

    if (strlen(value) >= 32 || svw_check_time((sv_span_t) { (const uint8_t *) value, strlen(value) }, &ms) != NULL) {
        svw_api_problem(rq, 400, "invalid_value", name, "%s is a time such as 2026-11-20T10:00:00Z.", name);
        return -1;
    }

    snprintf(out, 32, "%s", value);

    return 0;
}


static int
svw_events_page(svw_api_request_t *rq, svw_events_t *events)
{
    size_t       len;
    const char  *value;

    events->page = SVW_EVENTS_PAGE;
    value = svw_api_query(rq, "perPage");

    if (value != NULL) {
        len = strlen(value);

        if (len == 0 || len > 9 || strspn(value, "0123456789") != len || strtoul(value, NULL, 10) == 0) {
            svw_api_problem(rq, 400, "invalid_value", "perPage", "perPage is a number from 1 to %d.", SVW_EVENTS_PAGES);
            return -1;
        }

        events->page = (unsigned) strtoul(value, NULL, 10);

        if (events->page > SVW_EVENTS_PAGES) {
            events->page = SVW_EVENTS_PAGES;
        }
    }

    events->token = svw_api_query(rq, "nextPageToken");

    if (events->token != NULL && (strlen(events->token) > SVW_EVENTS_TOKEN
        || strspn(events->token, "0123456789abcdef") != strlen(events->token)))
    {
        svw_api_problem(rq, 400, "invalid_value", "nextPageToken", "nextPageToken is not one that was given out.");
        return -1;
    }

    return 0;
}


static int
svw_events_answer(svw_api_request_t *rq, svw_events_t *events, const PGresult *rows)
{
    int      n, rc;
    FILE    *out;
    char    *text;
    size_t   len;

    n = svw_events_fit(events, rows);

    if (n < PQntuples(rows)) {
        svw_events_next(rq, events, svw_col(rows, n - 1, "token"));
    }

    text = NULL;
    out = open_memstream(&text, &len);

    if (out == NULL) {
        return svw_api_problem(rq, 503, "unavailable", NULL, "There is no memory for the answer now. Try again later.");
    }

    rc = svw_events_document(out, rows, n);

    if (fclose(out) != 0 || rc != 0) {
        free(text);
        svw_log(SVW_LOG_ERROR, "request %s: the events of an item cannot be written as EPCIS", rq->who->request_id);
        return svw_api_problem(rq, 500, "internal", NULL, "The events cannot be written; the log of the worker says why.");
    }

    svw_api_add_header(rq, "GS1-EPCIS-Version", "2.0.0");
    svw_api_add_header(rq, "GS1-CBV-Version", "2.0.0");
    svw_api_add_header(rq, "GS1-EPC-Format", "Always_GS1_Digital_Link");
    svw_api_add_header(rq, "GS1-CBV-XML-Format", "Always_Web_URI");

    rc = svw_api_text(rq, 200, "application/ld+json", text, len);
    free(text);

    return rc;
}


/* How many of the rows are this page. An event of a container may tell thousands of items. */
static int
svw_events_fit(const svw_events_t *events, const PGresult *rows)
{
    int     i, column;
    size_t  bytes;

    column = PQfnumber(rows, "items");

    for (i = 0, bytes = 0; i < PQntuples(rows) && (unsigned) i < events->page && bytes < SVW_EVENTS_BYTES; i++) {
        bytes += (size_t) PQgetlength(rows, i, column);
    }

    return i;
}


static int
svw_events_document(FILE *out, const PGresult *rows, int n)
{
    int                 i;
    svw_epcis_event_t   event;

    if (svw_epcis_begin(out, SVW_EPCIS_QUERY, (int64_t) time(NULL) * 1000) != 0) {
        return -1;
    }

    for (i = 0; i < n; i++) {
        svw_epcis_row(rows, i, &event);

        if (svw_epcis_put(out, &event, i == 0) != 0) {
            return -1;
        }
    }

    return svw_epcis_end(out, SVW_EPCIS_QUERY);
}


/* A client that follows the link asks the same question of the next page. */
static void
svw_events_next(svw_api_request_t *rq, const svw_events_t *events, const char *token)
{
    char     page[16], *link;
    FILE    *out;
    size_t   len;

    link = NULL;
    out = open_memstream(&link, &len);

    if (out == NULL) {
        return;
    }

    snprintf(page, sizeof(page), "%u", events->page);

    fputs("</epcis/events?", out);
    svw_events_put(out, events->name, events->match);
    svw_events_put(out, "&EQ_bizStep", events->step);
    svw_events_put(out, "&GE_eventTime", events->from[0] != '\0' ? events->from : NULL);
    svw_events_put(out, "&LT_eventTime", events->until[0] != '\0' ? events->until : NULL);
    svw_events_put(out, "&perPage", page);
    svw_events_put(out, "&nextPageToken", token);
    fputs(">; rel=\"next\"", out);

    if (fclose(out) == 0) {
        svw_api_add_header(rq, "Link", link);
    }

    free(link);
}


static void
svw_events_put(FILE *out, const char *name, const char *value)
{
    if (value == NULL) {
        return;
    }

    fprintf(out, "%s=", name);

    for ( ; *value != '\0'; value++) {
        if ((*value >= 'a' && *value <= 'z') || (*value >= 'A' && *value <= 'Z') || (*value >= '0' && *value <= '9')
            || strchr("-._~", *value) != NULL)
        {
            fputc(*value, out);
        } else {
            fprintf(out, "%%%02X", (unsigned) (unsigned char) *value);
        }
    }
}
