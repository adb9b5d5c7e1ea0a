#include "svw_array.h"

#include <stdlib.h>


void
svw_array_begin(svw_array_t *array)
{
    *array = (svw_array_t) { 0 };

    array->out = open_memstream(&array->text, &array->len);

    if (array->out != NULL) {
        fputc('{', array->out);
    }
}


void
svw_array_add(svw_array_t *array, const char *text)
{
    const char  *p;

    if (array->out == NULL) {
        return;
    }

    if (array->n++ > 0) {
        fputc(',', array->out);
    }

    if (text == NULL) {
        fputs("null", array->out);
        return;
    }

    fputc('"', array->out);

    for (p = text; *p != '\0'; p++) {
        if (*p == '"' || *p == '\\') {
            fputc('\\', array->out);
        }

        fputc(*p, array->out);
    }

    fputc('"', array->out);
}


int
svw_array_end(svw_array_t *array)
{
    int  failed;

    if (array->out == NULL) {
        return -1;
    }

    fputc('}', array->out);

    failed = ferror(array->out);
    failed |= fclose(array->out) != 0;
    array->out = NULL;

    return failed ? -1 : 0;
}


void
svw_array_free(svw_array_t *array)
{
    if (array->out != NULL) {
        fclose(array->out);
    }

    free(array->text);
    *array = (svw_array_t) { 0 };
}


int
svw_array_column(svw_array_t *array, const PGresult *rows, const char *name, const char *needed)
{
    int  i;

    svw_array_begin(array);

    for (i = 0; i < PQntuples(rows); i++) {
        if (svw_col(rows, i, needed) != NULL) {
            svw_array_add(array, svw_col(rows, i, name));
        }
    }

    return svw_array_end(array);
}
