#include "svw_evidence.h"

#include <stdlib.h>
#include <string.h>


#define SVW_CHUNK  256


static uint32_t svw_list_room(const svw_list_t *list, const svw_node_t *node, uint32_t *chunk);
static uint32_t svw_span_find(svw_node_t *const *node, uint32_t n, const svw_node_t *what);
static int svw_list_grow(svw_list_t *list);
static int svw_list_to_chunks(svw_list_t *list);
static int svw_chunk_split(svw_list_t *list, uint32_t c);
static svw_node_t *const *svw_list_array(const svw_list_t *list, uint32_t chunk, uint32_t *n);


int
svw_list_add(svw_list_t *list, svw_node_t *node)
{
    uint32_t      i, c;
    svw_chunk_t  *chunk;

    if (list->n == 0 && list->size == 0) {
        list->one = node;
        list->n = 1;
        return 0;
    }

    if (list->chunks == 0) {
        if (list->n >= list->size && svw_list_grow(list) != 0) {
            return -1;
        }
    }

    if (list->chunks == 0) {
        i = svw_span_find(list->flat, list->n, node);
        memmove(&list->flat[i + 1], &list->flat[i], (list->n - i) * sizeof(svw_node_t *));
        list->flat[i] = node;
        list->n++;
        return 0;
    }

    i = svw_list_room(list, node, &c);

    if (list->chunk[c].n == SVW_CHUNK) {
        if (svw_chunk_split(list, c) != 0) {
            return -1;
        }

        i = svw_list_room(list, node, &c);
    }

    chunk = &list->chunk[c];
    memmove(&chunk->node[i + 1], &chunk->node[i], (chunk->n - i) * sizeof(svw_node_t *));
    chunk->node[i] = node;
    chunk->n++;
    list->n++;

    return 0;
}


int
svw_list_remove(svw_list_t *list, const svw_node_t *node)
{
    uint32_t      i, c;
    svw_chunk_t  *chunk;

    if (list->n == 0) {
        return 0;
    }

    if (list->chunks == 0) {
        if (list->size == 0) {
            if (list->one != node) {
                return 0;
            }

            list->n = 0;
            return 1;
        }

        i = svw_span_find(list->flat, list->n, node);

        if (i == list->n || list->flat[i] != node) {
            return 0;
        }

        memmove(&list->flat[i], &list->flat[i + 1], (list->n - i - 1) * sizeof(svw_node_t *));

        if (--list->n == 0) {
            svw_list_free(list);
        }

        return 1;
    }

    i = svw_list_room(list, node, &c);
    chunk = &list->chunk[c];

    if (i == chunk->n || chunk->node[i] != node) {
        return 0;
    }

    memmove(&chunk->node[i], &chunk->node[i + 1], (chunk->n - i - 1) * sizeof(svw_node_t *));
    chunk->n--;
    list->n--;

    if (chunk->n == 0) {
        free(chunk->node);
        list->chunks--;
        memmove(chunk, chunk + 1, (list->chunks - c) * sizeof(svw_chunk_t));
    }

    if (list->n == 0) {
        list->chunks = 1;
        list->chunk[0].node = NULL;
        svw_list_free(list);
    }

    return 1;
}


void
svw_list_free(svw_list_t *list)
{
    uint32_t  c;

    for (c = 0; c < list->chunks; c++) {
        free(list->chunk[c].node);
    }

    if (list->chunks > 0) {
        free(list->chunk);

    } else if (list->size > 0) {
        free(list->flat);
    }

    memset(list, 0, sizeof(svw_list_t));
}


svw_node_t *
svw_list_first(const svw_list_t *list)
{
    uint32_t  n;

    return list->n == 0 ? NULL : svw_list_array(list, 0, &n)[0];
}


svw_node_t *
svw_list_last(const svw_list_t *list)
{
    uint32_t            n;
    svw_node_t *const  *node;

    if (list->n == 0) {
        return NULL;
    }

    node = svw_list_array(list, list->chunks > 0 ? list->chunks - 1 : 0, &n);

    return node[n - 1];
}


svw_node_t *
svw_list_seek(const svw_list_t *list, int64_t time_ms, svw_cursor_t *cursor)
{
    uint32_t            lo, hi, mid, n;
    svw_node_t *const  *node;

    cursor->list = list;
    cursor->chunk = 0;
    cursor->i = 0;

    if (list->n == 0) {
        return NULL;
    }

    for (lo = 0, hi = list->chunks > 0 ? list->chunks - 1 : 0; lo < hi; ) {
        mid = (lo + hi) / 2;

        if (list->chunk[mid].node[list->chunk[mid].n - 1]->time_ms < time_ms) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }

    cursor->chunk = lo;
    node = svw_list_array(list, lo, &n);

    for (lo = 0, hi = n; lo < hi; ) {
        mid = (lo + hi) / 2;

        if (node[mid]->time_ms < time_ms) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }

    cursor->i = lo;

    return lo < n ? node[lo] : NULL;
}


svw_node_t *
svw_list_begin(const svw_list_t *list, svw_cursor_t *cursor)
{
    cursor->list = list;
    cursor->chunk = 0;
    cursor->i = 0;

    return svw_list_first(list);
}


svw_node_t *
svw_cursor_next(svw_cursor_t *cursor)
{
    uint32_t            n;
    svw_node_t *const  *node;

    if (cursor->list->n == 0) {
        return NULL;
    }

    node = svw_list_array(cursor->list, cursor->chunk, &n);

    if (cursor->i + 1 < n) {
        return node[++cursor->i];
    }

    if (cursor->chunk + 1 < cursor->list->chunks) {
        cursor->chunk++;
        cursor->i = 0;
        return svw_list_array(cursor->list, cursor->chunk, &n)[0];
    }

    cursor->i = n;

    return NULL;
}


svw_node_t *
svw_cursor_prev(svw_cursor_t *cursor)
{
    uint32_t            n;
    svw_node_t *const  *node;

    if (cursor->list->n == 0) {
        return NULL;
    }

    if (cursor->i > 0) {
        node = svw_list_array(cursor->list, cursor->chunk, &n);
        return node[--cursor->i];
    }

    if (cursor->chunk == 0) {
        return NULL;
    }

    cursor->chunk--;
    node = svw_list_array(cursor->list, cursor->chunk, &n);
    cursor->i = n - 1;

    return node[n - 1];
}


int
svw_node_cmp(const svw_node_t *a, const svw_node_t *b)
{
    if (a->time_ms != b->time_ms) {
        return a->time_ms < b->time_ms ? -1 : 1;
    }

    if (a->content != b->content) {
        return a->content < b->content ? -1 : 1;
    }

    if (a->ref != b->ref) {
        return a->ref < b->ref ? -1 : 1;
    }

    return (a > b) - (a < b);
}


/* The chunk that `node' belongs into, and its place there. */
static uint32_t
svw_list_room(const svw_list_t *list, const svw_node_t *node, uint32_t *chunk)
{
    uint32_t            lo, hi, mid;
    const svw_chunk_t  *c;

    for (lo = 0, hi = list->chunks - 1; lo < hi; ) {
        mid = (lo + hi) / 2;
        c = &list->chunk[mid];

        if (svw_node_cmp(c->node[c->n - 1], node) < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }

    *chunk = lo;

    return svw_span_find(list->chunk[lo].node, list->chunk[lo].n, node);
}


static uint32_t
svw_span_find(svw_node_t *const *node, uint32_t n, const svw_node_t *what)
{
    uint32_t  lo, hi, mid;

    /* most come in order */

    if (n > 0 && svw_node_cmp(node[n - 1], what) < 0) {
        return n;
    }

    for (lo = 0, hi = n; lo < hi; ) {
        mid = (lo + hi) / 2;

        if (svw_node_cmp(node[mid], what) < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }

    return lo;
}


static int
svw_list_grow(svw_list_t *list)
{
    uint32_t      size;
    svw_node_t  **flat;

    if (list->size == SVW_CHUNK) {
        return svw_list_to_chunks(list);
    }

    size = list->size == 0 ? 4 : list->size * 2;
    flat = realloc(list->size == 0 ? NULL : list->flat, size * sizeof(svw_node_t *));

    if (flat == NULL) {
        return -1;
    }

    if (list->size == 0) {
        flat[0] = list->one;
    }

    list->flat = flat;
    list->size = size;

    return 0;
}


static int
svw_list_to_chunks(svw_list_t *list)
{
    svw_chunk_t  *chunk;

    chunk = malloc(4 * sizeof(svw_chunk_t));

    if (chunk == NULL) {
        return -1;
    }

    chunk[0].node = list->flat;
    chunk[0].n = list->n;
    chunk[0].size = list->size;

    list->chunk = chunk;
    list->chunks = 1;
    list->size = 4;

    return 0;
}


/* A full chunk becomes two; the last one stays full, because what follows comes after it. */
static int
svw_chunk_split(svw_list_t *list, uint32_t c)
{
    uint32_t       keep;
    svw_chunk_t   *chunk;
    svw_node_t   **node;

    if (list->chunks == list->size) {
        chunk = realloc(list->chunk, 2 * list->size * sizeof(svw_chunk_t));

        if (chunk == NULL) {
            return -1;
        }

        list->chunk = chunk;
        list->size *= 2;
    }

    node = malloc(SVW_CHUNK * sizeof(svw_node_t *));

    if (node == NULL) {
        return -1;
    }

    keep = c + 1 == list->chunks ? SVW_CHUNK - 32 : SVW_CHUNK / 2;
    chunk = &list->chunk[c];

    memcpy(node, &chunk->node[keep], (SVW_CHUNK - keep) * sizeof(svw_node_t *));
    memmove(chunk + 2, chunk + 1, (list->chunks - c - 1) * sizeof(svw_chunk_t));

    chunk[1].node = node;
    chunk[1].n = SVW_CHUNK - keep;
    chunk[1].size = SVW_CHUNK;
    chunk[0].n = keep;
    list->chunks++;

    return 0;
}


static svw_node_t *const *
svw_list_array(const svw_list_t *list, uint32_t chunk, uint32_t *n)
{
    if (list->chunks > 0) {
        *n = list->chunk[chunk].n;
        return list->chunk[chunk].node;
    }

    *n = list->n;

    return list->size == 0 ? &list->one : list->flat;
}
