#include "svw_event_in.h"

#include <limits.h>
#include <string.h>


#define SVW_AHEAD_MS  (24 * 3600 * (int64_t) 1000)      /* a clock may be wrong, but not by more than that */

/* NULL: it is in order */
typedef const char *(*svw_judge_pt)(svw_event_t *event, svw_case_t *judged);

typedef struct {
    const char  *type;
    const char  *kind;
} svw_kind_t;


static const char *svw_judge_type(svw_event_t *event, svw_case_t *judged);
static const char *svw_judge_empty(svw_event_t *event, svw_case_t *judged);
static const char *svw_judge_members(svw_event_t *event, svw_case_t *judged);
static const char *svw_judge_action(svw_event_t *event, svw_case_t *judged);
static const char *svw_judge_step(svw_event_t *event, svw_case_t *judged);
static const char *svw_judge_time(svw_event_t *event, svw_case_t *judged);
static const char *svw_judge_epcs(svw_event_t *event, svw_case_t *judged);
static const char *svw_judge_parent(svw_event_t *event, svw_case_t *judged);
static const char *svw_judge_claims(svw_event_t *event, svw_case_t *judged);
static const char *svw_judge_packs(svw_event_t *event, svw_case_t *judged);
static const char *svw_judge_strict(svw_event_t *event, svw_case_t *judged);
static int svw_judge_action_is(const svw_case_t *judged, const char *action);
static int svw_judge_corrects(const svw_event_t *event);
static const char *svw_judge_otherwise(svw_event_t *event, svw_case_t *judged, svw_claim_t claim);
static int svw_judge_offset(sv_span_t text);


static const svw_kind_t  svw_kinds[] = {
    { "ObjectEvent",      "object" },
    { "AggregationEvent", "aggregation" },
    { "TransactionEvent", "transaction" },
    { NULL, NULL }
};

static const char  *const svw_actions[] = { "add", "observe", "delete", NULL };

/* the first that finds something names it */
static const svw_judge_pt  svw_judges[] = {
    svw_judge_type, svw_judge_empty, svw_judge_members, svw_judge_action, svw_judge_step, svw_judge_time, svw_judge_epcs,
    svw_judge_parent, svw_judge_claims, svw_judge_packs, svw_judge_strict, NULL
};

static const char  *const svw_claim_names[SVW_CLAIMS] = { "lot", "expiry", "market" };
static const char  *const svw_claim_missing[SVW_CLAIMS] = { "lot_missing", "expiry_missing", NULL };


const char *
svw_event_judge(svw_event_t *event, svw_case_t *judged)
{
    unsigned     i;
    const char  *reason;

    judged->skipped = 0;
    judged->commissions = 0;
    judged->element = "";
    judged->value = (sv_span_t) { NULL, 0 };
    judged->row = (svw_event_row_t) {
        .event = event->n, .line = event->line, .event_id = svw_event_span(event, SVW_MEMBER_ID), .event_ms = SVW_NO_TIME,
        .packs = event->items
    };

    judged->row.step = svw_word(svw_event_span(event, SVW_MEMBER_STEP), "bizstep");
    judged->row.disposition = svw_word(svw_event_span(event, SVW_MEMBER_DISPOSITION), "disp");
    judged->row.offset_min = svw_judge_offset(svw_event_span(event, SVW_MEMBER_OFFSET));
    judged->row.read_point = svw_place(svw_event_span(event, SVW_MEMBER_READ_POINT), judged->read_point);
    judged->row.biz_location = svw_place(svw_event_span(event, SVW_MEMBER_BIZ_LOCATION), judged->biz_location);

    for (i = 0; svw_judges[i] != NULL; i++) {
        reason = svw_judges[i](event, judged);

        if (reason != NULL) {
            return reason;
        }
    }

    return NULL;
}


/* Events of a kind that says nothing of packs are left alone; one without any type cannot be read. */
static const char *
svw_judge_type(svw_event_t *event, svw_case_t *judged)
{
    const svw_kind_t  *k;

    for (k = svw_kinds; k->type != NULL && !svw_event_is(event, SVW_MEMBER_TYPE, k->type); k++) { /* void */ }

    judged->row.kind = k->kind;
    judged->element = "type";

    if (k->type != NULL) {
        return NULL;
    }

    if (event->text[SVW_MEMBER_TYPE].len == 0) {
        return "event_type_missing";
    }

    judged->skipped = 1;
    judged->value = svw_event_span(event, SVW_MEMBER_TYPE);

    return "event_type";
}


/*
 * What names no item says nothing of any: sensor readings, quantities of bulk.
 * But the quantities of a commissioning declare how many packs a lot has.
 */
static const char *
svw_judge_empty(svw_event_t *event, svw_case_t *judged)
{
    if (strcmp(judged->row.kind, "object") == 0 && svw_event_is(event, SVW_MEMBER_ACTION, "ADD")
        && sv_span_eq(judged->row.step, sv_span("commissioning"))
        && json_object_get(svw_detail_json(event->detail), "quantityList") != NULL)
    {
        return NULL;
    }

    if (event->epcs != 0 || event->wrong != NULL || svw_judge_corrects(event)
        || (strcmp(judged->row.kind, "aggregation") == 0 && !svw_event_is(event, SVW_MEMBER_ACTION, "ADD")))
    {
        return NULL;
    }

    judged->skipped = 1;
    judged->element = strcmp(judged->row.kind, "aggregation") == 0 ? "childEPCs" : "epcList";

    return "event_empty";
}


static const char *
svw_judge_members(svw_event_t *event, svw_case_t *judged)
{
    unsigned  i;

    if (event->twice != NULL) {
        judged->element = event->twice;
        return "event_member_twice";
    }

    if (event->wrong != NULL) {
        judged->element = event->wrong_at;
        return event->wrong;
    }

    for (i = 0; i < SVW_MEMBER_TEXTS; i++) {
        if (event->text[i].len > SVW_EVENT_TEXT) {
            judged->element = svw_member_name(i);
            judged->value = svw_event_span(event, i);
            return "event_member_length";
        }
    }

    if (event->ids_full) {
        judged->element = "errorDeclaration correctiveEventIDs";
        return "event_member_length";
    }

    return NULL;
}


static const char *
svw_judge_action(svw_event_t *event, svw_case_t *judged)
{
    size_t     i, n;
    sv_span_t  action;

    judged->element = "action";
    action = judged->value = svw_event_span(event, SVW_MEMBER_ACTION);

    for (n = 0; svw_actions[n] != NULL; n++) {
        for (i = 0; i < action.len && svw_actions[n][i] == (action.data[i] | 0x20) && action.data[i] < 'a'; i++) { /* void */ }

        if (i == action.len && svw_actions[n][i] == '\0') {
            judged->row.action = svw_actions[n];
            return NULL;
        }
    }

    return "event_action";
}


/*
 * To make or to end items is something definite: only what is known to mean it
 * is taken for it.  To delete a transaction or an aggregation ends no item.
 */
static const char *
svw_judge_step(svw_event_t *event, svw_case_t *judged)
{
    int  known;

    judged->element = "bizStep";
    judged->value = svw_event_span(event, SVW_MEMBER_STEP);

    if (svw_judge_action_is(judged, "observe")) {
        return NULL;
    }

    known = svw_step_known(judged->row.step, svw_event_span(event, SVW_MEMBER_ACTION));

    if (strcmp(judged->row.kind, "object") != 0) {
        return known ? "event_step_type" : NULL;
    }

    if (!known) {
        return "event_step";
    }

    judged->commissions = sv_span_eq(judged->row.step, sv_span("commissioning"));

    return NULL;
}


static const char *
svw_judge_time(svw_event_t *event, svw_case_t *judged)
{
    const char  *reason;

    judged->element = "eventTime";
    judged->value = svw_event_span(event, SVW_MEMBER_TIME);

    if (judged->value.len == 0) {
        return "event_time_missing";
    }

    reason = svw_check_time(judged->value, &judged->row.event_ms);

    if (reason != NULL) {
        return reason;
    }

    return judged->row.event_ms > event->load->now_ms + SVW_AHEAD_MS ? "event_time_future" : NULL;
}


static const char *
svw_judge_epcs(svw_event_t *event, svw_case_t *judged)
{
    size_t  n;

    if (event->bad.n == 0) {
        return NULL;
    }

    n = (size_t) snprintf(judged->place, sizeof(judged->place), "%s[%lld]",
                          strcmp(judged->row.kind, "aggregation") == 0 ? "childEPCs" : "epcList", (long long) event->bad.place);

    if (event->bad.n > 1) {
        snprintf(judged->place + n, sizeof(judged->place) - n, " and %lld more", (long long) event->bad.n - 1);
    }

    judged->row.line = event->bad.line;
    judged->element = judged->place;
    judged->value = svw_text_span(&event->bad.text);

    return event->bad.reason;
}


/* Nobody's parent is its own child: what is in it could not be told. */
static const char *
svw_judge_parent(svw_event_t *event, svw_case_t *judged)
{
    int          rc;
    svw_epc_t    epc;
    const char  *reason;

    judged->element = "parentID";
    judged->value = svw_event_span(event, SVW_MEMBER_PARENT);

    if (judged->value.len == 0 || strcmp(judged->row.kind, "object") == 0) {
        return strcmp(judged->row.kind, "aggregation") == 0 && !svw_judge_action_is(judged, "observe") ? "parent_missing" : NULL;
    }

    reason = svw_epc_parse(judged->value, judged->parent, &epc);

    if (reason != NULL) {
        return reason;
    }

    judged->row.parent_gtin = epc.gtin;
    judged->row.parent_serial = epc.serial;

    rc = svw_event_has(event, &epc);

    return rc == 1 ? "parent_child" : NULL;
}


/*
 * Where packs are commissioned all that is told of them has to be right and to
 * agree.  Elsewhere it is told beside: what is not plain is left away, and
 * holds up neither a reject nor a shipment.
 */
static const char *
svw_judge_claims(svw_event_t *event, svw_case_t *judged)
{
    unsigned     i;
    sv_span_t    none;
    svw_told_t  *told;

    none = (sv_span_t) { NULL, 0 };

    /* its lot and expiry would be another pack's */
    if (judged->commissions && !svw_set_within(event->codes, event->set)) {
        judged->element = "barcode";
        return "barcode_item";
    }

    for (i = 0; i < SVW_CLAIMS; i++) {
        told = &event->told[i];
        judged->element = svw_claim_names[i];
        judged->value = told->dialect != NULL ? svw_text_span(&told->text) : none;

        if (told->dialect == NULL) {
            continue;
        }

        if (judged->commissions && told->other_dialect != NULL) {
            return svw_judge_otherwise(event, judged, i);
        }

        if (judged->commissions && told->reason != NULL) {
            return told->reason;
        }

        if (told->other_dialect != NULL || told->reason != NULL) {
            told->dialect = NULL;
        }
    }

    judged->row.lot = event->told[SVW_CLAIM_LOT].dialect != NULL ? svw_text_span(&event->told[SVW_CLAIM_LOT].text) : none;
    judged->row.expiry = event->told[SVW_CLAIM_EXPIRY].dialect != NULL ? event->told[SVW_CLAIM_EXPIRY].day : 0;
    judged->row.market = event->told[SVW_CLAIM_MARKET].dialect != NULL ? svw_text_span(&event->told[SVW_CLAIM_MARKET].text) : none;

    return NULL;
}


/*
 * A pack has a lot and an expiry.  Without both, an item of a packaging level
 * above the pack's is a container, as one with an SSCC always is.
 */
static const char *
svw_judge_packs(svw_event_t *event, svw_case_t *judged)
{
    unsigned  i;

    if (!judged->commissions) {
        return NULL;
    }

    judged->value = (sv_span_t) { NULL, 0 };
    judged->packs = event->items > event->containers;

    if (event->told[SVW_CLAIM_LOT].dialect == NULL && event->told[SVW_CLAIM_EXPIRY].dialect == NULL
        && event->items == event->containers + event->cases)
    {
        judged->packs = 0;
    }

    for (i = SVW_CLAIM_LOT; judged->packs && !svw_judge_corrects(event) && i <= SVW_CLAIM_EXPIRY; i++) {
        if (event->told[i].dialect == NULL) {
            judged->element = svw_claim_names[i];
            return svw_claim_missing[i];
        }
    }

    return NULL;
}


static const char *
svw_judge_strict(svw_event_t *event, svw_case_t *judged)
{
    if (event->irregular == NULL || !event->load->source->strict) {
        return NULL;
    }

    judged->element = event->irregular_at;
    judged->value = (sv_span_t) { NULL, 0 };

    return event->irregular;
}


static int
svw_judge_action_is(const svw_case_t *judged, const char *action)
{
    return strcmp(judged->row.action, action) == 0;
}


/* Whose identity is given need not repeat what it declares wrong. */
static int
svw_judge_corrects(const svw_event_t *event)
{
    return (event->seen & 1u << SVW_MEMBER_ERROR) != 0 && event->text[SVW_MEMBER_ID].len != 0;
}


static const char *
svw_judge_otherwise(svw_event_t *event, svw_case_t *judged, svw_claim_t claim)
{
    svw_told_t  *told;

    told = &event->told[claim];

    snprintf(judged->place, sizeof(judged->place), "%s (%s, %s)", svw_claim_names[claim], told->dialect, told->other_dialect);
    snprintf(judged->shown, sizeof(judged->shown), "%.*s, %.*s", (int) svw_text_span(&told->text).len, (const char *) told->text.data,
             (int) svw_text_span(&told->other).len, (const char *) told->other.data);

    judged->element = judged->place;
    judged->value = (sv_span_t) { (const uint8_t *) judged->shown, strlen(judged->shown) };

    return "claim_contradiction";
}


/* +hh:mm, at most 14 hours; INT_MIN: it is not there, or no offset */
static int
svw_judge_offset(sv_span_t text)
{
    int             minutes;
    unsigned        i;
    const uint8_t  *p;

    p = text.data;

    if (text.len != 6 || (p[0] != '+' && p[0] != '-') || p[3] != ':') {
        return INT_MIN;
    }

    for (i = 1; i < 6; i++) {
        if (i != 3 && (p[i] < '0' || p[i] > '9')) {
            return INT_MIN;
        }
    }

    minutes = ((p[1] - '0') * 10 + p[2] - '0') * 60 + (p[4] - '0') * 10 + p[5] - '0';

    if (minutes > 14 * 60 || p[4] > '5') {
        return INT_MIN;
    }

    return p[0] == '-' ? -minutes : minutes;
}
