/* a line of JSON of replay -> what the judge takes: liberal, and broken lines with their reason */

#include "src/worker/svw_replay.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>


static svw_replay_reader_t  *reader;
static svw_replay_record_t   record;
static char                  error[SVW_TEXT];


static int
read_line(const char *line)
{
    return svw_replay_read(reader, (sv_span_t) { (const uint8_t *) line, strlen(line) }, &record, error);
}


static svw_judge_scan_t *
scan(const char *members)
{
    char  line[1024];

    snprintf(line, sizeof(line), "{\"time\":\"2026-11-21T10:00:00Z\",\"gtin\":\"09506000134352\"%s%s}", *members != '\0' ? "," : "", members);

    if (read_line(line) != 0) {
        fail_msg("%s: %s", line, error);
    }

    assert_int_equal(record.kind, SVW_REPLAY_SCAN);

    return &record.u.scan;
}


static void
span_is(sv_span_t span, const char *expected)
{
    if (span.len != strlen(expected) || (span.len > 0 && memcmp(span.data, expected, span.len) != 0)) {
        fail_msg("\"%.*s\", not \"%s\"", (int) span.len, span.data, expected);
    }
}


static int
setup(void **state)
{
    (void) state;

    reader = svw_replay_reader_create();

    return reader == NULL;
}


static int
teardown(void **state)
{
    (void) state;

    svw_replay_reader_destroy(reader);

    return 0;
}


static void
test_scan(void **state)
{
    svw_judge_scan_t  *s;

    (void) state;

    assert_int_equal(read_line("{\"time\":\"2026-11-21T11:30:00.250+01:30\",\"gtin\":\"09506000134352\",\"serial\":\"aB\\u002f1\",\"lot\":\"L7\","
        "\"expiry\":\"271200\",\"operation\":\"undo\",\"of\":\"supply\",\"actor_kind\":\"hospital\",\"actor\":\"9506000134352\","
        "\"session\":null,\"country\":\"it\",\"lat\":45.5,\"lon\":-9.25,\"accuracy_km\":0.5,\"entry_mode\":\"manual\","
        "\"outcome\":\"undo_too_late\",\"idempotency_key\":\"k1\",\"extra\":{\"serial\":\"X\",\"a\":[{\"lot\":\"Y\"}]}}\r"), 0);

    s = &record.u.scan;
    assert_int_equal(record.kind, SVW_REPLAY_SCAN);
    assert_int_equal(record.timed, 1);
    assert_int_equal(s->time_ms, INT64_C(1795255200250));
    assert_true(s->gtin == 9506000134352);
    span_is(s->serial, "aB/1");
    span_is(s->lot, "L7");
    span_is(s->expiry, "271200");
    assert_int_equal(s->operation, SVW_OP_UNDO);
    assert_int_equal(s->of, SVW_OP_SUPPLY);
    assert_int_equal(s->kind, SVW_ACTOR_HOSPITAL);
    span_is(s->actor, "9506000134352");
    span_is(s->session, "");
    assert_string_equal(s->country, "IT");
    assert_true(s->lat == 45.5 && s->lon == -9.25 && s->accuracy_km == 0.5);
    assert_int_equal(s->entry, SVW_ENTRY_MANUAL);
    assert_int_equal(s->reason, SV_REASON_UNDO_TOO_LATE);
    span_is(record.key, "k1");
}


static void
test_unknown(void **state)
{
    svw_judge_scan_t  *s;

    (void) state;

    s = scan("");
    span_is(s->serial, "");
    span_is(s->lot, "");
    span_is(s->expiry, "");
    assert_int_equal(s->operation, SVW_OP_VERIFY);
    assert_int_equal(s->kind, SVW_ACTOR_CONSUMER);
    assert_string_equal(s->country, "");
    assert_true(isnan(s->lat) && isnan(s->lon) && isnan(s->accuracy_km));
    assert_int_equal(s->entry, SVW_ENTRY_UNKNOWN);
    assert_int_equal(s->reason, SV_REASON_MAX);
    span_is(record.key, "");

    s = scan("\"serial\":null,\"lot\":null,\"lat\":null,\"actor\":\"a\",\"country\":null,\"operation\":null,\"type\":null");
    span_is(s->serial, "");
    assert_int_equal(s->kind, SVW_ACTOR_UNKNOWN);
    assert_int_equal(s->operation, SVW_OP_VERIFY);

    s = scan("\"operation\":\"juggle\",\"actor_kind\":\"circus\",\"outcome\":\"splendid\",\"entry_mode\":\"psychic\",\"country\":\"Narnia\"");
    assert_int_equal(s->operation, SVW_OP_OTHER);
    assert_int_equal(s->kind, SVW_ACTOR_OTHER);
    assert_int_equal(s->reason, SV_REASON_MAX);
    assert_int_equal(s->entry, SVW_ENTRY_UNKNOWN);
    assert_string_equal(s->country, "");

    s = scan("\"lat\":0,\"lon\":0,\"accuracy_km\":-1");
    assert_true(isnan(s->lat) && isnan(s->lon) && isnan(s->accuracy_km));
    s = scan("\"lat\":91,\"lon\":0");
    assert_true(isnan(s->lat) && isnan(s->lon));
    s = scan("\"lat\":\"45.5\",\"lon\":\"9e0\"");
    assert_true(s->lat == 45.5 && s->lon == 9);
    s = scan("\"lat\":true,\"lon\":[1]");
    assert_true(isnan(s->lat));

    /* numbers for text, and text as it is */
    s = scan("\"serial\":123456789012345678901,\"lot\":7,\"session\":42,\"actor\":8,\"actor_kind\":\"Parallel-Distributor\"");
    span_is(s->serial, "123456789012345678901");
    span_is(s->lot, "7");
    span_is(s->session, "42");
    assert_int_equal(s->kind, SVW_ACTOR_PARALLEL_DISTRIBUTOR);

    /* what comes twice: the last */
    s = scan("\"serial\":\"A\",\"serial\":\"B\"");
    span_is(s->serial, "B");
    s = scan("\"serial\":[\"A\"],\"lot\":{\"serial\":\"C\"}");
    span_is(s->serial, "");
    span_is(s->lot, "");

    assert_int_equal(read_line("{}"), 0);
    assert_int_equal(record.timed, 0);
    assert_true(record.u.scan.gtin == 0);
    assert_int_equal(read_line(""), 0);
    assert_int_equal(record.kind, SVW_REPLAY_NOTHING);
    assert_int_equal(read_line(" \t\r"), 0);
    assert_int_equal(record.kind, SVW_REPLAY_NOTHING);
    assert_int_equal(read_line("{\"type\":\"weather\",\"time\":\"soon\"}"), 0);
    assert_int_equal(record.kind, SVW_REPLAY_NOTHING);
}


static void
test_values(void **state)
{
    size_t  i;
    char    line[256];

    static const struct { const char  *text; int64_t  ms; }  times[] = {
        { "1970-01-01T00:00:00Z", 0 }, { "1970-01-01t00:00:00.5z", 500 }, { "1970-01-01 00:00:00.123456789Z", 123 },
        { "1970-01-01T02:00:00+02:00", 0 }, { "1969-12-31T19:00:00-05:00", 0 }, { "1970-01-01T05:45:00+05:45", 0 }
    };

    static const struct { const char  *text; uint64_t  gtin; }  gtins[] = {
        { "\"09506000134352\"", 9506000134352 }, { "9506000134352", 9506000134352 }, { "\"96385074\"", 96385074 },
        { "\"614141000036\"", 614141000036 }, { "\"09506000134359\"", 9506000134359 }
    };

    static const struct { const char  *text, *expiry; }  expiries[] = {
        { "\"271231\"", "271231" }, { "271231", "271231" }, { "51231", "051231" }, { "\"2027-12-31\"", "271231" },
        { "\"20271231\"", "271231" }, { "\"27123A\"", "27123A" }, { "\"\"", "" }
    };

    (void) state;

    for (i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        snprintf(line, sizeof(line), "{\"time\":\"%s\"}", times[i].text);

        if (read_line(line) != 0 || record.u.scan.time_ms != times[i].ms) {
            fail_msg("%s", times[i].text);
        }
    }

    for (i = 0; i < sizeof(gtins) / sizeof(gtins[0]); i++) {
        snprintf(line, sizeof(line), "{\"gtin\":%s}", gtins[i].text);

        if (read_line(line) != 0 || record.u.scan.gtin != gtins[i].gtin) {
            fail_msg("%s", gtins[i].text);
        }
    }

    for (i = 0; i < sizeof(expiries) / sizeof(expiries[0]); i++) {
        snprintf(line, sizeof(line), "{\"expiry\":%s}", expiries[i].text);
        assert_int_equal(read_line(line), 0);
        span_is(record.u.scan.expiry, expiries[i].expiry);
    }

    /* every word of the lists is known */
    for (i = 0; i < SV_REASON_MAX; i++) {
        snprintf(line, sizeof(line), "{\"outcome\":\"%s\"}", sv_reason_row((sv_reason_t) i)->word);
        assert_int_equal(read_line(line), 0);
        assert_int_equal(record.u.scan.reason, i);
    }
}


static void
test_facts(void **state)
{
    svw_judge_commission_t  *c;
    svw_judge_location_t    *l;

    (void) state;

    assert_int_equal(read_line("{\"type\":\"commission\",\"time\":\"2026-01-01T00:00:00Z\",\"gtin\":9506000134352,\"lot\":\"L7\","
        "\"expiry\":\"271231\",\"markets\":[\"IT\",\"de\",null,7,\"ZZZ\"],\"line\":3,\"serials\":[\"A\",7,\"b\\\\\"]}"), 0);
    c = &record.u.commission;
    assert_int_equal(record.kind, SVW_REPLAY_COMMISSION);
    assert_int_equal(c->n_serials, 3);
    span_is(c->serials[1], "7");
    span_is(c->serials[2], "b\\");
    assert_int_equal(c->n_markets, 2);
    span_is(c->markets[0], "IT");
    span_is(c->markets[1], "DE");
    span_is(c->line, "3");

    assert_int_equal(read_line("{\"type\":\"commission\",\"gtin\":\"96385074\",\"markets\":\"it, DE\",\"serials\":12000}"), 0);
    assert_int_equal(record.u.commission.n_serials, 0);
    assert_int_equal(record.u.commission.n_markets, 2);
    assert_int_equal(record.timed, 0);

    assert_int_equal(read_line("{\"type\":\"commission\",\"gtin\":\"96385074\",\"markets\":[],\"serial\":\"A\"}"), 0);
    assert_int_equal(record.u.commission.n_serials, 1);
    assert_int_equal(record.u.commission.n_markets, 0);

    assert_int_equal(read_line("{\"type\":\"location\",\"actor\":\"P1\",\"gln\":\"9506000134352\",\"kind\":\"pharmacy\","
        "\"country\":\"IT\",\"lat\":1,\"lon\":2}"), 0);
    l = &record.u.location;
    assert_int_equal(record.kind, SVW_REPLAY_LOCATION);
    span_is(l->actor, "P1");
    span_is(l->gln, "9506000134352");
    assert_int_equal(l->kind, SVW_ACTOR_PHARMACY);
    assert_true(l->lat == 1 && l->lon == 2);

    assert_int_equal(read_line("{\"type\":\"recall\",\"time\":\"2026-01-01T00:00:00Z\",\"gtin\":\"96385074\",\"lot\":\"L\"}"), 0);
    assert_int_equal(record.kind, SVW_REPLAY_RECALL);
    span_is(record.u.recall.lot, "L");
}


static void
test_broken(void **state)
{
    size_t  i;

    static const struct { const char  *line, *reason; }  lines[] = {
        { "{", "not JSON: it ends within the object" },
        { "{\"serial\":\"A", "not JSON: it ends within the object" },
        { "x", "not JSON: lexical error" },
        { "{\"serial\" \"A\"}", "not JSON: parse error" },
        { "7", "one JSON object is needed" },
        { "null", "one JSON object is needed" },
        { "\"text\"", "one JSON object is needed" },
        { "[{}]", "one JSON object is needed" },
        { "{}{}", "one JSON object is needed" },
        { "{},{}", "" },
        { "{} x", "not JSON: lexical error" },
        { "{\"time\":\"yesterday\"}", "\"time\" \"yesterday\" is not a time as RFC 3339" },
        { "{\"time\":\"2026-13-01T00:00:00Z\"}", "\"time\" " },
        { "{\"time\":\"2026-01-01T00:00:00\"}", "\"time\" " },
        { "{\"time\":1767225600}", "\"time\" \"1767225600\" is not a time" },
        { "{\"gtin\":\"123\"}", "\"gtin\" \"123\" is not a GTIN: 8, 12, 13 or 14 digits are needed" },
        { "{\"gtin\":\"0950600013435A\"}", "\"gtin\" " },
        { "{\"gtin\":1.5e3}", "\"gtin\" " },
        { "{\"gtin\":\"\\u0007\\u001b[31m\"}", "\"gtin\" \"" },
        { "{\"type\":\"location\"}", "\"actor\" is missing" }
    };

    (void) state;

    for (i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        if (read_line(lines[i].line) != -1 || strncmp(error, lines[i].reason, strlen(lines[i].reason)) != 0) {
            fail_msg("%s: %s", lines[i].line, error);
        }

        assert_null(strpbrk(error, "\n\x1b\x07"));

        /* the next line does not suffer */
        (void) scan("\"serial\":\"A\"");
        span_is(record.u.scan.serial, "A");
    }
}


static void
test_large(void **state)
{
    int      i;
    FILE    *f;
    char    *line;
    size_t   len;

    (void) state;

    f = open_memstream(&line, &len);
    fprintf(f, "{\"type\":\"commission\",\"gtin\":\"96385074\",\"serials\":[");

    for (i = 0; i < 200000; i++) {
        fprintf(f, "%s\"S%06d\"", i > 0 ? "," : "", i);
    }

    fprintf(f, "]}");
    fclose(f);

    assert_int_equal(read_line(line), 0);
    assert_int_equal(record.u.commission.n_serials, 200000);
    span_is(record.u.commission.serials[199999], "S199999");
    free(line);

    line = malloc(100001);
    memset(line, '[', 100000);
    line[100000] = '\0';
    memcpy(line, "{\"a\":", 5);
    assert_int_equal(read_line(line), -1);
    assert_string_equal(error, "nested too deep");
    free(line);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_scan), cmocka_unit_test(test_unknown), cmocka_unit_test(test_values),
        cmocka_unit_test(test_facts), cmocka_unit_test(test_broken), cmocka_unit_test(test_large)
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
