/*
 * What svw_replay_line (a line of JSON into its members) and svw_replay_read
 * (members into a record) share.
 */

#ifndef SVW_REPLAY_IN_H
#define SVW_REPLAY_IN_H

#include "svw_replay.h"

#include <yajl/yajl_parse.h>


typedef enum {
    SVW_M_TYPE, SVW_M_TIME, SVW_M_GTIN, SVW_M_SERIAL, SVW_M_LOT, SVW_M_EXPIRY, SVW_M_OPERATION, SVW_M_OF, SVW_M_ACTOR_KIND,
    SVW_M_ACTOR, SVW_M_SESSION, SVW_M_COUNTRY, SVW_M_LAT, SVW_M_LON, SVW_M_ACCURACY_KM, SVW_M_ENTRY_MODE, SVW_M_OUTCOME,
    SVW_M_MARKETS, SVW_M_LINE, SVW_M_SERIALS, SVW_M_GLN, SVW_M_KIND, SVW_M_KEY, SVW_M_IDEMPOTENCY_KEY, SVW_M_MAX
} svw_replay_member_t;

typedef struct {
    sv_span_t  *span;
    size_t      n, size;
} svw_replay_list_t;

struct svw_replay_reader_s {
    yajl_handle          yajl;
    uint8_t             *text;          /* values of the line: as much room as the line is long */
    size_t               size, len;
    unsigned             depth;
    unsigned             object;        /* the line has one */
    unsigned             more;          /* .. and something behind it */
    unsigned             list;          /* the value at hand is a list */
    unsigned             ended;         /* nothing in the line itself is wrong, but it may not be all */
    unsigned             no_memory;
    svw_replay_member_t  member;
    sv_span_t            value[SVW_M_MAX];      /* a scalar as text; data NULL: absent */
    svw_replay_list_t    serials, markets;
    char                 expiry[7];
    char               (*country)[3];   /* as many as markets.size */
};

extern const char *const  svw_replay_members[SVW_M_MAX];

/* The members of a line into reader->value and the lists.  0; -1: the reason in `error'; -2: no memory. */
int svw_replay_line(svw_replay_reader_t *reader, sv_span_t line, char error[SVW_TEXT]);
int svw_replay_list_add(svw_replay_reader_t *reader, svw_replay_list_t *list, sv_span_t span);

#endif /* SVW_REPLAY_IN_H */
