//! What runs a demo: a GPU or the emulator, and why that one.

#[cfg(feature = "cuda")]
use warpferry::driver::cuda::{summary, DeviceFacts, Gpu};
use warpferry::{Error, Result, Topology, World, WorldConfig};

use crate::memory::{self, Room};
use crate::options::{BackendOption, DemoOptions};

/// Compute capability that the kernels need: bulk copies and their barriers came with Hopper.
#[cfg(feature = "cuda")]
const COMPUTE_MIN: (u32, u32) = (9, 0);

/// What runs the kernels.
#[derive(Debug)]
pub enum Backend {
    /// The emulated cluster.
    Emulator,
    /// A GPU that all ranks share.
    #[cfg(feature = "cuda")]
    Gpu(Gpu),
}

/// A backend and the reason for it.
#[derive(Debug)]
pub struct Choice {
    /// What runs the kernels.
    pub backend: Backend,
    /// Why, in words that follow "because".
    pub why: String,
}

impl Choice {
    /// What `options` ask for.
    ///
    /// # Errors
    /// [`Error::Argument`] for options that do not go together; what opening the GPU says.
    pub fn new(options: &DemoOptions) -> Result<Choice> {
        let (of_gpu, of_emulator) = (options_of_gpu(options), options_of_emulator(options));
        match (options.backend, of_gpu, of_emulator) {
            (BackendOption::Cuda, _, Some((option, value))) => {
                Err(Error::argument(option, value, "an option of the emulator: leave it out, or `--backend emu`"))
            }
            (BackendOption::Emu, Some((option, value)), _) => {
                Err(Error::argument(option, value, "an option of a GPU: leave it out, or `--backend cuda`"))
            }
            (BackendOption::Auto, Some((option, value)), Some((other, _))) => {
                Err(Error::argument(option, value, format!("an option of a GPU: it does not go with `{other}`")))
            }
            (BackendOption::Cuda, _, None) => open(options, "--backend cuda was given".to_string()),
            (BackendOption::Auto, Some((option, _)), None) => open(options, format!("{option} was given")),
            (BackendOption::Emu, None, _) => Ok(emulator("--backend emu was given".to_string())),
            (BackendOption::Auto, None, Some((option, _))) => Ok(emulator(format!("{option} was given"))),
            (BackendOption::Auto, None, None) => auto(options),
        }
    }
}

impl Backend {
    /// As `--backend` has it.
    pub fn name(&self) -> &'static str {
        match self {
            Backend::Emulator => "emu",
            #[cfg(feature = "cuda")]
            Backend::Gpu(_) => "cuda",
        }
    }

    /// Whether it is the emulator.
    pub fn is_emulator(&self) -> bool {
        matches!(self, Backend::Emulator)
    }

    /// The device in words.
    pub fn device(&self) -> String {
        match self {
            Backend::Emulator => "emulated cluster".to_string(),
            #[cfg(feature = "cuda")]
            Backend::Gpu(gpu) => describe(gpu.facts()),
        }
    }

    /// Where memory lies and how much there is.
    pub fn room(&self) -> Room {
        let available = memory::available_bytes();
        match self {
            Backend::Emulator => Room::Host { available },
            #[cfg(feature = "cuda")]
            Backend::Gpu(gpu) => Room::Gpu { memory_bytes: gpu.facts().memory_bytes, available },
        }
    }

    /// SMs of each of the ranks that share a GPU; `None` on the emulator, which has a GPU for each.
    ///
    /// # Errors
    /// [`Error::Argument`] for more ranks than the GPU can have.
    #[cfg_attr(not(feature = "cuda"), allow(unused_variables))]
    pub fn sms_of_rank(&self, topology: Topology) -> Result<Option<u32>> {
        match self {
            Backend::Emulator => Ok(None),
            #[cfg(feature = "cuda")]
            Backend::Gpu(gpu) => Ok(gpu.drivers(topology.ranks() as usize)?.first().map(|driver| driver.info().sms)),
        }
    }

    /// A world of `config`.
    ///
    /// # Errors
    /// What making the world says.
    pub fn world(&self, config: WorldConfig) -> Result<World> {
        match self {
            Backend::Emulator => World::emulated(config),
            #[cfg(feature = "cuda")]
            Backend::Gpu(gpu) => World::on_gpu(&config, gpu),
        }
    }
}

fn emulator(why: String) -> Choice {
    Choice { backend: Backend::Emulator, why }
}

/// An option that means something on a GPU only, with its value.
fn options_of_gpu(options: &DemoOptions) -> Option<(&'static str, String)> {
    match (options.gpu, options.jit) {
        (Some(gpu), _) => Some(("--gpu", gpu.to_string())),
        (None, true) => Some(("--jit", "given".to_string())),
        (None, false) => None,
    }
}

/// An option that means something on the emulator only, with its value.
fn options_of_emulator(options: &DemoOptions) -> Option<(&'static str, String)> {
    let given = [("--unordered", options.unordered), ("--no-checks", options.no_checks)];
    given.into_iter().find(|&(_, given)| given).map(|(option, _)| (option, "given".to_string()))
}

/// A GPU in a line.
#[cfg(feature = "cuda")]
fn describe(facts: &DeviceFacts) -> String {
    let (major, minor) = facts.compute;
    format!("{} (GPU {}, compute capability {major}.{minor}, {} SMs)", facts.name, facts.ordinal, facts.sms)
}

/// The first GPU that the kernels can run on.
#[cfg(feature = "cuda")]
fn first_that_fits(gpus: &[DeviceFacts]) -> Option<&DeviceFacts> {
    gpus.iter().find(|facts| facts.compute >= COMPUTE_MIN)
}

#[cfg(feature = "cuda")]
fn auto(options: &DemoOptions) -> Result<Choice> {
    let gpus = match summary() {
        Ok(summary) => summary.gpus,
        Err(Error::Unsupported { need, have }) => {
            return Ok(emulator(format!("a GPU would need {need}, here is {have}")))
        }
        Err(error) => return Ok(emulator(format!("no GPU can be asked: {error}"))),
    };
    match first_that_fits(&gpus) {
        Some(facts) => open(options, format!("the driver finds {}", describe(facts))),
        None => {
            let seen: Vec<String> = gpus.iter().map(describe).collect();
            Ok(emulator(format!("no GPU here has compute capability 9.0: {}", seen.join("; "))))
        }
    }
}

#[cfg(feature = "cuda")]
fn open(options: &DemoOptions, why: String) -> Result<Choice> {
    let number = match options.gpu {
        Some(number) => number,
        None => first_that_fits(&summary()?.gpus).map_or(0, |facts| facts.ordinal),
    };
    let gpu = Gpu::open(number as usize).map_err(|error| match error {
        Error::Argument { argument, value, valid } if argument == "gpu" => Error::argument("--gpu", value, valid),
        other => other,
    })?;
    let gpu = if options.jit { gpu.compile_kernels() } else { gpu };
    Ok(Choice { backend: Backend::Gpu(gpu), why })
}

#[cfg(not(feature = "cuda"))]
fn auto(_: &DemoOptions) -> Result<Choice> {
    Ok(emulator("this build has no feature `cuda`".to_string()))
}

#[cfg(not(feature = "cuda"))]
fn open(_: &DemoOptions, _: String) -> Result<Choice> {
    Err(Error::Unsupported { need: "a build with feature `cuda`".into(), have: "one without it".into() })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn choice(words: &[&str]) -> Result<Choice> {
        Choice::new(&DemoOptions::parse_from(std::iter::once("demo").chain(words.iter().copied())))
    }

    #[test]
    fn options_of_the_other_backend_are_refused() {
        for (words, option, valid) in [
            (&["--backend", "cuda", "--unordered"][..], "`--unordered`", "the emulator"),
            (&["--backend", "cuda", "--no-checks"], "`--no-checks`", "the emulator"),
            (&["--backend", "emu", "--gpu", "3"], "`--gpu` = 3", "a GPU"),
            (&["--backend", "emu", "--jit"], "`--jit`", "a GPU"),
            (&["--jit", "--no-checks"], "`--jit`", "`--no-checks`"),
        ] {
            let error = choice(words).expect_err("refused");
            assert!(matches!(error, Error::Argument { .. }), "{words:?}: {error}");
            let said = error.to_string();
            assert!(said.contains(option) && said.contains(valid), "{words:?}: {said}");
        }
    }

    #[test]
    fn what_was_asked_for_is_taken() {
        for words in [&["--backend", "emu"][..], &["--unordered"], &["--backend", "emu", "--no-checks"]] {
            let choice = choice(words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
            assert!(choice.backend.is_emulator() && choice.why.ends_with("was given"), "{words:?}: {}", choice.why);
        }
    }

    /// Whether this machine has a GPU or not, the choice says why.
    #[test]
    fn auto_says_why() {
        let choice = choice(&[]).expect("auto runs anywhere");
        assert!(!choice.why.is_empty());
    }

    #[cfg(feature = "cuda")]
    #[test]
    fn the_first_gpu_that_fits_is_taken() {
        let gpu = |ordinal, compute| DeviceFacts {
            ordinal,
            name: "a GPU".into(),
            compute,
            sms: 132,
            shared_bytes: 227 << 10,
            memory_bytes: 80 << 30,
            driver_version: 12080,
        };
        let gpus = [gpu(0, (8, 6)), gpu(1, (9, 0)), gpu(2, (10, 0))];
        assert_eq!(first_that_fits(&gpus).map(|facts| facts.ordinal), Some(1));
        assert_eq!(first_that_fits(&gpus[..1]), None);
    }
}
