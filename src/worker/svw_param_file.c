#include "svw_param_file.h"

#include "svw_conf.h"

#include <errno.h>
#include <string.h>


#define SVW_PARAM_LINE   4096
#define SVW_PARAM_NAMES  256


static int svw_param_file_line(svw_params_t *params, char *line, uint8_t *seen, char error[SVW_PARAM_TEXT]);
static const svw_param_about_t *svw_param_about(const char *name);


int
svw_param_file_read(svw_params_t *params, const char *file, char error[SVW_TEXT])
{
    int        rc;
    FILE      *f;
    char       line[SVW_PARAM_LINE], reason[SVW_PARAM_TEXT];
    uint8_t    seen[SVW_PARAM_NAMES] = { 0 };
    unsigned   n;

    f = fopen(file, "re");
    if (f == NULL) {
        snprintf(error, SVW_TEXT, "%s: %s", file, strerror(errno));
        return -1;
    }

    for (rc = 0, n = 1; rc == 0 && fgets(line, sizeof(line), f) != NULL; n++) {
        if (strchr(line, '\n') == NULL && strlen(line) == sizeof(line) - 1) {
            snprintf(reason, sizeof(reason), "the line is too long");
            rc = -1;
        } else {
            rc = svw_param_file_line(params, line, seen, reason);
        }
    }

    if (rc != 0) {
        snprintf(error, SVW_TEXT, "%.96s:%u: %.150s", file, n - 1, reason);

    } else if (ferror(f)) {
        snprintf(error, SVW_TEXT, "%.200s: cannot be read", file);
        rc = -1;
    }

    fclose(f);

    return rc;
}


void
svw_param_file_write(const svw_params_t *params, FILE *out)
{
    char          buf[SVW_PARAM_NAME], value[SVW_PARAM_TEXT], standard[SVW_PARAM_TEXT];
    unsigned      n;
    const char   *name;
    svw_params_t  defaults;

    svw_params_default(&defaults);

    for (n = 0; (name = svw_param_name(n, buf)) != NULL; n++) {
        svw_params_print(params, name, value, sizeof(value));
        svw_params_print(&defaults, name, standard, sizeof(standard));

        fprintf(out, "%s# %s%s%s; default %s\n%s = %s\n", n > 0 ? "\n" : "", svw_param_text(name),
                *svw_param_unit(name) != '\0' ? ", in " : "", svw_param_unit(name), standard, name, value);
    }
}


const char *
svw_param_name(unsigned n, char buf[SVW_PARAM_NAME])
{
    if (n == 0) {
        return SVW_PARAM_FREE_MOVEMENT;
    }

    n--;

    if (n < SVW_RULE_MAX) {
        snprintf(buf, SVW_PARAM_NAME, "%s.enabled", svw_rules_about[n].name);
        return buf;
    }

    n -= SVW_RULE_MAX;

    return n < SVW_P_MAX ? svw_params_about[n].name : NULL;
}


const char *
svw_param_unit(const char *name)
{
    const svw_param_about_t  *about;

    about = svw_param_about(name);

    return about != NULL ? about->unit : "";
}


const char *
svw_param_text(const char *name)
{
    const svw_param_about_t  *about;

    if (strcmp(name, SVW_PARAM_FREE_MOVEMENT) == 0) {
        return "countries in which packs move freely: what is meant for one of them is meant for all";
    }

    about = svw_param_about(name);

    return about != NULL ? about->text : "whether the rule is looked at";
}


/* a blank line, a comment, or name = value */
static int
svw_param_file_line(svw_params_t *params, char *line, uint8_t *seen, char error[SVW_PARAM_TEXT])
{
    char         buf[SVW_PARAM_NAME], *name, *value;
    unsigned     n;
    const char  *known;

    name = svw_conf_trim(line);

    if (*name == '\0' || *name == '#') {
        return 0;
    }

    value = strchr(name, '=');
    if (value == NULL) {
        snprintf(error, SVW_PARAM_TEXT, "expected \"name = value\"");
        return -1;
    }

    *value = '\0';
    name = svw_conf_trim(name);
    value = svw_conf_trim(value + 1);

    for (n = 0; (known = svw_param_name(n, buf)) != NULL && strcmp(known, name) != 0; n++) { /* void */ }

    if (known != NULL && n < SVW_PARAM_NAMES && seen[n]++ != 0) {
        snprintf(error, SVW_PARAM_TEXT, "%s: is given twice", name);
        return -1;
    }

    return svw_params_set(params, name, value, error);
}


static const svw_param_about_t *
svw_param_about(const char *name)
{
    unsigned  i;

    for (i = 0; i < SVW_P_MAX; i++) {
        if (strcmp(svw_params_about[i].name, name) == 0) {
            return &svw_params_about[i];
        }
    }

    return NULL;
}
