#include "svw_api.h"
#include "svw_audit.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>


static int svw_check_feed(const svw_feed_t *feed);
static int svw_check_dir(const char *name, const char *path, const char *inbox);
static int svw_check_file(const char *name, const char *path);
static int svw_check_key(const char *path);
static int svw_check_postgres(const char *name, const char *conninfo, const char *role, const char *sql);


/* Everything that can be known without changing anything. */
int
svw_cmd_check(svw_command_t *command)
{
    int             bad;
    char            error[SVW_TEXT];
    size_t          len;
    unsigned        i;
    svw_conf_t     *conf;
    unsigned char   secret[SVW_API_SECRET_MAX];

    conf = command->conf;
    bad = 0;

    for (i = 0; i < conf->n_feeds; i++) {
        bad |= svw_check_feed(&conf->feeds[i]);
    }

    bad |= svw_check_file("redis_password_file", conf->redis_password_file);
    bad |= svw_check_key(conf->audit_key);
    bad |= svw_check_file("push_token_file", conf->push_token_file);

    if (conf->api_secret != NULL && svw_api_secret(conf->api_secret, secret, &len, error) != 0) {
        fprintf(stderr, "%s\n", error);
        bad = 1;
    }

    if (conf->capture_dir != NULL) {
        bad |= svw_check_dir("capture_dir", conf->capture_dir, NULL);
    }

    if (svw_conf_ready(conf, conf->roles & ~(unsigned) SVW_ROLE_INGEST, error) != 0) {
        fprintf(stderr, "%s\n", error);
        bad = 1;
    }

    bad |= svw_check_postgres("postgres", conf->postgres, "sv_worker", "select sv.worker_status()");

    if (conf->api_postgres != NULL) {
        bad |= svw_check_postgres("api_postgres", conf->api_postgres, "sv_api", "select sv.schema_version()");
    }

    if (!bad) {
        printf("%s: ok\n", conf->file);
    }

    return bad ? SVW_EXIT_USAGE : SVW_EXIT_OK;
}


static int
svw_check_feed(const svw_feed_t *feed)
{
    int  bad;

    bad = svw_check_dir("inbox", feed->inbox, feed->inbox);
    bad |= svw_check_dir("done", feed->done, feed->inbox);
    bad |= svw_check_dir("rejected", feed->rejected, feed->inbox);

    return bad;
}


/* `inbox': on whose file system it must be; NULL: any */
static int
svw_check_dir(const char *name, const char *path, const char *inbox)
{
    struct stat  st, in;

    if (stat(path, &st) != 0) {
        /* made at the start when it is missing, if its parent is there */
        if (errno == ENOENT && inbox != NULL && strcmp(name, "inbox") != 0) {
            return 0;
        }

        fprintf(stderr, "%s \"%s\": %s\n", name, path, strerror(errno));
        return 1;
    }

    if (!S_ISDIR(st.st_mode)) {
        fprintf(stderr, "%s \"%s\": is not a directory\n", name, path);
        return 1;
    }

    if (access(path, R_OK|W_OK|X_OK) != 0) {
        fprintf(stderr, "%s \"%s\": %s\n", name, path, strerror(errno));
        return 1;
    }

    if (inbox != NULL && stat(inbox, &in) == 0 && in.st_dev != st.st_dev) {
        fprintf(stderr, "%s \"%s\": must be on the file system of the inbox\n", name, path);
        return 1;
    }

    return 0;
}


static int
svw_check_file(const char *name, const char *path)
{
    struct stat  st;

    if (path == NULL) {
        return 0;
    }

    if (stat(path, &st) != 0 || access(path, R_OK) != 0) {
        fprintf(stderr, "%s \"%s\": %s\n", name, path, strerror(errno));
        return 1;
    }

    if (!S_ISREG(st.st_mode)) {
        fprintf(stderr, "%s \"%s\": is not a file\n", name, path);
        return 1;
    }

    return 0;
}


static int
svw_check_key(const char *path)
{
    char       error[SVW_TEXT];
    EVP_PKEY  *key;

    if (path == NULL) {
        return 0;
    }

    key = svw_audit_key_read(path, error);

    if (key == NULL) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }

    EVP_PKEY_free(key);

    return 0;
}


static int
svw_check_postgres(const char *name, const char *conninfo, const char *role, const char *sql)
{
    int        bad;
    svw_db_t   db;
    PGresult  *result;

    bad = 0;
    svw_db_init(&db, conninfo, "serial-verify-worker check");

    if (svw_db_connect(&db) != 0) {
        fprintf(stderr, "%s: %s\n", name, db.error);
        bad = 1;

    } else {
        if (svw_db_query(&db, &result, sql, 0, NULL) != SVW_DB_OK) {
            fprintf(stderr, "%s: %s (are all migrations applied, and is this the role %s?)\n", name, db.error, role);
            bad = 1;
        }

        PQclear(result);
    }

    svw_db_close(&db);

    return bad;
}
