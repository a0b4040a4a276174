//! Named, supervised tasks: when one dies, its name is known, and a stop reaches them all.

use std::future::Future;

use tokio::sync::watch;
use tokio::task::JoinSet;

/// A signal that is given once and seen by everybody who holds it.
#[derive(Clone, Debug)]
pub struct Stop {
    signal: watch::Receiver<bool>,
}

/// The hand that gives the signal; dropping it gives the signal too.
#[derive(Debug)]
pub struct StopHandle {
    signal: watch::Sender<bool>,
}

/// Makes a stop signal and the handle that gives it.
#[must_use]
pub fn stop() -> (StopHandle, Stop) {
    let (sender, receiver) = watch::channel(false);
    (StopHandle { signal: sender }, Stop { signal: receiver })
}

impl StopHandle {
    /// Gives the signal.
    pub fn stop(&self) {
        self.signal.send_replace(true);
    }
}

impl Stop {
    /// Returns once the signal has been given; cancel-safe.
    pub async fn stopped(&mut self) {
        // An error means that the handle is gone, which is a stop as well.
        if self.signal.wait_for(|stopped| *stopped).await.is_err() {}
    }

    /// Returns whether the signal has been given.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        *self.signal.borrow() || self.signal.has_changed().is_err()
    }
}

/// The long-lived tasks of the daemon: none of them may end before a stop.
#[derive(Debug, Default)]
pub struct Tasks {
    set: JoinSet<&'static str>,
}

impl Tasks {
    /// Makes an empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task under a name.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.set.spawn(async move {
            task.await;
            name
        });
    }

    /// Waits for the next task to end and returns its name, or what the runtime knows of its panic; `None` when no
    /// task is left.
    pub async fn next_ended(&mut self) -> Option<String> {
        self.set.join_next().await.map(|ended| match ended {
            Ok(name) => name.to_owned(),
            Err(error) => error.to_string(),
        })
    }

    /// Waits until every task has ended.
    pub async fn join(&mut self) {
        while self.set.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stop_reaches_every_holder_and_a_death_has_a_name() {
        let (handle, stop) = stop();
        let mut tasks = Tasks::new();
        for name in ["one", "two"] {
            let mut stop = stop.clone();
            tasks.spawn(name, async move { stop.stopped().await });
        }
        assert!(!stop.is_stopped());
        handle.stop();
        assert!(stop.is_stopped());
        let mut names = [
            tasks.next_ended().await.unwrap(),
            tasks.next_ended().await.unwrap(),
        ];
        names.sort();
        assert_eq!(names, ["one", "two"]);
        assert_eq!(tasks.next_ended().await, None);
    }

    #[tokio::test]
    async fn a_lost_handle_is_a_stop() {
        let (handle, mut stop) = stop();
        drop(handle);
        stop.stopped().await;
        assert!(stop.is_stopped());
    }
}
