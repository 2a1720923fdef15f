//! Which setting a world gets: the order in which sources are asked, and what is said of a fallback.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::super::key::Key;
use super::{Entry, Store};
use crate::bench::differing;
use crate::error::{Error, Result};
use crate::plan::{Fabric, Landing, Plan, Setting, Shape, Tuning};
use crate::topology::Topology;

/// Environment variable with the path of a TOML file: a setting, an outcome of a search, or a store.
pub const VARIABLE: &str = "WARPFERRY_TUNING";
/// Settings that ship with the library.
const SHIPPED: &str = include_str!("../../../tuned/shipped.toml");

/// What a setting is wanted for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Machine or GPU, by name.
    pub device: &'a str,
    /// Inter-node fabric.
    pub fabric: Fabric,
    /// The world.
    pub topology: Topology,
    /// What is moved.
    pub shape: &'a Shape,
    /// Class of the gate.
    pub gate: &'a str,
}

/// A setting, where it comes from, and how well it fits.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// The setting.
    pub tuning: Tuning,
    /// Where it comes from.
    pub origin: Origin,
    /// How well it fits.
    pub fit: Fit,
}

/// Where a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The file that the environment variable `WARPFERRY_TUNING` names.
    Environment(PathBuf),
    /// The user's store: `warpferry/tuned.toml` in `$XDG_CONFIG_HOME`, or in `~/.config`.
    User(PathBuf),
    /// The settings that ship with the library.
    Shipped,
    /// [`Tuning::default_for`].
    Library,
}

/// How well a setting fits what was wanted.
#[derive(Debug, Clone, PartialEq)]
pub enum Fit {
    /// The file names one setting, for whatever is run.
    Given,
    /// It was found for just this.
    Exact,
    /// It was found for something near.
    Nearest {
        /// How far: see [`super::distance()`].
        distance: f64,
        /// In what that differs.
        differs: Vec<Difference>,
    },
    /// Nothing near is known.
    Default,
}

/// An item of which a stored key has another value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Name of the item.
    pub name: &'static str,
    /// Value that was wanted.
    pub wanted: String,
    /// Value of the entry.
    pub there: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} for {}", self.name, self.there, self.wanted)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Environment(path) => write!(f, "{} ({VARIABLE})", path.display()),
            Origin::User(path) => write!(f, "{}", path.display()),
            Origin::Shipped => f.write_str("shipped settings"),
            Origin::Library => f.write_str("documented defaults"),
        }
    }
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fit {
            Fit::Given => write!(f, "given by {}", self.origin),
            Fit::Exact => write!(f, "{}, for just this", self.origin),
            Fit::Default => write!(f, "{}", self.origin),
            Fit::Nearest { distance, differs } => {
                let differs: Vec<String> = differs.iter().map(Difference::to_string).collect();
                write!(f, "{}, the nearest (distance {distance:.2}): {}", self.origin, differs.join(", "))
            }
        }
    }
}

/// The setting for `wanted`. What the caller sets by itself comes before; then the file that `WARPFERRY_TUNING` names; then the
/// user's store; then the shipped settings; then [`Tuning::default_for`]. An entry for just this, of any of them, comes before one
/// for something near. Entries whose settings do not fit the world are passed over; a landing zone is made to fit the shape.
///
/// # Errors
/// [`Error::File`] for a file that cannot be read; [`Error::Argument`] for a given setting that does not fit.
pub fn stored(wanted: &Wanted<'_>) -> Result<Stored> {
    let variable = std::env::var_os(VARIABLE);
    let user = user_store(std::env::var_os("XDG_CONFIG_HOME"), std::env::var_os("HOME"));
    stored_by(wanted, variable.as_deref().map(Path::new), user.as_deref(), SHIPPED)
}

/// [`stored`] with these places instead of the process's.
pub(in super::super) fn stored_by(
    wanted: &Wanted<'_>,
    variable: Option<&Path>,
    user: Option<&Path>,
    shipped: &str,
) -> Result<Stored> {
    let mut stores: Vec<(Origin, Store)> = Vec::new();
    if let Some(path) = variable.filter(|path| !path.as_os_str().is_empty()) {
        let origin = Origin::Environment(path.to_path_buf());
        match named(path)? {
            Named::Setting(setting) => return given(wanted, &setting, origin),
            Named::Store(store) => stores.push((origin, store)),
        }
    }
    if let Some(path) = user {
        stores.push((Origin::User(path.to_path_buf()), Store::load(path)?));
    }
    stores.push((Origin::Shipped, Store::from_toml("tuned/shipped.toml", shipped)?));
    Ok(found(wanted, stores))
}

/// The best entry of several stores.
fn found(wanted: &Wanted<'_>, stores: Vec<(Origin, Store)>) -> Stored {
    let key = Key::new(wanted.device, wanted.fabric, wanted.topology, wanted.shape, wanted.gate);
    for (origin, store) in &stores {
        if let Some(tuning) = store.exact(&key).and_then(|entry| fitting(wanted, entry.setting.tuning().ok()?)) {
            return Stored { tuning, origin: origin.clone(), fit: Fit::Exact };
        }
    }
    for (origin, store) in &stores {
        for (distance, entry) in store.near(&key) {
            if let Some(tuning) = adapted(wanted, entry).and_then(|tuning| fitting(wanted, tuning)) {
                let differs = differences(&key, &entry.key);
                return Stored { tuning, origin: origin.clone(), fit: Fit::Nearest { distance, differs } };
            }
        }
    }
    let tuning = Tuning::default_for(wanted.topology, wanted.shape.dispatch_row_bytes());
    Stored { tuning, origin: Origin::Library, fit: Fit::Default }
}

/// The setting of an entry for something else: a landing zone gets the rows of this shape.
fn adapted(wanted: &Wanted<'_>, entry: &Entry) -> Option<Tuning> {
    let tuning = entry.setting.tuning().ok()?;
    let landing = match tuning.landing {
        Landing::Staged => Landing::Staged,
        Landing::Direct { .. } => Landing::direct_for(wanted.topology, wanted.shape),
    };
    Some(Tuning { landing, ..tuning })
}

/// A setting, where it fits the world.
fn fitting(wanted: &Wanted<'_>, tuning: Tuning) -> Option<Tuning> {
    Plan::new(wanted.topology, *wanted.shape, tuning.clone(), wanted.fabric).ok()?;
    Some(tuning)
}

fn given(wanted: &Wanted<'_>, setting: &Setting, origin: Origin) -> Result<Stored> {
    let tuning = setting.tuning()?;
    Plan::new(wanted.topology, *wanted.shape, tuning.clone(), wanted.fabric)?;
    Ok(Stored { tuning, origin, fit: Fit::Given })
}

/// What a file holds that the environment names.
enum Named {
    Setting(Box<Setting>),
    Store(Store),
}

/// A file with one setting: other tables beside it, as in an outcome, are not looked at.
#[derive(Deserialize)]
struct OneSetting {
    setting: Setting,
}

fn named(path: &Path) -> Result<Named> {
    let name = path.display().to_string();
    let failed = |message: String| Error::File { path: format!("{name} ({VARIABLE})"), message };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| failed(error.to_string()))?;
    if table.contains_key("setting") {
        let one: OneSetting = toml::from_str(&text).map_err(|error| failed(error.to_string()))?;
        return Ok(Named::Setting(Box::new(one.setting)));
    }
    if !table.contains_key("format") {
        return Err(failed("holds neither a table `setting` nor a store (`format`, `entry`)".to_string()));
    }
    Ok(Named::Store(Store::from_toml(&name, &text)?))
}

/// Where the user's store is, by the XDG base directory specification.
fn user_store(config: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let given = |variable: Option<OsString>| variable.map(PathBuf::from).filter(|path| path.is_absolute());
    let config = given(config).or_else(|| given(home).map(|home| home.join(".config")))?;
    Some(config.join("warpferry").join("tuned.toml"))
}

fn differences(wanted: &Key, there: &Key) -> Vec<Difference> {
    let items = differing(wanted.fields(), there.fields());
    items.map(|(name, wanted, there)| Difference { name, wanted, there }).collect()
}
