#include "svw_consume.h"

#include "svw_array.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>


#define SVW_FACT_PAGE  1000

typedef struct {
    const char        *word;
    svw_actor_kind_t   kind;
} svw_fact_role_t;


static int svw_fact_located(svw_consume_t *consume, const svw_site_row_t *site);
static void svw_fact_site(const PGresult *rows, int row, svw_site_row_t *site);
static int svw_fact_site_keep(svw_consume_t *consume, const svw_site_row_t *site);
static size_t svw_fact_site_place(const svw_consume_t *consume, int32_t id);
static double svw_fact_degrees(const PGresult *rows, int row, int column);
static int svw_fact_page(svw_consume_t *consume, PGresult **rows, const char *sql, int64_t n);
static int svw_fact_strangers(svw_consume_t *consume, const svw_consume_scan_t *scans, size_t n);
static int svw_fact_lots(svw_consume_t *consume, const char *gtins, const char *lots, PGresult **rows);
static int svw_fact_lot_rows(svw_consume_t *consume, const PGresult *rows, int known);
static int svw_fact_commission(svw_consume_t *consume, const PGresult *rows, int row, int first);


static const svw_fact_role_t  svw_fact_roles[] = {
    { "pharmacy", SVW_ACTOR_PHARMACY }, { "wholesaler", SVW_ACTOR_WHOLESALER },
    { "parallel_distributor", SVW_ACTOR_PARALLEL_DISTRIBUTOR }, { "manufacturer", SVW_ACTOR_MANUFACTURER },
    { "authority", SVW_ACTOR_AUTHORITY }, { NULL, SVW_ACTOR_OTHER }
};


/* Locations that changed since the last look. */
int
svw_consume_sites(svw_consume_t *consume)
{
    int             n, row, rc;
    PGresult       *rows;
    svw_site_row_t  site;

    do {
        if (svw_fact_page(consume, &rows, "select * from sv.judge_locations($1, $2)", consume->sites_n) != 0) {
            return -1;
        }

        n = PQntuples(rows);

        for (rc = 0, row = 0; row < n && rc == 0; row++) {
            svw_fact_site(rows, row, &site);
            rc = svw_fact_site_keep(consume, &site);

            if (rc == 0 && consume->judge != NULL) {
                rc = svw_fact_located(consume, &site);
            }
        }

        if (rc == 0 && n > 0) {
            consume->sites_n = strtoll(PQgetvalue(rows, n - 1, 0), NULL, 10);
        }

        PQclear(rows);

    } while (rc == 0 && n == SVW_FACT_PAGE);

    return rc;
}


static int
svw_fact_located(svw_consume_t *consume, const svw_site_row_t *site)
{
    svw_judge_location_t  to;

    svw_consume_located(site, &to);
    consume->fed = 1;

    return svw_judge_location(consume->judge, &to) == 0 ? 0 : svw_consume_memory(consume);
}


void
svw_consume_located(const svw_site_row_t *site, svw_judge_location_t *to)
{
    *to = (svw_judge_location_t) {
        .actor = { (const uint8_t *) site->gln, strlen(site->gln) },
        .gln = { (const uint8_t *) site->gln, strlen(site->gln) },
        .kind = site->kind, .lat = site->lat, .lon = site->lon
    };

    memcpy(to->country, site->country, sizeof(to->country));
}


/* columns of sv.judge_locations */
static void
svw_fact_site(const PGresult *rows, int row, svw_site_row_t *site)
{
    const char             *word;
    const svw_fact_role_t  *role;

    word = PQgetvalue(rows, row, 3);

    for (role = svw_fact_roles; role->word != NULL && strcmp(role->word, word) != 0; role++) { /* void */ }

    *site = (svw_site_row_t) {
        .id = (int32_t) strtol(PQgetvalue(rows, row, 1), NULL, 10), .kind = role->kind,
        .lat = svw_fact_degrees(rows, row, 5), .lon = svw_fact_degrees(rows, row, 6)
    };

    snprintf(site->gln, sizeof(site->gln), "%s", PQgetvalue(rows, row, 2));
    snprintf(site->country, sizeof(site->country), "%s", PQgetvalue(rows, row, 4));
}


static double
svw_fact_degrees(const PGresult *rows, int row, int column)
{
    return PQgetisnull(rows, row, column) ? (double) NAN : strtod(PQgetvalue(rows, row, column), NULL);
}


static int
svw_fact_site_keep(svw_consume_t *consume, const svw_site_row_t *site)
{
    size_t           i, room;
    svw_site_row_t  *sites;

    i = svw_fact_site_place(consume, site->id);

    if (i < consume->n_sites && consume->sites[i].id == site->id) {
        consume->sites[i] = *site;
        return 0;
    }

    if (consume->n_sites == consume->sites_room) {
        room = consume->sites_room == 0 ? 256 : 2 * consume->sites_room;
        sites = realloc(consume->sites, room * sizeof(svw_site_row_t));

        if (sites == NULL) {
            return svw_consume_memory(consume);
        }

        consume->sites = sites;
        consume->sites_room = room;
    }

    memmove(&consume->sites[i + 1], &consume->sites[i], (consume->n_sites - i) * sizeof(svw_site_row_t));
    consume->sites[i] = *site;
    consume->n_sites++;

    return 0;
}


/* where it is, or would be */
static size_t
svw_fact_site_place(const svw_consume_t *consume, int32_t id)
{
    size_t  low, high, middle;

    for (low = 0, high = consume->n_sites; low < high; /* void */) {
        middle = (low + high) / 2;

        if (consume->sites[middle].id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }

    return low;
}


const svw_site_row_t *
svw_consume_site(const svw_consume_t *consume, int32_t id)
{
    size_t  i;

    if (id == 0) {
        return NULL;
    }

    i = svw_fact_site_place(consume, id);

    return i < consume->n_sites && consume->sites[i].id == id ? &consume->sites[i] : NULL;
}


static int
svw_fact_page(svw_consume_t *consume, PGresult **rows, const char *sql, int64_t n)
{
    char               after[24], limit[16];
    const char *const  params[] = { after, limit };

    snprintf(after, sizeof(after), "%" PRId64, n);
    snprintf(limit, sizeof(limit), "%d", SVW_FACT_PAGE);

    return svw_consume_db(consume, svw_db_query(&consume->db, rows, sql, 2, params));
}


/*
 * Before scans are told to the judge: the sites and the lots that they name.
 * Of lots the judge knows those that were scanned; what of them changes it is told
 * as long as it remembers them.
 */
int
svw_consume_known(svw_consume_t *consume, const svw_consume_scan_t *scans, size_t n)
{
    int        rc;
    PGresult  *rows;

    if (svw_consume_lots(consume, scans, n, &rows) != 0) {
        return -1;
    }

    rc = rows != NULL ? svw_fact_lot_rows(consume, rows, 0) : 0;
    PQclear(rows);

    return rc;
}


/* Rows of sv.judge_lots, of lots that were not asked for before; NULL: there are none. */
int
svw_consume_lots(svw_consume_t *consume, const svw_consume_scan_t *scans, size_t n, PGresult **rows)
{
    int          rc;
    char         gtin[24], lot[SV_LOT_MAX + 1];
    size_t       i;
    svw_array_t  gtins = { 0 }, lots = { 0 };

    *rows = NULL;

    if (svw_fact_strangers(consume, scans, n) != 0) {
        return -1;
    }

    svw_array_begin(&gtins);
    svw_array_begin(&lots);
    rc = 0;

    for (i = 0; i < n && rc == 0; i++) {
        if (scans[i].event.lot.len == 0 || scans[i].event.lot.len > SV_LOT_MAX
            || svw_lots_has(&consume->lots, scans[i].event.gtin, scans[i].event.lot))
        {
            continue;
        }

        rc = svw_lots_add(&consume->lots, scans[i].event.gtin, scans[i].event.lot);
        snprintf(gtin, sizeof(gtin), "%" PRIu64, scans[i].event.gtin);
        snprintf(lot, sizeof(lot), "%.*s", (int) scans[i].event.lot.len, (const char *) scans[i].event.lot.data);
        svw_array_add(&gtins, gtin);
        svw_array_add(&lots, lot);
    }

    if (svw_array_end(&gtins) != 0 || svw_array_end(&lots) != 0 || rc != 0) {
        rc = svw_consume_memory(consume);
    }

    if (rc == 0 && gtins.n > 0) {
        consume->fed = 1;
        rc = svw_fact_lots(consume, gtins.text, lots.text, rows);
    }

    svw_array_free(&gtins);
    svw_array_free(&lots);

    return rc;
}


/* Of a lot that was loaded just now. */
int
svw_consume_lot(svw_consume_t *consume, const char *gtin, const char *lot)
{
    int          rc;
    PGresult    *rows;
    svw_array_t  gtins = { 0 }, lots = { 0 };

    svw_array_begin(&gtins);
    svw_array_begin(&lots);
    svw_array_add(&gtins, gtin);
    svw_array_add(&lots, lot);

    rc = svw_array_end(&gtins) == 0 && svw_array_end(&lots) == 0
         && svw_lots_add(&consume->lots, strtoull(gtin, NULL, 10), (sv_span_t) { (const uint8_t *) lot, strlen(lot) }) == 0
         ? svw_fact_lots(consume, gtins.text, lots.text, &rows) : svw_consume_memory(consume);

    svw_array_free(&gtins);
    svw_array_free(&lots);

    if (rc == 0) {
        consume->fed = 1;
        rc = svw_fact_lot_rows(consume, rows, 0);
        PQclear(rows);
    }

    return rc;
}


static int
svw_fact_lots(svw_consume_t *consume, const char *gtins, const char *lots, PGresult **rows)
{
    const char *const  params[] = { gtins, lots };

    return svw_consume_db(consume, svw_db_query(&consume->db, rows, "select * from sv.judge_lots($1, $2)", 2, params));
}


/* a location that was made since the last look */
static int
svw_fact_strangers(svw_consume_t *consume, const svw_consume_scan_t *scans, size_t n)
{
    size_t  i;

    for (i = 0; i < n; i++) {
        if ((scans[i].event.location != 0 && svw_consume_site(consume, scans[i].event.location) == NULL)
            || (scans[i].before != 0 && svw_consume_site(consume, scans[i].before) == NULL))
        {
            return svw_consume_sites(consume);
        }
    }

    return 0;
}


/* columns: n, gtin, lot, expiry, at_ms, markets; lot null: nothing is known of it */
static int
svw_fact_lot_rows(svw_consume_t *consume, const PGresult *rows, int known)
{
    int        rc, row;
    uint64_t   gtin;
    sv_span_t  lot;

    for (rc = 0, row = 0; row < PQntuples(rows) && rc == 0; row++) {
        gtin = strtoull(PQgetvalue(rows, row, 1), NULL, 10);
        lot = svw_consume_span(rows, row, 2);

        if (lot.len > 0 && (!known || svw_lots_has(&consume->lots, gtin, lot))) {
            rc = svw_fact_commission(consume, rows, row, 1);
        }
    }

    return rc;
}


static int
svw_fact_commission(svw_consume_t *consume, const PGresult *rows, int row, int first)
{
    int                      rc;
    sv_span_t               *spans;
    svw_judge_commission_t   commission;

    spans = svw_consume_commission(rows, row, first, &commission);
    if (spans == NULL) {
        return svw_consume_memory(consume);
    }

    consume->fed = 1;
    rc = svw_judge_commission(consume->judge, &commission) == 0 ? 0 : svw_consume_memory(consume);
    free(spans);

    return rc;
}


/*
 * Columns from `first' on: gtin, lot, expiry, at_ms, then lines: markets (first
 * is 1, sv.judge_lots) or serials (0, sv.judge_late).  The caller frees.
 */
sv_span_t *
svw_consume_commission(const PGresult *rows, int row, int first, svw_judge_commission_t *commission)
{
    size_t       n;
    sv_span_t   *spans;
    const char  *p, *end, *list;

    list = PQgetvalue(rows, row, first + 4);

    for (n = 0, p = list; *p != '\0'; p++) {
        n += *p == '\n';
    }

    spans = calloc(n + 1, sizeof(sv_span_t));
    if (spans == NULL) {
        return NULL;
    }

    for (n = 0, p = list; (end = strchr(p, '\n')) != NULL; p = end + 1) {
        spans[n++] = (sv_span_t) { (const uint8_t *) p, (size_t) (end - p) };
    }

    *commission = (svw_judge_commission_t) {
        .gtin = strtoull(PQgetvalue(rows, row, first), NULL, 10),
        .lot = svw_consume_span(rows, row, first + 1), .expiry = svw_consume_span(rows, row, first + 2),
        .time_ms = strtoll(PQgetvalue(rows, row, first + 3), NULL, 10), .told = 1
    };

    if (first == 1) {
        commission->markets = spans;
        commission->n_markets = n;
    } else {
        commission->serials = spans;
        commission->n_serials = n;
    }

    return spans;
}


/* Markets that were told since the last look, of lots that the judge knows; others are looked up when they are scanned. */
int
svw_consume_markets(svw_consume_t *consume)
{
    int        n, rc;
    PGresult  *rows;

    do {
        if (svw_fact_page(consume, &rows, "select * from sv.judge_markets($1, $2)", consume->markets_n) != 0) {
            return -1;
        }

        n = PQntuples(rows);
        rc = svw_fact_lot_rows(consume, rows, 1);

        if (rc == 0 && n > 0) {
            consume->markets_n = strtoll(PQgetvalue(rows, n - 1, 0), NULL, 10);
        }

        PQclear(rows);

    } while (rc == 0 && n > 0);

    return rc;
}


int
svw_consume_recalls(svw_consume_t *consume)
{
    int        rc, row;
    PGresult  *rows;

    if (svw_consume_db(consume, svw_db_query(&consume->db, &rows, "select * from sv.judge_recalls()", 0, NULL)) != 0) {
        return -1;
    }

    for (rc = 0, row = 0; row < PQntuples(rows) && rc == 0; row++) {
        if (svw_judge_recall(consume->judge, strtoull(PQgetvalue(rows, row, 0), NULL, 10), svw_consume_span(rows, row, 1),
                             strtoll(PQgetvalue(rows, row, 2), NULL, 10), 0) != 0)
        {
            rc = svw_consume_memory(consume);
        }
    }

    PQclear(rows);

    return rc;
}


/*
 * Serials that were missed and are commissioned now: of one lot that was just
 * loaded, or (gtin NULL) of all that the judge remembers.
 */
int
svw_consume_late(svw_consume_t *consume, const char *gtin, const char *lot)
{
    int                rc, row;
    char               since[24];
    PGresult          *rows;
    const char *const  params[] = { gtin, lot, since };

    snprintf(since, sizeof(since), "%" PRId64, svw_consume_since(consume));

    if (svw_consume_db(consume, svw_db_query(&consume->db, &rows,
            "select * from sv.judge_late($1, $2, to_timestamp($3::bigint / 1000.0))", 3, params)) != 0)
    {
        return -1;
    }

    for (rc = 0, row = 0; row < PQntuples(rows) && rc == 0; row++) {
        rc = svw_fact_commission(consume, rows, row, 0);
    }

    PQclear(rows);

    return rc;
}


/* what is older than this the judge has forgotten */
int64_t
svw_consume_since(const svw_consume_t *consume)
{
    return (int64_t) time(NULL) * 1000 - svw_judge_memory_ms(&consume->params);
}
