/*
 * What the worker says of itself, for /status: read now and then by the process
 * that reads the reference data, copied whole, a text of JSON.
 */

#include "ngx_sv_refdata_poll.h"


#define NGX_SV_REFDATA_FIGURES_AGE  10000       /* ms between two looks */


static void ngx_sv_refdata_figures_reply(void *data, const sv_pg_reply_t *reply);


/* NGX_OK: asked, the changes are read behind it; NGX_DECLINED: not now. */

ngx_int_t
ngx_sv_refdata_figures_poll(ngx_sv_refdata_t *rd)
{
    if (rd->figures_at != 0 && ngx_current_msec - rd->figures_at < NGX_SV_REFDATA_FIGURES_AGE) {
        return NGX_DECLINED;
    }

    rd->figures_at = ngx_current_msec;
    rd->query = sv_pg_query(rd->pool, (unsigned) rd->figures_statement, NULL, ngx_sv_refdata_figures_reply, rd);

    return rd->query != NULL ? NGX_OK : NGX_DECLINED;
}


/* Whatever came of it: reference data does not wait for it. */

static void
ngx_sv_refdata_figures_reply(void *data, const sv_pg_reply_t *reply)
{
    ngx_sv_refdata_t  *rd = data;

    size_t             len;
    const char        *text;

    rd->query = NULL;

    if (reply->status == SV_PG_OK && PQntuples(reply->result) == 1 && !PQgetisnull(reply->result, 0, 0)) {
        text = PQgetvalue(reply->result, 0, 0);
        len = ngx_strlen(text);

        if (len <= NGX_SV_REFDATA_FIGURES && ngx_sv_refdata_lock(rd) == NGX_OK) {
            ngx_memcpy(rd->ctx->sh->figures, text, len);
            rd->ctx->sh->figures_len = len;
            ngx_sv_refdata_unlock(rd);
        }
    }

    if (rd->holder) {
        ngx_sv_refdata_changes(rd);
    }
}


/* Nobody holds the mutex for long; who comes in between has none this time. */

size_t
ngx_sv_refdata_figures(ngx_sv_refdata_t *rd, u_char figures[NGX_SV_REFDATA_FIGURES])
{
    size_t  len;

    if (!ngx_shmtx_trylock(&rd->ctx->shpool->mutex)) {
        return 0;
    }

    len = rd->ctx->sh->figures_len;
    ngx_memcpy(figures, rd->ctx->sh->figures, len);

    ngx_shmtx_unlock(&rd->ctx->shpool->mutex);

    return len;
}
