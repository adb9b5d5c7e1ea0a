/*
 * src/model/sv_ref.h, the behaviour seen by one process.  What happens between
 * processes is in test_ref_crash.c.
 */

#include "src/model/sv_ref.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>


#define SIZE  (256 * 1024)
#define GTIN  9506000134352ull
#define SHA   "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"

static const uint8_t  sha[32] = {
    0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff,
    0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff
};


static sv_ref_t *
make(size_t size)
{
    void      *block;
    sv_ref_t  *ref;

    block = calloc(1, size);
    assert_non_null(block);

    ref = sv_ref_init(block, size);
    assert_non_null(ref);

    return ref;
}


static void
begin(sv_ref_t *ref, int whole, uint64_t n)
{
    int       w;
    uint64_t  from;

    sv_ref_begin(ref, &w, &from);

    assert_int_equal(w, whole);
    assert_int_equal(from, n);
}


static sv_ref_rc_t
row(sv_ref_t *ref, uint64_t n, int deleted, const char *kind, const char *key, const char *f1, const char *f2,
    const char *f3, const char *f4)
{
    sv_ref_row_t  r = { n, kind, key, deleted, { f1, f2, f3, f4 } };

    return sv_ref_apply(ref, &r);
}


static sv_ref_rc_t
product(sv_ref_t *ref, uint64_t n, const char *key, const char *name, const char *withdrawn, const char *reference,
    const char *link)
{
    sv_ref_row_t  r = { n, "product", key, 0, { name, "Acme", "t", "f", withdrawn, reference, link } };

    return sv_ref_apply(ref, &r);
}


static sv_ref_rc_t
marked(sv_ref_t *ref, uint64_t n, const char *mark)
{
    sv_ref_row_t  r = { n, "product", "09506000134352", 0, { "n", "Acme", "t", "f", NULL, NULL, NULL, mark } };

    return sv_ref_apply(ref, &r);
}


static sv_ref_rc_t
recall(sv_ref_t *ref, uint64_t n, int i, int deleted, const char *reference)
{
    char  key[64];

    (void) snprintf(key, sizeof(key), "%014lluLOT%d", GTIN, i);

    return row(ref, n, deleted, "lot", key, "1700000000000", reference, NULL, NULL);
}


static int
recalled(sv_ref_t *ref, int i, sv_ref_recall_t *r)
{
    int        len;
    char       lot[32];
    sv_span_t  span;

    len = snprintf(lot, sizeof(lot), "LOT%d", i);

    span.data = (uint8_t *) lot;
    span.len = (size_t) len;

    return sv_ref_recall(ref, GTIN, span, r);
}


static sv_ref_stats_t
stats(sv_ref_t *ref)
{
    sv_ref_stats_t  s;

    sv_ref_stats(ref, &s);

    return s;
}


static void
test_init_sizes(void **state)
{
    void      *block, *half;
    sv_ref_t  *ref;

    (void) state;

    block = aligned_alloc(64, SIZE);
    assert_non_null(block);
    memset(block, 0xa5, SIZE);

    assert_null(sv_ref_init(block, 1000));
    assert_null(sv_ref_init((char *) block + 1, SIZE - 64));

    ref = sv_ref_init(block, SIZE);
    assert_non_null(ref);
    assert_int_equal(stats(ref).generation, 0);

    begin(ref, 1, 0);
    assert_int_equal(recall(ref, 1, 1, 0, "x"), SV_REF_OK);
    sv_ref_end(ref, 5);
    assert_int_equal(stats(ref).lots, 1);

    /* the same size: kept, at another address as well */

    assert_ptr_equal(sv_ref_init(block, SIZE), ref);
    assert_int_equal(stats(ref).lots, 1);

    half = aligned_alloc(64, SIZE);
    assert_non_null(half);
    memcpy(half, block, SIZE);
    memset(block, 0, SIZE);

    ref = sv_ref_init(half, SIZE);
    assert_int_equal(stats(ref).lots, 1);
    assert_true(recalled(ref, 1, &(sv_ref_recall_t) { 0 }));

    /* another size: empty */

    ref = sv_ref_init(half, SIZE / 2);
    assert_non_null(ref);
    assert_int_equal(stats(ref).generation, 0);
    assert_false(recalled(ref, 1, &(sv_ref_recall_t) { 0 }));

    free(half);
    free(block);
}


static void
test_nothing_before_the_first_end(void **state)
{
    sv_ref_t           *ref;
    sv_ref_location_t   loc;

    (void) state;

    ref = make(SIZE);

    begin(ref, 1, 0);
    assert_int_equal(row(ref, 1, 0, "location", "7", "9506000000001", "pharmacy", "Acme", "DE"), SV_REF_OK);
    assert_int_equal(row(ref, 2, 0, "credential", SHA, "7", "0", NULL, NULL), SV_REF_OK);

    assert_int_equal(stats(ref).generation, 0);
    assert_false(sv_ref_credential(ref, sha, 1, &loc));

    /* given up: from the beginning */

    sv_ref_abort(ref);
    begin(ref, 1, 0);
    assert_int_equal(row(ref, 1, 0, "location", "7", "9506000000001", "pharmacy", "Acme", "DE"), SV_REF_OK);
    sv_ref_end(ref, 1234);

    assert_int_equal(stats(ref).generation, 1);
    assert_int_equal(stats(ref).n, 1);
    assert_int_equal(stats(ref).fresh_at, 1234);
    assert_int_equal(stats(ref).credentials, 0);
    assert_int_equal(stats(ref).locations, 1);
    assert_false(sv_ref_credential(ref, sha, 1, &loc));

    begin(ref, 0, 1);
    sv_ref_end(ref, 2000);
    assert_int_equal(stats(ref).fresh_at, 2000);

    free(ref);
}


static void
test_credential(void **state)
{
    uint8_t             other[32];
    sv_ref_t           *ref;
    sv_ref_location_t   loc;

    (void) state;

    ref = make(SIZE);

    begin(ref, 1, 0);
    assert_int_equal(row(ref, 1, 0, "location", "-7", "9506000000001", "wholesaler", "Acme", "AT"), SV_REF_OK);
    assert_int_equal(row(ref, 2, 0, "credential", SHA, "-7", "1000", "2000", NULL), SV_REF_OK);
    sv_ref_end(ref, 0);

    assert_false(sv_ref_credential(ref, sha, 999, &loc));
    assert_false(sv_ref_credential(ref, sha, 2000, &loc));
    assert_true(sv_ref_credential(ref, sha, 1000, &loc));
    assert_true(sv_ref_credential(ref, sha, 1999, &loc));

    assert_int_equal(loc.id, -7);
    assert_int_equal(loc.role, SV_ROLE_WHOLESALER);
    assert_string_equal(loc.gln, "9506000000001");
    assert_string_equal(loc.country, "AT");
    assert_string_equal(loc.company, "Acme");

    memcpy(other, sha, 32);
    other[31] ^= 1;
    assert_false(sv_ref_credential(ref, other, 1500, &loc));

    /* a location that is gone takes its credentials along */

    begin(ref, 0, 2);
    assert_int_equal(row(ref, 3, 1, "location", "-7", NULL, NULL, NULL, NULL), SV_REF_OK);
    sv_ref_end(ref, 0);
    assert_false(sv_ref_credential(ref, sha, 1500, &loc));

    begin(ref, 0, 3);
    assert_int_equal(row(ref, 4, 0, "location", "-7", "9506000000001", "pharmacy", NULL, "AT"), SV_REF_OK);
    sv_ref_end(ref, 0);
    assert_true(sv_ref_credential(ref, sha, 1500, &loc));
    assert_int_equal(loc.role, SV_ROLE_PHARMACY);
    assert_string_equal(loc.company, "");

    begin(ref, 0, 4);
    assert_int_equal(row(ref, 5, 1, "credential", SHA, NULL, NULL, NULL, NULL), SV_REF_OK);
    sv_ref_end(ref, 0);
    assert_false(sv_ref_credential(ref, sha, 1500, &loc));
    assert_int_equal(stats(ref).credentials, 0);
    assert_int_equal(stats(ref).locations, 1);

    free(ref);
}


static void
test_product(void **state)
{
    sv_ref_t          *ref;
    sv_ref_product_t   p;

    (void) state;

    ref = make(SIZE);

    begin(ref, 1, 0);
    assert_int_equal(product(ref, 1, "09506000134352", "Dal Giardino", NULL, NULL, "https://example.com/"), SV_REF_OK);
    sv_ref_end(ref, 0);

    assert_false(sv_ref_product(ref, GTIN + 1, &p));
    assert_true(sv_ref_product(ref, GTIN, &p));
    assert_int_equal(p.gtin, GTIN);
    assert_int_equal(p.lot_optional, 1);
    assert_int_equal(p.expiry_optional, 0);
    assert_int_equal(p.withdrawn, 0);
    assert_string_equal(p.name, "Dal Giardino");
    assert_string_equal(p.company, "Acme");
    assert_string_equal(p.reference, "");
    assert_string_equal(p.link, "https://example.com/");

    begin(ref, 0, 1);
    assert_int_equal(product(ref, 2, "09506000134352", "Dal Giardino", "1700000000000", "quality R-1", NULL), SV_REF_OK);
    sv_ref_end(ref, 0);

    assert_true(sv_ref_product(ref, GTIN, &p));
    assert_int_equal(p.withdrawn, 1);
    assert_int_equal(p.withdrawn_at, 1700000000000);
    assert_string_equal(p.reference, "quality R-1");
    assert_string_equal(p.link, "");
    assert_int_equal(stats(ref).products, 1);
    assert_int_equal(p.partly_recalled, 0);

    free(ref);
}


/* What cannot be read is asked of PostgreSQL; a schema without the field has no such recalls. */
static void
test_partly_recalled(void **state)
{
    size_t             i;
    sv_ref_t          *ref;
    sv_ref_product_t   p;

    static const struct { const char *mark; int partly; sv_ref_rc_t rc; }  marks[] = {
        { "f", 0, SV_REF_OK }, { "t", 1, SV_REF_OK }, { NULL, 0, SV_REF_OK }, { "t", 1, SV_REF_OK },
        { "f", 0, SV_REF_OK }, { "", 1, SV_REF_BAD_ROW }, { "f", 0, SV_REF_OK }, { "true", 1, SV_REF_BAD_ROW }
    };

    (void) state;

    ref = make(SIZE);
    assert_false(sv_ref_partly_recalled(ref, GTIN));

    for (i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
        begin(ref, i == 0, i);
        assert_int_equal(marked(ref, i + 1, marks[i].mark), marks[i].rc);
        sv_ref_end(ref, 0);

        assert_true(sv_ref_product(ref, GTIN, &p));
        assert_int_equal(p.partly_recalled, marks[i].partly);
        assert_int_equal(sv_ref_partly_recalled(ref, GTIN), marks[i].partly);
        assert_false(sv_ref_partly_recalled(ref, GTIN + 1));
    }

    free(ref);
}


static void
test_recall(void **state)
{
    sv_ref_t         *ref;
    sv_ref_recall_t   r;

    (void) state;

    ref = make(SIZE);

    begin(ref, 1, 0);
    assert_int_equal(recall(ref, 1, 1, 0, "glass"), SV_REF_OK);
    assert_int_equal(recall(ref, 1, 2, 0, NULL), SV_REF_OK);
    sv_ref_end(ref, 0);

    assert_true(recalled(ref, 1, &r));
    assert_int_equal(r.recalled_at, 1700000000000);
    assert_string_equal(r.reference, "glass");
    assert_true(recalled(ref, 2, &r));
    assert_string_equal(r.reference, "");

    assert_false(sv_ref_recall(ref, GTIN, sv_span("LOT"), &r));
    assert_false(sv_ref_recall(ref, GTIN, sv_span("lot1"), &r));
    assert_false(sv_ref_recall(ref, GTIN, sv_span("LOT1\0"), &r));
    assert_false(sv_ref_recall(ref, GTIN, sv_span(""), &r));
    assert_false(sv_ref_recall(ref, GTIN + 1, sv_span("LOT1"), &r));
    assert_false(sv_ref_recall(ref, GTIN, sv_span(
        "12345678901234567890123456789012345678901234567890123456789012345678901234567890"), &r));

    begin(ref, 0, 1);
    assert_int_equal(recall(ref, 2, 1, 1, NULL), SV_REF_OK);
    sv_ref_end(ref, 0);
    assert_false(recalled(ref, 1, &r));
    assert_true(recalled(ref, 2, &r));
    assert_int_equal(stats(ref).lots, 1);

    begin(ref, 0, 2);
    assert_int_equal(recall(ref, 3, 1, 0, "again"), SV_REF_OK);
    sv_ref_end(ref, 0);
    assert_true(recalled(ref, 1, &r));
    assert_string_equal(r.reference, "again");
    assert_int_equal(stats(ref).lots, 2);

    free(ref);
}


static void
test_older_never_shadows_newer(void **state)
{
    sv_ref_t         *ref;
    sv_ref_recall_t   r;

    (void) state;

    ref = make(SIZE);

    begin(ref, 1, 0);
    assert_int_equal(recall(ref, 10, 1, 0, "ten"), SV_REF_OK);
    assert_int_equal(recall(ref, 9, 1, 0, "nine"), SV_REF_OK);
    assert_int_equal(recall(ref, 9, 1, 1, NULL), SV_REF_OK);
    sv_ref_end(ref, 0);
    assert_true(recalled(ref, 1, &r));
    assert_string_equal(r.reference, "ten");

    /* a writer that lost its turn brings what is already published */

    begin(ref, 0, 10);
    assert_int_equal(recall(ref, 8, 2, 0, "eight"), SV_REF_OK);
    assert_int_equal(recall(ref, 10, 3, 0, "ten"), SV_REF_OK);
    sv_ref_end(ref, 0);
    assert_false(recalled(ref, 2, &r));
    assert_false(recalled(ref, 3, &r));
    assert_int_equal(stats(ref).n, 10);

    /* rows linked by a writer that died come again; what is complete does not */

    begin(ref, 0, 10);
    assert_int_equal(recall(ref, 12, 1, 1, NULL), SV_REF_OK);
    assert_int_equal(recall(ref, 13, 2, 0, "thirteen"), SV_REF_OK);

    begin(ref, 0, 12);
    assert_int_equal(recall(ref, 11, 1, 0, "eleven"), SV_REF_OK);
    assert_int_equal(recall(ref, 12, 1, 0, "twelve"), SV_REF_OK);
    assert_false(recalled(ref, 1, &r));
    assert_int_equal(recall(ref, 13, 2, 0, "thirteen"), SV_REF_OK);
    assert_int_equal(recall(ref, 13, 3, 0, "thirteen"), SV_REF_OK);
    assert_int_equal(recall(ref, 13, 4, 1, NULL), SV_REF_OK);

    /* deleted before it was ever seen: kept in mind until it is published */

    begin(ref, 0, 12);
    assert_int_equal(recall(ref, 13, 4, 0, "late"), SV_REF_OK);
    sv_ref_end(ref, 0);
    assert_false(recalled(ref, 1, &r));
    assert_true(recalled(ref, 2, &r));
    assert_true(recalled(ref, 3, &r));
    assert_false(recalled(ref, 4, &r));
    assert_int_equal(stats(ref).n, 13);
    assert_int_equal(stats(ref).lots, 2);

    free(ref);
}


static void
test_compaction(void **state)
{
    int               i;
    uint64_t          n, generation;
    sv_ref_t         *ref;
    sv_ref_recall_t   r;

    (void) state;

    ref = make(SIZE);

    begin(ref, 1, 0);

    for (i = 0; i < 100; i++) {
        assert_int_equal(recall(ref, (uint64_t) i + 1, i, 0, "first"), SV_REF_OK);
    }

    sv_ref_end(ref, 0);
    generation = stats(ref).generation;

    /* ten halves' worth of changes: nobody ever asks for a whole read */

    for (n = 101; n < 20000; n++) {
        begin(ref, 0, n - 1);
        assert_int_equal(recall(ref, n, (int) (n % 50), n % 3 == 0, "later"), SV_REF_OK);
        sv_ref_end(ref, 0);
        assert_int_equal(recalled(ref, (int) (n % 50), &r), n % 3 != 0);
    }

    assert_true(stats(ref).generation > generation + 5);

    /* the same without an end: one long page */

    begin(ref, 0, 19999);

    for ( /* void */ ; n < 40000; n++) {
        assert_int_equal(recall(ref, n, (int) (n % 50), n % 3 == 0, "last"), SV_REF_OK);
    }

    sv_ref_end(ref, 0);

    for (i = 0; i < 50; i++) {
        n = 40000 - 50 + (uint64_t) i;
        assert_int_equal(recalled(ref, i, &r), n % 3 != 0);
    }

    for (i = 50; i < 100; i++) {
        assert_true(recalled(ref, i, &r));
        assert_string_equal(r.reference, "first");
    }

    assert_int_equal(stats(ref).lots, 50 + 33);
    assert_int_equal(stats(ref).n, 39999);

    free(ref);
}


static void
test_full(void **state)
{
    int                i, fits;
    sv_ref_t          *ref;
    sv_ref_stats_t     s;
    sv_ref_recall_t    r;

    (void) state;

    ref = make(SIZE);

    begin(ref, 1, 0);
    assert_int_equal(recall(ref, 1, 0, 0, "kept"), SV_REF_OK);
    sv_ref_end(ref, 7);

    begin(ref, 0, 1);

    for (i = 1; recall(ref, (uint64_t) i + 1, i, 0, "more") == SV_REF_OK; i++) {
        assert_true(i < 10000);
    }

    assert_int_equal(recall(ref, (uint64_t) i + 1, i, 0, "more"), SV_REF_FULL);
    sv_ref_abort(ref);
    fits = i;

    s = stats(ref);
    assert_int_equal(s.n, fits);
    assert_int_equal(s.fresh_at, 7);
    assert_true(s.used <= s.size && s.used + 64 > s.size);

    /* whole, and it does not fit either: the old copy stays */

    begin(ref, 1, 0);

    for (i = 0; recall(ref, (uint64_t) i + 1, i, 0, "more") == SV_REF_OK; i++) {
        assert_true(i <= fits);
    }

    sv_ref_abort(ref);

    s = stats(ref);
    assert_true(s.full);
    assert_int_equal(s.n, fits);
    assert_int_equal(s.fresh_at, 7);
    assert_true(recalled(ref, 0, &r));
    assert_string_equal(r.reference, "kept");

    /* what is too much was deleted meanwhile */

    begin(ref, 1, 0);
    assert_int_equal(recall(ref, 5, 5, 1, NULL), SV_REF_OK);
    assert_int_equal(recall(ref, 20000, 6, 0, "new"), SV_REF_OK);
    sv_ref_end(ref, 9);

    s = stats(ref);
    assert_false(s.full);
    assert_int_equal(s.n, 20000);
    assert_int_equal(s.fresh_at, 9);
    assert_int_equal(s.lots, 1);
    assert_false(recalled(ref, 0, &r));
    assert_true(recalled(ref, 6, &r));

    begin(ref, 0, 20000);
    sv_ref_end(ref, 10);

    free(ref);
}


static void
test_epoch(void **state)
{
    char              text[SV_REF_EPOCH], longer[100];
    sv_ref_t         *ref;
    sv_ref_recall_t   r;

    (void) state;

    ref = make(SIZE);

    sv_ref_epoch(ref, text);
    assert_string_equal(text, "");

    sv_ref_set_epoch(ref, "7301234567890123456/1/0");
    sv_ref_epoch(ref, text);
    assert_string_equal(text, "7301234567890123456/1/0");

    begin(ref, 1, 0);
    assert_int_equal(recall(ref, 50, 1, 0, "lost"), SV_REF_OK);
    sv_ref_end(ref, 0);
    begin(ref, 0, 50);
    sv_ref_end(ref, 0);

    /* the cache counter says nothing about the numbers */

    sv_ref_set_epoch(ref, "7301234567890123456/1/1");
    begin(ref, 0, 50);
    sv_ref_end(ref, 0);

    /* another timeline does: a lower number may be news, and what was read may be gone */

    sv_ref_set_epoch(ref, "7301234567890123456/2/1");
    sv_ref_epoch(ref, text);
    assert_string_equal(text, "7301234567890123456/2/1");
    assert_true(recalled(ref, 1, &r));

    begin(ref, 1, 0);
    assert_int_equal(recall(ref, 40, 2, 0, "found"), SV_REF_OK);
    assert_true(recalled(ref, 1, &r));
    sv_ref_end(ref, 0);
    assert_false(recalled(ref, 1, &r));
    assert_true(recalled(ref, 2, &r));
    assert_int_equal(stats(ref).n, 40);

    /* it changes once more during the read */

    sv_ref_set_epoch(ref, "7301234567890123456/3/1");
    begin(ref, 1, 0);
    sv_ref_set_epoch(ref, "7301234567890123456/4/1");
    sv_ref_end(ref, 0);
    begin(ref, 1, 0);
    sv_ref_end(ref, 0);
    begin(ref, 0, 0);

    memset(longer, 'x', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    sv_ref_set_epoch(ref, longer);
    sv_ref_epoch(ref, text);
    assert_int_equal(strlen(text), SV_REF_EPOCH - 1);

    free(ref);
}


static void
test_bad_rows(void **state)
{
    size_t              i;
    char                link[SV_REF_LINK + 2];
    sv_ref_t           *ref;
    sv_ref_recall_t     r;
    sv_ref_product_t    p;
    sv_ref_location_t   loc;

    static const struct { const char *kind, *key, *f1, *f2, *f3, *f4; }  bad[] = {
        { "credential", SHA, NULL, "0", NULL, NULL },
        { "credential", SHA, "x", "0", NULL, NULL },
        { "credential", SHA, "7", NULL, NULL, NULL },
        { "credential", SHA, "7", "", NULL, NULL },
        { "credential", SHA, "7", "0", "soon", NULL },
        { "credential", SHA, "99999999999", "0", NULL, NULL },
        { "location", "7", NULL, "pharmacy", "Acme", "DE" },
        { "location", "7", "950600000000", "pharmacy", "Acme", "DE" },
        { "location", "7", "950600000000x", "pharmacy", "Acme", "DE" },
        { "location", "7", "9506000000001", NULL, "Acme", "DE" },
        { "location", "7", "9506000000001", "", "Acme", "DE" },
        { "location", "7", "9506000000001", "vet", "Acme", "DE" },
        { "location", "7", "9506000000001", "pharmacy", "Acme", NULL },
        { "location", "7", "9506000000001", "pharmacy", "Acme", "DEU" }
    };

    static const char  *const unreadable[][2] = {
        { "credential", SHA "0" }, { "credential", "0011" }, { "credential", NULL },
        { "location", "" }, { "location", "7x" }, { "location", "2147483648" },
        { "product", "9506000134352" }, { "product", "095060001343521" }, { "product", "0950600013435x" },
        { "lot", "09506000134352" }, { "lot", "0950600013435" },
        { "lot", "0950600013435212345678901234567890123456789012345678901234567890123456789012345" }
    };

    (void) state;

    /* a credential or location that cannot be read is not the one before, it is none; and it can be mended */

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ref = make(SIZE);

        begin(ref, 1, 0);
        assert_int_equal(row(ref, 1, 0, "location", "7", "9506000000001", "pharmacy", "Acme", "DE"), SV_REF_OK);
        assert_int_equal(row(ref, 2, 0, "credential", SHA, "7", "0", NULL, NULL), SV_REF_OK);
        sv_ref_end(ref, 0);
        assert_true(sv_ref_credential(ref, sha, 1, &loc));

        begin(ref, 0, 2);
        assert_int_equal(row(ref, 3, 0, bad[i].kind, bad[i].key, bad[i].f1, bad[i].f2, bad[i].f3, bad[i].f4),
                         SV_REF_BAD_ROW);
        sv_ref_end(ref, 0);
        assert_false(sv_ref_credential(ref, sha, 1, &loc));
        assert_int_equal(stats(ref).bad, 1);
        assert_int_equal(stats(ref).n, 3);

        begin(ref, 0, 3);
        assert_int_equal(row(ref, 4, 0, "location", "7", "9506000000001", "pharmacy", "Acme", "DE"), SV_REF_OK);
        assert_int_equal(row(ref, 5, 0, "credential", SHA, "7", "0", NULL, NULL), SV_REF_OK);
        sv_ref_end(ref, 0);
        assert_true(sv_ref_credential(ref, sha, 1, &loc));
        assert_int_equal(stats(ref).bad, 0);

        free(ref);
    }

    ref = make(SIZE);
    begin(ref, 1, 0);

    for (i = 0; i < sizeof(unreadable) / sizeof(unreadable[0]); i++) {
        assert_int_equal(row(ref, i + 1, 0, unreadable[i][0], unreadable[i][1], "1", "1", "1", "1"), SV_REF_BAD_ROW);
    }

    assert_int_equal(row(ref, 20, 0, NULL, "7", NULL, NULL, NULL, NULL), SV_REF_BAD_ROW);
    assert_int_equal(row(ref, 21, 0, "market", NULL, NULL, NULL, NULL, NULL), SV_REF_OK);

    /* a recall is a recall, whenever it was */

    assert_int_equal(row(ref, 22, 0, "lot", "09506000134352LOT1", NULL, "why", NULL, NULL), SV_REF_BAD_ROW);
    assert_int_equal(product(ref, 23, "09506000134352", "n", "today", "why", "l"), SV_REF_BAD_ROW);

    /* half a link leads elsewhere */

    memset(link, 'x', sizeof(link));
    link[SV_REF_LINK + 1] = '\0';
    assert_int_equal(product(ref, 24, "09506000134353", "n", NULL, NULL, link), SV_REF_BAD_ROW);
    link[SV_REF_LINK] = '\0';
    assert_int_equal(product(ref, 25, "09506000134354", "n", NULL, NULL, link), SV_REF_OK);
    sv_ref_end(ref, 0);

    assert_true(recalled(ref, 1, &r));
    assert_string_equal(r.reference, "why");
    assert_true(sv_ref_product(ref, GTIN, &p));
    assert_int_equal(p.withdrawn, 1);
    assert_true(sv_ref_product(ref, GTIN + 1, &p));
    assert_string_equal(p.link, "");
    assert_true(sv_ref_product(ref, GTIN + 2, &p));
    assert_int_equal(strlen(p.link), SV_REF_LINK);
    assert_int_equal(stats(ref).bad, 3);
    assert_int_equal(stats(ref).n, 25);

    free(ref);
}


static void
test_cut_at_characters(void **state)
{
    char               name[SV_REF_NAME + 8], reference[SV_REF_REASON + 8];
    size_t             i;
    sv_ref_t          *ref;
    sv_ref_product_t   p;

    (void) state;

    ref = make(SIZE);

    /* 'x' x i, then characters of three bytes */

    for (i = 0; i < 4; i++) {
        memset(name, 'x', sizeof(name));
        memcpy(name + SV_REF_NAME - i, "\xe2\x82\xac\xe2\x82\xac", 7);
        memset(reference, 'y', sizeof(reference));
        reference[SV_REF_REASON] = '\0';

        begin(ref, i == 0, i);
        assert_int_equal(product(ref, i + 1, "09506000134352", name, "1", reference, NULL), SV_REF_OK);
        sv_ref_end(ref, 0);

        assert_true(sv_ref_product(ref, GTIN, &p));
        assert_int_equal(strlen(p.name), i == 3 ? SV_REF_NAME : SV_REF_NAME - i);
        assert_memory_equal(p.name, name, strlen(p.name));
        assert_string_equal(p.reference, reference);
    }

    free(ref);
}


static void
test_roles(void **state)
{
    unsigned  i;

    (void) state;

    for (i = SV_ROLE_PHARMACY; i <= SV_ROLE_OPERATOR; i++) {
        assert_int_equal(sv_role_parse(sv_role_word((sv_role_t) i)), i);
    }

    assert_int_equal(sv_role_parse(""), SV_ROLE_NONE);
    assert_int_equal(sv_role_parse("Pharmacy"), SV_ROLE_NONE);
    assert_string_equal(sv_role_word(SV_ROLE_NONE), "");
    assert_string_equal(sv_role_word((sv_role_t) 99), "");
    assert_string_equal(sv_role_word(SV_ROLE_PARALLEL_DISTRIBUTOR), "parallel_distributor");
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_init_sizes),
        cmocka_unit_test(test_nothing_before_the_first_end),
        cmocka_unit_test(test_credential),
        cmocka_unit_test(test_product),
        cmocka_unit_test(test_partly_recalled),
        cmocka_unit_test(test_recall),
        cmocka_unit_test(test_older_never_shadows_newer),
        cmocka_unit_test(test_compaction),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_epoch),
        cmocka_unit_test(test_bad_rows),
        cmocka_unit_test(test_cut_at_characters),
        cmocka_unit_test(test_roles)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
