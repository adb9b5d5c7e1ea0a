/*
 * Scans of one key, sorted by event time and then by content, so that a list is
 * the same whatever the order of arrival.  Short lists are one array, long ones
 * many: an insertion costs the same wherever it lands.
 */

#ifndef SVW_LIST_H
#define SVW_LIST_H

#include <stddef.h>
#include <stdint.h>


typedef struct svw_node_s  svw_node_t;          /* a scan, svw_evidence.h */

typedef struct {
    svw_node_t  **node;
    uint32_t      n;
    uint32_t      size;
} svw_chunk_t;

typedef struct {
    union {
        svw_node_t    *one;             /* n 1, size 0 */
        svw_node_t   **flat;            /* chunks 0 */
        svw_chunk_t   *chunk;
    };

    uint32_t  n;
    uint32_t  chunks;
    uint32_t  size;                     /* room: of flat, or of chunk */
} svw_list_t;

/* a place in a list; of no use after a change of it */
typedef struct {
    const svw_list_t  *list;
    uint32_t           chunk;
    uint32_t           i;
} svw_cursor_t;

int svw_list_add(svw_list_t *list, svw_node_t *node);           /* 0, or -1: no memory */
int svw_list_remove(svw_list_t *list, const svw_node_t *node);  /* 1: it was there */
void svw_list_free(svw_list_t *list);

svw_node_t *svw_list_first(const svw_list_t *list);             /* NULL: empty */
svw_node_t *svw_list_last(const svw_list_t *list);

/* To the first scan at or after `time_ms'; NULL: there is none (but prev may be). */
svw_node_t *svw_list_seek(const svw_list_t *list, int64_t time_ms, svw_cursor_t *cursor);

/* To the first; the same as seek of the least time. */
svw_node_t *svw_list_begin(const svw_list_t *list, svw_cursor_t *cursor);

svw_node_t *svw_cursor_next(svw_cursor_t *cursor);              /* NULL: was the last */
svw_node_t *svw_cursor_prev(svw_cursor_t *cursor);              /* NULL: was the first */

/* The order: time, content, number. */
int svw_node_cmp(const svw_node_t *a, const svw_node_t *b);

#endif /* SVW_LIST_H */
