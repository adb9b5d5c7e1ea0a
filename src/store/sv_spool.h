/*
 * The files of the spool: pure POSIX, run by threads, one call at a time on a
 * struct.
 *
 * A process writes segments of its own, NAME.seg, and holds a lock on the one
 * it writes; the lock goes with the process.  A segment without a lock is
 * complete: it is sent, and removed when Redis has answered for all of it.  It
 * is sent by one process of the gateway, the one that holds the lock of the
 * directory.
 *
 * A segment is a row of blocks, each with a head that has a check sum over both.
 * What does not check is the end of what a process or machine wrote that died:
 * a failed write that the process survives is taken back.  A segment that cannot
 * be read, or does not begin as one, is set aside under another name, NAME.seg.bad,
 * so that it holds up none that comes behind it.
 */

#ifndef SV_SPOOL_H
#define SV_SPOOL_H

#include "../model/sv_event.h"

#include <sys/types.h>


#define SV_SPOOL_BAD      ".bad"
#define SV_SPOOL_DATA     32768             /* bytes of events in a block */
#define SV_SPOOL_SEGMENT  (4 * 1024 * 1024)
#define SV_SPOOL_NAME     64
#define SV_SPOOL_PATH     1024
#define SV_SPOOL_BATCH    16                /* blocks written by one call, or read */

typedef struct {
    uint32_t   magic;
    uint32_t   check;                           /* FNV-1a over what follows, and the data */
    uint32_t   len;
    uint32_t   n;                               /* events */
    uint64_t   boot;
    char       gateway[SV_EVENT_GATEWAY + 8];   /* NUL-padded */
} sv_spool_head_t;

#define SV_SPOOL_HEAD  sizeof(sv_spool_head_t)

/* what a process writes */
typedef struct {
    const char     *directory;
    const char     *gateway;
    uint64_t        boot;
    int             fd;                         /* -1: no segment is open */
    unsigned        number;                     /* of the last segment */
    off_t           size;                       /* of the open one, up to the end of the last good block */

    /* in */
    struct {
        const uint8_t  *data;
        uint32_t       len, n;
    }               block[SV_SPOOL_BATCH];
    unsigned        blocks;
    unsigned        seal;                       /* the segment is complete, others may send it */

    /* out */
    unsigned        written;                    /* of the blocks */
    int             error;                      /* errno, 0: none */
    const char     *what;                       /* failed */
    unsigned        done;                       /* it has run */
} sv_spool_writer_t;

/* what a process sends */
typedef struct {
    const char     *directory;
    int             lock;                       /* of the directory; -1: not held */
    int             fd;                         /* of the segment; -1: none */
    char            name[SV_SPOOL_NAME];    /* of the segment; kept when it is closed */
    off_t           next;                       /* to be read */
    off_t           size;                       /* of the segment */

    /* out */
    unsigned        looked;                     /* we have the directory's lock, `total' is new */
    off_t           total;                      /* bytes of all segments */
    unsigned        blocks;                     /* read */
    unsigned        end;                        /* nothing follows them */
    off_t           torn;                       /* bytes at the end that are no block */
    unsigned        bad;                        /* the segment cannot be read (error), or is none (no error) */
    int             error;
    const char     *what;
    struct {
        sv_spool_head_t  head;
        off_t                end;               /* where the next one begins */
        uint8_t               data[SV_SPOOL_DATA];
    }               block[SV_SPOOL_BATCH];
} sv_spool_reader_t;


void sv_spool_write(sv_spool_writer_t *writer);

/* Takes the directory's lock, looks at all segments and opens the first complete one, if `open'. Without the lock: nothing. */
void sv_spool_scan(sv_spool_reader_t *reader, int open);
void sv_spool_read(sv_spool_reader_t *reader);
void sv_spool_remove(sv_spool_reader_t *reader);        /* the segment, which was sent */
void sv_spool_set_aside(sv_spool_reader_t *reader);     /* the segment, which is bad; its name stays */
void sv_spool_release(sv_spool_reader_t *reader);       /* the segment and the directory's lock */

#endif /* SV_SPOOL_H */
