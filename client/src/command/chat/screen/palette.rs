//! Colours of nicks.

use ratatui::style::{Color, Style};

use crate::colour::Colour;

/// Colours of the 256 that are distinguishable and readable on black and on white.
const COLOURS: [u8; 12] = [33, 34, 61, 64, 97, 125, 130, 132, 136, 160, 166, 30];

/// Assigns a colour to each name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Palette(pub(crate) Colour);

impl Palette {
    /// The colour of a name. It is the same on every screen.
    pub(crate) fn of(self, name: &str) -> Style {
        let hash = hash(name);
        // The lower half of the hash alone collides too often for short names.
        let at = (hash ^ (hash >> 16)) as usize % COLOURS.len();
        self.0.of(Color::Indexed(COLOURS[at]))
    }
}

/// FNV-1a, because the hash of the standard library may change.
fn hash(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_colour_and_others_have_others() {
        let palette = Palette(Colour { is_wanted: true });
        assert_eq!(hash("ann"), 0x1529_cc18, "it never changes");
        assert_eq!(palette.of("ann"), palette.of("ann"));
        let names = ["ann", "bob", "eve", "آن", "李明"];
        let mut colours = names
            .map(|name| format!("{:?}", palette.of(name).fg))
            .to_vec();
        colours.sort();
        colours.dedup();
        assert!(colours.len() > 3, "{colours:?}");
    }

    #[test]
    fn without_colours_no_name_has_one() {
        let palette = Palette(Colour { is_wanted: false });
        assert_eq!(palette.of("ann"), Style::new());
    }
}
