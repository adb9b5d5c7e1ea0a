#include "svw_judge.h"
#include "svw_param_db.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>


#define SVW_KEEP_PAUSE    20            /* ms between two transactions: the counter goes first */
#define SVW_KEEP_ROUND    10000         /* ms: then it is another job's turn, until the next round */
#define SVW_KEEP_PENDING  300           /* s beyond the life of a cache entry */
#define SVW_KEEP_DAY      86400

/* scans: days, but not fewer than the judge looks back when it is built anew */
typedef enum { SVW_KEEP_MS, SVW_KEEP_DAYS, SVW_KEEP_SCANS, SVW_KEEP_FIXED } svw_keep_unit_t;

typedef struct {
    const char       *name;
    const char       *sql;
    size_t            setting;
    svw_keep_unit_t   unit;             /* of the setting; fixed: there is none */
    unsigned          more;             /* s */
    const char       *limit;            /* rows, pages, cases: a transaction */
} svw_keep_job_t;

typedef struct {
    int64_t      rows, parts;
    char         oldest[64];            /* "" none */
    char         failed[SVW_TEXT];
} svw_keep_done_t;


static int svw_keep_window(svw_db_t *db, int64_t *window);
static int svw_keep_job(const svw_conf_t *conf, svw_db_t *db, const svw_keep_job_t *job, int64_t window);
static int64_t svw_keep_age(const svw_conf_t *conf, const svw_keep_job_t *job, int64_t window);
static int svw_keep_step(svw_db_t *db, const svw_keep_job_t *job, const char *const *params, svw_keep_done_t *done);


#define SVW_KEEP(name, sql, setting, unit, more, limit)                                                                            \
    { name, "select rows, parts, more, oldest from sv." sql "now() - make_interval(secs => $1::bigint), $2)",                      \
      offsetof(svw_conf_t, setting), unit, more, limit }

/* by a line of sv.keep_rule */
#define SVW_KEEP_ROWS(name, setting, unit, more, limit)  SVW_KEEP(name, "keep_rows('" name "', ", setting, unit, more, limit)

/* The audit trail, and with it what an export of any day needs, is kept for ever. */
static const svw_keep_job_t  svw_keep_jobs[] = {
    SVW_KEEP("stages", "keep_stages(", work_keep, SVW_KEEP_DAYS, 0, "1"),
    SVW_KEEP_ROWS("idempotency", idempotency_keep, SVW_KEEP_MS, 0, "1000"),
    SVW_KEEP_ROWS("cache_writes", cache_ttl, SVW_KEEP_MS, SVW_KEEP_PENDING, "1000"),
    SVW_KEEP("sessions", "keep_sessions(", session_keep, SVW_KEEP_SCANS, 0, "64"),
    SVW_KEEP("case_sessions", "keep_case_sessions(", session_keep, SVW_KEEP_SCANS, 0, "20"),
    SVW_KEEP("scans", "keep_scans(", scan_keep, SVW_KEEP_SCANS, 0, "1000"),
    SVW_KEEP("findings", "keep_findings(", finding_keep, SVW_KEEP_DAYS, 0, "1000"),
    SVW_KEEP("cases", "keep_cases(", case_keep, SVW_KEEP_DAYS, 0, "20"),
    SVW_KEEP("quiet_cases", "keep_quiet_cases(", work_keep, SVW_KEEP_SCANS, 0, "20"),
    SVW_KEEP_ROWS("loads", work_keep, SVW_KEEP_FIXED, 7 * SVW_KEEP_DAY, "100"),
    SVW_KEEP("load_errors", "keep_errors(", work_keep, SVW_KEEP_DAYS, 0, "1000"),
    SVW_KEEP_ROWS("quarantine", work_keep, SVW_KEEP_DAYS, 0, "100"),
    SVW_KEEP_ROWS("captures", work_keep, SVW_KEEP_DAYS, 0, "1000"),
    SVW_KEEP_ROWS("notifications", work_keep, SVW_KEEP_DAYS, 0, "1000"),
    SVW_KEEP_ROWS("refused", session_keep, SVW_KEEP_SCANS, 0, "1000"),
    SVW_KEEP_ROWS("gateways", scan_keep, SVW_KEEP_DAYS, 0, "1000"),
    SVW_KEEP_ROWS("receivers", work_keep, SVW_KEEP_FIXED, 30 * SVW_KEEP_DAY, "1")
};


/* What is too old goes, job by job. One that fails is told and tried again in the next round. */
int
svw_keep(const svw_conf_t *conf, svw_db_t *db)
{
    int      failed;
    size_t   i;
    int64_t  window;

    failed = 0;

    if (svw_keep_window(db, &window) != 0) {
        return 1;
    }

    for (i = 0; i < sizeof(svw_keep_jobs) / sizeof(svw_keep_jobs[0]) && !svw_stopping(); i++) {
        if (db->pg == NULL || PQstatus(db->pg) != CONNECTION_OK) {
            return failed + 1;
        }

        failed += svw_keep_job(conf, db, &svw_keep_jobs[i], window) != 0;
    }

    return failed;
}


/*
 * How far back the judge reads when it is built anew, and a day for clocks that
 * differ.  Were scans or who made them gone by then, it would say less of a case
 * than it had said.
 */
static int
svw_keep_window(svw_db_t *db, int64_t *window)
{
    svw_params_t  params;

    if (db->pg == NULL || PQstatus(db->pg) != CONNECTION_OK || svw_param_db_read(db, &params) != 0) {
        svw_log(SVW_LOG_ERROR, "parameters of the rules: %s", db->error);
        return -1;
    }

    *window = svw_judge_memory_ms(&params) / 1000 + SVW_KEEP_DAY;

    return 0;
}


static int
svw_keep_job(const svw_conf_t *conf, svw_db_t *db, const svw_keep_job_t *job, int64_t window)
{
    int               rc;
    char              age[24], took[24], rows[24], parts[24];
    int64_t           start;
    const char       *params[7];
    svw_keep_done_t   done;

    snprintf(age, sizeof(age), "%" PRId64, svw_keep_age(conf, job, window));
    params[0] = age;
    params[1] = job->limit;

    done = (svw_keep_done_t) { .rows = 0 };
    start = svw_now_ms();

    while ((rc = svw_keep_step(db, job, params, &done)) == 1 && !svw_stopping() && svw_now_ms() - start < SVW_KEEP_ROUND) {
        svw_pause(SVW_KEEP_PAUSE);
    }

    if (done.rows > 0 || done.parts > 0) {
        svw_log(SVW_LOG_INFO, "%s: %" PRId64 " rows, %" PRId64 " partitions or tables", job->name, done.rows, done.parts);
    }

    snprintf(took, sizeof(took), "%" PRId64, svw_now_ms() - start);
    snprintf(rows, sizeof(rows), "%" PRId64, done.rows);
    snprintf(parts, sizeof(parts), "%" PRId64, done.parts);
    params[0] = job->name;
    params[1] = took;
    params[2] = rows;
    params[3] = parts;
    params[4] = age;
    params[5] = done.oldest[0] != '\0' ? done.oldest : NULL;
    params[6] = done.failed[0] != '\0' ? done.failed : NULL;

    if (db->pg != NULL && PQstatus(db->pg) == CONNECTION_OK) {
        (void) svw_db_do(db, "select sv.keep_note($1, $2, $3, $4, now() - make_interval(secs => $5::bigint), $6, $7)", 7, params);
    }

    return rc == -1 ? -1 : 0;
}


/* s */
static int64_t
svw_keep_age(const svw_conf_t *conf, const svw_keep_job_t *job, int64_t window)
{
    int64_t   age;
    unsigned  setting;

    memcpy(&setting, (const char *) conf + job->setting, sizeof(setting));

    switch (job->unit) {

    case SVW_KEEP_MS:
        return (int64_t) setting / 1000 + job->more;

    case SVW_KEEP_DAYS:
        return (int64_t) setting * SVW_KEEP_DAY + job->more;

    case SVW_KEEP_SCANS:
        age = (int64_t) setting * SVW_KEEP_DAY + job->more;
        return age > window ? age : window;

    default:
        return job->more;
    }
}


/* 1: there is more; 0: that was all, or it has to wait; -1: failed */
static int
svw_keep_step(svw_db_t *db, const svw_keep_job_t *job, const char *const *params, svw_keep_done_t *done)
{
    int           more;
    PGresult     *result;
    const char   *oldest;
    svw_db_rc_t   rc;

    rc = svw_db_query(db, &result, job->sql, 2, params);

    if (rc == SVW_DB_RETRY) {
        return 0;
    }

    if (rc != SVW_DB_OK) {
        snprintf(done->failed, sizeof(done->failed), "%s", db->error);
        svw_log(SVW_LOG_ERROR, "%s: %s", job->name, db->error);
        return -1;
    }

    done->rows += svw_col_int(result, 0, "rows");
    done->parts += svw_col_int(result, 0, "parts");
    oldest = svw_col(result, 0, "oldest");
    snprintf(done->oldest, sizeof(done->oldest), "%s", oldest != NULL ? oldest : "");
    more = *svw_col(result, 0, "more") == 't';
    PQclear(result);

    return more;
}
