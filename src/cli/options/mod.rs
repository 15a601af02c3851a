//! Options shared by several commands, or copied into a run's spec.

pub mod columns;
pub mod confidence;
pub mod courtesy;
pub mod evidence;
pub mod form;
pub mod lab;
pub mod names;
pub mod noted;
pub mod package;
pub mod prober;
pub mod rights;
pub mod state;
pub mod watch;

/// The command line of this process, for the metadata of what it writes.
pub fn command_line() -> String {
    let words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    words.collect::<Vec<_>>().join(" ")
}

/// Parses a number that must not be 0.
///
/// # Errors
/// What to write instead.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".into()),
        Ok(number) => Ok(number),
        Err(_) => Err("must be a whole number".into()),
    }
}

/// Parses a number of octets, which may have a binary suffix.
///
/// # Errors
/// What to write instead.
pub fn octets(text: &str) -> Result<u64, String> {
    let units = [("K", 10), ("M", 20), ("G", 30)];
    let unit = units.into_iter().find_map(|(name, bits)| {
        let upper = text.strip_suffix(name);
        Some((upper.or_else(|| text.strip_suffix(name.to_ascii_lowercase().as_str()))?, bits))
    });
    let (digits, bits) = unit.unwrap_or((text, 0));
    let octets = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << bits));
    octets.ok_or_else(|| "must be a number, such as 16M".into())
}

/// Parses the size of a capture's ring.
///
/// # Errors
/// What to write instead.
pub fn buffer(text: &str) -> Result<u64, String> {
    let octets = octets(text)?;
    match (1 << 20..=1 << 30).contains(&octets) {
        true => Ok(octets),
        false => Err("must be from 1M to 1G".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::buffer;

    #[test]
    fn a_buffer_has_a_size_with_a_unit() {
        for (text, octets) in
            [("16M", 16 << 20), ("1G", 1 << 30), ("2048k", 2 << 20), ("1048576", 1 << 20)]
        {
            assert_eq!(buffer(text), Ok(octets), "{text}");
        }
        for wrong in
            ["", "M", "-1M", "1.5M", "16MB", "512K", "2G", "99999999999999999999", "99999999999G"]
        {
            assert!(buffer(wrong).is_err(), "{wrong}");
        }
    }
}
