#include "svw_audit.h"

#include "svw_load.h"

#include <inttypes.h>
#include <string.h>


/* how things stood when the check began; what came later is left to the next one */
typedef struct {
    char       system[24];
    char       due[16];                 /* the oldest day that should have a head and has none */
    int        due_now;
    int        at;                      /* in the page */
    int64_t    n, heads;
    int64_t    other_system;            /* the last head that names another database */
    uint8_t    hash[SVW_AUDIT_HASH];
    PGresult  *page;                    /* of heads */
} svw_audit_state_t;


static int svw_audit_db_check(svw_audit_run_t *run, svw_audit_state_t *state);
static int svw_audit_db_state(svw_audit_run_t *run, svw_audit_state_t *state);
static int svw_audit_db_begin(svw_audit_run_t *run);
static int svw_audit_db_page(svw_audit_run_t *run, svw_audit_state_t *state);
static int svw_audit_db_heads(svw_audit_run_t *run, svw_audit_state_t *state, int all);
static int svw_audit_db_next(svw_audit_run_t *run, svw_audit_state_t *state, svw_audit_head_t *head);
static int svw_audit_db_end(svw_audit_run_t *run, const svw_audit_state_t *state);


int
svw_audit_verify_db(svw_audit_run_t *run)
{
    int                rc;
    svw_audit_state_t  state;

    memset(&state, 0, sizeof(state));
    rc = svw_audit_db_check(run, &state);
    PQclear(state.page);

    if (run->bar) {
        svw_progress_end();
    }

    if (rc < 0) {
        fprintf(stderr, "serial-verify-worker: PostgreSQL: %s\n", run->db->error);
        return PQstatus(run->db->pg) == CONNECTION_OK ? SVW_EXIT_FAILED : SVW_EXIT_BUSY;
    }

    if (rc > 0) {
        printf("does not fit: %s\n", run->check.fault);
        return SVW_EXIT_FAILED;
    }

    if (state.other_system > 0) {
        printf("note: the heads to %" PRId64 " were signed in another database than this one, %s: it was restored or copied since\n",
               state.other_system, state.system);
    }

    return svw_audit_result(run, "the database");
}


/* 0 fits, 1 does not, -1 PostgreSQL */
static int
svw_audit_db_check(svw_audit_run_t *run, svw_audit_state_t *state)
{
    int  rc;

    rc = svw_audit_db_state(run, state);

    if (rc == 0 && run->from > 1) {
        rc = svw_audit_db_begin(run);
    }

    if (rc == 0) {
        rc = svw_audit_db_heads(run, state, 0);
    }

    while (rc == 0 && run->check.n < state->n) {
        rc = svw_audit_db_page(run, state);
        svw_audit_bar(run, "chain", run->check.n, state->n);
    }

    if (rc == 0) {
        rc = svw_audit_db_heads(run, state, 1);
    }

    if (rc == 0) {
        rc = svw_audit_db_end(run, state);
    }

    if (rc == 0) {
        svw_audit_bar(run, "other rows", state->n, state->n);
        rc = svw_audit_loose(run);
    }

    if (rc == 0 && run->packs) {
        svw_audit_bar(run, "packs", 0, 1);
        rc = svw_audit_packs(run);
    }

    run->check.unsigned_rows = run->check.n - run->check.last.last;

    return rc;
}


/* Housekeeping has ten minutes after midnight. */
static int
svw_audit_db_state(svw_audit_run_t *run, svw_audit_state_t *state)
{
    PGresult  *r;

    if (svw_db_query(run->db, &r, "select *, due is not null and (due < (today::date - 1)::text"
                     " or now_us % 86400000000 > 600000000) as due_now from sv.audit_state()", 0, NULL) != SVW_DB_OK)
    {
        return -1;
    }

    snprintf(state->system, sizeof(state->system), "%s", PQgetvalue(r, 0, PQfnumber(r, "system")));
    snprintf(state->due, sizeof(state->due), "%s", PQgetvalue(r, 0, PQfnumber(r, "due")));
    state->due_now = *PQgetvalue(r, 0, PQfnumber(r, "due_now")) == 't';
    state->n = svw_col_int(r, 0, "n");
    state->heads = svw_col_int(r, 0, "head");
    (void) svw_audit_unhex(svw_col(r, 0, "hash"), state->hash, SVW_AUDIT_HASH);
    PQclear(r);

    return 0;
}


/* --from N: the hash of the row before is believed */
static int
svw_audit_db_begin(svw_audit_run_t *run)
{
    int               rc;
    char              after[24];
    PGresult         *result;
    const char       *params[1];
    svw_audit_row_t   row;

    snprintf(after, sizeof(after), "%" PRId64, run->from - 2);
    params[0] = after;

    if (svw_db_query(run->db, &result, "select * from sv.audit_rows($1, 1)", 1, params) != SVW_DB_OK) {
        return -1;
    }

    rc = 0;

    if (PQntuples(result) == 0 || svw_col_int(result, 0, "n") != run->from - 1) {
        (void) svw_audit_fault(&run->check, SVW_AUDIT_GAP, "chain row %" PRId64 ": there is none, to begin behind it", run->from - 1);
        rc = 1;

    } else {
        svw_audit_row_of(result, 0, &row);
        run->check.n = row.n;
        run->check.from = row.n;
        memcpy(run->check.hash, row.hash, SVW_AUDIT_HASH);
    }

    PQclear(result);

    return rc;
}


static int
svw_audit_db_page(svw_audit_run_t *run, svw_audit_state_t *state)
{
    int               i, rc;
    char              after[24], limit[16];
    PGresult         *result;
    const char       *params[2];
    svw_audit_rc_t    found;
    svw_audit_row_t   row;

    snprintf(after, sizeof(after), "%" PRId64, run->check.n);
    snprintf(limit, sizeof(limit), "%d", SVW_AUDIT_PAGE);
    params[0] = after;
    params[1] = limit;

    if (svw_db_query(run->db, &result, "select * from sv.audit_rows($1, $2)", 2, params) != SVW_DB_OK) {
        return -1;
    }

    rc = 0;

    if (PQntuples(result) == 0) {
        (void) svw_audit_fault(&run->check, SVW_AUDIT_GAP, "chain row %" PRId64 ": removed: the chain ends before it, sv.audit_head says "
                               "that it goes to %" PRId64, run->check.n + 1, state->n);
        rc = 1;
    }

    for (i = 0; i < PQntuples(result) && rc == 0 && run->check.n < state->n; i++) {
        svw_audit_row_of(result, i, &row);
        found = svw_audit_check_row(&run->check, &row);

        rc = found != SVW_AUDIT_FITS ? (svw_audit_diagnose(run, found, &row) == 0 ? 1 : -1)
             : svw_audit_load(run, result, i, &row);

        if (rc == 0) {
            rc = svw_audit_db_heads(run, state, 0);
        }
    }

    PQclear(result);

    return rc;
}


/* The heads that stand behind the row that was checked last; at the end all that are left. */
static int
svw_audit_db_heads(svw_audit_run_t *run, svw_audit_state_t *state, int all)
{
    int               rc;
    svw_audit_rc_t    found;
    svw_audit_head_t  head;

    for ( ;; ) {
        rc = svw_audit_db_next(run, state, &head);

        if (rc <= 0 || (!all && head.last > run->check.n)) {
            return rc < 0 ? -1 : 0;
        }

        found = svw_audit_check_head(&run->check, &head);

        if (found != SVW_AUDIT_FITS) {
            return 1;
        }

        if (strcmp(head.system, state->system) != 0) {
            state->other_system = head.head;
        }

        state->at++;
    }
}


/* 1: `head' is the next one, 0: there is none, -1: PostgreSQL */
static int
svw_audit_db_next(svw_audit_run_t *run, svw_audit_state_t *state, svw_audit_head_t *head)
{
    char         after[24];
    const char  *params[1];

    if (run->check.last.head >= state->heads) {
        return 0;
    }

    if (state->page == NULL || state->at == PQntuples(state->page)) {
        PQclear(state->page);
        state->at = 0;
        snprintf(after, sizeof(after), "%" PRId64, run->check.last.head);
        params[0] = after;

        if (svw_db_query(run->db, &state->page, "select * from sv.audit_days($1, 100)", 1, params) != SVW_DB_OK) {
            return -1;
        }
    }

    if (PQntuples(state->page) == 0) {
        return 0;
    }

    svw_audit_head_of(state->page, state->at, head);

    return 1;
}


static int
svw_audit_db_end(svw_audit_run_t *run, const svw_audit_state_t *state)
{
    svw_audit_check_t  *check;

    check = &run->check;

    if (svw_audit_check_end(check) != SVW_AUDIT_FITS) {
        return 1;
    }

    if (memcmp(state->hash, check->hash, SVW_AUDIT_HASH) != 0) {
        (void) svw_audit_fault(check, SVW_AUDIT_HEAD, "chain row %" PRId64 ": sv.audit_head was changed: it says that this row, the last, "
                               "has another hash", check->n);
        return 1;
    }

    if (check->last.head == 0 && (check->keys.n > 0 || check->file != NULL)) {
        (void) svw_audit_fault(check, SVW_AUDIT_HEAD, "head 1: there is no signed head: none was made yet, or all were removed");
        return 1;
    }

    if (state->due_now && check->last.head > 0) {
        (void) svw_audit_fault(check, SVW_AUDIT_HEAD, "head of %s: there is none: it was removed, or the worker with the audit_key did not "
                               "run since", state->due);
        return 1;
    }

    return 0;
}


void
svw_audit_row_of(const PGresult *result, int i, svw_audit_row_t *row)
{
    svw_audit_values_of(result, i, row);

    row->n = svw_col_int(result, i, "n");
    row->known = svw_col(result, i, "audit_id") != NULL;
    snprintf(row->id, sizeof(row->id), "%s", svw_col(result, i, "chain_id"));
    snprintf(row->day, sizeof(row->day), "%s", svw_col(result, i, "day"));

    /* of another length: as bad as any other value */
    if (svw_audit_unhex(svw_col(result, i, "digest"), row->digest, SVW_AUDIT_HASH) != 0) {
        memset(row->digest, 0, SVW_AUDIT_HASH);
    }

    if (svw_audit_unhex(svw_col(result, i, "hash"), row->hash, SVW_AUDIT_HASH) != 0) {
        memset(row->hash, 0, SVW_AUDIT_HASH);
    }
}


void
svw_audit_values_of(const PGresult *result, int i, svw_audit_row_t *row)
{
    int  n, column;

    *row = (svw_audit_row_t) { .known = 1 };

    for (n = 0; n < SVW_AUDIT_VALUES; n++) {
        column = PQfnumber(result, svw_audit_names[n]);

        if (column >= 0 && !PQgetisnull(result, i, column)) {
            row->value[n].data = (const uint8_t *) PQgetvalue(result, i, column);
            row->value[n].len = (size_t) PQgetlength(result, i, column);
        }
    }
}


void
svw_audit_bar(const svw_audit_run_t *run, const char *phase, int64_t done, int64_t total)
{
    if (run->bar) {
        svw_progress_show(phase, done, total, run->check.rows, "rows");
    }
}


/* everything fits: what that means, and what it does not */
int
svw_audit_result(const svw_audit_run_t *run, const char *what)
{
    unsigned                  i;
    const svw_audit_check_t  *check;

    check = &run->check;
    printf("%s fits: %" PRId64 " rows, %" PRId64 " signed heads", what, check->rows, check->heads);

    if (run->loads > 0) {
        printf(", %" PRId64 " loaded lots", run->loads);
    }

    if (run->packs) {
        printf(", serials of %" PRId64 " lots", run->lots);
    }

    printf("\n");

    if (check->left_out > 0) {
        printf("%" PRId64 " rows of other products: their places were checked, what they say is not in the file\n", check->left_out);
    }

    if (run->lots_moved > 0) {
        printf("%" PRId64 " of the lots hold packs whose commissioning was corrected: their serials digest cannot be computed any more\n",
               run->lots_moved);
    }

    if (check->heads == 0) {
        printf("nothing is signed: whoever may write to the database can have computed the chain anew\n");
        return SVW_EXIT_OK;
    }

    printf("last signed: head %" PRId64 " of %s, rows to %" PRId64 "; %" PRId64 " rows behind it are not signed yet\n",
           check->last.head, check->last.day, check->last.last, check->unsigned_rows);

    if (check->keys.n == 0) {
        printf("the keys are those that the heads name, compare the last with yours (or give --public-key): ");

        for (i = 0; i < SVW_AUDIT_HASH; i++) {
            printf("%02x", check->last.key[i]);
        }

        printf("\n");
    }

    return SVW_EXIT_OK;
}
