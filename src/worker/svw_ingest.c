#include "svw_inbox.h"
#include "svw_load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>


#define SVW_INGEST_LATER  30000         /* ms until a file is tried again that failed for a reason of this host */


static void svw_ingest_dirs(const svw_conf_t *conf);
static void svw_ingest_one(svw_conf_t *conf, svw_db_t *db, svw_inbox_t *inbox, svw_inbox_entry_t *entry);
static svw_file_rc_t svw_ingest_load(svw_conf_t *conf, svw_db_t *db, const svw_inbox_file_t *file);
static int svw_ingest_file(svw_db_t *db, const svw_inbox_file_t *file, int rejected, int32_t load_id, const json_t *report);


int
svw_ingest_run(svw_conf_t *conf)
{
    unsigned            wait;
    svw_db_t            db;
    svw_inbox_t        *inbox;
    svw_inboxes_t       inboxes;
    svw_inbox_entry_t  *entry;

    if (svw_inboxes_open(&inboxes, conf) != 0) {
        return SVW_EXIT_FAILED;
    }

    svw_ingest_dirs(conf);
    svw_db_init(&db, conf->postgres, "serial-verify-worker ingest");

    while (svw_db_ensure(&db) == 0) {
        entry = svw_inbox_next(&inboxes, &inbox, &wait);

        if (entry == NULL) {
            svw_pause(wait);
            continue;
        }

        svw_ingest_one(conf, &db, inbox, entry);
    }

    svw_db_close(&db);
    svw_inboxes_close(&inboxes);

    return SVW_EXIT_OK;
}


/* What is wrong with the directories is told at the start, not with the first file. */
static void
svw_ingest_dirs(const svw_conf_t *conf)
{
    unsigned           i;
    struct stat        in, aside;
    const char        *path;
    const svw_feed_t  *feed;

    for (i = 0; i < 2 * conf->n_feeds; i++) {
        feed = &conf->feeds[i / 2];
        path = i % 2 == 0 ? feed->done : feed->rejected;

        if (mkdir(path, 0770) != 0 && errno != EEXIST) {
            svw_log(SVW_LOG_ERROR, "\"%s\": %s", path, strerror(errno));

        } else if (stat(feed->inbox, &in) == 0 && stat(path, &aside) == 0 && in.st_dev != aside.st_dev) {
            svw_log(SVW_LOG_ERROR, "\"%s\" must be on the file system of \"%s\": nothing can be moved there", path, feed->inbox);
        }
    }

    if (conf->n_feeds == 1) {
        svw_log(SVW_LOG_INFO, "watching \"%s\"", conf->feeds[0].inbox);
    } else {
        svw_log(SVW_LOG_INFO, "watching %u inboxes", conf->n_feeds);
    }
}


static void
svw_ingest_one(svw_conf_t *conf, svw_db_t *db, svw_inbox_t *inbox, svw_inbox_entry_t *entry)
{
    svw_file_rc_t     rc;
    svw_inbox_file_t  file;

    switch (svw_inbox_claim(&file, inbox->feed, entry)) {

    case SVW_INBOX_GONE:
        svw_inbox_drop(inbox, entry);
        return;

    case SVW_INBOX_BUSY:
        svw_inbox_later(entry, conf->scan_interval);
        return;

    case SVW_INBOX_FAILED:
        rc = SVW_FILE_LATER;
        break;

    default:
        rc = svw_ingest_load(conf, db, &file);
        svw_inbox_release(&file);
    }

    if (rc == SVW_FILE_LATER) {
        svw_inbox_later(entry, SVW_INGEST_LATER);
        entry->failed = 1;

    } else if (rc == SVW_FILE_AGAIN) {
        svw_inbox_later(entry, conf->scan_interval);

    } else {
        svw_inbox_drop(inbox, entry);
    }
}


static svw_file_rc_t
svw_ingest_load(svw_conf_t *conf, svw_db_t *db, const svw_inbox_file_t *file)
{
    json_t            *report;
    int32_t            load_id;
    svw_source_t       source;
    svw_file_rc_t      rc;
    const svw_feed_t  *feed;

    feed = file->feed;
    source = (svw_source_t) {
        .feed = feed->name, .company = feed->company, .strict = (int) feed->strict, .salt = "",
        .whole = feed->on_error == SVW_ON_ERROR_NONE
    };

    rc = svw_load_file(conf, db, file->fd, file->shown, &source, 0, &report, &load_id);

    if (report != NULL && svw_ingest_file(db, file, rc == SVW_FILE_REJECTED, load_id, report) != 0) {
        rc = SVW_FILE_LATER;
    }

    json_decref(report);

    return rc;
}


/*
 * The report first, then the file, then the note that it is filed: whoever is
 * killed in between does it again with the same report.
 */
static int
svw_ingest_file(svw_db_t *db, const svw_inbox_file_t *file, int rejected, int32_t load_id, const json_t *report)
{
    int          dir, rc;
    char         id[16], name[NAME_MAX + 1];
    const char  *params[1];

    dir = svw_inbox_name(file, rejected, load_id, name);
    if (dir == -1) {
        return -1;
    }

    rc = svw_report_write(dir, name, report);

    if (rc != 0) {
        svw_log(SVW_LOG_ERROR, "load %d: its report cannot be written: %s", (int) load_id, strerror(errno));
    } else {
        rc = svw_inbox_move(file, dir, name);
    }

    close(dir);

    if (rc != 0) {
        return -1;
    }

    snprintf(id, sizeof(id), "%d", (int) load_id);
    params[0] = id;

    if (svw_db_do(db, "select sv.load_filed($1)", 1, params) != SVW_DB_OK) {
        svw_log(SVW_LOG_WARN, "load %d is filed, but that could not be noted: %s", (int) load_id, db->error);
    }

    return 0;
}
