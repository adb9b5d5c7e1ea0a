#include "svw_notify.h"

#include "svw_array.h"

#include <inttypes.h>
#include <stdlib.h>


static int svw_notify_log_ready(svw_notify_t *notify, svw_notify_target_t *target);
static int svw_notify_written(svw_notify_t *notify, svw_notify_target_t *target, char *const *ids, size_t n);
static int svw_notify_append(svw_notify_t *notify, svw_notify_target_t *target, const PGresult *lines);


/* What is to be told stands in the log, in order, and is noted. */
int
svw_notify_lines(svw_notify_t *notify, svw_notify_target_t *target)
{
    int          n, rc;
    char         limit[16];
    PGresult    *result;
    const char  *params[2];

    snprintf(limit, sizeof(limit), "%d", SVW_NOTIFY_LINES);
    params[0] = target->name;
    params[1] = limit;

    do {
        if (svw_notify_log_ready(notify, target) != 0
            || svw_notify_db(notify, svw_db_query(&notify->db, &result, "select * from sv.notify_lines($1, $2)", 2, params)) != 0)
        {
            return -1;
        }

        n = PQntuples(result);
        rc = n > 0 ? svw_notify_append(notify, target, result) : 0;
        PQclear(result);

    } while (rc == 0 && n == SVW_NOTIFY_LINES && !svw_stopping());

    return rc;
}


/* The log is open, and what stands in it is noted. */
static int
svw_notify_log_ready(svw_notify_t *notify, svw_notify_target_t *target)
{
    int                rc;
    char             **ids;
    size_t             n;
    svw_notify_log_t  *log;

    log = &target->log;

    if (log->fd != -1 && svw_notify_log_moved(log, target->path)) {
        svw_notify_log_close(log);
        log->ino = -1;
    }

    if (log->fd != -1) {
        return 0;
    }

    if (svw_notify_log_open(log, target->path, &ids, &n) != 0) {
        svw_log(SVW_LOG_ERROR, "notify_log \"%s\": %s", target->path, log->error);
        target->renewed = 0;            /* where it is known is asked for again */
        return -1;
    }

    rc = svw_notify_written(notify, target, ids, n);
    svw_notify_log_free(ids, n);

    return rc;
}


/* -1: the log is closed; who opens it again, finds what was written */
static int
svw_notify_written(svw_notify_t *notify, svw_notify_target_t *target, char *const *ids, size_t n)
{
    int           rc;
    char          ino[24], pos[24];
    size_t        i;
    PGresult     *result;
    svw_array_t   array;
    const char   *params[4];

    svw_array_begin(&array);

    for (i = 0; i < n; i++) {
        svw_array_add(&array, ids[i]);
    }

    if (svw_array_end(&array) != 0) {
        svw_log(SVW_LOG_ERROR, "out of memory");
        svw_array_free(&array);
        return -1;
    }

    snprintf(ino, sizeof(ino), "%" PRId64, target->log.ino);
    snprintf(pos, sizeof(pos), "%" PRId64, target->log.pos);
    params[0] = target->name;
    params[1] = array.text;
    params[2] = ino;
    params[3] = pos;

    rc = svw_notify_db(notify, svw_db_query(&notify->db, &result, "select sv.notify_written($1, $2, $3, $4)", 4, params));

    if (rc == 0) {
        rc = *PQgetvalue(result, 0, 0) == 't' ? 0 : -1;
        PQclear(result);
    }

    if (rc != 0) {
        svw_notify_log_close(&target->log);
        target->renewed = 0;
    }

    svw_array_free(&array);

    return rc;
}


static int
svw_notify_append(svw_notify_t *notify, svw_notify_target_t *target, const PGresult *lines)
{
    int      i, n, rc;
    char    *text, *ids[SVW_NOTIFY_LINES];
    FILE    *f;
    size_t   len;

    text = NULL;
    n = PQntuples(lines);
    f = open_memstream(&text, &len);

    for (i = 0; f != NULL && i < n; i++) {
        fprintf(f, "%s\n", svw_col(lines, i, "body"));
        ids[i] = PQgetvalue(lines, i, PQfnumber(lines, "id"));
    }

    if (f == NULL || fclose(f) != 0) {
        svw_log(SVW_LOG_ERROR, "out of memory");
        free(text);
        return -1;
    }

    rc = svw_notify_log_write(&target->log, text, len);
    free(text);

    if (rc == 0) {
        return svw_notify_written(notify, target, ids, (size_t) n);
    }

    svw_log(SVW_LOG_ERROR, "notify_log \"%s\": %s", target->path, target->log.error);

    const char *const  params[] = { target->name, svw_col(lines, 0, "seq"), target->log.error };

    (void) svw_notify_db(notify, svw_db_do(&notify->db, "select sv.notify_failed($1, $2, $3, false, 0)", 3, params));
    svw_notify_log_close(&target->log);
    target->renewed = 0;

    return -1;
}
