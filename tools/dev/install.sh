# shellcheck shell=bash
# Debian packages: installed only when missing, and so that no service starts.

# packages_of PURPOSE..
packages_of()
{
    local purpose

    for purpose; do
        awk -v purpose="$purpose" '$1 == purpose {print $2}' tools/dev/packages
    done
}

packages_missing()
{
    local package

    for package; do
        dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null \
            | grep -qx installed || printf '%s\n' "$package"
    done
}

# install_packages PURPOSE..
install_packages()
{
    local missing run

    command -v dpkg-query >/dev/null || die "this is not a Debian system: install the equivalents of tools/dev/packages by hand"

    # shellcheck disable=SC2046
    missing=$(packages_missing $(packages_of "$@") | tr '\n' ' ')
    [ -n "$missing" ] || return 0

    run=()
    if ! is_root; then
        command -v sudo >/dev/null || die "packages are missing and there is no sudo; as root: apt-get install --no-install-recommends $missing"
        run=(sudo)
    fi

    say "Installing Debian packages (no service is started): $missing"
    # shellcheck disable=SC2086
    "${run[@]}" bash tools/dev/apt-quiet $missing
}
