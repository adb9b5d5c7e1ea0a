#include "sv_ref_value.h"


static sv_ref_rc_t sv_ref_parse_credential(const sv_ref_row_t *row, sv_ref_parsed_t *parsed);
static sv_ref_rc_t sv_ref_parse_location(const sv_ref_row_t *row, sv_ref_parsed_t *parsed);
static sv_ref_rc_t sv_ref_parse_product(const sv_ref_row_t *row, sv_ref_parsed_t *parsed);
static sv_ref_rc_t sv_ref_parse_recall(const sv_ref_row_t *row, sv_ref_parsed_t *parsed);
static sv_ref_rc_t sv_ref_parse_salt(const sv_ref_row_t *row, sv_ref_parsed_t *parsed);
static int sv_ref_parse_int(const char *text, int64_t min, int64_t max, int64_t *out);
static int sv_ref_parse_gtin(const char *text, uint64_t *gtin);
static int sv_ref_parse_hex(const char *text, uint8_t out[32]);
static uint16_t sv_ref_text_write(sv_ref_parsed_t *parsed, const char *text, size_t max);
static size_t sv_ref_text_cut(const char *text, size_t max);


typedef struct {
    const char    *kind;
    sv_ref_rc_t  (*parse)(const sv_ref_row_t *row, sv_ref_parsed_t *parsed);
} sv_ref_parser_t;

static const sv_ref_parser_t  sv_ref_parsers[] = {
    { "credential", sv_ref_parse_credential },
    { "location",   sv_ref_parse_location },
    { "product",    sv_ref_parse_product },
    { "lot",        sv_ref_parse_recall },
    { "salt",       sv_ref_parse_salt }
};


sv_ref_rc_t
sv_ref_parse(const sv_ref_row_t *row, sv_ref_parsed_t *parsed)
{
    size_t       i;
    sv_ref_rc_t  rc;

    memset(parsed, 0, sizeof(sv_ref_parsed_t));

    if (row->kind == NULL) {
        return SV_REF_BAD_ROW;
    }

    for (i = 0; i < sizeof(sv_ref_parsers) / sizeof(sv_ref_parsers[0]); i++) {

        if (strcmp(row->kind, sv_ref_parsers[i].kind) != 0) {
            continue;
        }

        if (row->key == NULL) {
            return SV_REF_BAD_ROW;
        }

        if (row->deleted) {
            parsed->flags = SV_REF_DELETED;
        }

        rc = sv_ref_parsers[i].parse(row, parsed);

        if (rc == SV_REF_BAD_ROW) {
            parsed->flags |= SV_REF_BAD;
        }

        return rc;
    }

    /* the schema is one release ahead: what this release does not know it does not need */

    return SV_REF_OK;
}


static sv_ref_rc_t
sv_ref_parse_credential(const sv_ref_row_t *row, sv_ref_parsed_t *parsed)
{
    int64_t                    id;
    uint8_t                    sha256[32];
    sv_ref_credential_value_t  value;

    if (!sv_ref_parse_hex(row->key, sha256)) {
        return SV_REF_BAD_ROW;
    }

    sv_ref_key_credential(&parsed->key, sha256);

    if (row->deleted) {
        return SV_REF_OK;
    }

    memset(&value, 0, sizeof(value));
    value.not_after = INT64_MAX;

    if (!sv_ref_parse_int(row->field[0], INT32_MIN, INT32_MAX, &id)
        || !sv_ref_parse_int(row->field[1], INT64_MIN, INT64_MAX, &value.not_before)
        || (row->field[2] != NULL && !sv_ref_parse_int(row->field[2], INT64_MIN, INT64_MAX, &value.not_after)))
    {
        parsed->flags = SV_REF_DELETED;
        return SV_REF_BAD_ROW;
    }

    value.location = (int32_t) id;

    memcpy(parsed->value, &value, sizeof(value));
    parsed->len = sizeof(value);

    return SV_REF_OK;
}


static sv_ref_rc_t
sv_ref_parse_location(const sv_ref_row_t *row, sv_ref_parsed_t *parsed)
{
    size_t              len;
    int64_t             id, gln;
    sv_ref_location_t   value;

    if (!sv_ref_parse_int(row->key, INT32_MIN, INT32_MAX, &id)) {
        return SV_REF_BAD_ROW;
    }

    sv_ref_key_location(&parsed->key, (int32_t) id);

    if (row->deleted) {
        return SV_REF_OK;
    }

    memset(&value, 0, sizeof(value));

    if (row->field[1] != NULL) {
        value.role = sv_role_parse(row->field[1]);
    }

    if (value.role == SV_ROLE_NONE
        || row->field[0] == NULL || strlen(row->field[0]) != 13 || !sv_ref_parse_int(row->field[0], 0, INT64_MAX, &gln)
        || row->field[3] == NULL || strlen(row->field[3]) != 2)
    {
        parsed->flags = SV_REF_DELETED;
        return SV_REF_BAD_ROW;
    }

    value.id = (int32_t) id;
    memcpy(value.gln, row->field[0], 13);
    memcpy(value.country, row->field[3], 2);

    if (row->field[2] != NULL) {
        len = sv_ref_text_cut(row->field[2], SV_REF_COMPANY);
        memcpy(value.company, row->field[2], len);
    }

    memcpy(parsed->value, &value, sizeof(value));
    parsed->len = sizeof(value);

    return SV_REF_OK;
}


static sv_ref_rc_t
sv_ref_parse_product(const sv_ref_row_t *row, sv_ref_parsed_t *parsed)
{
    uint64_t                gtin;
    sv_ref_rc_t             rc;
    sv_ref_product_value_t  value;

    if (!sv_ref_parse_gtin(row->key, &gtin) || row->key[14] != '\0') {
        return SV_REF_BAD_ROW;
    }

    sv_ref_key_product(&parsed->key, gtin);

    if (row->deleted) {
        return SV_REF_OK;
    }

    rc = row->field[0] != NULL ? SV_REF_OK : SV_REF_BAD_ROW;

    memset(&value, 0, sizeof(value));

    value.lot_optional = row->field[2] != NULL && strcmp(row->field[2], "t") == 0;
    value.expiry_optional = row->field[3] != NULL && strcmp(row->field[3], "t") == 0;

    if (row->field[4] != NULL) {
        value.withdrawn = 1;

        if (!sv_ref_parse_int(row->field[4], INT64_MIN, INT64_MAX, &value.withdrawn_at)) {
            value.withdrawn_at = 0;
            rc = SV_REF_BAD_ROW;
        }
    }

    if (row->field[7] != NULL && strcmp(row->field[7], "f") != 0) {
        value.partly_recalled = 1;

        if (strcmp(row->field[7], "t") != 0) {
            rc = SV_REF_BAD_ROW;
        }
    }

    parsed->len = sizeof(value);

    value.company = sv_ref_text_write(parsed, row->field[1], SV_REF_COMPANY);
    value.name = sv_ref_text_write(parsed, row->field[0], SV_REF_NAME);
    value.reference = sv_ref_text_write(parsed, row->field[5], SV_REF_REASON);

    /* half a link leads elsewhere: none instead */

    if (row->field[6] != NULL && strlen(row->field[6]) > SV_REF_LINK) {
        rc = SV_REF_BAD_ROW;

    } else {
        value.link = sv_ref_text_write(parsed, row->field[6], SV_REF_LINK);
    }

    memcpy(parsed->value, &value, sizeof(value));

    return rc;
}


static sv_ref_rc_t
sv_ref_parse_recall(const sv_ref_row_t *row, sv_ref_parsed_t *parsed)
{
    uint64_t               gtin;
    sv_span_t              lot;
    sv_ref_rc_t            rc;
    sv_ref_recall_value_t  value;

    if (!sv_ref_parse_gtin(row->key, &gtin)) {
        return SV_REF_BAD_ROW;
    }

    lot.data = (const uint8_t *) row->key + 14;
    lot.len = strlen(row->key + 14);

    if (!sv_ref_key_recall(&parsed->key, gtin, lot)) {
        return SV_REF_BAD_ROW;
    }

    if (row->deleted) {
        return SV_REF_OK;
    }

    rc = SV_REF_OK;
    memset(&value, 0, sizeof(value));

    if (!sv_ref_parse_int(row->field[0], INT64_MIN, INT64_MAX, &value.recalled_at)) {
        value.recalled_at = 0;
        rc = SV_REF_BAD_ROW;
    }

    parsed->len = sizeof(value);
    value.reference = sv_ref_text_write(parsed, row->field[1], SV_REF_REASON);
    memcpy(parsed->value, &value, sizeof(value));

    return rc;
}


static sv_ref_rc_t
sv_ref_parse_salt(const sv_ref_row_t *row, sv_ref_parsed_t *parsed)
{
    sv_day_t        day;
    const uint8_t  *key;

    key = (const uint8_t *) row->key;
    day = sv_day_parse((sv_span_t) {key, strlen(row->key)});

    if (day == SV_DAY_NONE) {
        return SV_REF_BAD_ROW;
    }

    sv_ref_key_salt(&parsed->key, day);

    if (row->deleted) {
        return SV_REF_OK;
    }

    if (row->field[0] == NULL || !sv_ref_parse_hex(row->field[0], (uint8_t *) parsed->value)) {
        memset(parsed->value, 0, sizeof(parsed->value));
        parsed->flags = SV_REF_DELETED;
        return SV_REF_BAD_ROW;
    }

    parsed->len = SV_REF_SALT;

    return SV_REF_OK;
}


static int
sv_ref_parse_int(const char *text, int64_t min, int64_t max, int64_t *out)
{
    int       negative, digit;
    int64_t   value;

    if (text == NULL) {
        return 0;
    }

    negative = *text == '-';
    text += negative;

    if (*text == '\0') {
        return 0;
    }

    /* summed up below zero, where there is one number more */

    for (value = 0; *text != '\0'; text++) {
        digit = *text - '0';

        if (digit < 0 || digit > 9
            || __builtin_mul_overflow(value, 10, &value) || __builtin_sub_overflow(value, digit, &value))
        {
            return 0;
        }
    }

    if (!negative && __builtin_sub_overflow((int64_t) 0, value, &value)) {
        return 0;
    }

    *out = value;

    return value >= min && value <= max;
}


static int
sv_ref_parse_gtin(const char *text, uint64_t *gtin)
{
    int       i;
    uint64_t  value;

    value = 0;

    for (i = 0; i < 14; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return 0;
        }

        value = value * 10 + (uint64_t) (text[i] - '0');
    }

    *gtin = value;

    return 1;
}


static int
sv_ref_parse_hex(const char *text, uint8_t out[32])
{
    int      i;
    char     c;
    uint8_t  digit;

    for (i = 0; i < 64; i++) {
        c = text[i];

        if (c >= '0' && c <= '9') {
            digit = (uint8_t) (c - '0');

        } else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') {
            digit = (uint8_t) ((c | 0x20) - 'a' + 10);

        } else {
            return 0;
        }

        out[i / 2] = (uint8_t) (i & 1 ? out[i / 2] | digit : digit << 4);
    }

    return text[64] == '\0';
}


/* Appended to the value, cut at a character. */

static uint16_t
sv_ref_text_write(sv_ref_parsed_t *parsed, const char *text, size_t max)
{
    size_t  len;

    if (text == NULL) {
        return 0;
    }

    len = sv_ref_text_cut(text, max);
    memcpy((uint8_t *) parsed->value + parsed->len, text, len);
    parsed->len += len;

    return (uint16_t) len;
}


static size_t
sv_ref_text_cut(const char *text, size_t max)
{
    size_t  len;

    len = strnlen(text, max + 1);

    if (len <= max) {
        return len;
    }

    for (len = max; len > 0 && ((uint8_t) text[len] & 0xc0) == 0x80; len--) { /* void */ }

    return len;
}
