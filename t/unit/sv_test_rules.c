#include "sv_test_rules.h"

#include <stdlib.h>


static void
sv_rules_found(void *data, const svw_finding_t *finding)
{
    sv_rules_t  *rules;

    rules = data;
    assert_int_equal(svw_cases_keep(rules->cases, finding, rules->line), 0);
}


static void
sv_rules_spans(char *out, size_t size, const sv_span_t *spans, size_t n)
{
    size_t  i, len;

    for (i = 0, len = 0, *out = '\0'; i < n && len + spans[i].len + 2 < size; i++) {
        len += (size_t) snprintf(out + len, size - len, "%s%.*s", i > 0 ? " " : "", (int) spans[i].len, spans[i].data);
    }
}


static void
sv_rules_final(void *data, const svw_final_t *final)
{
    size_t            i;
    sv_rules_t       *rules;
    sv_rules_case_t  *c;

    rules = data;
    assert_true(rules->n < SV_RULES_CASES);

    c = &rules->found[rules->n++];
    *c = (sv_rules_case_t) {
        .rule = svw_rules_about[final->rule].name, .severity = final->severity, .weight = final->weight,
        .decided_at = final->decided_at, .n_serials = final->n_serials
    };
    snprintf(c->cause, sizeof(c->cause), "%s", final->cause);
    snprintf(c->lot, sizeof(c->lot), "%.*s", (int) final->lot.len, final->lot.data);
    sv_rules_spans(c->serials, sizeof(c->serials), final->serials, final->n_serials);
    sv_rules_spans(c->actors, sizeof(c->actors), final->actors, final->n_actors);

    for (i = 0; i < final->n_refs && i < SV_RULES_REFS; i++) {
        c->refs[c->n_refs++] = final->refs[i];
    }
}


void
sv_rules_begin(sv_rules_t *rules)
{
    memset(rules, 0, sizeof(sv_rules_t));
    svw_params_default(&rules->params);
    rules->reader = svw_replay_reader_create();
    rules->judge = svw_judge_create(&rules->params, sv_rules_found, rules);
    rules->cases = svw_cases_create(&rules->params);
    rules->time_ms = INT64_C(1767225600000);    /* 2026-01-01 */
    assert_non_null(rules->reader);
    assert_non_null(rules->judge);
    assert_non_null(rules->cases);
}


void
sv_rules_line(sv_rules_t *rules, const char *fmt, ...)
{
    char                  line[4096], error[SVW_TEXT];
    va_list               args;
    svw_replay_record_t   r;

    va_start(args, fmt);
    vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);

    if (svw_replay_read(rules->reader, (sv_span_t) { (const uint8_t *) line, strlen(line) }, &r, error) != 0) {
        fail_msg("%s: %s", line, error);
    }

    rules->line++;
    rules->time_ms += 60000;

    switch (r.kind) {

    case SVW_REPLAY_SCAN:
        rules->time_ms = r.timed ? r.u.scan.time_ms : rules->time_ms;
        r.u.scan.time_ms = rules->time_ms;
        r.u.scan.gtin = r.u.scan.gtin != 0 ? r.u.scan.gtin : 9506000134352;
        r.u.scan.ref = rules->line;
        assert_int_equal(svw_judge_scan(rules->judge, &r.u.scan), 0);
        break;

    case SVW_REPLAY_COMMISSION:
        r.u.commission.time_ms = r.timed ? r.u.commission.time_ms : rules->time_ms;
        r.u.commission.gtin = r.u.commission.gtin != 0 ? r.u.commission.gtin : 9506000134352;
        r.u.commission.ref = rules->line;
        assert_int_equal(svw_judge_commission(rules->judge, &r.u.commission), 0);
        break;

    case SVW_REPLAY_LOCATION:
        r.u.location.ref = rules->line;
        assert_int_equal(svw_judge_location(rules->judge, &r.u.location), 0);
        break;

    default:
        fail_msg("%s", line);
    }
}


void
sv_rules_end(sv_rules_t *rules)
{
    assert_int_equal(svw_judge_settle(rules->judge), 0);
    assert_int_equal(svw_cases_final(rules->cases, sv_rules_final, rules), 0);
    svw_judge_destroy(rules->judge);
    svw_cases_destroy(rules->cases);
    svw_replay_reader_destroy(rules->reader);
}


const sv_rules_case_t *
sv_rules_case(const sv_rules_t *rules, const char *rule)
{
    size_t                  i;
    const sv_rules_case_t  *c;

    for (i = 0, c = NULL; i < rules->n; i++) {
        if (strcmp(rules->found[i].rule, rule) == 0) {
            assert_null(c);
            c = &rules->found[i];
        }
    }

    return c;
}


size_t
sv_rules_asking(const sv_rules_t *rules)
{
    size_t  i, n;

    for (i = 0, n = 0; i < rules->n; i++) {
        n += rules->found[i].weight == SVW_WEIGHT_ASKS;
    }

    return n;
}


void
sv_rules_refs(const sv_rules_case_t *c, size_t n, ...)
{
    size_t   i;
    va_list  args;

    assert_non_null(c);
    va_start(args, n);

    for (i = 0; i < n; i++) {
        assert_true(i < c->n_refs);
        assert_int_equal(c->refs[i], va_arg(args, int));
    }

    va_end(args);
    assert_int_equal(c->n_refs, n);
}
