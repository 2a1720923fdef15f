//! Contracts: each clause once right, and every way to be wrong with its reason.

use warpferry_ptx::contract::*;
use warpferry_ptx::{ast::Type, parse};

const SOURCE: &str = "\
// put_signal: copy a buffer, then publish.
//
//@ kernel  put_signal
//@ variants put_signal_a: FABRIC=1 FAST; put_signal_b: FABRIC=2
//@         put_signal_c: FABRIC=3
//@ args    arg_dst     w   sys  align 16  bytes arg_bytes * 2     peer window
//@         arg_src     r   gpu  align 16
//@         arg_bytes   value u64  payload
//@ needs   arg_bytes % 16 == 0;
//@         no overlap
//@ launch  threads 32..=1024 multiple of 32; 1 block
//@ order   payload weak
//@ waits   never
//@ target  PTX 8.0, sm_80
//@ budget  sm_90: 18 registers, 0 spills
";

const ENTRY: &str = ".version 8.2 .target sm_90 .address_size 64
.visible .entry put_signal_b(.param .u64 arg_dst, .param .u64 .ptr .align 16 arg_src, .param .u64 arg_bytes) .maxntid 1024 { ret; }";

/// Messages of reading `source`, or of comparing its contract with `entry`.
fn said(source: &str, entry: &str) -> String {
    let contract = match contracts(source) {
        Ok(found) => found[0].clone(),
        Err(error) => return error.to_string(),
    };
    let module = parse("t.ptx", entry).unwrap_or_else(|e| panic!("{e}"));
    match check_contract(&contract, &module.functions[0]) {
        Ok(()) => String::new(),
        Err(errors) => errors.iter().map(|e| format!("{e}\n")).collect(),
    }
}

#[test]
fn a_contract_is_read_and_agrees_with_its_entry() {
    let found = contracts(SOURCE).unwrap_or_else(|e| panic!("{e}"));
    let contract = &found[0];
    assert_eq!((contract.kernel.as_str(), contract.line), ("put_signal", 3));
    assert_eq!(contract.variants.len(), 3);
    assert_eq!(contract.variants[0].defines, [("FABRIC".into(), "1".into()), ("FAST".into(), "1".into())]);
    let bytes = Some("arg_bytes * 2".to_string());
    let kind = ArgKind::Pointer { access: Access::Write, sharing: Sharing::Sys, align: 16, bytes };
    let dst = ContractArg { name: "arg_dst".into(), kind, text: "peer window".into(), line: 6 };
    assert_eq!(contract.args[0], dst);
    assert_eq!(contract.args[2].kind, ArgKind::Value(Type::U64));
    assert_eq!(contract.needs, "arg_bytes % 16 == 0;\nno overlap");
    assert_eq!(contract.threads, Some(Threads { least: 32, most: 1024, multiple: 32 }));
    assert_eq!(contract.budget, "sm_90: 18 registers, 0 spills");
    assert_eq!(said(SOURCE, ENTRY), "");
}

#[test]
fn every_disagreement_is_named() {
    for (from, to, expected) in [
        ("//@ kernel  put_signal\n", "", "belongs to no key and no kernel"),
        ("kernel  put_signal", "kernel  put signal", "is not valid here"),
        ("//@ needs", "//@ neds", "is not valid here"),
        ("//@ order   payload weak", "// nothing", "`//@ order` is missing"),
        ("//@ waits   never", "//@ order   again", "`order` stands twice"),
        ("align 16  bytes", "align 12  bytes", "N a power of two"),
        ("w   sys", "x   sys", "`arg_name r|w|rw"),
        ("threads 32..=1024", "threads 33..=1024", "both multiples of M"),
        ("threads 32..=1024", "32..=1024 threads", "`threads A..=B multiple of M`"),
        ("threads 32..=1024", "threads 32..=512", "declared for 1024 threads and `launch` says 512"),
        ("arg_src     r", "arg_source  r", "`arg_source` is not a parameter"),
        ("arg_src     r", "arg_source  r", "parameter `arg_src` of the entry is not in `args`"),
        ("arg_src     r", "arg_dst     r", "`arg_dst` stands twice"),
        ("value u64", "value u32", "`arg_bytes` is .u64 in the entry and .u32 by the contract"),
        ("gpu  align 16", "gpu  align 32", "`arg_src` is aligned to 16"),
        ("put_signal_b: FABRIC=2", "", "entry `put_signal_b` is neither"),
    ] {
        let source = SOURCE.replace(from, to);
        assert_ne!(source, SOURCE, "{from}");
        let messages = said(&source, ENTRY);
        assert!(messages.contains(expected), "{from} -> {to}: {messages}");
    }
    for (from, to, expected) in [
        (".param .u64 arg_dst,", "", "`arg_dst` is not a parameter"),
        (".param .u64 arg_dst", ".param .u32 arg_dst", "`arg_dst` is .u32 in the entry and .u64 by the contract"),
        (".maxntid 1024", "", "neither `.maxntid` nor `.reqntid`"),
        (".maxntid 1024", ".reqntid 1024", "declared for 1024 threads"),
    ] {
        let messages = said(SOURCE, &ENTRY.replace(from, to));
        assert!(messages.contains(expected), "{from} -> {to}: {messages}");
    }
    let swapped = SOURCE.replace("arg_dst", "arg_x").replace("arg_src", "arg_dst").replace("arg_x", "arg_src");
    assert!(said(&swapped, ENTRY).contains("parameter 0 is `arg_dst` in the entry and `arg_src` in `args`"));
}

/// Cuts and doubles pieces of a good contract; the reader must answer, whatever it answers.
#[test]
fn no_damaged_contract_makes_the_reader_panic() {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    println!("seed {state:#x}");
    let mut pick = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % below.max(1)
    };
    let module = parse("t.ptx", ENTRY).unwrap_or_else(|e| panic!("{e}"));
    for _ in 0..3000 {
        let mut text: Vec<char> = SOURCE.chars().collect();
        for _ in 0..=pick(4) {
            let at = pick(text.len());
            let end = (at + pick(20)).min(text.len());
            let piece: Vec<char> = text[at..end].to_vec();
            if pick(2) == 0 {
                text.drain(at..end);
            } else {
                text.splice(at..at, piece);
            }
        }
        match contracts(&text.iter().collect::<String>()) {
            Err(error) => assert!(error.line > 0 && !error.to_string().is_empty()),
            Ok(found) => {
                for contract in found {
                    let errors = check_contract(&contract, &module.functions[0]).err().unwrap_or_default();
                    assert!(errors.iter().all(|error| !error.to_string().is_empty()));
                }
            }
        }
    }
}

#[test]
fn two_contracts_stand_in_one_source() {
    let two = format!("{SOURCE}\n.entry ..\n{}", SOURCE.replace("put_signal", "other"));
    let found = contracts(&two).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(found.iter().map(|c| c.kernel.as_str()).collect::<Vec<_>>(), ["put_signal", "other"]);
}
