"""Causeway as a row of the data-plane harness: `bench.py --extra benches/perf/causeway.py --rows causeway-sstp,...`.

Needs a release build (CAUSEWAY_BIN, default target/release/causeway) and the harness's own SSTP client.
"""
import os
import signal

import bench

HERE = os.path.dirname(os.path.abspath(__file__))
BIN = os.environ.get("CAUSEWAY_BIN", os.path.join(HERE, "..", "..", "target", "release", "causeway"))
# MD4 of "pw" in UTF-16LE.
NT_HASH = "8cc19b6a8cfeac299c2871c86b38de28"


# A host behind the gateway: the gateway's own address answers pings and nothing else.
BEHIND = "10.78.0.1"
# The client's inner address.
CLIENT = "10.77.0.2"


class Causeway(bench.Sstp):
    name, peer = "causeway-sstp", False
    packing, extra = "many", ""

    def __init__(self):
        super().__init__()
        self.server_ip = BEHIND

    def missing(self):
        return super().missing() + ([] if os.path.exists(BIN) else [BIN])

    def start(self):
        self.serve(self.extra)
        bench.wait(lambda: ":443 " in bench.sh("ss -ltn", bench.S), 20, "causeway listens")
        bench.sh(f"ip addr replace {BEHIND}/32 dev lo", bench.S)
        self.connect()
        bench.sh(f"ip route replace {BEHIND}/32 dev sstpc0", bench.C)

    def private(self, name, text):
        """Writes a file for its owner's eyes alone and returns where it is."""
        path = f"{bench.WORK}/{self.name}/{name}"
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.write(file, text.encode())
        os.close(file)
        return path

    def serve(self, more, ns=bench.S, address=bench.OS, pool="10.77.0.0/24", tun="cwperf0", config="gateway"):
        """Starts a gateway in a namespace and returns the path of its control socket."""
        d = f"{bench.WORK}/{self.name}"
        os.makedirs(d, exist_ok=True)
        pki = bench.certs()
        users = self.private("users.toml", f'[[user]]\nname = "u"\nnt_hash = "{NT_HASH}"\n')
        os.chmod(f"{pki}/s.key", 0o600)
        with open(f"{d}/{config}.toml", "w") as f:
            f.write(f"""schema = 1
[gateway]
hostname = "s.perf"
[pools.users]
ipv4 = ["{pool}"]
[network]
tun = "{tun}"
mtu = {bench.MTU}
manage_forwarding = false
manage_nftables = "off"
[sstp]
listen = ["{address}:443"]
certificate = "{pki}/s.crt"
key = "{pki}/s.key"
auth = ["pap"]
record_packing = "{self.packing}"
[users]
file = "{users}"
[health]
require = ["sstp", "tun", "pool"]
[admin]
socket = "{d}/{config}.sock"
listen = "off"
{more}""")
        side = self.sp if ns == bench.S else self.cp
        side.append(bench.spawn([BIN, "serve", "--config", f"{d}/{config}.toml"], ns, f"{self.name}-{config}.log"))
        socket = f"{d}/{config}.sock"
        bench.wait(lambda: os.path.exists(socket), 20, "causeway listens")
        return socket


class CausewayOne(Causeway):
    """One SSTP packet a record, as sstpc needs it."""
    name, packing = "causeway-sstp-1rec", "one"


class Mobility(Causeway):
    """The Mobility tunnel with a current wireguard-go as the client."""
    name, needs, peer = "causeway-mobility", ["wg"], False
    client = [f"{bench.T}/sid/usr/bin/wireguard-go", "-f", "IFACE"]
    behind = BEHIND

    def __init__(self):
        super().__init__()
        self.server_ip = self.behind

    def missing(self):
        return bench.Row.missing(self) + [path for path in (BIN, self.client[0]) if not os.path.exists(path)]

    def key(self, name):
        """Makes a private key and returns the path of its file and the public key."""
        key = bench.sh("wg genkey").strip()
        return self.private(f"{name}.key", key), bench.sh("wg pubkey", inp=key).strip()

    def mobility(self, private_key, address, peers="none"):
        return f"""[mobility]
enabled = true
listen = ["{address}:5008"]
private_key = "{private_key}"
peers_file = "{bench.WORK}/{self.name}/{peers}.toml"
reauth = "0s"
"""

    def gateway(self):
        """Starts the gateway and enrols the client; returns both keys."""
        os.makedirs(f"{bench.WORK}/{self.name}", exist_ok=True)
        (key, public), (own, own_public) = self.key("gateway"), self.key("client")
        socket = self.serve(self.mobility(key, bench.OS, "peers"))
        bench.sh([BIN, "--socket", socket, "peer", "add", "perf", "--public-key", own_public, "--address", CLIENT])
        bench.sh(f"ip addr replace {self.behind}/32 dev lo; ip route replace {CLIENT}/32 dev cwperf0 src {self.behind}", bench.S)
        return public, own, own_public

    def start(self):
        public, own, _ = self.gateway()
        dev = f"wc{bench.ID}"
        self.cp.append(bench.spawn([x.replace("IFACE", dev) for x in self.client], bench.C, dev + ".log", {"LOG_LEVEL": "error"}))
        bench.wait(lambda: os.path.exists(f"/var/run/wireguard/{dev}.sock"), 10, dev + " sock")
        bench.sh(f"wg set {dev} listen-port 5009 private-key {own} peer {public} allowed-ips {self.behind}/32 endpoint {bench.OS}:5008", bench.C)
        self.tun_ip(bench.C, dev, CLIENT, self.behind)

    def stop(self):
        super().stop()
        try:
            os.unlink(f"/var/run/wireguard/wc{bench.ID}.sock")
        except OSError:
            pass


class MobilityPair(Mobility):
    """The same between two gateways, the second of which calls the first: for rates that wireguard-go does not reach."""
    name, needs = "causeway-mobility-pair", ["wg"]
    # The first address of a pool is the gateway's.
    behind = "10.78.0.2"

    def start(self):
        public, own, own_public = self.gateway()
        # What the register says of a device that was connected when the gateway stopped: it is called at the start.
        listed = self.mobility(own, bench.OC, "servers")
        socket = self.serve(listed, bench.C, bench.OC, "10.78.0.0/24", "cwperf1", "client")
        bench.sh([BIN, "--socket", socket, "peer", "add", "server", "--public-key", public, "--address", self.behind])
        # As if it had been connected when this gateway stopped.
        (process,) = self.cp
        for pid in reversed(bench.children(process.pid)):
            os.kill(pid, signal.SIGINT)
        process.wait(20)
        self.cp = []
        with open(f"{bench.WORK}/{self.name}/servers.toml", "a") as f:
            f.write(f'endpoint = "{bench.OS}:5008"\nconnected = true\n')
        self.serve(listed, bench.C, bench.OC, "10.78.0.0/24", "cwperf1", "client")
        bench.wait(lambda: "cwperf1" in bench.sh("ip -o link", bench.C), 10, "cwperf1")
        bench.sh(f"ip addr add {CLIENT}/32 dev cwperf1; ip route replace {self.behind}/32 dev cwperf1 src {CLIENT}", bench.C)
