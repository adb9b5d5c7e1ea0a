/*
 * libpq reads files, resolves names and tries several servers when asked to.
 * All of that blocks, or hides one server's state behind another's; here it is
 * refused when configuration is read, or switched off.
 */

#include "sv_pg_conninfo.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


static const char *sv_pg_conninfo_value(const PQconninfoOption *options,
    const char *keyword);
static const char *sv_pg_conninfo_options(const PQconninfoOption *options);
static const char *sv_pg_conninfo_host(const PQconninfoOption *options);
static int sv_pg_conninfo_is_numeric(const char *text);
static const char *sv_pg_conninfo_ssl(const PQconninfoOption *options);


const char *
sv_pg_conninfo_check(const char *conninfo)
{
    char              *error;
    const char        *what;
    PQconninfoOption  *options;

    if (getenv("PGSERVICE") != NULL || getenv("PGHOSTADDR") != NULL) {
        return "the environment variables PGSERVICE and PGHOSTADDR "
               "must not be set";
    }

    options = PQconninfoParse(conninfo, &error);

    if (options == NULL) {
        /* libpq's text may hold a piece of the password */
        PQfreemem(error);
        return "is not a connection string as libpq reads it: "
               "keyword=value pairs separated by spaces, or a URI";
    }

    what = sv_pg_conninfo_options(options);

    if (what == NULL) {
        what = sv_pg_conninfo_host(options);
    }

    if (what == NULL) {
        what = sv_pg_conninfo_ssl(options);
    }

    PQconninfoFree(options);

    return what;
}


int
sv_pg_params_init(sv_pg_params_t *params, const sv_pg_pool_conf_t *conf)
{
    int                n;
    char              *error;
    const char        *own, *host, *name;
    PQconninfoOption  *parsed;

    memset(params, 0, sizeof(sv_pg_params_t));

    parsed = PQconninfoParse(conf->conninfo, &error);

    if (parsed == NULL) {
        PQfreemem(error);
    }

    own = sv_pg_conninfo_value(parsed, "options");
    host = sv_pg_conninfo_value(parsed, "hostaddr");
    name = sv_pg_conninfo_value(parsed, "application_name");

    params->conninfo = strdup(conf->conninfo);

    if (asprintf(&params->options,
                 "%s -c statement_timeout=%u -c lock_timeout=%u",
                 own != NULL ? own : "", conf->statement_timeout_ms,
                 conf->lock_timeout_ms)
        == -1)
    {
        params->options = NULL;
    }

    n = 0;

#define SV_PG_PARAM(keyword, value)                                           \
    params->keywords[n] = keyword;                                            \
    params->values[n++] = value

    /* the first "dbname" is expanded; what follows it overrides */

    SV_PG_PARAM("dbname", params->conninfo);
    SV_PG_PARAM("options", params->options);
    SV_PG_PARAM("client_encoding", "UTF8");
    SV_PG_PARAM("gssencmode", "disable");

    /* no such file: ~/.pgpass is not looked at */
    SV_PG_PARAM("passfile", "/dev/null/none");

    if (name == NULL) {
        SV_PG_PARAM("application_name", "serial-verify");
    }

    if (host == NULL) {
        SV_PG_PARAM("sslmode", "disable");
    }

#undef SV_PG_PARAM

    PQconninfoFree(parsed);

    if (params->conninfo == NULL || params->options == NULL) {
        sv_pg_params_free(params);
        return -1;
    }

    return 0;
}


void
sv_pg_params_free(sv_pg_params_t *params)
{
    free(params->conninfo);
    free(params->options);
    params->conninfo = NULL;
    params->options = NULL;
}


/* NULL when absent or empty: libpq does not tell these apart either */

static const char *
sv_pg_conninfo_value(const PQconninfoOption *options, const char *keyword)
{
    for ( /* void */ ; options != NULL && options->keyword != NULL; options++) {
        if (strcmp(options->keyword, keyword) == 0) {
            return (options->val != NULL && options->val[0] != '\0')
                   ? options->val : NULL;
        }
    }

    return NULL;
}


static const char *
sv_pg_conninfo_options(const PQconninfoOption *options)
{
    if (sv_pg_conninfo_value(options, "service") != NULL) {
        return "\"service\" would read a file, give the parameters themselves";
    }

    if (sv_pg_conninfo_value(options, "passfile") != NULL) {
        return "\"passfile\" would read a file, use \"password\", "
               "a client certificate or peer authentication";
    }

    if (sv_pg_conninfo_value(options, "dbname") == NULL) {
        return "\"dbname\" is missing";
    }

    if (sv_pg_conninfo_value(options, "user") == NULL) {
        return "\"user\" is missing";
    }

    return NULL;
}


static const char *
sv_pg_conninfo_host(const PQconninfoOption *options)
{
    const char  *host, *hostaddr, *port;

    host = sv_pg_conninfo_value(options, "host");
    hostaddr = sv_pg_conninfo_value(options, "hostaddr");
    port = sv_pg_conninfo_value(options, "port");

    if (host == NULL && hostaddr == NULL) {
        return "needs \"hostaddr\" (numeric) or \"host\" "
               "(the directory of a unix socket)";
    }

    if ((host != NULL && strchr(host, ',') != NULL)
        || (hostaddr != NULL && strchr(hostaddr, ',') != NULL)
        || (port != NULL && strchr(port, ',') != NULL))
    {
        return "names more than one server, give one";
    }

    if (hostaddr == NULL && host[0] != '/' && host[0] != '@') {
        return "\"host\" would need name resolution, give the numeric address "
               "in \"hostaddr\" (\"host\" may stay, for the TLS name)";
    }

    if (hostaddr != NULL && !sv_pg_conninfo_is_numeric(hostaddr)) {
        return "\"hostaddr\" is not a numeric address";
    }

    return NULL;
}


static int
sv_pg_conninfo_is_numeric(const char *text)
{
    char             address[INET6_ADDRSTRLEN];
    size_t           len;
    struct in_addr   in;
    struct in6_addr  in6;

    /* a link-local address may carry its scope: fe80::1%eth0 */

    len = strcspn(text, "%");

    if (len >= sizeof(address)) {
        return 0;
    }

    memcpy(address, text, len);
    address[len] = '\0';

    return (text[len] == '\0' && inet_pton(AF_INET, address, &in) == 1)
           || inet_pton(AF_INET6, address, &in6) == 1;
}


static const char *
sv_pg_conninfo_ssl(const PQconninfoOption *options)
{
    const char  *mode;

    if (sv_pg_conninfo_value(options, "hostaddr") == NULL) {
        return NULL;
    }

    mode = sv_pg_conninfo_value(options, "sslmode");

    if (mode == NULL
        || (strcmp(mode, "disable") != 0 && strcmp(mode, "require") != 0
            && strcmp(mode, "verify-ca") != 0
            && strcmp(mode, "verify-full") != 0))
    {
        return "with \"hostaddr\", \"sslmode\" has to be disable, require, "
               "verify-ca or verify-full";
    }

    return NULL;
}
