/*
 * The rules are asked about the keys that were touched: at once where there are
 * few scans, now and then where there are many, and at the end.
 */

#include "svw_judge_in.h"


#define SVW_EAGER  128                  /* so many scans are looked at each time; see svw_judge_due */


static void svw_judge_key(svw_judge_t *judge, svw_key_t *key);
static void svw_judge_wait(svw_judge_t *judge, svw_key_t *key);
static int svw_judge_later(const svw_judge_t *judge, const svw_key_t *key);
static void svw_judge_stale(svw_judge_t *judge, svw_key_t *key);
static int svw_judge_site(svw_judge_t *judge, svw_key_t *key);
static int svw_judge_row(svw_judge_t *judge, svw_key_t *key, const svw_rule_row_t *row);
static void svw_judge_windows(svw_judge_t *judge, svw_view_t *view, const svw_rule_row_t *row);
static const svw_node_t *svw_judge_window(const svw_view_t *view, const svw_node_t *last, int64_t window);
static int svw_judge_parts(svw_judge_t *judge, svw_view_t *view, const svw_rule_row_t *row, int64_t gap);
static int svw_judge_due(const svw_judge_t *judge, const svw_key_t *key, const svw_list_t *list);
static void svw_judge_dirty(svw_judge_t *judge, svw_key_t *key);


/* Sites first: whether their records are believed says what their scans are. */
int
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
        svw_judge_wait(judge, key);
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
        key->due_ms = key->from_ms + svw_param_ms(judge->params, SVW_P_EVIDENCE_SETTLE) + SVW_SLACK_MS / 4;
        svw_judge_dirty(judge, key);
        return;
    }

    svw_judge_wait(judge, key);
}


/* It is looked at before the first of the scans is forgotten that what has changed is judged with. */
static void
svw_judge_wait(svw_judge_t *judge, svw_key_t *key)
{
    int64_t            window, first_ms;
    svw_cursor_t       cursor;
    const svw_node_t  *node;

    if (key->dirty) {
        return;
    }

    window = svw_param_ms(judge->params, SVW_P_EVIDENCE_WINDOW);
    node = svw_list_seek(key->kind == SVW_KEY_LOT || key->kind == SVW_KEY_PRODUCT ? &key->notable : &key->all,
                         key->from_ms - window, &cursor);
    first_ms = node != NULL && node->time_ms < key->from_ms ? node->time_ms : key->from_ms;
    key->due_ms = first_ms + window + svw_param_ms(judge->params, SVW_P_EVIDENCE_SETTLE) + SVW_SLACK_MS / 2;
    svw_judge_dirty(judge, key);
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
void
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

    if (row->facts) {
        row->find(&view, &judge->say);
    } else {
        svw_judge_windows(judge, &view, row);
    }

    svw_said_end(&judge->say, &view);

    return 1;
}


/*
 * The rule is asked about each window that ends with a scan since what has
 * changed, but not about one that is a part of the next.  That is nearly always
 * one window, and all there is.  Of long lists fewer are looked at.
 */
static void
svw_judge_windows(svw_judge_t *judge, svw_view_t *view, const svw_rule_row_t *row)
{
    int64_t            window, until;
    svw_view_t         part;
    svw_cursor_t       cursor;
    const svw_node_t  *last, *next, *first;

    window = svw_param_ms(judge->params, SVW_P_EVIDENCE_WINDOW);
    first = svw_list_first(view->list);
    last = svw_list_last(view->list);

    if (first == NULL || last->time_ms - first->time_ms <= window) {
        row->find(view, &judge->say);
        return;
    }

    part = *view;
    next = svw_list_seek(view->list, view->key->from_ms, &cursor);
    next = next == NULL ? last : next;
    (void) svw_list_seek(view->list, next->time_ms, &cursor);
    view->from_ms = next->time_ms - window;

    while (next != NULL) {
        last = next;
        first = svw_judge_window(view, last, window);
        until = view->list->n <= SVW_EAGER ? INT64_MIN : last->time_ms + window / 16;

        for (next = svw_cursor_next(&cursor); next != NULL; next = svw_cursor_next(&cursor)) {
            if (next->time_ms > until && svw_judge_window(view, next, window) != first) {
                break;
            }

            last = next;
        }

        part.from_ms = last->time_ms - window;
        part.to_ms = next == NULL ? INT64_MAX : last->time_ms;
        judge->say.view = &part;
        row->find(&part, &judge->say);
    }
}


/* the first scan of the window that ends with this one */
static const svw_node_t *
svw_judge_window(const svw_view_t *view, const svw_node_t *last, int64_t window)
{
    svw_cursor_t  cursor;

    return svw_list_seek(view->list, last->time_ms - window, &cursor);
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

        /* what is left of a part is not one: what was said of it stays said */
        if (part.from_ms - gap < judge->say.horizon_ms
            && part.to_ms < judge->newest_ms - svw_param_ms(judge->params, SVW_P_EVIDENCE_WINDOW))
        {
            svw_said_keep(&judge->say, &part);
            continue;
        }

        row->find(&part, &judge->say);
    }

    svw_said_end(&judge->say, view);

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
    judge->waiting_ms = judge->dirty == NULL || key->due_ms < judge->waiting_ms ? key->due_ms : judge->waiting_ms;

    if (key->dirty) {
        return;
    }

    key->dirty = 1;
    key->dirty_prev = NULL;
    key->dirty_next = judge->dirty;

    if (judge->dirty != NULL) {
        judge->dirty->dirty_prev = key;
    }

    judge->dirty = key;
}


void
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
