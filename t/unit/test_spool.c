/*
 * src/store/sv_spool.c: what was written is read, wherever the file was cut
 * off; who writes is not disturbed by who sends.
 */

#include "src/store/sv_spool.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>


#define BOOT  UINT64_C(0x0123456789abcdef)

typedef struct {
    char                directory[64];
    sv_spool_writer_t   writer;
    sv_spool_reader_t   reader;
} spool_t;


static void
clear(const spool_t *spool)
{
    char    pattern[128];
    glob_t  found;
    size_t  i;

    snprintf(pattern, sizeof(pattern), "%s/*", spool->directory);

    if (glob(pattern, 0, NULL, &found) == 0) {
        for (i = 0; i < found.gl_pathc; i++) {
            (void) unlink(found.gl_pathv[i]);
        }

        globfree(&found);
    }
}


static void
path_of(const spool_t *spool, unsigned number, char path[128])
{
    snprintf(path, 128, "%s/%016llx-%08x.seg", spool->directory, (unsigned long long) BOOT, number);
}


static int
setup(void **state)
{
    spool_t  *spool;

    spool = calloc(1, sizeof(spool_t));
    assert_non_null(spool);

    snprintf(spool->directory, sizeof(spool->directory), "/tmp/sv-spool-XXXXXX");
    assert_non_null(mkdtemp(spool->directory));

    spool->writer.directory = spool->directory;
    spool->writer.gateway = "gate-1";
    spool->writer.boot = BOOT;
    spool->writer.fd = -1;
    spool->reader.directory = spool->directory;
    spool->reader.lock = -1;
    spool->reader.fd = -1;

    *state = spool;

    return 0;
}


static int
teardown(void **state)
{
    spool_t  *spool;

    spool = *state;

    if (spool->writer.fd != -1) {
        close(spool->writer.fd);
    }

    sv_spool_release(&spool->reader);
    clear(spool);
    assert_int_equal(rmdir(spool->directory), 0);
    free(spool);

    return 0;
}


/* n blocks "0\n", "1\n1\n" .. */
static void
put(spool_t *spool, unsigned n, unsigned seal)
{
    char      text[SV_SPOOL_BATCH][64];
    unsigned  i, k;

    for (i = 0; i < n; i++) {
        text[i][0] = '\0';

        for (k = 0; k <= i; k++) {
            snprintf(text[i] + 2 * k, sizeof(text[i]) - 2 * k, "%u\n", i % 10);
        }

        spool->writer.block[i].data = (uint8_t *) text[i];
        spool->writer.block[i].len = 2 * (i + 1);
        spool->writer.block[i].n = i + 1;
    }

    spool->writer.blocks = n;
    spool->writer.seal = seal;
    spool->writer.done = 0;
    sv_spool_write(&spool->writer);

    assert_int_equal(spool->writer.done, 1);
}


static void
check_block(const sv_spool_reader_t *reader, unsigned i)
{
    assert_int_equal(reader->block[i].head.n, i + 1);
    assert_int_equal(reader->block[i].head.len, 2 * (i + 1));
    assert_true(reader->block[i].head.boot == BOOT);
    assert_string_equal(reader->block[i].head.gateway, "gate-1");
    assert_int_equal(reader->block[i].data[0], '0' + i % 10);
}


static void
test_round_trip(void **state)
{
    unsigned            i;
    spool_t            *spool;
    sv_spool_reader_t  *reader;

    spool = *state;
    reader = &spool->reader;

    put(spool, 5, 1);
    assert_int_equal(spool->writer.written, 5);
    assert_int_equal(spool->writer.fd, -1);

    sv_spool_scan(reader, 0);
    assert_true(reader->looked && reader->fd == -1 && reader->lock == -1);
    assert_int_equal(reader->total, 5 * SV_SPOOL_HEAD + 2 + 4 + 6 + 8 + 10);

    sv_spool_scan(reader, 1);
    assert_true(reader->fd != -1);

    sv_spool_read(reader);
    assert_int_equal(reader->blocks, 5);
    assert_true(reader->end && reader->torn == 0 && reader->error == 0);

    for (i = 0; i < 5; i++) {
        check_block(reader, i);
    }

    assert_int_equal(reader->block[4].end, reader->size);

    sv_spool_remove(reader);
    assert_int_equal(reader->error, 0);
    sv_spool_scan(reader, 1);
    assert_true(reader->fd == -1 && reader->total == 0);
}


/* the machine may have stopped after any byte */
static void
test_cut(void **state)
{
    int                 fd;
    off_t               size, whole;
    char                path[128];
    spool_t            *spool;
    unsigned            n;
    sv_spool_reader_t  *reader;

    spool = *state;
    reader = &spool->reader;

    put(spool, 3, 1);
    path_of(spool, 1, path);

    for (size = 3 * SV_SPOOL_HEAD + 12; size >= 0; size--) {
        fd = open(path, O_WRONLY);
        assert_int_equal(ftruncate(fd, size), 0);
        close(fd);

        for (n = 0, whole = 0; whole + (off_t) (SV_SPOOL_HEAD + 2 * (n + 1)) <= size && n < 3; n++) {
            whole += SV_SPOOL_HEAD + 2 * (n + 1);
        }

        sv_spool_scan(reader, 1);
        assert_true(reader->fd != -1);
        sv_spool_read(reader);

        assert_int_equal(reader->blocks, n);
        assert_int_equal(reader->torn, size - whole);
        assert_true(reader->end && reader->error == 0);

        sv_spool_release(reader);
    }
}


/* any byte may be another one */
static void
test_damaged(void **state)
{
    int                 fd;
    off_t               at;
    char                path[128];
    spool_t            *spool;
    uint8_t             byte, other;
    sv_spool_reader_t  *reader;

    spool = *state;
    reader = &spool->reader;

    put(spool, 2, 1);
    path_of(spool, 1, path);
    fd = open(path, O_RDWR);

    for (at = 0; at < (off_t) (2 * SV_SPOOL_HEAD + 6); at++) {
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        other = byte ^ 0x40;
        assert_int_equal(pwrite(fd, &other, 1, at), 1);

        sv_spool_scan(reader, 1);
        sv_spool_read(reader);
        assert_int_equal(reader->blocks, at < (off_t) (SV_SPOOL_HEAD + 2) ? 0 : 1);
        assert_true(reader->bad == (at < 4) && (reader->torn > 0) == (at >= 4));
        sv_spool_release(reader);

        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    }

    close(fd);
}


/* a segment that is written is passed over; the directory's lock is one process's */
static void
test_locks(void **state)
{
    spool_t            *spool;
    sv_spool_reader_t  *second;

    spool = *state;
    second = calloc(1, sizeof(sv_spool_reader_t));
    assert_non_null(second);
    second->directory = spool->directory;
    second->lock = second->fd = -1;

    put(spool, 1, 0);
    assert_true(spool->writer.fd != -1);

    sv_spool_scan(&spool->reader, 1);
    assert_true(spool->reader.looked && spool->reader.fd == -1 && spool->reader.total > 0);

    put(spool, 1, 1);
    sv_spool_scan(&spool->reader, 1);
    assert_true(spool->reader.fd != -1);

    sv_spool_scan(second, 1);
    assert_true(!second->looked && second->fd == -1 && second->lock == -1);

    sv_spool_release(&spool->reader);
    sv_spool_scan(second, 1);
    assert_true(second->looked && second->fd != -1);

    sv_spool_release(second);
    free(second);
}


/* what Redis has answered for is not sent again by the same process */
static void
test_goes_on(void **state)
{
    spool_t            *spool;
    sv_spool_reader_t  *reader;

    spool = *state;
    reader = &spool->reader;

    put(spool, 3, 1);
    sv_spool_scan(reader, 1);
    sv_spool_read(reader);
    assert_int_equal(reader->blocks, 3);

    reader->next = reader->block[0].end;
    sv_spool_release(reader);

    sv_spool_scan(reader, 1);
    sv_spool_read(reader);
    assert_int_equal(reader->blocks, 2);
    assert_int_equal(reader->block[0].head.n, 2);
}


/* what cannot be read, or is no segment, holds up none behind it */
static void
test_bad(void **state)
{
    int                 fd;
    char                path[128], bad[140];
    spool_t            *spool;
    sv_spool_reader_t  *reader;

    spool = *state;
    reader = &spool->reader;

    put(spool, 2, 1);
    snprintf(path, sizeof(path), "%s/0000000000000000-00000001.seg", spool->directory);
    assert_int_equal(mkdir(path, 0700), 0);

    sv_spool_scan(reader, 1);
    sv_spool_read(reader);
    assert_true(reader->bad && reader->error == EISDIR && reader->blocks == 0);
    sv_spool_set_aside(reader);
    assert_true(reader->error == 0 && reader->fd == -1 && reader->lock != -1);
    snprintf(bad, sizeof(bad), "%s.bad", path);
    assert_int_equal(rmdir(bad), 0);

    fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_int_equal(write(fd, "svp2", 4), 4);
    close(fd);

    sv_spool_scan(reader, 1);
    sv_spool_read(reader);
    assert_true(reader->bad && reader->error == 0 && reader->blocks == 0);
    sv_spool_set_aside(reader);
    assert_int_equal(access(bad, F_OK), 0);

    sv_spool_scan(reader, 1);
    sv_spool_read(reader);
    assert_true(!reader->bad && reader->blocks == 2);

    /* it is told when that is not possible either, and nothing is held */
    reader->directory = "/tmp/sv-spool-none";
    sv_spool_set_aside(reader);
    assert_true(reader->error != 0 && reader->fd == -1 && reader->lock == -1);
    reader->directory = spool->directory;
}


/* a directory that is not there is told, and one that comes back is used */
static void
test_no_directory(void **state)
{
    spool_t  *spool;

    spool = *state;
    spool->writer.directory = "/tmp/sv-spool-none";

    put(spool, 2, 0);
    assert_int_equal(spool->writer.written, 0);
    assert_int_equal(spool->writer.fd, -1);
    assert_true(spool->writer.error != 0 && spool->writer.what != NULL);

    spool->writer.directory = spool->directory;
    put(spool, 2, 1);
    assert_int_equal(spool->writer.written, 2);
    assert_int_equal(spool->writer.error, 0);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),
        cmocka_unit_test_setup_teardown(test_locks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_goes_on, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_directory, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
