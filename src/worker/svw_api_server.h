/*
 * What the files of the server share; endpoints need svw_api.h only.
 */

#ifndef SVW_API_SERVER_H
#define SVW_API_SERVER_H

#include "svw_api.h"

#include <microhttpd.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>


#define SVW_API_SEGMENTS    8
#define SVW_API_ARGS        32
#define SVW_API_HEADERS     16

typedef struct {
    char  *name, *value;
} svw_api_pair_t;

typedef struct svw_api_server_s  svw_api_server_t;
typedef struct svw_api_call_s    svw_api_call_t;
typedef struct svw_streams_s     svw_streams_t;

/* one that carries out requests */
typedef struct {
    svw_api_server_t   *server;
    svw_db_t            db;
    pthread_t           id;
    int                 started;
} svw_api_thread_t;

struct svw_api_server_s {
    svw_conf_t         *conf;
    struct MHD_Daemon  *daemon;
    unsigned char       secret[SVW_API_SECRET_MAX];
    size_t              secret_len;
    int                 capture_dir;    /* -1: no captures */
    size_t              body_memory;    /* of all requests; libmicrohttpd's thread only */
    int64_t             told;           /* when a bad proof was last logged; likewise */
    atomic_uint         connections;
    svw_api_thread_t   *thread;
    pthread_mutex_t     lock;           /* of what follows */
    pthread_cond_t      work;
    svw_api_call_t     *first, **last;  /* requests that are read, and not begun */
    int                 ending;
    svw_streams_t      *streams;
};

/* One request; made when its first line is there, gone when it is answered or its connection lost. */
struct svw_api_call_s {
    svw_api_request_t           rq;     /* first: an endpoint's pointer is ours */
    svw_api_call_t             *next;   /* in the queue */
    svw_api_server_t           *server;
    struct MHD_Connection      *connection;
    const svw_api_endpoint_t   *endpoint;
    svw_identity_t              who;
    char                       *target; /* raw */
    char                       *text;   /* path and arguments, decoded, that `segment', `arg' and rq point into */
    char                       *path;
    char                       *segment[SVW_API_SEGMENTS];
    int                         n_segments;
    svw_api_pair_t              arg[SVW_API_ARGS];
    unsigned                    n_args;
    svw_api_pair_t              header[SVW_API_HEADERS];        /* of the answer */
    unsigned                    n_headers;
    unsigned char              *body;
    size_t                      body_cap;
    EVP_MD_CTX                 *sha;
    int64_t                     started;
    int64_t                     discarded;      /* bytes of a body that nobody wants */
    struct MHD_Response        *response;
    unsigned                    status;
    unsigned                    begun:1;
    unsigned                    queued:1;
};


/* svw_api_call.c: callbacks of libmicrohttpd */
void *svw_api_call_new(void *cls, const char *uri, struct MHD_Connection *connection);
enum MHD_Result svw_api_call(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
    const char *version, const char *data, size_t *size, void **state);
void svw_api_call_done(void *cls, struct MHD_Connection *connection, void **state,
    enum MHD_RequestTerminationCode why);

/* svw_api_thread.c: requests that are read wait here for a thread */
int svw_api_threads_start(svw_api_server_t *server);
void svw_api_threads_stop(svw_api_server_t *server);    /* when what they have is done */
void svw_api_enqueue(svw_api_call_t *call);

/* svw_api_route.c */
int svw_api_target(svw_api_call_t *call);       /* takes it apart: -1 when it cannot be read */
const svw_api_endpoint_t *svw_api_find(svw_api_call_t *call, const char *method);      /* NULL, or rq.part is set */
int svw_api_allow(svw_api_call_t *call, char *out, size_t cap);     /* methods of this path; 0: there is no such path */
int svw_api_match(const char *pattern, char *const segment[], int n, char *part[SVW_API_PARTS]);

/* svw_api_answer.c */
enum MHD_Result svw_api_send(svw_api_call_t *call);
int svw_api_respond(svw_api_call_t *call, unsigned status, const char *type, struct MHD_Response *response);      /* takes it over */

/* svw_api_capture.c: what an upload that was not finished has left */
void svw_capture_sweep(svw_api_server_t *server, svw_db_t *db);

#endif /* SVW_API_SERVER_H */
