#include "svw_event_in.h"

#include <stdlib.h>


#define SVW_SET_LEAST  64
#define SVW_SET_MOST   (1024 * 1024)    /* keys: 16 MiB */


struct svw_set_s {
    uint64_t  *slot;                    /* 0: free */
    size_t     mask;
    size_t     n;
};


static int svw_set_grow(svw_set_t *set);
static int svw_set_put(uint64_t *slot, size_t mask, uint64_t key);


svw_set_t *
svw_set_new(void)
{
    svw_set_t  *set;

    set = calloc(1, sizeof(svw_set_t));
    if (set == NULL) {
        return NULL;
    }

    set->slot = malloc(SVW_SET_LEAST * sizeof(uint64_t));
    if (set->slot == NULL) {
        free(set);
        return NULL;
    }

    svw_set_clear(set);

    return set;
}


/* Costs what the next event needs, not what the largest needed. */
void
svw_set_clear(svw_set_t *set)
{
    set->mask = SVW_SET_LEAST - 1;
    set->n = 0;
    memset(set->slot, 0, SVW_SET_LEAST * sizeof(uint64_t));
}


/* 1, or 0 when it is there already, or -1.  What does not fit is not known again. */
int
svw_set_add(svw_set_t *set, uint64_t key)
{
    key |= key == 0;

    if (set->n == SVW_SET_MOST) {
        return !svw_set_has(set, key);
    }

    if (2 * (set->n + 1) > set->mask + 1 && svw_set_grow(set) != 0) {
        return -1;
    }

    if (!svw_set_put(set->slot, set->mask, key)) {
        return 0;
    }

    set->n++;

    return 1;
}


int
svw_set_has(const svw_set_t *set, uint64_t key)
{
    size_t  i;

    key |= key == 0;

    for (i = key & set->mask; set->slot[i] != 0 && set->slot[i] != key; i = (i + 1) & set->mask) { /* void */ }

    return set->slot[i] != 0;
}


int
svw_set_within(const svw_set_t *set, const svw_set_t *other)
{
    size_t  i;

    for (i = 0; i <= set->mask; i++) {
        if (set->slot[i] != 0 && !svw_set_has(other, set->slot[i])) {
            return 0;
        }
    }

    return 1;
}


void
svw_set_free(svw_set_t *set)
{
    if (set != NULL) {
        free(set->slot);
        free(set);
    }
}


static int
svw_set_grow(svw_set_t *set)
{
    size_t     i, old;
    uint64_t  *slot;

    old = set->mask + 1;
    slot = calloc(2 * old, sizeof(uint64_t));

    if (slot == NULL) {
        return -1;
    }

    for (i = 0; i < old; i++) {
        if (set->slot[i] != 0) {
            (void) svw_set_put(slot, 2 * old - 1, set->slot[i]);
        }
    }

    free(set->slot);
    set->slot = slot;
    set->mask = 2 * old - 1;

    return 0;
}


static int
svw_set_put(uint64_t *slot, size_t mask, uint64_t key)
{
    size_t  i;

    for (i = key & mask; slot[i] != 0; i = (i + 1) & mask) {
        if (slot[i] == key) {
            return 0;
        }
    }

    slot[i] = key;

    return 1;
}
