//! Every machine that comes along is whole, and a file that is not says what it lacks.

use super::*;

#[test]
fn every_preset_is_whole_and_named_as_its_file() {
    for name in Machine::names() {
        let machine = Machine::named(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(machine.name(), name);
        let topology = Topology::new(2, 2).unwrap_or_else(|error| panic!("{error}"));
        machine.emulator(topology).validate().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(machine.values().all(|(.., source)| !source.is_empty()), "{name}");
    }
}

#[test]
fn a_file_says_what_differs_from_its_base() {
    let text = "name = 'mine'\nabout = 'm'\nbase = 'h200-cx7'\n[nic]\ngbs = { value = 40.5, source = 'ours' }\n";
    let machine = Machine::parse("mine.toml", text).unwrap_or_else(|error| panic!("{error}"));
    let base = Machine::named("h200-cx7").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(machine.timing().nic.rate, 40_500);
    assert_eq!(machine.timing().gpu, base.timing().gpu);
    assert_eq!(machine.timing().links, base.timing().links);
    assert_eq!(machine.value("gpu", "memory_gib"), Some(141.0));
}

#[test]
fn what_a_file_has_wrong_is_named() {
    let told = |text: &str| Machine::parse("mine.toml", text).map(|_| ()).unwrap_err().to_string();
    let head = "name = 'm'\nabout = 'm'\n";
    let with = |rest: &str| told(&format!("{head}base = 'h100-cx7'\n{rest}"));
    for (error, words) in [
        (told(head), "gpu.clock_mhz of mine.toml"),
        (told(&format!("{head}base = 'h300'")), "h300"),
        (with("[nic]\ngbs = { value = -1, source = 's' }"), "-1"),
        (with("[nic]\ngbs = { value = 0, source = 's' }"), "nic.gbs"),
        (with("[nic]\nspeed = { value = 1, source = 's' }"), "nic.speed of mine.toml"),
        (with("[nic]\ngbs = { value = 1, source = ' ' }"), "nic.gbs of mine.toml"),
        (with("[nic]\ngbs = 1"), "mine.toml"),
        (with("[wire]\ngbs = 1"), "mine.toml"),
    ] {
        assert!(error.contains(words), "{error} should name {words}");
    }
    let unknown = Machine::find("h300").unwrap_err().to_string();
    assert!(unknown.contains("h800-cx7") && unknown.contains("h300"), "{unknown}");
}
