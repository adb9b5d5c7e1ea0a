/*
 * The inbox directory: which files are complete, who works on one, and where
 * it goes afterwards.
 *
 * Names are never joined to paths given by others: everything is opened
 * relative to a directory that was opened once.
 */

#ifndef SVW_INBOX_H
#define SVW_INBOX_H

#include "svw.h"

#include <limits.h>
#include <sys/stat.h>
#include <time.h>


#define SVW_INBOX_FILES  1000           /* looked at in one round */

typedef struct {
    char             name[NAME_MAX + 1];
    off_t            size;
    ino_t            inode;
    struct timespec  mtime;
    int64_t          since;             /* unchanged since, monotonic ms */
    int64_t          not_before;        /* after a failure, or done with */
    int              seen;              /* in this round */
    int              failed;            /* for a reason of this host; tried again later */
} svw_inbox_entry_t;

typedef struct {
    svw_conf_t         *conf;
    int                 inbox, done, rejected;      /* directories, -1 not open */
    int64_t             scanned;                    /* when the directory was last looked at, monotonic ms */
    unsigned            n;
    svw_inbox_entry_t   entry[SVW_INBOX_FILES];
} svw_inbox_t;


int svw_inbox_open(svw_inbox_t *inbox, svw_conf_t *conf);          /* -1: logged */
void svw_inbox_close(svw_inbox_t *inbox);

/* The complete file that came first, or NULL; `wait' is how long until another look is worth it. */
svw_inbox_entry_t *svw_inbox_next(svw_inbox_t *inbox, unsigned *wait);

/* An fd that holds the file's lock, or: another process has it, or it is gone; it cannot be read (errno). */
#define SVW_INBOX_BUSY    -1
#define SVW_INBOX_FAILED  -2
int svw_inbox_claim(svw_inbox_t *inbox, const svw_inbox_entry_t *entry);

/* The directory where the claimed file goes, and a name that is free there; -1: logged. */
int svw_inbox_name(const svw_inbox_t *inbox, const svw_inbox_entry_t *entry, int rejected, int32_t load_id,
    char name[NAME_MAX + 1]);
int svw_inbox_move(const svw_inbox_t *inbox, const svw_inbox_entry_t *entry, int dir, const char *name);

#endif /* SVW_INBOX_H */
