/*
 * The judge from within: svw_judge.c takes scans and facts and finds out what
 * they touch; svw_judge_look.c asks the rules about what was touched.
 */

#ifndef SVW_JUDGE_IN_H
#define SVW_JUDGE_IN_H

#include "svw_judge.h"

#include "svw_said.h"


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
    int64_t              waiting_ms;            /* no key of `dirty' is due earlier */
    svw_ahead_t          ahead;
    unsigned             any:1;                 /* newest_ms is one */
    unsigned             failed:1;              /* no memory */
    unsigned             settling:1;
};


/* longer than the window: keys that wait are looked at by the half of it */
#define SVW_SLACK_MS  (INT64_C(24) * 3600 * 1000)


/* svw_judge.c */
void svw_judge_touch(svw_judge_t *judge, svw_key_t *key, int64_t time_ms, int notable);
void svw_judge_classify_all(svw_judge_t *judge, const svw_list_t *list, int serials);
void svw_judge_explain(svw_judge_t *judge, svw_node_t *node);

/* svw_judge_look.c */
int svw_judge_look(svw_judge_t *judge);
void svw_judge_product(svw_judge_t *judge, uint64_t gtin);
void svw_judge_clean(svw_judge_t *judge, svw_key_t *key);

#endif /* SVW_JUDGE_IN_H */
