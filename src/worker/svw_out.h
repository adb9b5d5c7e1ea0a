/*
 * What goes out, in the order of the audit chain: read by the export and the
 * push, a piece at a time, whatever the size of what was loaded.
 */

#ifndef SVW_OUT_H
#define SVW_OUT_H

#include "svw_epcis.h"


typedef struct {
    svw_db_t    *db;
    const char  *company;               /* of these only; NULL: any */
    const char  *location;              /* who asks, of the role `api': PostgreSQL decides the company; NULL: nobody */
    const char  *gtin;
    const char  *from, *until;          /* recorded then; NULL: whenever */
    int64_t      to;                    /* the last row to be read; 0: as far as the chain goes */
    int64_t      n;                     /* what was read: all rows up to n, or, when part is not 0, */
    int          part;                  /* so many parts of row n and all rows before it */
    int64_t      window;                /* how far the open cursor goes; 0: none is open */
    PGresult    *rows;
    int          row;
} svw_out_t;


/* 1: an event, valid until the next call; 0: no more; -1: PostgreSQL, db->error */
int svw_out_next(svw_out_t *out, svw_epcis_event_t *event);

/* Forgets what it has read ahead; goes on at n and part. */
void svw_out_reset(svw_out_t *out);

#endif /* SVW_OUT_H */
