/*
 * One EPCIS event while it is read.  Its members come in any order, so the
 * EPCs wait in a spool until the event is whole.
 */

#ifndef SVW_EVENT_H
#define SVW_EVENT_H

#include "svw_load.h"

#include <openssl/evp.h>


#define SVW_EVENT_TEXT  256             /* longest value of a member that counts */

typedef enum {
    SVW_MEMBER_TYPE,
    SVW_MEMBER_ACTION,
    SVW_MEMBER_STEP,
    SVW_MEMBER_ID,
    SVW_MEMBER_TIME,
    SVW_MEMBER_LOT,
    SVW_MEMBER_EXPIRY,
    SVW_MEMBER_TEXTS,
    SVW_MEMBER_EPCS = SVW_MEMBER_TEXTS,
    SVW_MEMBER_ERROR,
    SVW_MEMBER_OTHER
} svw_member_t;

typedef struct {
    size_t        len;                  /* of the value, which may be longer than what is kept; 0: not there */
    uint8_t       data[SVW_EVENT_TEXT];
} svw_member_text_t;

typedef struct {
    svw_load_t          *load;
    svw_spool_t         *spool;
    EVP_MD              *sha256;
    EVP_MD_CTX          *md;
    int32_t              n;             /* events so far, this one included */
    int64_t              line;          /* where it begins */
    int64_t              epcs;
    unsigned             seen;          /* bits of svw_member_t */
    int                  twice;         /* a member came twice */
    svw_member_t         wrapped;       /* {"@value": ..}: what it is the value of */
    svw_member_text_t    text[SVW_MEMBER_TEXTS];
    uint8_t              id[SVW_DIGEST];        /* sha256 of the eventID */
} svw_event_t;


int svw_event_init(svw_event_t *event, svw_load_t *load);          /* -1: load->rc */
void svw_event_free(svw_event_t *event);

void svw_event_begin(svw_event_t *event, int64_t line);
void svw_event_member(svw_event_t *event, svw_member_t member);    /* its name came */
int svw_event_text(svw_event_t *event, svw_member_t member, sv_span_t text);
int svw_event_epc(svw_event_t *event, int64_t line, sv_span_t epc);
int svw_event_end(svw_event_t *event);
int svw_event_is_event(const svw_event_t *event);                   /* its type says so */

#endif /* SVW_EVENT_H */
