#include "svw_cmd.h"

#include "svw_param_file.h"
#include "svw_replay.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>


static int svw_replay_file(const char *scans, svw_replay_options_t *how, const char *rules);
static int svw_replay_stored(svw_command_t *command, const char *from, const char *to, svw_replay_options_t *how, const char *rules);
static int svw_replay_rules(svw_params_t *params, const char *rules);


int
svw_cmd_replay(svw_command_t *command)
{
    int                   rc;
    const char           *scans = NULL, *rules = NULL, *from = NULL, *to = NULL;
    svw_params_t          params;
    const svw_option_t    options[] = {
        { "--scans", &scans, 0 }, { "--rules", &rules, 0 }, { "--from", &from, 0 }, { "--to", &to, 0 }, { NULL, NULL, 0 }
    };
    svw_replay_options_t  how;

    how = (svw_replay_options_t) {
        .params = &params, .out = stdout, .bar = isatty(STDERR_FILENO), .info = svw_cmd_flag(command, "--info")
    };

    if (svw_cmd_options(command, 1, options) != 0) {
        return SVW_EXIT_USAGE;
    }

    if ((scans != NULL) == (from != NULL || to != NULL) || (from == NULL) != (to == NULL)) {
        fprintf(stderr, "serial-verify-worker: replay needs --scans, or --from and --to, see replay --help\n");
        return SVW_EXIT_USAGE;
    }

    svw_params_default(&params);
    rc = scans != NULL ? svw_replay_file(scans, &how, rules) : svw_replay_stored(command, from, to, &how, rules);

    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "serial-verify-worker: standard output: %s\n", strerror(errno));
        return SVW_EXIT_FAILED;
    }

    return rc;
}


/*
 * Needs no PostgreSQL and no configuration: `conf' is then empty.  The rules are
 * those of the file of --rules, else the defaults, so the same input gives the
 * same cases wherever it is run.
 */
static int
svw_replay_file(const char *scans, svw_replay_options_t *how, const char *rules)
{
    int                   rc;
    svw_replay_source_t  *source;

    if (svw_replay_rules(how->params, rules) != 0) {
        return SVW_EXIT_USAGE;
    }

    source = svw_replay_file_open(scans);

    if (source == NULL) {
        return SVW_EXIT_USAGE;
    }

    rc = svw_replay_run(source, how);
    svw_replay_file_close(source);

    return rc;
}


/* The rules are those of the live system, and what the file of --rules changes of them. */
static int
svw_replay_stored(svw_command_t *command, const char *from, const char *to, svw_replay_options_t *how, const char *rules)
{
    int                   rc;
    char                  text[32];
    int64_t               from_ms, to_ms;
    svw_replay_source_t  *source;

    if (svw_cmd_time("--from", from, &from_ms, text) != 0 || svw_cmd_time("--to", to, &to_ms, text) != 0) {
        return SVW_EXIT_USAGE;
    }

    if (from_ms >= to_ms) {
        fprintf(stderr, "serial-verify-worker: --to: an end behind --from is needed\n");
        return SVW_EXIT_USAGE;
    }

    source = svw_replay_db_open(command->conf, from_ms, to_ms, how->params);

    if (source == NULL) {
        return SVW_EXIT_BUSY;
    }

    rc = svw_replay_rules(how->params, rules) == 0 ? svw_replay_run(source, how) : SVW_EXIT_USAGE;
    svw_replay_db_close(source);

    return rc;
}


static int
svw_replay_rules(svw_params_t *params, const char *rules)
{
    char  error[SVW_TEXT];

    if (rules == NULL || svw_param_file_read(params, rules, error) == 0) {
        return 0;
    }

    fprintf(stderr, "serial-verify-worker: %s\n", error);

    return -1;
}
