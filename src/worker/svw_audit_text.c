#include "svw_audit.h"

#include <string.h>


const char *const  svw_audit_names[SVW_AUDIT_VALUES] = {
    "gtin", "at", "audit_id", "occurred_at", "location_id", "version", "expiry", "repeat", "changed", "kind",
    "operation", "of", "serial", "lot", "reason", "state_before", "state", "code", "alert_id", "hint", "entry_mode",
    "key", "request_id", "actor", "detail"
};


static size_t svw_audit_length(sv_span_t value, char out[24]);


/* each value as its length in bytes, a colon and the value; null as "-" */
size_t
svw_audit_text(const svw_audit_row_t *row, uint8_t *out, size_t cap)
{
    char    length[24];
    size_t  len, n;
    int     i;

    len = 0;

    for (i = 0; i < SVW_AUDIT_VALUES; i++) {
        n = svw_audit_length(row->value[i], length);

        if (len + n + row->value[i].len <= cap) {
            memcpy(out + len, length, n);

            if (row->value[i].len > 0) {
                memcpy(out + len + n, row->value[i].data, row->value[i].len);
            }
        }

        len += n + row->value[i].len;
    }

    return len;
}


/* of the same text, which is never in memory as a whole */
int
svw_audit_digest(const svw_audit_row_t *row, uint8_t digest[SVW_AUDIT_HASH])
{
    int          i, ok;
    char         length[24];
    size_t       n;
    EVP_MD_CTX  *md;

    md = EVP_MD_CTX_new();
    ok = md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1;

    for (i = 0; ok && i < SVW_AUDIT_VALUES; i++) {
        n = svw_audit_length(row->value[i], length);
        ok = EVP_DigestUpdate(md, length, n) == 1 && EVP_DigestUpdate(md, row->value[i].data, row->value[i].len) == 1;
    }

    ok = ok && EVP_DigestFinal_ex(md, digest, NULL) == 1;
    EVP_MD_CTX_free(md);

    return ok ? 0 : -1;
}


int
svw_audit_link(const uint8_t before[SVW_AUDIT_HASH], const uint8_t digest[SVW_AUDIT_HASH], uint8_t hash[SVW_AUDIT_HASH])
{
    uint8_t  both[2 * SVW_AUDIT_HASH];

    memcpy(both, before, SVW_AUDIT_HASH);
    memcpy(both + SVW_AUDIT_HASH, digest, SVW_AUDIT_HASH);

    return EVP_Digest(both, sizeof(both), hash, NULL, EVP_sha256(), NULL) == 1 ? 0 : -1;
}


void
svw_audit_hex(const uint8_t *data, size_t len, char *out)
{
    size_t  i;

    for (i = 0; i < len; i++) {
        out[2 * i] = "0123456789abcdef"[data[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[data[i] & 15];
    }

    out[2 * len] = '\0';
}


/* exactly `len' bytes in lower-case digits: what is signed has one form only */
int
svw_audit_unhex(const char *text, uint8_t *out, size_t len)
{
    size_t       i;
    const char  *high, *low;

    static const char  digits[] = "0123456789abcdef";

    if (text == NULL || strlen(text) != 2 * len) {
        return -1;
    }

    for (i = 0; i < len; i++) {
        high = strchr(digits, text[2 * i]);
        low = strchr(digits, text[2 * i + 1]);

        if (high == NULL || low == NULL) {
            return -1;
        }

        out[i] = (uint8_t) ((high - digits) << 4 | (low - digits));
    }

    return 0;
}


static size_t
svw_audit_length(sv_span_t value, char out[24])
{
    if (value.data == NULL) {
        out[0] = '-';
        return 1;
    }

    return (size_t) snprintf(out, 24, "%zu:", value.len);
}
