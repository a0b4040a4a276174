//! PPP frames on their way out.

use super::packet::{HEADER_LEN, Header, Kind, MAX_LEN};

/// Appends one data packet around the frame that `frame` appends; `false` when there is none.
///
/// A frame that no packet can hold is left out, and the next one is taken.
pub(super) fn append_frame(out: &mut Vec<u8>, mut frame: impl FnMut(&mut Vec<u8>) -> bool) -> bool {
    let start = out.len();
    loop {
        out.extend([0; HEADER_LEN]);
        if !frame(out) {
            out.truncate(start);
            return false;
        }
        let len = out.len().saturating_sub(start);
        let header = Header {
            kind: Kind::Data,
            len,
        };
        match out.get_mut(start..).and_then(<[u8]>::first_chunk_mut) {
            Some(place) if len <= MAX_LEN => {
                *place = header.to_bytes();
                return true;
            }
            _ => out.truncate(start),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_gets_its_header() {
        let mut out = vec![9];
        assert!(append_frame(&mut out, |out| {
            out.extend([0xff, 3, 0xc0, 0x21]);
            true
        }));
        assert_eq!(out, [9, 0x10, 0, 0, 8, 0xff, 3, 0xc0, 0x21]);
        assert!(!append_frame(&mut out, |_| false));
        assert_eq!(out.len(), 9);
    }

    #[test]
    fn a_frame_that_is_too_long_is_left_out() {
        let mut frames = vec![vec![7; 10], vec![8; 4092]];
        let mut out = Vec::new();
        let pop = |out: &mut Vec<u8>| {
            frames.pop().is_some_and(|frame| {
                out.extend(frame);
                true
            })
        };
        assert!(append_frame(&mut out, pop));
        assert_eq!(out.len(), 14);
    }
}
