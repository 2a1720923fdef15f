//! The coarse model: beside the emulator's clock on a few small worlds, its properties, and worlds of thousands of ranks.
//!
//! Method: the same workload and plan go to both models; bounds are those of `docs/perf/analytic.md`. Properties are tried by
//! changing one value of a machine or setting at a time.
#![cfg(feature = "emu")]

use warpferry::bench::{median, Source, Workload};
use warpferry::gate::Gate;
use warpferry::machine::Machine;
use warpferry::model::analytic::Estimate;
use warpferry::model::{Model, Wanted};
use warpferry::plan::{Fp8, Payload, Plan, ScaleKind};
use warpferry::{Fabric, Shape, Topology, Tuning};

/// How far the coarse model may be from the emulator's clock, either way.
const FACTOR: f64 = 1.35;

/// A world of the shape of DeepSeek-V3.
struct Case {
    nodes: u32,
    gpus: u32,
    tokens: u32,
    channels: u32,
    sms: u32,
    payload: Payload,
}

impl Case {
    fn new(nodes: u32, gpus: u32, tokens: u32, channels: u32, sms: u32) -> Case {
        Case { nodes, gpus, tokens, channels, sms, payload: Payload::Bf16 }
    }

    fn workload(&self) -> Workload {
        let topology = Topology::new(self.nodes, self.gpus).expect("a world");
        let experts = 256.max(topology.ranks());
        let shape = Shape::new(7168, experts, 8, self.tokens).and_then(|shape| shape.with_payload(self.payload));
        let source = Source::Drawn(Gate::Uniform);
        Workload { topology, shape: shape.expect("a shape"), tokens: self.tokens, source, seed: 3 }
    }

    fn plan(&self) -> Plan {
        let Workload { topology, shape, .. } = self.workload();
        let tuning = Tuning {
            channels: self.channels,
            dispatch_sms: self.sms,
            combine_sms: self.sms,
            ..Tuning::default_for(topology, shape.dispatch_row_bytes())
        };
        Plan::sketch(topology, shape, tuning, Fabric::Mlx5).expect("a plan")
    }

    fn estimate(&self, machine: &Machine) -> Estimate {
        Estimate::new(machine, &self.workload(), &self.plan()).expect("an estimate")
    }
}

fn h800() -> Machine {
    Machine::named("h800-cx7").expect("a preset")
}

#[test]
fn agrees_with_the_clock_on_small_worlds() {
    let fp8 = Payload::Fp8(Fp8::E4m3, ScaleKind::F32);
    let cases =
        [Case::new(1, 4, 128, 16, 8), Case { payload: fp8, ..Case::new(1, 8, 64, 8, 8) }, Case::new(2, 4, 96, 8, 8)];
    for case in cases {
        let (workload, plan) = (case.workload(), case.plan());
        let run = Model::new(h800()).times(&workload, &plan, Wanted::BOTH).expect("a run").samples;
        let estimate = case.estimate(&h800());
        for (run_us, coarse_us) in [
            (median(&run.dispatch_kernel_us), estimate.dispatch.us()),
            (median(&run.combine_us), estimate.combine.us()),
        ] {
            let ratio = coarse_us / run_us;
            let world =
                format!("{} x {}, {} tokens: {coarse_us:.0} of {run_us:.0} us", case.nodes, case.gpus, case.tokens);
            assert!((1.0 / FACTOR..FACTOR).contains(&ratio), "{world}; {estimate}");
        }
    }
}

#[test]
fn time_follows_bytes_and_rates() {
    let machine = h800();
    let times = |estimate: Estimate| [estimate.dispatch.us(), estimate.combine.us()];
    let ascends = |all: Vec<[f64; 2]>, what: &str| {
        assert!(all.windows(2).all(|pair| (0..2).all(|op| pair[0][op] <= pair[1][op])), "{what}: {all:?}");
    };
    for nodes in [1, 2, 8, 16] {
        let of_tokens = |tokens| times(Case::new(nodes, 8, tokens, 16, 16).estimate(&machine));
        ascends([128, 256, 1024, 4096, 8192].map(of_tokens).into(), "tokens");
        for (section, name) in [("nic", "gbs"), ("links", "nvlink_gbs")] {
            let at = |rate: f64| {
                let machine = machine.with(section, name, rate).expect("a value");
                times(Case::new(nodes, 8, 4096, 16, 16).estimate(&machine))
            };
            ascends([1000.0, 400.0, 160.0, 80.0, 40.0, 10.0].map(at).into(), name);
        }
        let of_sms = |sms| times(Case::new(nodes, 8, 4096, 16, sms).estimate(&machine));
        ascends([16, 8, 4, 2, 1].map(of_sms).into(), "fewer SMs");
    }
}

#[test]
fn the_bound_is_the_wire_where_sms_suffice() {
    let machine = h800();
    let within = Case::new(1, 8, 4096, 32, 24).estimate(&machine);
    assert!(within.dispatch.bound().0.is_nvlink(), "{within}");
    let between = Case::new(8, 8, 4096, 24, 24).estimate(&machine);
    assert!(between.dispatch.bound().0.is_nic(), "{between}");
}

#[test]
fn thousands_of_ranks_are_estimated() {
    let case = Case::new(256, 8, 4096, 8, 8);
    let (workload, plan) = (case.workload(), case.plan());
    let modelled = Model::new(h800()).times(&workload, &plan, Wanted::BOTH).expect("an estimate");
    assert!(modelled.estimate.is_some() && modelled.samples.dispatch_us[0] > 0.0, "{modelled:?}");
    let record = Model::new(h800()).record(&workload, &plan, Wanted::BOTH, false).expect("a record");
    assert!(record.place.times.starts_with("analytic model of h800-cx7; dispatch: "), "{}", record.place.times);
    let figures = record.figures;
    assert!(figures.dispatch_ib_bytes > figures.dispatch_ib_bytes_min && figures.combine_us > 0.0, "{figures:?}");
    let limited = Workload { source: Source::Drawn(Gate::NodeLimited { nodes: 4 }), ..workload };
    let fewer = Estimate::new(&h800(), &limited, &plan).expect("an estimate");
    assert!(fewer.dispatch.us() < modelled.samples.dispatch_kernel_us[0], "{fewer}");
}

/// Bytes that the coarse model expects are those that choices of the gate lead to.
#[test]
fn expected_bytes_are_those_of_choices() {
    for (nodes, gpus) in [(1, 8), (4, 4)] {
        let case = Case::new(nodes, gpus, 512, 8, 8);
        let (workload, plan) = (case.workload(), case.plan());
        let counted =
            warpferry::bench::Moved::new(&plan, &workload.choices().expect("choices"), false).expect("counted");
        let said = case.estimate(&h800()).moved;
        for (said, counted) in [(said.dispatch, counted.dispatch), (said.combine, counted.combine)] {
            let close =
                |said: f64, counted: f64| assert!((said - counted).abs() <= 0.02 * counted, "{said}, {counted}");
            close(said.logical_bytes, counted.logical_bytes);
            close(said.ib.bytes as f64, counted.ib.bytes as f64);
            close(said.ib.bytes_min as f64, counted.ib.bytes_min as f64);
            close(said.nvlink.bytes as f64, counted.nvlink.bytes as f64);
            close(said.nvlink.bytes_min as f64, counted.nvlink.bytes_min as f64);
        }
    }
}

/// Where the kernels serve a world, its sketch is its plan; where they do not, only the plan is refused.
#[test]
fn a_sketch_is_the_plan_where_kernels_serve_it() {
    for (nodes, gpus, channels) in [(1, 8, 32), (8, 8, 16), (16, 8, 8)] {
        let case = Case::new(nodes, gpus, 128, channels, 8);
        let Plan { topology, shape, tuning, fabric, .. } = case.plan();
        assert_eq!(Plan::new(topology, shape, tuning, fabric).expect("served"), case.plan());
    }
    let Plan { topology, shape, tuning, fabric, .. } = Case::new(256, 8, 128, 8, 8).plan();
    let said = Plan::new(topology, shape, tuning, fabric).expect_err("too many ranks").to_string();
    assert!(said.contains("at most 992 ranks"), "{said}");
}
