#include "svw_consume.h"

#include <stdlib.h>
#include <string.h>


#define SVW_FINDING_ROWS  "500"

/* what is made of a finding of a feed */
typedef struct {
    svw_rule_id_t    rule;
    svw_weight_t     weight;
    svw_severity_t   severity;
    const char      *cause;
} svw_finding_kind_t;

/* columns of sv.judge_findings */
typedef enum {
    SVW_FEED_RULE, SVW_FEED_GTIN, SVW_FEED_SERIAL, SVW_FEED_LOT, SVW_FEED_AT, SVW_FEED_ID, SVW_FEED_SETTLED, SVW_FEED_DETAIL
} svw_finding_column_e;


static int svw_finding_row(svw_consume_t *consume, const PGresult *rows, int row);
static int svw_finding_id(const char *text, uint8_t id[16]);


static const svw_finding_kind_t  svw_finding_kinds[] = {
    { SVW_RULE_DUPLICATE_COMMISSIONING, SVW_WEIGHT_ASKS, SVW_SEVERITY_HIGH, "serial_reused" },
    { SVW_RULE_ENDED_PACK_SUPPLIED, SVW_WEIGHT_ASKS, SVW_SEVERITY_HIGH, "ended_pack" },
    { SVW_RULE_SUPPLIED_BEFORE_RECALL, SVW_WEIGHT_INFO, SVW_SEVERITY_INFO, "recalled_since" }
};


/*
 * What was found when feeds were loaded, or at the counter beside an operation:
 * each once, and once more when it was settled.  The mark that it was judged is in the
 * transaction of the case.
 */
int
svw_consume_findings(svw_consume_t *consume)
{
    int                rc, row;
    PGresult          *rows;
    const char *const  params[] = { SVW_FINDING_ROWS };

    if (svw_consume_db(consume, svw_db_query(&consume->db, &rows, "select * from sv.judge_findings($1)", 1, params)) != 0) {
        return -1;
    }

    for (rc = 0, row = 0; row < PQntuples(rows) && rc == 0; row++) {
        rc = svw_finding_row(consume, rows, row);
    }

    PQclear(rows);

    return rc;
}


static int
svw_finding_row(svw_consume_t *consume, const PGresult *rows, int row)
{
    json_t              *detail;
    svw_feed_finding_t   found;

    if (svw_feed_finding(rows, row, &consume->params, &found) != 0) {
        return 0;
    }

    detail = json_loads(PQgetvalue(rows, row, SVW_FEED_DETAIL), 0, NULL);

    /* a number that is too long for the library: the finding counts without it */
    if (detail == NULL) {
        detail = json_object();
    }

    if (detail == NULL || json_object_set_new(detail, "finding_id", json_string(PQgetvalue(rows, row, SVW_FEED_ID))) != 0) {
        json_decref(detail);
        return svw_consume_memory(consume);
    }

    consume->fed = 1;
    svw_case_store_take(&consume->store, &found.finding, consume->ref, detail);

    return 0;
}


int
svw_feed_finding(const PGresult *rows, int row, const svw_params_t *params, svw_feed_finding_t *found)
{
    int                        rule;
    size_t                     i;
    svw_finding_t             *finding;
    const svw_finding_kind_t  *kind;

    rule = svw_rule_parse(PQgetvalue(rows, row, SVW_FEED_RULE));

    for (i = 0, kind = NULL; i < sizeof(svw_finding_kinds) / sizeof(svw_finding_kinds[0]); i++) {
        if ((int) svw_finding_kinds[i].rule == rule) {
            kind = &svw_finding_kinds[i];
        }
    }

    /* of no concern here, or turned off */
    if (kind == NULL || !svw_rule_enabled(params, kind->rule)) {
        return -1;
    }

    found->serial = svw_consume_span(rows, row, SVW_FEED_SERIAL);
    finding = &found->finding;

    *finding = (svw_finding_t) {
        .rule = kind->rule, .weight = kind->weight, .severity = kind->severity, .cause = kind->cause,
        .gtin = strtoull(PQgetvalue(rows, row, SVW_FEED_GTIN), NULL, 10), .lot = svw_consume_span(rows, row, SVW_FEED_LOT),
        .serials = &found->serial, .n_serials = found->serial.len > 0, .keys = found->keys, .n_keys = 2,
        .first_ms = strtoll(PQgetvalue(rows, row, SVW_FEED_AT), NULL, 10),
        .withdrawn = PQgetvalue(rows, row, SVW_FEED_SETTLED)[0] == 't'
    };

    finding->last_ms = finding->first_ms;

    snprintf(found->key[0], sizeof(found->key[0]), "o:%s/%014llu/%s", svw_rules_about[kind->rule].name, (unsigned long long) finding->gtin,
             PQgetvalue(rows, row, SVW_FEED_LOT));
    snprintf(found->key[1], sizeof(found->key[1]), "s:%014llu/%s", (unsigned long long) finding->gtin,
             PQgetvalue(rows, row, SVW_FEED_SERIAL));

    for (i = 0; i < 2; i++) {
        found->keys[i] = (sv_span_t) { (const uint8_t *) found->key[i], strlen(found->key[i]) };
    }

    return svw_finding_id(PQgetvalue(rows, row, SVW_FEED_ID), finding->id);
}


static int
svw_finding_id(const char *text, uint8_t id[16])
{
    size_t    n;
    unsigned  byte;

    for (n = 0; *text != '\0' && n < 16; text += 2, n++) {
        text += *text == '-';

        if (sscanf(text, "%2x", &byte) != 1) {
            return -1;
        }

        id[n] = (uint8_t) byte;
    }

    return n == 16 ? 0 : -1;
}
