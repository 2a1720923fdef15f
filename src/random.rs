//! Numbers drawn from a seed, the same on every machine.

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub(crate) struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`, which is not zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gates, rows and starts of searches follow from these: another sequence is another workload.
    #[test]
    fn the_sequence_stays() {
        let mut random = Random::new(0);
        let drawn = [random.next(), random.next(), random.next()];
        assert_eq!(drawn, [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f]);
    }

    #[test]
    fn all_below_the_bound_are_drawn() {
        let mut random = Random::new(1);
        let drawn: std::collections::BTreeSet<u64> = (0..100).map(|_| random.below(5)).collect();
        assert_eq!(drawn, (0..5).collect());
    }
}
