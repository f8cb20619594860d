//! Names a policy or a series in eight bytes, the same on every machine and in every version.

/// A 64-bit FNV-1a hash under way. Not for secrets, and not against an adversary: it tells apart what
/// one person's policies and one service's series are.
#[derive(Debug, Clone, Copy)]
pub struct Fingerprint(u64);

impl Default for Fingerprint {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fingerprint {
    /// Adds bytes. What is added one after another should end in a separator that it cannot contain.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        for byte in bytes {
            self.0 ^= u64::from(*byte);
            self.0 = self.0.wrapping_mul(0x0100_0000_01b3);
        }
        self
    }

    /// Adds a number by its bits.
    #[must_use]
    pub fn number(self, value: f64) -> Self {
        self.bytes(&value.to_bits().to_le_bytes())
    }

    /// Adds a number that may be absent.
    #[must_use]
    pub fn option(self, value: Option<f64>) -> Self {
        match value {
            Some(value) => self.bytes(&[1]).number(value),
            None => self.bytes(&[0]),
        }
    }

    /// Adds a list and its length.
    #[must_use]
    pub fn numbers(self, values: &[f64]) -> Self {
        let start = self.bytes(&(values.len() as u64).to_le_bytes());
        values.iter().fold(start, |it, value| it.number(*value))
    }

    /// The eight bytes.
    pub fn finish(self) -> u64 {
        self.0
    }
}
