#include "svw_cmd.h"

#include "svw_param_db.h"
#include "svw_param_file.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>


static int svw_rules_list(svw_command_t *command, int file);
static int svw_rules_change(svw_command_t *command, int reset);
static int svw_rules_one(svw_params_t *params, char *word, int reset, json_t *values);
static void svw_rules_print(const svw_params_t *params);


int
svw_cmd_rules(svw_command_t *command)
{
    int  file;

    file = svw_cmd_flag(command, "--file");

    if (command->argc == 1) {
        return svw_rules_list(command, file);
    }

    if (!file && command->argc >= 3 && strcmp(command->argv[1], "set") == 0) {
        return svw_rules_change(command, 0);
    }

    if (!file && command->argc >= 3 && strcmp(command->argv[1], "reset") == 0) {
        return svw_rules_change(command, 1);
    }

    fprintf(stderr, "serial-verify-worker: rules, rules --file, rules set NAME=VALUE.. or rules reset NAME.., see rules --help\n");

    return SVW_EXIT_USAGE;
}


static int
svw_rules_list(svw_command_t *command, int file)
{
    int           rc;
    svw_db_t      db;
    svw_params_t  params;

    if (svw_cmd_connect(command, &db) != 0) {
        return SVW_EXIT_BUSY;
    }

    rc = svw_param_db_read(&db, &params);

    if (rc != 0) {
        fprintf(stderr, "serial-verify-worker: PostgreSQL: %s\n", db.error);

    } else if (file) {
        svw_param_file_write(&params, stdout);

    } else {
        svw_rules_print(&params);
    }

    svw_db_close(&db);

    return rc == 0 ? SVW_EXIT_OK : SVW_EXIT_BUSY;
}


/* all that are named, or none */
static int
svw_rules_change(svw_command_t *command, int reset)
{
    int            i, rc;
    char           actor[64], *text;
    json_t        *values;
    svw_db_t       db;
    PGresult      *result;
    const char    *bind[2];
    svw_params_t   params;

    svw_params_default(&params);
    values = json_object();

    for (i = 2; i < command->argc; i++) {
        if (svw_rules_one(&params, command->argv[i], reset, values) != 0) {
            json_decref(values);
            return SVW_EXIT_USAGE;
        }
    }

    text = json_dumps(values, JSON_COMPACT);
    json_decref(values);

    if (text == NULL) {
        fprintf(stderr, "serial-verify-worker: out of memory\n");
        return SVW_EXIT_FAILED;
    }

    if (svw_cmd_connect(command, &db) != 0) {
        free(text);
        return SVW_EXIT_BUSY;
    }

    svw_cmd_actor(actor);
    bind[0] = text;
    bind[1] = actor;
    rc = svw_cmd_query(&db, "select sv.set_rule_params($1, $2)", 2, bind, &result);

    if (rc == SVW_EXIT_OK) {
        printf("%s changed\n", PQgetvalue(result, 0, 0));
        PQclear(result);
    }

    svw_db_close(&db);
    free(text);

    return rc;
}


/* NAME=VALUE of set, NAME of reset */
static int
svw_rules_one(svw_params_t *params, char *word, int reset, json_t *values)
{
    char         error[SVW_PARAM_TEXT], text[SVW_PARAM_TEXT], *value;
    const char  *name;

    name = word;
    value = strchr(word, '=');

    if ((value == NULL) != reset) {
        fprintf(stderr, "serial-verify-worker: \"%s\": %s is needed\n", word, reset ? "a name" : "NAME=VALUE");
        return -1;
    }

    if (value != NULL) {
        *value++ = '\0';
    }

    if (json_object_get(values, name) != NULL) {
        fprintf(stderr, "serial-verify-worker: %s is given twice\n", name);
        return -1;
    }

    if (reset) {
        svw_params_print(params, name, text, sizeof(text));
        value = text;
    }

    if (svw_params_set(params, name, value, error) != 0) {
        fprintf(stderr, "serial-verify-worker: %s\n", error);
        return -1;
    }

    /* as it is printed: 3.0 is 3 */
    svw_params_print(params, name, text, sizeof(text));

    if (json_object_set_new(values, name, reset ? json_null() : json_string(text)) != 0) {
        fprintf(stderr, "serial-verify-worker: \"%s\" is not text\n", name);
        return -1;
    }

    return 0;
}


static void
svw_rules_print(const svw_params_t *params)
{
    char          buf[SVW_PARAM_NAME], value[SVW_PARAM_TEXT], standard[SVW_PARAM_TEXT];
    unsigned      n;
    const char   *name;
    svw_params_t  defaults;

    svw_params_default(&defaults);

    for (n = 0; (name = svw_param_name(n, buf)) != NULL; n++) {
        svw_params_print(params, name, value, sizeof(value));
        svw_params_print(&defaults, name, standard, sizeof(standard));

        printf("%-38s = %s%s%s", name, value, *svw_param_unit(name) != '\0' ? " " : "", svw_param_unit(name));

        if (strcmp(value, standard) != 0) {
            printf("  (default %s)", standard);
        }

        printf("\n    %s\n", svw_param_text(name));
    }
}
