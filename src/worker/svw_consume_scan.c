#include "svw_consume.h"

#include <math.h>
#include <string.h>


typedef struct {
    const char  *word;
    unsigned     value;
} svw_scan_word_t;


static const svw_scan_word_t  svw_scan_ops[] = {
    { "verify", SVW_OP_VERIFY }, { "supply", SVW_OP_SUPPLY }, { "destroy", SVW_OP_DESTROY }, { "export", SVW_OP_EXPORT },
    { "sample", SVW_OP_SAMPLE }, { "free_sample", SVW_OP_FREE_SAMPLE }, { "lock", SVW_OP_LOCK }, { "steal", SVW_OP_STEAL },
    { "check_out", SVW_OP_CHECK_OUT }, { "undo", SVW_OP_UNDO }, { NULL, 0 }
};


svw_op_t
svw_consume_op(const char *word)
{
    const svw_scan_word_t  *op;

    if (word == NULL) {
        return SVW_OP_VERIFY;
    }

    for (op = svw_scan_ops; op->word != NULL; op++) {
        if (strcmp(op->word, word) == 0) {
            return op->value;
        }
    }

    return SVW_OP_OTHER;
}


svw_entry_t
svw_consume_entry(sv_span_t word)
{
    if (sv_span_eq(word, sv_span("scanned"))) {
        return SVW_ENTRY_SCANNED;
    }

    return sv_span_eq(word, sv_span("manual")) ? SVW_ENTRY_MANUAL : SVW_ENTRY_UNKNOWN;
}


/*
 * A row of history to the judge: the same when it comes in as when it is read
 * again.  A site's place is a fact of its own, that may be put right later.
 */
int
svw_consume_feed(svw_consume_t *consume, const svw_consume_scan_t *scan)
{
    svw_judge_scan_t        to;
    svw_judge_commission_t  late;

    svw_consume_judged(consume, scan, &to);
    consume->fed = 1;
    consume->ref = scan->ref;

    if (svw_judge_scan(consume->judge, &to) != 0) {
        return svw_consume_memory(consume);
    }

    if (scan->pack_ms == 0) {
        return 0;
    }

    /* uploaded between the answer and now, or something else was presented */
    late = (svw_judge_commission_t) {
        .time_ms = scan->pack_ms, .gtin = to.gtin, .lot = scan->pack_lot, .expiry = scan->pack_expiry,
        .serials = &to.serial, .n_serials = 1
    };

    return svw_judge_commission(consume->judge, &late) == 0 ? 0 : svw_consume_memory(consume);
}


void
svw_consume_judged(const svw_consume_t *consume, const svw_consume_scan_t *scan, svw_judge_scan_t *to)
{
    const sv_event_t      *event;
    const svw_site_row_t  *site, *before;

    event = &scan->event;
    site = svw_consume_site(consume, event->location);
    before = svw_consume_site(consume, scan->before);

    *to = (svw_judge_scan_t) {
        .ref = scan->ref,
        .time_ms = event->occurred_ms != 0 ? event->occurred_ms : event->at_ms,
        .gtin = event->gtin, .serial = event->serial, .lot = event->lot, .expiry = event->expiry,
        .operation = scan->operation, .of = scan->of,
        .kind = event->location == 0 ? SVW_ACTOR_CONSUMER : site != NULL ? site->kind : SVW_ACTOR_UNKNOWN,
        .session = event->session, .lat = event->lat, .lon = event->lon,
        .accuracy_km = event->accuracy_km != 0 ? event->accuracy_km : NAN,
        .entry = svw_consume_entry(event->entry_mode), .reason = event->reason, .hint = event->hint
    };

    memcpy(to->country, event->country, sizeof(to->country));

    if (site != NULL) {
        to->actor = (sv_span_t) { (const uint8_t *) site->gln, strlen(site->gln) };
    }

    if (before != NULL) {
        to->before = (sv_span_t) { (const uint8_t *) before->gln, strlen(before->gln) };
    }
}


sv_span_t
svw_consume_span(const PGresult *rows, int row, int column)
{
    return (sv_span_t) { (const uint8_t *) PQgetvalue(rows, row, column), (size_t) PQgetlength(rows, row, column) };
}
