//! A small mutator for ordinary tests: no coverage, but the same inputs from the same seed on every machine.

/// The splitmix64 generator: tiny, and good enough to choose where to break something.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `end`; 0 where there is none.
    pub fn below(&mut self, end: usize) -> usize {
        (self.bits() % end.max(1) as u64) as usize
    }
}

/// The longest input that it makes.
pub const INPUT_BYTES_MAX: usize = 4096;

/// An input made of one from the corpus by a few changes.
pub fn mutated(corpus: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut input = chosen(corpus, chance).to_vec();
    for _ in 0..=chance.below(6) {
        change(&mut input, corpus, chance);
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}

fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], chance: &mut Chance) {
    let at = chance.below(input.len());
    let end = (at + 1 + chance.below(16)).min(input.len());
    match chance.below(8) {
        0 if at < end => input[at] ^= 1 << chance.below(8),
        1 if at < end => input[at] = TELLING[chance.below(TELLING.len())],
        2 if at < end => input[at] = chance.bits() as u8,
        3 => input.insert(at, TELLING[chance.below(TELLING.len())]),
        4 => drop(input.drain(at.min(end)..end)),
        5 => input.extend_from_within(at.min(end)..end),
        6 => input.truncate(at),
        _ => {
            let other = chosen(corpus, chance);
            input.extend_from_slice(&other[chance.below(other.len())..]);
        }
    }
}

fn chosen<'a>(corpus: &'a [Vec<u8>], chance: &mut Chance) -> &'a [u8] {
    corpus.get(chance.below(corpus.len())).map_or(&[], Vec::as_slice)
}

/// Bytes at which decoders change their mind: ends of ranges, separators, lengths that mean something else.
const TELLING: &[u8] = b"\x00\x01\x02\x08\x09\x0a\x0d\x1f\x20\x7d\x7e\x7f\x80\x81\x82\x88\x89\x8a\xbf\xc0\xc2\xe0\xed\xf0\xf4\xfe\xff\"#$%-./059:;=AZ[\\]_az{|}";
