#include "sv_ref_block.h"
#include "sv_ref_value.h"


static const char  *const sv_roles[] = {
    "",
    "pharmacy",
    "wholesaler",
    "parallel_distributor",
    "manufacturer",
    "authority",
    "reviewer",
    "operator"
};


static int sv_ref_look_up(sv_ref_t *ref, const sv_ref_key_t *key, sv_ref_entry_t *entry);


int
sv_ref_credential(sv_ref_t *ref, const uint8_t sha256[32], int64_t now_ms, sv_ref_location_t *location)
{
    sv_ref_key_t                key;
    sv_ref_entry_t              entry;
    sv_ref_credential_value_t   value;

    sv_ref_key_credential(&key, sha256);

    if (!sv_ref_look_up(ref, &key, &entry)) {
        return 0;
    }

    memcpy(&value, sv_ref_entry_value(&entry), sizeof(value));

    if (now_ms < value.not_before || now_ms >= value.not_after) {
        return 0;
    }

    sv_ref_key_location(&key, value.location);

    if (!sv_ref_look_up(ref, &key, &entry)) {
        return 0;
    }

    memcpy(location, sv_ref_entry_value(&entry), sizeof(sv_ref_location_t));

    return 1;
}


int
sv_ref_product(sv_ref_t *ref, uint64_t gtin, sv_ref_product_t *product)
{
    sv_ref_key_t              key;
    const uint8_t            *text;
    sv_ref_entry_t            entry;
    sv_ref_product_value_t    value;

    sv_ref_key_product(&key, gtin);

    if (!sv_ref_look_up(ref, &key, &entry)) {
        return 0;
    }

    text = sv_ref_entry_value(&entry);
    memcpy(&value, text, sizeof(value));
    text += sizeof(value);

    product->gtin = gtin;
    product->lot_optional = value.lot_optional;
    product->expiry_optional = value.expiry_optional;
    product->withdrawn = value.withdrawn;
    product->partly_recalled = value.partly_recalled;
    product->withdrawn_at = value.withdrawn_at;

    text = sv_ref_text_read(text, value.company, product->company);
    text = sv_ref_text_read(text, value.name, product->name);
    text = sv_ref_text_read(text, value.reference, product->reference);
    (void) sv_ref_text_read(text, value.link, product->link);

    return 1;
}


int
sv_ref_partly_recalled(sv_ref_t *ref, uint64_t gtin)
{
    sv_ref_key_t              key;
    sv_ref_entry_t            entry;
    sv_ref_product_value_t    value;

    sv_ref_key_product(&key, gtin);

    if (!sv_ref_look_up(ref, &key, &entry)) {
        return 0;
    }

    memcpy(&value, sv_ref_entry_value(&entry), sizeof(value));

    return value.partly_recalled;
}


int
sv_ref_recall(sv_ref_t *ref, uint64_t gtin, sv_span_t lot, sv_ref_recall_t *recall)
{
    sv_ref_key_t            key;
    const uint8_t          *text;
    sv_ref_entry_t          entry;
    sv_ref_recall_value_t   value;

    if (!sv_ref_key_recall(&key, gtin, lot) || !sv_ref_look_up(ref, &key, &entry)) {
        return 0;
    }

    text = sv_ref_entry_value(&entry);
    memcpy(&value, text, sizeof(value));

    recall->recalled_at = value.recalled_at;
    (void) sv_ref_text_read(text + sizeof(value), value.reference, recall->reference);

    return 1;
}


int
sv_ref_salt(sv_ref_t *ref, sv_day_t day, uint8_t salt[SV_REF_SALT])
{
    sv_ref_key_t    key;
    sv_ref_entry_t  entry;

    sv_ref_key_salt(&key, day);

    if (!sv_ref_look_up(ref, &key, &entry)) {
        return 0;
    }

    memcpy(salt, sv_ref_entry_value(&entry), SV_REF_SALT);

    return 1;
}


void
sv_ref_stats(sv_ref_t *ref, sv_ref_stats_t *stats)
{
    uint64_t        generation;
    sv_ref_half_t  *h;

    do {
        generation = sv_ref_get(&ref->generation);
        h = &ref->half[generation & 1];

        stats->generation = generation;
        stats->n = sv_ref_peek(&h->n);
        stats->used = (sv_ref_peek(&h->used) - ref->buckets / 2) * 8;
        stats->size = (ref->half_words - ref->buckets / 2) * 8;
        stats->bad = sv_ref_peek(&h->bad);
        stats->credentials = sv_ref_peek(&h->live[SV_REF_CREDENTIAL]);
        stats->locations = sv_ref_peek(&h->live[SV_REF_LOCATION]);
        stats->products = sv_ref_peek(&h->live[SV_REF_PRODUCT]);
        stats->lots = sv_ref_peek(&h->live[SV_REF_RECALL]);

        __atomic_thread_fence(__ATOMIC_ACQUIRE);

    } while (sv_ref_peek(&ref->generation) != generation);

    stats->fresh_at = sv_ref_get(&ref->fresh_at);
    stats->full = (int) sv_ref_get(&ref->full);
}


void
sv_ref_epoch(sv_ref_t *ref, char out[SV_REF_EPOCH])
{
    uint32_t  epochs;
    uint64_t  word[SV_REF_EPOCH / 8];

    do {
        epochs = sv_ref_get(&ref->epochs);
        sv_ref_words_load(ref->epoch[epochs & 1], word, SV_REF_EPOCH / 8);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
    } while (sv_ref_peek(&ref->epochs) != epochs);

    memcpy(out, word, SV_REF_EPOCH);
    out[SV_REF_EPOCH - 1] = '\0';
}


sv_role_t
sv_role_parse(const char *word)
{
    unsigned  i;

    for (i = SV_ROLE_NONE + 1; i <= SV_ROLE_OPERATOR; i++) {
        if (strcmp(sv_roles[i], word) == 0) {
            return (sv_role_t) i;
        }
    }

    return SV_ROLE_NONE;
}


const char *
sv_role_word(sv_role_t role)
{
    return (unsigned) role <= SV_ROLE_OPERATOR ? sv_roles[role] : "";
}


/*
 * The copy is to be believed only if the generation is still the one it was
 * looked up in: another half may have been begun over it meanwhile.
 */

static int
sv_ref_look_up(sv_ref_t *ref, const sv_ref_key_t *key, sv_ref_entry_t *entry)
{
    uint32_t  at;
    uint64_t  generation;

    do {
        generation = sv_ref_get(&ref->generation);

        if (generation == 0) {
            return 0;
        }

        at = sv_ref_find(ref, generation & 1, key, entry);

        __atomic_thread_fence(__ATOMIC_ACQUIRE);

    } while (sv_ref_peek(&ref->generation) != generation);

    return at != 0 && !(sv_ref_entry_flags(entry) & SV_REF_DELETED);
}
