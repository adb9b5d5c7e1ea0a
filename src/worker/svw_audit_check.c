#include "svw_audit.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>


static svw_audit_rc_t svw_audit_check_place(svw_audit_check_t *check, const svw_audit_head_t *head);
static svw_audit_rc_t svw_audit_check_file(svw_audit_check_t *check, const svw_audit_head_t *head);
static svw_audit_rc_t svw_audit_check_next(svw_audit_check_t *check);
static int svw_audit_check_key(const svw_audit_check_t *check, const svw_audit_head_t *head);


const char *
svw_audit_check_text(svw_audit_rc_t rc)
{
    static const char *const  text[] = {
        [SVW_AUDIT_FITS] = "fits",
        [SVW_AUDIT_GAP] = "chain row missing",
        [SVW_AUDIT_NO_ROW] = "row missing: the chain names an audit row that is not there",
        [SVW_AUDIT_CHANGED] = "row changed: its values do not give the digest that was chained",
        [SVW_AUDIT_DIGEST] = "chain row changed: the digest is not the one that was chained, its audit row is",
        [SVW_AUDIT_ORDER] = "chain row changed or reordered: its hash does not follow from the chain row before it",
        [SVW_AUDIT_BOTH] = "row and chain row changed: neither its digest nor its hash fits",
        [SVW_AUDIT_HEAD] = "head",
        [SVW_AUDIT_BROKEN] = "the check cannot go on: no memory"
    };

    return text[rc];
}


svw_audit_rc_t
svw_audit_fault(svw_audit_check_t *check, svw_audit_rc_t rc, const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    vsnprintf(check->fault, sizeof(check->fault), fmt, args);
    va_end(args);

    return rc;
}


svw_audit_rc_t
svw_audit_check_row(svw_audit_check_t *check, const svw_audit_row_t *row)
{
    int      digest_fits, link_fits;
    uint8_t  digest[SVW_AUDIT_HASH], hash[SVW_AUDIT_HASH];

    if (row->n != check->n + 1) {
        return SVW_AUDIT_GAP;
    }

    if (!row->known && !row->left_out) {
        return SVW_AUDIT_NO_ROW;
    }

    memcpy(digest, row->digest, SVW_AUDIT_HASH);

    if ((!row->left_out && svw_audit_digest(row, digest) != 0) || svw_audit_link(check->hash, row->digest, hash) != 0) {
        return SVW_AUDIT_BROKEN;
    }

    digest_fits = memcmp(digest, row->digest, SVW_AUDIT_HASH) == 0;
    link_fits = memcmp(hash, row->hash, SVW_AUDIT_HASH) == 0;

    if (digest_fits && link_fits) {
        check->n = row->n;
        check->rows++;
        check->left_out += row->left_out;
        memcpy(check->hash, hash, SVW_AUDIT_HASH);
        return SVW_AUDIT_FITS;
    }

    if (link_fits) {
        return SVW_AUDIT_CHANGED;
    }

    if (digest_fits) {
        return SVW_AUDIT_ORDER;
    }

    return svw_audit_link(check->hash, digest, hash) == 0 && memcmp(hash, row->hash, SVW_AUDIT_HASH) == 0
           ? SVW_AUDIT_DIGEST : SVW_AUDIT_BOTH;
}


svw_audit_rc_t
svw_audit_check_head(svw_audit_check_t *check, const svw_audit_head_t *head)
{
    uint8_t         digest[SVW_AUDIT_HASH];
    svw_audit_rc_t  rc;

    /* an export may begin with any head */
    if (head->head != check->last.head + 1 && (check->last.head != 0 || !check->part)) {
        return svw_audit_fault(check, SVW_AUDIT_HEAD, "head %" PRId64 ": removed: head %" PRId64 " of %s comes behind head %" PRId64,
                               check->last.head + 1, head->head, head->day, check->last.head);
    }

    if (!svw_audit_head_signed(head)) {
        return svw_audit_fault(check, SVW_AUDIT_HEAD, "head %" PRId64 ", %s: signature wrong: the head was changed",
                               head->head, head->day);
    }

    if (!svw_audit_check_key(check, head)) {
        return svw_audit_fault(check, SVW_AUDIT_HEAD, "head %" PRId64 ", %s: signature wrong: it is of another key "
                               "(the public key of an older one goes into the file of --public-key, too)", head->head, head->day);
    }

    if (check->last.head != 0 || head->head == 1) {
        memset(digest, 0, sizeof(digest));

        if (check->last.head != 0 && svw_audit_head_digest(&check->last, digest) != 0) {
            return SVW_AUDIT_BROKEN;
        }

        if (memcmp(digest, head->previous, sizeof(digest)) != 0 || head->first != check->last.last + 1) {
            return svw_audit_fault(check, SVW_AUDIT_HEAD, "head %" PRId64 ", %s: does not follow from head %" PRId64,
                                   head->head, head->day, head->head - 1);
        }
    }

    rc = svw_audit_check_place(check, head);

    if (rc == SVW_AUDIT_FITS) {
        rc = svw_audit_check_file(check, head);
    }

    if (rc == SVW_AUDIT_FITS) {
        check->heads++;
        check->last = *head;

        if (strcmp(head->kind, "day") == 0) {
            check->last_day = *head;
        }
    }

    return rc;
}


/* it stands behind its last row, and that row has the hash that was signed */
static svw_audit_rc_t
svw_audit_check_place(svw_audit_check_t *check, const svw_audit_head_t *head)
{
    /* a check from a row on: what is before it is believed */
    if (head->last < check->from) {
        return SVW_AUDIT_FITS;
    }

    if (head->last > check->n) {
        return svw_audit_fault(check, SVW_AUDIT_HEAD, "chain row %" PRId64 ": removed: the chain ends before it, head %" PRId64
                               " of %s was signed for the rows to %" PRId64, check->n + 1, head->head, head->day, head->last);
    }

    if (head->last < check->n || memcmp(head->hash, check->hash, SVW_AUDIT_HASH) != 0) {
        return svw_audit_fault(check, SVW_AUDIT_HEAD, "head %" PRId64 ", %s: another hash was signed for chain row %" PRId64
                               ": the chain was computed anew, a row from %" PRId64 " to %" PRId64 " was changed, added or removed",
                               head->head, head->day, head->last, head->first, head->last);
    }

    return SVW_AUDIT_FITS;
}


static int
svw_audit_check_key(const svw_audit_check_t *check, const svw_audit_head_t *head)
{
    unsigned  i;

    for (i = 0; i < check->keys.n; i++) {
        if (memcmp(check->keys.key[i], head->key, SVW_AUDIT_HASH) == 0) {
            return 1;
        }
    }

    return check->keys.n == 0;
}


int
svw_audit_check_open(svw_audit_check_t *check, const char *heads_file)
{
    struct stat  st;

    check->file = fopen(heads_file, "re");

    if (check->file == NULL || fstat(fileno(check->file), &st) != 0) {
        return -1;
    }

    /* what is added while we check is newer than what we read of the database */
    check->file_name = heads_file;
    check->file_size = st.st_size;

    return 0;
}


void
svw_audit_check_close(svw_audit_check_t *check)
{
    if (check->file != NULL) {
        fclose(check->file);
        check->file = NULL;
    }
}


/* The file may begin later than the database and end earlier: it was begun, or could not be written, then. */
static svw_audit_rc_t
svw_audit_check_file(svw_audit_check_t *check, const svw_audit_head_t *head)
{
    char            ours[SVW_AUDIT_LINE], theirs[SVW_AUDIT_LINE];
    svw_audit_rc_t  rc;

    if (check->file == NULL) {
        return SVW_AUDIT_FITS;
    }

    while (check->file_line == 0 || (check->file_has && check->file_head.head < head->head)) {
        rc = svw_audit_check_next(check);

        if (rc != SVW_AUDIT_FITS) {
            return rc;
        }
    }

    if (!check->file_has || check->file_head.head != head->head) {
        return SVW_AUDIT_FITS;
    }

    svw_audit_head_line(head, 1, ours);
    svw_audit_head_line(&check->file_head, 1, theirs);

    if (strcmp(ours, theirs) != 0) {
        return svw_audit_fault(check, SVW_AUDIT_HEAD, "head %" PRId64 ", %s: %s:%d says otherwise: %.500s", head->head, head->day,
                               check->file_name, check->file_line, theirs);
    }

    return svw_audit_check_next(check);
}


static svw_audit_rc_t
svw_audit_check_next(svw_audit_check_t *check)
{
    char     line[SVW_AUDIT_LINE];
    size_t   len;
    int64_t  before;

    before = check->file_has ? check->file_head.head : 0;
    check->file_has = 0;
    check->file_line++;

    if (ftello(check->file) >= check->file_size || fgets(line, sizeof(line), check->file) == NULL) {
        return SVW_AUDIT_FITS;
    }

    len = strlen(line);

    /* a line without an end was cut by a crash; the worker writes it anew */
    if (line[len - 1] != '\n' && len < sizeof(line) - 1) {
        return SVW_AUDIT_FITS;
    }

    line[len - 1] = '\0';

    if (svw_audit_head_parse(line, &check->file_head) != 0) {
        return svw_audit_fault(check, SVW_AUDIT_HEAD, "%s:%d: this is not a head", check->file_name, check->file_line);
    }

    if (before != 0 && check->file_head.head != before + 1) {
        return svw_audit_fault(check, SVW_AUDIT_HEAD, "%s:%d: head %" PRId64 " comes behind head %" PRId64, check->file_name,
                               check->file_line, check->file_head.head, before);
    }

    check->file_has = 1;

    return SVW_AUDIT_FITS;
}


svw_audit_rc_t
svw_audit_check_end(svw_audit_check_t *check)
{
    svw_audit_rc_t  rc;

    if (check->file == NULL) {
        return SVW_AUDIT_FITS;
    }

    if (check->file_line == 0) {
        rc = svw_audit_check_next(check);

        if (rc != SVW_AUDIT_FITS) {
            return rc;
        }
    }

    if (check->file_has) {
        return svw_audit_fault(check, SVW_AUDIT_HEAD, "head %" PRId64 ", %s: removed: it is in %s:%d, not in the database",
                               check->file_head.head, check->file_head.day, check->file_name, check->file_line);
    }

    return SVW_AUDIT_FITS;
}
