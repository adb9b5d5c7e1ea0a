#include "ngx_sv.h"


static int ngx_sv_recalled(ngx_sv_worker_t *worker, uint64_t gtin, sv_span_t lot,
    const sv_lookup_result_t *result, sv_ref_recall_t *recall);


void
ngx_sv_judge(ngx_sv_worker_t *worker, const ngx_sv_ctx_t *ctx, const ngx_sv_pack_t *pack,
    const sv_lookup_result_t *result, ngx_sv_judgement_t *judgement)
{
    sv_span_t        lot;
    sv_presented_t   presented;
    sv_ref_recall_t  recall;

    ngx_memzero(judgement, sizeof(ngx_sv_judgement_t));
    ngx_memzero(&presented, sizeof(sv_presented_t));
    ngx_memzero(&recall, sizeof(sv_ref_recall_t));

    presented.product_known = sv_ref_product(worker->ref, pack->gtin, &judgement->product);

    if (!presented.product_known) {
        judgement->product.gtin = 0;
    }

    presented.withdrawn = presented.product_known && judgement->product.withdrawn;
    presented.lot_known = result->lot_known;
    presented.lot_given = pack->lot_given;
    presented.lot.data = pack->lot;
    presented.lot.len = pack->lot_len;
    presented.expiry_given = pack->expiry_given;
    presented.expiry = pack->expiry;
    presented.today = (sv_day_t) (ngx_time() / 86400);
    presented.location = ctx->location.id;

    if (result->status == SV_LOOKUP_FOUND) {
        judgement->known = 1;
        judgement->record = *result->record;
        presented.record = &judgement->record;

        lot.data = judgement->record.lot;
        lot.len = judgement->record.lot_len;

        presented.recalled = ngx_sv_recalled(worker, pack->gtin, lot, result, &recall);
    }

    judgement->reason = sv_verdict(&presented);
    judgement->truth = judgement->reason;

    /* only with its own reason: beside a wrong lot it would tell of the right one */
    if (judgement->reason == SV_REASON_RECALLED) {
        ngx_memcpy(judgement->reference, recall.reference, sizeof(judgement->reference));

    } else if (judgement->reason == SV_REASON_WITHDRAWN) {
        ngx_memcpy(judgement->reference, judgement->product.reference,
                   sizeof(judgement->reference));
    }

    if (ctx->location.role == SV_ROLE_NONE) {
        judgement->reason = sv_reason_public(judgement->reason);
        return;
    }

    judgement->hint_wanted = judgement->reason == SV_REASON_SERIAL_UNKNOWN
                             || judgement->reason == SV_REASON_LOT_UNKNOWN
                             || judgement->reason == SV_REASON_LOT_MISMATCH;
}


/* By its lot or by its serial: the earlier recall stands, as in sv.operate(). */
static int
ngx_sv_recalled(ngx_sv_worker_t *worker, uint64_t gtin, sv_span_t lot,
    const sv_lookup_result_t *result, sv_ref_recall_t *recall)
{
    int  by_lot;

    by_lot = sv_ref_recall(worker->ref, gtin, lot, recall);

    if (result->recalled_at == 0 || (by_lot && recall->recalled_at <= result->recalled_at)) {
        return by_lot;
    }

    recall->recalled_at = result->recalled_at;
    ngx_memcpy(recall->reference, result->recall, sizeof(recall->reference));

    return 1;
}


/* What a scanner's setting explains is no falsification: the pack is scanned again. */
void
ngx_sv_judge_alert(const ngx_sv_ctx_t *ctx, ngx_sv_judgement_t *judgement, ngx_uint_t hint)
{
    if (ctx->location.role == SV_ROLE_NONE || ctx->silent || hint
        || sv_reason_row(judgement->reason)->level < 5)
    {
        return;
    }

    if (sv_alert_mint(judgement->alert, ctx->location.country)) {
        ngx_sv_count(NGX_SV_ALERTS);

    } else {
        judgement->alert[0] = '\0';
    }
}


/* Where the record came from, for the counters, the log, and the answer when the truth cannot be asked. */
void
ngx_sv_looked_up(ngx_sv_worker_t *worker, ngx_sv_ctx_t *ctx, const sv_lookup_result_t *result,
    ngx_sv_pool_e pool)
{
    sv_pg_stats_t  pg;

    if (result->coalesced && result->source != SV_SOURCE_MEMORY) {
        ngx_sv_count(NGX_SV_COALESCED);
    }

    switch (result->source) {

    case SV_SOURCE_CACHE:
        ngx_sv_count(NGX_SV_SOURCE_CACHE);
        ctx->source = "cache";

        sv_pg_stats(worker->pool[pool], &pg);

        if (pg.ready == 0) {
            ctx->stale = 1;
        }

        break;

    case SV_SOURCE_MEMORY:
        ngx_sv_count(NGX_SV_SOURCE_MEMORY);
        ctx->source = "memory";
        break;

    case SV_SOURCE_DATABASE:
        ngx_sv_count(NGX_SV_SOURCE_DATABASE);
        ctx->source = "database";
        break;

    case SV_SOURCE_NONE:
        ngx_sv_count(NGX_SV_SOURCE_NONE);
        break;
    }
}


sv_pg_query_t *
ngx_sv_ask_hint(sv_pg_pool_t *pool, const ngx_sv_pack_t *pack, sv_pg_reply_pt handler, void *data)
{
    u_char       gtin[NGX_INT64_LEN + 1], serial[SV_SERIAL_MAX + 1], lot[SV_LOT_MAX + 1];
    const char  *params[3];

    *ngx_sprintf(gtin, "%uL", pack->gtin) = '\0';
    *ngx_cpymem(serial, pack->serial, pack->serial_len) = '\0';
    *ngx_cpymem(lot, pack->lot, pack->lot_len) = '\0';

    params[0] = (char *) gtin;
    params[1] = (char *) serial;
    params[2] = pack->lot_given ? (char *) lot : NULL;

    return sv_pg_query(pool, SV_SQL_HINT, params, handler, data);
}


ngx_uint_t
ngx_sv_hinted(const sv_pg_reply_t *reply)
{
    if (reply->status != SV_PG_OK || PQntuples(reply->result) != 1
        || PQgetisnull(reply->result, 0, 0))
    {
        return 0;
    }

    ngx_sv_count(NGX_SV_HINTS);

    return 1;
}
