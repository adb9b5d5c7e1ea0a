#include "sv_test_judge.h"

#include <math.h>
#include <stdlib.h>


#define TEST_LIST  64


static void judged_found(void *data, const svw_finding_t *finding);
static void judged_final(void *data, const svw_final_t *final);
static size_t judged_list(sv_span_t *list, const char *text);
static int64_t judged_time(const judged_t *j, double minutes);


unsigned
test_roll(test_dice_t *dice, unsigned n)
{
    dice->state ^= dice->state << 13;
    dice->state ^= dice->state >> 7;
    dice->state ^= dice->state << 17;

    return (unsigned) (dice->state >> 11) % n;
}


sv_span_t
test_span(const char *text)
{
    return text == NULL ? (sv_span_t) {NULL, 0} : (sv_span_t) {(const uint8_t *) text, strlen(text)};
}


judged_t *
judged_new(void)
{
    judged_t  *j;

    j = calloc(1, sizeof(judged_t));
    svw_params_default(&j->params);
    j->judge = svw_judge_create(&j->params, judged_found, j);
    j->cases = svw_cases_create(&j->params);

    return j;
}


void
judged_free(judged_t *j)
{
    svw_judge_destroy(j->judge);
    svw_cases_destroy(j->cases);
    free(j->text);
    free(j);
}


void
judged_set(judged_t *j, const char *name, const char *value)
{
    char  error[SVW_PARAM_TEXT];

    if (svw_params_set(&j->params, name, value, error) != 0) {
        fprintf(stderr, "%s\n", error);
        abort();
    }
}


void
test_scan(judged_t *j, test_scan_t s)
{
    svw_judge_scan_t  scan;

    memset(&scan, 0, sizeof(scan));

    scan.ref = ++j->ref;
    scan.time_ms = judged_time(j, s.minutes);
    scan.gtin = s.gtin != 0 ? s.gtin : TEST_GTIN;
    scan.serial = test_span(s.serial);
    scan.lot = test_span(s.lot);
    scan.expiry = test_span(s.expiry);
    scan.operation = s.op;
    scan.kind = s.kind != SVW_ACTOR_UNKNOWN ? s.kind : s.actor != NULL ? SVW_ACTOR_PHARMACY : SVW_ACTOR_CONSUMER;
    scan.actor = test_span(s.actor);
    scan.session = test_span(s.session);
    snprintf(scan.country, sizeof(scan.country), "%s", s.country == NULL ? "" : s.country);
    scan.lat = s.lat != 0 ? s.lat : NAN;
    scan.lon = s.lat != 0 ? s.lon : NAN;
    scan.accuracy_km = s.accuracy != 0 ? s.accuracy : NAN;
    scan.entry = s.entry != SVW_ENTRY_UNKNOWN ? s.entry : SVW_ENTRY_SCANNED;
    scan.reason = sv_reason_parse(test_span(s.reason == NULL ? "ok" : s.reason));
    scan.hint = s.hint != 0;
    scan.silent = s.silent != 0;
    scan.before = test_span(s.before);

    if (svw_judge_scan(j->judge, &scan) != 0) {
        abort();
    }
}


void
test_made(judged_t *j, test_made_t m)
{
    sv_span_t               serials[TEST_LIST], markets[TEST_LIST];
    svw_judge_commission_t  made;

    memset(&made, 0, sizeof(made));

    made.ref = ++j->ref;
    made.time_ms = judged_time(j, m.minutes);
    made.gtin = m.gtin != 0 ? m.gtin : TEST_GTIN;
    made.lot = test_span(m.lot);
    made.expiry = test_span(m.expiry == NULL ? "280331" : m.expiry);
    made.line = test_span(m.line);
    made.serials = serials;
    made.n_serials = judged_list(serials, m.serials);
    made.markets = markets;
    made.n_markets = judged_list(markets, m.markets);

    if (svw_judge_commission(j->judge, &made) != 0) {
        abort();
    }
}


void
test_site(judged_t *j, test_site_t s)
{
    svw_judge_location_t  site;

    memset(&site, 0, sizeof(site));

    site.ref = ++j->ref;
    site.actor = test_span(s.actor);
    site.kind = s.kind != SVW_ACTOR_UNKNOWN ? s.kind : SVW_ACTOR_PHARMACY;
    snprintf(site.country, sizeof(site.country), "%s", s.country == NULL ? "" : s.country);
    site.lat = s.lat != 0 ? s.lat : NAN;
    site.lon = s.lat != 0 ? s.lon : NAN;

    if (svw_judge_location(j->judge, &site) != 0) {
        abort();
    }
}


const char *
judged_text(judged_t *j)
{
    free(j->text);
    j->text = NULL;
    j->out = open_memstream(&j->text, &j->len);

    if (svw_judge_settle(j->judge) != 0 || svw_cases_final(j->cases, judged_final, j) != 0) {
        abort();
    }

    fclose(j->out);

    if (j->len > 0 && j->text[j->len - 1] == '\n') {
        j->text[j->len - 1] = '\0';
    }

    return j->text;
}


static void
judged_found(void *data, const svw_finding_t *finding)
{
    judged_t  *j;

    j = data;

    if (svw_cases_keep(j->cases, finding, j->ref) != 0) {
        abort();
    }
}


static void
judged_final(void *data, const svw_final_t *final)
{
    size_t     i;
    judged_t  *j;

    j = data;

    fprintf(j->out, "%s %s %s %s ", svw_rules_about[final->rule].name,
            svw_severity_words[final->severity], svw_weight_words[final->weight], final->cause);

    for (i = 0; i < final->n_serials; i++) {
        fprintf(j->out, "%s%.*s", i > 0 ? "," : "", (int) final->serials[i].len, final->serials[i].data);
    }

    fprintf(j->out, " ");

    for (i = 0; i < final->n_refs; i++) {
        fprintf(j->out, "%s%llu", i > 0 ? "," : "", (unsigned long long) final->refs[i]);
    }

    fprintf(j->out, " @%llu\n", (unsigned long long) final->decided_at);
}


static size_t
judged_list(sv_span_t *list, const char *text)
{
    size_t  n, len;

    for (n = 0; text != NULL && *text != '\0' && n < TEST_LIST; n++) {
        text += strspn(text, " ");
        len = strcspn(text, " ");
        list[n].data = (const uint8_t *) text;
        list[n].len = len;
        text += len;
    }

    return n;
}


static int64_t
judged_time(const judged_t *j, double minutes)
{
    return TEST_START + (int64_t) ((minutes != 0 ? minutes : (double) j->ref) * 60000);
}
