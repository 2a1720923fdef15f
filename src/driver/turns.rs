//! Takes turns between host threads and an engine, so that a run depends on nothing but its inputs.
//!
//! Host threads of a run are *agents*. One runs at a time, in order of their numbers, until it waits for the engine
//! or ends; when all wait or have ended, the engine runs until it answers at least one, and so on. Threads outside a
//! run drive the engine themselves. What an agent does between two waits is not interrupted, so the order of all
//! calls to the engine is the same in every run.
//!
//! An agent must wait for another agent through the engine only: a lock or channel shared by two agents can stop
//! both, since the second is not given a turn.

use std::sync::{Condvar, Mutex, MutexGuard};

/// What agents wait for.
pub(crate) trait Engine {
    /// One wait.
    type Wait: Clone;
    /// How a wait ended.
    type Answer;

    /// The answer, when the wait is over already.
    fn poll(&mut self, wait: &Self::Wait) -> Option<Self::Answer>;

    /// Runs until at least one of `waits`, which is not empty, is over; answers by position.
    fn advance(&mut self, waits: &[Self::Wait]) -> Vec<(usize, Self::Answer)>;
}

enum Status<E: Engine> {
    /// May run; what its wait answered, if it waited.
    Ready(Option<E::Answer>),
    Running,
    Waiting(E::Wait),
    Ended,
}

struct Agents<E: Engine> {
    status: Vec<Status<E>>,
    running: Option<usize>,
}

struct Table<E: Engine> {
    engine: E,
    /// Present during a run.
    agents: Option<Agents<E>>,
}

/// An engine that host threads share.
pub(crate) struct Turns<E: Engine> {
    table: Mutex<Table<E>>,
    changed: Condvar,
}

/// Why a wait could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misuse {
    /// A run is under way and the caller is not its running agent.
    Outsider,
    /// A run is under way already.
    Nested,
}

const POISONED: &str = "no thread panics while it holds the engine; if the engine does, the run cannot go on";

impl<E: Engine> Turns<E> {
    pub(crate) fn new(engine: E) -> Turns<E> {
        Turns { table: Mutex::new(Table { engine, agents: None }), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Table<E>> {
        self.table.lock().expect(POISONED)
    }

    /// Gives the engine to `act`.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut E) -> T) -> T {
        act(&mut self.lock().engine)
    }

    /// Waits on behalf of `agent`, which is ignored outside a run.
    pub(crate) fn wait(&self, agent: usize, wait: E::Wait) -> Result<E::Answer, Misuse> {
        let mut table = self.lock();
        if let Some(agents) = &table.agents {
            if agents.running != Some(agent) {
                return Err(Misuse::Outsider);
            }
        }
        if let Some(answer) = table.engine.poll(&wait) {
            return Ok(answer);
        }
        if table.agents.is_none() {
            loop {
                if let Some((_, answer)) = table.engine.advance(std::slice::from_ref(&wait)).pop() {
                    return Ok(answer);
                }
            }
        }
        if let Some(agents) = &mut table.agents {
            agents.status[agent] = Status::Waiting(wait);
        }
        table.hand_on();
        self.changed.notify_all();
        let mut table = self.until_running(table, agent);
        let agents = table.agents.as_mut().expect("a run ends after its last agent");
        match std::mem::replace(&mut agents.status[agent], Status::Running) {
            Status::Ready(Some(answer)) => Ok(answer),
            _ => unreachable!("an agent that waited is made ready by an answer"),
        }
    }

    fn until_running<'a>(&'a self, mut table: MutexGuard<'a, Table<E>>, agent: usize) -> MutexGuard<'a, Table<E>> {
        while table.agents.as_ref().and_then(|agents| agents.running) != Some(agent) {
            table = self.changed.wait(table).expect(POISONED);
        }
        table
    }

    /// Runs `act(agent, item)` on a thread for every item, in turns; results come in the items' order.
    ///
    /// A panic of an agent ends its turns, and is passed on when the others have ended.
    pub(crate) fn run<I: Send, T: Send>(
        &self,
        items: Vec<I>,
        act: impl Fn(usize, I) -> T + Sync,
    ) -> Result<Vec<T>, Misuse>
    where
        E: Send,
        E::Wait: Send,
        E::Answer: Send,
    {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        {
            let mut table = self.lock();
            if table.agents.is_some() {
                return Err(Misuse::Nested);
            }
            let status = items.iter().map(|_| Status::Ready(None)).collect();
            table.agents = Some(Agents { status, running: None });
            table.hand_on();
        }
        let results = std::thread::scope(|scope| {
            let act = &act;
            let threads: Vec<_> = items
                .into_iter()
                .enumerate()
                .map(|(agent, item)| {
                    scope.spawn(move || {
                        let _turn = Turn::begin(self, agent);
                        act(agent, item)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join()).collect::<Vec<_>>()
        });
        self.lock().agents = None;
        Ok(results.into_iter().map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect())
    }
}

/// An agent's part in a run; its end hands the turn on, also when the agent panics.
struct Turn<'a, E: Engine> {
    turns: &'a Turns<E>,
    agent: usize,
}

impl<'a, E: Engine> Turn<'a, E> {
    fn begin(turns: &'a Turns<E>, agent: usize) -> Turn<'a, E> {
        let turn = Turn { turns, agent };
        let mut table = turns.until_running(turns.lock(), agent);
        if let Some(agents) = &mut table.agents {
            agents.status[agent] = Status::Running;
        }
        drop(table);
        turn
    }
}

impl<E: Engine> Drop for Turn<'_, E> {
    fn drop(&mut self) {
        if let Ok(mut table) = self.turns.table.lock() {
            if let Some(agents) = &mut table.agents {
                agents.status[self.agent] = Status::Ended;
            }
            table.hand_on();
        }
        // A poisoned table wakes the others too: they end by its panic.
        self.turns.changed.notify_all();
    }
}

impl<E: Engine> Table<E> {
    /// Chooses who runs next: the first agent that is ready, else the first whom the engine answers.
    fn hand_on(&mut self) {
        let Some(agents) = &mut self.agents else { return };
        agents.running = None;
        loop {
            let next = agents.status.iter().position(|status| matches!(status, Status::Ready(_)));
            if next.is_some() {
                agents.running = next;
                return;
            }
            let (numbers, waits): (Vec<usize>, Vec<E::Wait>) = agents
                .status
                .iter()
                .enumerate()
                .filter_map(|(index, status)| match status {
                    Status::Waiting(wait) => Some((index, wait.clone())),
                    _ => None,
                })
                .unzip();
            if waits.is_empty() {
                return;
            }
            for (position, answer) in self.engine.advance(&waits) {
                agents.status[numbers[position]] = Status::Ready(Some(answer));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    //! Method: an engine that counts up and answers a wait when its count is reached; agents write down what they do.
    //! Whatever the threads' luck, the record is the same.

    use super::*;

    /// Counts; a wait is over when the count is reached.
    struct Counter {
        count: u64,
        record: Vec<(usize, u64)>,
    }

    impl Engine for Counter {
        type Wait = u64;
        type Answer = u64;

        fn poll(&mut self, wait: &u64) -> Option<u64> {
            (*wait <= self.count).then_some(self.count)
        }

        fn advance(&mut self, waits: &[u64]) -> Vec<(usize, u64)> {
            self.count = *waits.iter().min().expect("there is a wait");
            let count = self.count;
            (0..waits.len()).filter(|&index| waits[index] <= count).map(|index| (index, count)).collect()
        }
    }

    fn turns() -> Turns<Counter> {
        Turns::new(Counter { count: 0, record: Vec::new() })
    }

    /// A small generator, so that agents do different things from a seed.
    fn draw(seed: &mut u64) -> u64 {
        *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        *seed >> 33
    }

    fn play(seed: u64, agents: usize) -> Vec<(usize, u64)> {
        let turns = turns();
        let ends = turns
            .run((0..agents).collect(), |agent, item| {
                assert_eq!(agent, item);
                let mut state = seed ^ (agent as u64) << 32;
                let mut at = 0;
                for _ in 0..draw(&mut state) % 20 {
                    at = turns.wait(agent, at + draw(&mut state) % 5).expect("the agent has its turn");
                    // Real time must not matter.
                    if draw(&mut state).is_multiple_of(7) {
                        std::thread::sleep(std::time::Duration::from_micros(draw(&mut state) % 200));
                    }
                    turns.with(|engine| engine.record.push((agent, at)));
                }
                at
            })
            .expect("no other run is under way");
        assert_eq!(ends.len(), agents);
        turns.with(|engine| std::mem::take(&mut engine.record))
    }

    #[test]
    fn a_run_depends_on_its_inputs_only() {
        for seed in 0..20 {
            let first = play(seed, 1 + seed as usize % 9);
            for _ in 0..5 {
                assert_eq!(play(seed, 1 + seed as usize % 9), first, "seed {seed}");
            }
        }
    }

    #[test]
    fn agents_run_in_order_between_two_phases_of_the_engine() {
        let turns = turns();
        turns
            .run(vec![(); 4], |agent, ()| {
                for step in 1..=3 {
                    turns.wait(agent, step).expect("the agent has its turn");
                    turns.with(|engine| engine.record.push((agent, step)));
                }
            })
            .expect("no other run is under way");
        let expected: Vec<_> = (1..=3).flat_map(|step| (0..4).map(move |agent| (agent, step))).collect();
        assert_eq!(turns.with(|engine| engine.record.clone()), expected);
    }

    #[test]
    fn a_thread_outside_a_run_drives_the_engine_itself() {
        let turns = turns();
        assert_eq!(turns.wait(7, 100), Ok(100));
        assert_eq!(turns.wait(3, 50), Ok(100));
    }

    #[test]
    fn outsiders_and_nested_runs_are_refused() {
        let turns = turns();
        let found = turns.run(vec![(), ()], |agent, ()| {
            let other = turns.wait(1 - agent, 5);
            let nested = turns.run(vec![()], |_, ()| ()).err();
            (other, nested)
        });
        let found = found.expect("no other run is under way");
        assert_eq!(found, vec![(Err(Misuse::Outsider), Some(Misuse::Nested)); 2]);
        assert_eq!(turns.run(Vec::<()>::new(), |_, ()| ()), Ok(Vec::new()));
    }

    #[test]
    fn an_agent_that_panics_stops_nobody_else() {
        let turns = turns();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            turns.run(vec![(); 3], |agent, ()| {
                turns.wait(agent, 1).expect("the agent has its turn");
                assert!(agent != 1, "agent 1 gives up");
                turns.wait(agent, 2).expect("the agent has its turn");
                turns.with(|engine| engine.record.push((agent, 2)));
            })
        }));
        assert!(result.is_err(), "the panic is passed on");
        assert_eq!(turns.with(|engine| engine.record.clone()), [(0, 2), (2, 2)]);
    }
}
