#include "svw_event_in.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>


static int svw_event_item(svw_event_t *event, const svw_epc_t *epc);
static int svw_event_digest(svw_event_t *event, const svw_epc_t *epc, uint64_t word[4]);
static int svw_event_spool(svw_event_t *event, const svw_epc_head_t *head, sv_span_t text, sv_span_t serial);
static void svw_event_remark(svw_remark_t *remark, int64_t place, int64_t line, sv_span_t text, const char *reason);
static const char *svw_claim_check(svw_event_t *event, svw_claim_t claim, sv_span_t *text, uint8_t buf[2], sv_day_t *day);
static int svw_told_otherwise(const svw_told_t *told, svw_claim_t claim, sv_span_t text, const char *reason, sv_day_t day);


static const char  *const svw_member_names[] = {
    "type", "action", "bizStep", "disposition", "eventID", "eventTime", "eventTimeZoneOffset", "parentID", "readPoint",
    "bizLocation", "errorDeclaration declarationTime", "errorDeclaration reason", "epcList", "errorDeclaration", ""
};


svw_event_t *
svw_event_new(svw_load_t *load)
{
    svw_event_t  *event;

    event = calloc(1, sizeof(svw_event_t));

    if (event != NULL) {
        event->load = load;
        event->spool = svw_spool_new();
        event->set = svw_set_new();
        event->codes = svw_set_new();
        event->detail = svw_detail_new();
        event->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
        event->md = EVP_MD_CTX_new();
    }

    if (event == NULL || event->spool == NULL || event->set == NULL || event->codes == NULL || event->detail == NULL
        || event->sha256 == NULL || event->md == NULL)
    {
        svw_event_free(event);
        svw_load_stop(load, SVW_LOAD_FAILED, "out of memory");
        return NULL;
    }

    return event;
}


void
svw_event_free(svw_event_t *event)
{
    if (event == NULL) {
        return;
    }

    svw_spool_free(event->spool);
    svw_set_free(event->set);
    svw_set_free(event->codes);
    svw_detail_free(event->detail);
    EVP_MD_CTX_free(event->md);
    EVP_MD_free(event->sha256);
    free(event);
}


void
svw_event_begin(svw_event_t *event, int64_t line)
{
    unsigned  i;

    event->n++;
    event->line = line;
    event->seen = 0;
    event->twice = NULL;
    event->wrong = NULL;
    event->irregular = NULL;
    event->epcs = event->items = event->containers = event->cases = 0;
    event->bad.n = event->again.n = 0;
    event->ids_len = 0;
    event->ids_full = 0;
    memset(event->word, 0, sizeof(event->word));

    for (i = 0; i < SVW_MEMBER_TEXTS; i++) {
        event->text[i].len = 0;
    }

    for (i = 0; i < SVW_CLAIMS; i++) {
        event->told[i].dialect = NULL;
        event->told[i].other_dialect = NULL;
        event->told[i].text.len = 0;
    }

    svw_spool_reset(event->spool);
    svw_set_clear(event->set);
    svw_set_clear(event->codes);
    svw_detail_clear(event->detail);
}


/* As if this one had not begun: the document itself was taken for it. */
void
svw_event_none(svw_event_t *event)
{
    event->n = 0;
}


void
svw_event_member(svw_event_t *event, svw_member_t member)
{
    if (member == SVW_MEMBER_OTHER) {
        return;
    }

    if (event->seen & 1u << member) {
        event->twice = svw_member_names[member];
    }

    event->seen |= 1u << member;
}


int
svw_event_text(svw_event_t *event, svw_member_t member, sv_span_t text)
{
    if (member >= SVW_MEMBER_TEXTS) {
        return 0;
    }

    svw_text_set(&event->text[member], text);

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
svw_event_epc(svw_event_t *event, int64_t line, sv_span_t text)
{
    int              rc;
    uint8_t          buf[SV_GS1_BUFFER];
    svw_epc_t        epc;
    const char      *reason;
    svw_epc_head_t   head;

    epc.serial.len = 0;
    reason = svw_epc_parse(text, buf, &epc);

    memset(&head, 0, sizeof(head));
    head.line = line;
    head.text = text.len < SVW_EPC_TEXT ? (uint16_t) text.len : SVW_EPC_TEXT;

    if (reason != NULL) {
        head.what = SVW_EPC_BAD;
        epc.serial.len = 0;
        svw_event_remark(&event->bad, event->epcs, line, text, reason);

    } else {
        head.gtin = epc.gtin;
        head.serial = (uint8_t) epc.serial.len;

        rc = svw_event_item(event, &epc);
        if (rc == -1) {
            return -1;
        }

        if (rc == 0) {
            head.what = SVW_EPC_TWICE;
            svw_event_remark(&event->again, event->epcs, line, text, "epc_twice");
        }
    }

    event->epcs++;

    return svw_event_spool(event, &head, text, epc.serial);
}


int
svw_event_next(svw_event_t *event, svw_epc_head_t *head, uint8_t text[SVW_EPC_TEXT], uint8_t serial[SV_SERIAL_MAX])
{
    int  got;

    got = svw_spool_get(event->spool, head, sizeof(svw_epc_head_t));

    if (got == 1) {
        got = svw_spool_get(event->spool, text, head->text) == 1 && svw_spool_get(event->spool, serial, head->serial) == 1 ? 1 : -1;
    }

    return got >= 0 ? got : svw_load_stop(event->load, SVW_LOAD_FAILED, "temporary file: %s", strerror(errno));
}


/* 1, or 0 when the event names it already, or -1 */
static int
svw_event_item(svw_event_t *event, const svw_epc_t *epc)
{
    int        i, rc;
    uint64_t   word[4], carry, first;

    if (svw_event_digest(event, epc, word) != 0) {
        return -1;
    }

    rc = svw_set_add(event->set, word[0]);

    if (rc == -1) {
        return svw_load_stop(event->load, SVW_LOAD_FAILED, "out of memory");
    }

    if (rc == 0) {
        return 0;
    }

    for (i = 0, carry = 0; i < 4; i++) {
        first = event->word[i] + carry;
        carry = first < carry;
        event->word[i] = first + word[i];
        carry += event->word[i] < first;
    }

    event->items++;
    event->containers += epc->gtin == 0;
    event->cases += epc->gtin / UINT64_C(10000000000000) >= 1 && epc->gtin / UINT64_C(10000000000000) <= 8;

    return 1;
}


int
svw_event_has(svw_event_t *event, const svw_epc_t *epc)
{
    uint64_t  word[4];

    return svw_event_digest(event, epc, word) == 0 ? svw_set_has(event->set, word[0]) : -1;
}


static int
svw_event_digest(svw_event_t *event, const svw_epc_t *epc, uint64_t word[4])
{
    uint8_t  digest[SVW_DIGEST];

    if (EVP_DigestInit_ex(event->md, event->sha256, NULL) != 1
        || EVP_DigestUpdate(event->md, &epc->gtin, sizeof(epc->gtin)) != 1
        || EVP_DigestUpdate(event->md, epc->serial.data, epc->serial.len) != 1
        || EVP_DigestFinal_ex(event->md, digest, NULL) != 1)
    {
        return svw_load_stop(event->load, SVW_LOAD_FAILED, "no SHA-256 from OpenSSL");
    }

    memcpy(word, digest, SVW_DIGEST);

    return 0;
}


static int
svw_event_spool(svw_event_t *event, const svw_epc_head_t *head, sv_span_t text, sv_span_t serial)
{
    if (svw_spool_put(event->spool, head, sizeof(svw_epc_head_t)) != 0
        || svw_spool_put(event->spool, text.data, head->text) != 0
        || svw_spool_put(event->spool, serial.data, head->serial) != 0)
    {
        return svw_load_stop(event->load, SVW_LOAD_FAILED, "temporary file: %s", strerror(errno));
    }

    return 0;
}


static void
svw_event_remark(svw_remark_t *remark, int64_t place, int64_t line, sv_span_t text, const char *reason)
{
    if (remark->n++ == 0) {
        remark->place = place;
        remark->line = line;
        remark->reason = reason;
        svw_text_set(&remark->text, text);
    }
}


int
svw_event_corrective(svw_event_t *event, sv_span_t event_id)
{
    if (event_id.len == 0 || memchr(event_id.data, '\0', event_id.len) != NULL
        || event_id.len >= SVW_EVENT_IDS - event->ids_len)
    {
        event->ids_full = 1;
        return 0;
    }

    memcpy(event->ids + event->ids_len, event_id.data, event_id.len);
    event->ids_len += event_id.len;
    event->ids[event->ids_len++] = '\0';

    return 0;
}


int
svw_event_claim(svw_event_t *event, svw_claim_t claim, int standard, const char *dialect, sv_span_t text)
{
    uint8_t      buf[2];
    sv_day_t     day;
    svw_told_t  *told;
    const char  *reason;

    if (text.len == 0) {
        return 0;
    }

    if (!standard) {
        svw_event_irregular(event, "dialect", dialect);
    }

    told = &event->told[claim];
    reason = svw_claim_check(event, claim, &text, buf, &day);

    if (told->dialect == NULL) {
        told->dialect = dialect;
        told->reason = reason;
        told->day = day;
        svw_text_set(&told->text, text);

    } else if (told->other_dialect == NULL && svw_told_otherwise(told, claim, text, reason, day)) {
        told->other_dialect = dialect;
        svw_text_set(&told->other, text);
    }

    return 0;
}


/* NULL or why it is none; a market in small letters becomes the same in capitals. */
static const char *
svw_claim_check(svw_event_t *event, svw_claim_t claim, sv_span_t *text, uint8_t buf[2], sv_day_t *day)
{
    *day = 0;

    switch (claim) {

    case SVW_CLAIM_LOT:
        return svw_check_lot(*text);

    case SVW_CLAIM_EXPIRY:
        return svw_check_expiry(*text, event->load->today, day);

    default:
        if (text->len == 2) {
            buf[0] = text->data[0] >= 'a' && text->data[0] <= 'z' ? text->data[0] & ~0x20 : text->data[0];
            buf[1] = text->data[1] >= 'a' && text->data[1] <= 'z' ? text->data[1] & ~0x20 : text->data[1];
            *text = (sv_span_t) { buf, 2 };
        }

        return svw_check_market(*text);
    }
}


/* Two forms of one day are the same expiry. */
static int
svw_told_otherwise(const svw_told_t *told, svw_claim_t claim, sv_span_t text, const char *reason, sv_day_t day)
{
    if (claim == SVW_CLAIM_EXPIRY && told->reason == NULL && reason == NULL) {
        return told->day != day;
    }

    return told->text.len != text.len || memcmp(told->text.data, text.data, text.len < SVW_EVENT_TEXT ? text.len : SVW_EVENT_TEXT) != 0;
}


int
svw_event_barcode(svw_event_t *event, sv_span_t text)
{
    uint8_t           buf[SV_GS1_BUFFER];
    uint64_t          word[4];
    svw_epc_t         epc;
    sv_gs1_data_t     data;
    const sv_span_t  *gtin, *serial, *lot, *expiry;

    gtin = serial = NULL;

    if (sv_gs1_brackets_parse(text, 0, buf, &data, NULL) == SV_GS1_OK) {
        gtin = sv_gs1_get(&data, 1);
        serial = sv_gs1_get(&data, 21);
    }

    if (gtin == NULL || serial == NULL) {
        svw_event_irregular(event, "barcode", "barcode");
        return 0;
    }

    /* the items may come behind it: at the end it has to be one of them */
    epc = (svw_epc_t) { .gtin = sv_gs1_gtin(*gtin), .serial = *serial };

    if (svw_event_digest(event, &epc, word) != 0) {
        return -1;
    }

    if (svw_set_add(event->codes, word[0]) == -1) {
        return svw_load_stop(event->load, SVW_LOAD_FAILED, "out of memory");
    }

    lot = sv_gs1_get(&data, 10);
    expiry = sv_gs1_get(&data, 17);

    if (lot != NULL && svw_event_claim(event, SVW_CLAIM_LOT, 0, "barcode", *lot) != 0) {
        return -1;
    }

    return expiry != NULL ? svw_event_claim(event, SVW_CLAIM_EXPIRY, 0, "barcode", *expiry) : 0;
}


void
svw_event_wrong(svw_event_t *event, const char *reason, const char *element)
{
    if (event->wrong == NULL) {
        event->wrong = reason;
        event->wrong_at = element;
    }
}


void
svw_event_irregular(svw_event_t *event, const char *reason, const char *element)
{
    if (event->irregular == NULL) {
        event->irregular = reason;
        snprintf(event->irregular_at, sizeof(event->irregular_at), "%s", element);
    }
}


int
svw_event_quantity(svw_event_t *event, sv_span_t epc_class, sv_span_t quantity, sv_span_t uom)
{
    svw_event_detail_open(event, svw_event_is(event, SVW_MEMBER_TYPE, "AggregationEvent") ? sv_span("childQuantityList")
                                                                                          : sv_span("quantityList"));
    svw_event_detail_text(event, sv_span("epcClass"), epc_class);

    if (quantity.len != 0) {
        svw_event_detail_text(event, sv_span("quantity"), quantity);
    }

    if (uom.len != 0) {
        svw_event_detail_text(event, sv_span("uom"), uom);
    }

    svw_event_detail_close(event);

    return 0;
}


void
svw_event_detail_open(svw_event_t *event, sv_span_t name)
{
    svw_detail_open(event->detail, name);
}


void
svw_event_detail_text(svw_event_t *event, sv_span_t name, sv_span_t text)
{
    svw_detail_text(event->detail, name, text);
}


void
svw_event_detail_close(svw_event_t *event)
{
    svw_detail_close(event->detail);
}


int
svw_event_is_event(const svw_event_t *event)
{
    return svw_event_is(event, SVW_MEMBER_TYPE, "ObjectEvent") || svw_event_is(event, SVW_MEMBER_TYPE, "AggregationEvent")
           || svw_event_is(event, SVW_MEMBER_TYPE, "TransactionEvent")
           || svw_event_is(event, SVW_MEMBER_TYPE, "TransformationEvent")
           || svw_event_is(event, SVW_MEMBER_TYPE, "AssociationEvent");
}


const char *
svw_member_name(svw_member_t member)
{
    return svw_member_names[member];
}


void
svw_text_set(svw_text_t *text, sv_span_t value)
{
    text->len = value.len;

    if (value.len != 0) {
        memcpy(text->data, value.data, value.len < SVW_EVENT_TEXT ? value.len : SVW_EVENT_TEXT);
    }
}


sv_span_t
svw_event_span(const svw_event_t *event, svw_member_t member)
{
    return svw_text_span(&event->text[member]);
}


int
svw_event_is(const svw_event_t *event, svw_member_t member, const char *word)
{
    size_t  len;

    len = strlen(word);

    return event->text[member].len == len && memcmp(event->text[member].data, word, len) == 0;
}
