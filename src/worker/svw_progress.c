#include "svw_load.h"

#include <inttypes.h>
#include <string.h>


#define SVW_BAR  30


void
svw_progress_bar(const svw_load_t *load, const char *phase, int64_t done, int64_t total)
{
    svw_progress_show(phase, done, total, load->lines, "lines");
}


/* one line of the terminal, written over and over */
void
svw_progress_show(const char *phase, int64_t done, int64_t total, int64_t n, const char *unit)
{
    int  filled, percent;

    percent = total > 0 ? (int) (done * 100 / total) : 100;
    filled = percent * SVW_BAR / 100;

    fprintf(stderr, "\r%-12s [%.*s%*s] %3d %%  %" PRId64 " %s", phase, filled, "##############################",
            SVW_BAR - filled, "", percent, n, unit);
    fflush(stderr);
}


void
svw_progress_end(void)
{
    /* the bar leaves the line to what follows */
    fprintf(stderr, "\r%70s\r", "");
    fflush(stderr);
}
