#include "svw_consume.h"

#include "svw_audit.h"

#include <stdlib.h>
#include <string.h>


#define SVW_AGAIN_UNREAD  "still cannot be read"

/* columns of sv.judge_again */
typedef enum { SVW_AGAIN_N, SVW_AGAIN_KIND, SVW_AGAIN_GATEWAY, SVW_AGAIN_BOOT, SVW_AGAIN_SEQ, SVW_AGAIN_CONTENT } svw_again_column_e;


static int svw_again_row(svw_consume_t *consume, const PGresult *rows);
static int svw_again_judge(svw_consume_t *consume, const PGresult *rows, size_t *unread);
static int svw_again_lines(svw_consume_t *consume, const PGresult *rows, size_t *unread);
static int svw_again_done(svw_consume_t *consume, const char *n, const char *code, const char *reason);
static int svw_again_refused(svw_consume_t *consume, const char *n);


/*
 * Somebody wants what was put aside to be judged: it goes the way of all that comes,
 * and in the same transaction it is put aside no more.  What is refused again stays,
 * with the new reason, and is not wanted any more.
 */
int
svw_consume_again(svw_consume_t *consume)
{
    int        rc;
    PGresult  *rows;

    consume->refused = 0;
    consume->narrow = 1;

    rc = svw_consume_begin(consume) == 0
         && svw_consume_db(consume, svw_db_query(&consume->db, &rows, "select * from sv.judge_again()", 0, NULL)) == 0 ? 0 : -1;

    if (rc == 0) {
        rc = PQntuples(rows) == 1 ? svw_again_row(consume, rows) : svw_consume_commit(consume);
        PQclear(rows);
    }

    consume->narrow = 0;
    consume->n_events = 0;

    return rc;
}


static int
svw_again_row(svw_consume_t *consume, const PGresult *rows)
{
    size_t       unread;
    const char  *n;

    n = PQgetvalue(rows, 0, SVW_AGAIN_N);
    unread = 0;

    if (svw_again_judge(consume, rows, &unread) != 0 || svw_consume_cases(consume) != 0) {
        return consume->refused ? svw_again_refused(consume, n) : -1;
    }

    if (svw_again_done(consume, n, unread > 0 ? "" : NULL, unread > 0 ? SVW_AGAIN_UNREAD : NULL) != 0) {
        return -1;
    }

    svw_failpoint("consume-again");

    if (svw_consume_commit(consume) != 0) {
        return -1;
    }

    /* a case is said again by a judge that is built anew */
    if (strcmp(PQgetvalue(rows, 0, SVW_AGAIN_KIND), "case") == 0) {
        svw_consume_forget(consume);
    }

    svw_log(SVW_LOG_NOTICE, "%s of what was put aside %s", n, unread > 0 ? SVW_AGAIN_UNREAD : "is judged");

    return 0;
}


static int
svw_again_judge(svw_consume_t *consume, const PGresult *rows, size_t *unread)
{
    const char  *kind;

    kind = PQgetvalue(rows, 0, SVW_AGAIN_KIND);

    if (strcmp(kind, "chain") == 0) {
        return svw_consume_chain(consume, 1, PQgetvalue(rows, 0, SVW_AGAIN_N));
    }

    return strcmp(kind, "case") == 0 ? 0 : svw_again_lines(consume, rows, unread);
}


static int
svw_again_lines(svw_consume_t *consume, const PGresult *rows, size_t *unread)
{
    int                   rc;
    size_t                len;
    uint8_t              *text;
    const char           *hex;
    svw_consume_event_t   of;

    /* \x and the digits */
    hex = PQgetvalue(rows, 0, SVW_AGAIN_CONTENT);
    len = strlen(hex) / 2 - 1;
    text = malloc(len + 1);

    if (text == NULL) {
        return svw_consume_memory(consume);
    }

    of = (svw_consume_event_t) {
        .gateway = svw_consume_span(rows, 0, SVW_AGAIN_GATEWAY),
        .boot = strtoull(PQgetvalue(rows, 0, SVW_AGAIN_BOOT), NULL, 10)
    };

    rc = svw_audit_unhex(hex + 2, text, len);

    if (rc == 0) {
        *unread = svw_consume_lines(consume, &of, (sv_span_t) { text, len }, NULL);
        rc = svw_consume_history(consume, 0, consume->n_events);
    }

    free(text);

    return rc;
}


static int
svw_again_done(svw_consume_t *consume, const char *n, const char *code, const char *reason)
{
    const char *const  params[] = { n, code, reason };

    return svw_consume_db(consume, svw_db_do(&consume->db, "select sv.judge_again_done($1, $2, $3)", 3, params));
}


static int
svw_again_refused(svw_consume_t *consume, const char *n)
{
    char  code[sizeof(consume->db.sqlstate)], reason[SVW_TEXT];

    memcpy(code, consume->db.sqlstate, sizeof(code));
    memcpy(reason, consume->db.error, sizeof(reason));
    svw_consume_undo(consume);

    svw_log(SVW_LOG_ERROR, "PostgreSQL refuses %s of what was put aside again (%s: %s)", n, code, reason);

    return svw_consume_begin(consume) == 0 && svw_again_done(consume, n, code, reason) == 0
           && svw_consume_db(consume, svw_db_do(&consume->db, "commit", 0, NULL)) == 0 ? 0 : -1;
}
