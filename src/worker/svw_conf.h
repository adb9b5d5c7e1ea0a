/*
 * The configuration file: tables of settings and what reads their values.
 */

#ifndef SVW_CONF_H
#define SVW_CONF_H

#include "svw.h"


typedef struct svw_conf_key_s  svw_conf_key_t;

typedef struct {
    const char  *word;
    unsigned     value;
} svw_conf_word_t;

/* `base' is the svw_conf_t or the svw_feed_t.  NULL, or what is wrong with the value. */
typedef const char *(*svw_conf_set_pt)(void *base, const svw_conf_key_t *key, const char *value);

struct svw_conf_key_s {
    const char             *name;
    svw_conf_set_pt         set;
    size_t                  offset;
    uint64_t                min, max;
    const svw_conf_word_t  *words;      /* svw_conf_set_word */
    const char             *expected;
};


/* svw_conf_set.c */
const char *svw_conf_set_text(void *base, const svw_conf_key_t *key, const char *value);
const char *svw_conf_set_word(void *base, const svw_conf_key_t *key, const char *value);
const char *svw_conf_set_number(void *base, const svw_conf_key_t *key, const char *value);
const char *svw_conf_set_time(void *base, const svw_conf_key_t *key, const char *value);
const char *svw_conf_set_days(void *base, const svw_conf_key_t *key, const char *value);
const char *svw_conf_set_size(void *base, const svw_conf_key_t *key, const char *value);
const char *svw_conf_set_postgres(void *base, const svw_conf_key_t *key, const char *value);
const char *svw_conf_set_listen(void *base, const svw_conf_key_t *key, const char *value);
const char *svw_conf_set_url(void *base, const svw_conf_key_t *key, const char *value);
const char *svw_conf_set_notify(void *base, const svw_conf_key_t *key, const char *value);
const char *svw_conf_set_redis(void *base, const svw_conf_key_t *key, const char *value);
const char *svw_conf_set_roles(void *base, const svw_conf_key_t *key, const char *value);
int svw_conf_word(const svw_conf_word_t *words, const char *word, unsigned *value);
char *svw_conf_trim(char *text);

extern const svw_conf_word_t  svw_conf_on_error[], svw_conf_strictness[], svw_conf_severities[];

#define SVW_CONF_ON_ERROR    "expected skip (load the good lines) or none (load nothing from a file with a bad line)"
#define SVW_CONF_STRICTNESS  "expected tolerant (take what is plain) or strict (nothing but the standard's own form)"

/* A line `name = value' for the keys of a table; `seen' has a bit for each.  *name is what an error is about. */
const char *svw_conf_line(void *base, const svw_conf_key_t *keys, char *line, uint64_t *seen, const char **name);

/* svw_conf_feed.c */
const char *svw_conf_feed_begin(svw_conf_t *conf, char *line, unsigned number);
const char *svw_conf_feed_line(svw_conf_t *conf, char *line, uint64_t *seen, const char **name);
const char *svw_conf_feeds_finish(svw_conf_t *conf, unsigned *number, const char **name);   /* *number: the line to blame, 0: none */
void svw_conf_feeds_free(svw_conf_t *conf);

#endif /* SVW_CONF_H */
