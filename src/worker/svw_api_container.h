/*
 * What the files of containers share.
 */

#ifndef SVW_API_CONTAINER_H
#define SVW_API_CONTAINER_H

#include "svw_api.h"
#include "svw_scan.h"


#define SVW_CONTAINER_PAGES  5000

typedef struct {
    svw_api_request_t  *rq;
    char                location[16];
    char                gtin[24];
    char                serial[21];
    int                 after;          /* a page after the first */
    char                after_gtin[24];
    char                after_serial[21];
} svw_container_t;

/* orders that are no operation on each pack */
typedef struct {
    const char         *operation;
    const char         *step, *disposition;     /* of the event; NULL: a recall */
} svw_container_special_t;

typedef struct {
    const char         *operation, *of, *key;
    const svw_container_special_t  *special;
    int64_t             packs, changed;
    json_t             *reasons;        /* reason: how many */
    json_t             *refused;        /* what did not change, up to a limit */
} svw_container_work_t;

/* items after `after', in the order of the key */
svw_db_rc_t svw_container_page(svw_container_t *c, unsigned limit, PGresult **rows);
void svw_container_next(svw_container_t *c, const PGresult *rows);     /* the next page begins behind these rows */

void svw_container_count(json_t *counts, const char *reason, int64_t n);     /* n more of this reason */

/* an operation on each pack; `whole' stays 0 when a repeated request has to do the rest */
svw_db_rc_t svw_container_work(svw_container_t *c, svw_container_work_t *work, int *whole);

/* the orders that are not an operation on each pack; they answer */
int svw_container_recall(svw_container_t *c, const json_t *order);
int svw_container_move(svw_container_t *c, const json_t *order, const char *step, const char *disposition, const char *key);

#endif /* SVW_API_CONTAINER_H */
