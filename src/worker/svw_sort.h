/*
 * Lists that are sorted and have each thing once.
 */

#ifndef SVW_SORT_H
#define SVW_SORT_H

#include "svw_judge.h"


/* by bytes, then length: -1, 0, 1 or so */
int svw_span_order(sv_span_t a, sv_span_t b);

/* Sorted in place; how many there are without those that come twice. */
size_t svw_spans_unique(sv_span_t *spans, size_t n);
size_t svw_refs_unique(svw_ref_t *refs, size_t n);

#endif /* SVW_SORT_H */
