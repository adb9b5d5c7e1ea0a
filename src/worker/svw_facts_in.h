/*
 * What svw_facts (what is known besides scans), svw_facts_lot, svw_facts_serial
 * and svw_facts_place share.
 */

#ifndef SVW_FACTS_IN_H
#define SVW_FACTS_IN_H

#include "svw_facts.h"


/* svw_facts_lot; -1: no memory, otherwise SVW_FACTS_* bits */
svw_lot_t *svw_lot_get(svw_key_t *key);
void svw_lot_free(svw_lot_t *lot);

/* Markets only grow; one within the area of free movement stands for all of it. */
int svw_lot_markets(svw_facts_t *facts, svw_lot_t *lot, const svw_judge_commission_t *commission);

/* The way in which it is commissioned by the last record, old or new. */
int svw_made_get(svw_facts_t *facts, svw_key_t *key, const svw_judge_commission_t *commission, uint32_t *id);
int svw_made_cmp(const svw_facts_t *facts, uint32_t a, uint32_t b);     /* by lot, expiry, line */

/* A serial is of two ways; what is known of a lot's clashes has changed. 0, or -1. */
int svw_clash_add(svw_facts_t *facts, uint32_t a, uint32_t b, const char *serial);
int svw_clash_changed(svw_facts_t *facts, svw_key_t *lot);

/* svw_facts_serial */
int svw_serials_init(svw_facts_t *facts);
void svw_serials_done(svw_facts_t *facts);

/* A record begins; its way and its serials follow. */
int svw_record_add(svw_facts_t *facts, const svw_judge_commission_t *commission);
int svw_serial_add(svw_facts_t *facts, uint64_t gtin, sv_span_t serial, uint32_t made);

#endif /* SVW_FACTS_IN_H */
