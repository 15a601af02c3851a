//! A pseudo-random order of the numbers below N whose whole state is one integer.
//!
//! A Feistel network permutes the next larger domain of a power of four, and a result outside the range is permuted
//! again until it is inside (cycle walking: Black and Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002,
//! section 3). So every number comes exactly once, none has to be remembered, and the progress is a single integer.
//! The order has to be fair, not secret: the rounds use the finalizer of SplitMix64.

/// Rounds of the network; four are indistinguishable from random without an adversary who can query both ways (Luby
/// and Rackoff 1988).
const ROUNDS: usize = 4;

/// The increment of SplitMix64: the golden ratio in 64 bits.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The numbers below `len` in an order drawn by a seed.
#[derive(Debug, Clone)]
pub struct Permutation {
    len: u64,
    /// Half the width of a number of the domain, in bits.
    half: u32,
    keys: [u64; ROUNDS],
    /// How many numbers were returned.
    at: u64,
}

impl Permutation {
    /// An order of `len` numbers; the same seed gives the same order.
    pub fn new(len: u64, seed: u64) -> Self {
        let bits = u64::BITS - len.saturating_sub(1).leading_zeros();
        let mut key = seed;
        let keys = [(); ROUNDS].map(|()| {
            key = key.wrapping_add(GOLDEN);
            mix(key)
        });
        Self { len, half: bits.div_ceil(2).max(1), keys, at: 0 }
    }

    /// The number at this index of the order; both are below the length.
    fn number(&self, place: u64) -> u64 {
        let mut number = self.walk(place);
        while number >= self.len {
            number = self.walk(number);
        }
        number
    }

    /// One permutation of the whole domain.
    fn walk(&self, number: u64) -> u64 {
        let mask = (1 << self.half) - 1;
        let (mut left, mut right) = (number >> self.half & mask, number & mask);
        for key in self.keys {
            (left, right) = (right, left ^ mix(right ^ key) & mask);
        }
        left << self.half | right
    }
}

impl Iterator for Permutation {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let place = Some(self.at).filter(|at| *at < self.len)?;
        self.at += 1;
        Some(self.number(place))
    }
}

/// Scrambles consecutive integers, so that they are spread over all 64 bits.
pub fn scrambled(number: u64) -> u64 {
    mix(number.wrapping_mul(GOLDEN))
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014).
fn mix(mut value: u64) -> u64 {
    value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_once() {
        for len in (0..70).chain([255, 256, 257, 1000, 4096, 4097, 100_003]) {
            for seed in [0, 1, u64::MAX] {
                let mut numbers: Vec<u64> = Permutation::new(len, seed).collect();
                numbers.sort_unstable();
                assert!(numbers.iter().copied().eq(0..len), "{len} numbers, seed {seed}");
            }
        }
    }

    #[test]
    fn a_seed_is_an_order() {
        let of = |seed| Permutation::new(1000, seed).collect::<Vec<_>>();
        assert_eq!(of(7), of(7));
        let same = of(7).iter().zip(of(8)).filter(|(a, b)| *a == b).count();
        assert!(same < 12, "{same} of 1000 are in the same place");
    }

    #[test]
    fn neighbours_are_far_apart_and_a_stretch_is_a_sample() {
        // Like a scan that covers each /24 of a /14: in no 256 consecutive addresses does one /24 occur more than a
        // few times.
        let order: Vec<u64> = Permutation::new(1 << 18, 3).collect();
        let near = order.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 256).count();
        // By chance it would be 2 * 256 / 2^18 of the pairs: 512.
        assert!(near < 700, "{near} pairs of neighbours");
        for stretch in order.chunks(1024) {
            let mut of = std::collections::HashMap::<u64, u32>::new();
            stretch.iter().for_each(|number| *of.entry(number >> 8).or_default() += 1);
            let most = of.values().max().unwrap();
            assert!(*most <= 12, "{most} of 1024 consecutive numbers are in one of 1024 prefixes");
        }
    }
}
