/*
 * How many packs from one address prefix could not be confirmed: the brake on
 * guessing serials.  Only for the anonymous public; a professional is never
 * locked out.
 *
 * A table of 4-way sets of 64-bit words in shared memory, changed by
 * compare-and-swap: no lock, nothing torn when a process is killed.  A word:
 * tag of the prefix (32 bits), period (16), misses (16).  When a set is full
 * the word with the fewest misses goes.
 */

#include "ngx_sv.h"


#define NGX_SV_MISS_SETS  16384             /* a power of two; 512 KiB */
#define NGX_SV_MISS_WAYS  4

#define ngx_sv_miss_tag(word)     ((uint32_t) ((word) >> 32))
#define ngx_sv_miss_period(word)  ((uint16_t) ((word) >> 16))
#define ngx_sv_miss_n(word)       ((uint16_t) (word))


static ngx_int_t ngx_sv_miss_init_zone(ngx_shm_zone_t *zone, void *data);
static ngx_uint_t ngx_sv_miss_applies(ngx_sv_main_conf_t *conf, ngx_connection_t *c);
static ngx_atomic_t *ngx_sv_miss_find(ngx_sv_main_conf_t *conf, ngx_connection_t *c,
    uint32_t *tag, ngx_uint_t *found);


ngx_int_t
ngx_sv_miss_zone(ngx_conf_t *cf, ngx_sv_main_conf_t *conf)
{
    size_t     size;
    ngx_str_t  name = ngx_string("serial_verify_misses");

    size = NGX_SV_MISS_SETS * NGX_SV_MISS_WAYS * sizeof(ngx_atomic_t) + 16 * ngx_pagesize;

    conf->miss_zone = ngx_shared_memory_add(cf, &name, size, &ngx_serial_verify_module);
    if (conf->miss_zone == NULL) {
        return NGX_ERROR;
    }

    conf->miss_zone->init = ngx_sv_miss_init_zone;
    conf->miss_zone->data = conf;

    return NGX_OK;
}


static ngx_int_t
ngx_sv_miss_init_zone(ngx_shm_zone_t *zone, void *data)
{
    ngx_slab_pool_t  *shpool;

    shpool = (ngx_slab_pool_t *) zone->shm.addr;

    if (data != NULL || zone->shm.exists) {
        return NGX_OK;
    }

    shpool->data = ngx_slab_calloc(shpool, NGX_SV_MISS_SETS * NGX_SV_MISS_WAYS
                                           * sizeof(ngx_atomic_t));

    return shpool->data != NULL ? NGX_OK : NGX_ERROR;
}


/* Over a unix socket everybody has one address: a proxy in front needs nginx's realip module for this. */
static ngx_uint_t
ngx_sv_miss_applies(ngx_sv_main_conf_t *conf, ngx_connection_t *c)
{
    return conf->miss_budget != 0 && c->sockaddr->sa_family != AF_UNIX;
}


ngx_uint_t
ngx_sv_miss_exceeded(ngx_sv_main_conf_t *conf, ngx_connection_t *c)
{
    uint32_t            tag;
    ngx_uint_t          found;
    ngx_atomic_t       *word;
    ngx_atomic_uint_t   value;

    if (!ngx_sv_miss_applies(conf, c)) {
        return 0;
    }

    word = ngx_sv_miss_find(conf, c, &tag, &found);
    value = *word;

    if (!found || ngx_sv_miss_n(value) < (ngx_uint_t) conf->miss_budget) {
        return 0;
    }

    return (ngx_uint_t) (conf->miss_period - ngx_time() % conf->miss_period);
}


void
ngx_sv_miss_count(ngx_sv_main_conf_t *conf, ngx_connection_t *c)
{
    uint32_t            tag;
    uint16_t            period;
    ngx_uint_t          found, tries;
    ngx_atomic_t       *word;
    ngx_atomic_uint_t   old, new;

    if (!ngx_sv_miss_applies(conf, c)) {
        return;
    }

    period = (uint16_t) (ngx_time() / conf->miss_period);

    /* a lost race is tried again; after some the count of this miss is not worth more */
    for (tries = 0; tries < 8; tries++) {
        word = ngx_sv_miss_find(conf, c, &tag, &found);
        old = *word;

        if (found && ngx_sv_miss_tag(old) == tag && ngx_sv_miss_period(old) == period) {
            if (ngx_sv_miss_n(old) == 0xffff) {
                return;
            }

            new = old + 1;

        } else {
            new = ((ngx_atomic_uint_t) tag << 32) | ((ngx_atomic_uint_t) period << 16) | 1;
        }

        if (ngx_atomic_cmp_set(word, old, new)) {
            return;
        }
    }
}


/* The word of this prefix and period, or else the one to be replaced. */
static ngx_atomic_t *
ngx_sv_miss_find(ngx_sv_main_conf_t *conf, ngx_connection_t *c, uint32_t *tag, ngx_uint_t *found)
{
    uint16_t            period;
    uint64_t            hash;
    ngx_uint_t          i, n, least;
    ngx_atomic_t       *set, *victim;
    ngx_atomic_uint_t   value;

    hash = ngx_sv_miss_prefix(c->sockaddr) * UINT64_C(0x9e3779b97f4a7c15);
    hash ^= hash >> 29;
    hash *= UINT64_C(0xbf58476d1ce4e5b9);

    *tag = (uint32_t) (hash >> 32);
    period = (uint16_t) (ngx_time() / conf->miss_period);

    set = ((ngx_slab_pool_t *) conf->miss_zone->shm.addr)->data;
    set += (hash & (NGX_SV_MISS_SETS - 1)) * NGX_SV_MISS_WAYS;

    victim = set;
    least = 0x10000;

    for (i = 0; i < NGX_SV_MISS_WAYS; i++) {
        value = set[i];

        if (ngx_sv_miss_period(value) == period && ngx_sv_miss_n(value) != 0) {

            if (ngx_sv_miss_tag(value) == *tag) {
                *found = 1;
                return &set[i];
            }

            n = ngx_sv_miss_n(value);

        } else {
            n = 0;
        }

        if (n < least) {
            least = n;
            victim = &set[i];
        }
    }

    *found = 0;

    return victim;
}


/* IPv4 /24, IPv6 /48: what one subscriber or site usually has */
uint64_t
ngx_sv_miss_prefix(struct sockaddr *sa)
{
    uint64_t              prefix;
    struct sockaddr_in   *sin;
#if (NGX_HAVE_INET6)
    struct sockaddr_in6  *sin6;
#endif

    switch (sa->sa_family) {

    case AF_INET:
        sin = (struct sockaddr_in *) sa;
        return (ntohl(sin->sin_addr.s_addr) >> 8) | (UINT64_C(4) << 56);

#if (NGX_HAVE_INET6)
    case AF_INET6:
        sin6 = (struct sockaddr_in6 *) sa;

        if (IN6_IS_ADDR_V4MAPPED(&sin6->sin6_addr)) {
            ngx_memcpy(&prefix, &sin6->sin6_addr.s6_addr[8], 8);
            return (prefix & UINT64_C(0x00ffffffffffffff)) | (UINT64_C(5) << 56);
        }

        prefix = 0;
        ngx_memcpy(&prefix, &sin6->sin6_addr, 6);
        return prefix ^ (UINT64_C(6) << 56);
#endif

    default:
        return 0;
    }
}
