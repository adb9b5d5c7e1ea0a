# shellcheck shell=bash
# What every command of ./dev uses.

: "${sv_root:?}" "${command:?}"      # set by ./dev

umask 022
export LC_ALL=C.UTF-8

absolute()
{
    case $1 in
        /*) printf '%s\n' "$1" ;;
        *)  printf '%s/%s\n' "$sv_root" "$1" ;;
    esac
}

SV_BUILD=$(absolute "${SV_BUILD:-build}")
SV_VAR=$(absolute "${SV_VAR:-var}")
export SV_BUILD SV_VAR

if [ -t 1 ] && [ "${TERM:-dumb}" != dumb ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$'\e[1m' red=$'\e[31m' green=$'\e[32m' plain=$'\e[0m'
else
    bold='' red='' green='' plain=''
fi

say()  { printf '%s\n' "${bold}==>${plain} $*"; }
good() { printf '%s\n' "${green}ok${plain}  $*"; }
warn() { printf '%s\n' "${red}warning:${plain} $*" >&2; }
die()  { printf '%s\n' "${red}error:${plain} $*" >&2; exit 1; }

usage_error() { die "$1 (./dev $command --help)"; }

# What make, nginx and libpq take without quotes.
plain_path()
{
    case $1 in
        *[!A-Za-z0-9_./+-]*) return 1 ;;
    esac
}

jobs_wanted() { printf '%s\n' "${SV_JOBS:-$(nproc 2>/dev/null || echo 1)}"; }

is_root() { [ "$(id -u)" -eq 0 ]; }

# The servers run as this user.
server_user()
{
    if is_root; then
        printf '%s\n' "${SV_USER:-nobody}"
    else
        id -un
    fi
}

# Put before a command, it runs as the servers' user.
drop=()
if is_root; then
    id "$(server_user)" >/dev/null 2>&1 || die "there is no user $(server_user) (SV_USER)"
    [ "$(id -u "$(server_user)")" -ne 0 ] || die "the servers do not run as root, choose another SV_USER"
    drop=(setpriv --reuid="$(server_user)" --regid="$(id -g "$(server_user)")" --clear-groups --)
fi

as_server() { "${drop[@]}" "$@"; }

# The newest PostgreSQL on this machine that has a server.
pg_bindir()
{
    local bin

    bin=$(find /usr/lib/postgresql -mindepth 3 -maxdepth 3 -path '*/bin/postgres' \
              2>/dev/null | sort -V | tail -n 1)
    [ -n "$bin" ] || die "there is no PostgreSQL server under /usr/lib/postgresql"
    dirname "$bin"
}
