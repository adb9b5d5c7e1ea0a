/*
 * A finding as a rule puts it together: its scans and facts, and what follows of
 * these: serials, actors, and the keys by which it is joined with others.
 */

#include "svw_said.h"
#include "svw_sort.h"

#include <stdio.h>
#include <stdlib.h>


#define SVW_SAY_WAYS  16                /* in which a lot was commissioned: of more one record tells */

#define SVW_PUSH(list, value)  do { if (svw_room((void **) &(list)->v, &(list)->size, (list)->n, sizeof(*(list)->v)) == 0) {      \
                                   (list)->v[(list)->n++] = (value); } else { say->failed = 1; } } while (0)

/* a lot in a market, or at a site */
typedef struct {
    const svw_key_t  *lot;
    const svw_key_t  *site;
    char              country[3];
} svw_where_t;


static int svw_room(void **v, size_t *size, size_t n, size_t each);
static void svw_say_nodes(svw_say_t *say);
static void svw_say_records(svw_say_t *say);
static void svw_say_lot_records(svw_say_t *say, const svw_lot_t *lot);
static void svw_say_keys(svw_say_t *say);
static void svw_say_where(svw_say_t *say);
static void svw_say_text(svw_say_t *say, char kind, const svw_key_t *a, sv_span_t b);
static int svw_where_cmp(const void *a, const void *b);


void
svw_say(svw_say_t *say, svw_weight_t weight, svw_severity_t severity, const char *cause)
{
    memset(&say->finding, 0, sizeof(svw_finding_t));

    say->finding.rule = say->row->rule;
    say->finding.weight = weight;
    say->finding.severity = severity;
    say->finding.cause = cause;
    say->finding.first_ms = INT64_MAX;
    say->finding.last_ms = INT64_MIN;
    say->apart = (sv_span_t) {NULL, 0};
    say->narrow = 0;
    say->lot = NULL;
    say->lots = 0;
    say->nodes.n = 0;
    say->refs.n = 0;
    say->serials.n = 0;
    say->actors.n = 0;
    say->keys.n = 0;
    say->text_n = 0;

    svw_say_key(say, svw_rules_about[say->row->rule].name, say->view->key, NULL);
}


void
svw_say_apart(svw_say_t *say, sv_span_t what)
{
    say->apart = what;
}


void
svw_say_narrow(svw_say_t *say)
{
    say->narrow = 1;
}


void
svw_say_key(svw_say_t *say, const char *word, const svw_key_t *a, const svw_key_t *b)
{
    uint64_t  gtin;

    gtin = a != NULL && a->gtin != 0 ? a->gtin : b != NULL ? b->gtin : 0;

    snprintf(say->own, sizeof(say->own), "o:%s/%014llu/%.*s/%.*s", word, (unsigned long long) gtin,
             a == NULL ? 0 : a->len, a == NULL ? "" : a->text, b == NULL ? 0 : b->len, b == NULL ? "" : b->text);
}


void
svw_say_scan(svw_say_t *say, const svw_node_t *node)
{
    SVW_PUSH(&say->nodes, node);
}


void
svw_say_fact(svw_say_t *say, svw_ref_t ref, int64_t time_ms)
{
    if (ref != 0) {
        SVW_PUSH(&say->refs, ref);
    }

    if (say->nodes.n == 0 && time_ms < say->finding.first_ms) {
        say->finding.first_ms = time_ms;
    }

    if (say->nodes.n == 0 && time_ms > say->finding.last_ms) {
        say->finding.last_ms = time_ms;
    }
}


void
svw_say_serial(svw_say_t *say, const char *serial)
{
    SVW_PUSH(&say->serials, ((sv_span_t) {(const uint8_t *) serial, strlen(serial)}));
}


int
svw_say_gather(svw_say_t *say)
{
    svw_say_nodes(say);
    svw_say_keys(say);

    if (say->finding.weight == SVW_WEIGHT_ASKS) {
        svw_say_records(say);
    }

    if (say->failed) {
        return -1;
    }

    say->refs.n = svw_refs_unique(say->refs.v, say->refs.n);
    say->finding.refs = say->refs.v;
    say->finding.n_refs = say->refs.n;
    say->finding.serials = say->serials.v;
    say->finding.n_serials = say->serials.n;
    say->finding.actors = say->actors.v;
    say->finding.n_actors = say->actors.n;
    say->finding.keys = say->keys.v;
    say->finding.n_keys = say->keys.n;

    return 0;
}


void
svw_say_done(svw_say_t *say)
{
    free(say->nodes.v);
    free(say->refs.v);
    free(say->serials.v);
    free(say->actors.v);
    free(say->keys.v);
    free(say->text);
}


static int
svw_room(void **v, size_t *size, size_t n, size_t each)
{
    void    *bigger;
    size_t   room;

    if (n < *size) {
        return 0;
    }

    room = *size == 0 ? 32 : *size * 2;
    bigger = realloc(*v, room * each);

    if (bigger == NULL) {
        return -1;
    }

    *v = bigger;
    *size = room;

    return 0;
}


static void
svw_say_nodes(svw_say_t *say)
{
    size_t             i;
    svw_key_t         *actor;
    const svw_node_t  *node;

    for (i = 0; i < say->nodes.n; i++) {
        node = say->nodes.v[i];

        if (i == 0 || node->time_ms < say->finding.first_ms) {
            say->finding.first_ms = node->time_ms;
        }

        if (i == 0 || node->time_ms > say->finding.last_ms) {
            say->finding.last_ms = node->time_ms;
        }

        SVW_PUSH(&say->refs, node->ref);

        if (node->key[SVW_KEY_SERIAL] != NULL) {
            SVW_PUSH(&say->serials, svw_key_span(node->key[SVW_KEY_SERIAL]));
        }

        actor = svw_node_actor(node);

        if (actor != NULL) {
            SVW_PUSH(&say->actors, svw_key_span(actor));
        }

        if (say->finding.gtin == 0 && i == 0) {
            say->finding.gtin = node->gtin;

        } else if (say->finding.gtin != node->gtin) {
            say->finding.gtin = 0;
        }

        if (say->lots == 0 && node->key[SVW_KEY_LOT] != NULL) {
            say->lot = node->key[SVW_KEY_LOT];
            say->lots = 1;

        } else if (say->lots == 1 && node->key[SVW_KEY_LOT] != NULL && node->key[SVW_KEY_LOT] != say->lot) {
            say->lots = 2;
        }
    }

    if (say->nodes.n == 0 || say->view->key->gtin != 0) {
        say->finding.gtin = say->view->key->gtin;
    }

    if (say->view->key->kind == SVW_KEY_LOT && (say->lots == 0 || say->nodes.n == 0)) {
        say->lot = say->view->key;
        say->lots = 1;
    }

    say->finding.lot = say->lots == 1 ? svw_key_span(say->lot) : (sv_span_t) {NULL, 0};
}


/*
 * How what is asked about was commissioned is part of the evidence: the first record
 * of each serial, all that the scan contradicts; where serials are not told those of the lot.
 */
static void
svw_say_records(svw_say_t *say)
{
    size_t               i;
    unsigned             n;
    sv_span_t            serial;
    const svw_key_t     *lot, *last;
    const svw_made_t    *made;
    const svw_node_t    *node;
    const svw_facts_t   *facts;
    const svw_record_t  *record, *first;

    facts = say->view->facts;

    for (i = 0, last = NULL; i < say->nodes.n; i++) {
        node = say->nodes.v[i];
        lot = node->key[SVW_KEY_LOT];
        serial = svw_key_span(node->key[SVW_KEY_SERIAL]);

        for (n = 0, first = NULL; serial.len > 0 && (made = svw_facts_way(facts, node->gtin, serial, n)) != NULL; n++) {
            record = svw_facts_record(facts, node->gtin, serial, made);
            first = first == NULL || svw_record_cmp(record, first) < 0 ? record : first;

            if (svw_reason_contradicts(node->reason) && record->ref != 0) {
                SVW_PUSH(&say->refs, record->ref);
            }
        }

        if (first != NULL && first->ref != 0) {
            SVW_PUSH(&say->refs, first->ref);
        }

        if (lot != NULL && lot != last && lot->lot != NULL
            && (svw_reason_contradicts(node->reason) || (n == 0 && !(node->class & SVW_MISS))))
        {
            svw_say_lot_records(say, lot->lot);
            last = lot;
        }
    }
}


/* the first of each way; of many ways the first of all */
static void
svw_say_lot_records(svw_say_t *say, const svw_lot_t *lot)
{
    unsigned             i;
    const svw_record_t  *record, *first;

    for (i = 0, first = NULL; i < lot->n_made; i++) {
        record = &svw_facts_made(say->view->facts, lot->made[i])->first;
        first = first == NULL || svw_record_cmp(record, first) < 0 ? record : first;

        if (lot->n_made <= SVW_SAY_WAYS && record->ref != 0) {
            SVW_PUSH(&say->refs, record->ref);
        }
    }

    if (first != NULL && lot->n_made > SVW_SAY_WAYS && first->ref != 0) {
        SVW_PUSH(&say->refs, first->ref);
    }
}


static void
svw_say_keys(svw_say_t *say)
{
    size_t             i, j;
    const svw_key_t   *last;

    /* the room of all texts is known before spans point into it */

    for (i = 0, j = 1024; i < say->nodes.n; i++) {
        last = say->nodes.v[i]->key[SVW_KEY_SERIAL];
        j += last == NULL ? 0 : last->len + 32u;
        last = say->nodes.v[i]->key[SVW_KEY_LOT];
        j += last == NULL ? 0 : 2 * (last->len + 32u);
        last = say->nodes.v[i]->key[SVW_KEY_SITE];
        j += last == NULL ? 0 : last->len;
    }

    for (i = 0; i < say->serials.n; i++) {
        j += say->serials.v[i].len + 32;
    }

    if (j > say->text_size) {
        free(say->text);
        say->text = malloc(2 * j);
        say->text_size = say->text == NULL ? 0 : 2 * j;
        say->failed |= say->text == NULL;
    }

    if (say->failed) {
        return;
    }

    say->serials.n = svw_spans_unique(say->serials.v, say->serials.n);
    say->actors.n = svw_spans_unique(say->actors.v, say->actors.n);
    svw_say_text(say, 'o', NULL, (sv_span_t) {(const uint8_t *) say->own, strlen(say->own)});

    if (say->finding.gtin != 0) {
        for (i = 0; i < say->serials.n; i++) {
            svw_say_text(say, 's', NULL, say->serials.v[i]);
        }

    } else {
        for (i = 0, last = NULL; i < say->nodes.n; i++) {
            if (say->nodes.v[i]->key[SVW_KEY_SERIAL] != NULL && say->nodes.v[i]->key[SVW_KEY_SERIAL] != last) {
                last = say->nodes.v[i]->key[SVW_KEY_SERIAL];
                svw_say_text(say, 's', last, svw_key_span(last));
            }
        }
    }

    if (!say->narrow && say->lots < 2) {
        svw_say_where(say);
    }

    say->keys.n = svw_spans_unique(say->keys.v, say->keys.n);
}


/* a lot in a market, a lot at a site */
static void
svw_say_where(svw_say_t *say)
{
    size_t             i, n;
    svw_where_t       *where, *w;
    svw_place_t        place;
    const svw_node_t  *node;

    where = malloc((say->nodes.n + 1) * sizeof(svw_where_t));

    if (where == NULL) {
        say->failed = 1;
        return;
    }

    for (i = 0, n = 0; i < say->nodes.n; i++) {
        node = say->nodes.v[i];

        if (node->key[SVW_KEY_LOT] == NULL) {
            continue;
        }

        w = &where[n++];
        memset(w, 0, sizeof(svw_where_t));
        w->lot = node->key[SVW_KEY_LOT];
        w->site = node->key[SVW_KEY_SITE];
        place = svw_facts_place(say->view->facts, node);
        memcpy(w->country, place.country, 2);
    }

    qsort(where, n, sizeof(svw_where_t), svw_where_cmp);

    for (i = 0; i < n; i++) {
        w = &where[i];

        if (i > 0 && svw_where_cmp(w, w - 1) == 0) {
            continue;
        }

        if (w->country[0] != '\0') {
            svw_say_text(say, 'm', w->lot, (sv_span_t) {(const uint8_t *) w->country, 2});
        }

        if (w->site != NULL) {
            svw_say_text(say, 'p', w->lot, svw_key_span(w->site));
        }
    }

    free(where);
}


/* There is room: svw_say_keys has counted. */
static void
svw_say_text(svw_say_t *say, char kind, const svw_key_t *a, sv_span_t b)
{
    int     n;
    char   *p;

    p = say->text + say->text_n;

    if (kind == 'o') {
        n = snprintf(p, say->text_size - say->text_n, "%.*s", (int) b.len, b.data);

    } else if (kind == 's') {
        n = snprintf(p, say->text_size - say->text_n, "s:%014llu/%.*s",
                     (unsigned long long) (a == NULL ? say->finding.gtin : a->gtin), (int) b.len, b.data);

    } else {
        n = snprintf(p, say->text_size - say->text_n, "%c:%014llu/%.*s/%.*s", kind, (unsigned long long) a->gtin, a->len, a->text,
                     (int) b.len, b.data);
    }

    say->text_n += n + 1;
    SVW_PUSH(&say->keys, ((sv_span_t) {(const uint8_t *) p, n}));
}


static int
svw_where_cmp(const void *a, const void *b)
{
    const svw_where_t  *x, *y;

    x = a;
    y = b;

    if (x->lot != y->lot) {
        return x->lot < y->lot ? -1 : 1;
    }

    if (x->site != y->site) {
        return x->site < y->site ? -1 : 1;
    }

    return memcmp(x->country, y->country, 2);
}
