#include "svw.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>


/* Written beside its place and moved there whole: nobody sees a part of it, and a crash leaves the old one. */
int
svw_atomic_begin(svw_atomic_t *out, const char *path, unsigned mode)
{
    int  fd, e;

    *out = (svw_atomic_t) { .path = path };

    if (asprintf(&out->part, "%s.part", path) == -1) {
        out->part = NULL;
        errno = ENOMEM;
        return -1;
    }

    fd = open(out->part, O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC|O_NOFOLLOW, mode);
    out->f = fd != -1 ? fdopen(fd, "w") : NULL;

    if (out->f == NULL) {
        e = errno;

        if (fd != -1) {
            close(fd);
        }

        free(out->part);
        out->part = NULL;
        errno = e;
        return -1;
    }

    return 0;
}


/* `good': into its place; else away with it */
int
svw_atomic_end(svw_atomic_t *out, int good)
{
    int  rc, e;

    if (out->f == NULL) {
        return 0;
    }

    rc = 0;

    if (good) {
        rc = ferror(out->f) || fflush(out->f) != 0 || fsync(fileno(out->f)) != 0 ? -1 : 0;
    }

    e = errno;

    if (fclose(out->f) != 0 && rc == 0 && good) {
        e = errno;
        rc = -1;
    }

    if (rc == 0 && good) {
        rc = rename(out->part, out->path);
        e = errno;
    }

    if (rc != 0 || !good) {
        unlink(out->part);
    }

    free(out->part);
    *out = (svw_atomic_t) { .f = NULL };
    errno = e;

    return rc;
}
