#include "svw_inbox.h"
#include "svw_load.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>


#define SVW_INGEST_LATER  30000         /* ms until a file is tried again that failed for a reason of this host */


static void svw_ingest_one(svw_inbox_t *inbox, svw_db_t *db, svw_inbox_entry_t *entry);
static int svw_ingest_file(svw_inbox_t *inbox, svw_db_t *db, const svw_inbox_entry_t *entry, int rejected,
    int32_t load_id, json_t *report);


int
svw_ingest_run(svw_conf_t *conf)
{
    unsigned            wait;
    svw_db_t            db;
    svw_inbox_t        *inbox;
    svw_inbox_entry_t  *entry;

    inbox = malloc(sizeof(svw_inbox_t));
    if (inbox == NULL) {
        return SVW_EXIT_FAILED;
    }

    if (svw_inbox_open(inbox, conf) != 0) {
        free(inbox);
        return SVW_EXIT_FAILED;
    }

    svw_db_init(&db, conf->postgres, "serial-verify-worker ingest");
    svw_log(SVW_LOG_INFO, "watching \"%s\"", conf->inbox);

    while (svw_db_ensure(&db) == 0) {
        entry = svw_inbox_next(inbox, &wait);

        if (entry == NULL) {
            svw_pause(wait);
            continue;
        }

        svw_ingest_one(inbox, &db, entry);
    }

    svw_db_close(&db);
    svw_inbox_close(inbox);
    free(inbox);

    return SVW_EXIT_OK;
}


static void
svw_ingest_one(svw_inbox_t *inbox, svw_db_t *db, svw_inbox_entry_t *entry)
{
    int             fd;
    char            name[256];
    int32_t         load_id;
    json_t         *report;
    svw_source_t    source;
    svw_file_rc_t   rc;

    source = (svw_source_t) {
        .feed = "", .company = "", .salt = "", .strict = (int) inbox->conf->strict,
        .whole = inbox->conf->on_error == SVW_ON_ERROR_NONE
    };

    svw_printable(name, sizeof(name), (sv_span_t) { (const uint8_t *) entry->name, strlen(entry->name) });

    fd = svw_inbox_claim(inbox, entry);

    if (fd == SVW_INBOX_BUSY) {
        entry->not_before = svw_now_ms() + inbox->conf->scan_interval;
        return;
    }

    if (fd == SVW_INBOX_FAILED) {
        svw_log(SVW_LOG_ERROR, "%s: %s", name, strerror(errno));
        entry->not_before = svw_now_ms() + SVW_INGEST_LATER;
        entry->failed = 1;
        return;
    }

    rc = svw_load_file(inbox->conf, db, fd, name, &source, 0, &report, &load_id);

    if (rc == SVW_FILE_LATER
        || (report != NULL && svw_ingest_file(inbox, db, entry, rc == SVW_FILE_REJECTED, load_id, report) != 0))
    {
        entry->not_before = svw_now_ms() + SVW_INGEST_LATER;
        entry->failed = 1;

    } else {
        /* to be tried again, or gone at the next look */
        entry->not_before = svw_now_ms() + inbox->conf->scan_interval;
    }

    json_decref(report);

    /* the lock goes with it */
    close(fd);
}


/*
 * The report first, then the file, then the note that it is filed: whoever is
 * killed in between does it again with the same report.
 */
static int
svw_ingest_file(svw_inbox_t *inbox, svw_db_t *db, const svw_inbox_entry_t *entry, int rejected, int32_t load_id,
    json_t *report)
{
    int          dir;
    char         id[16], name[NAME_MAX + 1];
    const char  *params[1];

    dir = svw_inbox_name(inbox, entry, rejected, load_id, name);
    if (dir == -1) {
        return -1;
    }

    if (svw_report_write(dir, name, report) != 0) {
        svw_log(SVW_LOG_ERROR, "load %d: its report cannot be written: %s", (int) load_id, strerror(errno));
        return -1;
    }

    if (svw_inbox_move(inbox, entry, dir, name) != 0) {
        return -1;
    }

    snprintf(id, sizeof(id), "%d", (int) load_id);
    params[0] = id;

    if (svw_db_do(db, "select sv.load_filed($1)", 1, params) != SVW_DB_OK) {
        svw_log(SVW_LOG_WARN, "load %d is filed, but that could not be noted: %s", (int) load_id, db->error);
    }

    return 0;
}
