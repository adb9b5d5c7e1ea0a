/*
 * What svw_case_final (which findings are one case) and svw_case_sum (what the
 * cases say) share.
 */

#ifndef SVW_CASE_FINAL_IN_H
#define SVW_CASE_FINAL_IN_H

#include "svw_case_in.h"


/* a key of a finding */
typedef struct {
    uint64_t  key;                      /* digest */
    int64_t   first_ms, last_ms;
    uint32_t  finding;
    uint8_t   kind;                     /* s, m, p, o */
} svw_final_key_t;

typedef struct {
    svw_kept_t       **kept;
    uint32_t          *parent;
    uint8_t           *many;            /* what it is joined with by its serials is of more than one lot */
    uint32_t           n;
    svw_final_key_t   *key[3];          /* by weight; sorted */
    size_t             keys[3];
    int64_t            apart;
} svw_final_work_t;

/* The finding that stands for all that are joined with it. */
uint32_t svw_final_root(svw_final_work_t *work, uint32_t i);

int svw_final_print(svw_final_work_t *work, svw_final_pt final, void *data);    /* 0, or -1: no memory */

#endif /* SVW_CASE_FINAL_IN_H */
