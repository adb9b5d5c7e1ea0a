#include "svw_capture.h"
#include "svw_filing.h"

#include <errno.h>
#include <string.h>


#define SVW_INGEST_LARGE  (1024 * 1024) /* before such a file those that are loaded are filed */


static void svw_ingest_turn(svw_filing_t *filing, svw_inboxes_t *inboxes, svw_captures_t *captures);
static void svw_ingest_dirs(const svw_conf_t *conf);
static void svw_ingest_one(svw_filing_t *filing, svw_inbox_t *inbox, svw_inbox_entry_t *entry);
static svw_file_rc_t svw_ingest_load(svw_filing_t *filing, svw_inbox_t *inbox, svw_inbox_file_t *file);


int
svw_ingest_run(svw_conf_t *conf)
{
    svw_db_t        db;
    svw_filing_t    filing;
    svw_inboxes_t   inboxes;
    svw_captures_t  captures;

    if (svw_inboxes_open(&inboxes, conf) != 0) {
        return SVW_EXIT_FAILED;
    }

    svw_ingest_dirs(conf);
    svw_db_init(&db, conf->postgres, "serial-verify-worker ingest");
    db.setup = "set synchronous_commit = off";
    filing = (svw_filing_t) { .conf = conf, .db = &db };
    svw_captures_init(&captures, conf, &db);

    while (svw_db_ensure(&db) == 0) {
        svw_ingest_turn(&filing, &inboxes, &captures);
    }

    svw_filing_flush(&filing);
    svw_db_close(&db);
    svw_inboxes_close(&inboxes);

    return SVW_EXIT_OK;
}


/* a capture, and a file */
static void
svw_ingest_turn(svw_filing_t *filing, svw_inboxes_t *inboxes, svw_captures_t *captures)
{
    int                 capture;
    unsigned            wait;
    svw_inbox_t        *inbox;
    svw_inbox_entry_t  *entry;

    wait = filing->conf->scan_interval;
    capture = svw_captures_due(captures, &wait);

    if (capture || svw_filing_due(filing)) {
        svw_filing_flush(filing);
    }

    if (capture) {
        svw_captures_one(captures);
    }

    entry = svw_inbox_next(inboxes, &inbox, &wait);

    if (filing->n > 0 && (entry == NULL || entry->size > SVW_INGEST_LARGE)) {
        /* entries move */
        svw_filing_flush(filing);

    } else if (entry != NULL) {
        svw_ingest_one(filing, inbox, entry);

    } else if (!capture) {
        svw_pause(wait);
    }
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
svw_ingest_one(svw_filing_t *filing, svw_inbox_t *inbox, svw_inbox_entry_t *entry)
{
    svw_file_rc_t     rc;
    svw_inbox_file_t  file;

    switch (svw_inbox_claim(&file, inbox->feed, entry)) {

    case SVW_INBOX_GONE:
        svw_inbox_drop(inbox, entry);
        return;

    case SVW_INBOX_BUSY:
        svw_inbox_later(entry, filing->conf->scan_interval);
        return;

    case SVW_INBOX_FAILED:
        rc = SVW_FILE_LATER;
        break;

    default:
        rc = svw_ingest_load(filing, inbox, &file);
    }

    svw_inbox_later(entry, rc == SVW_FILE_AGAIN ? filing->conf->scan_interval : SVW_INBOX_LATER);
    entry->failed = rc == SVW_FILE_LATER;
}


static svw_file_rc_t
svw_ingest_load(svw_filing_t *filing, svw_inbox_t *inbox, svw_inbox_file_t *file)
{
    json_t            *report;
    int32_t            load_id;
    svw_source_t       source;
    svw_file_rc_t      rc;
    const svw_feed_t  *feed;

    feed = file->feed;
    source = (svw_source_t) {
        .feed = feed->name, .company = feed->company, .strict = (int) feed->strict,
        .whole = feed->on_error == SVW_ON_ERROR_NONE
    };

    rc = svw_load_file(filing->conf, filing->db, file->fd, file->shown, &source, 0, &report, &load_id);

    if (report != NULL) {
        svw_filing_add(filing, inbox, file, report, load_id, rc == SVW_FILE_REJECTED);
    } else {
        svw_inbox_release(file);
    }

    return rc;
}
