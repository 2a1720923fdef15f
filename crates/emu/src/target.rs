//! Which `.target` lines are understood.

/// Targets that the PTX ISA names (9.0, ".target"), without their suffix.
const KNOWN: [u32; 31] = [
    10, 11, 12, 13, 20, 21, 30, 32, 35, 37, 50, 52, 53, 60, 61, 62, 70, 72, 75, 80, 86, 87, 88, 89, 90, 100, 101, 103,
    110, 120, 121,
];

/// What is wrong with the words of a `.target` line, if anything.
pub(crate) fn refused(targets: &[String]) -> Option<String> {
    targets.iter().find_map(|word| match word.as_str() {
        "texmode_unified" | "texmode_independent" | "debug" => None,
        "map_f64_to_f32" => Some(".target map_f64_to_f32: arithmetic of f64 in f32 is not supported".to_string()),
        word if is_known(word) => None,
        word => Some(format!(".target {word}: no such target: valid is such as sm_90, sm_90a or sm_100f")),
    })
}

fn is_known(word: &str) -> bool {
    let Some(rest) = word.strip_prefix("sm_") else { return false };
    let digits = rest.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let (number, suffix) = (digits.parse::<u32>().ok(), &rest[digits.len()..]);
    let takes = match suffix {
        "" => 0,
        "a" => 90,
        "f" => 100,
        _ => return false,
    };
    number.is_some_and(|number| KNOWN.contains(&number) && number >= takes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_the_manual_are_known() {
        for word in ["sm_10", "sm_52", "sm_90", "sm_90a", "sm_100f", "sm_120a", "texmode_unified", "debug"] {
            assert_eq!(refused(&[word.to_string()]), None, "{word}");
        }
        for word in ["sm_999", "sm_90f", "sm_80a", "sm_", "sm_90x", "compute_90", "90", "map_f64_to_f32"] {
            assert!(refused(&[word.to_string()]).is_some(), "{word}");
        }
    }
}
