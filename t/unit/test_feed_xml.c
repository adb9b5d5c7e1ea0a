/*
 * The reader of EPCIS XML: what it tells of a document.  Instead of svw_event.c
 * and svw_load.c there is a script of the calls.
 */

#include "src/worker/svw_event.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>


#define SCRIPT  (64 * 1024)

typedef struct {
    svw_load_t   load;                  /* first: what the reader gets */
    const char  *input;
    size_t       size, pos, piece;
    char         script[SCRIPT];
    size_t       len;
    int          events, epcs;
} feed_t;

/* the reader's event is the feed itself */
struct svw_event_s {
    feed_t       feed;
};


static const char  head12[] =
    "<epcis:EPCISDocument xmlns:epcis=\"urn:epcglobal:epcis:xsd:1\" xmlns:cbvmda=\"urn:epcglobal:cbv:mda\" schemaVersion=\"1.2\">"
    "<EPCISBody><EventList>";
static const char  head20[] =
    "<e:EPCISDocument xmlns:e=\"urn:epcglobal:epcis:xsd:2\" xmlns:m=\"urn:epcglobal:cbv:mda\"><EPCISBody><EventList>";
static const char  tail12[] = "</EventList></EPCISBody></epcis:EPCISDocument>";
static const char  tail20[] = "</EventList></EPCISBody></e:EPCISDocument>";


static void
put(feed_t *feed, const char *fmt, ...)
{
    int      n;
    va_list  args;

    va_start(args, fmt);
    n = vsnprintf(feed->script + feed->len, SCRIPT - feed->len, fmt, args);
    va_end(args);

    if (feed->len + (size_t) n < SCRIPT) {
        feed->len += (size_t) n;
    }
}


static feed_t *
feed_bytes(const char *input, size_t size, size_t piece)
{
    feed_t  *feed;

    feed = calloc(1, sizeof(feed_t));
    assert_non_null(feed);

    feed->input = input;
    feed->size = size;
    feed->piece = piece;

    (void) svw_feed_xml(&feed->load);

    if (feed->load.rc != SVW_LOAD_OK) {
        put(feed, "refused %s\n", feed->load.note);
    }

    return feed;
}


/* The same script, however the bytes come; first and last lines may be left away. */
static void
assert_script(const char *input, const char *expected)
{
    size_t   i;
    feed_t  *feed;

    static const size_t  pieces[] = { SVW_READ, 1, 7, 4096 };

    for (i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        feed = feed_bytes(input, strlen(input), pieces[i]);
        assert_string_equal(feed->script, expected);
        free(feed);
    }
}


static void
assert_has(const char *input, size_t size, const char *expected)
{
    feed_t  *feed;

    feed = feed_bytes(input, size, SVW_READ);

    if (strstr(feed->script, expected) == NULL) {
        assert_string_equal(feed->script, expected);
    }

    free(feed);
}


static void
assert_12(const char *event, const char *expected)
{
    char  text[8192];

    snprintf(text, sizeof(text), "%s%s%s", head12, event, tail12);
    assert_script(text, expected);
}


static void
assert_20(const char *event, const char *expected)
{
    char  text[8192];

    snprintf(text, sizeof(text), "%s%s%s", head20, event, tail20);
    assert_script(text, expected);
}


static void
test_commissioning(void **state)
{
    (void) state;

    assert_script(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
        "<epcis:EPCISDocument xmlns:epcis=\"urn:epcglobal:epcis:xsd:1\" xmlns:x=\"urn:epcglobal:cbv:mda\">\n"
        " <EPCISHeader><sbdh:StandardBusinessDocumentHeader xmlns:sbdh=\"sbdh\"><sbdh:HeaderVersion>1 .0</sbdh:HeaderVersion>"
        "</sbdh:StandardBusinessDocumentHeader><extension><EPCISMasterData><VocabularyList><Vocabulary type=\"a\"/></VocabularyList>"
        "</EPCISMasterData></extension></EPCISHeader>\n"
        " <EPCISBody>\n  <EventList>\n"
        "   <ObjectEvent>\n"
        "    <eventTime> 2026-11-20T10:00:00Z </eventTime>\n"
        "    <recordTime>2026-11-20T10:00:01Z</recordTime>\n"
        "    <eventTimeZoneOffset>+01:00</eventTimeZoneOffset>\n"
        "    <baseExtension><eventID>urn:uuid:1</eventID></baseExtension>\n"
        "    <epcList>\n"
        "     <epc>urn:epc:id:sgtin:9506000.013435.A<!-- a comment -->1</epc>\n"
        "     <epc>\n   urn:epc:id:sgtin:9506000.013435.A%26&amp;&#65;<![CDATA[<2]]>\n   </epc>\n"
        "    </epcList>\n"
        "    <action>ADD</action>\n"
        "    <bizStep>urn:epcglobal:cbv:bizstep:commissioning</bizStep>\n"
        "    <disposition>urn:epcglobal:cbv:disp:active</disposition>\n"
        "    <readPoint><id>urn:rp</id></readPoint>\n"
        "    <bizLocation><id>urn:bl</id></bizLocation>\n"
        "    <extension><ilmd><x:lotNumber>L1</x:lotNumber><x:itemExpirationDate>2030-12-31</x:itemExpirationDate></ilmd></extension>\n"
        "   </ObjectEvent>\n"
        "  </EventList>\n </EPCISBody>\n</epcis:EPCISDocument>\n",

        "begin 6\n"
        "type ObjectEvent\n"
        "time 2026-11-20T10:00:00Z\n"
        "offset +01:00\n"
        "id urn:uuid:1\n"
        "+epcs\n"
        "epc 12 urn:epc:id:sgtin:9506000.013435.A1\n"
        "epc 13 urn:epc:id:sgtin:9506000.013435.A%26&A<2\n"
        "action ADD\n"
        "step urn:epcglobal:cbv:bizstep:commissioning\n"
        "disposition urn:epcglobal:cbv:disp:active\n"
        "read point urn:rp\n"
        "location urn:bl\n"
        "claim lot cbvmda L1\n"
        "claim expiry cbvmda 2030-12-31\n"
        "end\n");
}


static void
test_aggregation(void **state)
{
    (void) state;

    assert_20("<AggregationEvent><parentID>urn:p</parentID><childEPCs><epc>urn:c</epc></childEPCs><action>DELETE</action>"
              "<eventID>E</eventID></AggregationEvent>",
              "begin 1\ntype AggregationEvent\nparent urn:p\n+epcs\nepc 1 urn:c\naction DELETE\nid E\nend\n");

    assert_20("<AggregationEvent><parentID/><childEPCs/></AggregationEvent>",
              "begin 1\ntype AggregationEvent\nparent \n+epcs\nend\n");
}


static void
test_lists(void **state)
{
    static const char  script[] =
        "begin 1\ntype ObjectEvent\n"
        "open bizTransactionList\ntext type=urn:epcglobal:cbv:btt:po\ntext bizTransaction=urn:po:1\nclose\n"
        "open bizTransactionList\ntext bizTransaction=urn:po:2\nclose\n"
        "quantity urn:epc:class:lgtin:1.2.L|10|KGM\n"
        "quantity urn:epc:idpat:sgtin:1.2.*||\n"
        "open sourceList\ntext type=urn:epcglobal:cbv:sdt:owning_party\ntext source=urn:s\nclose\n"
        "open destinationList\ntext type=http://example.com/x\ntext destination=urn:d\nclose\n"
        "end\n";

    static const char  transactions[] =
        "<bizTransactionList><bizTransaction type=\"urn:epcglobal:cbv:btt:po\">urn:po:1</bizTransaction>"
        "<bizTransaction>urn:po:2</bizTransaction></bizTransactionList>";
    static const char  lists[] =
        "<quantityList><quantityElement><epcClass>urn:epc:class:lgtin:1.2.L</epcClass><quantity>10</quantity><uom>KGM</uom>"
        "</quantityElement><quantityElement><epcClass>urn:epc:idpat:sgtin:1.2.*</epcClass></quantityElement></quantityList>"
        "<sourceList><source type=\"urn:epcglobal:cbv:sdt:owning_party\">urn:s</source></sourceList>"
        "<destinationList><destination type=\"http://example.com/x\">urn:d</destination></destinationList>";
    char  text[4096];

    (void) state;

    snprintf(text, sizeof(text), "<ObjectEvent>%s<extension>%s</extension></ObjectEvent>", transactions, lists);
    assert_12(text, script);

    snprintf(text, sizeof(text), "<ObjectEvent>%s%s</ObjectEvent>", transactions, lists);
    assert_20(text, script);
}


static void
test_error(void **state)
{
    (void) state;

    assert_12("<ObjectEvent><baseExtension><eventID>E</eventID><errorDeclaration><declarationTime>T</declarationTime>"
              "<reason>urn:epcglobal:cbv:er:did_not_occur</reason><correctiveEventIDs><correctiveEventID>C1</correctiveEventID>"
              "<correctiveEventID>C2</correctiveEventID></correctiveEventIDs></errorDeclaration></baseExtension></ObjectEvent>",
              "begin 1\ntype ObjectEvent\nid E\n+error\nerror time T\nerror reason urn:epcglobal:cbv:er:did_not_occur\n"
              "corrective C1\ncorrective C2\nend\n");
}


static void
test_sensors(void **state)
{
    (void) state;

    assert_20("<ObjectEvent><sensorElementList><sensorElement><sensorMetadata time=\"T\" deviceID=\"urn:d\"/>"
              "<sensorReport type=\"Temperature\" value=\"26.0\" uom=\"CEL\"/><sensorReport type=\"x\" value=\"2\"/></sensorElement>"
              "<sensorElement><sensorReport value=\"1\"/></sensorElement></sensorElementList>"
              "<persistentDisposition><set>urn:epcglobal:cbv:disp:recalled</set><unset>a</unset></persistentDisposition></ObjectEvent>",
              "begin 1\ntype ObjectEvent\n"
              "open sensorElementList\n"
              "open sensorMetadata\ntext time=T\ntext deviceID=urn:d\nclose\n"
              "open sensorReport\ntext type=Temperature\ntext value=26.0\ntext uom=CEL\nclose\n"
              "open sensorReport\ntext type=x\ntext value=2\nclose\n"
              "close\n"
              "open sensorElementList\nopen sensorReport\ntext value=1\nclose\nclose\n"
              "open persistentDisposition\ntext set=urn:epcglobal:cbv:disp:recalled\ntext unset=a\nclose\n"
              "end\n");
}


static void
test_extensions(void **state)
{
    (void) state;

    assert_20("<ObjectEvent xmlns:x=\"http://x/\"><x:line> 7 </x:line><x:shift no=\"2\"><x:lead>Ann</x:lead></x:shift><x:empty/>"
              "<x:unit of=\"kg\">5</x:unit><ilmd><m:lotNumber>L</m:lotNumber><m:countryOfOrigin>DE</m:countryOfOrigin></ilmd></ObjectEvent>",
              "begin 1\ntype ObjectEvent\n"
              "text {http://x/}line=7\n"
              "open {http://x/}shift\ntext @no=2\ntext {http://x/}lead=Ann\nclose\n"
              "text {http://x/}empty=\n"
              "open {http://x/}unit\ntext @of=kg\ntext #text=5\nclose\n"
              "claim lot cbvmda L\n"
              "open ilmd\ntext {urn:epcglobal:cbv:mda}countryOfOrigin=DE\nclose\n"
              "end\n");
}


static void
test_dialects(void **state)
{
    (void) state;

    assert_12("<ObjectEvent xmlns:g=\"http://epcis.gs1us.org/hc/ns\"><g:lotNumber>L</g:lotNumber>"
              "<g:itemExpirationDate>2030-01-01</g:itemExpirationDate></ObjectEvent>",
              "begin 1\ntype ObjectEvent\nclaim? lot gs1ushc L\nclaim? expiry gs1ushc 2030-01-01\nend\n");

    assert_12("<ObjectEvent xmlns:g=\"http://epcis.gs1us.org/hc/ns\"><extension><ilmd><g:lotNumber>L</g:lotNumber></ilmd></extension></ObjectEvent>",
              "begin 1\ntype ObjectEvent\nclaim? lot ilmd L\nend\n");

    assert_12("<ObjectEvent><SAPExtension><ObjAttributes><LOTNO>L</LOTNO><DATEX>20300131</DATEX><DATMF>20290131</DATMF></ObjAttributes>"
              "<ObjAttGroupList/></SAPExtension></ObjectEvent>",
              "begin 1\ntype ObjectEvent\nirregular xml_name SAPExtension\nclaim? lot sap L\nclaim? expiry sap 20300131\n"
              "open SAPExtension\nopen ObjAttributes\ntext DATMF=20290131\nclose\ntext ObjAttGroupList=\nclose\nend\n");

    assert_12("<ObjectEvent><extension><extension name=\"BATCH\">L</extension><extension name=\"EXPIRY\" value=\"20210930\"/></extension>"
              "</ObjectEvent>",
              "begin 1\ntype ObjectEvent\nirregular xml_name extension\nclaim? lot label L\nclaim? expiry label 20210930\nend\n");

    assert_12("<ObjectEvent><extension><ilmd><code>(01)09506000134352(21)A(17)170301(10)ABCDE</code></ilmd></extension></ObjectEvent>",
              "begin 1\ntype ObjectEvent\nbarcode (01)09506000134352(21)A(17)170301(10)ABCDE\nend\n");

    assert_12("<ObjectEvent xmlns:tl=\"http://tl/\"><lotNumber>L</lotNumber><tl:a><tl:countryMarket>IT</tl:countryMarket></tl:a></ObjectEvent>",
              "begin 1\ntype ObjectEvent\nirregular xml_name lotNumber\nclaim? lot unqualified L\nclaim market tracelink IT\nend\n");

    /* the lot of something else */
    assert_12("<ObjectEvent xmlns:x=\"http://x/\"><x:material><lotNumber>M</lotNumber></x:material></ObjectEvent>",
              "begin 1\ntype ObjectEvent\nopen {http://x/}material\ntext lotNumber=M\nclose\nend\n");
}


static void
test_shapes(void **state)
{
    (void) state;

    /* nothing irregular in these */
    assert_script("<q:EPCISQueryDocument xmlns:q=\"urn:epcglobal:epcis-query:xsd:1\"><EPCISBody><q:QueryResults><queryName>n</queryName>"
                  "<resultsBody><EventList><ObjectEvent/></EventList></resultsBody></q:QueryResults></EPCISBody></q:EPCISQueryDocument>",
                  "begin 1\ntype ObjectEvent\nend\n");
    assert_script("<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Header><a>b</a></s:Header><s:Body>"
                  "<q:QueryResults xmlns:q=\"urn:epcglobal:epcis-query:xsd:2\"><resultsBody><EventList><ObjectEvent><eventID>E</eventID>"
                  "</ObjectEvent></EventList></resultsBody></q:QueryResults></s:Body></s:Envelope>",
                  "begin 1\ntype ObjectEvent\nid E\nend\n");
    assert_script("<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\"><s:Body><x:capture xmlns:x=\"http://x/\">"
                  "<e:EPCISDocument xmlns:e=\"urn:epcglobal:epcis:xsd:1\"><EPCISBody><EventList><ObjectEvent/></EventList></EPCISBody>"
                  "</e:EPCISDocument></x:capture></s:Body></s:Envelope>",
                  "begin 1\ntype ObjectEvent\nend\n");
    assert_12("<extension><TransformationEvent><inputEPCList><epc>urn:i</epc></inputEPCList></TransformationEvent></extension>",
              "begin 1\ntype TransformationEvent\nend\n");
    assert_12("", "");
    assert_12("<x:Other xmlns:x=\"http://x/\"/>", "begin 1\ntype Other\nend\n");
}


static void
test_irregular(void **state)
{
    (void) state;

    assert_script("<EPCISDocument><EPCISBody><EventList><ObjectEvent/><ObjectEvent/></EventList></EPCISBody></EPCISDocument>",
                  "begin 1\ntype ObjectEvent\nirregular xml_namespace EPCISDocument\nend\n"
                  "begin 1\ntype ObjectEvent\nirregular xml_namespace EPCISDocument\nend\n");
    assert_script("<EPCISDocument xmlns=\"urn:epcglobal:epcis:xsd:1\"><EPCISBody><EventList><ObjectEvent><action>ADD</action></ObjectEvent>"
                  "</EventList></EPCISBody></EPCISDocument>",
                  "begin 1\ntype ObjectEvent\nirregular xml_namespace EPCISBody\naction ADD\nend\n");
    assert_script("<epcis:EPCISDocument><EPCISBody><EventList><ObjectEvent/></EventList></EPCISBody></epcis:EPCISDocument>",
                  "begin 1\ntype ObjectEvent\nirregular xml_namespace EPCISDocument\nend\n");
    assert_script("<e:EPCISDocument xmlns:e=\"urn:epcglobal:epcis:xsd:1\"><epcisbody><EventList><ObjectEvent/></EventList></epcisbody>"
                  "</e:EPCISDocument>",
                  "begin 1\ntype ObjectEvent\nirregular xml_name EPCISBody\nend\n");
    assert_script("<e:EPCISDocument xmlns:e=\"urn:epcglobal:epcis:xsd:1\"><EPCISBody><ObjectEvent/></EPCISBody></e:EPCISDocument>",
                  "begin 1\ntype ObjectEvent\nirregular xml_place ObjectEvent\nend\n");
    assert_script("<ObjectEvent><action>ADD</action></ObjectEvent>",
                  "begin 1\ntype ObjectEvent\nirregular xml_place ObjectEvent\naction ADD\nend\n");
    assert_script("<?xml version=\"1.9\"?><e:EPCISDocument xmlns:e=\"urn:epcglobal:epcis:xsd:1\"><EPCISBody><EventList><ObjectEvent/></EventList>"
                  "</EPCISBody></e:EPCISDocument>",
                  "begin 1\ntype ObjectEvent\nirregular xml_version document\nend\n");
    assert_12("<extension><ObjectEvent/></extension>", "begin 1\ntype ObjectEvent\nirregular xml_place ObjectEvent\nend\n");
    assert_12("<ObjectEvent><eventID>E</eventID></ObjectEvent>", "begin 1\ntype ObjectEvent\nirregular xml_place eventID\nid E\nend\n");
    assert_12("<ObjectEvent><ilmd><cbvmda:lotNumber>L</cbvmda:lotNumber></ilmd></ObjectEvent>",
              "begin 1\ntype ObjectEvent\nirregular xml_place ilmd\nclaim lot cbvmda L\nend\n");
    assert_20("<ObjectEvent><extension><ilmd/></extension></ObjectEvent>", "begin 1\ntype ObjectEvent\nirregular xml_place extension\nend\n");
    assert_20("<ObjectEvent><bizstep>commissioning</bizstep></ObjectEvent>",
              "begin 1\ntype ObjectEvent\nirregular xml_name bizstep\ntext bizstep=commissioning\nend\n");
    assert_20("<ObjectEvent><a:b>c</a:b></ObjectEvent>", "begin 1\ntype ObjectEvent\nirregular xml_namespace b\ntext b=c\nend\n");

    /* what has parts is no value */
    assert_20("<ObjectEvent><epcList><epc>urn:<b>a</b></epc><ecp>urn:a</ecp></epcList><action>A<b/></action></ObjectEvent>",
              "begin 1\ntype ObjectEvent\n+epcs\nepc 1 <\nepc 1 <\nwrong event_member_form action\nend\n");

    /* nor is a text where there should be elements */
    assert_20("<ObjectEvent><epcList>urn:a</epcList><readPoint>urn:b<id>urn:c</id></readPoint><recordTime>d</recordTime></ObjectEvent>",
              "begin 1\ntype ObjectEvent\n+epcs\nwrong event_member_form epcList\nwrong event_member_form readPoint\nread point urn:c\nend\n");
}


static void
test_refused(void **state)
{
    size_t  i;

    static const struct { const char *input, *note; }  cases[] = {
        { "<a/>", "line 1: this is XML, but neither an EPCIS document nor query results" },
        { "<EPCISDocument/>", "this is XML, but there is no EventList in it" },
        { "<EPCISDocument>\n<EPCISBody>\n", "line 3: not XML: " },
        { "<EPCISDocument>\n<EPCISBody></EPCISDocument>", "line 2: not XML: Opening and ending tag mismatch" },
        { "", "not XML: " },
        { "<!DOCTYPE a [<!ENTITY b \"c\">]>\n<EPCISDocument/>", "line 1: an entity is declared; a feed has no entities of its own" },
        { "<!DOCTYPE a [<!ENTITY % b \"c\">]>\n<EPCISDocument/>", "line 1: an entity is declared" },
        { "<!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]>\n<EPCISDocument/>", "line 1: an entity is declared" },
        { "<!DOCTYPE a [<!NOTATION n SYSTEM \"n\"><!ENTITY b SYSTEM \"c\" NDATA n>]>\n<EPCISDocument/>", "line 1: an entity is declared" },
        { "<!DOCTYPE a [<!ATTLIST a b CDATA \"c\">]>\n<EPCISDocument/>", "line 1: attributes are declared" },
        { "<!DOCTYPE a [<!ATTLIST a b (c|d) \"c\">]>\n<EPCISDocument/>", "line 1: attributes are declared" },
        { "<EPCISDocument><EPCISBody><EventList>&b;</EventList></EPCISBody></EPCISDocument>", "line 1: not XML: Entity 'b' not defined" },
        { "<!DOCTYPE a SYSTEM \"http://127.0.0.1:9/a.dtd\"><EPCISDocument>&b;</EPCISDocument>", "line 1: " },
        { "<?xml version=\"1.0\" encoding=\"IBM037\"?><EPCISDocument/>", "line 1: " },
        { "<?xml version=\"1.0\" encoding=\"UTF-7\"?><EPCISDocument/>", "line 1: this encoding is not read here; use UTF-8" },
        { "<?xml version=\"1.0\" encoding=\"UTF-16\"?><EPCISDocument/>", "line 1: not XML: Document labelled UTF-16 but has UTF-8 content" },
        { "<?xml version=\"1.0\"?>\n<EPCISDocument>\n<a b=\"\xe4\"/></EPCISDocument>", "line 3: not XML: Input is not proper UTF-8" },
        { "<?xml version=\"2.0\"?>\n<EPCISDocument/>", "line 1: not XML: Unsupported version '2.0'" },
        { "<EPCISDocument/><EPCISDocument/>", "line 1: not XML: Extra content at the end of the document" },
        { "<Envelope><Body><EPCISDocument/><EPCISDocument/></Body></Envelope>", "line 1: a second document in the same file" },
        { "<EPCISDocument>\x01</EPCISDocument>", "line 1: not XML: PCDATA invalid Char value 1" },
    };

    (void) state;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_has(cases[i].input, strlen(cases[i].input), cases[i].note);
    }

    assert_has("<EPCISDocument>a\0b</EPCISDocument>", 34, "refused line 1: not XML: ");
    assert_has("<!DOCTYPE EPCISDocument><EPCISDocument><EPCISBody><EventList/></EPCISBody></EPCISDocument>", 90, "");
}


static void
test_encodings(void **state)
{
    size_t  i, n;
    char    wide[512];

    static const char  text[] = "<ObjectEvent><disposition>\xc3\xa4</disposition></ObjectEvent>";
    static const char  latin[] = "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><ObjectEvent><disposition>\xe4</disposition></ObjectEvent>";
    static const char  plain[] = "<ObjectEvent><disposition>\xe4</disposition></ObjectEvent>";

    (void) state;

    assert_has("\xef\xbb\xbf<ObjectEvent/>", 17, "begin 1\n");
    assert_has(text, strlen(text), "disposition \xc3\xa4\n");
    assert_has(latin, strlen(latin), "disposition \xc3\xa4\n");

    for (i = 0, n = 2; i < strlen(plain); i++, n += 2) {
        wide[n] = plain[i];
        wide[n + 1] = '\0';
    }

    memcpy(wide, "\xff\xfe", 2);
    assert_has(wide, n, "disposition \xc3\xa4\n");

    for (i = 0; i < n; i += 2) {
        wide[i + 1] = wide[i];
        wide[i] = '\0';
    }

    memcpy(wide, "\xfe\xff", 2);

    for (i = 2; i < n; i += 2) {
        wide[i + 1] = plain[(i - 2) / 2];
        wide[i] = '\0';
    }

    assert_has(wide, n, "disposition \xc3\xa4\n");
    assert_has(wide, n - 1, "refused line 1: ");
}


/* Each is as large as it needs to be to hurt. */
static void
test_limits(void **state)
{
    char    *text;
    size_t   i, n, size;
    feed_t  *feed;

    (void) state;

    size = 40 * 1024 * 1024;
    text = malloc(size + 256);
    assert_non_null(text);

    n = (size_t) snprintf(text, 256, "<ObjectEvent><a>");
    memset(text + n, 'x', size);
    feed = feed_bytes(text, size, SVW_READ);
    assert_non_null(strstr(feed->script, "refused line 1: a single text is longer than 1 MiB"));
    assert_true(feed->pos < 2 * 1024 * 1024);
    free(feed);

    memcpy(text + 13, "<a b='", 6);
    feed = feed_bytes(text, size, SVW_READ);
    assert_non_null(strstr(feed->script, "refused line 1: a tag, comment or declaration is longer than 128 KiB"));
    assert_true(feed->pos < 1024 * 1024);
    free(feed);

    memcpy(text + 13, "<!--", 4);
    feed = feed_bytes(text, size, SVW_READ);
    assert_non_null(strstr(feed->script, "refused line 1: a tag, comment or declaration is longer than 128 KiB"));
    free(feed);

    memcpy(text + 13, "<![CDATA[", 9);
    feed = feed_bytes(text, size, SVW_READ);
    assert_non_null(strstr(feed->script, "refused line 1: "));
    assert_true(feed->pos < 2 * 1024 * 1024);
    free(feed);

    n = (size_t) snprintf(text, 256, "<ObjectEvent><a ");
    for (i = 0; i < 257; i++) {
        n += (size_t) snprintf(text + n, 256, "a%d='' ", (int) i);
    }
    n += (size_t) snprintf(text + n, 256, "/></ObjectEvent>");
    feed = feed_bytes(text, n, SVW_READ);
    assert_non_null(strstr(feed->script, "refused line 1: an element has more than 256 attributes"));
    free(feed);

    n = (size_t) snprintf(text, 256, "<ObjectEvent><a ");
    for (i = 0; n < size; i++) {
        n += (size_t) snprintf(text + n, 256, "a%d='' ", (int) i);
    }
    feed = feed_bytes(text, n, SVW_READ);
    assert_non_null(strstr(feed->script, "refused line 1: a tag, comment or declaration is longer than 128 KiB"));
    free(feed);

    for (i = 0, n = 0; i < 1000000; i++) {
        n += (size_t) snprintf(text + n, 256, i == 0 ? "<ObjectEvent>\n" : "<x>\n");
    }
    feed = feed_bytes(text, n, SVW_READ);
    assert_non_null(strstr(feed->script, "refused line 65: nested more than 64 levels deep"));
    free(feed);

    n = (size_t) snprintf(text, 256, "<ObjectEvent><ilmd>");
    for (i = 0; i < 30000; i++) {
        n += (size_t) snprintf(text + n, 256, "<x%d/>", (int) i);
    }
    n += (size_t) snprintf(text + n, 256, "</ilmd></ObjectEvent>");
    feed = feed_bytes(text, n, SVW_READ);
    assert_string_equal(feed->load.note, "line 1: more than 20000 different names of elements and attributes");
    free(feed);

    n = (size_t) snprintf(text, 256, "<ObjectEvent><epcList>");
    for (i = 0; i < 500000; i++) {
        n += (size_t) snprintf(text + n, 256, "<epc>urn:epc:id:sgtin:9506000.013435.S%d</epc>\n", (int) i);
    }
    n += (size_t) snprintf(text + n, 256, "</epcList></ObjectEvent>");
    feed = feed_bytes(text, n, SVW_READ);
    assert_int_equal(feed->load.rc, SVW_LOAD_OK);
    assert_int_equal(feed->epcs, 500000);
    free(feed);

    free(text);
}


/* in place of svw_load.c */

int
svw_load_read(svw_load_t *load, unsigned char *buf, size_t *n)
{
    feed_t  *feed;

    feed = (feed_t *) (void *) load;

    *n = feed->size - feed->pos < feed->piece ? feed->size - feed->pos : feed->piece;
    memcpy(buf, feed->input + feed->pos, *n);
    feed->pos += *n;

    return *n > 0;
}


int
svw_load_refuse(svw_load_t *load, const char *fmt, ...)
{
    va_list  args;

    if (load->rc == SVW_LOAD_OK) {
        va_start(args, fmt);
        vsnprintf(load->note, sizeof(load->note), fmt, args);
        va_end(args);
        load->rc = SVW_LOAD_REFUSED;
    }

    return -1;
}


int
svw_load_stop(svw_load_t *load, svw_load_rc_t rc, const char *fmt, ...)
{
    (void) fmt;

    load->rc = rc;

    return -1;
}


/* in place of svw_event.c */

svw_event_t *
svw_event_new(svw_load_t *load)
{
    return (svw_event_t *) (void *) load;
}


void
svw_event_free(svw_event_t *event)
{
    (void) event;
}


void
svw_event_begin(svw_event_t *event, int64_t line)
{
    event->feed.events++;
    put(&event->feed, "begin %d\n", (int) line);
}


void
svw_event_member(svw_event_t *event, svw_member_t member)
{
    if (member == SVW_MEMBER_EPCS || member == SVW_MEMBER_ERROR) {
        put(&event->feed, member == SVW_MEMBER_EPCS ? "+epcs\n" : "+error\n");
    }
}


int
svw_event_text(svw_event_t *event, svw_member_t member, sv_span_t text)
{
    static const char *const  names[] = {
        "type", "action", "step", "disposition", "id", "time", "offset", "parent", "read point", "location", "error time", "error reason"
    };

    put(&event->feed, "%s %.*s\n", names[member], (int) text.len, text.data);

    return 0;
}


int
svw_event_epc(svw_event_t *event, int64_t line, sv_span_t epc)
{
    event->feed.epcs++;
    put(&event->feed, "epc %d %.*s\n", (int) line, (int) epc.len, epc.data);

    return 0;
}


int
svw_event_quantity(svw_event_t *event, sv_span_t epc_class, sv_span_t quantity, sv_span_t uom)
{
    put(&event->feed, "quantity %.*s|%.*s|%.*s\n", (int) epc_class.len, epc_class.data, (int) quantity.len, quantity.data,
        (int) uom.len, uom.data);

    return 0;
}


int
svw_event_corrective(svw_event_t *event, sv_span_t event_id)
{
    put(&event->feed, "corrective %.*s\n", (int) event_id.len, event_id.data);

    return 0;
}


int
svw_event_claim(svw_event_t *event, svw_claim_t claim, int standard, const char *dialect, sv_span_t text)
{
    static const char *const  names[] = { "lot", "expiry", "market" };

    put(&event->feed, "claim%s %s %s %.*s\n", standard ? "" : "?", names[claim], dialect, (int) text.len, text.data);

    return 0;
}


int
svw_event_barcode(svw_event_t *event, sv_span_t text)
{
    put(&event->feed, "barcode %.*s\n", (int) text.len, text.data);

    return 0;
}


void
svw_event_wrong(svw_event_t *event, const char *reason, const char *element)
{
    put(&event->feed, "wrong %s %s\n", reason, element);
}


void
svw_event_irregular(svw_event_t *event, const char *reason, const char *element)
{
    put(&event->feed, "irregular %s %s\n", reason, element);
}


void
svw_event_detail_open(svw_event_t *event, sv_span_t name)
{
    put(&event->feed, "open %.*s\n", (int) name.len, name.data);
}


void
svw_event_detail_text(svw_event_t *event, sv_span_t name, sv_span_t text)
{
    put(&event->feed, "text %.*s=%.*s\n", (int) name.len, name.data, (int) text.len, text.data);
}


void
svw_event_detail_close(svw_event_t *event)
{
    put(&event->feed, "close\n");
}


int
svw_event_end(svw_event_t *event)
{
    put(&event->feed, "end\n");

    return 0;
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_commissioning),
        cmocka_unit_test(test_aggregation),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_error),
        cmocka_unit_test(test_sensors),
        cmocka_unit_test(test_extensions),
        cmocka_unit_test(test_dialects),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_irregular),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_encodings),
        cmocka_unit_test(test_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
