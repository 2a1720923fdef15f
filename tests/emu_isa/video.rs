//! Video instructions: bits that the assembler's code for each gives, and faults where that code leaves the manual.

use crate::programs::{run_module, try_module};
use warpferry_emu::MachineConfig;

/// Instruction, `a`, `b`, `c`, and `d` as the code gives it that ptxas puts in its place for `sm_90`. The
/// manual's rules give the same.
#[rustfmt::skip]
const KNOWN: &[(&str, u32, u32, u32, u32)] = &[
    ("vadd.s32.s32.s32 d, a.b3, b.h1;", 0x28, 0x9d7f11c7, 0x80000000, 0xffff9d7f),
    ("vadd.s32.s32.s32.sat.add d, a.b0, b.h1, c;", 0xb9572781, 0x80ff7f00, 0x1, 0xffff8081),
    ("vadd.s32.u32.s32.min d, a.b0, b.b2, c;", 0xffffffff, 0x7f80ff01, 0xaf095c7b, 0xaf095c7b),
    ("vadd.s32.u32.s32.sat.max d, a.b0, b.b1, c;", 0xb36151ff, 0x61cb0a60, 0x80ff7f00, 0x109),
    ("vadd.u32.u32.s32 d.b1, a, b.h1, c;", 0x2ded385, 0x7fffffff, 0x2c6b07e2, 0x2c6b84e2),
    ("vadd.s32.u32.u32.sat d.h1, a.b3, b.b1, c;", 0x2011b7b1, 0x87e18ead, 0xf6851b57, 0xae1b57),
    ("vadd.s32.s32.s32 d.b3, a.b3, b.h1, c;", 0xdc487d7e, 0x48376fe0, 0x21, 0x13000021),
    ("vsub.s32.s32.u32 d, a.b2, b.h0;", 0x20, 0x20, 0x4d6dc292, 0xffffffe0),
    ("vsub.s32.s32.s32.sat.add d, a.b0, b.b0, c;", 0x80000000, 0x21, 0xc7502343, 0xc7502322),
    ("vsub.s32.u32.s32.min d, a.b0, b, c;", 0x6fe6a30f, 0x28f8bb10, 0x1f, 0xd70744ff),
    ("vsub.u32.s32.s32.sat.max d, a, b, c;", 0x7fffffff, 0x28, 0xe0ce2bb7, 0xe0ce2bb7),
    ("vsub.u32.s32.u32 d.b1, a.h0, b.b0, c;", 0x80ff7f00, 0x52b70e5a, 0xd205198a, 0xd205a68a),
    ("vsub.s32.u32.s32.sat d.h1, a.b1, b.b0, c;", 0x0, 0x80ff7f00, 0x7fffffff, 0xffff),
    ("vsub.s32.u32.u32 d.b3, a.h1, b.h1, c;", 0x28, 0x28, 0xb25e3781, 0x5e3781),
    ("vabsdiff.s32.s32.s32 d, a.b2, b.b1;", 0x37ec0d65, 0x339af22b, 0xffffffff, 0x6),
    ("vabsdiff.u32.u32.s32.sat.add d, a.b0, b.b0, c;", 0x404bb954, 0x5790f9d2, 0x80ff7f00, 0x80ff7f82),
    ("vabsdiff.s32.u32.u32.min d, a.b2, b, c;", 0x21, 0x1f, 0x20, 0x1f),
    ("vabsdiff.u32.u32.s32.sat.max d, a.b2, b.h1, c;", 0x59c388b2, 0x948bfb33, 0x80ff7f00, 0x80ff7f00),
    ("vabsdiff.s32.s32.s32 d.b1, a.h1, b.h1, c;", 0x1f, 0x25eadfac, 0x80ff7f00, 0x80ffea00),
    ("vabsdiff.s32.s32.s32.sat d.h1, a.h0, b.h1, c;", 0x3ee1c356, 0x7f80ff01, 0x80000000, 0x7fff0000),
    ("vabsdiff.u32.s32.s32 d.b3, a.b2, b.b1, c;", 0x80ff7f00, 0x21, 0x1f, 0x100001f),
    ("vmin.s32.s32.u32.sat d, a.h1, b.h1;", 0xbfb59a85, 0x80000000, 0x31492f02, 0xffffbfb5),
    ("vmin.u32.s32.u32.sat.add d, a.b1, b, c;", 0x9b314bec, 0x4bc24472, 0x7fffffff, 0x8000004a),
    ("vmin.u32.s32.u32.min d, a.h0, b.h1, c;", 0x8fee5d8b, 0x2e1af3bd, 0x20, 0x20),
    ("vmin.u32.s32.u32.sat.max d, a, b.h0, c;", 0xca849810, 0x7f80ff01, 0xc7876933, 0xc7876933),
    ("vmin.s32.u32.s32 d.b1, a.b2, b.b2, c;", 0x80ff7f00, 0x1f, 0x7f390cc7, 0x7f3900c7),
    ("vmin.u32.s32.s32.sat d.h1, a.h0, b.b0, c;", 0x80ff7f00, 0x1, 0x28, 0x10028),
    ("vmin.s32.u32.u32 d.b3, a.b0, b.b1, c;", 0xd44ee108, 0x80000000, 0xffffffff, 0xffffff),
    ("vmax.s32.u32.u32.sat d, a.h0, b.h0;", 0xce7c149b, 0x864eada3, 0x1, 0xada3),
    ("vmax.s32.s32.u32.sat.add d, a.b3, b, c;", 0x0, 0xd7d32845, 0x4837a0f5, 0xc837a0f4),
    ("vmax.u32.u32.s32.min d, a.b0, b.h1, c;", 0x1f, 0x21, 0x28, 0x1f),
    ("vmax.s32.s32.u32.sat.max d, a.h1, b.h0, c;", 0x80ff7f00, 0xb4e00516, 0x1c3b1562, 0x1c3b1562),
    ("vmax.u32.s32.u32 d.b1, a.b2, b.h1, c;", 0x32d3d60b, 0x4f8e9413, 0x21, 0x8e21),
    ("vmax.u32.u32.s32.sat d.h1, a.h1, b.b2, c;", 0xe43f0ee4, 0x7fffffff, 0x0, 0xe43f0000),
    ("vmax.u32.u32.u32 d.b3, a.b0, b.h0, c;", 0x28, 0x80ff7f00, 0xc7e85d38, 0xe85d38),
    ("vshl.s32.s32.u32.sat.clamp d, a.h0, b;", 0x0, 0x1, 0xfc0ec818, 0x0),
    ("vshl.s32.s32.u32.clamp.add d, a.h0, b.b1, c;", 0x7f80ff01, 0xa1d13f56, 0x80000000, 0x80000000),
    ("vshl.u32.u32.u32.wrap.min d, a, b.b1, c;", 0xc1b4487c, 0x13aa79ec, 0x7f80ff01, 0x7f80ff01),
    ("vshl.u32.u32.u32.sat.clamp.max d, a.h0, b.b1, c;", 0x80000000, 0x925d3617, 0x28, 0x28),
    ("vshl.s32.s32.u32.clamp d.b1, a.h1, b.b1, c;", 0x6be129d7, 0x21, 0x6c610b9e, 0x6c61e19e),
    ("vshl.u32.s32.u32.clamp d.h1, a, b, c;", 0x80000000, 0xad89d057, 0x28, 0x28),
    ("vshl.u32.u32.u32.sat.clamp d.b3, a, b, c;", 0x28, 0x1, 0x818489f4, 0x508489f4),
    ("vshr.u32.s32.u32.sat.clamp d, a.h1, b;", 0x1f, 0x1f, 0x1, 0x0),
    ("vshr.s32.s32.u32.clamp.add d, a.h1, b.b1, c;", 0x21, 0x80ff7f00, 0x2ce6a0cb, 0x2ce6a0cb),
    ("vshr.s32.u32.u32.wrap.min d, a, b, c;", 0xe618968f, 0x3b58fcda, 0x7f80ff01, 0x39),
    ("vshr.u32.u32.u32.sat.clamp.max d, a.h1, b, c;", 0x31c77c4, 0x0, 0x1, 0x31c),
    ("vshr.s32.s32.u32.clamp d.b1, a.h1, b, c;", 0xf1e8f524, 0x1dc28e49, 0x18241890, 0x1824ff90),
    ("vshr.s32.u32.u32.wrap d.h1, a, b.h0, c;", 0x80ff7f00, 0xaef7054a, 0x20, 0x3fdf0020),
    ("vshr.u32.u32.u32.sat.wrap d.b3, a.h1, b, c;", 0x0, 0x391fb4a5, 0x57ee0abb, 0xee0abb),
    ("vset.s32.s32.eq d, a.b2, b.b0;", 0xb27aabab, 0x9e4f28a7, 0xfc3b577f, 0x0),
    ("vset.s32.s32.ne.add d, a.b3, b.b3, c;", 0x80ff7f00, 0x28, 0x3b4e7028, 0x3b4e7029),
    ("vset.u32.u32.lt.min d, a.h1, b.b2, c;", 0xffffffff, 0x0, 0x7f80ff01, 0x0),
    ("vset.s32.s32.le.max d, a.b0, b.b1, c;", 0xa61c4771, 0x8cbd9229, 0x7f80ff01, 0x7f80ff01),
    ("vset.s32.u32.gt d.b1, a.b2, b.b1, c;", 0xffffffff, 0x0, 0x1f, 0x1f),
    ("vset.u32.s32.ge d.h1, a.b0, b.b1, c;", 0x181fadac, 0x20, 0x85b7108f, 0x1108f),
    ("vset.s32.u32.eq d.b3, a.b3, b, c;", 0xbfadd71c, 0x28, 0x99eaa6c1, 0xeaa6c1),
    ("vmad.s32.u32.s32 d, a.b1, b.b2, c;", 0x7f80ff01, 0x7fffffff, 0x80000000, 0x7fffff01),
    ("vmad.s32.s32.s32.sat.shr7 d, a.b3, b.b0, c;", 0x90d3e0a3, 0x9e3ad3ff, 0x32668e7e, 0x64cd1d),
    ("vmad.s32.s32.u32.shr15 d, a.b0, b.b0, c;", 0x7f80ff01, 0x80ff7f00, 0x80ff7f00, 0xffff01fe),
    ("vmad.s32.s32.u32.po d, a.b3, b.b1, c;", 0x0, 0xdfd23f3f, 0x8c409189, 0x8c40918a),
    ("vmad.u32.u32.u32.po.sat.shr7 d, a.b1, b.b2, c;", 0x80ff7f00, 0x7fffffff, 0x1, 0xfd),
    ("vmad.s32.s32.s32.po.shr15 d, a.h0, b.b1, c;", 0x3005a40e, 0xffffffff, 0x40634eed, 0x80c7),
    ("vmad.s32.u32.s32 d, -a.b3, b.b2, c;", 0x80ff7f00, 0xffffffff, 0x7fffffff, 0x8000007f),
    ("vmad.s32.u32.s32.sat.shr7 d, -a.h1, b.b3, c;", 0x1fcfbaa5, 0xd50101ed, 0x28, 0xaaf),
    ("vmad.s32.s32.u32.shr15 d, -a.b3, b.h0, c;", 0x1f, 0x21, 0xd9cb48a3, 0xffffb396),
    ("vmad.s32.u32.s32 d, a.b2, -b.b1, c;", 0xffffffff, 0x2a42299a, 0x21, 0xffffd74a),
    ("vmad.s32.s32.s32.sat.shr7 d, a.b2, -b.h0, c;", 0x5da58166, 0x9c9b0949, 0x8be320ca, 0xff17ccdb),
    ("vmad.s32.s32.u32.shr15 d, a.b2, -b.h0, c;", 0x7fffffff, 0xd72ba05e, 0x7fffffff, 0x10001),
    ("vmad.s32.s32.u32 d, a.b1, b.h0, -c;", 0x2e427212, 0x8097e1f3, 0xa919c66f, 0x574ad7c7),
    ("vmad.s32.u32.s32.sat.shr7 d, a.b2, b.b0, -c;", 0x85694134, 0x7f80ff01, 0xffc9deeb, 0x6c42),
    ("vmad.s32.s32.u32.shr15 d, a.h1, b.b2, -c;", 0xa73f0c75, 0xe72d2497, 0x41a629d6, 0xffff7c94),
    ("vmad.s32.u32.s32 d, -a.b0, -b.b0, c;", 0xffffffff, 0x1e9769e2, 0x80ff7f00, 0x80ff611e),
    ("vmad.s32.u32.s32.sat.shr7 d, -a.b3, -b.h0, c;", 0x7f80ff01, 0x0, 0x80000000, 0xff000000),
    ("vmad.s32.u32.s32.shr15 d, -a.b0, -b.b1, c;", 0x21, 0xab9ee890, 0x2c8faa65, 0x591f),
    ("vadd2.u32.s32.s32 d, a, b, c;", 0x1f, 0x1f, 0x7f936525, 0x3e),
    ("vadd2.u32.s32.u32.sat d.h10, a.h01, b.h23, c;", 0xd0d571eb, 0x26d815b4, 0x80ff7f00, 0x879f0000),
    ("vadd2.s32.s32.s32.add d.h0, a.h23, b.h30, c;", 0x21, 0x20, 0x20, 0x41),
    ("vsub2.s32.s32.s32 d, a, b, c;", 0x4ffa609, 0x80000000, 0xffffffff, 0x84ffa609),
    ("vsub2.u32.u32.u32.sat d.h0, a.h01, b.h33, c;", 0x8f75927e, 0x0, 0x1f, 0x8f75),
    ("vsub2.u32.u32.u32.add d.h10, a.h03, b.h30, c;", 0x20, 0x80ff7f00, 0xfe7dca9e, 0xfe7dca9e),
    ("vavrg2.s32.s32.u32 d, a, b, c;", 0x28, 0x21, 0x9e575b0b, 0x25),
    ("vavrg2.u32.s32.u32.sat d.h1, a.h33, b.h21, c;", 0x1f, 0x15c8eeff, 0x0, 0x82640000),
    ("vavrg2.s32.u32.u32.add d.h0, a.h11, b.h01, c;", 0x20, 0xebf967b1, 0xba220222, 0xba220222),
    ("vabsdiff2.u32.u32.u32 d, a, b, c;", 0x252f5ca, 0x0, 0x8e1dab7c, 0x252f5ca),
    ("vabsdiff2.s32.s32.s32.sat d.h0, a.h11, b.h12, c;", 0x960a215b, 0xffffffff, 0xaa713529, 0xaa7169f5),
    ("vabsdiff2.s32.u32.s32.add d.h0, a.h23, b.h32, c;", 0x80000000, 0xf54a4f6a, 0xffffffff, 0xa5df),
    ("vmin2.u32.u32.s32 d, a, b, c;", 0xf4c2d2b6, 0x4c297ebd, 0x39b35704, 0x4c297ebd),
    ("vmin2.s32.s32.u32.sat d.h10, a.h13, b.h01, c;", 0x1, 0xe7725ad1, 0x7fffffff, 0xe772),
    ("vmin2.u32.u32.s32.add d.h0, a.h20, b.h10, c;", 0x1ea5024e, 0xffffffff, 0x21, 0x26f),
    ("vmax2.u32.s32.u32 d, a, b, c;", 0x115ed36e, 0xb91dd9a7, 0xddb47937, 0xb91dd9a7),
    ("vmax2.u32.s32.u32.sat d.h10, a.h11, b.h00, c;", 0x7f80ff01, 0x0, 0x7c330423, 0xff01ff01),
    ("vmax2.u32.u32.u32.add d.h0, a.h20, b.h12, c;", 0x21, 0x423c90ad, 0x63426862, 0x6342f90f),
    ("vset2.s32.s32.lt d, a, b, c;", 0x28, 0x126050f3, 0xffadcd92, 0x10001),
    ("vset2.s32.s32.lt d.h10, a.h03, b.h02, c;", 0x7f80ff01, 0x20, 0x566c5162, 0x1),
    ("vset2.u32.s32.lt.add d.h0, a.h00, b.h11, c;", 0xff9db4d5, 0xffffffff, 0xc542a3fa, 0xc542a3fa),
    ("vset2.u32.u32.ge d, a, b, c;", 0xedfd0fbb, 0x9df36b18, 0x99592b35, 0x10000),
    ("vset2.s32.u32.ge d.h0, a.h21, b.h00, c;", 0x31753384, 0x7fffffff, 0x59106d62, 0x59100000),
    ("vset2.u32.s32.ge.add d.h0, a.h33, b.h23, c;", 0x80ff7f00, 0xe9aa0d57, 0x8f7d8759, 0x8f7d875a),
    ("vset2.u32.u32.eq d, a, b, c;", 0x2aef38dd, 0x2b9b2e5d, 0xfc77336f, 0x0),
    ("vset2.u32.u32.eq d.h10, a.h32, b.h32, c;", 0x61e79853, 0x5831284b, 0x80000000, 0x10001),
    ("vset2.s32.s32.eq.add d.h1, a.h01, b.h20, c;", 0x723d09a8, 0xe5ef2222, 0x4708b021, 0x4708b021),
    ("vadd4.s32.s32.s32 d, a, b, c;", 0xe00af9ef, 0x80ff7f00, 0x80000000, 0x600978ef),
    ("vadd4.u32.s32.u32.sat d.b0, a.b0614, b.b2052, c;", 0x1, 0xffffffff, 0x2265cd29, 0x2265cd00),
    ("vadd4.u32.u32.s32.add d.b210, a.b6666, b.b3735, c;", 0xcb81ebbb, 0x941fe506, 0x5d5f77eb, 0x5d5f778c),
    ("vsub4.s32.s32.u32 d, a, b, c;", 0xe89964e2, 0x22b7d68f, 0x9192eb21, 0xc6e28e53),
    ("vsub4.u32.s32.u32.sat d.b310, a.b5652, b.b5512, c;", 0x7f80ff01, 0x66e178d6, 0x5dbc1cac, 0xbc0000),
    ("vsub4.s32.s32.u32.add d.b1, a.b0362, b.b2436, c;", 0x1, 0xffffffff, 0x80ff7f00, 0x80ff7eff),
    ("vavrg4.u32.u32.s32 d, a, b, c;", 0xeee5d29e, 0x28, 0x7fffffff, 0x77736963),
    ("vavrg4.s32.u32.u32.sat d.b3210, a.b1152, b.b0315, c;", 0xb9fee38d, 0x20, 0x7fffffff, 0x7f7f727f),
    ("vavrg4.s32.s32.u32.add d.b210, a.b7314, b.b2460, c;", 0x1, 0xc51b28a8, 0x7fffffff, 0x80000035),
    ("vabsdiff4.s32.s32.s32 d, a, b, c;", 0x83a395c3, 0x21, 0x1, 0x7d5d6b5e),
    ("vabsdiff4.u32.s32.s32.sat d.b32, a.b3375, b.b3652, c;", 0x7f80ff01, 0xb189f05b, 0x294e9be, 0xf6e9be),
    ("vabsdiff4.s32.s32.s32.add d.b30, a.b7673, b.b7264, c;", 0x267ef8f5, 0x80ff7f00, 0x0, 0x26),
    ("vmin4.s32.u32.u32 d, a, b, c;", 0x6d4f253f, 0xffffffff, 0x33c55419, 0x6d4f253f),
    ("vmin4.u32.s32.s32.sat d.b10, a.b1007, b.b0564, c;", 0x8125cee6, 0x80000000, 0x584c76b3, 0x584c0000),
    ("vmin4.u32.u32.u32.add d.b0, a.b2167, b.b4462, c;", 0x46befa09, 0x80000000, 0x20, 0xa0),
    ("vmax4.s32.s32.s32 d, a, b, c;", 0x20, 0x80000000, 0x1ebd4d0f, 0x20),
    ("vmax4.s32.u32.u32.sat d.b30, a.b0502, b.b1665, c;", 0x80000000, 0xffffffff, 0x41be1cbc, 0xbe1c7f),
    ("vmax4.s32.u32.s32.add d.b32, a.b0741, b.b3530, c;", 0x80ff7f00, 0x7fffffff, 0x69ff8456, 0x69ff84d5),
    ("vset4.s32.s32.lt d, a, b, c;", 0x28, 0x7d6fb7d8, 0x28, 0x1010000),
    ("vset4.u32.s32.lt d.b21, a.b1725, b.b6237, c;", 0x80000000, 0x1, 0x80000000, 0x80000000),
    ("vset4.s32.u32.lt.add d.b31, a.b7712, b.b3726, c;", 0xffffffff, 0xdf800eff, 0x1f, 0x21),
    ("vset4.u32.s32.ge d, a, b, c;", 0xdbb7d754, 0xbb15a4b1, 0x80000000, 0x1010101),
    ("vset4.s32.u32.ge d.b3210, a.b2133, b.b6465, c;", 0x1f, 0x20, 0x39248742, 0x1000101),
    ("vset4.u32.s32.ge.add d.b10, a.b7516, b.b6153, c;", 0x7fffffff, 0x1, 0xc0ea1e3c, 0xc0ea1e3d),
    ("vset4.s32.s32.eq d, a, b, c;", 0x78fd5e2b, 0x80000000, 0xffffffff, 0x0),
    ("vset4.s32.s32.eq d.b32, a.b7732, b.b2322, c;", 0x8bea827a, 0xe0e9a45, 0xd731d8d1, 0xd8d1),
    ("vset4.s32.s32.eq.add d.b20, a.b4016, b.b2630, c;", 0xffffffff, 0x20, 0x1f, 0x1f),
];

/// An entry that runs each instruction on three words of the buffer and writes the result over the first.
fn module(instructions: &[&str]) -> String {
    let mut body = String::new();
    for (index, text) in instructions.iter().enumerate() {
        let at = 32 * index;
        body.push_str(&format!(
            "ld.global.u32 a, [p+{at}]; ld.global.u32 b, [p+{}]; ld.global.u32 c, [p+{}]; mov.u32 d, 0;
             {text}
             cvt.u64.u32 wide, d; st.global.u64 [p+{at}], wide;\n",
            at + 8,
            at + 16
        ));
    }
    format!(
        ".visible .entry k(.param .u64 buffer) {{ .reg .b64 p, wide; .reg .b32 a, b, c, d;
         ld.param.u64 p, [buffer]; {body} ret; }}"
    )
}

#[test]
fn known_bits() {
    let texts: Vec<&str> = KNOWN.iter().map(|known| known.0).collect();
    let input: Vec<u64> = KNOWN.iter().flat_map(|(_, a, b, c, _)| [*a as u64, *b as u64, *c as u64, 0]).collect();
    let got = run_module(&module(&texts), 1, &input);
    for (index, (text, a, b, c, want)) in KNOWN.iter().enumerate() {
        assert_eq!(got[4 * index], *want as u64, "{text} with a {a:#x} b {b:#x} c {c:#x}, want {want:#x}");
    }
}

/// What a run of one instruction ends with, when it is a fault.
fn fault(instruction: &str, a: u32, b: u32, c: u32) -> Option<String> {
    let header = ".version 8.6\n.target sm_90\n.address_size 64\n";
    let text = format!("{header}{}", module(&[instruction]));
    crate::must_assemble(&text);
    let words = [a, b, c, 0].map(u64::from);
    try_module(MachineConfig::new(1, 1), &text, [1, 1, 1], 1, &words).err()
}

#[test]
fn results_that_are_not_settled_are_faults() {
    for (text, good, bad) in [
        // The code of the assembler adds, and clamps nothing.
        ("vadd.u32.u32.u32.sat d, a, b;", [0xffff_fff0, 15, 0], [0xffff_fff0, 16, 0]),
        // It clamps -1 to the greatest byte.
        ("vadd.s32.s32.s32.sat d.b0, a, b, c;", [5, 6, 0], [0xffff_fffe, 1, 0]),
        // It takes the sum of 2^32 for 0.
        ("vadd.u32.u32.u32.max d, a, b, c;", [7, 8, 3], [0xffff_ffff, 1, 3]),
        ("vmad.u32.u32.u32.shr7 d, a, b, c;", [7, 8, 3], [7, 8, 0x8000_0000]),
        ("vset.s32.s32.lt.max d, a, b, c;", [7, 8, 3], [7, 8, 0x8000_0000]),
        ("vshl.s32.s32.u32.sat.clamp d, a, b;", [7, 8, 0], [7, 30, 0]),
    ] {
        assert_eq!(fault(text, good[0], good[1], good[2]), None, "{text}");
        let said = fault(text, bad[0], bad[1], bad[2]).unwrap_or_else(|| panic!("{text} is no fault"));
        assert!(said.contains("video instruction"), "{text}: {said}");
    }
}

#[test]
fn what_is_no_video_instruction_is_refused() {
    for (text, why) in [
        ("vadd.u32.u32.u32 d32, a32, b32, c32;", "4 operands, must be 3"),
        ("vadd.u32.u32.u32.add d32.b0, a32, b32, c32;", "merged"),
        ("vadd2.u32.u32.u32.sat.add d32, a32, b32, c32;", ".sat does not go with .add"),
        ("vadd4.u32.u32.u32 d32.b03, a32, b32, c32;", "no mask"),
        ("vadd2.u32.u32.u32 d32, a32.h4, b32, c32;", "not a vector register"),
        ("vadd2.u32.u32.u32 d32, a32.b10, b32, c32;", "does not select"),
        ("vshl.u32.u32.s32.clamp d32, a32, b32;", ".u32"),
        ("vmad.s32.s32.s32.po d32, -a32, b32, c32;", ".po"),
        ("vadd.u32.u32.u32 d32, -a32, b32;", "negated"),
        ("add.u32 d32, a32.b0, b32;", "a register or a literal"),
        ("add.u32 d32, -a32, b32;", "a register or a literal"),
    ] {
        let error = crate::load(text, "d32").expect_err(text).to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
}
