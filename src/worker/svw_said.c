#include "svw_said.h"

#include <stdlib.h>


static void svw_say_identity(svw_say_t *say);
static svw_said_t *svw_say_before(const svw_say_t *say);
static int64_t svw_say_cut(const svw_say_t *say);
static int svw_say_old(svw_say_t *say, const svw_said_t *said);
static svw_said_t *svw_said_new(svw_say_t *say);
static uint64_t svw_say_digest(const svw_say_t *say);


void
svw_say_end(svw_say_t *say)
{
    int64_t      cut;
    svw_said_t  *said;

    svw_say_identity(say);
    said = svw_say_before(say);
    cut = svw_say_cut(say);


    if (said != NULL && !svw_say_old(say, said)) {
        said->again = 1;
        return;
    }

    if (svw_say_gather(say) != 0) {
        return;
    }

    /* all it was said of has left the window, long before: this is another one */
    if (said != NULL && said->last_ms < cut
        && say->finding.first_ms - said->last_ms > svw_param_ms(say->view->params, SVW_P_CASE_APART))
    {
        said->digest = 0;
        said->first_ms = INT64_MAX;
    }

    if (said == NULL) {
        said = svw_said_new(say);

        if (said == NULL) {
            return;
        }

    } else if (said->digest == svw_say_digest(say)
               || (said->first_ms < cut && say->finding.weight < said->weight))
    {
        /* the same; or less, of what is left of the scans that it was said of */

        said->again = 1;
        return;
    }

    if (said->digest != 0 && said->first_ms < cut) {
        say->finding.partial = 1;
    } else {
        said->first_ms = say->finding.first_ms;
        said->last_ms = say->finding.last_ms;
    }

    /* what is added to reaches as far as it did: cases take it for another one by the same times */
    said->digest = svw_say_digest(say);
    said->last_ms = say->finding.last_ms > said->last_ms ? say->finding.last_ms : said->last_ms;
    said->weight = say->finding.weight;
    said->again = 1;

    say->found(say->data, &say->finding);
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
 * What was said of what was looked at and is not said again is withdrawn, unless
 * scans it rests on are forgotten or were left out: nobody can tell any more.
 */
void
svw_said_end(svw_say_t *say, const svw_view_t *view)
{
    int64_t         cut;
    svw_said_t    **p, *said;
    svw_finding_t   finding;

    say->view = view;
    cut = svw_say_cut(say);

    for (p = &say->view->key->said; *p != NULL; ) {
        said = *p;

        if (said->rule != say->row->rule || said->again || said->first_ms > say->view->to_ms
            || (said->first_ms < cut && said->last_ms >= say->horizon_ms))
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
svw_said_keep(svw_say_t *say, const svw_view_t *part)
{
    svw_said_t  *said;

    for (said = part->key->said; said != NULL; said = said->next) {
        said->again |= said->rule == say->row->rule && said->first_ms <= part->to_ms && said->last_ms >= part->from_ms;
    }
}


int64_t
svw_said_until(const svw_view_t *view, svw_rule_id_t rule)
{
    int64_t            until;
    svw_cursor_t       cursor;
    const svw_said_t  *said;
    const svw_node_t  *first;

    first = svw_view_first(view, &cursor);
    until = INT64_MIN;

    for (said = view->key->said; first != NULL && said != NULL; said = said->next) {
        if (said->rule == rule && said->first_ms < first->time_ms && said->last_ms > until) {
            until = said->last_ms;
        }
    }

    return until;
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


/* Scans before this are forgotten, or not of the window: what rests on them can only be added to. */
static int64_t
svw_say_cut(const svw_say_t *say)
{
    return say->view->from_ms > say->horizon_ms ? say->view->from_ms : say->horizon_ms;
}


/*
 * What rests on scans that have left the window can only be added to, not taken back.  So
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


static svw_said_t *
svw_said_new(svw_say_t *say)
{
    svw_said_t  *said;

    said = calloc(1, sizeof(svw_said_t));

    if (said == NULL) {
        say->failed = 1;
        return NULL;
    }

    memcpy(said->id, say->finding.id, sizeof(said->id));
    said->rule = say->finding.rule;
    said->next = say->view->key->said;
    say->view->key->said = said;

    return said;
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
