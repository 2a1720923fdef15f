//! A tuning as files hold it: plain numbers and words.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::tuning::{Landing, Tuning};
use crate::error::{Error, Result};

/// The fields of [`Tuning`]; roles are `dynamic`, `fixed` or a list such as `rfs,srf`, landing is `staged` or `direct:ROWS`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// CTAs of a dispatch launch.
    pub dispatch_sms: u32,
    /// CTAs of a combine launch.
    pub combine_sms: u32,
    /// Lanes of the protocol.
    pub channels: u32,
    /// Messages of a claim between nodes.
    pub chunk_ib: u32,
    /// Messages of a claim within a node.
    pub chunk_nv: u32,
    /// Slots of a ring between nodes.
    pub depth_ib: u32,
    /// Slots of a ring within a node.
    pub depth_nv: u32,
    /// Worker warps of a CTA.
    pub workers: u32,
    /// Kinds of stream that workers claim.
    pub roles: String,
    /// Shared memory of a worker's stages.
    pub stage_bytes: u32,
    /// Where rows go when they arrive.
    pub landing: String,
}

impl From<&Tuning> for Setting {
    fn from(tuning: &Tuning) -> Setting {
        Setting {
            dispatch_sms: tuning.dispatch_sms,
            combine_sms: tuning.combine_sms,
            channels: tuning.channels,
            chunk_ib: tuning.chunk_ib,
            chunk_nv: tuning.chunk_nv,
            depth_ib: tuning.depth_ib,
            depth_nv: tuning.depth_nv,
            workers: tuning.workers,
            roles: tuning.roles.to_string(),
            stage_bytes: tuning.stage_bytes,
            landing: landing_words(tuning.landing),
        }
    }
}

impl Setting {
    /// The tuning, unchecked: whether it fits a world is for [`Plan::new`](super::Plan::new) to say.
    ///
    /// # Errors
    /// [`Error::Argument`] for words that are none.
    pub fn tuning(&self) -> Result<Tuning> {
        let roles = self.roles.parse().map_err(|valid: String| Error::argument("roles", &self.roles, valid))?;
        Ok(Tuning {
            channels: self.channels,
            dispatch_sms: self.dispatch_sms,
            combine_sms: self.combine_sms,
            chunk_ib: self.chunk_ib,
            chunk_nv: self.chunk_nv,
            depth_ib: self.depth_ib,
            depth_nv: self.depth_nv,
            workers: self.workers,
            roles,
            stage_bytes: self.stage_bytes,
            landing: landing(&self.landing)?,
        })
    }

    /// Names and values, in order.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("dispatch_sms", self.dispatch_sms.to_string()),
            ("combine_sms", self.combine_sms.to_string()),
            ("channels", self.channels.to_string()),
            ("chunk_ib", self.chunk_ib.to_string()),
            ("chunk_nv", self.chunk_nv.to_string()),
            ("depth_ib", self.depth_ib.to_string()),
            ("depth_nv", self.depth_nv.to_string()),
            ("workers", self.workers.to_string()),
            ("roles", self.roles.clone()),
            ("stage_bytes", self.stage_bytes.to_string()),
            ("landing", self.landing.clone()),
        ]
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setting { dispatch_sms, combine_sms, channels, chunk_ib, chunk_nv, depth_ib, depth_nv, .. } = self;
        write!(f, "SMs {dispatch_sms}/{combine_sms}, channels {channels}, chunks {chunk_ib}/{chunk_nv}, ")?;
        write!(f, "rings {depth_ib}/{depth_nv}, workers {}, {} roles, ", self.workers, self.roles)?;
        write!(f, "stages {}, {}", self.stage_bytes, self.landing)
    }
}

/// `staged` or `direct:ROWS`.
pub(crate) fn landing_words(landing: Landing) -> String {
    match landing {
        Landing::Staged => "staged".to_string(),
        Landing::Direct { rows } => format!("direct:{rows}"),
    }
}

fn landing(words: &str) -> Result<Landing> {
    if words == "staged" {
        return Ok(Landing::Staged);
    }
    let rows = words.strip_prefix("direct:").and_then(|rows| rows.parse().ok());
    let rows = rows.ok_or_else(|| Error::argument("landing", words, "staged or direct:ROWS"))?;
    Ok(Landing::Direct { rows })
}
