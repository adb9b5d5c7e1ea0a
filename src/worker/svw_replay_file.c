#include "svw_replay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>


#define SVW_REPLAY_BUFFER  (256 * 1024)


typedef struct {
    svw_replay_source_t   source;       /* first */
    svw_replay_reader_t  *reader;
    FILE                 *f;
    char                 *line;
    size_t                size;         /* of line */
    int64_t               read, total;  /* bytes; total 0: not known */
} svw_replay_file_t;


static svw_replay_next_t svw_replay_file_next(svw_replay_source_t *source, svw_replay_record_t *record, char error[SVW_TEXT]);
static double svw_replay_file_done(svw_replay_source_t *source);


svw_replay_source_t *
svw_replay_file_open(const char *file)
{
    int                 stdin_too;
    struct stat         st;
    svw_replay_file_t  *in;

    in = calloc(1, sizeof(svw_replay_file_t));

    if (in == NULL) {
        fprintf(stderr, "serial-verify-worker: out of memory\n");
        return NULL;
    }

    stdin_too = strcmp(file, "-") == 0;
    in->source = (svw_replay_source_t) {
        .next = svw_replay_file_next, .done = svw_replay_file_done, .name = stdin_too ? "standard input" : file, .unit = "line"
    };
    in->reader = svw_replay_reader_create();
    in->f = stdin_too ? stdin : fopen(file, "re");

    if (in->reader == NULL || in->f == NULL || fstat(fileno(in->f), &st) != 0 || S_ISDIR(st.st_mode)) {
        fprintf(stderr, "serial-verify-worker: %s: %s\n", file, in->f != NULL ? "is no file" : strerror(errno));
        svw_replay_file_close(&in->source);
        return NULL;
    }

    in->total = S_ISREG(st.st_mode) ? st.st_size : 0;
    (void) setvbuf(in->f, NULL, _IOFBF, SVW_REPLAY_BUFFER);

    return &in->source;
}


void
svw_replay_file_close(svw_replay_source_t *source)
{
    svw_replay_file_t  *in;

    in = (svw_replay_file_t *) source;

    if (in->f != NULL && in->f != stdin) {
        fclose(in->f);
    }

    svw_replay_reader_destroy(in->reader);
    free(in->line);
    free(in);
}


/* Every line counts, empty ones too: its number is what people look for. */
static svw_replay_next_t
svw_replay_file_next(svw_replay_source_t *source, svw_replay_record_t *record, char error[SVW_TEXT])
{
    int                 rc;
    ssize_t             n;
    sv_span_t           line;
    svw_replay_file_t  *in;

    in = (svw_replay_file_t *) source;
    errno = 0;
    n = getline(&in->line, &in->size, in->f);

    if (n < 0) {
        if (feof(in->f) && !ferror(in->f)) {
            return SVW_REPLAY_END;
        }

        snprintf(error, SVW_TEXT, "%s", strerror(errno));
        return SVW_REPLAY_FAILED;
    }

    in->read += n;
    source->ref++;
    line = (sv_span_t) { (const uint8_t *) in->line, (size_t) n };

    if (line.data[line.len - 1] == '\n') {
        line.len--;
    }

    if (source->ref == 1 && line.len >= 3 && memcmp(line.data, "\xef\xbb\xbf", 3) == 0) {
        line.data += 3;
        line.len -= 3;
    }

    rc = svw_replay_read(in->reader, line, record, error);

    if (rc == -2) {
        snprintf(error, SVW_TEXT, "out of memory");
        return SVW_REPLAY_FAILED;
    }

    return rc == 0 ? SVW_REPLAY_RECORD : SVW_REPLAY_BROKEN;
}


static double
svw_replay_file_done(svw_replay_source_t *source)
{
    svw_replay_file_t  *in;

    in = (svw_replay_file_t *) source;

    return in->total > 0 ? (double) in->read / (double) in->total : -1;
}
