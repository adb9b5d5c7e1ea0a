/*
 * What is known besides scans: lots (expiry, markets, lines, recalled),
 * commissioned serials, where sites are.
 *
 * Facts hang on their keys (a lot, a site) and stay; of serials there is a table
 * of digests. Order of arrival does not matter: sets, sums and least values only.
 */

#ifndef SVW_FACTS_H
#define SVW_FACTS_H

#include "svw_evidence.h"
#include "svw_param.h"


/* a record of commissioning: a line of a file */
typedef struct {
    svw_ref_t  ref;
    int64_t    time_ms;
    uint64_t   content;                 /* digest, not of ref: of two of one time the first is always the same */
} svw_record_t;

/* one way in which a lot was commissioned */
typedef struct {
    svw_key_t    *lot;
    svw_record_t  first;                /* record, by time */
    uint32_t      expiry;               /* YYMMDD; UINT32_MAX: unknown */
    char          line[32];
    uint32_t      serials;              /* how many were commissioned so */
    unsigned      listed:1;             /* its serials were told */
} svw_made_t;

/* serials that were commissioned in two ways; a before b by lot, expiry, line */
typedef struct svw_clash_s  svw_clash_t;

struct svw_clash_s {
    svw_clash_t   *next;                /* of the lot of a */
    uint32_t       a, b;                /* svw_facts_made */
    char         **serial;
    size_t         n;
};

struct svw_lot_s {
    uint32_t         *made;             /* svw_facts_made */
    unsigned          n_made;
    unsigned          marketed:1;       /* markets are known */
    unsigned          recalled:1;
    svw_countries_t   markets;          /* with the area of free movement */
    int64_t           recalled_ms;
    svw_ref_t         recall_ref;
    svw_clash_t      *clash;
};

struct svw_site_s {
    unsigned   located:1;
    unsigned   doubt:1;                 /* the record is not believed: its packs are all elsewhere */
    char       country[3];
    uint8_t    kind;
    svw_ref_t  ref;
    float      lat, lon;
};

typedef struct {
    uint64_t  digest;                   /* of gtin and serial; 0: free */
    uint32_t  made;                     /* high bit: an index of groups */
    uint32_t  record;                   /* the first that says so */
} svw_serial_t;

/* a serial that was commissioned in several ways */
typedef struct {
    char      *serial;
    uint32_t  *made;
    uint32_t  *record;                  /* of each */
    unsigned   n;
} svw_group_t;

typedef struct {
    const svw_params_t  *params;
    svw_evidence_t      *evidence;
    svw_made_t          *made;
    uint32_t             n_made, made_size;
    svw_record_t        *record;
    uint32_t             records, record_size;
    svw_serial_t        *serial;
    size_t               serials, serial_mask;
    svw_group_t         *group;
    uint32_t             groups, group_size;
    svw_key_t          **clashed;               /* lots whose clashes have changed; the judge takes them */
    size_t               n_clashed, clashed_size;
} svw_facts_t;

/* where a scan was, as far as that is believed */
typedef struct {
    const char  *country;               /* "": unknown */
    double       lat, lon;              /* NAN: unknown */
    double       accuracy_km;
    unsigned     recorded:1;            /* by the site's record, not by the scan */
} svw_place_t;

int svw_facts_init(svw_facts_t *facts, const svw_params_t *params, svw_evidence_t *evidence);
void svw_facts_done(svw_facts_t *facts);

enum {
    SVW_FACTS_MARKETS = 1,
    SVW_FACTS_CLASH = 2,
    SVW_FACTS_MADE = 4,                 /* a serial, or a way of the lot, is commissioned that was not */
    SVW_FACTS_WAY = 8,                  /* a way of the lot, or its first record */
    SVW_FACTS_RECORD = 16               /* another record is the first that names a serial */
};

/* What it changed: SVW_FACTS_* bits, or -1: no memory. `lot' gets the key. */
int svw_facts_commission(svw_facts_t *facts, const svw_judge_commission_t *commission, svw_key_t **lot);

/* 1: something changed; 0; -1 */
int svw_facts_location(svw_facts_t *facts, const svw_judge_location_t *location, svw_key_t **site);
int svw_facts_recall(svw_facts_t *facts, uint64_t gtin, sv_span_t lot, int64_t time_ms, svw_ref_t ref, svw_key_t **key);

/* How a serial was commissioned (the first by lot, expiry, line, if in several ways); NULL: not, or not known. */
const svw_made_t *svw_facts_serial(const svw_facts_t *facts, uint64_t gtin, sv_span_t serial);

/* The first record that commissioned a serial in that way; NULL: none. */
const svw_record_t *svw_facts_record(const svw_facts_t *facts, uint64_t gtin, sv_span_t serial, const svw_made_t *made);

/* The n-th way in which it was commissioned, from 0, in no order; NULL: there are no more. */
const svw_made_t *svw_facts_way(const svw_facts_t *facts, uint64_t gtin, sv_span_t serial, unsigned n);

/* A serial that is the same but for its case; NULL: none. */
const svw_made_t *svw_facts_folded(const svw_facts_t *facts, uint64_t gtin, sv_span_t serial);

/* by time, then content: -1, 0 or 1 */
int svw_record_cmp(const svw_record_t *a, const svw_record_t *b);

static inline const svw_made_t *
svw_facts_made(const svw_facts_t *facts, uint32_t n)
{
    return &facts->made[n];
}


/* Two ways that cannot both be true: another lot or expiry; or the same data, of another line at clearly another time. */
int svw_made_clash(const svw_facts_t *facts, uint32_t a, uint32_t b);

/* Of a scan; its own place goes before the record of its site. */
svw_place_t svw_facts_place(const svw_facts_t *facts, const svw_node_t *node);

/* The same country, or free movement between them. */
int svw_facts_same_area(const svw_facts_t *facts, const char *a, const char *b);

double svw_distance_km(double lat1, double lon1, double lat2, double lon2);

#endif /* SVW_FACTS_H */
