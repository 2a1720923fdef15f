//! The CUDA driver on a stand-in that holds back the work of streams, and that says what is left at the end.
//!
//! Method: who uses memory before the copies, fills and words of a stream are done finds other bytes there. The cases of
//! `device` and one that only copies run in a process of their own; nothing may be left when it ends.

use std::time::Duration;

use warpferry::driver::cuda::{use_all_hardware_queues, Gpu};
use warpferry::driver::{Driver, StreamPriority, Wait};
use warpferry::kernel::{KernelImage, KERNELS};

use crate::device::stand_in;
use crate::skip::skipped;

/// What a process has left that has ended everything.
const NOTHING_LEFT: &str =
    "cuda-emu: left: 0 streams, 0 events, 0 modules, 0 graphs, 0 device blocks, 0 host blocks, 0 retained \
                            primary contexts, 0 pushed contexts";
const BYTES: usize = 4096;

fn run(test: &str, seed: &str, want: &str) {
    let settings = [("WARPFERRY_CUDA_EMU_HOLD", seed), ("WARPFERRY_CUDA_EMU_LEAKS", "1")];
    let Some((ended_well, said)) = stand_in(test, &settings) else { return };
    assert!(ended_well && said.contains(want), "WARPFERRY_CUDA_EMU_HOLD={seed}: {said}");
    assert!(said.contains(NOTHING_LEFT), "WARPFERRY_CUDA_EMU_HOLD={seed}: {said}");
}

#[test]
fn worlds_by_seed_1() {
    run("device::on_a_gpu", "1", " cases verified on");
}

#[test]
fn worlds_by_seed_2() {
    run("device::on_a_gpu", "2", " cases verified on");
}

#[test]
fn replays_by_seed_1() {
    run("graphs::device::replays_on_a_gpu", "1", "replays verified");
}

#[test]
fn memory_of_the_stand_in_is_not_used_early() {
    for seed in ["1", "2", "3"] {
        run("held::memory_is_not_used_early", seed, "nothing was used early");
    }
}

#[test]
fn kernels_of_the_stand_in_that_do_not_compile_are_told() {
    run("held::kernels_that_do_not_compile_are_told", "1", "the kernel was refused");
}

/// Method: memory of the device and of the host is freed and taken again at once, while a stream still has to read it;
/// another stream writes the new one. What was copied must be what was there first.
#[test]
fn memory_is_not_used_early() {
    use_all_hardware_queues();
    let gpu = match Gpu::open(0) {
        Ok(gpu) => gpu,
        Err(error) => return skipped("work of a CUDA driver", error),
    };
    let driver = gpu.driver().expect("the GPU takes a rank");
    let stream = |priority| driver.create_stream(priority).expect("a stream");
    let (first, second) = (stream(StreamPriority::HIGHEST), stream(StreamPriority::NORMAL));
    let kept = driver.alloc(BYTES as u64).expect("room");
    let mut back = vec![0; BYTES];
    let fetch = |back: &mut Vec<u8>| driver.copy_from_device(back, kept, first).expect("a copy");
    for round in 0..40_u8 {
        let (old, new) = (vec![round; BYTES], vec![round ^ 0xff; BYTES]);
        // Pieces of copies, and device memory.
        let memory = driver.alloc(BYTES as u64).expect("room");
        driver.copy_to_device(memory, &old, first).expect("a copy");
        driver.copy_within(kept, memory, BYTES as u64, first).expect("a copy");
        driver.free(memory).expect("it is ours");
        let again = driver.alloc(BYTES as u64).expect("room");
        driver.copy_to_device(again, &new, second).expect("a copy");
        fetch(&mut back);
        assert!(back == old, "round {round}: device memory was handed out before its last use was over");
        // Host memory.
        let block = driver.alloc_host(BYTES as u64).expect("room");
        driver.write_host(&block, 0, &new).expect("it is ours");
        driver.copy_within(kept, block.device, BYTES as u64, first).expect("a copy");
        driver.free_host(&block).expect("it is ours");
        let taken = driver.alloc_host(BYTES as u64).expect("room");
        driver.write_host(&taken, 0, &old).expect("it is ours");
        fetch(&mut back);
        assert!(back == new, "round {round}: host memory was handed out before its last use was over");
        // What another stream does behind an event.
        let event = driver.create_event().expect("an event");
        driver.fill(again, 0x5a, BYTES as u64, second).expect("a fill");
        driver.record_event(event, second).expect("a record");
        driver.stream_wait_event(first, event).expect("a wait");
        driver.copy_within(kept, again, BYTES as u64, first).expect("a copy");
        driver.write_word(kept, u64::from(round), first).expect("a word");
        fetch(&mut back);
        assert!(back[8..].iter().all(|&byte| byte == 0x5a), "round {round}: a copy was before the fill it waits for");
        assert_eq!(back[..8], u64::from(round).to_le_bytes(), "round {round}: a word was before the copy before it");
        driver.destroy_event(event).expect("it is ours");
        driver.free(again).expect("it is ours");
        driver.free_host(&taken).expect("it is ours");
    }
    for stream in [first, second] {
        assert_eq!(driver.synchronize(stream, Duration::from_secs(60)).expect("a wait"), Wait::Done);
    }
    println!("nothing was used early");
}

/// Method: a text with an instruction that there is not; the error names the kernel and says what the compiler said.
#[test]
fn kernels_that_do_not_compile_are_told() {
    use_all_hardware_queues();
    let gpu = match Gpu::open(0) {
        Ok(gpu) => gpu,
        Err(error) => return skipped("work of a CUDA driver", error),
    };
    let text =
        ".version 8.2\n.target sm_90\n.address_size 64\n.visible .entry broken() {\n    nonsense.u32;\n    ret;\n}\n";
    let any = KERNELS.first().expect("the build has kernels");
    let image = KernelImage { name: "broken", text, marked_text: text, cubins: &[], ..*any };
    let driver = gpu.driver().expect("the GPU takes a rank");
    let said = driver.load(&image).expect_err("it must be refused").to_string();
    assert!(said.contains("broken") && said.contains("nonsense"), "{said}");
    println!("the kernel was refused: {said}");
}
