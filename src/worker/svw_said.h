/*
 * What rules say of a key, and what they said before: only the difference is told.
 */

#ifndef SVW_SAID_H
#define SVW_SAID_H

#include "svw_rule.h"


struct svw_said_s {
    svw_said_t  *next;
    int64_t      first_ms, last_ms;
    uint64_t     digest;                /* of all of it */
    uint8_t      id[16];
    uint8_t      rule;
    uint8_t      weight;
    uint8_t      again;                 /* said now too */
};

typedef struct {
    const svw_node_t  **v;
    size_t              n, size;
} svw_nodes_t;

typedef struct {
    sv_span_t  *v;
    size_t      n, size;
} svw_spans_t;

typedef struct {
    svw_ref_t  *v;
    size_t      n, size;
} svw_refs_t;

struct svw_say_s {
    const svw_view_t     *view;
    const svw_rule_row_t *row;
    svw_finding_pt        found;
    void                 *data;
    int64_t               horizon_ms;   /* older scans are forgotten: what rests on them stays said */
    int64_t               fresh_ms;     /* what is taken of newer ones may change with what comes late; INT64_MAX: all has come */
    int64_t               part_ms;      /* what rests on older ones is about to rest on some that have left the window */
    int64_t               waits_ms;     /* the first scan that was not said for that; INT64_MAX: none */
    svw_finding_t         finding;
    sv_span_t             apart;
    const svw_key_t      *lot;
    unsigned              lots;         /* 0, 1, 2: of many */
    char                  own[640];
    unsigned              narrow:1;     /* does not tie what else there is of its lots */
    svw_nodes_t           nodes;
    svw_refs_t            refs;
    svw_spans_t           serials, actors, keys;
    char                 *text;         /* of keys */
    size_t                text_n, text_size;
    unsigned              failed:1;     /* no memory */
};

/* svw_say.c: all of say->finding but its identity, of what the rule has put in. 0, or -1: no memory (failed). */
int svw_say_gather(svw_say_t *say);
void svw_say_done(svw_say_t *say);

/* A rule is about to say, and has said, all there is of a part of a key. */
void svw_said_begin(svw_say_t *say, const svw_rule_row_t *row, const svw_view_t *view);
void svw_said_end(svw_say_t *say, const svw_view_t *view);

/* The rule is not asked about this part: what was said of it is said still. */
void svw_said_keep(svw_say_t *say, const svw_view_t *part);

/* The key is forgotten: what was said of it stays said. */
void svw_said_forget(svw_key_t *key);

#endif /* SVW_SAID_H */
