#include "svw_inbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>


#define SVW_LOOK_SHARE  20              /* looking takes at most this part of the time */
#define SVW_LOOK_GONE   30000           /* ms until a directory is tried again that cannot be opened */


/* what is found, as a heap: the one that gives way first is at its top */
typedef struct {
    svw_inbox_t        *inbox;
    unsigned            n, room;
    svw_inbox_entry_t  *entry;
} svw_look_t;


static int svw_look_into(svw_look_t *look, DIR *dir);
static int svw_look_at(svw_look_t *look, const char *name, const struct stat *st);
static uint64_t svw_look_order(const svw_inbox_t *inbox, const char *name, const struct stat *st);
static int svw_look_put(svw_look_t *look, const svw_inbox_entry_t *entry);
static void svw_look_settle(svw_look_t *look);
static int svw_look_later(const svw_inbox_entry_t *a, const svw_inbox_entry_t *b);
static void svw_look_swap(svw_inbox_entry_t *a, svw_inbox_entry_t *b);
static const svw_inbox_entry_t *svw_look_known(const svw_inbox_t *inbox, const svw_inbox_entry_t *entry);
static int svw_look_compare(const void *a, const void *b);
static void svw_look_replace(svw_look_t *look);
static int svw_look_ignored(const char *name);
static int svw_look_ends(const char *name, const char *end);


/*
 * Lists the oldest files, as many as there is room for.  When most of those
 * that are listed cannot be read, the list goes round all files by a hash of
 * their names instead: however many cannot be read, the others get a turn.
 */
int
svw_inbox_look(svw_inbox_t *inbox, unsigned interval)
{
    int          rc;
    DIR         *dir;
    int64_t      begin, took;
    unsigned     i, failed;
    svw_look_t   look;

    begin = svw_now_ms();
    look = (svw_look_t) { .inbox = inbox };

    dir = opendir(inbox->feed->inbox);

    if (dir == NULL) {
        if (!inbox->gone) {
            svw_log(SVW_LOG_ERROR, "inbox \"%s\": %s", inbox->feed->inbox, strerror(errno));
        }

        inbox->gone = 1;
        inbox->look_at = begin + (interval > SVW_LOOK_GONE ? interval : SVW_LOOK_GONE);
        return -1;
    }

    for (i = 0, failed = 0; i < inbox->n; i++) {
        failed += inbox->entry[i].failed != 0;
    }

    inbox->gone = 0;
    inbox->round = inbox->more && failed > inbox->max / 2;
    inbox->more = 0;

    if (inbox->n > 0) {
        qsort(inbox->entry, inbox->n, sizeof(svw_inbox_entry_t), svw_look_compare);
    }

    rc = svw_look_into(&look, dir);
    closedir(dir);

    if (rc != 0) {
        svw_log(SVW_LOG_ERROR, "inbox \"%s\": out of memory", inbox->feed->inbox);
    }

    if (inbox->round && look.n > 0) {
        inbox->turn += look.entry[0].order + 1;
    }

    svw_look_replace(&look);

    took = (svw_now_ms() - begin) * SVW_LOOK_SHARE;
    inbox->look_at = svw_now_ms() + (took > interval ? took : interval);

    return rc;
}


static int
svw_look_into(svw_look_t *look, DIR *dir)
{
    struct stat     st;
    struct dirent  *d;

    while ((d = readdir(dir)) != NULL) {
        if (!svw_look_ignored(d->d_name)
            && fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode)
            && svw_look_at(look, d->d_name, &st) != 0)
        {
            return -1;
        }
    }

    return 0;
}


static int
svw_look_at(svw_look_t *look, const char *name, const struct stat *st)
{
    svw_inbox_entry_t         entry;
    const svw_inbox_entry_t  *known;

    entry = (svw_inbox_entry_t) {
        .name = (char *) (uintptr_t) name, .size = st->st_size, .inode = st->st_ino, .mtime = st->st_mtim,
        .since = svw_now_ms(), .order = svw_look_order(look->inbox, name, st)
    };

    if (look->n == look->inbox->max) {
        look->inbox->more = 1;

        if (!svw_look_later(&look->entry[0], &entry)) {
            return 0;
        }
    }

    known = svw_look_known(look->inbox, &entry);

    if (known != NULL) {
        entry.since = known->since;
        entry.not_before = known->not_before;
        entry.failed = known->failed;
    }

    entry.name = strdup(name);

    if (entry.name == NULL || svw_look_put(look, &entry) != 0) {
        free(entry.name);
        return -1;
    }

    return 0;
}


static uint64_t
svw_look_order(const svw_inbox_t *inbox, const char *name, const struct stat *st)
{
    uint64_t  hash;

    if (!inbox->round) {
        return st->st_mtim.tv_sec < 0 ? 0
               : (uint64_t) st->st_mtim.tv_sec * UINT64_C(1000000000) + (uint64_t) st->st_mtim.tv_nsec;
    }

    hash = UINT64_C(14695981039346656037);

    while (*name != '\0') {
        hash = (hash ^ (unsigned char) *name++) * UINT64_C(1099511628211);
    }

    return hash - inbox->turn;
}


static int
svw_look_put(svw_look_t *look, const svw_inbox_entry_t *entry)
{
    unsigned            i;
    svw_inbox_entry_t  *more;

    if (look->n == look->inbox->max) {
        free(look->entry[0].name);
        look->entry[0] = *entry;
        svw_look_settle(look);
        return 0;
    }

    if (look->n == look->room) {
        look->room = look->room * 2 + 16;
        more = realloc(look->entry, look->room * sizeof(svw_inbox_entry_t));

        if (more == NULL) {
            return -1;
        }

        look->entry = more;
    }

    look->entry[look->n] = *entry;

    for (i = look->n++; i > 0 && svw_look_later(&look->entry[i], &look->entry[(i - 1) / 2]); i = (i - 1) / 2) {
        svw_look_swap(&look->entry[i], &look->entry[(i - 1) / 2]);
    }

    return 0;
}


/* the top is new */
static void
svw_look_settle(svw_look_t *look)
{
    unsigned  i, child;

    for (i = 0; (child = 2 * i + 1) < look->n; i = child) {
        if (child + 1 < look->n && svw_look_later(&look->entry[child + 1], &look->entry[child])) {
            child++;
        }

        if (!svw_look_later(&look->entry[child], &look->entry[i])) {
            return;
        }

        svw_look_swap(&look->entry[child], &look->entry[i]);
    }
}


static int
svw_look_later(const svw_inbox_entry_t *a, const svw_inbox_entry_t *b)
{
    return a->order != b->order ? a->order > b->order : strcmp(a->name, b->name) > 0;
}


static void
svw_look_swap(svw_inbox_entry_t *a, svw_inbox_entry_t *b)
{
    svw_inbox_entry_t  entry;

    entry = *a;
    *a = *b;
    *b = entry;
}


/* as it was at the last look: unchanged since then */
static const svw_inbox_entry_t *
svw_look_known(const svw_inbox_t *inbox, const svw_inbox_entry_t *entry)
{
    const svw_inbox_entry_t  *known;

    if (inbox->n == 0) {
        return NULL;
    }

    known = bsearch(entry, inbox->entry, inbox->n, sizeof(svw_inbox_entry_t), svw_look_compare);

    return known != NULL && known->size == entry->size && known->mtime.tv_sec == entry->mtime.tv_sec
           && known->mtime.tv_nsec == entry->mtime.tv_nsec ? known : NULL;
}


/* one inode may have several names */
static int
svw_look_compare(const void *a, const void *b)
{
    const svw_inbox_entry_t  *x, *y;

    x = a;
    y = b;

    return x->inode != y->inode ? (x->inode > y->inode) - (x->inode < y->inode) : strcmp(x->name, y->name);
}


static void
svw_look_replace(svw_look_t *look)
{
    svw_inbox_t  *inbox;

    inbox = look->inbox;

    while (inbox->n > 0) {
        free(inbox->entry[--inbox->n].name);
    }

    free(inbox->entry);

    inbox->entry = look->entry;
    inbox->n = look->n;
}


/* Being written by whoever delivers: under another name until it is whole. */
static int
svw_look_ignored(const char *name)
{
    return name[0] == '.' || svw_look_ends(name, ".tmp") || svw_look_ends(name, ".part")
           || svw_look_ends(name, ".filepart") || svw_look_ends(name, "~");
}


static int
svw_look_ends(const char *name, const char *end)
{
    size_t  n, m;

    n = strlen(name);
    m = strlen(end);

    return n >= m && strcasecmp(name + n - m, end) == 0;
}
