#include "svw_conf.h"

#include <stdlib.h>
#include <string.h>


#define SVW_FEEDS      4096
#define SVW_FEED_NAME  64


static svw_feed_t *svw_conf_feed_new(svw_conf_t *conf);
static const char *svw_conf_feed_inbox(svw_conf_t *conf);
static const char *svw_conf_feed_dirs(svw_feed_t *feed);
static const char *svw_conf_feed_apart(const svw_conf_t *conf, const svw_feed_t *feed);
static void svw_conf_feed_slashes(char *path);


#define SVW_KEY(name)  { #name, svw_conf_set_text, offsetof(svw_feed_t, name), 0, 0, NULL, NULL }

static const svw_conf_key_t  svw_conf_feed_keys[] = {
    SVW_KEY(inbox),
    SVW_KEY(done),
    SVW_KEY(rejected),
    SVW_KEY(company),
    { "on_error", svw_conf_set_word, offsetof(svw_feed_t, on_error), 0, 0, svw_conf_on_error, SVW_CONF_ON_ERROR },
    { "strictness", svw_conf_set_word, offsetof(svw_feed_t, strict), 0, 0, svw_conf_strictness, SVW_CONF_STRICTNESS },
    { NULL, NULL, 0, 0, 0, NULL, NULL }
};


/* `[feed NAME]': what stands before the first section holds for feeds that do not say otherwise. */
const char *
svw_conf_feed_begin(svw_conf_t *conf, char *line, unsigned number)
{
    char        *name;
    size_t       len;
    unsigned     i;
    svw_feed_t  *feed;

    len = strlen(line);

    if (strncmp(line, "[feed", 5) != 0 || line[len - 1] != ']' || (line[5] != ' ' && line[5] != '\t')) {
        return "expected \"[feed NAME]\"";
    }

    line[len - 1] = '\0';
    name = svw_conf_trim(line + 5);
    len = strlen(name);

    if (len == 0 || len > SVW_FEED_NAME
        || strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") != len)
    {
        return "the name of a feed is 1 to 64 letters, digits, \".\", \"_\" or \"-\"";
    }

    for (i = 0; i < conf->n_feeds; i++) {
        if (strcmp(conf->feeds[i].name, name) == 0) {
            return "there is a feed of this name above";
        }
    }

    if (conf->n_feeds == SVW_FEEDS) {
        return "more than 4096 feeds";
    }

    feed = svw_conf_feed_new(conf);
    if (feed == NULL) {
        return "out of memory";
    }

    feed->name = strdup(name);
    feed->line = number;

    return feed->name != NULL ? NULL : "out of memory";
}


const char *
svw_conf_feed_line(svw_conf_t *conf, char *line, uint64_t *seen, const char **name)
{
    const char  *wrong;

    wrong = svw_conf_line(&conf->feeds[conf->n_feeds - 1], svw_conf_feed_keys, line, seen, name);

    return wrong != NULL && strcmp(wrong, "no such setting") == 0
           ? "no such setting of a feed; settings of the worker stand before the first section" : wrong;
}


/* The inbox becomes the first of the feeds; each has its directories, and none looks into another's. */
const char *
svw_conf_feeds_finish(svw_conf_t *conf, unsigned *number, const char **name)
{
    unsigned     i;
    svw_feed_t  *feed;
    const char  *wrong;

    *number = 0;
    *name = NULL;
    wrong = conf->inbox != NULL ? svw_conf_feed_inbox(conf) : NULL;

    for (i = 0; i < conf->n_feeds && wrong == NULL; i++) {
        feed = &conf->feeds[i];
        *number = feed->line;
        *name = feed->name;
        wrong = svw_conf_feed_dirs(feed);
    }

    for (i = 0; i < conf->n_feeds && wrong == NULL; i++) {
        feed = &conf->feeds[i];
        *number = feed->line;
        *name = feed->name;
        wrong = svw_conf_feed_apart(conf, feed);
    }

    return wrong;
}


void
svw_conf_feeds_free(svw_conf_t *conf)
{
    unsigned     i;
    svw_feed_t  *feed;

    for (i = 0; i < conf->n_feeds; i++) {
        feed = &conf->feeds[i];
        free(feed->name);
        free(feed->inbox);
        free(feed->done);
        free(feed->rejected);
        free(feed->company);
    }

    free(conf->feeds);
}


static svw_feed_t *
svw_conf_feed_new(svw_conf_t *conf)
{
    svw_feed_t  *feeds;

    feeds = realloc(conf->feeds, (conf->n_feeds + 1) * sizeof(svw_feed_t));
    if (feeds == NULL) {
        return NULL;
    }

    conf->feeds = feeds;
    feeds += conf->n_feeds++;
    *feeds = (svw_feed_t) { .on_error = conf->on_error, .strict = conf->strict };

    return feeds;
}


static const char *
svw_conf_feed_inbox(svw_conf_t *conf)
{
    svw_feed_t  *feed;

    if (svw_conf_feed_new(conf) == NULL) {
        return "out of memory";
    }

    feed = conf->feeds;
    memmove(feed + 1, feed, (conf->n_feeds - 1) * sizeof(svw_feed_t));

    *feed = (svw_feed_t) {
        .name = strdup(""), .inbox = strdup(conf->inbox), .on_error = conf->on_error, .strict = conf->strict,
        .done = conf->done != NULL ? strdup(conf->done) : NULL,
        .rejected = conf->rejected != NULL ? strdup(conf->rejected) : NULL
    };

    return feed->name != NULL && feed->inbox != NULL && (feed->done != NULL) == (conf->done != NULL)
           && (feed->rejected != NULL) == (conf->rejected != NULL) ? NULL : "out of memory";
}


static const char *
svw_conf_feed_dirs(svw_feed_t *feed)
{
    if (feed->inbox == NULL) {
        return "the feed needs \"inbox\"";
    }

    svw_conf_feed_slashes(feed->inbox);

    if (feed->done == NULL && asprintf(&feed->done, "%s/done", feed->inbox) == -1) {
        feed->done = NULL;
        return "out of memory";
    }

    if (feed->rejected == NULL && asprintf(&feed->rejected, "%s/rejected", feed->inbox) == -1) {
        feed->rejected = NULL;
        return "out of memory";
    }

    if (feed->company == NULL) {
        feed->company = strdup("");
    }

    svw_conf_feed_slashes(feed->done);
    svw_conf_feed_slashes(feed->rejected);

    return feed->company != NULL ? NULL : "out of memory";
}


static const char *
svw_conf_feed_apart(const svw_conf_t *conf, const svw_feed_t *feed)
{
    const svw_feed_t  *other;

    if (strcmp(feed->done, feed->inbox) == 0 || strcmp(feed->rejected, feed->inbox) == 0) {
        return "\"done\" and \"rejected\" must not be the inbox itself";
    }

    for (other = conf->feeds; other < feed; other++) {
        if (strcmp(feed->inbox, other->inbox) == 0) {
            return "its inbox is that of another feed";
        }

        if (strcmp(feed->inbox, other->done) == 0 || strcmp(feed->inbox, other->rejected) == 0
            || strcmp(other->inbox, feed->done) == 0 || strcmp(other->inbox, feed->rejected) == 0)
        {
            return "what one feed puts aside would be the inbox of another";
        }
    }

    return NULL;
}


static void
svw_conf_feed_slashes(char *path)
{
    size_t  len;

    for (len = strlen(path); len > 1 && path[len - 1] == '/'; len--) {
        path[len - 1] = '\0';
    }
}
