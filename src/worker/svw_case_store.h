/*
 * Cases between the judge and their tables: svw_case decides which case a
 * finding is in, sv.case_apply() writes what has changed.
 *
 * After a start the open cases are read, then all that the judge says of history
 * (svw_case_store_again): of each finding what was said last.  What is as it was
 * written changes nothing, and what is not said any more is withdrawn.
 */

#ifndef SVW_CASE_STORE_H
#define SVW_CASE_STORE_H

#include "svw.h"
#include "svw_case.h"

#include <jansson.h>


/* a finding that was read from the tables */
typedef struct {
    uint8_t    id[16];
    unsigned   rule;
    unsigned   again:1;                 /* said again */
    uint64_t   gtin;
    int64_t    first_ms, last_ms;
} svw_case_read_t;

typedef struct {
    svw_cases_t      *cases;            /* NULL: closed */
    svw_cases_t      *again;            /* what is said of history; NULL: all that is said is new */
    svw_case_read_t  *read;             /* by id */
    size_t            n_read;
    json_t           *detail;           /* of findings, by id, until they are written */
    int64_t           since_ms;         /* what is older is forgotten */
    unsigned          failed:1;
} svw_case_store_t;

/* PostgreSQL refuses a case for what is in it: it is left as it was, in this transaction. */
typedef svw_db_rc_t (*svw_case_refused_pt)(void *data, const char *case_id);

/* From the tables; all that is said until svw_case_store_again() is of history. */
svw_db_rc_t svw_case_store_open(svw_case_store_t *store, svw_db_t *db, const svw_params_t *params, int64_t since_ms);
void svw_case_store_close(svw_case_store_t *store);
int svw_case_store_again(svw_case_store_t *store);      /* -1: no memory */

/* `ref': the scan that made the judge say it.  `detail' may be NULL; it is taken over. */
void svw_case_store_take(svw_case_store_t *store, const svw_finding_t *finding, svw_ref_t ref, json_t *detail);

/* In the caller's transaction; once it is committed, written(). */
int svw_case_store_waits(const svw_case_store_t *store);
svw_db_rc_t svw_case_store_apply(svw_case_store_t *store, svw_db_t *db, svw_case_refused_pt refused, void *data);
void svw_case_store_written(svw_case_store_t *store, int64_t since_ms);

const svw_case_t *svw_case_home(const svw_case_t *one);         /* where its findings are now */
void svw_case_uuid(const uint8_t id[16], char text[37]);

#endif /* SVW_CASE_STORE_H */
