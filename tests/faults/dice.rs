//! Numbers that look random and are the same for the same seed.

use std::time::Duration;

/// A stream of numbers. Each incident and each kind of process has one of its own, so that what one of them rolls does
/// not depend on how fast the others are.
#[derive(Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The stream of this name.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut dice = Self(seed ^ stream.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        // Neighbouring seeds begin alike.
        (0..4).for_each(|_| _ = dice.roll(2));
        dice
    }

    /// From 0 to `sides - 1`.
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    /// A time from the first to the last of these.
    pub(crate) fn time(&mut self, range_ms: (u64, u64)) -> Duration {
        Duration::from_millis(range_ms.0 + self.roll(range_ms.1 - range_ms.0 + 1))
    }

    /// One of them.
    pub(crate) fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        let index = self.roll(of.len() as u64);
        &of[usize::try_from(index).unwrap()]
    }
}
