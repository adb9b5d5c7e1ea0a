#include "svw_miss.h"

#include <inttypes.h>
#include <stdio.h>


#define SVW_LAST  64                    /* most that lot_burst.scans can ask for */


static int svw_miss_unfound(svw_miss_t miss);


svw_miss_t
svw_miss(const svw_node_t *node)
{
    const svw_key_t  *lot;

    if (!(node->class & SVW_MISS) || node->reason == SV_REASON_PRODUCT_UNKNOWN) {
        return SVW_MISS_NOT;
    }

    switch (node->why) {

    case SVW_WHY_UPLOAD:
        return SVW_MISS_LATE;

    case SVW_WHY_NONE:
        break;

    default:
        return SVW_MISS_SETTING;
    }

    if (node->reason == SV_REASON_EXPIRY_MISMATCH) {
        return SVW_MISS_EXPIRY;
    }

    lot = node->key[SVW_KEY_LOT];

    if (node->reason == SV_REASON_LOT_UNKNOWN && (lot == NULL || lot->lot == NULL || lot->lot->n_made == 0)) {
        return SVW_MISS_LOT;
    }

    return SVW_MISS_SERIAL;
}


const svw_made_t *
svw_miss_made(const svw_facts_t *facts, const svw_node_t *node)
{
    const svw_key_t   *serial, *lot;
    const svw_made_t  *made;

    serial = node->key[SVW_KEY_SERIAL];
    lot = node->key[SVW_KEY_LOT];
    made = serial != NULL ? svw_facts_serial(facts, node->gtin, svw_key_span(serial)) : NULL;

    if (made == NULL && lot != NULL && lot->lot != NULL && lot->lot->n_made > 0) {
        made = svw_facts_made(facts, lot->lot->made[0]);
    }

    return made;
}


void
svw_miss_say_record(const svw_view_t *view, svw_say_t *say, const svw_node_t *node)
{
    const svw_key_t     *serial;
    const svw_made_t    *made;
    const svw_record_t  *record;

    serial = node->key[SVW_KEY_SERIAL];
    made = svw_miss_made(view->facts, node);
    record = made != NULL && serial != NULL ? svw_facts_record(view->facts, node->gtin, svw_key_span(serial), made) : NULL;

    if (record != NULL) {
        svw_say_fact(say, record->ref, record->time_ms);

    } else if (made != NULL) {
        svw_say_fact(say, made->first.ref, made->first.time_ms);
    }
}


void
svw_few_add(svw_few_t *few, const svw_key_t *key)
{
    unsigned  i;

    if (key == NULL || few->n == SVW_FEW) {
        return;
    }

    for (i = 0; i < few->n; i++) {
        if (few->key[i] == key) {
            return;
        }
    }

    few->key[few->n++] = key;
}


int
svw_few_has(const svw_few_t *few, const svw_key_t *key)
{
    unsigned  i;

    for (i = 0; i < few->n && few->key[i] != key; i++) { /* void */ }

    return i < few->n;
}


void
svw_miss_who(svw_miss_who_t *who, const svw_node_t *node)
{
    who->n++;

    if (svw_node_consumer(node)) {

        /* the same code, looked at by whom it was sent to */
        if (node->class & SVW_SHARED) {
            return;
        }

        svw_few_add(&who->sessions, node->key[SVW_KEY_CLIENT]);
        svw_few_add(&who->seen, node->key[SVW_KEY_SERIAL]);
        return;
    }

    svw_few_add(&who->sites, node->key[SVW_KEY_SITE]);

    if (node->entry == SVW_ENTRY_MANUAL) {
        svw_few_add(&who->manual, node->key[SVW_KEY_SERIAL]);
    } else {
        who->scanned++;
    }
}


/* What a machine read is printed so. What was typed may be anything, and a consumer may look at anything. */
svw_weight_t
svw_miss_weight(const svw_view_t *view, const svw_miss_who_t *who, svw_miss_t kind)
{
    double  sessions;

    sessions = svw_param(view->params, kind == SVW_MISS_EXPIRY ? SVW_P_MISS_EXPIRY_SESSIONS : SVW_P_MISS_SESSIONS);

    if (who->scanned > 0 || who->manual.n >= svw_param(view->params, SVW_P_MISS_TYPED)
        || (who->sessions.n >= sessions && who->seen.n >= sessions))
    {
        return SVW_WEIGHT_ASKS;
    }

    return SVW_WEIGHT_INFO;
}


void
svw_miss_apart(const svw_view_t *view, svw_say_t *say, const char *word, char buf[SVW_MISS_APART])
{
    snprintf(buf, SVW_MISS_APART, "%.16s %" PRId64, word, view->from_ms);
    svw_say_apart(say, (sv_span_t) { (const uint8_t *) buf, strlen(buf) });
}


/* At each scan the last ones are looked at, no more of them than are enough. */
int
svw_miss_upload(const svw_view_t *view)
{
    int64_t            within;
    svw_few_t          sites;
    unsigned           n, i, enough;
    svw_cursor_t       cursor;
    const svw_node_t  *node, *last[SVW_LAST];

    within = svw_param_ms(view->params, SVW_P_LOT_BURST_WITHIN);
    enough = (unsigned) svw_param(view->params, SVW_P_LOT_BURST_SCANS);
    n = 0;

    for (node = svw_view_first(view, &cursor); node != NULL; node = svw_view_next(view, &cursor)) {
        if (!svw_miss_unfound(svw_miss(node))) {
            continue;
        }

        last[n++ % SVW_LAST] = node;
        sites.n = 0;

        for (i = 1; i <= n && i <= enough && node->time_ms - last[(n - i) % SVW_LAST]->time_ms <= within; i++) {
            svw_few_add(&sites, last[(n - i) % SVW_LAST]->key[SVW_KEY_SITE]);
        }

        if (i > enough || sites.n >= svw_param(view->params, SVW_P_LOT_BURST_SITES)) {
            return 1;
        }
    }

    return 0;
}


static int
svw_miss_unfound(svw_miss_t miss)
{
    return miss == SVW_MISS_LATE || miss == SVW_MISS_LOT;
}
