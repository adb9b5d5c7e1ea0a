/*
 * serial-verify-worker: the map of the program.
 *
 * One process a role under a supervisor; every role may be killed at any
 * instant and started again without loss or double effect, because what it
 * did is in the same PostgreSQL transaction as the note that it was done.
 *
 * Everywhere
 *   svw_main       command line              svw_supervise   processes of the roles, signals
 *   svw_conf       configuration file (svw_conf_set: values, svw_conf_feed: sections of feeds)
 *   svw_db         PostgreSQL                svw_redis       Redis
 *   svw_log        log                       svw_array       array literals
 *   svw_scan       an item in any form       svw_atomic      a file that is there whole or not at all
 *   svw_sync       waiting for the disk      svw_failpoint   where tests kill a process
 *
 * The role ingest: files -> packs and events
 *   svw_ingest     one file after the other
 *   svw_inbox      which files are complete, claiming and moving them (svw_inbox_file, svw_inbox_look)
 *   svw_filing     reports, and out of the inbox   svw_report   the report beside the file
 *   svw_capture    what came by POST /epcis/capture
 *   svw_quarantine what a person decides on events that cannot be read without guessing (svw_quarantine_edit: puts one right)
 *   svw_load       one file: stage, merge, report  svw_progress   how far it is
 *   svw_format     what a file is
 *   svw_feed_csv   CSV                       svw_feed_json   EPCIS JSON-LD (svw_json_event, svw_json_context: its names)
 *   svw_feed_xml   EPCIS XML (svw_xml_event, svw_xml_name, svw_xml_extra: its names and places)
 *   svw_event      one EPCIS event, collected
 *     svw_event_judge    what it says, or what is wrong with it
 *     svw_event_load     its rows            svw_event_content   what is kept in quarantine
 *     svw_epc, svw_step  identifiers, words  svw_set      items that come twice
 *     svw_detail, svw_form  what is kept besides   svw_spool   what does not fit in memory
 *   svw_dialect    where lots, expiries and markets stand in real feeds
 *   svw_item       checks of one item        svw_fault       what is wrong, listed and counted
 *   svw_stage      rows -> staging tables (svw_copy: as COPY reads them)
 *   svw_merge      staging tables -> packs, lot by lot, and events
 *
 * The roles relay, housekeeping, push
 *   svw_relay      outbox -> Redis, audit chain
 *   svw_housekeeping   partitions, parked events    svw_keep   what goes when     svw_reconcile   declared lots
 *   svw_push       events to a receiver (svw_push_http: one request; svw_http: what every request has)
 *   svw_out        what is told to others, in order          svw_epcis       written as EPCIS 2.0
 *
 * The roles consume, notify
 *   svw_consume    scans and operations -> judge -> cases: svw_consume_stream, svw_consume_history, svw_consume_chain,
 *                  svw_consume_scan, svw_consume_fact (svw_lots), svw_consume_finding, svw_consume_build, svw_consume_refused,
 *                  svw_consume_again
 *   svw_history    history, read again       svw_case_store  cases and their tables (svw_case_load)
 *   svw_notify     cases -> webhook (svw_notify_http, svw_notify_sign), log (svw_notify_lines, svw_notify_log)
 *
 * The role api, behind nginx
 *   svw_api        the server                svw_api_thread  who carries requests out
 *   svw_api_call   one request               svw_api_route   its target
 *   svw_api_identity   who asks              svw_api_answer  answers and problems
 *   svw_api_gtin   a GTIN in a target
 *   svw_api_capture, svw_api_events, svw_api_export, svw_api_recall, svw_api_serials, svw_api_container (_move, _recall, _work)   endpoints
 *   svw_api_alerts   cases for reviewers     svw_api_alert_change   what they make of them
 *   svw_api_alert_events   what is told of them, as a stream (svw_api_stream)
 *
 * The audit chain
 *   svw_audit_head, svw_audit_text   what is signed      svw_audit_sign, svw_audit_key, svw_audit_file   signing, key, file of heads
 *   svw_audit_check, svw_audit_db, svw_audit_diagnose    the check, and what it names
 *   svw_audit_export, svw_audit_import                   a chain that leaves the database, and its check
 *
 * Scans judged
 *   svw_judge      scans and facts in, findings out: what goes where (svw_judge_look: when the rules are asked); its header is the map
 *   svw_evidence   scans in windows (svw_list, svw_hash)
 *   svw_facts      what is known of lots, serials, places (svw_facts_lot, svw_facts_serial, svw_facts_place)
 *   svw_class      what a scan is taken for                  svw_explain why a miss is none
 *   svw_rule       the rules and how to add one; one file each: svw_rule_commissioning, svw_rule_supply, svw_rule_repeat, svw_rule_dead,
 *                  svw_rule_market, svw_rule_travel, svw_rule_volume, svw_rule_mismatch, svw_rule_burst, svw_rule_harvesting
 *                  (svw_miss: what a miss is)
 *   svw_say        what a rule says (svw_sort)               svw_said    what was said before
 *   svw_param      rules and parameters (svw_param.def)
 *   svw_case       findings that are kept: cases of all of them (svw_case_final, svw_case_sum), as they come (svw_case_live,
 *                  svw_case_one, svw_case_key)
 *   svw_resemble   what a scanner or a typist makes of a serial or lot
 *   svw_param_file parameters as a file                      svw_param_db as they are set in PostgreSQL
 *   svw_replay     a dry run: source -> judge -> cases; its header is the map (svw_replay_file, svw_replay_db, svw_replay_read,
 *                  svw_replay_line, svw_replay_word, svw_replay_keys, svw_replay_write)
 *
 * Serial numbers: svw_pool (made at random), svw_serials (lists of them)
 *
 * Commands for people: svw_cmd (what they share), svw_status and one file each, svw_cmd_audit, svw_cmd_check, svw_cmd_export,
 * svw_cmd_cases, svw_cmd_findings, svw_cmd_key, svw_cmd_load, svw_cmd_load_file, svw_cmd_lot, svw_cmd_quarantine, svw_cmd_recall, svw_cmd_refused,
 * svw_cmd_replay, svw_cmd_rules, svw_cmd_serials, svw_cmd_swap
 */

#ifndef SVW_H
#define SVW_H

#include "../gs1/sv_gs1.h"
#include "../model/sv_record.h"

#include <libpq-fe.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/types.h>


#define SVW_VERSION      "0.1.0"
#define SVW_MAX_REDIS    16
#define SVW_MAX_NOTIFY   4
#define SVW_TEXT         256            /* messages, values quoted in them */

/* exit codes */
#define SVW_EXIT_OK      0
#define SVW_EXIT_FAILED  1              /* understood, tried, and refused or failed */
#define SVW_EXIT_USAGE   2              /* bad arguments, bad configuration */
#define SVW_EXIT_BUSY    3              /* PostgreSQL cannot be reached: try again */


/* configuration: svw_conf.c */

typedef enum { SVW_ON_ERROR_SKIP, SVW_ON_ERROR_NONE } svw_on_error_t;
typedef enum { SVW_UNKNOWN_REJECT, SVW_UNKNOWN_CREATE } svw_unknown_t;

#define SVW_ROLE_INGEST        0x01
#define SVW_ROLE_RELAY         0x02
#define SVW_ROLE_HOUSEKEEPING  0x04
#define SVW_ROLE_API           0x08
#define SVW_ROLE_PUSH          0x10
#define SVW_ROLE_CONSUME       0x20
#define SVW_ROLE_NOTIFY        0x40
#define SVW_ROLE_DEFAULT       (SVW_ROLE_INGEST|SVW_ROLE_RELAY|SVW_ROLE_HOUSEKEEPING|SVW_ROLE_CONSUME)
#define SVW_ROLE_ALL           0x7f
#define SVW_ROLE_LIST          "ingest, relay, housekeeping, api, push, consume, notify"

/* Where files come from and how they are read: the inbox, or a section [feed NAME]. */
typedef struct {
    char            *name;              /* "" the inbox */
    char            *inbox;
    char            *done;
    char            *rejected;
    char            *company;           /* whose packs it may name; "" any */
    svw_on_error_t   on_error;
    unsigned         strict;            /* nothing but the standard's own form */
    unsigned         line;              /* of the section; 0: the inbox */
} svw_feed_t;

typedef struct {
    char            *file;              /* where it was read from, NULL: defaults */
    char            *postgres;
    char            *redis[SVW_MAX_REDIS];
    unsigned         n_redis;
    char            *redis_user;
    char            *redis_password_file;
    char            *inbox;
    char            *done;
    char            *rejected;
    char            *log;               /* NULL: stderr */
    char            *pid_file;
    unsigned         roles;
    unsigned         log_level;
    svw_on_error_t   on_error;
    svw_unknown_t    unknown_products;
    unsigned         max_errors;        /* listed in a report; beyond: counted */
    unsigned         settle;            /* this and all below: ms */
    unsigned         scan_interval;
    unsigned         relay_interval;
    unsigned         relay_batch;       /* rows */
    unsigned         redis_timeout;
    unsigned         cache_ttl;
    unsigned         housekeeping_interval;
    unsigned         months_ahead;      /* months */
    unsigned         idempotency_keep;
    unsigned         scan_keep;         /* these: days */
    unsigned         session_keep;
    unsigned         finding_keep;
    unsigned         case_keep;
    unsigned         work_keep;
    unsigned         drain_timeout;

    unsigned         strict;            /* of the inbox, and of feeds that do not say otherwise */
    svw_feed_t      *feeds;             /* the inbox first, if there is one */
    unsigned         n_feeds;
    unsigned         ingest_processes;

    char            *api_listen;        /* unix:/path or address:port */
    char            *api_postgres;
    char            *api_secret;        /* file */
    unsigned         api_threads;
    char            *capture_dir;
    uint64_t         capture_file_limit;        /* bytes */
    unsigned         capture_event_limit;       /* 0: none */

    char            *audit_key;         /* file; signs the heads of the audit chain, NULL: none are signed here */
    char            *audit_heads;       /* file; every head is appended to it, or NULL */

    char            *push_url;
    char            *push_token_file;
    char            *push_company;      /* whose events; NULL: all */
    unsigned         push_interval;     /* ms */

    char            *notify_url[SVW_MAX_NOTIFY];
    unsigned         n_notify;
    char            *notify_secret_file;
    char            *notify_log;
    unsigned         notify_severity;   /* of svw_conf_severities */
    unsigned         notify_hold;       /* this and below: ms */
    unsigned         notify_timeout;
    unsigned         notify_interval;
} svw_conf_t;

/* 0, or -1 with file, line and reason in `error' */
int svw_conf_read(svw_conf_t *conf, const char *file, char error[SVW_TEXT]);
void svw_conf_free(svw_conf_t *conf);
int svw_conf_ready(const svw_conf_t *conf, unsigned roles, char error[SVW_TEXT]);      /* -1: what a role needs is missing */
unsigned svw_role_parse(const char *word);      /* 0: no such role */
const char *svw_role_word(unsigned role);


/* log: svw_log.c. The only state of the process that every file may reach. */

enum { SVW_LOG_ERROR, SVW_LOG_WARN, SVW_LOG_NOTICE, SVW_LOG_INFO, SVW_LOG_DEBUG };

int svw_log_open(const char *path, unsigned level, const char *name);     /* -1: errno */
void svw_log_name(const char *name);
void svw_log(unsigned level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));


/* signals and time: svw_supervise.c */

int svw_stopping(void);                 /* SIGTERM or SIGINT arrived: finish what is begun and leave */
void svw_stop_signals(unsigned drain_timeout);
void svw_pause(unsigned ms);            /* ends early when stopping */
int64_t svw_now_ms(void);               /* monotonic */
sv_day_t svw_today(void);
int svw_supervise(svw_conf_t *conf, unsigned roles);


/* PostgreSQL: svw_db.c */

typedef struct {
    PGconn      *pg;
    const char  *conninfo;
    const char  *name;                  /* application_name */
    const char  *setup;                 /* statement of a new session, NULL: none */
    unsigned     backoff;               /* ms */
    char         error[SVW_TEXT];       /* of the last failure, one line */
    char         sqlstate[6];
} svw_db_t;

typedef enum { SVW_DB_OK, SVW_DB_ERROR, SVW_DB_LOST, SVW_DB_RETRY } svw_db_rc_t;

void svw_db_init(svw_db_t *db, const char *conninfo, const char *name);
void svw_db_close(svw_db_t *db);
int svw_db_connect(svw_db_t *db);       /* once; 0, or -1 with db->error */
int svw_db_ensure(svw_db_t *db);        /* with pauses, until connected (0) or stopping (-1) */

/*
 * Text parameters and rows.  *result is NULL unless SVW_DB_OK and the caller
 * clears it.  SVW_DB_ERROR: PostgreSQL refused, db->error says why.
 * SVW_DB_RETRY: refused, and the same may succeed now (deadlock, lock_timeout).
 * SVW_DB_LOST: no connection; whether it had an effect is not known.
 */
svw_db_rc_t svw_db_query(svw_db_t *db, PGresult **result, const char *sql, int n, const char *const *params);
svw_db_rc_t svw_db_do(svw_db_t *db, const char *sql, int n, const char *const *params);
svw_db_rc_t svw_db_failed(svw_db_t *db, PGresult *result);
int svw_db_refused(const svw_db_t *db);         /* after SVW_DB_ERROR: for what was sent, and not for how the server is? */
void svw_uuid(char out[37]);
const char *svw_col(const PGresult *result, int row, const char *name);     /* NULL: SQL null */
int64_t svw_col_int(const PGresult *result, int row, const char *name);


/* svw_failpoint.c: in builds with failpoints the process kills itself here if the file SVW_FAILPOINTS/name is there */

#ifdef SV_FAILPOINTS
void svw_failpoint(const char *name);
#else
#define svw_failpoint(name)  ((void) 0)
#endif


/* svw_atomic.c: a file that is there whole or not at all; -1: errno */

typedef struct {
    FILE        *f;
    char        *part;
    const char  *path;
} svw_atomic_t;

int svw_atomic_begin(svw_atomic_t *out, const char *path, unsigned mode);
int svw_atomic_end(svw_atomic_t *out, int good);


/* the roles and the commands */

int svw_ingest_run(svw_conf_t *conf);
int svw_relay_run(svw_conf_t *conf);
int svw_housekeeping_run(svw_conf_t *conf);
int svw_keep(const svw_conf_t *conf, svw_db_t *db);    /* how many jobs failed */
int svw_api_run(svw_conf_t *conf);
int svw_push_run(svw_conf_t *conf);
int svw_consume_run(svw_conf_t *conf);
int svw_notify_run(svw_conf_t *conf);
int svw_role_run(svw_conf_t *conf, unsigned role);      /* one of them: svw_supervise.c */

typedef struct {
    svw_conf_t  *conf;
    int          argc;                  /* without the program's own options; argv[0] is the command */
    char       **argv;
} svw_command_t;

int svw_cmd_check(svw_command_t *command);
int svw_cmd_recall(svw_command_t *command);
int svw_cmd_refused(svw_command_t *command);
int svw_cmd_swap(svw_command_t *command);
int svw_cmd_findings(svw_command_t *command);
int svw_cmd_cases(svw_command_t *command);
int svw_cmd_load(svw_command_t *command);
int svw_cmd_load_file(svw_command_t *command);
int svw_cmd_key(svw_command_t *command);
int svw_cmd_export(svw_command_t *command);
int svw_cmd_quarantine(svw_command_t *command);
int svw_cmd_status(svw_command_t *command);
int svw_cmd_audit(svw_command_t *command);
int svw_cmd_serials(svw_command_t *command);
int svw_cmd_lot(svw_command_t *command);
int svw_cmd_replay(svw_command_t *command);
int svw_cmd_rules(svw_command_t *command);

#endif /* SVW_H */
