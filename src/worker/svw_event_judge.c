#include "svw_event_in.h"

#include <errno.h>
#include <string.h>


static const char *svw_event_judge(svw_event_t *event, int *skipped, const char **element, svw_item_t *item);
static int svw_event_load(svw_event_t *event, svw_item_t *item);
static int svw_event_items(svw_event_t *event, svw_item_t *item);
static void svw_event_fault(svw_event_t *event, const char *reason, const char *element, sv_span_t value, int skipped, int64_t lines);
static void svw_event_facts(svw_event_t *event, const svw_item_t *item, uint8_t facts[SVW_DIGEST]);


int
svw_event_end(svw_event_t *event)
{
    int          skipped;
    svw_item_t   item;
    const char  *reason, *element;

    item = (svw_item_t) { .event_ms = SVW_NO_TIME, .event = event->n };

    reason = svw_event_judge(event, &skipped, &element, &item);

    if (reason == NULL) {
        return svw_event_load(event, &item);
    }

    if (skipped) {
        event->load->events_skipped++;
    } else {
        event->load->events++;
        event->load->lines += event->epcs;
    }

    svw_event_fault(event, reason, element, (sv_span_t) { NULL, 0 }, skipped, event->epcs);

    return 0;
}


/* Is it one of ours, and does it say all that is needed?  NULL: it is, and it does. */
static const char *
svw_event_judge(svw_event_t *event, int *skipped, const char **element, svw_item_t *item)
{
    sv_span_t    step;
    const char  *reason;

    *skipped = 1;

    if (event->seen & 1u << SVW_MEMBER_ERROR) {
        *element = "errorDeclaration";
        return "event_error_declaration";
    }

    if (!svw_event_is(event, SVW_MEMBER_TYPE, "ObjectEvent")) {
        *element = "type";
        return "event_type";
    }

    step = svw_word(svw_event_span(event, SVW_MEMBER_STEP), "bizstep");

    if (!sv_span_eq(step, sv_span("commissioning"))) {
        *element = "bizStep";
        return "event_step";
    }

    if (!svw_event_is(event, SVW_MEMBER_ACTION, "ADD")) {
        *element = "action";
        return "event_action";
    }

    *element = "epcList";

    if (event->epcs == 0) {
        return "event_empty";
    }

    if (event->containers == event->epcs) {
        return "epc_container";
    }

    *skipped = 0;

    if (event->twice != NULL) {
        *element = event->twice;
        return "event_member_twice";
    }

    *element = "eventTime";

    if (event->text[SVW_MEMBER_TIME].len != 0) {
        reason = svw_check_time(svw_event_span(event, SVW_MEMBER_TIME), &item->event_ms);
        if (reason != NULL) {
            return reason;
        }
    }

    return NULL;
}


static int
svw_event_load(svw_event_t *event, svw_item_t *item)
{
    uint8_t            facts[SVW_DIGEST];
    const svw_told_t  *lot, *expiry;

    lot = &event->told[SVW_CLAIM_LOT];
    expiry = &event->told[SVW_CLAIM_EXPIRY];
    event->load->lines += event->items - event->containers + event->bad.n;

    if (event->bad.n != 0) {
        event->load->events++;
        svw_event_fault(event, event->bad.reason, "epcList", svw_text_span(&event->bad.text), 0, event->bad.n);
        return 0;
    }

    if (lot->dialect == NULL || lot->reason != NULL) {
        event->load->events++;
        svw_event_fault(event, lot->dialect == NULL ? "lot_missing" : lot->reason, "lot", svw_text_span(&lot->text), 0, event->items);
        return 0;
    }

    if (expiry->dialect == NULL || expiry->reason != NULL) {
        event->load->events++;
        svw_event_fault(event, expiry->dialect == NULL ? "expiry_missing" : expiry->reason, "expiry", svw_text_span(&expiry->text), 0,
                        event->items);
        return 0;
    }

    item->lot = svw_text_span(&lot->text);
    item->expiry = expiry->day;
    svw_event_facts(event, item, facts);

    if (svw_event_items(event, item) != 0) {
        return -1;
    }

    return svw_load_event(event->load, event->n, event->line, event->text[SVW_MEMBER_ID].len != 0 ? event->id : facts, facts);
}


static int
svw_event_items(svw_event_t *event, svw_item_t *item)
{
    int              got;
    int64_t          i;
    uint8_t          text[SVW_EPC_TEXT], serial[SV_SERIAL_MAX];
    svw_epc_head_t   head;

    if (svw_spool_rewind(event->spool) != 0) {
        return svw_load_stop(event->load, SVW_LOAD_FAILED, "temporary file: %s", strerror(errno));
    }

    for (i = 0; i < event->epcs; i++) {
        got = svw_spool_get(event->spool, &head, sizeof(head));

        if (got == 1) {
            got = svw_spool_get(event->spool, text, head.text);
        }

        if (got == 1) {
            got = svw_spool_get(event->spool, serial, head.serial);
        }

        if (got != 1) {
            return svw_load_stop(event->load, SVW_LOAD_FAILED, "temporary file: %s", strerror(errno));
        }

        if (head.what != SVW_EPC_GOOD || head.gtin == 0) {
            continue;
        }

        item->line = head.line;
        item->gtin = head.gtin;
        item->serial = (sv_span_t) { serial, head.serial };

        if (svw_load_item(event->load, item) != 0) {
            return -1;
        }
    }

    return 0;
}


static void
svw_event_fault(svw_event_t *event, const char *reason, const char *element, sv_span_t value, int skipped, int64_t lines)
{
    char          place[96];
    svw_fault_t   fault;

    snprintf(place, sizeof(place), "event %d%s%s", (int) event->n, element != NULL ? " " : "", element != NULL ? element : "");

    fault = (svw_fault_t) { .line = event->line, .lines = lines, .element = place, .reason = reason, .skipped = skipped, .value = value };

    svw_load_fault(event->load, &fault);
}


static void
svw_event_facts(svw_event_t *event, const svw_item_t *item, uint8_t facts[SVW_DIGEST])
{
    EVP_DigestInit_ex(event->md, event->sha256, NULL);
    EVP_DigestUpdate(event->md, "commissioning", sizeof("commissioning"));
    EVP_DigestUpdate(event->md, &item->event_ms, sizeof(item->event_ms));
    EVP_DigestUpdate(event->md, &item->expiry, sizeof(item->expiry));
    EVP_DigestUpdate(event->md, &event->items, sizeof(event->items));
    EVP_DigestUpdate(event->md, event->word, sizeof(event->word));
    EVP_DigestUpdate(event->md, item->lot.data, item->lot.len);
    EVP_DigestFinal_ex(event->md, facts, NULL);
}
