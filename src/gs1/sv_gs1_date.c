#include "sv_gs1_core.h"


#define SV_DAYS_400_YEARS  146097

static int sv_digits(const uint8_t *p, size_t n);


int
sv_gs1_leap_year(int year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}


unsigned
sv_gs1_month_days(int year, unsigned month)
{
    static const uint8_t  days[] = {
        31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31
    };

    if (month < 1 || month > 12) {
        return 0;
    }

    return days[month - 1] + (month == 2 && sv_gs1_leap_year(year));
}


sv_day_t
sv_gs1_date(sv_span_t yymmdd, sv_day_t today)
{
    int       year, month, day, this_year, distance;
    unsigned  last, unused;

    if (yymmdd.len != 6 || today == SV_DAY_NONE) {
        return SV_DAY_NONE;
    }

    year = sv_digits(yymmdd.data, 2);
    month = sv_digits(yymmdd.data + 2, 2);
    day = sv_digits(yymmdd.data + 4, 2);

    if (year < 0 || month < 1 || day < 0) {
        return SV_DAY_NONE;
    }

    /* 49 years back to 50 ahead, GS1 General Specifications 7.12 */

    sv_day_to_civil(today, &this_year, &unused, &unused);
    distance = year - this_year % 100;
    year += this_year - this_year % 100;

    if (distance >= 51) {
        year -= 100;

    } else if (distance <= -50) {
        year += 100;
    }

    last = sv_gs1_month_days(year, month);

    if (last == 0 || (unsigned) day > last) {
        return SV_DAY_NONE;
    }

    return sv_day_from_civil(year, month, day ? (unsigned) day : last);
}


/* days since 1970-01-01; the year begins in March, so the leap day is its last */
sv_day_t
sv_day_from_civil(int year, unsigned month, unsigned day)
{
    int       era;
    unsigned  of_era, of_year;

    if (year < 1 || year > 9999 || day < 1
        || day > sv_gs1_month_days(year, month))
    {
        return SV_DAY_NONE;
    }

    year -= (month <= 2);
    era = year / 400;
    of_era = year - era * 400;
    of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

    return era * SV_DAYS_400_YEARS
           + (int) (of_era * 365 + of_era / 4 - of_era / 100 + of_year)
           - 719468;
}


void
sv_day_to_civil(sv_day_t day, int *year, unsigned *month, unsigned *mday)
{
    int64_t   days, era;
    unsigned  of_era, year_of_era, of_year, from_march;

    days = (int64_t) day + 719468;
    era = (days >= 0 ? days : days - (SV_DAYS_400_YEARS - 1))
          / SV_DAYS_400_YEARS;
    of_era = days - era * SV_DAYS_400_YEARS;
    year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096)
                  / 365;
    of_year = of_era - (365 * year_of_era + year_of_era / 4
                        - year_of_era / 100);
    from_march = (5 * of_year + 2) / 153;

    *mday = of_year - (153 * from_march + 2) / 5 + 1;
    *month = (from_march < 10) ? from_march + 3 : from_march - 9;
    *year = (int) (era * 400 + year_of_era) + (*month <= 2);
}


void
sv_day_print(sv_day_t day, char out[SV_DAY_TEXT])
{
    int       year;
    unsigned  month, mday;

    sv_day_to_civil(day, &year, &month, &mday);

    if (year < 1 || year > 9999) {
        out[0] = '\0';
        return;
    }

    out[0] = '0' + year / 1000;
    out[1] = '0' + year / 100 % 10;
    out[2] = '0' + year / 10 % 10;
    out[3] = '0' + year % 10;
    out[4] = '-';
    out[5] = '0' + month / 10;
    out[6] = '0' + month % 10;
    out[7] = '-';
    out[8] = '0' + mday / 10;
    out[9] = '0' + mday % 10;
    out[10] = '\0';
}


sv_day_t
sv_day_parse(sv_span_t iso)
{
    int             year, month, day;
    const uint8_t  *p;

    p = iso.data;

    if (iso.len == 10 && p[4] == '-' && p[7] == '-') {
        month = sv_digits(p + 5, 2);
        day = sv_digits(p + 8, 2);

    } else if (iso.len == 8) {
        month = sv_digits(p + 4, 2);
        day = sv_digits(p + 6, 2);

    } else {
        return SV_DAY_NONE;
    }

    year = sv_digits(p, 4);

    if (year < 0 || month < 0 || day < 0) {
        return SV_DAY_NONE;
    }

    return sv_day_from_civil(year, month, day);
}


static int
sv_digits(const uint8_t *p, size_t n)
{
    int  value;

    value = 0;

    while (n--) {

        if (*p < '0' || *p > '9') {
            return -1;
        }

        value = value * 10 + (*p++ - '0');
    }

    return value;
}
