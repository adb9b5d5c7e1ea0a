#include "svw_load.h"

#include <string.h>


static void svw_fault_count(svw_load_t *load, const char *reason, int64_t n);


void
svw_load_fault(svw_load_t *load, const svw_fault_t *fault)
{
    char     value[128];
    json_t  *error;

    if (!fault->skipped) {
        load->rejected += fault->lines;
    }

    svw_fault_count(load, fault->reason, fault->lines > 0 ? fault->lines : 1);

    if (json_array_size(load->errors) >= load->conf->max_errors) {
        return;
    }

    svw_printable(value, sizeof(value), fault->value);

    error = json_pack("{s:I, s:I, s:s, s:b, s:b}", "line", (json_int_t) fault->line, "lines", (json_int_t) fault->lines,
                      "reason", fault->reason, "skipped", fault->skipped, "quarantined", fault->quarantined);

    if (fault->element != NULL) {
        json_object_set_new(error, "element", json_string(fault->element));
    }

    if (fault->value.data != NULL) {
        json_object_set_new(error, "value", json_string(value));
    }

    json_array_append_new(load->errors, error);
}


json_t *
svw_fault_reasons(const svw_load_t *load)
{
    json_t    *counts;
    unsigned   i;

    counts = json_object();

    for (i = 0; i < load->n_counts; i++) {
        json_object_set_new(counts, load->counts[i].reason, json_integer(load->counts[i].n));
    }

    return counts;
}


static void
svw_fault_count(svw_load_t *load, const char *reason, int64_t n)
{
    unsigned  i;

    for (i = 0; i < load->n_counts; i++) {
        if (strcmp(load->counts[i].reason, reason) == 0) {
            load->counts[i].n += n;
            return;
        }
    }

    if (i < SVW_REASONS) {
        load->counts[i] = (svw_count_t) { reason, n };
        load->n_counts++;
    }
}
