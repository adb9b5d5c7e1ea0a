#include "svw.h"


#define SVW_CONSUME_PAUSE  200          /* ms */


int
svw_consume_run(svw_conf_t *conf)
{
    svw_db_t  db;

    svw_db_init(&db, conf->postgres, "serial-verify-worker consume");

    while (svw_db_ensure(&db) == 0) {
        svw_pause(SVW_CONSUME_PAUSE);
    }

    svw_db_close(&db);

    return SVW_EXIT_OK;
}
