#include "svw_dialect.h"

#include <string.h>


static int svw_is(sv_span_t text, const char *word);
static sv_span_t svw_dialect_ns(sv_span_t ns);


#define SVW_ANYWHERE  (SVW_AT_EVENT | SVW_AT_ILMD | SVW_AT_EXTENSION)

/*
 * The first that fits counts.  A bare lotNumber deep in what somebody added is
 * not taken: it may be the lot of anything.
 */
static const svw_dialect_t  svw_dialects[] = {
    { "cbvmda",      SVW_AT_ILMD,      SVW_NS_MDA, NULL,            "lotNumber",          NULL,     SVW_CLAIM_LOT,    1 },
    { "cbvmda",      SVW_AT_ILMD,      SVW_NS_MDA, NULL,            "itemExpirationDate", NULL,     SVW_CLAIM_EXPIRY, 1 },
    { "cbvmda",      SVW_AT_EVENT,     SVW_NS_MDA, NULL,            "lotNumber",          NULL,     SVW_CLAIM_LOT,    0 },
    { "cbvmda",      SVW_AT_EVENT,     SVW_NS_MDA, NULL,            "itemExpirationDate", NULL,     SVW_CLAIM_EXPIRY, 0 },
    { "gs1ushc",     SVW_AT_EVENT,     SVW_NS_HC,  NULL,            "lotNumber",          NULL,     SVW_CLAIM_LOT,    0 },
    { "gs1ushc",     SVW_AT_EVENT,     SVW_NS_HC,  NULL,            "itemExpirationDate", NULL,     SVW_CLAIM_EXPIRY, 0 },
    { "unqualified", SVW_AT_EVENT,     "",         NULL,            "lotNumber",          NULL,     SVW_CLAIM_LOT,    0 },
    { "unqualified", SVW_AT_EVENT,     "",         NULL,            "itemExpirationDate", NULL,     SVW_CLAIM_EXPIRY, 0 },
    { "ilmd",        SVW_AT_ILMD,      NULL,       NULL,            "lotNumber",          NULL,     SVW_CLAIM_LOT,    0 },
    { "ilmd",        SVW_AT_ILMD,      NULL,       NULL,            "itemExpirationDate", NULL,     SVW_CLAIM_EXPIRY, 0 },
    { "sap",         SVW_AT_EXTENSION, NULL,       "ObjAttributes", "LOTNO",              NULL,     SVW_CLAIM_LOT,    0 },
    { "sap",         SVW_AT_EXTENSION, NULL,       "ObjAttributes", "DATEX",              NULL,     SVW_CLAIM_EXPIRY, 0 },
    { "label",       SVW_ANYWHERE,     NULL,       NULL,            NULL,                 "BATCH",  SVW_CLAIM_LOT,    0 },
    { "label",       SVW_ANYWHERE,     NULL,       NULL,            NULL,                 "EXPIRY", SVW_CLAIM_EXPIRY, 0 },

    /* EPCIS has no place for it: an extension is right */
    { "tracelink",   SVW_ANYWHERE,     NULL,       NULL,            "countryMarket",      NULL,     SVW_CLAIM_MARKET, 1 },
    { "scantrust",   SVW_ANYWHERE,     NULL,       NULL,            "intended_market",    NULL,     SVW_CLAIM_MARKET, 1 },

    { NULL, 0, NULL, NULL, NULL, NULL, 0, 0 }
};


const svw_dialect_t *
svw_dialect_find(const svw_member_place_t *place)
{
    sv_span_t             ns;
    const svw_dialect_t  *d;

    ns = svw_dialect_ns(place->ns);

    for (d = svw_dialects; d->word != NULL; d++) {
        if ((d->at & place->at)
            && (d->local == NULL || svw_is(place->local, d->local))
            && (d->label == NULL || svw_is(place->label, d->label))
            && (d->ns == NULL || svw_is(ns, d->ns))
            && (d->around == NULL || svw_is(place->around, d->around)))
        {
            return d;
        }
    }

    return NULL;
}


/* A member without a value tells nothing. */
int
svw_dialect_tell(svw_event_t *event, const svw_dialect_t *dialect, sv_span_t text)
{
    if (text.len == 0) {
        return 0;
    }

    return svw_event_claim(event, dialect->claim, dialect->standard, dialect->word, text);
}


int
svw_dialect_is_barcode(sv_span_t text)
{
    return text.len > 18 && memcmp(text.data, "(01)", 4) == 0 && text.data[18] == '(';
}


/* JSON-LD puts name and namespace together, so that there it ends in a sign of some kind. */
static sv_span_t
svw_dialect_ns(sv_span_t ns)
{
    if (ns.len > 0 && memchr(":#/", ns.data[ns.len - 1], 3) != NULL) {
        ns.len--;
    }

    return ns;
}


static int
svw_is(sv_span_t text, const char *word)
{
    return strlen(word) == text.len && (text.len == 0 || memcmp(text.data, word, text.len) == 0);
}
