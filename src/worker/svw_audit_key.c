#include "svw_audit.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>


static int svw_audit_key_write(const char *file, EVP_PKEY *key, char error[SVW_TEXT]);


/* A file that others may read is refused: whoever has the key can sign another history. */
EVP_PKEY *
svw_audit_key_read(const char *file, char error[SVW_TEXT])
{
    FILE         *f;
    EVP_PKEY     *key;
    struct stat   st;

    f = fopen(file, "re");

    if (f == NULL || fstat(fileno(f), &st) != 0) {
        snprintf(error, SVW_TEXT, "audit_key \"%s\": %s", file, strerror(errno));

        if (f != NULL) {
            fclose(f);
        }

        return NULL;
    }

    if (!S_ISREG(st.st_mode) || (st.st_mode & 07077) != 0) {
        snprintf(error, SVW_TEXT, "audit_key \"%s\": its mode is %04o: a file that its owner alone may read is needed, "
                 "chmod 0600", file, st.st_mode & 07777);
        fclose(f);
        return NULL;
    }

    key = PEM_read_PrivateKey(f, NULL, NULL, (void *) "");
    fclose(f);

    if (key == NULL || EVP_PKEY_get_base_id(key) != EVP_PKEY_ED25519) {
        snprintf(error, SVW_TEXT, "audit_key \"%s\": not a private key of Ed25519 in PEM, see audit key", file);
        EVP_PKEY_free(key);
        return NULL;
    }

    return key;
}


/* A file that is there stays: it may be the only copy of a key. */
int
svw_audit_key_make(const char *file, uint8_t public_key[SVW_AUDIT_HASH], char error[SVW_TEXT])
{
    int        rc;
    EVP_PKEY  *key;

    key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");

    if (key == NULL || svw_audit_key_public(key, public_key) != 0) {
        snprintf(error, SVW_TEXT, "OpenSSL makes no key of Ed25519");
        EVP_PKEY_free(key);
        return -1;
    }

    rc = svw_audit_key_write(file, key, error);
    EVP_PKEY_free(key);

    return rc;
}


static int
svw_audit_key_write(const char *file, EVP_PKEY *key, char error[SVW_TEXT])
{
    int    fd, ok;
    FILE  *f;

    fd = open(file, O_WRONLY|O_CREAT|O_EXCL|O_CLOEXEC, 0600);

    if (fd == -1) {
        snprintf(error, SVW_TEXT, "\"%s\": %s", file, strerror(errno));
        return -1;
    }

    f = fdopen(fd, "w");

    if (f == NULL) {
        close(fd);
        unlink(file);
        snprintf(error, SVW_TEXT, "\"%s\": %s", file, strerror(errno));
        return -1;
    }

    ok = PEM_write_PKCS8PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1 && fflush(f) == 0 && fsync(fd) == 0;
    ok = fclose(f) == 0 && ok;

    if (!ok) {
        unlink(file);
        snprintf(error, SVW_TEXT, "\"%s\": cannot be written", file);
    }

    return ok ? 0 : -1;
}


int
svw_audit_key_public(EVP_PKEY *key, uint8_t public_key[SVW_AUDIT_HASH])
{
    size_t  len;

    len = SVW_AUDIT_HASH;

    return EVP_PKEY_get_raw_public_key(key, public_key, &len) == 1 && len == SVW_AUDIT_HASH ? 0 : -1;
}


int
svw_audit_key_print(FILE *out, const uint8_t public_key[SVW_AUDIT_HASH])
{
    int        ok;
    EVP_PKEY  *key;

    key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public_key, SVW_AUDIT_HASH);
    ok = key != NULL && PEM_write_PUBKEY(out, key) == 1;
    EVP_PKEY_free(key);

    return ok ? 0 : -1;
}


/* one PEM behind the other: the key of today and those before it */
int
svw_audit_keys_read(const char *file, svw_audit_keys_t *keys, char error[SVW_TEXT])
{
    FILE      *f;
    EVP_PKEY  *key;

    f = fopen(file, "re");

    if (f == NULL) {
        snprintf(error, SVW_TEXT, "\"%s\": %s", file, strerror(errno));
        return -1;
    }

    while ((key = PEM_read_PUBKEY(f, NULL, NULL, (void *) "")) != NULL) {
        if (keys->n == SVW_AUDIT_KEYS || EVP_PKEY_get_base_id(key) != EVP_PKEY_ED25519
            || svw_audit_key_public(key, keys->key[keys->n]) != 0)
        {
            snprintf(error, SVW_TEXT, "\"%s\": %s", file,
                     keys->n == SVW_AUDIT_KEYS ? "more than 16 keys" : "holds a key that is not of Ed25519");
            EVP_PKEY_free(key);
            fclose(f);
            return -1;
        }

        EVP_PKEY_free(key);
        keys->n++;
    }

    fclose(f);

    if (keys->n == 0) {
        snprintf(error, SVW_TEXT, "\"%s\": holds no public key in PEM", file);
        return -1;
    }

    return 0;
}
