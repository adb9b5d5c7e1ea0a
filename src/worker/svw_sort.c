#include "svw_sort.h"

#include <stdlib.h>
#include <string.h>


static int svw_span_cmp(const void *a, const void *b);
static int svw_ref_cmp(const void *a, const void *b);


int
svw_span_order(sv_span_t a, sv_span_t b)
{
    int     c;
    size_t  n;

    n = a.len < b.len ? a.len : b.len;
    c = n == 0 || a.data == b.data ? 0 : memcmp(a.data, b.data, n);

    return c != 0 ? c : (a.len > b.len) - (a.len < b.len);
}


size_t
svw_spans_unique(sv_span_t *spans, size_t n)
{
    size_t  i, m;

    if (n < 2) {
        return n;
    }

    qsort(spans, n, sizeof(sv_span_t), svw_span_cmp);

    for (i = 1, m = 1; i < n; i++) {
        if (!sv_span_eq(spans[i], spans[m - 1])) {
            spans[m++] = spans[i];
        }
    }

    return m;
}


size_t
svw_refs_unique(svw_ref_t *refs, size_t n)
{
    size_t  i, m;

    if (n < 2) {
        return n;
    }

    qsort(refs, n, sizeof(svw_ref_t), svw_ref_cmp);

    for (i = 1, m = 1; i < n; i++) {
        if (refs[i] != refs[m - 1]) {
            refs[m++] = refs[i];
        }
    }

    return m;
}


static int
svw_span_cmp(const void *a, const void *b)
{
    return svw_span_order(*(const sv_span_t *) a, *(const sv_span_t *) b);
}


static int
svw_ref_cmp(const void *a, const void *b)
{
    svw_ref_t  x, y;

    x = *(const svw_ref_t *) a;
    y = *(const svw_ref_t *) b;

    return (x > y) - (x < y);
}
