#include "svw_case_in.h"
#include "svw_sort.h"

#include <stdlib.h>


#define SVW_KEPT_LEAST  1024


static svw_kept_t *svw_kept_find(const svw_cases_t *cases, const uint8_t id[16]);
static int svw_kept_grow(svw_cases_t *cases);
static size_t svw_kept_slot(const svw_cases_t *cases, const uint8_t id[16]);
static svw_kept_t *svw_kept_new(svw_cases_t *cases, const svw_finding_t *finding, svw_ref_t now);
static int svw_kept_same(const svw_kept_t *kept, const svw_finding_t *finding);
static int svw_kept_copy(svw_kept_t *kept, const svw_finding_t *finding, const svw_finding_t *also);
static size_t svw_kept_spans(sv_span_t *to, const sv_span_t *a, size_t n, const sv_span_t *b, size_t m, uint8_t **text);
static size_t svw_kept_refs(svw_ref_t *to, const svw_finding_t *a, const svw_finding_t *b);
static size_t svw_spans_size(const sv_span_t *spans, size_t n);


const char *const  svw_severity_words[] = { "info", "low", "medium", "high", "critical" };
const char *const  svw_weight_words[] = { "info", "explained", "asks" };


svw_cases_t *
svw_cases_create(const svw_params_t *params)
{
    svw_cases_t  *cases;

    cases = calloc(1, sizeof(svw_cases_t));

    if (cases == NULL) {
        return NULL;
    }

    cases->params = params;
    cases->mask = SVW_KEPT_LEAST - 1;
    cases->slot = calloc(SVW_KEPT_LEAST, sizeof(svw_kept_t *));

    if (cases->slot == NULL || svw_live_init(cases) != 0) {
        svw_cases_destroy(cases);
        return NULL;
    }

    return cases;
}


void
svw_cases_destroy(svw_cases_t *cases)
{
    svw_kept_t  *kept;

    if (cases == NULL) {
        return;
    }

    svw_live_done(cases);

    while (cases->all != NULL) {
        kept = cases->all;
        cases->all = kept->all_next;
        free(kept->memory);
        free(kept);
    }

    free(cases->slot);
    free(cases);
}


int
svw_cases_keep(svw_cases_t *cases, const svw_finding_t *finding, svw_ref_t now)
{
    int  changed;

    return svw_kept_put(cases, finding, now, &changed) == NULL && (cases->failed || !finding->withdrawn) ? -1 : 0;
}


int
svw_cases_failed(const svw_cases_t *cases)
{
    return cases->failed;
}


size_t
svw_finding_countries(const svw_finding_t *finding, char (*code)[3], size_t room)
{
    size_t            i, j, n;
    char              one[3] = { 0 };
    const sv_span_t  *key;

    for (i = 0, n = 0; i < finding->n_keys && n < room; i++) {
        key = &finding->keys[i];

        if (key->len < 4 || key->data[0] != 'm') {
            continue;
        }

        memcpy(one, &key->data[key->len - 2], 2);

        for (j = 0; j < n && memcmp(code[j], one, 3) != 0; j++) { /* void */ }

        if (j == n) {
            memcpy(code[n++], one, 3);
        }
    }

    return n;
}


int
svw_finding_above(const svw_finding_t *a, const svw_finding_t *b)
{
    if (a->withdrawn != b->withdrawn) {
        return b->withdrawn;
    }

    if (a->weight != b->weight) {
        return a->weight > b->weight;
    }

    if (a->severity != b->severity) {
        return a->severity > b->severity;
    }

    if (a->rule != b->rule) {
        return svw_rules_about[a->rule].rank < svw_rules_about[b->rule].rank;
    }

    if (a->first_ms != b->first_ms) {
        return a->first_ms < b->first_ms;
    }

    return memcmp(a->id, b->id, 16) < 0;
}


int
svw_finding_client(const svw_finding_t *finding)
{
    return finding->weight == SVW_WEIGHT_ASKS && (finding->rule == SVW_RULE_HARVESTING || finding->rule == SVW_RULE_SITE_BURST)
           && finding->lot.len == 0;
}


/*
 * The finding as it is now.  What is said of scans long after those that it was
 * said of is another one; what is said with some of them forgotten adds to it; but
 * what asks now does not rest on what was only kept for information.
 */
svw_kept_t *
svw_kept_put(svw_cases_t *cases, const svw_finding_t *finding, svw_ref_t now, int *changed)
{
    int             also;
    svw_kept_t     *kept;
    svw_finding_t   said;

    *changed = 0;
    kept = svw_kept_find(cases, finding->id);

    if (finding->withdrawn) {
        if (kept != NULL && !kept->now.withdrawn && !kept->old) {
            kept->now.withdrawn = 1;
            kept->asked = 0;
            *changed = 1;
        }

        return kept;
    }

    if (kept != NULL && finding->first_ms - kept->now.last_ms > svw_param_ms(cases->params, SVW_P_CASE_APART)) {
        kept->past = 1;
        kept = NULL;
    }

    if (kept == NULL) {
        *changed = 1;
        return svw_kept_new(cases, finding, now);
    }

    if (svw_kept_same(kept, finding)) {
        return kept;
    }

    also = !kept->now.withdrawn && (finding->partial || kept->old || finding->first_ms > kept->now.last_ms)
           && (kept->now.weight != SVW_WEIGHT_INFO || finding->weight != SVW_WEIGHT_ASKS);
    said = *finding;

    /* the judge does not know what it said of more than it remembers */
    if (also && kept->old && (said.weight < kept->now.weight
                              || (said.weight == kept->now.weight && said.severity < kept->now.severity)))
    {
        said.weight = kept->now.weight;
        said.severity = kept->now.severity;
        said.cause = kept->now.cause;
    }

    if (svw_kept_copy(kept, &said, also ? &kept->now : NULL) != 0) {
        cases->failed = 1;
        return NULL;
    }

    if (said.weight != SVW_WEIGHT_ASKS) {
        kept->asked = 0;

    } else if (kept->asked == 0) {
        kept->asked = now;
    }

    *changed = 1;

    return kept;
}


svw_kept_t **
svw_kept_place(svw_cases_t *cases, const svw_kept_t *kept)
{
    return &cases->slot[svw_kept_slot(cases, kept->now.id)];
}


static svw_kept_t *
svw_kept_find(const svw_cases_t *cases, const uint8_t id[16])
{
    svw_kept_t  *kept;

    for (kept = cases->slot[svw_kept_slot(cases, id)]; kept != NULL; kept = kept->slot_next) {
        if (!kept->past && memcmp(kept->now.id, id, 16) == 0) {
            return kept;
        }
    }

    return NULL;
}


static int
svw_kept_grow(svw_cases_t *cases)
{
    size_t        slot;
    svw_kept_t   *kept;

    if (cases->n <= cases->mask) {
        return 0;
    }

    free(cases->slot);
    cases->mask = cases->mask * 2 + 1;
    cases->slot = calloc(cases->mask + 1, sizeof(svw_kept_t *));

    if (cases->slot == NULL) {
        return -1;
    }

    for (kept = cases->all; kept != NULL; kept = kept->all_next) {
        slot = svw_kept_slot(cases, kept->now.id);
        kept->slot_next = cases->slot[slot];
        cases->slot[slot] = kept;
    }

    return 0;
}


static size_t
svw_kept_slot(const svw_cases_t *cases, const uint8_t id[16])
{
    size_t  n;

    memcpy(&n, id, sizeof(n));

    return n & cases->mask;
}


static svw_kept_t *
svw_kept_new(svw_cases_t *cases, const svw_finding_t *finding, svw_ref_t now)
{
    size_t       slot;
    svw_kept_t  *kept;

    kept = calloc(1, sizeof(svw_kept_t));

    if (kept == NULL || svw_kept_copy(kept, finding, NULL) != 0 || svw_kept_grow(cases) != 0) {
        free(kept == NULL ? NULL : kept->memory);
        free(kept);
        cases->failed = 1;
        return NULL;
    }

    kept->found = now;
    kept->asked = finding->weight == SVW_WEIGHT_ASKS ? now : 0;
    kept->fresh = 1;
    kept->all_next = cases->all;
    cases->all = kept;
    cases->n++;

    slot = svw_kept_slot(cases, finding->id);
    kept->slot_next = cases->slot[slot];
    cases->slot[slot] = kept;

    return kept;
}


static int
svw_kept_same(const svw_kept_t *kept, const svw_finding_t *finding)
{
    const svw_finding_t  *now;

    now = &kept->now;

    return !now->withdrawn && now->weight == finding->weight && now->severity == finding->severity
           && strcmp(now->cause, finding->cause) == 0 && now->n_refs == finding->n_refs && now->n_serials == finding->n_serials
           && now->n_actors == finding->n_actors && now->first_ms == finding->first_ms && now->last_ms == finding->last_ms
           && memcmp(now->refs, finding->refs, now->n_refs * sizeof(svw_ref_t)) == 0;
}


/* All of it in one piece of memory; with what `also' has. */
static int
svw_kept_copy(svw_kept_t *kept, const svw_finding_t *finding, const svw_finding_t *also)
{
    size_t           size;
    uint8_t         *text;
    void            *memory;
    svw_ref_t       *refs;
    sv_span_t       *spans;
    svw_finding_t    now, none;

    memset(&none, 0, sizeof(none));
    none.first_ms = finding->first_ms;
    none.last_ms = finding->last_ms;
    also = also == NULL ? &none : also;
    now = *finding;

    size = (finding->n_refs + also->n_refs) * sizeof(svw_ref_t) + strlen(finding->cause) + 1 + finding->lot.len
           + svw_spans_size(finding->serials, finding->n_serials) + svw_spans_size(also->serials, also->n_serials)
           + svw_spans_size(finding->actors, finding->n_actors) + svw_spans_size(also->actors, also->n_actors)
           + svw_spans_size(finding->keys, finding->n_keys) + svw_spans_size(also->keys, also->n_keys);

    memory = malloc(size + 1);

    if (memory == NULL) {
        return -1;
    }

    refs = memory;
    spans = (sv_span_t *) (refs + finding->n_refs + also->n_refs);
    text = (uint8_t *) (spans + finding->n_serials + also->n_serials + finding->n_actors + also->n_actors + finding->n_keys
                        + also->n_keys);

    now.refs = refs;
    now.n_refs = svw_kept_refs(refs, finding, also);

    now.serials = spans;
    now.n_serials = svw_kept_spans(spans, finding->serials, finding->n_serials, also->serials, also->n_serials, &text);
    spans += now.n_serials;

    now.actors = spans;
    now.n_actors = svw_kept_spans(spans, finding->actors, finding->n_actors, also->actors, also->n_actors, &text);
    spans += now.n_actors;

    now.keys = spans;
    now.n_keys = svw_kept_spans(spans, finding->keys, finding->n_keys, also->keys, also->n_keys, &text);

    (void) svw_kept_spans(&now.lot, &finding->lot, 1, NULL, 0, &text);
    now.cause = memcpy(text, finding->cause, strlen(finding->cause) + 1);
    now.first_ms = also->first_ms < now.first_ms ? also->first_ms : now.first_ms;
    now.last_ms = also->last_ms > now.last_ms ? also->last_ms : now.last_ms;

    free(kept->memory);
    kept->memory = memory;
    kept->now = now;

    return 0;
}


/* Two sorted lists become one; their text is copied. */
static size_t
svw_kept_spans(sv_span_t *to, const sv_span_t *a, size_t n, const sv_span_t *b, size_t m, uint8_t **text)
{
    int               c;
    size_t            i, j, k;
    const sv_span_t  *one;

    for (i = 0, j = 0, k = 0; i < n || j < m; k++) {
        c = i == n ? 1 : j == m ? -1 : svw_span_order(a[i], b[j]);
        one = c <= 0 ? &a[i] : &b[j];
        i += c <= 0;
        j += c >= 0;

        if (one->len > 0) {
            memcpy(*text, one->data, one->len);
        }

        to[k].data = *text;
        to[k].len = one->len;
        *text += one->len;
    }

    return k;
}


static size_t
svw_kept_refs(svw_ref_t *to, const svw_finding_t *a, const svw_finding_t *b)
{
    size_t  i, j, k;

    for (i = 0, j = 0, k = 0; i < a->n_refs || j < b->n_refs; k++) {
        if (j == b->n_refs || (i < a->n_refs && a->refs[i] <= b->refs[j])) {
            j += j < b->n_refs && a->refs[i] == b->refs[j];
            to[k] = a->refs[i++];

        } else {
            to[k] = b->refs[j++];
        }
    }

    return k;
}


static size_t
svw_spans_size(const sv_span_t *spans, size_t n)
{
    size_t  i, size;

    for (i = 0, size = n * sizeof(sv_span_t); i < n; i++) {
        size += spans[i].len;
    }

    return size;
}
