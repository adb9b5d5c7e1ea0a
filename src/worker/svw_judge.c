#include "svw_judge_in.h"

#include <stdlib.h>


#define SVW_AHEAD_MS    (INT64_C(24) * 3600 * 1000)
#define SVW_AHEAD_MANY  8               /* so many of one actor are believed */


static void svw_judge_clock(svw_judge_t *judge, const svw_judge_scan_t *scan);
static void svw_judge_before(svw_judge_t *judge);
static void svw_judge_forget(svw_judge_t *judge);
static void svw_judge_touch_node(svw_judge_t *judge, const svw_node_t *node, int notable);
static void svw_judge_classify(svw_judge_t *judge, svw_node_t *node);
static void svw_judge_neighbours(svw_judge_t *judge, const svw_node_t *node);
static void svw_judge_echoes(svw_judge_t *judge, const svw_node_t *node);
static void svw_judge_commissioned(svw_judge_t *judge, svw_key_t *lot, uint64_t gtin, sv_span_t serial);


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


int64_t
svw_judge_memory_ms(const svw_params_t *params)
{
    return svw_param_ms(params, SVW_P_EVIDENCE_WINDOW) + svw_param_ms(params, SVW_P_EVIDENCE_SETTLE) + SVW_SLACK_MS;
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

    if (changed & SVW_FACTS_WAY) {
        svw_judge_classify_all(judge, &lot->all, 1);
    }

    if (changed & SVW_FACTS_MADE) {
        lot->stale = lot->notable.n > 0;
        svw_judge_product(judge, commission->gtin);
    }

    for (i = 0; changed & (SVW_FACTS_MADE | SVW_FACTS_RECORD) && i < commission->n_serials; i++) {
        svw_judge_commissioned(judge, lot, commission->gtin, commission->serials[i]);
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
 * What is still to be said of scans is said before they go: of keys that are due,
 * or will be within hours, so that this is seldom.
 */
static void
svw_judge_before(svw_judge_t *judge)
{
    unsigned    settling;
    svw_key_t  *key, *next;

    if (judge->dirty == NULL || judge->waiting_ms > judge->newest_ms) {
        return;
    }

    for (key = judge->dirty; key != NULL; key = next) {
        next = key->dirty_next;

        if (key->due_ms <= judge->newest_ms + SVW_SLACK_MS / 8) {
            svw_judge_touch(judge, key, key->from_ms, 1);
            svw_judge_clean(judge, key);
        }
    }

    settling = judge->settling;
    judge->settling = 1;
    (void) svw_judge_look(judge);
    judge->settling = settling;
    judge->waiting_ms = INT64_MAX;

    for (key = judge->dirty; key != NULL; key = key->dirty_next) {
        judge->waiting_ms = key->due_ms < judge->waiting_ms ? key->due_ms : judge->waiting_ms;
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

    horizon = judge->newest_ms - svw_judge_memory_ms(judge->params);

    judge->say.fresh_ms = judge->newest_ms - svw_param_ms(judge->params, SVW_P_EVIDENCE_SETTLE);
    judge->say.part_ms = judge->newest_ms - svw_param_ms(judge->params, SVW_P_EVIDENCE_WINDOW)
                         + svw_param_ms(judge->params, SVW_P_EVIDENCE_SETTLE);
    svw_judge_before(judge);
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


void
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
void
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


void
svw_judge_explain(svw_judge_t *judge, svw_node_t *node)
{
    svw_why_t  why;

    why = node->class & SVW_MISS ? svw_explain(&judge->facts, node) : SVW_WHY_NONE;
    node->known = judge->facts.records;

    /* what explained it may be forgotten by now */
    if (why == SVW_WHY_NONE && node->why == SVW_WHY_ECHO && node->class & SVW_MISS
        && node->time_ms - svw_param_ms(judge->params, SVW_P_ECHO_WITHIN) < judge->say.horizon_ms)
    {
        return;
    }

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


/* Misses of what is commissioned now are explained; a scan that named no lot has one; its record is evidence of all that is said. */
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

        svw_judge_touch_node(judge, node, 1);
    }
}
