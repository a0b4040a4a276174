//! Readiness of descriptors and a bell between threads, over `epoll` and `eventfd`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

/// What a descriptor is watched for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Interest {
    /// Octets to read, or the end of the stream.
    Read,
    /// Room to write.
    Write,
    /// Nothing; errors and hang-ups are still told.
    Errors,
}

impl Interest {
    const fn flags(self) -> EpollFlags {
        match self {
            Self::Read => EpollFlags::EPOLLIN.union(EpollFlags::EPOLLRDHUP),
            Self::Write => EpollFlags::EPOLLOUT,
            Self::Errors => EpollFlags::empty(),
        }
    }
}

/// One descriptor's readiness.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ready {
    /// The number under which the descriptor was added.
    pub token: u64,
    /// Whether the descriptor is broken or hung up in both directions.
    pub failed: bool,
}

/// A set of watched descriptors, level-triggered.
#[derive(Debug)]
pub struct Poller {
    epoll: Epoll,
    events: Vec<EpollEvent>,
}

impl Poller {
    /// Makes an empty set that reports at most `batch` descriptors at a time.
    pub fn new(batch: usize) -> io::Result<Self> {
        Ok(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            events: vec![EpollEvent::empty(); batch.max(1)],
        })
    }

    /// Watches `fd` under `token`.
    pub fn add(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(self
            .epoll
            .add(fd, EpollEvent::new(interest.flags(), token))?)
    }

    /// Changes what `fd` is watched for.
    pub fn modify(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        let mut event = EpollEvent::new(interest.flags(), token);
        Ok(self.epoll.modify(fd, &mut event)?)
    }

    /// Stops watching `fd`.
    pub fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(self.epoll.delete(fd)?)
    }

    /// Sleeps until a descriptor is ready or `timeout` is over; `None` sleeps for ever. A signal ends the sleep.
    pub fn wait(
        &mut self,
        timeout: Option<Duration>,
    ) -> io::Result<impl Iterator<Item = Ready> + use<'_>> {
        let count = match self.epoll.wait(&mut self.events, epoll_timeout(timeout)) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        Ok(self.events.iter().take(count).map(|event| Ready {
            token: event.data(),
            failed: event
                .events()
                .intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP),
        }))
    }
}

/// Rounds up to whole milliseconds, so that a deadline has passed when the sleep is over.
fn epoll_timeout(timeout: Option<Duration>) -> EpollTimeout {
    let Some(timeout) = timeout else {
        return EpollTimeout::NONE;
    };
    let milliseconds = timeout.as_nanos().div_ceil(1_000_000);
    i32::try_from(milliseconds)
        .ok()
        .and_then(|milliseconds| EpollTimeout::try_from(milliseconds).ok())
        .unwrap_or(EpollTimeout::MAX)
}

/// Wakes a thread that sleeps in [`Poller::wait`].
#[derive(Debug)]
pub struct Bell {
    event: EventFd,
}

impl Bell {
    /// Makes a bell that has not been rung.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            event: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
        })
    }

    /// Rings; ringing twice before it is heard is one ring.
    pub fn ring(&self) {
        // The only refusal is a counter that is full, and then the bell is ringing already.
        self.event.write(1).ok();
    }

    /// Silences the bell; returns whether it had been rung.
    #[expect(
        clippy::must_use_candidate,
        reason = "most callers look at everything anyway"
    )]
    pub fn silence(&self) -> bool {
        self.event.read().is_ok()
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bell_is_heard_once() {
        let bell = Bell::new().unwrap();
        let mut poller = Poller::new(4).unwrap();
        poller.add(&bell, 7, Interest::Read).unwrap();
        assert_eq!(poller.wait(Some(Duration::ZERO)).unwrap().count(), 0);
        bell.ring();
        bell.ring();
        let heard: Vec<Ready> = poller.wait(None).unwrap().collect();
        assert_eq!(
            heard,
            [Ready {
                token: 7,
                failed: false
            }]
        );
        assert!(bell.silence());
        assert!(!bell.silence());
    }

    #[test]
    fn a_timeout_is_never_rounded_down() {
        let milliseconds = |timeout| epoll_timeout(Some(timeout)).as_millis().unwrap_or(0);
        assert_eq!(milliseconds(Duration::from_micros(1)), 1);
        assert_eq!(milliseconds(Duration::from_millis(3)), 3);
        assert_eq!(milliseconds(Duration::ZERO), 0);
    }
}
