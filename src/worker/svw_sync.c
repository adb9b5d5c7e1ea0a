#include "svw_filing.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>


#define SVW_SYNC_THREADS  16


typedef struct {
    const int  *fds;
    int        *result;
    unsigned    n, first, step;
} svw_sync_t;


static void *svw_sync_some(void *data);


/* The journal of a file system takes all that wait for it at a time in one write. */
void
svw_sync(const int *fds, unsigned n, int *result)
{
    int         started[SVW_SYNC_THREADS];
    unsigned    i, threads;
    sigset_t    all, old;
    pthread_t   thread[SVW_SYNC_THREADS];
    svw_sync_t  share[SVW_SYNC_THREADS];

    threads = n < SVW_SYNC_THREADS ? n : SVW_SYNC_THREADS;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);

    for (i = 0; i < threads; i++) {
        share[i] = (svw_sync_t) { .fds = fds, .result = result, .n = n, .first = i, .step = threads };
        started[i] = i > 0 && pthread_create(&thread[i], NULL, svw_sync_some, &share[i]) == 0;
    }

    pthread_sigmask(SIG_SETMASK, &old, NULL);

    for (i = 0; i < threads; i++) {
        if (started[i]) {
            pthread_join(thread[i], NULL);
        } else {
            svw_sync_some(&share[i]);
        }
    }
}


static void *
svw_sync_some(void *data)
{
    unsigned     i;
    svw_sync_t  *share;

    share = data;

    for (i = share->first; i < share->n; i += share->step) {
        share->result[i] = share->fds[i] == -1 || fsync(share->fds[i]) == 0 ? 0 : errno;
    }

    return NULL;
}
