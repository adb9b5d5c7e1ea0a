/*
 * What svw_event.c collects of an event, and its parts work on.
 */

#ifndef SVW_EVENT_IN_H
#define SVW_EVENT_IN_H

#include "svw_event.h"


#define SVW_PLACE           256         /* of a location as a Digital Link */
#define SVW_EPC_TEXT        2048        /* kept of an identifier; it is read whole */
#define SVW_EVENT_IDS       (8 * 1024)  /* of correctiveEventIDs */

typedef struct {
    size_t           len;               /* of the value, which may be longer than what is kept; 0: not there */
    uint8_t          data[SVW_EVENT_TEXT];
} svw_text_t;

/* what was told of the packs, by however many dialects */
typedef struct {
    const char      *dialect;           /* that told it first */
    const char      *other_dialect;     /* that told otherwise; NULL: all agree */
    const char      *reason;            /* why it is no lot, expiry, market */
    svw_text_t       text;
    svw_text_t       other;
    sv_day_t         day;
} svw_told_t;

typedef enum { SVW_EPC_GOOD, SVW_EPC_TWICE, SVW_EPC_BAD } svw_epc_what_t;

/* in front of each EPC in the spool; behind it its text, then its serial */
typedef struct {
    int64_t          line;
    uint64_t         gtin;
    uint16_t         text;              /* lengths */
    uint8_t          serial;
    uint8_t          what;
} svw_epc_head_t;

/* the first of the EPCs that are remarkable in some way */
typedef struct {
    int64_t          n;                 /* how many are */
    int64_t          place;             /* in its list, from 0 */
    int64_t          line;
    const char      *reason;
    svw_text_t       text;
} svw_remark_t;

typedef struct svw_detail_s  svw_detail_t;
typedef struct svw_set_s     svw_set_t;

struct svw_event_s {
    svw_load_t      *load;
    svw_spool_t     *spool;             /* EPCs */
    svw_set_t       *set;               /* the items, to know one that comes twice */
    svw_set_t       *codes;             /* the packs whose codes are told, see svw_event_barcode() */
    svw_detail_t    *detail;
    EVP_MD          *sha256;
    EVP_MD_CTX      *md;
    int32_t          n;                 /* events so far, this one included */
    int64_t          line;              /* where it begins */
    unsigned         seen;              /* bits of svw_member_t */
    const char      *twice;             /* a member that came twice */
    const char      *wrong;             /* why a member is, and its name */
    const char      *wrong_at;
    const char      *irregular;         /* the first thing that is, and where */
    char             irregular_at[64];
    svw_text_t       text[SVW_MEMBER_TEXTS];
    svw_told_t       told[SVW_CLAIMS];
    int64_t          epcs;              /* as they came */
    int64_t          items;             /* different ones that were read */
    int64_t          containers;        /* of them: with an SSCC */
    int64_t          cases;             /* of them: with a GTIN of a packaging level above the pack's */
    svw_remark_t     bad, again;
    uint64_t         word[4];           /* of the items, a sum modulo 2^256: their order does not matter */
    uint8_t          id[SVW_DIGEST];    /* sha256 of the eventID */
    size_t           ids_len;           /* correctiveEventIDs, a NUL behind each */
    int              ids_full;
    char             ids[SVW_EVENT_IDS];
};


static inline sv_span_t
svw_text_span(const svw_text_t *text)
{
    return (sv_span_t) { text->data, text->len < SVW_EVENT_TEXT ? text->len : SVW_EVENT_TEXT };
}


/* svw_set.c: keys, the more of them the more memory, up to a limit */
svw_set_t *svw_set_new(void);
void svw_set_clear(svw_set_t *set);
int svw_set_add(svw_set_t *set, uint64_t key);          /* 1, or 0 when it is there already, or -1 */
int svw_set_has(const svw_set_t *set, uint64_t key);
int svw_set_within(const svw_set_t *set, const svw_set_t *other);        /* has the other all of its keys? */
void svw_set_free(svw_set_t *set);

/* svw_detail.c */
svw_detail_t *svw_detail_new(void);
void svw_detail_clear(svw_detail_t *detail);
void svw_detail_open(svw_detail_t *detail, sv_span_t name);
void svw_detail_text(svw_detail_t *detail, sv_span_t name, sv_span_t text);
void svw_detail_close(svw_detail_t *detail);
json_t *svw_detail_json(svw_detail_t *detail);          /* borrowed; NULL: nothing was kept */
char *svw_detail_print(svw_detail_t *detail);           /* the caller frees it; NULL: nothing was kept */
void svw_detail_free(svw_detail_t *detail);

/* svw_form.c: values that are one in several forms, and texts of any bytes, as JSON */
json_t *svw_form(const char *in, const char *name, sv_span_t text);     /* a member `name' of the object `in' */
json_t *svw_form_text(sv_span_t text);
json_t *svw_form_time(sv_span_t text);

/* an event as it was understood; rows point into it and into the event */
typedef struct {
    svw_event_row_t  row;
    int              skipped;           /* left to others, not wrong */
    int              commissions;       /* it is an ObjectEvent that does */
    int              packs;             /* of what it commissions some are packs, else all are containers */
    const char      *element;           /* where what is wrong stands, and what stands there */
    sv_span_t        value;
    char             place[96];
    char             shown[2 * SVW_EVENT_TEXT];
    char             read_point[SVW_PLACE];
    char             biz_location[SVW_PLACE];
    uint8_t          parent[SV_GS1_BUFFER];
} svw_case_t;

/* svw_event_judge.c: NULL: it may be loaded; else why not */
const char *svw_event_judge(svw_event_t *event, svw_case_t *judged);

/* svw_event_content.c: what is kept in quarantine; the caller frees it.  NULL: too long, or no memory. */
char *svw_event_content(svw_event_t *event);

/* the EPCs in their order: rewind the spool, then 1 for each, 0 at the end, -1 with load->rc */
int svw_event_next(svw_event_t *event, svw_epc_head_t *head, uint8_t text[SVW_EPC_TEXT], uint8_t serial[SV_SERIAL_MAX]);

/* svw_epc.c: of a location, a party, a class of items the Digital Link, of anything else what it is */
sv_span_t svw_place(sv_span_t text, char out[SVW_PLACE]);

/* svw_event.c */
int svw_event_has(svw_event_t *event, const svw_epc_t *epc);            /* 1, 0, -1 */
const char *svw_member_name(svw_member_t member);
void svw_text_set(svw_text_t *text, sv_span_t value);
sv_span_t svw_event_span(const svw_event_t *event, svw_member_t member);
int svw_event_is(const svw_event_t *event, svw_member_t member, const char *word);

#endif /* SVW_EVENT_IN_H */
