#include "svw_cmd.h"

#include <inttypes.h>
#include <string.h>


#define SVW_REFUSED_SHOWN  2000         /* bytes of one; --json has all */


static int svw_refused_list(svw_command_t *command);
static void svw_refused_row(const PGresult *result, int i);
static void svw_refused_text(const char *text);
static int svw_refused_again(svw_command_t *command);


/* What cannot be judged and was put aside, so that what comes behind it is. */
int
svw_cmd_refused(svw_command_t *command)
{
    if (command->argc > 1 && strcmp(command->argv[1], "again") == 0) {
        return svw_refused_again(command);
    }

    return svw_refused_list(command);
}


static int
svw_refused_list(svw_command_t *command)
{
    int                 i, rc, json;
    svw_db_t            db;
    PGresult           *result;
    const char         *after, *limit, *params[2];
    const svw_option_t  options[] = { { "--after", &after, 0 }, { "--limit", &limit, 0 }, { NULL, NULL, 0 } };

    after = limit = NULL;
    json = svw_cmd_flag(command, "--json");

    if (svw_cmd_options(command, 1, options) != 0 || svw_cmd_number("--after", after) != 0 || svw_cmd_number("--limit", limit) != 0) {
        return SVW_EXIT_USAGE;
    }

    if (svw_cmd_connect(command, &db) != 0) {
        return SVW_EXIT_BUSY;
    }

    params[0] = after != NULL ? after : "0";
    params[1] = limit != NULL ? limit : "100";

    rc = svw_cmd_query(&db, "select r.*, to_jsonb(r) as json from sv.refused_list($1, $2) r", 2, params, &result);
    svw_db_close(&db);

    if (rc != SVW_EXIT_OK) {
        return rc;
    }

    for (i = 0; i < PQntuples(result); i++) {
        if (json) {
            printf("%s\n", svw_col(result, i, "json"));
        } else {
            svw_refused_row(result, i);
        }
    }

    if (PQntuples(result) == 0 && !json) {
        printf("nothing was put aside\n");
    }

    PQclear(result);

    return SVW_EXIT_OK;
}


static void
svw_refused_row(const PGresult *result, int i)
{
    const char  *code, *what;

    code = svw_col(result, i, "code");
    what = svw_col(result, i, "what");

    printf("%s  %s  %s%s\n    %s%s%s\n", svw_col(result, i, "n"), svw_col(result, i, "at"), svw_col(result, i, "source"),
           svw_col(result, i, "again")[0] == 't' ? " (to be judged again)" : "", svw_col(result, i, "reason"), *code != '\0' ? ", " : "", code);

    if (what != NULL) {
        printf("    ");
        svw_refused_text(what);
        printf("\n");
    }
}


/* Nobody knows what it is: a terminal gets nothing to obey, and no line that looks like one of ours. */
static void
svw_refused_text(const char *text)
{
    size_t  i;

    for (i = 0; text[i] != '\0' && i < SVW_REFUSED_SHOWN; i++) {
        if (text[i] == '\n') {
            printf("\n    ");
        } else {
            putchar(((unsigned char) text[i] < 0x20 && text[i] != '\t') || text[i] == 0x7f ? '?' : text[i]);
        }
    }

    if (text[i] != '\0') {
        printf(" ..");
    }
}


static int
svw_refused_again(svw_command_t *command)
{
    int          rc;
    int64_t      changed;
    svw_db_t     db;
    PGresult    *result;
    const char  *params[1];

    if (command->argc != 3 || (strcmp(command->argv[2], "all") != 0 && svw_cmd_number("again", command->argv[2]) != 0)) {
        fprintf(stderr, "serial-verify-worker: refused again needs one number that refused prints, or all\n");
        return SVW_EXIT_USAGE;
    }

    if (svw_cmd_connect(command, &db) != 0) {
        return SVW_EXIT_BUSY;
    }

    params[0] = strcmp(command->argv[2], "all") != 0 ? command->argv[2] : NULL;
    rc = svw_cmd_query(&db, "select sv.refused_again($1) as n", 1, params, &result);
    svw_db_close(&db);

    if (rc != SVW_EXIT_OK) {
        return rc;
    }

    changed = svw_col_int(result, 0, "n");
    PQclear(result);

    if (changed == 0) {
        fprintf(stderr, "serial-verify-worker: there is no such number; refused lists them\n");
        return SVW_EXIT_FAILED;
    }

    printf("%" PRId64 " to be judged again\n", changed);

    return SVW_EXIT_OK;
}
