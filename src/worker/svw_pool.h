/*
 * Serial numbers for the lines.
 *
 * Numbers are made here, at random, by the rule of the product, and kept by
 * sv.serial_issue(), all or none, which passes over those that are in use.
 */

#ifndef SVW_POOL_H
#define SVW_POOL_H

#include "svw.h"

#include <jansson.h>


#define SVW_POOL_MAX   150000           /* numbers of a request */
#define SVW_POOL_PAGE  10000            /* read at once */

typedef struct {
    const char  *location;              /* that asks; NULL: by command */
    const char  *gtin;                  /* 14 digits */
    const char  *line;
    const char  *lot;                   /* NULL: not told */
    const char  *n;
    const char  *key;                   /* Idempotency-Key; NULL: none */
    const char  *by;                    /* who gives the command */
} svw_pool_ask_t;

typedef struct {
    char         id[37];
    int          made;                  /* 0: this key was sent before */
    int          same;                  /* with the same values */
} svw_pool_issued_t;

svw_db_rc_t svw_pool_issue(svw_db_t *db, const svw_pool_ask_t *ask, svw_pool_issued_t *issued);

/* `n' characters of `alphabet' */
int svw_pool_make(const char *alphabet, size_t length, char *out);

/* the numbers of a request that were not returned, in order; *serials is the caller's */
svw_db_rc_t svw_pool_numbers(svw_db_t *db, const char *location, const char *gtin, const char *id, json_t **serials);

/* svw_reconcile.c: role housekeeping; how many lots were reconciled, -1: a step failed */
int svw_reconcile(svw_db_t *db);

#endif /* SVW_POOL_H */
