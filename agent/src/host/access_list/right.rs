//! Rights to a file, as bits and as letters.

const READ_DATA: u32 = 0x1;
const WRITE_DATA: u32 = 0x2;
const APPEND_DATA: u32 = 0x4;
const DELETE_CHILD: u32 = 0x40;
const DELETE: u32 = 0x1_0000;
const WRITE_DAC: u32 = 0x4_0000;
const WRITE_OWNER: u32 = 0x8_0000;
const ALL: u32 = 0x1F_01FF;
const GENERIC_READ: u32 = 0x12_0089;
const GENERIC_WRITE: u32 = 0x12_0116;
const GENERIC_EXECUTE: u32 = 0x12_00A0;

/// What somebody may want to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right {
    /// Change a file's content, take it away, or give himself the right to.
    Change,
    /// Read a file, or any of [`Self::Change`].
    Read,
    /// Put another file in the place of one that is in this folder.
    Replace,
}

impl Right {
    pub(super) const fn mask(self) -> u32 {
        let own = WRITE_DAC | WRITE_OWNER | DELETE;
        match self {
            Self::Change => WRITE_DATA | APPEND_DATA | own,
            Self::Read => READ_DATA | Self::Change.mask(),
            Self::Replace => DELETE_CHILD | own,
        }
    }
}

/// Letters of SDDL and their bits. What stands for all of a kind stands for the bits that it means of a file.
const LETTERS: [(&[u8; 2], u32); 20] = [
    (b"GA", ALL),
    (b"GR", GENERIC_READ),
    (b"GW", GENERIC_WRITE),
    (b"GX", GENERIC_EXECUTE),
    (b"FA", ALL),
    (b"FR", GENERIC_READ),
    (b"FW", GENERIC_WRITE),
    (b"FX", GENERIC_EXECUTE),
    (b"RC", 0x2_0000),
    (b"SD", DELETE),
    (b"WD", WRITE_DAC),
    (b"WO", WRITE_OWNER),
    (b"CC", READ_DATA),
    (b"DC", WRITE_DATA),
    (b"LC", APPEND_DATA),
    (b"SW", 0x8),
    (b"RP", 0x10),
    (b"WP", 0x20),
    (b"DT", DELETE_CHILD),
    (b"LO", 0x80),
];
/// The one more that a file has.
const CONTROL: (&[u8; 2], u32) = (b"CR", 0x100);

/// The bits that a text of SDDL means; `None` where it means none.
pub(super) fn mask(text: &str) -> Option<u32> {
    if let Some(hex) = text.strip_prefix("0x") {
        return u32::from_str_radix(hex, 16).ok().map(of_a_file);
    }
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return text.parse().ok().map(of_a_file);
    }
    let mut all = 0;
    for two in text.as_bytes().chunks(2) {
        let known = LETTERS.iter().chain([&CONTROL]);
        let (_, bits) = known.into_iter().find(|(letters, _)| *letters == two)?;
        all |= bits;
    }
    Some(all)
}

/// The same with what stands for all of a kind written out.
fn of_a_file(mask: u32) -> u32 {
    let mut bits = mask & 0x0FFF_FFFF;
    for (generic, meant) in [
        (0x1000_0000, ALL),
        (0x2000_0000, GENERIC_EXECUTE),
        (0x4000_0000, GENERIC_WRITE),
        (0x8000_0000, GENERIC_READ),
    ] {
        if mask & generic != 0 {
            bits |= meant;
        }
    }
    bits
}
