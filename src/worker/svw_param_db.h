/* Parameters of the rules as they are set in PostgreSQL. */

#ifndef SVW_PARAM_DB_H
#define SVW_PARAM_DB_H

#include "svw.h"
#include "svw_param.h"


/* Defaults, and over them what was changed; what this program does not know is logged and left out. 0, or -1: db->error. */
int svw_param_db_read(svw_db_t *db, svw_params_t *params);

#endif /* SVW_PARAM_DB_H */
