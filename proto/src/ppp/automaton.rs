//! The option negotiation automaton: the table of RFC 1661 §4.1 as a pure function.
//!
//! One function is one line of the RFC's table (an event), one arm is one cell (a state). `NONE` is the RFC's `-`: the
//! event cannot occur there, and nothing happens if it does all the same. The options `r` (restart), `p` (passive) and
//! `x` (crossed connection) are left out as the RFC allows; the open-again events `3r`, `5r`, `9r` stay where they are.

use Action::{Irc, Sca, Scj, Scn, Scr, Ser, Sta, Str, Tld, Tlf, Tls, Tlu, Zrc};
use State::{
    AckRcvd, AckSent, Closed, Closing, Initial, Opened, ReqSent, Starting, Stopped, Stopping,
};

/// The states (RFC 1661 §4.2).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum State {
    /// The lower layer is down and nobody asked to open.
    Initial,
    /// The lower layer is down, and we want to open.
    Starting,
    /// The lower layer is up and nobody asked to open.
    Closed,
    /// We wanted to open and have ended; a request from the peer starts again.
    Stopped,
    /// We have asked to terminate, and do not want to open.
    Closing,
    /// Termination is under way although we would like to open.
    Stopping,
    /// Our request is out.
    ReqSent,
    /// Our request is acknowledged.
    AckRcvd,
    /// The peer's request is acknowledged.
    AckSent,
    /// Both are.
    Opened,
}

/// The events (RFC 1661 §4.3).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Event {
    /// The lower layer is up.
    Up,
    /// The lower layer is down.
    Down,
    /// We want to open.
    Open,
    /// We want to close.
    Close,
    /// The restart timer fired with tries left (`TO+`).
    TimeoutMore,
    /// The restart timer fired for the last time (`TO-`).
    TimeoutLast,
    /// A Configure-Request that we accept (`RCR+`).
    GoodRequest,
    /// A Configure-Request that we do not accept (`RCR-`).
    BadRequest,
    /// A Configure-Ack (`RCA`).
    ConfigureAck,
    /// A Configure-Nak or -Reject (`RCN`).
    ConfigureNak,
    /// A Terminate-Request (`RTR`).
    TerminateRequest,
    /// A Terminate-Ack (`RTA`).
    TerminateAck,
    /// A packet with an unknown code (`RUC`).
    UnknownCode,
    /// A Code-Reject or Protocol-Reject that we can live with (`RXJ+`).
    HarmlessReject,
    /// A Code-Reject or Protocol-Reject that ends it (`RXJ-`).
    FatalReject,
    /// An Echo-Request, Echo-Reply or Discard-Request (`RXR`).
    Echo,
}

/// The actions (RFC 1661 §4.4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// This layer is up.
    Tlu,
    /// This layer is down.
    Tld,
    /// This layer has started.
    Tls,
    /// This layer has finished.
    Tlf,
    /// Initialize the restart counter.
    Irc,
    /// Zero the restart counter.
    Zrc,
    /// Send Configure-Request.
    Scr,
    /// Send Configure-Ack.
    Sca,
    /// Send Configure-Nak or -Reject.
    Scn,
    /// Send Terminate-Request.
    Str,
    /// Send Terminate-Ack.
    Sta,
    /// Send Code-Reject.
    Scj,
    /// Send Echo-Reply.
    Ser,
}

/// A cell of the table; `None` is the RFC's `-`.
type Cell = Option<(&'static [Action], State)>;

/// The event cannot occur in this state.
const NONE: Cell = None;

/// Returns what to do, in order, and the next state; `None` where the table has a dash.
#[must_use]
pub fn transition(event: Event, state: State) -> Option<(&'static [Action], State)> {
    match event {
        Event::Up => up(state),
        Event::Down => down(state),
        Event::Open => open(state),
        Event::Close => close(state),
        Event::TimeoutMore => timeout_more(state),
        Event::TimeoutLast => timeout_last(state),
        Event::GoodRequest => good_request(state),
        Event::BadRequest => bad_request(state),
        Event::ConfigureAck => configure_ack(state),
        Event::ConfigureNak => configure_nak(state),
        Event::TerminateRequest => terminate_request(state),
        Event::TerminateAck => terminate_ack(state),
        Event::UnknownCode => unknown_code(state),
        Event::HarmlessReject => harmless_reject(state),
        Event::FatalReject => fatal_reject(state),
        Event::Echo => echo(state),
    }
}

/// The line `Up`.
const fn up(state: State) -> Cell {
    match state {
        Initial => Some((&[], Closed)),
        Starting => Some((&[Irc, Scr], ReqSent)),
        Closed => NONE,
        Stopped => NONE,
        Closing => NONE,
        Stopping => NONE,
        ReqSent => NONE,
        AckRcvd => NONE,
        AckSent => NONE,
        Opened => NONE,
    }
}

/// The line `Down`.
const fn down(state: State) -> Cell {
    match state {
        Initial => NONE,
        Starting => NONE,
        Closed => Some((&[], Initial)),
        Stopped => Some((&[Tls], Starting)),
        Closing => Some((&[], Initial)),
        Stopping => Some((&[], Starting)),
        ReqSent => Some((&[], Starting)),
        AckRcvd => Some((&[], Starting)),
        AckSent => Some((&[], Starting)),
        Opened => Some((&[Tld], Starting)),
    }
}

/// The line `Open`.
#[expect(
    clippy::unnecessary_wraps,
    reason = "a line without a dash is a line all the same"
)]
const fn open(state: State) -> Cell {
    match state {
        Initial => Some((&[Tls], Starting)),
        Starting => Some((&[], Starting)),
        Closed => Some((&[Irc, Scr], ReqSent)),
        Stopped => Some((&[], Stopped)),
        Closing => Some((&[], Stopping)),
        Stopping => Some((&[], Stopping)),
        ReqSent => Some((&[], ReqSent)),
        AckRcvd => Some((&[], AckRcvd)),
        AckSent => Some((&[], AckSent)),
        Opened => Some((&[], Opened)),
    }
}

/// The line `Close`.
#[expect(
    clippy::unnecessary_wraps,
    reason = "a line without a dash is a line all the same"
)]
const fn close(state: State) -> Cell {
    match state {
        Initial => Some((&[], Initial)),
        Starting => Some((&[Tlf], Initial)),
        Closed => Some((&[], Closed)),
        Stopped => Some((&[], Closed)),
        Closing => Some((&[], Closing)),
        Stopping => Some((&[], Closing)),
        ReqSent => Some((&[Irc, Str], Closing)),
        AckRcvd => Some((&[Irc, Str], Closing)),
        AckSent => Some((&[Irc, Str], Closing)),
        Opened => Some((&[Tld, Irc, Str], Closing)),
    }
}

/// The line `TO+`.
const fn timeout_more(state: State) -> Cell {
    match state {
        Initial => NONE,
        Starting => NONE,
        Closed => NONE,
        Stopped => NONE,
        Closing => Some((&[Str], Closing)),
        Stopping => Some((&[Str], Stopping)),
        ReqSent => Some((&[Scr], ReqSent)),
        AckRcvd => Some((&[Scr], ReqSent)),
        AckSent => Some((&[Scr], AckSent)),
        Opened => NONE,
    }
}

/// The line `TO-`.
const fn timeout_last(state: State) -> Cell {
    match state {
        Initial => NONE,
        Starting => NONE,
        Closed => NONE,
        Stopped => NONE,
        Closing => Some((&[Tlf], Closed)),
        Stopping => Some((&[Tlf], Stopped)),
        ReqSent => Some((&[Tlf], Stopped)),
        AckRcvd => Some((&[Tlf], Stopped)),
        AckSent => Some((&[Tlf], Stopped)),
        Opened => NONE,
    }
}

/// The line `RCR+`.
const fn good_request(state: State) -> Cell {
    match state {
        Initial => NONE,
        Starting => NONE,
        Closed => Some((&[Sta], Closed)),
        Stopped => Some((&[Irc, Scr, Sca], AckSent)),
        Closing => Some((&[], Closing)),
        Stopping => Some((&[], Stopping)),
        ReqSent => Some((&[Sca], AckSent)),
        AckRcvd => Some((&[Sca, Tlu], Opened)),
        AckSent => Some((&[Sca], AckSent)),
        Opened => Some((&[Tld, Scr, Sca], AckSent)),
    }
}

/// The line `RCR-`.
const fn bad_request(state: State) -> Cell {
    match state {
        Initial => NONE,
        Starting => NONE,
        Closed => Some((&[Sta], Closed)),
        Stopped => Some((&[Irc, Scr, Scn], ReqSent)),
        Closing => Some((&[], Closing)),
        Stopping => Some((&[], Stopping)),
        ReqSent => Some((&[Scn], ReqSent)),
        AckRcvd => Some((&[Scn], AckRcvd)),
        AckSent => Some((&[Scn], ReqSent)),
        Opened => Some((&[Tld, Scr, Scn], ReqSent)),
    }
}

/// The line `RCA`.
const fn configure_ack(state: State) -> Cell {
    match state {
        Initial => NONE,
        Starting => NONE,
        Closed => Some((&[Sta], Closed)),
        Stopped => Some((&[Sta], Stopped)),
        Closing => Some((&[], Closing)),
        Stopping => Some((&[], Stopping)),
        ReqSent => Some((&[Irc], AckRcvd)),
        AckRcvd => Some((&[Scr], ReqSent)),
        AckSent => Some((&[Irc, Tlu], Opened)),
        Opened => Some((&[Tld, Scr], ReqSent)),
    }
}

/// The line `RCN`.
const fn configure_nak(state: State) -> Cell {
    match state {
        Initial => NONE,
        Starting => NONE,
        Closed => Some((&[Sta], Closed)),
        Stopped => Some((&[Sta], Stopped)),
        Closing => Some((&[], Closing)),
        Stopping => Some((&[], Stopping)),
        ReqSent => Some((&[Irc, Scr], ReqSent)),
        AckRcvd => Some((&[Scr], ReqSent)),
        AckSent => Some((&[Irc, Scr], AckSent)),
        Opened => Some((&[Tld, Scr], ReqSent)),
    }
}

/// The line `RTR`.
const fn terminate_request(state: State) -> Cell {
    match state {
        Initial => NONE,
        Starting => NONE,
        Closed => Some((&[Sta], Closed)),
        Stopped => Some((&[Sta], Stopped)),
        Closing => Some((&[Sta], Closing)),
        Stopping => Some((&[Sta], Stopping)),
        ReqSent => Some((&[Sta], ReqSent)),
        AckRcvd => Some((&[Sta], ReqSent)),
        AckSent => Some((&[Sta], ReqSent)),
        Opened => Some((&[Tld, Zrc, Sta], Stopping)),
    }
}

/// The line `RTA`.
const fn terminate_ack(state: State) -> Cell {
    match state {
        Initial => NONE,
        Starting => NONE,
        Closed => Some((&[], Closed)),
        Stopped => Some((&[], Stopped)),
        Closing => Some((&[Tlf], Closed)),
        Stopping => Some((&[Tlf], Stopped)),
        ReqSent => Some((&[], ReqSent)),
        AckRcvd => Some((&[], ReqSent)),
        AckSent => Some((&[], AckSent)),
        Opened => Some((&[Tld, Scr], ReqSent)),
    }
}

/// The line `RUC`.
const fn unknown_code(state: State) -> Cell {
    match state {
        Initial => NONE,
        Starting => NONE,
        Closed => Some((&[Scj], Closed)),
        Stopped => Some((&[Scj], Stopped)),
        Closing => Some((&[Scj], Closing)),
        Stopping => Some((&[Scj], Stopping)),
        ReqSent => Some((&[Scj], ReqSent)),
        AckRcvd => Some((&[Scj], AckRcvd)),
        AckSent => Some((&[Scj], AckSent)),
        Opened => Some((&[Scj], Opened)),
    }
}

/// The line `RXJ+`.
const fn harmless_reject(state: State) -> Cell {
    match state {
        Initial => NONE,
        Starting => NONE,
        Closed => Some((&[], Closed)),
        Stopped => Some((&[], Stopped)),
        Closing => Some((&[], Closing)),
        Stopping => Some((&[], Stopping)),
        ReqSent => Some((&[], ReqSent)),
        AckRcvd => Some((&[], ReqSent)),
        AckSent => Some((&[], AckSent)),
        Opened => Some((&[], Opened)),
    }
}

/// The line `RXJ-`.
const fn fatal_reject(state: State) -> Cell {
    match state {
        Initial => NONE,
        Starting => NONE,
        Closed => Some((&[Tlf], Closed)),
        Stopped => Some((&[Tlf], Stopped)),
        Closing => Some((&[Tlf], Closed)),
        Stopping => Some((&[Tlf], Stopped)),
        ReqSent => Some((&[Tlf], Stopped)),
        AckRcvd => Some((&[Tlf], Stopped)),
        AckSent => Some((&[Tlf], Stopped)),
        Opened => Some((&[Tld, Irc, Str], Stopping)),
    }
}

/// The line `RXR`.
const fn echo(state: State) -> Cell {
    match state {
        Initial => NONE,
        Starting => NONE,
        Closed => Some((&[], Closed)),
        Stopped => Some((&[], Stopped)),
        Closing => Some((&[], Closing)),
        Stopping => Some((&[], Stopping)),
        ReqSent => Some((&[], ReqSent)),
        AckRcvd => Some((&[], AckRcvd)),
        AckSent => Some((&[], AckSent)),
        Opened => Some((&[Ser], Opened)),
    }
}

#[cfg(test)]
mod tests;
