#include "svw_inbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "svw_load.h"


/* leaves room for what is put behind it, also by the report */
#define SVW_INBOX_NAME   200
#define SVW_INBOX_TRIES  1000


static int svw_inbox_same(const svw_inbox_file_t *file, const svw_inbox_entry_t *entry);
static size_t svw_inbox_cut(const char *name);
static int svw_inbox_is_report(const char *name);
static int svw_inbox_ends(const char *name, const char *end);


svw_inbox_rc_t
svw_inbox_claim(svw_inbox_file_t *file, const svw_feed_t *feed, const svw_inbox_entry_t *entry)
{
    svw_inbox_rc_t  rc;

    *file = (svw_inbox_file_t) { .feed = feed, .name = strdup(entry->name), .fd = -1 };
    svw_printable(file->shown, sizeof(file->shown), (sv_span_t) { (const uint8_t *) entry->name, strlen(entry->name) });

    file->dir = open(feed->inbox, O_RDONLY|O_DIRECTORY|O_CLOEXEC);

    if (file->dir != -1 && file->name != NULL) {
        file->fd = openat(file->dir, entry->name, O_RDONLY|O_NOFOLLOW|O_NONBLOCK|O_CLOEXEC);
    }

    if (file->fd == -1) {
        rc = errno == ENOENT ? SVW_INBOX_GONE : SVW_INBOX_FAILED;

        if (rc == SVW_INBOX_FAILED) {
            svw_log(SVW_LOG_ERROR, "%s: %s", file->shown, strerror(errno));
        }

    } else {
        rc = flock(file->fd, LOCK_EX|LOCK_NB) == 0 && svw_inbox_same(file, entry) ? SVW_INBOX_CLAIMED : SVW_INBOX_BUSY;
    }

    if (rc != SVW_INBOX_CLAIMED) {
        svw_inbox_release(file);
    }

    return rc;
}


void
svw_inbox_release(svw_inbox_file_t *file)
{
    if (file->fd != -1) {
        close(file->fd);
        file->fd = -1;
    }

    if (file->dir != -1) {
        close(file->dir);
        file->dir = -1;
    }

    free(file->name);
    file->name = NULL;
}


/* A file is moved by renaming it: within one file system it is whole in one place at any time. */
int
svw_inbox_aside(const svw_inbox_file_t *file, int rejected)
{
    int          dir;
    const char  *path;

    path = rejected ? file->feed->rejected : file->feed->done;
    dir = open(path, O_RDONLY|O_DIRECTORY|O_CLOEXEC);

    if (dir == -1 && errno == ENOENT && (mkdir(path, 0770) == 0 || errno == EEXIST)) {
        dir = open(path, O_RDONLY|O_DIRECTORY|O_CLOEXEC);
    }

    if (dir == -1) {
        svw_log(SVW_LOG_ERROR, "\"%s\": %s", path, strerror(errno));
    }

    return dir;
}


int
svw_inbox_name(const svw_inbox_file_t *file, int32_t load_id, unsigned try, char name[NAME_MAX + 1])
{
    int  len;

    /* a report may come to lie under such a name, and would replace the file */
    try += svw_inbox_is_report(file->name);

    if (try >= SVW_INBOX_TRIES) {
        return -1;
    }

    len = (int) svw_inbox_cut(file->name);

    if (try == 0) {
        snprintf(name, NAME_MAX + 1, "%.*s", len, file->name);
    } else {
        snprintf(name, NAME_MAX + 1, "%.*s.%d-%u", len, file->name, (int) load_id, try);
    }

    return 0;
}


int
svw_inbox_move(const svw_inbox_file_t *file, int dir, const char *name)
{
    int  rc;

    rc = renameat2(file->dir, file->name, dir, name, RENAME_NOREPLACE);

    if (rc != 0 && (errno == EINVAL || errno == ENOSYS)) {
        /* not every file system has it; the name was free a moment ago */
        rc = renameat(file->dir, file->name, dir, name);
    }

    if (rc != 0) {
        svw_log(SVW_LOG_ERROR, "%s: cannot be moved out of \"%s\": %s", file->shown, file->feed->inbox, strerror(errno));
        return -1;
    }

    return 0;
}


/* Whoever held the lock before may have moved the file away, or it was written to again. */
static int
svw_inbox_same(const svw_inbox_file_t *file, const svw_inbox_entry_t *entry)
{
    struct stat  held, named;

    return fstat(file->fd, &held) == 0
           && fstatat(file->dir, entry->name, &named, AT_SYMLINK_NOFOLLOW) == 0
           && S_ISREG(held.st_mode)
           && held.st_ino == named.st_ino && held.st_dev == named.st_dev
           && held.st_size == entry->size
           && held.st_mtim.tv_sec == entry->mtime.tv_sec && held.st_mtim.tv_nsec == entry->mtime.tv_nsec;
}


/* not within a character */
static size_t
svw_inbox_cut(const char *name)
{
    size_t  len;

    len = strlen(name);

    if (len <= SVW_INBOX_NAME) {
        return len;
    }

    len = SVW_INBOX_NAME;

    while (len > SVW_INBOX_NAME - 4 && ((unsigned char) name[len] & 0xc0) == 0x80) {
        len--;
    }

    return len;
}


static int
svw_inbox_is_report(const char *name)
{
    return svw_inbox_ends(name, ".report.json") || svw_inbox_ends(name, ".report.txt");
}


static int
svw_inbox_ends(const char *name, const char *end)
{
    size_t  n, m;

    n = strlen(name);
    m = strlen(end);

    return n >= m && strcasecmp(name + n - m, end) == 0;
}
