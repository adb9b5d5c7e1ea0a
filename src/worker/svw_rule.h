/*
 * A rule: a pure function of the scans under one key (a serial, a lot, a site, a
 * client) and of facts.  It says all that is to be said of them, each time anew;
 * the judge finds out what of it is new, has changed or is no longer said.
 *
 * To add a rule:
 *   1. svw_param.def: SVW_RULE and its SVW_PARAMs; docs/rules.md: the same.
 *   2. svw_rule_NAME.c: a function of type svw_rule_pt.  It walks view's scans
 *      (svw_view_first, svw_view_next) and for each thing it has to say calls
 *      svw_say, svw_say_scan .., svw_say_end.
 *   3. svw_rule.c: its row: key kind, which list, and the gap that parts it.
 *   4. t/unit/test_rule_NAME.c.
 *
 * What a rule may look at: its view; a scan's own fields, its `class' and `why';
 * facts of lots and sites.  Not the lists of other keys: the judge would not know
 * that it has to be asked again when those change.  What depends on neighbours
 * under another key is a class (svw_class.c) or a reason why a miss is none
 * (svw_explain.c), which the judge keeps true and tells all keys of the scan.
 *
 * What is cheap: a rule is asked about each new scan while there are few, and
 * less and less often as they grow, so it may walk and sort all it is given
 * (n log n), but it must not compare each with each.
 */

#ifndef SVW_RULE_H
#define SVW_RULE_H

#include "svw_facts.h"


typedef struct svw_say_s  svw_say_t;

typedef struct {
    const svw_params_t  *params;
    const svw_facts_t   *facts;
    svw_key_t           *key;
    const svw_list_t    *list;          /* key->all or key->notable */
    int64_t              from_ms, to_ms;        /* the part of it */
} svw_view_t;

typedef void (*svw_rule_pt)(const svw_view_t *view, svw_say_t *say);

typedef struct {
    svw_rule_id_t   rule;
    svw_key_kind_t  kind;
    unsigned        notable:1;          /* walks key->notable; else key->all */
    unsigned        any:1;              /* of notable: asked about scans that are not notable too */
    unsigned        facts:1;            /* says something without scans too */
    svw_param_id_t  gap;                /* scans further apart are looked at apart; SVW_P_MAX: all together */
    svw_rule_pt     find;
} svw_rule_row_t;

extern const svw_rule_row_t  svw_rule_rows[];
extern const unsigned        svw_rule_rows_n;

svw_node_t *svw_view_first(const svw_view_t *view, svw_cursor_t *cursor);
svw_node_t *svw_view_next(const svw_view_t *view, svw_cursor_t *cursor);

/*
 * One finding: svw_say, then what it is made of, then svw_say_end.  Its identity
 * is the rule, the key of the view and what svw_say_apart adds, if a rule says
 * several things of one key: something that does not depend on the order of
 * arrival, and better not on time.
 *
 * Cases are made by what findings share: a serial; a lot in a market, a lot at a
 * site (of its scans); its own key (rule and key of the view, or svw_say_key).
 */
void svw_say(svw_say_t *say, svw_weight_t weight, svw_severity_t severity, const char *cause);
void svw_say_apart(svw_say_t *say, sv_span_t what);
void svw_say_key(svw_say_t *say, const char *word, const svw_key_t *a, const svw_key_t *b);
void svw_say_narrow(svw_say_t *say);    /* it is of a client or a site: lots of its scans are not tied to each other by it */
void svw_say_scan(svw_say_t *say, const svw_node_t *node);
void svw_say_fact(svw_say_t *say, svw_ref_t ref, int64_t time_ms);
void svw_say_serial(svw_say_t *say, const char *serial);        /* without a scan; lives until svw_say_end */
void svw_say_end(svw_say_t *say);

/* what a scan is, svw_class.c; of its facts and of the scans of the same serial */
unsigned svw_class(const svw_facts_t *facts, const svw_node_t *node);

/* a state that ends a pack, or keeps it from being supplied: the word is the reason of the scan */
int svw_reason_dead(unsigned reason);           /* destroyed, stolen, exported, sample */
int svw_reason_inactive(unsigned reason);       /* these, supplied, free sample, locked, checked out */
int svw_reason_miss(unsigned reason);           /* not as commissioned */
int svw_reason_contradicts(unsigned reason);    /* .. but otherwise */
const char *svw_dead_cause(unsigned reason);    /* of a dead pack that is seen: the cause */

/* Nearly all that a site scans is outside its markets: its location record is wrong. */
int svw_site_doubt(const svw_facts_t *facts, const svw_key_t *site);

/* The lot is not for the country. */
int svw_lot_off(const svw_key_t *lot, const char *country);

/* Two scans that nobody can have made with one pack: it would have to be faster than a plane. */
int svw_travel_hop(const svw_facts_t *facts, const svw_node_t *a, const svw_node_t *b);

/* The places are apart: further than `by' beyond what their accuracy leaves open, or in two countries. */
int svw_travel_apart(const svw_facts_t *facts, const svw_node_t *a, const svw_node_t *b, svw_param_id_t by);

/* why a miss is none, svw_explain.c */
svw_why_t svw_explain(const svw_facts_t *facts, const svw_node_t *node);

/*
 * How far what this rule said of the key reaches, if that rests on scans before
 * the view's: what is left of them is not for another rule.  INT64_MIN: nothing.
 */
int64_t svw_said_until(const svw_view_t *view, svw_rule_id_t rule);

/* a scan that may explain misses around it; and does it explain this one? */
int svw_explains(const svw_node_t *node);
int svw_echoes(const svw_node_t *miss, const svw_node_t *right);

/*
 * The scans of a site or session that are near one of them in time, of the same
 * product: the nearest of each side.  Bounded, so a busy site costs no more than
 * another; what is near is so from both sides.
 */
#define SVW_NEAR       48               /* of each side */
#define SVW_NEAR_WALK  1024             /* .. among so many of all products */

typedef struct {
    const svw_node_t  *node;
    int64_t            within_ms;
    unsigned           n, walked;
    unsigned           back:1;
    svw_cursor_t       cursor, start;
    svw_node_t        *next;
} svw_near_t;

void svw_near_begin(svw_near_t *near, const svw_key_t *actor, const svw_node_t *node, int64_t within_ms);
svw_node_t *svw_near_next(svw_near_t *near);

#define SVW_RULES                                                              \
    SVW_FIND(svw_rule_supply)                                                  \
    SVW_FIND(svw_rule_supply_site)                                             \
    SVW_FIND(svw_rule_dead)                                                    \
    SVW_FIND(svw_rule_dead_lot)                                                \
    SVW_FIND(svw_rule_market)                                                  \
    SVW_FIND(svw_rule_market_site)                                             \
    SVW_FIND(svw_rule_travel)                                                  \
    SVW_FIND(svw_rule_volume)                                                  \
    SVW_FIND(svw_rule_commissioning)                                           \
    SVW_FIND(svw_rule_mismatch)                                                \
    SVW_FIND(svw_rule_mismatch_serial)                                         \
    SVW_FIND(svw_rule_mismatch_site)                                           \
    SVW_FIND(svw_rule_lot_burst)                                               \
    SVW_FIND(svw_rule_site_burst)                                              \
    SVW_FIND(svw_rule_harvesting)

#define SVW_FIND(name)  void name(const svw_view_t *view, svw_say_t *say);
SVW_RULES
#undef SVW_FIND

#endif /* SVW_RULE_H */
