#include "svw_audit.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>


#define SVW_AUDIT_FORMAT  "serial-verify-head/1"


static int svw_audit_number(const char *text, int64_t *n);


/* docs/worker.md, "Signed heads", says what stands in the line */
void
svw_audit_head_line(const svw_audit_head_t *head, int with_signature, char line[SVW_AUDIT_LINE])
{
    char  hash[65], previous[65], key[65], signature[129];

    svw_audit_hex(head->hash, SVW_AUDIT_HASH, hash);
    svw_audit_hex(head->previous, SVW_AUDIT_HASH, previous);
    svw_audit_hex(head->key, SVW_AUDIT_HASH, key);
    svw_audit_hex(head->signature, SVW_AUDIT_SIGNATURE, signature);

    snprintf(line, SVW_AUDIT_LINE, SVW_AUDIT_FORMAT " %s %" PRId64 " %s %s %" PRId64 " %" PRId64 " %s %s %s %" PRId64 "%s%s",
             head->system, head->head, head->kind, head->day, head->first, head->last, hash, previous, key, head->at_us,
             with_signature ? " " : "", with_signature ? signature : "");
}


/* A line that does not come out of svw_audit_head_line() again as it is, is none. */
int
svw_audit_head_parse(const char *line, svw_audit_head_t *head)
{
    char    text[SVW_AUDIT_LINE], again[SVW_AUDIT_LINE], *word[12], *rest;
    size_t  n;

    *head = (svw_audit_head_t) { .head = 0 };

    if (strlen(line) >= sizeof(text)) {
        return -1;
    }

    memcpy(text, line, strlen(line) + 1);
    rest = text;

    for (n = 0; n < 12 && rest != NULL; n++) {
        word[n] = strsep(&rest, " ");
    }

    if (n != 12 || rest != NULL
        || strlen(word[1]) >= sizeof(head->system) || strlen(word[3]) >= sizeof(head->kind)
        || strlen(word[4]) >= sizeof(head->day)
        || svw_audit_number(word[2], &head->head) != 0 || svw_audit_number(word[5], &head->first) != 0
        || svw_audit_number(word[6], &head->last) != 0 || svw_audit_number(word[10], &head->at_us) != 0
        || svw_audit_unhex(word[7], head->hash, SVW_AUDIT_HASH) != 0
        || svw_audit_unhex(word[8], head->previous, SVW_AUDIT_HASH) != 0
        || svw_audit_unhex(word[9], head->key, SVW_AUDIT_HASH) != 0
        || svw_audit_unhex(word[11], head->signature, SVW_AUDIT_SIGNATURE) != 0)
    {
        return -1;
    }

    snprintf(head->system, sizeof(head->system), "%s", word[1]);
    snprintf(head->kind, sizeof(head->kind), "%s", word[3]);
    snprintf(head->day, sizeof(head->day), "%s", word[4]);
    svw_audit_head_line(head, 1, again);

    return strcmp(line, again) == 0 ? 0 : -1;
}


int
svw_audit_head_digest(const svw_audit_head_t *head, uint8_t digest[SVW_AUDIT_HASH])
{
    char  line[SVW_AUDIT_LINE];

    svw_audit_head_line(head, 1, line);

    return EVP_Digest(line, strlen(line), digest, NULL, EVP_sha256(), NULL) == 1 ? 0 : -1;
}


int
svw_audit_head_sign(svw_audit_head_t *head, EVP_PKEY *key)
{
    int          ok;
    char         line[SVW_AUDIT_LINE];
    size_t       len;
    EVP_MD_CTX  *md;

    if (svw_audit_key_public(key, head->key) != 0) {
        return -1;
    }

    svw_audit_head_line(head, 0, line);

    len = SVW_AUDIT_SIGNATURE;
    md = EVP_MD_CTX_new();
    ok = md != NULL && EVP_DigestSignInit(md, NULL, NULL, NULL, key) == 1
         && EVP_DigestSign(md, head->signature, &len, (unsigned char *) line, strlen(line)) == 1
         && len == SVW_AUDIT_SIGNATURE;
    EVP_MD_CTX_free(md);

    return ok ? 0 : -1;
}


int
svw_audit_head_signed(const svw_audit_head_t *head)
{
    int          ok;
    char         line[SVW_AUDIT_LINE];
    EVP_PKEY    *key;
    EVP_MD_CTX  *md;

    svw_audit_head_line(head, 0, line);

    md = EVP_MD_CTX_new();
    key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, head->key, SVW_AUDIT_HASH);
    ok = md != NULL && key != NULL && EVP_DigestVerifyInit(md, NULL, NULL, NULL, key) == 1
         && EVP_DigestVerify(md, head->signature, SVW_AUDIT_SIGNATURE, (unsigned char *) line, strlen(line)) == 1;
    EVP_PKEY_free(key);
    EVP_MD_CTX_free(md);

    return ok;
}


/* What cannot be taken from a column stays zero: no signature fits it. */
void
svw_audit_head_of(const PGresult *result, int row, svw_audit_head_t *head)
{
    *head = (svw_audit_head_t) { .head = svw_col_int(result, row, "head") };

    head->first = svw_col_int(result, row, "first_n");
    head->last = svw_col_int(result, row, "last_n");
    head->at_us = svw_col_int(result, row, "at");
    snprintf(head->system, sizeof(head->system), "%s", svw_col(result, row, "system"));
    snprintf(head->kind, sizeof(head->kind), "%s", svw_col(result, row, "kind"));
    snprintf(head->day, sizeof(head->day), "%s", svw_col(result, row, "day"));
    (void) svw_audit_unhex(svw_col(result, row, "hash"), head->hash, SVW_AUDIT_HASH);
    (void) svw_audit_unhex(svw_col(result, row, "previous"), head->previous, SVW_AUDIT_HASH);
    (void) svw_audit_unhex(svw_col(result, row, "key"), head->key, SVW_AUDIT_HASH);
    (void) svw_audit_unhex(svw_col(result, row, "signature"), head->signature, SVW_AUDIT_SIGNATURE);
}


static int
svw_audit_number(const char *text, int64_t *n)
{
    size_t  len;

    len = strlen(text);

    if (len == 0 || len > 18 || strspn(text, "0123456789") != len) {
        return -1;
    }

    *n = strtoll(text, NULL, 10);

    return 0;
}
