/*
 * Every SQL text of the gateway, in one table. Columns are named, never `*':
 * a gateway of this release must run on the schema of the next.
 */

#ifndef SV_SQL_H
#define SV_SQL_H

#include "../store/sv_pg.h"


typedef enum {
    SV_SQL_VERIFY,          /* gtin, serial, lot */
    SV_SQL_HINT,            /* gtin, serial, lot */
    SV_SQL_OPERATE,         /* see sv_operate.c */
    SV_SQL_REF_FEED,        /* n, kind, key, limit */
    SV_SQL_EPOCH,
    SV_SQL_FIGURES,         /* of the worker, JSON */
    SV_SQL_MAX
} sv_sql_t;


/* columns of SV_SQL_VERIFY */
enum {
    SV_VERIFY_FOUND, SV_VERIFY_STATE, SV_VERIFY_VERSION, SV_VERIFY_LOT, SV_VERIFY_EXPIRY,
    SV_VERIFY_LOCATION, SV_VERIFY_SINCE, SV_VERIFY_LOT_KNOWN, SV_VERIFY_RECALLED,
    SV_VERIFY_RECALL_TEXT, SV_VERIFY_COLUMNS
};

/* columns of SV_SQL_OPERATE */
enum {
    SV_OUTCOME_REPLAYED, SV_OUTCOME_REASON, SV_OUTCOME_CHANGED, SV_OUTCOME_STATE,
    SV_OUTCOME_STATE_BEFORE, SV_OUTCOME_VERSION, SV_OUTCOME_LOT, SV_OUTCOME_EXPIRY,
    SV_OUTCOME_LOCATION, SV_OUTCOME_SINCE, SV_OUTCOME_AT, SV_OUTCOME_OCCURRED,
    SV_OUTCOME_CODE, SV_OUTCOME_ALERT, SV_OUTCOME_REPEAT, SV_OUTCOME_REPEATS_LEFT,
    SV_OUTCOME_HINT, SV_OUTCOME_REFERENCE, SV_OUTCOME_COLUMNS
};

extern const sv_pg_statement_t  sv_sql_statements[SV_SQL_MAX];

#endif /* SV_SQL_H */
