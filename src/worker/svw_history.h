/*
 * History, read again in the order in which it was judged.
 */

#ifndef SVW_HISTORY_H
#define SVW_HISTORY_H

#include "svw_consume.h"


typedef struct {
    svw_ref_t  n;                       /* of the last row that was read */
    int64_t    since_ms, until_ms;      /* of its time; until 0: no end */
} svw_history_t;

/* the next page, PQntuples 0: that was all */
svw_db_rc_t svw_history_page(svw_db_t *db, const svw_history_t *history, PGresult **rows);
void svw_history_scan(const PGresult *rows, int row, svw_consume_scan_t *scan);

#endif /* SVW_HISTORY_H */
