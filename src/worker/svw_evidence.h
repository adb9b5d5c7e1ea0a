/*
 * Scans that are remembered, each under its serial, lot, site and session.
 *
 * A key owns its facts (of a lot, of a site) too, and lives as long as it has
 * scans or facts.  A node is owned by its time: svw_evidence_drop frees the oldest.
 */

#ifndef SVW_EVIDENCE_H
#define SVW_EVIDENCE_H

#include "svw_hash.h"
#include "svw_judge.h"
#include "svw_list.h"


typedef enum { SVW_KEY_SERIAL, SVW_KEY_LOT, SVW_KEY_SITE, SVW_KEY_CLIENT, SVW_KEYS, SVW_KEY_PRODUCT = SVW_KEYS } svw_key_kind_t;

typedef struct svw_key_s   svw_key_t;
typedef struct svw_lot_s   svw_lot_t;           /* svw_facts.h */
typedef struct svw_site_s  svw_site_t;
typedef struct svw_said_s  svw_said_t;          /* svw_said.h */

/* what a scan is taken for; a function of the scan, of facts and of its neighbours */
enum {
    SVW_MISS     = 1 << 0,              /* serial, lot or expiry not as commissioned */
    SVW_OFF      = 1 << 1,              /* outside the lot's markets */
    SVW_DEAD     = 1 << 2,              /* destroyed, stolen, exported, sample */
    SVW_SHARED   = 1 << 3,              /* another session had the same code just before: a preview, a shared link */
    SVW_REFUSED  = 1 << 4,              /* a supply of a pack that was supplied, beyond what its site may repeat */
    SVW_NOTABLE  = SVW_MISS | SVW_OFF | SVW_DEAD | SVW_REFUSED
};

/* why a miss is none */
typedef enum {
    SVW_WHY_NONE,
    SVW_WHY_SCANNER,                    /* what a setting of the scanner makes of a right one */
    SVW_WHY_TYPING,
    SVW_WHY_ECHO,                       /* the right one was scanned there about then */
    SVW_WHY_UPLOAD                      /* commissioned since */
} svw_why_t;

struct svw_node_s {
    svw_ref_t    ref;
    int64_t      time_ms;
    uint64_t     content;               /* digest of what was scanned, where, by whom; not of ref */
    uint64_t     gtin;
    svw_key_t   *key[SVW_KEYS];         /* NULL: unknown. lot: as presented */
    svw_key_t   *before;                /* the site that made the pack's state; NULL: unknown */
    float        lat, lon;              /* its own; NAN: unknown */
    float        accuracy_km;
    uint32_t     known;                 /* of a miss: how many records of commissioning there were when it was looked up */
    uint32_t     expiry;                /* svw_expiry_number; UINT32_MAX: not presented */
    char         country[3];            /* its own */
    uint8_t      operation, of, kind, entry, reason;
    uint8_t      class;                 /* SVW_MISS .. */
    uint8_t      why;                   /* svw_why_t */
    uint8_t      hint:1;
};

struct svw_key_s {
    svw_key_t    *next;                 /* of its slot */
    svw_key_t    *mark_next;
    svw_key_t    *dirty_next, *dirty_prev;
    uint64_t      hash;
    uint64_t      gtin;                 /* of serials and lots */
    svw_list_t    all;
    svw_list_t    notable;              /* of lots, sites and clients; of a product its misses, and nothing else */
    svw_said_t   *said;                 /* what rules say of it now */
    union {
        svw_lot_t   *lot;
        svw_site_t  *site;
    };
    svw_key_t    *maker;                /* of a serial: the site that made it inactive, by a scan that is forgotten */
    int64_t       from_ms, to_ms;       /* what changed since it was looked at */
    int64_t       due_ms;               /* of one that waits: looked at when the newest scan is that late */
    uint32_t      since[2];             /* how many scans, for rules on all of them and on those that are notable */
    uint32_t      consumers;            /* scans of these, in `all' */
    uint32_t      active;               /* .. of packs that nobody has supplied */
    uint32_t      known;                /* of a product: records of commissioning when more of it was last made */
    uint32_t      held;                 /* by scans that name it as `before' */
    uint8_t       kind;
    uint8_t       dirty;
    uint8_t       marked;               /* about to be looked at */
    uint8_t       noted;                /* something notable changed */
    uint8_t       stale;                /* of a lot, a product: more of it was commissioned since */
    uint8_t       fact;                 /* .. and its rules of facts have not seen it */
    uint8_t       len;
    char          text[];               /* not terminated */
};

typedef struct {
    svw_key_t  **slot;
    size_t       mask;
    size_t       n;
} svw_table_t;

typedef struct {
    svw_hash_key_t  hash_key;
    svw_table_t     table[SVW_KEYS + 1];
    svw_list_t      all;                /* of all keys, to find the oldest */
} svw_evidence_t;

int svw_evidence_init(svw_evidence_t *evidence);
void svw_evidence_done(svw_evidence_t *evidence);

/* gtin 0 for sites and clients. NULL: there is none. */
svw_key_t *svw_key_find(const svw_evidence_t *evidence, svw_key_kind_t kind, uint64_t gtin, sv_span_t text);

/* The same, made where there is none; NULL: no memory. Text longer than 255 bytes is cut. */
svw_key_t *svw_key_get(svw_evidence_t *evidence, svw_key_kind_t kind, uint64_t gtin, sv_span_t text);

/* Frees it if it has neither scans nor facts nor says anything. */
void svw_key_tidy(svw_evidence_t *evidence, svw_key_t *key);

/* The scan under its keys; NULL: no memory. Its class is not known yet. */
svw_node_t *svw_evidence_add(svw_evidence_t *evidence, const svw_judge_scan_t *scan);

/* The lot of a scan that named none is known now. */
int svw_evidence_lot(svw_evidence_t *evidence, svw_node_t *node, svw_key_t *lot);

/* Its class changes: it enters or leaves the notable of its keys. 0, or -1: no memory. */
int svw_evidence_class(svw_evidence_t *evidence, svw_node_t *node, unsigned class);

/* The oldest, if it is older than `horizon_ms'; NULL: there is none. */
svw_node_t *svw_evidence_oldest(const svw_evidence_t *evidence, int64_t horizon_ms);

/* Out of all lists, and freed; keys stay. */
void svw_evidence_drop(svw_evidence_t *evidence, svw_node_t *node);

static inline sv_span_t
svw_key_span(const svw_key_t *key)
{
    return key == NULL ? (sv_span_t) {NULL, 0} : (sv_span_t) {(const uint8_t *) key->text, key->len};
}


/* YYMMDD as a number, day 00 as the last of its month; UINT32_MAX: none */
uint32_t svw_expiry_number(sv_span_t expiry);

/* by gtin, then text: an order that does not depend on memory; NULL first */
int svw_key_cmp(const svw_key_t *a, const svw_key_t *b);

static inline int
svw_node_consumer(const svw_node_t *node)
{
    return node->kind == SVW_ACTOR_CONSUMER || (node->kind == SVW_ACTOR_UNKNOWN && node->key[SVW_KEY_SITE] == NULL);
}


/* a consumer's, of a pack that nobody has supplied as far as is known */
static inline int
svw_node_active(const svw_node_t *node)
{
    return node->reason == SV_REASON_OK && svw_node_consumer(node);
}


/* an operation that was carried out and made a pack inactive */
static inline int
svw_node_done(const svw_node_t *node)
{
    return node->reason == SV_REASON_OK && node->key[SVW_KEY_SITE] != NULL && node->operation != SVW_OP_VERIFY
           && node->operation != SVW_OP_UNDO && node->operation != SVW_OP_OTHER && node->operation != SVW_OP_LOCK;
}


/* the site, or the session of a consumer; NULL: unknown */
static inline svw_key_t *
svw_node_actor(const svw_node_t *node)
{
    return node->key[SVW_KEY_SITE] != NULL ? node->key[SVW_KEY_SITE] : node->key[SVW_KEY_CLIENT];
}


#endif /* SVW_EVIDENCE_H */
