#include "svw_notify.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>


static int svw_notify_headers(svw_notify_t *notify, svw_notify_slot_t *slot, const char *id);


/* The body is that of every attempt; time and signature are of this one. */
int
svw_notify_send(svw_notify_t *notify, svw_notify_slot_t *slot, const char *id)
{
    slot->answer = (svw_http_answer_t) { .result = SVW_HTTP_LATER };

    if (slot->http.curl == NULL && svw_http_open(&slot->http, slot->target->url, notify->conf->notify_timeout) != 0) {
        snprintf(slot->answer.error, sizeof(slot->answer.error), "%s", slot->http.error);
        return -1;
    }

    if (svw_notify_headers(notify, slot, id) != 0) {
        snprintf(slot->answer.error, sizeof(slot->answer.error), "%s", slot->http.error);
        curl_slist_free_all(slot->http.headers);
        slot->http.headers = NULL;
        return -1;
    }

    svw_http_body(&slot->http, slot->body, strlen(slot->body));
    curl_easy_setopt(slot->http.curl, CURLOPT_PRIVATE, slot);

    if (curl_multi_add_handle(notify->multi, slot->http.curl) != CURLM_OK) {
        svw_http_answer(&slot->http, CURLE_FAILED_INIT, &slot->answer);
        return -1;
    }

    slot->state = SVW_NOTIFY_SENT;
    notify->sent++;

    return 0;
}


void
svw_notify_answers(svw_notify_t *notify, unsigned wait)
{
    int                 n;
    CURLMsg            *message;
    CURLcode            rc;
    svw_notify_slot_t  *slot;

    curl_multi_perform(notify->multi, &n);

    if (wait > 0 && notify->sent > 0 && n == (int) notify->sent) {
        curl_multi_poll(notify->multi, NULL, 0, (int) wait, NULL);
        curl_multi_perform(notify->multi, &n);
    }

    while ((message = curl_multi_info_read(notify->multi, &n)) != NULL) {
        if (message->msg != CURLMSG_DONE) {
            continue;
        }

        rc = message->data.result;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **) &slot);
        curl_multi_remove_handle(notify->multi, slot->http.curl);

        svw_http_answer(&slot->http, rc, &slot->answer);
        slot->state = SVW_NOTIFY_ANSWERED;
        notify->sent--;
    }
}


/* What is under way is told again by whoever comes next. */
void
svw_notify_give_up(svw_notify_t *notify)
{
    unsigned            i, k;
    svw_notify_slot_t  *slot;

    for (i = 0; i < notify->n; i++) {
        for (k = 0; k < SVW_NOTIFY_SLOTS; k++) {
            slot = &notify->target[i].slot[k];

            if (slot->state == SVW_NOTIFY_SENT) {
                curl_multi_remove_handle(notify->multi, slot->http.curl);
            }

            if (slot->http.curl != NULL) {
                svw_http_close(&slot->http);
            }

            free(slot->body);
            slot->body = NULL;
            slot->state = SVW_NOTIFY_FREE;
        }
    }

    notify->sent = 0;
}


static int
svw_notify_headers(svw_notify_t *notify, svw_notify_slot_t *slot, const char *id)
{
    int                    rc;
    char                   line[3][256], signature[SVW_NOTIFY_SIGNATURE];
    int64_t                now;
    unsigned               i;
    svw_notify_secrets_t   secrets;

    /* read each time: a secret is changed by writing the file */
    if (svw_notify_secrets(notify->conf->notify_secret_file, &secrets, slot->http.error) != 0) {
        return -1;
    }

    now = (int64_t) time(NULL);
    rc = svw_notify_sign(&secrets, id, now, slot->body, strlen(slot->body), signature);
    OPENSSL_cleanse(&secrets, sizeof(secrets));

    if (rc != 0) {
        snprintf(slot->http.error, sizeof(slot->http.error), "OpenSSL cannot sign");
        return -1;
    }

    snprintf(line[0], sizeof(line[0]), "Webhook-Id: %s", id);
    snprintf(line[1], sizeof(line[1]), "Webhook-Timestamp: %" PRId64, now);
    snprintf(line[2], sizeof(line[2]), "Webhook-Signature: %s", signature);

    for (i = 0; i < 3; i++) {
        if (svw_http_header(&slot->http, line[i]) != 0) {
            return -1;
        }
    }

    return svw_http_header(&slot->http, "Content-Type: application/json") != 0 || svw_http_header(&slot->http, "Expect:") != 0
           ? -1 : 0;
}
