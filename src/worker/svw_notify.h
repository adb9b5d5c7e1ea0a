/*
 * The role notify: what changed of cases is told to receivers and a log.
 *
 * What is to be told is in sv.notification with all its bytes before anybody is
 * told, and is told until the answer that it was taken is there, too.
 */

#ifndef SVW_NOTIFY_H
#define SVW_NOTIFY_H

#include "svw_http.h"


#define SVW_NOTIFY_SLOTS       4        /* requests at a time, a receiver; of a case one */
#define SVW_NOTIFY_LINES       100      /* of the timeline, of the log: a transaction */
#define SVW_NOTIFY_SECRETS     2        /* while one takes the place of the other */
#define SVW_NOTIFY_SECRET_MIN  24       /* bytes */
#define SVW_NOTIFY_SECRET_MAX  64
#define SVW_NOTIFY_SIGNATURE   128
#define SVW_NOTIFY_TARGET      (SVW_HTTP_URL + 256)


typedef enum {
    SVW_NOTIFY_FREE,
    SVW_NOTIFY_SENT,                    /* the answer is awaited */
    SVW_NOTIFY_ANSWERED                 /* the answer is to be written down */
} svw_notify_slot_state_t;

typedef struct svw_notify_target_s  svw_notify_target_t;

typedef struct {
    svw_notify_slot_state_t   state;
    svw_http_t                http;
    char                     *body;
    int64_t                   seq, attempts;
    svw_notify_target_t      *target;
    svw_http_answer_t         answer;
} svw_notify_slot_t;

typedef struct {
    int                       fd;       /* -1: not open */
    int64_t                   ino, pos; /* everything before is noted; ino 0: nothing ever was, -1: everything there is */
    char                      error[SVW_TEXT];
} svw_notify_log_t;

struct svw_notify_target_s {
    char                      name[SVW_NOTIFY_TARGET];
    const char               *url;      /* NULL: a log */
    const char               *path;
    int                       held;     /* the lease; -1: it was not asked for yet */
    int64_t                   renewed;  /* 0: ask for it */
    svw_notify_slot_t         slot[SVW_NOTIFY_SLOTS];
    svw_notify_log_t          log;
};

typedef struct {
    svw_conf_t               *conf;
    svw_db_t                  db;
    CURLM                    *multi;
    svw_notify_target_t       target[SVW_MAX_NOTIFY + 1];
    unsigned                  n;
    unsigned                  sent;     /* slots whose answer is awaited */
} svw_notify_t;


/* svw_notify.c: 0, or -1, which is logged */
int svw_notify_db(svw_notify_t *notify, svw_db_rc_t rc);

/* svw_notify_lines.c: of a target that is a log; -1: why is logged */
int svw_notify_lines(svw_notify_t *notify, svw_notify_target_t *target);

/* svw_notify_http.c: -1: why is in slot->answer */
int svw_notify_send(svw_notify_t *notify, svw_notify_slot_t *slot, const char *id);
void svw_notify_answers(svw_notify_t *notify, unsigned wait);   /* takes in what came; waits for it so many ms */
void svw_notify_give_up(svw_notify_t *notify);

/* svw_notify_sign.c */
typedef struct {
    unsigned char   key[SVW_NOTIFY_SECRETS][SVW_NOTIFY_SECRET_MAX];
    size_t          len[SVW_NOTIFY_SECRETS];
    unsigned        n;
} svw_notify_secrets_t;

int svw_notify_secrets(const char *path, svw_notify_secrets_t *secrets, char error[SVW_TEXT]);
int svw_notify_sign(const svw_notify_secrets_t *secrets, const char *id, int64_t timestamp, const char *body, size_t len,
    char signature[SVW_NOTIFY_SIGNATURE]);

/*
 * svw_notify_log.c: a file of lines.  What stands behind `pos' of the file `ino'
 * is what was written and not noted: open gives its ids.
 */
int svw_notify_log_open(svw_notify_log_t *log, const char *path, char ***ids, size_t *n);    /* -1: log->error */
int svw_notify_log_moved(const svw_notify_log_t *log, const char *path);
int svw_notify_log_write(svw_notify_log_t *log, const char *text, size_t len);              /* -1: log->error, nothing was written */
void svw_notify_log_close(svw_notify_log_t *log);
void svw_notify_log_free(char **ids, size_t n);

#endif /* SVW_NOTIFY_H */
