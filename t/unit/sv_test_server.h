/*
 * Servers of a test's own: in a temporary directory, on unix sockets, ended
 * and removed with the test program.
 */

#ifndef SV_TEST_SERVER_H
#define SV_TEST_SERVER_H

#include <stddef.h>
#include <sys/types.h>


#define SV_TEST_PATH      256
#define SV_TEST_CONNINFO  512


/* The directory, made on first use; everything in it is removed at exit. */
const char *sv_test_dir(void);

/* "<dir>/<name>" into a buffer of SV_TEST_PATH */
const char *sv_test_path(char *buf, const char *name);

/* Starts a program; its output goes to <dir>/<name>.log. As user postgres: only when root. */
pid_t sv_test_spawn(const char *name, const char *const *argv, int as_postgres);
void sv_test_signal(pid_t pid, int signo);
void sv_test_stop(pid_t pid, int signo);        /* and waits for its end */

/* They return when the server answers; they end the program when it does not. */
pid_t sv_test_redis(const char *socket, const char *password);
pid_t sv_test_postgres(int tcp_port);   /* socket in <dir>/pg, database and superuser "postgres" */
pid_t sv_test_postgres_again(void);     /* after sv_test_stop */

/* The real server, into a buffer of SV_TEST_CONNINFO. */
const char *sv_test_pg_conninfo(char *buf);

const char *sv_test_pg_socket(char *buf);
int sv_test_pg_port(void);

/* PostgreSQL's answer to one statement, from a connection beside the tested one. */
void sv_test_psql(const char *sql, char *out, size_t size);

/* t/fake/<program>.pl with --listen and --control under <dir> */
pid_t sv_test_fake(const char *program, const char *name,
    const char *const *options);
/* One line to its control socket; it is in effect when this returns. */
void sv_test_control(const char *name, const char *command, char *answer,
    size_t size);

int sv_test_free_port(void);

#endif /* SV_TEST_SERVER_H */
