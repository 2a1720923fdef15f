//! Parses PTX files, after the C preprocessor, and holds them against the instruction table:
//! `cargo run -p warpferry-ptx --example check -- kernel.ptx ..`. Ends with 1 when something is wrong.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut wrong = 0usize;
    for path in std::env::args().skip(1) {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                eprintln!("{path}: {error}");
                wrong += 1;
                continue;
            }
        };
        match warpferry_ptx::parse(&path, &text) {
            Ok(module) => {
                let found = warpferry_ptx::check(&module);
                found.iter().for_each(|diagnostic| println!("{diagnostic}"));
                wrong += found.len();
                let bodies = module.functions.iter().filter_map(|function| function.body.as_ref());
                println!("{path}: {} instructions checked", bodies.map(|body| body.code.len()).sum::<usize>());
            }
            Err(error) => {
                println!("{error}");
                wrong += 1;
            }
        }
    }
    ExitCode::from(u8::from(wrong > 0))
}
