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
        printf '\n%s\n' "$base_url/status"
        curl -s --max-time 5 -H 'Accept: application/json' "$base_url/status" | jq . || rc=3
    fi

    return "$rc"
}
