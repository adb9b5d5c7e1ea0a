#include "svw_cmd.h"

#include "svw_param_file.h"
#include "svw_replay.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>


/*
 * Needs no PostgreSQL and no configuration for a file: `conf' is then empty.
 * The rules are those of the file of --rules, else the defaults, so the same
 * input gives the same cases wherever it is run.
 */
int
svw_cmd_replay(svw_command_t *command)
{
    int                   rc, info;
    char                  error[SVW_TEXT];
    const char           *scans = NULL, *rules = NULL;
    svw_params_t          params;
    const svw_option_t    options[] = { { "--scans", &scans, 1 }, { "--rules", &rules, 0 }, { NULL, NULL, 0 } };
    svw_replay_source_t  *source;
    svw_replay_options_t  how;

    info = svw_cmd_flag(command, "--info");

    if (svw_cmd_options(command, 1, options) != 0) {
        return SVW_EXIT_USAGE;
    }

    svw_params_default(&params);

    if (rules != NULL && svw_param_file_read(&params, rules, error) != 0) {
        fprintf(stderr, "serial-verify-worker: %s\n", error);
        return SVW_EXIT_USAGE;
    }

    source = svw_replay_file_open(scans);

    if (source == NULL) {
        return SVW_EXIT_USAGE;
    }

    how = (svw_replay_options_t) { .params = &params, .out = stdout, .bar = isatty(STDERR_FILENO), .info = info };
    rc = svw_replay_run(source, &how);
    svw_replay_file_close(source);

    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "serial-verify-worker: standard output: %s\n", strerror(errno));
        return SVW_EXIT_FAILED;
    }

    return rc;
}
