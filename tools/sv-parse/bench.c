#include "sv-parse.h"

#include <time.h>


#define SV_ROUNDS  100
#define SV_PARSES  20000

static uint64_t sv_bench_now(void);


/* the best of some rounds, in the process' own time: what else the machine does only makes it slower */
int
sv_parse_bench(FILE *out)
{
    unsigned       i, round;
    double         ns, best;
    uint8_t        buf[SV_GS1_BUFFER];
    uint64_t       start;
    sv_gs1_data_t  data;

    static const char  uri[] = "https://id.example.com/01/09506000134352/10/"
                               "ABC123/21/K7XQ20R5N8HA?17=271231";

    best = 0;

    for (round = 0; round < SV_ROUNDS; round++) {
        start = sv_bench_now();

        for (i = 0; i < SV_PARSES; i++) {
            if (sv_gs1_uri_parse(sv_span(uri), 0, buf, &data, NULL)) {
                fprintf(stderr, "sv-parse: the sample URI is refused\n");
                return 1;
            }
        }

        ns = (double) (sv_bench_now() - start) / SV_PARSES;

        if (round == 0 || ns < best) {
            best = ns;
        }
    }

    fprintf(out, "%.0f ns\t%s\n", best, uri);

    return 0;
}


static uint64_t
sv_bench_now(void)
{
    struct timespec  now;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);

    return (uint64_t) now.tv_sec * 1000000000 + now.tv_nsec;
}
