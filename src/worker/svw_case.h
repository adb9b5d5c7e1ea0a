/*
 * Findings become cases: components over the keys they share.
 *
 *   - Findings that ask are one case when they share a key (a serial; a lot in a
 *     market or at a site; a key of their own) and their evidence is at most
 *     `case.apart' from each other.  What is joined by its serials and is of
 *     more than one lot is not joined by lots: else all that happens to these
 *     lots would be one case.
 *   - An explained finding joins a case that asks if it shares a serial with it,
 *     otherwise those of the same own key (a site, a lot) are one case.
 *   - What is info joins a case that shares a serial, otherwise its own.
 *   Neither ever joins two cases that ask.
 *
 * There are two ways to ask for cases.  svw_cases_final makes them from all
 * findings as they are in the end: a pure function of these (replay).
 * svw_cases_take puts each finding into a case at once, which may merge cases
 * but never parts one (the role consume): between a commit and the next it asks
 * svw_cases_changed what to write.
 */

#ifndef SVW_CASE_H
#define SVW_CASE_H

#include "svw_judge.h"
#include "svw_param.h"


typedef struct svw_cases_s  svw_cases_t;
typedef struct svw_case_s   svw_case_t;

/* a finding that is kept; `now' is ours until it changes or its case is forgotten */
typedef struct svw_kept_s  svw_kept_t;

struct svw_kept_s {
    svw_finding_t   now;                /* as last said; kept when withdrawn, with `withdrawn' set */
    svw_ref_t       asked;              /* the scan or fact at which it first asked; 0: it does not */
    svw_ref_t       found;              /* .. at which it was first said */
    svw_case_t     *in;                 /* its case (svw_cases_take) */
    svw_kept_t     *next;               /* of its case */
    unsigned        changed:1;          /* since svw_cases_written */
    unsigned        fresh:1;            /* never written */

    /* private */
    svw_kept_t     *slot_next;
    svw_kept_t     *all_next;
    unsigned        past:1;             /* another one of the same id has begun, long after */
    unsigned        old:1;              /* the judge was built anew from later scans than its first: it is only added to */
    void           *memory;
};

struct svw_case_s {
    uint8_t          id[16];
    uint64_t         gtin;              /* of the first finding: the case's key in tables; never changes */
    svw_kept_t      *findings;
    svw_case_t      *merged_into;       /* it is no more: its findings are there */
    unsigned         rule;              /* of the finding that decides */
    svw_severity_t   severity;
    svw_weight_t     weight;            /* EXPLAINED and INFO: proposed for closure */
    const char      *cause;
    sv_span_t        lot;               /* empty: of many */
    int64_t          first_ms, last_ms;
    unsigned         changed:1;         /* since svw_cases_written */
    unsigned         fresh:1;           /* never written */
    void            *user;              /* the caller's */

    /* private */
    svw_kept_t      *best;              /* decides */
    svw_kept_t      *lot_of;            /* where `lot' is from */
    unsigned         lots:1;            /* more than one */
    svw_case_t      *all_next, *changed_next;
    uint32_t         n;                 /* findings */
};

/* a case in its final state */
typedef struct {
    uint8_t            id[16];          /* of its content: the same whatever the order of arrival */
    unsigned           rule;
    svw_severity_t     severity;
    svw_weight_t       weight;
    const char        *cause;
    uint64_t           gtin;            /* 0: of many */
    sv_span_t          lot;             /* empty: of many */
    const sv_span_t   *serials;         /* sorted */
    size_t             n_serials;
    const sv_span_t   *actors;
    size_t             n_actors;
    const svw_ref_t   *refs;
    size_t             n_refs;
    int64_t            first_ms, last_ms;
    svw_ref_t          decided_at;
    svw_kept_t *const *findings;
    size_t             n_findings;
} svw_final_t;

/* as they are told, by svw_severity_t and svw_weight_t */
extern const char *const  svw_severity_words[SVW_SEVERITY_CRITICAL + 1];
extern const char *const  svw_weight_words[SVW_WEIGHT_ASKS + 1];

typedef void (*svw_final_pt)(void *data, const svw_final_t *final);

svw_cases_t *svw_cases_create(const svw_params_t *params);
void svw_cases_destroy(svw_cases_t *cases);

/*
 * Replay.  svw_cases_keep remembers what was said at scan or fact `now' (what the
 * judge's callback was given); svw_cases_final hands out the cases, sorted by first
 * evidence.  0, or -1: no memory.
 */
int svw_cases_keep(svw_cases_t *cases, const svw_finding_t *finding, svw_ref_t now);
int svw_cases_final(svw_cases_t *cases, svw_final_pt final, void *data);

/*
 * Live.  The case that the finding is in now; NULL: a finding that was never said
 * is withdrawn, or no memory (svw_cases_failed).  What says the same as before
 * changes nothing: so history can be judged anew after a start.
 */
svw_case_t *svw_cases_take(svw_cases_t *cases, const svw_finding_t *finding, svw_ref_t now);

/* The cases that changed since svw_cases_written, merged ones too. */
svw_case_t *svw_cases_changed(svw_cases_t *cases);              /* the first; NULL: none */
svw_case_t *svw_cases_changed_next(const svw_case_t *current);
void svw_cases_written(svw_cases_t *cases);

/*
 * From tables, before anything is taken: cases, then their findings (with keys:
 * their own; `asked', `found' may be 0).  NULL: no memory.
 */
svw_case_t *svw_cases_load(svw_cases_t *cases, const uint8_t id[16], uint64_t gtin);
svw_kept_t *svw_cases_load_finding(svw_cases_t *cases, svw_case_t *in, const svw_finding_t *finding);

/* A person closed or reopened it. */
svw_case_t *svw_cases_find(svw_cases_t *cases, const uint8_t id[16]);

/* Cases whose evidence is older and that are written: gone from memory. */
void svw_cases_forget(svw_cases_t *cases, int64_t before_ms);

int svw_cases_failed(const svw_cases_t *cases);

/* The countries of a finding's keys, as codes of two letters; how many, at most `room'. */
size_t svw_finding_countries(const svw_finding_t *finding, char (*code)[3], size_t room);

#endif /* SVW_CASE_H */
