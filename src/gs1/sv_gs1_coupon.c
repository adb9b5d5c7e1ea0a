/*
 * North American coupons, AI 8110 and 8112: digits in fields whose lengths
 * are digits themselves.
 */

#include "sv_gs1_core.h"


typedef struct {
    const uint8_t  *p;
    size_t          len;
    size_t          at;
    int             bad;
} sv_coupon_t;


static unsigned sv_coupon_digit(sv_coupon_t *coupon, const char *allowed);
static void sv_coupon_skip(sv_coupon_t *coupon, size_t n);
static void sv_coupon_purchase(sv_coupon_t *coupon);
static void sv_coupon_prefix(sv_coupon_t *coupon);
static unsigned sv_coupon_date(sv_coupon_t *coupon);
static int sv_coupon_option(sv_coupon_t *coupon, uint8_t option);
static sv_gs1_error_t sv_coupon_end(const sv_coupon_t *coupon, size_t *at);
static void sv_coupon_begin(sv_coupon_t *coupon, const uint8_t *p, size_t len);


sv_gs1_error_t
sv_gs1_lint_coupon(const uint8_t *p, size_t len, size_t *at)
{
    unsigned     expires, starts;
    sv_coupon_t  coupon;

    sv_coupon_begin(&coupon, p, len);

    sv_coupon_skip(&coupon, 6 + sv_coupon_digit(&coupon, "0123456"));
    sv_coupon_skip(&coupon, 6);                         /* offer code */
    sv_coupon_skip(&coupon, sv_coupon_digit(&coupon, "12345"));  /* saved */
    sv_coupon_purchase(&coupon);

    if (sv_coupon_option(&coupon, '1')) {               /* second purchase */
        sv_coupon_digit(&coupon, "0123");
        sv_coupon_purchase(&coupon);
        sv_coupon_prefix(&coupon);
    }

    if (sv_coupon_option(&coupon, '2')) {               /* third purchase */
        sv_coupon_purchase(&coupon);
        sv_coupon_prefix(&coupon);
    }

    expires = sv_coupon_option(&coupon, '3') ? sv_coupon_date(&coupon) : 0;
    starts = sv_coupon_option(&coupon, '4') ? sv_coupon_date(&coupon) : 0;

    if (expires && starts > expires) {
        coupon.bad = 1;
    }

    if (sv_coupon_option(&coupon, '5')) {               /* serial */
        sv_coupon_skip(&coupon, 6 + sv_coupon_digit(&coupon, "0123456789"));
    }

    if (sv_coupon_option(&coupon, '6')) {               /* retailer */
        sv_coupon_skip(&coupon, 6 + sv_coupon_digit(&coupon, "1234567"));
    }

    if (sv_coupon_option(&coupon, '9')) {               /* flags */
        sv_coupon_digit(&coupon, "01256");
        sv_coupon_digit(&coupon, "012");
        sv_coupon_skip(&coupon, 1);
        sv_coupon_digit(&coupon, "01");
    }

    return sv_coupon_end(&coupon, at);
}


sv_gs1_error_t
sv_gs1_lint_offer(const uint8_t *p, size_t len, size_t *at)
{
    sv_coupon_t  coupon;

    sv_coupon_begin(&coupon, p, len);

    sv_coupon_digit(&coupon, "01");                     /* format */
    sv_coupon_skip(&coupon, 6 + sv_coupon_digit(&coupon, "0123456"));
    sv_coupon_skip(&coupon, 6);                         /* offer code */
    sv_coupon_skip(&coupon, 6 + sv_coupon_digit(&coupon, "0123456789"));

    return sv_coupon_end(&coupon, at);
}


static void
sv_coupon_begin(sv_coupon_t *coupon, const uint8_t *p, size_t len)
{
    size_t  i;

    coupon->p = p;
    coupon->len = len;
    coupon->at = 0;
    coupon->bad = 0;

    for (i = 0; i < len; i++) {
        if (!(sv_gs1_class[p[i]] & SV_GS1_N)) {
            coupon->at = i;
            coupon->bad = 1;
            return;
        }
    }
}


static sv_gs1_error_t
sv_coupon_end(const sv_coupon_t *coupon, size_t *at)
{
    *at = coupon->at;

    return (coupon->bad || coupon->at != coupon->len) ? SV_GS1_ERR_COUPON
                                                      : SV_GS1_OK;
}


static unsigned
sv_coupon_digit(sv_coupon_t *coupon, const char *allowed)
{
    uint8_t  c;

    if (coupon->bad || coupon->at == coupon->len) {
        coupon->bad = 1;
        return 0;
    }

    c = coupon->p[coupon->at];

    if (strchr(allowed, c) == NULL) {
        coupon->bad = 1;
        return 0;
    }

    coupon->at++;

    return c - '0';
}


static void
sv_coupon_skip(sv_coupon_t *coupon, size_t n)
{
    if (coupon->bad || coupon->len - coupon->at < n) {
        coupon->bad = 1;
        return;
    }

    coupon->at += n;
}


/* the requirement, its kind, the family code */
static void
sv_coupon_purchase(sv_coupon_t *coupon)
{
    sv_coupon_skip(coupon, sv_coupon_digit(coupon, "12345"));
    sv_coupon_digit(coupon, "012349");
    sv_coupon_skip(coupon, 3);
}


/* the company prefix of a further purchase; 9: the same as the first */
static void
sv_coupon_prefix(sv_coupon_t *coupon)
{
    unsigned  length;

    length = sv_coupon_digit(coupon, "01234569");

    if (length != 9) {
        sv_coupon_skip(coupon, 6 + length);
    }
}


static unsigned
sv_coupon_date(sv_coupon_t *coupon)
{
    size_t          i, at;
    unsigned        date;
    const uint8_t  *p;

    p = coupon->p + coupon->at;
    sv_coupon_skip(coupon, 6);

    if (coupon->bad) {
        return 0;
    }

    if (sv_gs1_lints[SV_GS1_LINT_YYMMDD](p, 6, &at)) {
        coupon->at -= 6;
        coupon->bad = 1;
        return 0;
    }

    date = 0;

    for (i = 0; i < 6; i++) {
        date = date * 10 + (p[i] - '0');
    }

    return date;
}


static int
sv_coupon_option(sv_coupon_t *coupon, uint8_t option)
{
    if (coupon->bad || coupon->at == coupon->len
        || coupon->p[coupon->at] != option)
    {
        return 0;
    }

    coupon->at++;

    return 1;
}
