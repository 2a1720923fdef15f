//! Prints how many warp instructions a second the emulator executes on one core.

use std::time::Instant;
use warpferry_emu::{Checks, GpuConfig, Launch, Machine, MachineConfig, StreamId};

const KERNELS: &str = r#"
.version 8.2
.target sm_90
.address_size 64
.visible .entry arithmetic(.param .u64 arg_dst, .param .u64 arg_src, .param .u32 arg_rounds)
{
    .reg .u32 a, b, c, i, rounds;
    .reg .u64 wide, dst;
    .reg .pred more;
    mov.u32 a, %tid.x;
    mov.u32 b, 3;
    mov.u32 i, 0;
    mov.u64 wide, 1;
    ld.param.u32 rounds, [arg_rounds];
loop:
    add.u32 a, a, b;
    mad.lo.u32 c, a, 5, b;
    xor.b32 b, c, a;
    shl.b32 c, c, 3;
    mul.wide.u32 wide, c, b;
    and.b32 a, a, c;
    add.u32 i, i, 1;
    setp.lt.u32 more, i, rounds;
    @more bra loop;
    ld.param.u64 dst, [arg_dst];
    mad.wide.u32 dst, %tid.x, 8, dst;
    st.global.u64 [dst], wide;
    ret;
}
.visible .entry move(.param .u64 arg_dst, .param .u64 arg_src, .param .u32 arg_rounds)
{
    .reg .u64 dst, src;
    .reg .u32 i, rounds;
    .reg .b32 w<16>;
    .reg .pred more;
    ld.param.u64 src, [arg_src];
    ld.param.u64 dst, [arg_dst];
    mad.wide.u32 src, %tid.x, 16, src;
    mad.wide.u32 dst, %tid.x, 16, dst;
    ld.param.u32 rounds, [arg_rounds];
    mov.u32 i, 0;
loop:
    ld.global.v4.b32 {w0, w1, w2, w3}, [src];
    ld.global.v4.b32 {w4, w5, w6, w7}, [src+512];
    ld.global.v4.b32 {w8, w9, w10, w11}, [src+1024];
    ld.global.v4.b32 {w12, w13, w14, w15}, [src+1536];
    st.global.v4.b32 [dst], {w0, w1, w2, w3};
    st.global.v4.b32 [dst+512], {w4, w5, w6, w7};
    st.global.v4.b32 [dst+1024], {w8, w9, w10, w11};
    st.global.v4.b32 [dst+1536], {w12, w13, w14, w15};
    add.u32 i, i, 1;
    setp.lt.u32 more, i, rounds;
    @more bra loop;
    ret;
}
.visible .entry one_lane(.param .u64 arg_dst, .param .u64 arg_src, .param .u32 arg_rounds)
{
    .reg .u64 src;
    .reg .u32 i, rounds, x, y;
    .reg .pred more, other;
    setp.ne.u32 other, %laneid, 0;
    @other bra done;
    ld.param.u64 src, [arg_src];
    ld.param.u32 rounds, [arg_rounds];
    mov.u32 i, 0;
    mov.u32 y, 0;
loop:
    ld.global.u32 x, [src];
    add.u32 y, y, x;
    xor.b32 y, y, i;
    add.u32 i, i, 1;
    setp.lt.u32 more, i, rounds;
    @more bra loop;
    st.global.u32 [src], y;
done:
    bar.warp.sync 0xffffffff;
    ret;
}
.visible .entry sum(.param .u64 arg_dst, .param .u64 arg_src, .param .u32 arg_rounds)
{
    .reg .u64 src;
    .reg .u32 i, rounds, x, y, p;
    .reg .f32 f<8>;
    .reg .pred more;
    .shared .align 16 .b8 stage[2048];
    mov.u32 i, 0;
    mov.f32 f0, 0f00000000;
    mov.f32 f1, 0f00000000;
    ld.param.u32 rounds, [arg_rounds];
    mov.u32 p, stage;
    mad.lo.u32 p, %tid.x, 8, p;
    mov.u32 x, 0x3f803f80;
    st.shared.v2.b32 [p], {x, x};
loop:
    ld.shared.v2.b32 {x, y}, [p];
    shl.b32 f2, x, 16;
    and.b32 f3, x, 0xffff0000;
    add.f32 f0, f0, f2;
    add.f32 f1, f1, f3;
    fma.rn.f32 f0, f2, f3, f0;
    add.u32 i, i, 1;
    setp.lt.u32 more, i, rounds;
    @more bra loop;
    cvt.rn.bf16x2.f32 x, f0, f1;
    st.shared.b32 [p], x;
    ret;
}
"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for (name, checks) in [("checks off", Checks::NONE), ("checks on", Checks::ALL)] {
        for entry in ["arithmetic", "move", "one_lane", "sum"] {
            let gpu = GpuConfig { sms: 4, ..GpuConfig::default() };
            let mut machine = Machine::new(MachineConfig { checks, gpu, ..MachineConfig::new(1, 1) })?;
            let module = machine.load_module("rate.ptx", KERNELS)?;
            let (dst, src) = (machine.alloc(0, 1 << 16)?, machine.alloc(0, 1 << 16)?);
            machine.fill(src, 1, 1 << 16)?;
            let mut args = [dst.to_le_bytes(), src.to_le_bytes()].concat();
            args.extend(100_000u32.to_le_bytes());
            machine.launch(Launch {
                gpu: 0,
                stream: StreamId::DEFAULT,
                module,
                entry: entry.to_string(),
                grid: [4, 1, 1],
                block: [128, 1, 1],
                shared_bytes: 0,
                args,
                access: Vec::new(),
            })?;
            let begin = Instant::now();
            machine.run_until_idle()?;
            let seconds = begin.elapsed().as_secs_f64();
            let count = machine.statistics().warp_instructions() as f64;
            println!("{name:10} {entry:10} {:6.1} M warp instructions/s", count / seconds / 1e6);
        }
    }
    Ok(())
}
