/* events as EPCIS 2.0 JSON-LD: a row in, the bytes out */

#include "src/worker/svw_epcis.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>


/* 2026-11-21T13:57:52.123Z */
#define AT  1795269472123


static svw_epcis_event_t
an_event(void)
{
    return (svw_epcis_event_t) {
        .event_id = "urn:uuid:1", .kind = "object", .action = "add", .step = "commissioning", .disposition = "active",
        .event_ms = AT, .at_ms = AT + 1000, .items = "09506000134352A1", .lot = "L1", .expiry = "2027-12-31"
    };
}


static void
check(const svw_epcis_event_t *event, const char *wanted)
{
    char    *text;
    json_t  *object;

    object = svw_epcis_event(event);
    assert_non_null(object);

    text = json_dumps(object, JSON_COMPACT);
    assert_string_equal(text, wanted);

    free(text);
    json_decref(object);
}


static void
test_commissioning(void **state)
{
    svw_epcis_event_t  event;

    (void) state;

    event = an_event();

    check(&event, "{\"type\":\"ObjectEvent\",\"eventID\":\"urn:uuid:1\",\"eventTime\":\"2026-11-21T13:57:52.123Z\","
          "\"eventTimeZoneOffset\":\"+00:00\",\"recordTime\":\"2026-11-21T13:57:53.123Z\","
          "\"epcList\":[\"https://id.gs1.org/01/09506000134352/21/A1\"],\"action\":\"ADD\",\"bizStep\":\"commissioning\","
          "\"disposition\":\"active\",\"ilmd\":{\"cbvmda:lotNumber\":\"L1\",\"cbvmda:itemExpirationDate\":\"2027-12-31\"}}");
}


static void
test_ilmd_with_add_only(void **state)
{
    json_t             *object;
    svw_epcis_event_t   event;

    (void) state;

    event = an_event();
    event.action = "delete";
    event.detail = "{\"ilmd\":{\"{urn:epcglobal:cbv:mda}countryOfOrigin\":\"DE\"}}";

    object = svw_epcis_event(&event);
    assert_non_null(object);
    assert_null(json_object_get(object, "ilmd"));
    assert_non_null(json_object_get(object, "sv:ilmd"));
    json_decref(object);

    event.action = "add";

    object = svw_epcis_event(&event);
    assert_string_equal(json_string_value(json_object_get(json_object_get(object, "ilmd"), "cbvmda:countryOfOrigin")), "DE");
    assert_string_equal(json_string_value(json_object_get(json_object_get(object, "ilmd"), "cbvmda:lotNumber")), "L1");
    json_decref(object);
}


static void
test_offset(void **state)
{
    size_t              i;
    json_t             *object;
    svw_epcis_event_t   event;

    static const struct {
        int          minutes;
        const char  *text;
    } offsets[] = { { 0, "+00:00" }, { 60, "+01:00" }, { -30, "-00:30" }, { -570, "-09:30" }, { 840, "+14:00" }, { 900, "+00:00" } };

    (void) state;

    event = an_event();

    for (i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
        event.offset_min = offsets[i].minutes;
        object = svw_epcis_event(&event);
        assert_string_equal(json_string_value(json_object_get(object, "eventTimeZoneOffset")), offsets[i].text);
        json_decref(object);
    }
}


static void
test_identifiers(void **state)
{
    char                link[SVW_EPCIS_LINK];
    json_t             *object, *list;
    svw_epcis_event_t   event;

    (void) state;

    event = an_event();
    event.kind = "aggregation";
    event.parent_serial = "106141412345678908";
    event.items = "09506000134352a/b&%\"!?()\n00000000000000006141411234567890\n09506000134352A1";

    object = svw_epcis_event(&event);
    assert_non_null(object);
    assert_string_equal(json_string_value(json_object_get(object, "parentID")), "https://id.gs1.org/00/106141412345678908");
    assert_null(json_object_get(object, "epcList"));

    list = json_object_get(object, "childEPCs");
    assert_int_equal(json_array_size(list), 3);
    assert_string_equal(json_string_value(json_array_get(list, 0)),
                        "https://id.gs1.org/01/09506000134352/21/a%2Fb%26%25%22%21%3F%28%29");
    assert_string_equal(json_string_value(json_array_get(list, 1)), "https://id.gs1.org/00/006141411234567890");
    json_decref(object);

    /* everything was unpacked */
    event.items = NULL;
    object = svw_epcis_event(&event);
    assert_int_equal(json_array_size(json_object_get(object, "childEPCs")), 0);
    json_decref(object);

    event.items = "0950600013435";
    assert_null(svw_epcis_event(&event));

    assert_int_equal(svw_epcis_link(9506000134352, "!!!!!!!!!!!!!!!!!!!!", 20, link), 0);
}


static void
test_places(void **state)
{
    json_t             *object;
    svw_epcis_event_t   event;

    (void) state;

    event = an_event();
    event.read_point = "urn:epc:id:sgln:0614141.00777.0";
    event.biz_location = "ML-150";

    object = svw_epcis_event(&event);
    assert_string_equal(json_string_value(json_object_get(json_object_get(object, "readPoint"), "id")), event.read_point);
    assert_null(json_object_get(object, "bizLocation"));
    assert_string_equal(json_string_value(json_object_get(object, "sv:bizLocation")), "ML-150");
    json_decref(object);
}


static void
test_detail(void **state)
{
    svw_epcis_event_t  event;

    (void) state;

    event = an_event();
    event.kind = "transaction";
    event.action = "observe";
    event.step = NULL;
    event.disposition = NULL;
    event.lot = event.expiry = NULL;
    event.detail = "{\"bizTransactionList\":{\"type\":\"urn:epcglobal:cbv:btt:po\",\"bizTransaction\":\"urn:po:1\"},"
                   "\"sensorElementList\":[{\"sensorReport\":{\"type\":\"Temperature\",\"value\":\"26.5\",\"uom\":\"CEL\","
                   "\"booleanValue\":\"true\",\"sDev\":\"3\",\"minValue\":\"cold\"}}],"
                   "\"{http://line.example/}shift\":{\"{http://line.example/}no\":\"2\",\"{http://other.example}a\":\"b\"},"
                   "\"LOTNO\":\"X\",\"type\":\"y\"}";
    event.own = "{\"items\":2}";
    event.error = "{\"declarationTime\":\"2026-11-22T00:00:00Z\",\"reason\":\"did_not_occur\"}";

    check(&event, "{\"type\":\"TransactionEvent\",\"eventID\":\"urn:uuid:1\",\"eventTime\":\"2026-11-21T13:57:52.123Z\","
          "\"eventTimeZoneOffset\":\"+00:00\",\"recordTime\":\"2026-11-21T13:57:53.123Z\","
          "\"errorDeclaration\":{\"declarationTime\":\"2026-11-22T00:00:00Z\",\"reason\":\"did_not_occur\"},"
          "\"epcList\":[\"https://id.gs1.org/01/09506000134352/21/A1\"],\"action\":\"OBSERVE\","
          "\"bizTransactionList\":[{\"type\":\"po\",\"bizTransaction\":\"urn:po:1\"}],"
          "\"sensorElementList\":[{\"sensorReport\":[{\"type\":\"Temperature\",\"value\":26.5,\"uom\":\"CEL\","
          "\"booleanValue\":true,\"sDev\":3,\"minValue\":\"cold\"}]}],"
          "\"ns1:shift\":{\"ns1:no\":\"2\",\"ns2:a\":\"b\"},\"sv:LOTNO\":\"X\",\"sv:type\":\"y\",\"sv:items\":2,"
          "\"@context\":{\"ns1\":\"http://line.example/\",\"ns2\":\"http://other.example\"}}");
}


/* lists stay as they are, and what is alone becomes one */
static void
test_lists(void **state)
{
    char                *text;
    size_t               i;
    json_t              *object;
    svw_epcis_event_t    event;

    static const char *const  details[] = {
        "{\"sensorElementList\":[{\"sensorReport\":[{\"type\":\"Temperature\",\"value\":\"6\"}]}],"
        "\"persistentDisposition\":{\"set\":[\"recalled\"]}}",
        "{\"sensorElementList\":{\"sensorReport\":{\"type\":\"Temperature\",\"value\":\"6\"}},"
        "\"persistentDisposition\":{\"set\":\"recalled\"}}"
    };

    (void) state;

    event = an_event();

    for (i = 0; i < 2; i++) {
        event.detail = details[i];
        object = svw_epcis_event(&event);

        text = json_dumps(json_object_get(object, "sensorElementList"), JSON_COMPACT);
        assert_string_equal(text, "[{\"sensorReport\":[{\"type\":\"Temperature\",\"value\":6}]}]");
        free(text);

        text = json_dumps(json_object_get(object, "persistentDisposition"), JSON_COMPACT);
        assert_string_equal(text, "{\"set\":[\"recalled\"]}");
        free(text);

        json_decref(object);
    }
}


static void
test_broken_rows(void **state)
{
    svw_epcis_event_t  event;

    (void) state;

    event = an_event();
    event.detail = "[1]";
    assert_null(svw_epcis_event(&event));

    event = an_event();
    event.detail = "{";
    assert_null(svw_epcis_event(&event));

    event = an_event();
    event.error = "";
    assert_null(svw_epcis_event(&event));

    /* no such year in RFC 3339 */
    event = an_event();
    event.event_ms = INT64_MAX / 2;
    assert_null(svw_epcis_event(&event));
}


static char *
document(svw_epcis_doc_t doc, unsigned n)
{
    char               *text;
    FILE               *out;
    size_t              len;
    unsigned            i;
    svw_epcis_event_t   event;

    event = an_event();
    out = open_memstream(&text, &len);

    assert_int_equal(svw_epcis_begin(out, doc, AT), 0);

    for (i = 0; i < n; i++) {
        assert_int_equal(svw_epcis_put(out, &event, i == 0), 0);
    }

    assert_int_equal(svw_epcis_end(out, doc), 0);
    fclose(out);

    return text;
}


static void
test_documents(void **state)
{
    char      *text, *again;
    json_t    *root, *body;
    unsigned   n;

    (void) state;

    for (n = 0; n < 4; n++) {
        text = document(SVW_EPCIS_DOCUMENT, n);
        again = document(SVW_EPCIS_DOCUMENT, n);
        assert_string_equal(text, again);

        root = json_loads(text, 0, NULL);
        assert_string_equal(json_string_value(json_object_get(root, "type")), "EPCISDocument");
        assert_string_equal(json_string_value(json_object_get(root, "creationDate")), "2026-11-21T13:57:52.123Z");
        assert_int_equal(json_array_size(json_object_get(json_object_get(root, "epcisBody"), "eventList")), n);
        json_decref(root);
        free(text);
        free(again);

        text = document(SVW_EPCIS_QUERY, n);
        root = json_loads(text, 0, NULL);
        body = json_object_get(json_object_get(json_object_get(root, "epcisBody"), "queryResults"), "resultsBody");
        assert_int_equal(json_array_size(json_object_get(body, "eventList")), n);
        json_decref(root);
        free(text);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_commissioning),
        cmocka_unit_test(test_ilmd_with_add_only),
        cmocka_unit_test(test_offset),
        cmocka_unit_test(test_identifiers),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_detail),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_broken_rows),
        cmocka_unit_test(test_documents)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
