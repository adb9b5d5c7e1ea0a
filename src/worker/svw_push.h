/* The push: how a document gets to its receiver.  svw_push decides what is sent when. */

#ifndef SVW_PUSH_H
#define SVW_PUSH_H

#include "svw_http.h"
#include "svw_out.h"


#define SVW_PUSH_TARGET   4096
#define SVW_PUSH_TIMEOUT  60000         /* ms, of a whole request */
#define SVW_PUSH_LEASE    90            /* s: longer than a request takes */

typedef struct {
    svw_http_t    http;
    const char   *token_file;
} svw_push_http_t;


/* -1: push->http.error says what is wrong with the settings */
int svw_push_http_open(svw_push_http_t *push, const svw_conf_t *conf);
void svw_push_http_close(svw_push_http_t *push);
void svw_push_http_post(svw_push_http_t *push, const char *key, const char *document, size_t len, svw_http_answer_t *answer);

#endif /* SVW_PUSH_H */
