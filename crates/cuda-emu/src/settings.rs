//! Settings from the environment, read once.

use crate::{codes, CUresult};
use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use warpferry_emu::{Checks, MachineConfig, Schedule};

/// What the environment asks for.
#[derive(Debug)]
pub(crate) struct Settings {
    pub devices: usize,
    pub sms: usize,
    /// Compute capability as two digits.
    pub compute: u32,
    pub version: i32,
    pub peers: bool,
    pub checks: Checks,
    pub schedule: Schedule,
    pub strict_sync: bool,
    /// What loading machine code gives.
    pub cubin: CUresult,
    /// Seed of how long the work of streams is held back, if it is.
    pub hold: Option<u64>,
    /// What is left is told when the process ends.
    pub leaks: bool,
    pub log: bool,
    /// Function, code, and which call of it fails.
    pub failures: Vec<(String, CUresult, u64)>,
    pub connections: u32,
    /// Settings that could not be understood.
    pub complaints: Vec<String>,
}

/// The settings of this process.
pub(crate) fn settings() -> &'static Settings {
    static SETTINGS: OnceLock<Settings> = OnceLock::new();
    SETTINGS.get_or_init(|| Settings::read(|name| std::env::var(name).ok()))
}

impl Settings {
    fn read(variable: impl Fn(&str) -> Option<String>) -> Settings {
        let mut complaints = Vec::new();
        let mut number = |name: &str, default: u64, valid: std::ops::RangeInclusive<u64>| match variable(name) {
            None => default,
            Some(text) => match text.trim().parse() {
                Ok(value) if valid.contains(&value) => value,
                _ => {
                    complaints.push(format!("{name} is {text:?}, must be in {valid:?}"));
                    default
                }
            },
        };
        let devices = number("WARPFERRY_CUDA_EMU_DEVICES", 1, 0..=64) as usize;
        let sms = number("WARPFERRY_CUDA_EMU_SMS", 132, 1..=1024) as usize;
        let compute = number("WARPFERRY_CUDA_EMU_COMPUTE", 90, 50..=129) as u32;
        let version = number("WARPFERRY_CUDA_EMU_VERSION", 12080, 1000..=99990) as i32;
        let peers = number("WARPFERRY_CUDA_EMU_PEERS", 1, 0..=1) == 1;
        let strict_sync = number("WARPFERRY_CUDA_EMU_STRICT_SYNC", 0, 0..=1) == 1;
        let log = number("WARPFERRY_CUDA_EMU_LOG", 0, 0..=1) == 1;
        let leaks = number("WARPFERRY_CUDA_EMU_LEAKS", 0, 0..=1) == 1;
        let hold = variable("WARPFERRY_CUDA_EMU_HOLD").map(|_| number("WARPFERRY_CUDA_EMU_HOLD", 0, 0..=u64::MAX));
        let connections = number("CUDA_DEVICE_MAX_CONNECTIONS", 8, 1..=32) as u32;
        let seed = variable("WARPFERRY_CUDA_EMU_SEED").map(|_| number("WARPFERRY_CUDA_EMU_SEED", 0, 0..=u64::MAX));
        let schedule = seed.map_or(Schedule::RoundRobin, |seed| Schedule::Random { seed });
        let mut checks = Checks::ALL;
        match variable("WARPFERRY_CUDA_EMU_CHECKS").as_deref() {
            None | Some("all") => {}
            Some("bounds") => checks = Checks::NONE,
            Some(other) => {
                complaints.push(format!("WARPFERRY_CUDA_EMU_CHECKS is {other:?}, must be all or bounds"));
            }
        }
        let cubin = match variable("WARPFERRY_CUDA_EMU_CUBIN").as_deref().map(str::trim) {
            None | Some("209") => codes::ERROR_NO_BINARY_FOR_GPU,
            Some("200") => codes::ERROR_INVALID_IMAGE,
            Some(other) => {
                complaints.push(format!("WARPFERRY_CUDA_EMU_CUBIN is {other:?}, must be 200 or 209"));
                codes::ERROR_NO_BINARY_FOR_GPU
            }
        };
        let mut failures = Vec::new();
        let list = variable("WARPFERRY_CUDA_EMU_FAIL").unwrap_or_default();
        for item in list.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let mut parts = item.split(':');
            let name = parts.next().unwrap_or_default().to_string();
            let code = parts.next().and_then(|code| code.parse().ok()).filter(|&code| code > 0);
            let call = parts.next().map_or(Some(1), |call| call.parse().ok()).filter(|&call| call > 0);
            match (code, call, parts.next()) {
                (Some(code), Some(call), None) => failures.push((name, code, call)),
                _ => complaints.push(format!("WARPFERRY_CUDA_EMU_FAIL has {item:?}, must be FUNCTION:CODE:CALL")),
            }
        }
        Settings {
            devices,
            sms,
            compute,
            version,
            peers,
            checks,
            schedule,
            strict_sync,
            cubin,
            hold,
            leaks,
            log,
            failures,
            connections,
            complaints,
        }
    }

    /// The machine that these settings describe.
    pub fn machine(&self) -> MachineConfig {
        let mut config = MachineConfig::new(1, self.devices);
        config.gpu.sms = self.sms;
        config.checks = self.checks;
        config.schedule = self.schedule.clone();
        config
    }

    /// The code that this call of a function is told to give, if any. Counts the call.
    pub fn injected(&self, function: &'static str) -> Option<CUresult> {
        static CALLS: OnceLock<Mutex<HashMap<&'static str, u64>>> = OnceLock::new();
        if !self.failures.iter().any(|(name, ..)| name == function) {
            return None;
        }
        let mut calls = CALLS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        let count = calls.entry(function).or_default();
        *count += 1;
        let hit = self.failures.iter().find(|(name, _, call)| name == function && call == count);
        hit.map(|(_, code, _)| *code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_read() {
        let values = [
            ("WARPFERRY_CUDA_EMU_DEVICES", "4"),
            ("WARPFERRY_CUDA_EMU_FAIL", "cuLaunchKernel:719:3, cuMemAlloc_v2:2"),
            ("CUDA_DEVICE_MAX_CONNECTIONS", "32"),
            ("WARPFERRY_CUDA_EMU_SEED", "7"),
        ];
        let read = |name: &str| values.iter().find(|v| v.0 == name).map(|v| v.1.to_string());
        let settings = Settings::read(read);
        assert_eq!((settings.devices, settings.connections, settings.compute), (4, 32, 90));
        assert_eq!(settings.schedule, Schedule::Random { seed: 7 });
        let failures = [("cuLaunchKernel".to_string(), 719, 3), ("cuMemAlloc_v2".to_string(), 2, 1)];
        assert_eq!(settings.failures, failures);
        assert!(settings.complaints.is_empty());
    }

    #[test]
    fn nonsense_is_complained_of() {
        let values = [
            ("WARPFERRY_CUDA_EMU_DEVICES", "many"),
            ("WARPFERRY_CUDA_EMU_FAIL", "cuInit:0,cuInit,cuInit:1:2:3"),
            ("CUDA_DEVICE_MAX_CONNECTIONS", "33"),
            ("WARPFERRY_CUDA_EMU_CHECKS", "some"),
            ("WARPFERRY_CUDA_EMU_CUBIN", "300"),
            ("WARPFERRY_CUDA_EMU_HOLD", "yes"),
            ("WARPFERRY_CUDA_EMU_LEAKS", "2"),
        ];
        let settings = Settings::read(|name| values.iter().find(|v| v.0 == name).map(|v| v.1.to_string()));
        assert_eq!(settings.complaints.len(), 9, "{:?}", settings.complaints);
        assert_eq!((settings.devices, settings.connections), (1, 8));
    }
}
