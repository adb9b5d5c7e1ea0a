# shellcheck shell=bash
# ./dev bench

bench_usage()
{
    cat <<END
Usage: ./dev bench [NAME..]
       ./dev bench detection [OPTION..]

Measures speed on private servers of its own, each figure as a ratio to something measured
in the same run, and says whether it is within its limit. NAMEs: see tools/bench/run --help.
Detection measures what the rules find in simulated traffic; its options: tools/bench/detection --help.
END
}

# shellcheck source=tools/dev/install.sh
. tools/dev/install.sh
# shellcheck source=tools/dev/build.sh
. tools/dev/build.sh

bench_main()
{
    install_packages build run test bench
    build_all plain
    exec tools/bench/run "$@"
}
