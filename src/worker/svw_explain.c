/*
 * Why a miss is none: what was presented became right since (it was uploaded
 * late), is what a scanner's setting or a typist makes of what is right, or was
 * scanned rightly at the same site, or in the same session, about then.
 *
 * Known serials are looked up, so where the feeds do not tell them (the live
 * system) the gateway's hint and the echo stand for that.
 */

#include "svw_resemble.h"
#include "svw_rule.h"

#include <stdio.h>
#include <string.h>


typedef struct {
    const svw_facts_t  *facts;
    const svw_node_t   *node;
} svw_explain_t;


static int svw_explain_long(const svw_node_t *node);
static int svw_explain_upload(const svw_facts_t *facts, const svw_node_t *node);
static int svw_explain_listed(const svw_facts_t *facts, const svw_key_t *lot);
static svw_why_t svw_explain_known(const svw_facts_t *facts, const svw_node_t *node, const svw_made_t *made);
static svw_why_t svw_explain_unknown(const svw_facts_t *facts, const svw_node_t *node);
static int svw_explain_lot_name(const svw_node_t *node);
static int svw_explain_lot_expiry(const svw_facts_t *facts, const svw_node_t *node);
static int svw_explain_holds(sv_span_t text, const char *ai, sv_span_t next);
static int svw_explain_serial(void *data, sv_span_t value, svw_resemblance_t how);
static int svw_explain_lot(void *data, sv_span_t value, svw_resemblance_t how);
static int svw_explain_typed(void *data, sv_span_t value, svw_resemblance_t how);
static int svw_explain_echo(const svw_facts_t *facts, const svw_node_t *node);
static int svw_echo_near(sv_span_t a, sv_span_t b);
static int svw_explain_slip(uint32_t typed, uint32_t meant);
static int svw_explain_form(uint32_t read, uint32_t meant);
static int svw_expiry_last(uint32_t expiry);
static int svw_expiry_same(uint32_t a, uint32_t b);
static sv_day_t svw_expiry_day(uint32_t expiry);


svw_why_t
svw_explain(const svw_facts_t *facts, const svw_node_t *node)
{
    svw_why_t          why;
    const svw_key_t   *serial;
    const svw_made_t  *made;

    if (node->reason == SV_REASON_PRODUCT_UNKNOWN) {
        return SVW_WHY_NONE;
    }

    if (svw_explain_upload(facts, node)) {
        return SVW_WHY_UPLOAD;
    }

    if (node->hint || svw_explain_long(node)) {
        return SVW_WHY_SCANNER;
    }

    serial = node->key[SVW_KEY_SERIAL];
    made = serial != NULL ? svw_facts_serial(facts, node->gtin, svw_key_span(serial)) : NULL;
    why = made != NULL ? svw_explain_known(facts, node, made) : svw_explain_unknown(facts, node);

    if (why == SVW_WHY_NONE && svw_explain_echo(facts, node)) {
        return SVW_WHY_ECHO;
    }

    return why;
}


int
svw_explains(const svw_node_t *node)
{
    return !svw_reason_miss(node->reason) && node->reason < SV_REASON_UNDO_TOO_LATE;
}


/* No element is longer than 20 characters (GS1 General Specifications, AI 10 and 21): the next one is glued on. */
static int
svw_explain_long(const svw_node_t *node)
{
    const svw_key_t  *serial, *lot;

    serial = node->key[SVW_KEY_SERIAL];
    lot = node->key[SVW_KEY_LOT];

    return (serial != NULL && serial->len > SV_SERIAL_MAX) || (lot != NULL && lot->len > SV_LOT_MAX);
}


/* commissioned, just as it was presented */
static int
svw_explain_upload(const svw_facts_t *facts, const svw_node_t *node)
{
    int                as;
    unsigned           n;
    const svw_key_t   *serial, *lot;
    const svw_made_t  *made;

    serial = node->key[SVW_KEY_SERIAL];
    lot = node->key[SVW_KEY_LOT];
    as = 0;

    for (n = 0; serial != NULL; n++) {
        made = svw_facts_way(facts, node->gtin, svw_key_span(serial), n);

        if (made == NULL) {
            break;
        }

        if ((lot == NULL || lot == made->lot)
            && (node->expiry == UINT32_MAX || made->expiry == UINT32_MAX || svw_expiry_same(node->expiry, made->expiry)))
        {
            as = 1;
        }
    }

    /*
     * One that was found under another lot or expiry was not missing: it was
     * commissioned twice.  Where both records tell serials, that is a clash and said
     * as one; where the first did not, this is all there is to see of it.
     */
    if (n > 0) {
        return as && (n > 1 || node->reason == SV_REASON_SERIAL_UNKNOWN || node->reason == SV_REASON_LOT_UNKNOWN);
    }

    /* where nobody tells serials the lot has to do */
    return node->reason == SV_REASON_LOT_UNKNOWN && lot != NULL && lot->lot != NULL && lot->lot->n_made > 0
           && !svw_explain_listed(facts, lot);
}


/* Are the serials of a lot told? */
static int
svw_explain_listed(const svw_facts_t *facts, const svw_key_t *lot)
{
    unsigned  i;

    for (i = 0; i < lot->lot->n_made; i++) {
        if (svw_facts_made(facts, lot->lot->made[i])->listed) {
            return 1;
        }
    }

    return 0;
}


/* the serial is right: the lot or the expiry is not */
static svw_why_t
svw_explain_known(const svw_facts_t *facts, const svw_node_t *node, const svw_made_t *made)
{
    const svw_key_t    *lot;
    svw_resemblance_t   how;

    (void) facts;
    lot = node->key[SVW_KEY_LOT];

    if (lot != NULL && lot != made->lot) {
        how = svw_resemble(svw_key_span(lot), svw_key_span(made->lot));

        if (svw_resemble_scanner(how)) {
            return SVW_WHY_SCANNER;
        }

        return how != SVW_RESEMBLE_NOT && node->entry != SVW_ENTRY_SCANNED ? SVW_WHY_TYPING : SVW_WHY_NONE;
    }

    if (node->expiry == UINT32_MAX || made->expiry == UINT32_MAX || svw_expiry_same(node->expiry, made->expiry)) {
        return SVW_WHY_NONE;
    }

    if (svw_explain_form(node->expiry, made->expiry)) {
        return SVW_WHY_SCANNER;
    }

    return node->entry != SVW_ENTRY_SCANNED && svw_explain_slip(node->expiry, made->expiry) ? SVW_WHY_TYPING : SVW_WHY_NONE;
}


static svw_why_t
svw_explain_unknown(const svw_facts_t *facts, const svw_node_t *node)
{
    svw_explain_t     explain;
    const svw_key_t  *serial, *lot;

    serial = node->key[SVW_KEY_SERIAL];
    lot = node->key[SVW_KEY_LOT];
    explain = (svw_explain_t) { .facts = facts, .node = node };

    if (serial != NULL
        && (svw_facts_folded(facts, node->gtin, svw_key_span(serial)) != NULL
            || svw_resemble_forms(svw_key_span(serial), svw_explain_serial, &explain)))
    {
        return SVW_WHY_SCANNER;
    }

    if (serial != NULL && lot != NULL
        && (svw_explain_holds(svw_key_span(lot), "21", svw_key_span(serial))
            || svw_explain_holds(svw_key_span(serial), "10", svw_key_span(lot))))
    {
        return SVW_WHY_SCANNER;
    }

    if (lot != NULL && svw_explain_lot_name(node) && svw_resemble_forms(svw_key_span(lot), svw_explain_lot, &explain)) {
        return SVW_WHY_SCANNER;
    }

    if (svw_explain_lot_expiry(facts, node)) {
        return SVW_WHY_SCANNER;
    }

    if (node->entry != SVW_ENTRY_SCANNED && serial != NULL && svw_resemble_typos(svw_key_span(serial), svw_explain_typed, &explain)) {
        return SVW_WHY_TYPING;
    }

    return SVW_WHY_NONE;
}


/* A lot that nobody made: its name may be another's. */
static int
svw_explain_lot_name(const svw_node_t *node)
{
    const svw_key_t  *lot;

    lot = node->key[SVW_KEY_LOT];

    return node->reason == SV_REASON_LOT_UNKNOWN
           || (node->reason == SV_REASON_LOT_MISMATCH && (lot->lot == NULL || lot->lot->n_made == 0));
}


/*
 * Where nobody tells serials: is the expiry that of the lot, in another form?
 * If a record says just this expiry, two records contradict each other.
 */
static int
svw_explain_lot_expiry(const svw_facts_t *facts, const svw_node_t *node)
{
    int                form;
    unsigned           i;
    const svw_key_t   *lot;
    const svw_made_t  *made;

    lot = node->key[SVW_KEY_LOT];

    if (node->reason != SV_REASON_EXPIRY_MISMATCH || node->expiry == UINT32_MAX || lot == NULL || lot->lot == NULL) {
        return 0;
    }

    for (i = 0, form = 0; i < lot->lot->n_made; i++) {
        made = svw_facts_made(facts, lot->lot->made[i]);

        if (made->expiry == UINT32_MAX) {
            continue;
        }

        if (svw_expiry_same(node->expiry, made->expiry)) {
            return 0;
        }

        form |= svw_explain_form(node->expiry, made->expiry);
    }

    return form;
}


/* `next' hangs on `text' behind its AI, as far as there was room: the separator is lost, though it came by itself, too. */
static int
svw_explain_holds(sv_span_t text, const char *ai, sv_span_t next)
{
    size_t  i, n;

    for (i = 1; i + 5 <= text.len; i++) {
        n = text.len - i - 2;

        if (n > next.len) {
            n = next.len;
        }

        if (n >= 3 && memcmp(text.data + i, ai, 2) == 0 && memcmp(text.data + i + 2, next.data, n) == 0) {
            return 1;
        }
    }

    return 0;
}


/* Is there such a serial, in whatever case? */
static int
svw_explain_serial(void *data, sv_span_t value, svw_resemblance_t how)
{
    svw_explain_t  *explain;

    (void) how;
    explain = data;

    return svw_facts_folded(explain->facts, explain->node->gtin, value) != NULL;
}


/* .. such a lot, of which nobody can say whether the serial is one of its? */
static int
svw_explain_lot(void *data, sv_span_t value, svw_resemblance_t how)
{
    svw_explain_t    *explain;
    const svw_key_t  *lot;

    (void) how;
    explain = data;
    lot = svw_key_find(explain->facts->evidence, SVW_KEY_LOT, explain->node->gtin, value);

    return lot != NULL && lot->lot != NULL && lot->lot->n_made > 0
           && (explain->node->key[SVW_KEY_SERIAL] == NULL || !svw_explain_listed(explain->facts, lot));
}


/* .. such a serial, of the lot that was typed or one like it? */
static int
svw_explain_typed(void *data, sv_span_t value, svw_resemblance_t how)
{
    svw_explain_t     *explain;
    const svw_key_t   *lot;
    const svw_made_t  *made;

    (void) how;
    explain = data;
    lot = explain->node->key[SVW_KEY_LOT];
    made = svw_facts_serial(explain->facts, explain->node->gtin, value);

    return made != NULL && (lot == NULL || svw_resemble(svw_key_span(lot), svw_key_span(made->lot)) != SVW_RESEMBLE_NOT);
}


static int
svw_explain_echo(const svw_facts_t *facts, const svw_node_t *node)
{
    svw_key_t         *actor;
    svw_near_t         near;
    const svw_node_t  *right;

    actor = svw_node_actor(node);

    if (actor == NULL) {
        return 0;
    }

    svw_near_begin(&near, actor, node, svw_param_ms(facts->params, SVW_P_ECHO_WITHIN));

    while ((right = svw_near_next(&near)) != NULL) {
        if (svw_explains(right) && svw_echoes(node, right)) {
            return 1;
        }
    }

    return 0;
}


void
svw_near_begin(svw_near_t *near, const svw_key_t *actor, const svw_node_t *node, int64_t within_ms)
{
    near->node = node;
    near->within_ms = within_ms;
    near->n = 0;
    near->walked = 0;
    near->back = 0;
    near->next = svw_list_seek(&actor->all, node->time_ms, &near->cursor);
    near->start = near->cursor;
}


svw_node_t *
svw_near_next(svw_near_t *near)
{
    int64_t      apart;
    svw_node_t  *node;

    for ( ;; ) {
        node = near->next;
        apart = node == NULL ? 0 : near->back ? near->node->time_ms - node->time_ms : node->time_ms - near->node->time_ms;

        if (node == NULL || apart > near->within_ms || near->n == SVW_NEAR || near->walked == SVW_NEAR_WALK) {
            if (near->back) {
                return NULL;
            }

            near->back = 1;
            near->n = 0;
            near->walked = 0;
            near->cursor = near->start;
            near->next = svw_cursor_prev(&near->cursor);
            continue;
        }

        near->next = near->back ? svw_cursor_prev(&near->cursor) : svw_cursor_next(&near->cursor);
        near->walked++;

        if (node->gtin == near->node->gtin && node != near->node) {
            near->n++;
            return node;
        }
    }
}


/* A machine does not make typing errors: two serials that it read are two. */
int
svw_echoes(const svw_node_t *node, const svw_node_t *right)
{
    unsigned            key;
    svw_resemblance_t   how;

    if (node->reason == SV_REASON_PRODUCT_UNKNOWN) {
        return 0;
    }

    key = node->key[SVW_KEY_SERIAL] != NULL ? SVW_KEY_SERIAL : SVW_KEY_LOT;

    if (node->key[key] == NULL || right->key[key] == NULL) {
        return 0;
    }

    if (!svw_echo_near(svw_key_span(node->key[key]), svw_key_span(right->key[key]))) {
        return 0;
    }

    how = svw_resemble(svw_key_span(node->key[key]), svw_key_span(right->key[key]));

    if (how == SVW_RESEMBLE_SAME) {
        return key == SVW_KEY_SERIAL;
    }

    return svw_resemble_scanner(how)
           || (svw_resemble_typist(how) && (node->entry != SVW_ENTRY_SCANNED || right->entry != SVW_ENTRY_SCANNED));
}


/*
 * Of two values of one length, most signs have to stand where they stand in the
 * other: quick to see, and most pairs are of two packs.
 */
static int
svw_echo_near(sv_span_t a, sv_span_t b)
{
    size_t    i;
    unsigned  other;

    static const uint8_t  fold[256] = {
        ['0'] = 1, ['O'] = 1, ['o'] = 1, ['1'] = 2, ['l'] = 2, ['L'] = 2, ['I'] = 2, ['i'] = 2,
        ['y'] = 3, ['z'] = 3, ['w'] = 3, ['Y'] = 3, ['Z'] = 3, ['W'] = 3, ['a'] = 4, ['q'] = 4, ['A'] = 4, ['Q'] = 4
    };

    if (a.len != b.len) {
        return 1;
    }

    for (i = 0, other = 0; i < a.len && other <= 4; i++) {
        if (a.data[i] == b.data[i] || (fold[a.data[i]] != 0 && fold[a.data[i]] == fold[b.data[i]])
            || ((a.data[i] ^ b.data[i]) == 0x20 && (a.data[i] | 0x20) >= 'a' && (a.data[i] | 0x20) <= 'z'))
        {
            continue;
        }

        /* what another keyboard makes of signs may be anything */

        other += (a.data[i] >= '0' && a.data[i] <= '9') || (a.data[i] | 0x20) >= 'a';
    }

    return other <= 4;
}


/* One slip, or the digits in another order. */
static int
svw_explain_slip(uint32_t typed, uint32_t meant)
{
    char               a[16], b[16];
    unsigned           i;
    int                count[10] = { 0 };
    svw_resemblance_t  how;

    snprintf(a, sizeof(a), "%06u", typed);
    snprintf(b, sizeof(b), "%06u", meant);
    how = svw_resemble((sv_span_t) { (const uint8_t *) a, 6 }, (sv_span_t) { (const uint8_t *) b, 6 });

    if (how != SVW_RESEMBLE_NOT) {
        return 1;
    }

    for (i = 0; i < 6; i++) {
        count[a[i] - '0']++;
        count[b[i] - '0']--;
    }

    for (i = 0; i < 10 && count[i] == 0; i++) { /* void */ }

    return i == 10;
}


/*
 * What software makes of a date: another day of the same month, where it does not
 * know day 00; day, month and year in another order; the day before or after,
 * where it counts hours.  Nobody prints another expiry to win a day.
 */
static int
svw_explain_form(uint32_t read, uint32_t meant)
{
    uint32_t  year, month, day;
    sv_day_t  a, b;

    year = meant / 10000;
    month = meant / 100 % 100;
    day = meant % 100;

    if (read / 100 == meant / 100) {
        return 1;
    }

    /* two ends of months, as most are printed, are two dates: 280229 is 280200, and 290228 not its parts in another order */

    if ((read == day * 10000 + month * 100 + year || read == year * 10000 + day * 100 + month
         || read == month * 10000 + day * 100 + year) && !(svw_expiry_last(read) && svw_expiry_last(meant)))
    {
        return 1;
    }

    a = svw_expiry_day(read);
    b = svw_expiry_day(meant);

    return a != SV_DAY_NONE && b != SV_DAY_NONE && a - b <= 1 && b - a <= 1;
}


static int
svw_expiry_last(uint32_t expiry)
{
    return svw_expiry_day(expiry) == svw_expiry_day(expiry / 100 * 100);
}


/* day 00 is the end of the month */
static int
svw_expiry_same(uint32_t a, uint32_t b)
{
    return a == b || (a / 100 == b / 100 && svw_expiry_day(a) == svw_expiry_day(b));
}


/* of which century does not matter, where two are compared that are near each other */
static sv_day_t
svw_expiry_day(uint32_t expiry)
{
    char  text[16];

    snprintf(text, sizeof(text), "%06u", expiry % 1000000);

    return sv_gs1_date((sv_span_t) { (const uint8_t *) text, 6 }, 0);
}
