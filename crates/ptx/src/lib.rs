//! PTX: lexer, parser, instruction table, contract reader.
//!
//! ```
//! let text = ".version 8.2\n.target sm_90\n.address_size 64\n.entry nothing() { ret; }";
//! let module = warpferry_ptx::parse("nothing.ptx", text).expect("the text is PTX");
//! assert_eq!(module.functions[0].name, "nothing");
//! ```
pub mod ast;
mod body;
pub mod contract;
mod cursor;
mod declaration;
mod error;
mod expression;
mod lexer;
mod parser;
pub mod print;
mod raw;
mod resolve;
mod special;
pub mod table;

pub use contract::{check_contract, contracts, Contract, ContractError};
pub use error::ParseError;
pub use parser::parse;
pub use special::{is_special_register, special_register_bits};
pub use table::{check, Diagnostic};
