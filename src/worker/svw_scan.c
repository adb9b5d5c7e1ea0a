#include "svw_scan.h"

#include <stdlib.h>
#include <string.h>


#define SVW_SCAN_LONGEST  2000
#define SVW_SCAN_BUFFER   (SVW_SCAN_LONGEST + 8)


static sv_gs1_error_t svw_scan_parse(sv_span_t text, uint8_t scan[SVW_SCAN_BUFFER], uint8_t *buf, sv_gs1_data_t *data);
static int svw_scan_starts(sv_span_t text, const char *start);
static void svw_scan_copy(char out[21], const sv_span_t *value);


const char *
svw_scan_item(sv_span_t text, svw_scanned_t *scanned)
{
    uint8_t            buf[SV_GS1_BUFFER], scan[SVW_SCAN_BUFFER];
    sv_gs1_data_t      data;
    sv_gs1_error_t     error;
    const sv_span_t   *gtin, *serial, *sscc;

    *scanned = (svw_scanned_t) { 0 };

    if (text.len == 0 || text.len > SVW_SCAN_LONGEST) {
        return "It is empty or too long: send a Digital Link, a URN, (01)..(21).., a scan or an SSCC.";
    }

    error = svw_scan_parse(text, scan, buf, &data);      /* elements point into both */

    if (error != SV_GS1_OK) {
        return sv_gs1_error_text(error);
    }

    sscc = sv_gs1_get(&data, 0);

    if (sscc != NULL) {
        svw_scan_copy(scanned->serial, sscc);
        return NULL;
    }

    gtin = sv_gs1_get(&data, 1);
    serial = sv_gs1_get(&data, 21);

    if (gtin == NULL || serial == NULL) {
        return "It names no item: a GTIN (01) with a serial (21), or an SSCC (00), is needed.";
    }

    scanned->gtin = sv_gs1_gtin(*gtin);
    svw_scan_copy(scanned->serial, serial);

    if (sv_gs1_get(&data, 10) != NULL) {
        svw_scan_copy(scanned->lot, sv_gs1_get(&data, 10));
    }

    return NULL;
}


void
svw_scan_link(char link[SVW_LINK], const char *gtin, const char *serial)
{
    int                 n;
    uint64_t            number;
    const uint8_t      *p;

    number = strtoull(gtin, NULL, 10);

    if (number == 0) {
        snprintf(link, SVW_LINK, "https://id.gs1.org/00/%s", serial);
        return;
    }

    n = snprintf(link, SVW_LINK, "https://id.gs1.org/01/%014llu/21/", (unsigned long long) number);

    for (p = (const uint8_t *) serial; *p != '\0' && n < SVW_LINK - 3; p++) {
        if ((*p >= '0' && *p <= '9') || (*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z') || strchr("-._~", *p) != NULL) {
            link[n++] = (char) *p;
        } else {
            n += snprintf(link + n, 4, "%%%02X", *p);
        }
    }

    link[n] = '\0';
}


static sv_gs1_error_t
svw_scan_parse(sv_span_t text, uint8_t scan[SVW_SCAN_BUFFER], uint8_t *buf, sv_gs1_data_t *data)
{
    size_t  digits, n;

    if (svw_scan_starts(text, "urn:")) {
        return sv_gs1_urn_parse(text, 0, buf, data, NULL);
    }

    if (text.data[0] == '(') {
        return sv_gs1_brackets_parse(text, 0, buf, data, NULL);
    }

    if (text.data[0] == '/') {
        return sv_gs1_target_parse(text, 0, buf, data, NULL);
    }

    if (memmem(text.data, text.len, "://", 3) != NULL) {
        return sv_gs1_uri_parse(text, 0, buf, data, NULL);
    }

    if (text.data[0] == ']') {
        return sv_gs1_scan_parse(text, 0, buf, data, NULL);
    }

    for (digits = 0; digits < text.len && text.data[digits] >= '0' && text.data[digits] <= '9'; digits++) { /* void */ }

    n = (size_t) snprintf((char *) scan, SVW_SCAN_BUFFER, "%s", digits == 18 && text.len == 18 ? "]C100" : "]d2");
    memcpy(scan + n, text.data, text.len);

    return sv_gs1_scan_parse((sv_span_t) { scan, n + text.len }, 0, buf, data, NULL);
}


static int
svw_scan_starts(sv_span_t text, const char *start)
{
    size_t  len;

    len = strlen(start);

    return text.len >= len && memcmp(text.data, start, len) == 0;
}


/* an element of these has at most 20 characters: the parser has checked it */
static void
svw_scan_copy(char out[21], const sv_span_t *value)
{
    memcpy(out, value->data, value->len);
    out[value->len] = '\0';
}
