/*
 * Who asks.  nginx has authenticated the request and says so in a header with
 * a proof that only who has the secret can make: for this method and target,
 * and for a minute.
 */

#include "svw_api_server.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>


#define SVW_IDENTITY_TOKEN   2048
#define SVW_IDENTITY_MAC     32
#define SVW_IDENTITY_LIFE    60000      /* ms */
#define SVW_IDENTITY_AHEAD   5000       /* clocks of two hosts */


static int svw_identity_mac(const unsigned char *secret, size_t secret_len, const char *method, const char *target,
    const char *payload, size_t payload_len, unsigned char mac[SVW_IDENTITY_MAC]);
static int svw_identity_unhex(const char *text, unsigned char mac[SVW_IDENTITY_MAC]);
static int svw_identity_unbase64(const char *text, size_t len, char *out);
static int svw_identity_read(json_t *json, int64_t now_ms, svw_identity_t *who);
static int svw_identity_text(const json_t *json, const char *name, char *out, size_t cap);


int
svw_identity_verify(const unsigned char *secret, size_t secret_len, const char *token, const char *method,
    const char *target, int64_t now_ms, svw_identity_t *who)
{
    int             rc, n;
    char            text[SVW_IDENTITY_TOKEN];
    size_t          len;
    json_t         *json;
    const char     *dot;
    unsigned char   given[SVW_IDENTITY_MAC], mac[SVW_IDENTITY_MAC];

    *who = (svw_identity_t) { 0 };

    dot = strchr(token, '.');
    if (dot == NULL || strlen(token) >= SVW_IDENTITY_TOKEN) {
        return -1;
    }

    len = (size_t) (dot - token);

    /* nothing of the payload is looked at before its proof */
    if (svw_identity_unhex(dot + 1, given) != 0
        || svw_identity_mac(secret, secret_len, method, target, token, len, mac) != 0
        || CRYPTO_memcmp(given, mac, SVW_IDENTITY_MAC) != 0)
    {
        return -1;
    }

    n = svw_identity_unbase64(token, len, text);
    if (n < 0) {
        return -1;
    }

    json = json_loadb(text, (size_t) n, JSON_REJECT_DUPLICATES, NULL);
    rc = svw_identity_read(json, now_ms, who);
    json_decref(json);

    if (rc != 0) {
        *who = (svw_identity_t) { 0 };
    }

    return rc;
}


/* All bytes of the file but the end of its last line; the module reads it likewise. */
int
svw_api_secret(const char *path, unsigned char secret[SVW_API_SECRET_MAX], size_t *len, char error[SVW_TEXT])
{
    int            fd, bad;
    ssize_t        n;
    struct stat    st;
    unsigned char  more[SVW_API_SECRET_MAX + 1];

    fd = open(path, O_RDONLY|O_CLOEXEC);

    if (fd == -1 || fstat(fd, &st) != 0 || (n = read(fd, more, sizeof(more))) == -1) {
        snprintf(error, SVW_TEXT, "api_secret \"%s\": %s", path, strerror(errno));

        if (fd != -1) {
            close(fd);
        }

        return -1;
    }

    close(fd);
    bad = n > SVW_API_SECRET_MAX;

    while (n > 0 && (more[n - 1] == '\n' || more[n - 1] == '\r')) {
        n--;
    }

    if (st.st_mode & S_IRWXO) {
        snprintf(error, SVW_TEXT, "api_secret \"%s\": others may read or change it; chmod o= it", path);
        bad = -1;

    } else if (bad || n < SVW_API_SECRET_MIN) {
        snprintf(error, SVW_TEXT, "api_secret \"%s\": a secret is %d to %d bytes, such as of \"openssl rand -hex 32\"",
                 path, SVW_API_SECRET_MIN, SVW_API_SECRET_MAX);
        bad = -1;
    }

    if (!bad) {
        memcpy(secret, more, (size_t) n);
        *len = (size_t) n;
    }

    OPENSSL_cleanse(more, sizeof(more));

    return bad ? -1 : 0;
}


static int
svw_identity_mac(const unsigned char *secret, size_t secret_len, const char *method, const char *target,
    const char *payload, size_t payload_len, unsigned char mac[SVW_IDENTITY_MAC])
{
    int       n;
    char     *text;
    unsigned  len;

    n = asprintf(&text, "%s\n%s\n%.*s", method, target, (int) payload_len, payload);
    if (n == -1) {
        return -1;
    }

    len = 0;

    if (HMAC(EVP_sha256(), secret, (int) secret_len, (unsigned char *) text, (size_t) n, mac, &len) == NULL) {
        len = 0;
    }

    free(text);

    return len == SVW_IDENTITY_MAC ? 0 : -1;
}


/* 64 hexadecimal digits, small letters, and nothing else */
static int
svw_identity_unhex(const char *text, unsigned char mac[SVW_IDENTITY_MAC])
{
    size_t       i;
    const char  *digit;

    static const char  digits[] = "0123456789abcdef";

    if (strlen(text) != 2 * SVW_IDENTITY_MAC) {
        return -1;
    }

    for (i = 0; i < 2 * SVW_IDENTITY_MAC; i++) {
        digit = strchr(digits, text[i]);

        if (digit == NULL) {
            return -1;
        }

        mac[i / 2] = (unsigned char) (i % 2 ? mac[i / 2] << 4 | (digit - digits) : digit - digits);
    }

    return 0;
}


/* base64url without padding; how much it is, or -1 */
static int
svw_identity_unbase64(const char *text, size_t len, char *out)
{
    int          n;
    size_t       i;
    unsigned     bits;
    const char  *at;

    static const char  letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    for (i = 0, n = 0, bits = 0; i < len; i++) {
        at = memchr(letters, text[i], sizeof(letters) - 1);

        if (at == NULL) {
            return -1;
        }

        bits = bits << 6 | (unsigned) (at - letters);

        if (i % 4 != 0) {
            out[n++] = (char) (bits >> (6 - 2 * (i % 4)));
        }
    }

    return len % 4 == 1 ? -1 : n;
}


static int
svw_identity_read(json_t *json, int64_t now_ms, svw_identity_t *who)
{
    char                role[32];
    json_int_t          t, id;
    sv_ref_location_t  *location;

    location = &who->location;
    t = json_integer_value(json_object_get(json, "t"));
    id = json_integer_value(json_object_get(json, "location"));

    if (t < now_ms - SVW_IDENTITY_LIFE || t > now_ms + SVW_IDENTITY_AHEAD || id <= 0 || id > INT32_MAX
        || svw_identity_text(json, "gln", location->gln, sizeof(location->gln)) != 0
        || svw_identity_text(json, "role", role, sizeof(role)) != 0
        || svw_identity_text(json, "company", location->company, sizeof(location->company)) != 0
        || svw_identity_text(json, "country", location->country, sizeof(location->country)) != 0
        || svw_identity_text(json, "request", who->request_id, sizeof(who->request_id)) != 0
        || svw_identity_text(json, "lang", who->lang, sizeof(who->lang)) != 0)
    {
        return -1;
    }

    location->id = (int32_t) id;
    location->role = sv_role_parse(role);

    return location->role != SV_ROLE_NONE ? 0 : -1;
}


/* What is not there is empty; what does not fit is not ours. */
static int
svw_identity_text(const json_t *json, const char *name, char *out, size_t cap)
{
    const char  *text;

    text = json_string_value(json_object_get(json, name));

    return text == NULL ? 0 : (size_t) snprintf(out, cap, "%s", text) < cap ? 0 : -1;
}
