//! Recorded routing: expert choices from a safetensors file, dealt out to the ranks of a world.
//!
//! A file holds `topk_idx` as I16, I32 or I64 of `[ranks, tokens, k]` or `[steps, ranks, tokens, k]`, and may hold
//! `topk_weights` beside it as BF16 or F32 of the same shape. Its header names the number of `experts` (and `top_k`,
//! which must agree with the shape).

use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError, SafeTensors};

use crate::error::{Error, Result};
use crate::gate::Choices;
use crate::reference::bf16;
use crate::topology::Topology;

/// Expert choices of many tokens, in file order.
#[derive(Debug, Clone, PartialEq)]
pub struct Routing {
    experts: u32,
    topk: u32,
    topk_idx: Vec<i32>,
    topk_weights: Option<Vec<f32>>,
}

/// Choices of one rank's tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RankRouting<'a> {
    /// `[tokens, topk]`.
    pub topk_idx: &'a [i32],
    /// `[tokens, topk]`.
    pub topk_weights: Option<&'a [f32]>,
}

impl Routing {
    /// Reads a safetensors file.
    ///
    /// # Errors
    /// [`Error::File`] saying what the file lacks.
    pub fn load(path: impl AsRef<Path>) -> Result<Routing> {
        let label = path.as_ref().display().to_string();
        let bytes = std::fs::read(path).map_err(|error| file(&label, error.to_string()))?;
        Routing::from_bytes(&label, &bytes)
    }

    /// Reads the bytes of a safetensors file; `label` names it in errors.
    ///
    /// # Errors
    /// [`Error::File`] saying what the file lacks.
    pub fn from_bytes(label: &str, bytes: &[u8]) -> Result<Routing> {
        let bad = |message: String| file(label, message);
        let not_safetensors = |error: SafeTensorError| bad(format!("not a safetensors file: {error}"));
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(not_safetensors)?;
        let number = |key: &str| {
            let text = header.metadata().as_ref().and_then(|map| map.get(key));
            text.map(|text| text.parse::<u32>().map_err(|_| bad(format!("header: {key} = `{text}` is no count"))))
                .transpose()
        };
        let tensors = SafeTensors::deserialize(bytes).map_err(not_safetensors)?;
        let idx = tensors.tensor("topk_idx").map_err(|error| bad(format!("topk_idx: {error}")))?;
        if !(3..=4).contains(&idx.shape().len()) {
            let want = "[ranks, tokens, k] or [steps, ranks, tokens, k]";
            return Err(bad(format!("topk_idx has shape {:?}, needed is {want}", idx.shape())));
        }
        let topk = *idx.shape().last().expect("the shape has three or four dimensions");
        let topk = u32::try_from(topk)
            .map_err(|_| bad(format!("topk_idx has shape {:?}: {topk} choices a token are too many", idx.shape())))?;
        if topk == 0 {
            return Err(bad(format!("topk_idx has shape {:?}: no choices", idx.shape())));
        }
        if let Some(named) = number("top_k")?.filter(|&named| named != topk) {
            return Err(bad(format!("header: top_k = {named}, but topk_idx has shape {:?}", idx.shape())));
        }
        let experts = number("experts")?.ok_or_else(|| bad("header: `experts` is missing".to_string()))?;
        if experts == 0 {
            return Err(bad("header: experts = 0".to_string()));
        }
        let topk_idx = integers(&idx).map_err(bad)?;
        if let Some(at) = topk_idx.iter().position(|&expert| expert < -1 || i64::from(expert) >= i64::from(experts)) {
            let token = at / topk as usize;
            return Err(bad(format!("topk_idx of token {token} is {}, valid is -1 to {}", topk_idx[at], experts - 1)));
        }
        let topk_weights = match tensors.tensor("topk_weights") {
            Err(_) => None,
            Ok(weights) if weights.shape() != idx.shape() => {
                let (have, want) = (weights.shape(), idx.shape());
                return Err(bad(format!("topk_weights has shape {have:?}, topk_idx {want:?}")));
            }
            Ok(weights) => Some(floats(&weights).map_err(bad)?),
        };
        Ok(Routing { experts, topk, topk_idx, topk_weights })
    }

    /// Experts of the whole world.
    pub fn experts(&self) -> u32 {
        self.experts
    }

    /// Experts a token chooses.
    pub fn topk(&self) -> u32 {
        self.topk
    }

    /// Tokens of the file.
    pub fn tokens(&self) -> usize {
        self.topk_idx.len() / self.topk as usize
    }

    /// As [`Routing::deal`], with weights, and from the file's beginning again when it ends. Gives the choices of each rank.
    ///
    /// # Errors
    /// [`Error::File`] for a file without tokens; [`Error::Argument`] when the experts do not divide over the ranks.
    pub fn deal_around(&self, label: &str, topology: Topology, tokens: u32) -> Result<Vec<Choices>> {
        if self.tokens() == 0 && tokens > 0 {
            return Err(file(label, "no tokens".to_string()));
        }
        let need = tokens as usize * topology.ranks() as usize;
        let around = Routing {
            topk_idx: self.topk_idx.iter().copied().cycle().take(need * self.topk as usize).collect(),
            topk_weights: self
                .topk_weights
                .as_ref()
                .map(|weights| weights.iter().copied().cycle().take(need * self.topk as usize).collect()),
            ..*self
        };
        Ok(around.deal(topology, tokens)?.iter().map(|rank| rank.to_choices(self.topk)).collect())
    }

    /// Deals tokens out in file order: the first `tokens` to rank 0, the next to rank 1, and so on.
    ///
    /// # Errors
    /// [`Error::Argument`] when there are too few, or when the experts do not divide over the ranks.
    pub fn deal(&self, topology: Topology, tokens: u32) -> Result<Vec<RankRouting<'_>>> {
        let ranks = topology.ranks();
        if !self.experts.is_multiple_of(ranks) {
            let valid = format!("a multiple of the world's {ranks} ranks");
            return Err(Error::argument("experts", self.experts, valid));
        }
        let need = u64::from(tokens) * u64::from(ranks);
        if need > self.tokens() as u64 {
            let valid = format!(
                "at most {}: the file has {} for {ranks} ranks",
                self.tokens() as u64 / u64::from(ranks),
                self.tokens()
            );
            return Err(Error::argument("tokens", tokens, valid));
        }
        let each = tokens as usize * self.topk as usize;
        Ok((0..ranks as usize)
            .map(|rank| {
                let part = rank * each..(rank + 1) * each;
                RankRouting {
                    topk_idx: &self.topk_idx[part.clone()],
                    topk_weights: self.topk_weights.as_ref().map(|weights| &weights[part]),
                }
            })
            .collect())
    }
}

impl RankRouting<'_> {
    /// With weights: where the file has none, every choice counts the same.
    pub fn to_choices(&self, topk: u32) -> Choices {
        let even = || vec![1.0 / topk as f32; self.topk_idx.len()];
        Choices { topk_idx: self.topk_idx.to_vec(), topk_weights: self.topk_weights.map_or_else(even, <[f32]>::to_vec) }
    }
}

fn file(label: &str, message: String) -> Error {
    Error::File { path: label.to_string(), message }
}

fn integers(tensor: &TensorView) -> std::result::Result<Vec<i32>, String> {
    let data = tensor.data();
    Ok(match tensor.dtype() {
        Dtype::I16 => data.chunks_exact(2).map(|b| i32::from(i16::from_le_bytes([b[0], b[1]]))).collect(),
        Dtype::I32 => data.chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        Dtype::I64 => data
            .chunks_exact(8)
            .map(|b| {
                let value = i64::from_le_bytes(b.try_into().expect("chunks of eight"));
                i32::try_from(value).map_err(|_| format!("topk_idx holds {value}, which is no expert"))
            })
            .collect::<std::result::Result<_, _>>()?,
        other => return Err(format!("topk_idx is {other:?}, needed is I16, I32 or I64")),
    })
}

fn floats(tensor: &TensorView) -> std::result::Result<Vec<f32>, String> {
    let data = tensor.data();
    Ok(match tensor.dtype() {
        Dtype::BF16 => data.chunks_exact(2).map(|b| bf16::to_f32(u16::from_le_bytes([b[0], b[1]]))).collect(),
        Dtype::F32 => data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        other => return Err(format!("topk_weights is {other:?}, needed is BF16 or F32")),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const SAMPLE: &[u8] = include_bytes!("../tests/data/routing_v3_e256_k8.safetensors");

    fn written(dtype: Dtype, shape: Vec<usize>, data: &[u8], header: &[(&str, &str)]) -> Vec<u8> {
        let view = TensorView::new(dtype, shape, data).expect("the data has the shape's size");
        let header: HashMap<String, String> = header.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        safetensors::serialize([("topk_idx", view)], Some(header)).expect("serializes")
    }

    fn said(bytes: &[u8]) -> String {
        Routing::from_bytes("file", bytes).expect_err("refused").to_string()
    }

    #[test]
    fn reads_the_sample() {
        let routing = Routing::from_bytes("sample", SAMPLE).expect("the sample is valid");
        assert_eq!((routing.experts(), routing.topk(), routing.tokens()), (256, 8, 1024));
        let ranks = routing.deal(Topology::new(2, 4).expect("valid"), 128).expect("1,024 tokens for 8 ranks of 128");
        let (first, last) = (&ranks[0], &ranks[7]);
        assert_eq!(first.topk_idx[..], routing.topk_idx[..1024]);
        assert_eq!(last.topk_idx[..], routing.topk_idx[7 * 1024..]);
        // The gate normalises each token's weights to 1 and scales them by 2.5.
        for weights in ranks.iter().flat_map(|rank| rank.topk_weights.expect("present").chunks(8)) {
            let sum: f32 = weights.iter().sum();
            assert!((sum - 2.5).abs() < 0.05, "{sum}");
        }
    }

    #[test]
    fn refuses_too_few_tokens_and_odd_experts() {
        let routing = Routing::from_bytes("sample", SAMPLE).expect("the sample is valid");
        let few = routing.deal(Topology::new(2, 4).expect("valid"), 129).expect_err("1,032 tokens");
        assert!(few.to_string().contains("`tokens` = 129") && few.to_string().contains("at most 128"), "{few}");
        let odd = routing.deal(Topology::new(3, 2).expect("valid"), 1).expect_err("256 over 6");
        assert!(odd.to_string().contains("`experts` = 256") && odd.to_string().contains("6 ranks"), "{odd}");
    }

    #[test]
    fn reads_every_integer_type_and_steps() {
        let values = [3_i64, -1, 0, 2];
        let narrow: Vec<u8> = values.iter().flat_map(|&v| (v as i16).to_le_bytes()).collect();
        let middle: Vec<u8> = values.iter().flat_map(|&v| (v as i32).to_le_bytes()).collect();
        let wide: Vec<u8> = values.iter().flat_map(|&v| v.to_le_bytes()).collect();
        for (dtype, data) in [(Dtype::I16, narrow), (Dtype::I32, middle), (Dtype::I64, wide)] {
            for shape in [vec![1, 2, 2], vec![2, 1, 1, 2]] {
                let routing = Routing::from_bytes("file", &written(dtype, shape, &data, &[("experts", "4")]));
                assert_eq!(routing.expect("valid").topk_idx, [3, -1, 0, 2]);
            }
        }
    }

    #[test]
    fn says_what_a_file_lacks() {
        let two = [0, 0, 9, 0];
        let shape = vec![1, 1, 2];
        assert!(said(b"no such thing").contains("file: not a safetensors file: "));
        // No token of too many choices to count: a file may say so without holding one.
        let many = written(Dtype::I16, vec![1, 0, (1 << 32) + 2], &[], &[("experts", "8")]);
        assert!(said(&many).contains("4294967298 choices"));
        assert!(said(&written(Dtype::I16, shape.clone(), &two, &[])).contains("`experts` is missing"));
        assert!(said(&written(Dtype::I16, shape.clone(), &two, &[("experts", "many")])).contains("no count"));
        assert!(said(&written(Dtype::I16, shape.clone(), &two, &[("experts", "8")])).contains("token 0 is 9"));
        assert!(said(&written(Dtype::I16, shape.clone(), &two, &[("experts", "0")])).contains("experts = 0"));
        assert!(said(&written(Dtype::I16, vec![2], &two, &[("experts", "10")])).contains("[2]"));
        assert!(said(&written(Dtype::U16, shape.clone(), &two, &[("experts", "10")])).contains("U16"));
        let header = [("experts", "10"), ("top_k", "8")];
        assert!(said(&written(Dtype::I16, shape, &two, &header)).contains("top_k = 8"));
    }

    #[test]
    fn survives_damaged_files() {
        for cut in (0..SAMPLE.len()).step_by(97) {
            assert!(Routing::from_bytes("file", &SAMPLE[..cut]).is_err());
        }
        let mut bytes = SAMPLE.to_vec();
        for at in 0..600 {
            bytes[at] ^= 0x11;
            let _ = Routing::from_bytes("file", &bytes);
            bytes[at] ^= 0x11;
        }
    }
}
