/*
 * The judge: scans and facts in, findings and cases out.  It knows no file, no
 * PostgreSQL and no Redis; `replay' and the role consume feed the same judge.
 *
 * A finding is a pure function of the evidence under its key (a serial, a lot,
 * a site, a client) and of the facts known of it.  Evidence is kept sorted by
 * event time (then by content), so what is found does not depend on the order of
 * arrival: each new scan or fact inserts itself and the rules of the keys it
 * touches are evaluated anew; a finding appears, changes or is withdrawn.
 *
 * Memory is bounded (svw_judge_memory_ms), and that changes nothing either:
 *   - A scan is judged with those of the window (`evidence.window') before it by
 *     event time, not with what happens to be remembered when it comes.  Memory
 *     is a day longer than that, so a key that waits is asked while all is there.
 *   - What was said stays said when its scans leave the window one by one: it is
 *     added to, and what is left of them is not said anew by another rule
 *     (svw_said_until) or as the beginning of something (svw_judge_parts).
 *   - Cases are joined by the times of evidence (`case.apart'), not by memory.
 *
 *   svw_judge         the judge: what goes where      svw_judge_look    .. and when the rules are asked
 *   svw_evidence      scans kept by serial, lot, site and client, in windows (svw_list: sorted lists of them, svw_hash)
 *   svw_facts         what is known: svw_facts_lot, svw_facts_serial (commissioned), svw_facts_place (where sites are)
 *   svw_class         what a scan is taken for: a miss, off its markets, a preview ..
 *   svw_explain       why a miss is none: scanner, typing, echo, late upload
 *   svw_rule          the rules: their table, how to add one
 *   svw_rule_*        one rule each, pure: evidence -> findings
 *   svw_say           what a rule says, put together  svw_said          .. and said before: only the difference is told
 *   svw_resemble      what a scanner or a typist makes of a serial or lot
 *   svw_case          findings -> cases: of all of them (svw_case_final, svw_case_sum), or as they come (svw_case_live,
 *                     svw_case_one, svw_case_key)
 *   svw_sort          lists that have each thing once
 *   svw_param         parameters of the rules
 */

#ifndef SVW_JUDGE_H
#define SVW_JUDGE_H

#include "../gs1/sv_gs1.h"
#include "../model/sv_verdict.h"

#include <stdint.h>


/* a scan's or fact's number: the line of a file, n of sv.scan */
typedef uint64_t  svw_ref_t;

typedef enum {
    SVW_ACTOR_UNKNOWN, SVW_ACTOR_PHARMACY, SVW_ACTOR_HOSPITAL, SVW_ACTOR_WHOLESALER,
    SVW_ACTOR_PARALLEL_DISTRIBUTOR, SVW_ACTOR_MANUFACTURER, SVW_ACTOR_AUTHORITY,
    SVW_ACTOR_CONSUMER, SVW_ACTOR_OTHER
} svw_actor_kind_t;

typedef enum {
    SVW_OP_VERIFY, SVW_OP_SUPPLY, SVW_OP_DESTROY, SVW_OP_EXPORT, SVW_OP_SAMPLE, SVW_OP_FREE_SAMPLE,
    SVW_OP_LOCK, SVW_OP_STEAL, SVW_OP_CHECK_OUT, SVW_OP_UNDO, SVW_OP_OTHER
} svw_op_t;

typedef enum { SVW_ENTRY_UNKNOWN, SVW_ENTRY_SCANNED, SVW_ENTRY_MANUAL } svw_entry_t;

/* Unknown: spans empty, coordinates NAN, country "". Strings need live only during the call. */
typedef struct {
    svw_ref_t         ref;
    int64_t           time_ms;          /* of the event */
    uint64_t          gtin;
    sv_span_t         serial, lot, expiry;      /* as presented */
    svw_op_t          operation, of;
    svw_actor_kind_t  kind;
    sv_span_t         actor;            /* of professionals: stable id of the site */
    sv_span_t         session;          /* of consumers */
    char              country[3];
    double            lat, lon, accuracy_km;
    svw_entry_t       entry;
    sv_reason_t       reason;           /* SV_REASON_MAX: unknown */
    unsigned          hint:1;           /* the gateway: explained by the scanner's setting */
    unsigned          silent:1;         /* not judged */
    sv_span_t         before;           /* live: the site that made the pack's present state; empty: the judge remembers what it can */
} svw_judge_scan_t;

typedef struct {
    svw_ref_t         ref;
    int64_t           time_ms;
    uint64_t          gtin;
    sv_span_t         lot, expiry, line;
    const sv_span_t  *serials;
    size_t            n_serials;
    const sv_span_t  *markets;          /* alpha-2; none: unknown */
    size_t            n_markets;
    unsigned          told:1;           /* live: its serials are told when they are missed; one that is not told is not commissioned */
} svw_judge_commission_t;

typedef struct {
    svw_ref_t         ref;
    sv_span_t         actor, gln;
    svw_actor_kind_t  kind;
    char              country[3];
    double            lat, lon;
} svw_judge_location_t;

typedef enum { SVW_SEVERITY_INFO, SVW_SEVERITY_LOW, SVW_SEVERITY_MEDIUM, SVW_SEVERITY_HIGH, SVW_SEVERITY_CRITICAL } svw_severity_t;

typedef enum {
    SVW_WEIGHT_INFO,                    /* kept and shown, never a case that asks by itself */
    SVW_WEIGHT_EXPLAINED,               /* an innocent cause is likely: proposed for closure */
    SVW_WEIGHT_ASKS                     /* a person has to look */
} svw_weight_t;

/* svw_rule_id_t of svw_param.h; svw_rules_about[rule].name is its name everywhere */
typedef unsigned  svw_rule_t;

/* What a rule says. Owned by the judge, valid during the callback. */
typedef struct {
    uint8_t           id[16];           /* digest of rule and key: the same whatever the order of arrival */
    svw_rule_t        rule;
    svw_severity_t    severity;
    svw_weight_t      weight;
    const char       *cause;            /* a word: scanner_setting, late_upload, clone, diversion .. */
    uint64_t          gtin;             /* 0: of many */
    sv_span_t         lot;              /* empty: of many */
    const sv_span_t  *serials;          /* sorted */
    size_t            n_serials;
    const sv_span_t  *actors;           /* sorted; sites, or sessions of consumers */
    size_t            n_actors;
    const svw_ref_t  *refs;             /* sorted; all the evidence, facts included */
    size_t            n_refs;
    const sv_span_t  *keys;             /* findings that share one are one case */
    size_t            n_keys;
    int64_t           first_ms, last_ms;        /* of the evidence */
    unsigned          partial:1;        /* some of the scans it was said of are forgotten: this adds to what was said */
    unsigned          withdrawn:1;      /* no longer said: the evidence is explained away or was corrected; only id, rule, gtin and times are given */
} svw_finding_t;

typedef struct svw_judge_s  svw_judge_t;
typedef struct svw_params_s  svw_params_t;      /* svw_param.h */

/* Called from within the svw_judge_* functions. It may not call the judge. */
typedef void (*svw_finding_pt)(void *data, const svw_finding_t *finding);

svw_judge_t *svw_judge_create(const svw_params_t *params, svw_finding_pt found, void *data);
void svw_judge_destroy(svw_judge_t *judge);

/* How much older than the newest a scan may be and still be remembered. */
int64_t svw_judge_memory_ms(const svw_params_t *params);

/* 0, or -1: out of memory (the judge is of no use afterwards) */
int svw_judge_scan(svw_judge_t *judge, const svw_judge_scan_t *scan);
int svw_judge_commission(svw_judge_t *judge, const svw_judge_commission_t *commission);
int svw_judge_location(svw_judge_t *judge, const svw_judge_location_t *location);
int svw_judge_recall(svw_judge_t *judge, uint64_t gtin, sv_span_t lot, int64_t time_ms, svw_ref_t ref);

/*
 * Says what is still to be said.  Of a key with many scans (over a hundred) the
 * rules are asked less and less often as it grows; after this call what was said
 * is all there is, whatever the order of arrival.  Replay calls it at the end, the
 * role consume when nothing more is waiting and every few seconds: it costs the
 * length of the long lists that have changed.
 */
int svw_judge_settle(svw_judge_t *judge);

/* Figures for /status: scans remembered, serials, lots, sites and sessions known, serials commissioned. */
typedef struct {
    size_t  scans, serials, lots, sites, clients, commissioned;
} svw_judge_size_t;

svw_judge_size_t svw_judge_size(const svw_judge_t *judge);

#endif /* SVW_JUDGE_H */
