/* A list of serials in a file, one a line. */

#ifndef SVW_SERIALS_H
#define SVW_SERIALS_H

#include "svw_array.h"


#define SVW_SERIALS_MAX  100000         /* of a recall; different ones */

/*
 * Into an array that is begun, in order, each once.  "-": standard input.  Bad
 * lines, and (on stderr, too) lines that come again, are told with their
 * numbers.  An exit code; SVW_EXIT_OK: `serials' is ended.
 */
int svw_serials_read(const char *path, svw_array_t *serials);

#endif /* SVW_SERIALS_H */
