//! `doctor`: what of GPU, driver, NIC, verbs and ptxas this machine has, and what follows.
//!
//! It only looks at files and runs `ptxas --version`: nothing is loaded, opened or changed. What it cannot see from
//! outside (a firmware setting, a switch) it does not judge.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser;
use warpferry::kernel::KERNELS;

use crate::output::say;

/// First driver that compiles PTX 8.2 (CUDA 12.2; NVIDIA's table of CUDA toolkits and drivers).
const DRIVER_MAJOR: u32 = 535;
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

/// Prints the report.
pub fn run(options: &DoctorOptions) {
    let machine = Machine::here();
    let findings = machine.findings();
    if options.json {
        let list: Vec<_> = findings
            .iter()
            .map(|f| serde_json::json!({ "what": f.what, "found": f.found, "detail": f.detail, "follows": f.follows }))
            .collect();
        say(serde_json::json!({ "findings": list, "conclusion": conclusion(&findings) }));
        return;
    }
    for finding in &findings {
        let mark = if finding.found { "yes" } else { "no" };
        say(format_args!("{:<10} {mark:<4} {}", finding.what, finding.detail));
        say(format_args!("{:<15} {}", "", finding.follows));
    }
    say(format_args!("\n{}", conclusion(&findings)));
}

fn conclusion(findings: &[Finding]) -> String {
    let lacks: Vec<&str> = ["gpu", "driver", "nic", "verbs"]
        .into_iter()
        .filter(|what| findings.iter().any(|finding| finding.what == *what && !finding.found))
        .collect();
    let emulator =
        "This version runs its kernels in the emulator, which needs none of the above; its CUDA driver is yet to come.";
    if lacks.is_empty() {
        format!("All that GPU-driven transfers need is here. {emulator}")
    } else {
        format!("For GPU-driven transfers between nodes this machine lacks: {}. {emulator}", lacks.join(", "))
    }
}

/// A machine seen through its files.
struct Machine {
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
        Machine { root: PathBuf::from("/"), programs, libraries: split("LD_LIBRARY_PATH"), ptxas }
    }

    fn findings(&self) -> Vec<Finding> {
        vec![kernels(), emulator(), self.gpu(), self.driver(), self.nic(), self.verbs(), self.gpudirect(), self.ptxas()]
    }

    fn gpu(&self) -> Finding {
        let models: Vec<String> = self
            .list("proc/driver/nvidia/gpus")
            .iter()
            .filter_map(|gpu| field(&read(&gpu.join("information"))?, "Model:"))
            .collect();
        if models.is_empty() {
            return Finding::new(
                "gpu",
                false,
                "no NVIDIA GPU (nothing in /proc/driver/nvidia/gpus)",
                "kernels run in the emulator only",
            );
        }
        let fits = models.iter().any(|model| {
            ["H100", "H200", "H800", "H20", "GH200", "B100", "B200", "B300", "GB200", "GB300"]
                .iter()
                .any(|name| model.contains(name))
        });
        let follows =
            if fits { "sm_90 or later: the kernels' target" } else { "the kernels need sm_90 (Hopper) or later" };
        Finding::new("gpu", fits, format!("{} x {}", models.len(), models[0]), follows)
    }

    fn driver(&self) -> Finding {
        let version = read(&self.root.join("proc/driver/nvidia/version"))
            .and_then(|text| text.split_whitespace().find(|word| is_version(word)).map(str::to_string));
        let library = self.library("libcuda.so.1");
        match (version, library) {
            (Some(version), Some(library)) => {
                let major: u32 = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
                let follows = if major >= DRIVER_MAJOR {
                    "compiles PTX 8.2 at load".to_string()
                } else {
                    format!("too old for PTX 8.2: {DRIVER_MAJOR} or later is needed")
                };
                Finding::new("driver", major >= DRIVER_MAJOR, format!("{version}, {}", library.display()), follows)
            }
            (Some(version), None) => Finding::new(
                "driver",
                false,
                format!("{version}, but no libcuda.so.1"),
                "programs cannot reach the GPU: install the driver's user-space part",
            ),
            (None, Some(library)) => Finding::new(
                "driver",
                false,
                format!("{}, but no kernel driver", library.display()),
                "the GPU cannot be used until nvidia.ko is loaded",
            ),
            (None, None) => Finding::new(
                "driver",
                false,
                "neither kernel driver nor libcuda.so.1",
                "kernels run in the emulator only",
            ),
        }
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
                "one node, or the emulated NIC",
            );
        }
        let follows = if usable {
            "mlx5 with an active port: kernels can drive its queue pairs"
        } else {
            "kernels drive mlx5 devices with an active port only"
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
        Machine { root, programs: Vec::new(), libraries: Vec::new(), ptxas: None }
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
        assert!(conclusion(&findings).contains("lacks: gpu, driver, nic, verbs"));
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

    #[test]
    fn a_full_node_is_seen() {
        let machine = machine(
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
        let findings = machine.findings();
        for what in ["gpu", "driver", "nic", "verbs", "gpudirect"] {
            assert!(found(&findings, what), "{what}: {findings:?}");
        }
        assert!(conclusion(&findings).starts_with("All that"));
        let _ = fs::remove_dir_all(machine.root);
    }

    #[test]
    fn what_is_too_old_or_down_does_not_count() {
        let machine = machine(
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
        let _ = fs::remove_dir_all(machine.root);
    }
}
