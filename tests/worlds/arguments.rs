//! Wrong arguments: each is refused by name, with its value and what is valid, and the communicator goes on.

use half::bf16;
use warpferry::{Combine, Communicator, DType, Dispatch, Error, Fabric, Result, Shape, Topology, Tuning, World};

use crate::case::{Carried, Case, Format, Ordered, Scales, Warps};
use crate::play::{self, Call, Stop, PATIENCE, TIMEOUT};

/// A small world of one rank, so that one thread is enough.
fn alone() -> Case {
    Case { nodes: 1, gpus: 1, hidden: 16, experts_per_rank: 4, topk: 2, tokens: vec![8], ..Case::default() }
}

fn rank_of(case: &Case) -> World {
    case.config().and_then(World::emulated).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn refused<T>(result: Result<T>, argument: &str, value: &str, valid: &str) {
    match result {
        Err(Error::Argument { argument: named, value: given, valid: would }) => {
            assert_eq!(named, argument);
            assert!(given.contains(value), "value `{given}` does not say `{value}`");
            assert!(would.contains(valid), "valid `{would}` does not say `{valid}`");
        }
        Err(other) => panic!("`{argument}` should be refused as an argument, not by: {other}"),
        Ok(_) => panic!("`{argument}` = {value} was taken"),
    }
}

/// The communicator still works.
fn goes_on(world: &mut World, case: &Case) {
    let config = case.config().unwrap_or_else(|error| panic!("{error}"));
    let call = Call::new(case, config.topology, config.shape, 0).unwrap_or_else(|error| panic!("{error}"));
    for outcome in world.run(|rank| play::round(rank, case, &call)).unwrap_or_else(|error| panic!("{error}")) {
        match outcome {
            Ok(()) => {}
            Err(Stop::Wrong(what)) => panic!("{what}"),
            Err(Stop::Error(error)) => panic!("{error}"),
        }
    }
}

#[test]
fn worlds_and_shapes() {
    refused(Topology::new(0, 1), "nodes", "0", "1 to 256");
    refused(Topology::new(257, 1), "nodes", "257", "1 to 256");
    refused(Topology::new(1, 0), "gpus_per_node", "0", "1 to 128");
    refused(Topology::new(1, 129), "gpus_per_node", "129", "1 to 128");
    for hidden in [0, 1, 7, 12, 524_296, u32::MAX] {
        refused(Shape::new(hidden, 8, 2, 8), "hidden", &hidden.to_string(), "multiple of 8");
    }
    refused(Shape::new(16, 64, 0, 8), "topk", "0", "1 to 32");
    refused(Shape::new(16, 64, 33, 8), "topk", "33", "1 to 32");
    refused(Shape::new(16, 4, 5, 8), "topk", "5", "at most the number of experts, 4");
    refused(Shape::new(16, 0, 1, 8), "experts", "0", "1 to 65536");
    refused(Shape::new(16, 8, 2, 0), "max_tokens", "0", "1 to");
    refused(Shape::new(16, 8, 2, u32::MAX), "max_tokens", &u32::MAX.to_string(), "1 to");
}

#[test]
fn experts_that_do_not_divide() {
    let topology = Topology::new(3, 2).unwrap_or_else(|error| panic!("{error}"));
    let shape = Shape::new(16, 8, 2, 8).unwrap_or_else(|error| panic!("{error}"));
    let config = warpferry::WorldConfig::new(topology, shape);
    refused(World::emulated(config), "experts", "8", "6 ranks");
}

#[test]
fn settings_of_the_transport() {
    let refuse = |case: Case, argument: &str, value: &str, valid: &str| {
        refused(case.config().and_then(World::emulated), argument, value, valid);
    };
    let usual = Case::default;
    for depth in [0, 1, 3, 2048] {
        refuse(Case { depth_ib: depth, ..usual() }, "depth_ib", &depth.to_string(), "power of two from 2");
        refuse(Case { depth_nv: depth, ..usual() }, "depth_nv", &depth.to_string(), "power of two from 2");
    }
    refuse(Case { chunk_ib: 3, ..usual() }, "chunk_ib", "3", "1 to 2");
    refuse(Case { chunk_nv: 0, ..usual() }, "chunk_nv", "0", "1 to 2");
    refuse(Case { chunk_nv: 33, depth_nv: 128, ..usual() }, "chunk_nv", "33", "1 to 32");
    refuse(Case { channels: 0, ..usual() }, "channels", "0", "1 to 256");
    refuse(Case { channels: 501, nodes: 2, ..usual() }, "channels", "501", "1 to 256");
    refuse(Case { channels: 251, nodes: 3, ..usual() }, "channels", "251", "at most 250");
    refuse(Case { sms: vec![(3, 1)], ..usual() }, "dispatch_sms", "3", "1 to 2");
    refuse(Case { sms: vec![(1, 0)], ..usual() }, "combine_sms", "0", "1 to 2");
    refuse(Case { workers: 0, ..usual() }, "workers", "0", "1 to 15");
    refuse(Case { workers: 16, ..usual() }, "workers", "16", "1 to 15");
    refuse(Case { workers: 2, roles: Warps::Fixed, ..usual() }, "roles", "2 workers", "at least one worker");
    let words = |words: &[&str]| Warps::Custom(words.iter().map(|word| word.to_string()).collect());
    refuse(Case { roles: words(&["s", "f", "f"]), ..usual() }, "roles", "", "Receive");
    refuse(Case { roles: words(&["s", "", "fr"]), ..usual() }, "roles", "worker 1", "1 to 3 kinds");
    for stage_bytes in [0, 1024, 2049, 17408] {
        refuse(Case { stage_bytes, ..usual() }, "stage_bytes", &stage_bytes.to_string(), "multiple of 1024");
    }
}

#[test]
fn a_cluster_that_cannot_be() {
    let mut config = alone().config().unwrap_or_else(|error| panic!("{error}"));
    config.machine.gpu.sms = 0;
    refused(World::emulated(config), "machine", "gpu.sms", "limits");
    let mut config =
        Case { channels: 4, sms: vec![(4, 4)], ..alone() }.config().unwrap_or_else(|error| panic!("{error}"));
    config.machine.gpu.sms = 2;
    refused(World::emulated(config), "dispatch_sms", "4", "at most 2");
    let mut config = Case { hidden: 4096, ..alone() }.config().unwrap_or_else(|error| panic!("{error}"));
    config.machine.gpu.memory_bytes = 1 << 16;
    match World::emulated(config) {
        Err(Error::Unsupported { need, have }) => {
            assert!(need.contains("bytes of device memory") && have.contains("65536"), "{need}; {have}");
        }
        other => panic!("a plan larger than the GPU was taken: {:?}", other.map(drop)),
    }
}

#[test]
fn tensors_of_the_wrong_type_or_shape() {
    let case = alone();
    let mut world = rank_of(&case);
    let rank = &mut world.communicators()[0];
    let tensors = || -> Result<_> {
        let x = rank.tensor(&[bf16::ONE; 4 * 16], &[4, 16])?;
        let idx = rank.tensor(&[0i32; 4 * 2], &[4, 2])?;
        let weights = rank.tensor(&[0f32; 4 * 2], &[4, 2])?;
        Ok((x, idx, weights))
    };
    let (x, idx, weights) = tensors().unwrap_or_else(|error| panic!("{error}"));
    refused(rank.dispatch(Dispatch::new(&idx, &idx)), "x", "i32", "bf16");
    refused(rank.dispatch(Dispatch::new(&x, &weights)), "topk_idx", "f32", "i32");
    refused(rank.dispatch(Dispatch::new(&x, &x)), "topk_idx", "bf16", "i32");
    refused(rank.dispatch(Dispatch::new(&x, &idx).weights(&idx)), "topk_weights", "i32", "f32");
    let reshaped = |shape: &[usize]| x.reshape(shape).unwrap_or_else(|error| panic!("{error}"));
    refused(rank.dispatch(Dispatch::new(&reshaped(&[8, 8]), &idx)), "x", "[8, 8]", "[rows, 16]");
    refused(rank.dispatch(Dispatch::new(&reshaped(&[64]), &idx)), "x", "[64]", "[rows, 16]");
    refused(rank.dispatch(Dispatch::new(&reshaped(&[2, 2, 16]), &idx)), "x", "[2, 2, 16]", "[rows, 16]");
    let fewer = idx.narrow(1..4).unwrap_or_else(|error| panic!("{error}"));
    refused(rank.dispatch(Dispatch::new(&x, &fewer)), "topk_idx", "3 rows", "4, the tokens of x");
    let wide = idx.reshape(&[2, 4]).unwrap_or_else(|error| panic!("{error}"));
    refused(rank.dispatch(Dispatch::new(&x, &wide)), "topk_idx", "[2, 4]", "[rows, 2]");
    refused(x.reshape(&[5, 16]), "shape", "[5, 16]", "as many elements as [4, 16]");
    refused(x.narrow(2..5), "range", "2..5", "within 0..4");
    refused(rank.tensor(&[0i32; 3], &[2, 2]), "values", "3 elements", "4 for shape [2, 2]");
    refused(rank.empty(DType::F32, &[usize::MAX, 2]), "shape", "", "2^63");
    refused(x.to_vec::<i32>(), "element", "i32", "bf16");
    goes_on(&mut world, &case);
}

fn bits_of(rank: &Communicator) -> Result<warpferry::Tensor> {
    rank.tensor_of_bytes(DType::U8, &[0; 4 * 144], &[4, 144])
}

#[test]
fn pairs_that_have_no_numbers() {
    let topology = Topology::new(31, 32).unwrap_or_else(|error| panic!("{error}"));
    let shape = warpferry::Shape::new(8, 992, 32, 1 << 20).unwrap_or_else(|error| panic!("{error}"));
    let tuning = Tuning::default_for(topology, 16);
    let plan = warpferry::plan::Plan::new(topology, shape, tuning, Fabric::Mlx5);
    refused(plan, "max_tokens", "1048576", "at most 67650");
}

#[test]
fn scales_weights_and_biases_that_do_not_fit() {
    let case = Case { payload: Carried::Fp8(Format::E4m3, Scales::F32), hidden: 144, ..alone() };
    let mut world = rank_of(&case);
    let rank = &mut world.communicators()[0];
    let tensors = |rank: &Communicator| -> Result<_> {
        let x = rank.tensor_of_bytes(DType::E4m3, &[0x38; 4 * 144], &[4, 144])?;
        let idx = rank.tensor(&[0i32, 1].repeat(4), &[4, 2])?;
        let scales = rank.tensor(&[1f32; 4 * 2], &[4, 2])?;
        let bytes = rank.tensor_of_bytes(DType::Ue8m0, &[127; 4 * 2], &[4, 2])?;
        Ok((x, idx, scales, bytes))
    };
    let (x, idx, scales, bytes) = tensors(rank).unwrap_or_else(|error| panic!("{error}"));
    let op = Dispatch::new(&x, &idx).timeout(TIMEOUT);
    refused(rank.dispatch(op.clone()), "scales", "none", "f32 [tokens, 2]");
    refused(rank.dispatch(op.clone().scales(&bytes)), "scales", "ue8m0", "f32");
    let part = |rows: std::ops::Range<usize>| scales.narrow(rows).unwrap_or_else(|error| panic!("{error}"));
    refused(rank.dispatch(op.clone().scales(&part(0..3))), "scales", "3 rows", "4, the tokens of x");
    let same = bits_of(rank).and_then(|bits| bits.view_as(DType::E4m3)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((same.dtype(), same.shape()), (DType::E4m3, &[4, 144][..]));
    refused(same.view_as(DType::F32), "dtype", "f32", "a type of 1 bytes, as e4m3 is");
    let wide = scales.reshape(&[2, 4]).unwrap_or_else(|error| panic!("{error}"));
    refused(rank.dispatch(op.clone().scales(&wide)), "scales", "[2, 4]", "[rows, 2]");
    let bits = bits_of(rank).unwrap_or_else(|error| panic!("{error}"));
    refused(rank.dispatch(Dispatch::new(&bits, &idx).scales(&scales)), "x", "u8", "e4m3");

    let got = rank.dispatch(op.scales(&scales)).and_then(|mut op| op.wait(PATIENCE));
    let got = got.unwrap_or_else(|error| panic!("{error}"));
    let made = |rank: &Communicator| -> Result<_> {
        let rows = rank.tensor(&[bf16::ONE; 4 * 144], &[4, 144])?;
        Ok((rows, rank.tensor(&[1f32; 4 * 2], &[4, 2])?))
    };
    let (rows, weights) = made(rank).unwrap_or_else(|error| panic!("{error}"));
    let back = Combine::new(&rows, &got.handle).timeout(TIMEOUT);
    refused(rank.combine(back.clone().weights(&idx)), "topk_weights", "i32", "f32");
    let fewer = weights.narrow(0..3).unwrap_or_else(|error| panic!("{error}"));
    refused(rank.combine(back.clone().weights(&fewer)), "topk_weights", "3 rows", "4, the rows of x");
    let three = back.clone().bias(&rows).bias(&rows).bias(&rows);
    refused(rank.combine(three), "bias", "3 biases", "0 to 2");
    let fewer = rows.narrow(0..3).unwrap_or_else(|error| panic!("{error}"));
    refused(rank.combine(back.clone().bias(&fewer)), "bias", "3 rows", "4, the tokens of the handle");
    refused(rank.combine(back.bias(&weights)), "bias", "f32", "bf16");
    goes_on(&mut world, &case);

    let mut world = rank_of(&alone());
    let rank = &mut world.communicators()[0];
    let plain = |rank: &Communicator| -> Result<_> {
        let x = rank.tensor(&[bf16::ONE; 4 * 16], &[4, 16])?;
        Ok((x, rank.tensor(&[0i32, 1].repeat(4), &[4, 2])?, rank.tensor(&[1f32; 4], &[4, 1])?))
    };
    let (x, idx, scales) = plain(rank).unwrap_or_else(|error| panic!("{error}"));
    refused(
        rank.dispatch(Dispatch::new(&x, &idx).scales(&scales)),
        "scales",
        "f32",
        "none: nobody gives scales with bf16",
    );
    goes_on(&mut world, &alone());
}

#[test]
fn layouts_and_scales_that_do_not_fit() {
    let shape = warpferry::Shape::new(16, 4, 2, 8).unwrap_or_else(|error| panic!("{error}"));
    for align in [0, 4097] {
        let layout = warpferry::plan::OutputLayout::Experts { align };
        refused(shape.with_layout(layout), "align", &align.to_string(), "1 to 4096");
    }
    let plain = alone();
    let by_expert = Case { layout: Ordered::Expert(4), ..alone() };
    for case in [plain, by_expert] {
        let mut world = rank_of(&case);
        let rank = &mut world.communicators()[0];
        let tensors = |rank: &Communicator| -> Result<_> {
            let x = rank.tensor(&[bf16::ONE; 2 * 16], &[2, 16])?;
            Ok((x, rank.tensor(&[0i32, 1, 1, -1], &[2, 2])?))
        };
        let (x, idx) = tensors(rank).unwrap_or_else(|error| panic!("{error}"));
        let got = rank.dispatch(Dispatch::new(&x, &idx).timeout(TIMEOUT)).and_then(|mut op| op.wait(PATIENCE));
        let got = got.unwrap_or_else(|error| panic!("{error}"));
        let scales = |rows: usize, columns: usize| rank.tensor(&vec![1f32; rows * columns], &[rows, columns]);
        let scales = |rows, columns| scales(rows, columns).unwrap_or_else(|error| panic!("{error}"));
        let (one, two, short) = (scales(got.rows, 1), scales(got.rows, 2), scales(got.rows - 1, 1));
        let op = Combine::new(&got.x, &got.handle).timeout(TIMEOUT);
        if case.layout == Ordered::Source {
            refused(rank.combine(op.scaled_by(&one)), "scales", "f32", "none: rows are by source");
        } else {
            refused(rank.combine(op.clone().scaled_by(&two)), "scales", "2]", "[rows, 1]");
            refused(rank.combine(op.clone().scaled_by(&short)), "scales", "7 rows", "8, the rows of x");
            refused(rank.combine(op.weights(&two)), "topk_weights", "2]", "[rows, 1]");
        }
        goes_on(&mut world, &case);
    }
}

#[test]
fn headers_that_no_stage_holds() {
    let payload = Carried::Fp8(Format::E4m3, Scales::F32);
    let case = Case { payload, hidden: 65536, stage_bytes: 2048, ..alone() };
    refused(
        World::emulated(case.config().unwrap_or_else(|error| panic!("{error}"))),
        "stage_bytes",
        "2048",
        "at least 9216",
    );
    let shape = warpferry::Shape::new(24, 4, 2, 8).unwrap_or_else(|error| panic!("{error}"));
    refused(shape.with_payload(payload.payload()), "payload", "24 bytes a row", "a multiple of 16 bytes");
}

/// Whether weights go back is every rank's to say: who disagrees is told, and nobody hangs.
#[test]
fn weights_of_some_ranks_alone() {
    for fabric in [Fabric::Mlx5, Fabric::Loopback] {
        let mut config = Case::default().config().unwrap_or_else(|error| panic!("{error}"));
        config.fabric = fabric;
        let mut world = World::emulated(config).unwrap_or_else(|error| panic!("{error}"));
        let outcomes = world.run(|rank| -> Result<()> {
            let x = rank.tensor(&[bf16::ONE; 64], &[1, 64])?;
            let idx = rank.tensor(&[0i32, 3, 6], &[1, 3])?;
            let weights = rank.tensor(&[1f32; 3], &[1, 3])?;
            let got = rank.dispatch(Dispatch::new(&x, &idx).weights(&weights).timeout(TIMEOUT))?.wait(PATIENCE)?;
            let mut op = Combine::new(&got.x, &got.handle).timeout(TIMEOUT);
            if rank.rank() != 2 {
                op = op.weights(&got.topk_weights.ok_or(Error::Bug("weights were given".into()))?);
            }
            rank.combine(op)?.wait(PATIENCE).map(drop)
        });
        let outcomes = outcomes.unwrap_or_else(|error| panic!("{error}"));
        let told: Vec<String> = outcomes.into_iter().filter_map(|outcome| Some(outcome.err()?.to_string())).collect();
        // Nobody waits for ever: a rank that nothing odd reaches ends, or misses one that gave up.
        assert!(told.iter().any(|error| error.contains("all ranks give them, or none")), "{told:?}");
        world.close().unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn tokens_above_the_bound() {
    let case = alone();
    let mut world = rank_of(&case);
    let rank = &mut world.communicators()[0];
    let many = |rank: &Communicator| -> Result<_> {
        Ok((rank.tensor(&[bf16::ONE; 9 * 16], &[9, 16])?, rank.tensor(&[0i32; 9 * 2], &[9, 2])?))
    };
    let (x, idx) = many(rank).unwrap_or_else(|error| panic!("{error}"));
    refused(rank.dispatch(Dispatch::new(&x, &idx)), "x", "9 tokens", "at most 8");
    goes_on(&mut world, &case);
}

/// A view that begins between two multiples of 16 bytes.
#[test]
fn rows_that_are_not_aligned() {
    let case = alone();
    let mut world = rank_of(&case);
    let rank = &mut world.communicators()[0];
    let tensors = |rank: &Communicator| -> Result<_> {
        let column = rank.tensor(&[bf16::ONE; 3 * 16], &[3 * 16, 1])?;
        let odd = column.narrow(4..4 + 32)?.reshape(&[2, 16])?;
        Ok((odd, rank.tensor(&[1i32; 2 * 2], &[2, 2])?))
    };
    let (odd, idx) = tensors(rank).unwrap_or_else(|error| panic!("{error}"));
    refused(rank.dispatch(Dispatch::new(&odd, &idx)), "x", "0x", "aligned to 16 bytes");
    // topk_idx is read word by word: any view of it will do.
    let part = |rank: &Communicator| -> Result<_> {
        let idx = rank.tensor(&[9i32, 1, 2, 0, 3, 9], &[6, 1])?.narrow(1..5)?.reshape(&[2, 2])?;
        Ok((rank.tensor(&[bf16::ONE; 32], &[2, 16])?, idx))
    };
    let (x, idx) = part(rank).unwrap_or_else(|error| panic!("{error}"));
    let dispatched = rank.dispatch(Dispatch::new(&x, &idx).timeout(TIMEOUT)).and_then(|mut op| op.wait(PATIENCE));
    let dispatched = dispatched.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(dispatched.expert_counts, [1, 1, 1, 1]);
    refused(
        dispatched
            .x
            .reshape(&[32, 1])
            .and_then(|column| column.narrow(0..32))
            .and_then(|column| column.reshape(&[1, 32]))
            .and_then(|rows| rank.combine(Combine::new(&rows, &dispatched.handle))),
        "x",
        "[1, 32]",
        "[rows, 16]",
    );
    goes_on(&mut world, &case);
}

#[test]
fn tensors_and_handles_of_another_communicator() {
    let case = alone();
    let (mut here, mut there) = (rank_of(&case), rank_of(&case));
    let make = |rank: &Communicator| -> Result<_> {
        Ok((rank.tensor(&[bf16::ONE; 16], &[1, 16])?, rank.tensor(&[0i32, 1], &[1, 2])?))
    };
    {
        let (own, other) = (&mut here.communicators()[0], &mut there.communicators()[0]);
        let (x, idx) = make(own).unwrap_or_else(|error| panic!("{error}"));
        let (foreign_x, foreign_idx) = make(other).unwrap_or_else(|error| panic!("{error}"));
        refused(own.dispatch(Dispatch::new(&foreign_x, &idx)), "x", "communicator", "made by this communicator");
        refused(own.dispatch(Dispatch::new(&x, &foreign_idx)), "topk_idx", "communicator", "this communicator");
        let dispatched = own.dispatch(Dispatch::new(&x, &idx)).and_then(|mut op| op.wait(PATIENCE));
        let dispatched = dispatched.unwrap_or_else(|error| panic!("{error}"));
        refused(other.combine(Combine::new(&foreign_x, &dispatched.handle)), "handle", "communicator", "a dispatch of");
        refused(own.combine(Combine::new(&foreign_x, &dispatched.handle)), "x", "communicator", "this communicator");
        let two = own.empty(DType::Bf16, &[2, 16]).unwrap_or_else(|error| panic!("{error}"));
        refused(own.combine(Combine::new(&two, &dispatched.handle)), "x", "2 rows", "1, the rows of the dispatch");
    }
    goes_on(&mut here, &case);
    goes_on(&mut there, &case);
}

/// The kernel looks at what `topk_idx` holds. The world is broken after it, since the other ranks count on this one.
#[test]
fn experts_out_of_range() {
    let last_but_one = 6;
    for wrong in [-2, 4, i32::MAX, i32::MIN] {
        let mut world = rank_of(&alone());
        let rank = &mut world.communicators()[0];
        let mut choices = [0i32, 3].repeat(8);
        choices[2 * last_but_one + 1] = wrong;
        let both = wrong == 4;
        if both {
            choices[2 * last_but_one] = wrong; // of several one is named
        }
        let make = |rank: &Communicator| -> Result<_> {
            Ok((rank.tensor(&[bf16::ONE; 8 * 16], &[8, 16])?, rank.tensor(&choices, &[8, 2])?))
        };
        let (x, idx) = make(rank).unwrap_or_else(|error| panic!("{error}"));
        let outcome = rank.dispatch(Dispatch::new(&x, &idx).timeout(TIMEOUT)).and_then(|mut op| op.wait(PATIENCE));
        let choice = u32::from(!both);
        refused(outcome, &format!("topk_idx[{last_but_one}][{choice}]"), &wrong.to_string(), "0 to 3, or -1");
        let again = rank.dispatch(Dispatch::new(&x, &idx)).map(drop);
        assert!(matches!(again, Err(Error::Broken { .. })), "{again:?}");
        world.close().unwrap_or_else(|error| panic!("{error}"));
    }
}

/// One rank's wrong expert counts as masked in that dispatch, so that the others end it; then its communicator is
/// broken, and the others' combines name a rank that they miss.
#[test]
fn an_expert_out_of_range_ends_every_rank() {
    for fabric in [Fabric::Mlx5, Fabric::Loopback] {
        let mut config = Case::default().config().unwrap_or_else(|error| panic!("{error}"));
        config.fabric = fabric;
        let mut world = World::emulated(config).unwrap_or_else(|error| panic!("{error}"));
        let outcomes = world.run(|rank| -> Result<()> {
            let wrong = if rank.rank() == 2 { 8 } else { 0 };
            let x = rank.tensor(&[bf16::ONE; 64], &[1, 64])?;
            let idx = rank.tensor(&[4i32, wrong, 6], &[1, 3])?;
            let dispatched = rank.dispatch(Dispatch::new(&x, &idx).timeout(TIMEOUT))?.wait(PATIENCE)?;
            rank.combine(Combine::new(&dispatched.x, &dispatched.handle).timeout(TIMEOUT))?.wait(PATIENCE).map(drop)
        });
        for (rank, outcome) in outcomes.unwrap_or_else(|error| panic!("{error}")).into_iter().enumerate() {
            match (rank, outcome) {
                (2, outcome) => refused(outcome, "topk_idx[0][1]", "8", "0 to 7, or -1"),
                (_, Err(Error::Ended { op: "combine", report, .. })) => {
                    assert!(report.to_string().contains("waited for rank"), "rank {rank}: {report}");
                }
                (_, outcome) => panic!("rank {rank}: {outcome:?}"),
            }
        }
        world.close().unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn timeouts_that_are_none() {
    let case = alone();
    let mut world = rank_of(&case);
    let rank = &mut world.communicators()[0];
    let make = |rank: &Communicator| -> Result<_> {
        Ok((rank.tensor(&[bf16::ONE; 16], &[1, 16])?, rank.tensor(&[0i32, 1], &[1, 2])?))
    };
    let (x, idx) = make(rank).unwrap_or_else(|error| panic!("{error}"));
    for timeout in [std::time::Duration::ZERO, std::time::Duration::MAX] {
        refused(rank.dispatch(Dispatch::new(&x, &idx).timeout(timeout)), "timeout", "s", "more than zero");
    }
    goes_on(&mut world, &case);
}

/// The defaults fit every world that the library takes.
#[test]
fn defaults_are_valid() {
    for (nodes, gpus) in [(1, 1), (1, 8), (2, 8), (4, 8), (8, 8), (40, 8), (1, 72)] {
        let topology = Topology::new(nodes, gpus).unwrap_or_else(|error| panic!("{error}"));
        for hidden in [8, 2048, 7168, 16384, 1 << 19] {
            Tuning::default_for(topology, 2 * hidden).check(topology).unwrap_or_else(|error| {
                panic!("{nodes} x {gpus}, hidden {hidden}: {error}");
            });
        }
    }
}
