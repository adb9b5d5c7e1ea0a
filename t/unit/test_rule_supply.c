/* rules supply_of_inactive and dead_pack */

#include "sv_test_judge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>


static void
test_reused(void **state)
{
    judged_t  *j;

    (void) state;

    j = judged_new();
    scan(j, .serial = "A1", .lot = "L1", .op = SVW_OP_SUPPLY, .actor = "P1");
    scan(j, .serial = "A1", .lot = "L1", .op = SVW_OP_SUPPLY, .actor = "P2", .reason = "already_supplied");
    assert_cases(j, "supply_of_inactive high asks reused_pack A1 1,2 @2");

    /* the order of arrival says when, not what */
    j = judged_new();
    scan(j, .serial = "A1", .lot = "L1", .op = SVW_OP_SUPPLY, .actor = "P2", .reason = "already_supplied", .minutes = 20);
    scan(j, .serial = "A1", .lot = "L1", .op = SVW_OP_SUPPLY, .actor = "P1", .minutes = 10);
    assert_cases(j, "supply_of_inactive high asks reused_pack A1 1,2 @1");

    /* live: the database knows who supplied it */
    j = judged_new();
    scan(j, .serial = "A1", .lot = "L1", .op = SVW_OP_SUPPLY, .actor = "P2", .reason = "already_supplied", .before = "P1");
    assert_cases(j, "supply_of_inactive high asks reused_pack A1 1 @1");

    /* a second supply of one pack, a pack of its own another */
    j = judged_new();
    scan(j, .serial = "A1", .lot = "L1", .op = SVW_OP_SUPPLY, .actor = "P1");
    scan(j, .serial = "A2", .lot = "L1", .op = SVW_OP_SUPPLY, .actor = "P2");
    assert_cases(j, "");
}


static void
test_split(void **state)
{
    judged_t  *j;

    (void) state;

    j = judged_new();
    scan(j, .serial = "A1", .op = SVW_OP_SUPPLY, .actor = "P1");
    scan(j, .serial = "A1", .op = SVW_OP_SUPPLY, .actor = "P1", .reason = "already_supplied_here");
    assert_cases(j, "");

    j = judged_new();
    scan(j, .serial = "A1", .op = SVW_OP_SUPPLY, .actor = "P1");
    scan(j, .serial = "A1", .op = SVW_OP_SUPPLY, .actor = "P1", .reason = "already_supplied");
    assert_cases(j, "supply_of_inactive low explained split_pack A1 1,2 @1");

    /* its supply was before the beginning of history */
    j = judged_new();
    scan(j, .serial = "A1", .op = SVW_OP_SUPPLY, .actor = "P1", .reason = "already_supplied_here");
    scan(j, .serial = "A1", .op = SVW_OP_SUPPLY, .actor = "P1", .reason = "already_supplied");
    assert_cases(j, "supply_of_inactive low explained split_pack A1 2 @2");

    j = judged_new();
    scan(j, .serial = "A1", .op = SVW_OP_SUPPLY, .actor = "P1", .reason = "already_supplied");
    assert_cases(j, "supply_of_inactive high asks reused_pack A1 1 @1");
}


/* Who splits a pack comes a few times more than he may; who fills it again goes on. */
static void
test_repeated(void **state)
{
    char       serial[4];
    judged_t  *j;
    unsigned   i, k;

    (void) state;

    for (k = 3; k <= 4; k++) {
        j = judged_new();
        scan(j, .serial = "A1", .lot = "L1", .op = SVW_OP_SUPPLY, .actor = "P1", .minutes = 1);

        for (i = 1; i <= k; i++) {
            scan(j, .serial = "A1", .lot = "L1", .op = SVW_OP_SUPPLY, .actor = "P1", .reason = "already_supplied", .minutes = i * 1440);
        }

        assert_cases(j, k == 3 ? "supply_of_inactive low explained split_pack A1 1,2,3,4 @1"
                               : "supply_of_inactive medium asks reused_pack A1 1,2,3,4,5 @5");
    }

    /* tried again: one visit */
    j = judged_new();
    scan(j, .serial = "A1", .lot = "L1", .op = SVW_OP_SUPPLY, .actor = "P1", .minutes = 1);

    for (i = 0; i < 5; i++) {
        scan(j, .serial = "A1", .lot = "L1", .op = SVW_OP_SUPPLY, .actor = "P1", .reason = "already_supplied", .minutes = 1440 + i);
    }

    assert_cases(j, "supply_of_inactive low explained split_pack A1 1,2,3,4,5,6 @1");

    /* several packs of a lot, each twice: at one site, and in no other order */
    for (k = 2; k <= 3; k++) {
        j = judged_new();

        for (i = 0; i < 3 * k; i++) {
            snprintf(serial, sizeof(serial), "A%u", 1 + i % k);
            scan(j, .serial = serial, .lot = "L1", .op = SVW_OP_SUPPLY, .actor = "P1", .reason = i < k ? NULL : "already_supplied",
                 .minutes = 10 + i / k * 1440);
        }

        assert_cases(j, k == 2 ? "supply_of_inactive low explained split_pack A1,A2 1,2,3,4,5,6 @1"
                               : "supply_of_inactive medium asks reused_pack A1,A2,A3 1,2,3,4,5,6,7,8,9 @9");
    }
}


/* By the time of the event the pack had been brought back; that was told later. */
static void
test_undone(void **state)
{
    judged_t  *j;

    (void) state;

    j = judged_new();
    scan(j, .serial = "A1", .op = SVW_OP_SUPPLY, .actor = "P1", .minutes = 10);
    scan(j, .serial = "A1", .op = SVW_OP_SUPPLY, .actor = "P2", .reason = "already_supplied", .minutes = 30);
    scan(j, .serial = "A1", .op = SVW_OP_UNDO, .actor = "P1", .minutes = 20);
    assert_cases(j, "supply_of_inactive low explained undone_late A1 1,2,3 @1");

    /* after it, or supplied once more */
    j = judged_new();
    scan(j, .serial = "A1", .op = SVW_OP_SUPPLY, .actor = "P1", .minutes = 10);
    scan(j, .serial = "A1", .op = SVW_OP_SUPPLY, .actor = "P2", .reason = "already_supplied", .minutes = 30);
    scan(j, .serial = "A1", .op = SVW_OP_UNDO, .actor = "P1", .minutes = 40);
    assert_cases(j, "supply_of_inactive high asks reused_pack A1 1,2 @2");

    j = judged_new();
    scan(j, .serial = "A1", .op = SVW_OP_SUPPLY, .actor = "P1", .minutes = 10);
    scan(j, .serial = "A1", .op = SVW_OP_UNDO, .actor = "P1", .minutes = 20);
    scan(j, .serial = "A1", .op = SVW_OP_SUPPLY, .actor = "P1", .minutes = 25);
    scan(j, .serial = "A1", .op = SVW_OP_SUPPLY, .actor = "P2", .reason = "already_supplied", .minutes = 30);
    assert_cases(j, "supply_of_inactive high asks reused_pack A1 1,3,4 @4");
}


static void
test_locked(void **state)
{
    judged_t  *j;

    (void) state;

    j = judged_new();
    scan(j, .serial = "A1", .op = SVW_OP_LOCK, .actor = "W1", .kind = SVW_ACTOR_WHOLESALER);
    scan(j, .serial = "A1", .op = SVW_OP_SUPPLY, .actor = "P1", .reason = "locked");
    assert_cases(j, "supply_of_inactive medium asks locked_pack A1 1,2 @2");

    /* by itself, only looked at, by who made it, unlocked again */
    j = judged_new();
    scan(j, .serial = "A1", .op = SVW_OP_LOCK, .actor = "P1");
    scan(j, .serial = "A1", .op = SVW_OP_SUPPLY, .actor = "P1", .reason = "locked");
    scan(j, .serial = "A1", .actor = "P2", .reason = "locked");
    assert_cases(j, "");

    j = judged_new();
    scan(j, .serial = "A1", .op = SVW_OP_LOCK, .actor = "M1", .kind = SVW_ACTOR_MANUFACTURER);
    scan(j, .serial = "A1", .op = SVW_OP_SUPPLY, .actor = "P1", .reason = "locked");
    assert_cases(j, "");

    j = judged_new();
    scan(j, .serial = "A1", .op = SVW_OP_LOCK, .actor = "W1", .minutes = 1);
    scan(j, .serial = "A1", .op = SVW_OP_SUPPLY, .actor = "P1", .reason = "locked", .minutes = 9);
    scan(j, .serial = "A1", .op = SVW_OP_UNDO, .actor = "W1", .minutes = 5);
    assert_cases(j, "");
}


/* Copies are supplied far from each other, a pack that is filled again near; of a dead one that is the cause. */
static void
test_cause(void **state)
{
    judged_t  *j;

    (void) state;

    j = judged_new();
    scan(j, .serial = "A1", .op = SVW_OP_SUPPLY, .actor = "P1", .country = "DE", .minutes = 1);
    scan(j, .serial = "A1", .op = SVW_OP_SUPPLY, .actor = "P2", .country = "FR", .reason = "already_supplied", .minutes = 3000);
    assert_cases(j, "supply_of_inactive high asks clone A1 1,2 @2");

    j = judged_new();
    scan(j, .serial = "A1", .op = SVW_OP_SUPPLY, .actor = "P1");
    scan(j, .serial = "A1", .op = SVW_OP_SUPPLY, .actor = "P2", .reason = "already_supplied");
    scan(j, .serial = "A1", .op = SVW_OP_SUPPLY, .actor = "P3", .reason = "already_supplied");
    scan(j, .serial = "A1", .op = SVW_OP_SUPPLY, .actor = "P4", .reason = "already_supplied");
    assert_cases(j, "supply_of_inactive high asks clone A1 1,2,3,4 @2");

    j = judged_new();
    scan(j, .serial = "A1", .op = SVW_OP_SAMPLE, .actor = "P1", .country = "DE");
    scan(j, .serial = "A1", .op = SVW_OP_SUPPLY, .actor = "P2", .country = "FR", .reason = "sample");
    assert_cases(j, "supply_of_inactive high asks sample_sold A1 1,2 @2");
}


static void
test_hub(void **state)
{
    judged_t  *j;

    (void) state;

    j = judged_new();
    site(j, .actor = "H1", .country = "DE", .lat = 52.5, .lon = 13.4, .kind = SVW_ACTOR_HOSPITAL);
    site(j, .actor = "H2", .country = "DE", .lat = 52.6, .lon = 13.4, .kind = SVW_ACTOR_HOSPITAL);
    scan(j, .serial = "A1", .op = SVW_OP_SUPPLY, .actor = "H1", .kind = SVW_ACTOR_HOSPITAL);
    scan(j, .serial = "A1", .op = SVW_OP_SUPPLY, .actor = "H2", .kind = SVW_ACTOR_HOSPITAL, .reason = "already_supplied");
    assert_cases(j, "supply_of_inactive low explained hospital_hub A1 3,4 @3");

    /* several packs */
    j = judged_new();
    site(j, .actor = "H1", .country = "DE", .lat = 52.5, .lon = 13.4, .kind = SVW_ACTOR_HOSPITAL);
    site(j, .actor = "H2", .country = "DE", .lat = 52.6, .lon = 13.4, .kind = SVW_ACTOR_HOSPITAL);
    scan(j, .serial = "A1", .lot = "L1", .op = SVW_OP_SUPPLY, .actor = "H1", .kind = SVW_ACTOR_HOSPITAL);
    scan(j, .serial = "A2", .lot = "L1", .op = SVW_OP_SUPPLY, .actor = "H1", .kind = SVW_ACTOR_HOSPITAL);
    scan(j, .serial = "A1", .lot = "L1", .op = SVW_OP_SUPPLY, .actor = "H2", .kind = SVW_ACTOR_HOSPITAL, .reason = "already_supplied");
    scan(j, .serial = "A2", .lot = "L1", .op = SVW_OP_SUPPLY, .actor = "H2", .kind = SVW_ACTOR_HOSPITAL, .reason = "already_supplied");
    assert_cases(j, "supply_of_inactive low explained hospital_hub A1,A2 3,4,5,6 @3");

    /* not of a pharmacy */
    j = judged_new();
    site(j, .actor = "H1", .country = "DE", .lat = 52.5, .lon = 13.4, .kind = SVW_ACTOR_HOSPITAL);
    site(j, .actor = "P2", .country = "DE", .lat = 52.6, .lon = 13.4);
    scan(j, .serial = "A1", .op = SVW_OP_SUPPLY, .actor = "H1", .kind = SVW_ACTOR_HOSPITAL);
    scan(j, .serial = "A1", .op = SVW_OP_SUPPLY, .actor = "P2", .reason = "already_supplied");
    assert_cases(j, "supply_of_inactive high asks reused_pack A1 3,4 @4");
}


static void
test_verified(void **state)
{
    judged_t  *j;

    (void) state;

    j = judged_new();
    scan(j, .serial = "A1", .op = SVW_OP_SUPPLY, .actor = "P1");
    scan(j, .serial = "A1", .actor = "P2", .reason = "already_supplied");
    assert_cases(j, "supply_of_inactive info info returned_pack A1 1,2 @1");

    j = judged_new();
    scan(j, .serial = "A1", .op = SVW_OP_SUPPLY, .actor = "P1");
    scan(j, .serial = "A1", .actor = "P2", .reason = "already_supplied");
    scan(j, .serial = "A1", .actor = "P3", .reason = "already_supplied");
    assert_cases(j, "supply_of_inactive medium asks reused_pack A1 1,2,3 @3");

    /* who takes packs back to destroy them does not supply them */
    j = judged_new();
    scan(j, .serial = "A1", .op = SVW_OP_SUPPLY, .actor = "P1");
    scan(j, .serial = "A1", .op = SVW_OP_DESTROY, .actor = "P2", .reason = "already_supplied");
    assert_cases(j, "supply_of_inactive info info returned_pack A1 1,2 @1");

    j = judged_new();
    scan(j, .serial = "A1", .session = "s1", .reason = "already_supplied");
    scan(j, .serial = "A1", .actor = "P2", .op = SVW_OP_SUPPLY, .reason = "recalled");
    scan(j, .serial = "A1", .actor = "P2", .op = SVW_OP_SUPPLY, .reason = "locked");
    assert_cases(j, "");
}


static void
test_dead(void **state)
{
    judged_t  *j;

    (void) state;

    j = judged_new();
    scan(j, .serial = "A1", .lot = "L1", .op = SVW_OP_DESTROY, .actor = "W1");
    scan(j, .serial = "A1", .lot = "L1", .actor = "P2", .reason = "destroyed");
    assert_cases(j, "dead_pack high asks destroyed_pack A1 1,2 @2");

    j = judged_new();
    scan(j, .serial = "A1", .lot = "L1", .op = SVW_OP_DESTROY, .actor = "W1");
    scan(j, .serial = "A1", .lot = "L1", .actor = "W1", .reason = "destroyed");
    assert_cases(j, "dead_pack info info destroyed_pack A1 1,2 @1");

    /* seen while it was alive, told when it was dead */
    j = judged_new();
    scan(j, .serial = "A1", .lot = "L1", .op = SVW_OP_DESTROY, .actor = "W1", .minutes = 20);
    scan(j, .serial = "A1", .lot = "L1", .actor = "P2", .reason = "destroyed", .minutes = 10);
    assert_cases(j, "dead_pack info info destroyed_pack A1 1,2 @1");

    /* a wrong list: one case, whatever the sites */
    j = judged_new();
    scan(j, .serial = "A1", .lot = "L1", .op = SVW_OP_DESTROY, .actor = "W1");
    scan(j, .serial = "A2", .lot = "L1", .op = SVW_OP_DESTROY, .actor = "W1");
    scan(j, .serial = "A1", .lot = "L1", .op = SVW_OP_SUPPLY, .actor = "P2", .reason = "destroyed");
    scan(j, .serial = "A2", .lot = "L1", .op = SVW_OP_SUPPLY, .actor = "P3", .reason = "destroyed");
    assert_cases(j, "dead_pack high asks destroyed_pack A1,A2 1,2,3,4 @3");
}


static void
test_dead_consumers(void **state)
{
    judged_t  *j;

    (void) state;

    j = judged_new();
    scan(j, .serial = "A1", .lot = "L1", .session = "s1", .country = "DE", .reason = "stolen");
    scan(j, .serial = "A1", .lot = "L1", .session = "s1", .country = "DE", .reason = "stolen");
    assert_cases(j, "dead_pack info info stolen_pack A1 1,2 @1");

    j = judged_new();
    scan(j, .serial = "A1", .lot = "L1", .session = "s1", .reason = "stolen");
    scan(j, .serial = "A1", .lot = "L1", .session = "s2", .reason = "stolen", .minutes = 3000);
    assert_cases(j, "dead_pack high asks stolen_pack A1 1,2 @2");

    j = judged_new();
    scan(j, .serial = "A1", .lot = "L1", .session = "s1", .reason = "stolen");
    scan(j, .serial = "A2", .lot = "L1", .session = "s2", .reason = "stolen");
    assert_cases(j, "dead_pack high asks stolen_pack A1,A2 1,2 @2");

    /* of whom nothing is known, it may be the same one each time */
    j = judged_new();
    scan(j, .serial = "A1", .lot = "L1", .country = "DE", .reason = "stolen");
    scan(j, .serial = "A1", .lot = "L1", .country = "DE", .reason = "stolen", .minutes = 3000);
    scan(j, .serial = "A2", .lot = "L1", .country = "DE", .reason = "stolen", .minutes = 3001);
    assert_cases(j, "dead_pack info info stolen_pack A1 1,2 @1\ndead_pack info info stolen_pack A2 3 @3");

    /* two that take turns are two */
    j = judged_new();
    judged_set(j, "dead_pack.sessions", "3");
    judged_set(j, "dead_pack.serials", "3");
    scan(j, .serial = "A1", .lot = "L1", .session = "s1", .reason = "stolen");
    scan(j, .serial = "A1", .lot = "L1", .session = "s2", .reason = "stolen", .minutes = 3000);
    scan(j, .serial = "A2", .lot = "L1", .session = "s1", .reason = "stolen", .minutes = 4000);
    scan(j, .serial = "A1", .lot = "L1", .session = "s1", .reason = "stolen", .minutes = 6000);
    scan(j, .serial = "A2", .lot = "L1", .session = "s2", .reason = "stolen", .minutes = 7000);
    assert_cases(j, "dead_pack info info stolen_pack A1 1,2,4 @1\ndead_pack info info stolen_pack A2 3,5 @3");

    /* exported: where it was sent it is at home */
    j = judged_new();
    scan(j, .serial = "A1", .lot = "L1", .op = SVW_OP_EXPORT, .actor = "W1", .country = "DE");
    scan(j, .serial = "A1", .lot = "L1", .actor = "P2", .country = "BR", .reason = "exported", .minutes = 3000);
    assert_cases(j, "");

    j = judged_new();
    scan(j, .serial = "A1", .lot = "L1", .op = SVW_OP_EXPORT, .actor = "W1", .country = "DE");
    scan(j, .serial = "A1", .lot = "L1", .actor = "P2", .country = "FR", .reason = "exported", .minutes = 3000);
    assert_cases(j, "dead_pack medium asks reimported_pack A1 1,2 @2");

    /* .. and not where it was sent from */
    j = judged_new();
    scan(j, .serial = "A1", .lot = "L1", .op = SVW_OP_EXPORT, .actor = "W1", .country = "TR");
    scan(j, .serial = "A1", .lot = "L1", .actor = "W2", .country = "TR", .reason = "exported", .minutes = 3000);
    assert_cases(j, "dead_pack medium asks reimported_pack A1 1,2 @2");
}


static void
test_commissioned_twice(void **state)
{
    judged_t  *j;

    (void) state;

    j = judged_new();
    made(j, .lot = "L1", .serials = "A1 A2 A3", .line = "N1");
    made(j, .lot = "L1", .serials = "A1 A2 A3", .line = "N1", .markets = "DE");
    assert_cases(j, "");

    j = judged_new();
    made(j, .lot = "L1", .serials = "A1 A2 A3", .line = "N1");
    made(j, .lot = "L2", .serials = "A2 A3 A4", .line = "N1");
    assert_cases(j, "duplicate_commissioning high asks serial_reused A2,A3 1,2 @2");

    j = judged_new();
    made(j, .lot = "L1", .serials = "A1", .expiry = "280331");
    made(j, .lot = "L1", .serials = "A1", .expiry = "280300");
    assert_cases(j, "");

    j = judged_new();
    made(j, .lot = "L1", .serials = "A1", .expiry = "280331");
    made(j, .lot = "L1", .serials = "A1", .expiry = "290331");
    assert_cases(j, "duplicate_commissioning high asks serial_reused A1 1,2 @2");

    j = judged_new();
    made(j, .lot = "L1", .serials = "A1", .line = "N1");
    made(j, .lot = "L1", .serials = "A1", .line = "N2", .minutes = 60);
    assert_cases(j, "");

    j = judged_new();
    made(j, .lot = "L1", .serials = "A1", .line = "N1");
    made(j, .lot = "L1", .serials = "A1", .line = "N2", .minutes = 6000);
    assert_cases(j, "duplicate_commissioning high asks line_repeated A1 1,2 @2");
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_reused),
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_repeated),
        cmocka_unit_test(test_undone),
        cmocka_unit_test(test_locked),
        cmocka_unit_test(test_cause),
        cmocka_unit_test(test_hub),
        cmocka_unit_test(test_verified),
        cmocka_unit_test(test_dead),
        cmocka_unit_test(test_dead_consumers),
        cmocka_unit_test(test_commissioned_twice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
