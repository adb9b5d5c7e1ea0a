/*
 * Events that cannot be read without guessing, and what a person decides:
 * release them, put right, or discard them.
 */

#ifndef SVW_QUARANTINE_H
#define SVW_QUARANTINE_H

#include "svw_load.h"


#define SVW_QUARANTINE_EPCS  1000       /* --replace-epc in one release */

typedef struct {
    const char  *lot, *expiry, *step;   /* NULL: as it is */
    int          drop_bad_epcs;
    const char  *replace[SVW_QUARANTINE_EPCS];      /* OLD=NEW */
    unsigned     n_replace;
} svw_quarantine_edit_t;

/* svw_quarantine_edit.c: changes the event; `changes' is what was done, for the audit.  -1: `error' */
int svw_quarantine_edit(json_t *event, const svw_quarantine_edit_t *edit, json_t *changes, char error[SVW_TEXT]);

/* svw_quarantine.c: exit codes; says on stderr what is wrong */
int svw_quarantine_release(svw_conf_t *conf, const char *id, const svw_quarantine_edit_t *edit, const char *reason);

#endif /* SVW_QUARANTINE_H */
