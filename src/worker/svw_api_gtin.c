#include "svw_api.h"

#include "svw_load.h"

#include <string.h>


int
svw_api_gtin(svw_api_request_t *rq, const char *text, char number[16])
{
    size_t       len;
    uint64_t     gtin;
    const char  *reason;

    len = text != NULL ? strlen(text) : 0;

    if (len != 8 && len != 12 && len != 13 && len != 14) {
        svw_api_problem(rq, 400, "invalid_value", "gtin", "A GTIN of 8, 12, 13 or 14 digits is needed.");
        return -1;
    }

    memset(number, '0', 14);
    memcpy(number + 14 - len, text, len);
    number[14] = '\0';

    reason = svw_check_gtin((sv_span_t) { (const uint8_t *) number, 14 }, &gtin);

    if (reason != NULL) {
        svw_api_problem(rq, 400, "invalid_value", "gtin", "%s.", svw_reason_text(reason));
        return -1;
    }

    return 0;
}
