/*
 * The role consume: what the gateways and the audit chain tell goes into
 * history and to the judge, what the judge finds into cases; one transaction,
 * and only then it is acknowledged.
 *
 *   svw_consume         the loop, the transaction
 *   svw_consume_stream  streams of every Redis
 *   svw_consume_history their events into history and to the judge
 *   svw_consume_scan    rows of history as the judge takes them
 *   svw_consume_chain   operations, in the order of the audit chain
 *   svw_consume_fact    facts that change: locations, lots (svw_lots: those that matter), recalls
 *   svw_consume_finding what was found when feeds were loaded
 *   svw_consume_build   the judge's memory, built anew (svw_history: history, read again)
 *   svw_consume_refused what cannot be judged, found and put aside
 *   svw_consume_again   .. and judged after all, when somebody wants it
 *   svw_case_store      findings into cases
 *
 * The judge's memory is a function of history.  When a transaction in which it
 * was told something is not known to have been committed, it is thrown away and
 * built anew; so nothing is judged twice, and nothing is missed.
 */

#ifndef SVW_CONSUME_H
#define SVW_CONSUME_H

#include "svw_case_store.h"
#include "svw_judge.h"
#include "svw_lots.h"
#include "svw_param.h"
#include "svw_redis.h"

#include "../model/sv_event.h"


#define SVW_CONSUME_LEASE   10000       /* ms */
#define SVW_CONSUME_LONG    120000      /* ms, while history is read: one that dies is replaced at once all the same */
#define SVW_CONSUME_BATCH   5000        /* scans a transaction, and what is left of a block */
#define SVW_CONSUME_BLOCKS  32          /* of a stream at once */
#define SVW_CONSUME_CHAIN   1000        /* rows of the audit chain a transaction */

/* where a scan was made */
typedef struct {
    int32_t           id;
    char              gln[16];
    char              country[3];
    svw_actor_kind_t  kind;
    double            lat, lon;         /* NAN: unknown */
} svw_site_row_t;

/* One event of a block; its spans point into the stream's reply. */
typedef struct {
    sv_event_t   event;
    sv_span_t    gateway;
    uint64_t     boot;
    sv_span_t    line;                  /* as it came */
} svw_consume_event_t;

/* Lines of a block that are no events. */
typedef struct {
    sv_span_t   gateway;
    uint64_t    boot;
    char       *text;                   /* as they came */
    size_t      len, lines;
} svw_unread_t;

/* What a transaction is to judge. */
typedef struct {
    size_t     first, n;                /* of the events at hand */
    unsigned   chain;                   /* rows of the audit chain, at most */
    unsigned   findings:1;              /* and those of feeds */
} svw_consume_part_t;

typedef struct {
    svw_redis_t   redis;
    redisReply   *reply;                /* the blocks at hand */
    size_t        blocks;
    unsigned      pending:1;            /* what was delivered and not acknowledged is read first */
    int64_t       looked;               /* for such */
} svw_stream_t;

/* A row of history, or one that becomes it. */
typedef struct {
    svw_ref_t     ref;
    sv_event_t    event;                /* its lot: the pack's, where none was presented */
    svw_op_t      operation, of;
    int32_t       before;               /* location; 0: unknown */
    sv_span_t     pack_lot, pack_expiry;        /* of a miss whose pack is commissioned .. */
    int64_t       pack_ms;              /* .. and when; 0: it is not */
} svw_consume_scan_t;

typedef struct {
    svw_conf_t           *conf;
    svw_db_t              db;
    char                  holder[37];
    int                   session;      /* the backend of what is remembered */
    int                   held;         /* the lease, as far as the log was told; -1: nothing yet */
    unsigned              fed:1;        /* the judge was told something that is not committed */
    unsigned              unsettled:1;  /* it may have more to say of what it was told */
    unsigned              refused:1;    /* PostgreSQL took the last part not, for what was in it */
    unsigned              narrow:1;     /* it is looked for */
    unsigned              building:1;   /* history is read */
    unsigned              again:1;      /* something put aside is to be judged after all */
    unsigned              failures;     /* one after the other */
    int64_t               settled, facts_looked, params_looked;

    svw_params_t          params;
    uint64_t              params_hash;  /* of what was set in the database */
    svw_judge_t          *judge;        /* NULL: to be built */
    svw_ref_t             ref;          /* of the scan it was told last */
    svw_case_store_t      store;

    svw_site_row_t       *sites;        /* by id */
    size_t                n_sites, sites_room;
    int64_t               sites_n;      /* number of the last change */
    svw_lots_t            lots;         /* those the judge was told of */
    int64_t               markets_n;

    svw_stream_t          stream[SVW_MAX_REDIS];
    svw_consume_event_t  *events;
    size_t                n_events, events_room;
    svw_unread_t         *unread;
    size_t                n_unread;

    int64_t               scans, doubles, operations, broken, ahead, aside;    /* since the start */
    int64_t               told;
} svw_consume_t;


/* What follows needs no transaction, or is in one; 0, or -1: db->error, or out of memory. */

/* svw_consume.c */
int svw_consume_db(svw_consume_t *consume, svw_db_rc_t rc);        /* 0, or -1 and a line in the log */
int svw_consume_memory(const svw_consume_t *consume);              /* -1 and a line in the log */
int svw_consume_begin(svw_consume_t *consume);                     /* a transaction of the judge */
int svw_consume_take(svw_consume_t *consume, int *waits);          /* 1: the lease is held; 0; -1 */
int svw_consume_transaction(svw_consume_t *consume, const svw_consume_part_t *part);       /* -1: undo() */
int svw_consume_cases(svw_consume_t *consume);                     /* what follows for cases */
int svw_consume_commit(svw_consume_t *consume);
void svw_consume_undo(svw_consume_t *consume);

/* svw_consume_stream.c: events of the streams, appended; how many blocks */
size_t svw_consume_read(svw_consume_t *consume);
void svw_consume_acknowledge(svw_consume_t *consume);
void svw_consume_forget_blocks(svw_consume_t *consume);
void svw_consume_lag(svw_consume_t *consume);           /* how much waits in them, for status */

/* Lines of a block become events; how many are none: they are kept in `unread', if given. */
size_t svw_consume_lines(svw_consume_t *consume, const svw_consume_event_t *of, sv_span_t lines, svw_unread_t *unread);

/* svw_consume_history.c */
int svw_consume_history(svw_consume_t *consume, size_t first, size_t n);       /* events into sv.scan, and what is new to the judge */

/* svw_consume_scan.c */
int svw_consume_feed(svw_consume_t *consume, const svw_consume_scan_t *scan);
void svw_consume_judged(const svw_consume_t *consume, const svw_consume_scan_t *scan, svw_judge_scan_t *to);
svw_op_t svw_consume_op(const char *word);              /* NULL: verify */
svw_entry_t svw_consume_entry(sv_span_t word);
sv_span_t svw_consume_span(const PGresult *rows, int row, int column);     /* null: empty */

/* svw_consume_chain.c */
int svw_consume_chain(svw_consume_t *consume, unsigned limit, const char *refused);       /* refused: number of the one that was put aside; or NULL */

/* svw_consume_fact.c */
int svw_consume_sites(svw_consume_t *consume);          /* what changed of locations; told to the judge if there is one */
void svw_consume_located(const svw_site_row_t *site, svw_judge_location_t *to);
const svw_site_row_t *svw_consume_site(const svw_consume_t *consume, int32_t id);      /* NULL: unknown */
int svw_consume_known(svw_consume_t *consume, const svw_consume_scan_t *scans, size_t n);
int svw_consume_lots(svw_consume_t *consume, const svw_consume_scan_t *scans, size_t n, PGresult **rows);
sv_span_t *svw_consume_commission(const PGresult *rows, int row, int first, svw_judge_commission_t *commission);
int svw_consume_lot(svw_consume_t *consume, const char *gtin, const char *lot);
int svw_consume_markets(svw_consume_t *consume);
int svw_consume_recalls(svw_consume_t *consume);
int svw_consume_late(svw_consume_t *consume, const char *gtin, const char *lot);
int64_t svw_consume_since(const svw_consume_t *consume);

/* svw_consume_finding.c: what loads of feeds found */

typedef struct {
    svw_finding_t   finding;
    sv_span_t       serial, keys[2];
    char            key[2][128];
} svw_feed_finding_t;

int svw_consume_findings(svw_consume_t *consume);
int svw_feed_finding(const PGresult *rows, int row, const svw_params_t *params, svw_feed_finding_t *found);    /* -1: of no concern */

/* svw_consume_refused.c */
int svw_consume_narrow(svw_consume_t *consume, int waits);         /* after a transaction that was refused: all but what is refused */
int svw_consume_unread(svw_consume_t *consume);                    /* lines that are no events are put aside */
void svw_consume_unread_free(svw_consume_t *consume);
svw_db_rc_t svw_consume_case_refused(void *data, const char *case_id);

/* svw_consume_again.c */
int svw_consume_again(svw_consume_t *consume);                     /* one of what was put aside, in a transaction of its own */

/* svw_consume_build.c */
int svw_consume_build(svw_consume_t *consume);          /* the judge and all it remembers, from history */
int svw_consume_params(svw_consume_t *consume, PGresult **rows, uint64_t *hash);
void svw_consume_forget(svw_consume_t *consume);        /* svw_consume.c: the opposite */

#endif /* SVW_CONSUME_H */
