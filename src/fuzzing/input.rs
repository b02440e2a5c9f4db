//! The fuzzer's bytes as a row of choices.

/// What is left of an input. Behind its end every choice is 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All that is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    /// At most so many bytes.
    pub(crate) fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from(self.byte()) | u16::from(self.byte()) << 8
    }

    pub(crate) fn u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        let taken = self.take(8);
        bytes[..taken.len()].copy_from_slice(taken);
        u64::from_le_bytes(bytes)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let wide = bound > 1 << 16;
        (if wide { self.u64() } else { u64::from(self.u16()) }) % bound
    }

    /// A number that is mostly near `expected`: as it is, a little less, a little more, or any.
    pub(crate) fn near(&mut self, expected: u64) -> u64 {
        match self.byte() {
            choice if choice < 160 => expected,
            choice if choice < 200 => expected.saturating_sub(u64::from(choice - 159)),
            choice if choice < 240 => expected.saturating_add(u64::from(choice - 199)),
            _ => self.u64(),
        }
    }
}
