//! Random programs of generic accesses, as litmus tests.

const SCOPES: [&str; 3] = ["cta", "gpu", "sys"];
const PLACES: [&str; 4] = ["cta 0,gpu 0", "cta 0,gpu 0", "cta 1,gpu 0", "cta 0,gpu 1"];

/// A small generator of random numbers (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % limit
    }

    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }

    /// Order and scope of an access.
    fn qualifier(&mut self, orders: &[&str]) -> String {
        match self.of(orders) {
            "weak" => "weak".to_string(),
            // Wide scopes more often: narrow ones order little.
            order => format!("{order}.{}", SCOPES[self.below(6).min(2)]),
        }
    }

    fn instruction(&mut self, register: usize) -> String {
        let place = self.of(&["x", "y"]);
        let value = 1 + self.below(2);
        match self.below(10) {
            0..=3 => format!("ld.{} r{register}, {place}", self.qualifier(&["weak", "relaxed", "acquire"])),
            4..=6 => format!("st.{} {place}, {value}", self.qualifier(&["weak", "relaxed", "release"])),
            7 if register > 0 => {
                format!("st.{} {place}, r{}", self.qualifier(&["weak", "relaxed", "release"]), self.below(register))
            }
            8 => {
                let orders = ["relaxed", "acquire", "release", "acq_rel"];
                let operation = self.of(&["exch", "add"]);
                format!("atom.{}.{operation} r{register}, {place}, {value}", self.qualifier(&orders))
            }
            _ => format!("fence.{}", self.qualifier(&["acq_rel", "sc"])),
        }
    }
}

/// The program of a seed: two threads of up to four instructions, or three of up to three.
pub fn program(seed: u64) -> String {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let threads = 2 + random.below(2);
    let most = if threads == 2 { 4 } else { 3 };
    let heads: Vec<String> = (0..threads).map(|i| format!("P{i}@{}", random.of(&PLACES))).collect();
    let columns: Vec<Vec<String>> = (0..threads)
        .map(|_| (0..2 + random.below(most - 1)).map(|register| random.instruction(register)).collect())
        .collect();
    let rows = columns.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |column: &Vec<String>, row: usize| column.get(row).cloned().unwrap_or_default();
    let line = |row: usize| columns.iter().map(|column| cell(column, row)).collect::<Vec<_>>().join(" | ");
    let body: Vec<String> = (0..rows).map(|row| format!(" {} ;", line(row))).collect();
    let registers: String = (0..threads).flat_map(|i| (0..4).map(move |r| format!("P{i}:r{r};"))).collect();
    format!(
        "PTX random\n{{ x=0; y=0; }}\n {} ;\n{}\nlocations [{registers} x; y;]\nexists (true)\n",
        heads.join(" | "),
        body.join("\n")
    )
}
