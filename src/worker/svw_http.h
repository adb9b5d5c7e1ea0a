/*
 * POST to a receiver outside: what the roles push and notify have in common.
 * Nothing is followed, no proxy is asked, and no answer is read without end.
 */

#ifndef SVW_HTTP_H
#define SVW_HTTP_H

#include "svw.h"

#include <curl/curl.h>


#define SVW_HTTP_URL  2048              /* longest */

typedef enum {
    SVW_HTTP_TAKEN,
    SVW_HTTP_LATER,                     /* it may take it another time */
    SVW_HTTP_REFUSED                    /* it will not, as things are */
} svw_http_result_t;

typedef struct {
    svw_http_result_t   result;
    int64_t             retry_after_ms; /* 0: it did not say */
    char                error[SVW_TEXT];
} svw_http_answer_t;

typedef struct {
    CURL               *curl;
    struct curl_slist  *headers;        /* of this request */
    size_t              got;            /* bytes of the answer's body */
    char                body[SVW_TEXT]; /* how it begins */
    char                error[SVW_TEXT];
    char                curl_error[CURL_ERROR_SIZE];
} svw_http_t;


/* NULL, or why nothing is sent there: https, or this host */
const char *svw_http_url(const char *url);

/* -1: http->error says why; the URL is in order (svw_http_url) */
int svw_http_open(svw_http_t *http, const char *url, unsigned timeout);
void svw_http_close(svw_http_t *http);

/* One request: its headers, its body (which stays until the answer), what came of it (after which there are no headers). */
int svw_http_header(svw_http_t *http, const char *line);       /* -1: http->error */
void svw_http_body(svw_http_t *http, const char *body, size_t len);
void svw_http_answer(svw_http_t *http, CURLcode rc, svw_http_answer_t *answer);

/* When to try again, in ms: doubling up to `most', a random half of it, so that many senders do not come back together. */
int64_t svw_http_pause(int64_t base, int64_t attempts, int64_t most, const svw_http_answer_t *answer);

#endif /* SVW_HTTP_H */
