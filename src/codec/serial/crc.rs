//! Checksums by their names in the [catalogue of parametrised CRC algorithms](https://reveng.sourceforge.io/crc-catalogue/),
//! with 8, 16 or 32 bits.

use std::fmt;

use crc::{
    Algorithm, CRC_8_AUTOSAR, CRC_8_BLUETOOTH, CRC_8_CDMA2000, CRC_8_DARC, CRC_8_DVB_S2, CRC_8_GSM_A, CRC_8_GSM_B,
    CRC_8_HITAG, CRC_8_I_432_1, CRC_8_I_CODE, CRC_8_LTE, CRC_8_MAXIM_DOW, CRC_8_MIFARE_MAD, CRC_8_NRSC_5,
    CRC_8_OPENSAFETY, CRC_8_ROHC, CRC_8_SAE_J1850, CRC_8_SMBUS, CRC_8_TECH_3250, CRC_8_WCDMA, CRC_16_ARC,
    CRC_16_CDMA2000, CRC_16_CMS, CRC_16_DDS_110, CRC_16_DECT_R, CRC_16_DECT_X, CRC_16_DNP, CRC_16_EN_13757,
    CRC_16_GENIBUS, CRC_16_GSM, CRC_16_IBM_3740, CRC_16_IBM_SDLC, CRC_16_ISO_IEC_14443_3_A, CRC_16_KERMIT,
    CRC_16_LJ1200, CRC_16_M17, CRC_16_MAXIM_DOW, CRC_16_MCRF4XX, CRC_16_MODBUS, CRC_16_NRSC_5, CRC_16_OPENSAFETY_A,
    CRC_16_OPENSAFETY_B, CRC_16_PROFIBUS, CRC_16_RIELLO, CRC_16_SPI_FUJITSU, CRC_16_T10_DIF, CRC_16_TELEDISK,
    CRC_16_TMS37157, CRC_16_UMTS, CRC_16_USB, CRC_16_XMODEM, CRC_32_AIXM, CRC_32_AUTOSAR, CRC_32_BASE91_D,
    CRC_32_BZIP2, CRC_32_CD_ROM_EDC, CRC_32_CKSUM, CRC_32_ISCSI, CRC_32_ISO_HDLC, CRC_32_JAMCRC, CRC_32_MEF,
    CRC_32_MPEG_2, CRC_32_XFER, Crc,
};

use super::Order;

/// Names of algorithms with their parameters; the catalogue's name follows from that of the constant.
macro_rules! named {
    ($($constant:ident),* $(,)?) => { &[$((stringify!($constant), &$constant)),*] };
}

type Named<W> = (&'static str, &'static Algorithm<W>);

static WIDTH_8: &[Named<u8>] = named![
    CRC_8_AUTOSAR,
    CRC_8_BLUETOOTH,
    CRC_8_CDMA2000,
    CRC_8_DARC,
    CRC_8_DVB_S2,
    CRC_8_GSM_A,
    CRC_8_GSM_B,
    CRC_8_HITAG,
    CRC_8_I_432_1,
    CRC_8_I_CODE,
    CRC_8_LTE,
    CRC_8_MAXIM_DOW,
    CRC_8_MIFARE_MAD,
    CRC_8_NRSC_5,
    CRC_8_OPENSAFETY,
    CRC_8_ROHC,
    CRC_8_SAE_J1850,
    CRC_8_SMBUS,
    CRC_8_TECH_3250,
    CRC_8_WCDMA,
];

static WIDTH_16: &[Named<u16>] = named![
    CRC_16_ARC,
    CRC_16_CDMA2000,
    CRC_16_CMS,
    CRC_16_DDS_110,
    CRC_16_DECT_R,
    CRC_16_DECT_X,
    CRC_16_DNP,
    CRC_16_EN_13757,
    CRC_16_GENIBUS,
    CRC_16_GSM,
    CRC_16_IBM_3740,
    CRC_16_IBM_SDLC,
    CRC_16_ISO_IEC_14443_3_A,
    CRC_16_KERMIT,
    CRC_16_LJ1200,
    CRC_16_M17,
    CRC_16_MAXIM_DOW,
    CRC_16_MCRF4XX,
    CRC_16_MODBUS,
    CRC_16_NRSC_5,
    CRC_16_OPENSAFETY_A,
    CRC_16_OPENSAFETY_B,
    CRC_16_PROFIBUS,
    CRC_16_RIELLO,
    CRC_16_SPI_FUJITSU,
    CRC_16_T10_DIF,
    CRC_16_TELEDISK,
    CRC_16_TMS37157,
    CRC_16_UMTS,
    CRC_16_USB,
    CRC_16_XMODEM,
];

static WIDTH_32: &[Named<u32>] = named![
    CRC_32_AIXM,
    CRC_32_AUTOSAR,
    CRC_32_BASE91_D,
    CRC_32_BZIP2,
    CRC_32_CD_ROM_EDC,
    CRC_32_CKSUM,
    CRC_32_ISCSI,
    CRC_32_ISO_HDLC,
    CRC_32_JAMCRC,
    CRC_32_MEF,
    CRC_32_MPEG_2,
    CRC_32_XFER,
];

/// Other names that the catalogue lists and data sheets use, in the spelling of [`plain`].
static ALIASES: &[(&str, &str)] = &[
    ("CRC-8", "CRC-8-SMBUS"),
    ("CRC-8-MAXIM", "CRC-8-MAXIM-DOW"),
    ("CRC-8-DOW", "CRC-8-MAXIM-DOW"),
    ("CRC-8-ITU", "CRC-8-I-432-1"),
    ("CRC-8-AES", "CRC-8-TECH-3250"),
    ("CRC-8-EBU", "CRC-8-TECH-3250"),
    ("CRC-16", "CRC-16-ARC"),
    ("ARC", "CRC-16-ARC"),
    ("CRC-16-LHA", "CRC-16-ARC"),
    ("CRC-IBM", "CRC-16-ARC"),
    ("MODBUS", "CRC-16-MODBUS"),
    ("CRC-CCITT", "CRC-16-KERMIT"),
    ("CRC-16-CCITT", "CRC-16-KERMIT"),
    ("CRC-16-CCITT-TRUE", "CRC-16-KERMIT"),
    ("CRC-16-BLUETOOTH", "CRC-16-KERMIT"),
    ("CRC-16-V-41-LSB", "CRC-16-KERMIT"),
    ("KERMIT", "CRC-16-KERMIT"),
    ("CRC-16-AUTOSAR", "CRC-16-IBM-3740"),
    ("CRC-16-CCITT-FALSE", "CRC-16-IBM-3740"),
    ("CRC-16-X-25", "CRC-16-IBM-SDLC"),
    ("CRC-16-ISO-HDLC", "CRC-16-IBM-SDLC"),
    ("CRC-16-ISO-IEC-14443-3-B", "CRC-16-IBM-SDLC"),
    ("CRC-B", "CRC-16-IBM-SDLC"),
    ("X-25", "CRC-16-IBM-SDLC"),
    ("CRC-A", "CRC-16-ISO-IEC-14443-3-A"),
    ("CRC-16-AUG-CCITT", "CRC-16-SPI-FUJITSU"),
    ("CRC-16-DARC", "CRC-16-GENIBUS"),
    ("CRC-16-EPC", "CRC-16-GENIBUS"),
    ("CRC-16-I-CODE", "CRC-16-GENIBUS"),
    ("CRC-16-BUYPASS", "CRC-16-UMTS"),
    ("CRC-16-VERIFONE", "CRC-16-UMTS"),
    ("CRC-16-MAXIM", "CRC-16-MAXIM-DOW"),
    ("CRC-16-IEC-61158-2", "CRC-16-PROFIBUS"),
    ("CRC-16-ACORN", "CRC-16-XMODEM"),
    ("CRC-16-LTE", "CRC-16-XMODEM"),
    ("CRC-16-V-41-MSB", "CRC-16-XMODEM"),
    ("XMODEM", "CRC-16-XMODEM"),
    ("ZMODEM", "CRC-16-XMODEM"),
    ("CRC-32", "CRC-32-ISO-HDLC"),
    ("CRC-32-ADCCP", "CRC-32-ISO-HDLC"),
    ("CRC-32-V-42", "CRC-32-ISO-HDLC"),
    ("CRC-32-XZ", "CRC-32-ISO-HDLC"),
    ("PKZIP", "CRC-32-ISO-HDLC"),
    ("CRC-32C", "CRC-32-ISCSI"),
    ("CRC-32-BASE91-C", "CRC-32-ISCSI"),
    ("CRC-32-CASTAGNOLI", "CRC-32-ISCSI"),
    ("CRC-32-INTERLAKEN", "CRC-32-ISCSI"),
    ("CRC-32-NVME", "CRC-32-ISCSI"),
    ("CRC-32D", "CRC-32-BASE91-D"),
    ("CRC-32Q", "CRC-32-AIXM"),
    ("CRC-32-AAL5", "CRC-32-BZIP2"),
    ("CRC-32-DECT-B", "CRC-32-BZIP2"),
    ("CRC-32-POSIX", "CRC-32-CKSUM"),
];

/// One algorithm with its table.
#[derive(Clone)]
pub struct Checksum {
    name: String,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Eight(Box<Crc<u8>>),
    Sixteen(Box<Crc<u16>>),
    ThirtyTwo(Box<Crc<u32>>),
}

impl Checksum {
    /// The algorithm of this name in the catalogue, such as `CRC-16/MODBUS`; case, and whether `-`, `_`, `/` or a blank
    /// stands between its parts, do not matter. `None` where there is none with 8, 16 or 32 bits.
    pub fn named(name: &str) -> Option<Self> {
        let mut wanted = plain(name);
        if let Some((_, own)) = ALIASES.iter().find(|(alias, _)| *alias == wanted) {
            (*own).clone_into(&mut wanted);
        }
        let kind = find(WIDTH_8, &wanted)
            .map(|a| Kind::Eight(Box::new(Crc::<u8>::new(a))))
            .or_else(|| find(WIDTH_16, &wanted).map(|a| Kind::Sixteen(Box::new(Crc::<u16>::new(a)))))
            .or_else(|| find(WIDTH_32, &wanted).map(|a| Kind::ThirtyTwo(Box::new(Crc::<u32>::new(a)))))?;
        // `CRC-16-MODBUS` is `CRC-16/MODBUS`: the first two parts are the width.
        let slash = wanted.match_indices('-').nth(1).map_or(wanted.len(), |(at, _)| at);
        if slash < wanted.len() {
            wanted.replace_range(slash..=slash, "/");
        }
        Some(Self { name: wanted, kind })
    }

    /// All names, as the catalogue spells them.
    pub fn names() -> impl Iterator<Item = String> {
        let constants = WIDTH_8.iter().map(|(c, _)| *c);
        let constants = constants.chain(WIDTH_16.iter().map(|(c, _)| *c)).chain(WIDTH_32.iter().map(|(c, _)| *c));
        constants.filter_map(|constant| Self::named(constant).map(|checksum| checksum.name))
    }

    /// Its name in the catalogue.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its width in bytes: 1, 2 or 4.
    pub const fn len(&self) -> usize {
        match self.kind {
            Kind::Eight(_) => 1,
            Kind::Sixteen(_) => 2,
            Kind::ThirtyTwo(_) => 4,
        }
    }

    /// Never: it has at least 8 bits.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// The checksum of `bytes`.
    pub fn of(&self, bytes: &[u8]) -> u32 {
        match &self.kind {
            Kind::Eight(crc) => u32::from(crc.checksum(bytes)),
            Kind::Sixteen(crc) => u32::from(crc.checksum(bytes)),
            Kind::ThirtyTwo(crc) => crc.checksum(bytes),
        }
    }

    /// The checksum that stands in the first [`Checksum::len`] bytes.
    pub fn read(&self, bytes: &[u8], order: Order) -> u32 {
        let bytes = bytes[..self.len()].iter();
        let join = |sum: u32, byte: &u8| sum << 8 | u32::from(*byte);
        match order {
            Order::Little => bytes.rev().fold(0, join),
            Order::Big => bytes.fold(0, join),
        }
    }

    /// Appends the checksum of `over` to `into`.
    pub fn append(&self, over: &[u8], order: Order, into: &mut Vec<u8>) {
        let sum = self.of(over).to_le_bytes();
        match order {
            Order::Little => into.extend(&sum[..self.len()]),
            Order::Big => into.extend(sum[..self.len()].iter().rev()),
        }
    }
}

/// Of the same name.
impl PartialEq for Checksum {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Checksum {}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

fn find<W: crc::Width>(among: &'static [Named<W>], plain_name: &str) -> Option<&'static Algorithm<W>> {
    among.iter().find(|(constant, _)| plain(constant) == plain_name).map(|(_, algorithm)| *algorithm)
}

/// A name in capitals with `-` between its parts.
fn plain(name: &str) -> String {
    name.trim().chars().map(|c| if matches!(c, '_' | '/' | ' ') { '-' } else { c.to_ascii_uppercase() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_catalogue_in_any_spelling() {
        for (name, own, check) in [
            ("CRC-16/MODBUS", "CRC-16/MODBUS", 0x4B37),
            ("crc-16/modbus", "CRC-16/MODBUS", 0x4B37),
            ("modbus", "CRC-16/MODBUS", 0x4B37),
            ("CRC_16_CCITT_FALSE", "CRC-16/IBM-3740", 0x29B1),
            ("crc-16/x-25", "CRC-16/IBM-SDLC", 0x906E),
            ("CRC-16/XMODEM", "CRC-16/XMODEM", 0x31C3),
            ("CRC-16/ARC", "CRC-16/ARC", 0xBB3D),
            ("CRC-16/ISO-IEC-14443-3-A", "CRC-16/ISO-IEC-14443-3-A", 0xBF05),
            ("CRC-8/MAXIM-DOW", "CRC-8/MAXIM-DOW", 0xA1),
            ("CRC-8/I-432-1", "CRC-8/I-432-1", 0xA1),
            ("CRC-8", "CRC-8/SMBUS", 0xF4),
            ("CRC-32", "CRC-32/ISO-HDLC", 0xCBF4_3926),
            ("crc-32c", "CRC-32/ISCSI", 0xE306_9283),
        ] {
            // The catalogue's check value is the checksum of these nine digits.
            let checksum = Checksum::named(name).unwrap();
            assert_eq!((checksum.name(), checksum.of(b"123456789")), (own, check), "{name}");
        }
        for name in ["", "CRC", "CRC-16/", "CRC-5/USB", "CRC-64/XZ", "CRC-24/BLE", "CRC-16/MODBUSS"] {
            assert!(Checksum::named(name).is_none(), "{name}");
        }
    }

    #[test]
    fn all_widths_of_8_16_and_32_bits_are_there_and_every_alias_leads_to_one() {
        let names: Vec<String> = Checksum::names().collect();
        assert_eq!(names.len(), 20 + 31 + 12);
        for name in &names {
            assert_eq!(Checksum::named(name).unwrap().name(), name);
        }
        for (alias, own) in ALIASES {
            assert_eq!(plain(Checksum::named(alias).unwrap().name()), *own, "{alias}");
        }
    }

    #[test]
    fn bytes_come_in_either_order() {
        let checksum = Checksum::named("CRC-16/MODBUS").unwrap();
        // Modbus over serial line 1.02, appendix: the low byte is sent first.
        let mut frame = vec![0x01, 0x03, 0x00, 0x02, 0x00, 0x01];
        let payload = frame.clone();
        checksum.append(&payload, Order::Little, &mut frame);
        assert_eq!(frame[6..], [0x25, 0xCA]);
        assert_eq!(checksum.read(&frame[6..], Order::Little), 0xCA25);
        checksum.append(&payload, Order::Big, &mut frame);
        assert_eq!(frame[8..], [0xCA, 0x25]);
    }
}
