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
    int64_t         items, faults;
} sv_fuzz_feed_t;


int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

static void sv_fuzz_run(sv_fuzz_feed_t *feed, const uint8_t *input, size_t size, size_t piece, int json);
static void sv_fuzz_mix(sv_fuzz_feed_t *feed, const void *data, size_t len);
static void sv_fuzz_require(int condition);


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

    sv_fuzz_require(whole.items == cut.items && whole.faults == cut.faults && whole.hash == cut.hash);
    sv_fuzz_require(whole.load.rc == cut.load.rc && whole.load.lines == cut.load.lines);

    return 0;
}


static void
sv_fuzz_run(sv_fuzz_feed_t *feed, const uint8_t *input, size_t size, size_t piece, int json)
{
    *feed = (sv_fuzz_feed_t) {
        .load = {.fd = -1, .size = (int64_t) size, .today = 20778}, .input = input, .size = size, .piece = piece
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
svw_load_event(svw_load_t *load, int32_t event, int64_t line, const uint8_t identity[SVW_DIGEST],
    const uint8_t facts[SVW_DIGEST])
{
    sv_fuzz_feed_t  *feed;

    feed = (sv_fuzz_feed_t *) (void *) load;

    sv_fuzz_require(event >= 1 && line >= 1);
    sv_fuzz_mix(feed, identity, SVW_DIGEST);
    sv_fuzz_mix(feed, facts, SVW_DIGEST);

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
sv_fuzz_require(int condition)
{
    if (!condition) {
        __builtin_trap();
    }
}
