//! Addresses of Bluetooth devices, in the one spelling that names a node.

/// The six bytes of `4C:33:A6:60:3C:79`, `4c-33-a6-60-3c-79` or `4C33A6603C79`; `None` for what is no such address.
pub fn parse(text: &str) -> Option<[u8; 6]> {
    let bytes = text.as_bytes();
    let step = match bytes.len() {
        12 => 2,
        17 if bytes.iter().skip(2).step_by(3).all(|b| matches!(b, b':' | b'-')) => 3,
        _ => return None,
    };
    let digit = |at: usize| char::from(bytes[at]).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut mac = [0; 6];
    for (n, byte) in mac.iter_mut().enumerate() {
        *byte = digit(n * step)? * 16 + digit(n * step + 1)?;
    }
    Some(mac)
}

/// `4C:33:A6:60:3C:79`.
pub fn spelled(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02X}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_one_address() {
        for text in ["4C33A6603C79", "4c:33:a6:60:3c:79", "4C-33-A6-60-3C-79"] {
            assert_eq!(parse(text).map(spelled).as_deref(), Some("4C:33:A6:60:3C:79"), "{text}");
        }
        for text in ["", "F3:52:85", "4C33A6603C7", "4C33A6603C7G", "4C:33:A6:60:3C.79", "4C33A6603Cé"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
