#include "svw_cmd.h"

#include "svw_load.h"

#include <inttypes.h>
#include <string.h>


static int svw_lot_declare(svw_command_t *command);
static int svw_lot_show(svw_command_t *command);
static int svw_lot_print(svw_db_t *db, const char *gtin, const char *lot);


int
svw_cmd_lot(svw_command_t *command)
{
    if (command->argc >= 2 && strcmp(command->argv[1], "declare") == 0) {
        return svw_lot_declare(command);
    }

    if (command->argc >= 2 && strcmp(command->argv[1], "show") == 0) {
        return svw_lot_show(command);
    }

    fprintf(stderr, "serial-verify-worker: lot declare or lot show, see lot --help\n");

    return SVW_EXIT_USAGE;
}


static int
svw_lot_declare(svw_command_t *command)
{
    int                 rc;
    char                number[16], actor[64];
    svw_db_t            db;
    PGresult           *result;
    const char         *gtin = NULL, *lot = NULL, *packs = NULL, *rejected = NULL, *aggregated = NULL, *params[6];
    const svw_option_t  options[] = {
        { "--gtin", &gtin, 1 }, { "--lot", &lot, 1 }, { "--packs", &packs, 1 }, { "--rejected", &rejected, 0 },
        { "--aggregated", &aggregated, 0 }, { NULL, NULL, 0 }
    };

    if (svw_cmd_options(command, 2, options) != 0 || svw_cmd_gtin(gtin, number) != 0 || svw_cmd_number("--packs", packs) != 0
        || svw_cmd_number("--rejected", rejected) != 0 || svw_cmd_number("--aggregated", aggregated) != 0)
    {
        return SVW_EXIT_USAGE;
    }

    svw_cmd_actor(actor);
    params[0] = number;
    params[1] = lot;
    params[2] = packs;
    params[3] = rejected;
    params[4] = aggregated;
    params[5] = actor;

    if (svw_cmd_connect(command, &db) != 0) {
        return SVW_EXIT_BUSY;
    }

    rc = svw_cmd_query(&db, "select sv.declare_lot(null, $1, $2, $3, $4, $5, $6)", 6, params, &result);

    if (rc == SVW_EXIT_OK) {
        printf("%s lot \"%s\": %s\n", number, lot, *PQgetvalue(result, 0, 0) == 't' ? "declared" : "was declared so already");
        PQclear(result);
    }

    svw_db_close(&db);

    return rc;
}


static int
svw_lot_show(svw_command_t *command)
{
    int                 rc;
    char                number[16];
    svw_db_t            db;
    const char         *gtin = NULL, *lot = NULL;
    const svw_option_t  options[] = { { "--gtin", &gtin, 1 }, { "--lot", &lot, 1 }, { NULL, NULL, 0 } };

    if (svw_cmd_options(command, 2, options) != 0 || svw_cmd_gtin(gtin, number) != 0) {
        return SVW_EXIT_USAGE;
    }

    if (svw_cmd_connect(command, &db) != 0) {
        return SVW_EXIT_BUSY;
    }

    rc = svw_lot_print(&db, number, lot);
    svw_db_close(&db);

    return rc;
}


static int
svw_lot_print(svw_db_t *db, const char *gtin, const char *lot)
{
    int           rc;
    size_t        i;
    json_t       *json, *figures, *differences, *value;
    PGresult     *result;
    const char   *params[2], *name;

    static const struct { const char  *name, *text; }  lines[] = {
        { "declared", "declared" }, { "commissioned", "commissioned" }, { "declared_rejected", "declared rejected" },
        { "rejected", "rejected" }, { "destroyed", "destroyed" }, { "sampled", "sampled" },
        { "declared_aggregated", "declared aggregated" }, { "aggregated", "aggregated" }, { "issued", "numbers issued" },
        { "returned", "numbers returned" }, { "missing", "numbers missing" }, { "outside", "outside issued" },
        { "late", "after their time" }
    };

    params[0] = gtin;
    params[1] = lot;
    rc = svw_cmd_query(db, "select sv.lot_show(null, $1, $2)", 2, params, &result);

    if (rc != SVW_EXIT_OK) {
        return rc;
    }

    json = json_loads(PQgetvalue(result, 0, 0), 0, NULL);
    PQclear(result);
    figures = json_object_get(json, "figures");
    differences = json_object_get(json, "differences");

    for (i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        value = json_object_get(figures, lines[i].name);

        if (value != NULL) {
            printf("%-20s %" JSON_INTEGER_FORMAT "\n", lines[i].text, json_integer_value(value));
        }
    }

    json_object_foreach(differences, name, value) {
        printf("does not agree: %s\n", name);
    }

    printf("%-20s %s\n", "reconciled", json_is_string(json_object_get(json, "reconciled_at")) ? svw_text_of(json, "reconciled_at") : "not yet");
    rc = json_object_size(differences) > 0 ? SVW_EXIT_FAILED : SVW_EXIT_OK;
    json_decref(json);

    return rc;
}
