/*
 * Reference data: credentials, locations, products, recalled lots, the salts of
 * consumers' tokens, whole, in one block of memory that every nginx worker process maps.
 *
 * One writer at a time (the caller's lease and mutex see to it), any number of
 * readers that take no lock.  The block has two halves; a generation lives in
 * one of them.  Changes are appended: a newer entry is linked in front of the
 * older one with one release store, so a reader sees the old or the new, never
 * a mixture, and the writer may be killed after any instruction.  When half of
 * the free room is used up, the live entries are copied to the other half, a
 * few with every change, and that half is published by one store.
 *
 * A whole read from the database goes to the other half, too: at first, when
 * the database became another one (sv_ref_set_epoch), and when copying made no
 * room.  If that does not fit, the old copy stays and is marked full.  A whole
 * read whose writer died is begun again.
 *
 * Readers copy what they need; nothing returned points into the block.
 * A reader that was stopped for so long that its half was reused notices it
 * by the generation number and looks again.
 */

#ifndef SV_REF_H
#define SV_REF_H

#include "../gs1/sv_gs1.h"


typedef struct sv_ref_s  sv_ref_t;      /* lives at the start of the block, the same in every process */

typedef enum {
    SV_ROLE_NONE = 0,                   /* the anonymous consumer */
    SV_ROLE_PHARMACY,
    SV_ROLE_WHOLESALER,
    SV_ROLE_PARALLEL_DISTRIBUTOR,
    SV_ROLE_MANUFACTURER,
    SV_ROLE_AUTHORITY,
    SV_ROLE_REVIEWER,
    SV_ROLE_OPERATOR
} sv_role_t;

#define SV_REF_NAME     64              /* longer names are cut at a character */
#define SV_REF_COMPANY  32
#define SV_REF_REASON   128
#define SV_REF_LINK     256

typedef struct {
    int32_t    id;
    sv_role_t  role;
    char       gln[14];
    char       country[3];              /* ISO 3166 alpha-2 */
    char       company[SV_REF_COMPANY + 1];
} sv_ref_location_t;

typedef struct {
    uint64_t   gtin;
    unsigned   lot_optional:1;          /* a decommission may leave AI 10 away */
    unsigned   expiry_optional:1;
    unsigned   withdrawn:1;
    unsigned   partly_recalled:1;       /* some of its serials: only PostgreSQL knows which */
    int64_t    withdrawn_at;            /* ms since 1970 */
    char       company[SV_REF_COMPANY + 1];
    char       name[SV_REF_NAME + 1];
    char       reference[SV_REF_REASON + 1];   /* why it was withdrawn */
    char       link[SV_REF_LINK + 1];   /* default link, empty: our own page */
} sv_ref_product_t;

typedef struct {
    int64_t    recalled_at;             /* ms since 1970 */
    char       reference[SV_REF_REASON + 1];
} sv_ref_recall_t;

#define SV_REF_SALT     32              /* bytes, of one day (UTC) */
#define SV_REF_FIELDS   8

/* One row of sv.ref_feed(), see docs/architecture.md; texts as PostgreSQL sent them. */
typedef struct {
    uint64_t     n;
    const char  *kind;                  /* credential, location, product, lot, salt */
    const char  *key;
    int          deleted;
    const char  *field[SV_REF_FIELDS];  /* f1..; NULL for SQL null */
} sv_ref_row_t;

typedef enum { SV_REF_OK, SV_REF_FULL, SV_REF_BAD_ROW } sv_ref_rc_t;

typedef struct {
    uint64_t  generation;               /* 0: no complete copy yet */
    uint64_t  n;                        /* the newest change in the copy */
    uint64_t  fresh_at;                 /* monotonic ms: when the copy was last known to be whole and new */
    int       full;                     /* the last complete read did not fit */
    size_t    used, size;               /* of the half in use */
    uint32_t  credentials, locations, products, lots;   /* live entries */
    uint32_t  bad;                      /* rows that could not be read, kept in their safe form */
} sv_ref_stats_t;


/* Readers, any process, any time. 1 found, 0 not (also when there is no copy yet). */
int sv_ref_credential(sv_ref_t *ref, const uint8_t sha256[32], int64_t now_ms, sv_ref_location_t *location);
int sv_ref_product(sv_ref_t *ref, uint64_t gtin, sv_ref_product_t *product);
int sv_ref_partly_recalled(sv_ref_t *ref, uint64_t gtin);
int sv_ref_recall(sv_ref_t *ref, uint64_t gtin, sv_span_t lot, sv_ref_recall_t *recall);
int sv_ref_salt(sv_ref_t *ref, sv_day_t day, uint8_t salt[SV_REF_SALT]);
void sv_ref_stats(sv_ref_t *ref, sv_ref_stats_t *stats);

/* The cache epoch of PostgreSQL ("sysid/timeline/counter"), kept here so that a reload while PostgreSQL is down finds it; "" when unknown. */
#define SV_REF_EPOCH  64
void sv_ref_epoch(sv_ref_t *ref, char out[SV_REF_EPOCH]);

/*
 * The writer.  `block' is aligned to 8 bytes; old contents are kept when it was
 * initialised before with the same size and layout version.  NULL: too small or too large.
 */
sv_ref_t *sv_ref_init(void *block, size_t size);

/* When what stands before the last slash changes, the next begin() asks for a whole read. */
void sv_ref_set_epoch(sv_ref_t *ref, const char *epoch);

/*
 * Start: with rows of a number greater than `*n', or with all of them when
 * `whole' is set.  What a writer that died had begun is given up.
 */
void sv_ref_begin(sv_ref_t *ref, int *whole, uint64_t *n);

/*
 * Rows come in order of n, those of one n together.
 * SV_REF_FULL: abort(); the next begin() asks for a whole read, or that was one and does not fit.
 * SV_REF_BAD_ROW: to be logged; go on.  The row is kept in the form that permits least (credential,
 * location, salt: unknown; lot: recalled; product: withdrawn and partly recalled if it may be), and counted in stats.bad until it is mended.
 */
sv_ref_rc_t sv_ref_apply(sv_ref_t *ref, const sv_ref_row_t *row);

/* Caught up: publish.  `now_ms': when the last page was asked for. */
void sv_ref_end(sv_ref_t *ref, uint64_t now_ms);

/* Give up what was begun; what was published stays. */
void sv_ref_abort(sv_ref_t *ref);

sv_role_t sv_role_parse(const char *word);             /* SV_ROLE_NONE: no such role */
const char *sv_role_word(sv_role_t role);

#endif /* SV_REF_H */
