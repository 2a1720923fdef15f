//! Pure instructions from closures over lanes.

/// A one-operand instruction from a closure over column values.
macro_rules! unary {
    ($f:expr) => {{
        fn run(r: &mut $crate::program::Registers, mask: u32, s: &$crate::program::Args) {
            r.unary(mask, s, $f)
        }
        run as $crate::program::Pure
    }};
}

/// A two-operand instruction from a closure over column values.
macro_rules! binary {
    ($f:expr) => {{
        fn run(r: &mut $crate::program::Registers, mask: u32, s: &$crate::program::Args) {
            r.binary(mask, s, $f)
        }
        run as $crate::program::Pure
    }};
}

/// A three-operand instruction from a closure over column values.
macro_rules! ternary {
    ($f:expr) => {{
        fn run(r: &mut $crate::program::Registers, mask: u32, s: &$crate::program::Args) {
            r.ternary(mask, s, $f)
        }
        run as $crate::program::Pure
    }};
}

/// One body for the integer types of PTX: operands are read as the type, the result is zero-extended.
macro_rules! by_integer {
    ($ty:expr, |$($x:ident),+| $body:expr) => {{
        use warpferry_ptx::ast::Type::*;
        match $ty {
            U16 | B16 => Some(by_integer!(@ u16, u16, $($x),+, $body)),
            S16 => Some(by_integer!(@ i16, u16, $($x),+, $body)),
            U32 | B32 => Some(by_integer!(@ u32, u32, $($x),+, $body)),
            S32 => Some(by_integer!(@ i32, u32, $($x),+, $body)),
            U64 | B64 => Some(by_integer!(@ u64, u64, $($x),+, $body)),
            S64 => Some(by_integer!(@ i64, u64, $($x),+, $body)),
            _ => None,
        }
    }};
    (@ $t:ty, $u:ty, $a:ident, $body:expr) => {
        unary!(|a: u64| {
            let $a = a as $t;
            let out: $t = $body;
            out as $u as u64
        })
    };
    (@ $t:ty, $u:ty, $a:ident, $b:ident, $body:expr) => {
        binary!(|a: u64, b: u64| {
            let ($a, $b) = (a as $t, b as $t);
            let out: $t = $body;
            out as $u as u64
        })
    };
    (@ $t:ty, $u:ty, $a:ident, $b:ident, $c:ident, $body:expr) => {
        ternary!(|a: u64, b: u64, c: u64| {
            let ($a, $b, $c) = (a as $t, b as $t, c as $t);
            let out: $t = $body;
            out as $u as u64
        })
    };
}
