#include "svw_param.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


static int svw_params_set_enabled(svw_params_t *params, unsigned rule, const char *name, const char *value, char *error);
static int svw_params_set_area(svw_params_t *params, const char *value, char *error);
static int svw_params_set_value(svw_params_t *params, unsigned id, const char *value, char *error);
static int svw_rule_of_enabled(const char *name);
static int svw_param_find(const char *name);


const svw_rule_about_t  svw_rules_about[SVW_RULE_MAX] = {
#define SVW_RULE(symbol, name, rank, sees, false_sources)  { name, rank, sees, false_sources },
#include "svw_param.def"
};

const svw_param_about_t  svw_params_about[SVW_P_MAX] = {
#define SVW_PARAM(symbol, name, unit, value, least, most, text)  { name, unit, value, least, most, text },
#include "svw_param.def"
};


void
svw_params_default(svw_params_t *params)
{
    char      error[SVW_PARAM_TEXT];
    unsigned  i;

    memset(params, 0, sizeof(svw_params_t));

    for (i = 0; i < SVW_P_MAX; i++) {
        params->value[i] = svw_params_about[i].value;
    }

    (void) svw_params_set_area(params, SVW_FREE_MOVEMENT, error);
}


int
svw_params_set(svw_params_t *params, const char *name, const char *value, char error[SVW_PARAM_TEXT])
{
    int  id;

    if (strcmp(name, SVW_PARAM_FREE_MOVEMENT) == 0) {
        return svw_params_set_area(params, value, error);
    }

    id = svw_rule_of_enabled(name);

    if (id >= 0) {
        return svw_params_set_enabled(params, id, name, value, error);
    }

    id = svw_param_find(name);

    if (id < 0) {
        snprintf(error, SVW_PARAM_TEXT, "%.64s: there is no such parameter, \"serial-verify-worker rules\" lists them", name);
        return -1;
    }

    return svw_params_set_value(params, id, value, error);
}


void
svw_params_print(const svw_params_t *params, const char *name, char *text, size_t size)
{
    int       id, a, b;
    char      code[3] = { 0 };
    size_t    n;

    *text = '\0';
    id = svw_rule_of_enabled(name);

    if (id >= 0) {
        snprintf(text, size, "%s", svw_rule_enabled(params, id) ? "on" : "off");
        return;
    }

    if (strcmp(name, SVW_PARAM_FREE_MOVEMENT) != 0) {
        id = svw_param_find(name);

        if (id >= 0) {
            snprintf(text, size, "%.10g", params->value[id]);
        }

        return;
    }

    for (a = 'A', n = 0; a <= 'Z'; a++) {
        for (b = 'A'; b <= 'Z'; b++) {
            code[0] = a;
            code[1] = b;

            if (svw_countries_has(&params->free_movement, code) && n + 4 < size) {
                n += snprintf(text + n, size - n, "%s%s", n > 0 ? " " : "", code);
            }
        }
    }
}


int
svw_rule_enabled(const svw_params_t *params, unsigned rule)
{
    return !(params->disabled >> rule & 1);
}


int
svw_rule_parse(const char *name)
{
    int  i;

    for (i = 0; i < SVW_RULE_MAX; i++) {
        if (strcmp(svw_rules_about[i].name, name) == 0) {
            return i;
        }
    }

    return -1;
}


int64_t
svw_param_ms(const svw_params_t *params, svw_param_id_t id)
{
    double       factor;
    const char  *unit;

    unit = svw_params_about[id].unit;

    factor = strcmp(unit, "d") == 0 ? 86400000.0 : strcmp(unit, "h") == 0 ? 3600000.0 : strcmp(unit, "min") == 0 ? 60000.0 : 1000.0;

    return (int64_t) (params->value[id] * factor);
}


int
svw_country_number(const char *code)
{
    if (code[0] < 'A' || code[0] > 'Z' || code[1] < 'A' || code[1] > 'Z' || code[2] != '\0') {
        return -1;
    }

    return (code[0] - 'A') * 26 + code[1] - 'A';
}


int
svw_countries_has(const svw_countries_t *set, const char *code)
{
    int  n;

    n = svw_country_number(code);

    return n >= 0 && (set->bits[n / 64] >> n % 64 & 1);
}


int
svw_countries_add(svw_countries_t *set, const char *code)
{
    int  n;

    n = svw_country_number(code);

    if (n < 0 || svw_countries_has(set, code)) {
        return 0;
    }

    set->bits[n / 64] |= (uint64_t) 1 << n % 64;

    return 1;
}


static int
svw_params_set_enabled(svw_params_t *params, unsigned rule, const char *name, const char *value, char *error)
{
    if (strcmp(value, "on") == 0) {
        params->disabled &= ~(1u << rule);
        return 0;
    }

    if (strcmp(value, "off") == 0) {
        params->disabled |= 1u << rule;
        return 0;
    }

    snprintf(error, SVW_PARAM_TEXT, "%s: \"%.32s\" is neither \"on\" nor \"off\"", name, value);

    return -1;
}


static int
svw_params_set_area(svw_params_t *params, const char *value, char *error)
{
    char             code[3];
    size_t           n;
    const char      *p;
    svw_countries_t  set;

    memset(&set, 0, sizeof(set));

    for (p = value; ; p += n) {
        p += strspn(p, " ,");
        n = strcspn(p, " ,");

        if (n == 0) {
            break;
        }

        snprintf(code, sizeof(code), "%.2s", p);

        if (n != 2 || svw_country_number(code) < 0) {
            snprintf(error, SVW_PARAM_TEXT, "%s: \"%.*s\" is no country, codes of two capital letters parted by blanks are permitted",
                     SVW_PARAM_FREE_MOVEMENT, (int) (n < 16 ? n : 16), p);
            return -1;
        }

        svw_countries_add(&set, code);
    }

    params->free_movement = set;

    return 0;
}


static int
svw_params_set_value(svw_params_t *params, unsigned id, const char *value, char *error)
{
    char                     *end;
    double                    number;
    const svw_param_about_t  *about;

    about = &svw_params_about[id];
    number = strtod(value, &end);

    if (end == value || *end != '\0' || !isfinite(number)) {
        snprintf(error, SVW_PARAM_TEXT, "%s: \"%.32s\" is no number, %.10g to %.10g %s is permitted", about->name, value,
                 about->least, about->most, about->unit);
        return -1;
    }

    if (number < about->least || number > about->most) {
        snprintf(error, SVW_PARAM_TEXT, "%s: %.10g is out of range, %.10g to %.10g %s is permitted", about->name, number,
                 about->least, about->most, about->unit);
        return -1;
    }

    params->value[id] = number;

    return 0;
}


static int
svw_rule_of_enabled(const char *name)
{
    int          i;
    size_t       len;
    const char  *dot;

    dot = strchr(name, '.');

    if (dot == NULL || strcmp(dot, ".enabled") != 0) {
        return -1;
    }

    len = dot - name;

    for (i = 0; i < SVW_RULE_MAX; i++) {
        if (strlen(svw_rules_about[i].name) == len && memcmp(svw_rules_about[i].name, name, len) == 0) {
            return i;
        }
    }

    return -1;
}


static int
svw_param_find(const char *name)
{
    int  i;

    for (i = 0; i < SVW_P_MAX; i++) {
        if (strcmp(svw_params_about[i].name, name) == 0) {
            return i;
        }
    }

    return -1;
}
