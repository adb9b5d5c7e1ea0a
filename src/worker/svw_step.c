#include "svw_event.h"

#include <string.h>


typedef struct {
    const char  *name;                  /* urn:epcglobal:cbv:NAME:word */
    const char  *start;                 /* https://ref.gs1.org/cbv/STARTword, cbv:STARTword; in any case */
} svw_vocabulary_t;

/* what an ObjectEvent may do by a step besides observing */
typedef struct {
    const char  *word;
    const char  *action;
} svw_step_t;


static size_t svw_word_web(sv_span_t text);
static int svw_word_starts(sv_span_t text, const char *start);


static const svw_vocabulary_t  svw_vocabularies[] = {
    { "bizstep", "BizStep-" },
    { "disp",    "Disp-" },
    { "er",      "ER-" },
    { "btt",     "BTT-" },
    { "sdt",     "SDT-" },
    { "comp",    "Comp-" },
    { NULL, NULL }
};

static const char  *const svw_webs[] = {
    "cbv:", "https://ref.gs1.org/", "http://ref.gs1.org/", "https://ns.gs1.org/", "http://ns.gs1.org/",
    "https://gs1.org/", "http://gs1.org/", "https://www.gs1.org/", "http://www.gs1.org/", NULL
};

static const svw_step_t  svw_steps[] = {
    { "commissioning",   "ADD" },
    { "encoding",        "ADD" },
    { "decommissioning", "DELETE" },
    { "destroying",      "DELETE" },
    { "sampling",        "DELETE" },
    { "dispensing",      "DELETE" },
    { "retail_selling",  "DELETE" },
    /* sv.operation_step: what we export and the vocabulary has no word for */
    { "urn:serial-verify:bizstep:free_sampling", "DELETE" },
    { "urn:serial-verify:bizstep:exporting",     "DELETE" },
    { "urn:serial-verify:bizstep:checking_out",  "DELETE" },
    { NULL, NULL }
};


/*
 * The word itself, urn:epcglobal:cbv:bizstep:word, https://ref.gs1.org/cbv/BizStep-word
 * and its older and shorter forms.
 */
sv_span_t
svw_word(sv_span_t text, const char *vocabulary)
{
    size_t                   n;
    char                     urn[64];
    const svw_vocabulary_t  *v;

    for (v = svw_vocabularies; v->name != NULL && strcmp(v->name, vocabulary) != 0; v++) { /* void */ }

    if (v->name == NULL) {
        return text;
    }

    snprintf(urn, sizeof(urn), "urn:epcglobal:cbv:%s:", v->name);

    if (svw_word_starts(text, urn)) {
        n = strlen(urn);

    } else {
        n = svw_word_web(text);

        if (n == 0 || !svw_word_starts((sv_span_t) { text.data + n, text.len - n }, v->start)) {
            return text;
        }

        n += strlen(v->start);
    }

    return n < text.len ? (sv_span_t) { text.data + n, text.len - n } : text;
}


/* Does an ObjectEvent of this step and action say something definite? */
int
svw_step_known(sv_span_t word, sv_span_t action)
{
    const svw_step_t  *s;

    for (s = svw_steps; s->word != NULL; s++) {
        if (strlen(s->word) == word.len && memcmp(s->word, word.data, word.len) == 0
            && strlen(s->action) == action.len && memcmp(s->action, action.data, action.len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


/* Length of what stands in front of the name in GS1's web vocabulary; 0: it is none of it. */
static size_t
svw_word_web(sv_span_t text)
{
    size_t  i, n;

    for (i = 0; svw_webs[i] != NULL && !svw_word_starts(text, svw_webs[i]); i++) { /* void */ }

    if (svw_webs[i] == NULL) {
        return 0;
    }

    for (n = text.len; text.data[n - 1] != ':' && text.data[n - 1] != '/'; n--) { /* void */ }

    return n;
}


static int
svw_word_starts(sv_span_t text, const char *start)
{
    size_t  len;

    len = strlen(start);

    return text.len >= len && strncasecmp((const char *) text.data, start, len) == 0;
}
