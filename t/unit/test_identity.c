/* who asks: what proves it, and what does not */

#include "src/worker/svw_api_server.h"

#include <fcntl.h>
#include <openssl/hmac.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>


#define SECRET  "0123456789abcdef0123456789abcdef"
#define NOW     INT64_C(1795000000000)
#define TARGET  "/epcis/capture/a%2Fb?x=1"


/* as the module makes it */
static void
token_of(char out[2048], const char *secret, const char *method, const char *target, const char *payload)
{
    int             n;
    char            text[4096];
    size_t          i, len, m;
    unsigned        size;
    unsigned char   mac[32], base64[2048];

    n = EVP_EncodeBlock(base64, (const unsigned char *) payload, (int) strlen(payload));

    for (i = 0, len = 0; i < (size_t) n && base64[i] != '='; i++) {
        out[len++] = (char) (base64[i] == '+' ? '-' : base64[i] == '/' ? '_' : base64[i]);
    }

    m = (size_t) snprintf(text, sizeof(text), "%s\n%s\n%.*s", method, target, (int) len, out);
    assert_non_null(HMAC(EVP_sha256(), secret, (int) strlen(secret), (unsigned char *) text, m, mac, &size));

    out[len++] = '.';

    for (i = 0; i < 32; i++) {
        len += (size_t) snprintf(out + len, 3, "%02x", mac[i]);
    }
}


static void
payload_of(char out[1024], int64_t t, const char *company)
{
    snprintf(out, 1024, "{\"t\":%lld,\"location\":7,\"gln\":\"9506000100012\",\"role\":\"manufacturer\",\"company\":\"%s\","
             "\"country\":\"IT\",\"request\":\"00112233445566778899aabbccddeeff\",\"lang\":\"de\"}", (long long) t, company);
}


static int
verify(const char *token, const char *method, const char *target, int64_t now, svw_identity_t *who)
{
    return svw_identity_verify((const unsigned char *) SECRET, strlen(SECRET), token, method, target, now, who);
}


static void
test_good(void **state)
{
    char            token[2048], payload[1024];
    svw_identity_t  who;

    (void) state;

    payload_of(payload, NOW, "acm\\u00e9 \\\"x\\\"");
    token_of(token, SECRET, "POST", TARGET, payload);

    assert_int_equal(verify(token, "POST", TARGET, NOW, &who), 0);
    assert_int_equal(who.location.id, 7);
    assert_int_equal(who.location.role, SV_ROLE_MANUFACTURER);
    assert_string_equal(who.location.gln, "9506000100012");
    assert_string_equal(who.location.company, "acm\xc3\xa9 \"x\"");
    assert_string_equal(who.location.country, "IT");
    assert_string_equal(who.request_id, "00112233445566778899aabbccddeeff");
    assert_string_equal(who.lang, "de");

    assert_int_equal(verify(token, "POST", TARGET, NOW + 60000, &who), 0);
    assert_int_equal(verify(token, "POST", TARGET, NOW - 5000, &who), 0);
}


static void
test_bound(void **state)
{
    char            token[2048], payload[1024];
    svw_identity_t  who;

    (void) state;

    payload_of(payload, NOW, "acme");
    token_of(token, SECRET, "POST", TARGET, payload);

    assert_int_equal(verify(token, "POST", TARGET, NOW + 60001, &who), -1);
    assert_int_equal(who.location.id, 0);
    assert_int_equal(verify(token, "POST", TARGET, NOW - 5001, &who), -1);
    assert_int_equal(verify(token, "GET", TARGET, NOW, &who), -1);
    assert_int_equal(verify(token, "POST", "/epcis/capture/a/b?x=1", NOW, &who), -1);
    assert_int_equal(verify(token, "POST", "/epcis/capture/a%2Fb?x=2", NOW, &who), -1);
    assert_int_equal(verify(token, "POST", "/epcis/capture/a%2Fb", NOW, &who), -1);

    token_of(token, "another secret of the same length", "POST", TARGET, payload);
    assert_int_equal(verify(token, "POST", TARGET, NOW, &who), -1);
}


/* every byte of a token counts */
static void
test_changed(void **state)
{
    char            token[2048], payload[1024], was;
    size_t          i, len;
    svw_identity_t  who;

    (void) state;

    payload_of(payload, NOW, "acme");
    token_of(token, SECRET, "GET", TARGET, payload);
    len = strlen(token);

    for (i = 0; i < len; i++) {
        was = token[i];
        token[i] = was == 'a' ? 'b' : 'a';
        assert_int_equal(verify(token, "GET", TARGET, NOW, &who), -1);
        token[i] = was;
    }

    for (i = 0; i < len; i++) {
        was = token[i];
        token[i] = '\0';
        assert_int_equal(verify(token, "GET", TARGET, NOW, &who), -1);
        token[i] = was;
    }

    token[len] = '0';
    token[len + 1] = '\0';
    assert_int_equal(verify(token, "GET", TARGET, NOW, &who), -1);
}


/* whatever it says, with a proof: only what the module would say is taken */
static void
test_payloads(void **state)
{
    char            token[2048];
    size_t          i;
    svw_identity_t  who;

    static const char *const  bad[] = {
        "", "x", "{}", "[]", "null", "1795000000000",
        "{\"t\":1795000000000}",
        "{\"t\":1795000000000,\"location\":7}",
        "{\"t\":1795000000000,\"location\":7,\"role\":\"king\"}",
        "{\"t\":1795000000000,\"location\":0,\"role\":\"operator\"}",
        "{\"t\":1795000000000,\"location\":-1,\"role\":\"operator\"}",
        "{\"t\":1795000000000,\"location\":2147483648,\"role\":\"operator\"}",
        "{\"t\":1795000000000,\"location\":\"7\",\"role\":\"operator\"}",
        "{\"t\":1795000000000,\"location\":7,\"role\":\"operator\",\"gln\":\"95060001000123\"}",
        "{\"t\":1795000000000,\"location\":7,\"role\":\"operator\",\"lang\":\"english\"}",
        "{\"t\":1795000000000,\"location\":7,\"role\":\"operator\",\"company\":\"0123456789012345678901234567890123\"}",
        "{\"t\":1795000000000,\"location\":7,\"location\":8,\"role\":\"operator\"}",
        "{\"t\":1795000000000,\"location\":7,\"role\":\"operator\"} x",
        "{\"location\":7,\"role\":\"operator\"}",
    };

    (void) state;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        token_of(token, SECRET, "GET", "/", bad[i]);
        assert_int_equal(verify(token, "GET", "/", NOW, &who), -1);
    }

    token_of(token, SECRET, "GET", "/", "{\"t\":1795000000000,\"location\":7,\"role\":\"operator\"}");
    assert_int_equal(verify(token, "GET", "/", NOW, &who), 0);
    assert_string_equal(who.location.company, "");
}


static void
test_garbage(void **state)
{
    char            token[8192];
    size_t          i, n;
    unsigned        random;
    svw_identity_t  who;

    (void) state;

    assert_int_equal(verify("", "GET", "/", NOW, &who), -1);
    assert_int_equal(verify(".", "GET", "/", NOW, &who), -1);

    memset(token, 'A', sizeof(token));
    token[4096] = '.';
    token[sizeof(token) - 1] = '\0';
    assert_int_equal(verify(token, "GET", "/", NOW, &who), -1);

    for (n = 0, random = 1; n < 20000; n++) {
        for (i = 0; i < 100; i++) {
            random = random * 1103515245 + 12345;
            token[i] = (char) (random >> 16);
        }

        token[100] = '\0';
        token[n % 40] = '.';
        assert_int_equal(verify(token, "GET", "/", NOW, &who), -1);
    }
}


static void
test_secret(void **state)
{
    int            fd;
    char           path[] = "/tmp/sv-secret-XXXXXX", error[SVW_TEXT];
    size_t         len;
    unsigned char  secret[SVW_API_SECRET_MAX];

    (void) state;

    fd = mkstemp(path);
    assert_true(fd != -1);

    assert_int_equal(write(fd, SECRET "\r\n", 34), 34);
    assert_int_equal(svw_api_secret(path, secret, &len, error), 0);
    assert_int_equal(len, 32);
    assert_memory_equal(secret, SECRET, 32);

    assert_int_equal(fchmod(fd, 0644), 0);
    assert_int_equal(svw_api_secret(path, secret, &len, error), -1);
    assert_non_null(strstr(error, "others may read"));

    assert_int_equal(fchmod(fd, 0640), 0);
    assert_int_equal(ftruncate(fd, 31), 0);
    assert_int_equal(svw_api_secret(path, secret, &len, error), -1);
    assert_non_null(strstr(error, "32 to 4096 bytes"));

    assert_int_equal(ftruncate(fd, 4097), 0);
    assert_int_equal(svw_api_secret(path, secret, &len, error), -1);

    close(fd);
    unlink(path);
    assert_int_equal(svw_api_secret(path, secret, &len, error), -1);
    assert_non_null(strstr(error, "No such file"));
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_changed),
        cmocka_unit_test(test_payloads),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_secret),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
