# shellcheck shell=bash
# ./dev down

down_usage()
{
    cat <<END
Usage: ./dev down

Stops the servers that ./dev up started for this \$SV_VAR (var), and no others. Their data stays.
END
}

# shellcheck source=tools/dev/stack.sh
. tools/dev/stack.sh

down_main()
{
    [ $# -eq 0 ] || usage_error "down: unknown option \"$1\""

    stack_down
}
