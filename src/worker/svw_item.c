#include "svw_load.h"

#include "../gs1/sv_gs1_ai.h"

#include <string.h>


#define SVW_DAY_MS        86400000
#define SVW_TIME_FIRST    (-719162 * (int64_t) SVW_DAY_MS)          /* the year 1 begins */
#define SVW_TIME_END      (2932897 * (int64_t) SVW_DAY_MS)          /* the year 10000 begins */
#define SVW_LONGEST_TIME  40            /* what is longer may not be there whole */


static const char *svw_check_text(sv_span_t text, size_t max, const char *const reasons[3]);
static int svw_check_digit(sv_span_t digits);
static sv_day_t svw_day(sv_span_t text);
static int svw_number(const uint8_t *p, size_t n, unsigned *value);


/* every reason word a report may hold; docs/worker.md lists them too */
static const svw_reason_t  svw_reasons[] = {
    { "gtin_missing",          "the GTIN is missing" },
    { "gtin_length",           "a GTIN has 14 digits; put zeros in front of a shorter one" },
    { "gtin_digits",           "a GTIN is all digits" },
    { "gtin_check_digit",      "the check digit of the GTIN is wrong" },
    { "serial_missing",        "the serial is missing" },
    { "serial_length",         "a serial has at most 20 characters" },
    { "serial_charset",        "the serial holds a character that GS1 does not allow" },
    { "lot_missing",           "the lot is missing" },
    { "lot_length",            "a lot has at most 20 characters" },
    { "lot_charset",           "the lot holds a character that GS1 does not allow" },
    { "expiry_missing",        "the expiry is missing" },
    { "expiry_format",         "an expiry is YYMMDD or YYYY-MM-DD" },
    { "expiry_date",           "there is no such day" },
    { "event_time_format",     "a time is YYYY-MM-DDThh:mm:ss with Z or an offset" },
    { "market_format",         "a market is two capital letters (ISO 3166)" },
    { "field_count",           "the line has another number of fields than the header" },
    { "product_unknown",       "no product is known for this GTIN; load products first, then deliver the file again" },
    { "epc_syntax",            "not an SGTIN or SSCC as URN or as Digital Link, or its check digit is wrong" },
    { "epc_class",             "not one item but a class of items" },
    { "epc_twice",             "the event names the same item twice; it counts once" },
    { "event_type",            "an event of a kind that says nothing of packs" },
    { "event_type_missing",    "the event does not say of what type it is" },
    { "event_action",          "the action is missing, or none of ADD, OBSERVE and DELETE" },
    { "event_step",            "an ObjectEvent that adds or deletes has to say by which business step, and it must be one that does so" },
    { "event_step_type",       "the business step makes or ends items, but the event adds or deletes something else" },
    { "event_time_missing",    "the time of the event is missing" },
    { "event_time_future",     "the event is more than 24 hours ahead: whose clock is wrong?" },
    { "event_member_twice",    "the same member stands twice in the event" },
    { "event_product",         "another item of its event is of a product that is not known or not yours: the event is not loaded" },
    { "not_permitted",         "it belongs to another company" },
    { "event_member_length",   "the value is longer than 256 characters" },
    { "event_member_form",     "the member is not of the form that EPCIS gives it" },
    { "event_id_reused",       "this eventID stands for another event already" },
    { "event_empty",           "the event names no item" },
    { "parent_missing",        "the event does not say in what the items were packed" },
    { "parent_child",          "the parent is one of its own children" },
    { "claim_contradiction",   "the event tells two different things of its packs" },
    { "dialect",               "a lot, expiry or market stands where EPCIS has no place for it" },
    { "barcode",               "what looks like the code of a pack is none" },
    { "barcode_item",          "the code is of a pack that the event does not name" },
    { "json_name",             "a member that EPCIS does not know, and without a namespace" },
    { "json_prefix",           "the prefix of a name stands for nothing: it is not in @context" },
    { "xml_namespace",         "the element is in no namespace, or not in that of EPCIS" },
    { "xml_place",             "the element stands where EPCIS has no place for it" },
    { "xml_name",              "an element that EPCIS does not know, and in no namespace" },
    { "xml_version",           "there is no such version of XML" },
    { NULL, NULL }
};


const char *
svw_check_gtin(sv_span_t text, uint64_t *gtin)
{
    size_t  i;

    if (text.len == 0) {
        return "gtin_missing";
    }

    if (text.len != 14) {
        return "gtin_length";
    }

    for (i = 0; i < 14; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return "gtin_digits";
        }
    }

    *gtin = sv_gs1_gtin(text);

    return svw_check_digit(text) && *gtin != 0 ? NULL : "gtin_check_digit";
}


const char *
svw_check_serial(sv_span_t text)
{
    static const char *const  reasons[] = { "serial_missing", "serial_length", "serial_charset" };

    return svw_check_text(text, SV_SERIAL_MAX, reasons);
}


const char *
svw_check_lot(sv_span_t text)
{
    static const char *const  reasons[] = { "lot_missing", "lot_length", "lot_charset" };

    return svw_check_text(text, SV_LOT_MAX, reasons);
}


/* YYMMDD as in AI 17, YYYY-MM-DD, YYYYMMDD, and a date with a time or an offset behind it; day 00: end of the month */
const char *
svw_check_expiry(sv_span_t text, sv_day_t today, sv_day_t *expiry)
{
    size_t  i;

    if (text.len == 0) {
        return "expiry_missing";
    }

    if (text.len > SVW_LONGEST_TIME) {
        return "expiry_format";
    }

    if (text.len > 10 && memchr("TZ+-", text.data[10], 4) != NULL) {
        text.len = 10;
    }

    for (i = 0; i < text.len; i++) {
        if ((text.data[i] < '0' || text.data[i] > '9')
            && !(text.len == 10 && (i == 4 || i == 7) && text.data[i] == '-'))
        {
            return "expiry_format";
        }
    }

    if (text.len == 6) {
        *expiry = sv_gs1_date(text, today);

    } else if (text.len == 8 || (text.len == 10 && text.data[4] == '-' && text.data[7] == '-')) {
        *expiry = svw_day(text);

    } else {
        return "expiry_format";
    }

    return *expiry != SV_DAY_NONE ? NULL : "expiry_date";
}


static sv_day_t
svw_day(sv_span_t text)
{
    size_t       i;
    uint8_t      buf[10];
    sv_day_t     day;
    const char  *last;

    if (memcmp(text.data + text.len - 2, "00", 2) != 0) {
        return sv_day_parse(text);
    }

    memcpy(buf, text.data, text.len);
    day = SV_DAY_NONE;

    for (i = 0, last = "31302928"; i < 4 && day == SV_DAY_NONE; i++) {
        memcpy(buf + text.len - 2, last + 2 * i, 2);
        day = sv_day_parse((sv_span_t) { buf, text.len });
    }

    return day;
}


/* RFC 3339, seconds and fraction may be missing */
const char *
svw_check_time(sv_span_t text, int64_t *ms)
{
    int             sign;
    size_t          i;
    unsigned        hour, minute, second, fraction, digits, oh, om;
    sv_day_t        day;
    const uint8_t  *p, *end;

    p = text.data;
    end = p + text.len;
    second = fraction = digits = 0;

    if (text.len < 17 || text.len > SVW_LONGEST_TIME || p[4] != '-' || p[7] != '-' || (p[10] != 'T' && p[10] != ' ') || p[13] != ':'
        || !svw_number(p + 11, 2, &hour) || !svw_number(p + 14, 2, &minute))
    {
        return "event_time_format";
    }

    day = sv_day_parse((sv_span_t) { p, 10 });
    i = 16;

    if (i + 3 <= text.len && p[i] == ':') {
        if (!svw_number(p + i + 1, 2, &second)) {
            return "event_time_format";
        }

        i += 3;
    }

    if (i < text.len && p[i] == '.') {
        for (i++; i < text.len && p[i] >= '0' && p[i] <= '9'; i++) {
            if (digits < 3) {
                fraction = fraction * 10 + (unsigned) (p[i] - '0');
                digits++;
            }
        }

        for (; digits < 3; digits++) {
            fraction *= 10;
        }
    }

    p += i;
    sign = 0;
    oh = om = 0;

    if (end - p == 6 && (*p == '+' || *p == '-') && p[3] == ':') {
        if (!svw_number(p + 1, 2, &oh) || !svw_number(p + 4, 2, &om)) {
            return "event_time_format";
        }

        sign = *p == '+' ? -1 : 1;

    } else if (end - p != 1 || *p != 'Z') {
        return "event_time_format";
    }

    if (day == SV_DAY_NONE || hour > 23 || minute > 59 || second > 60 || oh > 14 || om > 59) {
        return "event_time_format";
    }

    *ms = (int64_t) day * SVW_DAY_MS + hour * 3600000 + minute * 60000 + second * 1000 + fraction
          + sign * (int64_t) (oh * 60 + om) * 60000;

    /* an offset may lead out of the years that can be stored */
    return *ms >= SVW_TIME_FIRST && *ms < SVW_TIME_END ? NULL : "event_time_format";
}


const char *
svw_check_market(sv_span_t text)
{
    return text.len == 2 && text.data[0] >= 'A' && text.data[0] <= 'Z'
           && text.data[1] >= 'A' && text.data[1] <= 'Z' ? NULL : "market_format";
}


const char *
svw_check_gln(sv_span_t text)
{
    size_t  i;

    if (text.len != 13) {
        return "a GLN has 13 digits";
    }

    for (i = 0; i < 13; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return "a GLN is all digits";
        }
    }

    return svw_check_digit(text) ? NULL : "the check digit of the GLN is wrong";
}


const char *
svw_reason_text(const char *reason)
{
    const svw_reason_t  *r;

    for (r = svw_reasons; r->word != NULL; r++) {
        if (strcmp(r->word, reason) == 0) {
            return r->text;
        }
    }

    return reason;
}


void
svw_printable(char *out, size_t cap, sv_span_t text)
{
    size_t   i, n;
    uint8_t  c;

    for (i = 0, n = 0; i < text.len && n + 5 <= cap; i++) {
        c = text.data[i];

        if (c >= 0x20 && c < 0x7f && c != '\\') {
            out[n++] = (char) c;
            continue;
        }

        out[n++] = '\\';
        out[n++] = 'x';
        out[n++] = "0123456789abcdef"[c >> 4];
        out[n++] = "0123456789abcdef"[c & 15];
    }

    out[n] = '\0';
}


static const char *
svw_check_text(sv_span_t text, size_t max, const char *const reasons[3])
{
    size_t  i;

    if (text.len == 0) {
        return reasons[0];
    }

    if (text.len > max) {
        return reasons[1];
    }

    for (i = 0; i < text.len; i++) {
        if (!(sv_gs1_class[text.data[i]] & SV_GS1_X)) {
            return reasons[2];
        }
    }

    return NULL;
}


/* GS1 mod 10: weights 3, 1, 3 .. from the right, the check digit itself has 1 */
static int
svw_check_digit(sv_span_t digits)
{
    size_t    i;
    unsigned  sum, weight;

    sum = 0;
    weight = 1;

    for (i = digits.len; i > 0; i--) {
        sum += weight * (unsigned) (digits.data[i - 1] - '0');
        weight = 4 - weight;
    }

    return sum % 10 == 0;
}


static int
svw_number(const uint8_t *p, size_t n, unsigned *value)
{
    *value = 0;

    for (; n > 0; n--, p++) {
        if (*p < '0' || *p > '9') {
            return 0;
        }

        *value = *value * 10 + (unsigned) (*p - '0');
    }

    return 1;
}
