#include "svw_cmd.h"

#include "svw_pool.h"
#include "svw_serials.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>


#define SVW_SERIALS_LIST  "1000"


static int svw_serials_rule(svw_command_t *command);
static int svw_serials_request(svw_command_t *command);
static int svw_serials_return(svw_command_t *command);
static int svw_serials_list(svw_command_t *command);
static int svw_serials_print_rule(svw_db_t *db, const char *gtin);
static int svw_serials_print(svw_db_t *db, const char *gtin, const char *id);
static int svw_serials_write(svw_db_t *db, const char *gtin, const char *id, const char *file);
static int svw_serials_write_to(FILE *f, const char *gtin, const char *id, json_t *serials, int json);
static int svw_serials_failed(svw_db_t *db, svw_db_rc_t rc);


int
svw_cmd_serials(svw_command_t *command)
{
    size_t  i;

    static const struct { const char  *word; int  (*run)(svw_command_t *command); }  commands[] = {
        { "rule", svw_serials_rule }, { "request", svw_serials_request }, { "return", svw_serials_return },
        { "list", svw_serials_list }
    };

    for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (command->argc >= 2 && strcmp(command->argv[1], commands[i].word) == 0) {
            return commands[i].run(command);
        }
    }

    fprintf(stderr, "serial-verify-worker: serials rule, serials request, serials return or serials list, see serials --help\n");

    return SVW_EXIT_USAGE;
}


static int
svw_serials_rule(svw_command_t *command)
{
    int                 rc, out;
    char                number[16], actor[64];
    PGresult           *result;
    svw_db_t            db;
    const char         *gtin = NULL, *alphabet = NULL, *length = NULL, *days = NULL, *params[6];
    const svw_option_t  options[] = {
        { "--gtin", &gtin, 1 }, { "--alphabet", &alphabet, 0 }, { "--length", &length, 0 }, { "--reserve-days", &days, 0 },
        { NULL, NULL, 0 }
    };

    out = svw_cmd_flag(command, "--opted-out");

    if (svw_cmd_options(command, 2, options) != 0 || svw_cmd_gtin(gtin, number) != 0
        || svw_cmd_number("--length", length) != 0 || svw_cmd_number("--reserve-days", days) != 0)
    {
        return SVW_EXIT_USAGE;
    }

    if (svw_cmd_connect(command, &db) != 0) {
        return SVW_EXIT_BUSY;
    }

    if (!out && alphabet == NULL && length == NULL && days == NULL) {
        rc = svw_serials_print_rule(&db, number);
        svw_db_close(&db);
        return rc;
    }

    svw_cmd_actor(actor);
    params[0] = number;
    params[1] = alphabet;
    params[2] = length;
    params[3] = out ? "true" : "false";
    params[4] = days;
    params[5] = actor;

    rc = svw_cmd_query(&db, "select sv.put_serial_rule($1, $2, $3, $4, $5, $6)", 6, params, &result);

    if (rc == SVW_EXIT_OK) {
        printf("%s: %s\n", number, *PQgetvalue(result, 0, 0) == 't' ? "the rule is set" : "the rule was so already");
        PQclear(result);
    }

    svw_db_close(&db);

    return rc;
}


static int
svw_serials_print_rule(svw_db_t *db, const char *gtin)
{
    int        rc;
    PGresult  *result;

    rc = svw_cmd_query(db, "select alphabet, length, opted_out, reserve_days, issued, commissioned,"
                       " round((issued + commissioned) / nullif(power(length(alphabet)::numeric, length), 0), 12)::text as chance"
                       " from sv.serial_rule_of($1)", 1, &gtin, &result);

    if (rc != SVW_EXIT_OK) {
        return rc;
    }

    if (*svw_col(result, 0, "opted_out") == 't') {
        printf("%s: numbers come from elsewhere, none are issued\n", gtin);
    } else {
        printf("%s: %s characters out of \"%s\", reserved for %s days\n", gtin, svw_col(result, 0, "length"),
               svw_col(result, 0, "alphabet"), svw_col(result, 0, "reserve_days"));
        printf("issued %s, commissioned %s; chance of a guess %s (below 0.0001)\n", svw_col(result, 0, "issued"),
               svw_col(result, 0, "commissioned"), svw_col(result, 0, "chance"));
    }

    PQclear(result);

    return SVW_EXIT_OK;
}


/* The numbers are issued before they are written: a file that was lost is written again by serials list. */
static int
svw_serials_request(svw_command_t *command)
{
    int                 rc;
    char                number[16], actor[64];
    svw_db_t            db;
    const char         *gtin = NULL, *line = NULL, *n = NULL, *lot = NULL, *file = NULL;
    svw_db_rc_t         issue;
    svw_pool_ask_t      ask;
    svw_pool_issued_t   issued;
    const svw_option_t  options[] = {
        { "--gtin", &gtin, 1 }, { "--line", &line, 1 }, { "--n", &n, 1 }, { "--lot", &lot, 0 }, { "--out", &file, 1 }, { NULL, NULL, 0 }
    };

    if (svw_cmd_options(command, 2, options) != 0 || svw_cmd_gtin(gtin, number) != 0 || svw_cmd_number("--n", n) != 0) {
        return SVW_EXIT_USAGE;
    }

    if (svw_cmd_connect(command, &db) != 0) {
        return SVW_EXIT_BUSY;
    }

    svw_cmd_actor(actor);
    ask = (svw_pool_ask_t) { .gtin = number, .line = line, .lot = lot, .n = n, .by = actor };
    issue = svw_pool_issue(&db, &ask, &issued);

    if (issue != SVW_DB_OK) {
        rc = svw_serials_failed(&db, issue);

    } else {
        rc = svw_serials_write(&db, number, issued.id, file);
        printf("request %s\n", issued.id);

        if (rc != SVW_EXIT_OK) {
            fprintf(stderr, "serial-verify-worker: the numbers are issued, get them with serials list --gtin %s --request %s --out FILE\n",
                    number, issued.id);
        }
    }

    svw_db_close(&db);

    return rc;
}


static int
svw_serials_return(svw_command_t *command)
{
    int                 rc, unused;
    char                number[16], actor[64];
    PGresult           *result;
    svw_db_t            db;
    const char         *gtin = NULL, *id = NULL, *file = NULL, *params[4];
    svw_array_t         serials;
    const svw_option_t  options[] = { { "--gtin", &gtin, 1 }, { "--request", &id, 1 }, { "--serials", &file, 0 }, { NULL, NULL, 0 } };

    unused = svw_cmd_flag(command, "--unused");

    if (svw_cmd_options(command, 2, options) != 0 || svw_cmd_gtin(gtin, number) != 0) {
        return SVW_EXIT_USAGE;
    }

    if ((file != NULL) == unused) {
        fprintf(stderr, "serial-verify-worker: serials return needs --serials FILE or --unused\n");
        return SVW_EXIT_USAGE;
    }

    svw_array_begin(&serials);
    rc = file != NULL ? svw_serials_read(file, &serials) : SVW_EXIT_OK;

    if (rc == SVW_EXIT_OK && svw_cmd_connect(command, &db) != 0) {
        rc = SVW_EXIT_BUSY;
    }

    if (rc != SVW_EXIT_OK) {
        svw_array_free(&serials);
        return rc;
    }

    svw_cmd_actor(actor);
    params[0] = number;
    params[1] = id;
    params[2] = file != NULL ? serials.text : NULL;
    params[3] = actor;

    rc = svw_cmd_query(&db, "select returned, unused from sv.serial_return(null, $1, $2::uuid, $3::text[], $4)", 4, params, &result);
    svw_array_free(&serials);

    if (rc == SVW_EXIT_OK) {
        printf("returned %s, %s of the request are not used yet\n", PQgetvalue(result, 0, 0), PQgetvalue(result, 0, 1));
        PQclear(result);
    }

    svw_db_close(&db);

    return rc;
}


static int
svw_serials_list(svw_command_t *command)
{
    int                 rc;
    char                number[16];
    svw_db_t            db;
    const char         *gtin = NULL, *id = NULL, *file = NULL;
    const svw_option_t  options[] = { { "--gtin", &gtin, 1 }, { "--request", &id, 0 }, { "--out", &file, 0 }, { NULL, NULL, 0 } };

    if (svw_cmd_options(command, 2, options) != 0 || svw_cmd_gtin(gtin, number) != 0) {
        return SVW_EXIT_USAGE;
    }

    if (file != NULL && id == NULL) {
        fprintf(stderr, "serial-verify-worker: --out needs --request\n");
        return SVW_EXIT_USAGE;
    }

    if (svw_cmd_connect(command, &db) != 0) {
        return SVW_EXIT_BUSY;
    }

    rc = file != NULL ? svw_serials_write(&db, number, id, file) : svw_serials_print(&db, number, id);
    svw_db_close(&db);

    return rc;
}


static int
svw_serials_print(svw_db_t *db, const char *gtin, const char *id)
{
    int          i, rc;
    PGresult    *r;
    const char  *params[2];

    params[0] = gtin;
    params[1] = id;
    rc = svw_cmd_query(db, "select * from sv.serial_requests(null, $1, $2::uuid, " SVW_SERIALS_LIST ")", 2, params, &r);

    if (rc != SVW_EXIT_OK) {
        return rc;
    }

    for (i = 0; i < PQntuples(r); i++) {
        printf("%s  %-8s  %6s for line \"%s\"%s%s%s, %s, reserved until %s\n", svw_col(r, i, "request_id"), svw_col(r, i, "state"),
               svw_col(r, i, "n"), svw_col(r, i, "line"), svw_col(r, i, "lot") != NULL ? ", lot \"" : "",
               svw_col(r, i, "lot") != NULL ? svw_col(r, i, "lot") : "", svw_col(r, i, "lot") != NULL ? "\"" : "",
               svw_col(r, i, "at"), svw_col(r, i, "reserved_until"));

        if (svw_col(r, i, "used") != NULL) {
            printf("commissioned %s, rejected or destroyed %s, returned %s, not used %s\n", svw_col(r, i, "used"), svw_col(r, i, "ended"),
                   svw_col(r, i, "returned"), svw_col(r, i, "unused"));
        }
    }

    if (id != NULL && PQntuples(r) == 0) {
        fprintf(stderr, "serial-verify-worker: there is no request %s of this product\n", id);
        rc = SVW_EXIT_FAILED;
    }

    PQclear(r);

    return rc;
}


static int
svw_serials_write(svw_db_t *db, const char *gtin, const char *id, const char *file)
{
    int            json, good;
    json_t        *serials;
    size_t         len;
    svw_db_rc_t    rc;
    svw_atomic_t   out;

    rc = svw_pool_numbers(db, NULL, gtin, id, &serials);

    if (rc != SVW_DB_OK) {
        return svw_serials_failed(db, rc);
    }

    len = strlen(file);
    json = len > 5 && strcmp(file + len - 5, ".json") == 0;
    good = svw_atomic_begin(&out, file, 0600) == 0;

    if (good) {
        good = svw_serials_write_to(out.f, gtin, id, serials, json);
        good = svw_atomic_end(&out, good) == 0 && good;
    }

    if (good) {
        printf("%s: %zu numbers\n", file, json_array_size(serials));
    } else {
        fprintf(stderr, "serial-verify-worker: \"%s\": %s\n", file, strerror(errno));
    }

    json_decref(serials);

    return good ? SVW_EXIT_OK : SVW_EXIT_FAILED;
}


static int
svw_serials_write_to(FILE *f, const char *gtin, const char *id, json_t *serials, int json)
{
    size_t   i;
    json_t  *serial, *all;

    if (json) {
        all = json_pack("{s:s, s:s, s:O}", "gtin", gtin, "request", id, "serials", serials);
        i = all != NULL && json_dumpf(all, f, JSON_INDENT(1)) == 0 && fputc('\n', f) != EOF;
        json_decref(all);
        return (int) i;
    }

    fprintf(f, "gtin,serial\n");

    /* a serial may hold a comma or a quote */
    json_array_foreach(serials, i, serial) {
        const char  *c;

        fprintf(f, "%s,\"", gtin);

        for (c = json_string_value(serial); *c != '\0'; c++) {
            if (*c == '"') {
                fputc('"', f);
            }

            fputc(*c, f);
        }

        fprintf(f, "\"\n");
    }

    return !ferror(f);
}


static int
svw_serials_failed(svw_db_t *db, svw_db_rc_t rc)
{
    fprintf(stderr, "serial-verify-worker: %s\n", db->error);

    return rc != SVW_DB_ERROR ? SVW_EXIT_BUSY : strncmp(db->sqlstate, "22", 2) == 0 ? SVW_EXIT_USAGE : SVW_EXIT_FAILED;
}
