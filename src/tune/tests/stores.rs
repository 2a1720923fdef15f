//! Stores: a table of what is wanted and what is found.

use std::path::{Path, PathBuf};

use super::super::outcome::Predicted;
use super::super::store::{stored_by, Entry, Fit, Origin, Wanted};
use super::*;
use crate::plan::{Landing, OutputLayout, Tuning};

/// An entry whose channels tell it from others.
fn entry(device: &str, nodes: u32, tokens: u32, gate: &str, channels: u32) -> Entry {
    let topology = Topology::new(nodes, 8).expect("a world");
    let tuning = Tuning { channels, ..Tuning::default_for(topology, 7168) };
    let tuning = Tuning { dispatch_sms: channels.min(8), combine_sms: channels.min(8), ..tuning };
    let predicted = Predicted {
        dispatch_us: Some(100.0),
        combine_us: Some(200.0),
        spread_us: 0.0,
        sm_ms: 2.4,
        buffer_bytes: 1 << 20,
        added_us: None,
        slowdown_us: None,
    };
    Entry {
        objective: "alone".to_string(),
        measure: "a test".to_string(),
        key: Key::new(device, Fabric::Mlx5, topology, &shape(tokens), gate),
        setting: Setting::from(&tuning),
        predicted,
    }
}

fn shipped() -> String {
    let mut store = Store::default();
    store.put(entry("h800-cx7", 1, 4096, "uniform", 31));
    store.put(entry("h800-cx7", 2, 4096, "uniform", 21));
    store.put(entry("h800-cx7", 2, 128, "uniform", 22));
    store.put(entry("h800-cx7", 8, 4096, "node-limited:4", 17));
    store.put(entry("generic", 2, 4096, "uniform", 9));
    store.to_toml().expect("TOML")
}

fn look(wanted: &Wanted<'_>, variable: Option<&Path>, user: Option<&Path>) -> super::store::Stored {
    stored_by(wanted, variable, user, &shipped()).unwrap_or_else(|error| panic!("{error}"))
}

/// Device, world, shape and gate that are wanted; channels of what is found, and what is said of it.
type Row = (&'static str, (u32, u32), Shape, &'static str, u32, &'static str);

/// A snapshot: what is wanted, the channels of what is found, and what is said of it.
#[test]
fn lookups_give_what_the_table_says() {
    let experts = OutputLayout::Experts { align: 128 };
    let plain = |tokens| shape(tokens);
    let table: [Row; 10] = [
        ("h800-cx7", (2, 8), plain(4096), "uniform", 21, "shipped settings, for just this"),
        (
            "h800-cx7",
            (2, 8),
            plain(2048),
            "uniform",
            21,
            "shipped settings, the nearest (distance 1.00): tokens 4096 for 2048",
        ),
        (
            "h800-cx7",
            (2, 8),
            plain(200),
            "uniform",
            22,
            "shipped settings, the nearest (distance 0.64): tokens 128 for 200",
        ),
        (
            "h800-cx7",
            (2, 8),
            plain(4096),
            "zipf:1",
            21,
            "shipped settings, the nearest (distance 1.00): gate uniform for zipf:1",
        ),
        (
            "h800-cx7",
            (8, 8),
            plain(4096),
            "node-limited:3",
            17,
            "shipped settings, the nearest (distance 0.25): gate node-limited:4 for node-limited:3",
        ),
        (
            "NVIDIA H800 80GB HBM3",
            (2, 8),
            plain(4096),
            "uniform",
            21,
            "shipped settings, the nearest (distance 0.25): device h800-cx7 for NVIDIA H800 80GB HBM3",
        ),
        (
            "a100-cx6",
            (2, 8),
            plain(4096),
            "uniform",
            9,
            "shipped settings, the nearest (distance 3.00): device generic for a100-cx6",
        ),
        (
            "h800-cx7",
            (2, 8),
            plain(4096).with_layout(experts).expect("a layout"),
            "uniform",
            21,
            "shipped settings, the nearest (distance 1.00): layout source for experts:128",
        ),
        (
            "h800-cx7",
            (1, 1),
            plain(4096),
            "uniform",
            31,
            "shipped settings, the nearest (distance 6.00): gpus_per_node 8 for 1",
        ),
        ("a100-cx6", (32, 8), plain(1), "uniform", 8, "documented defaults"),
    ];
    for (device, (nodes, gpus), shape, gate, channels, said) in table {
        let topology = Topology::new(nodes, gpus).expect("a world");
        let wanted = Wanted { device, fabric: Fabric::Mlx5, topology, shape: &shape, gate };
        let found = look(&wanted, None, None);
        assert_eq!(
            (found.tuning.channels, found.to_string().as_str()),
            (channels, said),
            "{device} {nodes} x {gpus} {gate}"
        );
    }
}

fn fresh(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("warpferry-store-{}-{name}", std::process::id()))
}

/// Method: one source after the other is put before those that were there.
#[test]
fn sources_are_asked_in_their_order() {
    let (topology, shape) = (Topology::new(2, 8).expect("a world"), shape(4096));
    let wanted = Wanted { device: "h800-cx7", fabric: Fabric::Mlx5, topology, shape: &shape, gate: "uniform" };
    assert_eq!(look(&wanted, None, None).origin, Origin::Shipped);

    // A user's store with something near comes behind what ships for just this; with just this, before it.
    let user = fresh("user.toml");
    let mut store = Store::default();
    store.put(entry("h800-cx7", 2, 2048, "uniform", 12));
    store.save(&user).expect("saved");
    assert_eq!(look(&wanted, None, Some(&user)).origin, Origin::Shipped);
    store.put(entry("h800-cx7", 2, 4096, "uniform", 13));
    store.save(&user).expect("saved");
    assert_eq!(Store::load(&user).expect("read"), store);
    let found = look(&wanted, None, Some(&user));
    assert_eq!((found.tuning.channels, found.fit, found.origin), (13, Fit::Exact, Origin::User(user.clone())));

    // A file that the environment names: a store, then one setting.
    let named = fresh("named.toml");
    let mut store = Store::default();
    store.put(entry("h800-cx7", 2, 4096, "uniform", 14));
    store.save(&named).expect("saved");
    let found = look(&wanted, Some(&named), Some(&user));
    assert_eq!((found.tuning.channels, found.fit), (14, Fit::Exact));
    let setting = Setting { channels: 15, ..Setting::from(&found.tuning) };
    let text = format!("[setting]\n{}", toml::to_string(&setting).expect("TOML"));
    std::fs::write(&named, &text).expect("written");
    let found = look(&wanted, Some(&named), Some(&user));
    assert_eq!((found.tuning.channels, found.fit), (15, Fit::Given));

    // One that does not fit, and files that are neither.
    std::fs::write(&named, text.replace("channels = 15", "channels = 4")).expect("written");
    let said = |path: &Path| stored_by(&wanted, Some(path), None, &shipped()).expect_err("refused").to_string();
    assert!(said(&named).contains("`dispatch_sms` = 8"), "{}", said(&named));
    std::fs::write(&named, "what = 1\n").expect("written");
    assert!(said(&named).contains("neither a table `setting` nor a store"), "{}", said(&named));
    assert!(said(Path::new("/nowhere/at/all.toml")).contains("WARPFERRY_TUNING"));
}

/// Method: the entry lands rows; another shape gets a zone of its own size. An entry that does not fit is passed over.
#[test]
fn a_near_setting_is_made_to_fit_or_left() {
    let mut landing = entry("h800-cx7", 2, 4096, "uniform", 16);
    landing.setting.landing = "direct:49152".to_string();
    let mut huge = entry("h800-cx7", 2, 2000, "uniform", 16);
    huge.setting.workers = 99;
    let mut store = Store::default();
    store.put(landing);
    store.put(huge);
    let (topology, shape) = (Topology::new(2, 8).expect("a world"), shape(2048));
    let wanted = Wanted { device: "h800-cx7", fabric: Fabric::Mlx5, topology, shape: &shape, gate: "uniform" };
    let found =
        stored_by(&wanted, None, None, &store.to_toml().expect("TOML")).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(found.tuning.landing, Landing::direct_for(topology, &shape));
    assert!(matches!(found.fit, Fit::Nearest { .. }), "{found}");
}

#[test]
fn stores_that_cannot_be_are_refused_by_name() {
    for (text, word) in [
        ("format = 2\n", "format 2; valid is 1"),
        ("format = 1\nother = 2\n", "no store of settings"),
        ("entry = 5\n", "no store of settings"),
    ] {
        let said = Store::from_toml("a store", text).expect_err("refused").to_string();
        assert!(said.contains("a store") && said.contains(word), "{said}");
    }
    let one = shipped();
    let twice = format!("{one}\n{}", &one[one.find("[[entry]]").expect("an entry")..]);
    let said = Store::from_toml("a store", &twice).expect_err("refused").to_string();
    assert!(said.contains("two entries for"), "{said}");
}

/// An entry's key is one table, and so is its setting: all fields that they have, and no others.
#[test]
fn an_entry_says_all_and_no_more() {
    let one = shipped();
    for table in ["[entry.key]\n", "[entry.setting]\n"] {
        let more = one.replacen(table, &format!("{table}ranks = 5\n"), 1);
        let said = Store::from_toml("a store", &more).expect_err("refused").to_string();
        assert!(said.contains("unknown field `ranks`"), "{said}");
    }
    for line in ["gpus_per_node = 8\n", "gate = \"uniform\"\n", "stage_bytes = 16384\n"] {
        let said = Store::from_toml("a store", &one.replacen(line, "", 1)).expect_err("refused").to_string();
        assert!(said.contains("missing field"), "{line}: {said}");
    }
}

#[test]
fn what_ships_can_be_read() {
    let shape = shape(4096);
    let topology = Topology::new(2, 8).expect("a world");
    let wanted = Wanted { device: "nothing", fabric: Fabric::Mlx5, topology, shape: &shape, gate: "uniform" };
    let text = include_str!("../../../tuned/shipped.toml");
    stored_by(&wanted, None, None, text).unwrap_or_else(|error| panic!("{error}"));
}
