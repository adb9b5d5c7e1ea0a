/* raw targets: their segments, their arguments, the endpoint that fits */

#include "src/worker/svw_api_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>


/* each target flush against its end, so that a sanitizer sees a byte too far */
static svw_api_call_t *
target(const char *text)
{
    svw_api_call_t  *call;

    call = calloc(1, sizeof(svw_api_call_t));
    assert_non_null(call);
    call->target = strdup(text);
    assert_non_null(call->target);

    return call;
}


static void
forget(svw_api_call_t *call)
{
    free(call->text);
    free(call->target);
    free(call);
}


static void
assert_segments(const char *text, int n, const char *const *expected)
{
    int              i;
    svw_api_call_t  *call;

    call = target(text);
    assert_int_equal(svw_api_target(call), 0);
    assert_int_equal(call->n_segments, n);

    for (i = 0; i < n; i++) {
        assert_string_equal(call->segment[i], expected[i]);
    }

    forget(call);
}


static void
test_segments(void **state)
{
    (void) state;

    assert_segments("/", 1, (const char *[]) { "" });
    assert_segments("/a", 1, (const char *[]) { "a" });
    assert_segments("/a/", 2, (const char *[]) { "a", "" });
    assert_segments("//a", 2, (const char *[]) { "", "a" });
    assert_segments("/a%2Fb/c?d/e", 2, (const char *[]) { "a/b", "c" });
    assert_segments("/a/../%2e%2E/b", 4, (const char *[]) { "a", "..", "..", "b" });
    assert_segments("/%c3%a9+%25", 1, (const char *[]) { "\xc3\xa9+%" });
    assert_segments("/1/2/3/4/5/6/7/8", 8, (const char *[]) { "1", "2", "3", "4", "5", "6", "7", "8" });
    assert_segments("/1/2/3/4/5/6/7/8/9", 0, NULL);
}


static void
test_arguments(void **state)
{
    svw_api_call_t  *call;

    (void) state;

    call = target("/x?a=1&b=%26%3D+&&c&d=&a=2&%65=x?y=z&=v");
    assert_int_equal(svw_api_target(call), 0);
    assert_string_equal(call->path, "/x");
    assert_string_equal(svw_api_query(&call->rq, "a"), "1");
    assert_string_equal(svw_api_query(&call->rq, "b"), "&=+");
    assert_string_equal(svw_api_query(&call->rq, "c"), "");
    assert_string_equal(svw_api_query(&call->rq, "d"), "");
    assert_string_equal(svw_api_query(&call->rq, "e"), "x?y=z");
    assert_null(svw_api_query(&call->rq, "f"));
    assert_null(svw_api_query(&call->rq, "A"));
    forget(call);
}


static void
test_malformed(void **state)
{
    size_t           i;
    svw_api_call_t  *call;

    static const char *const  bad[] = {
        "", "x", "*", "http://x/", "/%", "/%2", "/%2g", "/%g2", "/%00", "/a/%00/b", "/%ff", "/%c3", "/\xff", "/%ed%a0%80",
        "/?%", "/?a=%", "/?a=%4", "/?%00=a", "/?a=%00", "/?a=%c0%af",
        "/?1&2&3&4&5&6&7&8&9&10&11&12&13&14&15&16&17&18&19&20&21&22&23&24&25&26&27&28&29&30&31&32&33",
    };

    (void) state;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        call = target(bad[i]);
        assert_int_equal(svw_api_target(call), -1);
        forget(call);
    }
}


/* whatever it is, nothing is read or written beside it */
static void
test_random(void **state)
{
    char             text[64];
    size_t           i, n;
    unsigned         random;
    svw_api_call_t  *call;

    static const char  letters[] = "//??&&==%%%0aF2fecg.*+\xc3\xa9";

    (void) state;

    for (n = 0, random = 7; n < 50000; n++) {
        text[0] = '/';

        for (i = 1; i < 1 + n % 60; i++) {
            random = random * 1103515245 + 12345;
            text[i] = letters[(random >> 16) % (sizeof(letters) - 1)];
        }

        text[i] = '\0';
        call = target(text);

        if (svw_api_target(call) == 0) {
            assert_true(call->n_segments <= SVW_API_SEGMENTS);
            assert_true(call->n_args <= SVW_API_ARGS);
            assert_true(strlen(call->path) <= i);
            (void) svw_api_find(call, "GET");
        }

        forget(call);
    }
}


static void
test_match(void **state)
{
    char   a[] = "containers", b[] = "x/y", c[] = "";
    char  *one[] = { a, b }, *empty[] = { a, c }, *part[SVW_API_PARTS];

    (void) state;

    assert_true(svw_api_match("/containers/*", one, 2, part));
    assert_ptr_equal(part[0], b);
    assert_false(svw_api_match("/containers", one, 2, part));
    assert_true(svw_api_match("/containers", one, 1, part));
    assert_false(svw_api_match("/containers/*", one, 1, part));
    assert_false(svw_api_match("/containers/*", empty, 2, part));
    assert_false(svw_api_match("/container/*", one, 2, part));
    assert_false(svw_api_match("/containers/*/*", one, 2, part));
    assert_true(svw_api_match("/*/*", one, 2, part));
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_segments),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_match),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
