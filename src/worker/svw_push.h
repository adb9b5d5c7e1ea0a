/* The push: how a document gets to its receiver.  svw_push decides what is sent when. */

#ifndef SVW_PUSH_H
#define SVW_PUSH_H

#include "svw_out.h"

#include <curl/curl.h>


#define SVW_PUSH_TARGET   4096
#define SVW_PUSH_TIMEOUT  60            /* s, of a whole request */
#define SVW_PUSH_LEASE    90            /* s: longer than a request takes */

typedef enum {
    SVW_PUSH_TAKEN,
    SVW_PUSH_LATER,                     /* it may take it another time */
    SVW_PUSH_REFUSED_BY_IT              /* it will not, as things are */
} svw_push_result_t;

typedef struct {
    svw_push_result_t   result;
    int64_t             retry_after_ms; /* 0: it did not say */
    char                error[SVW_TEXT];
} svw_push_answer_t;

typedef struct {
    CURL         *curl;
    const char   *token_file;
    size_t        got;                  /* bytes of the answer's body */
    char          body[SVW_TEXT];       /* how it begins */
    char          error[SVW_TEXT];
    char          curl_error[CURL_ERROR_SIZE];
} svw_push_http_t;


/* -1: http->error says what is wrong with the settings */
int svw_push_http_open(svw_push_http_t *http, const svw_conf_t *conf);
void svw_push_http_close(svw_push_http_t *http);
void svw_push_http_post(svw_push_http_t *http, const char *key, const char *document, size_t len, svw_push_answer_t *answer);

#endif /* SVW_PUSH_H */
