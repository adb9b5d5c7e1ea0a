/*
 * Cases for the role reviewer.
 *
 *   svw_api_alerts         lists, one case        svw_api_alert_change   what people make of them
 *   svw_api_alert_events   what changes, as a stream of events
 */

#ifndef SVW_API_ALERTS_H
#define SVW_API_ALERTS_H

#include "svw_api.h"


#define SVW_ALERT_ROLES  SVW_ROLE_BIT(SV_ROLE_REVIEWER)


/* svw_api_alerts.c: answer, and return as handlers do */
int svw_alert_case(svw_api_request_t *rq, const char *id);      /* 200, the case, its version as ETag */
int svw_alert_answer(svw_api_request_t *rq, const char *sql, int n, const char *const *params);    /* 200, the one value */

/* -1: answered, there is no such case */
int svw_alert_uuid(svw_api_request_t *rq, const char *text);

#endif /* SVW_API_ALERTS_H */
