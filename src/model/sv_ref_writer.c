#include "sv_ref_block.h"
#include "sv_ref_value.h"


/*
 * Copying to the other half starts when half of the free room is gone.  It
 * goes on with every row applied, so that it ends before the rest is gone,
 * and with every begin().
 */

#define SV_REF_COPY_BEGIN  2048
#define SV_REF_COPY_ROW    8


static void sv_ref_make_room(sv_ref_t *ref, unsigned entries);
static sv_ref_rc_t sv_ref_store(sv_ref_t *ref, const sv_ref_parsed_t *parsed, uint64_t n);
static size_t sv_ref_identity_len(const char *epoch);


void
sv_ref_begin(sv_ref_t *ref, int *whole, uint64_t *n)
{
    int             torn;
    sv_ref_half_t  *h;

    h = &ref->half[sv_ref_current(ref)];
    torn = ref->writing;

    sv_ref_set(&ref->writing, 1);

    if (ref->generation == 0 || h->spent || h->identity != ref->identity) {
        sv_ref_set(&ref->mode, SV_REF_APPEND);
        sv_ref_clear(ref, sv_ref_other(ref));
        sv_ref_set(&ref->mode, SV_REF_WHOLE);

        ref->pending = 0;
        *whole = 1;
        *n = 0;

        return;
    }

    if (torn) {
        sv_ref_copy_start(ref);
    }

    sv_ref_make_room(ref, SV_REF_COPY_BEGIN);

    ref->pending = h->n;
    *whole = 0;
    *n = h->n;
}


sv_ref_rc_t
sv_ref_apply(sv_ref_t *ref, const sv_ref_row_t *row)
{
    sv_ref_rc_t       rc, stored;
    sv_ref_half_t    *h;
    sv_ref_parsed_t   parsed;

    if (ref->mode != SV_REF_WHOLE) {
        h = &ref->half[sv_ref_current(ref)];

        /* a change is complete when the next begins: a long read that fails is not begun again from its start */

        if (row->n > ref->pending && ref->pending > h->n) {
            sv_ref_set(&h->n, ref->pending);
        }

        /* published rows are brought by a writer that lost its turn, and by nobody else */

        if (row->n <= h->n) {
            return SV_REF_OK;
        }
    }

    rc = sv_ref_parse(row, &parsed);

    if (parsed.key.words != 0) {
        stored = sv_ref_store(ref, &parsed, row->n);

        if (stored == SV_REF_FULL) {
            return SV_REF_FULL;
        }
    }

    if (row->n > ref->pending) {
        ref->pending = row->n;
    }

    return rc;
}


void
sv_ref_end(sv_ref_t *ref, uint64_t now_ms)
{
    unsigned        half;
    sv_ref_half_t  *h;

    if (!ref->writing) {
        return;
    }

    half = ref->mode == SV_REF_WHOLE ? sv_ref_other(ref) : sv_ref_current(ref);
    h = &ref->half[half];

    sv_ref_set(&h->n, ref->pending);

    if (ref->mode == SV_REF_WHOLE) {
        h->floor = ref->pending;
        h->mark = h->used;
        sv_ref_set(&ref->full, 0);
        sv_ref_set(&ref->generation, ref->generation + 1);
        sv_ref_set(&ref->mode, SV_REF_APPEND);
    }

    sv_ref_set(&ref->fresh_at, now_ms);
    sv_ref_set(&ref->writing, 0);
}


void
sv_ref_abort(sv_ref_t *ref)
{
    if (ref->mode == SV_REF_WHOLE) {
        sv_ref_set(&ref->mode, SV_REF_APPEND);
    }

    sv_ref_set(&ref->writing, 0);
}


void
sv_ref_set_epoch(sv_ref_t *ref, const char *epoch)
{
    size_t    len;
    char      old[SV_REF_EPOCH];
    uint64_t  word[SV_REF_EPOCH / 8];

    sv_ref_epoch(ref, old);

    memset(word, 0, sizeof(word));
    len = strnlen(epoch, SV_REF_EPOCH - 1);
    memcpy(word, epoch, len);

    if (memcmp(old, word, SV_REF_EPOCH) == 0) {
        return;
    }

    /*
     * Another system identifier or timeline: numbers may have gone back and
     * stand for other changes, so the copy has to be read again from the
     * beginning.  That is noted before the new epoch can be seen.
     */

    len = sv_ref_identity_len(old);

    if (len != sv_ref_identity_len((char *) word) || memcmp(old, word, len) != 0) {
        sv_ref_set(&ref->identity, ref->identity + 1);
    }

    sv_ref_words_store(ref->epoch[(ref->epochs + 1) & 1], word, SV_REF_EPOCH / 8);
    sv_ref_set(&ref->epochs, ref->epochs + 1);
}


static sv_ref_rc_t
sv_ref_store(sv_ref_t *ref, const sv_ref_parsed_t *parsed, uint64_t n)
{
    size_t       words;
    sv_ref_rc_t  rc;

    words = (parsed->len + 7) / 8;

    if (ref->mode == SV_REF_WHOLE) {
        rc = sv_ref_append(ref, sv_ref_other(ref), &parsed->key, parsed->flags, n, parsed->value, words);

        if (rc == SV_REF_FULL) {
            sv_ref_set(&ref->full, 1);
        }

        return rc;
    }

    sv_ref_make_room(ref, SV_REF_COPY_ROW);

    rc = sv_ref_append(ref, sv_ref_current(ref), &parsed->key, parsed->flags, n, parsed->value, words);

    if (rc == SV_REF_FULL && ref->mode == SV_REF_COPY) {
        sv_ref_copy_some(ref, UINT32_MAX);
        rc = sv_ref_append(ref, sv_ref_current(ref), &parsed->key, parsed->flags, n, parsed->value, words);
    }

    if (rc == SV_REF_FULL) {
        sv_ref_set(&ref->half[sv_ref_current(ref)].spent, 1);
    }

    return rc;
}


static void
sv_ref_make_room(sv_ref_t *ref, unsigned entries)
{
    if (ref->mode == SV_REF_APPEND && sv_ref_crowded(ref)) {
        sv_ref_copy_start(ref);
    }

    if (ref->mode == SV_REF_COPY) {
        sv_ref_copy_some(ref, entries);
    }
}


/* "system identifier/timeline/cache counter": without the last part */

static size_t
sv_ref_identity_len(const char *epoch)
{
    const char  *p;

    p = strrchr(epoch, '/');

    return p != NULL ? (size_t) (p - epoch) : strlen(epoch);
}
