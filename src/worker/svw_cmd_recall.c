#include "svw_cmd.h"

#include "svw_serials.h"

#include <string.h>


/* options; those before WHAT_END say what is recalled or lifted */
enum {
    SVW_RECALL_GTIN, SVW_RECALL_ID, SVW_RECALL_LOT, SVW_RECALL_FROM, SVW_RECALL_TO, SVW_RECALL_SERIALS,
    SVW_RECALL_WHAT_END,
    SVW_RECALL_REASON = SVW_RECALL_WHAT_END, SVW_RECALL_REFERENCE,
    SVW_RECALL_OPTIONS,
    SVW_RECALL_ACTOR = SVW_RECALL_OPTIONS,
    SVW_RECALL_END
};

#define SVW_BIT(option)  (1u << (option))

static const char *const  svw_recall_names[SVW_RECALL_OPTIONS] = {
    "--gtin", "--id", "--lot", "--from", "--to", "--serials", "--reason", "--reference"
};

typedef struct {
    const char     *command;
    unsigned        what;               /* the options that make this form */
    unsigned        more;               /* others it takes */
    const char     *sql;                /* -> number or null, recall id or null, made */
    unsigned char   params[7];          /* options in the order of its parameters */
    const char     *subject;            /* printf: texts of the options but the GTIN; NULL: the id alone */
    const char     *done, *replaced, *already;
} svw_recall_form_t;


#define SVW_RECALLED   "is recalled", "was recalled already, the reason is replaced", "was recalled already, with the same reason"
#define SVW_RECALLEDS  "are recalled", "were recalled already, the reason is replaced", "were recalled already, with the same reason"
#define SVW_LIFTED     "is no longer recalled", "", "was lifted already"

static const svw_recall_form_t  svw_recall_forms[] = {
    { "recall", SVW_BIT(SVW_RECALL_GTIN) | SVW_BIT(SVW_RECALL_LOT), SVW_BIT(SVW_RECALL_REFERENCE),
      "select sv.recall_lot($1, $2, $3, $4, $5), null, true",
      { SVW_RECALL_GTIN, SVW_RECALL_LOT, SVW_RECALL_REASON, SVW_RECALL_REFERENCE, SVW_RECALL_ACTOR, SVW_RECALL_END },
      " lot \"%s\"", SVW_RECALLED },

    { "recall", SVW_BIT(SVW_RECALL_GTIN) | SVW_BIT(SVW_RECALL_FROM) | SVW_BIT(SVW_RECALL_TO), SVW_BIT(SVW_RECALL_REFERENCE),
      "select n, recall_id, made from sv.recall_range($1, $2, $3, $4, $5, $6)",
      { SVW_RECALL_GTIN, SVW_RECALL_FROM, SVW_RECALL_TO, SVW_RECALL_REASON, SVW_RECALL_REFERENCE, SVW_RECALL_ACTOR, SVW_RECALL_END },
      " serials \"%s\" to \"%s\"", SVW_RECALLEDS },

    { "recall", SVW_BIT(SVW_RECALL_GTIN) | SVW_BIT(SVW_RECALL_SERIALS), SVW_BIT(SVW_RECALL_REFERENCE),
      "select n, recall_id, made from sv.recall_serials($1, $2::text[], $3, $4, $5)",
      { SVW_RECALL_GTIN, SVW_RECALL_SERIALS, SVW_RECALL_REASON, SVW_RECALL_REFERENCE, SVW_RECALL_ACTOR, SVW_RECALL_END },
      " serials of the list", SVW_RECALLEDS },

    { "lift-recall", SVW_BIT(SVW_RECALL_GTIN) | SVW_BIT(SVW_RECALL_LOT), 0,
      "select sv.lift_recall($1, $2, $3, $4), null, true",
      { SVW_RECALL_GTIN, SVW_RECALL_LOT, SVW_RECALL_REASON, SVW_RECALL_ACTOR, SVW_RECALL_END },
      " lot \"%s\"", SVW_LIFTED },

    { "lift-recall", SVW_BIT(SVW_RECALL_ID), 0,
      "select sv.lift($1::uuid, $2, $3), null, true",
      { SVW_RECALL_ID, SVW_RECALL_REASON, SVW_RECALL_ACTOR, SVW_RECALL_END },
      NULL, "is lifted", "", "was lifted already" },

    { "withdraw", SVW_BIT(SVW_RECALL_GTIN), SVW_BIT(SVW_RECALL_REFERENCE),
      "select sv.withdraw_product($1, $2, $3, $4), null, true",
      { SVW_RECALL_GTIN, SVW_RECALL_REASON, SVW_RECALL_REFERENCE, SVW_RECALL_ACTOR, SVW_RECALL_END },
      "", "is withdrawn", "", "was withdrawn already, with the same reason" },

    { "lift-withdrawal", SVW_BIT(SVW_RECALL_GTIN), 0,
      "select sv.lift_withdrawal($1, $2, $3), null, true",
      { SVW_RECALL_GTIN, SVW_RECALL_REASON, SVW_RECALL_ACTOR, SVW_RECALL_END },
      "", "is no longer withdrawn", "", "" },

    { NULL, 0, 0, NULL, { 0 }, NULL, NULL, NULL, NULL }
};


static int svw_recall_list(svw_command_t *command);
static void svw_recall_options(svw_command_t *command, const char **given, svw_option_t options[SVW_RECALL_OPTIONS + 1]);
static const svw_recall_form_t *svw_recall_form(svw_command_t *command, const char *const *given);
static int svw_recall_do(svw_command_t *command, const svw_recall_form_t *form, const char **given);
static void svw_recall_say(const svw_recall_form_t *form, const char *const *given, const PGresult *result);


int
svw_cmd_recall(svw_command_t *command)
{
    int                       rc;
    char                      number[16];
    const char               *given[SVW_RECALL_END] = { NULL };
    svw_array_t               serials;
    svw_option_t              options[SVW_RECALL_OPTIONS + 1];
    const svw_recall_form_t  *form;

    if (strcmp(command->argv[0], "recall") == 0 && command->argc > 1 && strcmp(command->argv[1], "--list") == 0) {
        return svw_recall_list(command);
    }

    svw_recall_options(command, given, options);

    if (svw_cmd_options(command, 1, options) != 0 || (form = svw_recall_form(command, given)) == NULL) {
        return SVW_EXIT_USAGE;
    }

    if (given[SVW_RECALL_GTIN] != NULL) {
        if (svw_cmd_gtin(given[SVW_RECALL_GTIN], number) != 0) {
            return SVW_EXIT_USAGE;
        }

        given[SVW_RECALL_GTIN] = number;
    }

    svw_array_begin(&serials);

    if (given[SVW_RECALL_SERIALS] != NULL) {
        rc = svw_serials_read(given[SVW_RECALL_SERIALS], &serials);

        if (rc != SVW_EXIT_OK) {
            svw_array_free(&serials);
            return rc;
        }

        given[SVW_RECALL_SERIALS] = serials.text;
    }

    rc = svw_recall_do(command, form, given);
    svw_array_free(&serials);

    return rc;
}


/* Those that some form of this command takes. */
static void
svw_recall_options(svw_command_t *command, const char **given, svw_option_t options[SVW_RECALL_OPTIONS + 1])
{
    int                       i, n;
    unsigned                  taken;
    const svw_recall_form_t  *form;

    taken = SVW_BIT(SVW_RECALL_REASON);

    for (form = svw_recall_forms; form->command != NULL; form++) {
        if (strcmp(form->command, command->argv[0]) == 0) {
            taken |= form->what | form->more;
        }
    }

    for (i = n = 0; i < SVW_RECALL_OPTIONS; i++) {
        if (taken & SVW_BIT(i)) {
            options[n++] = (svw_option_t) { svw_recall_names[i], &given[i], 0 };
        }
    }

    options[n] = (svw_option_t) { NULL, NULL, 0 };
}


/* NULL: said on stderr */
static const svw_recall_form_t *
svw_recall_form(svw_command_t *command, const char *const *given)
{
    int                       i;
    unsigned                  what;
    const char               *name;
    const svw_recall_form_t  *form;

    name = command->argv[0];
    what = 0;

    for (i = 0; i < SVW_RECALL_WHAT_END; i++) {
        if (given[i] != NULL) {
            what |= SVW_BIT(i);
        }
    }

    for (form = svw_recall_forms; form->command != NULL; form++) {
        if (strcmp(form->command, name) == 0 && form->what == what) {
            break;
        }
    }

    if (form->command == NULL) {
        if (strcmp(name, "recall") == 0) {
            fprintf(stderr, "serial-verify-worker: recall needs %s--lot, or --from and --to, or --serials, see recall --help\n",
                    what & SVW_BIT(SVW_RECALL_GTIN) ? "" : "--gtin and ");

        } else if (strcmp(name, "lift-recall") == 0) {
            fprintf(stderr, "serial-verify-worker: lift-recall needs --id, or --gtin and --lot, see lift-recall --help\n");

        } else {
            fprintf(stderr, "serial-verify-worker: %s needs --gtin, see %s --help\n", name, name);
        }

        return NULL;
    }

    if (given[SVW_RECALL_REASON] == NULL) {
        fprintf(stderr, "serial-verify-worker: %s needs --reason, see %s --help\n", name, name);
        return NULL;
    }

    return form;
}


static int
svw_recall_do(svw_command_t *command, const svw_recall_form_t *form, const char **given)
{
    int          n, rc;
    char         actor[64];
    svw_db_t     db;
    PGresult    *result;
    const char  *params[sizeof(form->params)];

    svw_cmd_actor(actor);
    given[SVW_RECALL_ACTOR] = actor;

    for (n = 0; form->params[n] != SVW_RECALL_END; n++) {
        params[n] = given[form->params[n]];
    }

    if (svw_cmd_connect(command, &db) != 0) {
        return SVW_EXIT_BUSY;
    }

    rc = svw_cmd_query(&db, form->sql, n, params, &result);
    svw_db_close(&db);

    if (rc == SVW_EXIT_OK) {
        svw_recall_say(form, given, result);
        PQclear(result);
    }

    return rc;
}


static void
svw_recall_say(const svw_recall_form_t *form, const char *const *given, const PGresult *result)
{
    const char  *what;

    if (PQgetisnull(result, 0, 0)) {
        what = form->already;

    } else {
        what = PQgetvalue(result, 0, 2)[0] == 't' ? form->done : form->replaced;
    }

    if (form->subject == NULL) {
        printf("recall %s", given[SVW_RECALL_ID]);

    } else {
        printf("%s", given[SVW_RECALL_GTIN]);
        printf(form->subject, given[form->params[1]], given[form->params[2]]);
    }

    printf(" %s", what);

    if (!PQgetisnull(result, 0, 1)) {
        printf(" [%s]", PQgetvalue(result, 0, 1));
    }

    printf("\n");
}


static int
svw_recall_list(svw_command_t *command)
{
    int                 i, rc;
    char                number[16];
    svw_db_t            db;
    PGresult           *result;
    const char         *gtin = NULL;
    const svw_option_t  options[] = { { "--gtin", &gtin, 0 }, { NULL, NULL, 0 } };

    if (svw_cmd_options(command, 2, options) != 0 || (gtin != NULL && svw_cmd_gtin(gtin, number) != 0)) {
        return SVW_EXIT_USAGE;
    }

    if (gtin != NULL) {
        gtin = number;
    }

    if (svw_cmd_connect(command, &db) != 0) {
        return SVW_EXIT_BUSY;
    }

    rc = svw_cmd_query(&db,
                       "select recall_id, to_char(at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), lpad(gtin::text, 14, '0'),"
                       " case kind when 'lot' then 'lot ' || lot when 'range' then serial_from || ' to ' || serial_to"
                       " when 'serials' then n || ' serials' else 'product' end,"
                       " role || ' ' || actor, reason || coalesce(' (' || reference || ')', '')"
                       " from sv.recalls($1, null, true, null)", 1, &gtin, &result);

    svw_db_close(&db);

    if (rc != SVW_EXIT_OK) {
        return rc;
    }

    printf("%-36s  %-20s  %-14s  %-44s  %-26s  %s\n", "recall", "since", "gtin", "what", "by", "reason");

    for (i = 0; i < PQntuples(result); i++) {
        printf("%-36s  %-20s  %-14s  %-44s  %-26s  %s\n", PQgetvalue(result, i, 0), PQgetvalue(result, i, 1),
               PQgetvalue(result, i, 2), PQgetvalue(result, i, 3), PQgetvalue(result, i, 4), PQgetvalue(result, i, 5));
    }

    PQclear(result);

    return SVW_EXIT_OK;
}
