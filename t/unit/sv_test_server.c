#include "sv_test_server.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <libpq-fe.h>
#include <netinet/in.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>


#define SV_TEST_SERVERS  64
#define SV_TEST_WAIT_MS  20000


static char   dir[128];
static pid_t  owner;
static pid_t  servers[SV_TEST_SERVERS];
static int    pg_port = 5432;


static void sv_test_cleanup(void);
static int sv_test_remove(const char *path, const struct stat *sb, int type,
    struct FTW *ftw);
static void sv_test_child(const char *log, const char *const *argv,
    int as_postgres);
static void sv_test_be_postgres(void);
static void sv_test_wait_socket(pid_t pid, const char *path);
static int sv_test_connect(const char *path);
static const char *sv_test_pg_program(char *buf, const char *name);
static void sv_test_pause(void);
static void sv_test_fail(const char *what);


const char *
sv_test_dir(void)
{
    const char     *tmp;
    struct passwd  *pw;

    if (dir[0] != '\0') {
        return dir;
    }

    tmp = getenv("TMPDIR");
    snprintf(dir, sizeof(dir), "%s/sv-unit-XXXXXX", tmp != NULL ? tmp : "/tmp");

    if (mkdtemp(dir) == NULL) {
        sv_test_fail("mkdtemp");
    }

    if (geteuid() == 0) {
        pw = getpwnam("postgres");

        if (pw == NULL || chown(dir, pw->pw_uid, pw->pw_gid) == -1) {
            sv_test_fail("no user postgres");
        }
    }

    owner = getpid();
    atexit(sv_test_cleanup);

    return dir;
}


const char *
sv_test_path(char *buf, const char *name)
{
    snprintf(buf, SV_TEST_PATH, "%s/%s", sv_test_dir(), name);

    return buf;
}


pid_t
sv_test_spawn(const char *name, const char *const *argv, int as_postgres)
{
    int    i;
    char   log[SV_TEST_PATH], file[128];
    pid_t  pid;

    snprintf(file, sizeof(file), "%s.log", name);
    sv_test_path(log, file);

    pid = fork();

    if (pid == -1) {
        sv_test_fail("fork");
    }

    if (pid == 0) {
        sv_test_child(log, argv, as_postgres);
    }

    for (i = 0; i < SV_TEST_SERVERS; i++) {
        if (servers[i] == 0) {
            servers[i] = pid;
            return pid;
        }
    }

    sv_test_fail("too many servers");
    return -1;
}


void
sv_test_signal(pid_t pid, int signo)
{
    if (kill(pid, signo) == -1) {
        sv_test_fail("kill");
    }
}


void
sv_test_stop(pid_t pid, int signo)
{
    int  i;

    kill(pid, signo);
    kill(pid, SIGCONT);
    waitpid(pid, NULL, 0);

    for (i = 0; i < SV_TEST_SERVERS; i++) {
        if (servers[i] == pid) {
            servers[i] = 0;
        }
    }
}


pid_t
sv_test_redis(const char *socket_path, const char *password)
{
    pid_t        pid;
    const char  *argv[] = {
        "redis-server", "--port", "0", "--unixsocket", socket_path,
        "--save", "", "--appendonly", "no", "--dir", sv_test_dir(),
        "--enable-debug-command", "local", NULL, NULL, NULL
    };

    if (password != NULL) {
        argv[13] = "--requirepass";
        argv[14] = password;
    }

    pid = sv_test_spawn("redis", argv, 0);
    sv_test_wait_socket(pid, socket_path);

    return pid;
}


pid_t
sv_test_postgres(int tcp_port)
{
    int          status;
    char         data[SV_TEST_PATH], sockets[SV_TEST_PATH],
                 program[SV_TEST_PATH], conf[SV_TEST_PATH + 32];
    pid_t        pid;
    FILE        *f;
    const char  *argv[] = {
        sv_test_pg_program(program, "initdb"), "-D", NULL, "-U", "postgres",
        "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", NULL
    };

    argv[2] = sv_test_path(data, "data");
    sv_test_path(sockets, "pg");

    pid = sv_test_spawn("initdb", argv, 1);

    if (waitpid(pid, &status, 0) != pid || status != 0) {
        sv_test_fail("initdb");
    }

    sv_test_stop(pid, 0);

    if (mkdir(sockets, 0777) == -1 || chmod(sockets, 0777) == -1) {
        sv_test_fail("mkdir");
    }

    snprintf(conf, sizeof(conf), "%s/postgresql.conf", data);

    f = fopen(conf, "a");
    if (f == NULL) {
        sv_test_fail(conf);
    }

    fprintf(f, "unix_socket_directories = '%s'\n"
               "fsync = off\nmax_connections = 50\nshared_buffers = 16MB\n"
               "autovacuum = off\nlog_min_messages = log\n", sockets);

    if (tcp_port != 0) {
        pg_port = tcp_port;
        fprintf(f, "listen_addresses = '127.0.0.1'\nport = %d\n", tcp_port);
    } else {
        fprintf(f, "listen_addresses = ''\n");
    }

    fclose(f);

    return sv_test_postgres_again();
}


pid_t
sv_test_postgres_again(void)
{
    int          i;
    char         data[SV_TEST_PATH], program[SV_TEST_PATH],
                 info[SV_TEST_CONNINFO];
    pid_t        pid;
    const char  *argv[] = { NULL, "-D", NULL, NULL };

    argv[0] = sv_test_pg_program(program, "postgres");
    argv[2] = sv_test_path(data, "data");

    pid = sv_test_spawn("postgres", argv, 1);

    sv_test_pg_conninfo(info);

    for (i = 0; i < SV_TEST_WAIT_MS / 10; i++) {
        if (PQping(info) == PQPING_OK) {
            return pid;
        }

        if (waitpid(pid, NULL, WNOHANG) == pid) {
            sv_test_fail("postgres ended");
        }

        sv_test_pause();
    }

    sv_test_fail("postgres does not answer");
    return -1;
}


const char *
sv_test_pg_conninfo(char *buf)
{
    snprintf(buf, SV_TEST_CONNINFO,
             "host=%s/pg port=%d dbname=postgres user=postgres",
             sv_test_dir(), pg_port);

    return buf;
}


const char *
sv_test_pg_socket(char *buf)
{
    snprintf(buf, SV_TEST_PATH, "%s/pg/.s.PGSQL.%d", sv_test_dir(), pg_port);

    return buf;
}


int
sv_test_pg_port(void)
{
    return pg_port;
}


void
sv_test_psql(const char *sql, char *out, size_t size)
{
    char       info[SV_TEST_CONNINFO];
    PGconn    *pg;
    PGresult  *res;

    /* never waits for what a test has broken */
    sv_test_pg_conninfo(info);
    strncat(info, " options='-c synchronous_commit=local"
                  " -c statement_timeout=20s'",
            sizeof(info) - strlen(info) - 1);

    pg = PQconnectdb(info);
    res = PQexec(pg, sql);

    if (PQresultStatus(res) != PGRES_COMMAND_OK
        && PQresultStatus(res) != PGRES_TUPLES_OK)
    {
        fprintf(stderr, "%s: %s", sql, PQerrorMessage(pg));
        sv_test_fail("psql");
    }

    if (out != NULL) {
        snprintf(out, size, "%s",
                 PQntuples(res) > 0 ? PQgetvalue(res, 0, 0) : "");
    }

    PQclear(res);
    PQfinish(pg);
}


pid_t
sv_test_fake(const char *program, const char *name, const char *const *options)
{
    int          n;
    char         script[64], listen_path[SV_TEST_PATH],
                 control_path[SV_TEST_PATH], file[64];
    pid_t        pid;
    const char  *argv[24] = { "perl", script, "--listen", listen_path,
                              "--control", control_path, NULL };

    snprintf(script, sizeof(script), "t/fake/%s.pl", program);
    sv_test_path(listen_path, name);
    snprintf(file, sizeof(file), "%s.control", name);
    sv_test_path(control_path, file);

    for (n = 0; options != NULL && options[n] != NULL && n < 16; n++) {
        argv[6 + n] = options[n];
    }

    pid = sv_test_spawn(name, argv, 0);
    sv_test_wait_socket(pid, control_path);

    return pid;
}


void
sv_test_control(const char *name, const char *command, char *answer,
    size_t size)
{
    int      fd;
    char     file[64], path[SV_TEST_PATH], buf[1024];
    size_t   len;
    ssize_t  n;

    snprintf(file, sizeof(file), "%s.control", name);

    fd = sv_test_connect(sv_test_path(path, file));
    if (fd == -1) {
        sv_test_fail(path);
    }

    len = (size_t) snprintf(buf, sizeof(buf), "%s\n", command);

    if (write(fd, buf, len) != (ssize_t) len) {
        sv_test_fail(path);
    }

    len = 0;

    while (len < sizeof(buf) - 1
           && (n = read(fd, buf + len, sizeof(buf) - 1 - len)) > 0)
    {
        len += (size_t) n;
    }

    buf[len] = '\0';
    close(fd);

    if (strncmp(buf, "ok", 2) != 0) {
        fprintf(stderr, "%s: %s: %s\n", name, command, buf);
        sv_test_fail("control");
    }

    if (answer != NULL) {
        snprintf(answer, size, "%.*s", (int) strcspn(buf + 2, "\n"), buf + 2);
    }
}


int
sv_test_free_port(void)
{
    int                 fd;
    socklen_t           len;
    struct sockaddr_in  addr;

    memset(&addr, 0, sizeof(addr));
    addr.sin_family = AF_INET;
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    len = sizeof(addr);

    fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd == -1 || bind(fd, (struct sockaddr *) &addr, len) == -1
        || getsockname(fd, (struct sockaddr *) &addr, &len) == -1)
    {
        sv_test_fail("no free port");
    }

    close(fd);

    return ntohs(addr.sin_port);
}


static void
sv_test_cleanup(void)
{
    int  i;

    if (getpid() != owner) {
        return;
    }

    for (i = 0; i < SV_TEST_SERVERS; i++) {
        if (servers[i] != 0) {
            sv_test_stop(servers[i], SIGQUIT);
        }
    }

    if (getenv("SV_TEST_KEEP") == NULL) {
        nftw(dir, sv_test_remove, 16, FTW_DEPTH | FTW_PHYS);
    }
}


static int
sv_test_remove(const char *path, const struct stat *sb, int type,
    struct FTW *ftw)
{
    (void) sb;
    (void) type;
    (void) ftw;

    return remove(path);
}


static void
sv_test_child(const char *log, const char *const *argv, int as_postgres)
{
    int    fd;
    pid_t  parent;

    parent = getppid();

    /* a shell's background job ignores them, and so would the server */
    signal(SIGINT, SIG_DFL);
    signal(SIGQUIT, SIG_DFL);

    fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0666);

    if (fd == -1 || dup2(fd, 1) == -1 || dup2(fd, 2) == -1) {
        _exit(127);
    }

    if (as_postgres && geteuid() == 0) {
        sv_test_be_postgres();
    }

    /* a change of user resets it, so after that */
    prctl(PR_SET_PDEATHSIG, SIGKILL);

    if (getppid() != parent) {
        _exit(127);
    }

    unsetenv("LD_PRELOAD");
    execvp(argv[0], (char *const *) argv);
    perror(argv[0]);
    _exit(127);
}


static void
sv_test_be_postgres(void)
{
    struct passwd  *pw;

    pw = getpwnam("postgres");

    if (pw == NULL || initgroups("postgres", pw->pw_gid) == -1
        || setgid(pw->pw_gid) == -1 || setuid(pw->pw_uid) == -1)
    {
        _exit(127);
    }
}


static void
sv_test_wait_socket(pid_t pid, const char *path)
{
    int  i, fd;

    for (i = 0; i < SV_TEST_WAIT_MS / 10; i++) {
        fd = sv_test_connect(path);

        if (fd != -1) {
            close(fd);
            return;
        }

        if (waitpid(pid, NULL, WNOHANG) == pid) {
            sv_test_fail("a server ended at once");
        }

        sv_test_pause();
    }

    sv_test_fail(path);
}


static int
sv_test_connect(const char *path)
{
    int                 fd;
    struct sockaddr_un  addr;

    memset(&addr, 0, sizeof(addr));
    addr.sun_family = AF_UNIX;
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);

    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd != -1 && connect(fd, (struct sockaddr *) &addr, sizeof(addr)) == -1)
    {
        close(fd);
        return -1;
    }

    return fd;
}


static const char *
sv_test_pg_program(char *buf, const char *name)
{
    int             newest, version;
    DIR            *d;
    struct dirent  *e;

    newest = 0;
    d = opendir("/usr/lib/postgresql");

    while (d != NULL && (e = readdir(d)) != NULL) {
        version = (int) strtol(e->d_name, NULL, 10);
        newest = version > newest ? version : newest;
    }

    if (d != NULL) {
        closedir(d);
    }

    snprintf(buf, SV_TEST_PATH, "/usr/lib/postgresql/%d/bin/%s", newest, name);

    return buf;
}


static void
sv_test_pause(void)
{
    struct timespec  ts = { 0, 10 * 1000 * 1000 };

    nanosleep(&ts, NULL);
}


static void
sv_test_fail(const char *what)
{
    fprintf(stderr, "test server: %s (%s)\n", what, strerror(errno));
    exit(1);
}
