#include "svw.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>


#define SVW_CONF_LINE  4096


typedef struct svw_conf_key_s  svw_conf_key_t;

/* NULL, or what is wrong with the value */
typedef const char *(*svw_conf_set_pt)(svw_conf_t *conf, const svw_conf_key_t *key, const char *value);

struct svw_conf_key_s {
    const char       *name;
    svw_conf_set_pt   set;
    size_t            offset;
    unsigned          min, max;
};

typedef struct {
    const char  *word;
    unsigned     value;
} svw_conf_word_t;


static const char *svw_conf_text(svw_conf_t *conf, const svw_conf_key_t *key, const char *value);
static const char *svw_conf_postgres(svw_conf_t *conf, const svw_conf_key_t *key, const char *value);
static const char *svw_conf_redis(svw_conf_t *conf, const svw_conf_key_t *key, const char *value);
static const char *svw_conf_number(svw_conf_t *conf, const svw_conf_key_t *key, const char *value);
static const char *svw_conf_time(svw_conf_t *conf, const svw_conf_key_t *key, const char *value);
static const char *svw_conf_level(svw_conf_t *conf, const svw_conf_key_t *key, const char *value);
static const char *svw_conf_on_error(svw_conf_t *conf, const svw_conf_key_t *key, const char *value);
static const char *svw_conf_unknown(svw_conf_t *conf, const svw_conf_key_t *key, const char *value);
static const char *svw_conf_roles(svw_conf_t *conf, const svw_conf_key_t *key, const char *value);
static const char *svw_conf_line(svw_conf_t *conf, char *line, unsigned *seen, const char **name);
static const char *svw_conf_finish(svw_conf_t *conf);
static char *svw_conf_trim(char *text);
static int svw_conf_word(const svw_conf_word_t *words, const char *word, unsigned *value);


#define SVW_DAY_MS  (24 * 3600 * 1000)

static const svw_conf_key_t  svw_conf_keys[] = {
    { "postgres",              svw_conf_postgres, 0, 0, 0 },
    { "redis",                 svw_conf_redis,    0, 0, 0 },
    { "redis_user",            svw_conf_text,     offsetof(svw_conf_t, redis_user), 0, 0 },
    { "redis_password_file",   svw_conf_text,     offsetof(svw_conf_t, redis_password_file), 0, 0 },
    { "inbox",                 svw_conf_text,     offsetof(svw_conf_t, inbox), 0, 0 },
    { "done",                  svw_conf_text,     offsetof(svw_conf_t, done), 0, 0 },
    { "rejected",              svw_conf_text,     offsetof(svw_conf_t, rejected), 0, 0 },
    { "log",                   svw_conf_text,     offsetof(svw_conf_t, log), 0, 0 },
    { "pid_file",              svw_conf_text,     offsetof(svw_conf_t, pid_file), 0, 0 },
    { "log_level",             svw_conf_level,    0, 0, 0 },
    { "roles",                 svw_conf_roles,    0, 0, 0 },
    { "on_error",              svw_conf_on_error, 0, 0, 0 },
    { "unknown_products",      svw_conf_unknown,  0, 0, 0 },
    { "max_errors",            svw_conf_number,   offsetof(svw_conf_t, max_errors), 0, 10000 },
    { "settle",                svw_conf_time,     offsetof(svw_conf_t, settle), 0, 3600 * 1000 },
    { "scan_interval",         svw_conf_time,     offsetof(svw_conf_t, scan_interval), 10, 3600 * 1000 },
    { "relay_interval",        svw_conf_time,     offsetof(svw_conf_t, relay_interval), 10, 60 * 1000 },
    { "relay_batch",           svw_conf_number,   offsetof(svw_conf_t, relay_batch), 1, 10000 },
    { "redis_timeout",         svw_conf_time,     offsetof(svw_conf_t, redis_timeout), 10, 10 * 1000 },
    { "cache_ttl",             svw_conf_time,     offsetof(svw_conf_t, cache_ttl), 1000, SVW_DAY_MS },
    { "housekeeping_interval", svw_conf_time,     offsetof(svw_conf_t, housekeeping_interval), 100, SVW_DAY_MS },
    { "months_ahead",          svw_conf_number,   offsetof(svw_conf_t, months_ahead), 1, 24 },
    { "idempotency_keep",      svw_conf_time,     offsetof(svw_conf_t, idempotency_keep), SVW_DAY_MS, 24 * SVW_DAY_MS },
    { "drain_timeout",         svw_conf_time,     offsetof(svw_conf_t, drain_timeout), 100, 3600 * 1000 },
};

#define SVW_CONF_KEYS  (sizeof(svw_conf_keys) / sizeof(svw_conf_keys[0]))

static const svw_conf_word_t  svw_conf_levels[] = {
    { "error", SVW_LOG_ERROR }, { "warn", SVW_LOG_WARN }, { "notice", SVW_LOG_NOTICE },
    { "info", SVW_LOG_INFO }, { "debug", SVW_LOG_DEBUG }, { NULL, 0 }
};

static const svw_conf_word_t  svw_conf_role_words[] = {
    { "ingest", SVW_ROLE_INGEST }, { "relay", SVW_ROLE_RELAY }, { "housekeeping", SVW_ROLE_HOUSEKEEPING }, { NULL, 0 }
};

static const svw_conf_word_t  svw_conf_units[] = {
    { "", 1000 }, { "ms", 1 }, { "s", 1000 }, { "m", 60 * 1000 }, { "h", 3600 * 1000 }, { "d", SVW_DAY_MS }, { NULL, 0 }
};


int
svw_conf_read(svw_conf_t *conf, const char *file, char error[SVW_TEXT])
{
    FILE        *f;
    char         line[SVW_CONF_LINE];
    unsigned     n, seen;
    const char  *name, *wrong;

    *conf = (svw_conf_t) {
        .roles = SVW_ROLE_ALL, .log_level = SVW_LOG_NOTICE, .max_errors = 1000,
        .settle = 1000, .scan_interval = 1000, .relay_interval = 200, .relay_batch = 500,
        .redis_timeout = 250, .cache_ttl = 3600 * 1000, .housekeeping_interval = 60 * 1000,
        .months_ahead = 2, .idempotency_keep = 7 * SVW_DAY_MS, .drain_timeout = 10 * 1000
    };

    f = fopen(file, "re");
    if (f == NULL) {
        snprintf(error, SVW_TEXT, "%s: %s", file, strerror(errno));
        return -1;
    }

    conf->file = strdup(file);
    wrong = NULL;
    seen = 0;

    for (n = 1; fgets(line, sizeof(line), f) != NULL; n++) {
        name = NULL;

        if (strchr(line, '\n') == NULL && strlen(line) == sizeof(line) - 1) {
            wrong = "the line is too long";
        } else {
            wrong = svw_conf_line(conf, line, &seen, &name);
        }

        if (wrong != NULL) {
            snprintf(error, SVW_TEXT, "%s:%u: %s%s%s", file, n, name != NULL ? name : "", name != NULL ? ": " : "", wrong);
            break;
        }
    }

    if (wrong == NULL && ferror(f)) {
        wrong = "cannot be read";
        snprintf(error, SVW_TEXT, "%s: %s", file, wrong);
    }

    fclose(f);

    if (wrong == NULL) {
        wrong = svw_conf_finish(conf);
        if (wrong != NULL) {
            snprintf(error, SVW_TEXT, "%s: %s", file, wrong);
        }
    }

    return wrong == NULL ? 0 : -1;
}


void
svw_conf_free(svw_conf_t *conf)
{
    unsigned  i;

    for (i = 0; i < conf->n_redis; i++) {
        free(conf->redis[i]);
    }

    free(conf->file);
    free(conf->postgres);
    free(conf->redis_user);
    free(conf->redis_password_file);
    free(conf->inbox);
    free(conf->done);
    free(conf->rejected);
    free(conf->log);
    free(conf->pid_file);

    *conf = (svw_conf_t) { 0 };
}


unsigned
svw_role_parse(const char *word)
{
    unsigned  value;

    return svw_conf_word(svw_conf_role_words, word, &value) ? value : 0;
}


const char *
svw_role_word(unsigned role)
{
    const svw_conf_word_t  *word;

    for (word = svw_conf_role_words; word->word != NULL && word->value != role; word++) { /* void */ }

    return word->word;
}


static const char *
svw_conf_line(svw_conf_t *conf, char *line, unsigned *seen, const char **name)
{
    char      *key, *value;
    size_t     i;

    key = svw_conf_trim(line);
    if (*key == '\0' || *key == '#') {
        return NULL;
    }

    value = strchr(key, '=');
    if (value == NULL) {
        return "expected \"name = value\"";
    }

    *value = '\0';
    key = svw_conf_trim(key);
    value = svw_conf_trim(value + 1);

    for (i = 0; i < SVW_CONF_KEYS; i++) {
        if (strcmp(svw_conf_keys[i].name, key) == 0) {
            break;
        }
    }

    *name = key;

    if (i == SVW_CONF_KEYS) {
        return "no such setting";
    }

    *name = svw_conf_keys[i].name;

    if (*value == '\0') {
        return "the value is empty";
    }

    if ((*seen & 1u << i) && svw_conf_keys[i].set != svw_conf_redis) {
        return "is given twice";
    }

    *seen |= 1u << i;

    return svw_conf_keys[i].set(conf, &svw_conf_keys[i], value);
}


/* what is left open follows from what was given */
static const char *
svw_conf_finish(svw_conf_t *conf)
{
    if (conf->postgres == NULL) {
        return "the setting \"postgres\" is missing";
    }

    if ((conf->redis_user != NULL) && conf->redis_password_file == NULL) {
        return "\"redis_user\" needs \"redis_password_file\"";
    }

    if (conf->inbox == NULL) {
        if (conf->done != NULL || conf->rejected != NULL) {
            return "\"done\" and \"rejected\" need \"inbox\"";
        }

        /* a configuration for commands and relay only */
        return NULL;
    }

    if (conf->done == NULL && asprintf(&conf->done, "%s/done", conf->inbox) == -1) {
        return "out of memory";
    }

    if (conf->rejected == NULL && asprintf(&conf->rejected, "%s/rejected", conf->inbox) == -1) {
        return "out of memory";
    }

    if (strcmp(conf->done, conf->inbox) == 0 || strcmp(conf->rejected, conf->inbox) == 0) {
        return "\"done\" and \"rejected\" must not be the inbox itself";
    }

    return NULL;
}


static const char *
svw_conf_text(svw_conf_t *conf, const svw_conf_key_t *key, const char *value)
{
    char  **field;

    field = (char **) (void *) ((char *) conf + key->offset);
    *field = strdup(value);

    return *field != NULL ? NULL : "out of memory";
}


static const char *
svw_conf_postgres(svw_conf_t *conf, const svw_conf_key_t *key, const char *value)
{
    char              *error;
    PQconninfoOption  *options;

    (void) key;

    error = NULL;
    options = PQconninfoParse(value, &error);

    if (options == NULL) {
        PQfreemem(error);
        return "not a libpq connection string, such as \"host=/run/postgresql dbname=sv user=sv_worker\"";
    }

    PQconninfoFree(options);
    conf->postgres = strdup(value);

    return conf->postgres != NULL ? NULL : "out of memory";
}


static const char *
svw_conf_redis(svw_conf_t *conf, const svw_conf_key_t *key, const char *value)
{
    char           *end;
    size_t          i;
    const char     *colon;
    unsigned long   port;

    (void) key;

    if (strncmp(value, "unix:", 5) == 0) {
        if (value[5] != '/') {
            return "expected an absolute path behind \"unix:\"";
        }

    } else {
        colon = strrchr(value, ':');
        if (colon == NULL || colon == value || !isdigit((unsigned char) colon[1])) {
            return "expected \"host:port\" or \"unix:/path\"";
        }

        port = strtoul(colon + 1, &end, 10);
        if (*end != '\0' || port == 0 || port > 65535) {
            return "the port is not a number from 1 to 65535";
        }
    }

    for (i = 0; i < conf->n_redis; i++) {
        if (strcmp(conf->redis[i], value) == 0) {
            return "this server is given twice";
        }
    }

    if (conf->n_redis == SVW_MAX_REDIS) {
        return "more than 16 servers";
    }

    conf->redis[conf->n_redis] = strdup(value);
    if (conf->redis[conf->n_redis] == NULL) {
        return "out of memory";
    }

    conf->n_redis++;

    return NULL;
}


static const char *
svw_conf_number(svw_conf_t *conf, const svw_conf_key_t *key, const char *value)
{
    char          *end;
    unsigned long  n;

    if (!isdigit((unsigned char) *value)) {
        return "expected a number";
    }

    errno = 0;
    n = strtoul(value, &end, 10);

    if (*end != '\0') {
        return "expected a number";
    }

    if (errno == ERANGE || n < key->min || n > key->max) {
        return "the number is out of range, see docs/worker.md";
    }

    *(unsigned *) (void *) ((char *) conf + key->offset) = (unsigned) n;

    return NULL;
}


static const char *
svw_conf_time(svw_conf_t *conf, const svw_conf_key_t *key, const char *value)
{
    char           *end;
    unsigned        unit;
    unsigned long   n;

    if (!isdigit((unsigned char) *value)) {
        return "expected a time such as 200ms, 5s, 10m, 1h, 7d";
    }

    errno = 0;
    n = strtoul(value, &end, 10);

    if (!svw_conf_word(svw_conf_units, end, &unit)) {
        return "expected a time such as 200ms, 5s, 10m, 1h, 7d";
    }

    if (errno == ERANGE || n > UINT32_MAX / unit || n * unit < key->min || n * unit > key->max) {
        return "the time is out of range, see docs/worker.md";
    }

    *(unsigned *) (void *) ((char *) conf + key->offset) = (unsigned) n * unit;

    return NULL;
}


static const char *
svw_conf_level(svw_conf_t *conf, const svw_conf_key_t *key, const char *value)
{
    (void) key;

    return svw_conf_word(svw_conf_levels, value, &conf->log_level)
           ? NULL : "expected error, warn, notice, info or debug";
}


static const char *
svw_conf_on_error(svw_conf_t *conf, const svw_conf_key_t *key, const char *value)
{
    (void) key;

    if (strcmp(value, "skip") == 0) {
        conf->on_error = SVW_ON_ERROR_SKIP;
    } else if (strcmp(value, "none") == 0) {
        conf->on_error = SVW_ON_ERROR_NONE;
    } else {
        return "expected skip (load the good lines) or none (load nothing from a file with a bad line)";
    }

    return NULL;
}


static const char *
svw_conf_unknown(svw_conf_t *conf, const svw_conf_key_t *key, const char *value)
{
    (void) key;

    if (strcmp(value, "reject") == 0) {
        conf->unknown_products = SVW_UNKNOWN_REJECT;
    } else if (strcmp(value, "create") == 0) {
        conf->unknown_products = SVW_UNKNOWN_CREATE;
    } else {
        return "expected reject or create";
    }

    return NULL;
}


static const char *
svw_conf_roles(svw_conf_t *conf, const svw_conf_key_t *key, const char *value)
{
    char       word[32];
    size_t     len;
    unsigned   role;

    (void) key;

    conf->roles = 0;

    while (*value != '\0') {
        len = strcspn(value, ", \t");

        if (len > 0) {
            if (len >= sizeof(word)) {
                return "expected a list of ingest, relay, housekeeping";
            }

            memcpy(word, value, len);
            word[len] = '\0';

            role = svw_role_parse(word);
            if (role == 0) {
                return "expected a list of ingest, relay, housekeeping";
            }

            conf->roles |= role;
        }

        value += len;
        value += strspn(value, ", \t");
    }

    return conf->roles != 0 ? NULL : "no role is given";
}


static char *
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


static int
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
