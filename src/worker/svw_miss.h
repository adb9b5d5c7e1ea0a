/*
 * What a miss is: a scan whose serial, lot or expiry is not as commissioned.
 * Shared by the rules on misses; functions of a scan and of facts.
 */

#ifndef SVW_MISS_H
#define SVW_MISS_H

#include "svw_rule.h"


typedef enum {
    SVW_MISS_NOT,                       /* found, or of a product that nobody here makes */
    SVW_MISS_SETTING,                   /* a scanner, a typist, or scanned again rightly: of the site */
    SVW_MISS_LATE,                      /* commissioned since */
    SVW_MISS_LOT,                       /* its lot is not known yet */
    SVW_MISS_SERIAL,                    /* its lot is known, the serial is not, or is of another lot */
    SVW_MISS_EXPIRY
} svw_miss_t;

/* How many different ones there are, as long as they are few. */
#define SVW_FEW  16

typedef struct {
    const svw_key_t  *key[SVW_FEW];
    unsigned          n;                /* SVW_FEW: at least so many */
} svw_few_t;

/* Who saw misses of one kind. */
typedef struct {
    svw_few_t  sites, sessions;         /* of all */
    svw_few_t  manual;                  /* serials typed by professionals */
    svw_few_t  seen;                    /* serials seen by consumers */
    unsigned   scanned;                 /* by professionals */
    unsigned   n;
} svw_miss_who_t;

svw_miss_t svw_miss(const svw_node_t *node);
const svw_made_t *svw_miss_made(const svw_facts_t *facts, const svw_node_t *node);     /* of its serial, else of its lot; NULL: unknown */
void svw_miss_say_record(const svw_view_t *view, svw_say_t *say, const svw_node_t *node);      /* that commissioned it, late */
void svw_few_add(svw_few_t *few, const svw_key_t *key);         /* NULL: not counted */
int svw_few_has(const svw_few_t *few, const svw_key_t *key);
void svw_miss_who(svw_miss_who_t *who, const svw_node_t *node);

/* Enough for a person to look, or only to be kept: see docs/rules.md */
svw_weight_t svw_miss_weight(const svw_view_t *view, const svw_miss_who_t *who, svw_miss_t kind);

/* The parts of a site's day are findings of their own. `buf' lives until svw_say_end. */
#define SVW_MISS_APART  48
void svw_miss_apart(const svw_view_t *view, svw_say_t *say, const char *word, char buf[SVW_MISS_APART]);

/* Of a lot: so many sites or scans do not find it that its upload is missing. */
int svw_miss_upload(const svw_view_t *view);

#endif /* SVW_MISS_H */
