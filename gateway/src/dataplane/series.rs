//! The packet path's counters as metrics: read once a second, never on the packet path.

use metrics::Counter as Series;

use super::counters::{Counter, Counters, Tally};

const PROTOCOL: &str = "sstp";

/// Returns the hook that writes a reading of the packet path into its metrics.
pub fn publisher(read: impl Fn() -> Counters + Send + 'static) -> impl FnMut() + Send + 'static {
    let (rx, tx) = (Direction::new("rx"), Direction::new("tx"));
    let reads = metrics::counter!("causeway_tun_reads_total", "queue" => "0");
    let read_errors = metrics::counter!("causeway_tun_errors_total", "operation" => "read");
    let write_errors = metrics::counter!("causeway_tun_errors_total", "operation" => "write");
    move || {
        let Counters { up, down } = read();
        rx.publish(&up);
        tx.publish(&down);
        reads.absolute(down.get(Counter::TunReads));
        read_errors.absolute(down.get(Counter::TunErrors));
        write_errors.absolute(up.get(Counter::TunErrors));
        // For the TUN, rx is what it gives, and that goes down to the clients.
        rx.tun.absolute(down.get(Counter::TunPackets));
        tx.tun.absolute(up.get(Counter::TunPackets));
    }
}

/// The series of one direction; `rx` is from the client.
struct Direction {
    packets: Series,
    bytes: Series,
    tun: Series,
    drops: Vec<(Counter, Series)>,
}

impl Direction {
    fn new(direction: &'static str) -> Self {
        let drop = |reason: Counter| {
            let word = reason.as_str();
            let series = metrics::counter!(
                "causeway_packets_dropped_total",
                "protocol" => PROTOCOL, "direction" => direction, "reason" => word
            );
            (reason, series)
        };
        Self {
            packets: metrics::counter!("causeway_packets_total", "protocol" => PROTOCOL, "direction" => direction),
            bytes: metrics::counter!("causeway_bytes_total", "protocol" => PROTOCOL, "direction" => direction),
            tun: metrics::counter!("causeway_tun_packets_total", "queue" => "0", "direction" => direction),
            drops: Counter::DROPS.map(drop).into(),
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
        metrics::with_local_recorder(&recorder, || publisher(move || counters)());
        let text = rendered.render();
        assert_eq!(text.lines().count(), before);
        for line in [
            "causeway_packets_dropped_total{protocol=\"sstp\",direction=\"rx\",reason=\"source_address\"} 3",
            "causeway_bytes_total{protocol=\"sstp\",direction=\"tx\"} 1400",
            "causeway_tun_reads_total{queue=\"0\"} 2",
        ] {
            assert!(text.contains(line), "{line}");
        }
    }
}
