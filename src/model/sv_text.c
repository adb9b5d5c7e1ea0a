#include "sv_verdict.h"


static const char *const  sv_texts[SV_REASON_MAX][SV_LANG_MAX] = {
#define SV_TEXT(symbol, en, de, fr)  [SV_REASON_##symbol] = {en, de, fr},
#define SV_DONE(operation, advice, en, de, fr)
#define SV_LAST_REPEAT(en, de, fr)
#include "sv_text.def"
#undef SV_TEXT
#undef SV_DONE
#undef SV_LAST_REPEAT
};

/* the last row is for every operation that has none of its own */
static const struct {
    const char   *operation;
    sv_advice_t   advice;
    const char   *text[SV_LANG_MAX];
} sv_dones[] = {
#define SV_TEXT(symbol, en, de, fr)
#define SV_DONE(operation, advice, en, de, fr)  {operation, SV_ADVICE_##advice, {en, de, fr}},
#define SV_LAST_REPEAT(en, de, fr)
#include "sv_text.def"
#undef SV_TEXT
#undef SV_DONE
#undef SV_LAST_REPEAT
};

static const char *const  sv_last_repeat[SV_LANG_MAX] = {
#define SV_TEXT(symbol, en, de, fr)
#define SV_DONE(operation, advice, en, de, fr)
#define SV_LAST_REPEAT(en, de, fr)  en, de, fr
#include "sv_text.def"
#undef SV_TEXT
#undef SV_DONE
#undef SV_LAST_REPEAT
};

static const char *const  sv_langs[SV_LANG_MAX] = {
    [SV_LANG_EN] = "en",
    [SV_LANG_DE] = "de",
    [SV_LANG_FR] = "fr",
};


static size_t sv_done_row(const char *operation);
static unsigned sv_lang_quality(sv_span_t parameters);


const char *
sv_reason_text(sv_reason_t reason, sv_lang_t lang)
{
    return sv_texts[reason][lang];
}


sv_advice_t
sv_done_advice(const char *operation)
{
    return sv_dones[sv_done_row(operation)].advice;
}


const char *
sv_done_text(const char *operation, sv_lang_t lang)
{
    return sv_dones[sv_done_row(operation)].text[lang];
}


const char *
sv_last_repeat_text(sv_lang_t lang)
{
    return sv_last_repeat[lang];
}


static size_t
sv_done_row(const char *operation)
{
    size_t  i;

    for (i = 0; sv_dones[i].operation != NULL; i++) {
        if (strcmp(sv_dones[i].operation, operation) == 0) {
            break;
        }
    }

    return i;
}


const char *
sv_lang_word(sv_lang_t lang)
{
    return sv_langs[lang];
}


/* RFC 9110 12.5.4 with the lookup of RFC 4647: "de-AT;q=0.9" is answered in German */
sv_lang_t
sv_lang_parse(sv_span_t header)
{
    size_t     i, start, semicolon;
    unsigned   quality, best;
    sv_lang_t  lang, found;

    best = 0;
    found = SV_LANG_EN;

    for (start = 0; start < header.len; start = i + 1) {

        while (start < header.len && header.data[start] == ' ') {
            start++;
        }

        semicolon = header.len;

        for (i = start; i < header.len && header.data[i] != ','; i++) {
            if (header.data[i] == ';' && semicolon == header.len) {
                semicolon = i;
            }
        }

        if (i - start < 2 || (i - start > 2 && header.data[start + 2] != '-'
                              && header.data[start + 2] != ';' && header.data[start + 2] != ' '))
        {
            continue;
        }

        quality = 1000;

        if (semicolon < i) {
            quality = sv_lang_quality((sv_span_t) {header.data + semicolon, i - semicolon});
        }

        for (lang = SV_LANG_EN; lang < SV_LANG_MAX; lang++) {
            if ((header.data[start] | 0x20) == sv_langs[lang][0]
                && (header.data[start + 1] | 0x20) == sv_langs[lang][1] && quality > best)
            {
                best = quality;
                found = lang;
            }
        }
    }

    return found;
}


/* ";q=0.8" in thousandths; what cannot be read counts as 1 */
static unsigned
sv_lang_quality(sv_span_t p)
{
    size_t    i;
    unsigned  value, unit;

    for (i = 0; i + 2 < p.len; i++) {
        if ((p.data[i] | 0x20) == 'q' && p.data[i + 1] == '=') {
            break;
        }
    }

    if (i + 2 >= p.len || p.data[i + 2] != '0') {
        return 1000;
    }

    value = 0;
    unit = 100;

    for (i += 4; i < p.len && p.data[i] >= '0' && p.data[i] <= '9' && unit > 0; i++) {
        value += (unsigned) (p.data[i] - '0') * unit;
        unit /= 10;
    }

    return value;
}
