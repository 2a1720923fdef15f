//! A model as what the tuner asks.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::bench::{median, Workload};
use crate::error::{Error, Result};
use crate::plan::{Op, Plan};
use crate::tune::{Job, Load, Measure, Timing, Verdict};

use super::{beside, Model, Wanted};

/// Asks a model about settings of one workload.
#[derive(Debug)]
pub struct ModelMeasure {
    model: Model,
    workload: Workload,
    threads: usize,
    /// What was found out: by setting whether it is right, by setting and operation its time.
    checked: HashMap<String, Verdict>,
}

impl ModelMeasure {
    /// Of a workload, on so many threads; answers do not depend on them.
    pub fn new(model: Model, workload: Workload, threads: usize) -> ModelMeasure {
        ModelMeasure { model, workload, threads: threads.max(1), checked: HashMap::new() }
    }

    /// Gives each item to one of the threads; answers in order.
    fn all<I: Sync, T: Send>(&self, items: &[I], act: impl Fn(&I) -> T + Sync) -> Vec<T> {
        let next = AtomicUsize::new(0);
        let done: Mutex<Vec<(usize, T)>> = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..self.threads.min(items.len()) {
                scope.spawn(|| loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { return };
                    let answer = act(item);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((index, answer));
                });
            }
        });
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(index, _)| *index);
        done.into_iter().map(|(_, answer)| answer).collect()
    }
}

/// A plan and what is asked of it.
struct Asked<'j> {
    key: String,
    plan: &'j Plan,
    wanted: Wanted,
}

/// The plans of jobs, each once.
fn asked(jobs: &[Job]) -> Vec<Asked<'_>> {
    let mut all: Vec<Asked<'_>> = Vec::new();
    for job in jobs {
        let key = format!("{:?}", job.plan.tuning);
        let at = match all.iter().position(|asked| asked.key == key) {
            Some(at) => at,
            None => {
                let wanted = Wanted { dispatch: false, cached: false, combine: false };
                all.push(Asked { key, plan: &job.plan, wanted });
                all.len() - 1
            }
        };
        match job.op {
            Op::Dispatch => all[at].wanted.dispatch = true,
            Op::Combine => all[at].wanted.combine = true,
        }
    }
    all
}

impl Measure for ModelMeasure {
    fn name(&self) -> String {
        let values = self.model.machine().values();
        let digest = values.fold(0xcbf2_9ce4_8422_2325_u64, |hash, (section, name, value, _)| {
            let bytes = section.bytes().chain(name.bytes()).chain(value.to_le_bytes());
            bytes.fold(hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
        });
        let (machine, effort) = (self.model.machine().name(), self.model.effort);
        format!("model of {machine} ({digest:016x}), effort {effort}, seed {}", self.workload.seed)
    }

    fn check(&mut self, jobs: &[Job]) -> Result<Vec<Verdict>> {
        let new: Vec<Asked<'_>> =
            asked(jobs).into_iter().filter(|asked| !self.checked.contains_key(&asked.key)).collect();
        let found = self.all(&new, |asked| match self.model.check(&self.workload, asked.plan) {
            Ok(()) => Ok(Verdict::Correct),
            Err(Error::Bug(what)) => Ok(Verdict::Wrong(what)),
            Err(error) => Err(error),
        });
        for (asked, verdict) in new.into_iter().zip(found) {
            self.checked.insert(asked.key, verdict?);
        }
        let verdict = |job: &Job| self.checked.get(&format!("{:?}", job.plan.tuning)).cloned();
        jobs.iter().map(|job| verdict(job).ok_or_else(|| Error::Bug("a job without a verdict".into()))).collect()
    }

    fn time(&mut self, jobs: &[Job], load: &Load) -> Result<Vec<Timing>> {
        let plans = asked(jobs);
        let model = beside::beside(&self.model, load);
        let model = model.as_ref().unwrap_or(&self.model);
        let times = self.all(&plans, |asked| model.times(&self.workload, asked.plan, asked.wanted));
        let times: Vec<_> = times.into_iter().collect::<Result<_>>()?;
        let timing = |job: &Job| {
            let key = format!("{:?}", job.plan.tuning);
            let at = plans.iter().position(|asked| asked.key == key)?;
            let samples = &times[at].samples;
            let (us, sms) = match job.op {
                Op::Dispatch => (median(&samples.dispatch_us), job.plan.dispatch.sms),
                Op::Combine => (median(&samples.combine_us), job.plan.combine.sms),
            };
            let beside = beside::step(self.model.machine(), load, us, sms);
            Some(Timing { us, spread_us: 0.0, sm_ms: f64::from(sms) * us / 1e3, beside })
        };
        jobs.iter().map(|job| timing(job).ok_or_else(|| Error::Bug("a job without a time".into()))).collect()
    }
}
