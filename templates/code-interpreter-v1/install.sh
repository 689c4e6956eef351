#!/bin/sh
# Installs requirements.txt with the Python of the base: from the directory wheels, if there is one, and from PyPI otherwise.
set -eu
cd "$(dirname "$0")"

fail() {
	echo "code-interpreter-v1: $1" >&2
	exit 1
}

command -v bash >/dev/null || fail "the base has no bash"
command -v python3 >/dev/null || fail "the base has no python3: install Python 3.10 or newer on the host, or build from an image that has it"
python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || fail "it needs Python 3.10 or newer, and the base has $(python3 --version)"

if ! python3 -m pip --version >/dev/null 2>&1; then
	wheel=$(ls wheels/pip-*.whl 2>/dev/null | tail -n 1)
	[ -n "$wheel" ] || fail "the Python of the base has no pip: install it on the host (Debian: python3-pip), or put a wheel of pip into the directory wheels"
	export PYTHONPATH="$PWD/$wheel" # A wheel is an archive that Python runs.
fi
set -- python3 -m pip install --quiet --root-user-action=ignore --requirement requirements.txt
if [ -d wheels ]; then
	"$@" --no-index --find-links wheels || fail "a package is not in the directory wheels, or not for this Python ($(python3 --version), $(uname -m)); see above"
else
	"$@" || fail "PyPI did not give all packages; see above. Without the internet, put wheels into the directory wheels"
fi
# What kernels do without is a fifth of all files, and each sandbox has a copy: a debugger, a completer, tests.
python3 -m pip uninstall --quiet --yes --root-user-action=ignore debugpy jedi parso
python3 - <<'END'
import pathlib, shutil, sysconfig
site = pathlib.Path(sysconfig.get_path("purelib"))
for package in "numpy", "pandas", "matplotlib", "mpl_toolkits":
    for tests in list((site / package).rglob("tests")):
        shutil.rmtree(tests, ignore_errors=True)
END
unset PYTHONPATH
python3 -c 'import ipykernel' || fail "ipykernel is installed, but does not load"
