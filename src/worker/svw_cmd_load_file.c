#include "svw_load.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>


/* The inbox' way without the inbox: the file stays where it is. */
int
svw_cmd_load_file(svw_command_t *command)
{
    int             fd, code;
    char            name[256], id[16];
    int32_t         load_id;
    json_t         *report;
    svw_db_t        db;
    const char     *path, *base, *params[1];
    struct stat     st;
    svw_source_t    source;
    svw_file_rc_t   rc;

    if (command->argc != 2 || command->argv[1][0] == '-') {
        fprintf(stderr, "serial-verify-worker: load-file takes one file, see load-file --help\n");
        return SVW_EXIT_USAGE;
    }

    path = command->argv[1];
    fd = open(path, O_RDONLY|O_NONBLOCK|O_CLOEXEC);

    if (fd == -1 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        fprintf(stderr, "serial-verify-worker: %s: %s\n", path, fd == -1 ? strerror(errno) : "is not a regular file");

        if (fd != -1) {
            close(fd);
        }

        return SVW_EXIT_USAGE;
    }

    if (flock(fd, LOCK_EX|LOCK_NB) != 0) {
        fprintf(stderr, "serial-verify-worker: %s: is being loaded by another process\n", path);
        close(fd);
        return SVW_EXIT_FAILED;
    }

    base = strrchr(path, '/') != NULL ? strrchr(path, '/') + 1 : path;
    svw_printable(name, sizeof(name), (sv_span_t) { (const uint8_t *) base, strlen(base) });

    svw_log_open(NULL, SVW_LOG_WARN, "load-file");
    svw_stop_signals(command->conf->drain_timeout);
    svw_db_init(&db, command->conf->postgres, "serial-verify-worker load-file");

    if (svw_db_connect(&db) != 0) {
        fprintf(stderr, "serial-verify-worker: PostgreSQL: %s\n", db.error);
        close(fd);
        return SVW_EXIT_BUSY;
    }

    source = (svw_source_t) {
        .feed = "", .company = "", .strict = (int) command->conf->strict,
        .whole = command->conf->on_error == SVW_ON_ERROR_NONE
    };

    rc = svw_load_file(command->conf, &db, fd, name, &source, isatty(STDERR_FILENO), &report, &load_id);

    if (report == NULL) {
        code = rc == SVW_FILE_AGAIN ? SVW_EXIT_BUSY : SVW_EXIT_FAILED;

    } else {
        snprintf(id, sizeof(id), "%d", (int) load_id);
        params[0] = id;
        svw_db_do(&db, "select sv.load_filed($1)", 1, params);

        svw_report_print(stdout, report);
        code = strcmp(json_string_value(json_object_get(report, "state")), "loaded") == 0 ? SVW_EXIT_OK : SVW_EXIT_FAILED;
        json_decref(report);
    }

    svw_db_close(&db);
    close(fd);

    return code;
}
