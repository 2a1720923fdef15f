//! Qualifiers, comparisons and arithmetic as PTX spells them.

use warpferry_litmus::{Access, Binary, Compare, Order, Proxy, Scope};

use crate::unplayed::Unplayed;

pub fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Cta => "cta",
        Scope::Cluster => "cluster",
        Scope::Gpu => "gpu",
        Scope::Sys => "sys",
    }
}

/// The order of a strong access.
pub fn order(order: Order) -> Result<&'static str, Unplayed> {
    Ok(match order {
        Order::Relaxed => "relaxed",
        Order::Acquire => "acquire",
        Order::Release => "release",
        Order::AcquireRelease => "acq_rel",
        Order::Weak => return Err(Unplayed::unsuitable("a weak operation where PTX has strong ones only")),
        Order::SequentiallyConsistent => return Err(Unplayed::unsuitable("an access of order .sc, which PTX lacks")),
    })
}

/// The order of a fence.
pub fn fence(order: Order) -> Result<&'static str, Unplayed> {
    Ok(match order {
        Order::SequentiallyConsistent => "sc",
        Order::AcquireRelease => "acq_rel",
        Order::Acquire => "acquire",
        Order::Release => "release",
        Order::Weak | Order::Relaxed => return Err(Unplayed::unsuitable("a fence without an order")),
    })
}

/// Order and scope of an access through the generic proxy.
pub fn qualifiers(access: Access) -> Result<String, Unplayed> {
    let proxy = match access.proxy {
        Proxy::Generic if access.order == Order::Weak => return Ok("weak".to_string()),
        Proxy::Generic => return Ok(format!("{}.{}", order(access.order)?, scope(access.scope))),
        Proxy::Texture => "texture",
        Proxy::Surface => "surface",
        Proxy::Constant => "constant",
        Proxy::Async => "async",
    };
    Err(Unplayed::unsuitable(format!("an access through the {proxy} proxy")))
}

pub fn compare(compare: Compare) -> &'static str {
    match compare {
        Compare::Equal => "eq",
        Compare::NotEqual => "ne",
        Compare::Less => "lt",
        Compare::LessOrEqual => "le",
        Compare::Greater => "gt",
        Compare::GreaterOrEqual => "ge",
    }
}

/// Arithmetic of two operands as an opcode; none for a move and for a quotient.
pub fn arithmetic(operation: Binary) -> Option<&'static str> {
    Some(match operation {
        Binary::Second | Binary::Div => return None,
        Binary::Add => "add.s64",
        Binary::Sub => "sub.s64",
        Binary::Mul => "mul.lo.s64",
        Binary::And => "and.b64",
        Binary::Or => "or.b64",
        Binary::Xor => "xor.b64",
        Binary::Min => "min.s64",
        Binary::Max => "max.s64",
    })
}

/// What an atomic applies; none where PTX has no such atomic.
pub fn update(operation: Binary) -> Option<&'static str> {
    Some(match operation {
        Binary::Second => "exch.b64",
        Binary::Add => "add.u64",
        Binary::And => "and.b64",
        Binary::Or => "or.b64",
        Binary::Xor => "xor.b64",
        Binary::Min => "min.s64",
        Binary::Max => "max.s64",
        Binary::Sub | Binary::Mul | Binary::Div => return None,
    })
}
