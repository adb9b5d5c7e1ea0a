#include "svw.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>


static struct {
    int          fd;
    unsigned     level;
    char         name[32];
} svw_log_state = { STDERR_FILENO, SVW_LOG_NOTICE, "main" };

static const char *const  svw_log_words[] = { "error", "warn", "notice", "info", "debug" };


int
svw_log_open(const char *path, unsigned level, const char *name)
{
    int  fd;

    svw_log_state.level = level;
    svw_log_name(name);

    if (path == NULL) {
        return 0;
    }

    fd = open(path, O_WRONLY|O_APPEND|O_CREAT|O_CLOEXEC, 0640);
    if (fd == -1) {
        return -1;
    }

    if (svw_log_state.fd != STDERR_FILENO) {
        close(svw_log_state.fd);
    }

    svw_log_state.fd = fd;

    return 0;
}


void
svw_log_name(const char *name)
{
    snprintf(svw_log_state.name, sizeof(svw_log_state.name), "%s", name);
}


/* One line, one write: lines of several processes do not mix. Control characters cannot forge a line. */
void
svw_log(unsigned level, const char *fmt, ...)
{
    int              n, saved;
    char             line[1024];
    size_t           i, len;
    struct tm        tm;
    va_list          args;
    struct timespec  now;

    if (level > svw_log_state.level) {
        return;
    }

    saved = errno;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);

    len = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &tm);
    n = snprintf(line + len, sizeof(line) - len, ".%03ldZ [%s] %s[%d]: ", now.tv_nsec / 1000000,
                 svw_log_words[level], svw_log_state.name, (int) getpid());
    len += (size_t) n;

    va_start(args, fmt);
    n = vsnprintf(line + len, sizeof(line) - len - 1, fmt, args);
    va_end(args);

    len += n < 0 ? 0 : (size_t) n;
    if (len > sizeof(line) - 2) {
        len = sizeof(line) - 2;
    }

    for (i = 0; i < len; i++) {
        if ((unsigned char) line[i] < 0x20 || line[i] == 0x7f) {
            line[i] = ' ';
        }
    }

    line[len++] = '\n';

    if (write(svw_log_state.fd, line, len) == -1) {
        /* there is nowhere left to say so */
    }

    errno = saved;
}
