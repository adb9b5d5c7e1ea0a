/*
 * Loading one file: what its parts share.
 *
 * A reader (svw_feed_csv, svw_feed_json, svw_feed_xml) turns bytes into items,
 * events and faults; it never holds more than a bounded piece of the file.
 * svw_load owns the counts and hands good items to svw_stage.
 */

#ifndef SVW_LOAD_H
#define SVW_LOAD_H

#include "svw.h"

#include <jansson.h>
#include <time.h>


#define SVW_DIGEST      32
#define SVW_READ        (64 * 1024)
#define SVW_REASONS     64
#define SVW_NO_TIME     INT64_MIN

/* One pack as a file names it; spans are valid during the call. */
typedef struct {
    uint64_t     gtin;
    sv_span_t    serial;
    sv_span_t    lot;
    sv_day_t     expiry;
    int64_t      event_ms;              /* SVW_NO_TIME: not given */
    sv_span_t    market;                /* empty: not given */
    int64_t      line;
    int32_t      event;                 /* 0: not from an event */
} svw_item_t;

typedef struct {
    int64_t      line;
    int64_t      lines;                 /* packs it stands for */
    const char  *element;               /* column, or where in the document; NULL: the line */
    sv_span_t    value;                 /* what stood there */
    const char  *reason;                /* a stable word, see svw_reason_text */
    int          skipped;               /* left to others, not wrong */
    int          quarantined;           /* kept for a person to decide */
} svw_fault_t;

/* A member of an event that is not commissioned by it. */
typedef struct {
    int32_t      event;
    int64_t      line;
    uint64_t     gtin;                  /* 0: an SSCC */
    sv_span_t    serial;
} svw_epc_row_t;

/* An event for the staging tables; spans are valid during the call, empty: null. */
typedef struct {
    int32_t      event;                 /* its place in the file, from 1 */
    int64_t      line;
    uint8_t      identity[32];
    uint8_t      facts[32];
    sv_span_t    event_id;
    const char  *kind;                  /* object, aggregation, transaction */
    const char  *action;                /* add, observe, delete */
    sv_span_t    step, disposition;
    int64_t      event_ms;              /* SVW_NO_TIME: not given */
    int          offset_min;            /* INT_MIN: not given */
    uint64_t     parent_gtin;
    sv_span_t    parent_serial;         /* empty: no parent */
    sv_span_t    lot, market;
    sv_day_t     expiry;                /* 0: none */
    sv_span_t    read_point, biz_location;
    int64_t      packs;                 /* items it names */
    const char  *error;                 /* JSON of an errorDeclaration {time, reason, corrective}; NULL: none */
    const char  *detail;                /* JSON; NULL: none */
} svw_event_row_t;

typedef struct {
    int32_t      event;
    int64_t      line;
    int64_t      packs;
    const char  *reason;
    const char  *element;
    sv_span_t    value;
    const char  *content;               /* the event as EPCIS 2.0 JSON; NULL: too large */
} svw_quarantine_row_t;

#define SVW_NOTE_EVENTS  "more events than "    /* how the note of a file begins that was refused for their number */

/* How a load is to be read; of the feed, the capture job or the command. */
typedef struct {
    const char  *feed;                  /* name, "" for the inbox */
    const char  *company;               /* whose packs it may name, "" any */
    int          strict;                /* nothing but the standard's own form */
    int          whole;                 /* all or nothing: rollback, on_error = none */
    unsigned     events;                /* at most, else it is refused; 0: any number */
} svw_source_t;

typedef struct {
    const char  *word;
    const char  *text;
} svw_reason_t;

typedef struct {
    const char  *reason;
    int64_t      n;
} svw_count_t;

typedef struct svw_stage_s  svw_stage_t;
typedef struct svw_spool_s  svw_spool_t;

typedef enum {
    SVW_LOAD_OK,
    SVW_LOAD_REFUSED,                   /* the file as a whole: load->note */
    SVW_LOAD_RETRY,                     /* PostgreSQL went away, or we are stopping: nothing is decided */
    SVW_LOAD_FAILED                     /* this host: no space, no memory, a read error */
} svw_load_rc_t;

typedef struct {
    svw_conf_t     *conf;
    const svw_source_t  *source;
    svw_db_t       *db;
    svw_stage_t    *stage;
    const char     *name;               /* printable */
    const char     *format;
    int             fd;
    int64_t         size;
    struct timespec  mtime;
    uint8_t         digest[SVW_DIGEST];
    int32_t         id;
    int64_t         bytes;              /* read */
    int64_t         lines, rejected;
    int64_t         events, events_seen, events_skipped, events_quarantined, events_merged;
    int64_t         lots, lots_merged, lots_unknown;
    int64_t         lines_unknown;      /* told as of unknown products, less those that were passed over for it */
    json_t         *errors;             /* at most conf->max_errors */
    svw_count_t     counts[SVW_REASONS];
    unsigned        n_counts;
    sv_day_t        today;
    int64_t         now_ms;             /* since 1970, when it began */
    svw_load_rc_t   rc;                 /* the first thing that ended the reading */
    char            note[SVW_TEXT];
    int             bar;                /* show progress on the terminal */
    int             waiting;            /* do not give up when PostgreSQL goes away */
    int64_t         told;               /* when progress was last told */
} svw_load_t;


/*
 * svw_load.c: a file that is open and claimed.  `source' NULL: the inbox.
 * `report' is set (may be NULL when there is none), the caller frees it.
 */
typedef enum { SVW_FILE_DONE, SVW_FILE_REJECTED, SVW_FILE_AGAIN, SVW_FILE_LATER } svw_file_rc_t;

svw_file_rc_t svw_load_file(svw_conf_t *conf, svw_db_t *db, int fd, const char *name, const svw_source_t *source, int bar,
    json_t **report, int32_t *load_id);

/* for the readers: 0 to go on, -1 to stop (load->rc says why) */
int svw_load_item(svw_load_t *load, const svw_item_t *item);
void svw_load_fault(svw_load_t *load, const svw_fault_t *fault);
int svw_load_event(svw_load_t *load, const svw_event_row_t *row);
int svw_load_epc(svw_load_t *load, const svw_epc_row_t *row);
int svw_load_quarantine(svw_load_t *load, const svw_quarantine_row_t *row);     /* told as a fault, too */
int svw_load_refuse(svw_load_t *load, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int svw_load_stop(svw_load_t *load, svw_load_rc_t rc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int svw_load_read(svw_load_t *load, unsigned char *buf, size_t *n);      /* 1 read, 0 at the end, -1 stop */
void svw_load_progress(svw_load_t *load);

/* readers */
int svw_feed_csv(svw_load_t *load);
int svw_feed_json(svw_load_t *load);
int svw_feed_xml(svw_load_t *load);

/* svw_format.c: what a file is by its first bytes, and its reader */
const char *svw_format(const unsigned char *buf, size_t n);
int svw_format_read(svw_load_t *load);

/* svw_item.c: NULL, or the reason */
const char *svw_check_gtin(sv_span_t text, uint64_t *gtin);
const char *svw_check_serial(sv_span_t text);
const char *svw_check_lot(sv_span_t text);
const char *svw_check_expiry(sv_span_t text, sv_day_t today, sv_day_t *expiry);
const char *svw_check_time(sv_span_t text, int64_t *ms);
const char *svw_check_market(sv_span_t text);
const char *svw_check_gln(sv_span_t text);
const char *svw_reason_text(const char *reason);
void svw_printable(char *out, size_t cap, sv_span_t text);      /* for logs and reports: valid ASCII */

/* svw_fault.c: svw_load_fault(), and its counts by reason */
json_t *svw_fault_reasons(const svw_load_t *load);

/* svw_stage.c */
svw_load_rc_t svw_stage_open(svw_load_t *load);
int svw_stage_item(svw_load_t *load, const svw_item_t *item);
int svw_stage_event(svw_load_t *load, const svw_event_row_t *row);
int svw_stage_epc(svw_load_t *load, const svw_epc_row_t *row);
int svw_stage_quarantine(svw_load_t *load, const svw_quarantine_row_t *row);
svw_load_rc_t svw_stage_close(svw_load_t *load);        /* everything sent, lots listed */
void svw_stage_free(svw_load_t *load);                  /* drops the tables */
void svw_stage_forget(svw_load_t *load);                /* they are dropped already */
const char *svw_stage_name(const svw_load_t *load);
int svw_stage_idle(const svw_load_t *load);             /* it is open, and the connection is free */

/* svw_merge.c */
svw_load_rc_t svw_merge(svw_load_t *load);

/* svw_spool.c: a queue of bytes, in memory as long as it is small, else in a file without a name */
svw_spool_t *svw_spool_new(void);
int svw_spool_put(svw_spool_t *spool, const void *data, size_t len);     /* -1: errno */
int svw_spool_rewind(svw_spool_t *spool);                                /* from writing to reading */
int svw_spool_get(svw_spool_t *spool, void *data, size_t len);           /* 1, 0 at the end, -1 */
void svw_spool_reset(svw_spool_t *spool);
void svw_spool_free(svw_spool_t *spool);

/* svw_report.c */
#define SVW_REPORTS  2                  /* NAME.report.json and NAME.report.txt */

/*
 * Written whole under other names; svw_report_name() gives them their own when
 * the caller has synced fd[].  Until fd[] is closed nobody else writes reports
 * of this name.  -1: errno, EBUSY: somebody else is about to.
 */
int svw_report_write(int dir, const char *name, const json_t *report, int fd[SVW_REPORTS]);
int svw_report_name(int dir, const char *name);
void svw_report_drop(int dir, const char *name, int fd[SVW_REPORTS]);    /* instead: closes fd[], too */
void svw_report_print(FILE *out, const json_t *report);
const char *svw_text_of(const json_t *object, const char *name);         /* "" when there is none */
int64_t svw_int_of(const json_t *object, const char *name);              /* 0 when there is none */

/* svw_progress.c */
void svw_progress_bar(const svw_load_t *load, const char *phase, int64_t done, int64_t total);
void svw_progress_show(const char *phase, int64_t done, int64_t total, int64_t n, const char *unit);
void svw_progress_end(void);

#endif /* SVW_LOAD_H */
