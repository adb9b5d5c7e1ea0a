#include "svw_consume.h"

#include "svw_audit.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>


typedef enum { SVW_REFUSED_NOT, SVW_REFUSED_IT, SVW_REFUSED_FAILED } svw_refused_rc_t;

/* what is put aside */
typedef struct {
    const char   *kind;
    sv_span_t     gateway;
    uint64_t      boot, seq;
    const char   *case_id;
    const char   *content;              /* or NULL */
    size_t        len, lines;
    const char   *code, *reason;
} svw_refused_t;


static int svw_refused_events(svw_consume_t *consume);
static int svw_refused_event(svw_consume_t *consume, const svw_consume_event_t *event);
static int svw_refused_chain(svw_consume_t *consume);
static svw_refused_rc_t svw_refused_try(svw_consume_t *consume, svw_consume_part_t part);
static int svw_refused_alone(svw_consume_t *consume, svw_refused_t *refused);
static svw_db_rc_t svw_refused_write(svw_consume_t *consume, const svw_refused_t *refused);
static void svw_refused_tell(svw_consume_t *consume, const svw_refused_t *refused);


/*
 * PostgreSQL takes what came not, for what is in it: it would not take it the next
 * time either, and nothing that stands behind it would ever be judged.  What is refused
 * is found by halves, each a transaction of its own; what is left alone in the end is
 * put aside in sv.refused.  Blocks are acknowledged behind all of it, as ever: who is
 * killed in between begins anew, and finds in history, or aside, what was done.
 */
int
svw_consume_narrow(svw_consume_t *consume, int waits)
{
    int  rc;

    consume->narrow = 1;

    rc = svw_refused_events(consume) == 0
         && (!waits || (svw_refused_chain(consume) == 0
                        && svw_refused_try(consume, (svw_consume_part_t) { .findings = 1 }) == SVW_REFUSED_NOT))
         ? 0 : -1;

    consume->narrow = 0;

    return rc;
}


static int
svw_refused_events(svw_consume_t *consume)
{
    size_t  first, left, n;

    for (first = 0, n = consume->n_events; first < consume->n_events; /* void */) {
        left = consume->n_events - first;
        n = n < left ? n : left;

        switch (svw_refused_try(consume, (svw_consume_part_t) { .first = first, .n = n })) {

        case SVW_REFUSED_NOT:
            first += n;
            n *= 2;
            break;

        case SVW_REFUSED_IT:
            if (n > 1) {
                n /= 2;
                break;
            }

            if (svw_refused_event(consume, &consume->events[first]) != 0) {
                return -1;
            }

            first++;
            break;

        default:
            return -1;
        }
    }

    return 0;
}


static int
svw_refused_event(svw_consume_t *consume, const svw_consume_event_t *event)
{
    svw_refused_t  refused;

    refused = (svw_refused_t) {
        .kind = "event", .gateway = event->gateway, .boot = event->boot, .seq = event->event.sequence,
        .content = (const char *) event->line.data, .len = event->line.len, .lines = 1
    };

    return svw_refused_alone(consume, &refused);
}


/* Its place in the chain is the judge's next one: what stands there is passed. */
static int
svw_refused_chain(svw_consume_t *consume)
{
    unsigned       rows;
    svw_refused_t  refused;

    for (rows = SVW_CONSUME_CHAIN; rows <= SVW_CONSUME_CHAIN; /* void */) {

        switch (svw_refused_try(consume, (svw_consume_part_t) { .chain = rows })) {

        case SVW_REFUSED_NOT:
            rows *= 2;
            break;

        case SVW_REFUSED_IT:
            if (rows > 1) {
                rows /= 2;
                break;
            }

            refused = (svw_refused_t) { .kind = "chain" };

            if (svw_refused_alone(consume, &refused) != 0) {
                return -1;
            }

            break;

        default:
            return -1;
        }
    }

    return 0;
}


/* The judge remembers nothing of the last try, nor will it of this one unless it is committed. */
static svw_refused_rc_t
svw_refused_try(svw_consume_t *consume, svw_consume_part_t part)
{
    svw_consume_undo(consume);

    if (svw_stopping() || (consume->judge == NULL && svw_consume_build(consume) != 0)) {
        return SVW_REFUSED_FAILED;
    }

    if (svw_consume_transaction(consume, &part) == 0) {
        return SVW_REFUSED_NOT;
    }

    return consume->refused ? SVW_REFUSED_IT : SVW_REFUSED_FAILED;
}


/* It is to blame only when without it all is well. */
static int
svw_refused_alone(svw_consume_t *consume, svw_refused_t *refused)
{
    char  code[sizeof(consume->db.sqlstate)], reason[SVW_TEXT];

    memcpy(code, consume->db.sqlstate, sizeof(code));
    memcpy(reason, consume->db.error, sizeof(reason));
    refused->code = code;
    refused->reason = reason;

    if (svw_refused_try(consume, (svw_consume_part_t) { 0 }) != SVW_REFUSED_NOT
        || svw_consume_begin(consume) != 0 || svw_consume_db(consume, svw_refused_write(consume, refused)) != 0)
    {
        return -1;
    }

    svw_failpoint("consume-refused");

    if (svw_consume_db(consume, svw_db_do(&consume->db, "commit", 0, NULL)) != 0) {
        return -1;
    }

    svw_failpoint("consume-aside");
    svw_refused_tell(consume, refused);

    return 0;
}


/* In the transaction that judges what stands beside them. */
int
svw_consume_unread(svw_consume_t *consume)
{
    size_t         i;
    svw_refused_t  refused;

    for (i = 0; i < consume->n_unread; i++) {
        refused = (svw_refused_t) {
            .kind = "lines", .gateway = consume->unread[i].gateway, .boot = consume->unread[i].boot,
            .content = consume->unread[i].text, .len = consume->unread[i].len, .lines = consume->unread[i].lines,
            .code = "", .reason = "cannot be read: of another version, or damaged"
        };

        if (svw_consume_db(consume, svw_refused_write(consume, &refused)) != 0) {
            return -1;
        }
    }

    return 0;
}


void
svw_consume_unread_free(svw_consume_t *consume)
{
    size_t  i;

    for (i = 0; i < consume->n_unread; i++) {
        free(consume->unread[i].text);
    }

    free(consume->unread);
    consume->unread = NULL;
    consume->n_unread = 0;
}


/* Called by svw_case_store_apply(), in the transaction that goes on without it. */
svw_db_rc_t
svw_consume_case_refused(void *data, const char *case_id)
{
    svw_consume_t  *consume;
    svw_refused_t   refused;
    svw_db_rc_t     rc;
    char            code[sizeof(consume->db.sqlstate)], reason[SVW_TEXT];

    consume = data;
    memcpy(code, consume->db.sqlstate, sizeof(code));
    memcpy(reason, consume->db.error, sizeof(reason));

    refused = (svw_refused_t) { .kind = "case", .case_id = case_id, .code = code, .reason = reason };
    rc = svw_refused_write(consume, &refused);

    if (rc == SVW_DB_OK) {
        svw_refused_tell(consume, &refused);
    }

    return rc;
}


static svw_db_rc_t
svw_refused_write(svw_consume_t *consume, const svw_refused_t *refused)
{
    char         *hex, gateway[SV_EVENT_GATEWAY + 1], boot[24], seq[24], lines[24];
    const char   *params[10];
    svw_db_rc_t   rc;

    hex = malloc(2 * refused->len + sizeof("\\x"));

    if (hex == NULL) {
        svw_log(SVW_LOG_ERROR, "out of memory");
        exit(SVW_EXIT_FAILED);
    }

    memcpy(hex, "\\x", sizeof("\\x"));

    if (refused->len > 0) {
        svw_audit_hex((const uint8_t *) refused->content, refused->len, hex + 2);
    }

    snprintf(gateway, sizeof(gateway), "%.*s", (int) refused->gateway.len, (const char *) refused->gateway.data);
    snprintf(boot, sizeof(boot), "%" PRIu64, refused->boot);
    snprintf(seq, sizeof(seq), "%" PRIu64, refused->seq);
    snprintf(lines, sizeof(lines), "%zu", refused->lines);

    params[0] = consume->holder;
    params[1] = refused->kind;
    params[2] = refused->gateway.len > 0 ? gateway : NULL;
    params[3] = refused->gateway.len > 0 ? boot : NULL;
    params[4] = refused->seq != 0 ? seq : NULL;
    params[5] = refused->case_id;
    params[6] = refused->content != NULL ? hex : NULL;
    params[7] = refused->content != NULL ? lines : NULL;
    params[8] = refused->code;
    params[9] = refused->reason;

    rc = svw_db_do(&consume->db, "select sv.judge_refuse($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)", 10, params);
    free(hex);

    return rc;
}


static void
svw_refused_tell(svw_consume_t *consume, const svw_refused_t *refused)
{
    char  what[SVW_TEXT];

    consume->aside++;

    if (refused->case_id != NULL) {
        snprintf(what, sizeof(what), "the case %s is not written", refused->case_id);

    } else if (refused->gateway.len > 0) {
        snprintf(what, sizeof(what), "the event %" PRIu64 " of the gateway \"%.*s\" (boot %" PRIu64 ") is put aside", refused->seq,
                 (int) refused->gateway.len, (const char *) refused->gateway.data, refused->boot);

    } else {
        snprintf(what, sizeof(what), "a row of the audit chain is put aside");
    }

    svw_log(SVW_LOG_ERROR, "%s, what comes behind it is judged: PostgreSQL refuses it (%s: %s); see serial-verify-worker refused",
            what, refused->code, refused->reason);
}
