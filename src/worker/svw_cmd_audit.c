#include "svw_cmd.h"

#include "svw_audit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>


typedef struct {
    const char  *word;
    int        (*run)(svw_command_t *command);
} svw_audit_command_t;


static int svw_audit_cmd_key(svw_command_t *command);
static int svw_audit_cmd_sign(svw_command_t *command);
static int svw_audit_cmd_verify(svw_command_t *command);
static int svw_audit_cmd_export(svw_command_t *command);
static int svw_audit_take_keys(svw_command_t *command, const char *file, svw_audit_check_t *check);
static int svw_audit_connect(svw_command_t *command, svw_db_t *db);
static int svw_audit_day(const char *option, const char *text);


static const svw_audit_command_t  svw_audit_commands[] = {
    { "key", svw_audit_cmd_key },
    { "sign", svw_audit_cmd_sign },
    { "verify", svw_audit_cmd_verify },
    { "export", svw_audit_cmd_export },
    { NULL, NULL }
};


int
svw_cmd_audit(svw_command_t *command)
{
    const svw_audit_command_t  *c;

    for (c = svw_audit_commands; c->word != NULL; c++) {
        if (command->argc >= 2 && strcmp(command->argv[1], c->word) == 0) {
            return c->run(command);
        }
    }

    fprintf(stderr, "serial-verify-worker: audit key, audit sign, audit verify or audit export, see audit --help\n");

    return SVW_EXIT_USAGE;
}


static int
svw_audit_cmd_key(svw_command_t *command)
{
    char                error[SVW_TEXT];
    uint8_t             key[SVW_AUDIT_HASH];
    const char         *file = NULL;
    const svw_option_t  options[] = { { "--out", &file, 1 }, { NULL, NULL, 0 } };

    if (svw_cmd_options(command, 2, options) != 0) {
        return SVW_EXIT_USAGE;
    }

    if (svw_audit_key_make(file, key, error) != 0) {
        fprintf(stderr, "serial-verify-worker: %s\n", error);
        return SVW_EXIT_FAILED;
    }

    fprintf(stderr, "The private key is in %s (the setting audit_key). This is its public key, for audit verify; keep it where nobody\n"
            "who may write to the database can change it:\n", file);

    return svw_audit_key_print(stdout, key) == 0 ? SVW_EXIT_OK : SVW_EXIT_FAILED;
}


static int
svw_audit_cmd_sign(svw_command_t *command)
{
    int                 n;
    char                error[SVW_TEXT], actor[64];
    svw_db_t            db;
    const svw_option_t  options[] = { { NULL, NULL, 0 } };

    if (svw_cmd_options(command, 2, options) != 0) {
        return SVW_EXIT_USAGE;
    }

    if (command->conf->audit_key == NULL) {
        fprintf(stderr, "serial-verify-worker: audit sign needs the setting audit_key\n");
        return SVW_EXIT_USAGE;
    }

    if (svw_audit_connect(command, &db) != 0) {
        return SVW_EXIT_BUSY;
    }

    svw_cmd_actor(actor);
    n = svw_audit_sign(command->conf, &db, 1, actor, error);

    if (n < 0) {
        fprintf(stderr, "serial-verify-worker: %s\n", error);
        n = PQstatus(db.pg) == CONNECTION_OK ? SVW_EXIT_FAILED : SVW_EXIT_BUSY;

    } else {
        printf("signed: %d heads\n", n);
        n = SVW_EXIT_OK;
    }

    svw_db_close(&db);

    return n;
}


static int
svw_audit_cmd_verify(svw_command_t *command)
{
    int                 rc;
    char               *end;
    svw_db_t            db;
    const char         *keys = NULL, *heads = NULL, *from = NULL, *file = NULL;
    svw_audit_run_t     run = { .conf = command->conf, .bar = isatty(STDERR_FILENO) };
    const svw_option_t  options[] = {
        { "--public-key", &keys, 0 }, { "--heads", &heads, 0 }, { "--from", &from, 0 }, { "--export", &file, 0 }, { NULL, NULL, 0 }
    };

    run.packs = svw_cmd_flag(command, "--packs");

    if (svw_cmd_options(command, 2, options) != 0) {
        return SVW_EXIT_USAGE;
    }

    if (from != NULL) {
        run.from = strtoll(from, &end, 10);

        if (*end != '\0' || run.from < 1) {
            fprintf(stderr, "serial-verify-worker: --from \"%s\": the number of a chain row is needed\n", from);
            return SVW_EXIT_USAGE;
        }
    }

    if (file != NULL && (from != NULL || run.packs)) {
        fprintf(stderr, "serial-verify-worker: --export goes with --public-key and --heads only\n");
        return SVW_EXIT_USAGE;
    }

    heads = heads == NULL && file == NULL && command->conf->audit_heads != NULL
            && access(command->conf->audit_heads, F_OK) == 0 ? command->conf->audit_heads : heads;

    if (svw_audit_take_keys(command, keys, &run.check) != 0) {
        return SVW_EXIT_USAGE;
    }

    if (heads != NULL && svw_audit_check_open(&run.check, heads) != 0) {
        fprintf(stderr, "serial-verify-worker: \"%s\": %s\n", heads, strerror(errno));
        return SVW_EXIT_USAGE;
    }

    if (file != NULL) {
        rc = svw_audit_verify_export(&run, file);

    } else if (svw_audit_connect(command, &db) != 0) {
        rc = SVW_EXIT_BUSY;

    } else {
        run.db = &db;
        rc = svw_audit_verify_db(&run);
        svw_db_close(&db);
    }

    svw_audit_check_close(&run.check);

    return rc;
}


static int
svw_audit_cmd_export(svw_command_t *command)
{
    int                 rc;
    char                number[16];
    svw_db_t            db;
    const char         *from = NULL, *to = NULL, *gtin = NULL, *file = NULL;
    svw_audit_run_t     run = { .conf = command->conf, .bar = isatty(STDERR_FILENO) };
    const svw_option_t  options[] = {
        { "--from", &from, 0 }, { "--to", &to, 0 }, { "--gtin", &gtin, 0 }, { "--out", &file, 1 }, { NULL, NULL, 0 }
    };

    if (svw_cmd_options(command, 2, options) != 0
        || (from != NULL && svw_audit_day("--from", from) != 0) || (to != NULL && svw_audit_day("--to", to) != 0)
        || (gtin != NULL && svw_cmd_gtin(gtin, number) != 0))
    {
        return SVW_EXIT_USAGE;
    }

    if (svw_audit_connect(command, &db) != 0) {
        return SVW_EXIT_BUSY;
    }

    run.db = &db;
    rc = svw_audit_export(&run, from, to, gtin != NULL ? number : NULL, file);
    svw_db_close(&db);

    return rc;
}


/* those of the file, else the one of our own key when it can be read */
static int
svw_audit_take_keys(svw_command_t *command, const char *file, svw_audit_check_t *check)
{
    char       error[SVW_TEXT];
    EVP_PKEY  *key;

    if (file != NULL) {
        if (svw_audit_keys_read(file, &check->keys, error) != 0) {
            fprintf(stderr, "serial-verify-worker: %s\n", error);
            return -1;
        }

        return 0;
    }

    if (command->conf->audit_key != NULL) {
        key = svw_audit_key_read(command->conf->audit_key, error);

        if (key != NULL && svw_audit_key_public(key, check->keys.key[0]) == 0) {
            check->keys.n = 1;
        }

        EVP_PKEY_free(key);
    }

    return 0;
}


static int
svw_audit_connect(svw_command_t *command, svw_db_t *db)
{
    if (command->conf->postgres == NULL) {
        fprintf(stderr, "serial-verify-worker: there is no configuration file, so PostgreSQL is not known (-c FILE)\n");
        return -1;
    }

    return svw_cmd_connect(command, db);
}


static int
svw_audit_day(const char *option, const char *text)
{
    unsigned  y, m, d;
    char      end;

    if (strlen(text) == 10 && sscanf(text, "%4u-%2u-%2u%c", &y, &m, &d, &end) == 3 && m >= 1 && m <= 12 && d >= 1 && d <= 31) {
        return 0;
    }

    fprintf(stderr, "serial-verify-worker: %s \"%s\": a day such as 2026-11-20 is needed\n", option, text);

    return -1;
}
