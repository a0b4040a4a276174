//! What the downlink thread is told, and how it obeys.

use std::sync::Arc;
use std::time::Instant;

use causeway_proto::ip::filter::Filter;

use crate::dataplane::downlink::{Downlink, GOODBYE, Half, datagram};
use crate::dataplane::half::{Route, State, StreamHalf};
use crate::dataplane::stream::Key;

/// What the downlink thread is told.
pub(crate) enum DownCommand {
    /// A session begins.
    Attach(Route),
    /// The session has control frames to send.
    Control(Key),
    /// Put another filter in force.
    SetFilter(Key, Option<Arc<Filter>>),
    /// Send the control frames and TLS's goodbye, then close.
    Finish(Key),
    /// Forget the session at once.
    Remove(Key),
    /// Something that only datagram sessions have.
    Datagram(datagram::Order),
    /// End the thread.
    Stop,
}

impl Downlink {
    /// Takes the messages; returns whether the end is among them.
    pub(super) fn obey(&mut self) -> bool {
        // What is told may give a place or an address to somebody else.
        self.send_outgoing();
        for command in self.mailbox.take() {
            match command {
                DownCommand::Attach(route) => self.attach(route),
                DownCommand::Control(key) => self.with(key, |half| half.control = true),
                DownCommand::SetFilter(key, filter) => self.set_filter(key, filter),
                DownCommand::Finish(key) => self.finish(key),
                DownCommand::Remove(key) => self.forget(key),
                DownCommand::Datagram(order) => self.obey_datagram(order),
                DownCommand::Stop => return true,
            }
        }
        false
    }

    fn attach(&mut self, route: Route) {
        let (key, address) = (route.stream.key, route.address);
        let networks = route.networks.clone();
        let slot = self.insert(key, address, Half::Stream(StreamHalf::new(route)));
        for network in networks {
            self.routes.set_network(network, slot);
        }
    }

    fn obey_datagram(&mut self, order: datagram::Order) {
        match order {
            datagram::Order::Attach(half) => {
                self.insert(half.key, half.address, Half::Datagram(*half));
            }
            datagram::Order::InstallSending(key, sending) => {
                let Some(slot) = self.by_key.get(&key).copied() else {
                    return;
                };
                if let Some(Half::Datagram(half)) = self.halves.get_mut(slot) {
                    half.install(sending);
                    half.release(slot, &mut self.outgoing, &self.sockets, &mut self.tools);
                }
            }
            datagram::Order::PrepareSending(key, sending) => {
                if let Some((_, Half::Datagram(half))) = self.half(key) {
                    half.next = Some(sending);
                }
            }
            datagram::Order::RemoveSending(key) => {
                let slot = self.by_key.get(&key).copied();
                let half = slot.and_then(|slot| self.halves.get_mut(slot));
                if let Some(Half::Datagram(half)) = half {
                    half.sending = None;
                    half.drop_held(&mut self.tools);
                }
            }
            datagram::Order::SetEndpoint(key, endpoint) => {
                if let Some((_, Half::Datagram(half))) = self.half(key) {
                    half.meet(endpoint);
                }
            }
        }
    }

    /// Puts another filter in force; what has waited passed the old one.
    fn set_filter(&mut self, key: Key, filter: Option<Arc<Filter>>) {
        let slot = self.by_key.get(&key).copied();
        match slot.and_then(|slot| self.halves.get_mut(slot)) {
            Some(Half::Stream(half)) => half.route.filter = filter,
            Some(Half::Datagram(half)) => {
                half.filter = filter;
                half.drop_held(&mut self.tools);
            }
            None => {}
        }
    }

    fn finish(&mut self, key: Key) {
        let Some(slot) = self.by_key.get(&key).copied() else {
            return;
        };
        if let Some(Half::Stream(half)) = self.halves.get_mut(slot) {
            self.routes.clear(half.route.address, slot);
            for network in &half.route.networks {
                self.routes.clear_network(*network, slot);
            }
            half.queue.clear(&mut self.tools.buffers);
            if half.state == State::Dead {
                self.remove(slot);
                return;
            }
        }
        self.leaving.arm(slot, Instant::now() + GOODBYE);
        self.with(key, |half| {
            half.state = State::Finishing;
            half.control = true;
        });
    }
}
