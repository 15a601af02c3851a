//! Options whose values go into the metadata of the results: where they were measured from, and notes.

/// What the user says about a result.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Metadata of the results")]
pub struct Noted {
    /// Name of the vantage point, such as `zrh-1`: stored with the results, and distinguishes them in comparisons
    #[arg(long, value_name = "NAME", value_parser = vantage)]
    pub vantage: Option<String>,

    /// Note that is stored with the results; repeatable
    #[arg(long, value_name = "TEXT", value_parser = note)]
    pub note: Vec<String>,
}

/// Maximum characters of a vantage point's name.
const LONGEST_NAME: usize = 80;
/// Maximum octets of a note: each part of a result has it.
const LONGEST_NOTE: usize = 4096;

fn vantage(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("must not be empty".into()),
        name if name.chars().any(char::is_control) => Err("must have no control characters".into()),
        name if name.chars().count() > LONGEST_NAME => {
            Err(format!("must have at most {LONGEST_NAME} characters"))
        }
        name => Ok(name.to_owned()),
    }
}

fn note(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("must not be empty".into()),
        note if note.len() > LONGEST_NOTE => {
            Err(format!("must have at most {LONGEST_NOTE} octets; name a document instead"))
        }
        note => Ok(note.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_notes_have_bounds() {
        assert_eq!(vantage(" ETH Zürich ").as_deref(), Ok("ETH Zürich"));
        assert_eq!(note("two\nlines").as_deref(), Ok("two\nlines"));
        for wrong in [" ", "a\nb", "a\u{1b}[31m", &"x".repeat(LONGEST_NAME + 1)] {
            assert!(vantage(wrong).is_err(), "{wrong:?}");
        }
        assert!(note("").is_err() && note(&"x".repeat(LONGEST_NOTE + 1)).is_err());
    }
}
