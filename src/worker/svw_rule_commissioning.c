/*
 * duplicate_commissioning: serials that were commissioned in two ways.  One
 * finding for two ways, however many serials they share.
 */

#include "svw_rule.h"

#include <stdio.h>


static int svw_commissioning_corrects(const svw_view_t *view, const svw_clash_t *clash, const svw_made_t *a, const svw_made_t *b);
static void svw_commissioning_record(const svw_view_t *view, svw_say_t *say, const char *serial, const svw_made_t *made);


void
svw_rule_commissioning(const svw_view_t *view, svw_say_t *say)
{
    int                 n;
    char                apart[640];
    size_t              i;
    const svw_made_t   *a, *b;
    const svw_clash_t  *clash;

    if (view->key->lot == NULL) {
        return;
    }

    for (clash = view->key->lot->clash; clash != NULL; clash = clash->next) {
        if (!svw_made_clash(view->facts, clash->a, clash->b)) {
            continue;
        }

        a = svw_facts_made(view->facts, clash->a);
        b = svw_facts_made(view->facts, clash->b);

        if (svw_commissioning_corrects(view, clash, a, b)) {
            svw_say(say, SVW_WEIGHT_EXPLAINED, SVW_SEVERITY_LOW, "batch_correction");
        } else {
            svw_say(say, SVW_WEIGHT_ASKS, SVW_SEVERITY_HIGH, a->lot != b->lot || a->expiry != b->expiry ? "serial_reused" : "line_repeated");
        }

        n = snprintf(apart, sizeof(apart), "%u/%s/%.*s/%u/%s", a->expiry, a->line, b->lot->len, b->lot->text, b->expiry, b->line);
        svw_say_apart(say, (sv_span_t) {(const uint8_t *) apart, n});
        svw_say_key(say, "commissioning", a->lot, b->lot);

        for (i = 0; i < clash->n; i++) {
            svw_say_serial(say, clash->serial[i]);
            svw_commissioning_record(view, say, clash->serial[i], a);
            svw_commissioning_record(view, say, clash->serial[i], b);
        }

        svw_say_end(say);
    }
}


/* All of a lot is sent again with another expiry, soon after: somebody put it right. */
static int
svw_commissioning_corrects(const svw_view_t *view, const svw_clash_t *clash, const svw_made_t *a, const svw_made_t *b)
{
    int64_t   apart;
    uint32_t  most;

    apart = a->first.time_ms < b->first.time_ms ? b->first.time_ms - a->first.time_ms : a->first.time_ms - b->first.time_ms;
    most = a->serials > b->serials ? a->serials : b->serials;

    return a->lot == b->lot && a->expiry != b->expiry && most > 1 && apart <= svw_param_ms(view->params, SVW_P_DUPLICATE_CORRECTION)
           && clash->n * 100.0 >= most * svw_param(view->params, SVW_P_DUPLICATE_WHOLE);
}


/* of the records of a lot the one that names the serial */
static void
svw_commissioning_record(const svw_view_t *view, svw_say_t *say, const char *serial, const svw_made_t *made)
{
    const svw_record_t  *record;

    record = svw_facts_record(view->facts, view->key->gtin, (sv_span_t) { (const uint8_t *) serial, strlen(serial) }, made);

    if (record != NULL) {
        svw_say_fact(say, record->ref, record->time_ms);
    }
}
