#include "svw_conf.h"

#include "svw_http.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>


static const char *svw_conf_add(char **list, unsigned *n, unsigned most, const char *value, const char *twice, const char *many);
static const char *svw_conf_address(const char *value);
static const char *svw_conf_quantity(const svw_conf_key_t *key, const char *value, const svw_conf_word_t *units,
    const char *expected, const char *range, uint64_t *n);
static void *svw_conf_field(void *base, const svw_conf_key_t *key);


static const svw_conf_word_t  svw_conf_times[] = {
    { "", 1000 }, { "ms", 1 }, { "s", 1000 }, { "m", 60 * 1000 }, { "h", 3600 * 1000 }, { "d", 24 * 3600 * 1000 }, { NULL, 0 }
};

static const svw_conf_word_t  svw_conf_days[] = { { "d", 1 }, { "y", 365 }, { NULL, 0 } };

static const svw_conf_word_t  svw_conf_sizes[] = {
    { "", 1 }, { "k", 1024 }, { "m", 1024 * 1024 }, { "g", 1024 * 1024 * 1024 }, { NULL, 0 }
};

const svw_conf_word_t  svw_conf_on_error[] = {
    { "skip", SVW_ON_ERROR_SKIP }, { "none", SVW_ON_ERROR_NONE }, { NULL, 0 }
};

const svw_conf_word_t  svw_conf_strictness[] = { { "tolerant", 0 }, { "strict", 1 }, { NULL, 0 } };


const svw_conf_word_t  svw_conf_severities[] = {
    { "info", 0 }, { "low", 1 }, { "medium", 2 }, { "high", 3 }, { "critical", 4 }, { NULL, 0 }
};


const char *
svw_conf_set_text(void *base, const svw_conf_key_t *key, const char *value)
{
    char  **field;

    field = svw_conf_field(base, key);
    *field = strdup(value);

    return *field != NULL ? NULL : "out of memory";
}


const char *
svw_conf_set_word(void *base, const svw_conf_key_t *key, const char *value)
{
    /* the enumerations are as wide */
    return svw_conf_word(key->words, value, svw_conf_field(base, key)) ? NULL : key->expected;
}


const char *
svw_conf_set_number(void *base, const svw_conf_key_t *key, const char *value)
{
    uint64_t     n;
    const char  *wrong;

    wrong = svw_conf_quantity(key, value, NULL, "expected a number", "the number is out of range, see docs/worker.md", &n);

    if (wrong == NULL) {
        *(unsigned *) svw_conf_field(base, key) = (unsigned) n;
    }

    return wrong;
}


const char *
svw_conf_set_time(void *base, const svw_conf_key_t *key, const char *value)
{
    uint64_t     n;
    const char  *wrong;

    wrong = svw_conf_quantity(key, value, svw_conf_times, "expected a time such as 200ms, 5s, 10m, 1h, 7d",
                              "the time is out of range, see docs/worker.md", &n);

    if (wrong == NULL) {
        *(unsigned *) svw_conf_field(base, key) = (unsigned) n;
    }

    return wrong;
}


const char *
svw_conf_set_days(void *base, const svw_conf_key_t *key, const char *value)
{
    uint64_t     n;
    const char  *wrong;

    wrong = svw_conf_quantity(key, value, svw_conf_days, "expected a time in days or years such as 400d, 6y",
                              "the time is out of range, see docs/worker.md", &n);

    if (wrong == NULL) {
        *(unsigned *) svw_conf_field(base, key) = (unsigned) n;
    }

    return wrong;
}


const char *
svw_conf_set_size(void *base, const svw_conf_key_t *key, const char *value)
{
    uint64_t     n;
    const char  *wrong;

    wrong = svw_conf_quantity(key, value, svw_conf_sizes, "expected a size such as 512k, 100m, 2g",
                              "the size is out of range, see docs/worker.md", &n);

    if (wrong == NULL) {
        *(uint64_t *) svw_conf_field(base, key) = n;
    }

    return wrong;
}


const char *
svw_conf_set_postgres(void *base, const svw_conf_key_t *key, const char *value)
{
    char              *error;
    PQconninfoOption  *options;

    error = NULL;
    options = PQconninfoParse(value, &error);

    if (options == NULL) {
        PQfreemem(error);
        return "not a libpq connection string, such as \"host=/run/postgresql dbname=sv user=sv_worker\"";
    }

    PQconninfoFree(options);

    return svw_conf_set_text(base, key, value);
}


const char *
svw_conf_set_listen(void *base, const svw_conf_key_t *key, const char *value)
{
    const char  *wrong;

    wrong = svw_conf_address(value);

    return wrong != NULL ? wrong : svw_conf_set_text(base, key, value);
}


const char *
svw_conf_set_url(void *base, const svw_conf_key_t *key, const char *value)
{
    if (strncmp(value, "https://", 8) != 0 && strncmp(value, "http://", 7) != 0) {
        return "expected a URL that begins with https:// or http://";
    }

    return svw_conf_set_text(base, key, value);
}


const char *
svw_conf_set_redis(void *base, const svw_conf_key_t *key, const char *value)
{
    svw_conf_t  *conf;
    const char  *wrong;

    (void) key;
    conf = base;
    wrong = svw_conf_address(value);

    return wrong != NULL ? wrong
           : svw_conf_add(conf->redis, &conf->n_redis, SVW_MAX_REDIS, value, "this server is given twice", "more than 16 servers");
}


const char *
svw_conf_set_notify(void *base, const svw_conf_key_t *key, const char *value)
{
    svw_conf_t  *conf;
    const char  *wrong;

    (void) key;
    conf = base;
    wrong = svw_http_url(value);

    return wrong != NULL ? wrong
           : svw_conf_add(conf->notify_url, &conf->n_notify, SVW_MAX_NOTIFY, value, "this URL is given twice", "more than 4 URLs");
}


const char *
svw_conf_set_roles(void *base, const svw_conf_key_t *key, const char *value)
{
    char         word[32];
    size_t       len;
    unsigned     role;
    svw_conf_t  *conf;

    (void) key;
    conf = base;

    conf->roles = 0;

    while (*value != '\0') {
        len = strcspn(value, ", \t");

        if (len > 0) {
            if (len >= sizeof(word)) {
                return "expected a list of " SVW_ROLE_LIST;
            }

            memcpy(word, value, len);
            word[len] = '\0';

            role = svw_role_parse(word);
            if (role == 0) {
                return "expected a list of " SVW_ROLE_LIST;
            }

            conf->roles |= role;
        }

        value += len;
        value += strspn(value, ", \t");
    }

    return conf->roles != 0 ? NULL : "no role is given";
}


int
svw_conf_word(const svw_conf_word_t *words, const char *word, unsigned *value)
{
    for (; words->word != NULL; words++) {
        if (strcmp(words->word, word) == 0) {
            *value = words->value;
            return 1;
        }
    }

    return 0;
}


char *
svw_conf_trim(char *text)
{
    size_t  len;

    text += strspn(text, " \t\r\n");
    len = strlen(text);

    while (len > 0 && isspace((unsigned char) text[len - 1])) {
        text[--len] = '\0';
    }

    return text;
}


/* a setting that may be given several times */
static const char *
svw_conf_add(char **list, unsigned *n, unsigned most, const char *value, const char *twice, const char *many)
{
    unsigned  i;

    for (i = 0; i < *n; i++) {
        if (strcmp(list[i], value) == 0) {
            return twice;
        }
    }

    if (*n == most) {
        return many;
    }

    list[*n] = strdup(value);

    if (list[*n] == NULL) {
        return "out of memory";
    }

    ++*n;

    return NULL;
}


static const char *
svw_conf_address(const char *value)
{
    char           *end;
    const char     *colon;
    unsigned long   port;

    if (strncmp(value, "unix:", 5) == 0) {
        return value[5] == '/' ? NULL : "expected an absolute path behind \"unix:\"";
    }

    colon = strrchr(value, ':');
    if (colon == NULL || colon == value || !isdigit((unsigned char) colon[1])) {
        return "expected \"host:port\" or \"unix:/path\"";
    }

    port = strtoul(colon + 1, &end, 10);

    return *end == '\0' && port > 0 && port <= 65535 ? NULL : "the port is not a number from 1 to 65535";
}


/* a number with one of the units behind it */
static const char *
svw_conf_quantity(const svw_conf_key_t *key, const char *value, const svw_conf_word_t *units, const char *expected,
    const char *range, uint64_t *n)
{
    char      *end;
    unsigned   unit;

    if (!isdigit((unsigned char) *value)) {
        return expected;
    }

    errno = 0;
    unit = 1;
    *n = strtoull(value, &end, 10);

    if (units != NULL ? !svw_conf_word(units, end, &unit) : *end != '\0') {
        return expected;
    }

    if (errno == ERANGE || *n > key->max / unit || *n * unit < key->min) {
        return range;
    }

    *n *= unit;

    return NULL;
}


static void *
svw_conf_field(void *base, const svw_conf_key_t *key)
{
    return (char *) base + key->offset;
}
