# shellcheck shell=bash
# ./dev up

up_usage()
{
    cat <<END
Usage: ./dev up

Installs what is missing, builds, and starts a private PostgreSQL, Redis, worker and nginx,
with their files in \$SV_VAR (var) and on unix sockets; nginx listens on 127.0.0.1:\$SV_PORT
(without SV_PORT: a free port from 8080 on, kept in \$SV_VAR/ports).
What already runs stays; what was built or configured anew is restarted.
END
}

# shellcheck source=tools/dev/stack.sh
. tools/dev/stack.sh
# shellcheck source=tools/dev/build.sh
. tools/dev/build.sh

up_main()
{
    [ $# -eq 0 ] || usage_error "up: unknown option \"$1\""

    install_packages build run
    build_all plain
    stack_up
    good "Running at $base_url"
    cat <<END

  nginx        $base_url (status: $base_url/status)
  worker       $state/bin/serial-verify-worker -c $state/worker/worker.conf COMMAND (--help)
  PostgreSQL   psql -h $sockets -U postgres sv
  Redis        redis-cli -s $sockets/redis.sock
  files        $state/inbox: what is moved there is loaded
  logs         $state/{nginx,worker,postgres,redis}/error.log

./dev status says what runs, ./dev demo walks through it, ./dev down stops it.
END
}
