#include "svw_param_db.h"


int
svw_param_db_read(svw_db_t *db, svw_params_t *params)
{
    int        i;
    char       error[SVW_PARAM_TEXT];
    PGresult  *result;

    svw_params_default(params);

    if (svw_db_query(db, &result, "select name, value from sv.rule_params()", 0, NULL) != SVW_DB_OK) {
        return -1;
    }

    for (i = 0; i < PQntuples(result); i++) {
        if (svw_params_set(params, PQgetvalue(result, i, 0), PQgetvalue(result, i, 1), error) != 0) {
            svw_log(SVW_LOG_WARN, "parameter of a rule: %s; its default is used", error);
        }
    }

    PQclear(result);

    return 0;
}
