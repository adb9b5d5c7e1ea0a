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

: "${sv_root:?}" "${red?}" "${plain?}"

# shellcheck source=tools/dev/install.sh
. tools/dev/install.sh

# also where root looks at a tree of somebody else
lint_files() { git -c safe.directory="$sv_root" ls-files --cached --others --exclude-standard -- "$@"; }

# scripts LANGUAGE ENDING..: by the ending of the name, or by the first line
scripts()
{
    local language=$1 file ending
    shift

    while IFS= read -r file; do
        for ending; do
            if [ "$file" != "${file%"$ending"}" ]; then
                printf '%s\n' "$file"
                continue 2
            fi
        done
        if [ -f "$file" ] && head -c 64 "$file" | head -n 1 | grep -aqE "^#!.*\\b$language\$"; then
            printf '%s\n' "$file"
        fi
    done < <(lint_files dev .ci sql t tools ':!t/fuzz/corpus')
}

lint_perl()
{
    local files

    mapfile -t files < <(scripts perl .pm .t .pl)
    perlcritic --quiet --profile .perlcriticrc "${files[@]}"
}

lint_shell()
{
    local files file

    mapfile -t files < <(scripts '(ba)?sh' .sh)
    for file in "${files[@]}"; do
        bash -n "$file"
    done
    shellcheck -x "${files[@]}"
}

lint_main()
{
    local check failed=0

    [ $# -eq 0 ] || usage_error "lint: unknown option \"$1\""

    install_packages test
    [ -n "$(lint_files dev)" ] || die "lint works in a git checkout only"

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
