//! The one path that means SSTP.

/// The path of SSTP ([MS-SSTP] §3.2.4.1).
pub const SRA_PATH: &str = "/sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/";

/// Where a request wants to go.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Target {
    /// The path of SSTP, in any of its spellings.
    Sra,
    /// Any other path.
    Other,
}

impl Target {
    /// Compares a request target with [`SRA_PATH`]: any case, braces as they are or as `%7B` and `%7D`, with or without
    /// the slash at the end, with or without a query.
    #[must_use]
    pub fn of(target: &str) -> Self {
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        let without_slash = SRA_PATH.strip_suffix('/').unwrap_or(SRA_PATH);
        let mut rest = path;
        for wanted in without_slash.chars() {
            let Some(behind) = strip(rest, wanted) else {
                return Self::Other;
            };
            rest = behind;
        }
        match rest {
            "" | "/" => Self::Sra,
            _ => Self::Other,
        }
    }
}

/// Takes `wanted` off the front of `path`, or the percent-encoded form of a brace.
fn strip(path: &str, wanted: char) -> Option<&str> {
    let mut chars = path.chars();
    if chars.next()?.eq_ignore_ascii_case(&wanted) {
        return Some(chars.as_str());
    }
    let encoded = match wanted {
        '{' => "%7b",
        '}' => "%7d",
        _ => return None,
    };
    let (head, rest) = path.split_at_checked(encoded.len())?;
    head.eq_ignore_ascii_case(encoded).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_the_path_means_sstp() {
        let spellings = [
            "/sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/",
            "/sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}",
            "/sra_%7BBA195980-CD49-458b-9E23-C84EE0ADCD75%7D/",
            "/sra_%7bBA195980-CD49-458b-9E23-C84EE0ADCD75%7d",
            "/sra_%7BBA195980-CD49-458b-9E23-C84EE0ADCD75}/",
            "/SRA_{ba195980-cd49-458B-9e23-c84ee0adcd75}/",
            "/sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/?tenantid=a/b?c",
            "/sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}?",
        ];
        for spelling in spellings {
            assert_eq!(Target::of(spelling), Target::Sra, "{spelling}");
        }
    }

    #[test]
    fn everything_else_is_another_path() {
        let others = [
            "",
            "/",
            "*",
            "?",
            "sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/",
            "//sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/",
            "/sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}//",
            "/sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/x",
            "/sra_{BA195980-CD49-458b-9E23-C84EE0ADCD7}/",
            "/sra_%7CBA195980-CD49-458b-9E23-C84EE0ADCD75%7D/",
            "/sra_%257BBA195980-CD49-458b-9E23-C84EE0ADCD75%257D/",
            "/sra_%7",
            "/sra_%7\u{e9}",
            "/../sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/",
            "/sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}#",
            "/sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/%00",
        ];
        for other in others {
            assert_eq!(Target::of(other), Target::Other, "{other}");
        }
    }
}
