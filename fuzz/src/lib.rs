//! What Harmony reads from others, fed with anything: one function a kind of input.
//!
//! Each must neither panic nor hang, and each asserts what has to hold of whatever it accepts. The fuzz targets in
//! `fuzz_targets/` call them, and so does the workspace's own test over the corpora (`tests/corpora`).

pub mod inputs;
#[cfg(feature = "console")]
pub mod posted;

/// Feeds one reader by its name.
pub fn read(name: &str, bytes: &[u8]) {
    let all = inputs::INPUTS.iter();
    #[cfg(feature = "console")]
    let all = all.chain(&posted::INPUTS);
    let mut named = all.filter(|(known, _)| *known == name);
    let (_, input) = named.next().expect("a reader of this name");
    input(bytes);
}
