/*
 * Array literals of PostgreSQL, to be bound as one parameter.
 *
 * begin, add .., end; then `text' is the literal until free().  Failures (no
 * memory) are kept until end(), which returns -1.
 */

#ifndef SVW_ARRAY_H
#define SVW_ARRAY_H

#include "svw.h"


typedef struct {
    char    *text;
    size_t   len;
    FILE    *out;
    size_t   n;
} svw_array_t;

void svw_array_begin(svw_array_t *array);
void svw_array_add(svw_array_t *array, const char *text);          /* NULL: SQL null */
int svw_array_end(svw_array_t *array);
void svw_array_free(svw_array_t *array);

/* a column, of the rows in which the column `needed' is not null; begins and ends */
int svw_array_column(svw_array_t *array, const PGresult *rows, const char *name, const char *needed);

#endif /* SVW_ARRAY_H */
