#include "svw_cmd.h"

#include "svw_load.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>


static int svw_status_load(svw_db_t *db, const char *number, int json);
static void svw_status_print(const json_t *status);
static void svw_status_loads(const json_t *loads);


int
svw_cmd_status(svw_command_t *command)
{
    int           i, json, rc;
    json_t       *status;
    svw_db_t      db;
    PGresult     *result;
    const char   *load;

    json = 0;
    load = NULL;

    for (i = 1; i < command->argc; i++) {
        if (strcmp(command->argv[i], "--json") == 0) {
            json = 1;

        } else if (strcmp(command->argv[i], "--load") == 0 && i + 1 < command->argc
                   && command->argv[i + 1][0] != '\0' && strlen(command->argv[i + 1]) < 10
                   && strspn(command->argv[i + 1], "0123456789") == strlen(command->argv[i + 1]))
        {
            load = command->argv[++i];

        } else {
            fprintf(stderr, "serial-verify-worker: status takes --json and --load NUMBER\n");
            return SVW_EXIT_USAGE;
        }
    }

    if (svw_cmd_connect(command, &db) != 0) {
        return SVW_EXIT_BUSY;
    }

    if (load != NULL) {
        rc = svw_status_load(&db, load, json);

    } else if (svw_db_query(&db, &result, "select sv.worker_status()", 0, NULL) != SVW_DB_OK) {
        fprintf(stderr, "serial-verify-worker: PostgreSQL: %s\n", db.error);
        rc = SVW_EXIT_FAILED;

    } else {
        status = json_loads(PQgetvalue(result, 0, 0), 0, NULL);

        if (json) {
            json_dumpf(status, stdout, JSON_INDENT(2)|JSON_SORT_KEYS);
            printf("\n");
        } else {
            svw_status_print(status);
        }

        json_decref(status);
        PQclear(result);
        rc = SVW_EXIT_OK;
    }

    svw_db_close(&db);

    return rc;
}


static int
svw_status_load(svw_db_t *db, const char *number, int json)
{
    json_t      *report;
    PGresult    *result;
    const char  *params[1];

    params[0] = number;

    if (svw_db_query(db, &result, "select sv.load_report($1)", 1, params) != SVW_DB_OK) {
        fprintf(stderr, "serial-verify-worker: PostgreSQL: %s\n", db->error);
        return SVW_EXIT_FAILED;
    }

    if (PQgetisnull(result, 0, 0)) {
        fprintf(stderr, "serial-verify-worker: there is no load %s\n", number);
        PQclear(result);
        return SVW_EXIT_FAILED;
    }

    report = json_loads(PQgetvalue(result, 0, 0), 0, NULL);
    PQclear(result);

    if (json) {
        json_dumpf(report, stdout, JSON_INDENT(2)|JSON_SORT_KEYS);
        printf("\n");
    } else {
        svw_report_print(stdout, report);
    }

    json_decref(report);

    return SVW_EXIT_OK;
}


static void
svw_status_print(const json_t *status)
{
    json_t      *outbox, *chain, *object, *value;
    const char  *name;

    outbox = json_object_get(status, "outbox");
    chain = json_object_get(status, "chain");

    printf("schema        %" PRId64 "\n", svw_int_of(status, "schema"));
    printf("outbox        %" PRId64 " rows", svw_int_of(outbox, "rows"));

    if (json_is_number(json_object_get(outbox, "oldest_s"))) {
        printf(", the oldest waits %.1f s", json_number_value(json_object_get(outbox, "oldest_s")));
    }

    printf("\naudit chain   %" PRId64 " rows, head %s\n", svw_int_of(chain, "n"), svw_text_of(chain, "hash"));

    object = json_object_get(status, "pending");

    json_object_foreach(object, name, value) {
        printf("redis         %s: %" JSON_INTEGER_FORMAT " packs still to be told\n", name, json_integer_value(value));
    }

    object = json_object_get(status, "figures");

    json_object_foreach(object, name, value) {
        printf("%-13s %s (%s)\n", name, svw_text_of(value, "value"), svw_text_of(value, "at"));
    }

    svw_status_loads(json_object_get(status, "loads"));
}


static void
svw_status_loads(const json_t *loads)
{
    size_t    i;
    int64_t   total;
    json_t   *load;

    if (json_array_size(loads) == 0) {
        printf("no file was loaded yet\n");
        return;
    }

    printf("\n%6s  %-9s  %-22s  %12s  %9s  %s\n", "load", "state", "progress", "lines", "rejected", "file");

    json_array_foreach(loads, i, load) {
        char  progress[64];

        total = svw_int_of(load, "bytes_total");

        if (strcmp(svw_text_of(load, "phase"), "merging") == 0) {
            snprintf(progress, sizeof(progress), "%" PRId64 " of %" PRId64 " lots merged", svw_int_of(load, "lots_merged"),
                     svw_int_of(load, "lots"));
        } else if (strcmp(svw_text_of(load, "phase"), "reading") == 0) {
            snprintf(progress, sizeof(progress), "%d %% read",
                     (int) (svw_int_of(load, "bytes") * 100 / (total > 0 ? total : 1)));
        } else {
            snprintf(progress, sizeof(progress), "%s", "");
        }

        printf("%6" PRId64 "  %-9s  %-22s  %12" PRId64 "  %9" PRId64 "  %s\n", svw_int_of(load, "load_id"),
               svw_text_of(load, "state"), progress, svw_int_of(load, "lines"), svw_int_of(load, "lines_rejected"),
               svw_text_of(load, "file"));
    }
}
