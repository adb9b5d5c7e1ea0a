# shellcheck shell=bash
# ./dev build

: "${sv_root:?}"

build_usage()
{
    cat <<END
Usage: ./dev build [--asan] [--unit]

Builds into \$SV_BUILD (build): ngx_serial_verify_module.so, serial-verify-worker, sv-parse.
The module is built against Debian's nginx-dev, out of tree; warnings are errors.

  --asan   into \$SV_BUILD/asan, with AddressSanitizer, UndefinedBehaviorSanitizer and failpoints, for tests
  --unit   the unit tests' programs too
END
}

# make and nginx's configure split paths at blanks: such a directory gets the name of the descriptor it is open as
named()
{
    if plain_path "$1"; then printf '%s\n' "$1"; else printf '/proc/self/fd/%s\n' "$2"; fi
}

# configure_module OBJS CFLAGS LDFLAGS: only when the list of sources, the flags or nginx changed
configure_module()
{
    local objs=$1 cflags=$2 ldflags=$3 src=${SV_NGINX_SRC:-/usr/share/nginx/src} key header

    [ -x "$src/configure" ] || die "there is no nginx source under $src (package nginx-dev)"

    key=$({
        printf '%s\n' "$sv_root" "$objs" "$cflags" "$ldflags" "$src"
        find ngx_serial_verify_module.c src -name '*.c' 2>/dev/null | grep -v '^src/worker/' | sort
        cat config "$src/conf_flags" "$src/src/core/nginx.h"
    } | sha256sum)

    if [ -f "$objs/Makefile" ] && [ "$(cat "$objs/configured" 2>/dev/null)" = "$key" ]; then
        return
    fi

    say "Configuring the module"
    mkdir -p "$objs"
    for header in "$objs"/ngx_auto_*.h; do
        if [ -f "$header" ]; then
            mv "$header" "$header.old"
        fi
    done

    (
        cd "$src"
        # shellcheck source=/dev/null
        . ./conf_flags
        SV_DEPS=compiler ASAN_OPTIONS=detect_leaks=0 \
            ./configure --with-cc-opt="$cflags" --with-ld-opt="$ldflags" \
                "${NGX_CONF_FLAGS[@]}" --add-dynamic-module="$(named "$sv_root" 5)" --builddir="$objs"
    ) > "$objs/configure.log" 2>&1 || {
        sed -n '/error:/,$p' "$objs/configure.log" >&2
        die "configuring the module failed, see $shown/nginx/configure.log"
    }

    # what every object depends on has not changed: a new source file is no reason to compile the others
    if [ "$(cat "$objs/flags" 2>/dev/null)" = "$cflags" ]; then
        for header in "$objs"/ngx_auto_*.h; do
            if cmp -s "$header" "$header.old"; then
                touch -r "$header.old" "$header"
            fi
        done
    fi
    printf '%s\n' "$cflags" > "$objs/flags"

    # shellcheck disable=SC2016
    # a header changes: only what includes it is compiled again
    {
        printf '%s/addon/%%.o: CFLAGS += -MMD -MP -fvisibility=hidden\n' "$objs"
        printf -- '-include $(wildcard %s/addon/*/*.d)\n' "$objs"
    } > "$objs/depend.mk"

    printf '%s\n' "$key" > "$objs/configured"
}

build_module()
{
    local shown=$1 cflags=$2 ldflags=$3 src=${SV_NGINX_SRC:-/usr/share/nginx/src} out undefined

    out=$(named "$shown" 6)

    configure_module "$out/nginx" "$cflags" "$ldflags"
    make -j "$(jobs_wanted)" -C "$src" --no-print-directory \
        -f "$out/nginx/Makefile" -f "$out/nginx/depend.mk" modules \
        > "$out/nginx/make.log" 2>&1 || {
        grep -vE '^(cc|gcc) |^make|^[[:space:]]' "$out/nginx/make.log" >&2
        die "the module does not compile"
    }

    undefined=$(nm -D --undefined-only "$out/nginx/ngx_serial_verify_module.so" \
                    | awk '$2 ~ /^(sv_|ngx_sv_)/ {print $2}')
    [ -z "$undefined" ] || die "called and not defined: $undefined"

    if ! cmp -s "$out/nginx/ngx_serial_verify_module.so" "$out/ngx_serial_verify_module.so"; then
        # never write into a file that a running server has mapped
        install -m 755 "$out/nginx/ngx_serial_verify_module.so" "$out/.module.new"
        mv "$out/.module.new" "$out/ngx_serial_verify_module.so"
    fi
}

# build_all plain|asan [MAKE TARGET..]
build_all()
{
    local variant=$1 out=$SV_BUILD san='' failed=0 cflags ldflags
    shift

    cflags="-g -O2 -fPIC -fstack-protector-strong -D_FORTIFY_SOURCE=2 -Wformat -Werror=format-security"
    ldflags="-Wl,-z,relro -Wl,-z,now -fPIC"

    if [ "$variant" = asan ]; then
        out=$SV_BUILD/asan
        san=1
        cflags="-g -O1 -fPIC -fsanitize=address,undefined -fno-omit-frame-pointer -DSV_FAILPOINTS"
        ldflags="-fsanitize=address,undefined -fPIC"
    fi

    mkdir -p "$out"
    exec 5< "$sv_root" 6< "$out" 8> "$out/.lock"
    flock 8

    make -j "$(jobs_wanted)" --no-print-directory BUILD="$(named "$out" 6)" SAN="$san" -k "${@:-all}" >&2 || failed=1
    build_module "$out" "$cflags" "$ldflags"

    exec 5<&- 6<&- 8>&-
    [ "$failed" -eq 0 ] || die "not everything compiles"
}

build_main()
{
    local variant=plain targets=(all) arg

    for arg; do
        case $arg in
            --asan) variant=asan ;;
            --unit) targets+=(unit) ;;
            *)      usage_error "build: unknown option \"$arg\"" ;;
        esac
    done

    # shellcheck source=tools/dev/install.sh
    . tools/dev/install.sh
    install_packages build
    [ "${#targets[@]}" -eq 1 ] || install_packages test

    build_all "$variant" "${targets[@]}"
    say "Built into ${SV_BUILD#"$sv_root"/}$([ "$variant" = plain ] || echo /asan)"
}
