#include "svw_event_in.h"

#include <stdlib.h>


struct svw_detail_s {
    json_t  *root;
};


svw_detail_t *
svw_detail_new(void)
{
    return calloc(1, sizeof(svw_detail_t));
}


void
svw_detail_clear(svw_detail_t *detail)
{
    json_decref(detail->root);
    detail->root = NULL;
}


void
svw_detail_open(svw_detail_t *detail, sv_span_t name)
{
    (void) detail;
    (void) name;
}


void
svw_detail_text(svw_detail_t *detail, sv_span_t name, sv_span_t text)
{
    (void) detail;
    (void) name;
    (void) text;
}


void
svw_detail_close(svw_detail_t *detail)
{
    (void) detail;
}


json_t *
svw_detail_json(svw_detail_t *detail)
{
    return detail->root;
}


void
svw_detail_free(svw_detail_t *detail)
{
    if (detail != NULL) {
        json_decref(detail->root);
        free(detail);
    }
}
