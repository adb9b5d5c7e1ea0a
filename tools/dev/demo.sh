# shellcheck shell=bash
# ./dev demo

demo_usage()
{
    cat <<END
Usage: ./dev demo

Installs what is missing, builds, starts the private servers (see ./dev up --help), loads
demonstration products, locations and keys, feeds commissioning files through the worker's
inbox, and walks a pack through its life over HTTP, each step explained and checked. The
servers stay up; ./dev down stops them.
END
}

# shellcheck source=tools/dev/stack.sh
. tools/dev/stack.sh
# shellcheck source=tools/dev/build.sh
. tools/dev/build.sh

demo_main()
{
    [ $# -eq 0 ] || usage_error "demo: unknown option \"$1\""

    install_packages build run
    say "Building"
    build_all plain
    stack_up

    SV_URL=$base_url SV_STATE=$state SV_SOCKETS=$sockets \
        perl tools/demo/walk
}
