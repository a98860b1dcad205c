#!/bin/sh
# Makes a virtual environment with a supported Python and installs Triplane into it.
# usage: deploy/setup.sh VENV_DIR CLIENT      CLIENT: ib-insync (default) or ib-async; they never share an environment
set -eu
venv=${1:-.venv}
client=${2:-ib-insync}
python=
for candidate in "${PYTHON:-}" python3.12 python3.11 python3.13 python3 python; do
    [ -n "$candidate" ] || continue
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    found=$(python3 --version 2>/dev/null || echo "no Python")
    echo "Triplane needs Python 3.11, 3.12 or 3.13, and found $found: install one and run again, or name it with PYTHON=/path/to/python3.12." >&2
    exit 69
fi
# An environment whose making or filling was cut short is made anew: what is half there counts as installed, to pip and to uv.
# Its pip comes last and its script last of all.
if [ -e "$venv/.filling" ] || ! [ -x "$venv/bin/pip" ] || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    # The mark comes first and goes last, so that this, too, may be cut short.
    if [ -e "$venv/.filling" ] || [ -f "$venv/pyvenv.cfg" ]; then
        touch "$venv/.filling"
        rm -f "$venv/.ready"
        find "$venv/" -mindepth 1 -maxdepth 1 ! -name .filling -exec rm -rf {} +
    fi
    trap 'rm -f "$venv.log"; exit 130' INT TERM
    real=$venv
    if [ -d "$venv" ]; then real=$(cd "$venv" && pwd -P); fi # Python makes no environment through a link
    if ! "$python" -m venv "$real" 2>"$venv.log"; then
        remedy="remove $venv, then run again"
        "$python" -c 'import ensurepip, venv' 2>/dev/null || remedy="on Debian and Ubuntu install python3-venv, then run again"
        echo "A virtual environment could not be made with $python ($(tail -n 1 "$venv.log")): $remedy." >&2
        rm -f "$venv.log"
        exit 69
    fi
    rm -f "$venv.log"
    trap - INT TERM
fi
echo "Installing Triplane and its libraries into $venv; the first time takes a minute or two." >&2
touch "$venv/.filling"
if ! {
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "uv>=0.8" &&
        "$venv/bin/uv" pip install --quiet --compile-bytecode --python "$venv/bin/python" --require-hashes -r "requirements/$client.txt" &&
        "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-deps --editable .
}; then
    if [ -e "$venv/.ready" ]; then rm "$venv/.filling"; fi # what worked before is not thrown away for want of a network
    echo "Triplane's libraries could not be installed into $venv (the lines above say why): mend that, then run again." >&2
    exit 69
fi
mv "$venv/.filling" "$venv/.ready"
