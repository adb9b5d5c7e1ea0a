/*
 * Commissioning files, CSV and EPCIS (as XML with SV_FUZZ_XML).  Oracle: what is handed on is valid, and
 * the same comes out however the bytes are cut into pieces.
 */

#include "../../src/worker/svw_load.h"


#define SV_FUZZ_MAX  SVW_READ

typedef struct {
    svw_load_t      load;               /* first: what the readers get */
    const uint8_t  *input;
    size_t          size, pos, piece;
    uint64_t        hash;               /* over everything that came out */
    int64_t         items, faults, events;
} sv_fuzz_feed_t;


int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

static void sv_fuzz_run(sv_fuzz_feed_t *feed, const uint8_t *input, size_t size, size_t piece, int json);
static void sv_fuzz_mix(sv_fuzz_feed_t *feed, const void *data, size_t len);
static void sv_fuzz_mix_text(sv_fuzz_feed_t *feed, const char *text);
static void sv_fuzz_json(const char *text);
static void sv_fuzz_require(int condition);


/* an ordinary feed, and a strict one */
static const svw_source_t  sv_fuzz_sources[] = {
    { .feed = "", .company = "" }, { .feed = "strict", .company = "", .strict = 1 }
};


int
LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    int             json;
    size_t          piece;
    sv_fuzz_feed_t  whole, cut;
    const uint8_t  *end;

    if (size < 2 || size > SV_FUZZ_MAX) {
        return 0;
    }

    json = input[0] & 1;
    piece = 3 + (input[0] >> 1) % 60;

    if (!json) {
        /* a file is read in pieces that hold its whole header */
        end = memchr(input + 1, '\n', size - 1);
        piece += end != NULL ? (size_t) (end - input) : size;
    }

    sv_fuzz_run(&whole, input + 1, size - 1, SV_FUZZ_MAX, json);
    sv_fuzz_run(&cut, input + 1, size - 1, piece, json);

    sv_fuzz_require(whole.items == cut.items && whole.faults == cut.faults && whole.events == cut.events && whole.hash == cut.hash);
    sv_fuzz_require(whole.load.rc == cut.load.rc && whole.load.lines == cut.load.lines);

    return 0;
}


static void
sv_fuzz_run(sv_fuzz_feed_t *feed, const uint8_t *input, size_t size, size_t piece, int json)
{
    *feed = (sv_fuzz_feed_t) {
        .load = {.fd = -1, .source = &sv_fuzz_sources[input[-1] >> 7], .size = (int64_t) size, .today = 20778,
                 .now_ms = INT64_C(1795269600000)},
        .input = input, .size = size, .piece = piece
    };

#ifdef SV_FUZZ_XML
    (void) json;
    (void) svw_feed_xml(&feed->load);
#else
    (void) (json ? svw_feed_json(&feed->load) : svw_feed_csv(&feed->load));
#endif

    sv_fuzz_require(feed->load.rc != SVW_LOAD_FAILED);
    sv_fuzz_require(feed->load.lines >= feed->items);
    sv_fuzz_require(feed->load.rc != SVW_LOAD_REFUSED || feed->load.note[0] != '\0');
}


/* what svw_load.c is to the readers */

int
svw_load_read(svw_load_t *load, unsigned char *buf, size_t *n)
{
    sv_fuzz_feed_t  *feed;

    feed = (sv_fuzz_feed_t *) (void *) load;

    *n = feed->size - feed->pos < feed->piece ? feed->size - feed->pos : feed->piece;
    memcpy(buf, feed->input + feed->pos, *n);
    feed->pos += *n;
    load->bytes += (int64_t) *n;

    return *n > 0;
}


int
svw_load_item(svw_load_t *load, const svw_item_t *item)
{
    char             gtin[15];
    uint64_t         number;
    sv_fuzz_feed_t  *feed;

    feed = (sv_fuzz_feed_t *) (void *) load;

    snprintf(gtin, sizeof(gtin), "%014llu", (unsigned long long) item->gtin);

    sv_fuzz_require(svw_check_gtin((sv_span_t) {(const uint8_t *) gtin, 14}, &number) == NULL);
    sv_fuzz_require(svw_check_serial(item->serial) == NULL && svw_check_lot(item->lot) == NULL);
    sv_fuzz_require(item->expiry != SV_DAY_NONE && item->line >= 1);
    sv_fuzz_require(item->market.len == 0 || svw_check_market(item->market) == NULL);

    feed->items++;
    sv_fuzz_mix(feed, gtin, sizeof(gtin));
    sv_fuzz_mix(feed, item->serial.data, item->serial.len);
    sv_fuzz_mix(feed, item->lot.data, item->lot.len);
    sv_fuzz_mix(feed, &item->expiry, sizeof(item->expiry));
    sv_fuzz_mix(feed, &item->event_ms, sizeof(item->event_ms));
    sv_fuzz_mix(feed, &item->line, sizeof(item->line));

    return 0;
}


void
svw_load_fault(svw_load_t *load, const svw_fault_t *fault)
{
    char             shown[128];
    sv_fuzz_feed_t  *feed;

    feed = (sv_fuzz_feed_t *) (void *) load;

    sv_fuzz_require(fault->line >= 1 && strcmp(svw_reason_text(fault->reason), fault->reason) != 0);
    svw_printable(shown, sizeof(shown), fault->value);

    feed->faults++;
    sv_fuzz_mix(feed, fault->reason, strlen(fault->reason));
    sv_fuzz_mix(feed, &fault->line, sizeof(fault->line));
    sv_fuzz_mix(feed, shown, strlen(shown));
}


int
svw_load_event(svw_load_t *load, const svw_event_row_t *row)
{
    sv_fuzz_feed_t  *feed;

    feed = (sv_fuzz_feed_t *) (void *) load;

    sv_fuzz_require(row->event >= 1 && row->line >= 1 && row->packs >= 0 && row->event_ms != SVW_NO_TIME);
    sv_fuzz_require(row->kind != NULL && row->action != NULL);
    sv_fuzz_require(row->parent_serial.len <= SV_SERIAL_MAX && row->lot.len <= SV_LOT_MAX);
    sv_fuzz_require(row->event_id.len <= 256 && row->step.len <= 256 && row->disposition.len <= 256);
    sv_fuzz_require(row->read_point.len <= 256 && row->biz_location.len <= 256);
    sv_fuzz_json(row->error);
    sv_fuzz_json(row->detail);

    feed->events++;
    sv_fuzz_mix(feed, row->identity, SVW_DIGEST);
    sv_fuzz_mix(feed, row->facts, SVW_DIGEST);
    sv_fuzz_mix(feed, row->read_point.data, row->read_point.len);
    sv_fuzz_mix_text(feed, row->error);
    sv_fuzz_mix_text(feed, row->detail);

    return 0;
}


int
svw_load_epc(svw_load_t *load, const svw_epc_row_t *row)
{
    sv_fuzz_feed_t  *feed;

    feed = (sv_fuzz_feed_t *) (void *) load;

    sv_fuzz_require(row->event >= 1 && row->line >= 1);
    sv_fuzz_require(row->gtin == 0 ? row->serial.len == 18 : svw_check_serial(row->serial) == NULL);

    feed->items++;
    sv_fuzz_mix(feed, &row->gtin, sizeof(row->gtin));
    sv_fuzz_mix(feed, row->serial.data, row->serial.len);

    return 0;
}


int
svw_load_quarantine(svw_load_t *load, const svw_quarantine_row_t *row)
{
    svw_fault_t      fault;
    sv_fuzz_feed_t  *feed;

    feed = (sv_fuzz_feed_t *) (void *) load;

    sv_fuzz_require(row->packs >= 0 && row->content != NULL);
    sv_fuzz_json(row->content);
    sv_fuzz_mix_text(feed, row->content);

    fault = (svw_fault_t) { .line = row->line, .lines = row->packs, .element = row->element, .value = row->value,
                            .reason = row->reason, .quarantined = 1 };
    svw_load_fault(load, &fault);

    return 0;
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


static void
sv_fuzz_mix(sv_fuzz_feed_t *feed, const void *data, size_t len)
{
    const uint8_t  *p;

    for (p = data; len > 0; p++, len--) {
        feed->hash = (feed->hash ^ *p) * UINT64_C(1099511628211);
    }
}


static void
sv_fuzz_mix_text(sv_fuzz_feed_t *feed, const char *text)
{
    if (text != NULL) {
        sv_fuzz_mix(feed, text, strlen(text));
    }
}


/* PostgreSQL takes it for jsonb */
static void
sv_fuzz_json(const char *text)
{
    json_t  *value;

    if (text != NULL) {
        value = json_loads(text, 0, NULL);
        sv_fuzz_require(value != NULL);
        json_decref(value);
    }
}


static void
sv_fuzz_require(int condition)
{
    if (!condition) {
        __builtin_trap();
    }
}
