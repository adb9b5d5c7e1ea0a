#include "svw_notify.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>


#define SVW_SECRET_PREFIX  "whsec_"
#define SVW_SECRET_FILE    1024


static int svw_notify_secret(svw_notify_secrets_t *secrets, const char *line, size_t len);


/*
 * The secrets of a file, a line each: whsec_ and base64, as Standard Webhooks
 * has it.  What is sent is signed with all of them, so that a receiver may change
 * from one to the other when it likes.
 */
int
svw_notify_secrets(const char *path, svw_notify_secrets_t *secrets, char error[SVW_TEXT])
{
    int           fd, bad;
    char          text[SVW_SECRET_FILE], *line;
    size_t        len;
    ssize_t       n;
    struct stat   st;

    *secrets = (svw_notify_secrets_t) { .n = 0 };
    fd = open(path, O_RDONLY|O_CLOEXEC);
    n = -1;

    if (fd == -1 || fstat(fd, &st) != 0 || (n = read(fd, text, sizeof(text) - 1)) == -1) {
        snprintf(error, SVW_TEXT, "notify_secret_file \"%s\": %s", path, strerror(errno));
    }

    if (fd != -1) {
        close(fd);
    }

    if (n == -1) {
        return -1;
    }

    text[n] = '\0';
    bad = 0;

    for (line = text; *line != '\0' && !bad; line += len + (line[len] == '\n')) {
        len = strcspn(line, "\n");
        bad = svw_notify_secret(secrets, line, len);
    }

    OPENSSL_cleanse(text, sizeof(text));

    if (st.st_mode & S_IRWXO) {
        snprintf(error, SVW_TEXT, "notify_secret_file \"%s\": others may read or change it; chmod o= it", path);
        return -1;
    }

    if (bad || secrets->n == 0) {
        snprintf(error, SVW_TEXT, "notify_secret_file \"%s\": one secret or two, a line each, are needed: \"whsec_\" and the base64 of %d to"
                 " %d bytes, such as of \"openssl rand -base64 32\"", path, SVW_NOTIFY_SECRET_MIN, SVW_NOTIFY_SECRET_MAX);
        return -1;
    }

    return 0;
}


/* "v1,base64", one for each secret with a blank between them */
int
svw_notify_sign(const svw_notify_secrets_t *secrets, const char *id, int64_t timestamp, const char *body, size_t len,
    char signature[SVW_NOTIFY_SIGNATURE])
{
    int            n;
    char          *text;
    size_t         at;
    unsigned       i, mac_len;
    unsigned char  mac[EVP_MAX_MD_SIZE], base64[EVP_MAX_MD_SIZE * 2];

    n = asprintf(&text, "%s.%" PRId64 ".%.*s", id, timestamp, (int) len, body);
    if (n == -1) {
        return -1;
    }

    at = 0;
    signature[0] = '\0';

    for (i = 0; i < secrets->n; i++) {
        if (HMAC(EVP_sha256(), secrets->key[i], (int) secrets->len[i], (unsigned char *) text, (size_t) n, mac, &mac_len) == NULL) {
            break;
        }

        EVP_EncodeBlock(base64, mac, (int) mac_len);
        at += (size_t) snprintf(signature + at, SVW_NOTIFY_SIGNATURE - at, "%sv1,%s", i > 0 ? " " : "", (char *) base64);
    }

    free(text);

    return i == secrets->n && at < SVW_NOTIFY_SIGNATURE ? 0 : -1;
}


/* -1: no secret, or one too many */
static int
svw_notify_secret(svw_notify_secrets_t *secrets, const char *line, size_t len)
{
    int             n;
    size_t          prefix, padding;
    unsigned char   key[SVW_SECRET_FILE];

    while (len > 0 && strchr(" \t\r", line[len - 1]) != NULL) {
        len--;
    }

    if (len == 0) {
        return 0;
    }

    prefix = strlen(SVW_SECRET_PREFIX);

    if (secrets->n == SVW_NOTIFY_SECRETS || len < prefix || strncmp(line, SVW_SECRET_PREFIX, prefix) != 0) {
        return -1;
    }

    line += prefix;
    len -= prefix;

    for (padding = 0; padding < 2 && padding < len && line[len - padding - 1] == '='; padding++) { /* void */ }

    n = len % 4 == 0 ? EVP_DecodeBlock(key, (const unsigned char *) line, (int) len) - (int) padding : -1;

    if (n < SVW_NOTIFY_SECRET_MIN || n > SVW_NOTIFY_SECRET_MAX) {
        return -1;
    }

    memcpy(secrets->key[secrets->n], key, (size_t) n);
    secrets->len[secrets->n++] = (size_t) n;
    OPENSSL_cleanse(key, sizeof(key));

    return 0;
}
