/*
 * What the rest of the project sees of GS1: text in, elements out.
 *
 * Pure functions: no allocation, no global state, no errno.  Values are spans
 * into the input or into the caller's buffer, which must outlive the result.
 * A buffer of SV_GS1_BUFFER bytes is enough for every input that is accepted;
 * longer input is SV_GS1_ERR_TOO_LONG.
 *
 * The offset of a fault points into the input.  After an error `data' holds
 * what had been read by then; only sv_gs1_separator_lost() has a use for it.
 *
 * The verdicts are those of GS1's syntax engine in strict mode but for the
 * choices named in docs/parser.md.
 */

#ifndef SV_GS1_H
#define SV_GS1_H

#include "sv_span.h"


#define SV_GS1_MAX_ELEMENTS  64
#define SV_GS1_MAX_INPUT     8191
#define SV_GS1_BUFFER        8192

/* flags */
#define SV_GS1_SHORT_GTIN    0x01   /* accept GTIN-8, -12, -13 in a Digital Link, padded to 14 */


/* X-macro in sv_gs1_error.def: one row an error: symbol, stable code word, explanation */
typedef enum {
    SV_GS1_OK = 0,
#define SV_GS1_ERROR(symbol, code, text)  SV_GS1_ERR_##symbol,
#include "sv_gs1_error.def"
#undef SV_GS1_ERROR
    SV_GS1_ERR_MAX
} sv_gs1_error_t;

/* SV_GS1_ERR_NOT_A_LINK: the text holds no primary key and value at all; a
 * router may then leave the request to others.  Every other error: it is a
 * Digital Link (or scan) and it is wrong. */


typedef struct sv_gs1_ai_s  sv_gs1_ai_t;    /* a row of the AI table, sv_gs1_ai.h */

typedef struct {
    const sv_gs1_ai_t  *ai;
    sv_span_t           value;              /* decoded */
} sv_gs1_element_t;

typedef struct {
    sv_gs1_element_t    element[SV_GS1_MAX_ELEMENTS];
    unsigned            n;
    unsigned            n_path;             /* Digital Link: elements [0, n_path) come from the path, [0] is the primary key */
    unsigned            stem_pairs;         /* AI pairs in the stem, left of the primary key (they are not data) */
    sv_span_t           stem;               /* raw, without a trailing slash; empty when there is none */
} sv_gs1_data_t;


/* An absolute URI: "https://example.com/01/..". `offset' (may be NULL) is where the fault lies in the input. */
sv_gs1_error_t sv_gs1_uri_parse(sv_span_t uri, unsigned flags, uint8_t *buf,
    sv_gs1_data_t *data, size_t *offset);

/* The raw request target of HTTP in origin form: "/01/..?17=..". */
sv_gs1_error_t sv_gs1_target_parse(sv_span_t target, unsigned flags, uint8_t *buf,
    sv_gs1_data_t *data, size_t *offset);

/* What a scanner sent: symbology identifier first; element string or, in a plain symbol, a Digital Link URI. */
sv_gs1_error_t sv_gs1_scan_parse(sv_span_t scan, unsigned flags, uint8_t *buf,
    sv_gs1_data_t *data, size_t *offset);

/* "(01)09506000134352(21)A1". */
sv_gs1_error_t sv_gs1_brackets_parse(sv_span_t text, unsigned flags, uint8_t *buf,
    sv_gs1_data_t *data, size_t *offset);

/* "urn:epc:id:sgtin:0614141.812345.6789" and sscc, sgln, lgtin, normalised to keys. */
sv_gs1_error_t sv_gs1_urn_parse(sv_span_t urn, unsigned flags, uint8_t *buf,
    sv_gs1_data_t *data, size_t *offset);

/* The value of an AI by its number (1 for GTIN, 21 for serial), or NULL. */
const sv_span_t *sv_gs1_get(const sv_gs1_data_t *data, unsigned ai);

/*
 * Print into `out' of `cap' bytes, NUL-terminated; the length, or -1 when it
 * does not fit.  In brackets the key comes first, then the rest as given; a
 * scan is that of a GS1 DataMatrix; the URI is the canonical one,
 * https://id.gs1.org, and -1 also says that the data has none.
 */
int sv_gs1_brackets_print(const sv_gs1_data_t *data, char *out, size_t cap);
int sv_gs1_scan_print(const sv_gs1_data_t *data, char *out, size_t cap);
int sv_gs1_uri_print(const sv_gs1_data_t *data, char *out, size_t cap);

/* The URN of a key where the company prefix' length (6 to 12) is given; -1 when there is none. */
int sv_gs1_urn_print(const sv_gs1_data_t *data, unsigned prefix_len, char *out, size_t cap);

/* "ai_value_too_short", stable; and a sentence saying what is wrong and what to do. */
const char *sv_gs1_error_code(sv_gs1_error_t error);
const char *sv_gs1_error_text(sv_gs1_error_t error);

/*
 * Does this look like a scan that lost its group separator?  True when one of
 * 10, 17, 21 is missing and the value of another variable-length element ends
 * in what reads as the missing ones.  `ai' (may be NULL) gets the number of
 * the element that swallowed them.  Also after an error of the scan's parser:
 * `data' then holds what was read, with the element at fault.
 */
int sv_gs1_separator_lost(const sv_gs1_data_t *data, unsigned *ai);

/* GTIN-14 as a number, the form every key, column and message field uses; 0 when the digits are not 14. */
uint64_t sv_gs1_gtin(sv_span_t value);


/* A calendar day, as days since 1970-01-01; printed as YYYY-MM-DD. */
typedef int32_t  sv_day_t;

#define SV_DAY_NONE  INT32_MIN

/* YYMMDD (AI 17): DD=00 is the end of the month, the century slides around the year of `today'.  SV_DAY_NONE: no date. */
sv_day_t sv_gs1_date(sv_span_t yymmdd, sv_day_t today);
sv_day_t sv_day_from_civil(int year, unsigned month, unsigned day);
void sv_day_to_civil(sv_day_t day, int *year, unsigned *month, unsigned *mday);
#define SV_DAY_TEXT  11
void sv_day_print(sv_day_t day, char out[SV_DAY_TEXT]);          /* "2027-12-31" */
sv_day_t sv_day_parse(sv_span_t iso);                            /* "2027-12-31" or "20271231" */

#endif /* SV_GS1_H */
