#include "svw_cmd.h"

#include "svw_load.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>


static int svw_status_load(svw_db_t *db, const char *number, int json);
static void svw_status_print(const json_t *status);
static void svw_status_counts(const char *title, json_t *object, const char *member, const char *none);
static void svw_status_heads(json_t *audit);
static void svw_status_judge(json_t *judge);
static void svw_status_waiting(const json_t *status);
static void svw_status_attention(const json_t *attention);
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
    size_t       i;
    json_t      *outbox, *chain, *object, *value;
    const char  *name;

    outbox = json_object_get(status, "outbox");
    chain = json_object_get(status, "chain");

    printf("schema        %" PRId64 "\n", svw_int_of(status, "schema"));
    svw_status_counts("running", json_object_get(status, "running"), NULL, "nothing: no process is connected");
    printf("outbox        %" PRId64 " rows", svw_int_of(outbox, "rows"));

    if (json_is_number(json_object_get(outbox, "oldest_s"))) {
        printf(", the oldest waits %.1f s", json_number_value(json_object_get(outbox, "oldest_s")));
    }

    printf("\naudit chain   %" PRId64 " rows, head %s\n", svw_int_of(chain, "n"), svw_text_of(chain, "hash"));
    svw_status_heads(json_object_get(status, "audit"));

    svw_status_judge(json_object_get(status, "judge"));

    object = json_object_get(status, "pending");

    json_object_foreach(object, name, value) {
        printf("redis         %s: %" JSON_INTEGER_FORMAT " packs still to be told\n", name, json_integer_value(value));
    }

    svw_status_waiting(status);

    object = json_object_get(status, "push");

    json_array_foreach(object, i, value) {
        printf("push          %s: %" PRId64 " events sent, %" PRId64 " rows behind\n", svw_text_of(value, "target"),
               svw_int_of(value, "sent"), svw_int_of(value, "behind"));
    }

    object = json_object_get(status, "notify");

    json_array_foreach(object, i, value) {
        printf("notify        %s: %" PRId64 " sent, %" PRId64 " wait, %" PRId64 " cases held\n", svw_text_of(value, "target"),
               svw_int_of(value, "sent"), svw_int_of(value, "waiting"), svw_int_of(value, "held"));
    }

    object = json_object_get(status, "keep");

    json_object_foreach(object, name, value) {
        if (svw_int_of(value, "rows_all") + svw_int_of(value, "parts_all") > 0 || json_is_string(json_object_get(value, "oldest"))) {
            printf("%-13s %" PRId64 " rows and %" PRId64 " partitions went; the oldest: %.10s\n", name, svw_int_of(value, "rows_all"),
                   svw_int_of(value, "parts_all"), json_is_string(json_object_get(value, "oldest")) ? svw_text_of(value, "oldest") : "none");
        }
    }

    object = json_object_get(status, "figures");

    json_object_foreach(object, name, value) {
        /* what push says of itself is above */
        if (strcmp(name, "push") != 0) {
            printf("%-13s %s (%s)\n", name, svw_text_of(value, "value"), svw_text_of(value, "at"));
        }
    }

    svw_status_loads(json_object_get(status, "loads"));
    svw_status_attention(json_object_get(status, "attention"));
}


/* "api 5, relay 1"; `member': of each value's, NULL: the value itself */
static void
svw_status_counts(const char *title, json_t *object, const char *member, const char *none)
{
    json_t      *value;
    const char  *name, *comma;

    if (json_object_size(object) == 0 && none == NULL) {
        return;
    }

    printf("%-13s %s", title, json_object_size(object) == 0 ? none : "");
    comma = "";

    json_object_foreach(object, name, value) {
        printf("%s%s %" JSON_INTEGER_FORMAT, comma, name,
               json_integer_value(member != NULL ? json_object_get(value, member) : value));
        comma = ", ";
    }

    printf("\n");
}


static void
svw_status_heads(json_t *audit)
{
    if (svw_int_of(audit, "heads") == 0) {
        printf("signed heads  none\n");
        return;
    }

    printf("signed heads  %" PRId64 ", the last day %s, %" PRId64 " rows behind them\n", svw_int_of(audit, "heads"),
           svw_text_of(audit, "day"), svw_int_of(audit, "unsigned"));
}


static void
svw_status_judge(json_t *judge)
{
    size_t       i;
    json_t      *object, *value;
    const char  *node;

    printf("judged        %" PRId64 " scans and operations; %" PRId64 " rows of the chain wait", svw_int_of(judge, "scans"),
           svw_int_of(judge, "behind"));

    object = json_object_get(judge, "streams");

    json_object_foreach(object, node, value) {
        if (json_is_null(value)) {
            printf("; %s cannot be reached", node);
        } else {
            printf("; %" JSON_INTEGER_FORMAT " blocks at %s", json_integer_value(value), node);
        }
    }

    printf("\n");
    svw_status_counts("cases", json_object_get(judge, "cases"), NULL, NULL);

    if (svw_int_of(judge, "asking") > 0) {
        printf("              %" PRId64 " of them ask for a person\n", svw_int_of(judge, "asking"));
    }

    svw_status_counts("put aside", json_object_get(judge, "refused"), NULL, NULL);
    object = json_object_get(judge, "missing");

    json_array_foreach(object, i, value) {
        printf("missing       %" PRId64 " events of %s (boot %" PRId64 ")\n", svw_int_of(value, "events"), svw_text_of(value, "gateway"),
               svw_int_of(value, "boot"));
    }
}


/* what stands in a queue, or has to be looked at */
static void
svw_status_waiting(const json_t *status)
{
    json_t      *object, *value;
    const char  *host;

    object = json_object_get(status, "quarantine");
    printf("quarantine    %" PRId64 " events wait\n", svw_int_of(object, "waiting"));

    object = json_object_get(status, "parked");
    printf("parked        %" PRId64 " events wait for their packs, %" PRId64 " are overdue\n", svw_int_of(object, "waiting"),
           svw_int_of(object, "overdue"));

    object = json_object_get(status, "captures");

    json_object_foreach(object, host, value) {
        printf("captures      %s: %" PRId64 " waiting, %" PRId64 " running\n", host, svw_int_of(value, "waiting"),
               svw_int_of(value, "running"));
    }

    object = json_object_get(status, "serials");

    if (svw_int_of(object, "open") > 0) {
        printf("serials       %" PRId64 " requests open, %" PRId64 " numbers, reserved until %s\n", svw_int_of(object, "open"),
               svw_int_of(object, "numbers"), svw_text_of(object, "reserved_until"));
    }

    svw_status_counts("open recalls", json_object_get(status, "recalls"), NULL, NULL);
    svw_status_counts("files, 1 day", json_object_get(status, "files"), NULL, NULL);
    svw_status_counts("findings, 1 d", json_object_get(status, "findings"), "n", NULL);
}


static void
svw_status_attention(const json_t *attention)
{
    size_t   i;
    json_t  *sentence;

    printf("\n%s\n", json_array_size(attention) == 0 ? "Nothing needs a person." : "This needs a person:");

    json_array_foreach(attention, i, sentence) {
        printf("  - %s\n", json_string_value(sentence));
    }
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
