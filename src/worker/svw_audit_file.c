#include "svw_audit.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>


static int svw_audit_file_last(int fd, svw_audit_head_t *last, char error[SVW_TEXT]);
static int svw_audit_file_more(int fd, svw_db_t *db, svw_audit_head_t *last, int64_t heads, char error[SVW_TEXT]);
static int svw_audit_file_same(svw_db_t *db, const svw_audit_head_t *last, char error[SVW_TEXT]);
static int64_t svw_audit_file_heads(svw_db_t *db, char error[SVW_TEXT]);
static int svw_audit_file_append(int fd, const svw_audit_head_t *head);


/*
 * Brings the file up to the `heads' of the database.  Only what is signed and
 * follows from the head before it is written; a file that knows other or more
 * heads than the database is left as it is, and told.
 */
int
svw_audit_file_sync(svw_conf_t *conf, svw_db_t *db, int64_t heads, char error[SVW_TEXT])
{
    int               fd, rc;
    svw_audit_head_t  last;

    if (conf->audit_heads == NULL) {
        return 0;
    }

    fd = open(conf->audit_heads, O_RDWR|O_CREAT|O_APPEND|O_CLOEXEC, 0644);

    if (fd == -1 || flock(fd, LOCK_EX) != 0) {
        snprintf(error, SVW_TEXT, "audit_heads \"%.150s\": %s", conf->audit_heads, strerror(errno));
        rc = -1;

    } else {
        rc = svw_audit_file_last(fd, &last, error);
    }

    /* another worker with the same file may have been faster than our look at the database */
    if (rc == 0 && last.head > heads) {
        heads = svw_audit_file_heads(db, error);
        rc = heads < 0 ? -1 : 0;
    }

    if (rc == 0 && last.head > heads) {
        snprintf(error, SVW_TEXT, "head %" PRId64 " is in audit_heads, the database has %" PRId64
                 " heads: nothing is signed, run audit verify", last.head, heads);
        rc = -1;
    }

    if (rc == 0 && last.head > 0 && last.head == heads) {
        rc = svw_audit_file_same(db, &last, error);
    }

    if (rc == 0 && last.head < heads) {
        rc = svw_audit_file_more(fd, db, &last, heads, error);
    }

    if (fd != -1) {
        close(fd);
    }

    return rc;
}


/* what a crash left of a line is cut off */
static int
svw_audit_file_last(int fd, svw_audit_head_t *last, char error[SVW_TEXT])
{
    char         buf[2 * SVW_AUDIT_LINE + 1], *end, *line;
    off_t        from;
    ssize_t      n;
    struct stat  st;

    *last = (svw_audit_head_t) { .head = 0 };

    if (fstat(fd, &st) != 0) {
        snprintf(error, SVW_TEXT, "audit_heads: %s", strerror(errno));
        return -1;
    }

    from = st.st_size > (off_t) sizeof(buf) - 1 ? st.st_size - (off_t) sizeof(buf) + 1 : 0;
    n = pread(fd, buf, sizeof(buf) - 1, from);

    if (n < 0) {
        snprintf(error, SVW_TEXT, "audit_heads: %s", strerror(errno));
        return -1;
    }

    end = memrchr(buf, '\n', (size_t) n);

    if (end == NULL && from > 0) {
        snprintf(error, SVW_TEXT, "audit_heads: its end is no head");
        return -1;
    }

    from += end != NULL ? end - buf + 1 : 0;

    if (from < st.st_size && ftruncate(fd, from) != 0) {
        snprintf(error, SVW_TEXT, "audit_heads: %s", strerror(errno));
        return -1;
    }

    if (end == NULL) {
        return 0;
    }

    line = memrchr(buf, '\n', (size_t) (end - buf));
    line = line != NULL ? line + 1 : buf;
    *end = '\0';

    if (svw_audit_head_parse(line, last) != 0) {
        snprintf(error, SVW_TEXT, "audit_heads: its last line is no head: nothing is signed, run audit verify");
        return -1;
    }

    return 0;
}


static int
svw_audit_file_more(int fd, svw_db_t *db, svw_audit_head_t *last, int64_t heads, char error[SVW_TEXT])
{
    int               i;
    char              after[24];
    uint8_t           digest[SVW_AUDIT_HASH];
    PGresult         *r;
    const char       *params[1];
    svw_audit_head_t  head;

    while (last->head < heads) {
        snprintf(after, sizeof(after), "%" PRId64, last->head);
        params[0] = after;

        if (svw_db_query(db, &r, "select * from sv.audit_days($1, 100)", 1, params) != SVW_DB_OK) {
            snprintf(error, SVW_TEXT, "%s", db->error);
            return -1;
        }

        for (i = 0; i < PQntuples(r); i++) {
            svw_audit_head_of(r, i, &head);

            if (head.head != last->head + 1 || !svw_audit_head_signed(&head)
                || (last->head > 0 && (svw_audit_head_digest(last, digest) != 0
                                       || memcmp(digest, head.previous, SVW_AUDIT_HASH) != 0)))
            {
                snprintf(error, SVW_TEXT, "head %" PRId64 " does not follow from the last of audit_heads: nothing is signed, "
                         "run audit verify", head.head);
                PQclear(r);
                return -1;
            }

            if (svw_audit_file_append(fd, &head) != 0) {
                snprintf(error, SVW_TEXT, "audit_heads: %s", strerror(errno));
                PQclear(r);
                return -1;
            }

            *last = head;
        }

        PQclear(r);

        if (i == 0) {
            snprintf(error, SVW_TEXT, "head %" PRId64 " is missing: nothing is signed, run audit verify", last->head + 1);
            return -1;
        }
    }

    return 0;
}


static int64_t
svw_audit_file_heads(svw_db_t *db, char error[SVW_TEXT])
{
    int64_t    heads;
    PGresult  *r;

    if (svw_db_query(db, &r, "select head from sv.audit_state()", 0, NULL) != SVW_DB_OK) {
        snprintf(error, SVW_TEXT, "%s", db->error);
        return -1;
    }

    heads = svw_col_int(r, 0, "head");
    PQclear(r);

    return heads;
}


/* the last head of both is one and the same */
static int
svw_audit_file_same(svw_db_t *db, const svw_audit_head_t *last, char error[SVW_TEXT])
{
    int               rc;
    char              after[24], ours[SVW_AUDIT_LINE], theirs[SVW_AUDIT_LINE];
    PGresult         *r;
    const char       *params[1];
    svw_audit_head_t  head;

    snprintf(after, sizeof(after), "%" PRId64, last->head - 1);
    params[0] = after;

    if (svw_db_query(db, &r, "select * from sv.audit_days($1, 1)", 1, params) != SVW_DB_OK) {
        snprintf(error, SVW_TEXT, "%s", db->error);
        return -1;
    }

    rc = -1;

    if (PQntuples(r) == 1) {
        svw_audit_head_of(r, 0, &head);
        svw_audit_head_line(&head, 1, ours);
        svw_audit_head_line(last, 1, theirs);
        rc = strcmp(ours, theirs) == 0 ? 0 : -1;
    }

    PQclear(r);

    if (rc != 0) {
        snprintf(error, SVW_TEXT, "head %" PRId64 " is another one in audit_heads: nothing is signed, run audit verify", last->head);
    }

    return rc;
}


static int
svw_audit_file_append(int fd, const svw_audit_head_t *head)
{
    char    line[SVW_AUDIT_LINE + 1];
    size_t  len;

    svw_audit_head_line(head, 1, line);
    len = strlen(line);
    line[len++] = '\n';

    /* a part of a line is cut off by the next who opens the file */
    if (write(fd, line, len) != (ssize_t) len) {
        errno = errno != 0 ? errno : ENOSPC;
        return -1;
    }

    return fsync(fd);
}
