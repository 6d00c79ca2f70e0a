#!/bin/sh
# install.sh VENV WHAT [PYTHON]: installs WHAT ("." or ".[test]") into VENV, which is made if need be.
# Without PYTHON: the Python that VENV has, else the first one on the PATH that fits.
set -eu
venv=$1 what=$2 python=${3:-}
needs="KVScope needs Python 3.11, 3.12 or 3.13"

fail() { echo "$*" >&2; exit 1; }
fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; }
version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

find_python() {
    for python in "$venv/bin/python" python3 python3.13 python3.12 python3.11; do
        if fits "$python"; then return; fi
    done
    false
}

# apt_install PROBLEM PACKAGE...: installs the first of the packages that apt knows; where it may not, says how.
apt_install() {
    problem=$1
    shift
    if command -v apt-get >/dev/null; then
        if [ "$(id -u)" -eq 0 ]; then apt-get update -qq; fi
        for package; do
            apt-cache show "$package" >/dev/null 2>&1 || continue
            [ "$(id -u)" -eq 0 ] || fail "$problem; run: sudo apt-get install -y $package"
            DEBIAN_FRONTEND=noninteractive apt-get install -y "$package" ||
                fail "$problem, and apt-get could not install $package."
            return
        done
    fi
    fail "$problem; install it from https://www.python.org/downloads/ and run make again."
}

if [ -n "$python" ]; then
    fits "$python" || fail "$needs, and PYTHON=$python is $(version "$python" || echo not found)."
elif ! find_python; then
    apt_install "$needs, and none is on the PATH" python3.13-venv python3.12-venv python3.11-venv
    find_python || fail "$needs, and none is on the PATH."
fi

if [ "$(version "$venv/bin/python")" != "$(version "$python")" ] || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    "$python" -c 'import ensurepip' 2>/dev/null ||
        apt_install "Python's venv module is missing" "python$(version "$python")-venv"
    echo "Making $venv with Python $(version "$python")."
    "$python" -m venv --clear "$venv"
fi
echo "Installing KVScope and what it needs into $venv; the first time takes a minute or two."
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable "$what"
