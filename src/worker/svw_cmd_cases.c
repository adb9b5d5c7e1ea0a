#include "svw_cmd.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>


#define SVW_CASES_OPEN  "new,acknowledged,investigating,reopened"


static int svw_cases_list(svw_command_t *command);
static int svw_cases_show(svw_command_t *command);
static void svw_cases_line(const char *text);
static const char *svw_cases_text(const json_t *json, const char *name);


/* What rules found in scans, for reading. */
int
svw_cmd_cases(svw_command_t *command)
{
    if (command->argc >= 2 && strcmp(command->argv[1], "list") == 0) {
        return svw_cases_list(command);
    }

    if (command->argc == 3 && strcmp(command->argv[1], "show") == 0) {
        return svw_cases_show(command);
    }

    fprintf(stderr, "serial-verify-worker: cases list or cases show NUMBER, see cases --help\n");

    return SVW_EXIT_USAGE;
}


static int
svw_cases_list(svw_command_t *command)
{
    int                 i, rc, json;
    char                number[16], *filter;
    json_t             *asked;
    svw_db_t            db;
    PGresult           *result;
    const char         *status, *severity, *rule, *gtin, *lot, *limit, *params[2];
    const svw_option_t  options[] = {
        { "--status", &status, 0 }, { "--severity", &severity, 0 }, { "--rule", &rule, 0 }, { "--gtin", &gtin, 0 },
        { "--lot", &lot, 0 }, { "--limit", &limit, 0 }, { NULL, NULL, 0 }
    };

    status = severity = rule = gtin = lot = limit = NULL;
    json = svw_cmd_flag(command, "--json");

    if (svw_cmd_options(command, 2, options) != 0 || svw_cmd_number("--limit", limit) != 0
        || (gtin != NULL && svw_cmd_gtin(gtin, number) != 0))
    {
        return SVW_EXIT_USAGE;
    }

    if (svw_cmd_connect(command, &db) != 0) {
        return SVW_EXIT_BUSY;
    }

    asked = json_pack("{s:s, s:s*, s:s*, s:s*, s:s*}", "status", status != NULL ? status : SVW_CASES_OPEN, "severity", severity,
                      "rule", rule, "gtin", gtin, "lot", lot);
    filter = asked != NULL ? json_dumps(asked, JSON_COMPACT) : NULL;
    json_decref(asked);

    params[0] = filter;
    params[1] = limit != NULL ? limit : "50";

    rc = svw_cmd_query(&db, "select * from sv.cases($1, $2)", 2, params, &result);
    svw_db_close(&db);
    free(filter);

    if (rc != SVW_EXIT_OK) {
        return rc;
    }

    for (i = 0; i < PQntuples(result); i++) {
        if (json) {
            printf("%s\n", PQgetvalue(result, i, 0));
        } else {
            svw_cases_line(PQgetvalue(result, i, 0));
        }
    }

    if (PQntuples(result) == 0 && !json) {
        printf("no such case\n");
    }

    PQclear(result);

    return SVW_EXIT_OK;
}


static int
svw_cases_show(svw_command_t *command)
{
    int          rc;
    char        *text;
    json_t      *json;
    svw_db_t     db;
    PGresult    *result;
    const char  *params[1];

    if (svw_cmd_connect(command, &db) != 0) {
        return SVW_EXIT_BUSY;
    }

    params[0] = command->argv[2];
    rc = svw_cmd_query(&db, "select sv.case_show($1)", 1, params, &result);
    svw_db_close(&db);

    if (rc != SVW_EXIT_OK) {
        return rc;
    }

    json = json_loads(PQgetvalue(result, 0, 0), 0, NULL);
    PQclear(result);

    text = json != NULL ? json_dumps(json, JSON_INDENT(2)) : NULL;
    json_decref(json);

    if (text == NULL) {
        fprintf(stderr, "serial-verify-worker: out of memory\n");
        return SVW_EXIT_FAILED;
    }

    printf("%s\n", text);
    free(text);

    return SVW_EXIT_OK;
}


static void
svw_cases_line(const char *text)
{
    json_t      *json;
    const char  *lot;

    json = json_loads(text, 0, NULL);
    lot = svw_cases_text(json, "lot");

    printf("%-6" JSON_INTEGER_FORMAT "  %-8s  %-13s  %-16s  %-24s  %s%s%s\n        %s, %" JSON_INTEGER_FORMAT " serials, %"
           JSON_INTEGER_FORMAT " scans, changed %s\n",
           json_integer_value(json_object_get(json, "number")), svw_cases_text(json, "severity"), svw_cases_text(json, "status"),
           json_is_true(json_object_get(json, "proposed_closure")) ? "proposed_closure" : "asks", svw_cases_text(json, "rule"),
           svw_cases_text(json, "gtin"), lot[0] != '\0' ? " lot " : "", lot, svw_cases_text(json, "cause"),
           json_integer_value(json_object_get(json, "serials")), json_integer_value(json_object_get(json, "scans")),
           svw_cases_text(json, "changed_at"));

    json_decref(json);
}


static const char *
svw_cases_text(const json_t *json, const char *name)
{
    const char  *text;

    text = json_string_value(json_object_get(json, name));

    return text != NULL ? text : "";
}
