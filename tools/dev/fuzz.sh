# shellcheck shell=bash
# ./dev fuzz

fuzz_usage()
{
    cat <<END
Usage: ./dev fuzz [--seconds N]

Fuzzes the parsers with libFuzzer and sanitizers, starting from the corpora in t/fuzz/,
each for N seconds (60). An input that breaks something is kept and named.
END
}

# shellcheck source=tools/dev/install.sh
. tools/dev/install.sh

fuzz_main()
{
    local seconds=60

    while [ $# -gt 0 ]; do
        case $1 in
            --seconds)
                [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || usage_error "fuzz: --seconds needs a number"
                seconds=$2
                shift 2
                ;;
            *)  usage_error "fuzz: unknown option \"$1\"" ;;
        esac
    done

    install_packages build test
    exec t/fuzz/run --seconds "$seconds"
}
