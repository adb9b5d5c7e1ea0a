#include "svw_filing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>


static void svw_filing_reports(svw_filing_t *filing);
static void svw_filing_report(svw_filing_file_t *f);
static int svw_filing_taken(const svw_filing_file_t *f);
static void svw_filing_moves(svw_filing_t *filing);
static void svw_filing_move(svw_filing_file_t *f);
static void svw_filing_note(svw_filing_t *filing);
static void svw_filing_end(svw_filing_t *filing, unsigned later);


void
svw_filing_add(svw_filing_t *filing, svw_inbox_t *inbox, const svw_inbox_file_t *file, json_t *report, int32_t load_id,
    int rejected)
{
    unsigned  i;

    if (filing->n == 0) {
        filing->since = svw_now_ms();
    }

    /* the same content again, before the first is noted as filed */
    for (i = 0; i < filing->n; i++) {
        if (filing->file[i].load_id == load_id) {
            json_object_set_new(report, "already_loaded", json_true());
        }
    }

    filing->file[filing->n++] = (svw_filing_file_t) {
        .inbox = inbox, .file = *file, .report = report, .load_id = load_id, .rejected = rejected, .dir = -1, .fd = { -1, -1 }
    };
}


int
svw_filing_due(const svw_filing_t *filing)
{
    return filing->n == SVW_FILING_MAX || (filing->n > 0 && svw_now_ms() - filing->since >= SVW_FILING_HOLD);
}


void
svw_filing_flush(svw_filing_t *filing)
{
    if (filing->n == 0) {
        return;
    }

    /* the session commits without waiting for the disk */
    if (svw_db_do(filing->db, "select sv.load_durable()", 0, NULL) != SVW_DB_OK) {
        svw_log(SVW_LOG_WARN, "%u files stay in their inboxes for now: PostgreSQL: %s", filing->n, filing->db->error);
        svw_filing_end(filing, 0);
        return;
    }

    svw_filing_reports(filing);
    svw_filing_moves(filing);
    svw_filing_note(filing);
    svw_filing_end(filing, SVW_INBOX_LATER);
}


/* written, on the disk, under their names */
static void
svw_filing_reports(svw_filing_t *filing)
{
    int        fds[SVW_FILING_MAX * SVW_REPORTS], result[SVW_FILING_MAX * SVW_REPORTS];
    unsigned   i;

    for (i = 0; i < filing->n; i++) {
        svw_filing_report(&filing->file[i]);
        memcpy(&fds[i * SVW_REPORTS], filing->file[i].fd, sizeof(filing->file[i].fd));
    }

    svw_sync(fds, filing->n * SVW_REPORTS, result);

    for (i = 0; i < filing->n * SVW_REPORTS; i++) {
        if (result[i] != 0) {
            svw_log(SVW_LOG_ERROR, "load %d: its report cannot be written: %s", (int) filing->file[i / SVW_REPORTS].load_id,
                    strerror(result[i]));
            filing->file[i / SVW_REPORTS].failed = 1;
        }
    }
}


/* under the first name that nobody has there, or is about to have */
static void
svw_filing_report(svw_filing_file_t *f)
{
    unsigned  try;

    f->dir = svw_inbox_aside(&f->file, f->rejected);
    f->failed = 1;

    for (try = 0; f->dir != -1 && svw_inbox_name(&f->file, f->load_id, try, f->name) == 0; try++) {
        if (svw_filing_taken(f)) {
            continue;
        }

        if (svw_report_write(f->dir, f->name, f->report, f->fd) == 0) {
            if (!svw_filing_taken(f)) {
                f->failed = 0;
                return;
            }

            svw_report_drop(f->dir, f->name, f->fd);

        } else if (errno != EBUSY) {
            svw_log(SVW_LOG_ERROR, "load %d: its report cannot be written: %s", (int) f->load_id, strerror(errno));
            return;
        }
    }

    if (f->dir != -1) {
        svw_log(SVW_LOG_ERROR, "%s: too many files of this name are put aside", f->file.shown);
    }
}


static int
svw_filing_taken(const svw_filing_file_t *f)
{
    struct stat  st;

    return fstatat(f->dir, f->name, &st, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT;
}


static void
svw_filing_moves(svw_filing_t *filing)
{
    int        fds[SVW_FILING_MAX], result[SVW_FILING_MAX];
    unsigned   i;

    for (i = 0; i < filing->n; i++) {
        if (!filing->file[i].failed) {
            svw_filing_move(&filing->file[i]);
        }

        fds[i] = filing->file[i].failed ? -1 : filing->file[i].dir;
    }

    svw_sync(fds, filing->n, result);

    for (i = 0; i < filing->n; i++) {
        if (result[i] != 0) {
            svw_log(SVW_LOG_ERROR, "load %d: fsync of a directory: %s", (int) filing->file[i].load_id, strerror(result[i]));
            filing->file[i].failed = 1;
        }
    }
}


static void
svw_filing_move(svw_filing_file_t *f)
{
    if (svw_report_name(f->dir, f->name) != 0) {
        svw_log(SVW_LOG_ERROR, "load %d: its report cannot be written: %s", (int) f->load_id, strerror(errno));
        f->failed = 1;

    } else if (svw_inbox_move(&f->file, f->dir, f->name) != 0) {
        f->failed = 1;
    }
}


static void
svw_filing_note(svw_filing_t *filing)
{
    char         ids[SVW_FILING_MAX * 12 + 3];
    size_t       len;
    unsigned     i, n;
    const char  *params[1];

    ids[0] = '{';
    len = 1;

    for (i = 0, n = 0; i < filing->n; i++) {
        if (!filing->file[i].failed) {
            len += (size_t) snprintf(ids + len, sizeof(ids) - len, "%s%d", n++ > 0 ? "," : "", (int) filing->file[i].load_id);
        }
    }

    snprintf(ids + len, sizeof(ids) - len, "}");
    params[0] = ids;

    if (n > 0 && svw_db_do(filing->db, "select sv.load_filed(i) from unnest($1::integer[]) i", 1, params) != SVW_DB_OK) {
        svw_log(SVW_LOG_WARN, "%u files are filed, but that could not be noted: %s", n, filing->db->error);
    }
}


/* `later': when those that failed are tried again; 0: none was tried */
static void
svw_filing_end(svw_filing_t *filing, unsigned later)
{
    unsigned            i;
    svw_filing_file_t  *f;
    svw_inbox_entry_t  *entry;

    for (i = 0; i < filing->n; i++) {
        f = &filing->file[i];
        entry = svw_inbox_find(f->inbox, f->file.name);

        if (entry != NULL && later != 0 && !f->failed) {
            svw_inbox_drop(f->inbox, entry);

        } else if (entry != NULL) {
            svw_inbox_later(entry, later != 0 ? later : filing->conf->scan_interval);
            entry->failed = f->failed;
        }

        if (f->dir != -1) {
            svw_report_drop(f->dir, f->name, f->fd);
            close(f->dir);
        }

        svw_inbox_release(&f->file);
        json_decref(f->report);
    }

    filing->n = 0;
}
