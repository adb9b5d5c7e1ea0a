/*
 * Which qualifiers a primary key takes in the path of a Digital Link, and in
 * which order.
 */

#include "sv_gs1_core.h"


static const uint16_t *sv_gs1_in_alternative(const uint16_t *alternative,
    const sv_gs1_ai_t *ai);
static unsigned sv_gs1_canonical_key(const sv_gs1_data_t *data, unsigned key,
    unsigned index[SV_GS1_MAX_PATH_ELEMENTS]);
static unsigned sv_gs1_canonical_alternative(const sv_gs1_data_t *data,
    unsigned key, const uint16_t *alternative,
    unsigned index[SV_GS1_MAX_PATH_ELEMENTS]);


int
sv_gs1_path_allowed(const sv_gs1_ai_t *key, const sv_gs1_element_t *qualifier,
    unsigned n)
{
    unsigned              i, k;
    const uint16_t       *next;
    const sv_gs1_path_t  *path;

    if (n == 0) {
        return 1;
    }

    path = sv_gs1_ai_path(key);

    for (k = 0; k < SV_GS1_MAX_PATHS; k++) {
        next = path->path[k];

        for (i = 0; i < n; i++) {
            next = sv_gs1_in_alternative(next, qualifier[i].ai);

            if (next == NULL) {
                break;
            }

            next++;
        }

        if (i == n) {
            return 1;
        }
    }

    return 0;
}


int
sv_gs1_path_extends(const sv_gs1_ai_t *key, const sv_gs1_element_t *qualifier,
    unsigned n, const sv_gs1_ai_t *ai)
{
    unsigned              i, k;
    const sv_gs1_path_t  *path;

    path = sv_gs1_ai_path(key);

    for (k = 0; k < SV_GS1_MAX_PATHS; k++) {

        if (sv_gs1_in_alternative(path->path[k], ai) == NULL) {
            continue;
        }

        for (i = 0; i < n; i++) {
            if (qualifier[i].ai == ai
                || !sv_gs1_in_alternative(path->path[k], qualifier[i].ai))
            {
                break;
            }
        }

        if (i == n) {
            return 1;
        }
    }

    return 0;
}


int
sv_gs1_path_qualifies(const sv_gs1_ai_t *key, const sv_gs1_ai_t *ai)
{
    return sv_gs1_path_extends(key, NULL, 0, ai);
}


/*
 * The key that the path of a link had; else the trade item, as it is what the
 * other elements speak of; else the first key that can be one.
 */
unsigned
sv_gs1_canonical_path(const sv_gs1_data_t *data,
    unsigned index[SV_GS1_MAX_PATH_ELEMENTS])
{
    unsigned  i, n;

    if (data->n_path) {
        return sv_gs1_canonical_key(data, 0, index);
    }

    for (i = 0; i < data->n; i++) {
        if (data->element[i].ai->number == 1) {
            n = sv_gs1_canonical_key(data, i, index);

            if (n) {
                return n;
            }
        }
    }

    for (i = 0; i < data->n; i++) {
        n = sv_gs1_canonical_key(data, i, index);

        if (n) {
            return n;
        }
    }

    return 0;
}


static unsigned
sv_gs1_canonical_key(const sv_gs1_data_t *data, unsigned key,
    unsigned index[SV_GS1_MAX_PATH_ELEMENTS])
{
    unsigned              k, n;
    const sv_gs1_path_t  *path;

    if (!(data->element[key].ai->flags & SV_GS1_KEY)) {
        return 0;
    }

    path = sv_gs1_ai_path(data->element[key].ai);

    for (k = 0; k < SV_GS1_MAX_PATHS; k++) {
        n = sv_gs1_canonical_alternative(data, key, path->path[k], index);

        if (n) {
            return n;
        }
    }

    return 0;
}


/* the key with those qualifiers, if all the rest may stand in the query */
static unsigned
sv_gs1_canonical_alternative(const sv_gs1_data_t *data, unsigned key,
    const uint16_t *alternative, unsigned index[SV_GS1_MAX_PATH_ELEMENTS])
{
    unsigned            i, k, n;
    sv_gs1_element_t    qualifier[SV_GS1_MAX_QUALIFIERS];
    const sv_gs1_ai_t  *ai;

    index[0] = key;
    n = 1;

    for ( /* void */ ; *alternative; alternative++) {
        for (i = 0; i < data->n; i++) {
            if (data->element[i].ai->number == *alternative) {
                qualifier[n - 1] = data->element[i];
                index[n++] = i;
            }
        }
    }

    for (i = 0; i < data->n; i++) {

        for (k = 0; k < n && index[k] != i; k++) { /* void */ }

        if (k < n) {
            continue;
        }

        ai = data->element[i].ai;

        if (!(ai->flags & SV_GS1_ATTRIBUTE)
            || sv_gs1_path_extends(data->element[key].ai, qualifier, n - 1, ai))
        {
            return 0;
        }
    }

    return n;
}


static const uint16_t *
sv_gs1_in_alternative(const uint16_t *alternative, const sv_gs1_ai_t *ai)
{
    for ( /* void */ ; *alternative; alternative++) {
        if (*alternative == ai->number) {
            return alternative;
        }
    }

    return NULL;
}
