/* Parameters of the rules as a file: "name = value" lines as in worker.conf. */

#ifndef SVW_PARAM_FILE_H
#define SVW_PARAM_FILE_H

#include "svw.h"
#include "svw_param.h"


/* What the file sets is changed. 0, or -1 with file, line and reason in `error'. */
int svw_param_file_read(svw_params_t *params, const char *file, char error[SVW_TEXT]);

/* All of them, each with its meaning, as svw_param_file_read() takes them. */
void svw_param_file_write(const svw_params_t *params, FILE *out);

/* The n-th of all names, rules' switches and the area included; NULL: there are no more. `buf' holds it where it needs room. */
#define SVW_PARAM_NAME  80
const char *svw_param_name(unsigned n, char buf[SVW_PARAM_NAME]);
const char *svw_param_unit(const char *name);           /* "" when it has none */
const char *svw_param_text(const char *name);

#endif /* SVW_PARAM_FILE_H */
