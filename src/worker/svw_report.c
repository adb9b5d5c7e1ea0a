#include "svw_load.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>


#define SVW_REPORT_PATH  (NAME_MAX + 32)


typedef struct {
    const char  *suffix;
    int        (*print)(FILE *out, const json_t *report);
} svw_report_kind_t;


static void svw_report_temp(char temp[SVW_REPORT_PATH], const char *name, const svw_report_kind_t *kind);
static int svw_report_open(int dir, const char *name, const svw_report_kind_t *kind);
static int svw_report_one(int fd, const svw_report_kind_t *kind, const json_t *report);
static int svw_report_json(FILE *out, const json_t *report);
static int svw_report_text(FILE *out, const json_t *report);
static void svw_report_errors(FILE *out, const json_t *report);
static void svw_report_lots(FILE *out, const json_t *report);


static const svw_report_kind_t  svw_report_kinds[SVW_REPORTS] = {
    { ".report.json", svw_report_json }, { ".report.txt", svw_report_text }
};


int
svw_report_write(int dir, const char *name, const json_t *report, int fd[SVW_REPORTS])
{
    int       error;
    unsigned  i;

    for (i = 0; i < SVW_REPORTS; i++) {
        fd[i] = -1;
    }

    for (i = 0; i < SVW_REPORTS; i++) {
        fd[i] = svw_report_open(dir, name, &svw_report_kinds[i]);

        if (fd[i] == -1 || svw_report_one(fd[i], &svw_report_kinds[i], report) != 0) {
            error = errno;
            svw_report_drop(dir, name, fd);
            errno = error;
            return -1;
        }
    }

    return 0;
}


int
svw_report_name(int dir, const char *name)
{
    char      temp[SVW_REPORT_PATH], final[SVW_REPORT_PATH];
    unsigned  i;

    for (i = 0; i < SVW_REPORTS; i++) {
        svw_report_temp(temp, name, &svw_report_kinds[i]);
        snprintf(final, sizeof(final), "%s%s", name, svw_report_kinds[i].suffix);

        if (renameat(dir, temp, dir, final) != 0) {
            return -1;
        }
    }

    return 0;
}


void
svw_report_drop(int dir, const char *name, int fd[SVW_REPORTS])
{
    char      temp[SVW_REPORT_PATH];
    unsigned  i;

    for (i = 0; i < SVW_REPORTS; i++) {
        if (fd[i] != -1) {
            svw_report_temp(temp, name, &svw_report_kinds[i]);
            unlinkat(dir, temp, 0);
            close(fd[i]);
            fd[i] = -1;
        }
    }
}


void
svw_report_print(FILE *out, const json_t *report)
{
    svw_report_text(out, report);
}


const char *
svw_text_of(const json_t *object, const char *name)
{
    const char  *text;

    text = json_string_value(json_object_get(object, name));

    return text != NULL ? text : "";
}


int64_t
svw_int_of(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}


static void
svw_report_temp(char temp[SVW_REPORT_PATH], const char *name, const svw_report_kind_t *kind)
{
    snprintf(temp, SVW_REPORT_PATH, ".%s%s", name, kind->suffix);
}


/* Of two who want the name the one with the lock has it; what somebody left who was killed is written over. */
static int
svw_report_open(int dir, const char *name, const svw_report_kind_t *kind)
{
    int          fd;
    char         temp[SVW_REPORT_PATH];
    struct stat  held, named;

    svw_report_temp(temp, name, kind);

    fd = openat(dir, temp, O_WRONLY|O_CREAT|O_NOFOLLOW|O_NONBLOCK|O_CLOEXEC, 0640);
    if (fd == -1) {
        return -1;
    }

    if (flock(fd, LOCK_EX|LOCK_NB) == 0
        && fstat(fd, &held) == 0 && fstatat(dir, temp, &named, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(held.st_mode)
        && held.st_ino == named.st_ino && held.st_dev == named.st_dev && ftruncate(fd, 0) == 0)
    {
        return fd;
    }

    close(fd);
    errno = EBUSY;

    return -1;
}


static int
svw_report_one(int fd, const svw_report_kind_t *kind, const json_t *report)
{
    int    failed;
    FILE  *out;

    fd = dup(fd);
    out = fd != -1 ? fdopen(fd, "w") : NULL;

    if (out == NULL) {
        if (fd != -1) {
            close(fd);
        }

        return -1;
    }

    failed = kind->print(out, report) != 0 || fflush(out) != 0;
    failed |= fclose(out) != 0;

    return failed ? -1 : 0;
}


static int
svw_report_json(FILE *out, const json_t *report)
{
    return json_dumpf(report, out, JSON_INDENT(2)|JSON_SORT_KEYS) == 0 && fputc('\n', out) != EOF ? 0 : -1;
}


static int
svw_report_text(FILE *out, const json_t *report)
{
    const char  *note;

    if (json_is_true(json_object_get(report, "already_loaded"))) {
        fprintf(out, "already loaded as load %" PRId64 " (%s)\n\n", svw_int_of(report, "load_id"), svw_text_of(report, "file"));
    }

    note = svw_text_of(report, "note");

    fprintf(out, "file           %s\n", svw_text_of(report, "file"));
    fprintf(out, "sha256         %s\n", svw_text_of(report, "sha256"));
    fprintf(out, "load           %" PRId64 "\n", svw_int_of(report, "load_id"));
    fprintf(out, "result         %s%s%s\n", svw_text_of(report, "state"), *note != '\0' ? ": " : "", note);
    fprintf(out, "started        %s\n", svw_text_of(report, "started_at"));
    fprintf(out, "finished       %s\n", svw_text_of(report, "finished_at"));
    fprintf(out, "packs named    %" PRId64 "\n", svw_int_of(report, "lines"));
    fprintf(out, "new            %" PRId64 "\n", svw_int_of(report, "packs"));
    fprintf(out, "known before   %" PRId64 "\n", svw_int_of(report, "repeated"));
    fprintf(out, "contradictory  %" PRId64 "\n", svw_int_of(report, "contradictions"));
    fprintf(out, "rejected       %" PRId64 "\n", svw_int_of(report, "lines_rejected"));
    fprintf(out, "lots           %" PRId64 " of %" PRId64 "\n", svw_int_of(report, "lots_merged"), svw_int_of(report, "lots"));

    if (strncmp(svw_text_of(report, "format"), "epcis_", 6) == 0) {
        fprintf(out, "events         %" PRId64 " commissioning, %" PRId64 " of them seen before; %" PRId64 " others skipped\n",
                svw_int_of(report, "events"), svw_int_of(report, "events_seen"), svw_int_of(report, "events_skipped"));
    }

    svw_report_lots(out, report);
    svw_report_errors(out, report);

    return ferror(out) ? -1 : 0;
}


static void
svw_report_errors(FILE *out, const json_t *report)
{
    size_t         i;
    int64_t        lines;
    json_t        *errors, *error, *reasons, *count;
    const char    *element, *value, *reason, *word;

    reasons = json_object_get(report, "reasons");

    if (json_object_size(reasons) == 0) {
        return;
    }

    fprintf(out, "\nrejected or skipped, by reason:\n");

    json_object_foreach(reasons, word, count) {
        fprintf(out, "  %10" JSON_INTEGER_FORMAT "  %s: %s\n", json_integer_value(count), word, svw_reason_text(word));
    }

    errors = json_object_get(report, "errors");

    fprintf(out, "\nthe first %zu, by line:\n", json_array_size(errors));

    json_array_foreach(errors, i, error) {
        lines = svw_int_of(error, "lines");
        element = svw_text_of(error, "element");
        value = svw_text_of(error, "value");
        reason = svw_text_of(error, "reason");

        fprintf(out, "  line %" PRId64 ": ", svw_int_of(error, "line"));

        if (*element != '\0') {
            fprintf(out, "%s", element);

            if (json_object_get(error, "value") != NULL) {
                fprintf(out, " \"%s\"", value);
            }

            fprintf(out, ": ");
        }

        fprintf(out, "%s%s", json_is_true(json_object_get(error, "skipped")) ? "skipped: " : "", svw_reason_text(reason));

        if (lines != 1) {
            fprintf(out, " (%" PRId64 " packs)", lines);
        }

        fprintf(out, " [%s]\n", reason);
    }
}


static void
svw_report_lots(FILE *out, const json_t *report)
{
    size_t   i;
    json_t  *lots, *lot;

    lots = json_object_get(report, "merged");

    if (json_array_size(lots) == 0) {
        return;
    }

    fprintf(out, "\n  %-14s  %-20s  %-10s  %10s  %10s  %13s\n", "gtin", "lot", "expiry", "new", "known", "contradictory");

    json_array_foreach(lots, i, lot) {
        fprintf(out, "  %-14s  %-20s  %-10s  %10" PRId64 "  %10" PRId64 "  %13" PRId64 "\n", svw_text_of(lot, "gtin"),
                svw_text_of(lot, "lot"), svw_text_of(lot, "expiry"), svw_int_of(lot, "packs"), svw_int_of(lot, "repeated"),
                svw_int_of(lot, "contradictions"));
    }
}
