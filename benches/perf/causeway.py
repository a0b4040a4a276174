"""Causeway as a row of the data-plane harness: `bench.py --extra benches/perf/causeway.py --rows causeway-sstp,...`.

Needs a release build (CAUSEWAY_BIN, default target/release/causeway) and the harness's own SSTP client.
"""
import os

import bench

HERE = os.path.dirname(os.path.abspath(__file__))
BIN = os.environ.get("CAUSEWAY_BIN", os.path.join(HERE, "..", "..", "target", "release", "causeway"))
# MD4 of "pw" in UTF-16LE.
NT_HASH = "8cc19b6a8cfeac299c2871c86b38de28"


# A host behind the gateway: the gateway's own address answers pings and nothing else.
BEHIND = "10.78.0.1"


class Causeway(bench.Sstp):
    name, peer = "causeway-sstp", False
    packing, extra = "many", ""

    def __init__(self):
        super().__init__()
        self.server_ip = BEHIND

    def missing(self):
        return super().missing() + ([] if os.path.exists(BIN) else [BIN])

    def start(self):
        d = f"{bench.WORK}/{self.name}"
        os.makedirs(d, exist_ok=True)
        pki = bench.certs()
        users = os.open(f"{d}/users.toml", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.write(users, f'[[user]]\nname = "u"\nnt_hash = "{NT_HASH}"\n'.encode())
        os.close(users)
        os.chmod(f"{pki}/s.key", 0o600)
        with open(f"{d}/gateway.toml", "w") as f:
            f.write(f"""schema = 1
[gateway]
hostname = "s.perf"
[pools.users]
ipv4 = ["10.77.0.0/24"]
[network]
tun = "cwperf0"
mtu = {bench.MTU}
manage_forwarding = false
manage_nftables = "off"
[sstp]
listen = ["{bench.OS}:443"]
certificate = "{pki}/s.crt"
key = "{pki}/s.key"
auth = ["pap"]
record_packing = "{self.packing}"
[users]
file = "{d}/users.toml"
[health]
require = ["sstp", "tun", "pool"]
[admin]
socket = "{d}/admin.sock"
listen = "off"
{self.extra}""")
        self.sp = [bench.spawn([BIN, "serve", "--config", f"{d}/gateway.toml"], bench.S, f"{self.name}.log")]
        bench.wait(lambda: ":443 " in bench.sh("ss -ltn", bench.S), 20, "causeway listens")
        bench.sh(f"ip addr replace {BEHIND}/32 dev lo", bench.S)
        self.connect()
        bench.sh(f"ip route replace {BEHIND}/32 dev sstpc0", bench.C)


class CausewayOne(Causeway):
    """One SSTP packet a record, as sstpc needs it."""
    name, packing = "causeway-sstp-1rec", "one"
