/*
 * The threads that carry out requests.  A request comes here when it is read,
 * its connection suspended; the thread that takes it calls the handler and
 * wakes the connection, whose answer libmicrohttpd then sends.
 */

#include "svw_api_server.h"

#include <string.h>


#define SVW_API_SESSION  "set statement_timeout = '30s'; set lock_timeout = '5s'"


static void *svw_api_thread(void *data);
static svw_api_call_t *svw_api_next(svw_api_server_t *server);
static void svw_api_carry_out(svw_api_thread_t *thread, svw_api_call_t *call);
static int svw_api_db(svw_db_t *db);


int
svw_api_threads_start(svw_api_server_t *server)
{
    int        rc;
    unsigned   i;

    server->last = &server->first;

    for (i = 0; i < server->conf->api_threads; i++) {
        rc = pthread_create(&server->thread[i].id, NULL, svw_api_thread, &server->thread[i]);

        if (rc != 0) {
            svw_log(SVW_LOG_ERROR, "a thread cannot be started: %s", strerror(rc));
            return -1;
        }

        server->thread[i].started = 1;
    }

    return 0;
}


void
svw_api_threads_stop(svw_api_server_t *server)
{
    unsigned  i;

    pthread_mutex_lock(&server->lock);
    server->ending = 1;
    pthread_cond_broadcast(&server->work);
    pthread_mutex_unlock(&server->lock);

    for (i = 0; i < server->conf->api_threads; i++) {
        if (server->thread[i].started) {
            pthread_join(server->thread[i].id, NULL);
        }
    }
}


void
svw_api_enqueue(svw_api_call_t *call)
{
    svw_api_server_t  *server;

    server = call->server;

    pthread_mutex_lock(&server->lock);
    *server->last = call;
    server->last = &call->next;
    pthread_cond_signal(&server->work);
    pthread_mutex_unlock(&server->lock);
}


static void *
svw_api_thread(void *data)
{
    svw_api_call_t    *call;
    svw_api_thread_t  *thread;

    thread = data;

    while ((call = svw_api_next(thread->server)) != NULL) {
        svw_api_carry_out(thread, call);

        /* from here on it is not ours */
        MHD_resume_connection(call->connection);
    }

    svw_db_close(&thread->db);

    return NULL;
}


/* waits for one; NULL at the end, when there are no more */
static svw_api_call_t *
svw_api_next(svw_api_server_t *server)
{
    svw_api_call_t  *call;

    pthread_mutex_lock(&server->lock);

    while (server->first == NULL && !server->ending) {
        pthread_cond_wait(&server->work, &server->lock);
    }

    call = server->first;

    if (call != NULL) {
        server->first = call->next;

        if (server->first == NULL) {
            server->last = &server->first;
        }
    }

    pthread_mutex_unlock(&server->lock);

    return call;
}


static void
svw_api_carry_out(svw_api_thread_t *thread, svw_api_call_t *call)
{
    svw_db_t           *db;
    svw_api_request_t  *rq;

    rq = &call->rq;
    db = &thread->db;

    if (!(call->endpoint->flags & SVW_API_NO_DB)) {
        if (svw_api_db(db) != 0) {
            svw_log(SVW_LOG_ERROR, "PostgreSQL: %s", db->error);
            svw_api_db_problem(rq, SVW_DB_LOST);
            return;
        }

        rq->db = db;
    }

    call->endpoint->handler(rq);
    rq->db = NULL;

    /* a handler that left its transaction open leaves it to nobody */
    if (db->pg != NULL && PQtransactionStatus(db->pg) != PQTRANS_IDLE) {
        svw_db_close(db);
    }
}


/* Connected, or one attempt. A session that was ended meanwhile is known by the first question only. */
static int
svw_api_db(svw_db_t *db)
{
    if (db->pg != NULL && svw_db_do(db, "select 1", 0, NULL) == SVW_DB_OK) {
        return 0;
    }

    if (svw_db_connect(db) != 0) {
        return -1;
    }

    if (svw_db_do(db, SVW_API_SESSION, 0, NULL) != SVW_DB_OK) {
        svw_db_close(db);
        return -1;
    }

    return 0;
}
