// Assembly with ptxas, when one is at hand.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Architectures we assemble for: Hopper always, Blackwell where the assembler knows it.
const ALWAYS: u32 = 90;
const WHERE_KNOWN: [u32; 2] = [100, 120];

/// Assembled code of a kernel: architecture and file.
pub type Cubins = Vec<(u32, PathBuf)>;

/// A ptxas and what it can do.
#[derive(Debug, Clone)]
pub struct Assembler {
    /// The program.
    pub path: PathBuf,
    /// Architectures to assemble for.
    pub architectures: Vec<u32>,
}

/// Looks for ptxas: `PTXAS` (`none` turns assembly off), then `CUDA_HOME/bin`, `PATH`, and `tools/cuda/bin`, where
/// `scripts/fetch-ptxas.sh` puts it.
pub fn find(root: &Path) -> Result<Option<Assembler>, String> {
    let path = match env::var_os("PTXAS").filter(|value| !value.is_empty()) {
        Some(value) if value == "none" => return Ok(None),
        Some(value) => {
            let path = PathBuf::from(value);
            if !path.is_file() {
                return Err(format!("PTXAS = {}: there is no such file", path.display()));
            }
            Some(path)
        }
        None => candidates(root).into_iter().find(|path| path.is_file()),
    };
    let Some(path) = path else { return Ok(None) };
    let output = Command::new(&path)
        .arg("--list-arch")
        .output()
        .map_err(|error| format!("{}: cannot be run: {error}", path.display()))?;
    let listed = String::from_utf8_lossy(&output.stdout);
    let knows = |sm: &u32| listed.split_whitespace().any(|word| word.trim_start_matches("sm_") == sm.to_string());
    // An assembler from before the option prints nothing: Hopper is then tried, and its own words tell.
    let mut architectures = vec![ALWAYS];
    architectures.extend(WHERE_KNOWN.into_iter().filter(knows));
    Ok(Some(Assembler { path, architectures }))
}

fn candidates(root: &Path) -> Vec<PathBuf> {
    let name = format!("ptxas{}", env::consts::EXE_SUFFIX);
    let cuda = env::var_os("CUDA_HOME").map(|home| PathBuf::from(home).join("bin"));
    let path = env::var_os("PATH").map(|path| env::split_paths(&path).collect::<Vec<_>>()).unwrap_or_default();
    cuda.into_iter().chain(path).chain([root.join("tools/cuda/bin")]).map(|folder| folder.join(&name)).collect()
}

impl Assembler {
    /// Assembles `marked_text` for every architecture into `folder`; gives architecture and file.
    ///
    /// Spills, local memory, and more registers than `budget` (when it names a number) are errors: such a kernel is
    /// slower than its contract says.
    pub fn assemble(&self, name: &str, marked_text: &str, budget: &str, folder: &Path) -> Result<Cubins, String> {
        let input = folder.join(format!("{name}.marked.ptx"));
        fs::write(&input, marked_text).map_err(|error| format!("{}: {error}", input.display()))?;
        let mut cubins = Vec::new();
        for &sm in &self.architectures {
            let cubin = folder.join(format!("{name}.sm_{sm}.cubin"));
            let output = Command::new(&self.path)
                .arg(format!("-arch=sm_{sm}"))
                .args(["-v", "-warn-spills", "-warn-lmem-usage", "-Werror", "-o"])
                .arg(&cubin)
                .arg(&input)
                .output()
                .map_err(|error| format!("{}: cannot be run: {error}", self.path.display()))?;
            let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
            said.push_str(&String::from_utf8_lossy(&output.stderr));
            if !output.status.success() {
                return Err(format!("{name} for sm_{sm}:\n{}", said.trim_end()));
            }
            if let (Some(used), Some(most)) = (registers(&said), registers(budget)) {
                if used > most {
                    return Err(format!("{name} for sm_{sm} uses {used} registers, its contract's budget is {most}"));
                }
            }
            cubins.push((sm, cubin));
        }
        Ok(cubins)
    }
}

/// The number before the word `registers`.
fn registers(text: &str) -> Option<u32> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let at = words.iter().position(|word| word.trim_end_matches(',') == "registers")?;
    words.get(at.checked_sub(1)?)?.parse().ok()
}
