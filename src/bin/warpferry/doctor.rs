//! `doctor`: what of GPU, driver, NIC, verbs and ptxas this machine has, and what follows.
//!
//! GPU and driver are what the CUDA driver library says: it is opened for that, as any CUDA program does, and asked for
//! versions and attributes; no context is made. The rest it reads from files, and it runs `ptxas --version`. Nothing is
//! changed. What it cannot see from outside (a firmware setting, a switch) it does not judge.

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser;
use serde_json::json;
use warpferry::kernel::KERNELS;

use crate::output::{complain, say};

/// Compute capability that the kernels need: bulk copies and their barriers came with Hopper.
const COMPUTE_MIN: (u32, u32) = (9, 0);
/// Environment variable that says how many hardware queues a context has, their number without it, and their most.
/// Source: CUDA programming guide, "Environment Variables".
pub const QUEUES_VARIABLE: &str = "CUDA_DEVICE_MAX_CONNECTIONS";
pub const QUEUES_DEFAULT: u32 = 8;
pub const QUEUES_MAX: u32 = 32;
/// Streams of a rank: its kernels', the one that cancels them, its NIC's when a thread plays that.
const STREAMS_PER_RANK: u32 = 3;
/// Folders of shared libraries on common distributions.
const LIBRARY_FOLDERS: [&str; 8] = [
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "lib/x86_64-linux-gnu",
    "usr/lib64",
    "usr/lib",
    "lib64",
    "usr/local/cuda/compat",
    "usr/lib/wsl/lib",
];

/// Options of `doctor`.
#[derive(Debug, Clone, Parser)]
pub struct DoctorOptions {
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub json: bool,
    /// End with 1, and say why, unless the kernels can run on a GPU here
    #[arg(long)]
    pub require_gpu: bool,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    /// What was looked for.
    what: &'static str,
    /// Whether it is here and of use.
    found: bool,
    /// What is here, or what is missing.
    detail: String,
    /// What follows.
    follows: String,
}

impl Finding {
    fn new(what: &'static str, found: bool, detail: impl Into<String>, follows: impl Into<String>) -> Finding {
        Finding { what, found, detail: detail.into(), follows: follows.into() }
    }
}

/// What the CUDA driver library says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "cuda"), allow(dead_code))] // such a build can only refuse
enum Cuda {
    /// There is none, it is too old or broken, it sees no GPU, or this build cannot ask it: in words.
    Refused(String),
    /// It works.
    Works {
        /// Version that the driver supports, 1000 x major + 10 x minor.
        version: u32,
        gpus: Vec<Gpu>,
    },
}

/// A GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Gpu {
    ordinal: u32,
    name: String,
    compute: (u32, u32),
    sms: u32,
    memory_bytes: u64,
}

impl Gpu {
    fn fits(&self) -> bool {
        self.compute >= COMPUTE_MIN
    }
}

impl fmt::Display for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.compute;
        let gib = self.memory_bytes as f64 / f64::from(1 << 30);
        write!(f, "{} (compute capability {major}.{minor}, {} SMs, {gib:.0} GiB)", self.name, self.sms)
    }
}

#[cfg(feature = "cuda")]
fn ask_driver() -> Cuda {
    match warpferry::driver::cuda::summary() {
        Ok(summary) => Cuda::Works {
            version: summary.driver_version,
            gpus: summary
                .gpus
                .into_iter()
                .map(|facts| Gpu {
                    ordinal: facts.ordinal,
                    name: facts.name,
                    compute: facts.compute,
                    sms: facts.sms,
                    memory_bytes: facts.memory_bytes,
                })
                .collect(),
        },
        Err(error) => Cuda::Refused(error.to_string()),
    }
}

#[cfg(not(feature = "cuda"))]
fn ask_driver() -> Cuda {
    Cuda::Refused("this build has no feature `cuda` and asked nobody".into())
}

/// Prints the report; false when a GPU is required and none is of use.
pub fn run(options: &DoctorOptions) -> bool {
    let machine = Machine::here();
    let findings = machine.findings();
    if options.json {
        say(machine.to_json(&findings));
    } else {
        for finding in &findings {
            let mark = if finding.found { "yes" } else { "no" };
            say(format_args!("{:<10} {mark:<4} {}", finding.what, finding.detail));
            say(format_args!("{:<15} {}", "", finding.follows));
        }
        say(format_args!("\n{}", conclusion(&findings)));
    }
    match machine.no_gpu() {
        Some(why) if options.require_gpu => {
            complain(format_args!("no GPU that the kernels can run on: {why}"));
            false
        }
        _ => true,
    }
}

fn conclusion(findings: &[Finding]) -> String {
    let found = |what: &str| findings.iter().any(|finding| finding.what == what && finding.found);
    let here = if found("gpu") && found("driver") {
        "Kernels run on a GPU here, all ranks in one process: on one GPU as threads (`warpferry demo`; between nodes \
         through memory or through NICs that a thread plays), or one rank a GPU through the library."
    } else {
        "Kernels run in the emulator here, which needs none of the above."
    };
    let lacks: Vec<&str> = ["gpu", "driver", "nic", "verbs"].into_iter().filter(|what| !found(what)).collect();
    let nodes = "Between nodes this version drives no real NIC yet";
    if lacks.is_empty() {
        format!("{here} {nodes}; all that it will need is here.")
    } else {
        format!("{here} {nodes}; of what it will need this machine lacks: {}.", lacks.join(", "))
    }
}

/// A machine seen through its files and its CUDA driver.
#[derive(Debug)]
struct Machine {
    /// What the driver library says.
    cuda: Cuda,
    /// `CUDA_DEVICE_MAX_CONNECTIONS`; with feature `cuda` the program sets it at its start unless it is set.
    queues: Option<String>,
    /// `/`, or a tree that stands for it.
    root: PathBuf,
    /// Folders of programs, first one wins.
    programs: Vec<PathBuf>,
    /// Folders of libraries beside the usual ones.
    libraries: Vec<PathBuf>,
    /// `PTXAS`; `none` turns assembly off, as in a build.
    ptxas: Option<PathBuf>,
}

impl Machine {
    fn here() -> Machine {
        let split = |name: &str| env::var_os(name).map(|list| env::split_paths(&list).collect()).unwrap_or_default();
        let mut programs: Vec<PathBuf> =
            env::var_os("CUDA_HOME").map(|h| PathBuf::from(h).join("bin")).into_iter().collect();
        let path: Vec<PathBuf> = split("PATH");
        programs.extend(path);
        programs.push(PathBuf::from("tools/cuda/bin"));
        let ptxas = env::var_os("PTXAS").filter(|value| !value.is_empty()).map(PathBuf::from);
        let queues = env::var(QUEUES_VARIABLE).ok();
        let libraries = split("LD_LIBRARY_PATH");
        Machine { cuda: ask_driver(), queues, root: PathBuf::from("/"), programs, libraries, ptxas }
    }

    fn findings(&self) -> Vec<Finding> {
        vec![
            kernels(),
            emulator(),
            self.gpu(),
            self.driver(),
            self.queues(),
            self.nic(),
            self.verbs(),
            self.gpudirect(),
            self.ptxas(),
        ]
    }

    /// Findings, and the driver and GPUs as numbers: null where the driver library does not work.
    fn to_json(&self, findings: &[Finding]) -> serde_json::Value {
        let list: Vec<_> = findings
            .iter()
            .map(|f| json!({ "what": f.what, "found": f.found, "detail": f.detail, "follows": f.follows }))
            .collect();
        let mut report = json!({ "findings": list, "conclusion": conclusion(findings), "driver_version": null });
        report["kernel_driver"] = json!(self.kernel_driver());
        report["gpu_usable"] = json!(self.no_gpu().is_none());
        report["no_gpu_why"] = json!(self.no_gpu());
        let Cuda::Works { version, gpus } = &self.cuda else {
            report["gpus"] = json!([]);
            return report;
        };
        report["driver_version"] = json!(version);
        report["gpus"] = gpus
            .iter()
            .map(|gpu| {
                json!({
                    "ordinal": gpu.ordinal,
                    "name": gpu.name,
                    "compute": format!("{}.{}", gpu.compute.0, gpu.compute.1),
                    "sms": gpu.sms,
                    "memory_bytes": gpu.memory_bytes,
                    "fits": gpu.fits(),
                })
            })
            .collect();
        report
    }

    /// Why no kernel can run on a GPU here; `None` when it can.
    fn no_gpu(&self) -> Option<String> {
        match &self.cuda {
            Cuda::Refused(why) => Some(why.clone()),
            Cuda::Works { gpus, .. } if gpus.iter().any(Gpu::fits) => None,
            Cuda::Works { .. } => {
                let gpu = self.gpu();
                Some(format!("{}; {}", gpu.detail, gpu.follows))
            }
        }
    }

    fn gpu(&self) -> Finding {
        let gpus = match &self.cuda {
            Cuda::Works { gpus, .. } => gpus.as_slice(),
            Cuda::Refused(_) => &[],
        };
        let detail = gpus.iter().map(|gpu| format!("GPU {}: {gpu}", gpu.ordinal)).collect::<Vec<_>>().join("; ");
        let fitting = gpus.iter().filter(|gpu| gpu.fits()).count();
        if gpus.is_empty() {
            let models = self.models();
            let detail = match models.as_slice() {
                [] => "no NVIDIA GPU that the driver shows, none in /proc/driver/nvidia/gpus".to_string(),
                models => format!("{}, which the driver library does not show", models.join(", ")),
            };
            return Finding::new("gpu", false, detail, "kernels run in the emulator only");
        }
        let follows = match fitting {
            0 => "too old: the kernels need compute capability 9.0 (Hopper) or later".to_string(),
            1 if gpus.len() == 1 => "compute capability 9.0 or later: the kernels' target".to_string(),
            count => format!("{count} of {} have compute capability 9.0 or later: the kernels' target", gpus.len()),
        };
        Finding::new("gpu", fitting > 0, detail, follows)
    }

    /// GPUs that the kernel driver lists.
    fn models(&self) -> Vec<String> {
        let gpus = self.list("proc/driver/nvidia/gpus");
        gpus.iter().filter_map(|gpu| field(&read(&gpu.join("information"))?, "Model:")).collect()
    }

    /// Version of the kernel driver.
    fn kernel_driver(&self) -> Option<String> {
        let text = read(&self.root.join("proc/driver/nvidia/version"))?;
        text.split_whitespace().find(|word| is_version(word)).map(str::to_string)
    }

    fn driver(&self) -> Finding {
        let kernel =
            self.kernel_driver().map_or("no kernel driver".to_string(), |found| format!("kernel driver {found}"));
        match &self.cuda {
            Cuda::Works { version, .. } => Finding::new(
                "driver",
                true,
                format!("for CUDA {}.{}; {kernel}", version / 1000, version % 1000 / 10),
                "compiles PTX 8.2 at load",
            ),
            Cuda::Refused(why) => {
                let library = self.library("libcuda.so.1");
                let file = library.map_or(String::new(), |path| format!("; {} is there", path.display()));
                Finding::new("driver", false, format!("{why}; {kernel}{file}"), "kernels run in the emulator only")
            }
        }
    }

    /// Each stream of ranks that share a GPU needs a hardware queue of its own.
    fn queues(&self) -> Finding {
        let (count, detail) = match &self.queues {
            None => (QUEUES_DEFAULT, format!("{QUEUES_VARIABLE} is not set: {QUEUES_DEFAULT} hardware queues")),
            Some(text) => match text.trim().parse::<u32>() {
                Ok(count) if (1..=QUEUES_MAX).contains(&count) => (count, format!("{QUEUES_VARIABLE} = {count}")),
                _ => (0, format!("{QUEUES_VARIABLE} = {text}, which is not 1 to {QUEUES_MAX}")),
            },
        };
        let ranks = count / STREAMS_PER_RANK;
        let follows = match (count, &self.queues) {
            (QUEUES_MAX, _) => format!("up to {ranks} ranks can share a GPU; `warpferry` sets this unless it is set"),
            (_, None) => format!(
                "{ranks} ranks can share a GPU; `warpferry` itself asks for {QUEUES_MAX} queues, a program of yours can \
                 with `use_all_hardware_queues`"
            ),
            _ => format!("{ranks} ranks can share a GPU: unset it, or set it to {QUEUES_MAX}"),
        };
        Finding::new("queues", count == QUEUES_MAX || self.queues.is_none(), detail, follows)
    }

    fn nic(&self) -> Finding {
        let mut devices = Vec::new();
        let mut usable = false;
        for device in self.list("sys/class/infiniband") {
            let name = device.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let driver = fs::read_link(device.join("device/driver")).ok();
            let driver = driver.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
            let is_mlx5 = driver.as_deref().map_or(name.starts_with("mlx5"), |driver| driver.starts_with("mlx5"));
            for port in self.list_in(&device.join("ports")) {
                let said = |file: &str| read(&port.join(file)).map(|text| text.trim().to_string()).unwrap_or_default();
                let active = said("state").contains("ACTIVE");
                usable |= is_mlx5 && active;
                devices.push(format!("{name} {} {} {}", said("link_layer"), said("rate"), said("state")));
            }
        }
        if devices.is_empty() {
            return Finding::new(
                "nic",
                false,
                "no RDMA device in /sys/class/infiniband",
                "one node, or NICs that the emulator or a thread plays",
            );
        }
        let follows = if usable {
            "mlx5 with an active port: what kernels will drive"
        } else {
            "kernels will drive mlx5 devices with an active port only"
        };
        Finding::new("nic", usable, devices.join("; "), follows)
    }

    fn verbs(&self) -> Finding {
        let missing: Vec<&str> =
            ["libibverbs.so.1", "libmlx5.so.1"].into_iter().filter(|name| self.library(name).is_none()).collect();
        let opened = !self.list("dev/infiniband").is_empty();
        match (missing.as_slice(), opened) {
            ([], true) => {
                Finding::new("verbs", true, "libibverbs, libmlx5 and /dev/infiniband", "queue pairs can be made")
            }
            ([], false) => Finding::new(
                "verbs",
                false,
                "libibverbs and libmlx5, but nothing in /dev/infiniband",
                "no RDMA device is given to this user or container",
            ),
            (missing, _) => Finding::new(
                "verbs",
                false,
                format!("missing: {}", missing.join(", ")),
                "no queue pairs; install rdma-core (Debian: ibverbs-providers)",
            ),
        }
    }

    fn gpudirect(&self) -> Finding {
        let modules = read(&self.root.join("proc/modules")).unwrap_or_default();
        let has = |name: &str| modules.lines().any(|line| line.split_whitespace().next() == Some(name));
        match (has("nvidia_peermem"), has("nvidia")) {
            (true, _) => Finding::new("gpudirect", true, "nvidia_peermem is loaded", "NICs can register GPU memory"),
            (false, true) => Finding::new("gpudirect", false, "nvidia_peermem is not loaded", "NICs can register GPU memory through dma-buf only (open kernel driver), or after `modprobe nvidia_peermem`"),
            (false, false) => Finding::new("gpudirect", false, "no nvidia module", "nothing to register"),
        }
    }

    fn ptxas(&self) -> Finding {
        if self.ptxas.as_deref() == Some(Path::new("none")) {
            return Finding::new("ptxas", false, "turned off by PTXAS=none", "builds embed PTX text only");
        }
        let found = self
            .ptxas
            .clone()
            .or_else(|| self.programs.iter().map(|folder| folder.join("ptxas")).find(|path| path.is_file()));
        let Some(path) = found else {
            return Finding::new(
                "ptxas",
                false,
                "not in PTXAS, CUDA_HOME, PATH or tools/cuda/bin",
                "builds embed PTX text only; scripts/fetch-ptxas.sh brings one",
            );
        };
        match Command::new(&path).arg("--version").output() {
            Ok(output) if output.status.success() => {
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                let version =
                    said.split_whitespace().rfind(|word| word.starts_with('V')).unwrap_or("of unknown version");
                Finding::new(
                    "ptxas",
                    true,
                    format!("{} {version}", path.display()),
                    "a build assembles every kernel and refuses spills",
                )
            }
            _ => Finding::new(
                "ptxas",
                false,
                format!("{} does not run", path.display()),
                "builds fail while it is found: set PTXAS=none",
            ),
        }
    }

    fn library(&self, name: &str) -> Option<PathBuf> {
        let usual = LIBRARY_FOLDERS.iter().map(|folder| self.root.join(folder));
        self.libraries.iter().cloned().chain(usual).map(|folder| folder.join(name)).find(|path| path.exists())
    }

    /// Entries of a folder below the root, sorted; none when it is not there.
    fn list(&self, folder: &str) -> Vec<PathBuf> {
        self.list_in(&self.root.join(folder))
    }

    fn list_in(&self, folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        paths
    }
}

fn kernels() -> Finding {
    let architectures: Vec<String> = KERNELS
        .first()
        .map(|kernel| kernel.cubins.iter().map(|(sm, _)| format!("sm_{sm}")).collect())
        .unwrap_or_default();
    let names: Vec<&str> = KERNELS.iter().map(|kernel| kernel.name).collect();
    let follows = if architectures.is_empty() {
        "PTX text only: the build had no ptxas, a driver compiles at load".to_string()
    } else {
        format!("PTX text and machine code for {}", architectures.join(", "))
    };
    Finding::new("kernels", !names.is_empty(), format!("{} embedded: {}", names.len(), names.join(", ")), follows)
}

/// The command line is built with the emulator always.
fn emulator() -> Finding {
    Finding::new("emulator", true, "built in", "`warpferry demo` runs the kernels on any machine")
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// What follows `key` on its line.
fn field(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| line.strip_prefix(key)).map(|value| value.trim().to_string())
}

/// `535.104.05`: at least two dots or one, digits else.
fn is_version(word: &str) -> bool {
    word.contains('.')
        && word.starts_with(|c: char| c.is_ascii_digit())
        && word.chars().all(|c| c.is_ascii_digit() || c == '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine made of files below the target folder.
    fn machine(name: &str, files: &[(&str, &str)]) -> Machine {
        let root = env::temp_dir().join(format!("warpferry-doctor-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).expect("the folder of temporary files can be written");
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("files lie below the root")).expect("can be made");
            fs::write(path, text).expect("can be written");
        }
        let cuda = Cuda::Refused("unsupported: needs a library, here is none".into());
        Machine { cuda, queues: None, root, programs: Vec::new(), libraries: Vec::new(), ptxas: None }
    }

    fn found(findings: &[Finding], what: &str) -> bool {
        findings.iter().find(|finding| finding.what == what).expect("every check reports").found
    }

    #[test]
    fn a_bare_machine_lacks_all_but_the_emulator() {
        let machine = machine("bare", &[]);
        let findings = machine.findings();
        for what in ["gpu", "driver", "nic", "verbs", "gpudirect", "ptxas"] {
            assert!(!found(&findings, what), "{what}");
        }
        let said = conclusion(&findings);
        assert!(said.contains("lacks: gpu, driver, nic, verbs") && said.contains("in the emulator here"), "{said}");
        assert!(machine.driver().detail.contains("here is none; no kernel driver"), "{}", machine.driver().detail);
        let report = machine.to_json(&findings);
        assert!(report["driver_version"].is_null() && report["gpus"] == json!([]), "{report}");
        let why = report["no_gpu_why"].as_str().expect("a reason");
        assert!(report["gpu_usable"] == false && why.contains("here is none"), "{report}");
        let _ = fs::remove_dir_all(machine.root);
    }

    #[test]
    fn ptxas_can_be_turned_off() {
        let mut machine = machine("off", &[("bin/ptxas", "")]);
        machine.programs = vec![machine.root.join("bin")];
        assert!(machine.ptxas().detail.contains("does not run"));
        machine.ptxas = Some(PathBuf::from("none"));
        assert!(!machine.ptxas().found && machine.ptxas().detail.contains("PTXAS=none"));
        let _ = fs::remove_dir_all(machine.root);
    }

    fn gpu(name: &str, compute: (u32, u32)) -> Gpu {
        Gpu { ordinal: 0, name: name.into(), compute, sms: 132, memory_bytes: 80 << 30 }
    }

    #[test]
    fn a_full_node_is_seen() {
        let mut machine = machine(
            "full",
            &[
                ("proc/driver/nvidia/gpus/0000:18:00.0/information", "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ: 1\n"),
                (
                    "proc/driver/nvidia/version",
                    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release\n",
                ),
                ("usr/lib64/libcuda.so.1", ""),
                ("usr/lib64/libibverbs.so.1", ""),
                ("usr/lib64/libmlx5.so.1", ""),
                ("dev/infiniband/uverbs0", ""),
                ("proc/modules", "nvidia_peermem 16384 0 - Live 0x0\nnvidia 1 0 - Live 0x0\n"),
                ("sys/class/infiniband/mlx5_0/ports/1/state", "4: ACTIVE\n"),
                ("sys/class/infiniband/mlx5_0/ports/1/rate", "400 Gb/sec (4X NDR)\n"),
                ("sys/class/infiniband/mlx5_0/ports/1/link_layer", "InfiniBand\n"),
            ],
        );
        machine.cuda = Cuda::Works { version: 12040, gpus: vec![gpu("NVIDIA H100 80GB HBM3", (9, 0))] };
        machine.queues = Some("32".into());
        let findings = machine.findings();
        for what in ["gpu", "driver", "queues", "nic", "verbs", "gpudirect"] {
            assert!(found(&findings, what), "{what}: {findings:?}");
        }
        let said = conclusion(&findings);
        assert!(said.contains("on a GPU here") && said.contains("no real NIC yet; all that"), "{said}");
        assert!(machine.driver().detail.contains("CUDA 12.4; kernel driver 550.54.15"), "{}", machine.driver().detail);
        let report = machine.to_json(&findings);
        assert_eq!((&report["driver_version"], &report["gpus"][0]["fits"]), (&json!(12040), &json!(true)));
        assert_eq!((&report["gpu_usable"], &report["no_gpu_why"]), (&json!(true), &json!(null)));
        let _ = fs::remove_dir_all(machine.root);
    }

    #[test]
    fn what_is_too_old_or_down_does_not_count() {
        let mut machine = machine(
            "old",
            &[
                ("proc/driver/nvidia/gpus/0/information", "Model: Tesla V100-SXM2-32GB\n"),
                ("proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.82.01  Wed\n"),
                ("usr/lib64/libcuda.so.1", ""),
                ("sys/class/infiniband/mlx5_0/ports/1/state", "1: DOWN\n"),
                ("sys/class/infiniband/rxe0/ports/1/state", "4: ACTIVE\n"),
            ],
        );
        let findings = machine.findings();
        for what in ["gpu", "driver", "nic"] {
            assert!(!found(&findings, what), "{what}: {findings:?}");
        }
        // What the kernel lists and the library does not show is said; so is the file of a library that does not work.
        assert!(machine.gpu().detail.contains("Tesla V100"), "{}", machine.gpu().detail);
        assert!(machine.driver().detail.contains("libcuda.so.1 is there"), "{}", machine.driver().detail);
        machine.cuda = Cuda::Works { version: 12020, gpus: vec![gpu("Tesla V100-SXM2-32GB", (7, 0))] };
        let findings = machine.findings();
        assert!(!found(&findings, "gpu") && found(&findings, "driver"), "{findings:?}");
        assert!(machine.gpu().follows.contains("too old"), "{}", machine.gpu().follows);
        assert!(conclusion(&findings).contains("in the emulator here"));
        assert!(machine.no_gpu().is_some_and(|why| why.contains("V100") && why.contains("too old")), "{machine:?}");
        let _ = fs::remove_dir_all(machine.root);
    }

    #[test]
    fn one_gpu_that_fits_is_enough() {
        let mut machine = machine("mixed", &[]);
        let gpus = vec![gpu("old", (8, 6)), Gpu { ordinal: 1, ..gpu("new", (10, 0)) }];
        machine.cuda = Cuda::Works { version: 13000, gpus };
        let finding = machine.gpu();
        assert!(finding.found && finding.follows.starts_with("1 of 2"), "{finding:?}");
        assert!(finding.detail.contains("GPU 1: new (compute capability 10.0, 132 SMs, 80 GiB)"), "{finding:?}");
        let _ = fs::remove_dir_all(machine.root);
    }

    #[test]
    fn few_hardware_queues_are_told() {
        let mut machine = machine("queues", &[]);
        assert!(machine.queues().found && machine.queues().follows.starts_with("2 ranks"), "{:?}", machine.queues());
        for (text, found, part) in
            [("32", true, "up to 10 ranks"), ("8", false, "2 ranks"), ("many", false, "unset it")]
        {
            machine.queues = Some(text.into());
            let finding = machine.queues();
            assert!(finding.found == found && finding.follows.contains(part), "{text}: {finding:?}");
        }
        let _ = fs::remove_dir_all(machine.root);
    }
}
