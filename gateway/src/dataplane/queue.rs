//! What waits to be sent to one client: SSTP frames, bounded, with CoDel (RFC 8289) at the head.
//!
//! TCP below loses nothing, so a slow client shows as delay alone, and this queue is where the delay is bounded: a
//! frame that waited longer than the target for a whole interval is dropped from the head, and what does not fit
//! under the cap is not taken at all. While the socket takes everything, frames stay here for one batch.

use std::collections::VecDeque;

use causeway_proto::sstp::data_header;

/// Octets of framing in front of each packet.
pub const FRAME_HEADER: usize = 8;

/// The most octets that wait for one client.
pub const CAP: usize = 256 * 1024;

/// Room behind the cap, so that moving the rest to the front is rare.
const BUFFER: usize = CAP + 128 * 1024;

/// How long a frame may wait, and for how long that may last (RFC 8289 §4.2, §4.3), in microseconds.
const TARGET_US: u64 = 5_000;
const INTERVAL_US: u64 = 100_000;

/// A queue of one packet is no queue, however slow (RFC 8289 §4.2).
const ONE_PACKET: usize = 2_048;

/// Buffers for queues that have something to hold; an empty queue has none.
#[derive(Debug, Default)]
pub struct Buffers {
    spare: Vec<Box<[u8]>>,
}

impl Buffers {
    /// How many buffers are kept when nobody uses them.
    const KEPT: usize = 8;

    fn take(&mut self) -> Box<[u8]> {
        self.spare
            .pop()
            .unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice())
    }

    fn give(&mut self, buffer: Box<[u8]>) {
        if self.spare.len() < Self::KEPT {
            self.spare.push(buffer);
        }
    }
}

/// The frames that wait for one client.
#[derive(Debug, Default)]
pub struct Queue {
    buffer: Option<Box<[u8]>>,
    head: usize,
    tail: usize,
    frames: VecDeque<Frame>,
    codel: Codel,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    len: u16,
    queued_us: u64,
}

/// What [`Queue::take`] took out.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Taken {
    /// Frames handed on.
    pub frames: u64,
    /// Octets of packets in them, without framing.
    pub octets: u64,
    /// Frames dropped because they and their successors waited too long.
    pub late: u64,
}

impl Queue {
    /// Makes an empty queue.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            buffer: None,
            head: 0,
            tail: 0,
            frames: VecDeque::new(),
            codel: Codel::new(),
        }
    }

    /// Appends a frame for a packet of `len` octets, written by `write`; returns whether there was room.
    #[inline]
    pub fn push(
        &mut self,
        buffers: &mut Buffers,
        now_us: u64,
        len: u16,
        write: impl FnOnce(&mut [u8]),
    ) -> bool {
        let size = FRAME_HEADER + usize::from(len);
        if self.len() + size > CAP {
            return false;
        }
        let buffer = self.buffer.get_or_insert_with(|| buffers.take());
        if self.tail + size > buffer.len() {
            buffer.copy_within(self.head..self.tail, 0);
            self.tail -= self.head;
            self.head = 0;
        }
        let frame = &mut buffer[self.tail..self.tail + size];
        let (header, packet) = frame.split_at_mut(FRAME_HEADER);
        header.copy_from_slice(&data_header(len));
        write(packet);
        self.tail += size;
        self.frames.push_back(Frame {
            len,
            queued_us: now_us,
        });
        true
    }

    /// Hands on frames, the oldest first, until about `limit` octets: `record` gets runs of whole frames, each at
    /// most `record_limit` octets long or one frame.
    pub fn take(
        &mut self,
        buffers: &mut Buffers,
        now_us: u64,
        limits: Limits,
        mut record: impl FnMut(&[u8]),
    ) -> Taken {
        let mut taken = Taken::default();
        let Some(buffer) = self.buffer.take() else {
            return taken;
        };
        let mut run = self.head..self.head;
        let mut total = 0;
        while let Some(frame) = self.frames.front().copied() {
            let size = FRAME_HEADER + usize::from(frame.len);
            if total > 0 && total + size > limits.total {
                break;
            }
            self.frames.pop_front();
            self.head += size;
            let waits = self.tail - self.head;
            let waited_us = now_us.saturating_sub(frame.queued_us);
            if self.codel.drops(now_us, waited_us, waits) {
                if !run.is_empty() {
                    record(&buffer[run.clone()]);
                }
                run = self.head..self.head;
                taken.late += 1;
                continue;
            }
            if !run.is_empty() && run.len() + size > limits.record {
                record(&buffer[run.clone()]);
                run = run.end..run.end;
            }
            run.end += size;
            total += size;
            taken.frames += 1;
            taken.octets += u64::from(frame.len);
        }
        if !run.is_empty() {
            record(&buffer[run]);
        }
        if self.frames.is_empty() {
            self.head = 0;
            self.tail = 0;
            buffers.give(buffer);
        } else {
            self.buffer = Some(buffer);
        }
        taken
    }

    /// Forgets everything.
    pub fn clear(&mut self, buffers: &mut Buffers) {
        self.frames = VecDeque::new();
        self.head = 0;
        self.tail = 0;
        if let Some(buffer) = self.buffer.take() {
            buffers.give(buffer);
        }
    }

    /// Returns the octets that wait, framing included.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.tail - self.head
    }

    /// Returns whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

/// How much [`Queue::take`] hands on.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Octets in all.
    pub total: usize,
    /// Octets in one record.
    pub record: usize,
}

/// The state of RFC 8289 §5.3.
#[derive(Clone, Copy, Debug, Default)]
struct Codel {
    first_above_us: Option<u64>,
    drop_next_us: u64,
    count: u32,
    last_count: u32,
    dropping: bool,
}

impl Codel {
    const fn new() -> Self {
        Self {
            first_above_us: None,
            drop_next_us: 0,
            count: 0,
            last_count: 0,
            dropping: false,
        }
    }

    /// Decides about the frame at the head, behind which `waits` octets wait.
    #[inline]
    fn drops(&mut self, now_us: u64, waited_us: u64, waits: usize) -> bool {
        if waited_us < TARGET_US || waits < ONE_PACKET {
            self.first_above_us = None;
            self.dropping = false;
            return false;
        }
        self.drops_late(now_us)
    }

    fn drops_late(&mut self, now_us: u64) -> bool {
        let Some(first_above_us) = self.first_above_us else {
            self.first_above_us = Some(now_us + INTERVAL_US);
            return false;
        };
        if now_us < first_above_us {
            return false;
        }
        if self.dropping {
            if now_us < self.drop_next_us {
                return false;
            }
            self.count += 1;
            self.drop_next_us += interval_over_root(self.count);
            return true;
        }
        self.dropping = true;
        // A queue that was bad a moment ago takes up the rate that controlled it then.
        let delta = self.count.saturating_sub(self.last_count);
        let recent = now_us.saturating_sub(self.drop_next_us) < 16 * INTERVAL_US;
        self.count = if delta > 1 && recent { delta } else { 1 };
        self.last_count = self.count;
        self.drop_next_us = now_us + interval_over_root(self.count);
        true
    }
}

/// The time to the next drop: the interval over the square root of the drops so far.
fn interval_over_root(count: u32) -> u64 {
    INTERVAL_US / u64::from(count.isqrt().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: Limits = Limits {
        total: 64 * 1024,
        record: 16 * 1024,
    };

    fn fill(queue: &mut Queue, buffers: &mut Buffers, now_us: u64, count: usize) -> usize {
        (0..count)
            .filter(|i| {
                queue.push(buffers, now_us, 1400, |packet| {
                    packet.fill(u8::try_from(i % 256).unwrap());
                })
            })
            .count()
    }

    #[test]
    fn frames_come_out_whole_in_order_and_packed_into_records() {
        let (mut queue, mut buffers) = (Queue::default(), Buffers::default());
        assert_eq!(fill(&mut queue, &mut buffers, 0, 100), 100);
        let mut records: Vec<Vec<u8>> = Vec::new();
        let mut frames = 0;
        while !queue.is_empty() {
            let taken = queue.take(&mut buffers, 0, MANY, |record| {
                records.push(record.to_vec());
            });
            assert!(taken.octets <= 64 * 1024);
            frames += taken.frames;
        }
        assert_eq!(frames, 100);
        assert!(records.iter().all(|record| record.len() % 1408 == 0));
        assert_eq!(records[0].len(), 11 * 1408);
        let all = records.concat();
        for (i, frame) in all.chunks(1408).enumerate() {
            assert_eq!(
                frame[..8],
                [0x10, 0, 0x05, 0x80, 0xff, 0x03, 0, 0x21],
                "frame {i}"
            );
            assert_eq!(usize::from(frame[8]), i);
        }
    }

    #[test]
    fn one_frame_a_record_for_those_who_need_it() {
        let (mut queue, mut buffers) = (Queue::default(), Buffers::default());
        fill(&mut queue, &mut buffers, 0, 5);
        let one = Limits { record: 0, ..MANY };
        let mut lens = Vec::new();
        queue.take(&mut buffers, 0, one, |record| lens.push(record.len()));
        assert_eq!(lens, [1408; 5]);
    }

    #[test]
    fn never_more_than_the_cap_waits() {
        let (mut queue, mut buffers) = (Queue::default(), Buffers::default());
        let taken = fill(&mut queue, &mut buffers, 0, 1_000);
        assert_eq!(taken, CAP / 1408);
        assert!(queue.len() <= CAP);
        // Room that comes free at the front is used again, however often.
        for _ in 0..50 {
            let out = queue.take(&mut buffers, 1, MANY, |_| {});
            let back = fill(&mut queue, &mut buffers, 1, 1_000);
            assert_eq!(u64::try_from(back).unwrap(), out.frames);
        }
    }

    #[test]
    fn an_empty_queue_holds_no_buffer() {
        let (mut queue, mut buffers) = (Queue::default(), Buffers::default());
        fill(&mut queue, &mut buffers, 0, 3);
        queue.take(&mut buffers, 0, MANY, |_| {});
        assert!(queue.buffer.is_none());
        assert_eq!(buffers.spare.len(), 1);
    }

    #[test]
    fn a_standing_queue_is_thinned_from_the_head_and_a_moving_one_is_not() {
        let (mut queue, mut buffers) = (Queue::default(), Buffers::default());
        let slow = Limits {
            total: 3_000,
            record: 16 * 1024,
        };
        let mut late = 0;
        for step in 0..400_u64 {
            fill(&mut queue, &mut buffers, step * 5_000, 2);
            late += queue.take(&mut buffers, step * 5_000, slow, |_| {}).late;
        }
        assert_eq!(late, 0, "what leaves at once is never late");

        fill(&mut queue, &mut buffers, 2_000_000, 60);
        for step in 0..400_u64 {
            let now = 2_000_000 + step * 5_000;
            fill(&mut queue, &mut buffers, now, 2);
            late += queue.take(&mut buffers, now, slow, |_| {}).late;
        }
        assert!(late > 20, "{late}");
        assert!(queue.len() < 60 * 1408);
    }
}
