//! A cursor over borrowed bytes.

use super::DecodeError;

/// Reads fields in wire order; every call names its field, so that an error can.
///
/// A reader never runs past its bytes and never goes back. Lengths from the wire are only used through
/// [`Reader::sub`] and [`Reader::bytes`], which fail when they exceed what is there.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first octet of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Returns how many octets are left.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// Returns whether nothing is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes the next `len` octets.
    pub fn bytes(&mut self, len: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self
            .bytes
            .split_at_checked(len)
            .ok_or(DecodeError::Truncated { field })?;
        self.bytes = tail;
        Ok(head)
    }

    /// Takes the next `N` octets as an array.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self
            .bytes
            .split_first_chunk::<N>()
            .ok_or(DecodeError::Truncated { field })?;
        self.bytes = tail;
        Ok(*head)
    }

    /// Takes one octet.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.array::<1>(field).map(|[b]| b)
    }

    /// Takes two octets in network order.
    pub fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.array(field).map(u16::from_be_bytes)
    }

    /// Takes three octets in network order.
    pub fn u24(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.array::<3>(field)
            .map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    /// Takes four octets in network order.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.array(field).map(u32::from_be_bytes)
    }

    /// Takes eight octets in network order.
    pub fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.array(field).map(u64::from_be_bytes)
    }

    /// Takes the next `len` octets as a reader of their own.
    pub fn sub(&mut self, len: usize, field: &'static str) -> Result<Self, DecodeError> {
        self.bytes(len, field).map(Self::new)
    }

    /// Takes everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.bytes)
    }

    /// Looks at everything that is left without taking it.
    #[must_use]
    pub const fn peek(&self) -> &'a [u8] {
        self.bytes
    }

    /// Says that the value ends here.
    pub const fn finish(&self) -> Result<(), DecodeError> {
        if self.bytes.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Trailing {
                octets: self.bytes.len(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_fields_in_network_order() {
        let mut r = Reader::new(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
        assert_eq!(r.u8("a"), Ok(1));
        assert_eq!(r.u16("b"), Ok(0x0203));
        assert_eq!(r.u24("c"), Ok(0x0004_0506));
        assert_eq!(r.u32("d"), Ok(0x0708_090a));
        assert_eq!(r.finish(), Err(DecodeError::Trailing { octets: 1 }));
        assert_eq!(r.u16("e"), Err(DecodeError::Truncated { field: "e" }));
        assert_eq!(r.rest(), &[11]);
        assert_eq!(r.finish(), Ok(()));
    }

    #[test]
    fn a_sub_reader_is_bounded_by_its_length() {
        let mut r = Reader::new(&[1, 2, 3]);
        let mut s = r.sub(2, "s").unwrap();
        assert_eq!(s.u8("x"), Ok(1));
        assert_eq!(s.u16("y"), Err(DecodeError::Truncated { field: "y" }));
        assert_eq!(r.remaining(), 1);
        assert!(r.sub(usize::MAX, "huge").is_err());
    }
}
