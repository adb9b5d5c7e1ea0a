#include "svw_cmd.h"

#include "svw_quarantine.h"

#include <stdlib.h>
#include <string.h>


typedef struct {
    const char  *name;
    int        (*run)(svw_command_t *command);
} svw_quarantine_command_t;


static int svw_quarantine_list(svw_command_t *command);
static int svw_quarantine_show(svw_command_t *command);
static int svw_quarantine_release_command(svw_command_t *command);
static int svw_quarantine_discard(svw_command_t *command);
static int svw_quarantine_id(svw_command_t *command);
static int svw_quarantine_set(svw_quarantine_edit_t *edit, const char *value);


static const svw_quarantine_command_t  svw_quarantine_commands[] = {
    { "list", svw_quarantine_list },
    { "show", svw_quarantine_show },
    { "release", svw_quarantine_release_command },
    { "discard", svw_quarantine_discard },
    { NULL, NULL }
};


int
svw_cmd_quarantine(svw_command_t *command)
{
    const svw_quarantine_command_t  *c;

    for (c = svw_quarantine_commands; c->name != NULL; c++) {
        if (command->argc > 1 && strcmp(command->argv[1], c->name) == 0) {
            return c->run(command);
        }
    }

    fprintf(stderr, "serial-verify-worker: quarantine takes list, show, release or discard, see quarantine --help\n");

    return SVW_EXIT_USAGE;
}


static int
svw_quarantine_list(svw_command_t *command)
{
    int                 i, rc;
    svw_db_t            db;
    PGresult           *result;
    const char         *params[6] = { NULL };
    const svw_option_t  options[] = {
        { "--state", &params[0], 0 }, { "--reason", &params[1], 0 }, { "--company", &params[2], 0 }, { "--load", &params[3], 0 },
        { "--after", &params[4], 0 }, { "--limit", &params[5], 0 }, { NULL, NULL, 0 }
    };

    if (svw_cmd_options(command, 2, options) != 0) {
        return SVW_EXIT_USAGE;
    }

    if (svw_cmd_connect(command, &db) != 0) {
        return SVW_EXIT_BUSY;
    }

    rc = svw_cmd_query(&db, "select * from sv.quarantine_list($1, $2, $3, $4, $5, $6)", 6, params, &result);
    svw_db_close(&db);

    if (rc != SVW_EXIT_OK) {
        return rc;
    }

    printf("%-10s  %-20s  %-10s  %9s  %7s  %-26s  %s\n", "id", "since", "state", "packs", "event", "reason", "file");

    for (i = 0; i < PQntuples(result); i++) {
        printf("%-10s  %-20s  %-10s  %9s  %7s  %-26s  %s (load %s)\n", svw_col(result, i, "quarantine_id"), svw_col(result, i, "since"),
               svw_col(result, i, "state"), svw_col(result, i, "packs"), svw_col(result, i, "event"), svw_col(result, i, "reason"),
               svw_col(result, i, "file"), svw_col(result, i, "load_id"));
    }

    PQclear(result);

    return SVW_EXIT_OK;
}


static int
svw_quarantine_show(svw_command_t *command)
{
    int          rc;
    json_t      *shown;
    svw_db_t     db;
    PGresult    *result;
    const char  *params[1];

    if (svw_quarantine_id(command) != 0 || command->argc != 3) {
        fprintf(stderr, "serial-verify-worker: quarantine show takes a number of `quarantine list'\n");
        return SVW_EXIT_USAGE;
    }

    if (svw_cmd_connect(command, &db) != 0) {
        return SVW_EXIT_BUSY;
    }

    params[0] = command->argv[2];
    rc = svw_cmd_query(&db, "select sv.quarantine_show($1)", 1, params, &result);
    svw_db_close(&db);

    if (rc != SVW_EXIT_OK) {
        return rc;
    }

    shown = json_loads(PQgetvalue(result, 0, 0), 0, NULL);
    PQclear(result);

    rc = shown != NULL && json_dumpf(shown, stdout, JSON_INDENT(2)) == 0 ? SVW_EXIT_OK : SVW_EXIT_FAILED;
    printf("\n");
    json_decref(shown);

    return rc;
}


static int
svw_quarantine_release_command(svw_command_t *command)
{
    int                     i, bad;
    const char             *reason, *option, *value;
    svw_quarantine_edit_t   edit;

    edit = (svw_quarantine_edit_t) { 0 };
    reason = NULL;
    bad = svw_quarantine_id(command) != 0;

    for (i = 3; i < command->argc && !bad; i++) {
        option = command->argv[i];

        if (strcmp(option, "--drop-bad-epcs") == 0) {
            edit.drop_bad_epcs = 1;
            continue;
        }

        value = i + 1 < command->argc ? command->argv[++i] : "";

        if (strcmp(option, "--reason") == 0 && reason == NULL) {
            reason = value;
        } else if (strcmp(option, "--replace-epc") == 0 && edit.n_replace < SVW_QUARANTINE_EPCS) {
            edit.replace[edit.n_replace++] = value;
        } else {
            bad = strcmp(option, "--set") != 0 || svw_quarantine_set(&edit, value) != 0;
        }
    }

    if (bad || reason == NULL || *reason == '\0') {
        fprintf(stderr, "serial-verify-worker: quarantine release takes a number of `quarantine list', --reason, and what is to be\n"
                        "changed: --set lot=.., expiry=YYYY-MM-DD or step=.., --drop-bad-epcs, --replace-epc OLD=NEW\n");
        return SVW_EXIT_USAGE;
    }

    svw_log_open(NULL, SVW_LOG_ERROR, "quarantine");
    svw_stop_signals(command->conf->drain_timeout);

    return svw_quarantine_release(command->conf, command->argv[2], &edit, reason);
}


static int
svw_quarantine_discard(svw_command_t *command)
{
    int                 rc;
    char                actor[64];
    svw_db_t            db;
    const char         *params[3] = { NULL };
    const svw_option_t  options[] = { { "--reason", &params[1], 1 }, { NULL, NULL, 0 } };

    if (svw_quarantine_id(command) != 0 || svw_cmd_options(command, 3, options) != 0) {
        fprintf(stderr, "serial-verify-worker: quarantine discard takes a number of `quarantine list' and --reason\n");
        return SVW_EXIT_USAGE;
    }

    if (svw_cmd_connect(command, &db) != 0) {
        return SVW_EXIT_BUSY;
    }

    svw_cmd_actor(actor);
    params[0] = command->argv[2];
    params[2] = actor;

    rc = svw_cmd_call(&db, "select sv.quarantine_discard($1, $2, $3)", 3, params, NULL);
    svw_db_close(&db);

    if (rc == SVW_EXIT_OK) {
        printf("%s is discarded\n", command->argv[2]);
    }

    return rc;
}


static int
svw_quarantine_id(svw_command_t *command)
{
    size_t  len;

    len = command->argc > 2 ? strlen(command->argv[2]) : 0;

    return len > 0 && len <= 18 && strspn(command->argv[2], "0123456789") == len ? 0 : -1;
}


static int
svw_quarantine_set(svw_quarantine_edit_t *edit, const char *value)
{
    size_t       i;
    const char  *equal;

    const struct {
        const char   *name;
        const char  **value;
    } known[] = { { "lot", &edit->lot }, { "expiry", &edit->expiry }, { "step", &edit->step } };

    equal = strchr(value, '=');

    for (i = 0; equal != NULL && equal[1] != '\0' && i < sizeof(known) / sizeof(known[0]); i++) {
        if (strlen(known[i].name) == (size_t) (equal - value) && strncmp(value, known[i].name, (size_t) (equal - value)) == 0
            && *known[i].value == NULL)
        {
            *known[i].value = equal + 1;
            return 0;
        }
    }

    return -1;
}
