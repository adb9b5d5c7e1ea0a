/*
 * The raw target of a request: its path segment by segment, its arguments, and
 * the endpoint they lead to.  Segments are told apart before they are decoded:
 * a serial may hold %2F.
 */

#include "svw_api_server.h"

#include <stdlib.h>
#include <string.h>


static int svw_api_args(svw_api_call_t *call, char *text);
static int svw_api_decode(char *text);
static int svw_api_hex(char c);


static const svw_api_endpoint_t *const  svw_api_tables[] = {
    svw_api_capture,
    svw_api_events,
    svw_api_recall,
    svw_api_container,
    svw_api_export,
    svw_api_serials,
    svw_api_alert_events,
    svw_api_alerts,
    svw_api_alert_change,
    NULL
};


int
svw_api_target(svw_api_call_t *call)
{
    char    *p, *args;
    size_t   len;

    /* twice: the path as one text, and as segments with the arguments behind it */
    len = strlen(call->target);
    call->text = malloc(2 * (len + 1));

    if (call->text == NULL || call->target[0] != '/') {
        return -1;
    }

    p = memcpy(call->text, call->target, len + 1);
    args = strchr(p, '?');

    if (args != NULL) {
        *args++ = '\0';
    }

    call->path = memcpy(call->text + len + 1, p, strlen(p) + 1);
    call->rq.path = call->path;

    if (svw_api_decode(call->path) != 0) {
        return -1;
    }

    for (p++; p != NULL; ) {
        if (call->n_segments == SVW_API_SEGMENTS) {
            /* no endpoint is so deep */
            call->n_segments = 0;
            break;
        }

        call->segment[call->n_segments++] = strsep(&p, "/");
    }

    for (int i = 0; i < call->n_segments; i++) {
        if (svw_api_decode(call->segment[i]) != 0) {
            return -1;
        }
    }

    return args != NULL ? svw_api_args(call, args) : 0;
}


const svw_api_endpoint_t *
svw_api_find(svw_api_call_t *call, const char *method)
{
    const svw_api_endpoint_t         *e;
    const svw_api_endpoint_t *const  *table;

    if (strcmp(method, "HEAD") == 0) {
        method = "GET";
    }

    for (table = svw_api_tables; *table != NULL; table++) {
        for (e = *table; e->method != NULL; e++) {
            if (strcmp(e->method, method) == 0
                && svw_api_match(e->pattern, call->segment, call->n_segments, call->rq.part))
            {
                return e;
            }
        }
    }

    return NULL;
}


int
svw_api_allow(svw_api_call_t *call, char *out, size_t cap)
{
    size_t                            n;
    char                             *part[SVW_API_PARTS];
    const svw_api_endpoint_t         *e;
    const svw_api_endpoint_t *const  *table;

    n = 0;
    out[0] = '\0';

    for (table = svw_api_tables; *table != NULL; table++) {
        for (e = *table; e->method != NULL; e++) {
            if (strcmp(e->method, "OPTIONS") == 0
                || !svw_api_match(e->pattern, call->segment, call->n_segments, part))
            {
                continue;
            }

            n += (size_t) snprintf(out + n, cap - n, "%s%s", strcmp(e->method, "GET") == 0 ? "GET, HEAD" : e->method, ", ");

            if (n >= cap) {
                return 0;
            }
        }
    }

    if (n == 0) {
        return 0;
    }

    snprintf(out + n, cap - n, "OPTIONS");

    return 1;
}


/* a * is one segment that is not empty */
int
svw_api_match(const char *pattern, char *const segment[], int n, char *part[SVW_API_PARTS])
{
    int     i, parts;
    size_t  len;

    for (i = 0, parts = 0; *pattern == '/' && i < n; i++) {
        pattern++;
        len = strcspn(pattern, "/");

        if (len == 1 && pattern[0] == '*') {
            if (segment[i][0] == '\0' || parts == SVW_API_PARTS) {
                return 0;
            }

            part[parts++] = segment[i];

        } else if (strlen(segment[i]) != len || memcmp(segment[i], pattern, len) != 0) {
            return 0;
        }

        pattern += len;
    }

    return *pattern == '\0' && i == n;
}


const char *
svw_api_query(svw_api_request_t *rq, const char *name)
{
    unsigned         i;
    svw_api_call_t  *call;

    call = (svw_api_call_t *) (void *) rq;

    for (i = 0; i < call->n_args; i++) {
        if (strcmp(call->arg[i].name, name) == 0) {
            return call->arg[i].value;
        }
    }

    return NULL;
}


int
svw_api_arg(svw_api_request_t *rq, unsigned i, const char **name, const char **value)
{
    svw_api_call_t  *call;

    call = (svw_api_call_t *) (void *) rq;

    if (i >= call->n_args) {
        return -1;
    }

    *name = call->arg[i].name;
    *value = call->arg[i].value;

    return 0;
}


static int
svw_api_args(svw_api_call_t *call, char *text)
{
    char            *p;
    svw_api_pair_t  *arg;

    while ((p = strsep(&text, "&")) != NULL) {
        if (*p == '\0') {
            continue;
        }

        if (call->n_args == SVW_API_ARGS) {
            return -1;
        }

        arg = &call->arg[call->n_args++];
        arg->name = strsep(&p, "=");
        arg->value = p != NULL ? p : arg->name + strlen(arg->name);

        if (svw_api_decode(arg->name) != 0 || svw_api_decode(arg->value) != 0) {
            return -1;
        }
    }

    return 0;
}


/*
 * In place: percent escapes are decoded, a + is a +.  What is no UTF-8, or a
 * zero byte, has no meaning in any target of ours.
 */
static int
svw_api_decode(char *text)
{
    int      high, low;
    char    *in, *out;
    json_t  *check;

    for (in = out = text; *in != '\0'; in++) {
        if (*in == '%') {
            high = svw_api_hex(in[1]);
            low = high >= 0 ? svw_api_hex(in[2]) : -1;

            if (low < 0 || high * 16 + low == 0) {
                return -1;
            }

            *out++ = (char) (high * 16 + low);
            in += 2;

        } else {
            *out++ = *in;
        }
    }

    *out = '\0';

    check = json_string(text);
    if (check == NULL) {
        return -1;
    }

    json_decref(check);

    return 0;
}


static int
svw_api_hex(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }

    c |= 0x20;

    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}
