#include "svw_cmd.h"

#include <string.h>


typedef struct {
    const char  *command;
    int          lot;
    int          reference;
    const char  *sql;
    const char  *done, *already;
} svw_recall_t;


static const svw_recall_t  svw_recalls[] = {
    { "recall", 1, 1, "select sv.recall_lot($1, $2, $3, $4, $5)", "is recalled", "was recalled already, with the same reason" },
    { "lift-recall", 1, 0, "select sv.lift_recall($1, $2, $3, $4)", "is no longer recalled", "" },
    { "withdraw", 0, 1, "select sv.withdraw_product($1, $2, $3, $4)", "is withdrawn", "was withdrawn already, with the same reason" },
    { "lift-withdrawal", 0, 0, "select sv.lift_withdrawal($1, $2, $3)", "is no longer withdrawn", "" }
};


int
svw_cmd_recall(svw_command_t *command)
{
    int                  n, rc, changed;
    char                 number[16], actor[64];
    svw_db_t             db;
    const char          *gtin, *lot, *reason, *reference, *params[5];
    svw_option_t         options[5];
    const svw_recall_t  *r;

    for (r = svw_recalls; strcmp(r->command, command->argv[0]) != 0; r++) { /* void */ }

    gtin = lot = reason = reference = NULL;

    n = 0;
    options[n++] = (svw_option_t) { "--gtin", &gtin, 1 };
    options[n++] = (svw_option_t) { "--reason", &reason, 1 };

    if (r->lot) {
        options[n++] = (svw_option_t) { "--lot", &lot, 1 };
    }

    if (r->reference) {
        options[n++] = (svw_option_t) { "--reference", &reference, 0 };
    }

    options[n] = (svw_option_t) { NULL, NULL, 0 };

    if (svw_cmd_options(command, 1, options) != 0 || svw_cmd_gtin(gtin, number) != 0) {
        return SVW_EXIT_USAGE;
    }

    svw_cmd_actor(actor);

    n = 0;
    params[n++] = number;

    if (r->lot) {
        params[n++] = lot;
    }

    params[n++] = reason;

    if (r->reference) {
        params[n++] = reference;
    }

    params[n++] = actor;

    if (svw_cmd_connect(command, &db) != 0) {
        return SVW_EXIT_BUSY;
    }

    rc = svw_cmd_call(&db, r->sql, n, params, &changed);
    svw_db_close(&db);

    if (rc == SVW_EXIT_OK) {
        printf("%s%s%s%s %s\n", number, r->lot ? " lot \"" : "", r->lot ? lot : "", r->lot ? "\"" : "",
               changed ? r->done : r->already);
    }

    return rc;
}
