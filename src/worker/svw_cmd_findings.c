#include "svw_cmd.h"

#include <stdlib.h>
#include <string.h>


static int svw_findings_check(const char *days, const char *limit);
static void svw_findings_json(const PGresult *result);


/* What contradicts, is missing or does not agree: the newest first. */
int
svw_cmd_findings(svw_command_t *command)
{
    int                 i, rc, all, json;
    char                number[16];
    svw_db_t            db;
    PGresult           *result;
    const char         *rule, *gtin, *days, *limit, *params[5];
    const svw_option_t  options[] = {
        { "--rule", &rule, 0 }, { "--gtin", &gtin, 0 }, { "--days", &days, 0 }, { "--limit", &limit, 0 }, { NULL, NULL, 0 }
    };

    rule = gtin = days = limit = NULL;
    all = svw_cmd_flag(command, "--all");
    json = svw_cmd_flag(command, "--json");

    if (svw_cmd_options(command, 1, options) != 0 || (gtin != NULL && svw_cmd_gtin(gtin, number) != 0)
        || svw_findings_check(days, limit) != 0)
    {
        return SVW_EXIT_USAGE;
    }

    if (svw_cmd_connect(command, &db) != 0) {
        return SVW_EXIT_BUSY;
    }

    params[0] = rule;
    params[1] = gtin != NULL ? number : NULL;
    params[2] = all ? "false" : "true";
    params[3] = days != NULL ? days : "7";
    params[4] = limit != NULL ? limit : "100";

    rc = svw_cmd_query(&db, "select to_char(f.at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') as at, f.rule,"
                            " lpad(f.gtin::text, 14, '0') as gtin, f.serial, f.lot, f.detail, to_jsonb(f) as finding"
                            " from sv.findings($1, $2, $3, $4, $5) f", 5, params, &result);
    svw_db_close(&db);

    if (rc != SVW_EXIT_OK) {
        return rc;
    }

    if (json) {
        svw_findings_json(result);
    }

    for (i = 0; i < PQntuples(result) && !json; i++) {
        printf("%s  %s  %s%s%s%s%s\n    %s\n", svw_col(result, i, "at"), svw_col(result, i, "rule"), svw_col(result, i, "gtin"),
               svw_col(result, i, "serial") != NULL ? " serial " : "", svw_col(result, i, "serial") != NULL ? svw_col(result, i, "serial") : "",
               svw_col(result, i, "lot") != NULL ? " lot " : "", svw_col(result, i, "lot") != NULL ? svw_col(result, i, "lot") : "",
               svw_col(result, i, "detail"));
    }

    if (PQntuples(result) == 0 && !json) {
        printf("no %sfinding of the last %s days\n", all ? "" : "open ", params[3]);
    }

    PQclear(result);

    return SVW_EXIT_OK;
}


static int
svw_findings_check(const char *days, const char *limit)
{
    if (svw_cmd_number("--days", days) != 0 || svw_cmd_number("--limit", limit) != 0) {
        return -1;
    }

    if (days != NULL && strtol(days, NULL, 10) > 36500) {
        fprintf(stderr, "serial-verify-worker: --days \"%s\": 36500 at most\n", days);
        return -1;
    }

    return 0;
}


/* one line each */
static void
svw_findings_json(const PGresult *result)
{
    int  i;

    for (i = 0; i < PQntuples(result); i++) {
        printf("%s\n", svw_col(result, i, "finding"));
    }
}
