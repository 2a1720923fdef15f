use proptest::prelude::*;

use super::*;

const GATES: [Gate; 5] = [
    Gate::Uniform,
    Gate::NodeLimited { nodes: 2 },
    Gate::NodeLimited { nodes: 4 },
    Gate::Zipf { alpha: 1.2 },
    Gate::AllToOne,
];

fn world() -> (Topology, Shape) {
    (Topology::new(4, 2).expect("valid"), Shape::new(8, 64, 8, 256).expect("valid"))
}

fn load(gate: Gate, tokens: u32, seed: u64) -> Load {
    let (topology, shape) = world();
    let choices = gate.draw(topology, &shape, tokens, seed).expect("valid");
    let idx: Vec<&[i32]> = choices.iter().map(|rank| rank.topk_idx.as_slice()).collect();
    Load::new(topology, &shape, &idx).expect("valid")
}

proptest! {
    #[test]
    fn choices_are_distinct_experts_and_weights_sum_to_one(
        nodes in 1_u32..5, gpus in 1_u32..4, own in 1_u32..9, topk in 1_u32..9, which in 0_usize..5, seed: u64,
    ) {
        let topology = Topology::new(nodes, gpus).expect("valid");
        let experts = own * topology.ranks();
        prop_assume!(topk <= experts);
        let shape = Shape::new(8, experts, topk, 4).expect("valid");
        let gate = GATES[which];
        let Ok(drawn) = gate.draw(topology, &shape, 3, seed) else {
            // Refused only where the limit cannot hold.
            let Gate::NodeLimited { nodes: limit } = gate else { panic!("{gate} was refused") };
            prop_assert!(limit > nodes || limit * (experts / nodes) < topk);
            return Ok(());
        };
        prop_assert_eq!(drawn.len(), topology.ranks() as usize);
        prop_assert_eq!(&drawn, &gate.draw(topology, &shape, 3, seed).expect("valid"));
        for rank in &drawn {
            prop_assert_eq!(rank.topk_idx.len(), 3 * topk as usize);
            for (idx, weights) in rank.topk_idx.chunks(topk as usize).zip(rank.topk_weights.chunks(topk as usize)) {
                let mut distinct = idx.to_vec();
                distinct.sort_unstable();
                distinct.dedup();
                prop_assert_eq!(distinct.len(), topk as usize);
                prop_assert!(distinct.iter().all(|expert| (0..experts as i32).contains(expert)));
                prop_assert!(weights.iter().all(|&weight| weight > 0.0));
                prop_assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            }
            if let Gate::NodeLimited { nodes: limit } = gate {
                check_node_limit(topology, &shape, &rank.topk_idx, limit).expect("the gate keeps its limit");
            }
        }
    }
}

#[test]
fn a_node_limit_takes_the_best_nodes() {
    // With as many nodes as there are, a limit changes nothing: the choices are the uniform gate's.
    let (topology, shape) = world();
    let all = Gate::NodeLimited { nodes: 4 }.draw(topology, &shape, 50, 7).expect("valid");
    let free = Gate::Uniform.draw(topology, &shape, 50, 7).expect("valid");
    assert_eq!(all, free);
    // With one node: the best eight of the node whose best eight have the highest sum.
    let scores = |random: &mut crate::random::Random| draw::scores(random, 64);
    let drawn = draw::node_limited(&mut draw::sequence(3, 1), topology, &shape, 1);
    let scores = scores(&mut draw::sequence(3, 1));
    let sum = |experts: &[u32]| experts.iter().map(|&expert| scores[expert as usize]).sum::<u64>();
    for node in 0..4 {
        let own = &scores[node * 16..(node + 1) * 16];
        let best: Vec<u32> = draw::best(own, 8).iter().map(|expert| expert + node as u32 * 16).collect();
        assert!(sum(&best) <= sum(&drawn), "node {node}");
        assert_eq!(best == drawn, sum(&best) == sum(&drawn));
    }
}

#[test]
fn gates_load_as_they_say() {
    let (uniform, limited) = (load(Gate::Uniform, 200, 1), load(Gate::NodeLimited { nodes: 2 }, 200, 1));
    // 8 of 64 experts over 4 nodes of 16: a node is missed with probability C(48,8)/C(64,8) = 0.0852.
    assert!((uniform.nodes_per_token - 4.0 * (1.0 - 0.0852)).abs() < 0.05, "{uniform}");
    assert_eq!(limited.nodes_most, 2);
    assert!(limited.nodes_per_token > 1.9 && limited.nodes_per_token <= 2.0, "{limited}");
    assert!(uniform.expert_skew < 1.4 && uniform.rank_skew < 1.1 && uniform.link_skew < 1.1, "{uniform}");
    let zipf = load(Gate::Zipf { alpha: 1.2 }, 200, 1);
    assert!(zipf.expert_skew > 3.0 && zipf.expert_skew <= 8.0, "{zipf}");
    assert!(load(Gate::Zipf { alpha: 0.0 }, 200, 1).expert_skew < 1.4);
    // All tokens to the first 8 experts, which are rank 0's.
    let one = load(Gate::AllToOne, 3, 1);
    assert_eq!((one.nodes_per_token, one.ranks_per_token, one.rank_skew, one.expert_skew), (1.0, 1.0, 8.0, 8.0));
    // Messages between nodes: from each of three nodes to node 0, over twelve pairs.
    assert_eq!(one.link_skew, 4.0);
}

#[test]
fn choices_do_not_depend_on_the_machine() {
    let (topology, shape) = world();
    let drawn = |gate: Gate| gate.draw(topology, &shape, 1, 42).expect("valid")[3].topk_idx.clone();
    assert_eq!(drawn(Gate::Uniform), UNIFORM_42);
    assert_eq!(drawn(Gate::Zipf { alpha: 1.0 }), ZIPF_42);
}

const UNIFORM_42: [i32; 8] = [42, 47, 11, 10, 29, 61, 22, 53];
const ZIPF_42: [i32; 8] = [35, 55, 27, 48, 41, 18, 34, 9];

#[test]
fn refusals_name_what_would_do() {
    let (topology, shape) = world();
    for (gate, parts) in [
        (Gate::NodeLimited { nodes: 0 }, ["`node limit` = 0", "1 to 4"]),
        (Gate::NodeLimited { nodes: 5 }, ["`node limit` = 5", "1 to 4"]),
        (Gate::Zipf { alpha: -1.0 }, ["`zipf exponent` = -1", "0 to 16"]),
        (Gate::Zipf { alpha: f64::NAN }, ["`zipf exponent` = NaN", "0 to 16"]),
    ] {
        let said = gate.draw(topology, &shape, 1, 0).expect_err("refused").to_string();
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    }
    let odd = Shape::new(8, 10, 2, 4).expect("valid");
    assert!(Gate::Uniform.draw(topology, &odd, 1, 0).is_err());
    let wide = [0, 16, 32, -1, -1, -1, -1, -1];
    check_node_limit(topology, &shape, &wide, 3).expect("three nodes");
    let said = check_node_limit(topology, &shape, &wide, 2).expect_err("refused").to_string();
    assert!(said.contains("token 0") && said.contains("[0, 1, 2]"), "{said}");
    assert!(check_node_limit(topology, &shape, &[64, -1, -1, -1, -1, -1, -1, -1], 4).is_err());
}

#[test]
fn text_gives_the_gate_back() {
    for gate in GATES {
        assert_eq!(gate.to_string().parse(), Ok(gate));
    }
    for text in ["", "node-limited", "node-limited:x", "zipf:", "uniform:1", "all"] {
        assert!(text.parse::<Gate>().is_err_and(|said| said.contains("zipf:ALPHA")), "{text}");
    }
}
