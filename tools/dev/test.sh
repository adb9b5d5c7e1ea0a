# shellcheck shell=bash
# ./dev test

test_usage()
{
    cat <<END
Usage: ./dev test [--all] [--plain] [FILE..]

Installs what is missing, builds the module and the worker with AddressSanitizer,
UndefinedBehaviorSanitizer and failpoints, and runs the unit tests, the parsers on the
fuzzers' corpora, and t/*.t, each against servers of its own.

  --all     the long sweeps and seeds too, and t/*.t once more with the plain build
  --plain   the plain build instead of the sanitizers' one
  FILE..    only these: t/NN_name.t or t/unit/test_name.c

SV_KEEP=1 keeps the directory of a test that failed.
END
}

: "${red?}" "${plain?}"

# shellcheck source=tools/dev/install.sh
. tools/dev/install.sh
# shellcheck source=tools/dev/build.sh
. tools/dev/build.sh

# run_unit PROGRAM: one program of unit tests; what it says is shown when it fails
run_unit()
{
    local program=$1 name=${1##*/} log

    log=$(mktemp)
    SECONDS=0

    if ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1 "$program" > "$log" 2>&1; then
        good "$name ($(grep -cE '\[ +OK \]' "$log" || true) tests, ${SECONDS} s)"
        rm -f "$log"
    else
        { grep -vE '^\[ (RUN|      OK) ' "$log" || true; } | tail -n 60 >&2
        printf '%s\n' "${red}not ok${plain}  $name"
        rm -f "$log"
        return 1
    fi
}

# run_units OUT NAME..: two at a time
run_units()
{
    local out=$1 name running=0 failed=0
    shift

    for name; do
        if [ "$running" -eq 2 ]; then
            wait -n || failed=1
            running=1
        fi
        run_unit "$out/unit/$name" &
        running=$((running + 1))
    done

    while [ "$running" -gt 0 ]; do
        wait -n || failed=1
        running=$((running - 1))
    done

    return "$failed"
}

# run_perl OUT [FILE..]
run_perl()
{
    local out=$1 jobs
    shift

    jobs=$(jobs_wanted)
    [ "$jobs" -le 2 ] || jobs=2

    say "Tests against servers, build ${out#"$sv_root"/}"
    SV_BUILD=$out prove --timer -j "$jobs" -I t/lib "$@"
}

# Another module that brings its own hiredis, for t/56: unpacked, not installed,
# as an installed module would be loaded by the machine's own nginx.
unpack_nchan()
{
    local home=$SV_BUILD/nchan

    if [ -z "${SV_NCHAN_MODULE:-}" ]; then
        if [ ! -d "$home/usr" ]; then
            mkdir -p "$home"
            (
                cd "$home"
                apt-get -q -o APT::Sandbox::User=root download libnginx-mod-nchan > apt.log 2>&1
                dpkg -x libnginx-mod-nchan_*.deb .
            ) || warn "libnginx-mod-nchan cannot be had: t/56 leaves it out"
        fi

        SV_NCHAN_MODULE=$home/usr/lib/nginx/modules/ngx_nchan_module.so
        export SV_NCHAN_MODULE
    fi
}

test_main()
{
    local all=no variant=asan out units=() files=() arg failed=0 given=no

    for arg; do
        case $arg in
            --all)              all=yes ;;
            --plain)            variant=plain ;;
            *.t)                files+=("$arg"); given=yes ;;
            t/unit/test_*.c)    arg=${arg##*/}; units+=("${arg%.c}"); given=yes ;;
            *)                  usage_error "test: what is \"$arg\"?" ;;
        esac
    done

    if [ "$given" = no ]; then
        files=(t/*.t)
        for arg in t/unit/test_*.c; do
            [ -e "$arg" ] || continue
            arg=${arg##*/}
            units+=("${arg%.c}")
        done
    fi

    [ "$all" = no ] || export SV_TEST_ALL=1

    install_packages build run test

    out=$SV_BUILD
    [ "$variant" = plain ] || out=$SV_BUILD/asan

    say "Building"
    build_all "$variant" all unit
    if [ "$all" = yes ]; then
        build_all plain
    fi

    if [ "$given" = no ]; then
        unpack_nchan
    fi

    if [ "${#units[@]}" -gt 0 ]; then
        say "Unit tests"
        run_units "$out" "${units[@]}" || failed=1
    fi

    if [ "$given" = no ] && [ -x t/fuzz/run ]; then
        say "Fuzzers' corpora"
        t/fuzz/run --regress || failed=1
    fi

    if [ "$all" = yes ] && [ "${#files[@]}" -gt 0 ]; then
        run_perl "$SV_BUILD" "${files[@]}" || failed=1
    fi

    if [ "${#files[@]}" -gt 0 ]; then
        run_perl "$out" "${files[@]}" || failed=1
    fi

    [ "$failed" -eq 0 ] || die "tests failed"
}
