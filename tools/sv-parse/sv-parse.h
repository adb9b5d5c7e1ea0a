#ifndef SV_PARSE_H
#define SV_PARSE_H

#include "../../src/gs1/sv_gs1.h"

#include <stdio.h>


typedef enum {
    SV_PARSE_URI,
    SV_PARSE_SCAN,
    SV_PARSE_BRACKETS,
    SV_PARSE_URN,
    SV_PARSE_MODES
} sv_parse_mode_t;

typedef struct {
    sv_parse_mode_t  mode;
    unsigned         flags;
    int              explain;
    int              bench;
    sv_span_t        gs;            /* stands for the group separator; empty: nothing does */
} sv_parse_conf_t;

/* one line of input and what became of it */
typedef struct {
    sv_span_t             text;
    const sv_gs1_data_t  *data;
    sv_gs1_error_t        error;
    size_t                offset;   /* into `text' */
} sv_parse_item_t;


void sv_parse_explain(const sv_parse_conf_t *conf,
    const sv_parse_item_t *item, FILE *out);
int sv_parse_bench(FILE *out);

#endif /* SV_PARSE_H */
