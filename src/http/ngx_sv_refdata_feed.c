#include "ngx_sv_refdata_poll.h"


#define NGX_SV_REFDATA_EPOCH     1000   /* ms between two looks at the epoch */
#define NGX_SV_REFDATA_FULL      5000   /* ms until another whole read is tried that did not fit */
#define NGX_SV_REFDATA_TRIES     3      /* of a page that PostgreSQL refused */
#define NGX_SV_REFDATA_PAGE      2000   /* rows */
#define NGX_SV_REFDATA_COLUMNS   (4 + SV_REF_FIELDS)


/* what a page brought, to be logged when the mutex is free */
typedef struct {
    ngx_uint_t             bad;
    uint64_t               bad_n;
    ngx_uint_t             published;
    sv_ref_stats_t         stats;
} ngx_sv_refdata_page_t;


static void ngx_sv_refdata_epoch_reply(void *data, const sv_pg_reply_t *reply);
static void ngx_sv_refdata_page(ngx_sv_refdata_t *rd);
static void ngx_sv_refdata_page_reply(void *data, const sv_pg_reply_t *reply);
static ngx_int_t ngx_sv_refdata_apply(ngx_sv_refdata_t *rd, const PGresult *res, ngx_sv_refdata_page_t *page);
static ngx_int_t ngx_sv_refdata_row(const PGresult *res, int i, sv_ref_row_t *row);
static ngx_int_t ngx_sv_refdata_cursor(ngx_sv_refdata_t *rd, const sv_ref_row_t *row);
static void ngx_sv_refdata_report(ngx_sv_refdata_t *rd, const ngx_sv_refdata_page_t *page);
static void ngx_sv_refdata_failed(ngx_sv_refdata_t *rd, const char *what, const sv_pg_reply_t *reply);


void
ngx_sv_refdata_poll(ngx_sv_refdata_t *rd, const sv_pg_stats_t *stats)
{
    /* a new connection may lead to another database: that has to be known before its rows are applied */

    if (rd->epoch_at != 0 && rd->connects == stats->connects && rd->ready == stats->ready
        && ngx_current_msec - rd->epoch_at < NGX_SV_REFDATA_EPOCH)
    {
        ngx_sv_refdata_changes(rd);
        return;
    }

    rd->epoch_at = ngx_current_msec;
    rd->connects = stats->connects;
    rd->ready = stats->ready;

    rd->query = sv_pg_query(rd->pool, (unsigned) rd->epoch_statement, NULL, ngx_sv_refdata_epoch_reply, rd);

    if (rd->query == NULL) {
        ngx_sv_refdata_failed(rd, "the epoch", NULL);
    }
}


static void
ngx_sv_refdata_epoch_reply(void *data, const sv_pg_reply_t *reply)
{
    ngx_sv_refdata_t  *rd = data;

    ngx_int_t          rc;

    rd->query = NULL;

    if (reply->status != SV_PG_OK
        || PQntuples(reply->result) != 1 || PQnfields(reply->result) < 1 || PQgetisnull(reply->result, 0, 0))
    {
        ngx_sv_refdata_failed(rd, "the epoch", reply);
        return;
    }

    rc = ngx_sv_refdata_lock(rd);

    if (rc != NGX_OK) {
        rd->epoch_at = 0;
        return;
    }

    sv_ref_set_epoch(rd->ctx->ref, PQgetvalue(reply->result, 0, 0));

    ngx_sv_refdata_unlock(rd);

    if (ngx_sv_refdata_figures_poll(rd) != NGX_OK) {
        ngx_sv_refdata_changes(rd);
    }
}


void
ngx_sv_refdata_changes(ngx_sv_refdata_t *rd)
{
    int       whole;
    uint64_t  n;

    if (ngx_sv_refdata_lock(rd) != NGX_OK) {
        return;
    }

    if ((ngx_msec_int_t) (rd->ctx->sh->retry_at - ngx_current_msec) > 0) {
        ngx_sv_refdata_unlock(rd);
        return;
    }

    sv_ref_begin(rd->ctx->ref, &whole, &n);

    ngx_sv_refdata_unlock(rd);

    if (whole) {
        rd->loop->log(rd->loop, SV_LOG_INFO, "reference data: reading it from the beginning");
    }

    /* what follows (n + 1, "", "") is all of n + 1: the rows of one number come together or not at all */

    rd->n = whole ? 0 : n + 1;
    rd->kind[0] = '\0';
    rd->key[0] = '\0';
    rd->tries = 0;

    ngx_sv_refdata_page(rd);
}


static void
ngx_sv_refdata_page(ngx_sv_refdata_t *rd)
{
    u_char       n[NGX_INT64_LEN + 1];
    const char  *params[4];

    *ngx_sprintf(n, "%uL", rd->n) = '\0';

    params[0] = (char *) n;
    params[1] = (char *) rd->kind;
    params[2] = (char *) rd->key;
    params[3] = ngx_value(NGX_SV_REFDATA_PAGE);

    rd->asked_at = ngx_current_msec;

    rd->query = sv_pg_query(rd->pool, (unsigned) rd->feed_statement, params, ngx_sv_refdata_page_reply, rd);

    if (rd->query == NULL) {
        ngx_sv_refdata_failed(rd, "changes", NULL);
    }
}


static void
ngx_sv_refdata_page_reply(void *data, const sv_pg_reply_t *reply)
{
    ngx_sv_refdata_t  *rd = data;

    ngx_int_t              rc;
    ngx_sv_refdata_page_t  page;

    rd->query = NULL;

    /* perhaps too slow under load: what came before it need not be read again */

    if (reply->status == SV_PG_ERROR && ++rd->tries < NGX_SV_REFDATA_TRIES) {
        ngx_sv_refdata_page(rd);
        return;
    }

    if (reply->status != SV_PG_OK || PQnfields(reply->result) < NGX_SV_REFDATA_COLUMNS) {
        ngx_sv_refdata_failed(rd, "changes", reply);
        return;
    }

    rc = ngx_sv_refdata_lock(rd);

    if (rc == NGX_DECLINED) {
        return;
    }

    if (rc == NGX_AGAIN) {
        /* nobody holds the mutex for long: the same page once more */
        ngx_sv_refdata_page(rd);
        return;
    }

    ngx_memzero(&page, sizeof(ngx_sv_refdata_page_t));

    rc = ngx_sv_refdata_apply(rd, reply->result, &page);

    ngx_sv_refdata_unlock(rd);

    ngx_sv_refdata_report(rd, &page);

    if (rc == NGX_AGAIN) {
        ngx_sv_refdata_page(rd);

    } else if (rc == NGX_ERROR) {
        ngx_sv_refdata_failed(rd, "changes", reply);
    }
}


/*
 * With the mutex.  NGX_OK: published, or given up because the zone is full;
 * NGX_AGAIN: there are more pages; NGX_ERROR: these are not the rows we know.
 */

static ngx_int_t
ngx_sv_refdata_apply(ngx_sv_refdata_t *rd, const PGresult *res, ngx_sv_refdata_page_t *page)
{
    int            i, rows;
    sv_ref_t      *ref;
    sv_ref_rc_t    rc;
    sv_ref_row_t   row;

    ref = rd->ctx->ref;
    rows = PQntuples(res);

    for (i = 0; i < rows; i++) {

        if (ngx_sv_refdata_row(res, i, &row) != NGX_OK) {
            return NGX_ERROR;
        }

        rc = sv_ref_apply(ref, &row);

        if (rc == SV_REF_FULL) {
            sv_ref_abort(ref);
            sv_ref_stats(ref, &page->stats);

            if (page->stats.full) {
                rd->ctx->sh->retry_at = ngx_current_msec + NGX_SV_REFDATA_FULL;
            }

            return NGX_OK;
        }

        if (rc == SV_REF_BAD_ROW && page->bad++ == 0) {
            page->bad_n = row.n;
        }
    }

    if (rows == NGX_SV_REFDATA_PAGE) {
        return ngx_sv_refdata_cursor(rd, &row);
    }

    sv_ref_end(ref, rd->asked_at);
    sv_ref_stats(ref, &page->stats);
    page->published = 1;

    return NGX_OK;
}


static ngx_int_t
ngx_sv_refdata_row(const PGresult *res, int i, sv_ref_row_t *row)
{
    int        f;
    off_t      n;
    ngx_str_t  text;

    for (f = 0; f < 4; f++) {
        if (PQgetisnull(res, i, f)) {
            return NGX_ERROR;
        }
    }

    text.data = (u_char *) PQgetvalue(res, i, 0);
    text.len = ngx_strlen(text.data);

    n = ngx_atoof(text.data, text.len);
    if (n == NGX_ERROR) {
        return NGX_ERROR;
    }

    row->n = (uint64_t) n;
    row->kind = PQgetvalue(res, i, 1);
    row->key = PQgetvalue(res, i, 2);
    row->deleted = PQgetvalue(res, i, 3)[0] == 't';

    for (f = 0; f < SV_REF_FIELDS; f++) {
        row->field[f] = PQgetisnull(res, i, 4 + f) ? NULL : PQgetvalue(res, i, 4 + f);
    }

    return NGX_OK;
}


/* The next page begins behind this row. */

static ngx_int_t
ngx_sv_refdata_cursor(ngx_sv_refdata_t *rd, const sv_ref_row_t *row)
{
    size_t  kind, key;

    kind = ngx_strlen(row->kind) + 1;
    key = ngx_strlen(row->key) + 1;

    if (kind > sizeof(rd->kind) || key > sizeof(rd->key)) {
        return NGX_ERROR;
    }

    rd->n = row->n;
    rd->tries = 0;
    ngx_memcpy(rd->kind, row->kind, kind);
    ngx_memcpy(rd->key, row->key, key);

    return NGX_AGAIN;
}


/* Without the mutex, after a page. */

static void
ngx_sv_refdata_report(ngx_sv_refdata_t *rd, const ngx_sv_refdata_page_t *page)
{
    if (page->bad != 0) {
        rd->loop->log(rd->loop, SV_LOG_ERROR,
                      "reference data: %u rows cannot be read and are taken in their strictest sense, "
                      "the first is change %llu", (unsigned) page->bad, (unsigned long long) page->bad_n);
    }

    if (page->stats.full && !rd->full) {
        rd->full = 1;
        rd->loop->log(rd->loop, SV_LOG_ERROR,
                      "reference data does not fit into its zone, the copy as of change %llu stays "
                      "and is stale: make the zone larger", (unsigned long long) page->stats.n);
    }

    if (!page->published) {
        return;
    }

    if (rd->full) {
        rd->full = 0;
        rd->loop->log(rd->loop, SV_LOG_NOTICE, "reference data fits into its zone again");
    }

    if (rd->failing) {
        rd->failing = 0;
        rd->loop->log(rd->loop, SV_LOG_NOTICE, "reference data is read again");
    }
}


/* The lease is given up: another process may have better luck with its connections. */

static void
ngx_sv_refdata_failed(ngx_sv_refdata_t *rd, const char *what, const sv_pg_reply_t *reply)
{
    const char  *why;

    /* connections that are lost are the pool's to tell */

    if (!rd->failing && reply != NULL && reply->status != SV_PG_NOT_SENT) {
        rd->failing = 1;

        if (reply->status == SV_PG_OK) {
            why = "unexpected answer";

        } else {
            why = reply->message != NULL ? reply->message : "";
        }

        rd->loop->log(rd->loop, SV_LOG_WARN, "reference data: cannot read %s, the copy stays as it is: %s", what, why);
    }

    ngx_sv_refdata_release(rd);
}
