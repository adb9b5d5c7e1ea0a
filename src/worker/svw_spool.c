#include "svw_load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>


#define SVW_SPOOL_MEMORY  (256 * 1024)


struct svw_spool_s {
    size_t   len;                       /* in memory */
    size_t   pos;
    FILE    *file;                      /* what did not fit; NULL: nothing */
    int      spilled;                   /* the file holds something */
    char     memory[SVW_SPOOL_MEMORY];
};


svw_spool_t *
svw_spool_new(void)
{
    svw_spool_t  *spool;

    spool = malloc(sizeof(svw_spool_t));

    if (spool != NULL) {
        spool->file = NULL;
        spool->spilled = 0;
        spool->len = 0;
        spool->pos = 0;
    }

    return spool;
}


int
svw_spool_put(svw_spool_t *spool, const void *data, size_t len)
{
    if (len == 0) {
        return 0;
    }

    if (!spool->spilled && spool->len + len <= SVW_SPOOL_MEMORY) {
        memcpy(spool->memory + spool->len, data, len);
        spool->len += len;
        return 0;
    }

    if (spool->file == NULL) {
        spool->file = tmpfile();
        if (spool->file == NULL) {
            return -1;
        }
    }

    spool->spilled = 1;

    return fwrite(data, 1, len, spool->file) == len ? 0 : -1;
}


int
svw_spool_rewind(svw_spool_t *spool)
{
    spool->pos = 0;

    if (!spool->spilled) {
        return 0;
    }

    return fflush(spool->file) == 0 && fseek(spool->file, 0, SEEK_SET) == 0 ? 0 : -1;
}


/* Pieces come back in the sizes they were put in, so each is whole in memory or whole in the file. */
int
svw_spool_get(svw_spool_t *spool, void *data, size_t len)
{
    size_t  n;

    if (spool->pos < spool->len) {
        memcpy(data, spool->memory + spool->pos, len);
        spool->pos += len;
        return 1;
    }

    if (!spool->spilled || len == 0) {
        return len == 0;
    }

    n = fread(data, 1, len, spool->file);

    if (n == len) {
        return 1;
    }

    return n == 0 && feof(spool->file) ? 0 : -1;
}


void
svw_spool_reset(svw_spool_t *spool)
{
    spool->len = 0;
    spool->pos = 0;

    if (spool->spilled) {
        /* the space is given back; a file that cannot be emptied is replaced */
        rewind(spool->file);

        if (ftruncate(fileno(spool->file), 0) != 0) {
            fclose(spool->file);
            spool->file = NULL;
        }

        spool->spilled = 0;
    }
}


void
svw_spool_free(svw_spool_t *spool)
{
    if (spool == NULL) {
        return;
    }

    if (spool->file != NULL) {
        fclose(spool->file);
    }

    free(spool);
}
