/*
 * A dry run of the rules: scans and facts from a source through the judge of
 * the live system, cases to standard output.  Nothing live is touched.
 *
 *   svw_cmd_replay     the command's arguments
 *   svw_replay         the run: source -> judge -> cases, counts
 *   svw_replay_file    the source: a file of JSON Lines
 *   svw_replay_db      the source: stored history
 *   svw_replay_keys    requests that come twice
 *   svw_replay_read    one line of it (svw_replay_line: its members)
 *   svw_replay_word    its words and values
 *   svw_replay_write   one case
 */

#ifndef SVW_REPLAY_H
#define SVW_REPLAY_H

#include "svw.h"
#include "svw_case.h"


typedef enum {
    SVW_REPLAY_SCAN,
    SVW_REPLAY_COMMISSION,
    SVW_REPLAY_LOCATION,
    SVW_REPLAY_RECALL,
    SVW_REPLAY_FINDING,                 /* what a load of a feed found */
    SVW_REPLAY_NOTHING                  /* an empty line, or a type that means nothing to the rules */
} svw_replay_kind_t;

/* members whose word says nothing to the rules: read, and counted */
typedef enum { SVW_STRANGE_OPERATION, SVW_STRANGE_ACTOR_KIND, SVW_STRANGE_OUTCOME, SVW_STRANGE_TYPE, SVW_STRANGE_MAX } svw_replay_strange_t;

/* What a line says. Spans live until the next line is read. */
typedef struct {
    svw_replay_kind_t           kind;
    int                         timed;          /* it says when */
    unsigned                    strange;        /* bits of svw_replay_strange_t */
    sv_span_t                   key;            /* of a scan's request; empty: none */
    union {
        svw_judge_scan_t        scan;
        svw_judge_commission_t  commission;
        svw_judge_location_t    location;
        struct {
            int64_t             time_ms;
            uint64_t            gtin;
            sv_span_t           lot;
        } recall;
        const svw_finding_t    *finding;
    } u;
} svw_replay_record_t;

typedef enum {
    SVW_REPLAY_RECORD,
    SVW_REPLAY_BROKEN,                  /* `error' says why; the next one may be good */
    SVW_REPLAY_END,
    SVW_REPLAY_FAILED                   /* `error' says why; there is no more */
} svw_replay_next_t;

/* What feeds the judge, in the order of arrival. */
typedef struct svw_replay_source_s {
    svw_replay_next_t (*next)(struct svw_replay_source_s *source, svw_replay_record_t *record, char error[SVW_TEXT]);
    double            (*done)(struct svw_replay_source_s *source);     /* share of it, 0 to 1; below 0: not known */
    const char         *name;           /* for people */
    const char         *unit;           /* what `ref' counts: line, scan */
    svw_ref_t           ref;            /* of the record that next() gave */
} svw_replay_source_t;


/* svw_replay.c: the cases to `out', counts to stderr; the exit code */

typedef struct {
    svw_params_t        *params;
    FILE                *out;
    int                  bar;           /* how far it is, on stderr */
    int                  info;          /* print cases that are kept for information only, too */
} svw_replay_options_t;

int svw_replay_run(svw_replay_source_t *source, const svw_replay_options_t *options);


/* svw_replay_write.c: one line; -1: it cannot be written */
int svw_replay_write(FILE *out, const svw_final_t *final);


/* svw_replay_file.c: JSON Lines; "-": standard input. NULL: said on stderr */
svw_replay_source_t *svw_replay_file_open(const char *file);
void svw_replay_file_close(svw_replay_source_t *source);


/* svw_replay_db.c: history in PostgreSQL, [from, to). `params' get what is set in the live system. NULL: said on stderr */
svw_replay_source_t *svw_replay_db_open(svw_conf_t *conf, int64_t from_ms, int64_t to_ms, svw_params_t *params);
void svw_replay_db_close(svw_replay_source_t *source);


/* svw_replay_keys.c: digests of some days, so that memory does not grow with the file */

typedef struct svw_replay_keys_s  svw_replay_keys_t;

svw_replay_keys_t *svw_replay_keys_create(void);
void svw_replay_keys_destroy(svw_replay_keys_t *keys);
int svw_replay_keys_seen(svw_replay_keys_t *keys, const svw_replay_record_t *record);      /* of a scan; -1: out of memory */


/* svw_replay_read.c */

typedef struct svw_replay_reader_s  svw_replay_reader_t;

svw_replay_reader_t *svw_replay_reader_create(void);
void svw_replay_reader_destroy(svw_replay_reader_t *reader);

/* 0, or -1 with the reason: the line is broken; or -2: out of memory. `line' without its end; refs are left to the caller. */
int svw_replay_read(svw_replay_reader_t *reader, sv_span_t line, svw_replay_record_t *record, char error[SVW_TEXT]);


/* svw_replay_word.c: lenient, what is not understood is unknown */

svw_op_t svw_replay_operation(sv_span_t word);
svw_actor_kind_t svw_replay_actor_kind(sv_span_t word);
svw_entry_t svw_replay_entry(sv_span_t word);
sv_reason_t svw_replay_outcome(sv_span_t word);
void svw_replay_country(sv_span_t word, char country[3]);       /* "": none */
int svw_replay_gtin(sv_span_t text, uint64_t *gtin);            /* -1: 8, 12, 13 or 14 digits are needed */
int svw_replay_time(sv_span_t text, int64_t *ms);               /* -1: not RFC 3339 */
sv_span_t svw_replay_expiry(sv_span_t text, char buf[7]);       /* as YYMMDD, or as it is */

#endif /* SVW_REPLAY_H */
