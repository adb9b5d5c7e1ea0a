# shellcheck shell=bash
# ./dev lint

lint_usage()
{
    cat <<END
Usage: ./dev lint

Checks everything that can be checked without running it:

  layers   which directory includes which (docs/architecture.md)
  style    C code in nginx's style
  c        calls without bounds or error reporting, calls that block the event loop
  sql      the schema's rules
  perl     perlcritic, severity 5
  shell    bash -n and shellcheck
  words    unfinished work, paths of one machine, blanks at the end of lines
END
}

: "${red?}" "${plain?}"

# shellcheck source=tools/dev/install.sh
. tools/dev/install.sh

lint_files() { git ls-files --cached --others --exclude-standard -- "$@"; }

lint_perl()
{
    lint_files '*.pm' '*.pl' '*.t' tools/dev/localize tools/lint | grep -v '\.bad$' \
        | xargs -r perlcritic --quiet --profile .perlcriticrc
}

lint_shell()
{
    local file scripts=()

    while IFS= read -r file; do
        case $file in
            *.bad) continue ;;
            *.sh) scripts+=("$file") ;;
            *)
                if head -c 64 "$file" | head -n 1 | grep -qE '^#!.*\b(ba)?sh$'; then
                    scripts+=("$file")
                fi
                ;;
        esac
    done < <(lint_files dev .ci sql t tools)

    for file in "${scripts[@]}"; do
        bash -n "$file"
    done

    if command -v shellcheck >/dev/null; then
        shellcheck -x "${scripts[@]}"
    fi
}

lint_main()
{
    local check failed=0

    [ $# -eq 0 ] || usage_error "lint: unknown option \"$1\""

    command -v git >/dev/null || die "lint needs git"
    install_packages test

    for check in layers style c sql perl shell words; do
        if case $check in
            perl|shell) "lint_$check" ;;
            *) lint_files | perl tools/lint/rules "$check" ;;
        esac >&2; then
            good "$check"
        else
            printf '%s\n' "${red}not ok${plain}  $check"
            failed=1
        fi
    done

    [ "$failed" -eq 0 ] || die "lint found something"
}
