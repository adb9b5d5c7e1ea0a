#include "svw_notify.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>


typedef struct {
    char    **ids;
    size_t    n;
    int64_t   end;                      /* behind the last whole line */
} svw_log_tail_t;


static int svw_notify_log_fd(svw_notify_log_t *log, const char *path, struct stat *st);
static int svw_notify_log_before(svw_notify_log_t *log, const char *path, svw_log_tail_t *tail);
static int svw_notify_log_find(const char *path, int64_t ino);
static int svw_notify_log_tail(svw_notify_log_t *log, int fd, int64_t pos, svw_log_tail_t *tail);
static int svw_notify_log_line(svw_log_tail_t *tail, const char *line, size_t len);
static int svw_notify_log_say(svw_notify_log_t *log, const char *what);


/*
 * A line is written, then noted together with the file's length.  So what stands
 * behind the noted length was written by a process that was killed in between:
 * its whole lines are in the log (*ids), a torn last one is taken off.  A file that
 * was moved away meanwhile is looked at first; it is known by its inode.
 */
int
svw_notify_log_open(svw_notify_log_t *log, const char *path, char ***ids, size_t *n)
{
    char             last;
    int64_t          pos;
    struct stat      st;
    svw_log_tail_t   tail;

    tail = (svw_log_tail_t) { 0 };
    *ids = NULL;
    *n = 0;

    if (svw_notify_log_fd(log, path, &st) != 0) {
        return -1;
    }

    if (log->ino > 0 && log->ino != (int64_t) st.st_ino && svw_notify_log_before(log, path, &tail) != 0) {
        goto failed;
    }

    if (log->ino == 0) {
        /* what somebody else has written there */
        pos = st.st_size;

        if (pos > 0 && pread(log->fd, &last, 1, pos - 1) == 1 && last != '\n' && write(log->fd, "\n", 1) == 1) {
            pos++;
        }

    } else {
        pos = log->ino == (int64_t) st.st_ino && log->pos <= st.st_size ? log->pos : 0;
    }

    tail.end = pos;

    if (svw_notify_log_tail(log, log->fd, pos, &tail) != 0) {
        goto failed;
    }

    log->ino = (int64_t) st.st_ino;
    log->pos = tail.end;
    *ids = tail.ids;
    *n = tail.n;

    return 0;

failed:

    svw_notify_log_free(tail.ids, tail.n);
    svw_notify_log_close(log);

    return -1;
}


/* A log that was moved away, as by logrotate, is closed; the next is a file of its own. */
int
svw_notify_log_moved(const svw_notify_log_t *log, const char *path)
{
    struct stat  st;

    return stat(path, &st) != 0 || (int64_t) st.st_ino != log->ino || st.st_size < log->pos;
}


int
svw_notify_log_write(svw_notify_log_t *log, const char *text, size_t len)
{
    size_t   done;
    ssize_t  n;

    for (done = 0; done < len; done += (size_t) n) {
        n = write(log->fd, text + done, len - done);

        if (n == -1 && errno == EINTR) {
            n = 0;
            continue;
        }

        if (n == -1) {
            break;
        }
    }

    if (done == len && fdatasync(log->fd) == 0) {
        log->pos += (int64_t) len;
        return 0;
    }

    (void) svw_notify_log_say(log, "write");

    /* a full disk: what did fit is taken back */
    if (ftruncate(log->fd, log->pos) != 0) {
        (void) svw_notify_log_say(log, "ftruncate");
    }

    return -1;
}


void
svw_notify_log_close(svw_notify_log_t *log)
{
    if (log->fd != -1) {
        close(log->fd);
    }

    log->fd = -1;
}


void
svw_notify_log_free(char **ids, size_t n)
{
    while (n-- > 0) {
        free(ids[n]);
    }

    free(ids);
}


/* One process writes: who lost the lease may not know it yet. */
static int
svw_notify_log_fd(svw_notify_log_t *log, const char *path, struct stat *st)
{
    struct stat  now;

    log->fd = open(path, O_RDWR|O_APPEND|O_CREAT|O_CLOEXEC, 0640);

    if (log->fd == -1 || fstat(log->fd, st) != 0) {
        (void) svw_notify_log_say(log, "open");

    } else if (flock(log->fd, LOCK_EX|LOCK_NB) != 0) {
        snprintf(log->error, sizeof(log->error), "another process writes it");

    } else if (stat(path, &now) != 0 || now.st_ino != st->st_ino) {
        snprintf(log->error, sizeof(log->error), "was moved away just now");

    } else {
        return 0;
    }

    svw_notify_log_close(log);

    return -1;
}


/* The file that was written before this one, if it is still there. */
static int
svw_notify_log_before(svw_notify_log_t *log, const char *path, svw_log_tail_t *tail)
{
    int  fd, rc;

    fd = svw_notify_log_find(path, log->ino);

    if (fd == -1) {
        svw_log(SVW_LOG_WARN, "notify_log \"%s\": the file that was written before is gone: what a process that was killed wrote there"
                " without noting it is written again", path);
        return 0;
    }

    if (flock(fd, LOCK_EX|LOCK_NB) != 0) {
        snprintf(log->error, sizeof(log->error), "another process writes the file that was moved away");
        close(fd);
        return -1;
    }

    tail->end = log->pos;
    rc = svw_notify_log_tail(log, fd, log->pos, tail);
    close(fd);

    return rc;
}


/* In the directory of the log; -1: not there */
static int
svw_notify_log_find(const char *path, int64_t ino)
{
    int             fd;
    DIR            *dir;
    char           *copy, *slash;
    struct stat     st;
    struct dirent  *entry;

    copy = strdup(path);
    if (copy == NULL) {
        return -1;
    }

    slash = strrchr(copy, '/');

    if (slash != NULL) {
        slash[slash == copy] = '\0';
    }

    dir = opendir(slash != NULL ? copy : ".");
    free(copy);
    fd = -1;

    while (dir != NULL && fd == -1 && (entry = readdir(dir)) != NULL) {
        if ((int64_t) entry->d_ino != ino) {
            continue;
        }

        fd = openat(dirfd(dir), entry->d_name, O_RDWR|O_APPEND|O_CLOEXEC|O_NOFOLLOW);

        if (fd != -1 && (fstat(fd, &st) != 0 || (int64_t) st.st_ino != ino || !S_ISREG(st.st_mode))) {
            close(fd);
            fd = -1;
        }
    }

    if (dir != NULL) {
        closedir(dir);
    }

    return fd;
}


static int
svw_notify_log_tail(svw_notify_log_t *log, int fd, int64_t pos, svw_log_tail_t *tail)
{
    int       rc, copy;
    FILE     *f;
    char     *line;
    size_t    size;
    ssize_t   len;

    copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    f = copy != -1 ? fdopen(copy, "r") : NULL;

    if (f == NULL || fseeko(f, pos, SEEK_SET) != 0) {
        if (f != NULL) {
            fclose(f);
        } else if (copy != -1) {
            close(copy);
        }

        return svw_notify_log_say(log, "read");
    }

    line = NULL;
    size = 0;
    rc = 0;

    while (rc == 0 && (len = getline(&line, &size, f)) > 0 && line[len - 1] == '\n') {
        rc = svw_notify_log_line(tail, line, (size_t) len);
        tail->end += len;
    }

    if (rc == 0 && ferror(f)) {
        rc = svw_notify_log_say(log, "read");
    }

    free(line);
    fclose(f);

    if (rc == 0 && ftruncate(fd, tail->end) != 0) {
        rc = svw_notify_log_say(log, "ftruncate");
    }

    return rc;
}


static int
svw_notify_log_line(svw_log_tail_t *tail, const char *line, size_t len)
{
    char        *id, **more;
    json_t      *json;
    const char  *text;

    json = json_loadb(line, len, 0, NULL);
    text = json_string_value(json_object_get(json, "id"));
    id = text != NULL ? strdup(text) : NULL;
    json_decref(json);

    if (id == NULL) {
        /* somebody else's */
        return text != NULL ? -1 : 0;
    }

    more = reallocarray(tail->ids, tail->n + 1, sizeof(char *));

    if (more == NULL) {
        free(id);
        return -1;
    }

    tail->ids = more;
    tail->ids[tail->n++] = id;

    return 0;
}


static int
svw_notify_log_say(svw_notify_log_t *log, const char *what)
{
    snprintf(log->error, sizeof(log->error), "%s: %s", what, strerror(errno));

    return -1;
}
