#include "svw_replay.h"

#include "svw_load.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>


#define SVW_REPLAY_LISTED  100          /* broken lines that are told one by one */
#define SVW_REPLAY_TELL    1000         /* ms between two looks of the bar */


typedef struct {
    const svw_replay_options_t  *options;
    svw_replay_source_t         *source;
    svw_judge_t                 *judge;
    svw_cases_t                 *cases;
    svw_replay_keys_t           *keys;
    svw_ref_t                    now;           /* what the judge is looking at */
    int64_t                      last_ms;       /* of the scan before; SVW_NO_TIME: none yet */
    uint64_t                     scans, facts, broken, repeats, untimed, nameless;
    uint64_t                     strange[SVW_STRANGE_MAX];
    svw_ref_t                    strange_first[SVW_STRANGE_MAX];
    uint64_t                     findings[SVW_RULE_MAX], asking[SVW_RULE_MAX], proposed[SVW_RULE_MAX], info[SVW_RULE_MAX];
    unsigned                     failed:1;      /* no memory, or the cases cannot be written */
} svw_replay_t;


static int svw_replay_feed(svw_replay_t *replay);
static int svw_replay_record(svw_replay_t *replay, svw_replay_record_t *record);
static int svw_replay_judge(svw_replay_t *replay, svw_replay_record_t *record);
static int svw_replay_scan(svw_replay_t *replay, svw_replay_record_t *record);
static void svw_replay_time_of(svw_replay_t *replay, const svw_replay_record_t *record, int64_t *ms);
static void svw_replay_strange(svw_replay_t *replay, unsigned strange);
static void svw_replay_broken(svw_replay_t *replay, const char *error);
static void svw_replay_bar(svw_replay_t *replay, int64_t *told);
static void svw_replay_found(void *data, const svw_finding_t *finding);
static void svw_replay_case(void *data, const svw_final_t *final);
static void svw_replay_counts(const svw_replay_t *replay);


/*
 * The judge is told everything first, then settles: so a case is printed in its
 * final state, and two orders of arrival give the same cases.
 */
int
svw_replay_run(svw_replay_source_t *source, const svw_replay_options_t *options)
{
    int           rc;
    svw_replay_t  replay;

    replay = (svw_replay_t) { .options = options, .source = source, .last_ms = SVW_NO_TIME };
    replay.cases = svw_cases_create(options->params);
    replay.judge = svw_judge_create(options->params, svw_replay_found, &replay);
    replay.keys = svw_replay_keys_create();
    rc = -1;

    if (replay.cases == NULL || replay.judge == NULL || replay.keys == NULL) {
        fprintf(stderr, "serial-verify-worker: out of memory\n");

    } else if (svw_replay_feed(&replay) == 0) {

        if (svw_judge_settle(replay.judge) != 0 || replay.failed || svw_cases_final(replay.cases, svw_replay_case, &replay) != 0) {
            fprintf(stderr, "serial-verify-worker: out of memory\n");
        } else {
            svw_replay_counts(&replay);
            rc = replay.failed ? -1 : 0;
        }
    }

    svw_judge_destroy(replay.judge);
    svw_cases_destroy(replay.cases);
    svw_replay_keys_destroy(replay.keys);

    return rc != 0 || replay.broken > 0 ? SVW_EXIT_FAILED : SVW_EXIT_OK;
}


static int
svw_replay_feed(svw_replay_t *replay)
{
    int                   rc;
    char                  error[SVW_TEXT];
    int64_t               told;
    svw_replay_next_t     next;
    svw_replay_record_t   record;

    rc = 0;
    told = svw_now_ms();

    do {
        next = replay->source->next(replay->source, &record, error);
        replay->now = replay->source->ref;

        switch (next) {

        case SVW_REPLAY_RECORD:
            rc = svw_replay_record(replay, &record);
            break;

        case SVW_REPLAY_BROKEN:
            svw_replay_broken(replay, error);
            break;

        case SVW_REPLAY_FAILED:
            fprintf(stderr, "serial-verify-worker: %s: %s\n", replay->source->name, error);
            rc = -1;
            break;

        case SVW_REPLAY_END:
            break;
        }

        if (replay->options->bar && replay->now % 1024 == 0) {
            svw_replay_bar(replay, &told);
        }

    } while (rc == 0 && next != SVW_REPLAY_END);

    if (replay->options->bar) {
        svw_progress_end();
    }

    return rc;
}


static int
svw_replay_record(svw_replay_t *replay, svw_replay_record_t *record)
{
    if (svw_replay_judge(replay, record) != 0 || replay->failed) {
        fprintf(stderr, "serial-verify-worker: out of memory at %s %" PRIu64 "\n", replay->source->unit, replay->now);
        return -1;
    }

    return 0;
}


static int
svw_replay_judge(svw_replay_t *replay, svw_replay_record_t *record)
{
    svw_replay_strange(replay, record->strange);

    switch (record->kind) {

    case SVW_REPLAY_SCAN:
        svw_replay_time_of(replay, record, &record->u.scan.time_ms);
        return svw_replay_scan(replay, record);

    case SVW_REPLAY_COMMISSION:
        svw_replay_time_of(replay, record, &record->u.commission.time_ms);
        record->u.commission.ref = replay->now;
        replay->facts++;
        return svw_judge_commission(replay->judge, &record->u.commission);

    case SVW_REPLAY_LOCATION:
        record->u.location.ref = replay->now;
        replay->facts++;
        return svw_judge_location(replay->judge, &record->u.location);

    case SVW_REPLAY_RECALL:
        svw_replay_time_of(replay, record, &record->u.recall.time_ms);
        replay->facts++;
        return svw_judge_recall(replay->judge, record->u.recall.gtin, record->u.recall.lot, record->u.recall.time_ms, replay->now);

    case SVW_REPLAY_FINDING:
        replay->facts++;
        svw_replay_found(replay, record->u.finding);
        break;

    case SVW_REPLAY_NOTHING:
        break;
    }

    return 0;
}


static int
svw_replay_scan(svw_replay_t *replay, svw_replay_record_t *record)
{
    int  seen;

    record->u.scan.ref = replay->now;
    replay->scans++;

    /* of no product, or of nothing of it: there is nothing to look under */
    if (record->u.scan.gtin == 0) {
        replay->nameless++;
        return 0;
    }

    seen = svw_replay_keys_seen(replay->keys, record);

    if (seen != 0) {
        replay->repeats++;
        return seen < 0 ? -1 : 0;
    }

    return svw_judge_scan(replay->judge, &record->u.scan);
}


/* What does not say when it was is taken for as late as what came before it. */
static void
svw_replay_time_of(svw_replay_t *replay, const svw_replay_record_t *record, int64_t *ms)
{
    if (!record->timed) {
        *ms = replay->last_ms != SVW_NO_TIME ? replay->last_ms : 0;
        replay->untimed++;

    } else if (record->kind == SVW_REPLAY_SCAN) {
        replay->last_ms = *ms;
    }
}


/* A word that nobody knows is no error; a file full of them would find nothing, and nobody would know why. */
static void
svw_replay_strange(svw_replay_t *replay, unsigned strange)
{
    unsigned  i;

    for (i = 0; strange != 0 && i < SVW_STRANGE_MAX; i++) {
        if (strange & 1u << i && replay->strange[i]++ == 0) {
            replay->strange_first[i] = replay->now;
        }
    }
}


static void
svw_replay_broken(svw_replay_t *replay, const char *error)
{
    replay->broken++;

    if (replay->broken <= SVW_REPLAY_LISTED) {
        if (replay->options->bar) {
            svw_progress_end();
        }

        fprintf(stderr, "%s:%" PRIu64 ": %s\n", replay->source->name, replay->now, error);
    }
}


static void
svw_replay_bar(svw_replay_t *replay, int64_t *told)
{
    double  done;

    if (svw_now_ms() - *told < SVW_REPLAY_TELL) {
        return;
    }

    *told = svw_now_ms();
    done = replay->source->done(replay->source);

    if (done >= 0) {
        svw_progress_show("replay", (int64_t) (done * 1000), 1000, (int64_t) replay->now, "lines");
    }
}


static void
svw_replay_found(void *data, const svw_finding_t *finding)
{
    svw_replay_t  *replay;

    replay = data;
    replay->failed |= svw_cases_keep(replay->cases, finding, replay->now) != 0;
}


static void
svw_replay_case(void *data, const svw_final_t *final)
{
    size_t         i;
    svw_replay_t  *replay;

    replay = data;

    for (i = 0; i < final->n_findings; i++) {
        replay->findings[final->findings[i]->now.rule]++;
    }

    switch (final->weight) {

    case SVW_WEIGHT_ASKS:
        replay->asking[final->rule]++;
        break;

    case SVW_WEIGHT_EXPLAINED:
        replay->proposed[final->rule]++;
        break;

    case SVW_WEIGHT_INFO:
        replay->info[final->rule]++;

        if (!replay->options->info) {
            return;
        }
    }

    if (!replay->failed && svw_replay_write(replay->options->out, final) != 0) {
        fprintf(stderr, "serial-verify-worker: standard output: %s\n", strerror(errno));
        replay->failed = 1;
    }
}


static void
svw_replay_counts(const svw_replay_t *replay)
{
    unsigned  r;
    uint64_t  findings, asking, proposed, info;

    static const char *const  strange[SVW_STRANGE_MAX] = { "operation", "actor_kind", "outcome", "type" };

    findings = asking = proposed = info = 0;

    fprintf(stderr, "%" PRIu64 " scans, %" PRIu64 " facts\n", replay->scans, replay->facts);

    if (replay->broken > 0) {
        fprintf(stderr, "%" PRIu64 " %ss could not be read%s\n", replay->broken, replay->source->unit,
                replay->broken > SVW_REPLAY_LISTED ? ", the first of them are told above" : "");
    }

    if (replay->repeats > 0) {
        fprintf(stderr, "%" PRIu64 " repeats of a request are no events\n", replay->repeats);
    }

    if (replay->untimed > 0) {
        fprintf(stderr, "%" PRIu64 " without a time were taken for as late as what came before them\n", replay->untimed);
    }

    if (replay->nameless > 0) {
        fprintf(stderr, "%" PRIu64 " scans without a gtin were not looked at\n", replay->nameless);
    }

    for (r = 0; r < SVW_STRANGE_MAX; r++) {
        if (replay->strange[r] > 0) {
            fprintf(stderr, "%" PRIu64 " %ss have a word for \"%s\" that is not known, the first is %" PRIu64 "\n", replay->strange[r],
                    replay->source->unit, strange[r], replay->strange_first[r]);
        }
    }

    fprintf(stderr, "%-24s %9s %9s %9s %9s\n", "rule", "findings", "new", "proposed", "info");

    for (r = 0; r < SVW_RULE_MAX; r++) {
        fprintf(stderr, "%-24s %9" PRIu64 " %9" PRIu64 " %9" PRIu64 " %9" PRIu64 "\n", svw_rules_about[r].name, replay->findings[r],
                replay->asking[r], replay->proposed[r], replay->info[r]);
        findings += replay->findings[r];
        asking += replay->asking[r];
        proposed += replay->proposed[r];
        info += replay->info[r];
    }

    fprintf(stderr, "%-24s %9" PRIu64 " %9" PRIu64 " %9" PRIu64 " %9" PRIu64 "\n", "all", findings, asking, proposed, info);
}
