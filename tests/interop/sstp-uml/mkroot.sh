#!/bin/bash
# mkroot.sh: prepare the root filesystem of the UML guest: this machine's own /, read-only (hostfs) under a tmpfs
# overlay. Nothing is copied; only missing packages are installed.
#
#   mkroot.sh           install what is missing and make the root ready
#   mkroot.sh --check   only say whether it is ready
set -u
. "$(dirname "$0")/lib.sh"

CHECK=
while [ $# -gt 0 ]; do
    case $1 in
    --check) CHECK=1; shift ;;
    -h|--help) sed -n '2,7p' "$0"; exit 0 ;;
    *) die "unknown option $1" ;;
    esac
done

# command:package, on the host and so in the guest
NEEDS="linux.uml:user-mode-linux sstpc:sstp-client pppd:ppp ip:iproute2 ping:iputils-ping iperf3:iperf3 curl:curl
 insmod:kmod busybox:busybox-static nc:netcat-openbsd tcpdump:tcpdump openssl:openssl setsid:util-linux tc:iproute2
 ethtool:ethtool python3:python3"

export PATH=$PATH:/usr/sbin:/sbin
missing=
for pair in $NEEDS; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
done
if [ -n "$missing" ]; then
    [ -z "$CHECK" ] || { say "missing packages:$missing"; exit 1; }
    say "installing:$missing"
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive timeout 300 apt-get install -y --no-install-recommends $missing >/tmp/mkroot-apt.$$ 2>&1 ||
        { tail -5 /tmp/mkroot-apt.$$ >&2; die "apt-get failed"; }
    rm -f /tmp/mkroot-apt.$$
fi
REL=$(uml_release) || die "no UML kernel modules under /usr/lib/uml/modules"
[ -f "/usr/lib/uml/modules/$REL/modules.dep.bin" ] || depmod -b /usr/lib/uml "$REL" 2>/dev/null
for m in overlayfs/overlay ../drivers/net/ppp/ppp_async; do
    [ -e "/usr/lib/uml/modules/$REL/kernel/fs/$m.ko" ] || die "kernel module $m missing for $REL"
done
mkdir -p "$TB_CACHE/roots" "$TB_CACHE/jobs" && chmod 755 "$TB_CACHE"
ln -sfn / "$TB_CACHE/roots/host"
say "root 'host' ready (UML kernel $REL, $(pppd --version 2>&1), $(sstpc --version 2>&1 | head -1))"
