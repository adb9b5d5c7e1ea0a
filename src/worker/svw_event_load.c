#include "svw_event_in.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>


static int svw_event_row(svw_event_t *event, svw_case_t *judged);
static int svw_event_members(svw_event_t *event, const svw_case_t *judged);
static int svw_event_quarantine(svw_event_t *event, const svw_case_t *judged, const char *reason);
static void svw_event_note(svw_event_t *event, const svw_case_t *judged, const char *reason);
static void svw_event_again(svw_event_t *event, const svw_case_t *judged);
static int svw_event_facts(svw_event_t *event, const svw_case_t *judged, uint8_t facts[SVW_DIGEST]);
static char *svw_event_error(svw_event_t *event);
static void svw_event_mix_quantities(svw_event_t *event);
static void svw_event_mix(svw_event_t *event, const char *text);
static void svw_event_mix_span(svw_event_t *event, const char *name, sv_span_t text);


int
svw_event_end(svw_event_t *event)
{
    svw_case_t   judged;
    const char  *reason;

    reason = svw_event_judge(event, &judged);

    if (event->load->rc != SVW_LOAD_OK) {
        return -1;
    }

    if (reason != NULL && judged.skipped) {
        event->load->events_skipped++;
        svw_event_note(event, &judged, reason);
        return 0;
    }

    event->load->lines += event->items + event->bad.n;

    if (reason != NULL) {
        return svw_event_quarantine(event, &judged, reason);
    }

    if (event->again.n != 0) {
        svw_event_again(event, &judged);
    }

    return svw_event_members(event, &judged) == 0 ? svw_event_row(event, &judged) : -1;
}


static int
svw_event_row(svw_event_t *event, svw_case_t *judged)
{
    int    rc;
    char  *error, *detail;

    error = NULL;

    if (svw_event_facts(event, judged, judged->row.facts) != 0) {
        return svw_load_stop(event->load, SVW_LOAD_FAILED, "no SHA-256 from OpenSSL");
    }

    memcpy(judged->row.identity, event->text[SVW_MEMBER_ID].len != 0 ? event->id : judged->row.facts, SVW_DIGEST);

    if (event->seen & 1u << SVW_MEMBER_ERROR) {
        error = svw_event_error(event);
        if (error == NULL) {
            return svw_load_stop(event->load, SVW_LOAD_FAILED, "out of memory");
        }
    }

    detail = svw_detail_print(event->detail);

    judged->row.error = error;
    judged->row.detail = detail;
    rc = svw_load_event(event->load, &judged->row);

    free(error);
    free(detail);

    return rc;
}


/* The packs it commissions; whoever else is in it.  All of an event that is declared an error is only in it. */
static int
svw_event_members(svw_event_t *event, const svw_case_t *judged)
{
    int              got, packs;
    uint8_t          text[SVW_EPC_TEXT], serial[SV_SERIAL_MAX];
    svw_item_t       item;
    svw_epc_row_t    epc;
    svw_epc_head_t   head;

    if (svw_spool_rewind(event->spool) != 0) {
        return svw_load_stop(event->load, SVW_LOAD_FAILED, "temporary file: %s", strerror(errno));
    }

    packs = judged->commissions && judged->packs && !(event->seen & 1u << SVW_MEMBER_ERROR);

    item = (svw_item_t) { .lot = judged->row.lot, .expiry = judged->row.expiry, .event_ms = judged->row.event_ms,
                          .market = judged->row.market, .event = event->n };

    while ((got = svw_event_next(event, &head, text, serial)) == 1) {
        if (head.what != SVW_EPC_GOOD) {
            continue;
        }

        if (packs && head.gtin != 0) {
            item.line = head.line;
            item.gtin = head.gtin;
            item.serial = (sv_span_t) { serial, head.serial };

            if (svw_load_item(event->load, &item) != 0) {
                return -1;
            }

            continue;
        }

        epc = (svw_epc_row_t) { event->n, head.line, head.gtin, { serial, head.serial } };

        if (svw_load_epc(event->load, &epc) != 0) {
            return -1;
        }
    }

    return got;
}


static int
svw_event_quarantine(svw_event_t *event, const svw_case_t *judged, const char *reason)
{
    int                    rc;
    char                  *content;
    svw_quarantine_row_t   row;

    content = svw_event_content(event);

    row = (svw_quarantine_row_t) { .event = event->n, .line = judged->row.line, .packs = event->items + event->bad.n,
                                   .reason = reason, .element = judged->element, .value = judged->value, .content = content };
    rc = svw_load_quarantine(event->load, &row);
    free(content);

    return event->load->rc == SVW_LOAD_OK ? rc : -1;
}


static void
svw_event_note(svw_event_t *event, const svw_case_t *judged, const char *reason)
{
    char          place[160];
    svw_fault_t   fault;

    snprintf(place, sizeof(place), "event %d %s", (int) event->n, judged->element);

    fault = (svw_fault_t) { .line = event->line, .lines = event->epcs, .element = place, .value = judged->value,
                            .reason = reason, .skipped = 1 };
    svw_load_fault(event->load, &fault);
}


static void
svw_event_again(svw_event_t *event, const svw_case_t *judged)
{
    char          place[96];
    svw_fault_t   fault;

    snprintf(place, sizeof(place), "event %d %s[%lld]", (int) event->n,
             strcmp(judged->row.kind, "aggregation") == 0 ? "childEPCs" : "epcList", (long long) event->again.place);

    fault = (svw_fault_t) { .line = event->again.line, .lines = event->again.n, .element = place,
                            .value = svw_text_span(&event->again.text), .reason = event->again.reason, .skipped = 1 };
    svw_load_fault(event->load, &fault);
}


/*
 * What the gateway acts on, whatever the syntax, the order of the items and
 * the form of the identifiers.  Commissionings of packs are digested as they
 * always were: events recorded by an older release are known again.
 */
static int
svw_event_facts(svw_event_t *event, const svw_case_t *judged, uint8_t facts[SVW_DIGEST])
{
    const svw_event_row_t  *row;

    row = &judged->row;

    if (EVP_DigestInit_ex(event->md, event->sha256, NULL) != 1) {
        return -1;
    }

    if (judged->commissions) {
        svw_event_mix(event, "commissioning");

    } else {
        svw_event_mix(event, row->kind);
        svw_event_mix(event, row->action);
        svw_event_mix_span(event, "step", row->step);
    }

    EVP_DigestUpdate(event->md, &row->event_ms, sizeof(row->event_ms));
    EVP_DigestUpdate(event->md, &row->expiry, sizeof(row->expiry));
    EVP_DigestUpdate(event->md, &event->items, sizeof(event->items));
    EVP_DigestUpdate(event->md, event->word, sizeof(event->word));
    EVP_DigestUpdate(event->md, row->lot.data, row->lot.len);

    if (row->parent_serial.len != 0) {
        svw_event_mix_span(event, "parent", row->parent_serial);
        EVP_DigestUpdate(event->md, &row->parent_gtin, sizeof(row->parent_gtin));
    }

    if (row->market.len != 0) {
        svw_event_mix_span(event, "market", row->market);
    }

    if (event->items == 0) {
        svw_event_mix_quantities(event);
    }

    return EVP_DigestFinal_ex(event->md, facts, NULL) == 1 ? 0 : -1;
}


/* {"time": .., "reason": .., "corrective": [..]} */
static char *
svw_event_error(svw_event_t *event)
{
    char        *text, *p;
    json_t      *error, *ids;
    sv_span_t    reason;

    error = json_object();
    ids = json_array();
    reason = svw_word(svw_event_span(event, SVW_MEMBER_ERROR_REASON), "er");

    for (p = event->ids; p < event->ids + event->ids_len; p += strlen(p) + 1) {
        json_array_append_new(ids, svw_form_text((sv_span_t) { (const uint8_t *) p, strlen(p) }));
    }

    if (event->text[SVW_MEMBER_ERROR_TIME].len != 0) {
        json_object_set_new(error, "time", svw_form_time(svw_event_span(event, SVW_MEMBER_ERROR_TIME)));
    }

    if (reason.len != 0) {
        json_object_set_new(error, "reason", svw_form_text(reason));
    }

    json_object_set_new(error, "corrective", ids);
    text = json_dumps(error, JSON_COMPACT|JSON_SORT_KEYS);
    json_decref(error);

    return text;
}


/* An event that names no item says how many there are. */
static void
svw_event_mix_quantities(svw_event_t *event)
{
    char    *text;
    json_t  *list;

    list = json_object_get(svw_detail_json(event->detail), "quantityList");
    text = list != NULL ? json_dumps(list, JSON_COMPACT|JSON_SORT_KEYS) : NULL;

    if (text != NULL) {
        svw_event_mix(event, "quantities");
        svw_event_mix(event, text);
        free(text);
    }
}


static void
svw_event_mix(svw_event_t *event, const char *text)
{
    EVP_DigestUpdate(event->md, text, strlen(text) + 1);
}


/* its length in front: nothing runs into its neighbour */
static void
svw_event_mix_span(svw_event_t *event, const char *name, sv_span_t text)
{
    uint64_t  len;

    len = text.len;
    EVP_DigestUpdate(event->md, "", 1);
    svw_event_mix(event, name);
    EVP_DigestUpdate(event->md, &len, sizeof(len));
    EVP_DigestUpdate(event->md, text.data, text.len);
}
