#include "sv_gs1_ai.h"


/* the identifiers that rules speak of */
enum {
    ATOM__ = 0,
    ATOM_00, ATOM_01, ATOM_02, ATOM_03, ATOM_10, ATOM_21, ATOM_235, ATOM_253,
    ATOM_255, ATOM_MEASURE, ATOM_37, ATOM_391n, ATOM_392n, ATOM_393n,
    ATOM_394n, ATOM_414, ATOM_415, ATOM_416, ATOM_421, ATOM_422, ATOM_426,
    ATOM_4302, ATOM_4307, ATOM_4312, ATOM_4330, ATOM_4331, ATOM_4332,
    ATOM_4333, ATOM_7021, ATOM_7250, ATOM_7251, ATOM_7256, ATOM_7259,
    ATOM_8003, ATOM_8004, ATOM_8005, ATOM_8006, ATOM_8010, ATOM_8011,
    ATOM_8017, ATOM_8018, ATOM_8020, ATOM_8026, ATOM_8111,
    ATOM_MAX
};

#define B(atom)    (UINT64_C(1) << (ATOM_##atom - 1))
#define T_ITEM     (B(01) | B(02) | B(8006) | B(8026))
#define T_MEASURE  B(MEASURE)

_Static_assert(ATOM_MAX <= 65, "an atom is a bit of 64");


enum {
#define FORMAT(name, least, most, ...)  FORMAT_##name,
#include "sv_gs1_ai.def"
#undef FORMAT
    FORMAT_MAX
};

enum {
    RULE_NONE = 0,
#define RULE(name, any, all, not)           RULE_##name,
#define RULE3(name, any, both1, both2, both3)  RULE_##name,
#include "sv_gs1_ai.def"
#undef RULE
#undef RULE3
    RULE_MAX
};

/* the number of the row of an AI, counted from 1 */
enum {
    ROW_NONE = 0,
#define AI2(code, ...)     ROW_##code,
#define AI3                AI2
#define AI4                AI2
#define AI_0_3(code, ...)  ROW_##code##0, ROW_##code##1, ROW_##code##2, ROW_##code##3,
#define AI_0_5(code, ...)  AI_0_3(code) ROW_##code##4, ROW_##code##5,
#define AI_0_9(code, ...)  AI_0_5(code) ROW_##code##6, ROW_##code##7, ROW_##code##8, ROW_##code##9,
#include "sv_gs1_ai.def"
#undef AI2
#undef AI3
#undef AI4
#undef AI_0_3
#undef AI_0_5
#undef AI_0_9
    ROW_MAX
};


/* a part of a value: exactly, or up to, so many bytes; O: it may be missing */
#define N(len, lint)    {SV_GS1_N, len, len, 0, SV_GS1_LINT_##lint}
#define X(len, lint)    {SV_GS1_X, len, len, 0, SV_GS1_LINT_##lint}
#define ON(len, lint)   {SV_GS1_N, len, len, 1, SV_GS1_LINT_##lint}
#define OX(len, lint)   {SV_GS1_X, len, len, 1, SV_GS1_LINT_##lint}
#define N_(len, lint)   {SV_GS1_N, 1, len, 0, SV_GS1_LINT_##lint}
#define X_(len, lint)   {SV_GS1_X, 1, len, 0, SV_GS1_LINT_##lint}
#define Y_(len, lint)   {SV_GS1_Y, 1, len, 0, SV_GS1_LINT_##lint}
#define Z_(len, lint)   {SV_GS1_Z, 1, len, 0, SV_GS1_LINT_##lint}
#define ON_(len, lint)  {SV_GS1_N, 1, len, 1, SV_GS1_LINT_##lint}
#define OX_(len, lint)  {SV_GS1_X, 1, len, 1, SV_GS1_LINT_##lint}

const sv_gs1_format_t  sv_gs1_formats[FORMAT_MAX] = {
#define FORMAT(name, least, most, ...)  [FORMAT_##name] = {least, most, __VA_ARGS__},
#include "sv_gs1_ai.def"
#undef FORMAT
};


const sv_gs1_rule_t  sv_gs1_rules[RULE_MAX] = {
#define RULE(name, any, all, not)  [RULE_##name] = {{any, all}, {0, 0, 0}, not},
#define RULE3(name, any, both1, both2, both3)                                 \
    [RULE_##name] = {{any, 0}, {both1, both2, both3}, 0},
#include "sv_gs1_ai.def"
#undef RULE
#undef RULE3
};


#define P  SV_GS1_FIXED
#define A  SV_GS1_ATTRIBUTE
#define K  SV_GS1_KEY
#define F  SV_GS1_FAMILY

/* a 1 in front keeps the compiler from reading 010 as octal */
#define ROW(code, digits, above, flags, format, rule, atom, title)            \
    [ROW_##code - 1] = {1##code - above, digits, flags, FORMAT_##format,      \
                        RULE_##rule, ATOM_##atom, #code, title},
#define ROW4(code, ...)  ROW(code, 4, 10000, __VA_ARGS__)

static const sv_gs1_ai_t  sv_gs1_ais[] = {
#define AI2(code, ...)     ROW(code, 2, 100, __VA_ARGS__)
#define AI3(code, ...)     ROW(code, 3, 1000, __VA_ARGS__)
#define AI4(code, ...)     ROW4(code, __VA_ARGS__)
#define AI_0_3(code, ...)                                                     \
    ROW4(code##0, __VA_ARGS__) ROW4(code##1, __VA_ARGS__)                     \
    ROW4(code##2, __VA_ARGS__) ROW4(code##3, __VA_ARGS__)
#define AI_0_5(code, ...)                                                     \
    AI_0_3(code, __VA_ARGS__)                                                 \
    ROW4(code##4, __VA_ARGS__) ROW4(code##5, __VA_ARGS__)
#define AI_0_9(code, ...)                                                     \
    AI_0_5(code, __VA_ARGS__)                                                 \
    ROW4(code##6, __VA_ARGS__) ROW4(code##7, __VA_ARGS__)                     \
    ROW4(code##8, __VA_ARGS__) ROW4(code##9, __VA_ARGS__)
#include "sv_gs1_ai.def"
#undef AI2
#undef AI3
#undef AI4
#undef AI_0_3
#undef AI_0_5
#undef AI_0_9
};


/*
 * Row by code, the code padded with zeros to four digits: no identifier is
 * the beginning of another one.
 */
#define SLOT4(code)  [1##code - 10000] = ROW_##code,

static const uint16_t  sv_gs1_slots[10000] = {
#define AI2(code, ...)     [1##code##00 - 10000] = ROW_##code,
#define AI3(code, ...)     [1##code##0 - 10000] = ROW_##code,
#define AI4(code, ...)     SLOT4(code)
#define AI_0_3(code, ...)                                                     \
    SLOT4(code##0) SLOT4(code##1) SLOT4(code##2) SLOT4(code##3)
#define AI_0_5(code, ...)                                                     \
    AI_0_3(code) SLOT4(code##4) SLOT4(code##5)
#define AI_0_9(code, ...)                                                     \
    AI_0_5(code) SLOT4(code##6) SLOT4(code##7) SLOT4(code##8) SLOT4(code##9)
#include "sv_gs1_ai.def"
#undef AI2
#undef AI3
#undef AI4
#undef AI_0_3
#undef AI_0_5
#undef AI_0_9
};


/* how many digits the identifiers have that begin with these two; 0: none does */
static const uint8_t  sv_gs1_digits[100] = {
    2, 2, 2, 2, 0, 0, 0, 0, 0, 0,   2, 2, 2, 2, 0, 2, 2, 2, 0, 0,
    2, 2, 2, 3, 3, 3, 0, 0, 0, 0,   2, 4, 4, 4, 4, 4, 4, 2, 0, 4,
    3, 3, 3, 4, 0, 0, 0, 0, 0, 0,   0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0,   4, 3, 4, 0, 0, 0, 0, 0, 0, 0,
    4, 4, 4, 0, 0, 0, 0, 0, 0, 0,   2, 2, 2, 2, 2, 2, 2, 2, 2, 2
};


static const sv_gs1_path_t  sv_gs1_paths[] = {
    {1,    {{22, 10, 21, 0}, {235, 0}}},
    {8006, {{22, 10, 21, 0}}},
    {414,  {{254, 0}, {7040, 0}}},
    {415,  {{8020, 0}}},
    {417,  {{7040, 0}}},
    {8004, {{7040, 0}}},
    {8010, {{8011, 0}}},
    {8017, {{8019, 0}}},
    {8018, {{8019, 0}}}
};

static const sv_gs1_path_t  sv_gs1_path_none = {0, {{0}}};


static const sv_gs1_ai_t *sv_gs1_ai_lookup(const uint8_t *code, size_t digits);


const sv_gs1_ai_t *
sv_gs1_ai_code(const uint8_t *code, size_t len)
{
    const sv_gs1_ai_t  *ai;

    if (len < 2 || len > SV_GS1_AI_DIGITS) {
        return NULL;
    }

    ai = sv_gs1_ai_lookup(code, len);

    return (ai && ai->digits == len) ? ai : NULL;
}


const sv_gs1_ai_t *
sv_gs1_ai_prefix(const uint8_t *data, size_t len)
{
    size_t  digits;

    if (len < 2 || (unsigned) (data[0] - '0') > 9
        || (unsigned) (data[1] - '0') > 9)
    {
        return NULL;
    }

    digits = sv_gs1_digits[(data[0] - '0') * 10 + (data[1] - '0')];

    if (digits == 0 || len < digits) {
        return NULL;
    }

    return sv_gs1_ai_lookup(data, digits);
}


const sv_gs1_ai_t *
sv_gs1_ai_number(unsigned number)
{
    unsigned            slot;
    const sv_gs1_ai_t  *ai;

    slot = number;

    if (number > 9999) {
        return NULL;
    }

    while (slot < 10000) {

        if (sv_gs1_slots[slot]) {
            ai = &sv_gs1_ais[sv_gs1_slots[slot] - 1];

            if (ai->number == number) {
                return ai;
            }
        }

        /* never 0 here: identifier 00 is in the table */

        slot *= 10;
    }

    return NULL;
}


const sv_gs1_ai_t *
sv_gs1_ai_table(unsigned *n)
{
    *n = ROW_MAX - 1;

    return sv_gs1_ais;
}


const sv_gs1_path_t *
sv_gs1_ai_path(const sv_gs1_ai_t *key)
{
    size_t  i;

    for (i = 0; i < sizeof(sv_gs1_paths) / sizeof(sv_gs1_paths[0]); i++) {
        if (sv_gs1_paths[i].key == key->number) {
            return &sv_gs1_paths[i];
        }
    }

    return &sv_gs1_path_none;
}


static const sv_gs1_ai_t *
sv_gs1_ai_lookup(const uint8_t *code, size_t digits)
{
    size_t    i;
    unsigned  slot, digit, row;

    slot = 0;

    for (i = 0; i < SV_GS1_AI_DIGITS; i++) {
        digit = (i < digits) ? (unsigned) (code[i] - '0') : 0;

        if (digit > 9) {
            return NULL;
        }

        slot = slot * 10 + digit;
    }

    row = sv_gs1_slots[slot];

    return row ? &sv_gs1_ais[row - 1] : NULL;
}


/* the character classes of GS1 and of URIs, in one byte a character */

#define CN  (SV_GS1_N | SV_GS1_X | SV_GS1_Y | SV_GS1_Z | CU)    /* digit */
#define CA  (SV_GS1_X | SV_GS1_Y | SV_GS1_Z | CU)               /* capital */
#define CL  (SV_GS1_X | SV_GS1_Z | CU)                          /* small letter, _ */
#define CH  (SV_GS1_X | SV_GS1_Y | SV_GS1_Z | CU)               /* - */
#define CD  (SV_GS1_X | CU)                                     /* . */
#define CU  (SV_GS1_RAW_PATH | SV_GS1_RAW_QUERY | SV_GS1_UNRESERVED           \
             | SV_GS1_RAW_URI)
#define CR  (SV_GS1_RAW_PATH | SV_GS1_RAW_QUERY | SV_GS1_RAW_URI)

const uint8_t  sv_gs1_class[256] = {
    ['0'] = CN, ['1'] = CN, ['2'] = CN, ['3'] = CN, ['4'] = CN,
    ['5'] = CN, ['6'] = CN, ['7'] = CN, ['8'] = CN, ['9'] = CN,

    ['A'] = CA, ['B'] = CA, ['C'] = CA, ['D'] = CA, ['E'] = CA, ['F'] = CA,
    ['G'] = CA, ['H'] = CA, ['I'] = CA, ['J'] = CA, ['K'] = CA, ['L'] = CA,
    ['M'] = CA, ['N'] = CA, ['O'] = CA, ['P'] = CA, ['Q'] = CA, ['R'] = CA,
    ['S'] = CA, ['T'] = CA, ['U'] = CA, ['V'] = CA, ['W'] = CA, ['X'] = CA,
    ['Y'] = CA, ['Z'] = CA,

    ['a'] = CL, ['b'] = CL, ['c'] = CL, ['d'] = CL, ['e'] = CL, ['f'] = CL,
    ['g'] = CL, ['h'] = CL, ['i'] = CL, ['j'] = CL, ['k'] = CL, ['l'] = CL,
    ['m'] = CL, ['n'] = CL, ['o'] = CL, ['p'] = CL, ['q'] = CL, ['r'] = CL,
    ['s'] = CL, ['t'] = CL, ['u'] = CL, ['v'] = CL, ['w'] = CL, ['x'] = CL,
    ['y'] = CL, ['z'] = CL, ['_'] = CL,

    ['-'] = CH, ['.'] = CD, ['~'] = CU,

    ['!'] = SV_GS1_X | CR, ['\''] = SV_GS1_X | CR, ['('] = SV_GS1_X | CR,
    [')'] = SV_GS1_X | CR, ['*'] = SV_GS1_X | CR, [','] = SV_GS1_X | CR,
    [':'] = SV_GS1_X | CR, ['/'] = SV_GS1_X | SV_GS1_Y | CR,
    ['?'] = SV_GS1_X | CR, ['$'] = CR, ['@'] = CR,

    ['='] = SV_GS1_X | SV_GS1_Z | CR,

    /* these separate parameters in a query, and + is a space there */
    ['&'] = SV_GS1_X | SV_GS1_RAW_PATH | SV_GS1_RAW_URI,
    [';'] = SV_GS1_X | SV_GS1_RAW_PATH | SV_GS1_RAW_URI,
    ['+'] = SV_GS1_X | SV_GS1_RAW_PATH | SV_GS1_RAW_URI,

    ['%'] = SV_GS1_X | SV_GS1_RAW_URI, ['#'] = SV_GS1_Y | SV_GS1_RAW_URI,

    ['['] = CR, [']'] = CR,

    ['"'] = SV_GS1_X, ['<'] = SV_GS1_X, ['>'] = SV_GS1_X
};
