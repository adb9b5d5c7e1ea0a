# shellcheck shell=bash
# ./dev status

status_usage()
{
    cat <<END
Usage: ./dev status

Says which of the private servers run and what the gateway says of itself.
Exit code 0: all of them run; 3: not all.
END
}

: "${green?}" "${red?}" "${plain?}"

# shellcheck source=tools/dev/stack.sh
. tools/dev/stack.sh

status_main()
{
    local name pid rc=0

    [ $# -eq 0 ] || usage_error "status: unknown option \"$1\""

    find_state
    for name in "${servers[@]}"; do
        if pid=$(pid_of "$name"); then
            printf '%-9s %srunning%s  process %s  log %s\n' "$name" "$green" "$plain" "$pid" "$state/$name/error.log"
        else
            printf '%-9s %sstopped%s\n' "$name" "$red" "$plain"
            rc=3
        fi
    done

    if pid_of nginx >/dev/null; then
        printf '\n%s/status\n' "$base_url"
        curl -s --max-time 5 -H 'Accept: application/json' "$base_url/status" | jq -r '
            "  \(.status), \(.worker_processes) worker processes",
            "  reference data \(if .reference_data.complete then "complete, \(.reference_data.age_ms) ms old" else "not complete" end): "
                + "\(.reference_data.products) products, \(.reference_data.locations) locations, "
                + "\(.reference_data.credentials) credentials, \(.reference_data.recalled_lots) recalled lots",
            "  connections: PostgreSQL \([.postgres[].ready] | add), Redis \(.redis.ready)"' || rc=3
    fi

    if pid_of worker >/dev/null; then
        printf '\n'
        "$state/bin/serial-verify-worker" -c "$state/worker/worker.conf" status || rc=3
    fi

    return "$rc"
}
