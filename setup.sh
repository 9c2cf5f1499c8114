#!/usr/bin/env bash
# Installs what the build needs and the machine lacks: OpenBLAS with its headers, pkg-config, a C compiler.
# With --python, also what the Python package is built and tested with: Python with venv and pip.
# With --mpi, also what the feature `mpi` needs: Open MPI with its headers, and libclang, which reads them.
# Says nothing when all is there. Run it again whenever you like.
set -euo pipefail

mpi= python=
for option in "$@"; do
    case "$option" in
    --mpi) mpi=yes ;;
    --python) python=yes ;;
    *)
        echo "usage: setup.sh [--mpi] [--python]" >&2
        exit 2
        ;;
    esac
done

stop() {
    printf 'setup.sh: %s\n' "$@" >&2
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# As root, or through sudo.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        stop "not root, and there is no sudo: have an administrator run" "    $*"
    fi
}

has_openblas() { have pkg-config && pkg-config --exists openblas; }
has_mpi() { have mpicc && have mpirun; }
has_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] || have llvm-config ||
        compgen -G '/usr/lib/llvm*/lib/libclang*.so*' >/dev/null || compgen -G '/usr/lib*/libclang*.so*' >/dev/null ||
        compgen -G '/opt/homebrew/opt/llvm/lib/libclang*' >/dev/null
}

missing=()
have cc || missing+=(compiler)
have pkg-config || missing+=(pkg-config)
has_openblas || missing+=(openblas)

if [ ${#missing[@]} -gt 0 ]; then
    echo "setup.sh: installing ${missing[*]}" >&2
    if have apt-get; then
        as_root apt-get update -qq
        as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends gcc libc6-dev pkg-config libopenblas-dev >/dev/null
    elif have dnf; then
        as_root dnf install -y -q gcc pkgconf-pkg-config openblas-devel
    elif have pacman; then
        as_root pacman -S --noconfirm --needed --quiet gcc pkgconf openblas lapack cblas
    elif have brew; then
        brew install --quiet pkg-config openblas
    else
        stop "found none of apt-get, dnf, pacman and brew: install by hand" \
            "    a C compiler, pkg-config, and OpenBLAS with its headers (a package often called openblas-dev)"
    fi
    if ! has_openblas && have brew; then
        stop "Homebrew keeps OpenBLAS to itself: tell pkg-config where it is, and run this again" \
            "    export PKG_CONFIG_PATH=\"$(brew --prefix openblas)/lib/pkgconfig\""
    fi
    has_openblas || stop "pkg-config still finds no OpenBLAS: is openblas.pc in PKG_CONFIG_PATH?"
fi

if [ -n "$mpi" ] && ! { has_mpi && has_libclang; }; then
    echo "setup.sh: installing MPI" >&2
    if have apt-get; then
        as_root apt-get update -qq
        as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends libopenmpi-dev openmpi-bin libclang-dev >/dev/null
    elif have dnf; then
        as_root dnf install -y -q openmpi-devel clang-devel
    elif have pacman; then
        as_root pacman -S --noconfirm --needed --quiet openmpi clang
    elif have brew; then
        brew install --quiet open-mpi llvm
    else
        stop "found none of apt-get, dnf, pacman and brew: install Open MPI or MPICH with headers, and libclang"
    fi
    has_mpi || stop "mpicc and mpirun are still not in PATH: on some systems, run first" "    module load mpi"
fi

# A venv needs `ensurepip`, which Debian packages by itself.
has_python() { have python3 && python3 -c 'import ensurepip, venv' 2>/dev/null; }
if [ -n "$python" ] && ! has_python; then
    echo "setup.sh: installing Python" >&2
    if have apt-get; then
        as_root apt-get update -qq
        as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends python3 python3-venv python3-pip >/dev/null
    elif have dnf; then
        as_root dnf install -y -q python3 python3-pip
    elif have pacman; then
        as_root pacman -S --noconfirm --needed --quiet python python-pip
    elif have brew; then
        brew install --quiet python
    else
        stop "found none of apt-get, dnf, pacman and brew: install Python 3.10 or later with venv and pip"
    fi
    has_python || stop "python3 still has no venv"
fi

have cargo || stop "Rust is missing: install it as https://rustup.rs says, open a new shell, and run this again"
