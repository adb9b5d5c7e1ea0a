/*
 * The audit chain: its rows, its signed heads, and a check of both.
 *
 *   svw_audit_text    an audit row -> the text that stands for it, its digest
 *   svw_audit_head    a signed head as one line; signing, verifying
 *   svw_audit_key     key files
 *   svw_audit_check   rows and heads in the order of the chain -> the first that does not fit
 *   svw_audit_diagnose what is wrong with a row that does not fit, from the database
 *   svw_audit_db      the check on the database
 *   svw_audit_export  the chain as JSON Lines                svw_audit_import  the check on such a file
 *   svw_audit_sign    heads for the days that have ended     svw_audit_file    the file of heads
 *
 * The check rests on nothing that the database computes: texts, digests and
 * hashes are computed here, from the columns.
 */

#ifndef SVW_AUDIT_H
#define SVW_AUDIT_H

#include "svw.h"

#include <openssl/evp.h>


#define SVW_AUDIT_VALUES     25
#define SVW_AUDIT_HASH       32
#define SVW_AUDIT_SIGNATURE  64
#define SVW_AUDIT_LINE       640        /* a head as a line, with its NUL */
#define SVW_AUDIT_KEYS       16         /* in a file of public keys */
#define SVW_AUDIT_FAULT      640
#define SVW_AUDIT_PAGE       1000       /* rows of the database at once */

enum { SVW_AUDIT_GTIN = 0, SVW_AUDIT_AT = 1, SVW_AUDIT_ID = 2 };       /* places in svw_audit_names[] */

extern const char *const  svw_audit_names[SVW_AUDIT_VALUES];

/* A row of the chain with its audit row; spans belong to whoever read it. */
typedef struct {
    int64_t     n;                      /* its place, from 1 */
    uint8_t     digest[SVW_AUDIT_HASH];
    uint8_t     hash[SVW_AUDIT_HASH];
    int         known;                  /* the audit row is there */
    int         left_out;               /* of an export: a row of another product, its values are not in it */
    char        id[40];                 /* of the audit row as the chain names it; "": not told */
    char        day[16];
    sv_span_t   value[SVW_AUDIT_VALUES];    /* data NULL: null */
} svw_audit_row_t;

typedef struct {
    char        system[24];             /* the database's system identifier */
    char        kind[8];                /* day, demand */
    char        day[16];
    int64_t     head, first, last;
    int64_t     at_us;
    uint8_t     hash[SVW_AUDIT_HASH];
    uint8_t     previous[SVW_AUDIT_HASH];
    uint8_t     key[SVW_AUDIT_HASH];    /* the public key */
    uint8_t     signature[SVW_AUDIT_SIGNATURE];
} svw_audit_head_t;

typedef struct {
    uint8_t     key[SVW_AUDIT_KEYS][SVW_AUDIT_HASH];
    unsigned    n;
} svw_audit_keys_t;


/* svw_audit_text.c */
int svw_audit_digest(const svw_audit_row_t *row, uint8_t digest[SVW_AUDIT_HASH]);
size_t svw_audit_text(const svw_audit_row_t *row, uint8_t *out, size_t cap);       /* its length, also when it does not fit */
int svw_audit_link(const uint8_t before[SVW_AUDIT_HASH], const uint8_t digest[SVW_AUDIT_HASH], uint8_t hash[SVW_AUDIT_HASH]);
void svw_audit_hex(const uint8_t *data, size_t len, char *out);
int svw_audit_unhex(const char *text, uint8_t *out, size_t len);

/* svw_audit_head.c: as a line without line feed; the digest is over the line with the signature */
void svw_audit_head_line(const svw_audit_head_t *head, int with_signature, char line[SVW_AUDIT_LINE]);
int svw_audit_head_parse(const char *line, svw_audit_head_t *head);
int svw_audit_head_digest(const svw_audit_head_t *head, uint8_t digest[SVW_AUDIT_HASH]);
int svw_audit_head_sign(svw_audit_head_t *head, EVP_PKEY *key);
int svw_audit_head_signed(const svw_audit_head_t *head);            /* 1: by the key that it names */
void svw_audit_head_of(const PGresult *result, int row, svw_audit_head_t *head);      /* of sv.audit_days() */

/* svw_audit_key.c: NULL, or -1, with what is wrong in `error' */
EVP_PKEY *svw_audit_key_read(const char *file, char error[SVW_TEXT]);
int svw_audit_key_make(const char *file, uint8_t public_key[SVW_AUDIT_HASH], char error[SVW_TEXT]);
int svw_audit_key_public(EVP_PKEY *key, uint8_t public_key[SVW_AUDIT_HASH]);
int svw_audit_key_print(FILE *out, const uint8_t public_key[SVW_AUDIT_HASH]);          /* as PEM */
int svw_audit_keys_read(const char *file, svw_audit_keys_t *keys, char error[SVW_TEXT]);


/* svw_audit_check.c */

typedef enum {
    SVW_AUDIT_FITS,
    SVW_AUDIT_GAP,                      /* a chain row is missing, or is numbered otherwise */
    SVW_AUDIT_NO_ROW,                   /* the audit row is not there */
    SVW_AUDIT_CHANGED,                  /* the audit row does not give the digest */
    SVW_AUDIT_DIGEST,                   /* the digest was changed, the row was not */
    SVW_AUDIT_ORDER,                    /* the hash does not follow from the one before */
    SVW_AUDIT_BOTH,                     /* neither the row nor the hash fits */
    SVW_AUDIT_HEAD,                     /* a head, or the file of heads; all is in `fault' */
    SVW_AUDIT_BROKEN                    /* the check itself failed: no memory */
} svw_audit_rc_t;

typedef struct {
    svw_audit_keys_t   keys;            /* keys.n == 0: a head is believed to be of the key that it names */
    FILE              *file;            /* file of heads, or NULL */
    const char        *file_name;
    int                file_line;
    int                file_has;
    int64_t            file_size;           /* when it was opened */
    svw_audit_head_t   file_head;
    int64_t            n;               /* of the last row that was checked */
    int64_t            rows, heads, unsigned_rows, left_out;
    int64_t            from;            /* this row and those before it are believed; 0: none */
    int                part;            /* an export: may begin with any head */
    uint8_t            hash[SVW_AUDIT_HASH];
    svw_audit_head_t   last;            /* the last head; last.head == 0: none */
    svw_audit_head_t   last_day;        /* of kind day; likewise */
    char               fault[SVW_AUDIT_FAULT];
} svw_audit_check_t;

/* rows and heads come in the order of the chain: a head behind the row last_n */
svw_audit_rc_t svw_audit_check_row(svw_audit_check_t *check, const svw_audit_row_t *row);
svw_audit_rc_t svw_audit_check_head(svw_audit_check_t *check, const svw_audit_head_t *head);
svw_audit_rc_t svw_audit_check_end(svw_audit_check_t *check);       /* the rest of the file of heads */
int svw_audit_check_open(svw_audit_check_t *check, const char *heads_file);           /* -1: errno */
void svw_audit_check_close(svw_audit_check_t *check);
const char *svw_audit_check_text(svw_audit_rc_t rc);                /* a row's fault in words */
svw_audit_rc_t svw_audit_fault(svw_audit_check_t *check, svw_audit_rc_t rc, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));


/* svw_audit_db.c, svw_audit_export.c, svw_audit_import.c: exit codes; what they found is printed */

typedef struct {
    svw_conf_t         *conf;
    svw_db_t           *db;
    svw_audit_check_t   check;
    int64_t             from;
    int                 packs;          /* the serials digests, too */
    int                 bar;
    int64_t             loads;              /* audit rows of lots that were loaded */
    int64_t             lots, lots_moved;   /* of loads whose serials digest was computed; could not be told */
} svw_audit_run_t;

int svw_audit_verify_db(svw_audit_run_t *run);
int svw_audit_verify_export(svw_audit_run_t *run, const char *file);
int svw_audit_export(svw_audit_run_t *run, const char *from, const char *to, const char *gtin, const char *file);

void svw_audit_row_of(const PGresult *result, int i, svw_audit_row_t *row);           /* of sv.audit_rows() */
void svw_audit_values_of(const PGresult *result, int i, svw_audit_row_t *row);
void svw_audit_bar(const svw_audit_run_t *run, const char *phase, int64_t done, int64_t total);
int svw_audit_result(const svw_audit_run_t *run, const char *what);

/* svw_audit_diagnose.c: check->fault; 0, or -1 when PostgreSQL failed */
int svw_audit_diagnose(svw_audit_run_t *run, svw_audit_rc_t rc, const svw_audit_row_t *row);
int svw_audit_loose(svw_audit_run_t *run);                          /* 1: a fault */
int svw_audit_load(svw_audit_run_t *run, const PGresult *result, int i, const svw_audit_row_t *row);  /* 1: a fault */
int svw_audit_packs(svw_audit_run_t *run);                          /* 1: a fault */


/* svw_audit_sign.c: signs what is due, and on demand what was chained since. How many heads, -1: failed, why is in `error' */
int svw_audit_sign(svw_conf_t *conf, svw_db_t *db, int demand, const char *by, char error[SVW_TEXT]);

/* svw_audit_file.c: the file of heads */
int svw_audit_file_sync(svw_conf_t *conf, svw_db_t *db, int64_t heads, char error[SVW_TEXT]);

#endif /* SVW_AUDIT_H */
