#include "svw_push.h"

#include <errno.h>
#include <string.h>


#define SVW_PUSH_TOKEN  4096


static int svw_push_headers(svw_push_http_t *push, const char *key);
static int svw_push_token(svw_push_http_t *push, char token[SVW_PUSH_TOKEN]);
static int svw_push_progress(void *arg, curl_off_t dltotal, curl_off_t dlnow, curl_off_t ultotal, curl_off_t ulnow);


int
svw_push_http_open(svw_push_http_t *push, const svw_conf_t *conf)
{
    const char  *wrong;

    *push = (svw_push_http_t) { .token_file = conf->push_token_file };
    wrong = svw_http_url(conf->push_url);

    if (wrong != NULL) {
        snprintf(push->http.error, sizeof(push->http.error), "%s%s", wrong, strstr(wrong, "password") != NULL
                 ? "; give a bearer token in push_token_file" : "");
        return -1;
    }

    if (svw_http_open(&push->http, conf->push_url, SVW_PUSH_TIMEOUT) != 0) {
        return -1;
    }

    curl_easy_setopt(push->http.curl, CURLOPT_XFERINFOFUNCTION, svw_push_progress);
    curl_easy_setopt(push->http.curl, CURLOPT_NOPROGRESS, 0L);

    return 0;
}


void
svw_push_http_close(svw_push_http_t *push)
{
    svw_http_close(&push->http);
}


void
svw_push_http_post(svw_push_http_t *push, const char *key, const char *document, size_t len, svw_http_answer_t *answer)
{
    if (svw_push_headers(push, key) != 0) {
        *answer = (svw_http_answer_t) { .result = SVW_HTTP_LATER };
        snprintf(answer->error, sizeof(answer->error), "%s", push->http.error);
        curl_slist_free_all(push->http.headers);
        push->http.headers = NULL;
        return;
    }

    svw_http_body(&push->http, document, len);
    svw_http_answer(&push->http, curl_easy_perform(push->http.curl), answer);
}


static int
svw_push_headers(svw_push_http_t *push, const char *key)
{
    char      line[SVW_PUSH_TOKEN + 32], token[SVW_PUSH_TOKEN], quoted[192];
    unsigned  i;

    const char *const  text[] = {
        "Content-Type: application/ld+json", "GS1-EPCIS-Version: 2.0.0", "GS1-CBV-Version: 2.0.0",
        "Expect:",                      /* the document is sent at once */
        quoted, push->token_file != NULL ? line : NULL
    };

    snprintf(quoted, sizeof(quoted), "Idempotency-Key: \"%s\"", key);

    if (push->token_file != NULL) {
        /* read each time: a token is changed by writing the file */
        if (svw_push_token(push, token) != 0) {
            return -1;
        }

        snprintf(line, sizeof(line), "Authorization: Bearer %s", token);
    }

    for (i = 0; i < sizeof(text) / sizeof(text[0]); i++) {
        if (text[i] != NULL && svw_http_header(&push->http, text[i]) != 0) {
            return -1;
        }
    }

    return 0;
}


static int
svw_push_token(svw_push_http_t *push, char token[SVW_PUSH_TOKEN])
{
    FILE    *f;
    size_t   len;

    f = fopen(push->token_file, "re");

    if (f == NULL || fgets(token, SVW_PUSH_TOKEN, f) == NULL) {
        snprintf(push->http.error, sizeof(push->http.error), "push_token_file: %s", f == NULL ? strerror(errno) : "is empty");

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
