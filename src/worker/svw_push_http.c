#include "svw_push.h"

#include "svw_load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>


#define SVW_PUSH_ANSWER   (1024 * 1024) /* largest body of an answer that is read at all */
#define SVW_PUSH_CONNECT  10            /* s */
#define SVW_PUSH_TOKEN    4096


static int svw_push_url(svw_push_http_t *http, const char *url);
static int svw_push_loopback(const char *host);
static int svw_push_headers(svw_push_http_t *http, const char *key, struct curl_slist **headers);
static int svw_push_token(svw_push_http_t *http, char token[SVW_PUSH_TOKEN]);
static void svw_push_judge(svw_push_http_t *http, CURLcode rc, svw_push_answer_t *answer);
static size_t svw_push_body(char *data, size_t size, size_t n, void *arg);
static int svw_push_progress(void *arg, curl_off_t dltotal, curl_off_t dlnow, curl_off_t ultotal, curl_off_t ulnow);


int
svw_push_http_open(svw_push_http_t *http, const svw_conf_t *conf)
{
    *http = (svw_push_http_t) { .token_file = conf->push_token_file };

    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || (http->curl = curl_easy_init()) == NULL) {
        snprintf(http->error, sizeof(http->error), "libcurl cannot be used");
        return -1;
    }

    if (svw_push_url(http, conf->push_url) != 0) {
        return -1;
    }

    curl_easy_setopt(http->curl, CURLOPT_URL, conf->push_url);
    curl_easy_setopt(http->curl, CURLOPT_PROTOCOLS_STR, "https,http");
    curl_easy_setopt(http->curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(http->curl, CURLOPT_PROXY, "");
    curl_easy_setopt(http->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(http->curl, CURLOPT_CONNECTTIMEOUT, (long) SVW_PUSH_CONNECT);
    curl_easy_setopt(http->curl, CURLOPT_TIMEOUT, (long) SVW_PUSH_TIMEOUT);
    curl_easy_setopt(http->curl, CURLOPT_ERRORBUFFER, http->curl_error);
    curl_easy_setopt(http->curl, CURLOPT_WRITEFUNCTION, svw_push_body);
    curl_easy_setopt(http->curl, CURLOPT_WRITEDATA, http);
    curl_easy_setopt(http->curl, CURLOPT_XFERINFOFUNCTION, svw_push_progress);
    curl_easy_setopt(http->curl, CURLOPT_NOPROGRESS, 0L);

    return 0;
}


void
svw_push_http_close(svw_push_http_t *http)
{
    curl_easy_cleanup(http->curl);
    curl_global_cleanup();
}


void
svw_push_http_post(svw_push_http_t *http, const char *key, const char *document, size_t len, svw_push_answer_t *answer)
{
    CURLcode            rc;
    struct curl_slist  *headers;

    *answer = (svw_push_answer_t) { .result = SVW_PUSH_LATER };
    headers = NULL;

    if (svw_push_headers(http, key, &headers) != 0) {
        snprintf(answer->error, sizeof(answer->error), "%s", http->error);
        curl_slist_free_all(headers);
        return;
    }

    http->got = 0;
    http->body[0] = '\0';
    http->curl_error[0] = '\0';

    curl_easy_setopt(http->curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(http->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) len);
    curl_easy_setopt(http->curl, CURLOPT_POSTFIELDS, document);

    rc = curl_easy_perform(http->curl);
    svw_push_judge(http, rc, answer);

    curl_easy_setopt(http->curl, CURLOPT_HTTPHEADER, NULL);
    curl_easy_setopt(http->curl, CURLOPT_POSTFIELDS, NULL);
    curl_slist_free_all(headers);
}


/* Without TLS only to this host: what goes out is nobody else's to read or change. */
static int
svw_push_url(svw_push_http_t *http, const char *url)
{
    int          wrong;
    char        *scheme, *host, *user;
    CURLU       *parts;

    parts = curl_url();
    scheme = host = user = NULL;
    wrong = 1;

    if (parts == NULL || curl_url_set(parts, CURLUPART_URL, url, 0) != CURLUE_OK
        || curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK
        || curl_url_get(parts, CURLUPART_HOST, &host, 0) != CURLUE_OK)
    {
        snprintf(http->error, sizeof(http->error), "is no URL such as https://epcis.example.com/capture");

    } else if (curl_url_get(parts, CURLUPART_USER, &user, 0) == CURLUE_OK) {
        snprintf(http->error, sizeof(http->error), "a user and password do not belong here: give a bearer token in push_token_file");

    } else if (strlen(url) > SVW_PUSH_TARGET / 2) {
        snprintf(http->error, sizeof(http->error), "is longer than %d bytes", SVW_PUSH_TARGET / 2);

    } else if (strcmp(scheme, "https") != 0 && (strcmp(scheme, "http") != 0 || !svw_push_loopback(host))) {
        snprintf(http->error, sizeof(http->error), "must begin with https:// unless it is on this host");

    } else {
        wrong = 0;
    }

    curl_free(scheme);
    curl_free(host);
    curl_free(user);
    curl_url_cleanup(parts);

    return wrong ? -1 : 0;
}


static int
svw_push_loopback(const char *host)
{
    return strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0
           || (strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == strlen(host));
}


static int
svw_push_headers(svw_push_http_t *http, const char *key, struct curl_slist **headers)
{
    char                line[SVW_PUSH_TOKEN + 32], token[SVW_PUSH_TOKEN], quoted[192];
    unsigned            i;
    const char         *text[5];
    struct curl_slist  *more;

    snprintf(quoted, sizeof(quoted), "Idempotency-Key: \"%s\"", key);

    text[0] = "Content-Type: application/ld+json";
    text[1] = "GS1-EPCIS-Version: 2.0.0";
    text[2] = "Expect:";                /* the document is sent at once */
    text[3] = quoted;
    text[4] = line;

    if (http->token_file == NULL) {
        text[4] = "GS1-CBV-Version: 2.0.0";

    } else {
        /* read each time: a token is changed by writing the file */
        if (svw_push_token(http, token) != 0) {
            return -1;
        }

        snprintf(line, sizeof(line), "Authorization: Bearer %s", token);
    }

    for (i = 0; i < 5; i++) {
        more = curl_slist_append(*headers, text[i]);

        if (more == NULL) {
            snprintf(http->error, sizeof(http->error), "out of memory");
            return -1;
        }

        *headers = more;
    }

    return 0;
}


static int
svw_push_token(svw_push_http_t *http, char token[SVW_PUSH_TOKEN])
{
    FILE    *f;
    size_t   len;

    f = fopen(http->token_file, "re");

    if (f == NULL || fgets(token, SVW_PUSH_TOKEN, f) == NULL) {
        snprintf(http->error, sizeof(http->error), "push_token_file: %s", f == NULL ? strerror(errno) : "is empty");

        if (f != NULL) {
            fclose(f);
        }

        return -1;
    }

    fclose(f);

    len = strcspn(token, " \t\r\n");
    token[len] = '\0';

    return 0;
}


/* 2xx: taken.  Timeouts, 5xx, and what says "later": once more.  All else will be the same next time. */
static void
svw_push_judge(svw_push_http_t *http, CURLcode rc, svw_push_answer_t *answer)
{
    long         status;
    char         body[SVW_TEXT / 2];
    curl_off_t   after;

    status = 0;
    after = 0;
    curl_easy_getinfo(http->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(http->curl, CURLINFO_RETRY_AFTER, &after);

    if (rc != CURLE_OK && (rc != CURLE_WRITE_ERROR || status == 0)) {
        snprintf(answer->error, sizeof(answer->error), "%s", http->curl_error[0] != '\0' ? http->curl_error : curl_easy_strerror(rc));
        return;
    }

    if (status >= 200 && status < 300) {
        answer->result = SVW_PUSH_TAKEN;
        return;
    }

    answer->result = status >= 500 || status == 408 || status == 425 || status == 429 ? SVW_PUSH_LATER : SVW_PUSH_REFUSED_BY_IT;
    answer->retry_after_ms = after > 0 && after < 86400 ? (int64_t) after * 1000 : 0;

    svw_printable(body, sizeof(body), (sv_span_t) { (const uint8_t *) http->body, strlen(http->body) });
    snprintf(answer->error, sizeof(answer->error), "HTTP %ld%s%s", status, body[0] != '\0' ? ": " : "", body);
}


/* The beginning is kept for the log; an answer without end is given up. */
static size_t
svw_push_body(char *data, size_t size, size_t n, void *arg)
{
    size_t            len, room;
    svw_push_http_t  *http;

    http = arg;
    len = size * n;
    room = sizeof(http->body) - 1;

    if (http->got < room) {
        room -= http->got;
        memcpy(http->body + http->got, data, len < room ? len : room);
        http->body[http->got + (len < room ? len : room)] = '\0';
    }

    http->got += len;

    return http->got > SVW_PUSH_ANSWER ? 0 : len;
}


/* Who is told to leave does not wait for the answer: the batch is sent again by the next. */
static int
svw_push_progress(void *arg, curl_off_t dltotal, curl_off_t dlnow, curl_off_t ultotal, curl_off_t ulnow)
{
    (void) arg;
    (void) dltotal;
    (void) dlnow;
    (void) ultotal;
    (void) ulnow;

    return svw_stopping();
}
