#include "svw.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>


#define SVW_CONF_DEFAULT  "/etc/serial-verify/worker.conf"


typedef struct {
    const char  *name;
    int        (*run)(svw_command_t *command);
    const char  *usage;
} svw_main_command_t;


static int svw_cmd_run(svw_command_t *command);
static int svw_stands_alone(const svw_main_command_t *command, int argc, char **argv, const char *file);
static int svw_asks_help(int argc, char **argv, int i);
static void svw_help(FILE *out);


static const svw_main_command_t  svw_main_commands[] = {
    { "run", svw_cmd_run,
      "run [--role ingest|relay|housekeeping|api|push|consume|notify]\n\n"
      "Runs the roles of the configuration, one process each, in the foreground. --role runs one\n"
      "role in this process. SIGTERM and SIGINT end it after the lot or batch at hand; SIGHUP reads\n"
      "the configuration again and opens the log again.\n" },
    { "load-file", svw_cmd_load_file,
      "load-file FILE\n\n"
      "Loads one file (CSV, EPCIS 2.0 JSON-LD, EPCIS 1.2 or 2.0 XML) now and prints its report. The file\n"
      "stays where it is. Exit code 1 when any line was rejected.\n" },
    { "load", svw_cmd_load,
      "load products|locations|keys|markets FILE.csv\n\n"
      "Loads reference data: all rows, or none when a row is bad. The columns are in docs/worker.md.\n" },
    { "key", svw_cmd_key,
      "key create --gln GLN [--days N] | key list --gln GLN | key revoke --key KEY | --sha256 HEX\n\n"
      "create prints a new API key of a location, once: only its SHA-256 is stored. A location has\n"
      "at most two valid keys. list says which there are. revoke ends a key at once.\n" },
    { "recall", svw_cmd_recall,
      "recall --gtin GTIN --lot LOT | --from SERIAL --to SERIAL | --serials FILE --reason TEXT [--reference TEXT]\n"
      "       serial-verify-worker [-c FILE] recall --list [--gtin GTIN]\n\n"
      "Recalls a lot, a range of serials or a list of up to 100000, one a line (- is standard input);\n"
      "every gateway knows it within a second. They need not be loaded yet. A range is of serials of\n"
      "one length, compared byte by byte. --list prints the recalls that are open.\n" },
    { "lift-recall", svw_cmd_recall,
      "lift-recall --id RECALL | --gtin GTIN --lot LOT --reason TEXT\n\n"
      "Takes back one recall by the id that recall --list prints, or all recalls of a lot.\n" },
    { "withdraw", svw_cmd_recall,
      "withdraw --gtin GTIN --reason TEXT [--reference TEXT]\n\n"
      "Withdraws a product.\n" },
    { "lift-withdrawal", svw_cmd_recall,
      "lift-withdrawal --gtin GTIN --reason TEXT\n\n"
      "Takes the withdrawal of a product back.\n" },
    { "swap-commission", svw_cmd_swap,
      "swap-commission --gtin GTIN --serial SERIAL --load N [--event N] --reason TEXT\n\n"
      "Makes another of the commissionings of a pack count that contradict each other: the one of this\n"
      "load, and of this event of it. The other is kept beside it. A finding names loads and events.\n" },
    { "export", svw_cmd_export,
      "export --from TIME --to TIME [--company COMPANY] [--gtin GTIN] [--out FILE]\n\n"
      "Writes what was commissioned, changed and decommissioned in a period (as recorded) as an EPCIS 2.0\n"
      "document, to FILE or to standard output. TIME is 2026-11-20 or 2026-11-20T10:00:00Z. The same\n"
      "period gives the same bytes.\n" },
    { "serials", svw_cmd_serials,
      "serials rule --gtin GTIN [--alphabet CHARACTERS --length N] [--reserve-days N] [--opted-out]\n"
      "       serial-verify-worker [-c FILE] serials request --gtin GTIN --line LINE --n N [--lot LOT] --out FILE\n"
      "       serial-verify-worker [-c FILE] serials return --gtin GTIN --request ID --serials FILE | --unused\n"
      "       serial-verify-worker [-c FILE] serials list --gtin GTIN [--request ID [--out FILE]]\n\n"
      "rule sets how numbers of a product are made; without further options it prints the rule. request issues up\n"
      "to 150000 random numbers to a line; FILE is JSON when its name ends in .json, else CSV. return gives\n"
      "back those of a file, one a line, or all that were not used. list prints the requests, or one with its\n"
      "numbers.\n" },
    { "lot", svw_cmd_lot,
      "lot declare --gtin GTIN --lot LOT --packs N [--rejected N] [--aggregated N]\n"
      "       serial-verify-worker [-c FILE] lot show --gtin GTIN --lot LOT\n\n"
      "declare says what was produced of a lot: packs commissioned, serials rejected on the line, packs packed\n"
      "into containers. show compares it with what is recorded. Exit code 1 when something does not agree.\n" },
    { "audit", svw_cmd_audit,
      "audit key --out FILE | sign | verify | export --out FILE\n\n"
      "key makes a private key for the signed heads and prints its public key. sign signs what was\n"
      "chained until now. verify [--public-key FILE] [--heads FILE] [--from N] [--packs] checks the\n"
      "chain, its rows, its signed heads and the loads, and names the first that does not fit; with\n"
      "--export FILE it checks an export, without a database. export [--from DAY] [--to DAY]\n"
      "[--gtin GTIN] writes the chain with its rows and heads as JSON Lines.\n"
      "verify: 0 fits, 1 does not, 3 PostgreSQL cannot be reached.\n" },
    { "quarantine", svw_cmd_quarantine,
      "quarantine list | show ID | release ID | discard ID\n\n"
      "Events that cannot be read without guessing wait until somebody decides.\n"
      "  list     [--state waiting|released|discarded] [--reason WORD] [--company NAME] [--load N] [--after ID] [--limit N]\n"
      "  show     everything known of one, with the event as EPCIS 2.0 JSON\n"
      "  release  --reason TEXT [--set lot=LOT] [--set expiry=YYYY-MM-DD] [--set step=STEP] [--replace-epc OLD=NEW]..\n"
      "           [--drop-bad-epcs]: loads it, put right, all of it or nothing\n"
      "  discard  --reason TEXT\n" },
    { "findings", svw_cmd_findings,
      "findings [--rule RULE] [--gtin GTIN] [--days N] [--all] [--limit N] [--json]\n\n"
      "What contradicts, is missing or does not agree, the newest first: those of 7 days, at most 100, that\n"
      "nothing has settled since; --all: those, too. Rules: duplicate_commissioning, lot_expiry,\n"
      "aggregation_conflict, commissioning_missing, ended_pack_supplied, supplied_before_recall,\n"
      "lot_reconciliation.\n" },
    { "cases", svw_cmd_cases,
      "cases list | show NUMBER|ID\n\n"
      "What rules found in scans, for reading; reviewers work with them over HTTP (docs/api.md).\n"
      "  list  [--status WORD,..] [--severity WORD] [--rule RULE] [--gtin GTIN] [--lot LOT] [--limit N] [--json]: the\n"
      "        highest severity first, at most 50; without --status those that are not closed\n"
      "  show  one with its findings, evidence and timeline, as JSON\n" },
    { "refused", svw_cmd_refused,
      "refused [--after N] [--limit N] [--json] | again N|all\n\n"
      "Scans, operations and cases that cannot be judged, because PostgreSQL refuses them or they cannot be\n"
      "read, are put aside: lists them with the reason, the oldest first, at most 100. again has one of them, or\n"
      "all, judged once more when the cause is mended; what is refused again stays.\n" },
    { "replay", svw_cmd_replay,
      "replay --scans FILE | --from TIME --to TIME [--rules FILE] [--info]\n\n"
      "Looks at scans with the rules of the live system and prints the cases they make, as JSON Lines; how many\n"
      "findings and cases each rule makes goes to standard error. FILE is JSON Lines in order of arrival (- is\n"
      "standard input; docs/worker.md has the members); neither PostgreSQL nor a configuration is needed for it.\n"
      "--from and --to: stored history instead, of scans answered in that time; their numbers stand for lines.\n"
      "--rules: parameters that differ from the defaults (of stored history: from what is set), as \"name = value\"\n"
      "lines (rules --file prints those that are set). Nothing live is touched. --info also prints what is kept for\n"
      "information only, such as one scan of one consumer outside a pack's markets. Exit code 1 when any line could\n"
      "not be read.\n" },
    { "rules", svw_cmd_rules,
      "rules [--file] | set NAME=VALUE.. | reset NAME..\n\n"
      "The parameters of the rules: prints them with their meaning (--file: as replay --rules reads them), sets\n"
      "some, or gives some their defaults back. All that are named are changed, or none; every change is audited.\n" },
    { "status", svw_cmd_status,
      "status [--json] [--load N]\n\n"
      "Says what runs, what waits, what was found in the last day and the last 20 loads, and last in plain\n"
      "sentences what needs a person. --load prints the report of one load.\n" },
    { NULL, NULL, NULL }
};


int
main(int argc, char **argv)
{
    int                        i, check;
    char                       error[SVW_TEXT];
    svw_conf_t                 conf;
    const char                *file;
    svw_command_t              command;
    const svw_main_command_t  *c;

    file = SVW_CONF_DEFAULT;
    check = 0;

    for (i = 1; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            svw_help(stdout);
            return SVW_EXIT_OK;
        }

        if (strcmp(argv[i], "--version") == 0) {
            printf("serial-verify-worker %s\n", SVW_VERSION);
            return SVW_EXIT_OK;
        }

        if (strcmp(argv[i], "--check") == 0) {
            check = 1;
        } else if (strcmp(argv[i], "-c") == 0) {
            if (i + 1 == argc) {
                fprintf(stderr, "serial-verify-worker: -c needs a file\n");
                return SVW_EXIT_USAGE;
            }

            file = argv[++i];

        } else {
            fprintf(stderr, "serial-verify-worker: unknown option \"%s\", see --help\n", argv[i]);
            return SVW_EXIT_USAGE;
        }
    }

    for (c = svw_main_commands; i < argc && c->name != NULL && strcmp(c->name, argv[i]) != 0; c++) { /* void */ }

    if (!check) {
        if (i == argc) {
            svw_help(stderr);
            return SVW_EXIT_USAGE;
        }

        if (c->name == NULL) {
            fprintf(stderr, "serial-verify-worker: unknown command \"%s\", see --help\n", argv[i]);
            return SVW_EXIT_USAGE;
        }

        if (svw_asks_help(argc, argv, i + 1) || svw_asks_help(argc, argv, i + 2)) {
            printf("usage: serial-verify-worker [-c FILE] %s", c->usage);
            return SVW_EXIT_OK;
        }
    }

    if (!check && svw_stands_alone(c, argc - i, argv + i, file)) {
        conf = (svw_conf_t) { 0 };

    } else if (svw_conf_read(&conf, file, error) != 0) {
        fprintf(stderr, "serial-verify-worker: %s\n", error);
        svw_conf_free(&conf);
        return SVW_EXIT_USAGE;
    }

    command = (svw_command_t) { .conf = &conf, .argc = argc - i, .argv = argv + i };

    i = check ? svw_cmd_check(&command) : c->run(&command);

    svw_conf_free(&conf);

    return i;
}


static int
svw_cmd_run(svw_command_t *command)
{
    char         error[SVW_TEXT];
    unsigned     role;
    svw_conf_t  *conf;

    conf = command->conf;
    role = 0;

    if (command->argc == 3 && strcmp(command->argv[1], "--role") == 0) {
        role = svw_role_parse(command->argv[2]);

        if (role == 0) {
            fprintf(stderr, "serial-verify-worker: no such role \"%s\": one of " SVW_ROLE_LIST "\n",
                    command->argv[2]);
            return SVW_EXIT_USAGE;
        }

    } else if (command->argc != 1) {
        fprintf(stderr, "serial-verify-worker: run takes --role ROLE or nothing\n");
        return SVW_EXIT_USAGE;
    }

    if (svw_conf_ready(conf, role ? role : conf->roles, error) != 0) {
        fprintf(stderr, "serial-verify-worker: %s\n", error);
        return SVW_EXIT_USAGE;
    }

    if (svw_log_open(conf->log, conf->log_level, role ? svw_role_word(role) : "main") != 0) {
        fprintf(stderr, "serial-verify-worker: log \"%s\": %s\n", conf->log, strerror(errno));
        return SVW_EXIT_USAGE;
    }

    if (role == 0) {
        return svw_supervise(conf, conf->roles);
    }

    svw_stop_signals(conf->drain_timeout);

    return svw_role_run(conf, role);
}


/*
 * An export is checked where there is no worker, too.  Only stored history needs a
 * configuration: a file of scans is looked at whatever one says, and what is
 * wrong with the arguments is told before what is wrong with it.
 */
static int
svw_stands_alone(const svw_main_command_t *command, int argc, char **argv, const char *file)
{
    int  i;

    if (command->run != svw_cmd_replay) {
        return command->run == svw_cmd_audit && access(file, F_OK) != 0;
    }

    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--scans") == 0) {
            return 1;
        }
    }

    for (i = 1; i < argc && strcmp(argv[i], "--from") != 0 && strcmp(argv[i], "--to") != 0; i++) { /* void */ }

    return i == argc;
}


/* behind a command, or behind its subcommand */
static int
svw_asks_help(int argc, char **argv, int i)
{
    return i < argc && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0);
}


static void
svw_help(FILE *out)
{
    size_t                     len;
    const svw_main_command_t  *c;

    fprintf(out, "usage: serial-verify-worker [-c FILE] COMMAND [ARGUMENTS]\n"
                 "       serial-verify-worker [-c FILE] --check\n"
                 "       serial-verify-worker --help | --version\n\n"
                 "commands, each with --help:\n");

    for (c = svw_main_commands; c->name != NULL; c++) {
        len = strcspn(c->usage, "\n");
        fprintf(out, "  %.*s\n", (int) len, c->usage);
    }

    fprintf(out, "\nThe daemon is `run'; its roles, of the setting `roles':\n"
                 "  ingest         loads what lines deliver: the inbox, every [feed NAME], captures over HTTP\n"
                 "  relay          tells Redis what changed, and appends to the audit chain\n"
                 "  housekeeping   partitions, parked events, signed heads, reconciliation of lots\n"
                 "  api            answers behind nginx: captures, events, containers, recalls, serial numbers\n"
                 "  push           sends events to push_url\n"
                 "  consume        judges scans and operations: findings, cases\n"
                 "  notify         tells of cases\n"
                 "\nThe configuration is read from %s unless -c says otherwise;\n"
                 "--check says what is wrong with it and changes nothing. docs/worker.md tells more.\n"
                 "Exit codes: 0 done; 1 refused or failed; 2 bad arguments, values or configuration;\n"
                 "3 PostgreSQL cannot be reached, or it is not known whether it was done (try again).\n", SVW_CONF_DEFAULT);
}
