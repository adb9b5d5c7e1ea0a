/*
 * Filing what is loaded: many files wait for the disk together.
 *
 * A file leaves its inbox when its load is on PostgreSQL's disk and its
 * reports are on this host's, in this order.  Whoever is killed in between
 * finds the file still in the inbox, claims it, is told that it is loaded and
 * files it with the same report.
 */

#ifndef SVW_FILING_H
#define SVW_FILING_H

#include "svw_inbox.h"
#include "svw_load.h"


#define SVW_FILING_MAX   32
#define SVW_FILING_HOLD  500            /* ms that a file waits for others at most */

typedef struct {
    svw_inbox_t       *inbox;
    svw_inbox_file_t   file;
    json_t            *report;
    int32_t            load_id;
    int                rejected;
    int                failed;
    int                dir;             /* where it goes */
    char               name[NAME_MAX + 1];
    int                fd[SVW_REPORTS];
} svw_filing_file_t;

typedef struct {
    svw_conf_t         *conf;
    svw_db_t           *db;
    int64_t             since;          /* of the first, monotonic ms */
    unsigned            n;
    svw_filing_file_t   file[SVW_FILING_MAX];
} svw_filing_t;


/* takes the file and the report over */
void svw_filing_add(svw_filing_t *filing, svw_inbox_t *inbox, const svw_inbox_file_t *file, json_t *report, int32_t load_id,
    int rejected);
void svw_filing_flush(svw_filing_t *filing);
int svw_filing_due(const svw_filing_t *filing);

/* svw_sync.c: fsync() of all that are not -1, at the same time; result[i] is 0 or an errno */
void svw_sync(const int *fds, unsigned n, int *result);

#endif /* SVW_FILING_H */
