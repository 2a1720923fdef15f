//! Operations and computations beside each other: what each leaves to the other.

use super::timing::Reader;
use crate::error::Result;

/// SMs of the points of [`Contention::kept`], as in the file.
const KEPT_SMS: [(u32, &str); 5] = [
    (4, "arithmetic_kept_4_sms"),
    (8, "arithmetic_kept_8_sms"),
    (16, "arithmetic_kept_16_sms"),
    (20, "arithmetic_kept_20_sms"),
    (32, "arithmetic_kept_32_sms"),
];

/// What a computation leaves to operations beside it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Beside {
    /// Part of L2's rate and size.
    pub l2: f64,
    /// Part of device memory's rate.
    pub hbm: f64,
    /// By what factor loads take longer.
    pub load_longer: f64,
}

/// What each does to the other.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Contention {
    pub arithmetic: Beside,
    pub memory: Beside,
    /// Part of its speed that a matrix product keeps, by SMs that are held.
    kept: Vec<(u32, f64)>,
    /// What a computation bound by memory loses with each SM that is held.
    memory_lost_of_sm: f64,
}

impl Contention {
    pub fn read(reader: &mut Reader<'_>) -> Result<Contention> {
        let mut value = |name| reader.value("beside", name);
        Ok(Contention {
            arithmetic: Beside {
                l2: value("arithmetic_l2_left")?,
                hbm: value("arithmetic_hbm_left")?,
                load_longer: value("arithmetic_load_longer")?,
            },
            memory: Beside {
                l2: value("memory_l2_left")?,
                hbm: value("memory_hbm_left")?,
                load_longer: value("memory_load_longer")?,
            },
            kept: KEPT_SMS.into_iter().map(|(sms, name)| Ok((sms, value(name)?))).collect::<Result<_>>()?,
            memory_lost_of_sm: value("memory_lost_of_sm")?,
        })
    }

    /// On straight lines between the points; beyond the last what is lost grows as the SMs that are held.
    pub fn arithmetic_kept(&self, held: u32, sms: u32) -> f64 {
        let held = f64::from(held.min(sms));
        let mut before = (0.0, 1.0);
        for &(at, kept) in &self.kept {
            let at = f64::from(at);
            if held <= at {
                return before.1 + (kept - before.1) * (held - before.0) / (at - before.0);
            }
            before = (at, kept);
        }
        let left = (f64::from(sms) - held) / (f64::from(sms) - before.0).max(1.0);
        (before.1 * left).max(1e-3)
    }

    pub fn memory_kept(&self, held: u32) -> f64 {
        (1.0 - self.memory_lost_of_sm * f64::from(held)).max(1e-3)
    }
}

#[test]
fn what_is_kept_falls_with_the_sms_that_are_held() {
    let machine = super::Machine::named("h800-cx7").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((machine.arithmetic_kept(0), machine.arithmetic_kept(20)), (1.0, 0.791));
    assert!((0..132).all(|sms| machine.arithmetic_kept(sms) >= machine.arithmetic_kept(sms + 1)));
    assert!(machine.arithmetic_kept(132) > 0.0 && machine.memory_kept(132) > 0.0);
}
