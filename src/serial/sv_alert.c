#include "sv_alert.h"

#include <openssl/rand.h>


int
sv_alert_mint(char id[SV_ALERT_ID], const char *country)
{
    int      i;
    char    *p;
    uint8_t  random[15];

    /* 32 characters that nobody mistakes for one another on the telephone */
    static const char  alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

    if (RAND_bytes(random, sizeof(random)) != 1) {
        return 0;
    }

    p = id;
    *p++ = country[0] != '\0' ? country[0] : 'X';
    *p++ = country[0] != '\0' ? country[1] : 'X';

    for (i = 0; i < 15; i++) {
        if (i % 3 == 0) {
            *p++ = '-';
        }

        *p++ = alphabet[random[i] & 31];
    }

    *p = '\0';

    return 1;
}


int
sv_uuid_mint(char uuid[SV_UUID], int64_t now_ms)
{
    int      i;
    char    *p;
    uint8_t  bytes[16];

    if (RAND_bytes(bytes, sizeof(bytes)) != 1) {
        return 0;
    }

    for (i = 0; i < 6; i++) {
        bytes[i] = (uint8_t) ((uint64_t) now_ms >> (40 - 8 * i));
    }

    bytes[6] = (bytes[6] & 0x0f) | 0x70;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;

    p = uuid;

    for (i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            *p++ = '-';
        }

        *p++ = "0123456789abcdef"[bytes[i] >> 4];
        *p++ = "0123456789abcdef"[bytes[i] & 15];
    }

    *p = '\0';

    return 1;
}
