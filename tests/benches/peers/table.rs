//! Markdown of what was measured: medians of each side, and how Harmony compares with each peer round by round.

use crate::sides::Kind;

/// One figure of every side.
pub(crate) struct Row {
    what: String,
    /// Of the ratio to Go, or of Harmony's own figure.
    aim: &'static str,
    decimals: usize,
    /// Of each side, one a round. A round of which nothing could be read is not here.
    values: Vec<(Kind, Vec<f64>)>,
}

impl Row {
    pub(crate) fn new(what: impl Into<String>, decimals: usize, aim: &'static str) -> Self {
        Self { what: what.into(), aim, decimals, values: vec![] }
    }

    pub(crate) fn add(&mut self, side: Kind, value: f64) {
        match self.values.iter_mut().find(|(kind, _)| *kind == side) {
            Some((_, values)) => values.push(value),
            None => self.values.push((side, vec![value])),
        }
    }

    fn of(&self, side: Kind) -> Option<&[f64]> {
        self.values.iter().find(|(kind, _)| *kind == side).map(|(_, values)| values.as_slice())
    }

    /// `median (least-most)` of Harmony's figures over the peer's.
    fn ratio(&self, peer: Kind) -> String {
        let (Some(ours), Some(theirs)) = (self.of(Kind::Harmony), self.of(peer)) else {
            return String::new();
        };
        let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
        let (least, most) = ratios
            .iter()
            .fold((f64::INFINITY, 0.0_f64), |(least, most), &ratio| (least.min(ratio), most.max(ratio)));
        if ratios.len() == 1 {
            return format!("{least:.2}");
        }
        format!("{:.2} ({least:.2}-{most:.2})", median(&ratios))
    }
}

/// Prints a whole table.
pub(crate) fn print(title: &str, sides: &[Kind], rows: &[Row]) {
    head(title, sides);
    body(sides, rows);
}

/// Begins a table.
pub(crate) fn head(title: &str, sides: &[Kind]) {
    print!("\n| {title}");
    sides.iter().for_each(|kind| print!(" | {}", kind.name()));
    peers(sides).for_each(|kind| print!(" | Harmony / {}", kind.name()));
    print!(" | aim |\n|---");
    sides.iter().for_each(|_| print!("|---:"));
    peers(sides).for_each(|_| print!("|---"));
    println!("|---|");
}

/// Goes on with a table.
pub(crate) fn body(sides: &[Kind], rows: &[Row]) {
    for row in rows {
        print!("| {}", row.what);
        for &kind in sides {
            match row.of(kind) {
                Some(values) => print!(" | {:.*}", row.decimals, median(values)),
                None => print!(" |"),
            }
        }
        peers(sides).for_each(|&kind| print!(" | {}", row.ratio(kind)));
        println!(" | {} |", row.aim);
    }
}

fn peers(sides: &[Kind]) -> impl Iterator<Item = &Kind> {
    sides.iter().filter(|kind| **kind != Kind::Harmony)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    } else {
        sorted[middle]
    }
}
