//! Launches, CTAs, NICs, streams and the host: where clocks begin, and where they end up.

use super::actor::{Actor, Who, IDLE};
use super::clock::{Knowledge, Released, Seat};
use super::late::Small;
use super::mark::{Mark, What};
use super::mbarrier::Phases;
use super::shadow::Pattern;
use super::warp::WarpClock;
use super::{Checked, CtaRace, LaunchRace, Name, Plain, Race};
use crate::park::Where;
use crate::program::{Order, Scope};
use crate::warp::CtaState;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use warpferry_nic::Purpose;

/// Most ended slots of a GPU that a new warp looks at.
const SLOTS_LOOKED_AT: usize = 256;

/// What the host does, by a call or in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HostAct {
    Read,
    Write,
}

impl Race {
    /// The stream's clock, with all that its host knows.
    fn stream(&mut self, gpu: usize, stream: u32) -> &mut Plain {
        if !self.streams.contains_key(&(gpu, stream)) {
            let slot = self.slot(Name::Stream { gpu, stream }, Seat::OUTSIDE);
            self.streams.insert((gpu, stream), Plain { slot, now: 1, know: Knowledge::default() });
        }
        self.streams.get_mut(&(gpu, stream)).expect("it was made just now")
    }

    fn host_index(&self, gpu: usize) -> usize {
        if self.one_host {
            0
        } else {
            gpu
        }
    }

    /// The host puts a command into a stream.
    pub fn enqueued(&mut self, gpu: usize, stream: u32) {
        let (slot, now) = self.host;
        self.host.1 += 1;
        // With nothing running anywhere, hosts have had every chance to meet.
        if !self.hosts_apart && self.launches.is_empty() {
            self.hosts_meet();
        }
        let index = self.host_index(gpu);
        let mut known = self.hosts.lock().expect("no panic holds the lock").know[index].clone();
        known.learn(slot, now);
        self.stream(gpu, stream).know.join(&known);
    }

    /// Every host knows what any of them knows.
    fn hosts_meet(&self) {
        if self.one_host {
            return;
        }
        let mut guard = self.hosts.lock().expect("no panic holds the lock");
        let mut all = Knowledge::default();
        guard.know.iter().for_each(|host| all.join(host));
        guard.know.iter_mut().for_each(|host| host.clone_from(&all));
    }

    /// Hosts part, or come together again; they meet at either.
    pub fn part_hosts(&mut self, apart: bool) {
        self.hosts_meet();
        self.hosts_apart = apart;
    }

    /// The host sees what a stream has done so far.
    fn host_sees(&mut self, gpu: usize, stream: u32) {
        let index = self.host_index(gpu);
        let Some(plain) = self.streams.get(&(gpu, stream)) else { return };
        let mut hosts = self.hosts.lock().expect("no panic holds the lock");
        let hosts = &mut hosts.know;
        hosts[index].join(&plain.know);
        hosts[index].learn(plain.slot, plain.now);
    }

    /// A command of a stream begins: memory is accessed on the stream's behalf until it is done.
    /// `word`: it stores one word that others may look at meanwhile.
    pub fn command_begins(&mut self, gpu: usize, stream: u32, word: bool) {
        self.stream(gpu, stream);
        self.acting_word = word;
        self.acting = Some((gpu, stream));
    }

    /// A command of a stream other than a launch is done.
    pub fn command_done(&mut self, gpu: usize, stream: u32) {
        (self.acting, self.acting_word) = (None, false);
        let plain = self.stream(gpu, stream);
        let (slot, now) = (plain.slot, plain.now);
        plain.know.learn(slot, now);
        plain.now += 1;
        self.host_sees(gpu, stream);
    }

    /// A read of memory that the host has done in the order of a stream that has come there: later writes must be ordered
    /// behind it.
    pub fn stream_reads(
        &mut self,
        (gpu, stream): (usize, u32),
        storage: usize,
        offset: usize,
        bytes: usize,
    ) -> Checked {
        if bytes == 0 {
            return Ok(());
        }
        self.enqueued(gpu, stream);
        let Plain { slot, now, know } = self.stream(gpu, stream);
        let (slot, now, know) = (*slot, *now, know.clone());
        let (site, what) = (HostAct::Read as u32, What::READ.by_device());
        let mark = Mark { slot, time: now, lanes: 1, site, what, bytes: 0 };
        let Race { shadows, seats, running, completions, checks, .. } = self;
        let actor = Actor { who: Who::Plain { slot, know: &know }, seat: Seat::OUTSIDE, completions, seats, running };
        let shadow = Race::shadow(shadows, storage);
        let found = if *checks { shadow.access(&actor, mark, Pattern::ONE, offset, offset + bytes) } else { Ok(()) };
        self.command_done(gpu, stream);
        found.map_err(|conflict| self.raced(Where::Global(storage), 0, conflict))
    }

    /// An event is recorded in a stream.
    pub fn record(&mut self, gpu: usize, stream: u32, event: u32) {
        let know = self.stream(gpu, stream).know.clone();
        self.events.insert(event, know);
    }

    /// A stream has waited for an event.
    pub fn wait(&mut self, gpu: usize, stream: u32, event: u32) {
        let Some(know) = self.events.get(&event).cloned() else { return };
        self.stream(gpu, stream).know.join(&know);
    }

    /// A launch begins in its stream.
    pub fn launch_begins(&mut self, launch: u64, gpu: usize, stream: u32) {
        let mut base = self.stream(gpu, stream).know.clone();
        base.boundary();
        let state = LaunchRace { gathered: base.clone(), base: Arc::new(base), open: Vec::new(), slots: Vec::new() };
        self.launches.insert(launch, state);
    }

    /// A CTA becomes resident; its number here.
    pub fn cta_begins(&mut self, cta: &CtaState) -> u32 {
        let CtaState { shape, serial, index, exited, .. } = cta;
        let (serial, index, rank) = (*serial, *index, cta.cluster.rank);
        let seat = Seat { cta: serial, cluster: serial - rank as u64, gpu: shape.gpu };
        let launch = shape.id.0;
        let base = self.launches.get(&launch).map(|l| l.base.clone()).unwrap_or_default();
        let slots: Vec<u32> = (0..exited.len() as u32)
            .map(|warp| {
                let name = Name::Warp { shape: shape.clone(), cta: index, warp };
                let ended = &mut self.ended[shape.gpu];
                // A slot goes to a warp that begins behind the end of the one before.
                let free = ended.iter().rev().take(SLOTS_LOOKED_AT);
                let found = free.clone().position(|&(slot, time)| base.caused.all(slot) >= time);
                let slot = match found {
                    Some(behind) => {
                        let (slot, time) = ended.swap_remove(ended.len() - 1 - behind);
                        self.names[slot as usize].push((time + 1, name));
                        self.seats[slot as usize] = seat;
                        slot
                    }
                    None => self.slot(name, seat),
                };
                let clock = WarpClock::new(slot, seat, base.clone(), !exited[warp as usize]);
                self.running[slot as usize] = clock.now;
                self.warps[slot as usize] = Some(Box::new(clock));
                slot
            })
            .collect();
        if let Some(state) = self.launches.get_mut(&launch) {
            state.slots.extend(&slots);
        }
        let id = self.free_ctas.pop().unwrap_or_else(|| {
            self.ctas.push(CtaRace::default());
            self.ctas.len() as u32 - 1
        });
        let cta = &mut self.ctas[id as usize];
        cta.serial = serial;
        cta.launch = launch;
        cta.groups = vec![Vec::new(); slots.len()];
        cta.slots = slots;
        id
    }

    /// A CTA has ended.
    pub fn cta_ends(&mut self, cta: &CtaState) {
        let id = cta.race;
        let mut old = std::mem::take(&mut self.ctas[id as usize]);
        let Some(state) = self.launches.get_mut(&old.launch) else { return };
        for &slot in &old.slots {
            if let Some(clock) = self.warps[slot as usize].take() {
                state.gathered.join(&clock.end());
                self.ended[cta.shape.gpu].push((slot, clock.now));
            }
        }
        state.open.extend(old.groups.iter().flatten().flat_map(|group| [group.read, group.write]));
        state.open.extend(old.mbarriers.values().flat_map(Phases::numbers));
        state.open.extend(old.small.values().flat_map(Small::numbers));
        let cluster = self.seats[old.slots[0] as usize].cluster;
        if let Some(barrier) = self.clusters.get_mut(&cluster) {
            barrier.ended += 1;
            if barrier.ended == cta.shape.cluster.iter().product::<u32>() {
                self.clusters.remove(&cluster);
            }
        }
        old.shared.clear();
        self.ctas[id as usize] = CtaRace { shared: old.shared, ..CtaRace::default() };
        self.free_ctas.push(id);
    }

    /// A launch and all its copies are done.
    pub fn launch_ends(&mut self, launch: u64, gpu: usize, stream: u32) {
        let Some(state) = self.launches.remove(&launch) else { return };
        if let Some(&first) = state.slots.first() {
            let time = state.gathered.caused.all(first);
            for number in state.open {
                self.completions.observed(number, first, u32::MAX, time);
            }
        }
        for slot in state.slots {
            self.running[slot as usize] = IDLE;
        }
        self.stream(gpu, stream).know.join(&state.gathered);
        self.host_sees(gpu, stream);
    }

    /// A GPU has faulted: its launches are over.
    pub fn killed(&mut self, gpu: usize) {
        let dead: Vec<u64> = self
            .launches
            .iter()
            .filter(|(_, l)| l.slots.first().is_some_and(|&slot| self.seats[slot as usize].gpu == gpu))
            .map(|(&id, _)| id)
            .collect();
        for id in dead {
            if let Some(state) = self.launches.remove(&id) {
                state.slots.iter().for_each(|&slot| self.running[slot as usize] = IDLE);
            }
        }
    }

    pub(super) fn queue_pair(&mut self, number: u32, nic: String) -> &mut Plain {
        if !self.queue_pairs.contains_key(&number) {
            let name = Name::QueuePair { nic, number: format!("queue pair {number:#x}") };
            let slot = self.slot(name, Seat::OUTSIDE);
            // The host made it.
            let mut know = Knowledge::default();
            know.learn(self.host.0, self.host.1);
            self.queue_pairs.insert(number, Plain { slot, now: 1, know });
        }
        self.queue_pairs.get_mut(&number).expect("it was made just now")
    }

    /// A lane rings the doorbell of a queue pair: the NIC gets what system-scope releases before it cover.
    pub fn doorbell(&mut self, at: super::At, lane: u32, value: u64, nic: String) {
        let slot = self.ctas[at.cta as usize].slots[at.warp as usize];
        let warp = self.warps[slot as usize].as_deref_mut().expect("a resident warp has a clock");
        let carried = warp.fenced(lane);
        let number = ((value >> 32) as u32).swap_bytes() >> 8;
        let queue = self.queue_pair(number, nic);
        for released in carried.iter().filter(|r| r.scope == Scope::Sys) {
            queue.know.join(&released.know);
        }
    }

    /// A NIC accesses memory for a queue pair.
    pub fn nic(
        &mut self,
        agent: warpferry_nic::Agent,
        place: (usize, usize),
        bytes: usize,
        write: bool,
        atomic: bool,
    ) -> Checked {
        if bytes == 0 {
            return Ok(());
        }
        let number = agent.queue_pair.0;
        self.queue_pair(number, agent.nic.to_string());
        let record = matches!(agent.purpose, Purpose::DoorbellRecord | Purpose::CompletionRecord);
        let what = Race::nic_what(agent, write, atomic);
        let Race { shadows, seats, running, completions, queue_pairs, checks, .. } = self;
        let queue = &queue_pairs[&number];
        let who = Who::Plain { slot: queue.slot, know: &queue.know };
        let actor = Actor { who, seat: Seat::OUTSIDE, completions, seats, running };
        let mark = Mark { slot: queue.slot, time: queue.now, lanes: 1, site: agent.purpose as u32, what, bytes: 0 };
        let (storage, offset) = place;
        let shadow = Race::shadow(shadows, storage);
        let found = if *checks { shadow.access(&actor, mark, Pattern::ONE, offset, offset + bytes) } else { Ok(()) };
        found.map_err(|conflict| self.raced(Where::Global(storage), 0, conflict))?;
        if record {
            self.nic_acquires(number, place);
        } else if atomic || agent.purpose == Purpose::Completion {
            self.nic_releases(number, place, bytes, atomic);
        }
        Ok(())
    }

    /// A doorbell record was read: what was released on it is before what the queue pair does next.
    fn nic_acquires(&mut self, number: u32, (storage, offset): (usize, usize)) {
        let words: Vec<Arc<Knowledge>> = [offset, offset + 4]
            .iter()
            .filter_map(|&at| self.words.get(&(storage, at)))
            .flat_map(|word| &word.carried)
            .filter(|released| released.scope == Scope::Sys)
            .map(|released| released.know.clone())
            .collect();
        let queue = self.queue_pairs.get_mut(&number).expect("it is acting");
        words.iter().for_each(|know| queue.know.join(know));
    }

    /// A counter was advanced, or a completion was written: what the queue pair did before is behind it.
    fn nic_releases(&mut self, number: u32, (storage, offset): (usize, usize), bytes: usize, atomic: bool) {
        let queue = self.queue_pairs.get_mut(&number).expect("it is acting");
        let mut know = queue.know.clone();
        know.learn(queue.slot, queue.now);
        let owner = (queue.slot, 0);
        let time = queue.now;
        queue.now += 1;
        let know = Arc::new(know);
        for at in (offset..offset + bytes).step_by(8) {
            let released =
                Released { scope: Scope::Sys, seat: Seat::OUTSIDE, owner, time, know: know.clone(), merged: false };
            self.words.entry((storage, at)).or_default().write([released], atomic);
        }
    }

    /// The host, or the stream whose command is being executed, accesses memory. `gpus` are those whose hosts may be the
    /// writer: the first that may write counts as it.
    pub fn host_writes(&mut self, gpus: Range<usize>, storage: usize, offset: usize, bytes: usize) -> Checked {
        if bytes == 0 {
            return Ok(());
        }
        let (slot, now, know) = match self.acting {
            Some(acting) => {
                let plain = &self.streams[&acting];
                (plain.slot, plain.now, plain.know.clone())
            }
            None => {
                let index = self.host_that_may_write(gpus, storage, offset, bytes);
                (self.host.0, self.host.1, self.hosts.lock().expect("no panic holds the lock").know[index].clone())
            }
        };
        let word = (self.acting.is_none() || self.acting_word) && bytes <= 8 && offset.is_multiple_of(bytes);
        let what =
            if word { What::WRITE.strong(Order::Release, Scope::Sys, bytes.next_power_of_two()) } else { What::WRITE };
        let mark = Mark { slot, time: now, lanes: 1, site: HostAct::Write as u32, what: what.by_device(), bytes: 0 };
        let Race { shadows, seats, running, completions, checks, .. } = self;
        let actor = Actor { who: Who::Plain { slot, know: &know }, seat: Seat::OUTSIDE, completions, seats, running };
        let shadow = Race::shadow(shadows, storage);
        let found = if *checks { shadow.access(&actor, mark, Pattern::ONE, offset, offset + bytes) } else { Ok(()) };
        found.map_err(|conflict| self.raced(Where::Global(storage), 0, conflict))?;
        if word {
            let mut know = know;
            know.learn(slot, now);
            if self.acting.is_none() {
                self.host.1 += 1;
            }
            let (seat, scope) = (Seat::OUTSIDE, Scope::Sys);
            let released = Released { scope, seat, owner: (slot, 0), time: now, know: Arc::new(know), merged: false };
            self.words.entry((storage, offset)).or_default().write([released], false);
        }
        Ok(())
    }

    /// The first of some GPUs' hosts that knows of everything that was done to these bytes; the last if none does.
    fn host_that_may_write(&self, gpus: Range<usize>, storage: usize, offset: usize, bytes: usize) -> usize {
        let last = self.host_index(gpus.end - 1);
        let Some(shadow) = self.shadows.get(storage).filter(|_| last > 0) else { return last };
        let Race { seats, running, completions, .. } = self;
        let (slot, now) = self.host;
        let mark =
            Mark { slot, time: now, lanes: 1, site: HostAct::Write as u32, what: What::WRITE.by_device(), bytes: 0 };
        let hosts = self.hosts.lock().expect("no panic holds the lock");
        let may = |&index: &usize| {
            let who = Who::Plain { slot, know: &hosts.know[index] };
            let actor = Actor { who, seat: Seat::OUTSIDE, completions, seats, running };
            shadow.look(&actor, mark, (offset, offset + bytes), &|_, _| false).is_ok()
        };
        gpus.clone().find(may).unwrap_or(last)
    }

    /// As [`Race::host_writes`], for reads. Reads of a word acquire. `gpus` are those whose hosts may be the reader.
    /// The write that an acquiring read saw is no race for reads behind it.
    pub fn host_reads(&self, gpus: Range<usize>, (storage, offset): (usize, usize), bytes: usize) -> Checked {
        let Some(shadow) = self.shadows.get(storage).filter(|_| bytes > 0) else { return Ok(()) };
        let word = self.acting.is_none() && bytes <= 8 && offset.is_multiple_of(bytes);
        let what = if word { What::READ.strong(Order::Acquire, Scope::Sys, 8) } else { What::READ };
        let mut found = Ok(());
        let Race { seats, running, completions, .. } = self;
        let mut look = |slot: u32, now: u32, know: &Knowledge, seen: &HashMap<(usize, usize), Vec<Mark>>| {
            let actor = Actor { who: Who::Plain { slot, know }, seat: Seat::OUTSIDE, completions, seats, running };
            let site = HostAct::Read as u32;
            let mark = Mark { slot, time: now, lanes: 1, site, what: what.by_device(), bytes: 0 };
            let saw = |at: usize, old: &Mark| {
                seen.get(&(storage, at & !3)).is_some_and(|marks| marks.contains(&Mark { bytes: 0, ..*old }))
            };
            found = shadow.look(&actor, mark, (offset, offset + bytes), &saw);
            found.is_ok()
        };
        match self.acting {
            Some(acting) => {
                let plain = &self.streams[&acting];
                look(plain.slot, plain.now, &plain.know, &HashMap::new());
            }
            None => {
                let mut hosts = self.hosts.lock().expect("no panic holds the lock");
                let super::HostsKnow { know: hosts, seen } = &mut *hosts;
                let gpus = if self.one_host { 0..1 } else { gpus };
                let words = (offset..offset + if word { bytes } else { 0 }).step_by(4);
                let released: Vec<&Released> =
                    words.filter_map(|at| self.words.get(&(storage, at))).flat_map(|word| &word.carried).collect();
                for index in gpus.clone() {
                    for r in released.iter().filter(|r| r.scope == Scope::Sys) {
                        if self.one_host || r.seat.gpu == index || r.seat == Seat::OUTSIDE {
                            hosts[index].join(&r.know);
                        }
                    }
                }
                for index in gpus {
                    if look(self.host.0, self.host.1, &hosts[index], seen) {
                        break;
                    }
                }
                if word {
                    for at in (offset & !3..offset + bytes).step_by(4) {
                        let strong = shadow.last_writes(at).into_iter().filter(|mark| mark.what.is_strong());
                        seen.insert((storage, at), strong.map(|mark| Mark { bytes: 0, ..mark }).collect());
                    }
                }
            }
        }
        found.map_err(|conflict| self.raced(Where::Global(storage), 0, conflict))
    }
}
