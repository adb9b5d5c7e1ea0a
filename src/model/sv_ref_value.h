/*
 * What an entry holds after its key: a fixed part and, behind it, texts whose
 * lengths are in the fixed part.  A location is stored as it is handed out.
 */

#ifndef SV_REF_VALUE_H
#define SV_REF_VALUE_H

#include "sv_ref_block.h"


typedef struct {
    int64_t   not_before;
    int64_t   not_after;                /* INT64_MAX: never */
    int32_t   location;
    uint32_t  unused;
} sv_ref_credential_value_t;

typedef struct {
    int64_t   withdrawn_at;
    uint16_t  company, name, reference, link;
    uint8_t   lot_optional, expiry_optional, withdrawn, partly_recalled;
    uint32_t  unused2;
} sv_ref_product_value_t;

typedef struct {
    int64_t   recalled_at;
    uint16_t  reference;
    uint16_t  unused[3];
} sv_ref_recall_value_t;

/* A row as it goes into the block. */
typedef struct {
    sv_ref_key_t  key;
    unsigned      flags;
    size_t        len;                  /* of the value, in bytes */
    uint64_t      value[SV_REF_VALUE];
} sv_ref_parsed_t;


/*
 * SV_REF_OK or SV_REF_BAD_ROW.  A bad row is to be stored, too, unless key.words
 * is 0: it holds the value that permits least.  A row of a kind that this
 * release does not know is SV_REF_OK with key.words 0.
 */
sv_ref_rc_t sv_ref_parse(const sv_ref_row_t *row, sv_ref_parsed_t *parsed);


static inline const uint8_t *
sv_ref_text_read(const uint8_t *text, uint16_t len, char *out)
{
    memcpy(out, text, len);
    out[len] = '\0';

    return text + len;
}

#endif /* SV_REF_VALUE_H */
