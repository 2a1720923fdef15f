//! PTX text as data: what a kernel says, whether it is well formed, and what it promises.
//!
//! ```text
//! text -> parse -> ast::Module -> check (instruction table)
//!                              -> print (text again)
//! source -> contracts -> check_contract (against an entry of the module)
//! ```
//!
//! | want | use |
//! | --- | --- |
//! | the structure of a module, names resolved, scopes flattened | [`parse`], [`ast`] |
//! | is every instruction one that PTX has, at this version and target | [`check`], [`table`] |
//! | text of a module | [`print::print`] |
//! | the `//@` lines above a kernel | [`contracts`], [`check_contract`] |
//!
//! The parser takes the text after the C preprocessor and follows its line markers. It is as strict as ptxas about
//! what it looks at, and says what it does not take, such as texture variables.
//! It reads no debug information.
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
pub use special::{is_special_register, is_special_vector, special_register_bits};
pub use table::{check, Diagnostic};
