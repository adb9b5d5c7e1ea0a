#include "sv_spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>


#define SV_SPOOL_MAGIC   0x31707673u            /* "svp1" */
#define SV_SPOOL_LOCK    "replay.lock"
#define SV_SPOOL_SUFFIX  ".seg"
#define SV_SPOOL_NEW     ".new"

#define SV_FNV_BASIS     2166136261u
#define SV_FNV_PRIME     16777619u


#ifdef SV_FAILPOINTS
static void sv_spool_hang(const sv_spool_writer_t *writer);
#endif
static int sv_spool_open(sv_spool_writer_t *writer);
static int sv_spool_append(sv_spool_writer_t *writer, unsigned i);
static void sv_spool_take_back(sv_spool_writer_t *writer, off_t size);
static void sv_spool_close(int *fd);
static void sv_spool_failed(int *error, const char **what, const char *name);
static uint32_t sv_spool_check(const sv_spool_head_t *head, const uint8_t *data);
static uint32_t sv_spool_fnv(uint32_t hash, const void *data, size_t len);
static void sv_spool_sync_directory(const char *directory);
static int sv_spool_path(char path[SV_SPOOL_PATH], const char *directory, const char *name);
static int sv_spool_lock_directory(sv_spool_reader_t *reader);
static int sv_spool_next_name(sv_spool_reader_t *reader, DIR *dir, const char *after, char name[SV_SPOOL_NAME]);
static int sv_spool_is_segment(const char *name);
static int sv_spool_open_segment(sv_spool_reader_t *reader, const char *name);
static ssize_t sv_spool_pread(int fd, void *buf, size_t len, off_t at);


/*
 * What is told as written was handed to the disk.  What could not be written
 * is taken back, so that nothing follows a block that is not whole.
 */
void
sv_spool_write(sv_spool_writer_t *writer)
{
    off_t  before;

#ifdef SV_FAILPOINTS
    sv_spool_hang(writer);
#endif

    writer->written = 0;
    writer->error = 0;
    writer->what = NULL;
    before = writer->size;

    if (writer->blocks != 0 && (writer->fd != -1 || sv_spool_open(writer) == 0)) {

        while (writer->written < writer->blocks && sv_spool_append(writer, writer->written) == 0) {
            writer->written++;
        }

        if (writer->written != 0 && fdatasync(writer->fd) != 0) {
            sv_spool_failed(&writer->error, &writer->what, "fdatasync");
            sv_spool_take_back(writer, before);
            writer->written = 0;
        }
    }

    if (writer->fd != -1 && (writer->seal || writer->size >= SV_SPOOL_SEGMENT)) {
        sv_spool_close(&writer->fd);
        writer->size = 0;
    }

    __atomic_store_n(&writer->done, 1, __ATOMIC_RELEASE);
}


/* Under another name until it is locked: who finds a segment without a lock may remove it. */
static int
sv_spool_open(sv_spool_writer_t *writer)
{
    char  name[SV_SPOOL_NAME], path[SV_SPOOL_PATH], fresh[SV_SPOOL_PATH + sizeof(SV_SPOOL_NEW)];

    snprintf(name, sizeof(name), "%016llx-%08x" SV_SPOOL_SUFFIX, (unsigned long long) writer->boot,
             ++writer->number);

    if (sv_spool_path(path, writer->directory, name) != 0) {
        sv_spool_failed(&writer->error, &writer->what, "open");
        return -1;
    }

    snprintf(fresh, sizeof(fresh), "%s" SV_SPOOL_NEW, path);

    writer->size = 0;
    writer->fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);

    if (writer->fd == -1) {
        sv_spool_failed(&writer->error, &writer->what, "open");
        return -1;
    }

    if (flock(writer->fd, LOCK_EX | LOCK_NB) != 0 || rename(fresh, path) != 0) {
        sv_spool_failed(&writer->error, &writer->what, "rename");
        sv_spool_close(&writer->fd);
        (void) unlink(fresh);
        return -1;
    }

    sv_spool_sync_directory(writer->directory);

    return 0;
}


static int
sv_spool_append(sv_spool_writer_t *writer, unsigned i)
{
    ssize_t          n;
    struct iovec     iov[2];
    sv_spool_head_t  head;

    memset(&head, 0, sizeof(head));
    head.magic = SV_SPOOL_MAGIC;
    head.len = writer->block[i].len;
    head.n = writer->block[i].n;
    head.boot = writer->boot;
    snprintf(head.gateway, sizeof(head.gateway), "%s", writer->gateway);
    head.check = sv_spool_check(&head, writer->block[i].data);

    iov[0].iov_base = &head;
    iov[0].iov_len = sizeof(head);
    iov[1].iov_base = (void *) writer->block[i].data;
    iov[1].iov_len = head.len;

    n = writev(writer->fd, iov, 2);

    if (n == (ssize_t) (sizeof(head) + head.len)) {
        writer->size += n;
        return 0;
    }

    if (n >= 0) {
        errno = ENOSPC;             /* a disk that is full takes a part first */
    }

    sv_spool_failed(&writer->error, &writer->what, "write");
    sv_spool_take_back(writer, writer->size);

    return -1;
}


/* Where that fails, too, the segment ends here: its tail is found torn. */
static void
sv_spool_take_back(sv_spool_writer_t *writer, off_t size)
{
    if (ftruncate(writer->fd, size) == 0) {
        writer->size = size;
        return;
    }

    sv_spool_close(&writer->fd);
    writer->size = 0;
}


/* With the file goes its lock. */
static void
sv_spool_close(int *fd)
{
    (void) close(*fd);
    *fd = -1;
}


static void
sv_spool_failed(int *error, const char **what, const char *name)
{
    if (*error == 0) {
        *error = errno;
        *what = name;
    }
}


static uint32_t
sv_spool_check(const sv_spool_head_t *head, const uint8_t *data)
{
    uint32_t  hash;
    size_t    covered;

    covered = offsetof(sv_spool_head_t, len);
    hash = sv_spool_fnv(SV_FNV_BASIS, (const uint8_t *) head + covered, sizeof(*head) - covered);

    return sv_spool_fnv(hash, data, head->len);
}


static uint32_t
sv_spool_fnv(uint32_t hash, const void *data, size_t len)
{
    const uint8_t  *p, *end;

    end = (const uint8_t *) data + len;

    for (p = data; p < end; p++) {
        hash = (hash ^ *p) * SV_FNV_PRIME;
    }

    return hash;
}


/* A name that power loss takes away takes its blocks, too.  In the thread that writes; in a process that ends, its own. */
static void
sv_spool_sync_directory(const char *directory)
{
    int  fd;

    fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd != -1) {
        (void) fsync(fd);
        (void) close(fd);
    }
}


static int
sv_spool_path(char path[SV_SPOOL_PATH], const char *directory, const char *name)
{
    int  n;

    n = snprintf(path, SV_SPOOL_PATH, "%s/%s", directory, name);

    if (n < 0 || n >= SV_SPOOL_PATH) {
        errno = ENAMETOOLONG;
        return -1;
    }

    return 0;
}


void
sv_spool_scan(sv_spool_reader_t *reader, int want)
{
    DIR   *dir;
    char   name[SV_SPOOL_NAME], after[SV_SPOOL_NAME];

    reader->error = 0;
    reader->what = NULL;
    reader->looked = 0;

    if (sv_spool_lock_directory(reader) != 0) {
        return;
    }

    reader->looked = 1;

    dir = opendir(reader->directory);

    if (dir == NULL) {
        sv_spool_failed(&reader->error, &reader->what, "opendir");
        sv_spool_release(reader);
        return;
    }

    after[0] = '\0';

    /* by name, which is by age; those that are still written are passed over */
    while (sv_spool_next_name(reader, dir, after, name) && want
           && sv_spool_open_segment(reader, name) != 0)
    {
        memcpy(after, name, sizeof(after));
    }

    (void) closedir(dir);

    if (reader->fd == -1) {
        sv_spool_release(reader);
    }
}


static int
sv_spool_lock_directory(sv_spool_reader_t *reader)
{
    char  path[SV_SPOOL_PATH];

    if (reader->lock != -1) {
        return 0;
    }

    if (sv_spool_path(path, reader->directory, SV_SPOOL_LOCK) == 0) {
        reader->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    }

    if (reader->lock == -1) {
        sv_spool_failed(&reader->error, &reader->what, "open");
        return -1;
    }

    if (flock(reader->lock, LOCK_EX | LOCK_NB) != 0) {
        sv_spool_close(&reader->lock);
        return -1;
    }

    return 0;
}


/* The first name behind `after'; the bytes of all segments are summed up beside it. */
static int
sv_spool_next_name(sv_spool_reader_t *reader, DIR *dir, const char *after, char name[SV_SPOOL_NAME])
{
    int             found;
    struct stat     st;
    struct dirent  *entry;

    found = 0;
    reader->total = 0;
    rewinddir(dir);

    while ((entry = readdir(dir)) != NULL) {

        if (!sv_spool_is_segment(entry->d_name)) {
            continue;
        }

        if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
            reader->total += st.st_size;
        }

        if (strcmp(entry->d_name, after) > 0 && (!found || strcmp(entry->d_name, name) < 0)) {
            found = 1;
            snprintf(name, SV_SPOOL_NAME, "%.*s", SV_SPOOL_NAME - 1, entry->d_name);
        }
    }

    return found;
}


static int
sv_spool_is_segment(const char *name)
{
    size_t  len, suffix;

    len = strlen(name);
    suffix = sizeof(SV_SPOOL_SUFFIX) - 1;

    return len > suffix && len < SV_SPOOL_NAME && name[0] != '.'
           && strcmp(name + len - suffix, SV_SPOOL_SUFFIX) == 0;
}


/* One that was begun to be sent is gone on with where Redis had answered up to. */
static int
sv_spool_open_segment(sv_spool_reader_t *reader, const char *name)
{
    char         path[SV_SPOOL_PATH];
    struct stat  st;

    if (sv_spool_path(path, reader->directory, name) != 0) {
        return -1;
    }

    reader->fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

    if (reader->fd == -1) {
        sv_spool_failed(&reader->error, &reader->what, "open");
        return -1;
    }

    if (flock(reader->fd, LOCK_EX | LOCK_NB) != 0 || fstat(reader->fd, &st) != 0) {
        sv_spool_close(&reader->fd);
        return -1;
    }

    if (strcmp(reader->name, name) != 0) {
        snprintf(reader->name, sizeof(reader->name), "%s", name);
        reader->next = 0;
    }

    reader->size = st.st_size;

    return 0;
}


void
sv_spool_read(sv_spool_reader_t *reader)
{
    off_t             at;
    unsigned          n;
    sv_spool_head_t  *head;

    reader->error = 0;
    reader->what = NULL;
    reader->end = 0;
    reader->torn = 0;
    reader->bad = 0;
    at = reader->next;

    for (n = 0; n < SV_SPOOL_BATCH && at < reader->size; n++) {
        head = &reader->block[n].head;
        head->magic = SV_SPOOL_MAGIC;
        errno = 0;

        if (sv_spool_pread(reader->fd, head, sizeof(*head), at) != (ssize_t) sizeof(*head)
            || head->magic != SV_SPOOL_MAGIC || head->len > SV_SPOOL_DATA
            || sv_spool_pread(reader->fd, reader->block[n].data, head->len, at + (off_t) sizeof(*head))
               != (ssize_t) head->len
            || head->check != sv_spool_check(head, reader->block[n].data))
        {
            /* those before it first */
            if (errno != 0 && n > 0) {
                break;
            }

            if (errno != 0) {
                sv_spool_failed(&reader->error, &reader->what, "read");
                reader->bad = 1;
                break;
            }

            if (at == 0 && head->magic != SV_SPOOL_MAGIC) {
                reader->bad = 1;
                break;
            }

            reader->torn = reader->size - at;
            reader->end = 1;
            break;
        }

        head->gateway[sizeof(head->gateway) - 1] = '\0';
        at += (off_t) sizeof(*head) + head->len;
        reader->block[n].end = at;
    }

    reader->blocks = n;
    reader->end |= at >= reader->size;
}


static ssize_t
sv_spool_pread(int fd, void *buf, size_t len, off_t at)
{
    size_t   got;
    ssize_t  n;

    for (got = 0; got < len; got += (size_t) n) {
        n = pread(fd, (char *) buf + got, len - got, at + (off_t) got);

        if (n <= 0) {
            break;
        }
    }

    return (ssize_t) got;
}


void
sv_spool_remove(sv_spool_reader_t *reader)
{
    char  path[SV_SPOOL_PATH];

    reader->error = 0;
    reader->what = NULL;

    if (sv_spool_path(path, reader->directory, reader->name) != 0 || unlink(path) != 0) {
        sv_spool_failed(&reader->error, &reader->what, "unlink");
        sv_spool_release(reader);
        return;
    }

    sv_spool_close(&reader->fd);
    reader->name[0] = '\0';
    reader->next = 0;
}


void
sv_spool_set_aside(sv_spool_reader_t *reader)
{
    char  path[SV_SPOOL_PATH], bad[SV_SPOOL_PATH + sizeof(SV_SPOOL_BAD)];

    reader->error = 0;
    reader->what = NULL;
    reader->next = 0;

    if (sv_spool_path(path, reader->directory, reader->name) == 0) {
        snprintf(bad, sizeof(bad), "%s" SV_SPOOL_BAD, path);

        if (rename(path, bad) == 0) {
            sv_spool_close(&reader->fd);
            return;
        }
    }

    sv_spool_failed(&reader->error, &reader->what, "rename");
    sv_spool_release(reader);
}


void
sv_spool_release(sv_spool_reader_t *reader)
{
    if (reader->fd != -1) {
        sv_spool_close(&reader->fd);
    }

    if (reader->lock != -1) {
        sv_spool_close(&reader->lock);
    }
}


#ifdef SV_FAILPOINTS

/* test builds: a disk that answers nothing while there is a file `hang' */
static void
sv_spool_hang(const sv_spool_writer_t *writer)
{
    char  path[SV_SPOOL_PATH];

    while (sv_spool_path(path, writer->directory, "hang") == 0 && access(path, F_OK) == 0) {
        (void) poll(NULL, 0, 10);
    }
}

#endif
