/*
 * Reading the one row of a function's answer, without trusting it more than needed.
 */

#ifndef SV_ROW_H
#define SV_ROW_H

#include "../model/sv_record.h"

#include <libpq-fe.h>


/* One row with this many columns? */
int sv_row_is(const PGresult *result, int columns);

sv_span_t sv_row_span(const PGresult *result, int column);         /* data NULL for SQL null */
int sv_row_bool(const PGresult *result, int column);
/* NUL-terminated, cut at a character (UTF-8); "" for SQL null */
void sv_row_text(const PGresult *result, int column, char *out, size_t cap);
int64_t sv_row_number(const PGresult *result, int column);         /* 0 for SQL null */

/* state; version, lot, expiry, location, since side by side. 0: something in it cannot be. */
int sv_row_record(const PGresult *result, int state, int version, sv_record_t *record);

#endif /* SV_ROW_H */
