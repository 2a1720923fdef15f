//! What the plots share: size, colours, text.

use plotters::style::RGBColor;

/// What drawing gives.
pub type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Width and height.
pub const SIZE: (u32, u32) = (900, 600);
/// Height of the text of a title.
pub const TITLE: u32 = 18;
/// Height of other text.
pub const TEXT: u32 = 14;
/// Measured points.
pub const DOT: RGBColor = RGBColor(120, 140, 160);
/// What is chosen.
pub const CHOSEN: RGBColor = RGBColor(200, 40, 40);
/// What cannot be better in one way without being worse in the other.
pub const FRONT: RGBColor = RGBColor(20, 90, 160);

/// Lines of the descents, by turns.
pub const LINES: [RGBColor; 6] = [
    RGBColor(20, 90, 160),
    RGBColor(220, 120, 20),
    RGBColor(40, 140, 60),
    RGBColor(150, 60, 160),
    RGBColor(120, 90, 40),
    RGBColor(90, 90, 90),
];

/// From light (best) to dark: `share` is 0 to 1.
pub fn shade(share: f64) -> RGBColor {
    let share = share.clamp(0.0, 1.0);
    let between = |light: f64, dark: f64| (light + (dark - light) * share) as u8;
    RGBColor(between(255.0, 30.0), between(240.0, 50.0), between(200.0, 120.0))
}
