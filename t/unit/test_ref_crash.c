/*
 * src/model/sv_ref.h between processes: readers while writers write and die.
 *
 * The database is an array in shared memory: of every lot the number of its
 * last change.  What a change did is a function of lot and number, so a reader
 * can tell whether an answer belongs together and how old it is.
 */

#include "src/model/sv_ref.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>


#define GTIN  9506000134352ull
#define LOTS  20


typedef struct {
    uint64_t  clock;
    uint64_t  lot[LOTS];            /* the number of the last change, 0: none */
    uint64_t  shown[LOTS];          /* published by sv_ref_end(): no reader may see an older one from now on */
    uint64_t  progress;             /* of all writers */
    uint64_t  wrong;                /* a reader's finding: its line */
    uint64_t  looks;
    uint64_t  timeline;
    uint64_t  stop;
} world_t;


static world_t   *world;
static sv_ref_t  *ref;


#define peek(p)     __atomic_load_n(p, __ATOMIC_SEQ_CST)
#define poke(p, v)  __atomic_store_n(p, v, __ATOMIC_SEQ_CST)


static void *
shared(size_t size)
{
    void  *p;

    p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(p != MAP_FAILED);

    return p;
}


static uint32_t
next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005ull + 1442695040888963407ull;

    return (uint32_t) (*seed >> 33);
}


static int
is_deleted(uint64_t n)
{
    return n % 5 == 0;
}


/* Texts of different lengths, so that entries of different lengths follow each other. */

static size_t
text_of(unsigned lot, uint64_t n, char out[SV_REF_REASON + 1])
{
    size_t  len;

    len = 1 + (size_t) (n * 7 + lot) % SV_REF_REASON;
    memset(out, 'a' + (int) ((n + lot) % 26), len);
    out[len] = '\0';

    return len;
}


static sv_ref_rc_t
apply(unsigned lot, uint64_t n)
{
    char          key[64], at[32], text[SV_REF_REASON + 1];
    sv_ref_row_t  row;

    (void) snprintf(key, sizeof(key), "%014lluL%u", GTIN, lot);
    (void) snprintf(at, sizeof(at), "%llu", (unsigned long long) n);
    (void) text_of(lot, n, text);

    memset(&row, 0, sizeof(row));
    row.n = n;
    row.kind = "lot";
    row.key = key;
    row.deleted = is_deleted(n);
    row.field[0] = at;
    row.field[1] = text;

    return sv_ref_apply(ref, &row);
}


/* The number of the change that is seen, 0: no recall; or the line of what is wrong, negative. */

static int64_t
look(sv_ref_t *at, unsigned lot)
{
    int               len;
    char              name[16], text[SV_REF_REASON + 1];
    sv_span_t         span;
    sv_ref_recall_t   recall;

    len = snprintf(name, sizeof(name), "L%u", lot);
    span.data = (uint8_t *) name;
    span.len = (size_t) len;

    if (!sv_ref_recall(at, GTIN, span, &recall)) {
        return 0;
    }

    if (recall.recalled_at <= 0 || is_deleted((uint64_t) recall.recalled_at)) {
        return -__LINE__;
    }

    (void) text_of(lot, (uint64_t) recall.recalled_at, text);

    return strcmp(text, recall.reference) == 0 ? recall.recalled_at : -__LINE__;
}


/* What sv.ref_feed() does: changes after n, in order, the newest of each lot. */

static sv_ref_rc_t
feed(uint64_t after, uint64_t seen[LOTS])
{
    unsigned     i, best;
    uint64_t     n;
    sv_ref_rc_t  rc;

    for (i = 0; i < LOTS; i++) {
        seen[i] = peek(&world->lot[i]);
    }

    for ( ;; ) {
        best = LOTS;

        for (i = 0; i < LOTS; i++) {
            if (seen[i] > after && (best == LOTS || seen[i] < seen[best])) {
                best = i;
            }
        }

        if (best == LOTS) {
            return SV_REF_OK;
        }

        n = seen[best];
        rc = apply(best, n);

        if (rc != SV_REF_OK) {
            return rc;
        }

        after = n;
        (void) __atomic_add_fetch(&world->progress, 1, __ATOMIC_SEQ_CST);
    }
}


static sv_ref_rc_t
turn(void)
{
    int          whole;
    unsigned     i;
    uint64_t     n, seen[LOTS];
    sv_ref_rc_t  rc;

    sv_ref_begin(ref, &whole, &n);

    rc = feed(n, seen);

    if (rc != SV_REF_OK) {
        sv_ref_abort(ref);
        return rc;
    }

    sv_ref_end(ref, n + 1);

    for (i = 0; i < LOTS; i++) {
        poke(&world->shown[i], seen[i]);
    }

    return SV_REF_OK;
}


static void
change(unsigned lot)
{
    poke(&world->lot[lot], __atomic_add_fetch(&world->clock, 1, __ATOMIC_SEQ_CST));
}


static void
epoch(void)
{
    char  text[SV_REF_EPOCH];

    (void) snprintf(text, sizeof(text), "1/%llu/0", (unsigned long long) __atomic_add_fetch(&world->timeline, 1,
                    __ATOMIC_SEQ_CST));
    sv_ref_set_epoch(ref, text);
}


static void
writer(uint64_t seed)
{
    unsigned  i, changes;

    for ( ;; ) {
        changes = next_random(&seed) % 40;

        for (i = 0; i < changes; i++) {
            change(next_random(&seed) % LOTS);
        }

        if (next_random(&seed) % 16 == 0) {
            epoch();
        }

        (void) turn();
    }
}


static void
reader(uint64_t seed)
{
    unsigned   lot;
    int64_t    seen;
    uint64_t   shown, looks;

    for (looks = 0; !peek(&world->stop); looks++) {
        lot = next_random(&seed) % LOTS;
        shown = peek(&world->shown[lot]);
        seen = look(ref, lot);

        if (seen < 0) {
            poke(&world->wrong, (uint64_t) -seen);

        } else if (seen > 0 && (uint64_t) seen < shown) {
            poke(&world->wrong, __LINE__);

        } else if (seen == 0 && !is_deleted(shown) && peek(&world->lot[lot]) == shown) {
            poke(&world->wrong, __LINE__);
        }
    }

    (void) __atomic_add_fetch(&world->looks, looks, __ATOMIC_SEQ_CST);
}


static void
reset(size_t size)
{
    if (world == NULL) {
        world = shared(sizeof(world_t));
    }

    memset(world, 0, sizeof(world_t));

    ref = sv_ref_init(shared(size), size);
    assert_non_null(ref);
}


/* Every lot as in the database, and counted right once the torn half has been copied. */

static void
check_all(sv_ref_t *at)
{
    unsigned         i, live;
    uint64_t         n;
    sv_ref_stats_t   stats;

    live = 0;

    for (i = 0; i < LOTS; i++) {
        n = world->lot[i];
        assert_int_equal(look(at, i), is_deleted(n) ? 0 : n);
        live += !is_deleted(n);
    }

    sv_ref_stats(at, &stats);
    assert_int_equal(stats.n, world->clock);
    assert_int_equal(stats.lots, live);
}


static pid_t
start(void (*run)(uint64_t seed), uint64_t seed)
{
    pid_t  pid;

    pid = fork();
    assert_true(pid >= 0);

    if (pid == 0) {
        run(seed);
        _exit(0);
    }

    return pid;
}


static void
writers_die(size_t size)
{
    int       i, status;
    pid_t     pid, readers[3];
    uint64_t  seed, target;

    seed = size;
    reset(size);

    for (i = 0; i < 3; i++) {
        readers[i] = start(reader, (uint64_t) i + 1);
    }

    /* between any two of its instructions, and now and then after thousands of rows */

    for (i = 0; i < 80 && !peek(&world->wrong); i++) {
        target = peek(&world->progress) + 1 + next_random(&seed) % (i % 10 == 0 ? 20000 : 500);
        pid = start(writer, next_random(&seed));

        while (peek(&world->progress) < target) {
            assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
        }

        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    }

    poke(&world->stop, 1);

    for (i = 0; i < 3; i++) {
        assert_int_equal(waitpid(readers[i], &status, 0), readers[i]);
        assert_int_equal(status, 0);
    }

    assert_int_equal(world->wrong, 0);
    assert_true(world->looks > 1000);

    assert_int_equal(turn(), SV_REF_OK);
    assert_int_equal(turn(), SV_REF_OK);
    check_all(ref);

    print_message("%llu rows applied, %llu looks\n", (unsigned long long) world->progress,
                  (unsigned long long) world->looks);
}


static void
test_writers_die_small(void **state)
{
    (void) state;

    writers_die(64 * 1024);
}


/* A copy to the other half takes several turns. */

static void
test_writers_die_large(void **state)
{
    (void) state;

    writers_die(2 * 1024 * 1024);
}


/*
 * What one writer does, instruction by instruction: after each one that changed
 * the block, what readers see is right, and a successor comes to the truth.
 */

typedef struct {
    void      (*prepare)(void);         /* finished before */
    void      (*act)(void);             /* killed in */
    unsigned    turns;                  /* that a successor needs to have the counts right */
} scene_t;


static void
prepare_some(void)
{
    unsigned  i;

    for (i = 0; i < LOTS; i++) {
        change(i);
    }

    assert_int_equal(turn(), SV_REF_OK);
}


static void
act_nothing_yet(void)
{
    (void) turn();
}


static void
prepare_changes(void)
{
    prepare_some();
    change(3);
    change(4);
    change(5);
    change(3);
    change(LOTS - 1);
    change(7);
}


/* Half of the free room is gone: the next turn copies. */

static void
prepare_crowded(void)
{
    sv_ref_stats_t  before, after;

    prepare_some();
    sv_ref_stats(ref, &before);

    do {
        change(9);
        assert_int_equal(turn(), SV_REF_OK);
        sv_ref_stats(ref, &after);
    } while (after.used - before.used <= (after.size - before.used) / 2);

    assert_int_equal(after.generation, before.generation);
    change(11);
    change(10);
}


static void
prepare_new_timeline(void)
{
    epoch();
    prepare_changes();
}


static void
act_new_timeline(void)
{
    epoch();
    (void) turn();
}


static void
prepare_begun(void)
{
    int       whole;
    uint64_t  n, seen[LOTS];

    prepare_changes();

    sv_ref_begin(ref, &whole, &n);
    (void) feed(n, seen);
}


static void
check_moment(const sv_ref_t *moment, sv_ref_t *copy, size_t size, const uint64_t before[LOTS], unsigned turns)
{
    int64_t     seen;
    unsigned    i;
    sv_ref_t   *live;

    live = ref;
    memcpy(copy, moment, size);

    for (i = 0; i < LOTS; i++) {
        seen = look(copy, i);

        if (seen != (is_deleted(before[i]) ? 0 : (int64_t) before[i])) {
            assert_int_equal(seen, is_deleted(world->lot[i]) ? 0 : world->lot[i]);
        }
    }

    /* a successor at another address */

    ref = sv_ref_init(copy, size);
    assert_ptr_equal(ref, copy);

    for (i = 0; i < turns; i++) {
        assert_int_equal(turn(), SV_REF_OK);
    }

    check_all(ref);

    ref = live;
}


static void
play(const scene_t *scene, size_t size)
{
    int         status;
    pid_t       pid;
    unsigned    i, moments;
    uint64_t    before[LOTS], steps;
    sv_ref_t   *last, *copy;

    reset(size);
    scene->prepare();

    for (i = 0; i < LOTS; i++) {
        before[i] = world->shown[i];
    }

    last = shared(size);
    copy = shared(size);
    memcpy(last, ref, size);

    pid = fork();
    assert_true(pid >= 0);

    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) {
            _exit(77);
        }

        (void) raise(SIGSTOP);
        scene->act();
        _exit(0);
    }

    assert_int_equal(waitpid(pid, &status, 0), pid);

    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        print_message("tracing is not permitted here\n");
        skip();
    }

    moments = 0;

    for (steps = 0; WIFSTOPPED(status); steps++) {

        if (memcmp(last, ref, size) != 0) {
            memcpy(last, ref, size);
            check_moment(last, copy, size, before, scene->turns);
            moments++;
        }

        assert_int_equal(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
    }

    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_true(moments > 20);

    print_message("%llu instructions, %u of them changed the block\n", (unsigned long long) steps, moments);
}


static void
test_each_instruction(void **state)
{
    size_t  i;

    static const scene_t  scenes[] = {
        { prepare_changes, act_nothing_yet, 2 },
        { prepare_crowded, act_nothing_yet, 2 },
        { prepare_new_timeline, act_new_timeline, 2 },
        { prepare_begun, act_nothing_yet, 2 }
    };

    (void) state;

    for (i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++) {
        play(&scenes[i], 64 * 1024);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_each_instruction),
        cmocka_unit_test(test_writers_die_small),
        cmocka_unit_test(test_writers_die_large)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
