# shellcheck shell=bash
# The private servers: where they live, starting, stopping.
#
#   $SV_VAR/ports      which port nginx has
#   $SV_VAR/state      only when the servers' user cannot reach $SV_VAR, or its path
#                      holds a blank or the like: where their files are instead
#   $SV_VAR/sockets    only when the path is too long for a socket: where the sockets are instead
#
# Below the state directory: postgres/ redis/ nginx/ worker/ inbox/ bin/ run/.
# run/NAME.pid holds the process id, its start time and the boot it belongs to,
# so that no other process is ever taken for ours.

: "${SV_VAR:?}" "${SV_BUILD:?}" "${drop[*]-}"

# shellcheck disable=SC2034
servers=(postgres redis worker nginx)
longest_socket=90

# shellcheck source=tools/dev/install.sh
. tools/dev/install.sh

# remembered FILE: the directory written in it, if it is still there
remembered()
{
    local directory

    [ -f "$SV_VAR/$1" ] || return 1
    directory=$(< "$SV_VAR/$1")
    [ -d "$directory" ] || return 1
    printf '%s\n' "$directory"
}

# give DIRECTORY..: made if missing, the servers' user's alone
give()
{
    mkdir -p -- "$@"
    if is_root; then
        chown "$(server_user):$(id -gn "$(server_user)")" -- "$@"
    fi
    chmod 700 -- "$@"
}

# Sets state and sockets.
find_state()
{
    state=$(remembered state || printf '%s\n' "$SV_VAR")
    sockets=$(remembered sockets || printf '%s\n' "$state/run")
    base_url="http://127.0.0.1:$(recorded_port || true)"
}

make_state()
{
    local directory reason

    mkdir -p "$SV_VAR"

    if ! remembered state >/dev/null; then
        reason=''
        if ! plain_path "$SV_VAR"; then
            reason="Not every server takes the path ${SV_VAR}"
        elif ! as_server test -x "$SV_VAR"; then
            reason="User $(server_user) cannot reach ${SV_VAR}"
        fi

        if [ -n "$reason" ]; then
            directory=$(mktemp -d /var/tmp/sv-XXXXXX)
            printf '%s\n' "$directory" > "$SV_VAR/state"
            say "${reason}: the servers' files are in $directory"
        fi
    fi

    find_state
    if [ "$state" != "$SV_VAR" ]; then
        give "$state"
    fi

    give "$state"/{postgres,redis,nginx,worker,inbox,capture,bin,run}

    if [ "${#sockets}" -gt "$longest_socket" ] && ! remembered sockets >/dev/null; then
        directory=$(mktemp -d /tmp/sv-XXXXXX)
        give "$directory"
        printf '%s\n' "$directory" > "$SV_VAR/sockets"
        find_state
    fi
}

recorded_port()
{
    sed -n 's/^nginx=\([0-9]*\)$/\1/p' "$SV_VAR/ports" 2>/dev/null | grep .
}

port_is_free()
{
    perl -MIO::Socket::INET -e '
        exit(IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => $ARGV[0],
                                   Listen => 1, ReuseAddr => 1) ? 0 : 1)' "$1"
}

# Before anything is stopped for it.
check_port()
{
    local port=${SV_PORT:-}

    [ -n "$port" ] || return 0
    if [[ ! $port =~ ^[1-9][0-9]{0,4}$ ]] || [ "$port" -gt 65535 ]; then
        die "SV_PORT is \"$port\": a port is a number from 1 to 65535"
    fi

    if [ "$port" != "$(recorded_port || true)" ] && ! port_is_free "$port"; then
        die "port $port (SV_PORT) is taken$(is_root || [ "$port" -ge 1024 ] || echo ', or only root may use it')"
    fi
}

# Called while nginx is not running.
choose_port()
{
    local port

    if [ -n "${SV_PORT:-}" ]; then
        port_is_free "$SV_PORT" || die "port $SV_PORT (SV_PORT) is taken"
        port=$SV_PORT
    else
        port=$(recorded_port || echo 8080)
        while ! port_is_free "$port"; do
            port=$((port + 1))
            [ "$port" -lt 8980 ] || die "no free port from 8080 to 8979; set SV_PORT"
        done
    fi

    printf 'nginx=%s\n' "$port" > "$SV_VAR/ports"
    find_state
}

# birth PID: what tells this process from a later one with the same number
birth()
{
    local stat

    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    stat=${stat##*) }
    # shellcheck disable=SC2086
    set -- $stat
    [ "$1" != Z ] || return 1
    printf '%s %s\n' "${20}" "$(cat /proc/sys/kernel/random/boot_id)"
}

record_pid()
{
    printf '%s %s\n' "$2" "$(birth "$2")" > "$state/run/$1.pid"
}

# pid_of NAME: prints it when our process runs
pid_of()
{
    local pid born

    read -r pid born 2>/dev/null < "$state/run/$1.pid" || return 1
    [ "$(birth "$pid")" = "$born" ] || return 1
    printf '%s\n' "$pid"
}

# wait_until SECONDS COMMAND..
wait_until()
{
    local end=$((SECONDS + $1))
    shift

    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.05
    done
}

gone() { ! birth "$1" >/dev/null; }

# end_server NAME SIGNAL
end_server()
{
    local pid

    if pid=$(pid_of "$1"); then
        kill -s "$2" "$pid"
        if ! wait_until 30 gone "$pid"; then
            warn "$1 (process $pid) did not end when asked to; killed"
            kill -s KILL "$pid" 2>/dev/null || true
            wait_until 10 gone "$pid" || true
        fi
        say "Stopped $1"
    fi

    rm -f "$state/run/$1.pid"
}

end_named()
{
    case $1 in
        postgres) end_server postgres INT ;;
        nginx)    end_server nginx QUIT ;;
        *)        end_server "$1" TERM ;;
    esac
}

show_log()
{
    tail -n "${2:-20}" "$1" >&2 2>/dev/null || true
}

# launch NAME COMMAND..: in the background, apart from this terminal, as the servers' user
launch()
{
    local name=$1 log="$state/$1/error.log" pid
    shift

    as_server touch "$log"
    # shellcheck disable=SC2016
    "${drop[@]}" setsid bash -c 'cd / && exec "$@" </dev/null >>"$0" 2>&1' "$log" "$@" 7>&- &
    pid=$!
    disown "$pid"
    wait_until 10 launched "$pid" "$1" || true
    birth "$pid" >/dev/null || { show_log "$log"; die "$name does not start, see $log"; }
    record_pid "$name" "$pid"
}

# The process has become the program, it is no longer setpriv, setsid or bash.
launched()
{
    local exe

    exe=$(readlink "/proc/$1/exe" 2>/dev/null) || { gone "$1"; return; }
    case ${exe##*/} in
        bash|setsid|setpriv|dash) return 1 ;;
    esac
}

# --- PostgreSQL

cluster_bindir()
{
    local version

    version=$(cat "$state/postgres/data/PG_VERSION" 2>/dev/null) || { pg_bindir; return; }
    [ -x "/usr/lib/postgresql/$version/bin/postgres" ] \
        || die "$state/postgres/data belongs to PostgreSQL $version, which is not installed (./dev clean removes it)"
    printf '%s\n' "/usr/lib/postgresql/$version/bin"
}

as_superuser()
{
    PGHOST=$sockets PGPORT=5432 PGUSER=postgres PGDATABASE=${database:-sv} "$@"
}

postgres_answers() { as_superuser "$bin/pg_isready" -q; }

up_postgres()
{
    local bin data=$state/postgres/data database

    bin=$(cluster_bindir)

    if [ ! -f "$data/PG_VERSION" ]; then
        say "Creating a private PostgreSQL cluster"
        rm -rf "$data"
        ( cd / && as_server "$bin/initdb" -D "$data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 ) \
            > "$state/postgres/initdb.log" 2>&1 || { show_log "$state/postgres/initdb.log"; die "initdb failed"; }
    fi

    if ! pid_of postgres >/dev/null; then
        launch postgres "$bin/postgres" -D "$data" -k "$sockets" -c listen_addresses= \
            -c unix_socket_permissions=0700 -c max_connections=100 -c shared_buffers=128MB \
            -c log_min_messages=warning -c timezone=UTC
        wait_until 60 postgres_answers || { show_log "$state/postgres/error.log"; die "PostgreSQL does not start"; }
        say "Started postgres"
    fi

    database=postgres
    if [ "$(as_superuser psql -XAtqc "select 1 from pg_database where datname = 'sv'")" != 1 ]; then
        as_superuser "$bin/createdb" sv
    fi

    database=sv
    as_superuser sql/migrate
    note_migrations
}

# A migration that was edited after it was applied here changes nothing here: that is said, not left to be found.
note_migrations()
{
    local kept=$state/postgres/migrations file sum

    touch "$kept"
    for file in sql/[0-9]*.sql; do
        sum=$(sha256sum "$file")
        if ! grep -q "  $file\$" "$kept"; then
            printf '%s\n' "$sum" >> "$kept"
        elif ! grep -qxF "$sum" "$kept"; then
            warn "$file was changed after it was applied to this database; ./dev clean starts a new one"
        fi
    done
}

# --- Redis

redis_answers() { [ "$(redis-cli -s "$sockets/redis.sock" ping 2>/dev/null)" = PONG ]; }

up_redis()
{
    if ! pid_of redis >/dev/null; then
        launch redis redis-server --port 0 --unixsocket "$sockets/redis.sock" --unixsocketperm 700 \
            --dir "$state/redis" --save '' --appendonly no --daemonize no --logfile '' \
            --maxmemory 256mb --maxmemory-policy volatile-lru
        wait_until 30 redis_answers || { show_log "$state/redis/error.log"; die "Redis does not start"; }
        say "Started redis"
    fi
}

# --- ours

# place FILE NAME: a copy the servers can reach; true when it is new
place()
{
    cmp -s "$1" "$state/bin/$2" && return 1
    install -m 755 "$1" "$state/bin/.$2.new"
    mv "$state/bin/.$2.new" "$state/bin/$2"
}

# write_changed FILE: from stdin; true when it differs from what was there
write_changed()
{
    cat > "$1.new"
    if cmp -s "$1.new" "$1"; then
        rm "$1.new"
        return 1
    fi
    mv "$1.new" "$1"
}

# What nginx and the worker's role api have in common.
make_secret()
{
    local file=$state/worker/api-secret

    if [ ! -s "$file" ]; then
        ( umask 077; openssl rand -hex 32 > "$file.new" )
        if is_root; then
            chown "$(server_user):" "$file.new"
        fi
        mv "$file.new" "$file"
    fi
}

# The key that signs the heads of the audit chain, and its public half.
make_audit_key()
{
    local directory=$state/worker

    if [ ! -s "$directory/audit.key" ]; then
        ( umask 077; openssl genpkey -algorithm ed25519 -out "$directory/audit.key.new" )
        openssl pkey -in "$directory/audit.key.new" -pubout -out "$directory/audit.pub"
        if is_root; then
            chown "$(server_user):" "$directory/audit.key.new"
        fi
        mv "$directory/audit.key.new" "$directory/audit.key"
    fi
}

up_worker()
{
    local conf=$state/worker/worker.conf changed=no

    make_secret
    make_audit_key

    if place "$SV_BUILD/serial-verify-worker" serial-verify-worker; then changed=yes; fi

    if perl tools/dev/localize worker < conf/worker.conf \
        postgres="host=$sockets dbname=sv user=sv_worker" redis="unix:$sockets/redis.sock" \
        inbox="$state/inbox" done="$state/inbox/done" rejected="$state/inbox/rejected" \
        log= pid_file= roles="ingest, relay, housekeeping, consume, notify, api" api_listen="unix:$sockets/api.sock" \
        api_postgres="host=$sockets dbname=sv user=sv_api" api_secret="$state/worker/api-secret" \
        capture_dir="$state/capture" audit_key="$state/worker/audit.key" audit_heads="$state/worker/audit-heads" \
        notify_log="$state/worker/cases.jsonl" | write_changed "$conf"
    then
        changed=yes
    fi

    if [ "$changed" = yes ] || ! pid_of worker >/dev/null; then
        end_named worker
        launch worker "$state/bin/serial-verify-worker" -c "$conf" run
        say "Started worker"
    fi
}

nginx_answers()
{
    curl -s --max-time 2 -H 'Accept: application/json' "$base_url/status" \
        | jq -e '.status == "ok" and .reference_data.complete' >/dev/null
}

nginx_conf()
{
    perl tools/dev/localize nginx < conf/nginx.conf \
        load_module="$state/bin/ngx_serial_verify_module.so" user= pid="$state/run/nginx.own" \
        daemon=off error_log="$state/nginx/error.log notice" access_log="$state/nginx/access.log" \
        listen="127.0.0.1:$(recorded_port)" state="$state/nginx" \
        postgres="host=$sockets dbname=sv user=sv_gateway" redis="unix:$sockets/redis.sock" \
        api="$sockets/api.sock" api_secret="$state/worker/api-secret"
}

up_nginx()
{
    local conf=$state/nginx/nginx.conf changed=no

    if place "$SV_BUILD/ngx_serial_verify_module.so" ngx_serial_verify_module.so; then changed=restart; fi

    if [ -n "${SV_PORT:-}" ] && [ "$SV_PORT" != "$(recorded_port || true)" ]; then
        changed=restart
    fi

    if [ "$changed" = restart ]; then
        end_named nginx
    fi

    if ! pid_of nginx >/dev/null; then
        choose_port
        nginx_conf > "$conf"
        launch nginx /usr/sbin/nginx -p "$state/nginx/" -c "$conf" -e "$state/nginx/error.log"
        say "Started nginx"
    elif nginx_conf | write_changed "$conf"; then
        kill -s HUP "$(pid_of nginx)"
        say "Reloaded nginx"
    fi

    wait_until 30 nginx_answers || { show_log "$state/nginx/error.log"; die "the gateway at $base_url does not become ready, see $base_url/status"; }
}

# One ./dev at a time for a state directory.
lock_stack()
{
    mkdir -p "$SV_VAR"
    exec 7> "$SV_VAR/.lock"
    flock 7
}

stack_up()
{
    lock_stack
    check_port
    make_state
    up_postgres
    up_redis
    up_worker
    up_nginx
    exec 7>&-
}

stack_down()
{
    local name

    [ -d "$SV_VAR" ] || return 0
    lock_stack
    find_state
    for name in nginx worker redis postgres; do
        end_named "$name"
    done
    exec 7>&-
}
