/*
 * Random identifiers minted by the gateway.
 */

#ifndef SV_ALERT_H
#define SV_ALERT_H

#include <stdint.h>


#define SV_ALERT_ID  24     /* CC-XXX-XXX-XXX-XXX-XXX and NUL, with room to spare */
#define SV_UUID      37

/* The alert id: the country of the location, 75 random bits. 0: no randomness to be had. */
int sv_alert_mint(char id[SV_ALERT_ID], const char *country);

/* UUID version 7 (RFC 9562 5.7): audit ids of one time lie side by side in the index. */
int sv_uuid_mint(char uuid[SV_UUID], int64_t now_ms);

#endif /* SV_ALERT_H */
