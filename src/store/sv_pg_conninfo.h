/*
 * Connection strings: what may be used in an event loop, and what is added.
 */

#ifndef SV_PG_CONNINFO_H
#define SV_PG_CONNINFO_H

#include "sv_pg.h"


#define SV_PG_CONNINFO_MAX  12


/* Keywords and values for PQconnectStartParams; strings are owned by it. */
typedef struct {
    const char  *keywords[SV_PG_CONNINFO_MAX];
    const char  *values[SV_PG_CONNINFO_MAX];
    char        *options;
    char        *conninfo;
} sv_pg_params_t;


/* 0, or -1: out of memory */
int sv_pg_params_init(sv_pg_params_t *params, const sv_pg_pool_conf_t *conf);
void sv_pg_params_free(sv_pg_params_t *params);

#endif /* SV_PG_CONNINFO_H */
