/*
 * The list of GS1 application identifiers, as data: what a value looks like,
 * what an identifier needs or forbids beside it, and where it may stand in a
 * Digital Link.  The rows are in sv_gs1_ai.def.
 */

#ifndef SV_GS1_AI_H
#define SV_GS1_AI_H

#include "sv_gs1.h"


/* character classes: sv_gs1_class[byte] */
#define SV_GS1_N            0x01    /* digits */
#define SV_GS1_X            0x02    /* character set 82 */
#define SV_GS1_Y            0x04    /* character set 39 */
#define SV_GS1_Z            0x08    /* character set 64 (file-safe, URI-safe base64) with = */
#define SV_GS1_RAW_PATH     0x10    /* stands for itself in a path segment */
#define SV_GS1_RAW_QUERY    0x20    /* stands for itself in a query value */
#define SV_GS1_UNRESERVED   0x40    /* need not be escaped in the canonical form */
#define SV_GS1_RAW_URI      0x80    /* may stand in a URI at all, % included */

/* flags of an AI */
#define SV_GS1_FIXED        0x01    /* predefined length: no separator needed after it */
#define SV_GS1_ATTRIBUTE    0x02    /* may stand in the query of a Digital Link */
#define SV_GS1_KEY          0x04    /* primary key of a Digital Link */
#define SV_GS1_FAMILY       0x08    /* excludes the others with the same first three digits */

#define SV_GS1_MAX_PARTS    5
#define SV_GS1_AI_DIGITS    4


typedef enum {
    SV_GS1_LINT_NONE = 0,
    SV_GS1_LINT_CSUM,               /* mod 10 check digit at the end */
    SV_GS1_LINT_KEY,                /* begins with a company prefix */
    SV_GS1_LINT_CSUMALPHA,          /* company prefix, check character pair at the end */
    SV_GS1_LINT_MUDI,               /* the same, and not all digits */
    SV_GS1_LINT_YYMMD0,
    SV_GS1_LINT_YYMMDD,
    SV_GS1_LINT_YYYYMMDD,
    SV_GS1_LINT_HHMM,
    SV_GS1_LINT_HH,
    SV_GS1_LINT_SIXTY,              /* minutes or seconds */
    SV_GS1_LINT_COUNTRY,
    SV_GS1_LINT_COUNTRY999,
    SV_GS1_LINT_ALPHA2,
    SV_GS1_LINT_CURRENCY,
    SV_GS1_LINT_PIECE,
    SV_GS1_LINT_IBAN,
    SV_GS1_LINT_ZERO,
    SV_GS1_LINT_NONZERO,
    SV_GS1_LINT_NOZEROPREFIX,
    SV_GS1_LINT_YESNO,
    SV_GS1_LINT_WINDING,
    SV_GS1_LINT_SEX,
    SV_GS1_LINT_MEDIA,
    SV_GS1_LINT_PACKAGE,
    SV_GS1_LINT_HYPHEN,
    SV_GS1_LINT_IMPORTER,
    SV_GS1_LINT_PCENC,
    SV_GS1_LINT_LATITUDE,
    SV_GS1_LINT_LONGITUDE,
    SV_GS1_LINT_SEQUENCE,
    SV_GS1_LINT_BASE64,
    SV_GS1_LINT_COUPON,
    SV_GS1_LINT_OFFER,
    SV_GS1_LINT_MAX
} sv_gs1_lint_t;

typedef struct {
    uint8_t              cset;
    uint8_t              min, max;
    uint8_t              optional;
    uint8_t              lint;
} sv_gs1_part_t;

typedef struct {
    uint8_t              min, max;                  /* of the whole value */
    sv_gs1_part_t        part[SV_GS1_MAX_PARTS];    /* until max is 0 */
} sv_gs1_format_t;

/*
 * Which others must or must not be there.  The identifiers that rules speak of
 * have a bit each (`atom' of an AI).  Each group of `any' that is not empty
 * needs one of its members; the first group is also content with one whole
 * pair of `both'.
 */
typedef struct {
    uint64_t             any[2];
    uint64_t             both[3];
    uint64_t             none;
} sv_gs1_rule_t;

struct sv_gs1_ai_s {
    uint16_t             number;
    uint8_t              digits;
    uint8_t              flags;
    uint8_t              format;
    uint8_t              rule;          /* 0: none */
    uint8_t              atom;          /* 0: none, else 1 + bit */
    char                 code[SV_GS1_AI_DIGITS + 1];
    const char          *title;
};

/* The qualifiers of a primary key, in their order; alternatives, ended by 0. */
#define SV_GS1_MAX_QUALIFIERS  3
#define SV_GS1_MAX_PATHS       2

typedef struct {
    uint16_t             key;
    uint16_t             path[SV_GS1_MAX_PATHS][SV_GS1_MAX_QUALIFIERS + 1];
} sv_gs1_path_t;


extern const uint8_t          sv_gs1_class[256];
extern const sv_gs1_format_t  sv_gs1_formats[];
extern const sv_gs1_rule_t    sv_gs1_rules[];

/* By its digits, exactly; by what an element string begins with; by number.  NULL: there is none. */
const sv_gs1_ai_t *sv_gs1_ai_code(const uint8_t *code, size_t len);
const sv_gs1_ai_t *sv_gs1_ai_prefix(const uint8_t *data, size_t len);
const sv_gs1_ai_t *sv_gs1_ai_number(unsigned number);

/* The whole table, in the order of the codes. */
const sv_gs1_ai_t *sv_gs1_ai_table(unsigned *n);

const sv_gs1_path_t *sv_gs1_ai_path(const sv_gs1_ai_t *key);

#endif /* SV_GS1_AI_H */
