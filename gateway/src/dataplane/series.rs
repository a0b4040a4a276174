//! The packet path's counters as metrics: read once a second, never on the packet path.

use metrics::Counter as Series;

use super::counters::{Counter, Counters, Tally};

/// Reasons that streams have.
const STREAM_DROPS: [Counter; 13] = [
    Counter::Malformed,
    Counter::NotIpv4,
    Counter::SourceAddress,
    Counter::Destination,
    Counter::Blocked,
    Counter::Isolated,
    Counter::Gateway,
    Counter::Filter,
    Counter::NoSession,
    Counter::TooBig,
    Counter::QueueFull,
    Counter::Late,
    Counter::ControlFull,
];

/// Reasons that datagram sessions have: they have no queue where a packet could wait.
const DATAGRAM_DROPS: [Counter; 15] = [
    Counter::Malformed,
    Counter::NotIpv4,
    Counter::SourceAddress,
    Counter::Destination,
    Counter::Blocked,
    Counter::Isolated,
    Counter::Gateway,
    Counter::Filter,
    Counter::TooBig,
    Counter::QueueFull,
    Counter::ControlFull,
    Counter::Replay,
    Counter::Integrity,
    Counter::NoKey,
    Counter::Unsent,
];

/// Returns the hook that writes a reading of the packet path into its metrics.
pub fn publisher(read: impl Fn() -> Counters + Send + 'static) -> impl FnMut() + Send + 'static {
    let streams = Kind::new("sstp", &STREAM_DROPS);
    let datagrams = Kind::new("mobility", &DATAGRAM_DROPS);
    let roams = metrics::counter!("causeway_session_roams_total", "protocol" => "mobility");
    let tun = |direction| metrics::counter!("causeway_tun_packets_total", "queue" => "0", "direction" => direction);
    let (from_tun, to_tun) = (tun("rx"), tun("tx"));
    let reads = metrics::counter!("causeway_tun_reads_total", "queue" => "0");
    let read_errors = metrics::counter!("causeway_tun_errors_total", "operation" => "read");
    let write_errors = metrics::counter!("causeway_tun_errors_total", "operation" => "write");
    move || {
        let counters = read();
        let Counters { up, down, .. } = &counters;
        streams.publish(up, down);
        datagrams.publish(&counters.datagrams.up, &counters.datagrams.down);
        roams.absolute(counters.datagrams.up.get(Counter::Roams));
        reads.absolute(down.get(Counter::TunReads));
        read_errors.absolute(down.get(Counter::TunErrors));
        write_errors.absolute(up.get(Counter::TunErrors));
        // For the TUN, rx is what it gives, and that goes down to the clients.
        from_tun.absolute(down.get(Counter::TunPackets));
        to_tun.absolute(up.get(Counter::TunPackets));
    }
}

/// The series of one kind of sessions.
struct Kind {
    rx: Direction,
    tx: Direction,
}

impl Kind {
    fn new(protocol: &'static str, drops: &[Counter]) -> Self {
        Self {
            rx: Direction::new(protocol, "rx", drops),
            tx: Direction::new(protocol, "tx", drops),
        }
    }

    fn publish(&self, up: &Tally, down: &Tally) {
        self.rx.publish(up);
        self.tx.publish(down);
    }
}

/// The series of one direction; `rx` is from the client.
struct Direction {
    packets: Series,
    bytes: Series,
    drops: Vec<(Counter, Series)>,
}

impl Direction {
    fn new(protocol: &'static str, direction: &'static str, drops: &[Counter]) -> Self {
        let drop = |reason: &Counter| {
            let word = reason.as_str();
            let series = metrics::counter!(
                "causeway_packets_dropped_total",
                "protocol" => protocol, "direction" => direction, "reason" => word
            );
            (*reason, series)
        };
        Self {
            packets: metrics::counter!("causeway_packets_total", "protocol" => protocol, "direction" => direction),
            bytes: metrics::counter!("causeway_bytes_total", "protocol" => protocol, "direction" => direction),
            drops: drops.iter().map(drop).collect(),
        }
    }

    fn publish(&self, tally: &Tally) {
        self.packets.absolute(tally.get(Counter::Packets));
        self.bytes.absolute(tally.get(Counter::Octets));
        for (reason, series) in &self.drops {
            series.absolute(tally.get(*reason));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::observe::metrics::{self as observed, Names};

    use super::*;

    #[test]
    fn a_reading_fills_series_that_were_there_before() {
        let (recorder, rendered) = observed::for_test(&Names {
            queues: 1,
            ..Names::default()
        });
        let before = rendered.render().lines().count();
        let mut counters = Counters::default();
        counters.up.add(Counter::SourceAddress, 3);
        counters.down.add(Counter::Octets, 1400);
        counters.down.add(Counter::TunReads, 2);
        counters.datagrams.up.add(Counter::Replay, 4);
        counters.datagrams.up.add(Counter::Roams, 1);
        counters.datagrams.down.add(Counter::Packets, 5);
        metrics::with_local_recorder(&recorder, || publisher(move || counters)());
        let text = rendered.render();
        assert_eq!(text.lines().count(), before);
        for line in [
            "causeway_packets_dropped_total{protocol=\"sstp\",direction=\"rx\",reason=\"source_address\"} 3",
            "causeway_bytes_total{protocol=\"sstp\",direction=\"tx\"} 1400",
            "causeway_tun_reads_total{queue=\"0\"} 2",
            "causeway_packets_dropped_total{protocol=\"mobility\",direction=\"rx\",reason=\"replay\"} 4",
            "causeway_packets_total{protocol=\"mobility\",direction=\"tx\"} 5",
            "causeway_packets_total{protocol=\"sstp\",direction=\"tx\"} 0",
            "causeway_session_roams_total{protocol=\"mobility\"} 1",
        ] {
            assert!(text.contains(line), "{line}");
        }
    }
}
