//! Options that say how rows are moved, and the tuning that they make.

use std::fmt;
use std::str::FromStr;

use clap::Args;
use warpferry::plan::tuning::{MAX_CHUNK, SMS_DEFAULT};
use warpferry::plan::{Landing, Roles, Shape, Tuning};
use warpferry::{Error, Result, Topology};

/// Settings. What is not given follows the library's defaults for the world.
#[derive(Debug, Clone, Args)]
pub struct SettingOptions {
    /// Where rows go when they arrive: `staged` through a ring, `direct` straight to their places, in a zone of half as many
    /// rows again as come when choices are balanced, or `direct:ROWS`
    #[arg(long, default_value = "staged")]
    pub landing: LandingOption,
    /// Channels of the protocol
    #[arg(long)]
    pub channels: Option<u32>,
    /// SMs (CTAs) of each launch
    #[arg(long)]
    pub sms: Option<u32>,
    /// Most messages a claim moves, between nodes and within
    #[arg(long)]
    pub chunk: Option<u32>,
    /// Most messages a claim moves between nodes
    #[arg(long)]
    pub chunk_ib: Option<u32>,
    /// Most messages a claim moves within a node
    #[arg(long)]
    pub chunk_nv: Option<u32>,
    /// Slots of a ring between nodes
    #[arg(long)]
    pub depth_ib: Option<u32>,
    /// Slots of a ring within a node
    #[arg(long)]
    pub depth_nv: Option<u32>,
    /// Worker warps of a CTA
    #[arg(long)]
    pub workers: Option<u32>,
    /// `dynamic`, `fixed`, or a list of s(end), f(orward), r(eceive) for each worker: `rfs,srf,f`
    #[arg(long, default_value = "dynamic")]
    pub roles: RolesOption,
}

impl SettingOptions {
    /// Tuning: the library's defaults with what was given in their place. A rank has `sms_of_rank` SMs, where they are
    /// scarce: defaults bend to them. A landing zone that nobody gave a size has room for `outputs` outputs.
    pub fn tuning(&self, topology: Topology, shape: &Shape, sms_of_rank: Option<u32>, outputs: u32) -> Result<Tuning> {
        let mut tuning = Tuning::default_for(topology, shape.dispatch_row_bytes());
        if let Some(sms @ 1..) = self.sms {
            tuning = tuning.with_sms(topology, sms);
        }
        let set = |field: &mut u32, given: Option<u32>| *field = given.unwrap_or(*field);
        set(&mut tuning.channels, self.channels);
        set(&mut tuning.depth_ib, self.depth_ib);
        set(&mut tuning.depth_nv, self.depth_nv);
        set(&mut tuning.workers, self.workers);
        let sms_most = sms_of_rank.unwrap_or(u32::MAX).min(tuning.channels).max(1);
        let sms = self.sms.unwrap_or(SMS_DEFAULT.min(sms_most));
        (tuning.dispatch_sms, tuning.combine_sms) = (sms, sms);
        // Defaults bend to the rings asked for; a chunk that was asked for is taken or refused as it is.
        let fit =
            |given: Option<u32>, chunk: u32, depth: u32| given.or(self.chunk).unwrap_or(chunk.min(depth / 2).max(1));
        tuning.chunk_ib = fit(self.chunk_ib, tuning.chunk_ib, tuning.depth_ib);
        tuning.chunk_nv = fit(self.chunk_nv, tuning.chunk_nv, tuning.depth_nv);
        tuning.roles = self.roles.0.clone();
        if let (Roles::Custom(list), None) = (&tuning.roles, self.workers) {
            tuning.workers =
                u32::try_from(list.len()).map_err(|_| Error::argument("roles", list.len(), "one list a worker"))?;
        }
        tuning.landing = match self.landing {
            LandingOption::Staged => Landing::Staged,
            LandingOption::Direct(Some(rows)) => Landing::Direct { rows },
            LandingOption::Direct(None) => Landing::direct_for(topology, shape).times(outputs),
        };
        tuning.check(topology).map_err(|error| self.as_typed(error, &tuning))?;
        Ok(tuning)
    }

    /// Names the option that was typed where the library names the setting made of it.
    fn as_typed(&self, error: Error, tuning: &Tuning) -> Error {
        let Error::Argument { argument, value, valid } = error else { return error };
        match argument.as_str() {
            "dispatch_sms" | "combine_sms" => Error::argument("--sms", value, valid),
            "chunk_ib" if self.chunk_ib.is_some() => Error::argument("--chunk-ib", value, valid),
            "chunk_nv" if self.chunk_nv.is_some() => Error::argument("--chunk-nv", value, valid),
            "chunk_ib" | "chunk_nv" => {
                let most = MAX_CHUNK.min(tuning.depth_ib / 2).min(tuning.depth_nv / 2);
                Error::argument("--chunk", value, format!("1 to {most}"))
            }
            "roles" => Error::argument("--roles", format!("{} with {} workers", self.roles, tuning.workers), valid),
            "landing" => Error::argument("--landing", format!("direct:{value}"), valid),
            "channels" | "workers" | "depth_ib" | "depth_nv" => {
                Error::argument(format!("--{}", argument.replace('_', "-")), value, valid)
            }
            _ => Error::Argument { argument, value, valid },
        }
    }
}

/// `--landing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LandingOption {
    /// Through rings.
    Staged,
    /// Straight to their places, with room for so many rows.
    Direct(Option<u32>),
}

impl FromStr for LandingOption {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<LandingOption, String> {
        let wrong = || format!("`{text}` is no way to land: valid are staged, direct and direct:ROWS");
        match text {
            "staged" => Ok(LandingOption::Staged),
            "direct" => Ok(LandingOption::Direct(None)),
            _ => match text.strip_prefix("direct:").map(str::parse) {
                Some(Ok(rows)) => Ok(LandingOption::Direct(Some(rows))),
                _ => Err(wrong()),
            },
        }
    }
}

/// `--roles`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolesOption(pub Roles);

impl FromStr for RolesOption {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<RolesOption, String> {
        text.parse().map(RolesOption)
    }
}

impl fmt::Display for RolesOption {
    /// As typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two channels an SM at least, the same number for each, where queue pairs reach; else what is too much is `--sms`.
    #[test]
    fn channels_go_with_the_sms_that_are_asked_for() {
        let channels = |nodes: u32, sms: u32| {
            let topology = Topology::new(nodes, 8).expect("valid");
            Tuning::default_for(topology, 14_336).with_sms(topology, sms).channels
        };
        for (nodes, sms, want) in
            [(1, 4, 32), (2, 24, 48), (4, 20, 40), (8, 24, 48), (8, 16, 48), (8, 48, 48), (2, 3, 33)]
        {
            assert_eq!(channels(nodes, sms), want, "{nodes} nodes, {sms} SMs");
        }
        assert_eq!(channels(40, 20), 12, "queue pairs reach for 12");
    }

    #[test]
    fn reads_roles() {
        use warpferry::plan::Role::{Forward, Receive, Send};
        assert_eq!("fixed".parse(), Ok(RolesOption(Roles::Fixed)));
        let list = vec![vec![Receive, Forward, Send], vec![Send]];
        assert_eq!("rfs,s".parse(), Ok(RolesOption(Roles::Custom(list))));
        for text in ["dynamic", "fixed", "rfs,s"] {
            assert_eq!(text.parse::<RolesOption>().map(|roles| roles.to_string()), Ok(text.to_string()));
        }
        assert!("rfx".parse::<RolesOption>().expect_err("no role").contains("`x`"));
    }
}
