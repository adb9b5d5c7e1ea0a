# shellcheck shell=bash
# ./dev clean

clean_usage()
{
    cat <<END
Usage: ./dev clean [--build]

Stops the servers, removes \$SV_VAR (var) with their data and \$SV_BUILD (build).

  --build   only what was built; servers and data stay
END
}

# shellcheck source=tools/dev/stack.sh
. tools/dev/stack.sh

# remove DIRECTORY MARK..: only what looks like ours
remove_ours()
{
    local directory=$1 mark
    shift

    [ -d "$directory" ] || return 0
    for mark; do
        if [ -e "$directory/$mark" ]; then
            rm -rf -- "$directory"
            say "Removed $directory"
            return
        fi
    done
    warn "$directory does not look like ours and stays"
}

clean_main()
{
    local what=${1:-all} directory

    [ $# -le 1 ] || usage_error "clean: what is \"$2\"?"

    case $what in
        all)
            stack_down
            for directory in state sockets; do
                if directory=$(remembered "$directory"); then
                    case $directory in
                        /tmp/sv-*|/var/tmp/sv-*) rm -rf -- "$directory" ;;
                    esac
                fi
            done
            remove_ours "$SV_VAR" .lock
            ;;
        --build) ;;
        *) usage_error "clean: unknown option \"$what\"" ;;
    esac

    remove_ours "$SV_BUILD" .lock obj asan test-template
}
