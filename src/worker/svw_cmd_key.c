#include "svw_cmd.h"

#include "svw_load.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>


#define SVW_KEY_BYTES  32
#define SVW_KEY_TEXT   43               /* base64url of them, without padding */
#define SVW_KEY_START  "svk_"


static int svw_key_create(svw_command_t *command);
static int svw_key_list(svw_command_t *command);
static int svw_key_revoke(svw_command_t *command);
static int svw_key_make(char key[sizeof(SVW_KEY_START) + SVW_KEY_TEXT]);
static int svw_key_digest(const char *key, char hex[65]);


int
svw_cmd_key(svw_command_t *command)
{
    if (command->argc >= 2 && strcmp(command->argv[1], "create") == 0) {
        return svw_key_create(command);
    }

    if (command->argc >= 2 && strcmp(command->argv[1], "list") == 0) {
        return svw_key_list(command);
    }

    if (command->argc >= 2 && strcmp(command->argv[1], "revoke") == 0) {
        return svw_key_revoke(command);
    }

    fprintf(stderr, "serial-verify-worker: key create, key list or key revoke, see key --help\n");

    return SVW_EXIT_USAGE;
}


static int
svw_key_create(svw_command_t *command)
{
    int                 rc;
    char                key[sizeof(SVW_KEY_START) + SVW_KEY_TEXT], hex[65], until[32], actor[64];
    long                n;
    time_t              t;
    svw_db_t            db;
    struct tm           tm;
    const char         *gln = NULL, *days = NULL, *wrong, *params[4];
    const svw_option_t  options[] = { { "--gln", &gln, 1 }, { "--days", &days, 0 }, { NULL, NULL, 0 } };

    if (svw_cmd_options(command, 2, options) != 0) {
        return SVW_EXIT_USAGE;
    }

    wrong = svw_check_gln((sv_span_t) { (const uint8_t *) gln, strlen(gln) });
    if (wrong != NULL) {
        fprintf(stderr, "serial-verify-worker: --gln \"%s\": %s\n", gln, wrong);
        return SVW_EXIT_USAGE;
    }

    if (days != NULL) {
        n = strspn(days, "0123456789") == strlen(days) ? strtol(days, NULL, 10) : 0;

        if (n < 1 || n > 3650) {
            fprintf(stderr, "serial-verify-worker: --days \"%s\": a number from 1 to 3650 is needed\n", days);
            return SVW_EXIT_USAGE;
        }

        t = time(NULL) + (time_t) n * 86400;
        gmtime_r(&t, &tm);
        strftime(until, sizeof(until), "%Y-%m-%dT%H:%M:%SZ", &tm);
    }

    if (svw_key_make(key) != 0 || svw_key_digest(key, hex) != 0) {
        fprintf(stderr, "serial-verify-worker: no random numbers from OpenSSL\n");
        return SVW_EXIT_FAILED;
    }

    svw_cmd_actor(actor);
    params[0] = hex;
    params[1] = gln;
    params[2] = days != NULL ? until : NULL;
    params[3] = actor;

    if (svw_cmd_connect(command, &db) != 0) {
        return SVW_EXIT_BUSY;
    }

    rc = svw_cmd_call(&db, "select sv.put_credential($1, 'api_key', $2, null, $3::timestamptz, $4)", 4, params, NULL);
    svw_db_close(&db);

    if (rc == SVW_EXIT_OK) {
        printf("%s\n", key);
        fprintf(stderr, "The key of %s%s%s, shown this once. Its sha256: %s\n", gln, days != NULL ? " until " : "",
                days != NULL ? until : "", hex);
    }

    explicit_bzero(key, sizeof(key));

    return rc;
}


static int
svw_key_list(svw_command_t *command)
{
    int                 i;
    svw_db_t            db;
    PGresult           *result;
    const char         *gln = NULL, *wrong;
    svw_db_rc_t         rc;
    const svw_option_t  options[] = { { "--gln", &gln, 1 }, { NULL, NULL, 0 } };

    if (svw_cmd_options(command, 2, options) != 0) {
        return SVW_EXIT_USAGE;
    }

    wrong = svw_check_gln((sv_span_t) { (const uint8_t *) gln, strlen(gln) });
    if (wrong != NULL) {
        fprintf(stderr, "serial-verify-worker: --gln \"%s\": %s\n", gln, wrong);
        return SVW_EXIT_USAGE;
    }

    if (svw_cmd_connect(command, &db) != 0) {
        return SVW_EXIT_BUSY;
    }

    rc = svw_db_query(&db, &result,
                      "select sha256, kind, state, to_char(not_before at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),"
                      " to_char(not_after at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
                      " from sv.list_credentials($1)", 1, &gln);

    if (rc != SVW_DB_OK) {
        fprintf(stderr, "serial-verify-worker: %s\n", db.error);
        svw_db_close(&db);
        return rc == SVW_DB_ERROR ? SVW_EXIT_FAILED : SVW_EXIT_BUSY;
    }

    printf("%-64s  %-11s  %-7s  %-20s  %s\n", "sha256", "kind", "state", "from", "until");

    for (i = 0; i < PQntuples(result); i++) {
        printf("%-64s  %-11s  %-7s  %-20s  %s\n", PQgetvalue(result, i, 0), PQgetvalue(result, i, 1),
               PQgetvalue(result, i, 2), PQgetvalue(result, i, 3),
               PQgetisnull(result, i, 4) ? "-" : PQgetvalue(result, i, 4));
    }

    PQclear(result);
    svw_db_close(&db);

    return SVW_EXIT_OK;
}


static int
svw_key_revoke(svw_command_t *command)
{
    int                 rc, changed;
    char                hex[65], actor[64];
    svw_db_t            db;
    const char         *key = NULL, *sha256 = NULL, *params[2];
    const svw_option_t  options[] = { { "--key", &key, 0 }, { "--sha256", &sha256, 0 }, { NULL, NULL, 0 } };

    if (svw_cmd_options(command, 2, options) != 0) {
        return SVW_EXIT_USAGE;
    }

    if ((key == NULL) == (sha256 == NULL)) {
        fprintf(stderr, "serial-verify-worker: key revoke needs --key or --sha256\n");
        return SVW_EXIT_USAGE;
    }

    if (key != NULL && svw_key_digest(key, hex) != 0) {
        return SVW_EXIT_FAILED;
    }

    svw_cmd_actor(actor);
    params[0] = key != NULL ? hex : sha256;
    params[1] = actor;

    if (svw_cmd_connect(command, &db) != 0) {
        return SVW_EXIT_BUSY;
    }

    rc = svw_cmd_call(&db, "select sv.revoke_credential($1, $2)", 2, params, &changed);
    svw_db_close(&db);

    if (rc == SVW_EXIT_OK) {
        printf("%s\n", changed ? "revoked" : "was revoked already");
    }

    return rc;
}


static int
svw_key_make(char key[sizeof(SVW_KEY_START) + SVW_KEY_TEXT])
{
    char           base64[2 * SVW_KEY_BYTES];
    size_t         i;
    unsigned char  secret[SVW_KEY_BYTES];

    if (RAND_bytes(secret, sizeof(secret)) != 1) {
        return -1;
    }

    EVP_EncodeBlock((unsigned char *) base64, secret, sizeof(secret));

    for (i = 0; i < SVW_KEY_TEXT; i++) {
        base64[i] = base64[i] == '+' ? '-' : base64[i] == '/' ? '_' : base64[i];
    }

    base64[SVW_KEY_TEXT] = '\0';
    snprintf(key, sizeof(SVW_KEY_START) + SVW_KEY_TEXT, SVW_KEY_START "%.*s", SVW_KEY_TEXT, base64);

    explicit_bzero(secret, sizeof(secret));
    explicit_bzero(base64, sizeof(base64));

    return 0;
}


static int
svw_key_digest(const char *key, char hex[65])
{
    size_t         i;
    unsigned char  digest[32];

    if (EVP_Digest(key, strlen(key), digest, NULL, EVP_sha256(), NULL) != 1) {
        return -1;
    }

    for (i = 0; i < sizeof(digest); i++) {
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    }

    return 0;
}
