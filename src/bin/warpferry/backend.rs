//! What runs a demo: a GPU or the emulator, and why that one.

use warpferry::bench::Bed;
#[cfg(feature = "cuda")]
use warpferry::driver::cuda::{summary, DeviceFacts, Gpu};
#[cfg(feature = "cuda")]
use warpferry::plan::Fabric;
use warpferry::{Error, Result, Topology, World, WorldConfig};

#[cfg(feature = "cuda")]
use crate::doctor::{QUEUES_DEFAULT, QUEUES_MAX, QUEUES_VARIABLE};
use crate::memory::{self, Room};
use crate::options::{BackendOption, PlaceOptions};

/// Compute capability that the kernels need: bulk copies and their barriers came with Hopper.
#[cfg(feature = "cuda")]
const COMPUTE_MIN: (u32, u32) = (9, 0);

/// Streams of a rank: its kernels', and the one that cancels them. A served NIC has one more.
#[cfg(feature = "cuda")]
const STREAMS_OF_RANK: u32 = 2;

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
    /// What `options` ask for; `of_emulator` names an option beside them that means something on the emulator only.
    ///
    /// # Errors
    /// [`Error::Argument`] for options that do not go together; what opening the GPU says.
    pub fn new(options: &PlaceOptions, of_emulator: Option<&str>, topology: Topology) -> Result<Choice> {
        let of_gpu = options_of_gpu(options);
        match (options.backend, of_gpu, of_emulator) {
            (BackendOption::Cuda, _, Some(option)) => Err(Error::argument(
                "--backend",
                "cuda",
                format!("emu with option `{option}`, which is the emulator's: here a GPU runs, leave it out"),
            )),
            (BackendOption::Emu, Some(option), _) => Err(Error::argument(
                "--backend",
                "emu",
                format!("cuda with option `{option}`, which is a GPU's: here the emulator runs, leave it out"),
            )),
            (BackendOption::Auto, Some(option), Some(other)) => Err(Error::argument(
                "--backend",
                "auto",
                format!("cuda with option `{option}` or emu with option `{other}`: leave one of them out"),
            )),
            (BackendOption::Cuda, _, None) => open(options, topology, "--backend cuda was given".to_string()),
            (BackendOption::Auto, Some(option), None) => open(options, topology, format!("{option} was given")),
            (BackendOption::Emu, None, _) => Ok(emulator("--backend emu was given".to_string())),
            (BackendOption::Auto, None, Some(option)) => Ok(emulator(format!("{option} was given"))),
            (BackendOption::Auto, None, None) => auto(options, topology),
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

    /// A world of `config` whose launches can be marked.
    ///
    /// # Errors
    /// What making the world says.
    pub fn bed(&self, config: &WorldConfig) -> Result<Bed> {
        match self {
            Backend::Emulator => Bed::emulated(config),
            #[cfg(feature = "cuda")]
            Backend::Gpu(gpu) => Bed::on_gpus(config, std::slice::from_ref(gpu)),
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

/// An option that means something on a GPU only.
fn options_of_gpu(options: &PlaceOptions) -> Option<&'static str> {
    let given = [("--gpu", options.gpu.is_some()), ("--jit", options.jit)];
    given.into_iter().find_map(|(option, given)| given.then_some(option))
}

/// Refuses more ranks than can share a GPU: every stream of theirs needs a hardware queue of its own, since a kernel that
/// waits for a peer must not stand before the peer's.
#[cfg(feature = "cuda")]
fn check_queues(options: &PlaceOptions, topology: Topology, queues: u32) -> Result<()> {
    let fabric = options.fabric.fabric();
    let served_nics = u32::from(fabric == Fabric::Mlx5 && topology.nodes() > 1);
    let (ranks, streams) = (topology.ranks(), STREAMS_OF_RANK + served_nics);
    let most = (queues / streams).max(1);
    if ranks <= most {
        return Ok(());
    }
    let fabric = if fabric == Fabric::Mlx5 { "mlx5" } else { "loopback" };
    let valid = format!(
        "at most {most} ranks that share this GPU with fabric {fabric} (it has {queues} hardware queues, \
         `{QUEUES_VARIABLE}` of {QUEUES_MAX}, and a rank takes {streams}): fewer ranks, several GPUs, or `--backend emu`"
    );
    Err(Error::argument("ranks", ranks, valid))
}

/// Hardware queues of a context of this process, as the CUDA driver reads them.
#[cfg(feature = "cuda")]
fn hardware_queues() -> u32 {
    let said = std::env::var(QUEUES_VARIABLE).ok().and_then(|value| value.trim().parse().ok());
    said.unwrap_or(QUEUES_DEFAULT).clamp(1, QUEUES_MAX)
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
fn auto(options: &PlaceOptions, topology: Topology) -> Result<Choice> {
    let gpus = match summary() {
        Ok(summary) => summary.gpus,
        Err(Error::Unsupported { need, have }) => {
            return Ok(emulator(format!("a GPU would need {need}, here is {have}")))
        }
        Err(error) => return Ok(emulator(format!("no GPU can be asked: {error}"))),
    };
    match first_that_fits(&gpus) {
        Some(facts) => match check_queues(options, topology, hardware_queues()) {
            Ok(()) => open(options, topology, format!("the driver finds {}", describe(facts))),
            Err(Error::Argument { value, valid, .. }) => {
                Ok(emulator(format!("{} cannot take {value} ranks: {valid}", describe(facts))))
            }
            Err(error) => Err(error),
        },
        None => {
            let seen: Vec<String> = gpus.iter().map(describe).collect();
            Ok(emulator(format!("no GPU here has compute capability 9.0: {}", seen.join("; "))))
        }
    }
}

#[cfg(feature = "cuda")]
fn open(options: &PlaceOptions, topology: Topology, why: String) -> Result<Choice> {
    check_queues(options, topology, hardware_queues())?;
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
fn auto(_: &PlaceOptions, _: Topology) -> Result<Choice> {
    Ok(emulator("this build has no feature `cuda`".to_string()))
}

#[cfg(not(feature = "cuda"))]
fn open(_: &PlaceOptions, _: Topology, _: String) -> Result<Choice> {
    Err(Error::Unsupported { need: "a build with feature `cuda`".into(), have: "one without it".into() })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::options::DemoOptions;

    fn choice(words: &[&str]) -> Result<Choice> {
        let options = DemoOptions::parse_from(std::iter::once("demo").chain(words.iter().copied()));
        Choice::new(&options.place, options.of_emulator(), options.topology()?)
    }

    #[test]
    fn options_of_the_other_backend_are_refused() {
        for (words, option, valid) in [
            (&["--backend", "cuda", "--unordered"][..], "`--unordered`", "the emulator"),
            (&["--backend", "cuda", "--no-checks"], "`--no-checks`", "the emulator"),
            (&["--backend", "cuda", "--races"], "`--races`", "the emulator"),
            (&["--backend", "cuda", "--schedule-seed", "1"], "`--schedule-seed`", "the emulator"),
            (&["--gpu", "0", "--races"], "`--gpu`", "`--races`"),
            (&["--backend", "emu", "--gpu", "3"], "`--gpu`", "a GPU"),
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
    fn more_ranks_than_hardware_queues_are_refused() {
        for (words, queues, most) in [
            (&["--nodes", "2", "--gpus-per-node", "5"][..], 32, 10),
            (&["--nodes", "1", "--gpus-per-node", "16"], 32, 16),
            (&["--nodes", "4", "--gpus-per-node", "4", "--fabric", "loopback"], 32, 16),
            (&["--nodes", "1", "--gpus-per-node", "1"], 1, 1),
        ] {
            let check = |options: &DemoOptions| check_queues(&options.place, options.topology()?, queues);
            let options = |more: &[&str]| DemoOptions::parse_from([&["demo"], words, more].concat());
            check(&options(&[])).unwrap_or_else(|error| panic!("{words:?}: {error}"));
            let more = (most + 1).to_string();
            let mut over = options(&[]);
            (over.nodes, over.gpus_per_node) = if over.nodes == 1 { (1, most + 1) } else { (most + 1, 1) };
            let said = check(&over).expect_err("refused").to_string();
            assert!(said.contains(&format!("= {more}: valid is at most {most} ranks")), "{words:?}: {said}");
        }
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
