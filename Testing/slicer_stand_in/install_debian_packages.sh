#!/bin/sh
# Install the Debian packages that the stand-in needs and this machine lacks.
#   sh Testing/slicer_stand_in/install_debian_packages.sh
# As root it installs them; otherwise it says what to install and ends with status 1.
set -eu

list="$(dirname "$0")/debian-packages.txt"
if ! command -v dpkg-query >/dev/null 2>&1; then
    echo "This is no Debian; install what stands for these packages here: $(grep -v '^#' "$list" | tr '\n' ' ')" >&2
    exit 0
fi

missing=""
for package in $(grep -v '^#' "$list"); do
    # Debian 13 and Ubuntu 24.04 call some packages …t64; apt-get still knows the old names.
    status="$(dpkg-query --show --showformat=' ${db:Status-Status} ' "$package" "${package}t64" 2>/dev/null || true)"
    case "$status" in
        *" installed "*) ;;
        *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "The stand-in needs Debian packages that are not installed; run: sudo apt-get install --yes$missing" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet
# shellcheck disable=SC2086 # one word a package
apt-get install --yes --no-install-recommends $missing
