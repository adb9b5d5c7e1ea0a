#include "svw_evidence.h"

#include <math.h>
#include <stdlib.h>


#define SVW_TABLE_LEAST  1024


static uint64_t svw_key_hash(const svw_evidence_t *evidence, uint64_t gtin, sv_span_t text);
static void svw_key_maker(svw_key_t *serial, svw_key_t *site);
static int svw_table_grow(svw_table_t *table);
static int svw_evidence_keys(svw_evidence_t *evidence, svw_node_t *node, const svw_judge_scan_t *scan);
static void svw_node_set(svw_node_t *node, const svw_judge_scan_t *scan);
static uint64_t svw_node_content(const svw_judge_scan_t *scan);
static uint64_t svw_node_micro(double value);
static int svw_evidence_miss(svw_evidence_t *evidence, svw_node_t *node, int miss);


int
svw_evidence_init(svw_evidence_t *evidence)
{
    unsigned      i;
    svw_table_t  *table;

    memset(evidence, 0, sizeof(svw_evidence_t));
    evidence->hash_key = svw_hash_key_random();

    for (i = 0; i <= SVW_KEYS; i++) {
        table = &evidence->table[i];
        table->mask = SVW_TABLE_LEAST - 1;
        table->slot = calloc(SVW_TABLE_LEAST, sizeof(svw_key_t *));

        if (table->slot == NULL) {
            return -1;
        }
    }

    return 0;
}


/* The facts and what was said of keys are not ours: they are gone already. */
void
svw_evidence_done(svw_evidence_t *evidence)
{
    size_t         j;
    unsigned       i;
    svw_key_t     *key, *next;
    svw_node_t    *node;
    svw_cursor_t   cursor;

    for (node = svw_list_begin(&evidence->all, &cursor); node != NULL; ) {
        svw_node_t  *gone = node;

        node = svw_cursor_next(&cursor);
        free(gone);
    }

    svw_list_free(&evidence->all);

    for (i = 0; i <= SVW_KEYS; i++) {
        for (j = 0; evidence->table[i].slot != NULL && j <= evidence->table[i].mask; j++) {
            for (key = evidence->table[i].slot[j]; key != NULL; key = next) {
                next = key->next;
                svw_list_free(&key->all);
                svw_list_free(&key->notable);
                free(key);
            }
        }

        free(evidence->table[i].slot);
    }
}


svw_key_t *
svw_key_find(const svw_evidence_t *evidence, svw_key_kind_t kind, uint64_t gtin, sv_span_t text)
{
    uint64_t            hash;
    svw_key_t          *key;
    const svw_table_t  *table;

    if (text.len > UINT8_MAX) {
        text.len = UINT8_MAX;
    }

    table = &evidence->table[kind];
    hash = svw_key_hash(evidence, gtin, text);

    for (key = table->slot[hash & table->mask]; key != NULL; key = key->next) {
        if (key->hash == hash && key->gtin == gtin && sv_span_eq(svw_key_span(key), text)) {
            return key;
        }
    }

    return NULL;
}


svw_key_t *
svw_key_get(svw_evidence_t *evidence, svw_key_kind_t kind, uint64_t gtin, sv_span_t text)
{
    svw_key_t    *key;
    svw_table_t  *table;

    if (text.len > UINT8_MAX) {
        text.len = UINT8_MAX;
    }

    key = svw_key_find(evidence, kind, gtin, text);

    if (key != NULL) {
        return key;
    }

    table = &evidence->table[kind];

    if (table->n > table->mask && svw_table_grow(table) != 0) {
        return NULL;
    }

    key = calloc(1, sizeof(svw_key_t) + text.len);

    if (key == NULL) {
        return NULL;
    }

    key->hash = svw_key_hash(evidence, gtin, text);
    key->gtin = gtin;
    key->kind = kind;
    key->len = text.len;

    if (text.len > 0) {
        memcpy(key->text, text.data, text.len);
    }

    key->next = table->slot[key->hash & table->mask];
    table->slot[key->hash & table->mask] = key;
    table->n++;

    return key;
}


void
svw_key_tidy(svw_evidence_t *evidence, svw_key_t *key)
{
    svw_key_t   **slot;
    svw_table_t  *table;

    if (key == NULL || key->all.n > 0 || key->held > 0 || key->lot != NULL || key->said != NULL || key->dirty || key->marked) {
        return;
    }

    table = &evidence->table[key->kind];

    for (slot = &table->slot[key->hash & table->mask]; *slot != key; slot = &(*slot)->next) { /* void */ }

    *slot = key->next;
    table->n--;
    svw_key_maker(key, NULL);
    svw_list_free(&key->all);
    svw_list_free(&key->notable);
    free(key);
}


svw_node_t *
svw_evidence_add(svw_evidence_t *evidence, const svw_judge_scan_t *scan)
{
    unsigned     i;
    svw_node_t  *node;

    node = calloc(1, sizeof(svw_node_t));

    if (node == NULL) {
        return NULL;
    }

    svw_node_set(node, scan);

    if (svw_evidence_keys(evidence, node, scan) != 0 || svw_list_add(&evidence->all, node) != 0) {
        free(node);
        return NULL;
    }

    for (i = 0; i < SVW_KEYS; i++) {
        if (node->key[i] != NULL && svw_list_add(&node->key[i]->all, node) != 0) {
            return NULL;
        }

        if (node->key[i] != NULL) {
            node->key[i]->consumers += svw_node_consumer(node);
            node->key[i]->active += svw_node_active(node);
        }
    }

    return node;
}


int
svw_evidence_lot(svw_evidence_t *evidence, svw_node_t *node, svw_key_t *lot)
{
    (void) evidence;

    if (node->key[SVW_KEY_LOT] != NULL) {
        return 0;
    }

    node->key[SVW_KEY_LOT] = lot;
    lot->consumers += svw_node_consumer(node);
    lot->active += svw_node_active(node);

    if (svw_list_add(&lot->all, node) != 0) {
        return -1;
    }

    return node->class & SVW_NOTABLE ? svw_list_add(&lot->notable, node) : 0;
}


int
svw_evidence_class(svw_evidence_t *evidence, svw_node_t *node, unsigned class)
{
    unsigned    i;
    svw_key_t  *key;

    if ((class ^ node->class) & SVW_MISS && svw_evidence_miss(evidence, node, (class & SVW_MISS) != 0) != 0) {
        return -1;
    }

    for (i = SVW_KEY_LOT; i < SVW_KEYS; i++) {
        key = node->key[i];

        if (key == NULL || !(class & SVW_NOTABLE) == !(node->class & SVW_NOTABLE)) {
            continue;
        }

        if (!(class & SVW_NOTABLE)) {
            svw_list_remove(&key->notable, node);

        } else if (svw_list_add(&key->notable, node) != 0) {
            return -1;
        }
    }

    node->class = class;

    return 0;
}


svw_node_t *
svw_evidence_oldest(const svw_evidence_t *evidence, int64_t horizon_ms)
{
    svw_node_t  *node;

    node = svw_list_first(&evidence->all);

    return node != NULL && node->time_ms < horizon_ms ? node : NULL;
}


void
svw_evidence_drop(svw_evidence_t *evidence, svw_node_t *node)
{
    unsigned  i;

    (void) svw_evidence_class(evidence, node, 0);

    for (i = 0; i < SVW_KEYS; i++) {
        if (node->key[i] != NULL) {
            svw_list_remove(&node->key[i]->all, node);
            node->key[i]->consumers -= svw_node_consumer(node);
            node->key[i]->active -= svw_node_active(node);
        }
    }

    if (node->before != NULL) {
        node->before->held--;
    }

    if (node->key[SVW_KEY_SERIAL] != NULL && svw_node_done(node)) {
        svw_key_maker(node->key[SVW_KEY_SERIAL], node->key[SVW_KEY_SITE]);
    }

    svw_list_remove(&evidence->all, node);
    free(node);
}


uint32_t
svw_expiry_number(sv_span_t expiry)
{
    size_t    i;
    uint32_t  n, month;

    static const uint8_t  days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

    if (expiry.len != 6) {
        return UINT32_MAX;
    }

    for (i = 0, n = 0; i < 6; i++) {
        if (expiry.data[i] < '0' || expiry.data[i] > '9') {
            return UINT32_MAX;
        }

        n = n * 10 + expiry.data[i] - '0';
    }

    month = n / 100 % 100;

    if (n % 100 == 0 && month >= 1 && month <= 12) {
        n += days[month - 1] + (month == 2 && n / 10000 % 4 == 0);
    }

    return n;
}


int
svw_key_cmp(const svw_key_t *a, const svw_key_t *b)
{
    int     c;
    size_t  n;

    if (a == b || a == NULL || b == NULL) {
        return a == b ? 0 : a == NULL ? -1 : 1;
    }

    if (a->gtin != b->gtin) {
        return a->gtin < b->gtin ? -1 : 1;
    }

    n = a->len < b->len ? a->len : b->len;
    c = memcmp(a->text, b->text, n);

    return c != 0 ? c : (a->len > b->len) - (a->len < b->len);
}


static uint64_t
svw_key_hash(const svw_evidence_t *evidence, uint64_t gtin, sv_span_t text)
{
    svw_hash_t  hash;

    svw_hash_begin(&hash, evidence->hash_key);
    svw_hash_number(&hash, gtin);
    svw_hash_add(&hash, text.data, text.len);

    return svw_hash_end(&hash);
}


static void
svw_key_maker(svw_key_t *serial, svw_key_t *site)
{
    if (serial->maker != NULL) {
        serial->maker->held--;
    }

    serial->maker = site;

    if (site != NULL) {
        site->held++;
    }
}


static int
svw_table_grow(svw_table_t *table)
{
    size_t       i, mask;
    svw_key_t   *key, *next, **slot;

    mask = table->mask * 2 + 1;
    slot = calloc(mask + 1, sizeof(svw_key_t *));

    if (slot == NULL) {
        return -1;
    }

    for (i = 0; i <= table->mask; i++) {
        for (key = table->slot[i]; key != NULL; key = next) {
            next = key->next;
            key->next = slot[key->hash & mask];
            slot[key->hash & mask] = key;
        }
    }

    free(table->slot);
    table->slot = slot;
    table->mask = mask;

    return 0;
}


static int
svw_evidence_keys(svw_evidence_t *evidence, svw_node_t *node, const svw_judge_scan_t *scan)
{
    unsigned   i;
    sv_span_t  text[SVW_KEYS];

    text[SVW_KEY_SERIAL] = scan->serial;
    text[SVW_KEY_LOT] = scan->lot;
    text[SVW_KEY_SITE] = scan->actor;
    text[SVW_KEY_CLIENT] = scan->session;

    for (i = 0; i < SVW_KEYS; i++) {
        if (text[i].len == 0) {
            continue;
        }

        node->key[i] = svw_key_get(evidence, i, i == SVW_KEY_SERIAL || i == SVW_KEY_LOT ? scan->gtin : 0, text[i]);

        if (node->key[i] == NULL) {
            return -1;
        }
    }

    if (scan->before.len > 0) {
        node->before = svw_key_get(evidence, SVW_KEY_SITE, 0, scan->before);

        if (node->before == NULL) {
            return -1;
        }

        node->before->held++;
    }

    return 0;
}


static void
svw_node_set(svw_node_t *node, const svw_judge_scan_t *scan)
{
    node->ref = scan->ref;
    node->time_ms = scan->time_ms;
    node->content = svw_node_content(scan);
    node->gtin = scan->gtin;
    node->lat = scan->lat;
    node->lon = scan->lon;
    node->accuracy_km = scan->accuracy_km;

    /* what is no place on earth, and the middle of the sea that stands for "none" */

    if (!(fabs(scan->lat) <= 90 && fabs(scan->lon) <= 180) || (scan->lat == 0 && scan->lon == 0)) {
        node->lat = NAN;
        node->lon = NAN;
    }

    if (!(scan->accuracy_km > 0)) {
        node->accuracy_km = NAN;
    }

    memcpy(node->country, scan->country, sizeof(node->country));
    node->expiry = svw_expiry_number(scan->expiry);
    node->operation = scan->operation;
    node->of = scan->of;
    node->kind = scan->kind;
    node->entry = scan->entry;
    node->reason = scan->reason;
    node->hint = scan->hint;
}


/*
 * All that a rule looks at: two scans of one time that differ in anything else are
 * in the order of arrival.
 */
static uint64_t
svw_node_content(const svw_judge_scan_t *scan)
{
    svw_hash_t  hash;

    svw_hash_begin(&hash, (svw_hash_key_t) {5, 6});
    svw_hash_number(&hash, scan->gtin);
    svw_hash_span(&hash, scan->serial);
    svw_hash_span(&hash, scan->lot);
    svw_hash_span(&hash, scan->expiry);
    svw_hash_span(&hash, scan->actor);
    svw_hash_span(&hash, scan->session);
    svw_hash_number(&hash, scan->reason << 8 | scan->operation);
    svw_hash_add(&hash, scan->country, 2);
    svw_hash_number(&hash, scan->kind << 24 | scan->entry << 16 | scan->of << 8 | scan->hint);
    svw_hash_span(&hash, scan->before);
    svw_hash_number(&hash, svw_node_micro(scan->lat));
    svw_hash_number(&hash, svw_node_micro(scan->lon));
    svw_hash_number(&hash, svw_node_micro(scan->accuracy_km));

    return svw_hash_end(&hash);
}


/* whatever the bits of NAN are */
static uint64_t
svw_node_micro(double value)
{
    return fabs(value) < 1e9 ? (uint64_t) llround(value * 1e6) : UINT64_MAX;
}


/* The misses of a product: what is commissioned of it may explain them, whatever lot they name. */
static int
svw_evidence_miss(svw_evidence_t *evidence, svw_node_t *node, int miss)
{
    svw_key_t  *product;

    if (node->reason == SV_REASON_PRODUCT_UNKNOWN) {
        return 0;
    }

    if (miss) {
        product = svw_key_get(evidence, SVW_KEY_PRODUCT, node->gtin, (sv_span_t) {NULL, 0});

        return product == NULL ? -1 : svw_list_add(&product->notable, node);
    }

    product = svw_key_find(evidence, SVW_KEY_PRODUCT, node->gtin, (sv_span_t) {NULL, 0});

    if (product != NULL) {
        svw_list_remove(&product->notable, node);

        if (product->notable.n == 0) {
            svw_key_tidy(evidence, product);
        }
    }

    return 0;
}
