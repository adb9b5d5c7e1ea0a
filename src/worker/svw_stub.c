/* Roles whose files are still to come. */

#include "svw.h"


#pragma weak svw_push_run


int
svw_push_run(svw_conf_t *conf)
{
    (void) conf;
    svw_log(SVW_LOG_ERROR, "the role push is not there yet");

    return SVW_EXIT_USAGE;
}
