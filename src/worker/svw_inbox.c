#include "svw_inbox.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>


#define SVW_INBOX_WAIT  10              /* ms, at least */


static svw_inbox_entry_t *svw_inbox_due(const svw_conf_t *conf, svw_inbox_t *inbox, int64_t now, int64_t *soonest);


int
svw_inboxes_open(svw_inboxes_t *inboxes, svw_conf_t *conf)
{
    unsigned      i, max;
    svw_inbox_t  *inbox;

    *inboxes = (svw_inboxes_t) { .conf = conf, .n = conf->n_feeds };

    inboxes->inbox = calloc(inboxes->n + 1, sizeof(svw_inbox_t));
    if (inboxes->inbox == NULL) {
        return -1;
    }

    max = SVW_INBOX_ALL_FILES / (inboxes->n + 1);
    max = max < SVW_INBOX_FILES ? max : SVW_INBOX_FILES;

    for (i = 0; i < inboxes->n; i++) {
        inbox = &inboxes->inbox[i];
        inbox->feed = &conf->feeds[i];
        inbox->max = max;
    }

    /* several processes begin at several places */
    inboxes->next = inboxes->n > 0 ? (unsigned) getpid() % inboxes->n : 0;

    return 0;
}


void
svw_inboxes_close(svw_inboxes_t *inboxes)
{
    unsigned      i;
    svw_inbox_t  *inbox;

    for (i = 0; i < inboxes->n; i++) {
        inbox = &inboxes->inbox[i];

        while (inbox->n > 0) {
            free(inbox->entry[--inbox->n].name);
        }

        free(inbox->entry);
    }

    free(inboxes->inbox);
    *inboxes = (svw_inboxes_t) { 0 };
}


/*
 * The feeds take turns, a file each: one that delivers a hundred thousand
 * files does not keep the others waiting.  One look serves for all that is due
 * meanwhile: many small files do not cost a look each.
 */
svw_inbox_entry_t *
svw_inbox_next(svw_inboxes_t *inboxes, svw_inbox_t **found, unsigned *wait)
{
    int64_t             now, soonest;
    unsigned            i;
    svw_inbox_t        *inbox;
    svw_inbox_entry_t  *entry;

    soonest = svw_now_ms() + *wait;

    for (i = 0; i < inboxes->n; i++) {
        inbox = &inboxes->inbox[(inboxes->next + i) % inboxes->n];

        if (inbox->look_at <= svw_now_ms()) {
            svw_inbox_look(inbox, inboxes->conf->scan_interval);
        }

        now = svw_now_ms();
        entry = svw_inbox_due(inboxes->conf, inbox, now, &soonest);

        if (entry != NULL) {
            inboxes->next = (inboxes->next + i + 1) % inboxes->n;
            *found = inbox;
            return entry;
        }

        if (inbox->look_at < soonest) {
            soonest = inbox->look_at;
        }
    }

    now = svw_now_ms();
    *wait = soonest > now + SVW_INBOX_WAIT ? (unsigned) (soonest - now) : SVW_INBOX_WAIT;

    return NULL;
}


svw_inbox_entry_t *
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


void
svw_inbox_drop(svw_inbox_t *inbox, svw_inbox_entry_t *entry)
{
    free(entry->name);
    *entry = inbox->entry[--inbox->n];

    /* what came meanwhile */
    if (inbox->n == 0) {
        inbox->look_at = 0;
    }
}


void
svw_inbox_later(svw_inbox_entry_t *entry, unsigned ms)
{
    entry->not_before = svw_now_ms() + ms;
}


/* The oldest that is complete. */
static svw_inbox_entry_t *
svw_inbox_due(const svw_conf_t *conf, svw_inbox_t *inbox, int64_t now, int64_t *soonest)
{
    int64_t             due;
    unsigned            i;
    svw_inbox_entry_t  *entry, *best;

    best = NULL;

    for (i = 0; i < inbox->n; i++) {
        entry = &inbox->entry[i];
        due = entry->since + conf->settle;

        if (entry->not_before > due) {
            due = entry->not_before;
        }

        if (due > now) {
            *soonest = due < *soonest ? due : *soonest;
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

    return best;
}
