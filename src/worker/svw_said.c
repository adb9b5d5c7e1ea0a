#include "svw_said.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>


#define SVW_PUSH(list, value)  do { if (svw_room((void **) &(list)->v, &(list)->size, (list)->n, sizeof(*(list)->v)) == 0) {      \
                                   (list)->v[(list)->n++] = (value); } else { say->failed = 1; } } while (0)

/* a lot in a market, or at a site */
typedef struct {
    const svw_key_t  *lot;
    const svw_key_t  *site;
    char              country[3];
} svw_where_t;


static int svw_room(void **v, size_t *size, size_t n, size_t each);
static void svw_say_gather(svw_say_t *say);
static void svw_say_keys(svw_say_t *say);
static void svw_say_where(svw_say_t *say);
static void svw_say_text(svw_say_t *say, char kind, const svw_key_t *a, sv_span_t b);
static void svw_say_settle(svw_say_t *say);
static void svw_say_identity(svw_say_t *say);
static svw_said_t *svw_say_before(const svw_say_t *say);
static int svw_say_old(svw_say_t *say, const svw_said_t *said);
static uint64_t svw_say_digest(const svw_say_t *say);
static void svw_say_unique(svw_spans_t *spans);
static int svw_span_cmp(const void *a, const void *b);
static int svw_ref_cmp(const void *a, const void *b);
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
    SVW_PUSH(&say->refs, ref);

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


void
svw_say_lot(svw_say_t *say, const svw_key_t *lot)
{
    say->lot = lot;
    say->lots = 1;
}


void
svw_say_end(svw_say_t *say)
{
    svw_said_t  *said;

    svw_say_identity(say);
    said = svw_say_before(say);

    if (said != NULL && !svw_say_old(say, said)) {
        said->again = 1;
        return;
    }

    svw_say_gather(say);
    svw_say_keys(say);

    if (say->failed) {
        return;
    }

    svw_say_settle(say);

    if (said == NULL) {
        said = calloc(1, sizeof(svw_said_t));

        if (said == NULL) {
            say->failed = 1;
            return;
        }

        memcpy(said->id, say->finding.id, sizeof(said->id));
        said->rule = say->finding.rule;
        said->next = say->view->key->said;
        say->view->key->said = said;

    } else if (said->digest == svw_say_digest(say)
               || (said->first_ms < say->horizon_ms && say->finding.weight < said->weight))
    {
        /* the same; or less, of what is left of the scans that it was said of */

        said->again = 1;
        return;
    }

    if (said->digest != 0 && said->first_ms < say->horizon_ms) {
        say->finding.partial = 1;
    } else {
        said->first_ms = say->finding.first_ms;
    }

    said->digest = svw_say_digest(say);
    said->last_ms = say->finding.last_ms;
    said->weight = say->finding.weight;
    said->again = 1;

    say->found(say->data, &say->finding);
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


void
svw_said_begin(svw_say_t *say, const svw_rule_row_t *row, const svw_view_t *view)
{
    svw_said_t  *said;

    say->view = view;
    say->row = row;

    for (said = view->key->said; said != NULL; said = said->next) {
        said->again = 0;
    }
}


/*
 * What was said of this part and is not said again is withdrawn, unless scans it
 * rests on are forgotten: nobody can tell any more.
 */
void
svw_said_end(svw_say_t *say)
{
    svw_said_t    **p, *said;
    svw_finding_t   finding;

    for (p = &say->view->key->said; *p != NULL; ) {
        said = *p;

        if (said->rule != say->row->rule || said->again || said->last_ms < say->view->from_ms || said->first_ms > say->view->to_ms
            || (said->first_ms < say->horizon_ms && said->last_ms >= say->horizon_ms))
        {
            p = &said->next;
            continue;
        }

        if (said->first_ms >= say->horizon_ms) {
            memset(&finding, 0, sizeof(finding));
            memcpy(finding.id, said->id, sizeof(finding.id));
            finding.rule = said->rule;
            finding.cause = "";
            finding.gtin = say->view->key->gtin;
            finding.first_ms = said->first_ms;
            finding.last_ms = said->last_ms;
            finding.withdrawn = 1;
            say->found(say->data, &finding);
        }

        *p = said->next;
        free(said);
    }
}


void
svw_said_forget(svw_key_t *key)
{
    svw_said_t  *said;

    while (key->said != NULL) {
        said = key->said;
        key->said = said->next;
        free(said);
    }
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
svw_say_gather(svw_say_t *say)
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

    svw_say_unique(&say->serials);
    svw_say_unique(&say->actors);
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

    svw_say_unique(&say->keys);
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


static void
svw_say_settle(svw_say_t *say)
{
    size_t  i, n;

    qsort(say->refs.v, say->refs.n, sizeof(svw_ref_t), svw_ref_cmp);

    for (i = 0, n = 0; i < say->refs.n; i++) {
        if (n == 0 || say->refs.v[i] != say->refs.v[n - 1]) {
            say->refs.v[n++] = say->refs.v[i];
        }
    }

    say->refs.n = n;
    say->finding.refs = say->refs.v;
    say->finding.n_refs = n;
    say->finding.serials = say->serials.v;
    say->finding.n_serials = say->serials.n;
    say->finding.actors = say->actors.v;
    say->finding.n_actors = say->actors.n;
    say->finding.keys = say->keys.v;
    say->finding.n_keys = say->keys.n;
}


static void
svw_say_identity(svw_say_t *say)
{
    svw_digest_t      digest;
    const svw_key_t  *key;

    key = say->view->key;

    svw_digest_begin(&digest);
    svw_digest_span(&digest, (sv_span_t) {(const uint8_t *) svw_rules_about[say->row->rule].name,
                                          strlen(svw_rules_about[say->row->rule].name)});
    svw_digest_number(&digest, key->kind);
    svw_digest_number(&digest, key->gtin);
    svw_digest_span(&digest, svw_key_span(key));
    svw_digest_span(&digest, say->apart);
    svw_digest_end(&digest, say->finding.id);
}


/* the same finding, as it was said last; NULL: it is new */
static svw_said_t *
svw_say_before(const svw_say_t *say)
{
    svw_said_t  *said;

    for (said = say->view->key->said; said != NULL; said = said->next) {
        if (memcmp(said->id, say->finding.id, sizeof(said->id)) == 0) {
            break;
        }
    }

    return said;
}


/*
 * What rests on scans that are forgotten can only be added to, not taken back.  So
 * scans that may still be taken for something else are added later; but when it
 * asks, at once.  The same an hour before the first is forgotten: what is said then
 * is what is added to.  0: nothing is left to say.
 */
static int
svw_say_old(svw_say_t *say, const svw_said_t *said)
{
    size_t   i, n;
    int64_t  time_ms;

    if (say->fresh_ms == INT64_MAX || say->finding.weight == SVW_WEIGHT_ASKS || said->weight == SVW_WEIGHT_ASKS
        || said->first_ms >= say->part_ms)
    {
        return 1;
    }

    for (i = 0, n = 0; i < say->nodes.n; i++) {
        time_ms = say->nodes.v[i]->time_ms;

        if (time_ms <= say->fresh_ms) {
            say->nodes.v[n++] = say->nodes.v[i];

        } else if (time_ms < say->waits_ms) {
            say->waits_ms = time_ms;
        }
    }

    i = say->nodes.n;
    say->nodes.n = n;

    return n > 0 || i == 0;
}


static uint64_t
svw_say_digest(const svw_say_t *say)
{
    size_t      i;
    svw_hash_t  hash;

    svw_hash_begin(&hash, (svw_hash_key_t) {7, 8});
    svw_hash_number(&hash, say->finding.weight << 8 | say->finding.severity);
    svw_hash_number(&hash, say->refs.n);

    for (i = 0; i < say->refs.n; i++) {
        svw_hash_number(&hash, say->refs.v[i]);
    }

    for (i = 0; i < say->keys.n; i++) {
        svw_hash_span(&hash, say->keys.v[i]);
    }

    svw_hash_span(&hash, (sv_span_t) {(const uint8_t *) say->finding.cause, strlen(say->finding.cause)});

    return svw_hash_end(&hash);
}


static void
svw_say_unique(svw_spans_t *spans)
{
    size_t  i, n;

    if (spans->n < 2) {
        return;
    }

    qsort(spans->v, spans->n, sizeof(sv_span_t), svw_span_cmp);

    for (i = 1, n = 1; i < spans->n; i++) {
        if (!sv_span_eq(spans->v[i], spans->v[n - 1])) {
            spans->v[n++] = spans->v[i];
        }
    }

    spans->n = n;
}


static int
svw_span_cmp(const void *a, const void *b)
{
    int               c;
    size_t            n;
    const sv_span_t  *x, *y;

    x = a;
    y = b;

    if (x->data == y->data) {
        return (x->len > y->len) - (x->len < y->len);
    }

    n = x->len < y->len ? x->len : y->len;
    c = memcmp(x->data, y->data, n);

    return c != 0 ? c : (x->len > y->len) - (x->len < y->len);
}


static int
svw_ref_cmp(const void *a, const void *b)
{
    svw_ref_t  x, y;

    x = *(const svw_ref_t *) a;
    y = *(const svw_ref_t *) b;

    return (x > y) - (x < y);
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
