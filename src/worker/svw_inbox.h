/*
 * The directories where files are delivered: which files are complete, who
 * works on one, and where it goes afterwards.
 *
 *   svw_inbox       turns: one file of each feed that has any
 *   svw_inbox_look  what is in a directory now
 *   svw_inbox_file  claiming a file, and filing it
 *
 * Names are never joined to paths: what is in a directory is opened relative
 * to it, and no link is followed.
 */

#ifndef SVW_INBOX_H
#define SVW_INBOX_H

#include "svw.h"

#include <limits.h>
#include <sys/stat.h>
#include <time.h>


#define SVW_INBOX_FILES      1000       /* listed of one inbox; those beyond wait until there is room */
#define SVW_INBOX_ALL_FILES  100000     /* of all of them */

#define SVW_INBOX_LATER      30000      /* ms until a file is tried again that failed for a reason of this host */

typedef struct {
    char            *name;
    off_t            size;
    ino_t            inode;
    struct timespec  mtime;
    int64_t          since;             /* unchanged since, monotonic ms */
    int64_t          not_before;        /* after a failure, or while another process has it */
    uint64_t         order;             /* the least are listed */
    int              failed;            /* for a reason of this host; tried again later */
} svw_inbox_entry_t;

typedef struct {
    const svw_feed_t   *feed;
    int64_t             look_at;        /* monotonic ms */
    uint64_t            turn;           /* see svw_inbox_look() */
    int                 round;
    unsigned            n, max;
    svw_inbox_entry_t  *entry;
    int                 more;           /* there are more than are listed */
    int                 gone;           /* it could not be looked into, which was told */
} svw_inbox_t;

typedef struct {
    svw_conf_t   *conf;
    svw_inbox_t  *inbox;
    unsigned      n;
    unsigned      next;                 /* whose turn it is */
} svw_inboxes_t;

/* a file that this process has the lock of */
typedef struct {
    const svw_feed_t  *feed;
    char              *name;
    char               shown[256];      /* printable */
    int                dir;             /* its inbox */
    int                fd;
} svw_inbox_file_t;


int svw_inboxes_open(svw_inboxes_t *inboxes, svw_conf_t *conf);    /* -1: out of memory */
void svw_inboxes_close(svw_inboxes_t *inboxes);

/* A complete file, the oldest of its inbox, or NULL; `wait' becomes less when another look is worth it earlier. */
svw_inbox_entry_t *svw_inbox_next(svw_inboxes_t *inboxes, svw_inbox_t **inbox, unsigned *wait);
svw_inbox_entry_t *svw_inbox_find(svw_inbox_t *inbox, const char *name);
void svw_inbox_drop(svw_inbox_t *inbox, svw_inbox_entry_t *entry);  /* it is done with; entries move */
void svw_inbox_later(svw_inbox_entry_t *entry, unsigned ms);

/* svw_inbox_look.c: -1: it cannot be looked into, logged */
int svw_inbox_look(svw_inbox_t *inbox, unsigned interval);

/* svw_inbox_file.c */
typedef enum {
    SVW_INBOX_CLAIMED,
    SVW_INBOX_BUSY,                     /* another process has it, or it was written to */
    SVW_INBOX_GONE,
    SVW_INBOX_FAILED                    /* it cannot be read: logged */
} svw_inbox_rc_t;

svw_inbox_rc_t svw_inbox_claim(svw_inbox_file_t *file, const svw_feed_t *feed, const svw_inbox_entry_t *entry);
void svw_inbox_release(svw_inbox_file_t *file);                     /* the lock goes with it */

/* The directory where a file goes, which the caller closes; -1: logged. */
int svw_inbox_aside(const svw_inbox_file_t *file, int rejected);

/* Its name there at the first, second .. try; -1: no more of them. */
int svw_inbox_name(const svw_inbox_file_t *file, int32_t load_id, unsigned try, char name[NAME_MAX + 1]);
int svw_inbox_move(const svw_inbox_file_t *file, int dir, const char *name);   /* not yet on the disk; -1: logged */

#endif /* SVW_INBOX_H */
