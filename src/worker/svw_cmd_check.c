#include "svw_api.h"
#include "svw_audit.h"
#include "svw_notify.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>


typedef struct {
    const svw_conf_t  *conf;
    unsigned           section;         /* line of the feed's section, 0: the settings of the worker */
    int                bad;
} svw_check_t;


static void svw_check_roles(svw_check_t *check);
static void svw_check_feed(svw_check_t *check, const svw_feed_t *feed);
static void svw_check_dir(svw_check_t *check, const char *name, const char *path, const char *inbox);
static void svw_check_file(svw_check_t *check, const char *name, const char *path);
static void svw_check_place(svw_check_t *check, const char *name, const char *path);
static void svw_check_say(svw_check_t *check, const char *name, const char *path, const char *reason);
static unsigned svw_check_line(const svw_check_t *check, const char *name);
static void svw_check_notify(svw_check_t *check);
static void svw_check_key(svw_check_t *check, const char *path);
static void svw_check_postgres(svw_check_t *check, const char *name, const char *conninfo, const char *role, const char *sql);


/* Everything that can be known without changing anything. */
int
svw_cmd_check(svw_command_t *command)
{
    char            error[SVW_TEXT];
    size_t          len;
    unsigned        i;
    svw_conf_t     *conf;
    svw_check_t     check;
    unsigned char   secret[SVW_API_SECRET_MAX];

    conf = command->conf;
    check = (svw_check_t) { .conf = conf };

    for (i = 0; i < conf->n_feeds; i++) {
        svw_check_feed(&check, &conf->feeds[i]);
    }

    svw_check_file(&check, "redis_password_file", conf->redis_password_file);
    svw_check_key(&check, conf->audit_key);
    svw_check_place(&check, "audit_heads", conf->audit_heads);
    svw_check_file(&check, "push_token_file", conf->push_token_file);
    svw_check_notify(&check);
    svw_check_place(&check, "log", conf->log);
    svw_check_place(&check, "pid_file", conf->pid_file);

    if (conf->api_listen != NULL && strncmp(conf->api_listen, "unix:", 5) == 0) {
        svw_check_place(&check, "api_listen", conf->api_listen + 5);
    }

    if (conf->api_secret != NULL && svw_api_secret(conf->api_secret, secret, &len, error) != 0) {
        svw_check_say(&check, "api_secret", NULL, error);
    }

    if (conf->capture_dir != NULL) {
        svw_check_dir(&check, "capture_dir", conf->capture_dir, NULL);
    }

    svw_check_roles(&check);
    svw_check_postgres(&check, "postgres", conf->postgres, "sv_worker", "select sv.worker_status()");

    if (conf->api_postgres != NULL) {
        svw_check_postgres(&check, "api_postgres", conf->api_postgres, "sv_api", "select sv.schema_version()");
    }

    if (!check.bad) {
        printf("%s: ok\n", conf->file);
    }

    return check.bad ? SVW_EXIT_USAGE : SVW_EXIT_OK;
}


/* what a role lacks; and, as a note, what no role of this worker uses */
static void
svw_check_roles(svw_check_t *check)
{
    char               error[SVW_TEXT];
    size_t             i;
    const svw_conf_t  *conf;

    conf = check->conf;

    const struct {
        const char  *name;
        const char  *value;
        unsigned     role;
    } used[] = {
        { "api_listen", conf->api_listen, SVW_ROLE_API },
        { "push_url", conf->push_url, SVW_ROLE_PUSH },
        { "notify_url", conf->n_notify > 0 ? conf->notify_url[0] : NULL, SVW_ROLE_NOTIFY },
        { "notify_log", conf->notify_log, SVW_ROLE_NOTIFY },
        { "audit_key", conf->audit_key, SVW_ROLE_HOUSEKEEPING },
        { "capture_dir", conf->capture_dir, SVW_ROLE_API|SVW_ROLE_INGEST }
    };

    if (svw_conf_ready(conf, conf->roles & ~(unsigned) SVW_ROLE_INGEST, error) != 0) {
        fprintf(stderr, "%s\n", error);
        check->bad = 1;
    }

    /* by itself a default */
    if (svw_conf_ready(conf, conf->roles & SVW_ROLE_INGEST, error) != 0) {
        fprintf(stderr, "note: %s; without one leave ingest out of \"roles\"\n", error);
    }

    for (i = 0; i < sizeof(used) / sizeof(used[0]); i++) {
        if (used[i].value != NULL && (conf->roles & used[i].role) == 0) {
            fprintf(stderr, "note: %s:%u: %s is set, but \"roles\" names no role that uses it\n", conf->file,
                    svw_check_line(check, used[i].name), used[i].name);
        }
    }

    if ((conf->roles & SVW_ROLE_API) && conf->capture_dir == NULL) {
        fprintf(stderr, "note: %s: without \"capture_dir\" the role api takes no captures\n", conf->file);
    }
}


static void
svw_check_feed(svw_check_t *check, const svw_feed_t *feed)
{
    check->section = feed->line;

    svw_check_dir(check, "inbox", feed->inbox, feed->inbox);
    svw_check_dir(check, "done", feed->done, feed->inbox);
    svw_check_dir(check, "rejected", feed->rejected, feed->inbox);

    check->section = 0;
}


/* `inbox': on whose file system it must be; NULL: any */
static void
svw_check_dir(svw_check_t *check, const char *name, const char *path, const char *inbox)
{
    struct stat  st, in;

    if (stat(path, &st) != 0) {
        /* made at the start when it is missing, if its parent is there */
        if (errno == ENOENT && inbox != NULL && strcmp(name, "inbox") != 0) {
            if (access(inbox, F_OK) == 0) {
                svw_check_place(check, name, path);
            }

            return;
        }

        svw_check_say(check, name, path, strerror(errno));

    } else if (!S_ISDIR(st.st_mode)) {
        svw_check_say(check, name, path, "is not a directory");

    } else if (access(path, R_OK|W_OK|X_OK) != 0) {
        svw_check_say(check, name, path, strerror(errno));

    } else if (inbox != NULL && stat(inbox, &in) == 0 && in.st_dev != st.st_dev) {
        svw_check_say(check, name, path, "must be on the file system of the inbox");
    }
}


static void
svw_check_file(svw_check_t *check, const char *name, const char *path)
{
    struct stat  st;

    if (path == NULL) {
        return;
    }

    if (stat(path, &st) != 0 || access(path, R_OK) != 0) {
        svw_check_say(check, name, path, strerror(errno));

    } else if (!S_ISREG(st.st_mode)) {
        svw_check_say(check, name, path, "is not a file");
    }
}


/* something that the worker makes: where, it must be able to */
static void
svw_check_place(svw_check_t *check, const char *name, const char *path)
{
    char   dir[PATH_MAX];
    char  *slash;

    if (path == NULL) {
        return;
    }

    snprintf(dir, sizeof(dir), "%s", path);
    slash = strrchr(dir, '/');

    if (slash == NULL) {
        snprintf(dir, sizeof(dir), ".");
    } else {
        slash[slash == dir] = '\0';
    }

    if (access(dir, W_OK|X_OK) != 0) {
        svw_check_say(check, name, path, errno == ENOENT ? "its directory does not exist" : "nothing may be made in its directory");
    }
}


/* `path' may be NULL: the reason says it */
static void
svw_check_say(svw_check_t *check, const char *name, const char *path, const char *reason)
{
    unsigned  line;

    line = svw_check_line(check, name);

    fprintf(stderr, "%s", check->conf->file);

    /* what is not in the file follows from its section */
    if (line != 0 || check->section != 0) {
        fprintf(stderr, ":%u", line != 0 ? line : check->section);
    }

    if (path != NULL) {
        fprintf(stderr, ": %s \"%s\": %s\n", name, path, reason);
    } else {
        fprintf(stderr, ": %s\n", reason);
    }

    check->bad = 1;
}


/* where a setting stands: the file was read without error before */
static unsigned
svw_check_line(const svw_check_t *check, const char *name)
{
    FILE      *f;
    char       line[4096];
    char      *word;
    size_t     len;
    unsigned   n, found;

    f = fopen(check->conf->file, "re");
    if (f == NULL) {
        return 0;
    }

    found = 0;
    len = strlen(name);

    for (n = 1; found == 0 && fgets(line, sizeof(line), f) != NULL; n++) {
        word = line + strspn(line, " \t");

        /* a section ends where the next begins */
        if (*word == '[' && n > check->section) {
            break;
        }

        if (n > check->section && strncmp(word, name, len) == 0 && word[len + strspn(word + len, " \t")] == '=') {
            found = n;
        }
    }

    fclose(f);

    return found;
}


static void
svw_check_key(svw_check_t *check, const char *path)
{
    char       error[SVW_TEXT];
    EVP_PKEY  *key;

    if (path == NULL) {
        return;
    }

    key = svw_audit_key_read(path, error);

    if (key == NULL) {
        svw_check_say(check, "audit_key", NULL, error);
    }

    EVP_PKEY_free(key);
}


static void
svw_check_notify(svw_check_t *check)
{
    char                   error[SVW_TEXT];
    svw_notify_secrets_t   secrets;

    svw_check_place(check, "notify_log", check->conf->notify_log);

    if (check->conf->notify_secret_file != NULL && svw_notify_secrets(check->conf->notify_secret_file, &secrets, error) != 0) {
        svw_check_say(check, "notify_secret_file", NULL, error);
    }
}


static void
svw_check_postgres(svw_check_t *check, const char *name, const char *conninfo, const char *role, const char *sql)
{
    char       error[2 * SVW_TEXT];
    svw_db_t   db;
    PGresult  *result;

    svw_db_init(&db, conninfo, "serial-verify-worker check");

    if (svw_db_connect(&db) != 0) {
        snprintf(error, sizeof(error), "%s: %s", name, db.error);
        svw_check_say(check, name, NULL, error);

    } else {
        if (svw_db_query(&db, &result, sql, 0, NULL) != SVW_DB_OK) {
            snprintf(error, sizeof(error), "%s: %s (are all migrations applied, and is this the role %s?)", name, db.error, role);
            svw_check_say(check, name, NULL, error);
        }

        PQclear(result);
    }

    svw_db_close(&db);
}
