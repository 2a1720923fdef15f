//! One mutant, by its number or by what stands in the source, for runs that are not the suite's.

use warpferry::kernel::image::KernelImage;

use super::places::{candidates, Mutant};
use super::record::With;
use super::run::{link_named, Set, KERNELS};

/// Warp instructions after which a run with a mutant counts as endless: several times those of a large world.
pub const WARP_INSTRUCTIONS_MAX: u64 = 50_000_000;

/// A mutant of one fabric's kernels.
#[derive(Debug)]
pub struct Named {
    /// `FABRIC:KERNEL:NUMBER`, for `WARPFERRY_MUTANT`.
    pub name: String,
    /// Where it is and what is changed, for people.
    pub what: String,
    /// The kernel with the mutant.
    pub image: &'static KernelImage,
}

/// A mutant by what stands in the source.
#[derive(Debug)]
pub struct Written {
    pub fabric: &'static str,
    pub kernel: &'static str,
    /// Label before it.
    pub phase: &'static str,
    pub text: &'static str,
    pub kind: &'static str,
    pub change: &'static str,
}

impl Named {
    /// The one of `WARPFERRY_MUTANT`, if it is set.
    pub fn from_env() -> Option<Named> {
        let text = std::env::var("WARPFERRY_MUTANT").ok()?;
        Some(Named::parse(&text).unwrap_or_else(|why| panic!("WARPFERRY_MUTANT={text}: {why}")))
    }

    /// Reads `FABRIC:KERNEL:NUMBER`; a run of the suite behind it says nothing here.
    pub fn parse(text: &str) -> Result<Named, String> {
        let wrong = || {
            let form = "valid is FABRIC:KERNEL:NUMBER, as scripts/mutants.sh prints it";
            format!("{form}: of mlx5 or loopback, {KERNELS:?}, and a number that `list` in its place names")
        };
        let words: Vec<&str> = text.split(':').collect();
        let [fabric, kernel, number, ..] = words[..] else { return Err(wrong()) };
        let number: usize = number.parse().map_err(|_| wrong())?;
        Named::find(fabric, kernel, |_, _, mutant| mutant.number == number)
            .ok_or_else(|| format!("there is no such mutant; {}", wrong()))
    }

    /// The first that reads so.
    pub fn written(as_is: &Written) -> Option<Named> {
        Named::find(as_is.fabric, as_is.kernel, |set, kernel, mutant| {
            let line = set.line(With::default(), kernel, mutant);
            let have = [&line.phase, &line.text, &line.kind, &line.change];
            have == [as_is.phase, as_is.text, as_is.kind, as_is.change]
        })
    }

    fn find(fabric: &str, kernel: &str, is_it: impl Fn(&Set, usize, &Mutant) -> bool) -> Option<Named> {
        let (link, at) = (link_named(fabric)?, KERNELS.iter().position(|name| *name == kernel)?);
        let set = Set::new(link);
        let mutant = candidates(&set.kernels[at]).into_iter().find(|mutant| is_it(&set, at, mutant))?;
        let line = set.line(With::default(), at, &mutant);
        Some(Named {
            name: format!("{fabric}:{kernel}:{}", mutant.number),
            what: format!("{} {} `{}` {} {}", line.kernel, line.place, line.text, line.kind, line.change),
            image: set.with(at, mutant.at, &mutant.change)?,
        })
    }
}

#[test]
fn what_is_no_mutant_is_refused() {
    for text in
        ["", "mlx5", "mlx5:dispatch", "mlx5:dispatch:x", "ether:dispatch:1", "mlx5:send:1", "mlx5:layout:999999"]
    {
        assert!(Named::parse(text).is_err_and(|why| why.contains("FABRIC:KERNEL:NUMBER")), "{text}");
    }
}
