//! Searches: as good as looking at all, with few points; the same again; nothing invalid, nothing wrong.

use std::collections::HashSet;
use std::time::Duration;

use super::super::space::Point;
use super::*;
use crate::Error;

const ARITHMETIC: Load = Load::Beside { bound: Bound::Arithmetic, alone_us: 900.0 };
const MEMORY: Load = Load::Beside { bound: Bound::Memory, alone_us: 400.0 };

/// Worlds of a fast and a slow NVLink, with one node and many, many tokens and few.
const WORLDS: [(Machine, u32, u32, u32); 7] = [
    (H800, 1, 8, 4096),
    (H800, 2, 8, 4096),
    (H800, 8, 8, 4096),
    (H800, 2, 8, 128),
    (B200, 1, 8, 4096),
    (B200, 4, 8, 4096),
    (B200, 1, 16, 128),
];

/// What the objective is made small of.
fn value(outcome: &Outcome, objective: Objective) -> f64 {
    match objective {
        Objective::Beside => outcome.predicted.added_us.expect("beside a computation"),
        _ => outcome.predicted_us,
    }
}

/// Method: the search and the full grid on the same surface. Bound: 2 % of the best, a fifth of the points that the grid
/// measures, which are fewer than it compares.
#[test]
fn a_search_is_as_good_as_the_grid_with_a_fifth_of_its_points() {
    for (machine, nodes, gpus, tokens) in WORLDS {
        let space = small(&machine, nodes, gpus, tokens);
        for (objective, load) in [
            (Objective::Alone(Ops::Both), Load::Alone),
            (Objective::Alone(Ops::Dispatch), Load::Alone),
            (Objective::Beside, ARITHMETIC),
            (Objective::Beside, MEMORY),
        ] {
            let (found, all) = (run(&space, machine, objective, load), exhaust(&space, machine, objective, load));
            let what = format!("{} {nodes} x {gpus}, {tokens} tokens, {objective}, {load}", machine.name);
            let above = value(&found, objective) / value(&all, objective) - 1.0;
            let share = found.points_tried as f64 / all.points_tried as f64;
            println!("{what}: {:+.2} %, {} of {} points", 100.0 * above, found.points_tried, all.points_tried);
            assert!(above <= 0.02, "{what}: {above}");
            assert!(share <= 0.2, "{what}: {} of {}", found.points_tried, all.points_tried);
            assert_eq!((found.points_total, all.ended), (space.valid_points(), Ended::Exhausted));
        }
    }
}

/// Says the opposite of what a surface says.
#[derive(Debug)]
struct Contrary(Surface);

impl Measure for Contrary {
    fn name(&self) -> String {
        "contrary".to_string()
    }

    fn check(&mut self, _: &[Job]) -> crate::Result<Vec<Verdict>> {
        panic!("results of the finals were found right already")
    }

    fn time(&mut self, jobs: &[Job], load: &Load) -> crate::Result<Vec<Timing>> {
        let times = self.0.time(jobs, load)?;
        Ok(times.into_iter().map(|timing| Timing { us: 1e6 / timing.us, ..timing }).collect())
    }
}

/// A finer measure decides between the best four and gives their times; everything else is the search's.
#[test]
fn a_finer_measure_decides_between_the_best() {
    let space = small(&H800, 2, 8, 4096);
    let alone = Search::new(&space, "uniform").run(&mut Surface::new(H800)).unwrap_or_else(|error| panic!("{error}"));
    let mut contrary = Contrary(Surface::new(H800));
    let with = Search::new(&space, "uniform").finest(&mut contrary).run(&mut Surface::new(H800));
    let with = with.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((with.points_tried, &with.path, &with.tried), (alone.points_tried, &alone.path, &alone.tried));
    let finalists: Vec<&Setting> =
        std::iter::once(&alone.setting).chain(alone.runner_ups[..3].iter().map(|ranked| &ranked.setting)).collect();
    assert!(finalists.contains(&&with.setting) && with.runner_ups.len() == 3, "{with:?}");
    let times = std::iter::once(with.predicted).chain(with.runner_ups.iter().map(|ranked| ranked.predicted));
    let times: Vec<f64> =
        times.map(|predicted| predicted.dispatch_us.unwrap() + predicted.combine_us.unwrap()).collect();
    assert!(times.windows(2).all(|pair| pair[0] <= pair[1] * 1.002), "best first: {times:?}");
    assert!(with.runner_ups.iter().all(|ranked| finalists.contains(&&ranked.setting) && ranked.worse_percent >= -0.2));
    assert_eq!(with.predicted_us, times[0]);
}

#[test]
fn least_sms_are_within_their_share_and_few() {
    for (machine, nodes, gpus, tokens) in WORLDS {
        let space = small(&machine, nodes, gpus, tokens);
        let objective = Objective::LeastSms { percent: 90.0 };
        let best = run(&space, machine, Objective::Alone(Ops::Both), Load::Alone);
        let (found, all) =
            (run(&space, machine, objective, Load::Alone), exhaust(&space, machine, objective, Load::Alone));
        let sms = |outcome: &Outcome| outcome.setting.dispatch_sms + outcome.setting.combine_sms;
        println!(
            "{} {nodes} x {gpus}: {} SMs, grid {}, {} points",
            machine.name,
            sms(&found),
            sms(&all),
            found.points_tried
        );
        assert!(sms(&found) <= sms(&all), "{} {nodes} x {gpus}", machine.name);
        assert!(sms(&found) <= sms(&best));
        assert!(found.predicted_us <= best.predicted_us / 0.9 * 1.0001, "{} {nodes} x {gpus}", machine.name);
    }
}

/// Method: both settings are run beside the computation; that tuned beside it adds less, somewhere by much.
#[test]
fn tuned_beside_a_computation_beats_tuned_alone_there() {
    let mut most: f64 = 0.0;
    for (machine, nodes, gpus, tokens) in WORLDS {
        let space = whole(&machine, nodes, gpus, tokens);
        for load in [ARITHMETIC, MEMORY] {
            let alone = run(&space, machine, Objective::Alone(Ops::Both), Load::Alone);
            let beside = run(&space, machine, Objective::Beside, load);
            let added = |outcome: &Outcome| {
                let tuning = outcome.setting.tuning().expect("a setting");
                let plan =
                    crate::plan::Plan::new(space.topology(), *space.shape(), tuning, Fabric::Mlx5).expect("a plan");
                let jobs = Ops::Both.each().iter().map(|&op| Job { plan: plan.clone(), op });
                let surface = Surface::new(machine);
                jobs.map(|job| surface.timing(&job, &load).beside.expect("beside").added_us()).sum::<f64>()
            };
            let (there, solo) = (added(&beside), added(&alone));
            assert!(there <= solo * 1.005, "{} {nodes} x {gpus}, {load}: {there} and {solo}", machine.name);
            most = most.max(solo / there);
        }
    }
    assert!(most > 1.1, "{most}");
}

#[test]
fn the_same_search_gives_the_same_outcome() {
    let space = whole(&H800, 4, 8, 4096);
    let search = |seed: u64| {
        let search = Search::new(&space, "uniform").seed(seed);
        search.run(&mut Surface::new(H800)).unwrap_or_else(|error| panic!("{error}"))
    };
    assert_eq!(search(3), search(3));
    assert_ne!(search(3).path, search(4).path);
}

/// Passes jobs on and keeps what was asked.
struct Watched {
    surface: Surface,
    seen: HashSet<String>,
}

impl Measure for Watched {
    fn name(&self) -> String {
        self.surface.name()
    }

    fn check(&mut self, jobs: &[Job]) -> crate::Result<Vec<Verdict>> {
        for job in jobs {
            job.plan.check_limits(&limits(&H800)).expect("only what the library takes is measured");
            let fresh = self.seen.insert(format!("{:?} {:?}", job.op, job.plan.tuning));
            assert!(fresh, "measured twice: {:?} of {:?}", job.op, job.plan.tuning);
        }
        self.surface.check(jobs)
    }

    fn time(&mut self, jobs: &[Job], load: &Load) -> crate::Result<Vec<Timing>> {
        self.surface.time(jobs, load)
    }
}

#[test]
fn nothing_invalid_and_nothing_twice_is_measured() {
    let space = whole(&H800, 8, 8, 4096);
    let mut watched = Watched { surface: Surface::new(H800), seen: HashSet::new() };
    let outcome = Search::new(&space, "uniform").run(&mut watched).unwrap_or_else(|error| panic!("{error}"));
    assert!(watched.seen.len() as u64 <= 2 * outcome.points_tried);
    assert_eq!(watched.surface.checked, watched.surface.timed);
}

/// Method: the fastest channels give wrong results: they are told, not timed, and the best of the others is chosen.
#[test]
fn what_is_wrong_is_told_and_never_chosen() {
    let space = small(&H800, 2, 8, 4096);
    let best = run(&space, H800, Objective::Alone(Ops::Both), Load::Alone);
    let mut surface = Surface::new(H800);
    surface.wrong_channels.insert(best.setting.channels);
    let outcome = Search::new(&space, "uniform").run(&mut surface).unwrap_or_else(|error| panic!("{error}"));
    assert_ne!(outcome.setting.channels, best.setting.channels);
    assert!(outcome.runner_ups.iter().all(|next| next.setting.channels != best.setting.channels));
    assert!(outcome.wrong.iter().all(|wrong| wrong.setting.channels == best.setting.channels));
    assert!(!outcome.wrong.is_empty() && outcome.wrong[0].reason == "a row differs");
    assert!(surface.timed < surface.checked);
    assert!(outcome.to_string().contains("a row differs"));
    surface.wrong_channels.extend(space.values(Axis::Channels));
    let error = Search::new(&space, "uniform").run(&mut surface).expect_err("nothing is right");
    assert!(matches!(&error, Error::Unsupported { have, .. } if have == "a row differs"), "{error}");
}

#[test]
fn a_budget_is_kept_and_said() {
    let space = whole(&H800, 8, 8, 4096);
    for points in [1, 7, 30] {
        let budget = Budget { points, time: Duration::from_secs(3600) };
        let search = Search::new(&space, "uniform").budget(budget);
        let outcome = search.run(&mut Surface::new(H800)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((outcome.points_tried, outcome.ended), (points, Ended::OutOfPoints));
    }
    let none = Budget { points: 400, time: Duration::ZERO };
    let error = Search::new(&space, "uniform").budget(none).run(&mut Surface::new(H800)).expect_err("no time");
    assert!(error.to_string().contains("none was measured"), "{error}");
}

#[test]
fn searches_that_cannot_be_are_refused_by_name() {
    let space = small(&H800, 2, 8, 128);
    let search = || Search::new(&space, "uniform");
    let least = Objective::LeastSms { percent: 90.0 };
    for (search, word) in [
        (search().objective(Objective::Beside), "`load`"),
        (search().objective(least).load(ARITHMETIC), "`load`"),
        (search().objective(Objective::LeastSms { percent: 0.0 }), "`objective`"),
        (search().starts(0), "`starts`"),
        (search().budget(Budget { points: 0, ..Budget::default() }), "`budget`"),
    ] {
        let said = search.run(&mut Surface::new(H800)).expect_err("refused").to_string();
        assert!(said.contains(word), "{said}");
    }
    let nowhere = space.clone().pinned(Axis::Workers, 1).and_then(|space| space.pinned(Axis::Roles, 1)).expect("axes");
    assert_eq!(nowhere.valid_points(), 0);
    let said = Search::new(&nowhere, "uniform").run(&mut Surface::new(H800)).expect_err("refused").to_string();
    assert!(said.contains("`space`"), "{said}");
}

#[test]
fn evidence_is_of_points_that_were_measured() {
    let space = small(&H800, 2, 8, 4096);
    let outcome = run(&space, H800, Objective::Alone(Ops::Both), Load::Alone);
    let known = outcome.why.iter().filter(|evidence| evidence.down.is_some() || evidence.up.is_some()).count();
    assert!(known >= 7, "{outcome}");
    let steps = outcome.why.iter().flat_map(|evidence| evidence.down.iter().chain(&evidence.up));
    assert!(steps.clone().all(|step| step.worse_percent > -0.11), "{outcome}");
    assert!(!outcome.runner_ups.is_empty() && outcome.runner_ups.len() <= 5);
    assert!(outcome.runner_ups.windows(2).all(|pair| pair[0].worse_percent <= pair[1].worse_percent + 0.11));
    let first: Vec<Point> = outcome.tried.iter().filter_map(|tried| space.point(&tried.at)).collect();
    assert_eq!(first.len() as u64, outcome.points_tried);
    assert!(outcome.to_string().lines().count() <= 24, "{outcome}");
}
