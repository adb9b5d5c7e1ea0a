#include "svw_event_in.h"

#include <string.h>


static sv_gs1_error_t svw_epc_read(sv_span_t text, uint8_t *buf, sv_gs1_data_t *data);


/* To (GTIN, serial), whatever form it has: of an SSCC GTIN 0 and all 18 digits. */
const char *
svw_epc_parse(sv_span_t text, uint8_t buf[SV_GS1_BUFFER], svw_epc_t *epc)
{
    sv_gs1_data_t     data;
    const sv_span_t  *gtin, *serial, *sscc;

    if (svw_epc_read(text, buf, &data) != SV_GS1_OK) {
        return "epc_syntax";
    }

    sscc = sv_gs1_get(&data, 0);

    if (sscc != NULL) {
        epc->gtin = 0;
        epc->serial = *sscc;
        return NULL;
    }

    gtin = sv_gs1_get(&data, 1);
    serial = sv_gs1_get(&data, 21);

    if (gtin == NULL) {
        return "epc_syntax";
    }

    if (serial == NULL) {
        return "epc_class";
    }

    epc->gtin = sv_gs1_gtin(*gtin);
    epc->serial = *serial;

    return epc->gtin != 0 && svw_check_serial(*serial) == NULL ? NULL : "epc_syntax";
}


const char *
svw_epc_class(sv_span_t text, uint8_t buf[SV_GS1_BUFFER], uint64_t *gtin, sv_span_t *lot)
{
    sv_gs1_data_t     data;
    const sv_span_t  *value;

    if (svw_epc_read(text, buf, &data) != SV_GS1_OK) {
        return "epc_syntax";
    }

    value = sv_gs1_get(&data, 1);

    if (value == NULL || sv_gs1_get(&data, 21) != NULL || (*gtin = sv_gs1_gtin(*value)) == 0) {
        return "epc_syntax";
    }

    value = sv_gs1_get(&data, 10);
    *lot = value != NULL ? *value : (sv_span_t) { NULL, 0 };

    return NULL;
}


sv_span_t
svw_place(sv_span_t text, char out[SVW_PLACE])
{
    int            n;
    uint8_t        buf[SV_GS1_BUFFER];
    sv_gs1_data_t  data;

    if (text.len == 0 || svw_epc_read(text, buf, &data) != SV_GS1_OK
        || (sv_gs1_get(&data, 414) == NULL && sv_gs1_get(&data, 417) == NULL && sv_gs1_get(&data, 1) == NULL))
    {
        return text;
    }

    n = sv_gs1_uri_print(&data, out, SVW_PLACE);

    return n > 0 ? (sv_span_t) { (const uint8_t *) out, (size_t) n } : text;
}


static sv_gs1_error_t
svw_epc_read(sv_span_t text, uint8_t *buf, sv_gs1_data_t *data)
{
    return text.len >= 4 && strncasecmp((const char *) text.data, "urn:", 4) == 0
           ? sv_gs1_urn_parse(text, 0, buf, data, NULL) : sv_gs1_uri_parse(text, 0, buf, data, NULL);
}
