/*
 * What a scanner or a typist makes of a serial or a lot.  Pure functions.
 *
 * A scanner that is set up wrong changes a value always in the same way: the
 * shift lock, another keyboard's layout, the separator between elements lost,
 * so that the next element hangs on the value.  Somebody who types takes one
 * sign for another that looks alike, forgets one, or swaps two.
 *
 * What is looked up in a set of known values goes through svw_resemble_forms()
 * (some hundred) and svw_resemble_typos() (some thousands: for what was typed
 * only); two values that are at hand are compared by svw_resemble().
 */

#ifndef SVW_RESEMBLE_H
#define SVW_RESEMBLE_H

#include "../gs1/sv_span.h"


#define SVW_RESEMBLE_MAX  128           /* longer values resemble nothing */

typedef enum {
    SVW_RESEMBLE_NOT,
    SVW_RESEMBLE_SAME,
    SVW_RESEMBLE_CASE,                  /* these five: a scanner's setting */
    SVW_RESEMBLE_LAYOUT,
    SVW_RESEMBLE_GLUED,                 /* the next element hangs on it */
    SVW_RESEMBLE_AHEAD,                 /* the element before it, or its own AI, stands in front */
    SVW_RESEMBLE_CUT,                   /* the last sign is missing */
    SVW_RESEMBLE_ALIKE,                 /* these two: a typist */
    SVW_RESEMBLE_TYPO
} svw_resemblance_t;

#define svw_resemble_scanner(how)  ((how) >= SVW_RESEMBLE_CASE && (how) <= SVW_RESEMBLE_CUT)
#define svw_resemble_typist(how)   ((how) >= SVW_RESEMBLE_ALIKE)

/* One value that may have been meant, never the presented one itself; not 0 ends the search. Some come twice. */
typedef int (*svw_resemble_pt)(void *data, sv_span_t value, svw_resemblance_t how);

/* What a scanner may have made `presented' of; what the callback ended with, or 0. */
int svw_resemble_forms(sv_span_t presented, svw_resemble_pt form, void *data);

/* All that one slip of a typist away. */
int svw_resemble_typos(sv_span_t presented, svw_resemble_pt typo, void *data);

/* How `presented' may have come from `known'. */
svw_resemblance_t svw_resemble(sv_span_t presented, sv_span_t known);

/* "caps_lock", "keyboard_layout" .. */
const char *svw_resemble_word(svw_resemblance_t how);

#endif /* SVW_RESEMBLE_H */
