/*
 * Rules and parameters, as values.  The table is svw_param.def.
 */

#ifndef SVW_PARAM_H
#define SVW_PARAM_H

#include "../gs1/sv_span.h"

#include <stdint.h>


typedef enum {
#define SVW_RULE(symbol, name, rank, sees, false_sources)  SVW_RULE_##symbol,
#include "svw_param.def"
    SVW_RULE_MAX
} svw_rule_id_t;

typedef enum {
#define SVW_PARAM(symbol, name, unit, value, least, most, text)  SVW_P_##symbol,
#include "svw_param.def"
    SVW_P_MAX
} svw_param_id_t;

typedef struct {
    const char  *name;
    unsigned     rank;
    const char  *sees;
    const char  *false_sources;
} svw_rule_about_t;

typedef struct {
    const char  *name;                  /* rule.parameter */
    const char  *unit;
    double       value, least, most;    /* value: the default */
    const char  *text;
} svw_param_about_t;

#define SVW_COUNTRIES  (26 * 26)

/* a set of countries, ISO 3166-1 alpha-2 */
typedef struct {
    uint64_t  bits[(SVW_COUNTRIES + 63) / 64];
} svw_countries_t;

typedef struct svw_params_s {
    double           value[SVW_P_MAX];
    unsigned         disabled;          /* bits of rules */
    svw_countries_t  free_movement;
} svw_params_t;

#define SVW_PARAM_TEXT  256

#define SVW_PARAM_FREE_MOVEMENT  "area.free_movement"
#define SVW_FREE_MOVEMENT  "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IS IT LI LT LU LV MT NL NO PL PT RO SE SI SK"

extern const svw_rule_about_t   svw_rules_about[SVW_RULE_MAX];
extern const svw_param_about_t  svw_params_about[SVW_P_MAX];

void svw_params_default(svw_params_t *params);

/*
 * Sets `rule.parameter', `rule.enabled' (on, off) or area.free_movement (codes,
 * parted by blanks or commas).  0, or -1 with "name: why, what is permitted".
 */
int svw_params_set(svw_params_t *params, const char *name, const char *value, char error[SVW_PARAM_TEXT]);

/* The value as svw_params_set takes it. */
void svw_params_print(const svw_params_t *params, const char *name, char *text, size_t size);

int svw_rule_enabled(const svw_params_t *params, unsigned rule);
int svw_rule_parse(const char *name);           /* -1: no such rule */

static inline double
svw_param(const svw_params_t *params, svw_param_id_t id)
{
    return params->value[id];
}


/* of a parameter that is a time */
int64_t svw_param_ms(const svw_params_t *params, svw_param_id_t id);

/* -1: not two letters */
int svw_country_number(const char *code);
int svw_countries_has(const svw_countries_t *set, const char *code);
int svw_countries_add(svw_countries_t *set, const char *code);      /* 1: it was not there */

#endif /* SVW_PARAM_H */
