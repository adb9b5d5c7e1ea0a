#include "svw_judge.h"

#include "svw_said.h"

#include <stdlib.h>


#define SVW_EAGER  128                  /* so many scans are looked at each time; see svw_judge_due */
#define SVW_AHEAD_MS    (INT64_C(24) * 3600 * 1000)
#define SVW_AHEAD_MANY  8               /* so many of one actor are believed */


/* scans that are far ahead of all others: a clock is wrong, or nothing happened for long */
typedef struct {
    unsigned  n;                        /* one after the other */
    int64_t   time_ms;                  /* the least of them */
    uint64_t  actor;                    /* of the first; digest */
} svw_ahead_t;

struct svw_judge_s {
    const svw_params_t  *params;
    svw_evidence_t       evidence;
    svw_facts_t          facts;
    svw_say_t            say;
    svw_key_t           *marked[SVW_KEYS + 1];  /* to be looked at within this call */
    svw_key_t           *dirty;                 /* to be looked at when they have grown, or at the end */
    int64_t              newest_ms;
    int64_t              waiting_ms;            /* no key of `dirty' waits since earlier */
    svw_ahead_t          ahead;
    unsigned             any:1;                 /* newest_ms is one */
    unsigned             failed:1;              /* no memory */
    unsigned             settling:1;
};


static void svw_judge_clock(svw_judge_t *judge, const svw_judge_scan_t *scan);
static void svw_judge_before(svw_judge_t *judge, int64_t horizon);
static void svw_judge_forget(svw_judge_t *judge);
static void svw_judge_touch(svw_judge_t *judge, svw_key_t *key, int64_t time_ms, int notable);
static void svw_judge_touch_node(svw_judge_t *judge, const svw_node_t *node, int notable);
static void svw_judge_classify(svw_judge_t *judge, svw_node_t *node);
static void svw_judge_classify_all(svw_judge_t *judge, const svw_list_t *list, int serials);
static void svw_judge_neighbours(svw_judge_t *judge, const svw_node_t *node);
static void svw_judge_explain(svw_judge_t *judge, svw_node_t *node);
static void svw_judge_echoes(svw_judge_t *judge, const svw_node_t *node);
static void svw_judge_commissioned(svw_judge_t *judge, svw_key_t *lot, uint64_t gtin, sv_span_t serial);
static int svw_judge_look(svw_judge_t *judge);
static void svw_judge_key(svw_judge_t *judge, svw_key_t *key);
static void svw_judge_since(const svw_judge_t *judge, svw_key_t *key);
static int svw_judge_later(const svw_judge_t *judge, const svw_key_t *key);
static void svw_judge_stale(svw_judge_t *judge, svw_key_t *key);
static void svw_judge_product(svw_judge_t *judge, uint64_t gtin);
static int svw_judge_site(svw_judge_t *judge, svw_key_t *key);
static int svw_judge_row(svw_judge_t *judge, svw_key_t *key, const svw_rule_row_t *row);
static int svw_judge_parts(svw_judge_t *judge, svw_view_t *view, const svw_rule_row_t *row, int64_t gap);
static int svw_judge_due(const svw_judge_t *judge, const svw_key_t *key, const svw_list_t *list);
static void svw_judge_dirty(svw_judge_t *judge, svw_key_t *key);
static void svw_judge_clean(svw_judge_t *judge, svw_key_t *key);


svw_judge_t *
svw_judge_create(const svw_params_t *params, svw_finding_pt found, void *data)
{
    svw_judge_t  *judge;

    judge = calloc(1, sizeof(svw_judge_t));

    if (judge == NULL) {
        return NULL;
    }

    judge->params = params;
    judge->say.found = found;
    judge->say.data = data;
    judge->say.horizon_ms = INT64_MIN;
    judge->say.fresh_ms = INT64_MAX;

    if (svw_evidence_init(&judge->evidence) != 0 || svw_facts_init(&judge->facts, params, &judge->evidence) != 0) {
        svw_judge_destroy(judge);
        return NULL;
    }

    return judge;
}


void
svw_judge_destroy(svw_judge_t *judge)
{
    size_t      i;
    unsigned    k;
    svw_key_t  *key;

    if (judge == NULL) {
        return;
    }

    for (k = 0; k < SVW_KEYS; k++) {
        for (i = 0; judge->evidence.table[k].slot != NULL && i <= judge->evidence.table[k].mask; i++) {
            for (key = judge->evidence.table[k].slot[i]; key != NULL; key = key->next) {
                svw_said_forget(key);
            }
        }
    }

    svw_facts_done(&judge->facts);
    svw_evidence_done(&judge->evidence);
    svw_say_done(&judge->say);
    free(judge);
}


int
svw_judge_scan(svw_judge_t *judge, const svw_judge_scan_t *scan)
{
    svw_node_t        *node;
    const svw_made_t  *made;

    if (scan->silent) {
        return judge->failed ? -1 : 0;
    }

    svw_judge_clock(judge, scan);

    if (scan->time_ms < judge->say.horizon_ms) {
        return judge->failed ? -1 : 0;
    }

    node = svw_evidence_add(&judge->evidence, scan);

    if (node == NULL) {
        judge->failed = 1;
        return -1;
    }

    if (node->key[SVW_KEY_LOT] == NULL && node->key[SVW_KEY_SERIAL] != NULL) {
        made = svw_facts_serial(&judge->facts, scan->gtin, scan->serial);

        if (made != NULL && svw_evidence_lot(&judge->evidence, node, made->lot) != 0) {
            judge->failed = 1;
        }
    }

    svw_judge_classify(judge, node);
    svw_judge_touch_node(judge, node, node->class & SVW_NOTABLE);
    svw_judge_neighbours(judge, node);
    svw_judge_echoes(judge, node);

    return svw_judge_look(judge);
}


int
svw_judge_commission(svw_judge_t *judge, const svw_judge_commission_t *commission)
{
    int         changed;
    size_t      i;
    svw_key_t  *lot;

    changed = svw_facts_commission(&judge->facts, commission, &lot);

    if (changed < 0) {
        judge->failed = 1;
        return -1;
    }

    for (i = 0; i < judge->facts.n_clashed; i++) {
        judge->facts.clashed[i]->fact = 1;
        svw_judge_touch(judge, judge->facts.clashed[i], commission->time_ms, 1);
    }

    judge->facts.n_clashed = 0;

    if (changed & SVW_FACTS_MARKETS) {
        svw_judge_classify_all(judge, &lot->all, 0);
    }

    if (changed & SVW_FACTS_MADE) {
        lot->stale = lot->notable.n > 0;
        svw_judge_product(judge, commission->gtin);

        for (i = 0; i < commission->n_serials; i++) {
            svw_judge_commissioned(judge, lot, commission->gtin, commission->serials[i]);
        }
    }

    lot->fact = lot->lot->clash != NULL;
    svw_judge_touch(judge, lot, commission->time_ms, 1);

    return svw_judge_look(judge);
}


int
svw_judge_location(svw_judge_t *judge, const svw_judge_location_t *location)
{
    int         changed;
    svw_key_t  *site;

    changed = svw_facts_location(&judge->facts, location, &site);

    if (changed < 0) {
        judge->failed = 1;
        return -1;
    }

    if (changed > 0) {
        svw_judge_classify_all(judge, &site->all, 1);
    }

    return svw_judge_look(judge);
}


int
svw_judge_recall(svw_judge_t *judge, uint64_t gtin, sv_span_t lot, int64_t time_ms, svw_ref_t ref)
{
    svw_key_t  *key;

    if (svw_facts_recall(&judge->facts, gtin, lot, time_ms, ref, &key) < 0) {
        judge->failed = 1;
        return -1;
    }

    return 0;
}


int
svw_judge_settle(svw_judge_t *judge)
{
    int64_t     fresh;
    svw_key_t  *key;

    fresh = judge->say.fresh_ms;
    judge->say.fresh_ms = INT64_MAX;
    judge->settling = 1;

    while (judge->dirty != NULL && !judge->failed) {
        key = judge->dirty;
        svw_judge_touch(judge, key, key->from_ms, 1);
        svw_judge_clean(judge, key);
        (void) svw_judge_look(judge);
    }

    judge->settling = 0;
    judge->say.fresh_ms = fresh;

    return judge->failed ? -1 : 0;
}


svw_judge_size_t
svw_judge_size(const svw_judge_t *judge)
{
    svw_judge_size_t  size;

    size.scans = judge->evidence.all.n;
    size.serials = judge->evidence.table[SVW_KEY_SERIAL].n;
    size.lots = judge->evidence.table[SVW_KEY_LOT].n;
    size.sites = judge->evidence.table[SVW_KEY_SITE].n;
    size.clients = judge->evidence.table[SVW_KEY_CLIENT].n;
    size.commissioned = judge->facts.serials;

    return size;
}


/*
 * What time it is, by the scans.  One that is more than a day ahead of all others
 * has a wrong clock until another one, of somebody else, says so too: else all
 * that is remembered would be forgotten for it.
 */
static void
svw_judge_clock(svw_judge_t *judge, const svw_judge_scan_t *scan)
{
    uint64_t      actor;
    svw_hash_t    hash;
    svw_ahead_t  *ahead;

    ahead = &judge->ahead;

    if (judge->any && scan->time_ms <= judge->newest_ms + SVW_AHEAD_MS) {
        ahead->n = 0;

        if (scan->time_ms > judge->newest_ms) {
            judge->newest_ms = scan->time_ms;
            svw_judge_forget(judge);
        }

        return;
    }

    svw_hash_begin(&hash, judge->evidence.hash_key);
    svw_hash_span(&hash, scan->actor);
    svw_hash_span(&hash, scan->session);
    actor = svw_hash_end(&hash);

    if (ahead->n == 0) {
        ahead->actor = actor;
        ahead->time_ms = scan->time_ms;
    }

    ahead->time_ms = scan->time_ms < ahead->time_ms ? scan->time_ms : ahead->time_ms;
    ahead->n++;

    if (ahead->n > 1 && (actor != ahead->actor || ahead->n == SVW_AHEAD_MANY)) {
        ahead->n = 0;
        judge->any = 1;
        judge->newest_ms = ahead->time_ms;
        svw_judge_forget(judge);
    }
}


/*
 * What is still to be said of scans is said before they go: of keys that wait
 * since one of them, or since one of the next day, so that this is seldom.  Where
 * scans come all the time no key waits so long.
 */
static void
svw_judge_before(svw_judge_t *judge, int64_t horizon)
{
    unsigned    settling;
    svw_key_t  *key;

    if (judge->dirty == NULL || judge->waiting_ms >= horizon) {
        return;
    }

    settling = judge->settling;
    judge->settling = 1;

    for (key = judge->dirty; key != NULL; key = judge->failed ? NULL : key) {
        if (key->from_ms >= horizon + SVW_AHEAD_MS) {
            key = key->dirty_next;
            continue;
        }

        svw_judge_touch(judge, key, key->from_ms, 1);
        svw_judge_clean(judge, key);
        (void) svw_judge_look(judge);
        key = judge->dirty;
    }

    judge->settling = settling;
    judge->waiting_ms = INT64_MAX;

    for (key = judge->dirty; key != NULL; key = key->dirty_next) {
        judge->waiting_ms = key->from_ms < judge->waiting_ms ? key->from_ms : judge->waiting_ms;
    }
}


/* What is older than the windows goes; what was said of it stays said. */
static void
svw_judge_forget(svw_judge_t *judge)
{
    int64_t      horizon;
    unsigned     i;
    svw_key_t   *key[SVW_KEYS + 1];
    svw_node_t  *node;

    horizon = judge->newest_ms - svw_param_ms(judge->params, SVW_P_EVIDENCE_WINDOW)
              - svw_param_ms(judge->params, SVW_P_EVIDENCE_SETTLE);

    judge->say.fresh_ms = judge->newest_ms - svw_param_ms(judge->params, SVW_P_EVIDENCE_SETTLE);
    judge->say.part_ms = horizon + 2 * svw_param_ms(judge->params, SVW_P_EVIDENCE_SETTLE);
    svw_judge_before(judge, horizon);
    judge->say.horizon_ms = horizon;

    for ( ;; ) {
        node = svw_evidence_oldest(&judge->evidence, judge->say.horizon_ms);

        if (node == NULL) {
            return;
        }

        memcpy(key, node->key, sizeof(node->key));
        key[SVW_KEYS] = node->before;
        svw_evidence_drop(&judge->evidence, node);

        for (i = 0; i <= SVW_KEYS; i++) {
            if (key[i] == NULL || key[i]->all.n > 0) {
                continue;
            }

            svw_judge_clean(judge, key[i]);

            if (key[i]->lot == NULL) {
                svw_said_forget(key[i]);
            }

            svw_key_tidy(&judge->evidence, key[i]);
        }
    }
}


static void
svw_judge_touch(svw_judge_t *judge, svw_key_t *key, int64_t time_ms, int notable)
{
    if (key == NULL) {
        return;
    }

    if (!key->marked && !key->dirty) {
        key->from_ms = time_ms;
        key->to_ms = time_ms;
    }

    key->from_ms = time_ms < key->from_ms ? time_ms : key->from_ms;
    judge->waiting_ms = key->dirty && key->from_ms < judge->waiting_ms ? key->from_ms : judge->waiting_ms;
    key->to_ms = time_ms > key->to_ms ? time_ms : key->to_ms;
    key->noted |= notable != 0;
    key->since[0] += notable || key->kind != SVW_KEY_LOT;
    key->since[1] += notable != 0;

    if (!key->marked) {
        key->marked = 1;
        key->mark_next = judge->marked[key->kind];
        judge->marked[key->kind] = key;
    }
}


static void
svw_judge_touch_node(svw_judge_t *judge, const svw_node_t *node, int notable)
{
    unsigned  i;

    for (i = 0; i < SVW_KEYS; i++) {
        svw_judge_touch(judge, node->key[i], node->time_ms, notable);
    }
}


static void
svw_judge_classify(svw_judge_t *judge, svw_node_t *node)
{
    unsigned  before, class;

    before = node->class;
    class = svw_class(&judge->facts, node);

    if (class == before) {
        return;
    }

    if (svw_evidence_class(&judge->evidence, node, class) != 0) {
        judge->failed = 1;
    }

    svw_judge_explain(judge, node);
    svw_judge_touch_node(judge, node, (class | before) & SVW_NOTABLE);
}


/* A fact has changed: all it touches is looked at anew. */
static void
svw_judge_classify_all(svw_judge_t *judge, const svw_list_t *list, int serials)
{
    svw_node_t    *node;
    svw_cursor_t   cursor;

    for (node = svw_list_begin(list, &cursor); node != NULL; node = svw_cursor_next(&cursor)) {
        svw_judge_classify(judge, node);

        if (serials) {
            svw_judge_touch_node(judge, node, node->class & SVW_NOTABLE);

        } else {
            svw_judge_touch(judge, node->key[SVW_KEY_SITE], node->time_ms, 0);
        }
    }
}


/* Scans of the same serial just after it may be its previews. */
static void
svw_judge_neighbours(svw_judge_t *judge, const svw_node_t *node)
{
    unsigned       n;
    int64_t        until;
    svw_node_t    *other;
    svw_cursor_t   cursor;

    if (node->key[SVW_KEY_SERIAL] == NULL || node->key[SVW_KEY_SERIAL]->all.n < 2 || !svw_node_consumer(node)) {
        return;
    }

    until = node->time_ms + svw_param_ms(judge->params, SVW_P_SHARED_WITHIN);
    other = svw_list_seek(&node->key[SVW_KEY_SERIAL]->all, node->time_ms, &cursor);

    for (n = 0; other != NULL && n < 64 && other->time_ms <= until; other = svw_cursor_next(&cursor), n++) {
        if (other != node) {
            svw_judge_classify(judge, other);
        }
    }
}


static void
svw_judge_explain(svw_judge_t *judge, svw_node_t *node)
{
    svw_why_t  why;

    why = node->class & SVW_MISS ? svw_explain(&judge->facts, node) : SVW_WHY_NONE;
    node->known = judge->facts.records;

    if (why != node->why) {
        node->why = why;
        svw_judge_touch_node(judge, node, 1);
    }
}


/*
 * The right scan explains the wrong ones around it, of its site or session:
 * those nearest in time.  And one that comes in between, right or wrong, may be
 * nearer than what explained a miss until now.
 */
static void
svw_judge_echoes(svw_judge_t *judge, const svw_node_t *node)
{
    int64_t        within;
    svw_key_t     *actor;
    svw_node_t    *miss;
    svw_near_t     near;
    svw_cursor_t   cursor;

    actor = svw_node_actor(node);
    within = svw_param_ms(judge->params, SVW_P_ECHO_WITHIN);

    if (actor == NULL || actor->notable.n == 0) {
        return;
    }

    miss = svw_list_seek(&actor->notable, node->time_ms - within, &cursor);

    if (miss == NULL || miss->time_ms > node->time_ms + within) {
        return;
    }

    svw_near_begin(&near, actor, node, within);

    while ((miss = svw_near_next(&near)) != NULL) {
        if (miss->class & SVW_MISS && miss->why == SVW_WHY_ECHO) {
            svw_judge_explain(judge, miss);

        } else if (miss->class & SVW_MISS && miss->why == SVW_WHY_NONE && svw_explains(node) && svw_echoes(miss, node)) {
            miss->why = SVW_WHY_ECHO;
            svw_judge_touch_node(judge, miss, 1);
        }
    }
}


/* Misses of what is commissioned now are explained; a scan that named no lot has one. */
static void
svw_judge_commissioned(svw_judge_t *judge, svw_key_t *lot, uint64_t gtin, sv_span_t serial)
{
    svw_key_t     *key;
    svw_node_t    *node;
    svw_cursor_t   cursor;

    key = svw_key_find(&judge->evidence, SVW_KEY_SERIAL, gtin, serial);

    if (key == NULL) {
        return;
    }

    for (node = svw_list_begin(&key->all, &cursor); node != NULL; node = svw_cursor_next(&cursor)) {
        if (node->key[SVW_KEY_LOT] == NULL) {
            if (svw_evidence_lot(&judge->evidence, node, lot) != 0) {
                judge->failed = 1;
            }

            svw_judge_classify(judge, node);
        }

        if (node->class & SVW_MISS) {
            svw_judge_explain(judge, node);
        }
    }
}


/* Sites first: whether their records are believed says what their scans are. */
static int
svw_judge_look(svw_judge_t *judge)
{
    unsigned    i;
    svw_key_t  *key;

    static const svw_key_kind_t  order[SVW_KEYS + 1] = { SVW_KEY_PRODUCT, SVW_KEY_SITE, SVW_KEY_SERIAL, SVW_KEY_CLIENT, SVW_KEY_LOT };

    for (i = 0; i <= SVW_KEYS; ) {
        key = judge->marked[order[i]];

        if (key == NULL) {
            i++;
            continue;
        }

        judge->marked[order[i]] = key->mark_next;
        key->marked = 0;
        svw_judge_key(judge, key);

        i = 0;
    }

    judge->failed |= judge->say.failed;

    return judge->failed ? -1 : 0;
}


static void
svw_judge_key(svw_judge_t *judge, svw_key_t *key)
{
    int                    done[2];     /* all of the rules on all scans, on what is notable */
    unsigned               i;
    const svw_rule_row_t  *row;

    if (!key->noted && svw_judge_later(judge, key)) {
        svw_judge_dirty(judge, key);
        return;
    }

    if (key->stale && (key->kind == SVW_KEY_PRODUCT ? judge->settling : svw_judge_due(judge, key, &key->notable))) {
        svw_judge_stale(judge, key);
    }

    done[0] = key->kind != SVW_KEY_SITE || svw_judge_site(judge, key);
    done[1] = !key->stale;

    judge->say.waits_ms = INT64_MAX;

    for (i = 0; i < svw_rule_rows_n; i++) {
        row = &svw_rule_rows[i];

        if (row->kind == key->kind && svw_rule_enabled(judge->params, row->rule) && (!row->notable || row->any || key->noted)
            && (!row->facts || key->fact))
        {
            done[row->notable] &= svw_judge_row(judge, key, row);
        }
    }

    key->fact = 0;
    key->since[0] = done[0] ? 0 : key->since[0];
    key->since[1] = done[1] ? 0 : key->since[1];
    key->noted = key->noted && !done[1];

    if (done[0] && done[1] && judge->say.waits_ms == INT64_MAX) {
        svw_judge_clean(judge, key);
        return;
    }

    if (done[0] && done[1]) {
        key->from_ms = judge->say.waits_ms;

    } else if (key->kind != SVW_KEY_SITE) {
        svw_judge_since(judge, key);
    }

    svw_judge_dirty(judge, key);
    judge->waiting_ms = key->from_ms < judge->waiting_ms ? key->from_ms : judge->waiting_ms;
}


/* What was said of a key that waits is put right before the first of its scans is forgotten: then it stays said. */
static void
svw_judge_since(const svw_judge_t *judge, svw_key_t *key)
{
    const svw_said_t  *said;

    for (said = key->said; said != NULL; said = said->next) {
        if (said->first_ms >= judge->say.horizon_ms && said->first_ms < key->from_ms) {
            key->from_ms = said->first_ms;
        }
    }
}


/*
 * Of a lot or a site, all that is right changes little: how many there are, beside
 * what is notable.  That is looked at with the next that is notable, or at the end.
 */
static int
svw_judge_later(const svw_judge_t *judge, const svw_key_t *key)
{
    return (key->kind == SVW_KEY_LOT || (key->kind == SVW_KEY_SITE && (key->site == NULL || !key->site->doubt)))
           && key->notable.n > 0 && !judge->settling;
}


/*
 * More of the lot or of the product is commissioned: what nothing explained may be
 * explained now.  And what was taken for uploaded late while nobody had told the
 * lot's serials is not one of those that are told now.
 */
static void
svw_judge_stale(svw_judge_t *judge, svw_key_t *key)
{
    svw_node_t    *node;
    svw_cursor_t   cursor;

    key->stale = 0;

    for (node = svw_list_begin(&key->notable, &cursor); node != NULL; node = svw_cursor_next(&cursor)) {
        if (node->class & SVW_MISS && (key->kind != SVW_KEY_PRODUCT || node->known < key->known)) {
            svw_judge_explain(judge, node);
        }
    }
}


/*
 * A miss resembles what is commissioned whatever lot it names, or if it names none.
 * That is seldom and long to find out: it is done when all else is said, and before
 * the first of them is forgotten.
 */
static void
svw_judge_product(svw_judge_t *judge, uint64_t gtin)
{
    svw_key_t  *product;

    product = svw_key_find(&judge->evidence, SVW_KEY_PRODUCT, gtin, (sv_span_t) {NULL, 0});

    if (product != NULL && product->notable.n > 0) {
        product->stale = 1;
        product->known = judge->facts.records;
        svw_judge_touch(judge, product, svw_list_first(&product->notable)->time_ms, 1);
    }
}


/* Whether its location record is believed changes what all its scans are. */
static int
svw_judge_site(svw_judge_t *judge, svw_key_t *key)
{
    unsigned  doubt;

    if (key->site == NULL) {
        return 1;
    }

    if (!svw_judge_due(judge, key, &key->all)) {
        return 0;
    }

    doubt = svw_site_doubt(&judge->facts, key);

    if (doubt != key->site->doubt) {
        key->site->doubt = doubt;
        svw_judge_classify_all(judge, &key->all, 1);
    }

    return 1;
}


/* 0: not yet, there are too many scans for too little that is new */
static int
svw_judge_row(svw_judge_t *judge, svw_key_t *key, const svw_rule_row_t *row)
{
    svw_view_t         view;
    const svw_list_t  *list;

    list = row->notable ? &key->notable : &key->all;

    if (list->n == 0 && key->said == NULL && !row->facts) {
        return 1;
    }

    view.params = judge->params;
    view.facts = &judge->facts;
    view.key = key;
    view.list = list;
    view.from_ms = INT64_MIN;
    view.to_ms = INT64_MAX;

    if (row->gap != SVW_P_MAX) {
        return svw_judge_parts(judge, &view, row, svw_param_ms(judge->params, row->gap));
    }

    if (!row->facts && !svw_judge_due(judge, key, list)) {
        return 0;
    }

    svw_said_begin(&judge->say, row, &view);
    row->find(&view, &judge->say);
    svw_said_end(&judge->say);

    return 1;
}


/* The parts of a list that what has changed may belong to: a part ends where nothing follows for `gap'. */
static int
svw_judge_parts(svw_judge_t *judge, svw_view_t *view, const svw_rule_row_t *row, int64_t gap)
{
    size_t             n;
    int64_t            from, to;
    svw_view_t         part;
    svw_cursor_t       cursor;
    const svw_node_t  *node;

    from = view->key->from_ms - gap;
    to = view->key->to_ms + gap;

    (void) svw_list_seek(view->list, from, &cursor);

    for (n = 0, node = svw_cursor_prev(&cursor); node != NULL && from - node->time_ms <= gap; node = svw_cursor_prev(&cursor)) {
        from = node->time_ms;

        if (++n > SVW_EAGER && !svw_judge_due(judge, view->key, view->list)) {
            return 0;
        }
    }

    part = *view;
    part.to_ms = to;
    view->from_ms = from;
    node = svw_list_seek(view->list, from, &cursor);

    for (n = 0; node != NULL && (node->time_ms <= to || node->time_ms - part.to_ms <= gap); node = svw_cursor_next(&cursor)) {
        part.to_ms = node->time_ms;

        if (++n > SVW_EAGER && !svw_judge_due(judge, view->key, view->list)) {
            return 0;
        }
    }

    view->to_ms = n > 0 && part.to_ms > to ? part.to_ms : to;
    svw_said_begin(&judge->say, row, view);
    node = svw_list_seek(view->list, from, &cursor);

    while (node != NULL && node->time_ms <= view->to_ms) {
        part.from_ms = node->time_ms;
        part.to_ms = node->time_ms;

        for (node = svw_cursor_next(&cursor); node != NULL && node->time_ms - part.to_ms <= gap; node = svw_cursor_next(&cursor)) {
            part.to_ms = node->time_ms;
        }

        row->find(&part, &judge->say);
    }

    svw_said_end(&judge->say);

    return 1;
}


/*
 * Few scans are looked at each time, more when a 16th of them is new, many when a
 * quarter is, or as many again: all in all a scan is looked at some dozens of times.
 */
static int
svw_judge_due(const svw_judge_t *judge, const svw_key_t *key, const svw_list_t *list)
{
    size_t    n;
    unsigned  share;

    n = list->n;
    share = n <= 4096 ? 16 : n <= 65536 ? 4 : 1;

    return n <= SVW_EAGER || judge->settling || (size_t) key->since[list == &key->notable] * share >= n;
}


static void
svw_judge_dirty(svw_judge_t *judge, svw_key_t *key)
{
    if (key->dirty) {
        return;
    }

    judge->waiting_ms = judge->dirty == NULL || key->from_ms < judge->waiting_ms ? key->from_ms : judge->waiting_ms;
    key->dirty = 1;
    key->dirty_prev = NULL;
    key->dirty_next = judge->dirty;

    if (judge->dirty != NULL) {
        judge->dirty->dirty_prev = key;
    }

    judge->dirty = key;
}


static void
svw_judge_clean(svw_judge_t *judge, svw_key_t *key)
{
    if (!key->dirty) {
        return;
    }

    if (key->dirty_prev != NULL) {
        key->dirty_prev->dirty_next = key->dirty_next;
    } else {
        judge->dirty = key->dirty_next;
    }

    if (key->dirty_next != NULL) {
        key->dirty_next->dirty_prev = key->dirty_prev;
    }

    key->dirty = 0;
}
