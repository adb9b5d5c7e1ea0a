#include "svw_quarantine.h"

#include "svw_cmd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>


/* what a release has in hand */
typedef struct {
    svw_conf_t  *conf;
    svw_db_t     row;                   /* holds the row until it is decided */
    svw_db_t     db;                    /* loads */
    const char  *id;
    char         name[48];
    char         company[SVW_TEXT];
    int32_t      load_id;               /* of what is released */
    json_t      *changes;
} svw_release_t;


static int svw_release_run(svw_release_t *release, const svw_quarantine_edit_t *edit, const char *reason);
static int svw_release_begin(svw_release_t *release, json_t **event);
static int svw_release_load(svw_release_t *release, const svw_quarantine_edit_t *edit, json_t *event);
static int svw_release_file(const svw_release_t *release, json_t *event);
static int svw_release_report(svw_release_t *release, const json_t *report);
static int svw_release_done(svw_release_t *release, const char *reason);


/*
 * The event is loaded again as a document by itself, all or nothing, under its
 * own identity: an event with the same eventID that came meanwhile is known,
 * and a declaration of error reaches it whenever it comes.  The row is locked
 * as long as that takes.  Whoever is killed between the load and the note finds
 * the load by its name at the next try.
 */
int
svw_quarantine_release(svw_conf_t *conf, const char *id, const svw_quarantine_edit_t *edit, const char *reason)
{
    int            rc;
    svw_release_t  release;

    release = (svw_release_t) { .conf = conf, .id = id, .changes = json_object() };

    svw_db_init(&release.row, conf->postgres, "serial-verify-worker command");
    svw_db_init(&release.db, conf->postgres, "serial-verify-worker command");

    if (svw_db_connect(&release.row) != 0 || svw_db_connect(&release.db) != 0) {
        fprintf(stderr, "serial-verify-worker: PostgreSQL: %s%s\n", release.row.error, release.db.error);
        rc = SVW_EXIT_BUSY;
    } else {
        rc = svw_release_run(&release, edit, reason);
    }

    svw_db_close(&release.row);
    svw_db_close(&release.db);
    json_decref(release.changes);

    return rc;
}


static int
svw_release_run(svw_release_t *release, const svw_quarantine_edit_t *edit, const char *reason)
{
    int      rc;
    json_t  *event;

    event = NULL;
    rc = svw_release_begin(release, &event);

    if (rc == SVW_EXIT_OK && release->load_id == 0) {
        rc = svw_release_load(release, edit, event);
    }

    json_decref(event);

    return rc == SVW_EXIT_OK ? svw_release_done(release, reason) : rc;
}


static int
svw_release_begin(svw_release_t *release, json_t **event)
{
    int          rc;
    PGresult    *result;
    const char  *params[1];

    params[0] = release->id;
    rc = svw_cmd_call(&release->row, "begin", 0, NULL, NULL);

    if (rc == SVW_EXIT_OK) {
        rc = svw_cmd_query(&release->row, "select file, company, content, load_id from sv.quarantine_release_begin($1)", 1, params,
                           &result);
    }

    if (rc != SVW_EXIT_OK) {
        return rc;
    }

    snprintf(release->name, sizeof(release->name), "%s", PQgetvalue(result, 0, 0));
    snprintf(release->company, sizeof(release->company), "%s", PQgetvalue(result, 0, 1));
    release->load_id = (int32_t) svw_col_int(result, 0, "load_id");

    *event = json_loads(PQgetvalue(result, 0, 2), 0, NULL);
    PQclear(result);

    if (release->load_id != 0) {
        printf("load %d has it already, of a release that was interrupted: its changes count\n", (int) release->load_id);

    } else if (!json_is_object(*event)) {
        fprintf(stderr, "serial-verify-worker: the event is too large to be kept: correct its file and deliver it again,"
                        " then discard this one\n");
        return SVW_EXIT_FAILED;
    }

    return SVW_EXIT_OK;
}


static int
svw_release_load(svw_release_t *release, const svw_quarantine_edit_t *edit, json_t *event)
{
    int            fd, rc;
    char           error[SVW_TEXT];
    json_t        *report;
    svw_source_t   source;

    if (svw_quarantine_edit(event, edit, release->changes, error) != 0) {
        fprintf(stderr, "serial-verify-worker: %s\n", error);
        return SVW_EXIT_USAGE;
    }

    fd = svw_release_file(release, event);
    if (fd == -1) {
        fprintf(stderr, "serial-verify-worker: memory file: %s\n", strerror(errno));
        return SVW_EXIT_FAILED;
    }

    source = (svw_source_t) { .feed = "quarantine", .company = release->company, .whole = 1 };
    (void) svw_load_file(release->conf, &release->db, fd, release->name, &source, 0, &report, &release->load_id);
    close(fd);

    if (report == NULL) {
        fprintf(stderr, "serial-verify-worker: it is not known whether it was released, try again\n");
        return SVW_EXIT_BUSY;
    }

    rc = svw_release_report(release, report);
    json_decref(report);

    return rc;
}


/* the event as a document of its own; its name makes its digest differ from every other's */
static int
svw_release_file(const svw_release_t *release, json_t *event)
{
    int      fd;
    json_t  *document, *context;

    context = json_object_get(event, "@context");
    document = json_pack("{s:O?, s:s, s:s, s:s, s:{s:[O]}}", "@context", context, "type", "EPCISDocument", "schemaVersion", "2.0",
                         "id", release->name, "epcisBody", "eventList", event);

    fd = document != NULL ? memfd_create("release", MFD_CLOEXEC) : -1;

    if (fd != -1 && (json_dumpfd(document, fd, JSON_COMPACT|JSON_SORT_KEYS) != 0 || lseek(fd, 0, SEEK_SET) != 0)) {
        close(fd);
        fd = -1;
    }

    json_decref(document);

    return fd;
}


static int
svw_release_report(svw_release_t *release, const json_t *report)
{
    char         id[16];
    const char  *params[1];

    /* a refusal is not the last word: the cause may be gone at the next try */
    snprintf(id, sizeof(id), "%d", (int) release->load_id);
    params[0] = id;
    svw_db_do(&release->db, "select sv.load_filed($1)", 1, params);

    if (strcmp(svw_text_of(report, "state"), "loaded") == 0) {
        return SVW_EXIT_OK;
    }

    printf("not released, it still waits:\n\n");
    svw_report_print(stdout, report);

    return SVW_EXIT_FAILED;
}


static int
svw_release_done(svw_release_t *release, const char *reason)
{
    int          rc;
    char         actor[64], id[16], *changes;
    const char  *params[5];

    svw_cmd_actor(actor);
    snprintf(id, sizeof(id), "%d", (int) release->load_id);
    changes = json_dumps(release->changes, JSON_COMPACT|JSON_ENSURE_ASCII);

    params[0] = release->id;
    params[1] = id;
    params[2] = reason;
    params[3] = changes != NULL ? changes : "{}";
    params[4] = actor;

    rc = svw_cmd_call(&release->row, "select sv.quarantine_release_done($1, $2, $3, $4, $5)", 5, params, NULL);
    free(changes);

    if (rc == SVW_EXIT_OK) {
        rc = svw_cmd_call(&release->row, "commit", 0, NULL, NULL);
    }

    if (rc == SVW_EXIT_OK) {
        printf("%s is released as load %s\n", release->id, id);
    }

    return rc;
}
