#include "svw_audit.h"

#include "svw_pool.h"

#include <inttypes.h>
#include <stdlib.h>


#define SVW_DAYS_AHEAD  "7"             /* partitions of scans */
#define SVW_BATCH       100             /* events that wait for their packs, cases: a transaction */
#define SVW_BATCH_TEXT  "100"
#define SVW_PAUSE       20              /* ms: the counter goes first */


static void svw_housekeeping_round(svw_conf_t *conf, svw_db_t *db);
static int svw_housekeeping_sign(svw_conf_t *conf, svw_db_t *db);
static int64_t svw_housekeeping_all(svw_db_t *db, const char *sql);
static int64_t svw_housekeeping_call(svw_db_t *db, const char *sql, int n, const char *const *params);


int
svw_housekeeping_run(svw_conf_t *conf)
{
    svw_db_t  db;

    svw_db_init(&db, conf->postgres, "serial-verify-worker housekeeping");

    while (svw_db_ensure(&db) == 0) {
        svw_housekeeping_round(conf, &db);
        svw_pause(conf->housekeeping_interval);
    }

    svw_db_close(&db);

    return SVW_EXIT_OK;
}


/* Each step for itself: one that fails is told and tried again in the next round. */
static void
svw_housekeeping_round(svw_conf_t *conf, svw_db_t *db)
{
    int          failed;
    char         months[16], text[SVW_TEXT];
    int64_t      made, days, heads, lots, parked, salts, cases;
    const char  *params[2];

    const char *const  ahead[] = { SVW_DAYS_AHEAD };

    snprintf(months, sizeof(months), "%u", conf->months_ahead);
    params[0] = months;

    made = svw_housekeeping_call(db, "select sv.keep_partitions($1)", 1, params);
    salts = svw_housekeeping_call(db, "select sv.keep_salts()", 0, NULL);
    days = svw_housekeeping_call(db, "select sv.keep_days($1)", 1, ahead);
    heads = svw_housekeeping_sign(conf, db);
    lots = svw_reconcile(db);
    parked = svw_housekeeping_all(db, "select sv.park_retry($1)");
    cases = svw_housekeeping_all(db, "select sv.case_unmute($1)");

    failed = svw_keep(conf, db);

    if (made > 0 || days > 0 || parked > 0) {
        svw_log(SVW_LOG_INFO, "made %" PRId64 " partitions; looked at %" PRId64 " events that wait", made + days, parked);
    }

    snprintf(text, sizeof(text), "last round: %" PRId64 " partitions made, %" PRId64 " events that wait looked at%s",
             (made > 0 ? made : 0) + (days > 0 ? days : 0), parked,
             made < 0 || days < 0 || heads < 0 || lots < 0 || parked < 0 || salts < 0 || cases < 0 || failed > 0
             ? "; a step failed, see the log" : "");
    params[0] = "housekeeping";
    params[1] = text;

    (void) svw_housekeeping_call(db, "select sv.figure_set($1, $2)", 2, params);
}


/* heads for the days that have ended since the last one */
static int
svw_housekeeping_sign(svw_conf_t *conf, svw_db_t *db)
{
    int   n;
    char  error[SVW_TEXT];

    if (conf->audit_key == NULL || db->pg == NULL || PQstatus(db->pg) != CONNECTION_OK) {
        return 0;
    }

    n = svw_audit_sign(conf, db, 0, "worker", error);

    if (n < 0) {
        svw_log(SVW_LOG_ERROR, "%s", error);
    } else if (n > 0) {
        svw_log(SVW_LOG_NOTICE, "signed %d heads of the audit chain", n);
    }

    return n;
}


/* What a function does a batch of, until there is no more; how many */
static int64_t
svw_housekeeping_all(svw_db_t *db, const char *sql)
{
    int64_t  n, all;

    const char *const  batch[] = { SVW_BATCH_TEXT };

    for (all = 0; !svw_stopping(); all += n) {
        n = svw_housekeeping_call(db, sql, 1, batch);

        if (n < 0) {
            return n;
        }

        if (n < SVW_BATCH) {
            return all + n;
        }

        svw_pause(SVW_PAUSE);
    }

    return all;
}


/* the number that the function returned, -1 when it failed */
static int64_t
svw_housekeeping_call(svw_db_t *db, const char *sql, int n, const char *const *params)
{
    int64_t    value;
    PGresult  *result;

    if (db->pg == NULL || PQstatus(db->pg) != CONNECTION_OK) {
        return -1;
    }

    if (svw_db_query(db, &result, sql, n, params) != SVW_DB_OK) {
        svw_log(SVW_LOG_ERROR, "%s: %s", sql, db->error);
        return -1;
    }

    value = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    PQclear(result);

    return value;
}
