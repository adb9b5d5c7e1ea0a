#include "sv_gs1_core.h"
#include "sv_gs1_lists.h"


#define SV_KEY_DIGITS   4       /* of a company prefix, at least */
#define SV_IBAN_LEAST   11

static unsigned sv_number(const uint8_t *p, size_t len);
static sv_gs1_error_t sv_lint_day(int year, const uint8_t *mmdd, int day0,
    size_t *at);
static sv_gs1_error_t sv_lint_limit(const uint8_t *p, uint64_t limit,
    size_t *at);


/* a check digit ends the value: weights 3 and 1 in turn, from the right */
static sv_gs1_error_t
sv_lint_csum(const uint8_t *p, size_t len, size_t *at)
{
    if (p[len - 1] != sv_gs1_check_digit(p, len - 1)) {
        *at = len - 1;
        return SV_GS1_ERR_CHECK_DIGIT;
    }

    return SV_GS1_OK;
}


uint8_t
sv_gs1_check_digit(const uint8_t *digits, size_t len)
{
    size_t    i;
    unsigned  sum[2];

    sum[0] = 0;
    sum[1] = 0;

    for (i = 0; i < len; i++) {
        sum[i & 1] += digits[i] - '0';
    }

    /* the last digit before the check digit weighs 3 */

    return '0' + (1000 - sum[(len - 1) & 1] * 3 - sum[len & 1]) % 10;
}


static sv_gs1_error_t
sv_lint_key(const uint8_t *p, size_t len, size_t *at)
{
    size_t  i;

    for (i = 0; i < SV_KEY_DIGITS; i++) {
        if (i == len || !(sv_gs1_class[p[i]] & SV_GS1_N)) {
            *at = i;
            return SV_GS1_ERR_COMPANY_PREFIX;
        }
    }

    return SV_GS1_OK;
}


/*
 * GS1 General Specifications 7.9.5: each character has its place in character
 * set 82 as value and, counted from the right, a prime as weight; the sum
 * modulo 1021 is written as two characters out of 32.
 */
static sv_gs1_error_t
sv_lint_csumalpha(const uint8_t *p, size_t len, size_t *at)
{
    size_t       i;
    unsigned     sum;
    const char  *place;

    static const uint8_t  primes[] = {
        2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61,
        67, 71, 73, 79, 83
    };

    static const char  cset82[] =
        "!\"%&'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        "_abcdefghijklmnopqrstuvwxyz";

    static const char  cset32[] = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ";

    if (len < 3 || len - 2 > sizeof(primes)) {
        *at = len;
        return SV_GS1_ERR_VALUE_SHORT;
    }

    sum = 0;

    for (i = 0; i < len - 2; i++) {
        place = strchr(cset82, p[i]);
        sum += (unsigned) (place - cset82) * primes[len - 3 - i];
    }

    sum %= 1021;

    if (p[len - 2] != cset32[sum >> 5] || p[len - 1] != cset32[sum & 31]) {
        *at = len - 2;
        return SV_GS1_ERR_CHECK_PAIR;
    }

    return sv_lint_key(p, len, at);
}


static sv_gs1_error_t
sv_lint_mudi(const uint8_t *p, size_t len, size_t *at)
{
    size_t          i;
    sv_gs1_error_t  error;

    error = sv_lint_csumalpha(p, len, at);

    for (i = 0; error == SV_GS1_OK && i < len; i++) {
        if (!(sv_gs1_class[p[i]] & SV_GS1_N)) {
            return SV_GS1_OK;
        }
    }

    return error ? error : SV_GS1_ERR_CHARSET;
}


static sv_gs1_error_t
sv_lint_yymmd0(const uint8_t *p, size_t len, size_t *at)
{
    (void) len;

    *at = 2;

    return sv_lint_day(2000 + sv_number(p, 2), p + 2, 1, at);
}


static sv_gs1_error_t
sv_lint_yymmdd(const uint8_t *p, size_t len, size_t *at)
{
    (void) len;

    *at = 2;

    return sv_lint_day(2000 + sv_number(p, 2), p + 2, 0, at);
}


static sv_gs1_error_t
sv_lint_yyyymmdd(const uint8_t *p, size_t len, size_t *at)
{
    (void) len;

    *at = 4;

    return sv_lint_day(sv_number(p, 4), p + 4, 0, at);
}


static sv_gs1_error_t
sv_lint_day(int year, const uint8_t *mmdd, int day0, size_t *at)
{
    unsigned  month, day;

    month = sv_number(mmdd, 2);
    day = sv_number(mmdd + 2, 2);

    if (month < 1 || month > 12) {
        return SV_GS1_ERR_DATE;
    }

    if (day > sv_gs1_month_days(year, month) || (day == 0 && !day0)) {
        *at += 2;
        return SV_GS1_ERR_DATE;
    }

    return SV_GS1_OK;
}


static sv_gs1_error_t
sv_lint_hhmm(const uint8_t *p, size_t len, size_t *at)
{
    (void) len;

    if (sv_number(p, 2) > 23) {
        return SV_GS1_ERR_TIME;
    }

    if (sv_number(p + 2, 2) > 59) {
        *at = 2;
        return SV_GS1_ERR_TIME;
    }

    return SV_GS1_OK;
}


static sv_gs1_error_t
sv_lint_hh(const uint8_t *p, size_t len, size_t *at)
{
    (void) at;

    return (sv_number(p, len) > 23) ? SV_GS1_ERR_TIME : SV_GS1_OK;
}


static sv_gs1_error_t
sv_lint_sixty(const uint8_t *p, size_t len, size_t *at)
{
    (void) at;

    return (sv_number(p, len) > 59) ? SV_GS1_ERR_TIME : SV_GS1_OK;
}


static sv_gs1_error_t
sv_lint_country(const uint8_t *p, size_t len, size_t *at)
{
    (void) at;

    return sv_gs1_is_country(sv_number(p, len)) ? SV_GS1_OK
                                                : SV_GS1_ERR_COUNTRY;
}


static sv_gs1_error_t
sv_lint_country999(const uint8_t *p, size_t len, size_t *at)
{
    return (sv_number(p, len) == 999) ? SV_GS1_OK
                                      : sv_lint_country(p, len, at);
}


static sv_gs1_error_t
sv_lint_alpha2(const uint8_t *p, size_t len, size_t *at)
{
    (void) len;
    (void) at;

    return sv_gs1_is_alpha2(p) ? SV_GS1_OK : SV_GS1_ERR_COUNTRY;
}


static sv_gs1_error_t
sv_lint_currency(const uint8_t *p, size_t len, size_t *at)
{
    (void) at;

    return sv_gs1_is_currency(sv_number(p, len)) ? SV_GS1_OK
                                                 : SV_GS1_ERR_CURRENCY;
}


static sv_gs1_error_t
sv_lint_piece(const uint8_t *p, size_t len, size_t *at)
{
    unsigned  piece, total;

    (void) len;
    (void) at;

    piece = sv_number(p, 2);
    total = sv_number(p + 2, 2);

    return (piece == 0 || total == 0 || piece > total) ? SV_GS1_ERR_PIECE
                                                       : SV_GS1_OK;
}


/* ISO 13616: the first four characters moved to the end, letters as 10 to 35, modulo 97 */
static sv_gs1_error_t
sv_lint_iban(const uint8_t *p, size_t len, size_t *at)
{
    size_t    i;
    uint8_t   c;
    unsigned  sum;

    if (len < SV_IBAN_LEAST || !sv_gs1_is_alpha2(p)) {
        return SV_GS1_ERR_IBAN;
    }

    sum = 0;

    for (i = 0; i < len; i++) {
        c = p[(i + 4) % len];

        if (sv_gs1_class[c] & SV_GS1_N) {
            sum = (sum * 10 + (c - '0')) % 97;

        } else if (c >= 'A' && c <= 'Z') {
            sum = (sum * 100 + (c - 'A' + 10)) % 97;

        } else {
            *at = (i + 4) % len;
            return SV_GS1_ERR_IBAN;
        }
    }

    *at = 2;

    return (sum == 1) ? SV_GS1_OK : SV_GS1_ERR_IBAN;
}


static sv_gs1_error_t
sv_lint_zero(const uint8_t *p, size_t len, size_t *at)
{
    (void) at;

    return (sv_number(p, len) == 0) ? SV_GS1_OK : SV_GS1_ERR_ZERO;
}


static sv_gs1_error_t
sv_lint_nonzero(const uint8_t *p, size_t len, size_t *at)
{
    (void) at;

    return (sv_number(p, len) != 0) ? SV_GS1_OK : SV_GS1_ERR_ZERO;
}


static sv_gs1_error_t
sv_lint_nozeroprefix(const uint8_t *p, size_t len, size_t *at)
{
    (void) len;
    (void) at;

    return (p[0] == '0') ? SV_GS1_ERR_ZERO : SV_GS1_OK;
}


static sv_gs1_error_t
sv_lint_yesno(const uint8_t *p, size_t len, size_t *at)
{
    (void) len;
    (void) at;

    return (p[0] == '0' || p[0] == '1') ? SV_GS1_OK : SV_GS1_ERR_CODE_LIST;
}


static sv_gs1_error_t
sv_lint_winding(const uint8_t *p, size_t len, size_t *at)
{
    (void) len;
    (void) at;

    return (p[0] == '0' || p[0] == '1' || p[0] == '9') ? SV_GS1_OK
                                                      : SV_GS1_ERR_CODE_LIST;
}


/* ISO/IEC 5218 */
static sv_gs1_error_t
sv_lint_sex(const uint8_t *p, size_t len, size_t *at)
{
    (void) len;
    (void) at;

    return (p[0] <= '2' || p[0] == '9') ? SV_GS1_OK : SV_GS1_ERR_CODE_LIST;
}


static sv_gs1_error_t
sv_lint_media(const uint8_t *p, size_t len, size_t *at)
{
    unsigned  code;

    (void) at;

    code = sv_number(p, len);

    return ((code >= 1 && code <= 10) || code >= 80) ? SV_GS1_OK
                                                     : SV_GS1_ERR_CODE_LIST;
}


static sv_gs1_error_t
sv_lint_package(const uint8_t *p, size_t len, size_t *at)
{
    (void) at;

    return sv_gs1_is_package(p, len) ? SV_GS1_OK : SV_GS1_ERR_CODE_LIST;
}


static sv_gs1_error_t
sv_lint_hyphen(const uint8_t *p, size_t len, size_t *at)
{
    (void) len;
    (void) at;

    return (p[0] == '-') ? SV_GS1_OK : SV_GS1_ERR_CHARSET;
}


static sv_gs1_error_t
sv_lint_importer(const uint8_t *p, size_t len, size_t *at)
{
    (void) len;
    (void) at;

    return ((sv_gs1_class[p[0]] & SV_GS1_Z) && p[0] != '=') ? SV_GS1_OK
                                                   : SV_GS1_ERR_CHARSET;
}


/* text that is percent-encoded inside the value */
static sv_gs1_error_t
sv_lint_pcenc(const uint8_t *p, size_t len, size_t *at)
{
    size_t  i;

    for (i = 0; i < len; i++) {

        if (p[i] != '%') {
            continue;
        }

        if (len - i < 3 || sv_gs1_hex(p[i + 1]) < 0 || sv_gs1_hex(p[i + 2]) < 0)
        {
            *at = i;
            return SV_GS1_ERR_VALUE_ESCAPE;
        }

        i += 2;
    }

    return SV_GS1_OK;
}


static sv_gs1_error_t
sv_lint_latitude(const uint8_t *p, size_t len, size_t *at)
{
    (void) len;

    return sv_lint_limit(p, UINT64_C(1800000000), at);
}


static sv_gs1_error_t
sv_lint_longitude(const uint8_t *p, size_t len, size_t *at)
{
    (void) len;

    return sv_lint_limit(p, UINT64_C(3600000000), at);
}


static sv_gs1_error_t
sv_lint_limit(const uint8_t *p, uint64_t limit, size_t *at)
{
    uint64_t  value;

    value = (uint64_t) sv_number(p, 5) * 100000 + sv_number(p + 5, 5);
    *at = 0;

    return (value <= limit) ? SV_GS1_OK : SV_GS1_ERR_POSITION;
}


/* "1/2": the first of two */
static sv_gs1_error_t
sv_lint_sequence(const uint8_t *p, size_t len, size_t *at)
{
    (void) len;
    (void) at;

    return (p[0] >= '1' && p[0] <= '9' && p[1] == '/' && p[2] >= p[0]
            && p[2] <= '9') ? SV_GS1_OK : SV_GS1_ERR_SEQUENCE;
}


/* base64: padding may be left out, but where it stands it has to be right */
static sv_gs1_error_t
sv_lint_base64(const uint8_t *p, size_t len, size_t *at)
{
    size_t  i;

    for (i = 0; i < len && p[i] != '='; i++) { /* void */ }

    *at = i;

    if (i == len) {
        return SV_GS1_OK;
    }

    return (len - i == 1 || (len - i == 2 && p[i + 1] == '=')) && len % 3 == 0
           ? SV_GS1_OK : SV_GS1_ERR_CHARSET;
}


static unsigned
sv_number(const uint8_t *p, size_t len)
{
    unsigned  value;

    value = 0;

    while (len--) {
        value = value * 10 + (*p++ - '0');
    }

    return value;
}


const sv_gs1_lint_pt  sv_gs1_lints[SV_GS1_LINT_MAX] = {
    [SV_GS1_LINT_CSUM] = sv_lint_csum,
    [SV_GS1_LINT_KEY] = sv_lint_key,
    [SV_GS1_LINT_CSUMALPHA] = sv_lint_csumalpha,
    [SV_GS1_LINT_MUDI] = sv_lint_mudi,
    [SV_GS1_LINT_YYMMD0] = sv_lint_yymmd0,
    [SV_GS1_LINT_YYMMDD] = sv_lint_yymmdd,
    [SV_GS1_LINT_YYYYMMDD] = sv_lint_yyyymmdd,
    [SV_GS1_LINT_HHMM] = sv_lint_hhmm,
    [SV_GS1_LINT_HH] = sv_lint_hh,
    [SV_GS1_LINT_SIXTY] = sv_lint_sixty,
    [SV_GS1_LINT_COUNTRY] = sv_lint_country,
    [SV_GS1_LINT_COUNTRY999] = sv_lint_country999,
    [SV_GS1_LINT_ALPHA2] = sv_lint_alpha2,
    [SV_GS1_LINT_CURRENCY] = sv_lint_currency,
    [SV_GS1_LINT_PIECE] = sv_lint_piece,
    [SV_GS1_LINT_IBAN] = sv_lint_iban,
    [SV_GS1_LINT_ZERO] = sv_lint_zero,
    [SV_GS1_LINT_NONZERO] = sv_lint_nonzero,
    [SV_GS1_LINT_NOZEROPREFIX] = sv_lint_nozeroprefix,
    [SV_GS1_LINT_YESNO] = sv_lint_yesno,
    [SV_GS1_LINT_WINDING] = sv_lint_winding,
    [SV_GS1_LINT_SEX] = sv_lint_sex,
    [SV_GS1_LINT_MEDIA] = sv_lint_media,
    [SV_GS1_LINT_PACKAGE] = sv_lint_package,
    [SV_GS1_LINT_HYPHEN] = sv_lint_hyphen,
    [SV_GS1_LINT_IMPORTER] = sv_lint_importer,
    [SV_GS1_LINT_PCENC] = sv_lint_pcenc,
    [SV_GS1_LINT_LATITUDE] = sv_lint_latitude,
    [SV_GS1_LINT_LONGITUDE] = sv_lint_longitude,
    [SV_GS1_LINT_SEQUENCE] = sv_lint_sequence,
    [SV_GS1_LINT_BASE64] = sv_lint_base64,
    [SV_GS1_LINT_COUPON] = sv_gs1_lint_coupon,
    [SV_GS1_LINT_OFFER] = sv_gs1_lint_offer
};
