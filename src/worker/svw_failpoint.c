#include "svw.h"

#ifdef SV_FAILPOINTS

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>


/* Once: the file is removed first. */
void
svw_failpoint(const char *name)
{
    char         path[SVW_TEXT];
    const char  *directory;

    directory = getenv("SVW_FAILPOINTS");

    if (directory == NULL) {
        return;
    }

    snprintf(path, sizeof(path), "%s/%s", directory, name);

    if (unlink(path) == 0) {
        kill(getpid(), SIGKILL);
    }
}

#endif
