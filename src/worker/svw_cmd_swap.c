#include "svw_cmd.h"

#include <stdio.h>
#include <stdlib.h>


static int svw_swap_number(const char *name, const char *text);


/* A person decides which of the contradicting commissionings of a pack counts. */
int
svw_cmd_swap(svw_command_t *command)
{
    int                 rc;
    char                number[16], actor[64];
    svw_db_t            db;
    const char         *gtin, *serial, *load, *event, *reason, *params[6];
    const svw_option_t  options[] = {
        { "--gtin", &gtin, 1 }, { "--serial", &serial, 1 }, { "--load", &load, 1 }, { "--event", &event, 0 },
        { "--reason", &reason, 1 }, { NULL, NULL, 0 }
    };

    gtin = serial = load = event = reason = NULL;

    if (svw_cmd_options(command, 1, options) != 0 || svw_cmd_gtin(gtin, number) != 0
        || svw_swap_number("--load", load) != 0 || (event != NULL && svw_swap_number("--event", event) != 0))
    {
        return SVW_EXIT_USAGE;
    }

    if (svw_cmd_connect(command, &db) != 0) {
        return SVW_EXIT_BUSY;
    }

    svw_cmd_actor(actor);

    params[0] = number;
    params[1] = serial;
    params[2] = load;
    params[3] = event;
    params[4] = actor;
    params[5] = reason;

    rc = svw_cmd_call(&db, "select sv.swap_commission($1, $2, $3, $4, $5, $6)", 6, params, NULL);

    if (rc == SVW_EXIT_OK) {
        printf("serial \"%s\" of %s is as load %s says\n", serial, gtin, load);
    }

    svw_db_close(&db);

    return rc;
}


static int
svw_swap_number(const char *name, const char *text)
{
    long   n;
    char  *end;

    n = strtol(text, &end, 10);

    if (end != text && *end == '\0' && n > 0 && n <= INT32_MAX) {
        return 0;
    }

    fprintf(stderr, "serial-verify-worker: %s: \"%s\" is not a number of 1 and above\n", name, text);

    return -1;
}
