#include "svw_cmd.h"

#include "svw_load.h"
#include "svw_out.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>


#define SVW_EXPORT_TELL  500            /* ms between two looks at the bar */

typedef struct {
    svw_db_t     db;
    svw_out_t    out;
    int64_t      from, until;           /* ms */
    char         from_text[32], until_text[32];
    char         gtin[16];
    int64_t      first;                 /* the period's rows of the chain: (first, out.to] */
    int64_t      events;
    int64_t      told;
    const char  *path;                  /* NULL: standard output */
    char        *part;                  /* what is written to until it is complete */
    FILE        *file;
} svw_export_t;


static int svw_export_range(svw_export_t *export);
static int svw_export_open(svw_export_t *export);
static int svw_export_write(svw_export_t *export);
static void svw_export_bar(svw_export_t *export);
static int svw_export_close(svw_export_t *export, int rc);


int
svw_cmd_export(svw_command_t *command)
{
    int            rc;
    const char    *from, *to, *company, *gtin, *path;
    svw_export_t   export;
    svw_option_t   options[] = {
        { "--from", &from, 1 }, { "--to", &to, 1 }, { "--company", &company, 0 }, { "--gtin", &gtin, 0 },
        { "--out", &path, 0 }, { NULL, NULL, 0 }
    };

    from = to = company = gtin = path = NULL;
    memset(&export, 0, sizeof(export));

    if (svw_cmd_options(command, 1, options) != 0
        || svw_cmd_time("--from", from, &export.from, export.from_text) != 0
        || svw_cmd_time("--to", to, &export.until, export.until_text) != 0
        || (gtin != NULL && svw_cmd_gtin(gtin, export.gtin) != 0))
    {
        return SVW_EXIT_USAGE;
    }

    svw_stop_signals(command->conf->drain_timeout);

    if (svw_cmd_connect(command, &export.db) != 0) {
        return SVW_EXIT_BUSY;
    }

    export.path = path;
    export.out = (svw_out_t) {
        .db = &export.db, .company = company, .gtin = gtin != NULL ? export.gtin : NULL,
        .from = export.from_text, .until = export.until_text
    };

    rc = svw_export_range(&export);

    if (rc == SVW_EXIT_OK) {
        rc = svw_export_open(&export);
    }

    if (rc == SVW_EXIT_OK) {
        rc = svw_export_close(&export, svw_export_write(&export));
    }

    svw_out_reset(&export.out);
    svw_db_close(&export.db);

    return rc;
}


static int
svw_export_range(svw_export_t *export)
{
    int          ready;
    PGresult    *result;
    const char  *note, *params[2];

    params[0] = export->from_text;
    params[1] = export->until_text;

    if (svw_db_query(&export->db, &result, "select * from sv.out_range($1, $2)", 2, params) != SVW_DB_OK) {
        fprintf(stderr, "serial-verify-worker: %s\n", export->db.error);
        return strncmp(export->db.sqlstate, "22", 2) == 0 ? SVW_EXIT_USAGE : SVW_EXIT_BUSY;
    }

    ready = *svw_col(result, 0, "ready") == 't';
    note = svw_col(result, 0, "note");

    if (note != NULL) {
        fprintf(stderr, "serial-verify-worker: %s%s\n", note, ready ? "" : ": try again later, or give an earlier --to");
    }

    export->first = export->out.n = svw_col_int(result, 0, "n_from");
    export->out.to = svw_col_int(result, 0, "n_to");
    PQclear(result);

    return ready ? SVW_EXIT_OK : SVW_EXIT_FAILED;
}


static int
svw_export_open(svw_export_t *export)
{
    int  fd;

    if (export->path == NULL) {
        export->file = stdout;
        return SVW_EXIT_OK;
    }

    if (asprintf(&export->part, "%s.part", export->path) == -1) {
        export->part = NULL;
        errno = ENOMEM;
    } else {
        fd = open(export->part, O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC|O_NOFOLLOW, 0640);
        export->file = fd == -1 ? NULL : fdopen(fd, "w");
    }

    if (export->file == NULL) {
        fprintf(stderr, "serial-verify-worker: %s.part: %s\n", export->path, strerror(errno));
        free(export->part);
        return SVW_EXIT_FAILED;
    }

    return SVW_EXIT_OK;
}


static int
svw_export_write(svw_export_t *export)
{
    int                 rc;
    svw_epcis_event_t   event;

    rc = svw_epcis_begin(export->file, SVW_EPCIS_DOCUMENT, export->until);

    /* a period without rows has no last one either */
    while (rc == 0 && export->out.to != 0 && (rc = svw_out_next(&export->out, &event)) == 1) {
        if (svw_stopping()) {
            fprintf(stderr, "serial-verify-worker: stopped\n");
            return SVW_EXIT_FAILED;
        }

        rc = svw_epcis_put(export->file, &event, export->events++ == 0);
        svw_export_bar(export);
    }

    if (rc == 0) {
        rc = svw_epcis_end(export->file, SVW_EPCIS_DOCUMENT);
    }

    if (rc == 0) {
        return SVW_EXIT_OK;
    }

    if (ferror(export->file)) {
        fprintf(stderr, "serial-verify-worker: the export cannot be written: %s\n", strerror(errno));
        return SVW_EXIT_FAILED;
    }

    if (export->db.error[0] == '\0') {
        fprintf(stderr, "serial-verify-worker: row %" PRId64 " of the audit chain makes no event\n", export->out.n);
        return SVW_EXIT_FAILED;
    }

    fprintf(stderr, "serial-verify-worker: PostgreSQL: %s\n", export->db.error);

    return SVW_EXIT_BUSY;
}


static void
svw_export_bar(svw_export_t *export)
{
    int64_t  now, rows;

    now = svw_now_ms();

    if (!isatty(STDERR_FILENO) || now - export->told < SVW_EXPORT_TELL) {
        return;
    }

    export->told = now;
    rows = export->out.to - export->first;
    fprintf(stderr, "\rexporting    %3d %%  %" PRId64 " events", (int) ((export->out.n - export->first) * 100 / rows), export->events);
    fflush(stderr);
}


/* A file under its name is whole. */
static int
svw_export_close(svw_export_t *export, int rc)
{
    int  failed;

    failed = fflush(export->file) != 0 || (export->path != NULL && fsync(fileno(export->file)) != 0);

    if (export->told != 0) {
        fprintf(stderr, "\r%50s\r", "");
    }

    if (export->path != NULL) {
        failed |= fclose(export->file) != 0;

        if (rc == SVW_EXIT_OK && !failed) {
            failed = rename(export->part, export->path) != 0;
        } else {
            unlink(export->part);
        }
    }

    if (rc == SVW_EXIT_OK && failed) {
        fprintf(stderr, "serial-verify-worker: the export cannot be written: %s\n", strerror(errno));
        rc = SVW_EXIT_FAILED;
    }

    if (rc == SVW_EXIT_OK) {
        fprintf(stderr, "%" PRId64 " events\n", export->events);
    }

    free(export->part);

    return rc;
}
