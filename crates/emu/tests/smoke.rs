//! Simple kernels from end to end.

use warpferry_emu::{Launch, Machine, MachineConfig, RunOutcome, StreamId};

const COPY: &str = r#"
.version 8.2
.target sm_90
.address_size 64
.visible .entry copy(.param .u64 arg_dst, .param .u64 arg_src, .param .u64 arg_bytes)
{
    .reg .u64 dst, src, src_end, stride, bytes;
    .reg .u32 thread, threads;
    .reg .b32 word<4>;
    .reg .pred inside;
    mov.u32 thread, %tid.x;
    mov.u32 threads, %ntid.x;
    ld.param.u64 src, [arg_src];
    ld.param.u64 dst, [arg_dst];
    ld.param.u64 bytes, [arg_bytes];
    add.u64 src_end, src, bytes;
    mad.wide.u32 src, thread, 16, src;
    mad.wide.u32 dst, thread, 16, dst;
    mul.wide.u32 stride, threads, 16;
loop:
    setp.lt.u64 inside, src, src_end;
    @!inside bra done;
    ld.global.v4.b32 {word0, word1, word2, word3}, [src];
    st.global.v4.b32 [dst], {word0, word1, word2, word3};
    add.u64 src, src, stride;
    add.u64 dst, dst, stride;
    bra loop;
done:
    ret;
}
"#;

#[test]
fn a_copy_kernel_copies() {
    let mut machine = Machine::new(MachineConfig::new(1, 1)).unwrap();
    let module = machine.load_module("copy.ptx", COPY).unwrap();
    let (from, to) = (machine.alloc(0, 1000 * 16).unwrap(), machine.alloc(0, 1000 * 16).unwrap());
    let bytes: Vec<u8> = (0..16000u32).map(|i| (i * 7) as u8).collect();
    machine.write(from, &bytes).unwrap();
    let args: Vec<u8> = [to, from, 16000].iter().flat_map(|v| v.to_le_bytes()).collect();
    let launch = machine
        .launch(Launch {
            gpu: 0,
            stream: StreamId::DEFAULT,
            module,
            entry: "copy".into(),
            grid: [1, 1, 1],
            block: [96, 1, 1],
            shared_bytes: 0,
            args,
            access: Vec::new(),
        })
        .unwrap();
    let outcome = machine.run(|m| m.launch_done(launch).unwrap_or(true)).unwrap();
    assert!(matches!(outcome, RunOutcome::Reached), "{outcome:?}");
    let mut back = vec![0; 16000];
    machine.read(to, &mut back).unwrap();
    assert_eq!(back, bytes);
}
