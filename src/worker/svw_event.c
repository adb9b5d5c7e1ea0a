#include "svw_event.h"

#include <errno.h>
#include <string.h>


#define SVW_EPC_MAX  2048


/* in front of each EPC in the spool */
typedef struct {
    int64_t   line;
    uint32_t  len;                      /* of what is kept */
} svw_epc_head_t;

typedef struct {
    int       wrong;                    /* lot or expiry are: nothing of the event is loaded */
    int64_t   packs;
    int64_t   containers;
    uint64_t  word[4];                  /* of the packs, a sum modulo 2^256: their order does not matter */
} svw_counts_t;


static const char *svw_event_judge(svw_event_t *event, int *skipped, const char **element, svw_item_t *item);
static int svw_event_load(svw_event_t *event, svw_item_t *item);
static int svw_event_epcs(svw_event_t *event, svw_item_t *item, svw_counts_t *counts);
static int svw_event_item(svw_event_t *event, svw_item_t *item, int64_t n, sv_span_t epc, svw_counts_t *counts);
static void svw_event_fault(svw_event_t *event, const char *reason, const char *element, int skipped, int64_t lines);
static const char *svw_epc_parse(sv_span_t epc, uint8_t *buf, svw_item_t *item);
static void svw_event_add(svw_event_t *event, svw_counts_t *counts, const svw_item_t *item);
static void svw_event_facts(svw_event_t *event, const svw_counts_t *counts, const svw_item_t *item, uint8_t facts[SVW_DIGEST]);
static int svw_event_is(const svw_event_t *event, svw_member_t member, const char *word);
static int svw_event_is_step(const svw_event_t *event, const char *word);
static sv_span_t svw_event_span(const svw_event_t *event, svw_member_t member);
static int svw_starts(sv_span_t text, const char *start);


int
svw_event_init(svw_event_t *event, svw_load_t *load)
{
    memset(event, 0, sizeof(svw_event_t));

    event->load = load;
    event->spool = svw_spool_new();
    event->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    event->md = EVP_MD_CTX_new();

    if (event->spool == NULL || event->sha256 == NULL || event->md == NULL) {
        return svw_load_stop(load, SVW_LOAD_FAILED, "out of memory");
    }

    return 0;
}


void
svw_event_free(svw_event_t *event)
{
    svw_spool_free(event->spool);
    EVP_MD_CTX_free(event->md);
    EVP_MD_free(event->sha256);
}


void
svw_event_begin(svw_event_t *event, int64_t line)
{
    unsigned  i;

    event->n++;
    event->line = line;
    event->epcs = 0;
    event->seen = 0;
    event->twice = 0;

    for (i = 0; i < SVW_MEMBER_TEXTS; i++) {
        event->text[i].len = 0;
    }

    svw_spool_reset(event->spool);
}


void
svw_event_member(svw_event_t *event, svw_member_t member)
{
    if (member == SVW_MEMBER_OTHER) {
        return;
    }

    event->twice |= (event->seen & 1u << member) != 0;
    event->seen |= 1u << member;
}


int
svw_event_text(svw_event_t *event, svw_member_t member, sv_span_t text)
{
    if (member >= SVW_MEMBER_TEXTS) {
        return 0;
    }

    event->text[member].len = text.len;
    memcpy(event->text[member].data, text.data, text.len < SVW_EVENT_TEXT ? text.len : SVW_EVENT_TEXT);

    if (member == SVW_MEMBER_ID
        && (EVP_DigestInit_ex(event->md, event->sha256, NULL) != 1
            || EVP_DigestUpdate(event->md, "id", 3) != 1
            || EVP_DigestUpdate(event->md, text.data, text.len) != 1
            || EVP_DigestFinal_ex(event->md, event->id, NULL) != 1))
    {
        return svw_load_stop(event->load, SVW_LOAD_FAILED, "no SHA-256 from OpenSSL");
    }

    return 0;
}


int
svw_event_epc(svw_event_t *event, int64_t line, sv_span_t epc)
{
    svw_epc_head_t  head;

    memset(&head, 0, sizeof(head));
    head.line = line;
    head.len = epc.len > SVW_EPC_MAX ? SVW_EPC_MAX : (uint32_t) epc.len;
    event->epcs++;

    if (svw_spool_put(event->spool, &head, sizeof(head)) != 0
        || svw_spool_put(event->spool, epc.data, head.len) != 0)
    {
        return svw_load_stop(event->load, SVW_LOAD_FAILED, "temporary file: %s", strerror(errno));
    }

    return 0;
}


int
svw_event_is_event(const svw_event_t *event)
{
    return svw_event_is(event, SVW_MEMBER_TYPE, "ObjectEvent") || svw_event_is(event, SVW_MEMBER_TYPE, "AggregationEvent")
           || svw_event_is(event, SVW_MEMBER_TYPE, "TransactionEvent")
           || svw_event_is(event, SVW_MEMBER_TYPE, "TransformationEvent")
           || svw_event_is(event, SVW_MEMBER_TYPE, "AssociationEvent");
}


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

    svw_event_fault(event, reason, element, skipped, event->epcs);

    return 0;
}


/* Is it one of ours, and does it say all that is needed?  NULL: it is, and it does. */
static const char *
svw_event_judge(svw_event_t *event, int *skipped, const char **element, svw_item_t *item)
{
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

    if (!svw_event_is_step(event, "commissioning")) {
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

    *skipped = 0;

    if (event->twice) {
        *element = NULL;
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
    uint8_t        facts[SVW_DIGEST];
    const char    *wrong, *element;
    svw_counts_t   counts;

    element = "ilmd lotNumber";
    item->lot = svw_event_span(event, SVW_MEMBER_LOT);
    wrong = svw_check_lot(item->lot);

    if (wrong == NULL) {
        element = "ilmd itemExpirationDate";
        wrong = svw_check_expiry(svw_event_span(event, SVW_MEMBER_EXPIRY), event->load->today, &item->expiry);
    }

    counts = (svw_counts_t) { .wrong = wrong != NULL };

    if (svw_event_epcs(event, item, &counts) != 0) {
        return -1;
    }

    if (counts.containers == event->epcs) {
        /* left to others */
        event->load->events_skipped++;
        return 0;
    }

    if (wrong != NULL && counts.packs > 0) {
        event->load->events++;
        svw_event_fault(event, wrong, element, 0, counts.packs);
        return 0;
    }

    if (counts.packs + counts.containers < event->epcs) {
        /* not done with: it may come again, put right, under the same eventID */
        event->load->events++;
        return 0;
    }

    svw_event_facts(event, &counts, item, facts);

    return svw_load_event(event->load, event->n, event->line,
                          event->text[SVW_MEMBER_ID].len != 0 ? event->id : facts, facts);
}


static int
svw_event_epcs(svw_event_t *event, svw_item_t *item, svw_counts_t *counts)
{
    int              got;
    int64_t          i;
    uint8_t          epc[SVW_EPC_MAX];
    svw_epc_head_t   head;

    if (svw_spool_rewind(event->spool) != 0) {
        return svw_load_stop(event->load, SVW_LOAD_FAILED, "temporary file: %s", strerror(errno));
    }

    for (i = 0; i < event->epcs; i++) {
        got = svw_spool_get(event->spool, &head, sizeof(head));

        if (got == 1) {
            got = svw_spool_get(event->spool, epc, head.len);
        }

        if (got != 1) {
            return svw_load_stop(event->load, SVW_LOAD_FAILED, "temporary file: %s", strerror(errno));
        }

        item->line = head.line;

        if (svw_event_item(event, item, i, (sv_span_t) { epc, head.len }, counts) != 0) {
            return -1;
        }
    }

    return 0;
}


static int
svw_event_item(svw_event_t *event, svw_item_t *item, int64_t n, sv_span_t epc, svw_counts_t *counts)
{
    char          place[64];
    uint8_t       buf[SV_GS1_BUFFER];
    svw_fault_t   fault;
    const char   *reason;

    reason = svw_epc_parse(epc, buf, item);

    if (reason == NULL) {
        counts->packs++;
        event->load->lines++;
        svw_event_add(event, counts, item);

        return counts->wrong ? 0 : svw_load_item(event->load, item);
    }

    snprintf(place, sizeof(place), "event %d epcList[%lld]", (int) event->n, (long long) n);

    fault = (svw_fault_t) { .line = item->line, .lines = 1, .element = place, .value = epc, .reason = reason,
                            .skipped = strcmp(reason, "epc_container") == 0 };
    svw_load_fault(event->load, &fault);

    counts->containers += fault.skipped;
    event->load->lines += !fault.skipped;

    return 0;
}


static void
svw_event_fault(svw_event_t *event, const char *reason, const char *element, int skipped, int64_t lines)
{
    char          place[96];
    svw_fault_t   fault;

    snprintf(place, sizeof(place), "event %d%s%s", (int) event->n, element != NULL ? " " : "", element != NULL ? element : "");

    fault = (svw_fault_t) { .line = event->line, .lines = lines, .element = place, .reason = reason, .skipped = skipped };

    if (element != NULL && strcmp(element, "type") == 0) {
        fault.value = svw_event_span(event, SVW_MEMBER_TYPE);
    } else if (element != NULL && strcmp(element, "bizStep") == 0) {
        fault.value = svw_event_span(event, SVW_MEMBER_STEP);
    } else if (element != NULL && strcmp(element, "action") == 0) {
        fault.value = svw_event_span(event, SVW_MEMBER_ACTION);
    } else if (element != NULL && strcmp(element, "ilmd itemExpirationDate") == 0) {
        fault.value = svw_event_span(event, SVW_MEMBER_EXPIRY);
    } else if (element != NULL && strcmp(element, "ilmd lotNumber") == 0) {
        fault.value = svw_event_span(event, SVW_MEMBER_LOT);
    }

    if (fault.value.len > SVW_EVENT_TEXT) {
        fault.value.len = SVW_EVENT_TEXT;
    }

    svw_load_fault(event->load, &fault);
}


/* To (GTIN, serial), whatever form it has; spans point into `buf'. */
static const char *
svw_epc_parse(sv_span_t epc, uint8_t *buf, svw_item_t *item)
{
    sv_gs1_data_t      data;
    sv_gs1_error_t     error;
    const sv_span_t   *gtin, *serial;

    if (svw_starts(epc, "urn:epc:id:sscc:")) {
        return "epc_container";
    }

    if (svw_starts(epc, "urn:epc:class:") || svw_starts(epc, "urn:epc:idpat:")) {
        return "epc_class";
    }

    error = svw_starts(epc, "urn:") ? sv_gs1_urn_parse(epc, 0, buf, &data, NULL) : sv_gs1_uri_parse(epc, 0, buf, &data, NULL);

    if (error != SV_GS1_OK) {
        return "epc_syntax";
    }

    if (sv_gs1_get(&data, 0) != NULL) {
        return "epc_container";
    }

    gtin = sv_gs1_get(&data, 1);
    serial = sv_gs1_get(&data, 21);

    if (gtin == NULL) {
        return "epc_syntax";
    }

    if (serial == NULL) {
        return "epc_class";
    }

    item->gtin = sv_gs1_gtin(*gtin);
    item->serial = *serial;

    return item->gtin != 0 && svw_check_serial(*serial) == NULL ? NULL : "epc_syntax";
}


static void
svw_event_add(svw_event_t *event, svw_counts_t *counts, const svw_item_t *item)
{
    int        i;
    uint64_t   word, carry;
    uint8_t    digest[SVW_DIGEST];

    EVP_DigestInit_ex(event->md, event->sha256, NULL);
    EVP_DigestUpdate(event->md, &item->gtin, sizeof(item->gtin));
    EVP_DigestUpdate(event->md, item->serial.data, item->serial.len);
    EVP_DigestFinal_ex(event->md, digest, NULL);

    for (i = 0, carry = 0; i < 4; i++) {
        memcpy(&word, digest + 8 * i, 8);
        counts->word[i] += carry;
        carry = counts->word[i] < carry;
        counts->word[i] += word;
        carry += counts->word[i] < word;
    }
}


static void
svw_event_facts(svw_event_t *event, const svw_counts_t *counts, const svw_item_t *item, uint8_t facts[SVW_DIGEST])
{
    EVP_DigestInit_ex(event->md, event->sha256, NULL);
    EVP_DigestUpdate(event->md, "commissioning", sizeof("commissioning"));
    EVP_DigestUpdate(event->md, &item->event_ms, sizeof(item->event_ms));
    EVP_DigestUpdate(event->md, &item->expiry, sizeof(item->expiry));
    EVP_DigestUpdate(event->md, &counts->packs, sizeof(counts->packs));
    EVP_DigestUpdate(event->md, counts->word, sizeof(counts->word));
    EVP_DigestUpdate(event->md, item->lot.data, item->lot.len);
    EVP_DigestFinal_ex(event->md, facts, NULL);
}


static int
svw_event_is(const svw_event_t *event, svw_member_t member, const char *word)
{
    size_t  len;

    len = strlen(word);

    return event->text[member].len == len && memcmp(event->text[member].data, word, len) == 0;
}


/*
 * The word, urn:epcglobal:cbv:bizstep:word, https://ref.gs1.org/cbv/BizStep-word,
 * its older forms and its short one, cbv:BizStep-word.
 */
static int
svw_event_is_step(const svw_event_t *event, const char *word)
{
    size_t      i;
    sv_span_t   text;

    text = svw_event_span(event, SVW_MEMBER_STEP);

    if (text.len > SVW_EVENT_TEXT) {
        return 0;
    }

    for (i = text.len; i > 0; i--) {
        if (text.data[i - 1] == ':' || text.data[i - 1] == '/') {
            break;
        }
    }

    text.data += i;
    text.len -= i;

    if (i > 0 && text.len > 8 && strncasecmp((const char *) text.data, "bizstep-", 8) == 0) {
        text.data += 8;
        text.len -= 8;
    }

    return text.len == strlen(word) && memcmp(text.data, word, text.len) == 0;
}


static sv_span_t
svw_event_span(const svw_event_t *event, svw_member_t member)
{
    return (sv_span_t) { event->text[member].data, event->text[member].len };
}


static int
svw_starts(sv_span_t text, const char *start)
{
    size_t  len;

    len = strlen(start);

    return text.len >= len && memcmp(text.data, start, len) == 0;
}
