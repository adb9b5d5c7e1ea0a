#include "svw_inbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>


/* leaves room for what is put behind it, also by the report */
#define SVW_INBOX_NAME   200
#define SVW_INBOX_TRIES  1000
#define SVW_INBOX_TURNS  100            /* places of failed files given to others in one look */


static int svw_inbox_dir(const char *what, const char *path, int make);
static int svw_inbox_device(const svw_inbox_t *inbox);
static svw_inbox_entry_t *svw_inbox_due(svw_inbox_t *inbox, unsigned *wait);
static int svw_inbox_scan(svw_inbox_t *inbox);
static void svw_inbox_forget(svw_inbox_t *inbox);
static svw_inbox_entry_t *svw_inbox_place(svw_inbox_t *inbox, unsigned *turns);
static int svw_inbox_ignored(const char *name);
static svw_inbox_entry_t *svw_inbox_find(svw_inbox_t *inbox, const char *name);
static int svw_inbox_ends(const char *name, const char *end);
static int svw_inbox_is_report(const char *name);


int
svw_inbox_open(svw_inbox_t *inbox, svw_conf_t *conf)
{
    inbox->conf = conf;
    inbox->n = 0;
    inbox->scanned = 0;
    inbox->done = inbox->rejected = -1;

    inbox->inbox = svw_inbox_dir("inbox", conf->inbox, 0);

    if (inbox->inbox != -1) {
        inbox->done = svw_inbox_dir("done", conf->feeds->done, 1);
    }

    if (inbox->done != -1) {
        inbox->rejected = svw_inbox_dir("rejected", conf->feeds->rejected, 1);
    }

    if (inbox->rejected == -1 || svw_inbox_device(inbox) != 0) {
        svw_inbox_close(inbox);
        return -1;
    }

    return 0;
}


void
svw_inbox_close(svw_inbox_t *inbox)
{
    int  *fd[3] = { &inbox->inbox, &inbox->done, &inbox->rejected };
    int   i;

    for (i = 0; i < 3; i++) {
        if (*fd[i] != -1) {
            close(*fd[i]);
            *fd[i] = -1;
        }
    }
}


/* One look serves for all that is due meanwhile: many small files do not cost a look each. */
svw_inbox_entry_t *
svw_inbox_next(svw_inbox_t *inbox, unsigned *wait)
{
    svw_inbox_entry_t  *entry;

    if (svw_now_ms() - inbox->scanned < inbox->conf->scan_interval) {
        entry = svw_inbox_due(inbox, wait);

        if (entry != NULL) {
            return entry;
        }
    }

    *wait = inbox->conf->scan_interval;

    return svw_inbox_scan(inbox) == 0 ? svw_inbox_due(inbox, wait) : NULL;
}


int
svw_inbox_claim(svw_inbox_t *inbox, const svw_inbox_entry_t *entry)
{
    int          fd;
    struct stat  held, named;

    fd = openat(inbox->inbox, entry->name, O_RDONLY|O_NOFOLLOW|O_NONBLOCK|O_CLOEXEC);

    if (fd == -1) {
        return errno == ENOENT ? SVW_INBOX_BUSY : SVW_INBOX_FAILED;
    }

    /* whoever held the lock before may have moved the file away, or it was written to again */
    if (flock(fd, LOCK_EX|LOCK_NB) == 0
        && fstat(fd, &held) == 0
        && fstatat(inbox->inbox, entry->name, &named, AT_SYMLINK_NOFOLLOW) == 0
        && S_ISREG(held.st_mode)
        && held.st_ino == named.st_ino && held.st_dev == named.st_dev
        && held.st_size == entry->size
        && held.st_mtim.tv_sec == entry->mtime.tv_sec && held.st_mtim.tv_nsec == entry->mtime.tv_nsec)
    {
        return fd;
    }

    close(fd);

    return SVW_INBOX_BUSY;
}


int
svw_inbox_name(const svw_inbox_t *inbox, const svw_inbox_entry_t *entry, int rejected, int32_t load_id,
    char name[NAME_MAX + 1])
{
    int          dir;
    unsigned     try;
    struct stat  st;

    dir = rejected ? inbox->rejected : inbox->done;
    snprintf(name, NAME_MAX + 1, "%.*s", SVW_INBOX_NAME, entry->name);

    /* a report may come to lie under such a name, and would replace the file */
    for (try = svw_inbox_is_report(entry->name); try < SVW_INBOX_TRIES; try++) {
        if (try > 0) {
            snprintf(name, NAME_MAX + 1, "%.*s.%d-%u", SVW_INBOX_NAME, entry->name, (int) load_id, try);
        }

        if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT) {
            return dir;
        }
    }

    svw_log(SVW_LOG_ERROR, "%s: \"%s\" has too many files of this name", entry->name,
            rejected ? inbox->conf->feeds->rejected : inbox->conf->feeds->done);

    return -1;
}


int
svw_inbox_move(const svw_inbox_t *inbox, const svw_inbox_entry_t *entry, int dir, const char *name)
{
    int  rc;

    rc = renameat2(inbox->inbox, entry->name, dir, name, RENAME_NOREPLACE);

    if (rc != 0 && (errno == EINVAL || errno == ENOSYS)) {
        /* not every file system has it; the name was free a moment ago */
        rc = renameat(inbox->inbox, entry->name, dir, name);
    }

    if (rc != 0) {
        svw_log(SVW_LOG_ERROR, "%s: cannot be moved to \"%s\": %s", entry->name,
                dir == inbox->done ? inbox->conf->feeds->done : inbox->conf->feeds->rejected, strerror(errno));
        return -1;
    }

    return fsync(dir);
}


static int
svw_inbox_dir(const char *what, const char *path, int make)
{
    int  fd;

    if (make && mkdir(path, 0770) != 0 && errno != EEXIST) {
        svw_log(SVW_LOG_ERROR, "%s \"%s\": %s", what, path, strerror(errno));
        return -1;
    }

    fd = open(path, O_RDONLY|O_DIRECTORY|O_CLOEXEC);
    if (fd == -1) {
        svw_log(SVW_LOG_ERROR, "%s \"%s\": %s", what, path, strerror(errno));
    }

    return fd;
}


/* A file is moved by renaming it: within one file system it is whole in one place at any time. */
static int
svw_inbox_device(const svw_inbox_t *inbox)
{
    struct stat  in, done, rejected;

    if (fstat(inbox->inbox, &in) != 0 || fstat(inbox->done, &done) != 0 || fstat(inbox->rejected, &rejected) != 0) {
        svw_log(SVW_LOG_ERROR, "inbox: %s", strerror(errno));
        return -1;
    }

    if (in.st_dev != done.st_dev || in.st_dev != rejected.st_dev) {
        svw_log(SVW_LOG_ERROR, "inbox, done and rejected must be on one file system");
        return -1;
    }

    return 0;
}


/* The oldest that is complete. */
static svw_inbox_entry_t *
svw_inbox_due(svw_inbox_t *inbox, unsigned *wait)
{
    int64_t             now, due, soonest;
    unsigned            i;
    svw_inbox_entry_t  *entry, *best;

    now = svw_now_ms();
    soonest = inbox->conf->scan_interval;
    best = NULL;

    for (i = 0; i < inbox->n; i++) {
        entry = &inbox->entry[i];
        due = entry->since + inbox->conf->settle;

        if (entry->not_before > due) {
            due = entry->not_before;
        }

        if (due > now) {
            soonest = due - now < soonest ? due - now : soonest;
            continue;
        }

        if (best == NULL || entry->mtime.tv_sec < best->mtime.tv_sec
            || (entry->mtime.tv_sec == best->mtime.tv_sec
                && (entry->mtime.tv_nsec < best->mtime.tv_nsec
                    || (entry->mtime.tv_nsec == best->mtime.tv_nsec && strcmp(entry->name, best->name) < 0))))
        {
            best = entry;
        }
    }

    *wait = soonest > 10 ? (unsigned) soonest : 10;

    return best;
}


/* Files beyond the limit wait until there is room: those that are known move on. */
static int
svw_inbox_scan(svw_inbox_t *inbox)
{
    int                 fd;
    DIR                *dir;
    unsigned            i, turns;
    struct stat         st;
    struct dirent      *d;
    svw_inbox_entry_t  *entry;

    fd = openat(inbox->inbox, ".", O_RDONLY|O_DIRECTORY|O_CLOEXEC);
    dir = fd != -1 ? fdopendir(fd) : NULL;

    if (dir == NULL) {
        svw_log(SVW_LOG_ERROR, "inbox \"%s\": %s", inbox->conf->inbox, strerror(errno));

        if (fd != -1) {
            close(fd);
        }

        return -1;
    }

    turns = 0;

    for (i = 0; i < inbox->n; i++) {
        inbox->entry[i].seen = 0;
    }

    while ((d = readdir(dir)) != NULL) {
        if (svw_inbox_ignored(d->d_name)
            || fstatat(inbox->inbox, d->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
        {
            continue;
        }

        entry = svw_inbox_find(inbox, d->d_name);

        if (entry == NULL) {
            entry = svw_inbox_place(inbox, &turns);

            if (entry == NULL) {
                continue;
            }

            *entry = (svw_inbox_entry_t) { .size = -1 };
            snprintf(entry->name, sizeof(entry->name), "%s", d->d_name);
        }

        entry->seen = 1;

        if (entry->size != st.st_size || entry->inode != st.st_ino
            || entry->mtime.tv_sec != st.st_mtim.tv_sec || entry->mtime.tv_nsec != st.st_mtim.tv_nsec)
        {
            entry->size = st.st_size;
            entry->inode = st.st_ino;
            entry->mtime = st.st_mtim;
            entry->since = svw_now_ms();
            entry->not_before = 0;
            entry->failed = 0;
        }
    }

    closedir(dir);

    svw_inbox_forget(inbox);
    inbox->scanned = svw_now_ms();

    return 0;
}


/* A free one, or that of the file that failed last: those that cannot be read keep no others out. */
static svw_inbox_entry_t *
svw_inbox_place(svw_inbox_t *inbox, unsigned *turns)
{
    unsigned            i;
    svw_inbox_entry_t  *entry, *last;

    if (inbox->n < SVW_INBOX_FILES) {
        return &inbox->entry[inbox->n++];
    }

    if (*turns == SVW_INBOX_TURNS) {
        return NULL;
    }

    last = NULL;

    for (i = 0; i < inbox->n; i++) {
        entry = &inbox->entry[i];

        if (entry->failed && (last == NULL || entry->not_before > last->not_before)) {
            last = entry;
        }
    }

    *turns += last != NULL;

    return last;
}


/* those that are gone */
static void
svw_inbox_forget(svw_inbox_t *inbox)
{
    unsigned  i, n;

    for (i = 0, n = 0; i < inbox->n; i++) {
        if (inbox->entry[i].seen) {
            if (n != i) {
                inbox->entry[n] = inbox->entry[i];
            }

            n++;
        }
    }

    inbox->n = n;
}


/* Being written by whoever delivers: under another name until it is whole. */
static int
svw_inbox_ignored(const char *name)
{
    return name[0] == '.' || svw_inbox_ends(name, ".tmp") || svw_inbox_ends(name, ".part")
           || svw_inbox_ends(name, ".filepart") || svw_inbox_ends(name, "~");
}


static svw_inbox_entry_t *
svw_inbox_find(svw_inbox_t *inbox, const char *name)
{
    unsigned  i;

    for (i = 0; i < inbox->n; i++) {
        if (strcmp(inbox->entry[i].name, name) == 0) {
            return &inbox->entry[i];
        }
    }

    return NULL;
}


static int
svw_inbox_ends(const char *name, const char *end)
{
    size_t  n, m;

    n = strlen(name);
    m = strlen(end);

    return n >= m && strcasecmp(name + n - m, end) == 0;
}


static int
svw_inbox_is_report(const char *name)
{
    return svw_inbox_ends(name, ".report.json") || svw_inbox_ends(name, ".report.txt");
}
