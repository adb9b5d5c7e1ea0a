/*
 * The parser of EPCIS XML and its limits.
 *
 * libxml2 calls back for each start, end and text (SAX2): there is no tree, so
 * memory is the same for any file.  Nothing is ever fetched, and an entity can
 * not be declared: a file that tries is refused at the declaration.
 */

#include "svw_xml.h"

#include <libxml/parser.h>
#include <libxml/parserInternals.h>
#include <stdlib.h>
#include <string.h>


#define SVW_XML_TEXT        (1024 * 1024)       /* longest text of one element */
#define SVW_XML_MARKUP      (128 * 1024)        /* between two calls of the parser: one tag, one comment */
#define SVW_XML_ATTRIBUTES  256
#define SVW_XML_NAMES       20000               /* different names of elements and attributes */

typedef struct {
    svw_xml_t          xml;
    xmlParserCtxt     *parser;
    unsigned char      buf[SVW_READ];
    size_t             pos, n;                  /* what of buf the parser has, and what there is */
    int64_t            fed;                     /* bytes it was given */
    int64_t            last;                    /* .. when it called last */
    unsigned char     *text;                    /* of the element at hand */
    size_t             len, cap;
    size_t             seen;                    /* its length, kept or not */
} svw_xml_reader_t;


static int svw_xml_read(void *data, char *out, int len);
static int svw_xml_finish(svw_xml_reader_t *reader);
static int svw_xml_step(svw_xml_reader_t *reader);
static void svw_xml_refuse(svw_xml_reader_t *reader, const char *what);
static void svw_xml_on_document(void *data);
static void svw_xml_on_start(void *data, const xmlChar *local, const xmlChar *prefix, const xmlChar *ns, int n_spaces,
    const xmlChar **spaces, int n, int n_defaulted, const xmlChar **attributes);
static void svw_xml_on_end(void *data, const xmlChar *local, const xmlChar *prefix, const xmlChar *ns);
static void svw_xml_on_text(void *data, const xmlChar *text, int len);
static void svw_xml_on_comment(void *data, const xmlChar *text);
static void svw_xml_on_instruction(void *data, const xmlChar *target, const xmlChar *text);
static void svw_xml_on_entity(void *data, const xmlChar *name, int type, const xmlChar *public_id, const xmlChar *system_id,
    xmlChar *content);
static void svw_xml_on_unparsed(void *data, const xmlChar *name, const xmlChar *public_id, const xmlChar *system_id,
    const xmlChar *notation);
static void svw_xml_on_default(void *data, const xmlChar *element, const xmlChar *name, int type, int def, const xmlChar *value,
    xmlEnumeration *values);
static void svw_xml_on_reference(void *data, const xmlChar *name);
static void svw_xml_on_error(void *data, xmlError *error);
static sv_span_t svw_xml_trim(const unsigned char *text, size_t len);


/* a stateful or exotic encoding is not worth its decoder */
static const char *const  svw_xml_encodings[] = {
    "UTF-8", "UTF-16", "UTF-16LE", "UTF-16BE", "ISO-8859-1", "US-ASCII", "ASCII", "windows-1252", NULL
};


int
svw_feed_xml(svw_load_t *load)
{
    int                rc;
    xmlSAXHandler      sax;
    svw_xml_reader_t  *reader;

    xmlInitParser();

    memset(&sax, 0, sizeof(sax));
    sax.initialized = XML_SAX2_MAGIC;
    sax.startDocument = svw_xml_on_document;
    sax.startElementNs = svw_xml_on_start;
    sax.endElementNs = svw_xml_on_end;
    sax.characters = svw_xml_on_text;
    sax.ignorableWhitespace = svw_xml_on_text;
    sax.cdataBlock = svw_xml_on_text;
    sax.comment = svw_xml_on_comment;
    sax.processingInstruction = svw_xml_on_instruction;
    sax.entityDecl = svw_xml_on_entity;
    sax.unparsedEntityDecl = svw_xml_on_unparsed;
    sax.attributeDecl = svw_xml_on_default;
    sax.reference = svw_xml_on_reference;
    sax.serror = (xmlStructuredErrorFunc) svw_xml_on_error;

    reader = calloc(1, sizeof(svw_xml_reader_t));

    if (reader == NULL) {
        return svw_load_stop(load, SVW_LOAD_FAILED, "out of memory");
    }

    reader->xml.load = load;
    reader->xml.event = svw_event_new(load);
    reader->parser = xmlCreateIOParserCtxt(&sax, reader, svw_xml_read, NULL, reader, XML_CHAR_ENCODING_NONE);

    if (reader->parser == NULL) {
        rc = svw_load_stop(load, SVW_LOAD_FAILED, "out of memory");

    } else if (reader->xml.event == NULL) {
        rc = -1;

    } else {
        /* what the parser cannot lay to a document, it tells here; standard error is not for it */
        xmlSetStructuredErrorFunc(reader, (xmlStructuredErrorFunc) svw_xml_on_error);
        xmlCtxtUseOptions(reader->parser, XML_PARSE_NONET);
        xmlParseDocument(reader->parser);
        xmlSetStructuredErrorFunc(NULL, NULL);
        rc = svw_xml_finish(reader);
    }

    if (reader->parser != NULL) {
        /* it makes one to keep entities in */
        if (reader->parser->myDoc != NULL) {
            xmlFreeDoc(reader->parser->myDoc);
        }

        xmlFreeParserCtxt(reader->parser);
    }

    svw_event_free(reader->xml.event);
    free(reader->text);
    free(reader);

    return rc;
}


/*
 * For the parser: what is next of the file; 0 at its end, or to stop.  It takes
 * a short answer for the end of what it looks at, so it gets all it asks for.
 */
static int
svw_xml_read(void *data, char *out, int len)
{
    int                got;
    size_t             n;
    svw_xml_reader_t  *reader;

    reader = data;

    if (reader->fed - reader->last > SVW_XML_MARKUP) {
        svw_xml_refuse(reader, "a tag, comment or declaration is longer than 128 KiB");
    }

    for (got = 0; got < len && reader->xml.load->rc == SVW_LOAD_OK; got += (int) n) {

        if (reader->pos == reader->n) {
            reader->pos = 0;
            reader->n = 0;

            if (svw_load_read(reader->xml.load, reader->buf, &reader->n) != 1) {
                break;
            }
        }

        n = reader->n - reader->pos < (size_t) (len - got) ? reader->n - reader->pos : (size_t) (len - got);
        memcpy(out + got, reader->buf + reader->pos, n);
        reader->pos += n;
    }

    reader->fed += got;

    return got;
}


static int
svw_xml_finish(svw_xml_reader_t *reader)
{
    svw_load_t  *load;

    load = reader->xml.load;

    if (load->rc != SVW_LOAD_OK) {
        return -1;
    }

    if (!reader->parser->wellFormed) {
        return svw_load_refuse(load, "not XML");
    }

    if (!reader->xml.list_seen) {
        return svw_load_refuse(load, "this is XML, but there is no EventList in it");
    }

    return 0;
}


/*
 * A tag came: 0 when nothing more is wanted.  To be stopped from within a call
 * can be more than the parser stands; instead the file ends for it.
 */
static int
svw_xml_step(svw_xml_reader_t *reader)
{
    reader->last = reader->fed;
    reader->seen = 0;

    return reader->xml.load->rc == SVW_LOAD_OK;
}


static void
svw_xml_refuse(svw_xml_reader_t *reader, const char *what)
{
    svw_load_refuse(reader->xml.load, "line %d: %s", xmlSAX2GetLineNumber(reader->parser), what);
}


static void
svw_xml_on_document(void *data)
{
    const char *const  *e;
    const xmlChar      *encoding;
    svw_xml_reader_t   *reader;

    reader = data;
    encoding = reader->parser->input->encoding != NULL ? reader->parser->input->encoding : reader->parser->encoding;

    for (e = svw_xml_encodings; *e != NULL; e++) {
        if (encoding == NULL || xmlStrcasecmp(encoding, (const xmlChar *) *e) == 0) {
            return;
        }
    }

    svw_xml_refuse(reader, "this encoding is not read here; use UTF-8");
}


static void
svw_xml_on_start(void *data, const xmlChar *local, const xmlChar *prefix, const xmlChar *ns, int n_spaces,
    const xmlChar **spaces, int n, int n_defaulted, const xmlChar **attributes)
{
    svw_xml_reader_t  *reader;

    (void) spaces;
    (void) n_defaulted;

    reader = data;
    reader->len = 0;
    reader->xml.line = xmlSAX2GetLineNumber(reader->parser);

    if (!svw_xml_step(reader)) {
        return;
    }

    if (n > SVW_XML_ATTRIBUTES || n_spaces > SVW_XML_ATTRIBUTES) {
        svw_xml_refuse(reader, "an element has more than 256 attributes");
        return;
    }

    if (xmlDictSize(reader->parser->dict) > SVW_XML_NAMES) {
        svw_xml_refuse(reader, "more than 20000 different names of elements and attributes");
        return;
    }

    if (ns == NULL && prefix != NULL) {
        svw_xml_irregular(&reader->xml, "xml_namespace", (const char *) local);
    }

    (void) svw_xml_open(&reader->xml, (const char *) local, (const char *) ns, (svw_xml_attributes_t) { attributes, n });
}


static void
svw_xml_on_end(void *data, const xmlChar *local, const xmlChar *prefix, const xmlChar *ns)
{
    svw_xml_reader_t  *reader;

    (void) local;
    (void) prefix;
    (void) ns;

    reader = data;

    if (svw_xml_step(reader)) {
        (void) svw_xml_close(&reader->xml, svw_xml_trim(reader->text, reader->len));
    }

    reader->len = 0;
}


/* In pieces, and with comments left out. */
static void
svw_xml_on_text(void *data, const xmlChar *text, int len)
{
    size_t             cap;
    unsigned char     *grown;
    svw_xml_reader_t  *reader;

    reader = data;
    reader->last = reader->fed;
    reader->seen += (size_t) len;

    if (reader->seen > SVW_XML_TEXT) {
        svw_xml_refuse(reader, "a single text is longer than 1 MiB");
        return;
    }

    if (reader->xml.load->rc != SVW_LOAD_OK) {
        return;
    }

    if (!svw_xml_has_text(&reader->xml)) {
        if (svw_xml_trim(text, (size_t) len).len > 0) {
            svw_xml_stray(&reader->xml);
        }

        return;
    }

    if (reader->len + (size_t) len > reader->cap) {
        cap = 2 * (reader->len + (size_t) len);
        grown = realloc(reader->text, cap);

        if (grown == NULL) {
            svw_load_stop(reader->xml.load, SVW_LOAD_FAILED, "out of memory");
            return;
        }

        reader->text = grown;
        reader->cap = cap;
    }

    memcpy(reader->text + reader->len, text, (size_t) len);
    reader->len += (size_t) len;
}


static void
svw_xml_on_comment(void *data, const xmlChar *text)
{
    svw_xml_reader_t  *reader;

    (void) text;

    reader = data;
    reader->last = reader->fed;
}


static void
svw_xml_on_instruction(void *data, const xmlChar *target, const xmlChar *text)
{
    (void) target;

    svw_xml_on_comment(data, text);
}


static void
svw_xml_on_entity(void *data, const xmlChar *name, int type, const xmlChar *public_id, const xmlChar *system_id,
    xmlChar *content)
{
    (void) name;
    (void) type;
    (void) public_id;
    (void) system_id;
    (void) content;

    svw_xml_refuse(data, "an entity is declared; a feed has no entities of its own");
}


static void
svw_xml_on_unparsed(void *data, const xmlChar *name, const xmlChar *public_id, const xmlChar *system_id,
    const xmlChar *notation)
{
    (void) notation;

    svw_xml_on_entity(data, name, 0, public_id, system_id, NULL);
}


/* The list of values is the callee's. */
static void
svw_xml_on_default(void *data, const xmlChar *element, const xmlChar *name, int type, int def, const xmlChar *value,
    xmlEnumeration *values)
{
    (void) element;
    (void) name;
    (void) type;
    (void) def;
    (void) value;

    xmlFreeEnumeration(values);
    svw_xml_refuse(data, "attributes are declared; a feed has no DTD of its own");
}


static void
svw_xml_on_reference(void *data, const xmlChar *name)
{
    (void) name;

    svw_xml_refuse(data, "an entity that is not known");
}


/* Also for what is said while there is no parser. */
static void
svw_xml_on_error(void *data, xmlError *error)
{
    size_t             len;
    char               text[128];
    svw_xml_reader_t  *reader;

    reader = data;

    if (error->domain == XML_FROM_NAMESPACE) {
        /* told at the element */
        return;
    }

    if (error->level == XML_ERR_WARNING) {
        if (error->code == XML_WAR_UNKNOWN_VERSION) {
            svw_xml_irregular(&reader->xml, "xml_version", "document");
        }

        return;
    }

    snprintf(text, sizeof(text), "%s", error->message != NULL ? error->message : "parse error");

    for (len = 0; text[len] != '\0' && text[len] != '\n'; len++) {
        if ((unsigned char) text[len] < 0x20 || (unsigned char) text[len] > 0x7e) {
            text[len] = '?';
        }
    }

    text[len] = '\0';

    svw_load_refuse(reader->xml.load, "line %d: not XML: %s", error->line > 0 ? error->line : xmlSAX2GetLineNumber(reader->parser),
                    text);
}


static sv_span_t
svw_xml_trim(const unsigned char *text, size_t len)
{
    while (len > 0 && (text[len - 1] <= ' ')) {
        len--;
    }

    while (len > 0 && *text <= ' ') {
        text++;
        len--;
    }

    return (sv_span_t) { len > 0 ? text : (const uint8_t *) "", len };
}
