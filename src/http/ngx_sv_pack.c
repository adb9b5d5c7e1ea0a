/*
 * Which pack is meant: the raw target or a scan -> GTIN, serial, lot, expiry.
 * Every refusal names the element, the place and the reason.
 */

#include "ngx_sv.h"


/* AI numbers */
#define NGX_SV_AI_GTIN    1
#define NGX_SV_AI_LOT     10
#define NGX_SV_AI_EXPIRY  17
#define NGX_SV_AI_SERIAL  21

#define NGX_SV_SEPARATOR_ADVICE                                                         \
    "Let the scanner send FNC1 as the byte 1D, then scan again."


static ngx_int_t ngx_sv_pack_from_data(const sv_gs1_data_t *data, ngx_sv_pack_t *pack,
    ngx_sv_problem_t *problem);
static void ngx_sv_parse_problem(ngx_sv_problem_t *problem, ngx_uint_t status,
    sv_gs1_error_t error, size_t offset);
static const char *ngx_sv_target_element(ngx_http_request_t *r, size_t offset);
static sv_day_t ngx_sv_today(void);


ngx_int_t
ngx_sv_pack_from_target(ngx_http_request_t *r, ngx_sv_pack_t *pack, ngx_sv_problem_t *problem)
{
    u_char              buf[SV_GS1_BUFFER];
    size_t              offset;
    unsigned            flags;
    sv_span_t           target;
    sv_gs1_data_t       data;
    sv_gs1_error_t      error;
    ngx_sv_srv_conf_t  *sscf;

    sscf = ngx_http_get_module_srv_conf(r, ngx_serial_verify_module);
    flags = sscf->short_gtin ? SV_GS1_SHORT_GTIN : 0;

    target.data = r->unparsed_uri.data;
    target.len = r->unparsed_uri.len;
    offset = 0;

    error = sv_gs1_target_parse(target, flags, buf, &data, &offset);

    if (error == SV_GS1_ERR_NOT_A_LINK) {
        ngx_sv_problem(problem, NGX_HTTP_NOT_FOUND, "not_found", NULL,
                       "This is not a GS1 Digital Link. A pack is at"
                       " /01/{gtin}/10/{lot}/21/{serial}?17={YYMMDD}.");
        return NGX_DECLINED;
    }

    if (error != SV_GS1_OK) {
        ngx_sv_parse_problem(problem, NGX_HTTP_BAD_REQUEST, error, offset);
        problem->element = ngx_sv_target_element(r, offset);
        return NGX_DECLINED;
    }

    return ngx_sv_pack_from_data(&data, pack, problem);
}


/* What a scanner sent, a URI, a bracketed string or an EPC URN: told apart by how it begins. */
ngx_int_t
ngx_sv_pack_from_text(sv_span_t text, ngx_sv_pack_t *pack, ngx_sv_problem_t *problem)
{
    u_char           buf[SV_GS1_BUFFER];
    size_t           offset;
    ngx_uint_t       scanned;
    sv_gs1_data_t    data;
    sv_gs1_error_t   error;

    offset = 0;
    scanned = 0;

    if (text.len > 0 && text.data[0] == '(') {
        error = sv_gs1_brackets_parse(text, 0, buf, &data, &offset);

    } else if (text.len > 4 && ngx_strncasecmp((u_char *) text.data, (u_char *) "http", 4) == 0) {
        error = sv_gs1_uri_parse(text, 0, buf, &data, &offset);

    } else if (text.len > 4 && ngx_strncmp(text.data, "urn:", 4) == 0) {
        error = sv_gs1_urn_parse(text, 0, buf, &data, &offset);

    } else {
        error = sv_gs1_scan_parse(text, 0, buf, &data, &offset);
        scanned = 1;
    }

    if (error != SV_GS1_OK) {

        if (error == SV_GS1_ERR_VALUE_LONG && scanned && sv_gs1_separator_lost(&data, NULL)) {
            ngx_sv_problem(problem, NGX_SV_UNPROCESSABLE, sv_gs1_error_code(error), NULL,
                           "The value is too long: the scan seems to have lost its group"
                           " separator, and the next elements read as its end. "
                           NGX_SV_SEPARATOR_ADVICE);
            problem->hint = "scanner";
            problem->offset = (ngx_int_t) offset;

        } else {
            ngx_sv_parse_problem(problem, NGX_SV_UNPROCESSABLE, error, offset);
        }

        problem->element = "scan";
        return NGX_DECLINED;
    }

    return ngx_sv_pack_from_data(&data, pack, problem);
}


static ngx_int_t
ngx_sv_pack_from_data(const sv_gs1_data_t *data, ngx_sv_pack_t *pack, ngx_sv_problem_t *problem)
{
    const sv_span_t  *gtin, *serial, *lot, *expiry;

    ngx_memzero(pack, sizeof(ngx_sv_pack_t));

    gtin = sv_gs1_get(data, NGX_SV_AI_GTIN);

    if (gtin == NULL) {
        ngx_sv_problem(problem, NGX_SV_UNPROCESSABLE, "gtin_missing", "01",
                       "Packs are identified by their GTIN, AI 01; this identifies something else.");
        return NGX_DECLINED;
    }

    serial = sv_gs1_get(data, NGX_SV_AI_SERIAL);
    lot = sv_gs1_get(data, NGX_SV_AI_LOT);
    expiry = sv_gs1_get(data, NGX_SV_AI_EXPIRY);

    pack->gtin = sv_gs1_gtin(*gtin);

    if (serial != NULL && serial->len <= SV_SERIAL_MAX) {
        pack->serial_given = 1;
        pack->serial_len = (uint8_t) serial->len;
        ngx_memcpy(pack->serial, serial->data, serial->len);
    }

    if (lot != NULL && lot->len <= SV_LOT_MAX) {
        pack->lot_given = 1;
        pack->lot_len = (uint8_t) lot->len;
        ngx_memcpy(pack->lot, lot->data, lot->len);
    }

    if (expiry != NULL && expiry->len == sizeof(pack->expiry_text)) {
        pack->expiry_given = 1;
        ngx_memcpy(pack->expiry_text, expiry->data, expiry->len);
        pack->expiry = sv_gs1_date(*expiry, ngx_sv_today());
    }

    pack->stem_elements = data->stem_pairs != 0;
    pack->separator_lost = sv_gs1_separator_lost(data, NULL) ? 1 : 0;

    return NGX_OK;
}


/* A decommission needs 01, 21, 10 and 17 unless the product's policy says otherwise; sv.operate() checks it again. */
ngx_int_t
ngx_sv_pack_complete(ngx_sv_worker_t *worker, const ngx_sv_pack_t *pack,
    ngx_sv_problem_t *problem)
{
    const char        *element;
    sv_ref_product_t   product;

    if (pack->stem_elements) {
        ngx_sv_problem(problem, NGX_SV_UNPROCESSABLE, "elements_ambiguous", NULL,
                       "Left of the GTIN the path holds further element pairs. Which pack is"
                       " meant must be beyond doubt to change it.");
        return NGX_DECLINED;
    }

    ngx_memzero(&product, sizeof(sv_ref_product_t));
    (void) sv_ref_product(worker->ref, pack->gtin, &product);

    element = !pack->serial_given ? "21"
              : !pack->lot_given && !product.lot_optional ? "10"
              : !pack->expiry_given && !product.expiry_optional ? "17" : NULL;

    if (element == NULL) {
        return NGX_OK;
    }

    ngx_sv_pack_lacks(pack, element, problem);

    return NGX_DECLINED;
}


void
ngx_sv_pack_lacks(const ngx_sv_pack_t *pack, const char *element, ngx_sv_problem_t *problem)
{
    if (pack->separator_lost) {
        ngx_sv_problem(problem, NGX_SV_UNPROCESSABLE, "elements_missing", element,
                       "AI %s is missing: the scan seems to have lost its group separator, so"
                       " that it reads as the end of another element. "
                       NGX_SV_SEPARATOR_ADVICE, element);
        problem->hint = "scanner";

    } else if (ngx_strcmp(element, "21") == 0) {
        ngx_sv_problem(problem, NGX_SV_UNPROCESSABLE, "elements_missing", element,
                       "AI 21 is missing. Without its serial number it is not one pack: scan the"
                       " two-dimensional code.");

    } else {
        ngx_sv_problem(problem, NGX_SV_UNPROCESSABLE, "elements_missing", element,
                       "AI %s is missing. An operation needs GTIN (01), serial (21), lot (10)"
                       " and expiry (17): scan the two-dimensional code.", element);
    }
}


static void
ngx_sv_parse_problem(ngx_sv_problem_t *problem, ngx_uint_t status, sv_gs1_error_t error,
    size_t offset)
{
    ngx_sv_problem(problem, status, sv_gs1_error_code(error), NULL, "%s",
                   sv_gs1_error_text(error));
    problem->offset = (ngx_int_t) offset;
}


/*
 * The AI at this place of the target: the name of a query parameter; in the
 * path, whose pairs end at its end, the first of the pair.  NULL: none there.
 */
static const char *
ngx_sv_target_element(ngx_http_request_t *r, size_t offset)
{
    u_char      *start, *end, *place, *p, *ai;
    size_t       len;
    ngx_uint_t   n;

    start = r->unparsed_uri.data;
    end = start + r->unparsed_uri.len;
    place = start + ngx_min(offset, r->unparsed_uri.len);

    p = ngx_strlchr(start, end, '?');

    if (p != NULL && place > p) {
        for (start = p + 1, p = place; p > start && p[-1] != '&' && p[-1] != ';'; p--) { /* void */ }

    } else {
        end = p != NULL ? p : end;

        if (end - start > 1 && end[-1] == '/') {
            end--;
        }

        for (n = 0, p = ngx_min(place + (place < end && *place == '/'), end); p < end; p++) {
            n += *p == '/';
        }

        for (p = ngx_min(place, end); p > start && p[-1] != '/'; p--) { /* void */ }

        /* in the value */
        if (n % 2 == 0 && p > start) {
            for (p--; p > start && p[-1] != '/'; p--) { /* void */ }
        }
    }

    for (len = 0; p + len < end && p[len] >= '0' && p[len] <= '9'; len++) { /* void */ }

    if (len < 2 || len > 4 || (p + len < end && p[len] != '/' && p[len] != '=' && p[len] != '&' && p[len] != ';')) {
        return NULL;
    }

    ai = ngx_pnalloc(r->pool, len + 1);
    if (ai == NULL) {
        return NULL;
    }

    *ngx_cpymem(ai, p, len) = '\0';

    return (char *) ai;
}


static sv_day_t
ngx_sv_today(void)
{
    return (sv_day_t) (ngx_time() / 86400);
}
