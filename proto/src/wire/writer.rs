//! A cursor over a borrowed buffer.

use super::BufferFull;

/// Writes fields in wire order into a slice that the caller owns.
#[derive(Debug)]
pub struct Writer<'a> {
    buf: &'a mut [u8],
    at: usize,
}

/// A two-octet length field that is filled in when what it measures is complete ([`Writer::open`], [`Writer::close`]).
#[derive(Debug)]
#[must_use]
pub struct Length {
    /// Where the field stands.
    field: usize,
    /// From where on octets count.
    from: usize,
}

impl<'a> Writer<'a> {
    /// Starts at the first octet of `buf`.
    #[must_use]
    pub const fn new(buf: &'a mut [u8]) -> Self {
        Self { buf, at: 0 }
    }

    /// Returns how many octets have been written.
    #[must_use]
    pub const fn written(&self) -> usize {
        self.at
    }

    /// Returns how many octets still fit.
    #[must_use]
    pub const fn spare(&self) -> usize {
        self.buf.len().saturating_sub(self.at)
    }

    /// Writes `bytes`.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), BufferFull> {
        let end = self.at.checked_add(bytes.len()).ok_or(BufferFull)?;
        self.buf
            .get_mut(self.at..end)
            .ok_or(BufferFull)?
            .copy_from_slice(bytes);
        self.at = end;
        Ok(())
    }

    /// Writes `len` zero octets.
    pub fn zeros(&mut self, len: usize) -> Result<(), BufferFull> {
        let end = self.at.checked_add(len).ok_or(BufferFull)?;
        self.buf.get_mut(self.at..end).ok_or(BufferFull)?.fill(0);
        self.at = end;
        Ok(())
    }

    /// Writes one octet.
    pub fn u8(&mut self, value: u8) -> Result<(), BufferFull> {
        self.bytes(&[value])
    }

    /// Writes two octets in network order.
    pub fn u16(&mut self, value: u16) -> Result<(), BufferFull> {
        self.bytes(&value.to_be_bytes())
    }

    /// Writes four octets in network order.
    pub fn u32(&mut self, value: u32) -> Result<(), BufferFull> {
        self.bytes(&value.to_be_bytes())
    }

    /// Leaves room for a two-octet length that counts from `before` octets ahead of the field: 0 when it measures
    /// what follows the field's start, 2 for a PPP or SSTP header whose code and identifier stand ahead of it.
    pub fn open(&mut self, before: usize) -> Result<Length, BufferFull> {
        let field = self.at;
        self.u16(0)?;
        Ok(Length {
            field,
            from: field.saturating_sub(before),
        })
    }

    /// Fills in the length opened by [`Writer::open`]; fails when it does not fit into 16 bits.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "closing a length twice must not compile"
    )]
    pub fn close(&mut self, length: Length) -> Result<(), BufferFull> {
        let value = u16::try_from(self.at.saturating_sub(length.from)).map_err(|_| BufferFull)?;
        let field = self
            .buf
            .get_mut(length.field..length.field.saturating_add(2))
            .ok_or(BufferFull)?;
        field.copy_from_slice(&value.to_be_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_counts_from_where_it_was_told() {
        let mut buf = [0xaa; 16];
        let mut w = Writer::new(&mut buf);
        w.u8(9).unwrap();
        w.u8(1).unwrap();
        let length = w.open(2).unwrap();
        w.u32(0x0102_0304).unwrap();
        w.close(length).unwrap();
        assert_eq!(w.written(), 8);
        assert_eq!(buf[..8], [9, 1, 0, 8, 1, 2, 3, 4]);
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let mut buf = [0; 3];
        let mut w = Writer::new(&mut buf);
        assert_eq!(w.u32(1), Err(BufferFull));
        assert_eq!(w.written(), 0);
        assert_eq!(w.zeros(usize::MAX), Err(BufferFull));
    }
}
