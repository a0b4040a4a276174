//! Tables and numbers for people.

use std::time::Duration;

/// Lays out rows in columns; the last column is not padded.
pub(super) fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let width = |row: &Vec<String>| row.get(column).map_or(0, |cell| width(cell));
            rows.iter().map(width).max().unwrap_or(0)
        })
        .collect();
    rows.iter()
        .map(|row| {
            let mut line = String::new();
            for (cell, column) in row.iter().zip(&widths) {
                line.push_str(cell);
                let padding = column.saturating_sub(width(cell)) + 2;
                line.extend(std::iter::repeat_n(' ', padding));
            }
            line.trim_end().to_owned()
        })
        .collect()
}

/// How many columns a cell takes; colours take none.
fn width(cell: &str) -> usize {
    let mut inside = false;
    cell.chars()
        .filter(|&c| match (inside, c) {
            (false, '\x1b') => {
                inside = true;
                false
            }
            (true, c) => {
                inside = c != 'm';
                false
            }
            (false, _) => true,
        })
        .count()
}

/// Makes foreign text safe for a terminal.
pub(super) fn safe(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() || is_direction(c) {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// Marks that turn the direction of what follows could make one name look like another.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Writes octets as `610 MiB`.
pub(super) fn octets(octets: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut rest = octets;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    while rest >= 10_240 || (rest >= 1024 && unit == UNITS.first()) {
        let Some(larger) = units.next() else { break };
        rest /= 1024;
        unit = Some(larger);
    }
    format!("{rest} {}", unit.unwrap_or(&"B"))
}

/// Writes a length of time in its two largest units: `12 d 4 h`, `3 min 20 s`.
pub(super) fn span(seconds: u64) -> String {
    let units = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let first = units
        .iter()
        .position(|&(unit, _)| seconds >= unit)
        .unwrap_or(3);
    let mut rest = seconds;
    let mut words = Vec::new();
    for (unit, word) in units.iter().skip(first).take(2) {
        let count = rest / unit;
        rest %= unit;
        if count > 0 || words.is_empty() {
            words.push(format!("{count} {word}"));
        }
    }
    words.join(" ")
}

/// Writes the time of day of a moment in RFC 3339, in the local zone; with the date when it is longer ago than a day.
pub(super) fn clock(rfc3339: &str, age: Duration) -> String {
    let Ok(moment) = rfc3339.parse::<jiff::Timestamp>() else {
        return "-".to_owned();
    };
    let local = moment.to_zoned(jiff::tz::TimeZone::system());
    let format = if age < Duration::from_secs(86_400) {
        "%H:%M:%S"
    } else {
        "%Y-%m-%d %H:%M"
    };
    local.strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_with_and_without_colours() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let lines = table(&[
            row(["a", "\x1b[32mok\x1b[0m", "x"]),
            row(["long", "down", ""]),
        ]);
        assert_eq!(lines, ["a     \x1b[32mok\x1b[0m    x", "long  down"]);
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(octets(0), "0 B");
        assert_eq!(octets(1023), "1023 B");
        assert_eq!(octets(1024), "1 KiB");
        assert_eq!(octets(639_631_360), "610 MiB");
        assert_eq!(octets(u64::MAX), "16383 PiB");
        assert_eq!(span(0), "0 s");
        assert_eq!(span(200), "3 min 20 s");
        assert_eq!(span(1_051_200), "12 d 4 h");
        assert_eq!(span(3600), "1 h");
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        assert_eq!(
            safe("a\x1b[31m\n\u{202e}b"),
            "a\u{fffd}[31m\u{fffd}\u{fffd}b"
        );
    }
}
