/*
 * The only script that writes a pack to Redis.
 *
 *   KEYS  the pack, its lease (the pack's key and ":L")
 *   ARGV  value, version, life in ms, token (empty for a write after an operation)
 *
 * A fill (with a token) counts only while the lease still holds its token: no
 * operation has written since, and it is not older than the lease's life.
 * A write after an operation ends the lease, so that fills under way lose, and
 * replaces an entry with an older version; it never creates one: an entry that
 * was evicted may have been newer.  1: stored; 0: refused or nothing to do.
 */

#ifndef SV_CACHE_SCRIPT_H
#define SV_CACHE_SCRIPT_H

#define SV_CACHE_LEASE     ":L"
#define SV_CACHE_LEASE_MS  "1000"

#define SV_CACHE_SCRIPT                                                       \
    "local old = redis.call('GET', KEYS[1]) "                                 \
    "if ARGV[4] ~= '' then "                                                  \
    "  if redis.call('GET', KEYS[2]) ~= ARGV[4] then return 0 end "           \
    "end "                                                                    \
    "redis.call('DEL', KEYS[2]) "                                             \
    "if old then "                                                            \
    "  local v = tonumber(string.match(old, '^%d+')) "                        \
    "  if v and v >= tonumber(ARGV[2]) then return 0 end "                    \
    "elseif ARGV[4] == '' then "                                              \
    "  return 0 "                                                             \
    "end "                                                                    \
    "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3]) "                     \
    "return 1"

#endif /* SV_CACHE_SCRIPT_H */
