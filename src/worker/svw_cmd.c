#include "svw_cmd.h"

#include "svw_load.h"

#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>


int
svw_cmd_options(svw_command_t *command, int first, const svw_option_t *options)
{
    int                  i;
    const svw_option_t  *o;

    for (i = first; i < command->argc; i += 2) {
        for (o = options; o->name != NULL && strcmp(o->name, command->argv[i]) != 0; o++) { /* void */ }

        if (o->name == NULL) {
            fprintf(stderr, "serial-verify-worker: %s has no option \"%s\", see %s --help\n", command->argv[0],
                    command->argv[i], command->argv[0]);
            return -1;
        }

        if (i + 1 == command->argc) {
            fprintf(stderr, "serial-verify-worker: %s needs a value\n", o->name);
            return -1;
        }

        if (*o->value != NULL) {
            fprintf(stderr, "serial-verify-worker: %s is given twice\n", o->name);
            return -1;
        }

        *o->value = command->argv[i + 1];
    }

    for (o = options; o->name != NULL; o++) {
        if (o->needed && *o->value == NULL) {
            fprintf(stderr, "serial-verify-worker: %s needs %s, see %s --help\n", command->argv[0], o->name, command->argv[0]);
            return -1;
        }
    }

    return 0;
}


int
svw_cmd_flag(svw_command_t *command, const char *name)
{
    int  i;

    for (i = 1; i < command->argc; i++) {
        if (strcmp(command->argv[i], name) == 0) {
            memmove(&command->argv[i], &command->argv[i + 1], (size_t) (command->argc - i - 1) * sizeof(char *));
            command->argc--;
            return 1;
        }
    }

    return 0;
}


int
svw_cmd_number(const char *option, const char *text)
{
    if (text == NULL || (*text != '\0' && strlen(text) < 10 && strspn(text, "0123456789") == strlen(text))) {
        return 0;
    }

    fprintf(stderr, "serial-verify-worker: %s \"%s\": a number is needed\n", option, text);

    return -1;
}


int
svw_cmd_time(const char *name, const char *text, int64_t *ms, char out[32])
{
    char        full[64];
    sv_span_t   span;

    span = (sv_span_t) { (const uint8_t *) text, strlen(text) };

    if (span.len == 10 && sv_day_parse(span) != SV_DAY_NONE) {
        snprintf(full, sizeof(full), "%sT00:00:00Z", text);
        span = (sv_span_t) { (const uint8_t *) full, strlen(full) };
    }

    if (span.len >= 32 || svw_check_time(span, ms) != NULL) {
        fprintf(stderr, "serial-verify-worker: %s: \"%.64s\" is no time: 2026-11-20 or 2026-11-20T10:00:00Z is needed\n",
                name, text);
        return -1;
    }

    snprintf(out, 32, "%.*s", (int) span.len, (const char *) span.data);

    return 0;
}


int
svw_cmd_connect(svw_command_t *command, svw_db_t *db)
{
    svw_db_init(db, command->conf->postgres, "serial-verify-worker command");

    if (svw_db_connect(db) != 0) {
        fprintf(stderr, "serial-verify-worker: PostgreSQL: %s\n", db->error);
        return -1;
    }

    return 0;
}


int
svw_cmd_call(svw_db_t *db, const char *sql, int n, const char *const *params, int *changed)
{
    int        rc;
    PGresult  *result;

    rc = svw_cmd_query(db, sql, n, params, &result);

    if (rc == SVW_EXIT_OK) {
        if (changed != NULL) {
            *changed = !PQgetisnull(result, 0, 0);
        }

        PQclear(result);
    }

    return rc;
}


int
svw_cmd_query(svw_db_t *db, const char *sql, int n, const char *const *params, PGresult **result)
{
    int          tries;
    svw_db_rc_t  rc;

    for (tries = 0; ; tries++) {
        rc = svw_db_query(db, result, sql, n, params);

        if (rc != SVW_DB_RETRY || tries == 5) {
            break;
        }
    }

    if (rc == SVW_DB_OK) {
        return SVW_EXIT_OK;
    }

    if (rc == SVW_DB_ERROR) {
        fprintf(stderr, "serial-verify-worker: %s\n", db->error);

        /* 22023 and others of its class: a value; else the state of things */
        return strncmp(db->sqlstate, "22", 2) == 0 ? SVW_EXIT_USAGE : SVW_EXIT_FAILED;
    }

    fprintf(stderr, "serial-verify-worker: PostgreSQL: %s; it is not known whether this was done, try again\n", db->error);

    return SVW_EXIT_BUSY;
}


void
svw_cmd_actor(char actor[64])
{
    const char     *name;
    struct passwd  *pw;

    name = getenv("SUDO_USER");

    if (name == NULL || *name == '\0') {
        pw = getpwuid(getuid());
        name = pw != NULL ? pw->pw_name : NULL;
    }

    if (name != NULL) {
        svw_printable(actor, 64, (sv_span_t) { (const uint8_t *) name, strlen(name) });
    } else {
        snprintf(actor, 64, "uid %u", (unsigned) getuid());
    }
}


int
svw_cmd_gtin(const char *text, char number[16])
{
    size_t       len;
    uint64_t     gtin;
    const char  *reason;

    len = strlen(text);

    if (len > 14 || strspn(text, "0123456789") != len || (len != 8 && len != 12 && len != 13 && len != 14)) {
        fprintf(stderr, "serial-verify-worker: \"%s\" is not a GTIN: 8, 12, 13 or 14 digits are needed\n", text);
        return -1;
    }

    memset(number, '0', 14);
    memcpy(number + 14 - len, text, len);
    number[14] = '\0';

    reason = svw_check_gtin((sv_span_t) { (const uint8_t *) number, 14 }, &gtin);

    if (reason != NULL) {
        fprintf(stderr, "serial-verify-worker: \"%s\": %s\n", text, svw_reason_text(reason));
        return -1;
    }

    return 0;
}
