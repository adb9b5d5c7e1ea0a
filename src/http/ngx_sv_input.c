/*
 * What the client sent besides the pack: headers and JSON body -> order.
 * Every refusal names the element, the place and the reason.
 */

#include "ngx_sv.h"
#include "../gs1/sv_gs1.h"

#include <jansson.h>


/* of a member that there is not, told back */
#define NGX_SV_NAME_SHOWN  ((size_t) 40)


static void ngx_sv_problem_member(ngx_sv_problem_t *problem, const char *name);
static ngx_int_t ngx_sv_order_member(ngx_sv_order_t *order, const char *name, const char *value,
    size_t len, ngx_sv_problem_t *problem);
static ngx_int_t ngx_sv_order_check(ngx_sv_order_t *order, ngx_uint_t kind,
    ngx_sv_problem_t *problem);
static ngx_uint_t ngx_sv_time_valid(const char *text, size_t len);
static int64_t ngx_sv_time_ms(const char *text, size_t len);


/* the operations a client may ask for; what they do is in sql/002_rules.sql */
static const char *const  ngx_sv_operations[] = {
    "verify", "supply", "destroy", "export", "sample", "free_sample", "lock", "steal",
    "check_out", "undo", NULL
};

static const char *const  ngx_sv_entry_modes[] = { "scanned", "manual", NULL };


static const char *
ngx_sv_word(const char *const *words, const char *value)
{
    for ( /* void */ ; *words != NULL; words++) {
        if (ngx_strcmp(*words, value) == 0) {
            return *words;
        }
    }

    return NULL;
}


void
ngx_sv_read_headers(ngx_http_request_t *r, ngx_sv_ctx_t *ctx)
{
    ngx_uint_t        i;
    ngx_str_t        *value;
    sv_span_t         languages;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    if (ctx->headers_read) {
        return;
    }

    ctx->headers_read = 1;

    part = &r->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        value = &h[i].value;

        if (h[i].key.len == sizeof("Accept-Language") - 1
            && ngx_strncmp(h[i].lowcase_key, "accept-language", 15) == 0)
        {
            languages.data = value->data;
            languages.len = value->len;
            ctx->lang = sv_lang_parse(languages);

        } else if (h[i].key.len == sizeof("Entry-Mode") - 1
                   && ngx_strncmp(h[i].lowcase_key, "entry-mode", 10) == 0)
        {
            ctx->entry_mode = *value;

        } else if (h[i].key.len == sizeof("Idempotency-Key") - 1
                   && ngx_strncmp(h[i].lowcase_key, "idempotency-key", 15) == 0)
        {
            ctx->idempotency_keys++;
            ctx->idempotency_key = *value;

        } else if (h[i].key.len == sizeof("Sec-Fetch-Site") - 1
                   && ngx_strncmp(h[i].lowcase_key, "sec-fetch-site", 14) == 0)
        {
            ctx->cross_site = value->len == 10 && ngx_strncmp(value->data, "cross-site", 10) == 0;
        }
    }
}


/* A browser that holds a client certificate sends it for any page that asks. */
ngx_int_t
ngx_sv_same_site(ngx_sv_ctx_t *ctx, ngx_sv_problem_t *problem)
{
    if (!ctx->cross_site) {
        return NGX_OK;
    }

    ngx_sv_problem(problem, NGX_HTTP_FORBIDDEN, "cross_site", "Sec-Fetch-Site",
                   "The page of another site may not send this.");

    return NGX_DECLINED;
}


/* The body as JSON; small ones are in memory, larger ones nginx has put into a file. */
ngx_sv_json_value_t *
ngx_sv_body_json(ngx_http_request_t *r, ngx_sv_problem_t *problem)
{
    size_t         len;
    ssize_t        n;
    u_char        *body, *p;
    json_t        *json;
    ngx_buf_t     *b;
    json_error_t   error;
    ngx_chain_t   *cl;

    len = 0;

    if (r->request_body != NULL) {
        for (cl = r->request_body->bufs; cl != NULL; cl = cl->next) {
            len += (size_t) ngx_buf_size(cl->buf);
        }
    }

    if (len == 0) {
        ngx_sv_problem(problem, NGX_HTTP_BAD_REQUEST, "body_missing", NULL,
                       "Send a JSON document in the body.");
        return NULL;
    }

    body = ngx_pnalloc(r->pool, len);
    if (body == NULL) {
        ngx_sv_problem(problem, NGX_HTTP_INTERNAL_SERVER_ERROR, "internal", NULL, "Out of memory.");
        return NULL;
    }

    p = body;

    for (cl = r->request_body->bufs; cl != NULL; cl = cl->next) {
        b = cl->buf;

        if (b->in_file) {
            n = ngx_read_file(b->file, p, (size_t) (b->file_last - b->file_pos), b->file_pos);
            if (n < 0) {
                ngx_sv_problem(problem, NGX_HTTP_INTERNAL_SERVER_ERROR, "internal", NULL,
                               "The body could not be read back.");
                return NULL;
            }

            p += n;

        } else if (b->last != b->pos) {
            p = ngx_cpymem(p, b->pos, b->last - b->pos);
        }
    }

    json = json_loadb((char *) body, (size_t) (p - body), JSON_REJECT_DUPLICATES, &error);

    if (json == NULL) {
        ngx_sv_problem(problem, NGX_HTTP_BAD_REQUEST, "json_malformed", NULL,
                       "%s: line %d, column %d.",
                       json_error_code(&error) == json_error_duplicate_key
                       ? "A member stands twice in an object" : "The body is not JSON",
                       error.line, error.column);
        problem->offset = error.position;
    }

    return json;
}


void
ngx_sv_json_free(ngx_sv_json_value_t *json)
{
    json_decref(json);
}


ngx_int_t
ngx_sv_order_from_json(const ngx_sv_json_value_t *json, ngx_uint_t kind, ngx_sv_order_t *order,
    ngx_sv_pack_t *pack, ngx_sv_problem_t *problem)
{
    size_t       len;
    ngx_int_t    rc;
    ngx_uint_t   scanned;
    json_t      *value;
    sv_span_t    text;
    const char  *name;

    ngx_memzero(order, sizeof(ngx_sv_order_t));
    scanned = 0;

    if (!json_is_object(json)) {
        ngx_sv_problem(problem, NGX_SV_UNPROCESSABLE, "object_expected", NULL,
                       "A JSON object is expected here.");
        return NGX_DECLINED;
    }

    json_object_foreach((json_t *) json, name, value) {

        if (!json_is_string(value)) {
            ngx_sv_problem(problem, NGX_SV_UNPROCESSABLE, "string_expected", NULL,
                           "Every member is a string; \"%*s\" is not.",
                           ngx_min(ngx_strlen(name), NGX_SV_NAME_SHOWN), name);
            ngx_sv_problem_member(problem, name);
            return NGX_DECLINED;
        }

        len = json_string_length(value);

        if (kind != NGX_SV_BODY_ORDER && ngx_strcmp(name, "scan") == 0) {
            text.data = (const uint8_t *) json_string_value(value);
            text.len = len;

            rc = ngx_sv_pack_from_text(text, pack, problem);
            scanned = 1;

        } else if (ngx_strcmp(name, "key") == 0 && kind != NGX_SV_BODY_LINE) {
            ngx_sv_problem(problem, NGX_SV_UNPROCESSABLE, "member_unknown", "key",
                           "The key of a single operation is the header Idempotency-Key.");
            rc = NGX_DECLINED;

        } else {
            rc = ngx_sv_order_member(order, name, json_string_value(value), len, problem);
        }

        if (rc != NGX_OK) {
            return NGX_DECLINED;
        }
    }

    if (kind != NGX_SV_BODY_ORDER && !scanned) {
        ngx_sv_problem(problem, NGX_SV_UNPROCESSABLE, "scan_missing", "scan",
                       "Say in \"scan\" what the scanner sent: \"]d201...\", a Digital Link"
                       " or \"(01)...(21)...\".");
        return NGX_DECLINED;
    }

    return ngx_sv_order_check(order, kind, problem);
}


static void
ngx_sv_problem_member(ngx_sv_problem_t *problem, const char *name)
{
    (void) ngx_cpystrn((u_char *) problem->member, (u_char *) name, sizeof(problem->member));
    problem->element = problem->member;
}


static ngx_int_t
ngx_sv_order_member(ngx_sv_order_t *order, const char *name, const char *value, size_t len,
    ngx_sv_problem_t *problem)
{
    ngx_str_t  key;

    if (ngx_strcmp(name, "operation") == 0) {
        order->operation = ngx_sv_word(ngx_sv_operations, value);

        if (order->operation == NULL || ngx_strlen(value) != len) {
            ngx_sv_problem(problem, NGX_SV_UNPROCESSABLE, "operation_unknown", "operation",
                           "Known operations: verify, supply, destroy, export, sample,"
                           " free_sample, lock, steal, check_out, undo.");
            return NGX_DECLINED;
        }

    } else if (ngx_strcmp(name, "of") == 0) {
        order->of = ngx_sv_word(ngx_sv_operations, value);

        if (order->of == NULL || ngx_strcmp(order->of, "verify") == 0
            || ngx_strcmp(order->of, "undo") == 0 || ngx_strlen(value) != len)
        {
            ngx_sv_problem(problem, NGX_SV_UNPROCESSABLE, "of_unknown", "of",
                           "\"of\" names the operation to take back, for example supply.");
            return NGX_DECLINED;
        }

    } else if (ngx_strcmp(name, "entry_mode") == 0) {
        order->entry_mode = ngx_sv_word(ngx_sv_entry_modes, value);

        if (order->entry_mode == NULL || ngx_strlen(value) != len) {
            ngx_sv_problem(problem, NGX_SV_UNPROCESSABLE, "entry_mode_unknown", "entry_mode",
                           "\"entry_mode\" is scanned or manual.");
            return NGX_DECLINED;
        }

    } else if (ngx_strcmp(name, "occurred_at") == 0) {
        if (!ngx_sv_time_valid(value, len)) {
            ngx_sv_problem(problem, NGX_SV_UNPROCESSABLE, "occurred_at_malformed",
                           "occurred_at",
                           "A time with its offset is expected: 2027-01-31T09:30:00+01:00.");
            return NGX_DECLINED;
        }

        order->occurred_at_len = (uint8_t) len;
        ngx_memcpy(order->occurred_at, value, len);
        order->occurred_ms = ngx_sv_time_ms(value, len);

    } else if (ngx_strcmp(name, "key") == 0) {
        key.data = (u_char *) value;
        key.len = len;

        if (ngx_sv_key_check(&key, order, problem) != NGX_OK) {
            problem->status = NGX_SV_UNPROCESSABLE;
            problem->element = "key";
            return NGX_DECLINED;
        }

    } else {
        ngx_sv_problem(problem, NGX_SV_UNPROCESSABLE, "member_unknown", NULL,
                       "There is no member \"%*s\".",
                       ngx_min(ngx_strlen(name), NGX_SV_NAME_SHOWN), name);
        ngx_sv_problem_member(problem, name);
        return NGX_DECLINED;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_sv_order_check(ngx_sv_order_t *order, ngx_uint_t kind, ngx_sv_problem_t *problem)
{
    if (order->operation == NULL) {
        if (kind == NGX_SV_BODY_ORDER) {
            ngx_sv_problem(problem, NGX_SV_UNPROCESSABLE, "operation_missing", "operation",
                           "Say what to do, for example {\"operation\":\"supply\"}.");
            return NGX_DECLINED;
        }

        order->operation = "verify";
    }

    order->verify = ngx_strcmp(order->operation, "verify") == 0;

    if (kind == NGX_SV_BODY_ORDER && order->verify) {
        ngx_sv_problem(problem, NGX_SV_UNPROCESSABLE, "operation_unknown", "operation",
                       "A verify changes nothing: use GET.");
        return NGX_DECLINED;
    }

    if ((order->of != NULL) != (ngx_strcmp(order->operation, "undo") == 0)) {
        ngx_sv_problem(problem, NGX_SV_UNPROCESSABLE,
                       order->of == NULL ? "of_missing" : "of_unexpected", "of",
                       "\"of\" goes with the operation undo, and only with it.");
        return NGX_DECLINED;
    }

    if (order->entry_mode == NULL) {
        order->entry_mode = "scanned";
    }

    if (kind == NGX_SV_BODY_LINE && !order->verify && order->key_len == 0) {
        ngx_sv_problem(problem, NGX_SV_UNPROCESSABLE, "key_missing", "key",
                       "Every operation in a list has a key of its own, so that a repeat is safe.");
        return NGX_DECLINED;
    }

    return NGX_OK;
}


ngx_int_t
ngx_sv_key_check(ngx_str_t *key, ngx_sv_order_t *order, ngx_sv_problem_t *problem)
{
    size_t  i;

    if (key->len == 0) {
        ngx_sv_problem(problem, NGX_HTTP_BAD_REQUEST, "key_missing", "Idempotency-Key",
                       "An operation needs a key (in the header Idempotency-Key, in a list in"
                       " its line), new for every operation and the same when it is repeated"
                       " after a lost answer.");
        return NGX_DECLINED;
    }

    for (i = 0; i < key->len; i++) {
        if (key->data[i] <= 0x20 || key->data[i] >= 0x7f) {
            break;
        }
    }

    if (key->len > SV_KEY_MAX || i < key->len) {
        ngx_sv_problem(problem, NGX_SV_UNPROCESSABLE, "key_malformed", "Idempotency-Key",
                       "A key is 1 to %d printable ASCII characters without blanks, for example"
                       " a UUID.", SV_KEY_MAX);
        return NGX_DECLINED;
    }

    order->key_len = (uint8_t) key->len;
    ngx_memcpy(order->key, key->data, key->len);

    return NGX_OK;
}


/* RFC 3339: 2027-01-31T09:30:00[.123](Z|+01:00) with all numbers in their ranges */
static ngx_uint_t
ngx_sv_time_valid(const char *text, size_t len)
{
    int        year, y;
    size_t     i, rest;
    unsigned   month, day, m, d;
    sv_day_t   date;

    static const char  form[] = "dddd-dd-ddTdd:dd:dd";

    if (len < sizeof(form) || len > NGX_SV_OCCURRED_AT) {
        return 0;
    }

    for (i = 0; i < sizeof(form) - 1; i++) {
        if (form[i] == 'd' ? (text[i] < '0' || text[i] > '9') : text[i] != form[i]) {
            return 0;
        }
    }

#define ngx_sv_two(p)  ((unsigned) ((p)[0] - '0') * 10 + (unsigned) ((p)[1] - '0'))

    year = (int) (ngx_sv_two(text) * 100 + ngx_sv_two(text + 2));
    month = ngx_sv_two(text + 5);
    day = ngx_sv_two(text + 8);

    if (year < 1970 || month < 1 || month > 12 || day < 1 || day > 31
        || ngx_sv_two(text + 11) > 23 || ngx_sv_two(text + 14) > 59
        || ngx_sv_two(text + 17) > 59)
    {
        return 0;
    }

    date = sv_day_from_civil(year, month, day);
    sv_day_to_civil(date, &y, &m, &d);

    if (m != month || d != day) {
        return 0;
    }

    if (text[i] == '.') {
        for (i++; i < len && text[i] >= '0' && text[i] <= '9'; i++) { /* void */ }

        if (text[i - 1] == '.') {
            return 0;
        }
    }

    rest = len - i;

    if (rest == 1) {
        return text[i] == 'Z';
    }

    return rest == 6 && (text[i] == '+' || text[i] == '-')
           && text[i + 1] >= '0' && text[i + 1] <= '1' && text[i + 2] >= '0' && text[i + 2] <= '9'
           && text[i + 3] == ':' && text[i + 4] >= '0' && text[i + 4] <= '5'
           && text[i + 5] >= '0' && text[i + 5] <= '9'
           && ngx_sv_two(text + i + 1) <= 14;
}


/* of a valid one, since 1970 */
static int64_t
ngx_sv_time_ms(const char *text, size_t len)
{
    size_t    i;
    int64_t   ms, zone;
    unsigned  scale;
    sv_day_t  day;

    day = sv_day_from_civil((int) (ngx_sv_two(text) * 100 + ngx_sv_two(text + 2)), ngx_sv_two(text + 5),
                            ngx_sv_two(text + 8));
    ms = ((int64_t) day * 86400 + ngx_sv_two(text + 11) * 3600 + ngx_sv_two(text + 14) * 60
          + ngx_sv_two(text + 17)) * 1000;

    i = sizeof("2027-01-31T09:30:00") - 1;

    if (text[i] == '.') {
        scale = 100;

        for (i++; text[i] >= '0' && text[i] <= '9'; i++) {
            ms += (text[i] - '0') * scale;
            scale /= 10;
        }
    }

    if (len - i == 1) {
        return ms;
    }

    zone = (ngx_sv_two(text + i + 1) * 60 + ngx_sv_two(text + i + 4)) * 60000;

    return text[i] == '+' ? ms - zone : ms + zone;
}

#undef ngx_sv_two
