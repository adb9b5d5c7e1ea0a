#include "svw_http.h"

#include "svw_load.h"

#include <string.h>
#include <sys/random.h>


#define SVW_HTTP_ANSWER   (1024 * 1024) /* largest body of an answer that is read at all */
#define SVW_HTTP_CONNECT  10000         /* ms */
#define SVW_HTTP_ASKED    (60 * 60 * 1000)      /* of what a receiver asks for */


static int svw_http_loopback(const char *host);
static size_t svw_http_read(char *data, size_t size, size_t n, void *arg);


/* Without TLS only to this host: what goes out is nobody else's to read or change. */
const char *
svw_http_url(const char *url)
{
    char        *scheme, *host, *user;
    CURLU       *parts;
    const char  *wrong;

    parts = curl_url();
    scheme = host = user = NULL;
    wrong = NULL;

    if (parts == NULL || curl_url_set(parts, CURLUPART_URL, url, 0) != CURLUE_OK
        || curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK
        || curl_url_get(parts, CURLUPART_HOST, &host, 0) != CURLUE_OK)
    {
        wrong = "is no URL such as https://receiver.example.com/path";

    } else if (curl_url_get(parts, CURLUPART_USER, &user, 0) == CURLUE_OK) {
        wrong = "a user and password do not belong here: they would be logged and stored";

    } else if (strlen(url) > SVW_HTTP_URL) {
        wrong = "is longer than 2048 bytes";

    } else if (strcmp(scheme, "https") != 0 && (strcmp(scheme, "http") != 0 || !svw_http_loopback(host))) {
        wrong = "must begin with https:// unless it is on this host";
    }

    curl_free(scheme);
    curl_free(host);
    curl_free(user);
    curl_url_cleanup(parts);

    return wrong;
}


int
svw_http_open(svw_http_t *http, const char *url, unsigned timeout)
{
    *http = (svw_http_t) { 0 };

    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || (http->curl = curl_easy_init()) == NULL) {
        snprintf(http->error, sizeof(http->error), "libcurl cannot be used");
        return -1;
    }

    curl_easy_setopt(http->curl, CURLOPT_URL, url);
    curl_easy_setopt(http->curl, CURLOPT_PROTOCOLS_STR, "https,http");
    curl_easy_setopt(http->curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(http->curl, CURLOPT_PROXY, "");
    curl_easy_setopt(http->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(http->curl, CURLOPT_CONNECTTIMEOUT_MS, (long) (timeout < SVW_HTTP_CONNECT ? timeout : SVW_HTTP_CONNECT));
    curl_easy_setopt(http->curl, CURLOPT_TIMEOUT_MS, (long) timeout);
    curl_easy_setopt(http->curl, CURLOPT_ERRORBUFFER, http->curl_error);
    curl_easy_setopt(http->curl, CURLOPT_WRITEFUNCTION, svw_http_read);
    curl_easy_setopt(http->curl, CURLOPT_WRITEDATA, http);

    return 0;
}


void
svw_http_close(svw_http_t *http)
{
    curl_slist_free_all(http->headers);
    curl_easy_cleanup(http->curl);
    curl_global_cleanup();

    http->headers = NULL;
    http->curl = NULL;
}


int
svw_http_header(svw_http_t *http, const char *line)
{
    struct curl_slist  *more;

    more = curl_slist_append(http->headers, line);

    if (more == NULL) {
        snprintf(http->error, sizeof(http->error), "out of memory");
        return -1;
    }

    http->headers = more;

    return 0;
}


void
svw_http_body(svw_http_t *http, const char *body, size_t len)
{
    http->got = 0;
    http->body[0] = '\0';
    http->curl_error[0] = '\0';

    curl_easy_setopt(http->curl, CURLOPT_HTTPHEADER, http->headers);
    curl_easy_setopt(http->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) len);
    curl_easy_setopt(http->curl, CURLOPT_POSTFIELDS, body);
}


/* 2xx: taken.  Timeouts, 5xx, and what says "later": once more.  All else will be the same next time. */
void
svw_http_answer(svw_http_t *http, CURLcode rc, svw_http_answer_t *answer)
{
    long         status;
    char         body[SVW_TEXT / 2];
    curl_off_t   after;

    *answer = (svw_http_answer_t) { .result = SVW_HTTP_LATER };
    status = 0;
    after = 0;

    curl_easy_getinfo(http->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(http->curl, CURLINFO_RETRY_AFTER, &after);
    curl_easy_setopt(http->curl, CURLOPT_HTTPHEADER, NULL);
    curl_easy_setopt(http->curl, CURLOPT_POSTFIELDS, NULL);
    curl_slist_free_all(http->headers);
    http->headers = NULL;

    if (rc != CURLE_OK && (rc != CURLE_WRITE_ERROR || status == 0)) {
        snprintf(answer->error, sizeof(answer->error), "%s", http->curl_error[0] != '\0' ? http->curl_error : curl_easy_strerror(rc));
        return;
    }

    if (status >= 200 && status < 300) {
        answer->result = SVW_HTTP_TAKEN;
        return;
    }

    answer->result = status >= 500 || status == 408 || status == 425 || status == 429 ? SVW_HTTP_LATER : SVW_HTTP_REFUSED;
    answer->retry_after_ms = after > 0 && after < 86400 ? (int64_t) after * 1000 : 0;

    svw_printable(body, sizeof(body), (sv_span_t) { (const uint8_t *) http->body, strlen(http->body) });
    snprintf(answer->error, sizeof(answer->error), "HTTP %ld%s%s", status, body[0] != '\0' ? ": " : "", body);
}


int64_t
svw_http_pause(int64_t base, int64_t attempts, int64_t most, const svw_http_answer_t *answer)
{
    int64_t   ms;
    uint32_t  chance;

    ms = base << (attempts < 20 ? attempts : 20);

    if (ms > most) {
        ms = most;
    }

    if (getrandom(&chance, sizeof(chance), 0) != sizeof(chance)) {
        chance = 0;
    }

    ms = ms / 2 + chance % (ms / 2 + 1);

    if (answer->retry_after_ms > ms) {
        ms = answer->retry_after_ms < SVW_HTTP_ASKED ? answer->retry_after_ms : SVW_HTTP_ASKED;
    }

    return ms;
}


static int
svw_http_loopback(const char *host)
{
    return strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0
           || (strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == strlen(host));
}


/* The beginning is kept for the log; an answer without end is given up. */
static size_t
svw_http_read(char *data, size_t size, size_t n, void *arg)
{
    size_t       len, room;
    svw_http_t  *http;

    http = arg;
    len = size * n;
    room = sizeof(http->body) - 1;

    if (http->got < room) {
        room -= http->got;
        memcpy(http->body + http->got, data, len < room ? len : room);
        http->body[http->got + (len < room ? len : room)] = '\0';
    }

    http->got += len;

    return http->got > SVW_HTTP_ANSWER ? 0 : len;
}
