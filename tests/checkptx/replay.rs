//! Replays the case that a failure printed.

use crate::backend::{backends, Backend};
use crate::cases::Case;
use crate::check::failure;
use crate::ALL;

/// Runs `WARPFERRY_CHECK`; without it, that every check is known by its name is all there is to see.
#[test]
fn replay() {
    let mut names: Vec<&str> = ALL.iter().map(|check| check.name).collect();
    names.sort_unstable();
    names.dedup();
    let Ok(text) = std::env::var("WARPFERRY_CHECK") else {
        assert_eq!(names.len(), ALL.len(), "two checks have one name");
        return println!("WARPFERRY_CHECK is not set; checks: {}", names.join(" "));
    };
    let mut case = Case::parse(&text).unwrap_or_else(|error| {
        panic!("WARPFERRY_CHECK={text}: {error}; a check's name comes first: {}", names.join(", "))
    });
    let on = Backend::take(&mut case).unwrap_or_else(|error| panic!("WARPFERRY_CHECK: {error}"));
    let check = ALL.iter().find(|check| check.name == case.check);
    let valid = || format!("valid are {}", names.join(", "));
    let check = check.unwrap_or_else(|| panic!("WARPFERRY_CHECK: no check is called {}: {}", case.check, valid()));
    for on in on.map_or_else(|| backends(2).all, |on| vec![on]) {
        if let Err(mismatch) = check.run(&case, on, None) {
            panic!("{}", failure(&case, on, &mismatch));
        }
        println!("{case} {on}: as the reference says");
    }
}

#[test]
fn every_case_reads_back() {
    for check in ALL {
        let cases = (check.cases)(1);
        assert!(!cases.is_empty(), "{} has no cases", check.name);
        for case in cases {
            assert_eq!(case.check, check.name);
            assert_eq!(Case::parse(&case.to_string()), Ok(case));
        }
    }
}
