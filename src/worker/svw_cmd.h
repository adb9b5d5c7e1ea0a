/* What the commands share: options by name, a connection, errors for people. */

#ifndef SVW_CMD_H
#define SVW_CMD_H

#include "svw.h"


typedef struct {
    const char   *name;                 /* with its dashes */
    const char  **value;
    int           needed;
} svw_option_t;


/* The options of a command from argv[first] on; -1: said on stderr. */
int svw_cmd_options(svw_command_t *command, int first, const svw_option_t *options);
int svw_cmd_flag(svw_command_t *command, const char *name);         /* an option without a value: taken out; was it there? */
int svw_cmd_number(const char *option, const char *text);           /* digits, or NULL; -1: said on stderr */
int svw_cmd_time(const char *option, const char *text, int64_t *ms, char out[32]);    /* RFC 3339, or a day: its beginning, UTC; -1: said on stderr */
int svw_cmd_connect(svw_command_t *command, svw_db_t *db);          /* -1: said on stderr */

/* A query; says what went wrong and gives the exit code. SVW_EXIT_OK: the caller clears the result. */
int svw_cmd_query(svw_db_t *db, const char *sql, int n, const char *const *params, PGresult **result);

/* An SQL function; says what went wrong and gives the exit code. `changed' (may be NULL): it returned a number. */
int svw_cmd_call(svw_db_t *db, const char *sql, int n, const char *const *params, int *changed);

/* who does it, for the audit trail: the name of the user who called sudo, else of the user */
void svw_cmd_actor(char actor[64]);

/* a GTIN of 8, 12, 13 or 14 digits as the number SQL takes; -1: said on stderr */
int svw_cmd_gtin(const char *text, char number[16]);

#endif /* SVW_CMD_H */
