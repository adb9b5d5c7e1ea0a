/*
 * Captures: bodies of POST /epcis/capture on this host's disk, carried out by
 * the role ingest.
 *
 * A row of sv.capture says what is to be done; who has the lock of the file
 * does it.  The row is done before the file is removed: whoever is killed in
 * between leaves a file that nobody wants, which the role api removes.
 */

#ifndef SVW_CAPTURE_H
#define SVW_CAPTURE_H

#include "svw_load.h"

#include <limits.h>


#define SVW_CAPTURE_JOBS  16

typedef struct {
    char  id[37];
    char  file[NAME_MAX + 1];
    char  company[SVW_TEXT];
    int   whole;
} svw_capture_job_t;

typedef struct {
    svw_conf_t         *conf;
    svw_db_t           *db;
    char                host[65];
    int64_t             look_at;        /* monotonic ms */
    unsigned            n, next;
    svw_capture_job_t   job[SVW_CAPTURE_JOBS];
} svw_captures_t;


void svw_captures_init(svw_captures_t *captures, svw_conf_t *conf, svw_db_t *db);

/* Is there one to be carried out?  `wait' becomes less when the next look is due earlier. */
int svw_captures_due(svw_captures_t *captures, unsigned *wait);
void svw_captures_one(svw_captures_t *captures);

#endif /* SVW_CAPTURE_H */
