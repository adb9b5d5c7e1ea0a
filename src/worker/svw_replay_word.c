#include "svw_replay.h"

#include "svw_load.h"

#include <ctype.h>


#define SVW_REPLAY_WORD  32
#define SVW_REPLAY_TIME  48


typedef struct {
    const char  *word;
    unsigned     value;
} svw_replay_word_t;


static unsigned svw_replay_look(const svw_replay_word_t *words, sv_span_t word, unsigned unknown);
static size_t svw_replay_lower(sv_span_t word, char lower[SVW_REPLAY_WORD]);


static const svw_replay_word_t  svw_replay_operations[] = {
    { "verify", SVW_OP_VERIFY }, { "supply", SVW_OP_SUPPLY }, { "dispense", SVW_OP_SUPPLY }, { "destroy", SVW_OP_DESTROY },
    { "export", SVW_OP_EXPORT }, { "sample", SVW_OP_SAMPLE }, { "free_sample", SVW_OP_FREE_SAMPLE }, { "lock", SVW_OP_LOCK },
    { "steal", SVW_OP_STEAL }, { "stolen", SVW_OP_STEAL }, { "check_out", SVW_OP_CHECK_OUT }, { "undo", SVW_OP_UNDO },
    { NULL, 0 }
};

static const svw_replay_word_t  svw_replay_kinds[] = {
    { "pharmacy", SVW_ACTOR_PHARMACY }, { "hospital", SVW_ACTOR_HOSPITAL }, { "wholesaler", SVW_ACTOR_WHOLESALER },
    { "parallel_distributor", SVW_ACTOR_PARALLEL_DISTRIBUTOR }, { "manufacturer", SVW_ACTOR_MANUFACTURER },
    { "authority", SVW_ACTOR_AUTHORITY }, { "consumer", SVW_ACTOR_CONSUMER }, { "public", SVW_ACTOR_CONSUMER },
    { NULL, 0 }
};

static const svw_replay_word_t  svw_replay_entries[] = {
    { "scanned", SVW_ENTRY_SCANNED }, { "scan", SVW_ENTRY_SCANNED }, { "non_manual", SVW_ENTRY_SCANNED },
    { "manual", SVW_ENTRY_MANUAL }, { "typed", SVW_ENTRY_MANUAL },
    { NULL, 0 }
};

/* what others call it */
static const svw_replay_word_t  svw_replay_outcomes[] = {
    { "active", SV_REASON_OK }, { "supplied", SV_REASON_ALREADY_SUPPLIED },
    { NULL, 0 }
};


svw_op_t
svw_replay_operation(sv_span_t word)
{
    return svw_replay_look(svw_replay_operations, word, SVW_OP_OTHER);
}


svw_actor_kind_t
svw_replay_actor_kind(sv_span_t word)
{
    return svw_replay_look(svw_replay_kinds, word, SVW_ACTOR_OTHER);
}


svw_entry_t
svw_replay_entry(sv_span_t word)
{
    return svw_replay_look(svw_replay_entries, word, SVW_ENTRY_UNKNOWN);
}


sv_reason_t
svw_replay_outcome(sv_span_t word)
{
    char         lower[SVW_REPLAY_WORD];
    size_t       len;
    sv_reason_t  reason;

    len = svw_replay_lower(word, lower);
    reason = sv_reason_parse((sv_span_t) { (const uint8_t *) lower, len });

    return reason != SV_REASON_MAX ? reason : svw_replay_look(svw_replay_outcomes, word, SV_REASON_MAX);
}


void
svw_replay_country(sv_span_t word, char country[3])
{
    int  i;

    country[0] = '\0';

    if (word.len != 2) {
        return;
    }

    for (i = 0; i < 2; i++) {
        if (!isalpha(word.data[i])) {
            return;
        }
    }

    country[0] = (char) toupper(word.data[0]);
    country[1] = (char) toupper(word.data[1]);
    country[2] = '\0';

    /* common, and not of ISO 3166 */
    if (strcmp(country, "UK") == 0) {
        memcpy(country, "GB", 3);

    } else if (strcmp(country, "EL") == 0) {
        memcpy(country, "GR", 3);
    }
}


/* A wrong check digit is a product that nobody knows: no reason to look away. */
int
svw_replay_gtin(sv_span_t text, uint64_t *gtin)
{
    size_t  i;

    if (text.len != 8 && (text.len < 12 || text.len > 14)) {
        return -1;
    }

    for (*gtin = 0, i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return -1;
        }

        *gtin = *gtin * 10 + (uint64_t) (text.data[i] - '0');
    }

    return 0;
}


int
svw_replay_time(sv_span_t text, int64_t *ms)
{
    char       buf[SVW_REPLAY_TIME];
    size_t     i;
    sv_span_t  t;

    if (text.len > sizeof(buf) - 1) {
        return -1;
    }

    for (i = 0; i < text.len; i++) {
        buf[i] = (char) (text.data[i] == 't' || text.data[i] == 'z' ? toupper(text.data[i]) : text.data[i]);
    }

    t = (sv_span_t) { (const uint8_t *) buf, text.len };

    return svw_check_time(t, ms) == NULL ? 0 : -1;
}


/* As scanned is YYMMDD; a number has lost its zeros in front, a date has a century. */
sv_span_t
svw_replay_expiry(sv_span_t text, char buf[7])
{
    size_t  i;

    for (i = 0; i < text.len && isdigit(text.data[i]); i++) { /* void */ }

    if (i == text.len && (text.len == 4 || text.len == 5)) {
        memset(buf, '0', 6);
        memcpy(buf + 6 - text.len, text.data, text.len);

    } else if (i == 8 && text.len == 8) {
        memcpy(buf, text.data + 2, 6);

    } else if (text.len == 10 && text.data[4] == '-' && text.data[7] == '-') {
        memcpy(buf, text.data + 2, 2);
        memcpy(buf + 2, text.data + 5, 2);
        memcpy(buf + 4, text.data + 8, 2);

    } else {
        return text;
    }

    buf[6] = '\0';

    return (sv_span_t) { (const uint8_t *) buf, 6 };
}


static unsigned
svw_replay_look(const svw_replay_word_t *words, sv_span_t word, unsigned unknown)
{
    char    lower[SVW_REPLAY_WORD];
    size_t  len;

    len = svw_replay_lower(word, lower);

    for (; words->word != NULL; words++) {
        if (len == strlen(words->word) && memcmp(words->word, lower, len) == 0) {
            return words->value;
        }
    }

    return unknown;
}


static size_t
svw_replay_lower(sv_span_t word, char lower[SVW_REPLAY_WORD])
{
    size_t  i;

    for (i = 0; i < word.len && i < SVW_REPLAY_WORD; i++) {
        lower[i] = (char) (word.data[i] == '-' || word.data[i] == ' ' ? '_' : tolower(word.data[i]));
    }

    return i;
}
