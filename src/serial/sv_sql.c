#include "sv_sql.h"


const sv_pg_statement_t  sv_sql_statements[SV_SQL_MAX] = {

    [SV_SQL_VERIFY] = {
        "sv_verify",
        "select known, state, version, lot, expiry, location_id, since_ms, lot_known,"
        " recalled_ms, recall_text"
        " from sv.verify_read($1::bigint, $2::text, $3::text)",
        3
    },

    [SV_SQL_HINT] = {
        "sv_hint",
        "select sv.hint($1::bigint, $2::text, $3::text)",
        3
    },

    [SV_SQL_OPERATE] = {
        "sv_operate",
        "select replayed, reason, changed, state, state_before, version, lot, expiry,"
        " location_id, since_ms, at_ms, occurred_ms, code, alert_id, repeat, repeats_left, hint,"
        " reference"
        " from sv.operate($1::bigint, $2::text, $3::text, $4::date, $5::text, $6::text,"
        " $7::integer, $8::text, $9::text, $10::text, $11::timestamptz, $12::text,"
        " $13::uuid, $14::text)",
        14
    },

    [SV_SQL_REF_FEED] = {
        "sv_ref_feed",
        "select n, kind, key, deleted, f1, f2, f3, f4, f5, f6, f7, f8"
        " from sv.ref_feed($1::bigint, $2::text, $3::text, $4::integer)",
        4
    },

    [SV_SQL_EPOCH] = {
        "sv_epoch",
        "select sv.epoch()",
        0
    },

    [SV_SQL_FIGURES] = {
        "sv_figures",
        "select sv.gateway_figures()",
        0
    },
};
