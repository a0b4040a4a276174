//! Reads fuzz input as a program: numbers, choices and byte strings, until it is used up.

/// Input that is being used up; past its end everything is zero or empty.
#[derive(Clone, Debug)]
pub struct Program<'a> {
    rest: &'a [u8],
}

impl<'a> Program<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Returns whether there is nothing left.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    /// Takes one byte.
    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    /// Takes a number of two bytes.
    pub fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// Takes up to `len` bytes.
    pub fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// Takes a string of up to 255 bytes: its length, then as many bytes.
    pub fn short(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte());
        self.bytes(len)
    }

    /// Takes a string of up to 65,535 bytes.
    pub fn long(&mut self) -> &'a [u8] {
        let len = usize::from(self.word());
        self.bytes(len)
    }

    /// Takes exactly `N` bytes, zeros where there are none.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        let taken = self.bytes(N);
        out[..taken.len()].copy_from_slice(taken);
        out
    }

    /// Takes what is left.
    pub fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.rest)
    }
}
