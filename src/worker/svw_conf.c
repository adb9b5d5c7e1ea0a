#include "svw_conf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>


#define SVW_CONF_LINE  4096


static const char *svw_conf_any_line(svw_conf_t *conf, char *line, unsigned number, uint64_t *seen, const char **name);
static const char *svw_conf_finish(svw_conf_t *conf);


#define SVW_DAY_MS  (24 * 3600 * 1000)
#define SVW_MIB     (1024 * 1024)

static const svw_conf_word_t  svw_conf_levels[] = {
    { "error", SVW_LOG_ERROR }, { "warn", SVW_LOG_WARN }, { "notice", SVW_LOG_NOTICE },
    { "info", SVW_LOG_INFO }, { "debug", SVW_LOG_DEBUG }, { NULL, 0 }
};

static const svw_conf_word_t  svw_conf_unknown[] = {
    { "reject", SVW_UNKNOWN_REJECT }, { "create", SVW_UNKNOWN_CREATE }, { NULL, 0 }
};

static const svw_conf_word_t  svw_conf_role_words[] = {
    { "ingest", SVW_ROLE_INGEST }, { "relay", SVW_ROLE_RELAY }, { "housekeeping", SVW_ROLE_HOUSEKEEPING },
    { "api", SVW_ROLE_API }, { "push", SVW_ROLE_PUSH }, { "consume", SVW_ROLE_CONSUME }, { "notify", SVW_ROLE_NOTIFY },
    { NULL, 0 }
};

#define SVW_KEY(name, kind, min, max)  { #name, svw_conf_set_##kind, offsetof(svw_conf_t, name), min, max, NULL, NULL }
#define SVW_KEY_WORD(name, field, words, expected)  { name, svw_conf_set_word, offsetof(svw_conf_t, field), 0, 0, words, expected }

static const svw_conf_key_t  svw_conf_keys[] = {
    SVW_KEY(postgres, postgres, 0, 0),
    SVW_KEY(redis, redis, 0, 0),
    SVW_KEY(redis_user, text, 0, 0),
    SVW_KEY(redis_password_file, text, 0, 0),
    SVW_KEY(inbox, text, 0, 0),
    SVW_KEY(done, text, 0, 0),
    SVW_KEY(rejected, text, 0, 0),
    SVW_KEY(log, text, 0, 0),
    SVW_KEY(pid_file, text, 0, 0),
    SVW_KEY_WORD("log_level", log_level, svw_conf_levels, "expected error, warn, notice, info or debug"),
    SVW_KEY(roles, roles, 0, 0),
    SVW_KEY_WORD("on_error", on_error, svw_conf_on_error, SVW_CONF_ON_ERROR),
    SVW_KEY_WORD("strictness", strict, svw_conf_strictness, SVW_CONF_STRICTNESS),
    SVW_KEY_WORD("unknown_products", unknown_products, svw_conf_unknown, "expected reject or create"),
    SVW_KEY(max_errors, number, 0, 10000),
    SVW_KEY(settle, time, 0, 3600 * 1000),
    SVW_KEY(scan_interval, time, 10, 3600 * 1000),
    SVW_KEY(ingest_processes, number, 1, 8),
    SVW_KEY(relay_interval, time, 10, 60 * 1000),
    SVW_KEY(relay_batch, number, 1, 10000),
    SVW_KEY(redis_timeout, time, 10, 10 * 1000),
    SVW_KEY(cache_ttl, time, 1000, SVW_DAY_MS),
    SVW_KEY(housekeeping_interval, time, 100, SVW_DAY_MS),
    SVW_KEY(months_ahead, number, 1, 24),
    SVW_KEY(idempotency_keep, time, SVW_DAY_MS, 24 * SVW_DAY_MS),
    SVW_KEY(scan_keep, days, 32, 36500),
    SVW_KEY(session_keep, days, 1, 36500),
    SVW_KEY(finding_keep, days, 366, 36500),
    SVW_KEY(case_keep, days, 366, 36500),
    SVW_KEY(work_keep, days, 8, 36500),
    SVW_KEY(drain_timeout, time, 100, 3600 * 1000),
    SVW_KEY(api_listen, listen, 0, 0),
    SVW_KEY(api_postgres, postgres, 0, 0),
    SVW_KEY(api_secret, text, 0, 0),
    SVW_KEY(api_threads, number, 1, 64),
    SVW_KEY(capture_dir, text, 0, 0),
    SVW_KEY(capture_file_limit, size, 1024, UINT64_C(4096) * SVW_MIB),
    SVW_KEY(capture_event_limit, number, 0, INT32_MAX),
    SVW_KEY(audit_key, text, 0, 0),
    SVW_KEY(audit_heads, text, 0, 0),
    SVW_KEY(push_url, url, 0, 0),
    SVW_KEY(push_token_file, text, 0, 0),
    SVW_KEY(push_company, text, 0, 0),
    SVW_KEY(push_interval, time, 100, SVW_DAY_MS),
    { "notify_url", svw_conf_set_notify, 0, 0, 0, NULL, NULL },
    SVW_KEY(notify_secret_file, text, 0, 0),
    SVW_KEY(notify_log, text, 0, 0),
    SVW_KEY_WORD("notify_severity", notify_severity, svw_conf_severities, "expected info, low, medium, high or critical"),
    SVW_KEY(notify_hold, time, 0, SVW_DAY_MS),
    SVW_KEY(notify_timeout, time, 100, 60 * 1000),
    SVW_KEY(notify_interval, time, 10, 60 * 1000),
    { NULL, NULL, 0, 0, 0, NULL, NULL }
};


int
svw_conf_read(svw_conf_t *conf, const char *file, char error[SVW_TEXT])
{
    FILE        *f;
    char         line[SVW_CONF_LINE];
    uint64_t     seen;
    unsigned     n;
    const char  *name, *wrong;

    *conf = (svw_conf_t) {
        .roles = SVW_ROLE_DEFAULT, .log_level = SVW_LOG_NOTICE, .max_errors = 1000,
        .settle = 1000, .scan_interval = 1000, .relay_interval = 200, .relay_batch = 500,
        .redis_timeout = 250, .cache_ttl = 3600 * 1000, .housekeeping_interval = 60 * 1000,
        .months_ahead = 2, .idempotency_keep = 7 * SVW_DAY_MS, .drain_timeout = 10 * 1000,
        .scan_keep = 400, .session_keep = 62, .finding_keep = 6 * 365, .case_keep = 6 * 365, .work_keep = 90,
        .ingest_processes = 1, .api_threads = 4, .capture_file_limit = 100 * SVW_MIB, .push_interval = 1000,
        .notify_severity = 2, .notify_hold = 30 * 60 * 1000, .notify_timeout = 10 * 1000, .notify_interval = 1000
    };

    f = fopen(file, "re");
    if (f == NULL) {
        snprintf(error, SVW_TEXT, "%s: %s", file, strerror(errno));
        return -1;
    }

    conf->file = strdup(file);
    name = NULL;
    wrong = NULL;
    seen = 0;

    for (n = 1; wrong == NULL && fgets(line, sizeof(line), f) != NULL; n++) {
        name = NULL;

        if (strchr(line, '\n') == NULL && strlen(line) == sizeof(line) - 1) {
            wrong = "the line is too long";
        } else {
            wrong = svw_conf_any_line(conf, line, n, &seen, &name);
        }
    }

    n--;

    if (wrong == NULL) {
        n = 0;
        name = NULL;
        wrong = ferror(f) ? "cannot be read" : svw_conf_finish(conf);
    }

    fclose(f);

    if (wrong == NULL) {
        wrong = svw_conf_feeds_finish(conf, &n, &name);
    }

    if (wrong == NULL) {
        return 0;
    }

    if (n != 0) {
        snprintf(error, SVW_TEXT, "%s:%u: %s%s%s", file, n, name != NULL ? name : "", name != NULL ? ": " : "", wrong);
    } else {
        snprintf(error, SVW_TEXT, "%s: %s", file, wrong);
    }

    return -1;
}


void
svw_conf_free(svw_conf_t *conf)
{
    unsigned               i;
    const svw_conf_key_t  *key;

    svw_conf_feeds_free(conf);

    for (i = 0; i < conf->n_redis; i++) {
        free(conf->redis[i]);
    }

    for (i = 0; i < conf->n_notify; i++) {
        free(conf->notify_url[i]);
    }

    for (key = svw_conf_keys; key->name != NULL; key++) {
        if (key->set == svw_conf_set_text || key->set == svw_conf_set_postgres || key->set == svw_conf_set_listen
            || key->set == svw_conf_set_url)
        {
            free(*(char **) (void *) ((char *) conf + key->offset));
        }
    }

    free(conf->file);

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


int
svw_conf_ready(const svw_conf_t *conf, unsigned roles, char error[SVW_TEXT])
{
    const char  *wrong;

    wrong = NULL;

    if ((roles & SVW_ROLE_INGEST) && conf->n_feeds == 0 && conf->capture_dir == NULL) {
        wrong = "the role ingest needs \"inbox\", a section [feed NAME] or \"capture_dir\"";

    } else if ((roles & SVW_ROLE_API)
               && (conf->api_listen == NULL || conf->api_postgres == NULL || conf->api_secret == NULL))
    {
        wrong = "the role api needs \"api_listen\", \"api_postgres\" and \"api_secret\"";

    } else if ((roles & SVW_ROLE_PUSH) && conf->push_url == NULL) {
        wrong = "the role push needs \"push_url\"";

    } else if ((roles & SVW_ROLE_NOTIFY) && conf->n_notify == 0 && conf->notify_log == NULL) {
        wrong = "the role notify needs \"notify_url\" or \"notify_log\"";
    }

    if (wrong == NULL) {
        return 0;
    }

    snprintf(error, SVW_TEXT, "%s: %s", conf->file, wrong);

    return -1;
}


/* settings of the worker, then sections of feeds */
static const char *
svw_conf_any_line(svw_conf_t *conf, char *line, unsigned number, uint64_t *seen, const char **name)
{
    int  feed;

    line = svw_conf_trim(line);

    if (*line == '\0' || *line == '#') {
        return NULL;
    }

    if (*line == '[') {
        *seen = 0;
        return svw_conf_feed_begin(conf, line, number);
    }

    feed = conf->n_feeds > 0;

    return feed ? svw_conf_feed_line(conf, line, seen, name) : svw_conf_line(conf, svw_conf_keys, line, seen, name);
}


const char *
svw_conf_line(void *base, const svw_conf_key_t *keys, char *line, uint64_t *seen, const char **name)
{
    char      *word, *value;
    uint64_t   bit;

    value = strchr(line, '=');
    if (value == NULL) {
        return "expected \"name = value\"";
    }

    *value = '\0';
    word = svw_conf_trim(line);
    value = svw_conf_trim(value + 1);

    *name = word;

    for (bit = 1; keys->name != NULL && strcmp(keys->name, word) != 0; bit <<= 1) {
        keys++;
    }

    if (keys->name == NULL) {
        return "no such setting";
    }

    *name = keys->name;

    if (*value == '\0') {
        return "the value is empty";
    }

    if ((*seen & bit) && keys->set != svw_conf_set_redis && keys->set != svw_conf_set_notify) {
        return "is given twice";
    }

    *seen |= bit;

    return keys->set(base, keys, value);
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

    if (conf->inbox == NULL && (conf->done != NULL || conf->rejected != NULL)) {
        return "\"done\" and \"rejected\" need \"inbox\"";
    }

    if (conf->audit_heads != NULL && conf->audit_key == NULL) {
        return "\"audit_heads\" needs \"audit_key\"";
    }

    if (conf->push_token_file != NULL && conf->push_url == NULL) {
        return "\"push_token_file\" needs \"push_url\"";
    }

    if ((conf->n_notify > 0) != (conf->notify_secret_file != NULL)) {
        return "\"notify_url\" and \"notify_secret_file\" need each other";
    }

    return NULL;
}
