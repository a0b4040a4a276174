//! The thread that writes: a disk that is slow or full delays nobody but this thread.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use tokio::sync::mpsc;

use super::journal::{Entry, Journal};

/// What is to be written.
#[derive(Debug)]
pub(super) enum Job {
    /// These at the end.
    Append(Vec<Entry>),
    /// A new file with these.
    Rewrite(Vec<Entry>),
}

/// The thread, as the driver sees it: one job at a time, answered through a channel.
#[derive(Debug)]
pub(super) struct Disk {
    jobs: Sender<Job>,
    done: mpsc::UnboundedReceiver<io::Result<()>>,
}

impl Disk {
    /// Starts the thread; it ends with this.
    pub(super) fn start(path: PathBuf) -> io::Result<Self> {
        let (jobs, receiver) = channel();
        let (sender, done) = mpsc::unbounded_channel();
        thread::Builder::new()
            .name("accounting".into())
            .spawn(move || write(path, &receiver, &sender))?;
        Ok(Self { jobs, done })
    }

    /// Hands over a job; [`Self::done`] says when it is done.
    pub(super) fn give(&self, job: Job) -> bool {
        self.jobs.send(job).is_ok()
    }

    /// Waits for the job to be done; cancel-safe.
    pub(super) async fn done(&mut self) -> io::Result<()> {
        match self.done.recv().await {
            Some(result) => result,
            None => Err(io::Error::other("the thread has ended")),
        }
    }
}

fn write(path: PathBuf, jobs: &Receiver<Job>, done: &mpsc::UnboundedSender<io::Result<()>>) {
    let mut journal = Journal::new(path);
    while let Ok(job) = jobs.recv() {
        let result = match job {
            Job::Append(entries) => journal.append(&entries),
            Job::Rewrite(entries) => journal.rewrite(&entries),
        };
        if done.send(result).is_err() {
            return;
        }
    }
}
