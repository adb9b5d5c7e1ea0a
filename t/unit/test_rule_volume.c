/* rule scan_volume */

#include "sv_test_rules.h"

#include <stdio.h>
#include <string.h>


/* a session in January, at hour and minute of a day; a place is AT or FI */
static void
look(sv_rules_t *rules, int day, int hour, int minute, const char *country)
{
    static unsigned  session;

    sv_rules_line(rules, "{\"time\":\"2026-01-%02dT%02d:%02d:00Z\",\"serial\":\"A1\",\"operation\":\"verify\","
                  "\"actor_kind\":\"consumer\",\"session\":\"%016x\",\"country\":\"%s\",\"lat\":%s,"
                  "\"accuracy_km\":20,\"outcome\":\"ok\"}",
                  day, hour, minute, ++session, country,
                  strcmp(country, "AT") == 0 ? "47.7,\"lon\":14.5" : "61.9,\"lon\":25.5");
}


static void
test_copies(void **state)
{
    int         day;
    sv_rules_t  rules;

    (void) state;

    /* to and fro, and on three days at both places sooner than anybody flies */
    sv_rules_begin(&rules);

    for (day = 5; day <= 7; day++) {
        look(&rules, day, 9, 0, "AT");
        look(&rules, day, 10, 10, "FI");
        look(&rules, day, 20, 0, day == 6 ? "AT" : "FI");
    }

    look(&rules, 9, 12, 0, "AT");
    sv_rules_end(&rules);

    assert_int_equal(sv_rules_asking(&rules), 1);
    assert_string_equal(sv_rules_case(&rules, "scan_volume")->cause, "clone");
}


/* Two places, for ten days; with `between', at the other one some hours after the first, as nobody would send a link on. */
static unsigned
commuted(int between)
{
    sv_rules_t  rules;

    sv_rules_begin(&rules);
    look(&rules, 5, 9, 0, "AT");
    look(&rules, 6, 9, 0, "AT");

    if (between) {
        look(&rules, 6, 11, 30, "FI");
    }

    look(&rules, 7, 9, 0, "AT");
    look(&rules, 8, 9, 0, "FI");
    look(&rules, 10, 9, 0, "AT");
    look(&rules, 12, 9, 0, "FI");
    look(&rules, 14, 9, 0, "AT");
    sv_rules_end(&rules);

    return sv_rules_asking(&rules);
}


static void
test_two_places(void **state)
{
    (void) state;

    assert_int_equal(commuted(1), 1);
    assert_int_equal(commuted(0), 0);
}


/* one scan, a day for each country named, so many hours after the one before */
static unsigned
toured(const char *countries, unsigned hours)
{
    unsigned    n;
    sv_rules_t  rules;

    sv_rules_begin(&rules);

    for (n = 0; *countries != '\0'; countries += 2, n++) {
        sv_rules_line(&rules, "{\"time\":\"2026-01-%02uT%02u:00:00Z\",\"serial\":\"A1\",\"operation\":\"verify\","
                      "\"actor_kind\":\"consumer\",\"session\":\"s%u\",\"country\":\"%.2s\",\"outcome\":\"ok\"}",
                      5 + n * hours / 24, n * hours % 24, n, countries);
    }

    sv_rules_end(&rules);

    return sv_rules_asking(&rules);
}


static void
test_tour(void **state)
{
    (void) state;

    assert_int_equal(toured("ATFIPTGR", 10), 1);
    assert_int_equal(toured("ATFIPTAT", 10), 0);
    assert_int_equal(toured("ATFIPTGR", 3), 0);     /* over within the day: a link */
    assert_int_equal(toured("ATFIPTGR", 48), 0);    /* a journey */
}


/* ten hours apart each, but the fifth, and from then on, `minutes' after the one before */
static unsigned
changed(const char *countries, unsigned minutes)
{
    unsigned    n, at;
    sv_rules_t  rules;

    sv_rules_begin(&rules);

    for (n = 0; countries[2 * n] != '\0'; n++) {
        at = n * 600 - (n < 4 ? 0 : 600 - minutes);
        sv_rules_line(&rules, "{\"time\":\"2026-01-%02uT%02u:%02u:00Z\",\"serial\":\"A1\",\"operation\":\"verify\","
                      "\"actor_kind\":\"consumer\",\"session\":\"s%u\",\"country\":\"%.2s\",\"outcome\":\"ok\"}",
                      5 + at / 1440, at % 1440 / 60, at % 60, n, &countries[2 * n]);
    }

    sv_rules_end(&rules);

    return sv_rules_asking(&rules);
}


static void
test_changes(void **state)
{
    (void) state;

    assert_int_equal(changed("ATFIATFIPTAT", 45), 1);
    assert_int_equal(changed("ATFIATFIPTAT", 300), 0);      /* nothing that nobody can have travelled */
    assert_int_equal(changed("ATFIATFIATAT", 45), 0);       /* two places */
    assert_int_equal(changed("ATATFIATPTAT", 45), 0);       /* one journey, one place that was guessed */
    assert_int_equal(changed("ATFIATFIPTAT", 10), 0);       /* a link that was sent on */
}


/* A link among friends in three towns of a country, after its previews; and the same on two days. */
static void
test_sent_on(void **state)
{
    unsigned    days, n;
    sv_rules_t  rules;

    static const struct { unsigned minutes; const char *country, *lat; }  at[] = {
        { 0, "US", "42.0,\"lon\":-87.6" }, { 18, "ES", "37.4,\"lon\":-5.9" }, { 36, "ES", "41.4,\"lon\":2.2" },
        { 54, "ES", "43.4,\"lon\":-8.4" }
    };

    (void) state;

    for (days = 1; days <= 2; days++) {
        sv_rules_begin(&rules);

        for (n = 0; n < 4 * days; n++) {
            sv_rules_line(&rules, "{\"time\":\"2026-01-%02uT19:%02u:00Z\",\"serial\":\"A1\",\"operation\":\"verify\","
                          "\"actor_kind\":\"consumer\",\"session\":\"s%u\",\"country\":\"%s\",\"lat\":%s,\"accuracy_km\":20,"
                          "\"outcome\":\"ok\"}", 5 + n / 4, at[n % 4].minutes, n, at[n % 4].country, at[n % 4].lat);
        }

        sv_rules_end(&rules);
        assert_int_equal(sv_rules_asking(&rules), days - 1);
    }
}


/* a place a day, and one change that nobody can have travelled */
static void
test_countries(void **state)
{
    unsigned    k, n;
    sv_rules_t  rules;

    static const char *const  countries[] = { "ESROESRUNG", "ESROESRORU", "ESROESRU" };

    (void) state;

    for (k = 0; k < 3; k++) {
        sv_rules_begin(&rules);

        for (n = 0; countries[k][2 * n] != '\0'; n++) {
            sv_rules_line(&rules, "{\"time\":\"2026-01-%02uT12:%02u:00Z\",\"serial\":\"A1\",\"operation\":\"verify\","
                          "\"actor_kind\":\"consumer\",\"session\":\"s%u\",\"country\":\"%.2s\",\"outcome\":\"ok\"}",
                          5 + 2 * (n < 4 ? n : 3), n < 4 ? 0 : 49, n, &countries[k][2 * n]);
        }

        sv_rules_end(&rules);
        assert_int_equal(sv_rules_asking(&rules), k == 0);      /* four countries and a hop; three; no hop */
    }
}


/* twelve sessions, so many hours apart, in a row of towns that is walked round and round */
static const sv_rules_case_t *
spread(sv_rules_t *rules, unsigned towns, unsigned hours)
{
    char      lat[16];
    unsigned  n;

    sv_rules_begin(rules);

    for (n = 0; n < 12; n++) {
        snprintf(lat, sizeof(lat), n > 0 ? "%u.5" : "null", 46 + n % towns);    /* what is not known hides nothing */
        sv_rules_line(rules, "{\"time\":\"2026-01-%02uT%02u:00:00Z\",\"serial\":\"A1\",\"operation\":\"verify\","
                      "\"actor_kind\":\"consumer\",\"session\":\"s%u\",\"country\":\"DE\",\"lat\":%s,\"lon\":10,"
                      "\"accuracy_km\":20,\"outcome\":\"ok\"}",
                      5 + n * hours / 24, n * hours % 24, n, lat);
    }

    sv_rules_end(rules);

    return sv_rules_case(rules, "scan_volume");
}


/* Of one country, too: many places are neither a display nor a traveller; an evening is a link. */
static void
test_towns(void **state)
{
    sv_rules_t  rules;

    (void) state;

    assert_int_equal(spread(&rules, 7, 5)->weight, SVW_WEIGHT_ASKS);
    assert_int_equal(spread(&rules, 1, 5)->weight, SVW_WEIGHT_EXPLAINED);
    assert_int_equal(spread(&rules, 3, 5)->weight, SVW_WEIGHT_EXPLAINED);
    assert_int_equal(spread(&rules, 7, 1)->weight, SVW_WEIGHT_EXPLAINED);
}


static void
test_traveller(void **state)
{
    int         day;
    sv_rules_t  rules;

    (void) state;

    /* the same person each evening, a week of them away */
    sv_rules_begin(&rules);

    for (day = 1; day <= 20; day++) {
        look(&rules, day, 19, 0, day >= 8 && day <= 14 ? "FI" : "AT");
    }

    sv_rules_end(&rules);

    assert_int_equal(sv_rules_asking(&rules), 0);
    assert_string_equal(sv_rules_case(&rules, "scan_volume")->cause, "traveller");
}


static void
test_link(void **state)
{
    int         minute;
    sv_rules_t  rules;

    (void) state;

    /* a link among friends in two countries, in one evening */
    sv_rules_begin(&rules);

    for (minute = 0; minute < 24; minute++) {
        look(&rules, 5, 18 + minute / 12, minute * 5 % 60, minute % 3 == 0 ? "FI" : "AT");
    }

    sv_rules_end(&rules);

    assert_int_equal(sv_rules_asking(&rules), 0);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_two_places),
        cmocka_unit_test(test_tour),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_sent_on),
        cmocka_unit_test(test_countries),
        cmocka_unit_test(test_towns),
        cmocka_unit_test(test_traveller),
        cmocka_unit_test(test_link),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
