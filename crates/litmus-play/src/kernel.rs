//! A litmus test as PTX: one entry for each GPU, whose lanes branch to the columns they play.
//!
//! Loops go round at most [`ROUNDS`] times, then their thread ends: a test that gets stuck is a test all the same. Lanes
//! stay until copies have landed, and lanes that play nobody keep the playing ones company at barriers of the block, which
//! count whole warps.

use std::fmt::Write;

use warpferry_litmus::{Instruction, Test};

use crate::barriers::is_barrier;
use crate::instruction::Printer;
use crate::layout::{is_shared, offset, DONE, REGISTERS};
use crate::stage::Stage;
use crate::unplayed::Unplayed;

/// How often a thread may jump back.
pub const ROUNDS: u32 = 60;

/// How long a thread with copies under way rests before it ends.
const END_NS: u32 = 20_000;

const HEAD: &str = "\
.version 8.6
.target sm_90
.address_size 64
.extern .shared .align 128 .b8 smem[];
.visible .entry litmus() {
.reg .u64 at, wide;
.reg .u32 thread, lane, warp, cta, rounds, base, narrow, low;
.reg .pred taken, over;
.reg .s64 value, old;
";

const WHO: &str = "\
mov.u32 thread, %tid.x; mov.u32 cta, %ctaid.x; and.b32 lane, thread, 31; shr.u32 warp, thread, 5;
mov.u32 rounds, 0; mov.u32 base, smem;
";

/// The entry of one GPU.
pub fn text(stage: &Stage, gpu: usize) -> Result<String, Unplayed> {
    let (test, layout) = (stage.test, stage.layout);
    let here: Vec<usize> = (0..layout.spots.len()).filter(|&i| layout.spots[i].gpu == gpu).collect();
    let mut text = HEAD.to_string();
    for &i in &here {
        for (register, initial) in test.threads[i].initial.iter().enumerate() {
            let _ = writeln!(text, ".reg .s64 t{i}_{register}; mov.s64 t{i}_{register}, {initial};");
        }
    }
    text += WHO;
    text += &prologue(test);
    for &i in &here {
        let (spot, at) = (layout.spots[i], "setp.eq.and.u32 taken");
        let _ = writeln!(
            text,
            "setp.eq.u32 taken, cta, {}; {at}, warp, {}, taken; {at}, lane, {}, taken; @taken bra T{i};",
            spot.cta, spot.warp, spot.lane
        );
    }
    let company: Vec<usize> = here.iter().copied().filter(|&i| keeps_company(stage, i)).collect();
    for &i in &company {
        let spot = layout.spots[i];
        let _ = writeln!(
            text,
            "setp.eq.u32 taken, cta, {}; setp.eq.and.u32 taken, warp, {}, taken; @taken bra C{i};",
            spot.cta, spot.warp
        );
    }
    text += "ret;\n";
    for &i in &company {
        let _ = writeln!(text, "C{i}:");
        let printer = Printer { stage, gpu, thread: i };
        for &it in test.threads[i].instructions.iter().filter(|it| is_barrier(it)) {
            let _ = writeln!(text, "{}", printer.instruction(0, it)?);
        }
        text += "ret;\n";
    }
    for &i in &here {
        text += &column(&Printer { stage, gpu, thread: i })?;
    }
    Ok(text + "}\n")
}

/// Whether the other lanes of a column's warp must come to its barriers.
fn keeps_company(stage: &Stage, thread: usize) -> bool {
    stage.layout.spots[thread].lane == 0 && stage.test.threads[thread].instructions.iter().any(is_barrier)
}

/// One column, and its registers written out.
fn column(printer: &Printer) -> Result<String, Unplayed> {
    let (i, stage) = (printer.thread, printer.stage);
    let thread = &stage.test.threads[i];
    let mut text = format!("T{i}:\n");
    for (at, &it) in thread.instructions.iter().enumerate() {
        let _ = writeln!(text, "L{i}_{at}: {}", printer.instruction(at, it)?);
    }
    let _ = writeln!(text, "L{i}_{}:", thread.instructions.len());
    if stage.test.threads.iter().any(|of| of.instructions.iter().any(|it| matches!(it, Instruction::Bulk { .. }))) {
        let _ = writeln!(text, "cp.async.bulk.commit_group; cp.async.bulk.wait_group 0; nanosleep.u32 {END_NS};");
    }
    let _ = writeln!(text, "mov.u64 at, {};", stage.out(i));
    for register in 0..thread.registers.len().min(REGISTERS) {
        let _ = writeln!(text, "st.global.s64 [at+{}], t{i}_{register};", 8 * register);
    }
    let _ = writeln!(text, "setp.le.u32 taken, rounds, {ROUNDS}; selp.s64 value, 1, 0, taken;");
    let _ = writeln!(text, "st.global.s64 [at+{}], value; ret;", 8 * DONE);
    Ok(text)
}

/// Thread 0 of each block fills its shared memory, announces it to the bulk unit, and the block meets.
fn prologue(test: &Test) -> String {
    let mut fill = String::new();
    for (location, of) in test.locations.iter().enumerate() {
        let at = offset(test, location);
        match test.mbarriers[of.memory] {
            // Also where a thread of the test does it: who comes before it finds one, as the model says.
            Some(count) => {
                let _ = writeln!(fill, "mbarrier.init.shared::cta.b64 [smem+{at}], {};", count.max(1));
            }
            None if is_shared(test, location) => {
                let initial = test.initial[of.memory];
                let _ = writeln!(fill, "mov.s64 value, {initial}; st.shared.v2.s64 [smem+{at}], {{value, value}};");
            }
            _ => {}
        }
    }
    if fill.is_empty() {
        return fill;
    }
    format!(
        "setp.ne.u32 taken, thread, 0; @taken bra FILLED;\n{fill}fence.mbarrier_init.release.cluster; \
         fence.proxy.async;\nFILLED: bar.sync 0;\n"
    )
}
