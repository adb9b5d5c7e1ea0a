/*
 * What becomes of an event: the readers of JSON and XML, svw_event and its
 * parts, with a script of the rows instead of the database.
 */

#include "src/worker/svw_event.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>


#define SCRIPT  (256 * 1024)
#define NOW_MS  INT64_C(1795269600000)  /* 2026-11-21T14:00:00Z */
#define TODAY   20778

typedef struct {
    svw_load_t   load;                  /* first: what the readers get */
    const char  *input;
    size_t       size, pos;
    uint8_t      identity[SVW_DIGEST], facts[SVW_DIGEST];
    int          members;               /* told one by one */
    int64_t      items, epcs;
    char        *content;               /* of the last in quarantine */
    size_t       len;
    char         script[SCRIPT];
} feed_t;

/* an event as JSON, without its braces, and what comes of it */
typedef struct {
    const char  *name;
    const char  *event;
    const char  *script;
} case_t;


static const svw_source_t  plain = { .feed = "", .company = "" };
static const svw_source_t  strict = { .feed = "strict", .company = "", .strict = 1 };


static void __attribute__((format(printf, 2, 3)))
put(feed_t *feed, const char *fmt, ...)
{
    int      n;
    va_list  args;

    va_start(args, fmt);
    n = vsnprintf(feed->script + feed->len, SCRIPT - feed->len, fmt, args);
    va_end(args);

    assert_true(feed->len + (size_t) n < SCRIPT);
    feed->len += (size_t) n;
}


static void
put_text(feed_t *feed, const char *name, sv_span_t text)
{
    if (text.len != 0) {
        put(feed, " %s=%.*s", name, (int) text.len, (const char *) text.data);
    }
}


static feed_t *
feed_document(const char *document, const svw_source_t *source, int (*reader)(svw_load_t *load))
{
    feed_t  *feed;

    feed = calloc(1, sizeof(feed_t));
    assert_non_null(feed);

    feed->load.source = source;
    feed->load.today = TODAY;
    feed->load.now_ms = NOW_MS;
    feed->members = 1;
    feed->input = document;
    feed->size = strlen(document);

    (void) reader(&feed->load);

    if (feed->load.rc != SVW_LOAD_OK) {
        put(feed, "refused %s\n", feed->load.note);
    }

    return feed;
}


static feed_t *
feed_event(const char *event, const svw_source_t *source)
{
    char    *document;
    feed_t  *feed;

    assert_true(asprintf(&document, "{\"@context\":[\"https://ref.gs1.org/epcis-context.jsonld\",{\"ex\":\"https://ns.example.com/epcis/\","
                         "\"hc\":\"http://epcis.gs1us.org/hc/ns\"}],\"type\":\"EPCISDocument\",\"epcisBody\":{\"eventList\":[\n{%s}]}}", event) > 0);
    feed = feed_document(document, source, svw_feed_json);
    free(document);

    return feed;
}


static void
feed_free(feed_t *feed)
{
    free(feed->content);
    free(feed);
}


/* what svw_load.c is to the readers */

int
svw_load_read(svw_load_t *load, unsigned char *buf, size_t *n)
{
    feed_t  *feed;

    feed = (feed_t *) (void *) load;
    *n = feed->size - feed->pos < SVW_READ ? feed->size - feed->pos : SVW_READ;
    memcpy(buf, feed->input + feed->pos, *n);
    feed->pos += *n;
    load->bytes += (int64_t) *n;

    return *n > 0;
}


int
svw_load_item(svw_load_t *load, const svw_item_t *item)
{
    char     day[SV_DAY_TEXT];
    feed_t  *feed;

    feed = (feed_t *) (void *) load;
    feed->items++;

    if (feed->members) {
        sv_day_print(item->expiry, day);
        put(feed, "item %014llu", (unsigned long long) item->gtin);
        put_text(feed, "serial", item->serial);
        put_text(feed, "lot", item->lot);
        put(feed, " expiry=%s", day);
        put_text(feed, "market", item->market);
        put(feed, "\n");
    }

    return 0;
}


int
svw_load_epc(svw_load_t *load, const svw_epc_row_t *row)
{
    feed_t  *feed;

    feed = (feed_t *) (void *) load;
    feed->epcs++;

    if (feed->members) {
        put(feed, "epc %014llu", (unsigned long long) row->gtin);
        put_text(feed, "serial", row->serial);
        put(feed, "\n");
    }

    return 0;
}


int
svw_load_event(svw_load_t *load, const svw_event_row_t *row)
{
    char     day[SV_DAY_TEXT];
    feed_t  *feed;

    feed = (feed_t *) (void *) load;
    memcpy(feed->identity, row->identity, SVW_DIGEST);
    memcpy(feed->facts, row->facts, SVW_DIGEST);

    put(feed, "event %s %s", row->kind, row->action);
    put_text(feed, "step", row->step);
    put_text(feed, "disposition", row->disposition);
    put(feed, " at=%lld packs=%lld", (long long) row->event_ms, (long long) row->packs);
    put_text(feed, "id", row->event_id);

    if (row->offset_min != INT_MIN) {
        put(feed, " offset=%d", row->offset_min);
    }

    if (row->parent_serial.len != 0) {
        put(feed, " parent=%014llu", (unsigned long long) row->parent_gtin);
        put_text(feed, "in", row->parent_serial);
    }

    put_text(feed, "lot", row->lot);

    if (row->expiry != 0) {
        sv_day_print(row->expiry, day);
        put(feed, " expiry=%s", day);
    }

    put_text(feed, "market", row->market);
    put_text(feed, "read_point", row->read_point);
    put_text(feed, "biz_location", row->biz_location);
    put(feed, "%s%s%s%s\n", row->error != NULL ? " error=" : "", row->error != NULL ? row->error : "",
        row->detail != NULL ? " detail=" : "", row->detail != NULL ? row->detail : "");

    return 0;
}


int
svw_load_quarantine(svw_load_t *load, const svw_quarantine_row_t *row)
{
    feed_t  *feed;

    feed = (feed_t *) (void *) load;
    free(feed->content);
    feed->content = row->content != NULL ? strdup(row->content) : NULL;

    put(feed, "quarantine %s [%s] packs=%lld", row->reason, row->element, (long long) row->packs);
    put_text(feed, "value", row->value);
    put(feed, "\n");

    return 0;
}


void
svw_load_fault(svw_load_t *load, const svw_fault_t *fault)
{
    assert_true(fault->skipped);
    assert_string_not_equal(svw_reason_text(fault->reason), fault->reason);
    put((feed_t *) (void *) load, "skipped %s [%s] %lld\n", fault->reason, fault->element, (long long) fault->lines);
}


int
svw_load_refuse(svw_load_t *load, const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    vsnprintf(load->note, sizeof(load->note), fmt, args);
    va_end(args);
    load->rc = SVW_LOAD_REFUSED;

    return -1;
}


int
svw_load_stop(svw_load_t *load, svw_load_rc_t rc, const char *fmt, ...)
{
    (void) fmt;
    load->rc = rc;

    return -1;
}


#define TIME    "\"eventTime\":\"2026-11-20T10:00:00+01:00\",\"eventTimeZoneOffset\":\"+01:00\""
#define AT      " at=1795165200000"
#define ILMD    "\"ilmd\":{\"cbvmda:lotNumber\":\"L1\",\"cbvmda:itemExpirationDate\":\"2030-12-31\"}"
#define PACK    "urn:epc:id:sgtin:9506000.013435."
#define CASE    "urn:epc:id:sgtin:9506000.113435."
#define SSCC    "urn:epc:id:sscc:9506000.0000000001"
#define OBJECT(action, step)  "\"type\":\"ObjectEvent\",\"action\":\"" action "\",\"bizStep\":\"" step "\"," TIME
#define COMMISSION  OBJECT("ADD", "commissioning")
#define AGGREGATION(action)   "\"type\":\"AggregationEvent\",\"action\":\"" action "\",\"bizStep\":\"packing\"," TIME
#define ROW     "event object add step=commissioning" AT
#define L1      " lot=L1 expiry=2030-12-31"

static const case_t  cases[] = {
    { "packs", COMMISSION "," ILMD ",\"epcList\":[\"" PACK "A1\",\"https://x.example/p/01/09506000134352/21/A%2F2?17=301231\"]",
      "item 09506000134352 serial=A1" L1 "\nitem 09506000134352 serial=A/2" L1 "\n" ROW " packs=2 offset=60" L1 "\n" },

    { "a container with an SSCC", COMMISSION ",\"epcList\":[\"" SSCC "\",\"https://id.gs1.org/00/095060000000000022\"]",
      "epc 00000000000000 serial=095060000000000015\nepc 00000000000000 serial=095060000000000022\n" ROW " packs=2 offset=60\n" },
    { "a case without a lot", COMMISSION ",\"epcList\":[\"" CASE "C1\"]",
      "epc 19506000134359 serial=C1\n" ROW " packs=1 offset=60\n" },
    { "a case with a lot", COMMISSION "," ILMD ",\"epcList\":[\"" CASE "C1\",\"" SSCC "\"]",
      "item 19506000134359 serial=C1" L1 "\nepc 00000000000000 serial=095060000000000015\n" ROW " packs=2 offset=60" L1 "\n" },
    { "a case and a pack without a lot", COMMISSION ",\"epcList\":[\"" CASE "C1\",\"" PACK "A1\"]",
      "quarantine lot_missing [lot] packs=2\n" },
    { "a case with half of it", COMMISSION ",\"epcList\":[\"" CASE "C1\"],\"ilmd\":{\"cbvmda:lotNumber\":\"L1\"}",
      "quarantine expiry_missing [expiry] packs=1\n" },
    { "no lot", COMMISSION ",\"epcList\":[\"" PACK "A1\"],\"ilmd\":{\"cbvmda:itemExpirationDate\":\"2030-12-31\"}",
      "quarantine lot_missing [lot] packs=1\n" },
    { "no such day", COMMISSION ",\"epcList\":[\"" PACK "A1\"],\"ilmd\":{\"lotNumber\":\"L1\",\"itemExpirationDate\":\"2919-96-39\"}",
      "quarantine expiry_date [expiry] packs=1 value=2919-96-39\n" },
    { "no such day, of a container", COMMISSION ",\"epcList\":[\"" SSCC "\"],\"ilmd\":{\"itemExpirationDate\":\"soon\"}",
      "quarantine expiry_format [expiry] packs=1 value=soon\n" },
    { "two lots", COMMISSION "," ILMD ",\"epcList\":[\"" PACK "A1\"],\"hc:lotNumber\":\"L2\"",
      "quarantine claim_contradiction [lot (cbvmda, gs1ushc)] packs=1 value=L1, L2\n" },
    { "one lot and expiry, twice told", COMMISSION "," ILMD ",\"epcList\":[\"" PACK "A1\"],\"hc:lotNumber\":\"L1\","
      "\"hc:itemExpirationDate\":\"301231\"",
      "item 09506000134352 serial=A1" L1 "\n" ROW " packs=1 offset=60" L1 "\n" },
    { "a market", COMMISSION ",\"epcList\":[\"" PACK "A1\"]," ILMD ",\"ex:attributes\":{\"ex:countryMarket\":\"it\"}",
      "item 09506000134352 serial=A1" L1 " market=IT\n" ROW " packs=1 offset=60" L1 " market=IT\n" },
    { "the whole code of a pack", COMMISSION ",\"epcList\":[\"" PACK "A1\"],\"ex:content\":\"(01)09506000134352(21)A1(17)301231(10)L1\"",
      "item 09506000134352 serial=A1" L1 "\n" ROW " packs=1 offset=60" L1 "\n" },
    { "a typed value", COMMISSION ",\"epcList\":[\"" PACK "A1\"],\"ilmd\":{\"cbvmda:lotNumber\":\"L1\","
      "\"cbvmda:itemExpirationDate\":{\"@type\":\"xsd:date\",\"@value\":\"2030-12-31\"}}",
      "item 09506000134352 serial=A1" L1 "\n" ROW " packs=1 offset=60" L1 "\n" },
    { "the same item twice", COMMISSION "," ILMD ",\"epcList\":[\"" PACK "A1\",\"" PACK "A2\",\"https://id.gs1.org/01/09506000134352/21/A1\"]",
      "skipped epc_twice [event 1 epcList[2]] 1\nitem 09506000134352 serial=A1" L1 "\n"
      "item 09506000134352 serial=A2" L1 "\n" ROW " packs=2 offset=60" L1 "\n" },
    { "one of three cannot be read", COMMISSION "," ILMD ",\"epcList\":[\"" PACK "A1\",\"urn:epc:id:sgtin:10331722192016.276429174853\",\"sscc:1\"]",
      "quarantine epc_syntax [epcList[1] and 1 more] packs=3 value=urn:epc:id:sgtin:10331722192016.276429174853\n" },
    { "a class", COMMISSION "," ILMD ",\"epcList\":[\"urn:epc:class:lgtin:9506000.013435.L1\"]",
      "quarantine epc_class [epcList[0]] packs=1 value=urn:epc:class:lgtin:9506000.013435.L1\n" },
    { "items that are no texts", COMMISSION "," ILMD ",\"epcList\":[{\"id\":\"x\"},null,[1],7]",
      "quarantine epc_syntax [epcList[0] and 3 more] packs=4 value={\n" },

    { "shipping", OBJECT("OBSERVE", "urn:epcglobal:cbv:bizstep:shipping") ",\"disposition\":\"https://ref.gs1.org/cbv/Disp-in_transit\","
      "\"epcList\":[\"" SSCC "\"]",
      "epc 00000000000000 serial=095060000000000015\nevent object observe step=shipping disposition=in_transit" AT " packs=1 offset=60\n" },
    { "receiving, an old name", OBJECT("OBSERVE", "https://ns.gs1.org/voc/Bizstep-receiving") ",\"epcList\":[\"" PACK "A1\"]",
      "epc 09506000134352 serial=A1\nevent object observe step=receiving" AT " packs=1 offset=60\n" },
    { "a step of somebody's own", OBJECT("OBSERVE", "https://example.com/step/weighing") ",\"epcList\":[\"" PACK "A1\"]",
      "epc 09506000134352 serial=A1\nevent object observe step=https://example.com/step/weighing" AT " packs=1 offset=60\n" },
    { "no step", "\"type\":\"ObjectEvent\",\"action\":\"OBSERVE\"," TIME ",\"epcList\":[\"" PACK "A1\"]",
      "epc 09506000134352 serial=A1\nevent object observe" AT " packs=1 offset=60\n" },
    { "destroying", OBJECT("DELETE", "cbv:BizStep-destroying") ",\"epcList\":[\"" PACK "A1\"]",
      "epc 09506000134352 serial=A1\nevent object delete step=destroying" AT " packs=1 offset=60\n" },
    { "a reject with a lot that is none", OBJECT("DELETE", "decommissioning") ",\"epcList\":[\"" PACK "A1\"],\"hc:lotNumber\":\"L1\","
      "\"hc:itemExpirationDate\":\"0000\"",
      "epc 09506000134352 serial=A1\nevent object delete step=decommissioning" AT " packs=1 offset=60 lot=L1\n" },
    { "deleted by an unknown step", OBJECT("DELETE", "shredding") ",\"epcList\":[\"" PACK "A1\"]",
      "quarantine event_step [bizStep] packs=1 value=shredding\n" },
    { "deleted by shipping", OBJECT("DELETE", "shipping") ",\"epcList\":[\"" PACK "A1\"]",
      "quarantine event_step [bizStep] packs=1 value=shipping\n" },
    { "added without a step", "\"type\":\"ObjectEvent\",\"action\":\"ADD\"," TIME "," ILMD ",\"epcList\":[\"" PACK "A1\"]",
      "quarantine event_step [bizStep] packs=1\n" },
    { "commissioning observed", OBJECT("OBSERVE", "commissioning") ",\"epcList\":[\"" PACK "A1\"]",
      "epc 09506000134352 serial=A1\nevent object observe step=commissioning" AT " packs=1 offset=60\n" },

    { "packing", AGGREGATION("ADD") ",\"parentID\":\"" SSCC "\",\"childEPCs\":[\"" PACK "A1\",\"" CASE "C1\"]",
      "epc 09506000134352 serial=A1\nepc 19506000134359 serial=C1\n"
      "event aggregation add step=packing" AT " packs=2 offset=60 parent=00000000000000 in=095060000000000015\n" },
    { "unpacking all", AGGREGATION("DELETE") ",\"parentID\":\"" CASE "C1\"",
      "event aggregation delete step=packing" AT " packs=0 offset=60 parent=19506000134359 in=C1\n" },
    { "packing nothing", AGGREGATION("ADD") ",\"parentID\":\"" SSCC "\",\"childEPCs\":[]",
      "skipped event_empty [event 1 childEPCs] 0\n" },
    { "packing into nothing", AGGREGATION("ADD") ",\"childEPCs\":[\"" PACK "A1\"]",
      "quarantine parent_missing [parentID] packs=1\n" },
    { "packing into what cannot be read", AGGREGATION("ADD") ",\"parentID\":\"urn:epc:id:grai:9506000.00001.7\",\"childEPCs\":[\"" PACK "A1\"]",
      "quarantine epc_syntax [parentID] packs=1 value=urn:epc:id:grai:9506000.00001.7\n" },
    { "packing into itself", AGGREGATION("ADD") ",\"parentID\":\"" CASE "C1\",\"childEPCs\":[\"" PACK "A1\","
      "\"https://id.gs1.org/01/19506000134359/21/C1\"]",
      "quarantine parent_child [parentID] packs=2 value=" CASE "C1\n" },
    { "seen together", AGGREGATION("OBSERVE") ",\"childEPCs\":[\"" PACK "A1\"]",
      "epc 09506000134352 serial=A1\nevent aggregation observe step=packing" AT " packs=1 offset=60\n" },
    { "a transaction", "\"type\":\"TransactionEvent\",\"action\":\"ADD\",\"bizStep\":\"shipping\"," TIME ",\"epcList\":[\"" SSCC "\"],"
      "\"bizTransactionList\":[{\"type\":\"urn:epcglobal:cbv:btt:desadv\",\"bizTransaction\":\"urn:x:1\"}]",
      "epc 00000000000000 serial=095060000000000015\nevent transaction add step=shipping" AT " packs=1 offset=60"
      " detail={\"bizTransactionList\":[{\"bizTransaction\":\"urn:x:1\",\"type\":\"desadv\"}]}\n" },

    { "a transaction deleted by dispensing", "\"type\":\"TransactionEvent\",\"action\":\"DELETE\",\"bizStep\":\"dispensing\"," TIME
      ",\"epcList\":[\"" PACK "A1\"]", "quarantine event_step_type [bizStep] packs=1 value=dispensing\n" },
    { "a transaction seen at dispensing", "\"type\":\"TransactionEvent\",\"action\":\"OBSERVE\",\"bizStep\":\"dispensing\"," TIME
      ",\"epcList\":[\"" PACK "A1\"]", "epc 09506000134352 serial=A1\nevent transaction observe step=dispensing" AT " packs=1 offset=60\n" },

    { "a transformation", "\"type\":\"TransformationEvent\"," TIME ",\"inputEPCList\":[\"" PACK "A1\"]", "skipped event_type [event 1 type] 0\n" },
    { "no type", "\"action\":\"ADD\"", "quarantine event_type_missing [type] packs=0\n" },
    { "no item", COMMISSION ",\"epcList\":[]",
      "skipped event_empty [event 1 epcList] 0\n" },
    { "a lot is declared", COMMISSION ",\"quantityList\":[{\"epcClass\":\"urn:epc:class:lgtin:9506000.013435.L1\",\"quantity\":5}]",
      "event object add step=commissioning at=1795165200000 packs=0 offset=60"
      " detail={\"quantityList\":[{\"epcClass\":\"https://id.gs1.org/01/09506000134352/10/L1\",\"quantity\":\"5\"}]}\n" },
    { "no action", "\"type\":\"ObjectEvent\",\"bizStep\":\"shipping\"," TIME ",\"epcList\":["
      "\"" PACK "A1\"]", "quarantine event_action [action] packs=1\n" },
    { "no such action", OBJECT("add", "commissioning") "," ILMD ",\"epcList\":["
      "\"" PACK "A1\"]", "quarantine event_action [action] packs=1 value=add\n" },
    { "an action twice", COMMISSION ",\"action\":\"ADD\"," ILMD ",\"epcList\":[\"" PACK "A1\"]", "quarantine event_member_twice [action] packs=1\n" },
    { "a list that is none", COMMISSION "," ILMD ",\"epcList\":\"" PACK "A1\"", "quarantine event_member_form [epcList] packs=0\n" },
    { "a name that is a list", COMMISSION "," ILMD ",\"eventID\":[\"urn:uuid:1\"],\"epcList\":["
      "\"" PACK "A1\"]", "quarantine event_member_form [eventID] packs=1\n" },
    { "no time", "\"type\":\"ObjectEvent\",\"action\":\"OBSERVE\",\"bizStep\":\"shipping\",\"epcList\":[\"" PACK "A1\"]",
      "quarantine event_time_missing [eventTime] packs=1\n" },
    { "no such time", "\"type\":\"ObjectEvent\",\"action\":\"OBSERVE\",\"eventTime\":\"noon\",\"epcList\":[\"" PACK "A1\"]",
      "quarantine event_time_format [eventTime] packs=1 value=noon\n" },
    { "a day ahead", "\"type\":\"ObjectEvent\",\"action\":\"OBSERVE\",\"eventTime\":\"2026-11-22T13:59:59Z\",\"epcList\":[\"" PACK "A1\"]",
      "epc 09506000134352 serial=A1\nevent object observe at=1795355999000 packs=1\n" },
    { "more than a day ahead", "\"type\":\"ObjectEvent\",\"action\":\"OBSERVE\",\"eventTime\":\"2026-11-22T14:00:01Z\",\"epcList\":[\"" PACK "A1\"]",
      "quarantine event_time_future [eventTime] packs=1 value=2026-11-22T14:00:01Z\n" },

    { "places", OBJECT("OBSERVE", "shipping") ",\"epcList\":[\"" PACK "A1\"],\"readPoint\":{\"id\":\"urn:epc:id:sgln:9506000.00001.7\"},"
      "\"bizLocation\":{\"id\":\"ML-150\"}",
      "epc 09506000134352 serial=A1\nevent object observe step=shipping" AT " packs=1 offset=60"
      " read_point=https://id.gs1.org/414/9506000000015/254/7 biz_location=ML-150\n" },
    { "an offset that is none", "\"type\":\"ObjectEvent\",\"action\":\"OBSERVE\",\"eventTime\":\"2026-11-20T09:00:00Z\","
      "\"eventTimeZoneOffset\":\"CET\",\"epcList\":[\"" PACK "A1\"]",
      "epc 09506000134352 serial=A1\nevent object observe" AT " packs=1\n" },

    { "declared an error", COMMISSION "," ILMD ",\"eventID\":\"urn:uuid:1\",\"epcList\":[\"" PACK "A1\",\"" SSCC "\"],\"errorDeclaration\":{"
      "\"declarationTime\":\"2026-11-20T12:00:00+01:00\",\"reason\":\"urn:epcglobal:cbv:er:incorrect_data\",\"correctiveEventIDs\":["
      "\"urn:uuid:2\",\"urn:uuid:3\"]}",
      "epc 09506000134352 serial=A1\nepc 00000000000000 serial=095060000000000015\n" ROW " packs=2 id=urn:uuid:1 offset=60" L1
      " error={\"corrective\":[\"urn:uuid:2\",\"urn:uuid:3\"],\"reason\":\"incorrect_data\",\"time\":\"2026-11-20T11:00:00.000Z\"}\n" },
    { "declared an error, not told again", COMMISSION ",\"eventID\":\"urn:uuid:1\",\"epcList\":[],\"errorDeclaration\":{}",
      ROW " packs=0 id=urn:uuid:1 offset=60 error={\"corrective\":[]}\n" },

    { "what else it says", OBJECT("OBSERVE", "inspecting") ",\"epcList\":[\"" PACK "A1\"],"
      "\"persistentDisposition\":{\"set\":[\"https://ref.gs1.org/cbv/Disp-recalled\"]},"
      "\"sourceList\":[{\"type\":\"urn:epcglobal:cbv:sdt:location\",\"source\":\"urn:epc:id:sgln:9506000.00001.0\"}],"
      "\"sensorElementList\":[{\"sensorMetadata\":{\"time\":\"2026-11-20T10:00:00+01:00\",\"deviceID\":\"urn:x:9\"},"
      "\"sensorReport\":[{\"type\":\"gs1:Temperature\",\"value\":26.0,\"uom\":\"CEL\"},{\"type\":\"Humidity\",\"value\":1.210e1}]}],"
      "\"ex:shift\":\"B\",\"ex:operators\":[{\"ex:id\":7},{\"ex:id\":8.50}],\"ex:empty\":{},\"other\":true",
      "epc 09506000134352 serial=A1\nevent object observe step=inspecting" AT " packs=1 offset=60 detail={\"other\":\"true\","
      "\"persistentDisposition\":{\"set\":[\"recalled\"]},"
      "\"sensorElementList\":[{\"sensorMetadata\":{\"deviceID\":\"urn:x:9\",\"time\":\"2026-11-20T09:00:00.000Z\"},"
      "\"sensorReport\":[{\"type\":\"Temperature\",\"uom\":\"CEL\",\"value\":\"26\"},{\"type\":\"Humidity\",\"value\":\"12.1\"}]}],"
      "\"sourceList\":[{\"source\":\"https://id.gs1.org/414/9506000000015\",\"type\":\"location\"}],"
      "\"{https://ns.example.com/epcis/}operators\":[{\"{https://ns.example.com/epcis/}id\":\"7\"},{\"{https://ns.example.com/epcis/}id\":\"8.50\"}],"
      "\"{https://ns.example.com/epcis/}shift\":\"B\"}\n" },
    { "the rest of ilmd", COMMISSION ",\"epcList\":[\"" PACK "A1\"],\"ilmd\":{\"cbvmda:lotNumber\":\"L1\","
      "\"cbvmda:itemExpirationDate\":\"301200\",\"cbvmda:countryOfOrigin\":\"DE\"}",
      "item 09506000134352 serial=A1" L1 "\n" ROW " packs=1 offset=60" L1 " detail={\"ilmd\":{"
      "\"{urn:epcglobal:cbv:mda}countryOfOrigin\":\"DE\"}}\n" },
    { "a character that is none", OBJECT("OBSERVE", "shipping") ",\"epcList\":[\"" PACK "A1\"],\"ex:a\":\"x\\u0000\\udc00y\"",
      "epc 09506000134352 serial=A1\nevent object observe step=shipping" AT " packs=1 offset=60 detail={"
      "\"{https://ns.example.com/epcis/}a\":\"x????y\"}\n" },
    { NULL, NULL, NULL }
};


static void
test_cases(void **state)
{
    feed_t        *feed;
    const case_t  *c;

    (void) state;

    for (c = cases; c->name != NULL; c++) {
        feed = feed_event(c->event, &plain);

        if (strcmp(feed->script, c->script) != 0) {
            print_message("%s:\n%s", c->name, c->event);
        }

        assert_string_equal(feed->script, c->script);
        feed_free(feed);
    }
}


/* One and the same, whatever it is made of; and what makes it another. */
static void
test_facts(void **state)
{
    size_t       i;
    feed_t      *first, *feed;
    const char  *event;

    static const char *const  same[] = {
        "\"type\":\"ObjectEvent\",\"action\":\"ADD\",\"bizStep\":\"cbv:BizStep-commissioning\",\"eventTime\":\"2026-11-20T09:00:00.000Z\"," ILMD
        ",\"epcList\":[\"" PACK "A2\",\"https://id.gs1.org/01/09506000134352/21/A1\"],\"disposition\":\"active\",\"ex:shift\":\"B\"",
        COMMISSION ",\"epcList\":[\"" PACK "A1\",\"" PACK "A2\",\"" PACK "A1\"],\"hc:lotNumber\":\"L1\",\"hc:itemExpirationDate\":\"301231\"",
        COMMISSION "," ILMD ",\"epcList\":[\"" PACK "A1\",\"urn:epc:id:sgtin:950600.0013435.A2\"],\"errorDeclaration\":{\"reason\":\"did_not_occur\"}"
    };

    static const char *const  other[] = {
        COMMISSION "," ILMD ",\"epcList\":[\"" PACK "A1\"]",
        COMMISSION "," ILMD ",\"epcList\":[\"" PACK "A1\",\"" PACK "a2\"]",
        COMMISSION "," ILMD ",\"epcList\":[\"" PACK "A1\",\"" PACK "A2\"],\"ex:x\":{\"ex:countryMarket\":\"DE\"}",
        COMMISSION ",\"epcList\":[\"" PACK "A1\",\"" PACK "A2\"],\"ilmd\":{\"lotNumber\":\"L2\",\"itemExpirationDate\":\"2030-12-31\"}",
        COMMISSION ",\"epcList\":[\"" PACK "A1\",\"" PACK "A2\"],\"ilmd\":{\"lotNumber\":\"L1\",\"itemExpirationDate\":\"2030-12-30\"}",
        OBJECT("OBSERVE", "commissioning") "," ILMD ",\"epcList\":[\"" PACK "A1\",\"" PACK "A2\"]",
        OBJECT("DELETE", "destroying") "," ILMD ",\"epcList\":[\"" PACK "A1\",\"" PACK "A2\"]",
        COMMISSION ",\"quantityList\":[{\"epcClass\":\"urn:epc:class:lgtin:9506000.013435.L1\",\"quantity\":5}]",
        COMMISSION ",\"quantityList\":[{\"epcClass\":\"urn:epc:class:lgtin:9506000.013435.L1\",\"quantity\":6}]",
        AGGREGATION("ADD") "," ILMD ",\"parentID\":\"" SSCC "\",\"childEPCs\":[\"" PACK "A1\",\"" PACK "A2\"]",
        AGGREGATION("ADD") "," ILMD ",\"parentID\":\"" CASE "1\",\"childEPCs\":[\"" PACK "A1\",\"" PACK "A2\"]",
        AGGREGATION("DELETE") "," ILMD ",\"parentID\":\"" CASE "1\",\"childEPCs\":[\"" PACK "A1\",\"" PACK "A2\"]"
    };

    (void) state;

    event = COMMISSION "," ILMD ",\"epcList\":[\"" PACK "A1\",\"" PACK "A2\"]";
    first = feed_event(event, &plain);
    assert_memory_equal(first->identity, first->facts, SVW_DIGEST);

    for (i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        feed = feed_event(same[i], &plain);
        assert_memory_equal(feed->facts, first->facts, SVW_DIGEST);
        assert_memory_equal(feed->identity, first->identity, SVW_DIGEST);
        feed_free(feed);
    }

    for (i = 0; i < sizeof(other) / sizeof(other[0]); i++) {
        feed = feed_event(other[i], &plain);
        assert_memory_not_equal(feed->facts, first->facts, SVW_DIGEST);
        memcpy(first->facts, feed->facts, i > 0 ? SVW_DIGEST : 0);     /* and from the one before */
        feed_free(feed);
    }

    feed_free(first);
}


/* What was held back reads as before, and put right it is loaded. */
static void
test_content(void **state)
{
    char          *right, *p;
    feed_t        *feed, *again;
    const case_t  *c;
    unsigned       n;

    (void) state;

    for (c = cases, n = 0; c->name != NULL; c++) {
        if (strncmp(c->script, "quarantine", 10) != 0 || strstr(c->script, "event_member_") != NULL
            || strstr(c->script, "event_type_missing") != NULL || strstr(c->event, "null") != NULL)
        {
            continue;
        }

        feed = feed_event(c->event, &plain);
        assert_non_null(feed->content);
        again = feed_document(feed->content, &plain, svw_feed_json);

        /* lots stand in ilmd now, wherever they stood */
        if (strstr(c->script, "claim_contradiction") != NULL) {
            assert_non_null(strstr(again->script, "claim_contradiction [lot (cbvmda, cbvmda)]"));
        } else {
            assert_string_equal(again->script, feed->script);
            assert_string_equal(again->content, feed->content);
        }

        feed_free(again);
        feed_free(feed);
        n++;
    }

    assert_true(n > 15);

    feed = feed_event(AGGREGATION("ADD") ",\"eventID\":\"urn:uuid:9\",\"parentID\":\"urn:epc:id:grai:1.2.3\",\"childEPCs\":[\"" PACK "A\\\"1\"],"
                      "\"readPoint\":{\"id\":\"p\"},\"ex:a\":{\"ex:b\":[\"1\",\"2\"]},\"bizTransactionList\":[{\"type\":\"po\","
                      "\"bizTransaction\":\"x\"}]", &plain);
    assert_non_null(feed->content);

    right = strdup(feed->content);
    p = strstr(right, "urn:epc:id:grai:1.2.3");
    assert_non_null(p);
    memcpy(p, CASE "12", strlen(CASE "12") < 21 ? strlen(CASE "12") : 21);
    free(right);
    assert_non_null(strstr(feed->content, "\"childEPCs\":[\"" PACK "A\\\"1\"]"));
    assert_non_null(strstr(feed->content, "\"ext0:a\":{\"ext0:b\":[\"1\",\"2\"]}"));
    assert_non_null(strstr(feed->content, "\"ext0\":\"https://ns.example.com/epcis/\""));
    assert_non_null(strstr(feed->content, "\"readPoint\":{\"id\":\"p\"}"));
    feed_free(feed);
}


static void
test_strict(void **state)
{
    feed_t  *feed;

    (void) state;

    feed = feed_event(COMMISSION "," ILMD ",\"epcList\":[\"" PACK "A1\"],\"ex:shift\":\"B\"", &strict);
    assert_null(strstr(feed->script, "quarantine"));
    feed_free(feed);

    feed = feed_event(COMMISSION ",\"epcList\":[\"" PACK "A1\"],\"ilmd\":{\"lotNumber\":\"L1\",\"itemExpirationDate\":\"2030-12-31\"}", &strict);
    assert_string_equal(feed->script, "quarantine dialect [ilmd] packs=1\n");
    feed_free(feed);

    feed = feed_event(COMMISSION "," ILMD ",\"epcList\":[\"" PACK "A1\"],\"shift\":\"B\"", &strict);
    assert_string_equal(feed->script, "quarantine json_name [event] packs=1\n");
    feed_free(feed);

    feed = feed_event(COMMISSION "," ILMD ",\"epcList\":[\"" PACK "A1\"],\"who:shift\":\"B\"", &strict);
    assert_string_equal(feed->script, "quarantine json_prefix [@context] packs=1\n");
    feed_free(feed);
}


/* Too much is left away, whatever the order in which it came. */
static void
test_detail_bounded(void **state)
{
    char    *event, *text;
    feed_t  *feed, *other;

    (void) state;

    text = malloc(20001);
    memset(text, 'x', 20000);
    text[20000] = '\0';

    assert_true(asprintf(&event, "%s,\"epcList\":[\"" PACK "A1\"],\"ex:big\":\"%s\",\"ex:small\":\"1\"", OBJECT("OBSERVE", "shipping"), text) > 0);
    feed = feed_event(event, &plain);
    free(event);
    assert_true(asprintf(&event, "\"ex:small\":\"1\",\"ex:big\":\"%s\",\"epcList\":[\"" PACK "A1\"],%s", text, OBJECT("OBSERVE", "shipping")) > 0);
    other = feed_event(event, &plain);
    free(event);

    assert_string_equal(feed->script, other->script);
    assert_non_null(strstr(feed->script, "\"truncated\":[\"{https://ns.example.com/epcis/}big\"]"));
    assert_non_null(strstr(feed->script, "small\":\"1\""));
    feed_free(feed);
    feed_free(other);

    assert_true(asprintf(&event, "%s,\"epcList\":[\"" PACK "A1\"],\"ex:a\":[\"%s\",\"%s\",\"%s\",\"%s\"],\"ex:small\":\"1\"",
                         OBJECT("OBSERVE", "shipping"), text, text, text, text) > 0);
    feed = feed_event(event, &plain);
    assert_non_null(strstr(feed->script, "detail={\"truncated\":[\"*\"]}\n"));
    feed_free(feed);
    free(event);
    free(text);
}


/* The same event in three syntaxes: the same rows. */
static void
test_syntaxes(void **state)
{
    feed_t  *json, *xml12, *xml20;

    static const char  first[] =
        "{\"@context\":[{\"ex\":\"https://ns.example.com/epcis/\"}],\"type\":\"ObjectEvent\",\"action\":\"ADD\",\"bizStep\":\"commissioning\","
        "\"disposition\":\"active\",\"eventTime\":\"2026-11-20T10:00:00+01:00\",\"eventTimeZoneOffset\":\"+01:00\","
        "\"epcList\":[\"https://id.gs1.org/01/09506000134352/21/A1\"],\"readPoint\":{\"id\":\"https://id.gs1.org/414/9506000000015/254/7\"},"
        "\"ilmd\":{\"cbvmda:lotNumber\":\"L1\",\"cbvmda:itemExpirationDate\":\"2030-12-31\",\"cbvmda:countryOfOrigin\":\"DE\"},"
        "\"bizTransactionList\":[{\"type\":\"po\",\"bizTransaction\":\"urn:x:1\"}],"
        "\"destinationList\":[{\"type\":\"location\",\"destination\":\"https://id.gs1.org/414/9506000000015\"}],"
        "\"quantityList\":[{\"epcClass\":\"urn:epc:class:lgtin:9506000.013435.L1\",\"quantity\":5.0,\"uom\":\"KGM\"}],"
        "\"ex:shift\":\"B\",\"ex:line\":{\"ex:station\":[\"1\",\"2\"]}}";
    static const char  second[] =
        "<e:EPCISDocument xmlns:e=\"urn:epcglobal:epcis:xsd:1\" schemaVersion=\"1.2\" xmlns:m=\"urn:epcglobal:cbv:mda\""
        " xmlns:x=\"https://ns.example.com/epcis/\">"
        "<EPCISBody><EventList><ObjectEvent><eventTime>2026-11-20T09:00:00Z</eventTime><eventTimeZoneOffset>+01:00</eventTimeZoneOffset>"
        "<epcList><epc>urn:epc:id:sgtin:9506000.013435.A1</epc></epcList><action>ADD</action>"
        "<bizStep>urn:epcglobal:cbv:bizstep:commissioning</bizStep>"
        "<disposition>urn:epcglobal:cbv:disp:active</disposition><readPoint><id>urn:epc:id:sgln:9506000.00001.7</id></readPoint>"
        "<bizTransactionList><bizTransaction type=\"urn:epcglobal:cbv:btt:po\">urn:x:1</bizTransaction></bizTransactionList>"
        "<extension><quantityList><quantityElement><epcClass>urn:epc:class:lgtin:9506000.013435.L1</epcClass><quantity>5</quantity>"
        "<uom>KGM</uom></quantityElement></quantityList>"
        "<destinationList><destination type=\"urn:epcglobal:cbv:sdt:location\">urn:epc:id:sgln:9506000.00001.0</destination></destinationList>"
        "<ilmd><m:lotNumber>L1</m:lotNumber><m:itemExpirationDate>2030-12-31</m:itemExpirationDate><m:countryOfOrigin>DE</m:countryOfOrigin>"
        "</ilmd></extension>"
        "<x:shift>B</x:shift><x:line><x:station>1</x:station><x:station>2</x:station></x:line>"
        "</ObjectEvent></EventList></EPCISBody></e:EPCISDocument>";
    static const char  third[] =
        "<e:EPCISDocument xmlns:e=\"urn:epcglobal:epcis:xsd:2\" schemaVersion=\"2.0\" xmlns:m=\"urn:epcglobal:cbv:mda\""
        " xmlns:x=\"https://ns.example.com/epcis/\">"
        "<EPCISBody><EventList><ObjectEvent><eventTime>2026-11-20T09:00:00Z</eventTime><eventTimeZoneOffset>+01:00</eventTimeZoneOffset>"
        "<epcList><epc>urn:epc:id:sgtin:9506000.013435.A1</epc></epcList><action>ADD</action>"
        "<bizStep>https://ref.gs1.org/cbv/BizStep-commissioning</bizStep>"
        "<disposition>https://ref.gs1.org/cbv/Disp-active</disposition><readPoint><id>urn:epc:id:sgln:9506000.00001.7</id></readPoint>"
        "<bizTransactionList><bizTransaction type=\"https://ref.gs1.org/cbv/BTT-po\">urn:x:1</bizTransaction></bizTransactionList>"
        "<quantityList><quantityElement><epcClass>urn:epc:class:lgtin:9506000.013435.L1</epcClass><quantity>5.00</quantity><uom>KGM</uom>"
        "</quantityElement></quantityList>"
        "<destinationList><destination type=\"location\">urn:epc:id:sgln:9506000.00001.0</destination></destinationList>"
        "<ilmd><m:lotNumber>L1</m:lotNumber><m:itemExpirationDate>2030-12-31</m:itemExpirationDate><m:countryOfOrigin>DE</m:countryOfOrigin></ilmd>"
        "<x:shift>B</x:shift><x:line><x:station>1</x:station><x:station>2</x:station></x:line>"
        "</ObjectEvent></EventList></EPCISBody></e:EPCISDocument>";

    (void) state;

    json = feed_document(first, &strict, svw_feed_json);
    xml12 = feed_document(second, &strict, svw_feed_xml);
    xml20 = feed_document(third, &strict, svw_feed_xml);

    assert_non_null(strstr(json->script, "event object add step=commissioning disposition=active"));
    assert_string_equal(json->script, xml12->script);
    assert_string_equal(json->script, xml20->script);
    assert_memory_equal(json->identity, xml12->identity, SVW_DIGEST);
    assert_memory_equal(json->identity, xml20->identity, SVW_DIGEST);

    feed_free(json);
    feed_free(xml12);
    feed_free(xml20);
}


/* More items than the memory of doubles begins with; each is counted once. */
static void
test_many(void **state)
{
    int      i;
    FILE    *out;
    char    *event;
    size_t   len;
    feed_t  *feed;

    (void) state;

    out = open_memstream(&event, &len);
    fprintf(out, "{%s,%s,\"epcList\":[", COMMISSION, ILMD);

    for (i = 0; i < 100000; i++) {
        fprintf(out, "%s\"%s%d\"", i > 0 ? "," : "", PACK, i % 70000);
    }

    fputs("]}", out);
    fclose(out);

    feed = calloc(1, sizeof(feed_t));
    feed->load.source = &plain;
    feed->load.today = TODAY;
    feed->load.now_ms = NOW_MS;
    feed->input = event;
    feed->size = len;
    assert_int_equal(svw_feed_json(&feed->load), 0);

    assert_int_equal(feed->items, 70000);
    assert_string_equal(feed->script, "skipped epc_twice [event 1 epcList[70000]] 30000\n" ROW " packs=70000 offset=60" L1 "\n");
    feed_free(feed);
    free(event);
}


static void
test_words(void **state)
{
    size_t     i;
    sv_span_t  word;

    static const char *const  words[][3] = {
        { "commissioning", "bizstep", "commissioning" },
        { "urn:epcglobal:cbv:bizstep:shipping", "bizstep", "shipping" },
        { "https://ref.gs1.org/cbv/BizStep-packing", "bizstep", "packing" },
        { "https://ns.gs1.org/voc/Bizstep-packing", "bizstep", "packing" },
        { "https://ns.gs1.org/cbv/BizStep-packing", "bizstep", "packing" },
        { "cbv:BizStep-packing", "bizstep", "packing" },
        { "urn:epcglobal:cbv:disp:active", "disp", "active" },
        { "https://ref.gs1.org/cbv/Disp-active", "disp", "active" },
        { "urn:epcglobal:cbv:er:did_not_occur", "er", "did_not_occur" },
        { "https://ref.gs1.org/cbv/ER-incorrect_data", "er", "incorrect_data" },
        { "https://example.com/BizStep-packing", "bizstep", "https://example.com/BizStep-packing" },
        { "urn:epcglobal:cbv:disp:active", "bizstep", "urn:epcglobal:cbv:disp:active" },
        { "urn:epcglobal:cbv:bizstep:", "bizstep", "urn:epcglobal:cbv:bizstep:" },
        { "cbv:", "bizstep", "cbv:" },
        { "", "bizstep", "" }
    };

    (void) state;

    for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        word = svw_word((sv_span_t) { (const uint8_t *) words[i][0], strlen(words[i][0]) }, words[i][1]);
        assert_int_equal(word.len, strlen(words[i][2]));
        assert_memory_equal(word.data, words[i][2], word.len);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_facts),
        cmocka_unit_test(test_content),
        cmocka_unit_test(test_strict),
        cmocka_unit_test(test_detail_bounded),
        cmocka_unit_test(test_syntaxes),
        cmocka_unit_test(test_many)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
